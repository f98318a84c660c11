"""A line on stderr for work that takes longer than two seconds, where a person is watching."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from types import TracebackType

PATIENCE = 2.0  # seconds before the line appears
PERIOD = 0.2  # seconds between two redraws


class Progress:
    """``with Progress("solving") as progress: solve(..., callback=progress)``; silent unless stderr is a terminal."""

    def __init__(self, name: str) -> None:
        self.name, self._began, self._drawn = name, time.monotonic(), 0.0
        self._terminal = sys.stderr.isatty()

    def __call__(self, step: int, relative_gap: float) -> None:
        """Draw the step and the gap."""
        self.draw(f"step {step}, relative gap {relative_gap:.1e}")

    def draw(self, text: object) -> None:
        """Draw the line, at most five times a second."""
        now = time.monotonic()
        if self._terminal and now - self._began > PATIENCE and now - self._drawn > PERIOD:
            self._drawn = now
            print(f"\r{self.name}: {text}\x1b[K", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How far many small computations are.

    Parameters
    ----------
    total : all of them.
    done, failed : by this run.
    skipped : what was there before, as far as it has been met.
    before : what was there when the run began.
    seconds : since the run began.

    Examples
    --------
    >>> print(Count(total=1000, done=190, failed=10, skipped=200, before=400, seconds=10.0))
    400 of 1000, 10 failed, 20 per s, about 20 s left
    """

    total: int
    done: int
    failed: int
    skipped: int
    before: int
    seconds: float

    @property
    def rate(self) -> float:
        """Computations per second of this run; what was there before counts for nothing."""
        return (self.done + self.failed) / self.seconds if self.seconds > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds left at this rate, or None where there is none yet."""
        there = max(self.skipped, min(self.before, self.total - self.done - self.failed))
        remaining = max(self.total - self.done - self.failed - there, 0)
        return remaining / self.rate if self.rate else None

    def __str__(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        left = "" if self.left is None else f", about {duration(self.left)} left"
        met = self.done + self.failed + self.skipped
        rate = f"{self.rate:.0f}" if self.rate >= 100 else f"{self.rate:.2g}"
        return f"{met} of {self.total}{failed}, {rate} per s{left}"


def duration(seconds: float) -> str:
    """``"8 s"``, ``"12 min"`` or ``"3.5 h"``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
