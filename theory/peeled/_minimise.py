"""The driver: follow the smoothed path, jump to the face as soon as it is recognised, certify, or go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from theory.peeled._face import face_step, restrict
from theory.peeled._path import balanced_frame, start
from theory.peeled._program import GroupProgram
from theory.peeled._step import Point


@dataclass(frozen=True, slots=True, kw_only=True)
class ReducedOptimum:
    """A feasible invariant Z with its certificate.

    Attributes
    ----------
    e : (G,) gaps; left (G, r), s (r,), right (G, r) with M = left @ diag(s) @ right.T.
    value, gap, multiplier : mean loss, certified gap, spectral norm of the gradient.
    stationarity : largest relative violation of the stationarity conditions.
    steps : Newton steps in all.
    """

    e: np.ndarray
    left: np.ndarray
    s: np.ndarray
    right: np.ndarray
    value: float
    gap: float
    multiplier: float
    stationarity: float
    steps: int

    def reached(self, rtol: float, budget: float) -> bool:
        """Gap small against the value and against the whole decrease that the budget buys."""
        return self.gap <= rtol * min(self.value, budget * self.multiplier)


def certify_reduced(
    program: GroupProgram, e: np.ndarray, left: np.ndarray, s: np.ndarray, right: np.ndarray, *, steps: int
) -> ReducedOptimum:
    """Scale to the budget exactly; value, gap, multiplier and stationarity are computed afresh at that point."""
    c = program.budget / (program.copies @ e + s.sum())
    e, s = c * e, c * s
    M = (left * s) @ right.T
    value, gap, norm = program.gap(e, M)
    _, grad_e, grad_M, _ = program.value(e, M)
    top, toward, from_ = left.T @ grad_M @ right, grad_M @ right, left.T @ grad_M
    defects = [  # -grad M must act as mu times the polar factor on the range of M, -grad e as mu where e > 0
        np.abs(top + norm * np.eye(len(s))),
        np.abs(toward - left @ top),
        np.abs(from_ - top @ right.T),
        np.abs(program.twin_slope(grad_e) - norm)[e > 0],
    ]
    stationarity = max((d.max() for d in defects if d.size), default=0.0) / norm
    return ReducedOptimum(
        e=e, left=left, s=s, right=right, value=value, gap=gap,
        multiplier=norm, stationarity=float(stationarity), steps=steps,
    )  # fmt: skip


def _certify_point(program: GroupProgram, point: Point, rank: int, gaps: np.ndarray, steps: int) -> ReducedOptimum:
    e = np.where(gaps, np.maximum(point.e, 0), 0.0)
    return certify_reduced(program, e, point.U[:, :rank], point.s[:rank], point.Vt[:rank].T, steps=steps)


def minimise(
    program: GroupProgram,
    *,
    rtol: float = 1e-9,
    max_steps: int = 150,
    callback: Callable[[int, float], None] | None = None,
) -> ReducedOptimum:
    """The best point found; the caller asks it whether the tolerance was ``reached``.

    Cost per Newton step: one or two SVDs of size G, and about 10 to 20 steps of conjugate gradients, each eight
    matrix products of size G. Most steps are taken on programs with fewer groups.
    ``callback(step, relative_gap)`` is called whenever a new certificate is computed.
    """
    e, M, scale = balanced_frame(program)
    unit = program.value(e, M)[0]  # in units of this loss nothing underflows
    unscaled, program = program, program.rescaled(unit)
    state = start(program, max_steps)
    best = None
    while state.steps < max_steps and state.eps > 1e-14 * scale and not state.failed:
        state.step()
        if not state.failed and state.decrement < 0.1 and state.centred and state.eps < 0.02 * scale:
            found, used = _finish(unscaled, state.point, state.mu, state.eps, rtol, state.steps)
            state.steps += used
            if found is not None:
                if best is None or found.gap < best.gap:
                    best = found
                if callback is not None:
                    callback(state.steps, best.gap / best.value)
                if best.reached(rtol, program.budget):
                    return best
    point, steps = state.point, state.steps
    return best if best is not None else _certify_point(unscaled, point, program.size, program.has_twins, steps)


def _finish(
    program: GroupProgram, point: Point, mu: float, eps: float, rtol: float, steps: int
) -> tuple[ReducedOptimum | None, int]:
    """Newton on the face recognised at this point, while it contracts."""
    point, rank, gaps = restrict(point, eps)
    if rank == 0 and not gaps.any():
        return None, 0
    last, used, best = np.inf, 0, None
    while used < 15:
        tolerance = max(1e-9, min(1e-2, last))
        moved = face_step(point, rank, gaps, mu, tolerance)
        used += 1
        if moved is None or not moved[2] < max(0.5 * last, 1e-12):
            break
        point, mu, last = moved
        if last < 1e-2:
            found = _certify_point(program, point, rank, gaps, steps + used)
            if best is None or found.gap < best.gap or found.stationarity < best.stationarity:
                best = found
            loose = rtol > 1e-8 and found.reached(rtol, program.budget)
            wrong_face = last < 1e-6 and not found.reached(rtol, program.budget) and found.stationarity < 1e-6
            if last * tolerance < 1e-16 or loose or wrong_face:  # the next step would move nothing
                break
    return best, used
