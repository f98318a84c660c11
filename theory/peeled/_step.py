r"""One Newton step of the group program: a saddle-point system solved by projected conjugate gradients.

In the coordinates :math:`\hat E = U^T (dM) V` of the current singular vectors the curvature of a spectral function
couples only the pair (ij, ji), as ``own * E_ij + cross * E_ji``; in the entries of dM the curvature of the loss has
an inverse in closed form. The preconditioner joins the two inverses: about ten products with the Hessian per step,
where either alone needs hundreds once the norm is flat on the symmetric matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from theory.peeled._program import GroupProgram, Softmax

Pair = tuple[np.ndarray, np.ndarray]
WINDOW = 3  # steps of conjugate gradients over which the gain is watched
TINY = float(np.finfo(float).tiny)
MOST = 1e60  # longest step of conjugate gradients; a ratio, for the loss itself may be e^-300


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
        M = M - np.outer(program.shift, program.shift @ M)
        if program.flat is not None:
            M -= np.outer(M @ program.flat, program.flat)
        U, s, Vt = np.linalg.svd(M)
        return cls(program, e, M, U, s, Vt, *program.value(e, M))

    def smoothed_norm(self, eps: float) -> float:
        """Sum of sqrt(s^2 + eps^2) - eps over the singular values of Z."""
        return float(self.program.copies @ (np.hypot(self.e, eps) - eps) + (np.hypot(self.s, eps) - eps).sum())

    def cost(self, eps: float) -> float:
        """The loss, with the price of the smoothed norm where it has one."""
        return self.value + (self.program.penalty * self.smoothed_norm(eps) if self.program.penalty else 0.0)

    def on_budget(self, eps: float) -> Point:
        """The multiple of this point whose smoothed norm is the budget (Newton on a convex scalar function)."""
        if self.program.penalty is not None:
            return self
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
    residual, normal : pairs (per gap e_g; matrix in the coordinates); without a normal nothing is constrained.
    shortfall : what is missing to the budget.
    own, cross : (G, G), multiplier times the spectral curvature on (ij, ij) and (ij, ji); both symmetric.
    own_e : (G,), the same for the gaps.
    free_e, free : masks of the coordinates that may move.
    """

    point: Point
    U: np.ndarray
    V: np.ndarray
    residual: Pair
    normal: Pair | None
    shortfall: float
    own: np.ndarray
    cross: np.ndarray
    own_e: np.ndarray
    free_e: np.ndarray
    free: np.ndarray

    def _preconditioner(self) -> Callable[[Pair], Pair]:
        """W L^-1 W + (1 - W) N^-1 (1 - W), the inverse of L + N if these two commuted.

        L is the curvature of the loss, whose inverse is known; N that of the norm, diagonal on the symmetric and
        the antisymmetric part of the coordinates; W = L / (L + N) by their diagonals. The least entry of N is
        counted to L, whose inverse would otherwise explode on the entries of vanishing probability.
        """
        program, softmax = self.point.program, self.point.softmax
        loss_e, loss = program.curvature_diagonal(softmax)
        loss = (self.U * self.U).T @ loss @ (self.V * self.V)
        even, odd = np.maximum(self.own + self.cross, 0), np.maximum(self.own - self.cross, 0)
        ridge = float(np.minimum(even, odd)[self.free].min()) if self.free.any() else 0.0
        inverse = program.curvature_inverse(softmax, ridge)
        loss, even, odd = np.maximum(loss + loss.T, TINY) / 2 + ridge, even - ridge, odd - ridge
        even, odd = loss / (loss + even), loss / (loss + odd)
        W_same, W_swap = (even + odd) / 2, (even - odd) / 2
        even, odd = even * (1 - even) / loss, odd * (1 - odd) / loss
        N_same, N_swap = (even + odd) / 2, (even - odd) / 2
        loss_e = np.maximum(loss_e, TINY)
        W_e = loss_e / (loss_e + self.own_e) * self.free_e
        N_e = W_e * (1 - W_e) / loss_e
        U, V, mask = self.U, self.V, self.free.astype(float)

        def precondition(r: Pair) -> Pair:
            E = r[1] * mask
            xe, x = inverse(W_e * r[0], U @ (W_same * E + W_swap * E.T) @ V.T)
            x = U.T @ x @ V
            x = W_same * x + W_swap * x.T + N_same * E + N_swap * E.T
            x *= mask
            return W_e * xe + N_e * r[0], x

        return precondition

    def solve(self, rtol: float, max_steps: int = 200) -> tuple[Pair, float, float, int]:
        """Step in the coordinates, change of the multiplier, Newton decrement, CG steps.

        The error of the step in energy norm is about ``rtol`` times the decrement.
        """
        curvature, softmax = self.point.program.curvature, self.point.softmax
        precondition = self._preconditioner()
        gap_mask, mask = self.free_e.astype(float), self.free.astype(float)

        def apply(x: Pair) -> Pair:
            he, hM = curvature(softmax, x[0], self.U @ x[1] @ self.V.T)
            out = self.U.T @ hM @ self.V
            out += self.own * x[1]
            out += self.cross * x[1].T
            out *= mask
            return gap_mask * (he + self.own_e * x[0]), out

        zero = (0 * self.residual[0], 0 * self.residual[1])
        normal = zero if self.normal is None else (gap_mask * self.normal[0], mask * self.normal[1])
        P_normal = precondition(normal)
        normal_sq = _dot(normal, P_normal) or 1.0

        def project(r: Pair) -> tuple[Pair, Pair, float]:
            g = precondition(r)
            c = _dot(normal, g) / normal_sq
            return _add(r, -c, normal), _add(g, -c, P_normal), c

        x = _add(zero, self.shortfall / normal_sq, P_normal)
        r = _add((gap_mask * self.residual[0], mask * self.residual[1]), -1.0, apply(x))
        r, g, multiplier = project(r)
        d, rg = g, _dot(r, g)
        gains = [0.0] * WINDOW  # decrease of the quadratic, twice; their tail estimates the error in energy norm
        while len(gains) < max_steps and rg > 0 and sum(gains[-WINDOW:]) >= rtol * rtol * sum(gains):
            Bd = apply(d)
            energy = _dot(d, Bd)
            if not rg / MOST < energy < MOST * MOST:  # no curvature left, or none that float64 can tell from zero
                break
            gains.append(rg / energy * rg)
            x = _add(x, rg / energy, d)
            r, g, c = project(_add(r, -rg / energy, Bd))
            multiplier += c
            rg, old = _dot(r, g), rg
            d = _add(g, rg / old, d)
        return x, multiplier, float(np.sqrt(sum(gains))), len(gains) - WINDOW


def _dot(a: Pair, b: Pair) -> float:
    return float(a[0] @ b[0] + np.vdot(a[1], b[1]))


def _add(a: Pair, c: float, b: Pair) -> Pair:
    return a[0] + c * b[0], a[1] + c * b[1]
