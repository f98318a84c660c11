"""The geometry of two groups of classes along the imbalance ratio."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats, as_positive
from theory._errors import InvalidInput, NotConverged
from theory.peeled._two_groups import TwoGroups
from theory.peeled.model import LARGEST_MARGIN
from theory.peeled.thresholds import CollapseThreshold, collapse_threshold

ANCHORS = 12  # per phase, solved from scratch


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseCurve:
    """Optimal geometry of the layer-peeled model for each ratio R = n_majority / n_minority.

    Attributes
    ----------
    majority, minority, E_W, E_H : the configuration.
    ratios, objective, gap : (n,) R, least mean loss, its certified gap.
    cos_minority, cos_majority, cos_between : (n,) cosines between classifier rows; NaN where a row is zero.
    norm_minority, norm_majority : (n,) lengths of classifier rows.
    merge_ratio : (n,) ||w_k - w_k'|| / max ||w|| for two minority classes.
    phase : (n,) ``separated``, ``merged`` or ``vanishing``, of the minority.
    threshold : R0 and R00, or None where R0 lies above 1e300.
    """

    majority: int
    minority: int
    E_W: float
    E_H: float
    ratios: np.ndarray
    objective: np.ndarray
    gap: np.ndarray
    cos_minority: np.ndarray
    cos_majority: np.ndarray
    cos_between: np.ndarray
    norm_minority: np.ndarray
    norm_majority: np.ndarray
    merge_ratio: np.ndarray
    phase: np.ndarray
    threshold: CollapseThreshold | None

    def to_json(self) -> dict[str, object]:
        """Lists of numbers."""
        out = {name: getattr(self, name) for name in self.__slots__}
        out["threshold"] = None if self.threshold is None else self.threshold.to_json()
        return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in out.items()}

    def __repr__(self) -> str:
        return (
            f"PhaseCurve({self.majority}+{self.minority} classes, E_W={self.E_W:g}, E_H={self.E_H:g}, "
            f"{len(self.ratios)} ratios, largest gap {self.gap.max(initial=0):.1e})"
        )


def phase_curve(
    *,
    majority: int,
    minority: int,
    E_W: float,
    E_H: float,
    ratios: ArrayLike,
    callback: Callable[[int, float], None] | None = None,
) -> PhaseCurve:
    """Solve along a grid of ratios, started between neighbours already solved.

    Newton on the four-scalar KKT system (*derived*) for all points of a phase at once, in the phases that the
    thresholds name; every point carries its own Frank-Wolfe gap. 1,000 points cost about 0.5 s.

    Parameters
    ----------
    majority, minority : K_A >= 1 and K_B >= 2.
    E_W, E_H : budgets on the mean squared norms.
    ratios : (n,) values R >= 1, in any order.
    callback : called as ``callback(anchors_done, ratio)``.

    Raises
    ------
    InvalidInput : numbers out of range. NotConverged : a point whose certified relative gap exceeds 1e-9.

    Examples
    --------
    >>> curve = phase_curve(majority=5, minority=5, E_W=1, E_H=5, ratios=[1, 10, 100])
    >>> curve.cos_minority.round(8)
    array([-0.11111111,  0.51749628,  1.        ])
    """
    K_A, K_B = as_count("majority", majority), as_count("minority", minority, minimum=2)
    E_W, E_H = as_positive("E_W", E_W), as_positive("E_H", E_H)
    R = as_floats("ratios", ratios, ndim=1)
    if len(R) == 0 or (R < 1).any() or (R > 1e15).any():
        raise InvalidInput("ratios must be a non-empty array of numbers between 1 and 1e15.")
    K = K_A + K_B
    if K / (K - 1) * np.sqrt(E_W) * np.sqrt(E_H) > LARGEST_MARGIN:
        raise InvalidInput(f"E_W * E_H = {E_W * E_H:g} is too large for float64; take smaller budgets.")
    groups = TwoGroups(K_A, K_B, K * float(np.sqrt(E_W) * np.sqrt(E_H)))
    try:
        threshold = collapse_threshold(majority=K_A, minority=K_B, E_W=E_W, E_H=E_H)
    except InvalidInput:
        threshold = None
    R0, R00 = (np.inf, np.inf) if threshold is None else (threshold.R0, threshold.R00)

    X = np.zeros((len(R), 4))
    X[:, 0] = groups.budget / max(K_A - 1, 1)  # the vanishing phase, in closed form
    for inside, free in (
        (R < R0, np.array([K_A > 1, True, True, True])),
        ((R >= R0) & (R < R00), np.array([K_A > 1, True, False, True])),
    ):
        if inside.any():
            X[inside] = _one_phase(groups, R[inside], free, callback)
    value, gap = groups.gap(X, R)
    worst = int(np.argmax(gap / value))
    if not gap[worst] <= 1e-9 * value[worst]:
        raise NotConverged(f"at R = {R[worst]:g} the relative gap is {gap[worst] / value[worst]:.1e}, above 1e-9.")

    a, e, r = X[:, 0], X[:, 2], np.hypot(X[:, 1], X[:, 3])
    scale = np.sqrt(E_W) / np.sqrt(E_H)
    share_A, share_B = r * K_B / (K * K_A), r * K_A / (K * K_B)
    square_A, square_B = a * (1 - 1 / K_A) + share_A, e * (1 - 1 / K_B) + share_B
    with np.errstate(divide="ignore", invalid="ignore"):
        cos_B = np.clip((share_B - e / K_B) / square_B, -1, 1)
        cos_A = np.clip((share_A - a / K_A) / square_A, -1, 1) if K_A > 1 else np.full(len(R), np.nan)
        cos_AB = np.clip(-r / K / np.sqrt(square_A * square_B), -1, 1)
    phase = np.where(r == 0, "vanishing", np.where(e == 0, "merged", "separated"))
    return PhaseCurve(
        majority=K_A, minority=K_B, E_W=E_W, E_H=E_H, ratios=R.copy(), objective=value, gap=gap,
        cos_minority=cos_B, cos_majority=cos_A, cos_between=cos_AB,
        norm_minority=np.sqrt(scale * square_B), norm_majority=np.sqrt(scale * square_A),
        merge_ratio=np.sqrt(2 * e / np.maximum(square_A, square_B)), phase=phase, threshold=threshold,
    )  # fmt: skip


def _one_phase(
    groups: TwoGroups, R: np.ndarray, free: np.ndarray, callback: Callable[[int, float], None] | None
) -> np.ndarray:
    """Newton for all ratios of one phase at once, started between anchors that the general solver provides."""
    order = np.sort(R)
    anchors = np.unique(order[np.linspace(0, len(R) - 1, ANCHORS).astype(int)])
    solved = []
    for done, ratio in enumerate(anchors, 1):
        solved.append(groups.from_program(ratio))
        if callback is not None:
            callback(done, float(ratio))
    states = np.array([np.append(x, np.log(mu)) for x, mu in solved])
    guess = np.stack([np.interp(np.log(R), np.log(anchors), column) for column in states.T], axis=1)
    x, _ = groups.newton(np.where(free, guess[:, :4], 0.0), np.exp(guess[:, 4]), R, free)
    x = groups.on_budget(np.where(free, np.abs(x), 0.0))
    value, gap = groups.gap(x, R)
    for i in np.flatnonzero(~(gap <= 1e-10 * value)):  # too far from an anchor: start from the solver itself
        start, mu = groups.from_program(R[i])
        again, _ = groups.newton(np.where(free, start, 0.0)[None], np.array([mu]), R[i : i + 1], free)
        better = groups.on_budget(np.abs(again))
        x[i] = better[0] if not gap[i] <= groups.gap(better, R[i : i + 1])[1][0] else x[i]
    return x
