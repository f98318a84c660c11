"""A linear model on one point: the logarithm law of the exponential loss, Wright's omega of the logistic loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_real
from theory._errors import InvalidInput
from theory.flow.exact._base import LARGEST_LOG, Data, MarginLimit, Times, as_times, store


def exponential_margin(z0: np.ndarray, log_rate: np.ndarray, times: Times) -> np.ndarray:
    """The solution log(e^z0 + rate t) of z' = rate e^-z."""
    return np.logaddexp(z0, log_rate + times.log_t)


def logistic_margin(z0: np.ndarray, log_rate: np.ndarray, times: Times) -> np.ndarray:
    """The solution of z' = rate / (1 + e^z), which is z + e^z = z0 + e^z0 + rate t, that is z = log omega(c)."""
    from scipy.special import wrightomega

    log_grown = log_rate + times.log_t
    top = np.maximum(z0, log_grown)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        grown = np.where(np.isfinite(times.t), np.exp(log_rate) * times.t, np.exp(np.minimum(log_grown, LARGEST_LOG)))
        c = z0 + np.exp(np.minimum(z0, LARGEST_LOG - 9)) + np.minimum(grown, 1e304)
        log_c = np.where(top < LARGEST_LOG - 10, np.log(np.maximum(c, 1.0)), np.logaddexp(z0, log_grown))
        # log omega(c) = c - omega(c), omega(c) < e^c, on the left; log c - (log c) / c + ... on the right
        return np.where(c < -40, c, np.where(c < 1e300, np.log(np.real(wrightomega(np.clip(c, -40, 1e300)))), log_c))


def log_inverse_logistic(z: np.ndarray) -> np.ndarray:
    """log(1/log(1 + e^-z)), without underflow at large z."""
    with np.errstate(over="ignore", under="ignore"):
        small = np.exp(-np.maximum(z, 0.0))
        near = -np.log(np.logaddexp(0.0, -np.minimum(z, 30.0)))
        return np.where(z > 30, z + small / 2, near)


def log_inverse_sum(inverse_losses: np.ndarray) -> np.ndarray:
    """log(1/sum_n e^-u_n) over the last axis."""
    return -np.logaddexp.reduce(-inverse_losses, axis=-1)


def _check(record: OnePointExponential | OnePointLogistic) -> None:
    x, y = as_real("x", record.x), as_real("y", record.y)
    if x == 0:
        raise InvalidInput("x must not be zero.")
    if y not in (-1.0, 1.0):
        raise InvalidInput(f"y must be -1 or 1, but is {y:g}.")
    store(record, w0=as_real("w0", record.w0), x=x, y=y)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnePointExponential:
    r"""Gradient flow of Loss = e^{-y f(x)} for the linear model f(x) = w x on one point.

    .. math:: z(t) = \log\bigl(e^{z_0} + x^2 t\bigr), \qquad z = y\, x\, w

    *derived*: z' = x^2 e^{-z}. The loss is a sum over the one sample.

    Parameters
    ----------
    w0 : initial weight. x : the point, not zero. y : its label, -1 or 1.

    Raises
    ------
    InvalidInput : numbers out of range.

    Examples
    --------
    >>> form = OnePointExponential(w0=0.0)
    >>> bool(abs(form.solution(np.e - 1)[0] - 1) < 1e-15)
    True
    >>> bool(form.log_inverse_loss(log_t=1e6) == 1e6)
    True
    """

    w0: float
    x: float = 1.0
    y: float = 1.0

    def __post_init__(self) -> None:
        _check(self)

    @property
    def theta0(self) -> np.ndarray:
        """The initial parameters, shape (1,)."""
        return np.array([self.w0])

    @property
    def data(self) -> Data:
        """X of shape (1, 1) and y of shape (1,)."""
        return Data(np.array([[self.x]]), np.array([self.y]))

    @property
    def limit(self) -> MarginLimit:
        """The direction y sign(x), with margin |x|."""
        return MarginLimit(direction=np.array([self.y * np.sign(self.x)]), margin=abs(self.x))

    def log_inverse_loss(self, t: ArrayLike | None = None, *, log_t: ArrayLike | None = None) -> np.ndarray:
        """log(1/Loss) = z, of the shape of the time; give ``t`` or ``log_t``."""
        z0, rate = np.asarray(self.y * self.x * self.w0), np.asarray(2 * np.log(abs(self.x)))
        return exponential_margin(z0, rate, as_times(t, log_t))

    def solution(self, t: ArrayLike | None = None, *, log_t: ArrayLike | None = None) -> np.ndarray:
        """The weight, of the shape of the time followed by (1,); give ``t`` or ``log_t``."""
        return np.asarray(self.log_inverse_loss(t, log_t=log_t) / (self.y * self.x))[..., None]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnePointLogistic:
    r"""Gradient flow of Loss = log(1 + e^{-y f(x)}) for the linear model f(x) = w x on one point.

    .. math:: z(t) = \log \omega\bigl(z_0 + e^{z_0} + x^2 t\bigr), \qquad z = y\, x\, w

    with omega the Wright function, omega + log omega = c (corless1996lambert for its inverse). *derived*:
    (z + e^z)' = x^2. The logarithm of omega is used and not c - omega, which cancels.

    Parameters
    ----------
    w0 : initial weight. x : the point, not zero. y : its label, -1 or 1.

    Raises
    ------
    InvalidInput : numbers out of range.

    Examples
    --------
    >>> z = OnePointLogistic(w0=0.0).solution(5.0)[0]
    >>> bool(abs(z + np.exp(z) - 6) < 1e-14)
    True
    """

    w0: float
    x: float = 1.0
    y: float = 1.0

    def __post_init__(self) -> None:
        _check(self)

    @property
    def theta0(self) -> np.ndarray:
        """The initial parameters, shape (1,)."""
        return np.array([self.w0])

    @property
    def data(self) -> Data:
        """X of shape (1, 1) and y of shape (1,)."""
        return Data(np.array([[self.x]]), np.array([self.y]))

    @property
    def limit(self) -> MarginLimit:
        """The direction y sign(x), with margin |x|."""
        return MarginLimit(direction=np.array([self.y * np.sign(self.x)]), margin=abs(self.x))

    def _margin(self, times: Times) -> np.ndarray:
        return logistic_margin(np.asarray(self.y * self.x * self.w0), np.asarray(2 * np.log(abs(self.x))), times)

    def log_inverse_loss(self, t: ArrayLike | None = None, *, log_t: ArrayLike | None = None) -> np.ndarray:
        """log(1/Loss), of the shape of the time; give ``t`` or ``log_t``."""
        return log_inverse_logistic(self._margin(as_times(t, log_t)))

    def solution(self, t: ArrayLike | None = None, *, log_t: ArrayLike | None = None) -> np.ndarray:
        """The weight, of the shape of the time followed by (1,); give ``t`` or ``log_t``."""
        return np.asarray(self._margin(as_times(t, log_t)) / (self.y * self.x))[..., None]
