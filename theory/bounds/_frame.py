r"""The rigorous frame: what makes a number a bound for a network chosen after training.

For a class G of score functions fixed before the sample, the ramp phi_gamma(u) = min(1, max(0, 1 - u / gamma)) and the
margin M(v, y) = v_y - max_{j != y} v_j, with probability at least 1 - delta, for all f in G,

.. math:: \mathrm{err}(f) \le \tfrac1n \sum_i \phi_\gamma(M_i) + 2 \hat R(\phi_\gamma \circ M \circ G)
          + 3 \sqrt{\ln(1/\delta) / (2 n)},

*derived*: sup(E - mean) - 2 R as one function of the sample has differences 3/n and nonpositive mean; McDiarmid. The
ramp of the margin is sqrt(2)/gamma-Lipschitz in l2, and vector contraction (maurer2016vector) makes 2 R at most
(4 / gamma) T(G), T = (1/n) E sup sum_ik e_ik f_k(x_i); for one output, 2 R <= (2 / gamma) R(G).

Norms and margin are chosen after training. Both enter through one scalar kappa = norm / gamma where layers may be
rescaled against each other; kappa is rounded up to a power a^j, and the level delta is split over j in Z with weights
w_j = 1 / (2 (|j| + 1)(|j| + 2)), whose sum is 3/4. On the event of all j together the margin may be chosen freely.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from theory._arrays import as_positive
from theory._errors import InvalidInput

BASE = 1.05  # ratio of neighbouring grid points; fixed before any sample is seen
ROUNDING = 1e-13  # relative slack of sums of logarithms, so that a grid point is never below the norm it stands for


@dataclass(frozen=True, slots=True, kw_only=True)
class GridPoint:
    """A scalar rounded up to the grid ``base^index``.

    Attributes
    ----------
    log : natural logarithm of the rounded value.
    index : j.
    log_cost : ln(1/w_j), what the union over the grid adds to ln(1/delta).
    """

    log: float
    index: int
    log_cost: float

    @property
    def value(self) -> float:
        """The rounded value; infinite where it overflows."""
        return safe_exp(self.log)


def round_up(log_value: float, base: float = BASE) -> GridPoint:
    """The least grid point base^j that is not below exp(log_value), with its cost.

    A zero (log -inf) is put on the point of index -10^6, far below anything a float64 holds.
    """
    step = math.log(base)
    index = -(10**6)
    if log_value > -math.inf:
        index = math.ceil((log_value + ROUNDING * (1 + abs(log_value))) / step)
    return GridPoint(log=index * step, index=index, log_cost=index_cost(index))


def index_cost(index: int) -> float:
    """ln(1/w_j) = ln(2 (|j| + 1)(|j| + 2)); the weights w_j sum to 3/4 over all whole numbers j."""
    return math.log(2.0 * (abs(index) + 1) * (abs(index) + 2))


def as_margin(margin: object) -> float | None:
    """A margin fixed before the sample, or None for ``"best"``."""
    if isinstance(margin, str):
        if margin != "best":
            raise InvalidInput(f"margin must be 'best' or a positive number, but is {margin!r}.")
        return None
    return as_positive("margin", margin)


def margins(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Margins (n,) of scores (n, K): own score less the best other; y f with y = +-1 for one output.

    Examples
    --------
    >>> margins(np.array([[3.0, 1.0, 2.0]]), np.array([1]))
    array([-2.])
    """
    if outputs.shape[1] == 1:
        return np.where(labels == 1, outputs[:, 0], -outputs[:, 0])
    rows = np.arange(len(outputs))
    others = outputs.copy()
    others[rows, labels] = -np.inf
    return outputs[rows, labels] - others.max(axis=1)


