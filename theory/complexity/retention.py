r"""A simplified model in which a linear classifier is learned first and retained while noise is memorised.

n samples. Sample i has a simple feature :math:`s_i = \pm1`, a label :math:`y_i = s_i` but for ``flipped`` of them where
:math:`y_i = -s_i`, and a direction of its own, orthogonal to all others (many dimensions). A linear predictor

.. math:: f_i = a\,s_i w + b\,u_i, \qquad \frac{1}{2n}\sum_i (y_i - f_i)^2, \qquad u(0) = 0

follows the gradient flow. *derived*: the residual has the kernel :math:`a^2 s s^T + b^2 I`, so with
:math:`\lambda_1 = a^2 + b^2/n`, :math:`\lambda_2 = b^2/n`, :math:`m = 1 - 2\,\text{flipped}/n` and
:math:`\rho_0 = m - a w_0`

.. math::
    w(t) = w_0 + \frac{a\rho_0}{\lambda_1}\bigl(1 - e^{-\lambda_1 t}\bigr), \qquad
    r_i(t) = \rho_0 s_i e^{-\lambda_1 t} + (y_i - m s_i) e^{-\lambda_2 t}.

w moves monotonically from w_0 to :math:`(a m + w_0 b^2/n)/\lambda_1`, so it keeps its sign once that is positive, and a
new sample, whose own direction was never met, is classified by s for ever: the error on the population stays the share
of flipped labels while the training error goes to 0. The statement is in the manner of the simplified model of
nakkiran2019sgd, which starts from a good simple predictor and ends at zero training error; the model is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from theory._arrays import as_count, as_floats, as_positive, as_real
from theory._errors import InvalidInput
from theory.complexity.information import Information, exact


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionModel:
    """Exact dynamics of a linear feature and the memory of n samples, under gradient flow on the square loss.

    Parameters
    ----------
    n : samples. flipped : of them with a label against the feature, less than half.
    a, b : sizes of the simple feature and of a sample's own direction.
    w0 : weight of the feature at time 0, nonnegative.

    Raises
    ------
    InvalidInput : half of the labels flipped or more; sizes that are not positive; w0 < 0.

    Examples
    --------
    >>> model = RetentionModel(n=100, flipped=10)
    >>> flip = model.memorised_at()
    >>> model.training_error(flip / 2), model.training_error(2 * flip), model.population_error(2 * flip)
    (0.1, 0.0, 0.1)
    """

    n: int
    flipped: int
    a: float = 1.0
    b: float = 1.0
    w0: float = 0.0

    def __post_init__(self) -> None:
        as_count("n", self.n)
        as_count("flipped", self.flipped, minimum=0)
        if 2 * self.flipped >= self.n:
            raise InvalidInput(f"flipped must be less than half of n = {self.n}, but is {self.flipped}.")
        for name in ("a", "b"):
            if as_positive(name, getattr(self, name)) > 1e150:
                raise InvalidInput(f"{name} must be at most 1e150, or its square overflows.")
        if as_real("w0", self.w0) < 0:
            raise InvalidInput(f"w0 must not be negative, but is {self.w0:g}.")

    @property
    def rates(self) -> tuple[float, float]:
        """(lambda_1, lambda_2): of the simple feature, and of memory, slower by a factor of 1 + n a^2 / b^2."""
        slow = self.b**2 / self.n
        return self.a**2 + slow, slow

    def weight(self, t: ArrayLike) -> np.ndarray:
        """The weight w at times t (any shape)."""
        fast = self.rates[0]
        return self.w0 + self.a * self._rho0 / fast * -np.expm1(-fast * _times(t))

    def clean_score(self, t: ArrayLike) -> np.ndarray:
        """s_i f_i of a training sample with y_i = s_i, which is correct where it is positive."""
        return 1 - self._rho0 * self._decay(0, t) - (1 - self._m) * self._decay(1, t)

    def flipped_score(self, t: ArrayLike) -> np.ndarray:
        """s_i f_i of a training sample with y_i = -s_i, which follows s while it is positive, then its label."""
        return -1 - self._rho0 * self._decay(0, t) + (1 + self._m) * self._decay(1, t)

    def memorised_at(self) -> float:
        """The time at which all flipped samples pass to their label; 0 where they never follow s.

        Raises
        ------
        InvalidInput : no label is flipped.

        *derived*: the score has at most one stationary point, so after rising it crosses 0 once.
        """
        if not self.flipped:
            raise InvalidInput("no label is flipped, so nothing is memorised against the feature.")
        fast, slow = self.rates
        rising = self._rho0 * fast > (1 + self._m) * slow
        if self.w0 == 0 and not rising:
            return 0.0
        # past the stationary point the score falls from a positive value to -1
        start = max(0.0, math.log(self._rho0 * fast / ((1 + self._m) * slow)) / (fast - slow)) if rising else 0.0
        end = math.log(2 * (2 + abs(self._rho0))) / slow
        return float(brentq(lambda t: float(self.flipped_score(t)), start, end, xtol=1e-300, rtol=1e-14))

    def training_error(self, t: float) -> float:
        """Share of training samples with the wrong sign at time t; a score of 0 counts as wrong."""
        wrong = (self.n - self.flipped) * (float(self.clean_score(t)) <= 0)
        return (wrong + self.flipped * (float(self.flipped_score(t)) >= 0)) / self.n

    def population_error(self, t: float) -> float:
        """Error on new samples of the same share of flips, whose own direction has weight 0; 1/2 at w = 0."""
        return self.flipped / self.n if float(self.weight(t)) > 0 else 0.5

    def information(self, t: float, *, unit: str = "bits") -> Information:
        """Exact measures on the training samples, with F = sign f, L = s and both features equally frequent.

        Raises
        ------
        InvalidInput : a score of exactly 0 (t = 0 with w0 = 0), where F has no sign.
        """
        clean, against = float(self.clean_score(t)), float(self.flipped_score(t))
        if clean == 0 or (self.flipped and against == 0):
            raise InvalidInput("a score is exactly 0 at this time, so the prediction has no sign.")
        table = np.zeros((2, 2, 2))
        share = self.flipped / self.n
        for s in (0, 1):
            table[s if clean > 0 else 1 - s, s, s] += (1 - share) / 2
            table[s if against > 0 else 1 - s, 1 - s, s] += share / 2
        return exact(table, unit=unit)

    @property
    def _m(self) -> float:
        return 1 - 2 * self.flipped / self.n

    @property
    def _rho0(self) -> float:
        return self._m - self.a * self.w0

    def _decay(self, which: int, t: ArrayLike) -> np.ndarray:
        return np.exp(-self.rates[which] * _times(t))


def _times(t: ArrayLike) -> np.ndarray:
    times = as_floats("t", t)
    if (times < 0).any():
        raise InvalidInput("t must not be negative.")
    return times
