"""Nonnegative features: orthogonal features on the axes, for cross-entropy and for the squared error."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from theory._certificate import Certificate
from theory._errors import NotConverged, PreconditionError
from theory.peeled._factors import MAX_ENTRIES, Inner
from theory.peeled._options import Options
from theory.peeled._squared_error import SquaredError
from theory.peeled._ufm_mse import closed_form
from theory.peeled.solution import PeeledSolution, build_solution
from theory.peeled.unconstrained import UnconstrainedFeaturesModel

METHODS = ("auto", "closed-form")


@dataclass(frozen=True, slots=True)
class AxisFactors:
    """Z = sum over active classes of scale_k (e_k - shift 1) e_k^T, every active class with a feature axis of its own.

    Attributes
    ----------
    scale, length : (K,) amplitude of the logits and norm of the feature; zero for an inactive class.
    shift : 1/K for centred columns, 0 for one-hot columns. index : (K,) group of each class.
    """

    scale: np.ndarray
    length: np.ndarray
    shift: float
    index: np.ndarray

    @property
    def active(self) -> np.ndarray:
        """(K,) which classes have a feature."""
        return self.scale > 0

    @property
    def rank(self) -> int:
        """Axes used: the least p for these nonnegative features (the rank of Z can be one less)."""
        return int(self.active.sum())

    def inner(self, which: str) -> Inner:
        """Averages over the classes of each group."""
        n = np.bincount(self.index).astype(float)
        if which == "H":
            nothing = np.zeros(len(n))
            return Inner(np.bincount(self.index, self.length**2) / n, nothing, np.zeros((len(n), len(n))))
        ratio = np.divide(self.scale, self.length, out=np.zeros_like(self.scale), where=self.active)
        a, common = np.bincount(self.index, ratio**2) / n, self.shift**2 * float(ratio @ ratio)
        between = common - self.shift * (a[:, None] + a[None, :])
        return Inner(a - 2 * self.shift * a + common, common - 2 * self.shift * a, between)

    def logits(self) -> np.ndarray:
        """Z, (K, K)."""
        self._check(len(self.scale))
        return np.diag(self.scale) - self.shift * np.tile(self.scale, (len(self.scale), 1))

    def classifier(self, p: int) -> np.ndarray:
        """W, (K, p)."""
        self._check(p)
        on = np.flatnonzero(self.active)
        W = np.zeros((len(self.scale), p))
        W[on, np.arange(len(on))] = 1.0
        W[:, : len(on)] -= self.shift
        W[:, : len(on)] *= self.scale[on] / self.length[on]
        return W

    def features(self, p: int) -> np.ndarray:
        """Class means, (p, K), nonnegative."""
        self._check(p)
        on = np.flatnonzero(self.active)
        H = np.zeros((p, len(self.scale)))
        H[np.arange(len(on)), on] = self.length[on]
        return H

    def _check(self, columns: int) -> None:
        if len(self.scale) * columns > MAX_ENTRIES:
            raise PreconditionError("the matrix does not fit in 2 GiB; use the group-level quantities of the solution.")


def solve_model(model: UnconstrainedFeaturesModel, options: Options) -> PeeledSolution:
    r"""Global optimum with H >= 0, no bias; kappa_k = omega_k / sum omega n, that is 1/N without weights.

    Cross-entropy: with :math:`q_k = \lambda_Z\sqrt{(K-1)/K}\,/\,(\kappa_k\sqrt{n_k})`,

    .. math:: z_k = M_k (e_k - \tfrac1K 1), \qquad M_k = \Bigl[\log\frac{(K-1)(1 - q_k)}{q_k}\Bigr]_+, \qquad
        \|h_k\|^2 = M_k\sqrt{\frac{(K-1)\lambda_W}{K\lambda_H n_k}}

    and the h_k orthogonal (without weights the geometry of dang2024relu). Class k has no feature if and only if
    q_k >= (K-1)/K, that is n_k <= N^2 lam_W lam_H K/(K-1). *derived*, with a certificate: over factors with H >= 0 the
    penalty is at least <U, Y> for Y = Z D^(1/2) whenever :math:`\|Uh\| \le \lambda_Z\|h\|` for all h >= 0. Take U
    with columns c_k (e_k - 1/K). As h >= 0,

    .. math:: \|Uh\|^2 = \sum_k c_k^2 h_k^2 - \tfrac1K\Bigl(\sum_k c_k h_k\Bigr)^2
        \le \tfrac{K-1}K \max_k c_k^2\, \|h\|^2,

    and -U is the gradient of the loss at distributions p_k that put q_k on the wrong classes, evenly, if
    c_k = kappa_k sqrt(n_k) q_k K/(K-1). The lower bound is sum pi_k Entropy(p_k); the gap is computed as
    sum pi_k chi^2(p_k, softmax z_k), an upper bound of the divergence, plus the slack of <U, Y>.

    Squared error: the free optimum is an orthogonal frame, which rotates into the orthant, so its certificate holds.

    A group without features has ``norm_h`` 0 and ``phase`` "merged": with the cross-entropy its classifiers equal
    those of every other such class, at -sum over active classes of w/K, and are not zero.

    Raises
    ------
    PreconditionError : fewer dimensions than active classes (squared error without weights: the p largest stay).
    """
    return _squared_error(model, options) if model.loss == "mse" else _cross_entropy(model, options)


def _cross_entropy(model: UnconstrainedFeaturesModel, options: Options) -> PeeledSolution:
    parts, K, lam = model._partition, model.num_classes, model.lam_Z
    root, classes, mass = np.sqrt(parts.count), parts.classes, parts.mass
    side = np.sqrt((K - 1) / K)
    q = np.minimum(lam * side * root / mass, (K - 1) / K)
    margin = np.where(q < (K - 1) / K, np.maximum(np.log((K - 1) * (1 - q) / q), 0.0), 0.0)
    wrong = (K - 1) * np.exp(-margin)  # odds of the wrong classes at the point itself
    at = wrong / (1 + wrong)
    cost = lam * side * root
    value = float(classes @ (mass * np.log1p(wrong) + cost * margin))
    divergence = (q - at) ** 2 * (1 + wrong) / at
    gap = float(classes @ (mass * divergence + np.maximum(cost - mass * q, 0.0) * margin))
    certificate = Certificate(
        lower=value - gap, upper=value, gap=gap, method="entropy bound with a dual point that is copositive",
        residuals={"stationarity": float(np.abs(q / at - 1).max())},
    )  # fmt: skip
    length = np.sqrt(margin * side * np.sqrt(model.lam_W / model.lam_H) / root)
    factors = AxisFactors(margin[parts.index], length[parts.index], 1 / K, parts.index)
    if model.dimension is not None and model.dimension < factors.rank:
        raise PreconditionError(
            f"nonnegative orthogonal features need dimension >= {factors.rank} (one per class with a feature), "
            f"but it is {model.dimension}."
        )
    return _solution(model, factors, certificate, options)


def _squared_error(model: UnconstrainedFeaturesModel, options: Options) -> PeeledSolution:
    parts = model._partition
    problem = SquaredError.of(parts.count, parts.mass, parts.classes.astype(float), model.lam_Z, None)
    pair = closed_form(problem)
    assert pair is not None
    certificate = problem.certificate(pair)
    e = problem.within_groups()[0][parts.index]
    p, rank = model.dimension, int((e > 0).sum())
    if p is not None and p < rank:
        if not problem.is_unweighted:
            raise PreconditionError(
                f"dimension {p} is below the rank {rank}; with class weights the best model of lower rank is not known."
            )
        drop = np.argsort(-e, kind="stable")[p:]
        extra = 0.5 * float(problem.curvature[0]) * float((e[drop] ** 2).sum())
        certificate = replace(certificate, lower=certificate.lower + extra, upper=certificate.upper + extra)
        e[drop] = 0.0
    scale = e / np.sqrt(parts.count)[parts.index]
    length = np.sqrt(scale / np.sqrt(parts.count)[parts.index] * np.sqrt(model.lam_W / model.lam_H))
    return _solution(model, AxisFactors(scale, length, 0.0, parts.index), certificate, options)


def _solution(
    model: UnconstrainedFeaturesModel, factors: AxisFactors, certificate: Certificate, options: Options
) -> PeeledSolution:
    if not certificate.relative_gap <= options.rtol:
        raise NotConverged(f"the closed form keeps a relative gap of {certificate.relative_gap:.1e} in float64.")
    solution = build_solution(
        model, _Guarded(factors), certificate, method="closed-form", status="optimal", multiplier=model.lam_Z,
        began=options.began,
    )  # fmt: skip
    groups = tuple(
        replace(g, norm_h=0.0, phase="merged" if g.phase == "separated" else g.phase) if np.isnan(g.norm_h) else g
        for g in solution.groups
    )
    return replace(solution, groups=groups, _factors=factors)


@dataclass(frozen=True, slots=True)
class _Guarded:
    """The same factors with NaN for the square of a zero feature beside a nonzero classifier: no cosine is formed."""

    inside: AxisFactors

    @property
    def rank(self) -> int:
        return self.inside.rank

    def inner(self, which: str) -> Inner:
        inner = self.inside.inner(which)
        if which == "H" and self.inside.shift:
            inner = replace(inner, square=np.where(inner.square > 0, inner.square, np.nan))
        return inner

    def classifier(self, p: int) -> np.ndarray:
        return self.inside.classifier(p)

    def features(self, p: int) -> np.ndarray:
        return self.inside.features(p)

    def logits(self) -> np.ndarray:
        return self.inside.logits()
