r"""How far every sample is certified to stay right, and what that says when the whole sample may be moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_real
from theory._errors import InvalidInput
from theory.architecture import Architecture
from theory.bounds._frame import Margins
from theory.bounds._problem import Data, Problem
from theory.norms._rounding import gamma
from theory.norms.lipschitz import TINY, as_norm, difference_lipschitz

LONGEST = np.finfo(float).max
LEAST = 1e-300  # costs below count as 0: subnormal ones may be rounded upwards
LARGEST = 1e150  # finite radii are cut here, from where their squares overflow


def as_distance(name: str, value: object) -> float:
    """A finite number that is not negative; raises InvalidInput otherwise."""
    number = as_real(name, value)
    if number < 0:
        raise InvalidInput(f"{name} must not be negative, but is {number:g}.")
    return number


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorstCase:
    """The largest error among all samples near the given one, from above.

    Attributes
    ----------
    value : the dual value, never below the largest error.
    multiplier : lam at which it is attained; infinite where only lam -> infinity gives it.
    rho, order : radius and order of the Wasserstein ball.
    """

    value: float
    multiplier: float
    rho: float
    order: int

    def to_json(self) -> dict[str, float]:
        """Plain numbers."""
        return {"value": self.value, "multiplier": self.multiplier, "rho": self.rho, "order": self.order}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CertifiedRadii:
    """For every sample a radius within which no input is classified wrongly.

    Attributes
    ----------
    norm : ``"l2"`` or ``"linf"``.
    radii : (n); 0 for mistakes and ties, infinite where no weight reads the input.
    lipschitz : (K, K), constants of the differences of scores; (1, 1) for one score.
    """

    norm: str
    radii: np.ndarray = field(repr=False)
    lipschitz: np.ndarray = field(repr=False)

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.radii)

    def robust_error(self, eps: float) -> float:
        """Share of samples not certified in the closed ball of radius eps; at eps = 0 the error, ties counted.

        Raises
        ------
        InvalidInput : eps negative or not finite.
        """
        return Margins(self.radii).share(as_distance("eps", eps))

    def worst_case(self, rho: float, *, order: int = 1) -> WorstCase:
        r"""Largest error when the sample as a distribution may move by rho in Wasserstein distance, labels kept.

        .. math:: \sup_{W_p(Q, \hat P) \le \rho} Q[M \le 0] \le \min_{\lambda \ge 0} \Bigl\{ \lambda \rho^p
                  + \frac1n \sum_i (1 - \lambda r_i^p)_+ \Bigr\}

        *derived* by weak duality: a transport from x_i to a mistake costs at least r_i^p, so
        ``1{M(x') <= 0} - lam ||x' - x_i||^p <= (1 - lam r_i^p)_+``. Strong duality (blanchet2019quantifying) makes it
        an equality where r_i is the distance to the nearest mistake. The minimum over lam of a convex, piecewise
        linear function lies at a kink ``lam = 1 / r_i^p``.

        Parameters
        ----------
        rho : radius of the ball, in the norm of the radii.
        order : p, 1 or more.

        Raises
        ------
        InvalidInput : rho negative or not finite; an order below 1 or not whole.

        Cost: one sort.

        Examples
        --------
        >>> found = CertifiedRadii(norm="l2", radii=np.array([0.0, 1.0, 2.0, 4.0]), lipschitz=np.ones((1, 1)))
        >>> round(found.worst_case(0.5).value, 12)  # 1/4 at once, 1/4 for 1/4, and 1/8 for the other 1/4
        0.625
        """
        rho, p = as_distance("rho", rho), as_count("order", order)
        r = np.sort(np.where(np.isinf(self.radii), np.inf, np.minimum(self.radii, LARGEST ** (1 / p))))
        with np.errstate(under="ignore"):
            cost = r[np.isfinite(r)] ** p
            cost[cost < LEAST] = 0.0
        reach = cost[cost > 0]
        wrong = len(cost) - len(reach)
        # at lam = 1/c the samples with cost below c remain, each with 1 - cost/c; a last kink is 0
        before = np.concatenate([[0.0], np.cumsum(reach)])
        rank = np.searchsorted(reach, reach, side="left")
        with np.errstate(over="ignore", under="ignore"):
            spent = np.float64(rho) ** p + (TINY if rho > 0 else 0.0)
            values = spent / reach + (wrong + rank - before[rank] / reach) / self.n
        values = np.concatenate([[len(cost) / self.n], values])
        lam = np.concatenate([[0.0], 1 / np.maximum(reach, 1e-300)])
        best = int(np.argmin(values))
        value = min(float(values[best]) * (1 + gamma(4 * self.n + 16)), len(cost) / self.n)
        return WorstCase(value=value, multiplier=float(lam[best]), rho=rho, order=p)

    def to_json(self) -> dict[str, object]:
        """Plain numbers; infinite radii are None."""
        radii = [float(r) if np.isfinite(r) else None for r in self.radii]
        return {"norm": self.norm, "radii": radii, "lipschitz": self.lipschitz.tolist()}

    def summary(self) -> str:
        """Error, and the radius that half of the samples have."""
        half = float(np.median(self.radii))
        return f"{self.robust_error(0):.4g} wrong, half are certified within {half:.4g} in {self.norm} (n = {self.n})"

    def __repr__(self) -> str:
        return f"CertifiedRadii({self.summary()})"


def certified_radii(
    architecture: Architecture, weights: Mapping[str, ArrayLike], data: Data, *, norm: str = "l2"
) -> CertifiedRadii:
    r"""The distance within which every input has the label of its sample.

    .. math:: r_i = \min_{j \ne y_i} \frac{(f_{y_i}(x_i) - f_j(x_i))_+}{\Lambda_{y_i j}}

    *derived*: ``f_y - f_j`` changes by at most ``Lambda_yj`` times the distance (``difference_lipschitz``); as
    tsuzuku2018lipschitz with sqrt(2) Lambda in place of the constants of the pairs, never smaller. One score f with
    labels 0, 1: ``(+-f)_+ / Lambda``.

    Parameters
    ----------
    weights : by name, as ``architecture.parameters``.
    data : a Sample, or (X, y).
    norm : of the perturbation, ``"l2"`` or ``"linf"``.

    Raises
    ------
    InvalidInput : another norm; weights or data that do not fit.
    PreconditionError : a layer normalisation or attention, which have no Lipschitz constant here.

    Cost: the operator norms of all layers, and one pass over the sample. When not to trust it: as the distance to the
    nearest mistake, which may be far larger; scores are taken as computed in float64.

    Examples
    --------
    >>> from theory.architecture import Linear
    >>> net = Architecture.sequential([Linear(1, bias=False)], input_shape=2)
    >>> data = [[5.0, 0.0], [0.0, -5.0]], [1, 1]
    >>> certified_radii(net, {"linear1.weight": [[3, 4]]}, data).radii.round(9)
    array([3., 0.])
    >>> certified_radii(net, {"linear1.weight": [[3, 4]]}, data, norm="linf").radii.round(9)
    array([2.14285714, 0.        ])
    """
    return radii_of(Problem(architecture, weights, data), as_norm(norm))


def radii_of(problem: Problem, norm: str) -> CertifiedRadii:
    """The same for a problem that was prepared already."""
    constants = pair_constants(problem, norm)
    scores, y = problem.outputs, problem.y
    if problem.binary:
        gaps = np.where(y == 1, scores[:, 0], -scores[:, 0])[:, None]
        slopes = np.broadcast_to(constants, gaps.shape)
    else:
        rows = np.arange(problem.n)
        gaps, slopes = scores[rows, y][:, None] - scores, constants[y]
        gaps[rows, y] = np.inf
    lasting = np.full(gaps.shape, np.inf)  # no change at all: right for ever
    with np.errstate(over="ignore", under="ignore"):
        np.divide(gaps, slopes, out=lasting, where=slopes > 0)
    lasting[slopes > 0] = np.minimum(lasting[slopes > 0], LONGEST)  # no overflow may pass for a constant score
    radii = np.where(gaps > 0, lasting, 0.0).min(axis=1) * (1 - gamma(8))
    return CertifiedRadii(norm=norm, radii=radii, lipschitz=constants)


def pair_constants(problem: Problem, norm: str) -> np.ndarray:
    """``difference_lipschitz``, once for each network and norm."""
    return problem.remember(
        ("difference lipschitz", norm), lambda: difference_lipschitz(problem.architecture, problem.weights, norm=norm)
    )
