r"""Following the smoothed nuclear norm: from anywhere to the neighbourhood of the optimum.

The budget is smoothed to :math:`\sum \sqrt{\sigma_i^2 + \epsilon^2} - \epsilon = T` and eps is driven to zero.
The Newton system is linearised primal-dually: the curvature of the norm uses the dual singular values
:math:`\hat y = -U^T \nabla F\, V / \mu` instead of :math:`\sigma/\sqrt{\sigma^2+\epsilon^2}`, which is what makes full
steps possible when singular values must fall to zero. *derived*.
"""

from __future__ import annotations

import numpy as np

from theory.peeled._program import GroupProgram
from theory.peeled._step import Point, StepSystem


def start(program: GroupProgram, eps: float) -> tuple[Point, float]:
    """The balanced frame at the budget, and half its dual norm as the multiplier."""
    k = program.root / np.linalg.norm(program.root)
    frame = Point.at(program, program.has_twins * 1.0, np.eye(program.size) - np.outer(k, k))
    t = program.budget / frame.smoothed_norm(0.0)
    point = Point.at(program, t * frame.e, t * frame.M).on_budget(eps)
    return point, 0.5 * program.dual_norm(point.grad_e, point.grad_M)


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
    system = StepSystem(
        point, U, V, (residual_e, residual), (w * y_e, np.diag(y)),
        program.budget - point.smoothed_norm(eps),
        own=mu / 4 * (symmetric + antisymmetric), cross=mu / 4 * (symmetric - antisymmetric),
        own_e=mu * w * (1 - dual_e * e / r_e) / r_e,
        free_e=twins, free=np.ones_like(residual, bool),
    )  # fmt: skip
    (de, E), change, energy, _ = system.solve(rtol)

    # Bend the step along the matrices of fixed rank: where s_i dominates, E_ji E_ik / s_i is second order.
    dominant = (s >= 10 * s[:, None]) & (s >= 10 * eps)
    bend = U @ (np.where(dominant, E / np.maximum(s, eps), 0) @ np.where(dominant.T, E, 0)) @ V.T
    dM = U @ E @ V.T
    ceiling = point.on_budget(eps).value + 1e-11 * program.budget * mu
    length = 1.0
    while True:
        trial = Point.at(program, e + length * de, point.M + length * dM + length**2 * bend).on_budget(eps)
        if trial.value <= ceiling or length < 1e-3:
            break
        length /= 2
    return trial, max(mu + length * change, 0.2 * mu), length, energy / np.sqrt(program.budget * mu)


def off_centre(point: Point, mu: float, eps: float) -> float:
    """Largest entry of dual minus primal singular structure; 0 on the central path."""
    Y = -(point.U.T @ point.grad_M @ point.Vt.T) / mu
    Y[np.diag_indices_from(Y)] -= point.s / np.hypot(point.s, eps)
    return float(np.abs(Y).max())
