"""A leaky ReLU layer with fixed signs on orthogonal inputs: the KKT point, and the flow into it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats, as_positive, as_real, short_repr
from theory._errors import InvalidInput, PreconditionError
from theory.flow.exact._base import (
    Data,
    MarginLimit,
    Times,
    as_problem,
    as_times,
    frozen,
    orthogonal_squares,
    store,
)
from theory.flow.exact.one_point import exponential_margin, log_inverse_sum


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LeakyReluOrthogonal:
    r"""Gradient flow of Loss = sum_n e^{-y_n f(x_n)}, f(x) = a sum_j s_j phi(w_j . x), phi(z) = max(z, slope z).

    The outer weights a s_j are fixed, s_j = 1 for the first ``m_plus`` units and -1 for the other ``m_minus``; the
    inputs are orthogonal. The margin problem min ||W||^2/2, y_n f(x_n) >= 1 has one KKT point:

    .. math:: \lambda_n = \frac1{a^2 \|x_n\|^2 \kappa_n}, \quad \kappa_n = m_{same} + slope^2\, m_{other}, \qquad
        w_j = a\, s_j \sum_n \lambda_n y_n \phi'_{jn} x_n

    with phi' = 1 where s_j = y_n and the slope elsewhere; every sample is on the margin and W has rank at most 2.
    *derived*: w_j . x_n has the sign of s_j y_n, or at slope 0 and
    s_j y_n < 0 is zero (frei2023implicit for nearly orthogonal data). From a start ``W0``
    with these signs already right the flow is closed too: q_n = log(e^{q_n(0)} + a^2 ||x_n||^2 kappa_n t), and each
    w_j gains a s_j sum_n y_n phi'_jn x_n times the integral of e^{-q_n}.

    Parameters
    ----------
    X : (n, d) inputs, orthogonal to 1e-12. y : (n,) labels -1 and 1. a : size of the outer weights, positive.
    m_plus, m_minus : units of each sign. slope : in [0, 1].
    W0 : (m_plus + m_minus, d) initial weights for ``solution``, or None where only the limit is wanted.

    Raises
    ------
    InvalidInput : shapes or numbers out of order. PreconditionError : inputs not orthogonal; a label that no unit can
        fit (slope 0 and no unit of its sign); a start in which some s_j y_n w_j . x_n is not positive.

    Examples
    --------
    >>> form = LeakyReluOrthogonal(X=np.eye(2), y=[1, -1], a=0.5, m_plus=2, m_minus=1, slope=0.1)
    >>> bool(np.abs(form.margins_of(form.weights) - 1).max() < 1e-15)
    True
    """

    X: np.ndarray
    y: np.ndarray
    m_plus: int
    m_minus: int
    a: float = 1.0
    slope: float = 0.01
    W0: np.ndarray | None = None
    _squares: np.ndarray = field(init=False, repr=False)

    __repr__ = short_repr

    def __post_init__(self) -> None:
        X, y = as_problem(self.X, self.y, signs=True)
        counts = [as_count(name, getattr(self, name), minimum=0) for name in ("m_plus", "m_minus")]
        a, slope = as_positive("a", self.a), as_real("slope", self.slope)
        if not 0 <= slope <= 1:
            raise InvalidInput(f"slope must lie in [0, 1], but is {slope:g}.")
        if sum(counts) == 0:
            raise InvalidInput("there must be at least one unit.")
        store(self, X=X, y=y, m_plus=counts[0], m_minus=counts[1], a=a, slope=slope, _squares=orthogonal_squares(X))
        if not (self._kappa() > 0).all():
            raise PreconditionError("with slope 0 every label needs a unit of its own sign.")
        if self.W0 is not None:
            W0 = as_floats("W0", self.W0)
            if W0.shape != (sum(counts), X.shape[1]):
                raise InvalidInput(f"W0 must have shape ({sum(counts)}, {X.shape[1]}), but has shape {W0.shape}.")
            aligned = self.signs[:, None] * y * (W0 @ X.T)
            if not (aligned > 0).all():
                j, n = np.unravel_index(int(aligned.argmin()), aligned.shape)
                raise PreconditionError(
                    f"s_j y_n w_j . x_n must be positive at the start, but is not for j={j}, n={n}."
                )
            store(self, W0=frozen(W0))

    @property
    def signs(self) -> np.ndarray:
        """The s_j, shape (m,)."""
        return np.repeat([1.0, -1.0], [self.m_plus, self.m_minus])

    @property
    def theta0(self) -> np.ndarray:
        """The initial weights row by row, shape (m d,)."""
        return self._start().ravel()

    @property
    def data(self) -> Data:
        """X of shape (n, d) and y of shape (n,)."""
        return Data(self.X, self.y)

    @property
    def multipliers(self) -> np.ndarray:
        """lambda_n of the margin problem, shape (n,)."""
        return 1 / (self.a**2 * self._squares * self._kappa())

    @property
    def weights(self) -> np.ndarray:
        """The KKT point, W of shape (m, d), scaled to y_n f(x_n) = 1."""
        return self.a * self.signs[:, None] * ((self.multipliers * self.y * self._slopes()) @ self.X)

    @property
    def limit(self) -> MarginLimit:
        """The KKT direction (m, d) and its margin 1/||W||."""
        W = self.weights
        return MarginLimit(direction=W / np.linalg.norm(W), margin=float(1 / np.linalg.norm(W)))

    def margins_of(self, W: ArrayLike) -> np.ndarray:
        """y_n f(x_n) of weights W (..., m, d), shape (..., n)."""
        z = np.asarray(W, dtype=np.float64) @ self.X.T
        return self.y * self.a * (self.signs[:, None] * np.where(z > 0, z, self.slope * z)).sum(axis=-2)

    def margins(self, t: ArrayLike | None = None, *, log_t: ArrayLike | None = None) -> np.ndarray:
        """q_n = y_n f(x_n), of the shape of the time followed by (n,); give ``t`` or ``log_t``."""
        times = Times(*(part[..., None] for part in as_times(t, log_t)))
        return exponential_margin(self.margins_of(self._start()), -np.log(self.multipliers), times)

    def log_inverse_loss(self, t: ArrayLike | None = None, *, log_t: ArrayLike | None = None) -> np.ndarray:
        """log(1/Loss), of the shape of the time; give ``t`` or ``log_t``."""
        return log_inverse_sum(self.margins(t, log_t=log_t))

    def solution(self, t: ArrayLike | None = None, *, log_t: ArrayLike | None = None) -> np.ndarray:
        """W, of the shape of the time followed by (m, d); give ``t`` or ``log_t``."""
        gained = (self.margins(t, log_t=log_t) - self.margins_of(self._start())) * self.multipliers
        return self._start() + self.a * self.signs[:, None] * (
            (gained * self.y)[..., None, :] * self._slopes() @ self.X
        )

    def _start(self) -> np.ndarray:
        if self.W0 is None:
            raise InvalidInput("the flow needs an initial W0; without one only the limit is known.")
        return self.W0

    def _slopes(self) -> np.ndarray:
        return np.where(self.signs[:, None] == self.y, 1.0, self.slope)

    def _kappa(self) -> np.ndarray:
        return (self._slopes() ** 2).sum(axis=0)
