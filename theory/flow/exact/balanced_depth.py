"""A chain of N equal scalar layers under the squared loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_positive
from theory._errors import InvalidInput, NotConverged
from theory.flow.exact._base import Data, as_time, store

TERMS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancedDepth:
    r"""Gradient flow of Loss = (s - u)^2 / 2, u = w^N: the linear network of N equal scalar layers on x = 1, target s.

    .. math:: u' = N u^{2 - 2/N} (s - u), \qquad
        N s^{2 - 2/N}\, t = \int_{\eta_0}^{\eta} (1 + e^{-v})^{1 - 2/N}\, dv, \quad \eta = \log\frac u{s - u}

    for u < s, and with 1 - e^{-v}, eta = -log(1 - s/u), for u > s. The integral is a pair of power series and a Gauss
    rule between them; at N = 2 it is v, the sigmoid, and at N = 4, with z = w^2,
    t = [-1/z + artanh(z/sqrt s)/sqrt s]/(2 s) between the ends. *derived*; u' is saxe2014exact's.

    Parameters
    ----------
    depth : N, at least 2. s : target, positive. w0 : initial weight of every layer, positive.

    Raises
    ------
    InvalidInput : numbers out of range; log(w0^N / s) outside [-600, 600].

    Examples
    --------
    >>> w = BalancedDepth(depth=2, s=2.0, w0=0.5).solution(1.5)
    >>> bool(abs(w[0] * w[1] - 2 * np.exp(6.0) / (np.exp(6.0) + 7)) < 1e-15)
    True
    """

    depth: int
    s: float
    w0: float

    def __post_init__(self) -> None:
        depth, s, w0 = as_count("depth", self.depth, minimum=2), as_positive("s", self.s), as_positive("w0", self.w0)
        if max(abs(depth * np.log(w0) - np.log(s)), abs(np.log(s))) > 600:
            raise InvalidInput("w0^depth, s and their ratio must lie between e^-600 and e^600.")
        store(self, depth=depth, s=s, w0=w0)

    @property
    def theta0(self) -> np.ndarray:
        """The initial layers, shape (N,)."""
        return np.full(self.depth, self.w0)

    @property
    def data(self) -> Data:
        """X of shape (1, 1) and y of shape (1,)."""
        return Data(np.ones((1, 1)), np.array([self.s]))

    @property
    def limit(self) -> np.ndarray:
        """The layers at infinite time, s^(1/N) each, shape (N,)."""
        return np.full(self.depth, self.s ** (1 / self.depth))

    def solution(self, t: ArrayLike) -> np.ndarray:
        """The layers, of the shape of the time followed by (N,)."""
        log_u = np.log(self.s) + self._log_ratio(as_time(t))
        return np.repeat(np.exp(log_u / self.depth)[..., None], self.depth, axis=-1)

    def product(self, t: ArrayLike) -> np.ndarray:
        """The output u, of the shape of the time."""
        return self.s * np.exp(self._log_ratio(as_time(t)))

    def residual(self, t: ArrayLike) -> np.ndarray:
        """The rest s - u without cancellation, of the shape of the time."""
        return -self.s * np.expm1(self._log_ratio(as_time(t)))

    def loss(self, t: ArrayLike) -> np.ndarray:
        """(s - u)^2 / 2, of the shape of the time."""
        with np.errstate(under="ignore"):
            return self.residual(t) ** 2 / 2

    def _log_ratio(self, times: np.ndarray) -> np.ndarray:
        """log(u / s)."""
        N, p = self.depth, 1 - 2 / self.depth
        start = N * np.log(self.w0) - np.log(self.s)
        with np.errstate(over="ignore"):
            clock = np.minimum(N * self.s ** (1 + p) * times, 1e300)
        if start == 0:
            return np.zeros(times.shape)
        sign = 1.0 if start < 0 else -1.0
        eta0 = start - _log1mexp(-start) if start < 0 else -_log1mexp(start)
        eta = _invert(_law(eta0, p, sign) + clock, p, sign)
        return -np.logaddexp(0.0, -eta) if sign > 0 else -_log1mexp(eta)


def _law(v: np.ndarray, p: float, sign: float) -> np.ndarray:
    """The integral of (1 + sign e^-x)^p: from 0 if sign is -1 and v > 0, else from the edge between its two series."""
    from scipy.special import binom, roots_jacobi

    k = np.arange(1, TERMS)
    inner = np.clip(v, -1.0 if sign > 0 else 0.0, 1.0)
    # between the series: a Gauss rule, with the weight x^p where the integrand vanishes like it
    nodes, weights = roots_jacobi(40, 0.0, 0.0 if sign > 0 else p)
    x = inner[..., None] * (1 + nodes) / 2
    if sign > 0:
        middle = inner / 2 * ((1 + np.exp(-x)) ** p @ weights)
    else:
        middle = (inner / 2) ** (1 + p) * ((-np.expm1(-x) / np.where(x > 0, x, 1.0)) ** p @ weights)
    right = np.maximum(v, 1.0)
    tail = (binom(p, k) * sign**k * (np.exp(-k) - np.exp(-k * right[..., None])) / k).sum(axis=-1)
    out = middle + (right - 1) + tail
    if sign > 0 and p > 0:
        left = np.minimum(v, -1.0)
        powers = np.append(-p, k - p)
        series = np.append(1.0, binom(p, k)) / powers
        with np.errstate(over="ignore"):
            out = out - (series * (np.exp(-powers) - np.exp(powers * left[..., None]))).sum(axis=-1)
    elif sign > 0:
        out = out + np.minimum(v, -1.0) + 1
    return out


def _invert(V: np.ndarray, p: float, sign: float) -> np.ndarray:
    """The v with law(v) = V; Newton's method on logarithms wherever the law is a power or an exponential."""
    if p == 0:
        return V
    if sign > 0:  # law ~ -e^(-p v) / p far left, v far right
        v = np.where(V < -2, -np.log(-p * np.minimum(V, -2.0)) / p, V)
    else:  # law ~ v^(1 + p) / (1 + p) near zero, v far right
        v = np.where(V < 1, ((1 + p) * V) ** (1 / (1 + p)), V)
    for _ in range(100):
        G = _law(v, p, sign)
        if sign > 0:
            slope = np.exp(p * np.logaddexp(0.0, -v))
            deep = (V < -2) & (G < -1)
            following = v - np.where(deep, G * np.log(np.where(deep, G / V, 1.0)), G - V) / slope
        else:
            following = v * np.exp(-np.log(G / V) * G / (v * np.exp(p * _log1mexp(v))))
        if (np.abs(following - v) <= 1e-13 * np.maximum(np.abs(v), sign)).all():
            return following
        v = following
    raise NotConverged("the law of time was not inverted.")


def _log1mexp(x: np.ndarray | float) -> np.ndarray:
    """log(1 - e^-x) for x > 0, accurate at both ends."""
    x = np.asarray(x)
    with np.errstate(under="ignore", divide="ignore"):
        return np.where(x < 0.7, np.log(-np.expm1(-np.minimum(x, 1.0))), np.log1p(-np.exp(-x)))
