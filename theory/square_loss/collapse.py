"""Neural collapse from the square loss: equal margins sample by sample, and the optimal geometry of free features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from theory._arrays import as_count, as_positive, short_repr
from theory._errors import InvalidInput, PreconditionError
from theory.square_loss.equilibrium import RhoEquilibrium, equilibrium
from theory.square_loss.moments import as_decay

TARGETS = ("signs", "one-hot", "centred")


@dataclass(frozen=True, slots=True, kw_only=True)
class StationaryMargins:
    """The two normalised margins at which a single sample is stationary in rho.

    Attributes
    ----------
    lower, upper : the roots; lower is 0 for lam = 0.
    """

    lower: float
    upper: float


def stationary_margins(rho: float, lam: float) -> StationaryMargins:
    r"""Normalised margins ``b = y_n f_n`` for which every sample alone is stationary, two classes with targets +-1.

    .. math:: \rho b^2 - b + \lambda \rho = 0, \qquad b = \frac{1 \pm \sqrt{1 - 4 \lambda \rho^2}}{2 \rho}

    *derived* (xu2023dynamics has the statement): where every mini-batch is at rest in rho, ``(rho b - 1) b = -lam rho``
    for each sample. The equilibrium ``rho = mu / (mu^2 + lam)`` of equal margins has mu as its upper root where
    ``mu^2 >= lam`` and as its lower one elsewhere; margins that are all on the upper root are equal: sigma = 0.
    The same demand on V gives ``h_n = f_n V_L``: features on the line of the classifier. No SGD reaches all of this
    for lam > 0 with non-collinear inputs (``common_fixed_point``); it is what training comes near to.

    With K >= 2 outputs the argument does not carry over: it asks for ``(y_n - rho f_n) h_n^T = lam rho V_L`` for every
    n, hence for outputs and targets on one line, which targets of different classes are not (*derived*). There
    ``collapse_targets`` gives the optimum instead.

    Parameters
    ----------
    rho : positive. lam : at least 0.

    Raises
    ------
    InvalidInput : numbers out of range. PreconditionError : ``4 lam rho^2 > 1``: no margin is stationary.

    Examples
    --------
    >>> found = stationary_margins(0.5 / (0.25 + 0.04), 0.04)
    >>> round(found.upper, 12), round(found.lower, 12)
    (0.5, 0.08)
    """
    scale, decay = as_positive("rho", rho), as_decay(lam)
    inside = 1 - 4 * decay * scale**2
    if inside < -1e-14:
        raise PreconditionError(f"no margin is stationary: 4 lam rho^2 = {1 - inside:g} exceeds 1.")
    upper = (1 + np.sqrt(max(inside, 0.0))) / (2 * scale)
    return StationaryMargins(lower=float(decay / upper), upper=float(upper))


@dataclass(frozen=True, slots=True, kw_only=True)
class CollapseTargets:
    """What NC1-NC4 should be at the optimum, balanced classes.

    Attributes
    ----------
    K, targets, lam : the problem. feature_square : E, the mean of ``||h_n||^2``.
    mu, M : of the normalised outputs. rest : rho, objective and so on.
    output : f_n of each class, normalised (K, outputs); all samples of a class have it (NC1: no variability).
    margin : normalised margin of every sample, the same for all.
    mean_cosines : of the class means of the features, not centred (K, K) (NC2).
    centred_cosine : of two class means less the global mean: -1/(K - 1) (NC2).
    within_class_variability : 0 (NC1). self_duality : distance of the classifier's direction from that of the class
        means, 0 (NC3): ``h_n`` is a multiple of ``V_L^T y_n``. nearest_mean_disagreement : 0 (NC4).
    classifier_square : ``V_L V_L^T`` (outputs, outputs).
    """

    K: int
    targets: str
    lam: float
    feature_square: float
    mu: float
    M: float
    rest: RhoEquilibrium
    output: np.ndarray
    margin: float
    mean_cosines: np.ndarray
    classifier_square: np.ndarray
    centred_cosine: float
    within_class_variability: float = 0.0
    self_duality: float = 0.0
    nearest_mean_disagreement: float = 0.0

    __repr__ = short_repr

    @property
    def fitted(self) -> np.ndarray:
        """``rho f_n`` of each class (K, outputs): the targets, shrunk by ``mu^2 / (mu^2 + lam Y)``."""
        return self.rest.rho * self.output

    def to_json(self) -> dict[str, object]:
        """Plain numbers and lists."""
        return {
            "K": self.K, "targets": self.targets, "lam": self.lam, "feature_square": self.feature_square,
            "mu": self.mu, "M": self.M, "rest": self.rest.to_json(), "margin": self.margin,
            "fitted": self.fitted.tolist(), "mean_cosines": self.mean_cosines.tolist(),
            "centred_cosine": self.centred_cosine, "within_class_variability": self.within_class_variability,
            "self_duality": self.self_duality, "nearest_mean_disagreement": self.nearest_mean_disagreement,
        }  # fmt: skip


def collapse_targets(K: int, *, lam: float, feature_square: float, targets: str = "one-hot") -> CollapseTargets:
    r"""The optimum over free features: F = V_L H with ``||V_L||_F = 1`` and ``(1/N) ||H||_F^2 <= E``, balanced classes.

    With Y the targets as columns, ``Y Y^T = n Pi`` (Pi a projection of rank r; signs: r = 1, n = N; one-hot: r = K,
    centred: r = K - 1, n = N / K): at rest in rho the objective is ``(1/N) ||Y||^2 - mu^2 / (M + lam)`` and

    .. math:: \mu \le \frac{\sqrt n}{N} \|\Pi F\|_*, \quad M \ge \frac{\|\Pi F\|_*^2}{r N}, \quad
        \|\Pi F\|_* \le \|V_L\|_F \|H\|_F \le \sqrt{N E}
        \;\Rightarrow\; \mu = \sqrt{nE/N}, \; M = E / r

    (*derived*: Hoelder, Cauchy-Schwarz, and for lam > 0 ``mu^2/(M + lam)`` increases with the nuclear norm.)
    Equality makes F a multiple of Y: no variability within classes (NC1); class means at right angles for one-hot
    targets and a simplex frame for centred ones, opposite for two classes with signs (NC2; less their mean a simplex
    frame each time); ``H = c V_L^T Y`` (NC3); nearest class mean = classifier (NC4). lam > 0 changes rho and the
    shrinkage of the outputs, not the geometry. Features are free, of width at least r: non-negative ones (after a ReLU)
    can form the orthogonal frame but not the simplex frame of centred targets, and a network's own E must be measured.
    Without decay every interpolation is optimal, collapsed or not; the targets are then those of the least rho, the
    limit lam -> 0.

    Parameters
    ----------
    K : classes, at least 2. lam : at least 0. feature_square : E, positive. targets : ``signs`` (K = 2, one output
        of targets -1 and +1), ``one-hot`` or ``centred`` (one-hot less 1/K).

    Raises
    ------
    InvalidInput : numbers out of range; signs with K > 2.

    Examples
    --------
    >>> found = collapse_targets(4, lam=0.1, feature_square=1.0, targets="one-hot")
    >>> found.mu, found.M, round(found.rest.rho, 12)  # sqrt(E/K), E/K
    (0.5, 0.25, 1.428571428571)
    """
    K, lam, E = as_count("K", K, minimum=2), as_decay(lam), as_positive("feature_square", feature_square)
    if targets not in TARGETS or (targets == "signs" and K != 2):
        raise InvalidInput(
            f"targets must be one of {', '.join(TARGETS)} (signs with K = 2), but are {targets!r} with K = {K}."
        )
    if targets == "signs":
        Y, r = np.array([[1.0], [-1.0]]), 1
    else:
        Y, r = np.eye(K) - (1 / K if targets == "centred" else 0.0), K - (targets == "centred")
    square = float((Y**2).sum() / K)
    mu = float(np.sqrt(E * square / r))  # n / N = Y / r, as tr Pi = r
    M = E / r
    output = mu / square * Y
    gram = Y @ Y.T
    length = np.sqrt(np.diag(gram))
    margin = float(mu if targets == "signs" else output[0, 0] - output[0, 1])
    return CollapseTargets(
        K=K, targets=targets, lam=lam, feature_square=E, mu=mu, M=M,
        rest=equilibrium(mu, M, lam, target_square=square), output=output, margin=margin,
        mean_cosines=gram / np.outer(length, length), classifier_square=Y.T @ Y / np.trace(Y.T @ Y),
        centred_cosine=-1 / (K - 1),
    )  # fmt: skip
