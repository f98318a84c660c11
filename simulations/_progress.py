"""A line on stderr for work that takes longer than two seconds, where a person is watching."""

from __future__ import annotations

import sys
import time
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

    def draw(self, text: str) -> None:
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
