r"""Where minority classes merge (R0) and where they vanish (R00), for two groups of classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats, as_positive, short_repr
from theory._errors import InvalidInput, NotConverged
from theory.peeled._merging import merging_point, merging_residual
from theory.peeled.model import LARGEST_MARGIN

LARGEST_RATIO = 1e300
MOST_CLASSES = 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class CollapseThreshold:
    """Imbalance ratios R = n_majority / n_minority at which the optimum changes phase.

    Attributes
    ----------
    majority, minority : number of classes K_A, K_B.
    E_W, E_H : budgets; only their product matters.
    R0 : the minority classifiers coincide exactly if and only if R >= R0.
    R00 : they and their features are exactly zero if and only if R >= R00; inf where that never happens.
    residual, residual_R00 : largest relative violation of the KKT system at R0 and at R00 (0 where infinite).
    """

    majority: int
    minority: int
    E_W: float
    E_H: float
    R0: float
    R00: float
    residual: float
    residual_R00: float

    def to_json(self) -> dict[str, object]:
        """Plain numbers; the command line prints infinity as null."""
        return {name: getattr(self, name) for name in self.__slots__}

    def summary(self) -> str:
        """Three lines for people."""
        vanish = "never" if np.isinf(self.R00) else f"R00 = {self.R00:.10g}   (residual {self.residual_R00:.1e})"
        return (
            f"{self.majority} majority and {self.minority} minority classes, E_W E_H = {self.E_W * self.E_H:g}\n"
            f"minority classifiers merge:   R0 = {self.R0:.10g}   (residual {self.residual:.1e})\n"
            f"minority classifiers vanish:  {vanish}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CollapseThresholds:
    """The two thresholds for a whole array of configurations; all arrays have the same shape.

    Attributes
    ----------
    majority, minority : numbers of classes K_A, K_B.
    product : E_W E_H.
    log_R0, R0 : where the minority merges; ``R0`` overflows to inf above 1e308, its natural logarithm does not.
    log_R00, R00 : where it vanishes; the logarithm is inf where that never happens.
    residual, residual_R00 : largest relative violation of the KKT system at R0 and at R00 (0 where infinite).
    """

    majority: np.ndarray
    minority: np.ndarray
    product: np.ndarray
    log_R0: np.ndarray
    R0: np.ndarray
    log_R00: np.ndarray
    R00: np.ndarray
    residual: np.ndarray
    residual_R00: np.ndarray

    __repr__ = short_repr

    def to_json(self) -> dict[str, object]:
        """Lists of plain numbers; infinity as it is (the command line prints null)."""
        return {name: getattr(self, name).tolist() for name in self.__slots__}


def collapse_threshold(*, majority: int, minority: int, E_W: float, E_H: float) -> CollapseThreshold:
    r"""The finite imbalance at which minority collapse happens in the layer-peeled model.

    With the minority gap held at zero, let mu(R) be the multiplier of the budget. The merged point is optimal if
    and only if the dual singular value of the gap, pi_B, does not exceed it, so R0 solves

    .. math:: \mu(R) = \pi_B(R),

    which comes down to one root of an explicit increasing function (:mod:`theory.peeled._merging`).
    It vanishes as a whole if and only if, at Z = a (I - 11^T/K_A) on the majority with a = T/(K_A - 1),
    T = K sqrt(E_W E_H), and probabilities p_self, p_other, p_min of a majority sample,

    .. math::

        R \ge R_{00} = \max\Bigl(\frac{\sqrt{K_A/K}}{\sqrt{(1 - p_s + p_o)^2 - K K_B p_{min}^2}},
        \frac1{1 - p_s + p_o}\Bigr).

    *derived* (convexity makes both exact; fang2021layerpeeled observes a finite R0 and proves R -> infinity).

    Parameters
    ----------
    majority, minority : numbers of classes, at least 1 and at least 2 (one class cannot merge).
    E_W, E_H : budgets on the mean squared norms.

    Raises
    ------
    InvalidInput : numbers out of range; R0, or a finite R00, above 1e300 (:func:`collapse_thresholds` has logarithms).

    Examples
    --------
    >>> t = collapse_threshold(majority=5, minority=5, E_W=1, E_H=5)
    >>> round(t.R0, 8), t.R00
    (12.19244708, inf)
    """
    K_A, K_B = as_count("majority", majority), as_count("minority", minority, minimum=2)
    E_W, E_H = as_positive("E_W", E_W), as_positive("E_H", E_H)
    found = collapse_thresholds(majority=K_A, minority=K_B, E_W=E_W, E_H=E_H)
    for verb, at in (("merges", float(found.log_R0)), ("vanishes", float(found.log_R00))):
        if np.log(LARGEST_RATIO) < at < np.inf:
            raise InvalidInput(
                f"the minority {verb} only above R = {LARGEST_RATIO:g}, at R = e^{at:.6g}; take smaller budgets."
            )
    numbers = {name: float(getattr(found, name)) for name in ("R0", "R00", "residual", "residual_R00")}
    return CollapseThreshold(majority=K_A, minority=K_B, E_W=E_W, E_H=E_H, **numbers)


def collapse_thresholds(
    *, majority: ArrayLike, minority: ArrayLike, E_W: ArrayLike, E_H: ArrayLike
) -> CollapseThresholds:
    """:func:`collapse_threshold` for arrays, which broadcast; about two microseconds for each configuration.

    *derived* there: one root of an increasing function (:mod:`theory.peeled._merging`), a closed form for R00.

    Raises
    ------
    InvalidInput : numbers out of range, or shapes that do not broadcast.
    NotConverged : a residual above 1e-8 (never seen; the least is about 1e-16 times log R0).

    Examples
    --------
    >>> collapse_thresholds(majority=[3, 5, 7], minority=[7, 5, 3], E_W=1, E_H=5).R0.round(4).tolist()
    [245.4969, 12.1924, 4.0005]
    """
    given = {"majority": majority, "minority": minority, "E_W": E_W, "E_H": E_H}
    arrays = [as_floats(name, value) for name, value in given.items()]
    try:
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(given, arrays, strict=True))
        raise InvalidInput(f"the shapes must broadcast, but are {shapes}.") from None
    K_A, K_B, W, H = (np.broadcast_to(array, shape).ravel() for array in arrays)
    _check(K_A, K_B, W, H)
    T = (K_A + K_B) * np.sqrt(W) * np.sqrt(H)
    a, q_A, q_B, log_R0 = merging_point(K_A, K_B, T)
    residual = merging_residual(K_A, K_B, T, (a, q_A, q_B, log_R0))
    if not (residual < 1e-8).all():
        raise NotConverged(f"the merging threshold was found only to a residual of {np.max(residual):.1e}.")
    log_R00, residual_R00 = _vanishing(K_A, K_B, T)
    log_R00 = np.maximum(log_R00, log_R0)
    with np.errstate(over="ignore"):
        R0, R00, product = np.exp(log_R0), np.exp(log_R00), W * H
    columns = {
        "majority": K_A.astype(np.int64), "minority": K_B.astype(np.int64), "product": product, "log_R0": log_R0,
        "R0": R0, "log_R00": log_R00, "R00": R00, "residual": residual, "residual_R00": residual_R00,
    }  # fmt: skip
    return CollapseThresholds(**{name: column.reshape(shape) for name, column in columns.items()})


def _check(K_A: np.ndarray, K_B: np.ndarray, E_W: np.ndarray, E_H: np.ndarray) -> None:
    for name, count, least in (("majority", K_A, 1), ("minority", K_B, 2)):
        if (count != np.floor(count)).any() or (count < least).any():
            raise InvalidInput(f"{name} must be whole numbers of at least {least}.")
    if (K_A + K_B).max(initial=0) > MOST_CLASSES:
        most = int((K_A + K_B).max())
        raise InvalidInput(f"at most {MOST_CLASSES} classes are taken, but majority + minority is {most}.")
    for name, budget in (("E_W", E_W), ("E_H", E_H)):
        if (budget <= 0).any():
            raise InvalidInput(f"{name} must be positive, but contains {budget.min():g}.")
    K = K_A + K_B
    with np.errstate(over="ignore"):
        margin = K / (K - 1) * np.sqrt(E_W) * np.sqrt(E_H)
    outside = ~((margin >= 1e-12) & (margin <= LARGEST_MARGIN))
    if outside.any():
        worst = float(np.sqrt(E_W[outside][0]) * np.sqrt(E_H[outside][0]))
        raise InvalidInput(
            f"sqrt(E_W E_H) = {worst:g} is outside the range float64 can hold for this question, "
            f"which is about 1e-12 to {LARGEST_MARGIN:g}."
        )


def _vanishing(K_A: np.ndarray, K_B: np.ndarray, T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logarithm of R00 by its closed form over p_min, and the relative violation of the optimality condition there."""
    K, a = K_A + K_B, T / np.maximum(K_A - 1, 1)
    twin = np.exp(-a / K_A)  # probability of another majority class over that of a minority class
    slope = K_A * twin + K_B  # (1 - p_self + p_other) / p_min
    root = np.sqrt(K * K_B)
    inside = K_A * (twin - K_B / (root + K_B)) * (slope + root)  # slope^2 - K K_B
    log_over = a * (1 - 1 / K_A) + np.log1p((K_A - 1) * np.exp(-a) + K_B * np.exp(-a * (1 - 1 / K_A)))  # log 1/p_min
    safe = np.where(inside > 0, inside, 1.0)
    ratio = np.maximum(np.sqrt(K_A / K / safe), 1 / slope)  # R00 p_min
    within = np.maximum(np.sqrt(K_A / K + K * K_B * ratio**2), 1.0) / (ratio * slope)
    finite = (K_A > 1) & (inside > 0)
    return np.where(finite, np.log(ratio) + log_over, np.inf), np.where(finite, np.abs(within - 1), 0.0)
