"""The focal loss as a function of the cross-entropy, its convex envelope, and its group-level program."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import xlogy


def focal(gamma: float, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""F(l) = (1 - e^-l)^gamma l and its derivative, where l = -log p is the cross-entropy."""
    wrong = -np.expm1(-loss)
    with np.errstate(divide="ignore", invalid="ignore"):
        bent = np.where(wrong > 0, gamma * loss * np.exp(-loss) * wrong ** (gamma - 1), 0.0)
    power = wrong**gamma
    return power * loss, power + bent


def envelope_end(gamma: float) -> float:
    r"""The loss up to which F equals its convex envelope on [0, infinity): F'(l) = 1; infinity for gamma = 0.

    F' rises from 0 through 1 to a maximum and falls back to 1, as
    F'' = gamma p (1-p)^(gamma-2) [(2 - l)(1 - p) + (gamma - 1) l p], p = e^-l, changes sign once. The envelope is F
    before that point and the line of slope 1 after it. *derived*.
    """
    if gamma == 0:
        return float("inf")
    high = 2.0
    while focal(gamma, np.array(high))[1] <= 1:
        high *= 1.5
    return float(brentq(lambda x: float(focal(gamma, np.array(x))[1]) - 1, 0.0, high, xtol=1e-300, rtol=1e-14))


def balanced_margin(gamma: float, K: int, cost: float) -> tuple[float, float, float]:
    r"""Margin m >= 0 of least F(log(1 + (K-1) e^-m)) + cost m, the value, and a bound on its error.

    As a function of m the loss is first concave, then convex (its slope S(p) = (1-p)^gamma (1 - p - gamma p log p)
    rises and then falls in p), so the minimum is at m = 0 or at the larger root of S = cost. *derived*.
    """

    def slope(x: float) -> float:
        return float(focal(gamma, np.array(x))[1] * -np.expm1(-x))

    at_zero = float(focal(gamma, np.array(np.log(K)))[0])
    top = float(np.log(K))
    if gamma > 0:  # the loss beyond which the slope falls again: log-derivative in p, which falls in p
        def turn(x: float) -> float:
            return -1 - 2 * gamma + gamma * x + gamma**2 * x * np.exp(-x) / np.expm1(-x)

        high = 2.0 + 2 * gamma
        while turn(high) < 0:
            high *= 2
        top = min(top, float(brentq(turn, 1e-12, high, rtol=1e-14)))
    if slope(top) <= cost:
        return 0.0, at_zero, 0.0
    low = (cost / (1 + gamma)) ** (1 / (1 + gamma))  # S <= (1 + gamma) l^(1 + gamma)
    log_x = brentq(lambda t: np.log(slope(np.exp(t)) / cost), min(np.log(low), np.log(top)), np.log(top), rtol=1e-15)
    x = float(np.exp(log_x))
    margin = float(np.log((K - 1) / np.expm1(x)))
    value = float(focal(gamma, np.array(x))[0]) + cost * margin
    step = float(1e-12 * max(1.0, abs(log_x)) * x / -np.expm1(-x))
    error = step * max(abs(slope(x * f) - cost) for f in (1 - 1e-12, 1 + 1e-12))
    return (margin, value, error) if margin > 0 and value < at_zero else (0.0, at_zero, 0.0)


@dataclass(frozen=True, slots=True)
class Probabilities:
    """Of a sample of group g: own class, one twin, one class of group h, all of group h; and its cross-entropy."""

    own: np.ndarray
    twin: np.ndarray
    each: np.ndarray
    total: np.ndarray
    loss: np.ndarray


