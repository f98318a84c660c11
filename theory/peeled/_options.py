"""What ``solve`` passes to the solver of each model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Callback = Callable[[int, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Checked arguments of ``solve``; ``began`` is the clock at its call."""

    method: str
    rtol: float
    max_steps: int
    rng: np.random.Generator
    callback: Callback | None
    began: float
