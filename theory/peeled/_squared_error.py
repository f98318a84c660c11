"""The convex program of the squared error with penalties, at the level of groups, and its dual."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from theory._certificate import Certificate


@dataclass(frozen=True, slots=True)
class Pair:
    """A primal and a dual point.

    Attributes
    ----------
    e, dual_e : (G,) within groups; left, right : (G, r), s : (r,), the SVD of the matrix of averages.
    bias : (G,) sqrt(K_g) b_g, zero without bias; dual : (G, G).
    """

    e: np.ndarray
    left: np.ndarray
    s: np.ndarray
    right: np.ndarray
    bias: np.ndarray
    dual_e: np.ndarray
    dual: np.ndarray


@dataclass(frozen=True, slots=True)
class SquaredError:
    r"""The program in the gaps within groups, the matrix of averages and the bias.

    .. math:: \sum_g (K_g - 1)\bigl[\tfrac{\kappa_g}2 (e_g - \sqrt{n_g})^2 + \lambda|e_g|\bigr]
        + \tfrac12\bigl\|(M + \beta\delta^\top - \operatorname{diag}\sqrt n)\operatorname{diag}\sqrt\kappa\bigr\|_F^2
        + \lambda\|M\|_* + \tfrac{\lambda_b}2\|\beta\|^2

    with delta_g = sqrt(K_g n_g), so that sum kappa delta^2 = 1. *derived*: for every U with ||U||_2 <= lam (and
    U delta = 0 where the bias is free) the value is at least

    .. math:: \langle U, \operatorname{diag}\sqrt n\rangle - \tfrac12\|U\operatorname{diag}\kappa^{-1/2}\|_F^2
        - \tfrac1{2\lambda_b}\|U\delta\|^2

    and the difference of the two is a sum of three squares or products that are never negative, which is how the gap
    is computed: no cancellation.

    Attributes
    ----------
    count, curvature, classes : (G,) n_g, kappa_g and K_g. lam, lam_b : penalties; lam_b None means no bias.
    """

    count: np.ndarray
    curvature: np.ndarray
    classes: np.ndarray
    lam: float
    lam_b: float | None

    @classmethod
    def of(
        cls, count: np.ndarray, mass: np.ndarray, classes: np.ndarray, lam: float, lam_b: float | None
    ) -> SquaredError:
        """From the share of one class in the loss, ``mass``."""
        return cls(count, mass / count, classes, lam, lam_b)

    @property
    def delta(self) -> np.ndarray:
        """(G,) sqrt(K_g n_g)."""
        return np.sqrt(self.classes * self.count)

    @property
    def is_unweighted(self) -> bool:
        """All curvatures equal up to rounding."""
        return bool(np.ptp(self.curvature) <= 1e-14 * self.curvature[0])

    def within_groups(self) -> tuple[np.ndarray, np.ndarray]:
        """The optimal e_g and its dual, which no other unknown touches."""
        slope = self.curvature * np.sqrt(self.count)
        return np.maximum(slope - self.lam, 0.0) / self.curvature, np.minimum(slope, self.lam)

    def hessian(self) -> np.ndarray:
        """(G, G) that multiplies M from the right once the bias is eliminated."""
        H = np.diag(self.curvature)
        if self.lam_b is not None:
            H -= np.outer(self.curvature * self.delta, self.curvature * self.delta) / (1 + self.lam_b)
        return H

    def best_bias(self, M: np.ndarray) -> np.ndarray:
        """(G,) minimiser over the bias."""
        if self.lam_b is None:
            return np.zeros(len(self.count))
        return (np.sqrt(self.count) * self.curvature * self.delta - M @ (self.curvature * self.delta)) / (
            1 + self.lam_b
        )

    def dual_point(self, U: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, float]:
        """The nearest U with U delta = lam_b bias, and the factor in (0, 1] that brings it into the ball."""
        if self.lam_b is not None:
            U = U - np.outer(U @ self.delta - self.lam_b * bias, self.delta) / (self.delta @ self.delta)
        norm = float(np.linalg.norm(U, 2))
        return U, 1.0 if norm <= self.lam else self.lam / norm

    def certificate(self, pair: Pair) -> Certificate:
        """Value, bound, and the gap between them."""
        root, k, copies = np.sqrt(self.count), self.curvature, self.classes - 1
        U, scale = self.dual_point(pair.dual, pair.bias)
        U, u = scale * U, np.minimum(pair.dual_e, self.lam)
        M = (pair.left * pair.s) @ pair.right.T
        E = M + np.outer(pair.bias, self.delta) - np.diag(root)
        value = float(copies @ (k / 2 * (pair.e - root) ** 2 + self.lam * pair.e))
        value += 0.5 * float((E**2).sum(axis=0) @ k) + self.lam * float(pair.s.sum())
        gap = float(copies @ (k / 2 * (pair.e - root + u / k) ** 2 + (self.lam - u) * pair.e))
        gap += 0.5 * float(((E + U / k) ** 2).sum(axis=0) @ k)
        gap += abs(self.lam * float(pair.s.sum()) - float(np.vdot(U, M)))
        if self.lam_b:
            value += self.lam_b / 2 * float(pair.bias @ pair.bias)
            gap += self.lam_b / 2 * (1 - scale) ** 2 * float(pair.bias @ pair.bias)  # U delta = scale lam_b bias
        return Certificate(
            lower=value - gap, upper=value, gap=gap, method="Fenchel dual of the squared error with nuclear norm",
            residuals={"stationarity": float(np.linalg.norm(E * k + U, 2)) / self.lam},
        )  # fmt: skip
