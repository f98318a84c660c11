"""Two-layer ReLU networks on orthogonal inputs: the least norm of an interpolant, and where one neuron ends."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from theory._arrays import as_real, short_repr
from theory._errors import InvalidInput, PreconditionError
from theory.flow.exact._base import Data, as_problem, as_vector, orthogonal_squares, store


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MinimumVariationNorm:
    r"""Least (1/2) sum_j (a_j^2 + ||w_j||^2) over the networks f(x) = sum_j a_j max(w_j . x, 0) with f(x_n) = y_n.

    .. math:: \sqrt{\sum_{y_n > 0} \frac{y_n^2}{\|x_n\|^2}} + \sqrt{\sum_{y_n < 0} \frac{y_n^2}{\|x_n\|^2}}

    on orthogonal inputs, attained by one neuron of each sign; any number of neurons, no bias. *derived*: each neuron
    costs at least |a_j| ||w_j||, and with p_n = y_n / (||x_n||^2 c), c the root that belongs to the sign of y_n,
    |sum_n p_n max(w . x_n, 0)| <= ||w|| by Cauchy-Schwarz on either sign, so sum_n p_n y_n is a lower bound. Gradient
    flow of the squared loss from a small start tends to it (boursier2022gradient).

    Parameters
    ----------
    X : (n, d) inputs, orthogonal to 1e-12. y : (n,) real targets.

    Raises
    ------
    InvalidInput : shapes out of order, an input of zero. PreconditionError : inputs not orthogonal.

    Examples
    --------
    >>> MinimumVariationNorm(X=np.eye(3), y=[3, 4, -2]).value
    7.0
    """

    X: np.ndarray
    y: np.ndarray
    _squares: np.ndarray = field(init=False, repr=False)

    __repr__ = short_repr

    def __post_init__(self) -> None:
        X, y = as_problem(self.X, self.y, signs=False)
        store(self, X=X, y=y, _squares=orthogonal_squares(X))

    @property
    def data(self) -> Data:
        """X of shape (n, d) and y of shape (n,)."""
        return Data(self.X, self.y)

    @property
    def value(self) -> float:
        """The least half squared norm."""
        return float(sum(self._parts()))

    @property
    def limit(self) -> tuple[np.ndarray, np.ndarray]:
        """Outer weights (2,) and inner weights (2, d) of a minimiser: one neuron for each sign, maybe zero."""
        outer, inner = np.zeros(2), np.zeros((2, self.X.shape[1]))
        for j, (sign, c) in enumerate(zip((1.0, -1.0), self._parts(), strict=True)):
            if c > 0:
                outer[j] = sign * np.sqrt(c)
                inner[j] = (np.maximum(sign * self.y, 0.0) / self._squares) @ self.X / np.sqrt(c)
        return outer, inner

    @property
    def dual(self) -> np.ndarray:
        """A certificate p (n,): sum_n p_n y_n is ``value``, and |sum_n p_n max(w . x_n, 0)| <= ||w|| for every w."""
        positive, negative = self._parts()
        scale = np.where(self.y > 0, positive, negative)
        return np.where(scale > 0, self.y / (self._squares * np.where(scale > 0, scale, 1.0)), 0.0)

    def _parts(self) -> tuple[float, float]:
        positive = np.sum(np.maximum(self.y, 0.0) ** 2 / self._squares)
        negative = np.sum(np.minimum(self.y, 0.0) ** 2 / self._squares)
        return float(np.sqrt(positive)), float(np.sqrt(negative))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OneActiveNeuron:
    r"""Where gradient flow of Loss = (1/2) sum_n (f(x_n) - y_n)^2 takes one ReLU neuron f(x) = a max(w . x, 0).

    .. math:: a^4 - (c + \|w_\perp\|^2)\, a^2 - \sum_n \frac{y_n^2}{\|x_n\|^2} = 0, \qquad
        w = w_\perp + \frac1a \sum_n \frac{y_n x_n}{\|x_n\|^2}, \qquad c = a_0^2 - \|w_0\|^2

    the sums over the samples active at the start, w_perp the part of w_0 orthogonal to these. *derived*: on
    orthogonal inputs active samples stay active and the others are never seen; c and w_perp are conserved. The
    path itself has no closed form; the end is exact at any scale of the start.

    Parameters
    ----------
    X : (n, d) inputs, orthogonal to 1e-12. y : (n,) targets; those of active samples have the sign of a0.
    a0 : initial outer weight, not zero. w0 : (d,) initial inner weights, active on at least one sample.

    Raises
    ------
    InvalidInput : shapes out of order, a0 = 0. PreconditionError : inputs not orthogonal, no active sample, or an
        active one whose target lacks the sign of a0.

    Examples
    --------
    >>> a, w = OneActiveNeuron(X=[[2.0, 0]], y=[3.0], a0=0.1, w0=[0.1, 0.5]).limit
    >>> bool(abs(a * w[0] * 2 - 3) < 1e-14), bool(abs(a**2 - w @ w - (0.01 - 0.26)) < 1e-14)
    (True, True)
    """

    X: np.ndarray
    y: np.ndarray
    a0: float
    w0: np.ndarray
    _squares: np.ndarray = field(init=False, repr=False)

    __repr__ = short_repr

    def __post_init__(self) -> None:
        X, y = as_problem(self.X, self.y, signs=False)
        a0, w0 = as_real("a0", self.a0), as_vector("w0", self.w0, X.shape[1])
        if a0 == 0:
            raise InvalidInput("a0 must not be zero.")
        store(self, X=X, y=y, a0=a0, w0=w0, _squares=orthogonal_squares(X))
        if not self.active.any():
            raise PreconditionError("the neuron must be active on at least one sample at the start.")
        if not (y[self.active] * a0 > 0).all():
            raise PreconditionError("the targets of the active samples must have the sign of a0.")

    @property
    def active(self) -> np.ndarray:
        """Which samples the neuron sees, shape (n,)."""
        return self.X @ self.w0 > 0

    @property
    def theta0(self) -> np.ndarray:
        """(a, w) at the start, shape (1 + d,)."""
        return np.append(self.a0, self.w0)

    @property
    def data(self) -> Data:
        """X of shape (n, d) and y of shape (n,)."""
        return Data(self.X, self.y)

    @property
    def limit(self) -> tuple[float, np.ndarray]:
        """Outer weight and inner weights (d,) at infinite time."""
        seen = self.active
        X, squares = self.X[seen], self._squares[seen]
        resting = self.w0 - ((X @ self.w0) / squares) @ X
        half = (self.a0**2 - float(self.w0 @ self.w0) + float(resting @ resting)) / 2
        power = float(np.sum(self.y[seen] ** 2 / squares))
        root = float(np.hypot(half, np.sqrt(power)))
        square = half + root if half > 0 else power / (root - half)  # the positive root, without cancellation
        a = float(np.copysign(np.sqrt(square), self.a0))
        return a, resting + (self.y[seen] / squares) @ X / a
