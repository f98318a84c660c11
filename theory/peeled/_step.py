r"""One Newton step of the group program: a saddle-point system solved by projected conjugate gradients.

In the coordinates :math:`\hat E = U^T (dM) V` of the current singular vectors the curvature of a spectral
function couples only the pair (ij, ji), as ``own * E_ij + cross * E_ji``. That part is inverted exactly by the
preconditioner; the curvature of the loss enters it by its diagonal, rotated into these coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from theory.peeled._program import GroupProgram, Softmax

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(slots=True)
class Point:
    """An iterate (e, M) with the singular value decomposition of M, and what the loss says there."""

    program: GroupProgram
    e: np.ndarray
    M: np.ndarray
    U: np.ndarray
    s: np.ndarray
    Vt: np.ndarray
    value: float
    grad_e: np.ndarray
    grad_M: np.ndarray
    softmax: Softmax

    @classmethod
    def at(cls, program: GroupProgram, e: np.ndarray, M: np.ndarray) -> Point:
        """Evaluate at (e, M), the shift of logits removed from M."""
        k = program.root / np.linalg.norm(program.root)
        M = M - np.outer(k, k @ M)
        return cls(program, e, M, *np.linalg.svd(M), *program.value(e, M))

    def smoothed_norm(self, eps: float) -> float:
        """Sum of sqrt(s^2 + eps^2) - eps over the singular values of Z."""
        return float(self.program.copies @ (np.hypot(self.e, eps) - eps) + (np.hypot(self.s, eps) - eps).sum())

    def on_budget(self, eps: float) -> Point:
        """The multiple of this point whose smoothed norm is the budget (Newton on a convex scalar function)."""
        s = np.abs(np.concatenate([self.e, self.s]))
        w = np.concatenate([self.program.copies, np.ones_like(self.s)])
        c = 1.0
        for _ in range(60):
            h = np.hypot(c * s, eps)
            move = (w @ (h - eps) - self.program.budget) / (w @ (c * s * s / h))
            c = max(c - move, 0.1 * c)
            if abs(move) < 1e-14 * c:
                break
        e, M = c * self.e, c * self.M
        return Point(self.program, e, M, self.U, c * self.s, self.Vt, *self.program.value(e, M))


@dataclass(slots=True)
class StepSystem:
    """minimise 1/2 <x, B x> - <residual, x> subject to <normal, x> = shortfall, on the free coordinates.

    Attributes
    ----------
    U, V : orthogonal, the coordinates Ehat = U^T dM V.
    residual, normal : pairs (per gap e_g; matrix in the coordinates).
    shortfall : what is missing to the budget.
    own, cross : (G, G), multiplier times the spectral curvature on (ij, ij) and (ij, ji); both symmetric.
    own_e : (G,), the same for the gaps.
    free_e, free : masks of the coordinates that may move.
    """

    point: Point
    U: np.ndarray
    V: np.ndarray
    residual: Pair
    normal: Pair
    shortfall: float
    own: np.ndarray
    cross: np.ndarray
    own_e: np.ndarray
    free_e: np.ndarray
    free: np.ndarray

    def solve(self, rtol: float, max_steps: int = 200) -> tuple[Pair, float, float, int]:
        """Step in the coordinates, change of the multiplier, initial energy norm of the residual, CG steps."""
        curvature, softmax = self.point.program.curvature, self.point.softmax
        diag_e, diag_M = self.point.program.curvature_diagonal(softmax)
        rotated = np.abs((self.U * self.U).T @ diag_M @ (self.V * self.V))
        A = rotated + self.own
        det = A * A.T - self.cross * self.cross
        det[~(self.free & (det > 0))] = 1.0
        A_over, cross_over = A.T / det, self.cross / det
        ii = np.diag_indices(len(diag_e))
        own_diagonal = A[ii] + self.cross[ii]
        own_diagonal[own_diagonal <= 0] = 1.0
        scale_e = np.where(self.free_e, diag_e + self.own_e, 1.0)
        scale_e[scale_e <= 0] = 1.0
        gap_mask, mask = self.free_e.astype(float), self.free.astype(float)

        def precondition(r: Pair) -> Pair:
            x = A_over * r[1] - cross_over * r[1].T
            x[ii] = r[1][ii] / own_diagonal
            x *= mask
            return gap_mask * r[0] / scale_e, x

        def apply(x: Pair) -> Pair:
            he, hM = curvature(softmax, x[0], self.U @ x[1] @ self.V.T)
            out = self.U.T @ hM @ self.V
            out += self.own * x[1]
            out += self.cross * x[1].T
            out *= mask
            return gap_mask * (he + self.own_e * x[0]), out

        normal = (gap_mask * self.normal[0], mask * self.normal[1])
        P_normal = precondition(normal)
        normal_sq = _dot(normal, P_normal)

        def project(r: Pair) -> tuple[Pair, Pair, float]:
            g = precondition(r)
            c = _dot(normal, g) / normal_sq
            return _add(r, -c, normal), _add(g, -c, P_normal), c

        x = _add((0 * normal[0], 0 * normal[1]), self.shortfall / normal_sq, P_normal)
        r = _add((gap_mask * self.residual[0], mask * self.residual[1]), -1.0, apply(x))
        r, g, multiplier = project(r)
        d, rg = g, _dot(r, g)
        start, steps = max(rg, 0.0), 0
        while rg > rtol * rtol * start and steps < max_steps:
            Bd = apply(d)
            energy = _dot(d, Bd)
            if energy <= 0:
                break
            x = _add(x, rg / energy, d)
            r, g, c = project(_add(r, -rg / energy, Bd))
            multiplier += c
            rg, old = _dot(r, g), rg
            d = _add(g, rg / old, d)
            steps += 1
        return x, multiplier, float(np.sqrt(start)), steps


def _dot(a: Pair, b: Pair) -> float:
    return float(a[0] @ b[0] + np.vdot(a[1], b[1]))


def _add(a: Pair, c: float, b: Pair) -> Pair:
    return a[0] + c * b[0], a[1] + c * b[1]
