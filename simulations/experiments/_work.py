"""What the experiments share: parts kept through the store with a line on how far it is, and checks as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations._output import plain

if TYPE_CHECKING:
    from simulations.bridge.agreement import Agreement
    from simulations.store import ResultsStore


class Work:
    """Parts of an experiment, each computed once through the store, with a line on how far it is."""

    def __init__(
        self, name: str, version: int, parts: int, store: ResultsStore | None, callback: Callable[[str], Any] | None
    ) -> None:
        self.name, self.version, self.parts, self.store, self.callback = name, version, parts, store, callback
        self.done, self.began = 0, time.monotonic()

    def __call__(self, label: str, config: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The record of ``config``; plain values, whether it was computed now or before."""
        if self.callback is not None:
            spent = time.monotonic() - self.began
            left = f", about {spent / self.done * (self.parts - self.done):.0f} s left" if self.done else ""
            self.callback(f"{label}, {self.done + 1} of {self.parts}{left}")
        full = {"experiment": self.name, "version": self.version, **config}
        record = plain(compute()) if self.store is None else self.store.once(full, compute)
        self.done += 1
        return record


class Checks:
    """Predicted and measured quantities, collected one by one; each with its tolerance and the reason for it."""

    def __init__(self) -> None:
        self.predicted: dict[str, Any] = {}
        self.measured: dict[str, Any] = {}
        self.tolerance: dict[str, float] = {}
        self.why: dict[str, str] = {}
        self.relation: dict[str, str] = {}
        self.source: dict[str, str] = {}

    def add(
        self, name: str, predicted: Any, measured: Sequence[Any], tolerance: tuple[float, str], source: str,
        relation: str = "equal",
    ) -> None:  # fmt: skip
        """``measured`` holds a value per seed; ``tolerance`` is absolute, with its reason."""
        self.predicted[name] = predicted
        self.measured[name] = np.asarray(measured, dtype=float)
        self.tolerance[name], self.why[name] = tolerance
        self.relation[name], self.source[name] = relation, source

    def agreement(self) -> Agreement:
        """All of them compared."""
        from simulations.bridge import compare

        return compare(self.predicted, self.measured, tolerance=self.tolerance, relation=self.relation,
                       source=self.source)  # fmt: skip

    def stated(self) -> dict[str, str]:
        """The tolerances with their reasons."""
        return {name: f"{value:g}: {self.why[name]}" for name, value in self.tolerance.items()}
