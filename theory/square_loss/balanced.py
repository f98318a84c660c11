"""rho without normalisation: L layers of equal norm with weight decay, their path in time, plateau and rest points."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from theory._arrays import as_count, as_positive
from theory._errors import PreconditionError
from theory.flow.exact.balanced_depth import BalancedDepth
from theory.square_loss._balanced_time import elapsed, without_decay
from theory.square_loss.equilibrium import _times, rho_closed_form
from theory.square_loss.moments import as_moments

AT_THRESHOLD = 1e-14  # relative distance from the fold at which both rest points are one
SMALLEST = 1e-300  # below it rho is 0
FAR = 36.0  # e^-36 of the way: rho is its limit to rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancedEquilibrium:
    """A rest point of the balanced flow.

    Attributes
    ----------
    rho, layer_norm : rho and its L-th root r.
    rate : a deviation of r grows like ``e^(rate t)``; 0 where the linear term vanishes.
    stable : whether it attracts from both sides (from above, for rho = 0).
    gain : objective here less the objective at rho = 0: ``-2 mu rho + M rho^2 + L lam rho^(2/L)``.
    """

    rho: float
    layer_norm: float
    rate: float
    stable: bool
    gain: float

    def to_json(self) -> dict[str, object]:
        """Plain numbers."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecayThresholds:
    """The weight decay from which only rho = 0 is left, and that from which rho = 0 is better.

    Attributes
    ----------
    collapse : for lam above it rho = 0 is the only rest point (a fold for L >= 3, a pitchfork in r for L = 2).
    rho_collapse : the rest point that disappears there.
    preference, rho_preference : where the objective of the stable rest point equals that of rho = 0 (L = 2: the same).
    """

    collapse: float
    rho_collapse: float
    preference: float
    rho_preference: float

    def to_json(self) -> dict[str, object]:
        """Plain numbers."""
        return asdict(self)


