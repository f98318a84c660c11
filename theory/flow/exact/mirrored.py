"""Two mirrored points: a conserved quantity, and directions that converge like a power of time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_positive, short_repr
from theory.flow.exact._base import Data, MarginLimit, as_times, as_vector, store
from theory.flow.exact._quadrature import log_integral, solve_increasing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MirroredPoints:
    r"""Gradient flow of Loss = sum_n e^{-f(x_n)}, f(x) = w . x, on the points (a, b) and (a, -b), both labelled 1.

    .. math:: C = \sinh(b w_2)\, e^{p a w_1}, \quad p = \tfrac{b^2}{a^2}, \qquad
        t = \int_{a w_1(0)}^{a w_1} \frac{e^s\, ds}{2a^2\sqrt{1 + C^2 e^{-2ps}}}

    C is conserved; the time law is inverted by quadrature and Newton's method, to about 1e-13. The direction tends to
    (1, 0), of margin a, with w_2 of order t^{-p}: a power of t, where the norm moves the margin of generic data only
    like 1/log t (soudry2018implicit). *derived*: w_1' = 2a e^{-a w_1} cosh(b w_2), w_2' = -2b e^{-a w_1} sinh(b w_2).

    Parameters
    ----------
    a, b : positive coordinates. w0 : (2,) initial weights.

    Raises
    ------
    InvalidInput : coordinates that are not positive, weights of another shape.

    Examples
    --------
    >>> form = MirroredPoints(a=1.0, b=0.5, w0=[0.3, -0.7])
    >>> bool(abs(form.invariant(form.solution(100.0)) - form.invariant(form.theta0)) < 1e-13)
    True
    """

    a: float
    b: float
    w0: np.ndarray

    __repr__ = short_repr

    def __post_init__(self) -> None:
        a, b = as_positive("a", self.a), as_positive("b", self.b)
        store(self, a=a, b=b, w0=as_vector("w0", self.w0, 2))

    @property
    def theta0(self) -> np.ndarray:
        """The initial weights, shape (2,)."""
        return self.w0

    @property
    def data(self) -> Data:
        """X of shape (2, 2) and y of shape (2,)."""
        return Data(np.array([[self.a, self.b], [self.a, -self.b]]), np.ones(2))

    @property
    def limit(self) -> MarginLimit:
        """The direction (1, 0), with margin a."""
        return MarginLimit(direction=np.array([1.0, 0.0]), margin=self.a)

    @property
    def power(self) -> float:
        """The power p = (b/a)^2: w_2 falls like t^-p."""
        return (self.b / self.a) ** 2

    def invariant(self, w: ArrayLike) -> np.ndarray:
        """log|C| = log|sinh(b w_2)| + p a w_1 of weights (..., 2); -inf where w_2 = 0."""
        w = np.asarray(w, dtype=np.float64)
        x = np.abs(self.b * w[..., 1])
        with np.errstate(divide="ignore"):
            return _log_sinh(x) + self.power * self.a * w[..., 0]

    def log_inverse_loss(self, t: ArrayLike | None = None, *, log_t: ArrayLike | None = None) -> np.ndarray:
        """log(1/Loss) = a w_1 - log(2 cosh(b w_2)), of the shape of the time; give ``t`` or ``log_t``."""
        w = self.solution(t, log_t=log_t)
        return self.a * w[..., 0] - np.logaddexp(self.b * w[..., 1], -self.b * w[..., 1])

    def solution(self, t: ArrayLike | None = None, *, log_t: ArrayLike | None = None) -> np.ndarray:
        """The weights, of the shape of the time followed by (2,); give ``t`` or ``log_t``.

        Raises
        ------
        NotConverged : a quadrature did not reach 1e-12.
        """
        logs = as_times(t, log_t).log_t
        found = np.array([self._at(float(one)) for one in logs.ravel()])
        return found.reshape(*logs.shape, 2)

    def _at(self, log_t: float) -> np.ndarray:
        s0, p, log_C = self.a * float(self.w0[0]), self.power, float(self.invariant(self.w0))

        def phi(s: float) -> float:  # the logarithm of dt/ds
            return s - 0.5 * float(np.logaddexp(0.0, 2 * (log_C - p * s))) - math.log(2 * self.a**2)

        def law(d: float) -> tuple[float, float]:
            top = 2 * (log_C - p * (s0 + d))
            on, off = -float(np.logaddexp(0.0, -top)), -float(np.logaddexp(0.0, top))

            def fall(r: float) -> float:  # phi(s0 + d) - phi(s0 + d - r), which does not cancel
                return r + p * r + 0.5 * float(np.logaddexp(on, off - 2 * p * r))

            inner = log_integral(fall, d)
            return phi(s0 + d) + inner, math.exp(-inner)

        # phi grows at least as fast as s: d is at most log(1 + t e^-phi(s0))
        guess = float(np.logaddexp(0.0, log_t - phi(s0)))
        if guess <= 1e-15 * max(1.0, abs(s0)):
            return np.array(self.w0)
        s = s0 + solve_increasing(law, log_t, guess)
        x = float(_asinh_exp(np.asarray(log_C - p * s)))
        return np.array([s / self.a, math.copysign(x / self.b, float(self.w0[1]))])


def _log_sinh(x: np.ndarray) -> np.ndarray:
    return x + np.log(-np.expm1(-2 * x) / 2)


def _asinh_exp(y: np.ndarray) -> np.ndarray:
    """asinh(e^y) for any y."""
    return np.maximum(y, 0.0) + np.where(
        y > 0, np.log1p(np.sqrt(1 + np.exp(-2 * np.abs(y)))), np.arcsinh(np.exp(-np.abs(y)))
    )
