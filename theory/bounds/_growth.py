r"""How many sign patterns a piecewise-linear network can produce: the growth function, layer by layer.

All numbers are natural logarithms, rounded upwards. Counting, not norms: nothing here depends on the trained weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, logsumexp

from theory._arrays import as_count
from theory._errors import InvalidInput

EPS = float(np.finfo(float).eps)


def _up(x: float, size: float | None = None) -> float:
    """``x`` moved up by far more than the rounding of the few operations that made it from terms of ``size``."""
    return x + 32 * EPS * max(1.0, abs(x), size or 0.0)


def warren_log(q: float, degree: float, W: int) -> float:
    r"""Logarithm of a bound on the number of sign patterns of q polynomials in W variables.

    .. math:: \ln \min\Bigl\{2 \Bigl(\frac{2 e\, q D}{W}\Bigr)^W,\ 2^q\Bigr\}

    with the first form only where q >= W. Signs are ``> 0`` against ``<= 0`` (two kinds, so 2^q is the trivial count).
    *published form* for the cells where no polynomial vanishes (warren1968lower with the constant that
    bartlett2019nearly uses); *derived* for signs with ties: take one point for each pattern and move every polynomial
    down by less than the least positive value at these points; no pattern changes and no tie is left.

    Parameters
    ----------
    q : number of polynomials, at least 0.
    degree : D, largest degree, at least 1.
    W : number of variables, at least 0 (none: one pattern).

    Raises
    ------
    InvalidInput : negative or fractional counts, a degree below 1.

    Examples
    --------
    >>> bool(warren_log(3, 1, 5) - 3 * np.log(2) < 1e-12), warren_log(100, 2, 0)
    (True, 0.0)
    """
    q, degree, W = as_count("q", q, minimum=0), as_count("degree", degree), as_count("W", W, minimum=0)
    if q == 0 or W == 0:
        return 0.0
    trivial = q * np.log(2)
    if q < W:
        return _up(trivial)
    return _up(float(min(np.log(2) + W * np.log(2 * math.e * q * degree / W), trivial)), W)


def first_layer_log(points: int, fan_in: int) -> float:
    r"""Logarithm of a bound on the on-off patterns of one linear unit over N points in general or special position.

    .. math:: \ln\Bigl(2 \sum_{i=0}^{m} \binom{N-1}{i}\Bigr) \quad (m \ge 1), \qquad \min\{\cdot, N \ln 2\}

    for a unit ``w . x + b`` with m weights and a bias: Cover's count in dimension m + 1. *derived* from
    cover1965geometrical, whose count is exact for points in general position through the origin and an upper bound
    otherwise, for strict signs; ``> 0`` against ``<= 0`` becomes strict when the bias is lowered a little, which also
    makes the count valid for units without a bias.

    Parameters
    ----------
    points : N >= 1, the points, counting every position of a convolution.
    fan_in : m, weights of the unit without its bias.

    Raises
    ------
    InvalidInput : counts below 1 or not whole.

    Cost: O(min(m, N)).

    Examples
    --------
    >>> bool(abs(first_layer_log(4, 2) - np.log(14)) < 1e-12)  # all patterns of four points in the plane but two
    True
    """
    N, m = as_count("points", points), as_count("fan_in", fan_in)
    if m >= N - 1:
        return _up(N * np.log(2))
    i = np.arange(m + 1)
    terms = gammaln(N) - gammaln(i + 1) - gammaln(N - i)
    # gammaln is accurate to a few units of its own size, which is what may be lost in the differences
    return _up(float(min(np.log(2) + logsumexp(terms), N * np.log(2))), float(gammaln(N)) + m)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One layer of signs: within a cell of all earlier stages they are signs of polynomials.

    Attributes
    ----------
    units : scalars whose sign is taken, per sample, positions counted; the last stage of K classes has K - 1.
    pool : comparisons of max-pooling in this stage, per sample (q (q - 1) / 2 for a window of q inputs).
    parameters : weights and biases up to and including this stage, shared ones once.
    degree : degree of the signs in them, the number of layers with parameters so far.
    breakpoints : of the activation: 1 for ReLU, each a comparison of its own.
    fan_in, filters : for a first stage only, if it has no pooling and reads the inputs linearly: weights of one filter
        without its bias, and the number of filters (units of a dense layer); the sharper count then applies.
    """

    units: int
    pool: int = 0
    parameters: int
    degree: int
    breakpoints: int = 1
    fan_in: int | None = None
    filters: int | None = None

    def __post_init__(self) -> None:
        as_count("units", self.units, minimum=0)
        as_count("pool", self.pool, minimum=0)
        as_count("parameters", self.parameters, minimum=0)
        as_count("degree", self.degree)
        as_count("breakpoints", self.breakpoints)
        if (self.fan_in is None) != (self.filters is None):
            raise InvalidInput("fan_in and filters must be given together.")
        if self.fan_in is not None and self.filters is not None:
            as_count("fan_in", self.fan_in)
            if self.units % as_count("filters", self.filters):
                raise InvalidInput(f"{self.units} units cannot be shared among {self.filters} filters.")

    @property
    def comparisons(self) -> int:
        """Signs per sample."""
        return self.units * self.breakpoints + self.pool