def decay_thresholds(depth: int, mu: float, M: float) -> DecayThresholds:
    r"""Weight decay that L balanced layers survive.

    .. math:: \lambda_c = \frac{L \mu}{2 (L - 1)}\, \rho_c^{1 - 2/L}, \quad \rho_c = \frac{(L - 2)\mu}{2 (L - 1) M};
        \qquad \lambda_p = \frac{\mu}{L - 1}\, \rho_p^{1 - 2/L}, \quad \rho_p = 2 \rho_c

    *derived*: rest points solve ``lam = rho^(1 - 2/L) (mu - M rho)``, whose right side is largest at rho_c; at rho_p
    the objective ``-2 mu rho + M rho^2 + L lam rho^(2/L)`` vanishes too. L = 2: both are mu, at rho = 0.

    Parameters
    ----------
    depth : L, at least 2. mu, M : positive.

    Raises
    ------
    InvalidInput : numbers out of range; a depth of 1, where every weight decay leaves ``mu / (M + lam)``.

    Examples
    --------
    >>> decay_thresholds(2, 0.5, 1.0).collapse, round(decay_thresholds(4, 1.0, 1.0).collapse, 12)
    (0.5, 0.3849001794...)
    """
    L, mu, M = as_count("depth", depth, minimum=2), as_positive("mu", mu), as_positive("M", M)
    fold = (L - 2) * mu / (2 * (L - 1) * M)
    power = 1 - 2 / L
    return DecayThresholds(
        collapse=L * mu / (2 * (L - 1)) * fold**power,
        rho_collapse=fold,
        preference=mu / (L - 1) * (2 * fold) ** power,
        rho_preference=2 * fold,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancedRho:
    r"""Gradient flow on W_k = r V_k, k = 1..L, with V standing still and ``lam ||W_k||^2`` on every layer.

    .. math:: r' = 2 r^{L-1} (\mu - M r^L) - 2 \lambda r, \qquad
        \rho = r^L, \quad \rho' = 2 L \left[\rho^{2 - 2/L} (\mu - M \rho) - \lambda \rho\right]

    *derived*. L = 1 is linear; L = 2 logistic,
    ``rho = rho_0 / (e^{-x} + M rho_0 (1 - e^{-x}) / a)``, a = mu - lam, x = 4 a t; for L >= 3 time is an explicit
    function of rho (partial fractions over the roots of a polynomial, a hypergeometric function without decay) which
    is inverted; without decay and for mu > 0 this is the flow of ``theory.flow.exact``'s ``BalancedDepth``.

    V stands still only where the outputs cannot turn (one direction, or already aligned); otherwise the law holds
    with the mu(t), M(t) of the moment. Layers of different norms: see ``integrate_rho``.

    Parameters
    ----------
    depth : L. mu, M : from ``output_moments``, M positive. lam : weight decay. rho0 : initial rho, positive.

    Raises
    ------
    InvalidInput : numbers out of range.

    Examples
    --------
    >>> flow = BalancedRho(depth=3, mu=0.5, M=0.3, lam=0.05, rho0=0.2)
    >>> bool(abs(flow.time_to(float(flow.solution(2.0))) - 2.0) < 1e-10)
    True
    """

    depth: int
    mu: float
    M: float
    lam: float = 0.0
    rho0: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", as_count("depth", self.depth))
        as_positive("M", self.M), as_positive("rho0", self.rho0)
        as_moments(self.mu, self.M, self.lam)

    @property
    def equilibria(self) -> tuple[BalancedEquilibrium, ...]:
        """All rest points with rho >= 0, by rho (for L = 1 the one there is, of either sign)."""
        L, mu, M, lam = self.depth, self.mu, self.M, self.lam
        if L == 1:
            return (self._rest(mu / (M + lam), stable=True),)
        zero = self._rest(0.0, stable=mu <= lam if L == 2 else lam > 0 or mu <= 0)
        if mu <= 0 or (L == 2 and mu <= lam):
            return (zero,)
        if L == 2 or lam == 0:
            return zero, self._rest((mu - lam) / M if L == 2 else mu / M, stable=True)
        fold = decay_thresholds(L, mu, M)
        if abs(lam / fold.collapse - 1) < AT_THRESHOLD:
            return zero, self._rest(fold.rho_collapse, stable=False)
        if lam > fold.collapse:
            return (zero,)

        def excess(r: float) -> float:
            return r ** (L - 2) * (mu - M * r**L) - lam

        top, middle = (mu / M) ** (1 / L), fold.rho_collapse ** (1 / L)
        least = 0.5 * min(middle, (lam / mu) ** (1 / (L - 2)))
        roots = [brentq(excess, a, b, xtol=1e-300, rtol=1e-15) for a, b in ((least, middle), (middle, top))]
        return zero, self._rest(roots[0] ** L, stable=False), self._rest(roots[1] ** L, stable=True)

    @property
    def limit(self) -> float:
        """The rho at infinite time."""
        rests = [rest.rho for rest in self.equilibria]
        if self.depth == 1:
            return rests[0]
        if any(abs(rho - self.rho0) <= AT_THRESHOLD * self.rho0 for rho in rests):
            return self.rho0  # on a rest point, stable or not
        ahead = [rho for rho in rests if (rho - self.rho0) * self.velocity(self.rho0) > 0]
        return min(ahead, key=lambda rho: abs(rho - self.rho0)) if ahead else self.rho0

    def velocity(self, rho: ArrayLike) -> np.ndarray:
        """``rho'`` at rho (any shape)."""
        x = np.asarray(rho, dtype=float)
        L, lead = self.depth, 1.0 if self.depth == 1 else x ** (2 - 2 / self.depth)
        return 2 * L * (lead * (self.mu - self.M * x) - self.lam * x)

    def solution(self, t: ArrayLike) -> np.ndarray:
        """The rho at times t (any shape); for L = 1 and mu < 0 it may be negative: the layer then points backwards."""
        L, times = self.depth, _times(t)
        if L == 1:
            return rho_closed_form(times, self.rho0, self.mu, self.M, self.lam)
        if L == 2:
            return self._logistic(times)
        if self.lam == 0 and self.mu > 0:
            chain = BalancedDepth(depth=L, s=self.mu / self.M, w0=self.rho0 ** (1 / L))
            return chain.product(2 * self.M * times)
        return np.array([self._inverse(float(time)) for time in times.ravel()]).reshape(times.shape)

    def time_to(self, rho: float) -> float:
        """When rho is reached; infinite where it never is."""
        target, L = as_positive("rho", rho), self.depth
        if target == self.rho0:
            return 0.0
        end, ahead = self.limit, (target - self.rho0) * float(self.velocity(self.rho0)) > 0
        if not ahead or (target - end) * (self.rho0 - end) <= 0:
            return float("inf")
        if L == 1:
            return float(np.log((self.rho0 - end) / (target - end)) / (2 * (self.M + self.lam)))
        if L == 2:
            a = self.mu - self.lam
            if a == 0:
                return (1 / target - 1 / self.rho0) / (4 * self.M)
            share = (1 / self.rho0 - self.M / a) / (1 / target - self.M / a)
            return float(np.log(share) / (4 * a))
        return elapsed(L, self.mu, self.M, self.lam, self.rho0 ** (1 / L), target ** (1 / L), end ** (1 / L))

    @property
    def plateau_time(self) -> float:
        """When rho has grown to half of its limit.

        Raises
        ------
        PreconditionError : rho does not grow to more than twice its initial value.
        """
        if not self.limit > 2 * self.rho0:
            raise PreconditionError("a plateau needs a rho0 below half of its limit; rho does not grow that far here.")
        return self.time_to(self.limit / 2)

    @property
    def plateau_asymptotics(self) -> float:
        r"""What ``plateau_time`` tends to as rho0 -> 0.

        L = 1: ``log 2 / (2 (M + lam))``, no plateau; L = 2: ``log(rho_inf / rho_0) / (4 (mu - lam))``; L >= 3 without
        decay: ``rho_0^{2/L - 1} / (2 mu (L - 2))`` plus a constant, with an error O(rho_0^{2/L}) (*derived* from the
        series of the closed form).

        Raises
        ------
        PreconditionError : as in ``plateau_time``; L >= 3 with decay, where a small rho0 never leaves zero.
        """
        L, mu, M = self.depth, self.mu, self.M
        if L >= 3 and self.lam > 0:
            raise PreconditionError("with weight decay and three or more layers rho = 0 attracts every small rho0.")
        if not self.limit > 2 * self.rho0:
            raise PreconditionError("a plateau needs a rho0 below half of its limit; rho does not grow that far here.")
        if L == 1:
            return float(np.log(2) / (2 * (M + self.lam)))
        if L == 2:
            return float(np.log(self.limit / self.rho0) / (4 * (mu - self.lam)))
        lead = self.rho0 ** (2 / L - 1) / (2 * mu * (L - 2))
        return float(lead + without_decay(L, mu, M, (self.limit / 2) ** (1 / L)))

    def _rest(self, rho: float, *, stable: bool) -> BalancedEquilibrium:
        L, mu, M, lam = self.depth, self.mu, self.M, self.lam
        r = rho ** (1 / L) if L > 1 else rho
        if L == 1:
            rate = -2 * (M + lam)
        elif r == 0:
            rate = 2 * ((mu if L == 2 else 0.0) - lam)
        else:
            rate = 2 * r ** (L - 2) * ((L - 2) * mu - (2 * L - 2) * M * rho)
        gain = -2 * mu * rho + M * rho**2 + L * lam * (rho**2) ** (1 / L)
        return BalancedEquilibrium(rho=rho, layer_norm=abs(r), rate=float(rate), stable=stable, gain=float(gain))

    def _logistic(self, times: np.ndarray) -> np.ndarray:
        a, M, rho0 = self.mu - self.lam, self.M, self.rho0
        if a == 0:
            return rho0 / (1 + 4 * M * rho0 * times)
        with np.errstate(under="ignore"):
            fall = np.exp(-abs(4 * a * times))
        if a > 0:
            return rho0 / (fall + M * rho0 * (1 - fall) / a)
        return rho0 * fall / (1 + M * rho0 * (fall - 1) / a)

    def _inverse(self, t: float) -> float:
        """The rho at t, sought as ``limit + (rho0 - limit) e^-x``."""
        end, span = self.limit, self.rho0 - self.limit
        if t == 0 or span == 0:
            return self.rho0

        def late(x: float) -> float:
            rho = end + span * np.exp(-x)
            return (0.0 if abs(rho - self.rho0) <= 1e-16 * self.rho0 or x == 0 else self.time_to(rho)) - t

        far = FAR if end > 0 else np.log(self.rho0 / SMALLEST)
        high = 1.0
        while high < far and late(high) < 0:
            high *= 2
        if high >= far:
            high = far
            if late(far if end == 0 else far * 0.9) < 0:
                return end
        return float(end + span * np.exp(-brentq(late, 0.0, high, xtol=1e-14, rtol=1e-14)))