@dataclass(frozen=True, slots=True)
class FocalProgram:
    r"""sum_k pi_k F(cross-entropy of column k of Z + b 1^T) + lam ||Z D^(1/2)||_* + (lam_b/2)||b||^2, by groups.

    Points are flat: e sqrt(K_g - 1), the G x G averages M, and b sqrt(K_g N), so that every coordinate of the matrix
    Y + b d^T counts alike. With ``convex`` F is replaced by its convex envelope.

    Attributes
    ----------
    count, mass, classes : (G,). lam, lam_b : penalties (lam_b None: no bias). gamma : exponent. end : envelope_end.
    """

    count: np.ndarray
    mass: np.ndarray
    classes: np.ndarray
    lam: float
    lam_b: float | None
    gamma: float
    end: float

    @property
    def scale_b(self) -> np.ndarray:
        """(G,) what multiplies b in the flat vector."""
        return np.sqrt(self.classes * float(self.classes @ self.count))

    def split(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """e, M, b of a flat point."""
        G = len(self.count)
        e = np.divide(x[:G], np.sqrt(self.classes - 1), out=np.zeros(G), where=self.classes > 1)
        return e, x[G : G + G * G].reshape(G, G), x[G + G * G :] / self.scale_b

    def outer(self, loss: np.ndarray, convex: bool) -> tuple[np.ndarray, np.ndarray]:
        """F or its envelope, and the derivative."""
        F, slope = focal(self.gamma, loss)
        if not convex or np.isinf(self.end):
            return F, slope
        beyond = loss > self.end
        at_end = float(focal(self.gamma, np.array(self.end))[0])
        return np.where(beyond, at_end + loss - self.end, F), np.where(beyond, 1.0, slope)

    def probabilities(self, x: np.ndarray) -> Probabilities:
        """Softmax at a flat point."""
        e, M, b = self.split(x)
        K, root = self.classes, np.sqrt(self.count)
        z = M / np.sqrt(np.outer(K, K * self.count)) + b[:, None]
        base = np.diagonal(z).copy()
        own, twin = base + e / root * (1 - 1 / K), base - e / root / K
        logits, weight = np.vstack([z, twin]), np.vstack([np.repeat(K[:, None], len(K), 1), K - 1])
        np.fill_diagonal(weight, 0)
        top = np.where(weight > 0, logits, -np.inf).max(axis=0)
        others = top + np.log((weight * np.exp(np.minimum(logits - top, 0))).sum(axis=0))
        odds = np.logaddexp(0, others - own)  # -log p_own
        each = np.exp(z - own - odds)
        total = each * K[:, None]
        p_own, p_twin = np.exp(-odds), np.exp(twin - own - odds)
        np.fill_diagonal(total, p_own + (K - 1) * p_twin)
        return Probabilities(p_own, p_twin, each, total, odds)

    def duals(self, p: Probabilities, slope: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """U of the linear minorant: its twin and average parts, and the pull on one b per group."""
        K = self.classes
        pull = (np.eye(len(K)) - p.total) * (K * self.mass * slope)
        u = self.mass * slope / np.sqrt(self.count) * (-np.expm1(-p.loss) + p.twin)
        return u, pull / np.sqrt(np.outer(K, K * self.count)), pull.sum(axis=1)

    def gradient(self, x: np.ndarray, convex: bool) -> np.ndarray:
        """Of the smooth part, flat."""
        p = self.probabilities(x)
        u, U, pull = self.duals(p, self.outer(p.loss, convex)[1])
        copies = self.classes - 1
        slope_b = np.zeros(len(u))
        if self.lam_b is not None:
            slope_b = (self.lam_b * self.classes * self.split(x)[2] - pull) / self.scale_b
        return np.concatenate([-np.sqrt(copies) * u, -U.ravel(), slope_b])

    def prox(self, x: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
        """Of the nuclear norm."""
        G, copies = len(self.count), np.sqrt(self.classes - 1)
        level = self.lam * copies
        sub_e = np.clip(x[:G] / step, -level, level)
        U, s, Vt = np.linalg.svd(x[G : G + G * G].reshape(G, G))
        M, sub_M = (U * np.maximum(s - step * self.lam, 0)) @ Vt, (U * np.minimum(s / step, self.lam)) @ Vt
        new_e = np.sign(x[:G]) * np.maximum(np.abs(x[:G]) - step * level, 0)
        return (
            np.concatenate([new_e, M.ravel(), x[G + G * G :]]),
            np.concatenate([sub_e, sub_M.ravel(), np.zeros(G)]),
        )

    def value(self, x: np.ndarray, convex: bool = False) -> float:
        """The objective."""
        e, M, b = self.split(x)
        F = self.outer(self.probabilities(x).loss, convex)[0]
        norm = float((self.classes - 1) @ np.abs(e)) + float(np.linalg.svd(M, compute_uv=False).sum())
        penalty = self.lam_b / 2 * float(self.classes @ b**2) if self.lam_b else 0.0
        return float((self.classes * self.mass) @ F) + self.lam * norm + penalty

    def lower_bound(self, x: np.ndarray) -> float:
        r"""From the tangents at x, a bound of the convex program and so of the focal one.

        For slopes a_k in [0, 1] and distributions p_k,

        .. math:: F^{**}(\ell) \ge a \ell - F^*(a), \qquad
            \ell(z, k) \ge \mathrm{Ent}(p_k) + \langle p_k - e_k, z\rangle

        so sum pi_k [a_k Ent(p_k) - F*(a_k)] is a bound once U = sum pi_k a_k n_k^(-1/2) (e_k - p_k) e_k^T has norm at
        most lam; scaling U scales it at least (F*(0) = 0 and convexity). With a penalised bias subtract
        ||r||^2/(2 lam_b), r = sum pi_k a_k (e_k - p_k); with a free bias all p_k move by r / sum pi a, which makes r
        vanish. *derived*.
        """
        p = self.probabilities(x)
        F, a = self.outer(p.loss, True)
        K, share = self.classes, self.classes * self.mass
        shift = np.zeros(len(K))
        if self.lam_b == 0:
            shift = self.duals(p, a)[2] / K / (share @ a)
        own, twin, each = p.own + shift, p.twin + shift, p.each + shift[:, None]
        if min(own.min(), np.where(K > 1, twin, 0.0).min(), each.min()) < 0:
            return 0.0
        total = each * K[:, None]
        np.fill_diagonal(total, own + (K - 1) * twin)
        moved = Probabilities(own, twin, each, total, -np.log(own))
        inner = -xlogy(each, each) * K[:, None]
        np.fill_diagonal(inner, -xlogy(own, own) - (K - 1) * xlogy(twin, np.where(K > 1, twin, 1.0)))
        u, U, pull = self.duals(moved, a)
        norm = max(float(np.linalg.norm(U, 2)), float(np.where(K > 1, u, 0.0).max()))
        s = min(1.0, self.lam / norm) if norm > 0 else 1.0
        bound = s * float(share @ (a * inner.sum(axis=0) - (a * p.loss - F)))
        if self.lam_b:
            bound -= s**2 * float((pull**2 / K).sum()) / (2 * self.lam_b)
        return bound
