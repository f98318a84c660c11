r"""Binary relative entropy and its inverse, rounded upwards, with the PAC-Bayes and hold-out bounds made of it.

Natural logarithms. Every returned bound is at or above the exact number: the last digits are decided by evaluating the
defining inequality again, never by trusting the root finder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize.elementwise import find_root
from scipy.special import bdtr, betainccinv, rel_entr

from theory._arrays import as_count, as_floats, as_positive, as_real
from theory._errors import InvalidInput

Numbers: TypeAlias = np.ndarray | np.float64  # numbers in, a number out; arrays in, an array out

EPS = float(np.finfo(float).eps)
SLACK = 32 * EPS  # above the relative rounding error of ``kl``: the tests measure under 10 EPS
BELOW_ONE = 1 - EPS / 2


def as_delta(value: Any, name: str = "delta") -> float:
    """A failure probability strictly between 0 and 1; raises InvalidInput otherwise."""
    number = as_real(name, value)
    if not 0 < number < 1:
        raise InvalidInput(f"{name} must lie strictly between 0 and 1, but is {number:g}.")
    return number


def _as_fractions(name: str, value: ArrayLike) -> np.ndarray:
    array = as_floats(name, value)
    if ((array < 0) | (array > 1)).any():
        raise InvalidInput(f"{name} must lie between 0 and 1.")
    return array


def _as_costs(name: str, value: ArrayLike) -> np.ndarray:
    array = as_floats(name, value)
    if (array < 0).any():
        raise InvalidInput(f"{name} must be at least 0.")
    return array


def _divergence(x: np.ndarray, y: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """``x ln(x/y) - x + y`` for y = x + gap, to full relative accuracy also where y is near x."""
    x, y, gap = np.broadcast_arrays(x, y, gap)
    out = np.asarray(rel_entr(x, y) + gap)
    near = np.abs(gap) < 0.3 * x
    t = gap[near] / x[near]
    r = t / (2 + t)  # ln(1 + t) = 2 artanh(r), and t - 2 r = t r
    tail = np.polynomial.polynomial.polyval(r * r, 1 / np.arange(3, 27, 2))
    out[near] = x[near] * (t * r - 2 * r**3 * tail)
    return out


def kl(q: ArrayLike, p: ArrayLike) -> Numbers:
    r"""Relative entropy of two coins, to full relative accuracy also where they nearly agree.

    .. math:: \mathrm{kl}(q \| p) = q \ln\frac qp + (1-q) \ln\frac{1-q}{1-p}

    Computed as ``D(q, p) + D(1-q, 1-p)`` with ``D(x, y) = x ln(x/y) - x + y >= 0``, whose linear parts cancel exactly.

    Parameters
    ----------
    q, p : numbers or arrays between 0 and 1 that broadcast.

    Raises
    ------
    InvalidInput : NaN, or outside [0, 1].

    Examples
    --------
    >>> bool(kl(0, 0.5) == np.log(2)), float(kl(0.3, 0.3)), float(kl(0.5, 1))
    (True, 0.0, inf)
    """
    q, p = _as_fractions("q", q), _as_fractions("p", p)
    return _kl(q, p)[()]


def _kl(q: np.ndarray, p: np.ndarray) -> np.ndarray:
    gap = p - q
    return _divergence(q, p, gap) + _divergence(1 - q, 1 - p, -gap)


def kl_inverse(q: ArrayLike, c: ArrayLike) -> Numbers:
    r"""Largest bias p that a divergence budget c still allows, rounded upwards.

    .. math:: \mathrm{kl}^{-1}(q, c) = \sup\{p \in [q, 1] : \mathrm{kl}(q \| p) \le c\}

    *derived*: kl is continuous and increasing in p on [q, 1], so any u with ``kl(q, u) >= c`` is at or above the
    supremum; the root is raised by units in the last place until that holds with room for rounding, or u = 1.
    ``q = 0`` gives ``1 - e^-c``; ``q = 1`` gives 1; ``c = 0`` gives q. The bracket of the search is
    ``p - q <= min(sqrt(c/2), sqrt(2 q c) + 2 c)`` (Pinsker, and ``kl(q, p) >= (p - q)^2 / (2 p)``).

    Parameters
    ----------
    q : fractions, number or array.
    c : budgets, at least 0, broadcasting with q.

    Raises
    ------
    InvalidInput : NaN or infinity, q outside [0, 1], c negative.

    Cost: about 10 evaluations of kl, all entries at once.

    Examples
    --------
    >>> u = kl_inverse([0.1, 0.9], 0.02)
    >>> bool((kl([0.1, 0.9], u) >= 0.02).all()), np.allclose(kl([0.1, 0.9], u), 0.02, rtol=1e-13)
    (True, True)
    """
    q, c = np.broadcast_arrays(_as_fractions("q", q), _as_costs("c", c))
    out = np.asarray(np.where(c > 0, 1.0, q))
    inside = (c > 0) & (q < 1) & (_kl(q, np.full_like(q, BELOW_ONE)) > c)
    out[inside] = _root(q[inside], c[inside])
    return out[()]


def _root(q: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The root where it is below 1, raised until the inequality is verified."""
    if q.size == 0:
        return q
    high = np.minimum(np.sqrt(c / 2), np.sqrt(2 * q * c) + 2 * c)
    high = np.minimum(high * (1 + SLACK) + 2 * EPS * q, BELOW_ONE - q)
    found = find_root(lambda gap, q, c: _kl(q, np.minimum(q + gap, 1.0)) - c, (np.zeros_like(q), high), args=(q, c))
    # Where the gap is below a unit in the last place of q the search has nothing to see; the raising decides.
    gap = np.where(np.isfinite(found.x), found.x, 0.0)
    u = np.minimum(q + gap, 1.0)
    step = np.spacing(u)
    while (low := (u < 1) & (_kl(q, u) * (1 - SLACK) < c)).any():
        u[low] = np.minimum(u[low] + step[low], 1.0)
        step[low] *= 2
    return u


