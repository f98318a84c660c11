r"""The layer-peeled program after symmetry reduction: value, gradient, curvature in G + G^2 unknowns.

Classes of equal mass pi_k (their share of the samples) may be permuted, and the program is convex, so some
minimiser is invariant. With groups g = 1..G of K_g classes each, an invariant logit matrix is

.. math:: Z = \bigoplus_g e_g\,(I - 11^T/K_g) \;+\; \sum_{hg} \frac{M_{hg}}{\sqrt{K_h K_g}}\, 1_h 1_g^T,

where the two parts act on orthogonal subspaces, hence :math:`\|Z\|_* = \sum_g (K_g-1)|e_g| + \|M\|_*`.
*derived*: shared averaging argument of convex programs with a symmetry group; no restriction on the counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

ROUNDING = 8 * float(np.finfo(float).eps)
FAINT = 1e-12

PairMap = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, slots=True)
class Softmax:
    """Class probabilities of one sample per group, self excluded (so nothing cancels near certainty).

    Attributes
    ----------
    others : (G, G), entry (h, g) = total probability of group h for a sample of group g; diagonal zero.
    twins : (G,), total probability of the K_g - 1 other classes of the sample's own group.
    """

    others: np.ndarray
    twins: np.ndarray


class GroupProgram:
    """min sum_k pi_k loss(z_k, k) subject to ||Z||_* <= T, on invariant Z.

    Parameters
    ----------
    mass : (G,) positive, the share pi of one class of each group; sum of classes * mass is 1.
    classes : (G,) number of classes K_g.
    budget : T = K sqrt(E_W E_H).
    """

    coarsens = True  # whether the path may begin on a program with fewer groups
    penalty: float | None = None  # the price of the norm, where it has one instead of a budget
    flat: np.ndarray | None = None  # unit vector d such that M d = 0 at the optimum, where the loss ignores M d

    def __init__(self, mass: np.ndarray, classes: np.ndarray, budget: float) -> None:
        self.mass = np.asarray(mass, float)
        self.classes = np.asarray(classes, float)
        self.budget = float(budget)
        self.size = len(self.mass)
        self.copies = self.classes - 1.0  # multiplicity of the gap e_g
        self.has_twins = self.copies > 0
        self.root = np.sqrt(self.classes)
        self._outer = np.outer(1 / self.root, 1 / self.root)
        self._log_classes = np.log(self.classes)[:, None]
        self._log_copies = np.where(self.has_twins, np.log(np.maximum(self.copies, 1)), -np.inf)
        self._up = np.outer(1 / self.root, self.mass * self.root)  # from probabilities to dF/dM
        self._diagonal = np.diag_indices(self.size)
        self.shift = self.root / np.linalg.norm(self.root)

    def rescaled(self, unit: float) -> GroupProgram:
        """The same program, gaps held at zero included, with the loss in multiples of ``unit``."""
        out = GroupProgram(self.mass / unit, self.classes, self.budget)
        out.has_twins = self.has_twins
        return out

    def value(self, e: np.ndarray, M: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, Softmax]:
        """Mean loss, its gradient in (e, M), and the probabilities behind them; O(G^2)."""
        own = e * (self.copies / self.classes) + M[self._diagonal] / self.classes
        D = M * self._outer + self._log_classes - own  # log of group mass relative to the true class
        D[self._diagonal] = self._log_copies - e
        peak = np.maximum(D.max(axis=0), 0.0)
        np.exp(D - peak, out=D)
        rest, one = D.sum(axis=0), np.exp(-peak)
        with np.errstate(divide="ignore"):
            loss = np.where(peak > 0, peak + np.log(rest + one), np.log1p(rest))
        D /= rest + one
        twins = D[self._diagonal].copy()
        D[self._diagonal] = 0.0
        out = D.sum(axis=0)
        grad_M = self._up * D
        grad_M[self._diagonal] = -self.mass * out
        grad_e = -self.mass * (self.copies * (out + twins) + twins) * self.has_twins
        return float(self.classes * self.mass @ loss), grad_e, grad_M, Softmax(D, twins)

    def curvature(self, p: Softmax, de: np.ndarray, dM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The Hessian of the mean loss applied to (de, dM); O(G^2)."""
        own = de * (self.copies / self.classes) + dM[self._diagonal] / self.classes
        dP = p.others * (dM * self._outer - own)  # logits relative to the true class
        mean = dP.sum(axis=0) - p.twins * de
        dP -= p.others * mean
        d_twins = -p.twins * (de + mean)
        d_out = dP.sum(axis=0)
        dP *= self._up
        dP[self._diagonal] = -self.mass * d_out
        return -self.mass * (self.copies * (d_out + d_twins) + d_twins) * self.has_twins, dP

    def curvature_inverse(self, p: Softmax, ridge: float | np.ndarray) -> PairMap:
        """An approximate inverse of that Hessian plus ``ridge``, as a function of the pair (re, rM); O(G^2) per use.

        diag(p) - p p^T is inverted, up to a shift of the logits, by diag(1/p). Two changes keep that from exploding:
        entries (h, g) and (g, h) share their mean curvature, as on the symmetric matrices, which are the directions
        that the norm leaves flat; and no curvature counts as less than ``FAINT`` of the largest.
        """
        H = self.mass * p.others / self.classes[:, None]
        H = (H + H.T) / 2 + ridge
        least = FAINT * max(float(H.max()), float((self.mass * p.twins).max()))
        H = 1 / np.maximum(H, least)
        H[self._diagonal] = 0.0
        self_over = 1 / np.maximum(self.mass * (1 - p.others.sum(axis=0) - p.twins) + ridge, least)
        twin_over = np.where(self.has_twins, 1 / np.maximum(self.mass * p.twins + ridge, least), 0.0)

        def inverse(re: np.ndarray, rM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            total = rM[self._diagonal]
            own = (re + total) / self.classes
            own_logit, twin_logit = self_over * own, twin_over * (total - own)
            x = H * rM
            x[self._diagonal] = own_logit + self.copies * twin_logit
            x -= np.outer(self.shift, self.shift @ x)
            return (own_logit - twin_logit) * self.has_twins, x

        return inverse

    def curvature_diagonal(self, p: Softmax) -> tuple[np.ndarray, np.ndarray]:
        """The diagonal of that Hessian in the coordinates (e, M)."""
        out = p.others.sum(axis=0)
        diag_M = self.mass * p.others * (1 - p.others) / self.classes[:, None]
        diag_M[self._diagonal] = self.mass * out * (1 - out) / self.classes
        a = self.copies / self.classes
        mean = p.twins + out * a
        diag_e = self.classes * self.mass * np.maximum(p.twins + out * a * a - mean * mean, 0)
        return diag_e * self.has_twins, diag_M

    def twin_slope(self, grad_e: np.ndarray) -> np.ndarray:
        """pi_g (1 - p_self + p_twin): the singular value of -gradient on each gap; 0 without twins."""
        return -grad_e / np.maximum(self.copies, 1)

    def dual_norm(self, grad_e: np.ndarray, grad_M: np.ndarray) -> float:
        """Spectral norm of the gradient."""
        return float(max(self.twin_slope(grad_e).max(), np.linalg.norm(grad_M, 2)))

    def gap(self, e: np.ndarray, M: np.ndarray) -> tuple[float, float, float]:
        """Value, certified gap <grad, Z> + T ||grad||_2, and multiplier at a feasible point.

        *proved*: the Frank-Wolfe (equivalently Fenchel) gap, jaggi2013revisiting, bounds value - optimum.
        An allowance for rounding, a few units of T ||grad||_2 eps, is added.
        """
        value, grad_e, grad_M, _ = self.value(e, M)
        norm = self.dual_norm(grad_e, grad_M)
        gap = grad_e @ e + np.vdot(grad_M, M) + self.budget * norm
        return value, max(float(gap), 0.0) + ROUNDING * self.budget * norm, norm
