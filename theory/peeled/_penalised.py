r"""The penalised program after symmetry reduction: scaled columns, smoothed labels, and a bias eliminated exactly.

In :math:`Y = Z D^{1/2}` the penalties of the unconstrained-features model are :math:`\lambda_Z\|Y\|_*` (*derived*:
variational form of the nuclear norm, srebro2004maximum), so the variables (e, M) of :class:`GroupProgram` describe Y
and a column of Z is that of Y over sqrt(n_g). A bias is one number b_g per group, and

.. math:: F(Y) = \min_b \; \text{mean loss}(Z + b 1^T) + \tfrac{\lambda_b}{2} \sum_g K_g b_g^2

is again convex; its gradient is the partial one and its Hessian a Schur complement of size G.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import rel_entr

from theory.peeled._program import GroupProgram, PairMap, Softmax


@dataclass(frozen=True, slots=True)
class BiasedSoftmax(Softmax):
    """Probabilities, and the Cholesky factor of the curvature in the bias (None without one)."""

    bias: np.ndarray | None
    factor: tuple[np.ndarray, bool] | None


class PenalisedProgram(GroupProgram):
    """The smooth part of the unconstrained-features model with cross-entropy.

    Parameters
    ----------
    mass, classes : (G,) as in :class:`GroupProgram`.
    column : (G,) sqrt(n_g).
    lam_b : None without bias, 0 for a free one, else its penalty.
    smoothing : alpha of the targets (1 - alpha) e_k + alpha / K.
    """

    coarsens = False

    def __init__(
        self,
        mass: np.ndarray,
        classes: np.ndarray,
        column: np.ndarray,
        *,
        budget: float = 1.0,
        lam_b: float | None = None,
        smoothing: float = 0.0,
    ) -> None:
        super().__init__(mass, classes, budget)
        self.column, self.lam_b, self.smoothing = np.asarray(column, float), lam_b, smoothing
        total = self.classes.sum()
        self._target = smoothing / total * np.broadcast_to(self.classes[:, None], (self.size, self.size)).copy()
        self._target[self._diagonal] = 0.0
        self._target_twins = smoothing / total * self.copies
        self._last_bias = np.zeros(self.size)
        if lam_b == 0:  # a free bias makes the gradient vanish on D^(1/2) 1, hence the optimum too
            direction = self.root * self.column
            self.flat = direction / np.linalg.norm(direction)

    def priced(self, lam: float) -> PenalisedProgram:
        """The same program in units of lam, the norm at price 1."""
        out = self.rescaled(lam)
        out.penalty = 1.0
        return out

    def rescaled(self, unit: float) -> PenalisedProgram:
        """The same program with the loss (and the bias penalty) divided by ``unit``."""
        lam_b = None if self.lam_b is None else self.lam_b / unit
        out = PenalisedProgram(
            self.mass / unit, self.classes, self.column, budget=self.budget, lam_b=lam_b, smoothing=self.smoothing
        )
        out.has_twins = self.has_twins
        return out

    def value(self, e: np.ndarray, M: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, Softmax]:
        """F, its gradient in the coordinates of Y, and the probabilities at the best bias."""
        e, M = e / self.column, M / self.column
        x = M * self._outer - (e * self.copies + M[self._diagonal]) / self.classes  # logits relative to the true class
        x[self._diagonal] = -e
        b, factor = self._best_bias(x) if self.lam_b is not None else (None, None)
        if b is not None:
            x += b[:, None] - b
        loss, others, twins = self._probabilities(x)
        loss -= (self._target * x).sum(axis=0) + self._target_twins * x[self._diagonal]
        pull, pull_twins = others - self._target, twins - self._target_twins
        out = pull.sum(axis=0)
        grad_M = self._up * pull / self.column
        grad_M[self._diagonal] = -self.mass * out / self.column
        grad_e = -self.mass / self.column * (self.copies * (out + pull_twins) + pull_twins) * self.has_twins
        total = float(self.classes * self.mass @ loss)
        if b is not None:
            total += 0.5 * float(self.lam_b or 0.0) * float(self.classes @ b**2)
        return total, grad_e, grad_M, BiasedSoftmax(others, twins, b, factor)

    def _probabilities(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cross-entropy per group, group probabilities with zero diagonal, twins; from relative logits."""
        D = x + self._log_classes
        D[self._diagonal] = self._log_copies + x[self._diagonal]
        peak = np.maximum(D.max(axis=0), 0.0)
        D = np.exp(D - peak)
        rest, one = D.sum(axis=0), np.exp(-peak)
        with np.errstate(divide="ignore"):
            loss = np.where(peak > 0, peak + np.log(rest + one), np.log1p(rest))
        D /= rest + one
        twins = D[self._diagonal].copy()
        D[self._diagonal] = 0.0
        return loss, D, twins

    def _best_bias(self, x: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, bool]]:
        """Newton for the bias, started from the last one; the mean of a free bias is held at its start."""
        b, w, lam = self._last_bias, self.classes * self.mass, float(self.lam_b or 0.0)

        def energy(b: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
            y = x + b[:, None] - b
            y[self._diagonal] = x[self._diagonal]
            loss, P, _ = self._probabilities(y)
            pull = P - self._target
            value = w @ (loss - (self._target * y).sum(axis=0)) + lam / 2 * (self.classes @ b**2)
            return float(value), P, pull @ w - w * pull.sum(axis=0) + lam * self.classes * b

        value, P, slope = energy(b)
        for _ in range(60):
            # sum of w (diag(p) - p p^T), a graph Laplacian: its diagonal by row sums, so that nothing cancels
            P[self._diagonal] = 1 - P.sum(axis=0)
            H = -(P * w) @ P.T
            H[self._diagonal] = 0.0
            H[self._diagonal] = lam * self.classes - H.sum(axis=1)
            if lam == 0:  # a constant in all logits does nothing: give that direction some curvature
                H += np.outer(self.shift, self.shift) * (np.trace(H) or 1.0)
            factor = cho_factor(H + np.finfo(float).eps * np.diag(np.diagonal(H)))
            step = -cho_solve(factor, slope)
            if not -slope @ step > 1e-30 * abs(value):
                break
            length = min(1.0, 5.0 / np.abs(step).max())  # beyond a few logits the quadratic model means nothing
            trial = energy(b + length * step)
            while not trial[0] <= value + 1e-4 * length * (slope @ step) + 1e-15 * abs(value) and length > 1e-9:
                length /= 2
                trial = energy(b + length * step)
            if length <= 1e-9:
                break
            b = b + length * step
            value, P, slope = trial
            if np.abs(step).max() < 1e-15:
                break
        self._last_bias = b
        return b, factor

    def _spread(self, p: Softmax, x: np.ndarray, de: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Change of the probabilities for a change x of the relative logits (twins: -de)."""
        dP = p.others * x
        mean = dP.sum(axis=0) - p.twins * de
        return dP - p.others * mean, -p.twins * (de + mean)

    def curvature(self, p: Softmax, de: np.ndarray, dM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The Hessian of F in the coordinates of Y; O(G^2)."""
        de, dM = de / self.column, dM / self.column
        x = dM * self._outer - (de * self.copies + dM[self._diagonal]) / self.classes
        dP, d_twins = self._spread(p, x, de)
        if isinstance(p, BiasedSoftmax) and p.factor is not None:
            w = self.classes * self.mass
            db = -cho_solve(p.factor, dP @ w - w * dP.sum(axis=0))
            dP, d_twins = self._spread(p, x + db[:, None] - db, de)
        d_out = dP.sum(axis=0)
        dP = dP * self._up / self.column
        dP[self._diagonal] = -self.mass / self.column * d_out
        return -self.mass / self.column * (self.copies * (d_out + d_twins) + d_twins) * self.has_twins, dP

    def curvature_diagonal(self, p: Softmax) -> tuple[np.ndarray, np.ndarray]:
        """The diagonal of the Hessian at a fixed bias (for preconditioning)."""
        diag_e, diag_M = GroupProgram.curvature_diagonal(self, p)
        return diag_e / self.column**2, diag_M / self.column**2

    def curvature_inverse(self, p: Softmax, ridge: float | np.ndarray) -> PairMap:
        """An approximate inverse at a fixed bias (for preconditioning)."""
        inverse = GroupProgram.curvature_inverse(self, p, ridge * self.column**2)

        def scaled(re: np.ndarray, rM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            de, dM = inverse(re * self.column, rM * self.column)
            return de * self.column, dM * self.column

        return scaled

    def penalised_gap(self, e: np.ndarray, M: np.ndarray, lam: float) -> tuple[float, float, float, np.ndarray | None]:
        r"""Objective F + lam ||Y||_*, certified gap, dual scaling s, and the bias.

        For any columns p_k the value :math:`\sum_k \pi_k (H(p_k) + \text{smoothing}) - \ldots` is a lower bound as long
        as the dual matrix has norm at most lam. Taking p_s = t + s (p - t) with targets t and
        s = min(1, lam / ||grad||) gives, without cancellation,

        .. math:: \text{gap} = \sum_k \pi_k \mathrm{KL}(p_{s,k} \| p_k) + s\langle\nabla F, Y\rangle + \lambda\|Y\|_*
            + \text{(bias terms)}.

        *derived*: Fenchel duality of the log-sum-exp; the bias terms are s <grad_b, b> + lam_b/2 ||b||^2
        + s^2 ||grad_b||^2 / (2 lam_b) for a penalised bias and vanish at its optimum for a free one.
        """
        value, grad_e, grad_M, p = self.value(e, M)
        norm = self.dual_norm(grad_e, grad_M)
        s = min(1.0, lam / norm)
        nuclear = float(self.copies @ np.abs(e)) + float(np.linalg.svd(M, compute_uv=False).sum())
        w = self.classes * self.mass
        own = 1 - p.others.sum(axis=0) - p.twins
        target_own = 1 - self._target.sum(axis=0) - self._target_twins
        divergence = np.zeros(self.size)
        twins, target_twins = p.twins[None], self._target_twins[None]
        for prob, target in ((p.others, self._target), (twins, target_twins), (own[None], target_own[None])):
            mixed = target + s * (prob - target)
            divergence += (rel_entr(mixed, prob) - mixed + prob).sum(axis=0)
        gap = float(w @ divergence) + s * float(grad_e @ e + np.vdot(grad_M, M)) + lam * nuclear
        objective = value + lam * nuclear
        bias = p.bias if isinstance(p, BiasedSoftmax) else None
        if bias is not None and self.lam_b:
            # at the best bias grad_b = -lam_b K_g b_g, so the three terms make a square
            gap += 0.5 * self.lam_b * (1 - s) ** 2 * float(self.classes @ bias**2)
        return objective, gap, s, bias
