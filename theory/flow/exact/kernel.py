"""The linearised network under the squared loss: a fixed kernel and one exponential."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats, short_repr
from theory._errors import InvalidInput, PreconditionError
from theory.flow.exact._base import as_time, frozen, store


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KernelFlow:
    r"""Gradient flow of Loss = ||f - y||^2 / 2 (a sum) of a model with a fixed tangent kernel, f' = -K (f - y).

    .. math:: f(t) = f_0 + (1 - e^{-tK})(y - f_0), \qquad \theta(t) = \theta_0 + J^\top a(t), \quad
        a(t) = \int_0^t (y - f) = \frac{1 - e^{-tK}}K (y - f_0)

    for a model f = f_0 + J (theta - theta_0) with K = J J^T; the wide limit of a network (lee2019wide, who scale the
    loss by 1/n and the time by a learning rate). *derived*: one eigendecomposition, 1 - e^{-tK} by expm1.

    Parameters
    ----------
    K : (n, n) symmetric, positive semidefinite to 1e-10 of its largest eigenvalue. y, f0 : (n,) or (n, k).

    Raises
    ------
    InvalidInput : shapes that do not meet. PreconditionError : K not symmetric or not semidefinite.

    Examples
    --------
    >>> form = KernelFlow(K=[[2.0, 0], [0, 0]], y=[1, 1], f0=[0, 0])
    >>> bool(np.abs(form.solution(0.5) - [1 - np.exp(-1), 0]).max() < 1e-15)
    True
    """

    K: np.ndarray
    y: np.ndarray
    f0: np.ndarray
    _rates: np.ndarray = field(init=False, repr=False)
    _axes: np.ndarray = field(init=False, repr=False)

    __repr__ = short_repr

    def __post_init__(self) -> None:
        K, y, f0 = as_floats("K", self.K, ndim=2), as_floats("y", self.y), as_floats("f0", self.f0)
        n = len(K)
        if n == 0 or K.shape != (n, n):
            raise InvalidInput(f"K must be square and not empty, but has shape {K.shape}.")
        if y.shape != f0.shape or y.ndim not in (1, 2) or len(y) != n:
            raise InvalidInput(f"y and f0 must have shape ({n},) or ({n}, k), but have {y.shape} and {f0.shape}.")
        size = float(np.abs(K).max())
        if float(np.abs(K - K.T).max()) > 1e-10 * size:
            raise PreconditionError("K must be symmetric.")
        rates, axes = np.linalg.eigh((K + K.T) / 2)
        if rates[0] < -1e-10 * rates[-1]:
            raise PreconditionError(f"K must be positive semidefinite, but has the eigenvalue {rates[0]:.3g}.")
        rates = np.where(rates > n * np.finfo(float).eps * rates[-1], rates, 0.0)  # what is rounding does not grow
        store(self, K=frozen(K), y=frozen(y), f0=frozen(f0), _rates=frozen(rates), _axes=frozen(axes))

    @property
    def limit(self) -> np.ndarray:
        """The outputs at infinite time: y on the range of K, f_0 on its null space; shape of y."""
        return self.f0 + self._apply((self._rates > 0).astype(float))

    def solution(self, t: ArrayLike) -> np.ndarray:
        """The outputs f, of the shape of the time followed by that of y."""
        with np.errstate(under="ignore", over="ignore"):
            return self.f0 + self._apply(-np.expm1(-as_time(t)[..., None] * self._rates))

    def dual(self, t: ArrayLike) -> np.ndarray:
        """a(t), with theta(t) = theta_0 + J^T a(t), of the shape of the time followed by that of y."""
        times = as_time(t)[..., None]
        safe = np.where(self._rates > 0, self._rates, 1.0)
        with np.errstate(under="ignore", over="ignore"):
            return self._apply(np.where(self._rates > 0, -np.expm1(-times * safe) / safe, times))

    def loss(self, t: ArrayLike) -> np.ndarray:
        """||f - y||^2 / 2, of the shape of the time."""
        coordinates = (self._axes.T @ (self.y - self.f0)).reshape(len(self.K), -1)
        with np.errstate(under="ignore", over="ignore"):
            left = np.exp(-2 * as_time(t)[..., None] * self._rates)
        return left @ (coordinates**2).sum(axis=1) / 2

    def _apply(self, weights: np.ndarray) -> np.ndarray:
        """V diag(weights) V^T (y - f_0), for weights (..., n)."""
        coordinates = self._axes.T @ (self.y - self.f0)
        if self.y.ndim == 1:
            return (weights * coordinates) @ self._axes.T
        return self._axes @ (weights[..., None] * coordinates)
