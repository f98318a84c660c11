"""A linear model on mutually orthogonal inputs: every sample runs on its own."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import short_repr
from theory.flow.exact._base import (
    Data,
    MarginLimit,
    Times,
    as_problem,
    as_times,
    as_vector,
    orthogonal_squares,
    store,
)
from theory.flow.exact.one_point import (
    exponential_margin,
    log_inverse_logistic,
    log_inverse_sum,
    logistic_margin,
)


def _check(record: OrthogonalExponential | OrthogonalLogistic) -> None:
    X, y = as_problem(record.X, record.y, signs=True)
    store(record, X=X, y=y, w0=as_vector("w0", record.w0, X.shape[1]), _squares=orthogonal_squares(X))


def _limit(data: Data, squares: np.ndarray) -> MarginLimit:
    margin = float(1 / np.sqrt(np.sum(1 / squares)))
    return MarginLimit(direction=margin * (data.y / squares) @ data.X, margin=margin)


def _weights(data: Data, squares: np.ndarray, w0: np.ndarray, z: np.ndarray) -> np.ndarray:
    # what of w0 is orthogonal to the data stays; the rest is rebuilt from the margins
    resting = w0 - ((data.X @ w0) / squares) @ data.X
    return resting + (data.y * z / squares) @ data.X


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OrthogonalExponential:
    r"""Gradient flow of Loss = sum_n e^{-y_n f(x_n)}, f(x) = w . x, on mutually orthogonal inputs.

    .. math:: z_n(t) = \log\bigl(e^{z_n(0)} + \|x_n\|^2 t\bigr), \qquad
        w(t) = w_0 + \sum_n y_n x_n \frac{z_n(t) - z_n(0)}{\|x_n\|^2}, \qquad z_n = y_n\, w\cdot x_n

    The direction tends to sum_n y_n x_n/||x_n||^2, of margin (sum_n 1/||x_n||^2)^{-1/2}. *derived*:
    z_n' = ||x_n||^2 e^{-z_n}. The distance to the limit falls like 1/log t, as for all separable data
    (soudry2018implicit).

    Parameters
    ----------
    X : (n, d) inputs, orthogonal to 1e-12. y : (n,) labels -1 and 1. w0 : (d,) initial weights.

    Raises
    ------
    InvalidInput : shapes or labels out of order, an input of zero. PreconditionError : inputs not orthogonal.

    Examples
    --------
    >>> form = OrthogonalExponential(X=[[1, 1], [1, -1]], y=[1, -1], w0=[0, 0])
    >>> np.allclose(form.solution(np.e - 1), np.log(1 + 2 * (np.e - 1)) * np.array([0, 1]), atol=1e-15)
    True
    """

    X: np.ndarray
    y: np.ndarray
    w0: np.ndarray
    _squares: np.ndarray = field(init=False, repr=False)

    __repr__ = short_repr

    def __post_init__(self) -> None:
        _check(self)

    @property
    def theta0(self) -> np.ndarray:
        """The initial weights, shape (d,)."""
        return self.w0

    @property
    def data(self) -> Data:
        """X of shape (n, d) and y of shape (n,)."""
        return Data(self.X, self.y)

    @property
    def limit(self) -> MarginLimit:
        """The maximum-margin direction (d,) and its margin."""
        return _limit(self.data, self._squares)

    def margins(self, t: ArrayLike | None = None, *, log_t: ArrayLike | None = None) -> np.ndarray:
        """z_n, of the shape of the time followed by (n,); give ``t`` or ``log_t``."""
        times = Times(*(part[..., None] for part in as_times(t, log_t)))
        return exponential_margin(self.y * (self.X @ self.w0), np.log(self._squares), times)

    def log_inverse_loss(self, t: ArrayLike | None = None, *, log_t: ArrayLike | None = None) -> np.ndarray:
        """log(1/Loss), of the shape of the time; give ``t`` or ``log_t``."""
        return log_inverse_sum(self.margins(t, log_t=log_t))

    def solution(self, t: ArrayLike | None = None, *, log_t: ArrayLike | None = None) -> np.ndarray:
        """The weights, of the shape of the time followed by (d,); give ``t`` or ``log_t``."""
        return _weights(self.data, self._squares, self.w0, self.margins(t, log_t=log_t))

    def normalised_margin(self, t: ArrayLike | None = None, *, log_t: ArrayLike | None = None) -> np.ndarray:
        """min_n z_n / ||w||, of the shape of the time; NaN where w is zero. Give ``t`` or ``log_t``."""
        z = self.margins(t, log_t=log_t).min(axis=-1)
        length = np.linalg.norm(self.solution(t, log_t=log_t), axis=-1)
        return np.where(length > 0, z / np.where(length > 0, length, 1.0), np.nan)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OrthogonalLogistic:
    r"""Gradient flow of Loss = sum_n log(1 + e^{-y_n f(x_n)}), f(x) = w . x, on mutually orthogonal inputs.

    .. math:: z_n(t) = \log\omega\bigl(z_n(0) + e^{z_n(0)} + \|x_n\|^2 t\bigr), \qquad
        w(t) = w_0 + \sum_n y_n x_n \frac{z_n(t) - z_n(0)}{\|x_n\|^2}, \qquad z_n = y_n\, w\cdot x_n

    with omega the Wright function; the limit is that of the exponential loss. *derived*: as for one point.

    Parameters
    ----------
    X : (n, d) inputs, orthogonal to 1e-12. y : (n,) labels -1 and 1. w0 : (d,) initial weights.

    Raises
    ------
    InvalidInput : shapes or labels out of order, an input of zero. PreconditionError : inputs not orthogonal.

    Examples
    --------
    >>> from theory.flow.exact.one_point import OnePointLogistic
    >>> form = OrthogonalLogistic(X=[[2.0, 0], [0, 3]], y=[1, -1], w0=[0.1, 0.2])
    >>> bool(abs(form.solution(7.0)[1] - OnePointLogistic(w0=0.2, x=3.0, y=-1).solution(7.0)[0]) < 1e-15)
    True
    """

    X: np.ndarray
    y: np.ndarray
    w0: np.ndarray
    _squares: np.ndarray = field(init=False, repr=False)

    __repr__ = short_repr

    def __post_init__(self) -> None:
        _check(self)

    @property
    def theta0(self) -> np.ndarray:
        """The initial weights, shape (d,)."""
        return self.w0

    @property
    def data(self) -> Data:
        """X of shape (n, d) and y of shape (n,)."""
        return Data(self.X, self.y)

    @property
    def limit(self) -> MarginLimit:
        """The maximum-margin direction (d,) and its margin."""
        return _limit(self.data, self._squares)

    def margins(self, t: ArrayLike | None = None, *, log_t: ArrayLike | None = None) -> np.ndarray:
        """z_n, of the shape of the time followed by (n,); give ``t`` or ``log_t``."""
        times = Times(*(part[..., None] for part in as_times(t, log_t)))
        return logistic_margin(self.y * (self.X @ self.w0), np.log(self._squares), times)

    def log_inverse_loss(self, t: ArrayLike | None = None, *, log_t: ArrayLike | None = None) -> np.ndarray:
        """log(1/Loss), of the shape of the time; give ``t`` or ``log_t``."""
        return log_inverse_sum(log_inverse_logistic(self.margins(t, log_t=log_t)))

    def solution(self, t: ArrayLike | None = None, *, log_t: ArrayLike | None = None) -> np.ndarray:
        """The weights, of the shape of the time followed by (d,); give ``t`` or ``log_t``."""
        return _weights(self.data, self._squares, self.w0, self.margins(t, log_t=log_t))