def log_growth(stages: Sequence[Stage], n: int) -> float:
    r"""Logarithm of a bound on the number of 0/1 loss vectors of the network over n labelled samples.

    .. math:: \ln \Pi(n) \le \min\Bigl\{\sum_i \ln \min\Bigl[2\Bigl(\frac{2 e\, q_i i}{W_i}\Bigr)^{W_i},
        2^{q_i}\Bigr],\ n \ln 2\Bigr\}, \qquad q_i = n\, (\text{comparisons of stage } i)

    *derived* as in bartlett2019nearly, with Warren's count: given the signs of all earlier stages the network is a
    polynomial in its parameters, and the comparisons of stage i have the degree of that stage; the numbers of patterns
    multiply. Whether a labelled sample is classified rightly is decided by the K - 1 signs of ``f_y - f_j`` (a tie is
    an error), so the last stage counts K - 1 and not K (K - 1)/2. Max-pooling of a monotone activation compares
    pre-activations, hence in the same stage. A first stage with ``fan_in`` gives each filter Cover's count over
    n times its positions.

    Parameters
    ----------
    stages : from the inputs to the margins.
    n : samples.

    Raises
    ------
    InvalidInput : no stage, or n < 1.

    Examples
    --------
    >>> linear = Stage(units=1, parameters=3, degree=1, fan_in=2, filters=1)
    >>> bool(abs(log_growth([linear], 4) - np.log(14)) < 1e-12)
    True
    """
    n = as_count("n", n)
    if not stages:
        raise InvalidInput("log_growth needs at least one stage.")
    total = sum(_stage_log(stage, n, first=i == 0) for i, stage in enumerate(stages))
    return min(_up(total), _up(n * np.log(2)))


def _stage_log(stage: Stage, n: int, *, first: bool) -> float:
    warren = warren_log(n * stage.comparisons, stage.degree, stage.parameters)
    if stage.fan_in is None or stage.filters is None:
        return warren
    if not first or stage.pool or stage.breakpoints != 1 or stage.degree != 1:
        raise InvalidInput("fan_in is for a first stage of degree 1 without pooling and with one breakpoint.")
    return min(warren, stage.filters * first_layer_log(n * stage.units // stage.filters, stage.fan_in))


def vc_dimension_bound(stages: Sequence[Stage]) -> float:
    r"""Bound on the VC dimension of the sign of a piecewise-linear network with one output.

    .. math:: L + \Bigl(\sum_i W_i\Bigr) \log_2(2 s \log_2 s), \qquad s = \max(2 e R, 16), \quad
        R = \sum_i (\text{degree } i)(\text{comparisons of stage } i)

    *derived*: let m points be shattered. If ``m k_i < W_i`` for a stage, then m is below W = sum W_i and there is
    nothing to show. Otherwise ``2^m <= prod_i 2 (2 e m k_i i / W_i)^W_i <= 2^L (m s / W)^W`` by the weighted inequality
    of means. For s >= 16 and L <= W this gives the bound: ``m - L - W log2(m s / W)`` increases in m >= 2 W and is not
    negative at ``L + W log2(2 s log2 s) <= 2 W log2 s``, since ``4 log2 s <= s``. One comparison for each ReLU; with
    ``breakpoints=2`` this is the form ``log2(8 e R log2(4 e R))`` printed in bartlett2019nearly (*published form*).

    Parameters
    ----------
    stages : from the inputs to the output; ``units=1`` in the last.

    Raises
    ------
    InvalidInput : no stage, or one without parameters.

    When not to trust it: for a risk bound ``log_growth`` at the very n is smaller.

    Examples
    --------
    >>> net = [Stage(units=1024, parameters=3146752, degree=1, breakpoints=2),
    ...        Stage(units=10, parameters=3157002, degree=2, breakpoints=2)]
    >>> round(vc_dimension_bound(net), 3)
    114869171.816
    """
    if not stages or any(stage.parameters == 0 for stage in stages):
        raise InvalidInput("vc_dimension_bound needs at least one stage, and parameters in each.")
    W, R = sum(stage.parameters for stage in stages), sum(stage.degree * stage.comparisons for stage in stages)
    s = max(2 * math.e * R, 16.0)
    return _up(float(len(stages) + W * np.log2(2 * s * np.log2(s))))
