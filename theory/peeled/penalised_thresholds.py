"""Penalties at which groups of classes merge, or everything vanishes, in the unconstrained-features model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import short_repr
from theory._errors import NotConverged, PreconditionError
from theory.peeled._partition import Partition
from theory.peeled.unconstrained import UnconstrainedFeaturesModel

MOST_GROUPS = 3000


@dataclass(frozen=True, slots=True, kw_only=True)
class PenalisedThresholds:
    r"""Values of lam_Z = sqrt(lam_W lam_H) from which on something collapses exactly.

    Attributes
    ----------
    count, weight, classes : (R,) per group of classes, counts falling.
    lam_Z : (R,) the group collapses if and only if lam_Z is at least this; NaN for a single class that cannot merge.
    effect : ``merge`` (its classifiers and features coincide), ``vanish`` (each of them is zero) or
        ``lose features`` (features zero, classifiers equal, but not zero).
    zero : W = H = 0 is optimal if and only if lam_Z is at least this.
    residual : (R,) relative distance to the slope of the loss along the split, differentiated by complex step.
    """

    count: np.ndarray
    weight: np.ndarray
    classes: np.ndarray
    lam_Z: np.ndarray
    effect: str
    zero: float
    residual: np.ndarray

    __repr__ = short_repr

    def to_json(self) -> dict[str, object]:
        """Plain numbers; NaN where a single class cannot merge."""
        return {
            name: value.tolist() if isinstance(value := getattr(self, name), np.ndarray) else value
            for name in self.__slots__
        }

    def summary(self) -> str:
        """A table for people."""
        head = f"{'count':>14} {'classes':>8}  {self.effect + ' from lam_Z =':>26}\n"
        lines = [
            f"{int(n):>14} {int(k):>8}  {'-' if np.isnan(x) else f'{x:.10g}':>26}"
            for n, k, x in zip(self.count, self.classes, self.lam_Z, strict=True)
        ]
        return head + "\n".join(lines) + f"\neverything is zero from lam_Z = {self.zero:.10g}"


def merge_threshold(
    counts: ArrayLike | UnconstrainedFeaturesModel,
    *,
    loss: str = "cross_entropy",
    features: str = "free",
    lam_b: float | None = None,
    label_smoothing: float = 0.0,
    class_weights: ArrayLike | str | None = None,
) -> PenalisedThresholds:
    r"""Where groups of equal classes collapse under penalties, for any number of groups.

    With :math:`\kappa_g = \omega_g / \sum_k \omega_k n_k` (1/N without weights),

    .. math:: \lambda_Z^* = c\,\kappa_g \sqrt{n_g}

    ===============================================  ==============  =============================
    loss                                             effect          c
    ===============================================  ==============  =============================
    cross-entropy, any bias, label smoothing alpha   merge           1 - alpha
    squared error without bias                       vanish          1
    squared error with free or penalised bias        merge           1
    cross-entropy, nonnegative features              lose features   sqrt((K-1)/K)
    squared error, nonnegative features              vanish          1
    ===============================================  ==============  =============================

    *derived*: the split of two classes of a group is a singular direction of Z D^(1/2) of its own, along which the
    loss falls with slope (1 - alpha) kappa sqrt(n) at *every* merged point; convexity makes the comparison with lam_Z
    an equivalence (hong2023imbalanced proves a sharp threshold for two clusters; dang2024relu treats nonnegative
    features). ``zero`` is the norm of the slope at Z = 0 and the bias that is best there.

    Parameters
    ----------
    counts : (K,) samples per class, or an UnconstrainedFeaturesModel whose penalties on W and H are ignored.
    loss, features, lam_b, label_smoothing, class_weights : as in UnconstrainedFeaturesModel; not with a model.

    Raises
    ------
    InvalidInput : options that the model refuses.
    PreconditionError : the focal loss, whose slope depends on the solution; more than 3000 distinct counts.

    Examples
    --------
    >>> t = merge_threshold([500] * 5 + [100] * 5)
    >>> [round(float(x), 8) for x in t.lam_Z]  # sqrt(500)/3000 and 10/3000
    [0.00745356, 0.00333333]
    """
    if isinstance(counts, UnconstrainedFeaturesModel):
        model = counts
    else:
        model = UnconstrainedFeaturesModel(
            counts=counts, lam_W=1.0, lam_H=1.0, loss=loss, features=features, lam_b=lam_b,
            label_smoothing=label_smoothing, class_weights=class_weights, gamma=1.0 if loss == "focal" else None,
        )  # fmt: skip
    if model.loss == "focal":
        raise PreconditionError("the focal loss has no threshold in closed form: its slope depends on the solution.")
    parts, K = model._partition, model.num_classes
    if len(parts.count) > MOST_GROUPS:
        raise PreconditionError(f"{len(parts.count)} distinct counts; at most {MOST_GROUPS} are taken.")
    squared, relu = model.loss == "mse", model.features == "relu"
    effect = "vanish" if squared and model.lam_b is None else "lose features" if relu else "merge"
    factor = float(np.sqrt((K - 1) / K)) if effect == "lose features" else 1 - model.label_smoothing
    root = np.sqrt(parts.count)
    thresholds = factor * parts.mass / root
    zero = float(thresholds.max()) if effect != "merge" else _zero_threshold(model, parts)
    slopes = np.array([_split_slope(model, effect, m, r) for m, r in zip(parts.mass, root, strict=True)])
    residual = np.abs(slopes / thresholds - 1)
    if effect == "merge":
        single = parts.classes < 2
        thresholds, residual = np.where(single, np.nan, thresholds), np.where(single, np.nan, residual)
    return PenalisedThresholds(
        count=parts.count, weight=parts.weight, classes=parts.classes, lam_Z=thresholds, effect=effect, zero=zero,
        residual=residual,
    )  # fmt: skip


def _split_slope(model: UnconstrainedFeaturesModel, effect: str, mass: float, root: float) -> float:
    """Minus the derivative of the loss along the direction of norm one that undoes the collapse, by complex step.

    The columns are written out: the class itself, its twin, and the rest of the classes at some other logit.
    """
    K, alpha, h = model.num_classes, model.label_smoothing, 1e-30
    size = min(K, 4) if effect == "merge" else min(K, 50)
    if effect == "merge":  # v v^T, v = (e_1 - e_2)/sqrt(2): two columns move by +-1/(2 root)
        at = np.array([0.7, 0.7, -0.4, 0.1])[:size]
        along, columns = np.array([0.5, -0.5, 0, 0])[:size], 2
    elif effect == "lose features":  # the unit vector along e_1 - 1/K; the K - 1 others as one entry of that weight
        at, along, columns = np.zeros(2), np.array([1 - 1 / K, -1 / K]) / np.sqrt((K - 1) / K), 1
    else:
        at, along, columns = np.zeros(size), np.eye(size)[0], 1
    copies = np.array([1.0, K - 1]) if effect == "lose features" else np.ones(len(at))
    z = at + 1j * h * along / root
    if model.loss == "mse":
        b = 0.0 if model.lam_b is None else 0.2
        loss = 0.5 * ((z + b - np.eye(len(z))[0]) ** 2).sum()
    else:
        target = (1 - alpha) * np.eye(len(z))[0] + alpha / K
        loss = np.log((copies * np.exp(z)).sum()) * (target * copies).sum() - (copies * target * z).sum()
    return float(-columns * mass * loss.imag / h)


def _zero_threshold(model: UnconstrainedFeaturesModel, parts: Partition) -> float:
    """Spectral norm of the slope at Z = 0, from the twins of each group and the G x G averages."""
    n, K, alpha = parts.classes.astype(float), model.num_classes, model.label_smoothing
    mean = (1 - alpha) * parts.mass + alpha / K  # mean target of one class per group
    if model.loss == "mse":
        level = mean / (1 + (model.lam_b or 0.0))
    elif model.lam_b is None:
        level = np.full(len(n), 1 / K)
    else:
        level = _softmax_bias(mean, n, model.lam_b) if model.lam_b else mean
    # average over groups of the columns mass/sqrt(n) (y_k - level), in orthonormal coordinates
    wide = np.sqrt(n)
    target = np.diag(np.full(len(n), 1 - alpha)) + alpha / K * np.outer(wide, wide)
    U = (target - np.outer(wide * level, wide)) * (parts.mass / np.sqrt(parts.count))
    twins = np.where(n > 1, (1 - alpha) * parts.mass / np.sqrt(parts.count), 0.0)
    return max(float(np.linalg.norm(U, 2)), float(twins.max()))


def _softmax_bias(mean: np.ndarray, n: np.ndarray, lam_b: float) -> np.ndarray:
    """Softmax of the b of least logsumexp(b) - <mean, b> + lam_b |b|^2 / 2, by damped Newton (n classes per group)."""

    def height(b: np.ndarray) -> float:
        top = float(b.max())
        return top + float(np.log(n @ np.exp(b - top))) - float(n @ (mean * b)) + lam_b / 2 * float(n @ b**2)

    b = np.zeros(len(n))
    for _ in range(200):
        p = np.exp(b - b.max())
        p /= n @ p
        slope = p - mean + lam_b * b
        # Hessian diag(p + lam_b) - p (n p)^T: Sherman and Morrison
        inverse = 1 / (p + lam_b)
        x, y = inverse * slope, inverse * p
        step = x + y * ((n * p) @ x) / (lam_b * (n @ y))
        t = 1.0
        while t > 1e-12 and height(b - t * step) > height(b) + 1e-15:
            t /= 2
        b = b - t * step
        if float(np.abs(slope).max()) <= 1e-15:
            return p
    if float(np.abs(slope).max()) > 1e-11:
        raise NotConverged(f"the bias at Z = 0 stopped at a slope of {float(np.abs(slope).max()):.1e}.")
    return p