def clopper_pearson_upper(errors: int, n: int, delta: float) -> float:
    r"""Exact one-sided upper confidence limit of an error rate after ``errors`` mistakes on n fresh samples.

    .. math:: u = \sup\{p : \Pr[\mathrm{Bin}(n, p) \le \text{errors}] \ge \delta\}

    *proved*: clopper1934use; the true rate exceeds u with probability at most delta. A quantile of
    Beta(errors + 1, n - errors), raised until ``Pr[Bin(n, u) <= errors] <= delta`` is verified.

    Parameters
    ----------
    errors, n : counts, 0 <= errors <= n.
    delta : failure probability.

    Raises
    ------
    InvalidInput : counts that are not whole or do not fit, delta outside (0, 1).

    Examples
    --------
    >>> abs(clopper_pearson_upper(0, 100, 0.05) - (1 - 0.05 ** (1 / 100))) < 1e-15
    True
    """
    n, errors, delta = as_count("n", n), as_count("errors", errors, minimum=0), as_delta(delta)
    if errors > n:
        raise InvalidInput(f"errors must be at most n = {n}, but is {errors}.")
    if errors == n:
        return 1.0
    u = float(betainccinv(errors + 1, n - errors, delta))
    step = EPS * u
    while u < 1 and bdtr(errors, n, u) > delta:
        u, step = min(1.0, u + step), 2 * step
    return u


def monte_carlo_upper(mean: ArrayLike, m: int, delta: float) -> Numbers:
    r"""Upper confidence limit of the mean of a [0, 1]-valued variable from m independent draws.

    .. math:: \mathrm{kl}^{-1}\bigl(\text{mean}, \ln(1/\delta) / m\bigr)

    *derived*: by convexity ``E e^{lam X} <= 1 - p + p e^lam`` for X in [0, 1], so Chernoff's bound for a coin of
    bias p gives ``Pr[kl(mean || p) >= c and mean < p] <= e^{-m c}``. One side only, hence no factor 2.

    Parameters
    ----------
    mean : average of the m draws, number or array (each entry holds with probability 1 - delta on its own).
    m : number of draws.
    delta : failure probability.

    Raises
    ------
    InvalidInput : a mean outside [0, 1], m < 1, delta outside (0, 1).

    Examples
    --------
    >>> abs(float(monte_carlo_upper(0, 50, 0.1)) - (1 - 0.1 ** (1 / 50))) < 1e-15
    True
    """
    return kl_inverse(mean, np.log(1 / as_delta(delta)) / as_count("m", m) * (1 + SLACK))


def pac_bayes_kl(empirical: ArrayLike, KL: ArrayLike, n: int, delta: float) -> Numbers:
    r"""Risk of a randomised predictor from its empirical risk and its divergence from the prior.

    .. math:: \mathrm{kl}^{-1}\Bigl(\text{empirical}, \frac{KL + \ln(2 \sqrt n / \delta)}{n}\Bigr)

    *derived* from maurer2004note: ``E exp(n kl(r_hat, r)) <= xi(n) = sum_k C(n,k) (k/n)^k (1-k/n)^(n-k) <= 2 sqrt(n)``
    for losses in [0, 1] (the second inequality is verified exactly for n up to some hundreds in the tests), then the
    change of measure and Markov's inequality. Holds for all posteriors at once with probability 1 - delta.

    If the empirical risk is itself a mean of m draws of the weights, put ``monte_carlo_upper(mean, m, delta2)`` in its
    place; the confidence is then ``1 - delta - delta2``.

    Parameters
    ----------
    empirical : mean loss of the posterior over the n samples, in [0, 1].
    KL : divergence of the posterior from the prior in nats.
    n : number of samples.
    delta : failure probability.

    Raises
    ------
    InvalidInput : a risk outside [0, 1], a negative KL, n < 1, delta outside (0, 1).

    When not to trust it: a prior chosen with the same n samples; a choice among priors that KL does not pay for.

    Examples
    --------
    >>> round(float(pac_bayes_kl(0.289307, 1724, 30000, 0.05)), 8)
    0.45515771
    """
    n, delta, KL = as_count("n", n), as_delta(delta), _as_costs("KL", KL)
    return kl_inverse(empirical, (KL + np.log(2 * np.sqrt(n) / delta)) / n * (1 + SLACK))


