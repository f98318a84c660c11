"""A product of two factors under the exponential loss, balanced or not, from any start but a saddle."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_real
from theory._errors import InvalidInput
from theory.flow.exact._base import Data, MarginLimit, as_times, store
from theory.flow.exact._quadrature import log_integral, solve_increasing


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoFactors:
    r"""Gradient flow of Loss = e^{-q}, q = u v: the linear network v (u x) on the point x = 1 of label 1.

    .. math:: u \pm v = (u_0 \pm v_0)\, e^{\pm\tau}, \qquad q = \tfrac14\bigl(A e^{2\tau} - B e^{-2\tau}\bigr), \qquad
        t = \int_0^\tau e^{q(\sigma)}\, d\sigma

    with A = (u_0 + v_0)^2 and B = (u_0 - v_0)^2; u^2 - v^2 is conserved and dq/dt = sqrt((u^2 - v^2)^2 + 4 q^2) e^{-q}
    . The time law is inverted by quadrature and Newton's method, to about 1e-13. The direction tends to
    sign(u_0 + v_0) (1, 1)/sqrt 2, of margin 1/2. *derived*: in the time dtau = e^{-q} dt the flow is linear.

    Parameters
    ----------
    u0, v0 : initial factors; u_0 + v_0 must not vanish, or the flow runs into the saddle at zero.

    Raises
    ------
    InvalidInput : numbers that are not finite or above 1e150, u_0 = -v_0.

    Examples
    --------
    >>> form = TwoFactors(u0=1.2, v0=-0.4)
    >>> u, v = form.solution(50.0)
    >>> bool(abs((u**2 - v**2) - (1.2**2 - 0.4**2)) < 1e-13)
    True
    """

    u0: float
    v0: float

    def __post_init__(self) -> None:
        u0, v0 = as_real("u0", self.u0), as_real("v0", self.v0)
        if max(abs(u0), abs(v0)) > 1e150:
            raise InvalidInput("u0 and v0 must be at most 1e150 in magnitude.")
        if abs(u0 + v0) < 1e-150:
            raise InvalidInput("u0 + v0 must not vanish: the flow would run into the saddle at zero.")
        store(self, u0=u0, v0=v0)

    @property
    def theta0(self) -> np.ndarray:
        """The initial factors (u, v), shape (2,)."""
        return np.array([self.u0, self.v0])

    @property
    def data(self) -> Data:
        """X of shape (1, 1) and y of shape (1,)."""
        return Data(np.ones((1, 1)), np.ones(1))

    @property
    def limit(self) -> MarginLimit:
        """The direction of equal factors, with margin 1/2."""
        sign = math.copysign(1.0, self.u0 + self.v0)
        return MarginLimit(direction=np.full(2, sign / math.sqrt(2)), margin=0.5)

    def solution(self, t: ArrayLike | None = None, *, log_t: ArrayLike | None = None) -> np.ndarray:
        """The factors (u, v), of the shape of the time followed by (2,); give ``t`` or ``log_t``.

        Raises
        ------
        NotConverged : a quadrature did not reach 1e-12.
        """
        logs = as_times(t, log_t).log_t
        found = np.array([self._at(float(one)) for one in logs.ravel()])
        return found.reshape(*logs.shape, 2)

    def log_inverse_loss(self, t: ArrayLike | None = None, *, log_t: ArrayLike | None = None) -> np.ndarray:
        """log(1/Loss) = u v, of the shape of the time; give ``t`` or ``log_t``."""
        return self.solution(t, log_t=log_t).prod(axis=-1)

    def _at(self, log_t: float) -> np.ndarray:
        plus, minus = self.u0 + self.v0, self.u0 - self.v0

        def q(tau: float) -> float:
            return ((plus * math.exp(tau)) ** 2 - (minus * math.exp(-tau)) ** 2) / 4

        def law(d: float) -> tuple[float, float]:
            if math.log(abs(plus)) + d > 170:  # q is beyond e^340
                return math.inf, 0.0
            grown, shrunk = (plus * math.exp(d)) ** 2 / 4, (minus * math.exp(-d)) ** 2 / 4

            def fall(r: float) -> float:  # q(d) - q(d - r), which does not cancel
                return -grown * math.expm1(-2 * r) + shrunk * math.expm1(2 * r)

            inner = log_integral(fall, d)
            return q(d) + inner, math.exp(-inner)

        # q and so the integrand only grow: tau is at most t e^-q(0), and q(tau) about log t
        late = 0.5 * math.log(4 * (max(log_t, 0.0) + max(q(0.0), 0.0) + 1)) - math.log(abs(plus))
        guess = min(math.exp(min(log_t - q(0.0), 700.0)), max(late, 1e-3))
        tau = solve_increasing(law, log_t, guess) if guess > 1e-16 else guess
        p, m = plus * math.exp(tau), minus * math.exp(-tau)
        return np.array([(p + m) / 2, (p - m) / 2])
