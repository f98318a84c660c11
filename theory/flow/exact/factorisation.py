"""A product of two scalars under the squared loss: both factors in closed form, balanced or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_real
from theory._errors import InvalidInput
from theory.flow.exact._base import Data, as_time, store


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarFactorisation:
    r"""Gradient flow of Loss = (s - a b)^2 / 2: the linear network b (a x) on the point x = 1 with target s.

    .. math:: \binom ab = \frac{e^{Dt/2} c_+ v_+ + e^{-Dt/2} c_- v_-}
        {\sqrt{1 + \varphi\,(e^{Dt} c_+^2 + c_-^2)}}, \qquad
        s - ab = \frac{s - a_0 b_0}{1 + \varphi\,(e^{Dt} c_+^2 + c_-^2)}, \qquad \varphi = \frac{1 - e^{-Dt}}D

    with c = a^2 - b^2 conserved, D = sqrt(c^2 + 4 s^2), v_+- the eigenvectors of [[c/2, s], [s, -c/2]] and c_+- the
    coordinates of the start in them. *derived*: with q = (a, b) the flow is q' = F q - q |q|^2 / 2, which a scalar
    turns into a linear one. For c = 0 and a b > 0 it is the sigmoid of saxe2014exact,
    ab = s e^{2st} / (e^{2st} - 1 + s/(a_0 b_0)); for c != 0 it solves the implicit law of that paper explicitly.

    Parameters
    ----------
    s : target. a0, b0 : initial factors, of any sign; all at most 1e75 in magnitude.

    Raises
    ------
    InvalidInput : numbers that are not finite or too large.

    Examples
    --------
    >>> form = ScalarFactorisation(s=2.0, a0=0.1, b0=0.1)
    >>> t = 1.5
    >>> bool(abs(form.product(t) - 2 * np.exp(4 * t) / (np.exp(4 * t) - 1 + 200)) < 1e-15)
    True
    """

    s: float
    a0: float
    b0: float

    def __post_init__(self) -> None:
        values = {name: as_real(name, getattr(self, name)) for name in ("s", "a0", "b0")}
        if max(map(abs, values.values())) > 1e75:
            raise InvalidInput("s, a0 and b0 must be at most 1e75 in magnitude.")
        store(self, **values)

    @property
    def theta0(self) -> np.ndarray:
        """The initial factors (a, b), shape (2,)."""
        return np.array([self.a0, self.b0])

    @property
    def data(self) -> Data:
        """X of shape (1, 1) and y of shape (1,)."""
        return Data(np.ones((1, 1)), np.array([self.s]))

    @property
    def imbalance(self) -> float:
        """The conserved a^2 - b^2."""
        return (self.a0 - self.b0) * (self.a0 + self.b0)

    @property
    def limit(self) -> np.ndarray:
        """The factors (a, b) at infinite time; zero from the stable manifold of the saddle, decided to rounding."""
        D, axes, plus, _ = self._modes()
        return np.sign(plus) * np.sqrt(D) * axes[0]

    def solution(self, t: ArrayLike) -> np.ndarray:
        """The factors (a, b), of the shape of the time followed by (2,)."""
        times = as_time(t)[..., None]
        D, axes, plus, minus = self._modes()
        growth, denominator = self._growth(times)
        with np.errstate(under="ignore", over="ignore"):
            shrunk = np.exp(-D * times / 2) * minus
        return (np.sign(plus) * np.sqrt(growth) * axes[0] + shrunk * axes[1]) / np.sqrt(denominator)

    def product(self, t: ArrayLike) -> np.ndarray:
        """The output a b, of the shape of the time."""
        return self.solution(t).prod(axis=-1)

    def residual(self, t: ArrayLike) -> np.ndarray:
        """The rest s - a b without cancellation, of the shape of the time."""
        return (self.s - self.a0 * self.b0) / self._growth(as_time(t))[1]

    def loss(self, t: ArrayLike) -> np.ndarray:
        """(s - a b)^2 / 2, of the shape of the time."""
        return self.residual(t) ** 2 / 2

    def _modes(self) -> tuple[float, np.ndarray, float, float]:
        c = self.imbalance
        angle = np.arctan2(2 * self.s, c) / 2
        axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        plus, minus = axes @ self.theta0
        on_manifold = abs(plus) <= 4 * np.finfo(float).eps * abs(minus)
        return float(np.hypot(c, 2 * self.s)), axes, 0.0 if on_manifold else float(plus), float(minus)

    def _growth(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """e^(Dt) c_+^2, cut at e^600 where it is as good as infinite, and the denominator."""
        D, _, plus, minus = self._modes()
        with np.errstate(under="ignore", over="ignore", divide="ignore"):
            growth = np.exp(np.minimum(D * times + 2 * np.log(abs(plus)), 600.0))
            phi = -np.expm1(-D * times) / D if D > 0 else times
        return growth, 1 + phi * (growth + minus**2)
