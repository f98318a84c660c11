r"""Newton's method on the face of the nuclear ball that contains the optimum: quadratic, to rounding.

Once the rank r and the nonzero gaps are known the program is smooth on matrices of rank r. The Hessian there has
the antisymmetric part mu/(s_i+s_j) and, towards the null space, mu/s_i coupled by the singular values of the null
block of the gradient; the retraction adds C S^-1 B to the null block. *derived*; the certificate decides whether
the face was the right one.
"""

from __future__ import annotations

import numpy as np

from theory.peeled._step import Point, StepSystem


def restrict(point: Point, eps: float, ratio: float = 30.0) -> tuple[Point, int, np.ndarray]:
    """Drop what is of the order of the smoothing; returns the point, its rank and the mask of nonzero gaps."""
    gaps = point.program.has_twins & (point.e > ratio * eps)
    rank = int(np.count_nonzero(point.s > ratio * eps))
    return _truncate(point, point.e * gaps, rank), rank, gaps


def _truncate(point: Point, e: np.ndarray, rank: int) -> Point:
    out = Point.at(point.program, e, (point.U[:, :rank] * point.s[:rank]) @ point.Vt[:rank])
    out.s[rank:] = 0.0
    return out


def face_step(
    point: Point, rank: int, gaps: np.ndarray, mu: float, rtol: float
) -> tuple[Point, float, float] | None:
    """One full Newton step; returns point, multiplier and relative decrement, or None if it leaves the face."""
    try:
        with np.errstate(all="ignore"):
            return _face_step(point, rank, gaps, mu, rtol)
    except np.linalg.LinAlgError:
        return None


def _face_step(
    point: Point, rank: int, gaps: np.ndarray, mu: float, rtol: float
) -> tuple[Point, float, float] | None:
    program, n, s = point.program, point.program.size, point.s[:rank]
    U, Vt = point.U.copy(), point.Vt.copy()
    a, null_dual, b = np.linalg.svd(U[:, rank:].T @ point.grad_M @ Vt[rank:].T)
    U[:, rank:], Vt[rank:] = U[:, rank:] @ a, b @ Vt[rank:]

    normal = (program.copies * gaps, np.diag(np.arange(n) < rank).astype(float))
    residual = -(U.T @ point.grad_M @ Vt.T) - mu * normal[1]
    own, cross, free = np.zeros((n, n)), np.zeros((n, n)), np.ones((n, n), bool)
    free[rank:, rank:] = False
    own[:rank, :rank] = mu / (s[:, None] + s)
    cross[:rank, :rank] = -own[:rank, :rank]
    own[:rank, rank:] = (mu / s)[:, None]
    own[rank:, :rank] = mu / s
    cross[:rank, rank:] = null_dual / s[:, None]
    cross[rank:, :rank] = cross[:rank, rank:].T
    norm = float(program.copies @ point.e + s.sum())
    budget = norm if program.penalty else program.budget
    short = budget - norm
    system = StepSystem(
        point, U, Vt.T, (-(point.grad_e + mu * normal[0]), residual), None if program.penalty else normal, short,
        own=own, cross=cross, own_e=np.zeros(n), free_e=gaps, free=free,
    )  # fmt: skip
    (de, E), change, energy, _ = system.solve(rtol)
    decrement = energy / np.sqrt(budget * mu) + abs(short) / budget
    if not np.isfinite(decrement) or mu + change <= 0 or np.any((point.e + de < 0) & gaps):
        return None
    E[rank:, rank:] = (E[rank:, :rank] / s) @ E[:rank, rank:]
    E[np.arange(rank), np.arange(rank)] += s
    moved = Point.at(program, point.e + de, U @ E @ Vt)
    return _truncate(moved, moved.e, rank), mu + change, decrement

