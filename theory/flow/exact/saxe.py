"""Modes of two balanced linear layers aligned with the target: one sigmoid to each singular value."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats, short_repr
from theory._errors import InvalidInput
from theory.flow.exact._base import Data, as_time, as_vector, frozen, store


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SaxeModes:
    r"""Gradient flow of Loss = ||W2 W1 - S||_F^2 / 2 from balanced layers aligned with S = U diag(s) V^T.

    .. math:: W_1 = \mathrm{diag}(\sqrt{u})\, V^\top, \quad W_2 = U\, \mathrm{diag}(\sqrt u), \qquad
        u_i(t) = \frac{u_i(0)}{e^{-2 s_i t} + u_i(0)\, \frac{1 - e^{-2 s_i t}}{s_i}}

    so every mode is a sigmoid, learnt at about log(s_i/u_i(0)) / (2 s_i). *proved*: saxe2014exact. The inputs are
    whitened; the sum is over the coordinates of the identity.

    Parameters
    ----------
    S : (o, d) target map. u0 : (r,) initial strengths of the modes in decreasing order of s, nonnegative,
        r = min(o, d); a strength of zero stays zero.

    Raises
    ------
    InvalidInput : a shape that does not meet, a negative strength.

    Examples
    --------
    >>> form = SaxeModes(S=[[3.0, 0], [0, 1]], u0=[0.1, 0.1])
    >>> np.diag(form.modes(form.half_times)).round(12).tolist()
    [1.5, 0.5]
    """

    S: np.ndarray
    u0: np.ndarray
    _left: np.ndarray = field(init=False, repr=False)
    _right: np.ndarray = field(init=False, repr=False)
    singular_values: np.ndarray = field(init=False, repr=False)

    __repr__ = short_repr

    def __post_init__(self) -> None:
        S = as_floats("S", self.S, ndim=2)
        if 0 in S.shape:
            raise InvalidInput(f"S must not be empty, but has shape {S.shape}.")
        u0 = as_vector("u0", self.u0, min(S.shape))
        if (u0 < 0).any():
            raise InvalidInput(f"u0 must be nonnegative, but contains {u0.min():g}.")
        U, s, V = np.linalg.svd(S, full_matrices=False)
        store(self, S=frozen(S), u0=u0, _left=frozen(U), _right=frozen(V), singular_values=frozen(s))

    @property
    def theta0(self) -> np.ndarray:
        """The initial layers, W1 and then W2 row by row, shape (r d + o r,)."""
        W1, W2 = self.layers(0.0)
        return np.concatenate([W1.ravel(), W2.ravel()])

    @property
    def data(self) -> Data:
        """X of shape (d, d), the identity, and y of shape (d, o): sample n has target S e_n."""
        return Data(np.eye(self.S.shape[1]), self.S.T)

    @property
    def limit(self) -> np.ndarray:
        """W2 W1 at infinite time: S on the modes that start positive, shape (o, d)."""
        return (self._left * (self.singular_values * (self.u0 > 0))) @ self._right

    @property
    def half_times(self) -> np.ndarray:
        """Times (r,) at which each mode is half its singular value; 0 if it starts above, infinite if it never is."""
        s, u0 = self.singular_values, self.u0
        with np.errstate(divide="ignore", invalid="ignore"):
            times = np.log(s / u0 - 1) / (2 * s)
        return np.where(2 * u0 >= s, 0.0, np.where(u0 > 0, times, np.inf))

    def modes(self, t: ArrayLike) -> np.ndarray:
        """The strengths u_i, of the shape of the time followed by (r,)."""
        times, s = as_time(t)[..., None], self.singular_values
        with np.errstate(under="ignore", over="ignore"):
            decay = np.exp(-2 * s * times)
            grown = np.where(s > 0, -np.expm1(-2 * s * times) / np.where(s > 0, s, 1.0), 2 * times)
        return self.u0 / (decay + self.u0 * grown)

    def solution(self, t: ArrayLike) -> np.ndarray:
        """W2 W1, of the shape of the time followed by (o, d)."""
        return (self._left * self.modes(t)[..., None, :]) @ self._right

    def layers(self, t: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """W1 (..., r, d) and W2 (..., o, r)."""
        root = np.sqrt(self.modes(t))
        return root[..., :, None] * self._right, self._left * root[..., None, :]

    def loss(self, t: ArrayLike) -> np.ndarray:
        """||W2 W1 - S||_F^2 / 2, of the shape of the time."""
        return ((self.modes(t) - self.singular_values) ** 2).sum(axis=-1) / 2
