"""Equal error: each solver walks its tolerances from loose to tight, and the time to each target is read off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from simulations.benchmarks._comparison import Entry

TARGETS = (1e-3, 1e-5, 1e-7)
TOLERANCES = tuple(10.0**-k for k in range(2, 14))  # rtol; atol is a hundredth of it
SHORT = 0.1  # seconds below which an attempt is timed three times, and the least one counts


class OutOfTime(Exception):
    """The limit of seconds is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One solve: ``thetas`` (times, P), or None and why in ``note``; ``error`` once a reference has been seen."""

    rtol: float
    thetas: np.ndarray | None
    seconds: float
    note: str = ""
    evaluations: int = 0
    out_of_time: bool = False
    error: float | None = None


Solve: TypeAlias = Callable[[float], Attempt]


def attempted(run: Callable[[], tuple[np.ndarray | None, str, int]], rtol: float) -> Attempt:
    """``run`` gives the trajectory or None, a note and its evaluations; what it raises becomes the note."""
    began = time.perf_counter()
    try:
        thetas, note, evaluations = run()
    except OutOfTime:
        seconds = time.perf_counter() - began
        return Attempt(rtol=rtol, thetas=None, seconds=seconds, note=f"stopped after {seconds:.1f} s", out_of_time=True)
    except (ArithmeticError, AssertionError, RuntimeError, ValueError) as error:  # the peers' ways to give up
        thetas, note, evaluations = None, (str(error).splitlines() or [type(error).__name__])[0], 0
    seconds = time.perf_counter() - began
    if thetas is not None and not np.isfinite(thetas).all():
        thetas, note = None, "not finite"
    return Attempt(rtol=rtol, thetas=thetas, seconds=seconds, note=note, evaluations=evaluations)


def trajectory_error(thetas: np.ndarray, reference: np.ndarray) -> float:
    """Largest difference of any parameter at any of the times."""
    return float(np.abs(thetas - reference).max())


def walk_tolerances(
    solve: Solve, reference: np.ndarray, *, goal: float = min(TARGETS), tolerances: Iterable[float] = TOLERANCES
) -> list[Attempt]:
    """Attempts from loose to tight, to the first whose error is at most ``goal`` or that runs out of time."""
    attempts: list[Attempt] = []
    for rtol in tolerances:
        attempt = solve(rtol)
        thetas = attempt.thetas
        if thetas is not None:
            if attempt.seconds < SHORT:
                attempt = replace(attempt, seconds=min(attempt.seconds, solve(rtol).seconds, solve(rtol).seconds))
            attempt = replace(attempt, error=trajectory_error(thetas, reference))
        attempts.append(attempt)
        if attempt.out_of_time or (attempt.error is not None and attempt.error <= goal):
            break
    return attempts


def reached(attempts: Iterable[Attempt], target: float) -> Attempt | None:
    """The fastest attempt whose error is at most ``target``."""
    enough = [attempt for attempt in attempts if attempt.error is not None and attempt.error <= target]
    return min(enough, key=lambda attempt: attempt.seconds, default=None)


def entries(
    method: str, version: str, size: float, attempts: list[Attempt], *, targets: tuple[float, ...] = TARGETS,
    extra: str = "",
) -> list[Entry]:  # fmt: skip
    """One entry for each attempt that is the fastest to some target, and one for the first target not reached.

    Where no target was reached, also one for the attempt with the smallest error.
    """
    chosen: dict[float, list[float]] = {}  # rtol -> targets
    missed: float | None = None
    for target in sorted(targets, reverse=True):
        best = reached(attempts, target)
        if best is None:
            missed = target
            break
        chosen.setdefault(best.rtol, []).append(target)
    by_rtol = {attempt.rtol: attempt for attempt in attempts}
    found = []
    for rtol, reaching in chosen.items():
        at = by_rtol[rtol]
        goals = " and ".join(f"{target:.0e}" for target in reaching)
        note = f"to {goals}, rtol {rtol:.0e}{extra}"
        found.append(Entry(method=method, version=version, size=size, seconds=at.seconds, error=at.error, note=note))
    done = [attempt for attempt in attempts if attempt.error is not None]
    if done and not chosen:
        at = min(done, key=lambda attempt: attempt.error or 0.0)
        note = f"its best, rtol {at.rtol:.0e}{extra}"
        found.append(Entry(method=method, version=version, size=size, seconds=at.seconds, error=at.error, note=note))
    if missed is not None:
        note = _why(attempts, missed) + extra
        found.append(Entry(method=method, version=version, size=size, seconds=None, error=None, note=note))
    return found


def _why(attempts: list[Attempt], target: float) -> str:
    """Why a target was not reached: how the first and the last attempt ended, where they have no trajectory."""
    first, last = attempts[0], attempts[-1]
    ends = [first, last] if first is not last else [last]
    failures = [f"rtol {end.rtol:.0e}: {end.note}" for end in ends if end.thetas is None]
    return "; ".join([f"did not reach {target:.0e}", *failures])
