r"""Following the smoothed nuclear norm: from anywhere to the neighbourhood of the optimum.

The budget is smoothed to :math:`\sum \sqrt{\sigma_i^2 + \epsilon^2} - \epsilon = T` and eps is driven to zero.
The Newton system is linearised primal-dually: the curvature of the norm uses the dual singular values
:math:`\hat y = -U^T \nabla F\, V / \mu` instead of :math:`\sigma/\sqrt{\sigma^2+\epsilon^2}`, which is what makes full
steps possible when singular values must fall to zero. *derived*.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from theory.peeled._program import GroupProgram
from theory.peeled._step import Point, StepSystem

SHRINK = 0.2  # of the smoothing, per step of the path
CENTRED = 0.3  # how far off centre a point may be before the smoothing shrinks
COARSE = 48  # groups that need no coarser start
REFINE = 3  # groups of a program over those of its coarser one
LIFT = 0.01  # smoothing, over the first, at which a coarse path is handed to the program itself
LARGEST = 650.0  # exp(-LARGEST) is still a number


@dataclass(slots=True)
class PathState:
    """A point on its way down the path: multiplier, smoothing, accuracy of the next step, Newton steps so far."""

    point: Point
    mu: float
    eps: float
    rtol: float = 0.1
    decrement: float = np.inf
    centred: bool = False
    steps: int = 0
    failed: bool = False

    def step(self) -> None:
        """Shrink the smoothing if the last step allows it, then one Newton step; a step into NaN is not taken."""
        if self.centred and self.decrement < 0.3:
            self.eps *= SHRINK
        try:
            with np.errstate(all="ignore"):
                moved = path_step(self.point, self.mu, self.eps, self.rtol)
        except np.linalg.LinAlgError:
            self.failed = True
            return
        if not (np.isfinite(moved[0].value) and np.isfinite(moved[1])):
            self.failed = True
            return
        self.point, self.mu, length, self.decrement = moved
        self.rtol = min(0.1, max(self.decrement, 1e-3))
        self.centred = length >= 0.5 and off_centre(self.point, self.mu, self.eps) < CENTRED
        self.steps += 1


def balanced_frame(program: GroupProgram) -> tuple[np.ndarray, np.ndarray, float]:
    """(e, M) of the simplex frame at the smoothed budget, and the first smoothing.

    That is the mean singular value of a frame, or less: a margin above ``LARGEST`` would underflow.
    """
    t = program.budget / (program.copies @ program.has_twins + program.size - 1)
    eps = min(program.budget / program.classes.sum(), max(LARGEST * LARGEST / t - t, 0.1 * t) / 2)
    t = np.sqrt(t * (t + 2 * eps))
    return t * program.has_twins, t * (np.eye(program.size) - np.outer(program.shift, program.shift)), eps


def start(program: GroupProgram, max_steps: int, lift: float = LIFT) -> PathState:
    """The balanced frame; for many groups, a point of the path of a program with the masses rounded to few."""
    e, M, eps = balanced_frame(program)
    if program.size <= COARSE or not program.coarsens:
        point = Point.at(program, e, M)
        return PathState(point, 0.5 * program.dual_norm(point.grad_e, point.grad_M), eps)
    levels = np.log(program.mass)
    edges = np.linspace(levels.min(), levels.max(), max(COARSE, program.size // REFINE) + 1)[1:-1]
    parent = np.unique(np.searchsorted(edges, levels), return_inverse=True)[1]
    classes = np.bincount(parent, program.classes)
    mass = np.bincount(parent, program.classes * program.mass) / classes
    state = start(GroupProgram(mass, classes, program.budget), max_steps, lift / SHRINK)
    while state.steps < max_steps and not state.failed:
        if state.eps <= lift * eps and state.decrement < 0.1 and state.centred:
            break
        state.step()
    # the same logits in the coordinates of the fine groups
    spread = np.zeros((program.size, len(classes)))
    spread[np.arange(program.size), parent] = program.root / np.sqrt(classes)[parent]
    coarse, e = state.point, state.point.e[parent]
    M = np.diag(e) + spread @ (coarse.M - np.diag(coarse.e)) @ spread.T
    point = Point.at(program, e * program.has_twins, M).on_budget(state.eps)
    return PathState(point, state.mu, state.eps, steps=state.steps)


def path_step(point: Point, mu: float, eps: float, rtol: float) -> tuple[Point, float, float, float]:
    """One damped primal-dual Newton step; returns point, multiplier, step length, relative decrement."""
    program, e, s, U, V = point.program, point.e, point.s, point.U, point.Vt.T
    ii, twins, w = np.diag_indices(program.size), program.has_twins, program.copies
    r, r_e = np.hypot(s, eps), np.hypot(e, eps)
    y, y_e = s / r, e / r_e * twins
    residual = -(U.T @ point.grad_M @ V)
    dual = np.clip(residual[ii] / mu, 0, 1)
    dual_e = np.clip(program.twin_slope(point.grad_e) / mu, 0, 1)
    residual[ii] -= mu * y
    residual_e = -(point.grad_e + mu * w * y_e)

    pair = r[:, None] + r
    symmetric = (1 - dual[:, None] * (s[:, None] + s) / pair) / r
    antisymmetric = (1 - dual[:, None] * (s[:, None] - s) / pair) / r
    symmetric, antisymmetric = symmetric + symmetric.T, antisymmetric + antisymmetric.T
    bounded = program.penalty is None
    budget = program.budget if bounded else max(point.smoothed_norm(0.0), eps)
    system = StepSystem(
        point, U, V, (residual_e, residual), (w * y_e, np.diag(y)) if bounded else None,
        program.budget - point.smoothed_norm(eps) if bounded else 0.0,
        own=mu / 4 * (symmetric + antisymmetric), cross=mu / 4 * (symmetric - antisymmetric),
        own_e=mu * w * (1 - dual_e * e / r_e) / r_e,
        free_e=twins, free=np.ones_like(residual, bool),
    )  # fmt: skip
    (de, E), change, energy, _ = system.solve(rtol)

    # Bend the step along the matrices of fixed rank: where s_i dominates, E_ji E_ik / s_i is second order.
    dominant = (s >= 10 * s[:, None]) & (s >= 10 * eps)
    bend = U @ (np.where(dominant, E / np.maximum(s, eps), 0) @ np.where(dominant.T, E, 0)) @ V.T
    dM = U @ E @ V.T
    ceiling = point.on_budget(eps).cost(eps) + 1e-11 * budget * mu
    length = 1.0
    while True:
        trial = Point.at(program, e + length * de, point.M + length * dM + length**2 * bend).on_budget(eps)
        if trial.cost(eps) <= ceiling or length < 1e-3:
            break
        length /= 2
    return trial, max(mu + length * change, 0.2 * mu), length, energy / np.sqrt(budget * mu)


def off_centre(point: Point, mu: float, eps: float) -> float:
    """Largest entry of dual minus primal singular structure; 0 on the central path."""
    Y = -(point.U.T @ point.grad_M @ point.Vt.T) / mu
    Y[np.diag_indices_from(Y)] -= point.s / np.hypot(point.s, eps)
    return float(np.abs(Y).max())