class Margins:
    """The margins of a sample, sorted once: mean ramp loss and share of small margins at any gamma."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = np.sort(values)
        self.n = len(values)

    def ramp(self, gamma: float) -> float:
        """``mean min(1, max(0, 1 - M / gamma))``."""
        low, high = np.searchsorted(self.values, [0.0, gamma], side="right")
        return float(high - (self.values[low:high] / gamma).sum()) / self.n

    def share(self, gamma: float) -> float:
        """Share of margins at most gamma; ties count."""
        return float(np.searchsorted(self.values, gamma, side="right")) / self.n

    @property
    def errors(self) -> float:
        """Share of samples that are not strictly right."""
        return self.share(0.0)

    @property
    def largest(self) -> float:
        """The largest margin."""
        return float(self.values[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A margin with the grid point that it leads to and the parts of the bound there."""

    gamma: float
    point: GridPoint
    terms: dict[str, float]
    log10: float


def choose_margin(
    margins: Margins,
    log_norm: float,
    parts: Callable[[float, GridPoint], tuple[float, float, float, float]],
    margin: float | None,
    base: float = BASE,
) -> Choice:
    """The margin at which the bound is least, over the grid of kappa = norm / gamma.

    For each j the least margin with norm / gamma <= base^j is the best one (empirical terms rise with gamma), so
    gamma_j = norm base^-j is all that need be tried.

    Parameters
    ----------
    log_norm : ln of the norm that is divided by gamma; -inf for the zero network.
    parts : (gamma, grid point) -> empirical, **log** of complexity, confidence, union.
    margin : fixed before the sample, or None to choose.
    """
    if margin is not None or log_norm == -math.inf:
        gamma = 1.0 if margin is None else margin
        return _choice(gamma, round_up(log_norm - math.log(gamma), base), parts)
    step = math.log(base)
    top = math.log(margins.largest) if margins.largest > 0 else log_norm
    # below, the ramp is 1; above, the complexity has grown a thousandfold over that of the largest margin
    first = math.floor((log_norm - top) / step) - 1
    count = math.ceil(math.log(1000) / step) if margins.largest > 0 else 1
    best = None
    for index in range(first, first + count + 1):
        point = GridPoint(log=index * step, index=index, log_cost=index_cost(index))
        # a hair above, so that kappa_j is not below norm / gamma
        gamma = safe_exp(log_norm - point.log + 2 * ROUNDING * (1 + abs(log_norm)))
        if not 0 < gamma < math.inf:
            continue
        found = _choice(gamma, point, parts)
        if best is None or found.log10 < best.log10:
            best = found
    assert best is not None
    return best


def _choice(gamma: float, point: GridPoint, parts: Callable[..., tuple[float, float, float, float]]) -> Choice:
    empirical, log_complexity, confidence, union = parts(gamma, point)
    return Choice(
        gamma=gamma, point=point,
        terms={"empirical": empirical, "complexity": safe_exp(log_complexity),
               "confidence": confidence, "union": union},
        log10=log10_sum(empirical, confidence, union, log_term=log_complexity),
    )  # fmt: skip


def mcdiarmid(n: int, delta: float, log_cost: float, *, data_dependent: bool = True) -> tuple[float, float]:
    """Confidence and union terms: c sqrt((ln(1/delta) + log_cost) / (2n)), split at log_cost = 0.

    c = 3 where the complexity is that of the sample, 1 where it is bounded before the sample (*derived*, see above).
    """
    c = 3.0 if data_dependent else 1.0
    alone = c * math.sqrt(math.log(1 / delta) / (2 * n))
    return alone, c * math.sqrt((math.log(1 / delta) + log_cost) / (2 * n)) - alone


def log10_sum(*terms: float, log_term: float) -> float:
    """log10 of the sum of nonnegative terms and exp(log_term), beyond overflow."""
    rest = math.fsum(terms)
    logs = [log_term] + ([math.log(rest)] if rest > 0 else [])
    return float(np.logaddexp.reduce(logs)) / math.log(10)


def safe_exp(log: float) -> float:
    """exp, infinite where it overflows."""
    return math.exp(log) if log < 709.78 else math.inf
