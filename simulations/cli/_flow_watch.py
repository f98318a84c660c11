"""What watches a flow while it runs: the line on stderr, Ctrl-C, and checkpoints that do not disturb the run."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, TypeVar

import numpy as np

from simulations._progress import Progress
from theory._errors import NotConverged

PERIOD = 5.0  # seconds between checkpoints
BAR = 20  # characters

T = TypeVar("T")


class Watch:
    """The callback of ``integrate``: ``with Watch(...) as watch: watch.run(lambda: integrate(..., callback=watch))``.

    A callback that raises ``NotConverged`` ends an integration with its partial solution. Ctrl-C and SIGTERM do so at
    the next step. A checkpoint does it in a fork of this process, which saves the partial solution and exits; the run
    itself goes on, and its numbers do not depend on how often it was saved. Without ``fork`` there are none.
    """

    def __init__(self, name: str, target: float | None, save: Callable[[Any], object] | None) -> None:
        self.progress, self.target, self.save = Progress(name), target, save
        self.interrupted = self._forked = False
        self._child, self._due = 0, time.monotonic() + PERIOD
        self._handlers: dict[int, Any] = {}

    def __call__(self, step: int, log_inverse_loss: float) -> None:
        """Draw, stop or save."""
        self.progress.draw(progress_line(step, log_inverse_loss, self.target))
        if self.interrupted:
            raise NotConverged(f"interrupted at log(1/loss) = {log_inverse_loss:.6g}")
        if self.save is not None and hasattr(os, "fork") and time.monotonic() > self._due:
            self._fork()

    def run(self, integrate: Callable[[], T]) -> T:
        """The result of ``integrate``; in a forked process: save what it raises, and exit."""
        try:
            return integrate()
        except NotConverged as error:
            if self._forked and self.save is not None:
                self.save(error.partial)
            raise
        finally:
            if self._forked:
                os._exit(0)

    def _fork(self) -> None:
        if self._child and os.waitpid(self._child, os.WNOHANG) == (0, 0):
            return  # the last checkpoint is still being written
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the child only computes and writes
            self._child = os.fork()
        if not self._child:
            self._forked = True
            raise NotConverged("a checkpoint")
        self._due = time.monotonic() + PERIOD

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: no step came in between
        self.interrupted = True

    def __enter__(self) -> Watch:
        self.progress.__enter__()
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._handlers[number] = signal.signal(number, self._stop)
            except ValueError:  # not the main thread
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._child:
            with suppress(ChildProcessError):
                os.waitpid(self._child, 0)  # its files are whole before ours replace them
        self.progress.__exit__(kind, error, trace)


def progress_line(step: int, log_inverse_loss: float, target: float | None) -> str:
    """``[#####     ] log(1/loss) = 1.2e+03, step 57``; the bar is linear in log(1 + log(1/loss)), up to the target."""
    text = f"log(1/loss) = {log_inverse_loss:.3g}, step {step}"
    if target is None or not (target > 0 and np.isfinite(log_inverse_loss)):
        return text
    share = np.log1p(max(log_inverse_loss, 0.0)) / np.log1p(target)
    return f"[{'#' * int(BAR * min(share, 1.0)):<{BAR}}] {text}"
