"""The scalar homogeneous model: one law of time for every degree, the exponential integral at degree two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_positive, as_real
from theory._errors import InvalidInput, NotConverged
from theory.flow.exact._base import Data, MarginLimit, as_times, store

FAR = 50.0  # beyond it the asymptotic series of the law is exact in float64
TERMS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarHomogeneous:
    r"""Gradient flow of Loss = e^{-q}, q = x theta^L, for one positive parameter: degree of homogeneity L.

    .. math:: G(q(t)) = G(q(0)) + L^2 x^{2/L}\, t, \qquad G' = e^q q^{-(2 - 2/L)}

    At L = 2 this is Ei(q) = Ei(q_0) + 4 x t; at L = 1, e^q = e^{q_0} + x^2 t. G is a series of positive terms for
    q <= 50 and its asymptotic series beyond, so that t = e^{1e6} is no harder than t = 1. *derived*:
    q' = L^2 x^{2/L} q^{2 - 2/L} e^{-q}. The rates are those of lyu2020gradient, here with their constants
    (:func:`theory.flow.exact.growth_constant_loss`).

    Parameters
    ----------
    L : degree, a real number of at least 1. theta0_value : initial parameter, positive. x : margin of theta = 1.

    Raises
    ------
    InvalidInput : numbers out of range, or theta0 so small that q(0) underflows.

    Examples
    --------
    >>> from scipy.special import expi
    >>> form = ScalarHomogeneous(L=2, theta0_value=0.5)
    >>> bool(abs(expi(form.log_inverse_loss(3.0)) - expi(0.25) - 12) < 1e-13)
    True
    """

    L: float
    theta0_value: float
    x: float = 1.0

    def __post_init__(self) -> None:
        L = as_real("L", self.L)
        if L < 1:
            raise InvalidInput(f"L must be at least 1, but is {L:g}.")
        start, x = as_positive("theta0_value", self.theta0_value), as_positive("x", self.x)
        if abs(np.log(x) + L * np.log(start)) > 290 * np.log(10):
            raise InvalidInput(f"x theta0^L must lie between 1e-290 and 1e290, but theta0 is {start:g} and L is {L:g}.")
        store(self, L=L, theta0_value=start, x=x)

    @property
    def theta0(self) -> np.ndarray:
        """The initial parameter, shape (1,)."""
        return np.array([self.theta0_value])

    @property
    def data(self) -> Data:
        """X of shape (1, 1) and y of shape (1,)."""
        return Data(np.array([[self.x]]), np.ones(1))

    @property
    def limit(self) -> MarginLimit:
        """The direction 1, with margin x."""
        return MarginLimit(direction=np.ones(1), margin=self.x)

    def log_inverse_loss(self, t: ArrayLike | None = None, *, log_t: ArrayLike | None = None) -> np.ndarray:
        """log(1/Loss) = q, of the shape of the time; give ``t`` or ``log_t``."""
        times, a = as_times(t, log_t), 2 - 2 / self.L
        q0 = np.asarray(self.x * self.theta0_value**self.L)
        log_rate = 2 * np.log(self.L) + 2 / self.L * np.log(self.x)
        return _solve(q0, log_rate + times.log_t, a)

    def solution(self, t: ArrayLike | None = None, *, log_t: ArrayLike | None = None) -> np.ndarray:
        """The parameter, of the shape of the time followed by (1,); give ``t`` or ``log_t``."""
        return np.asarray((self.log_inverse_loss(t, log_t=log_t) / self.x) ** (1 / self.L))[..., None]


def _solve(q0: np.ndarray, log_time: np.ndarray, a: float) -> np.ndarray:
    """The q with G(q) = G(q0) + e^log_time."""
    near0 = float(q0) <= FAR
    G0 = float(_law(q0, a)) if near0 else np.inf
    log_G0 = float(np.log(G0)) if 0 < G0 < np.inf else float(_log_law_far(q0, a)) if not near0 else -np.inf
    boundary = float(_log_law_far(np.asarray(FAR), a))
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        grown = np.exp(np.minimum(log_time, 700.0))
        V = G0 + grown
        behind = np.log1p(np.minimum(G0, 0.0) * np.exp(-log_time)) if G0 < 0 else 0.0
        log_V = np.logaddexp(log_G0, log_time) if G0 >= 0 else np.where(V > 0, log_time + behind, -np.inf)
    far = log_V > boundary
    out = np.where(far, _invert_far(np.maximum(log_V, boundary), a), 0.0)
    if near0:
        out = np.where(far, out, _invert_near(np.where(far, G0, V), a))
    return np.maximum(out, q0)


def _law(q: np.ndarray, a: float) -> np.ndarray:
    """G(q), the integral of e^q q^-a, its constant such that the first term is (q^{1-a} - 1)/(1 - a)."""
    from scipy.special import boxcox

    k = np.arange(1, TERMS)
    scaled = np.cumprod(np.asarray(q)[..., None] / k, axis=-1)  # q^k / k!
    return boxcox(q, 1 - a) + q ** (1 - a) * (scaled / (k + 1 - a)).sum(axis=-1)


def _log_law_far(q: np.ndarray, a: float) -> np.ndarray:
    return q - a * np.log(q) + np.log(_tail(q, a)[0])


def _tail(q: np.ndarray, a: float) -> tuple[np.ndarray, np.ndarray]:
    """The asymptotic series sum_k a (a+1) ... (a+k-1) / q^k of G(q) e^-q q^a, and G' / G."""
    k = np.arange(0, 40)
    series = 1 + np.cumprod((a + k) / np.asarray(q)[..., None], axis=-1).sum(axis=-1)
    return series, 1 / series


def _invert_far(log_V: np.ndarray, a: float) -> np.ndarray:
    q = np.maximum(log_V + a * np.log(np.maximum(log_V, FAR)), FAR)
    for _ in range(50):
        step = (_log_law_far(q, a) - log_V) / _tail(q, a)[1]
        q = np.maximum(q - step, FAR * 0.9)
        if (np.abs(step) <= 4e-15 * q).all():
            return q
    raise NotConverged("the law of time was not inverted at large times.")


def _invert_near(V: np.ndarray, a: float) -> np.ndarray:
    """Newton's method for G(e^e) = V, on the logarithms of both sides above 1, kept inside a shrinking bracket."""
    low, high = np.full(V.shape, -700.0), np.full(V.shape, np.log(FAR) + 0.1)
    b = (1 - a) * V
    with np.errstate(divide="ignore", invalid="ignore"):
        # the first term of G alone, which is all of it at small q and an upper bound elsewhere
        e = np.where(b > -1, np.log1p(np.maximum(b, -1.0)) / (1 - a), np.inf) if a != 1 else V
    e = np.clip(np.nan_to_num(e, nan=0.0), low, np.where(V > 1, np.log(1 + np.log(np.maximum(V, 1.0))), high))
    for _ in range(200):
        q = np.exp(e)
        G = _law(q, a)
        gap = G - V
        low, high = np.where(gap <= 0, e, low), np.where(gap >= 0, e, high)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            step = np.where((G > 1) & (V > 1), G * np.log(G / V), gap) / (np.exp(q) * q ** (1 - a))
        if (np.abs(step) <= 1e-12).all():
            return q * (1 - step)  # the last step on q itself: log q has lost digits
        inside = ((e - step > low) & (e - step < high)) | (np.abs(step) <= 1e-12)
        e = np.where(inside, e - step, (low + high) / 2)
    raise NotConverged("the law of time was not inverted.")
