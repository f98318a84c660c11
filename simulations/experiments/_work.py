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
        self.label, self.done, self.began = "", 0, time.monotonic()

    def __call__(self, label: str, config: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The record of ``config``; plain values, whether it was computed now or before."""
        self.label = label
        self.tell()
        record = self.once(config, compute)
        self.done += 1
        return record

    def once(self, config: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The same for what is no part of its own."""
        full = {"experiment": self.name, "version": self.version, **config}
        return plain(compute()) if self.store is None else self.store.once(full, compute)

    def tell(self, step: int = 0, steps: int | None = None) -> None:
        """Say how far it is; a long part calls this at some of its steps."""
        if self.callback is None:
            return
        done, spent = self.done + (step / steps if steps else 0.0), time.monotonic() - self.began
        inside = f", step {step}" + (f" of {steps}" if steps else "") if step else ""
        left = f", about {spent * (self.parts / done - 1):.0f} s left" if done else ""
        self.callback(f"{self.label} ({self.done + 1} of {self.parts}){inside}{left}")


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
