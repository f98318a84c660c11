r"""Two groups of classes in four scalars (a, e, q_A, q_B): a second derivation, and the engine of phase curves.

The between-group matrix has rank one, so with :math:`c_A = \sqrt K / (K_A \sqrt{K_B})` and c_B alike

.. math::

    \ell_A = \log\bigl(1 + (K_A-1) e^{-a} + K_B e^{-a(1-1/K_A) - c_A q_A}\bigr), \qquad
    \ell_B = \log\bigl(1 + (K_B-1) e^{-e} + K_A e^{-e(1-1/K_B) - c_B q_B}\bigr)

and the budget reads :math:`(K_A-1)a + (K_B-1)e + \sqrt{q_A^2+q_B^2} = T`. *derived*.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from theory.peeled._minimise import minimise
from theory.peeled._program import ROUNDING, GroupProgram


@dataclass(slots=True)
class TwoGroups:
    """The four-scalar program for a whole vector of ratios at once; arrays have one row per ratio."""

    K_A: int
    K_B: int
    budget: float

    @property
    def K(self) -> int:
        """All classes."""
        return self.K_A + self.K_B

    @property
    def copies(self) -> np.ndarray:
        """Multiplicities of a and e in the budget; q_A and q_B enter by their norm."""
        return np.array([self.K_A - 1.0, 0.0, self.K_B - 1.0, 0.0])

    def parts(self, x: np.ndarray, R: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean loss (n,), gradient (n, 4), Hessian (n, 4, 4) in the order (a, q_A, e, q_B)."""
        n, total = len(R), self.K_A * R + self.K_B
        value, gradient, hessian = np.zeros(n), np.empty((n, 4)), np.zeros((n, 4, 4))
        for at, own, other, mass in ((0, self.K_A, self.K_B, R / total), (2, self.K_B, self.K_A, 1 / total)):
            inner, c = 1 - 1 / own, np.sqrt(self.K / other) / own
            twins = (own - 1) * np.exp(-x[:, at])
            others = other * np.exp(-inner * x[:, at] - c * x[:, at + 1])
            value += own * mass * np.log1p(twins + others)
            u, v = twins / (1 + twins + others), others / (1 + twins + others)
            slope = np.stack([-u - v * inner, -v * c], axis=1)
            along = np.array([[1.0, 0.0], [inner, c]])
            curve = np.einsum("nk,ki,kj->nij", np.stack([u, v], axis=1), along, along)
            curve -= slope[:, :, None] * slope[:, None, :]
            gradient[:, at : at + 2] = (own * mass)[:, None] * slope
            hessian[:, at : at + 2, at : at + 2] = (own * mass)[:, None, None] * curve
        return value, gradient, hessian

    def newton(self, x: np.ndarray, mu: np.ndarray, R: np.ndarray, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """KKT points near (x, mu) with the coordinates outside ``free`` (4,) held; rows may fail: certify them.

        The unknowns are (x, mu) and the step of mu is relative; held coordinates get a unit row.
        """
        x, mu, eye = x.copy(), mu.copy(), np.eye(5)
        moving = np.append(free, True)
        for _ in range(25):
            _, gradient, hessian = self.parts(x, R)
            q = x[:, [1, 3]]
            r = np.hypot(q[:, 0], q[:, 1])[:, None]
            normal = np.broadcast_to(self.copies, x.shape).copy()
            normal[:, [1, 3]] = q / r
            system = np.zeros((len(R), 5, 5))
            system[:, :4, :4] = hessian / mu[:, None, None]
            system[:, 1:4:2, 1:4:2] += np.eye(2) / r[:, :, None] - q[:, :, None] * q[:, None, :] / r[:, :, None] ** 3
            system[:, :4, 4], system[:, 4, :4] = normal, normal / self.budget
            residual = np.concatenate(
                [gradient / mu[:, None] + normal, (x @ self.copies + r[:, 0])[:, None] / self.budget - 1], axis=1
            )
            residual[:, ~moving] = 0.0
            system[:, ~moving, :] = eye[~moving]
            step = -np.linalg.solve(system, residual[:, :, None])[:, :, 0]
            x += step[:, :4]
            mu *= np.maximum(1 + step[:, 4], 0.1)
            if np.abs(residual).max() < 1e-14:
                break
        return x, mu

    def gap(self, x: np.ndarray, R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean loss and certified Frank-Wolfe gap, (n,) each, at feasible points."""
        value, gradient, _ = self.parts(x, R)
        slopes = -gradient[:, [0, 2]] / np.maximum(self.copies[[0, 2]], 1) * (self.copies[[0, 2]] > 0)
        norm = np.maximum(slopes.max(axis=1), np.hypot(gradient[:, 1], gradient[:, 3]))
        gap = (gradient * x).sum(axis=1) + self.budget * norm
        return value, np.maximum(gap, 0.0) + ROUNDING * self.budget * norm

    def on_budget(self, x: np.ndarray) -> np.ndarray:
        """Rows scaled to the budget exactly."""
        return x * (self.budget / (np.abs(x) @ self.copies + np.hypot(x[:, 1], x[:, 3])))[:, None]

    def from_program(self, R: float) -> tuple[np.ndarray, float]:
        """(x, mu) by the general solver; used where there is no neighbour to start from."""
        total = self.K_A * R + self.K_B
        program = GroupProgram(np.array([R, 1.0]) / total, np.array([self.K_A, self.K_B]), self.budget)
        found = minimise(program, rtol=1e-12)
        M = (found.left * found.s) @ found.right.T
        # columns of M point along (sqrt K_B, -sqrt K_A) / sqrt K
        along = np.sqrt(np.array([self.K_B, self.K_A]) / self.K) * (1, -1)
        q = along @ M * (1, -1)
        return np.array([found.e[0], q[0], found.e[1], q[1]]), found.multiplier