def gaussian_kl(mean: ArrayLike, prior_mean: ArrayLike, sigma: ArrayLike, prior_sigma: ArrayLike) -> float:
    r"""Divergence of one Gaussian with independent coordinates from another, in nats, rounded upwards.

    .. math:: \sum_i \Bigl[\ln\frac{\sigma_{0i}}{\sigma_i} + \frac{\sigma_i^2 + (m_i - m_{0i})^2}{2 \sigma_{0i}^2}
        - \frac12\Bigr]

    *derived* by integrating the logarithm of the ratio of densities. The parts without the means are
    ``D(1, sigma^2 / sigma_0^2) / 2`` as in ``kl``, so equal Gaussians give exactly 0.

    Parameters
    ----------
    mean, prior_mean : arrays of one shape, or one a number.
    sigma, prior_sigma : standard deviations, numbers or arrays broadcasting with the means; positive.

    Raises
    ------
    InvalidInput : NaN, shapes that do not meet, a standard deviation that is not positive.

    Examples
    --------
    >>> abs(gaussian_kl([3.0, 4.0], 0, 1, 1) - 25 / 2) < 1e-12
    True
    """
    given = [as_floats(name, v) for name, v in (("mean", mean), ("prior_mean", prior_mean))]
    given += [as_floats(name, v) for name, v in (("sigma", sigma), ("prior_sigma", prior_sigma))]
    try:
        mean, prior_mean, sigma, prior_sigma = np.broadcast_arrays(*given)
    except ValueError:
        raise InvalidInput(f"the means and deviations do not broadcast: {[v.shape for v in given]}.") from None
    if (sigma <= 0).any() or (prior_sigma <= 0).any():
        raise InvalidInput("sigma and prior_sigma must be positive.")
    with np.errstate(over="ignore", invalid="ignore"):
        ratio, one = sigma / prior_sigma, np.ones(sigma.shape)
        spread = _divergence(one, ratio * ratio, (ratio - 1) * (ratio + 1))
        total = 0.5 * float(np.sum(spread + ((mean - prior_mean) / prior_sigma) ** 2))
    if not np.isfinite(total):
        raise InvalidInput("sigma and prior_sigma are too far apart: the divergence overflows.")
    return total * (1 + 2 * SLACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorScale:
    """A prior variance taken from a grid fixed before the data, and what the choice costs.

    Attributes
    ----------
    index : j, at least 1.
    variance : ``largest * exp(-j / per_e)``.
    cost : nats to add to the divergence, ``ln(pi^2/6) + 2 ln j``.
    """

    index: int
    variance: float
    cost: float

    def to_json(self) -> dict[str, object]:
        """A dictionary of plain numbers."""
        return {"index": self.index, "variance": self.variance, "cost": self.cost}


def prior_scale(wanted: float, *, largest: float, per_e: int) -> PriorScale:
    r"""Nearest variance, on a logarithmic scale, of a grid chosen before the data, with the price of the choice.

    .. math:: \lambda_j = \text{largest} \cdot e^{-j / \text{per\_e}},\quad j \ge 1, \qquad
        \text{cost} = \ln\frac{\pi^2}{6} + 2 \ln j

    *derived*: the j-th prior gets the share ``6 delta / (pi^2 j^2)`` of delta, and the shares sum to delta. The grid is
    that of dziugaite2017computing (largest 0.1, per_e 100), which prints a larger cost; valid only for variances on
    the grid, so the returned variance, not the wanted one, belongs in the divergence.

    Parameters
    ----------
    wanted : variance that the trained weights ask for (``mean(sigma^2 + (m - m_0)^2)`` is the best); any positive.
    largest, per_e : scale and density of the grid, fixed before the data.

    Raises
    ------
    InvalidInput : a number that is not positive and finite, per_e < 1.

    Examples
    --------
    >>> prior_scale(0.1 * np.exp(-3 / 100), largest=0.1, per_e=100).index
    3
    """
    wanted, largest, per_e = as_positive("wanted", wanted), as_positive("largest", largest), as_count("per_e", per_e)
    j = max(1, round(per_e * (np.log(largest) - np.log(wanted))))
    cost = (np.log(np.pi**2 / 6) + 2 * np.log(j)) * (1 + SLACK)
    return PriorScale(index=j, variance=float(largest * np.exp(-j / per_e)), cost=float(cost))
