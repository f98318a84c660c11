r"""Where minority classes merge (R0) and where they vanish (R00), for two groups of classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from theory._arrays import as_count, as_positive
from theory._errors import InvalidInput, NotConverged
from theory.peeled._minimise import ReducedOptimum, minimise
from theory.peeled._program import GroupProgram
from theory.peeled.model import LARGEST_MARGIN

LARGEST_RATIO = 1e15  # beyond this the masses themselves lose the digits


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


def collapse_threshold(*, majority: int, minority: int, E_W: float, E_H: float) -> CollapseThreshold:
    r"""The finite imbalance at which minority collapse happens in the layer-peeled model.

    With the minority gap held at zero, let mu(R) be the multiplier of the budget. The merged point is optimal if
    and only if the dual singular value of the gap, pi_B, does not exceed it, so R0 solves

    .. math:: \mu(R) = \pi_B(R).

    It vanishes as a whole if and only if, at Z = a (I - 11^T/K_A) on the majority with a = T/(K_A - 1) and
    probabilities p_self, p_other, p_min of a majority sample,

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
    InvalidInput : numbers out of range; R0 above 1e15, where float64 loses the minority's mass.

    Examples
    --------
    >>> t = collapse_threshold(majority=5, minority=5, E_W=1, E_H=5)
    >>> round(t.R0, 8), t.R00
    (12.19244708, inf)
    """
    K_A, K_B = as_count("majority", majority), as_count("minority", minority, minimum=2)
    E_W, E_H = as_positive("E_W", E_W), as_positive("E_H", E_H)
    K = K_A + K_B
    if K > 10**6:
        raise InvalidInput(f"at most 1000000 classes are taken, but majority + minority is {K}.")
    margin = K / (K - 1) * np.sqrt(E_W) * np.sqrt(E_H)
    if not 1e-12 <= margin <= LARGEST_MARGIN:
        raise InvalidInput(f"E_W * E_H = {E_W * E_H:g} is outside the range float64 can hold for this question.")
    budget = K * float(np.sqrt(E_W) * np.sqrt(E_H))

    def excess(log_R: float) -> float:
        """Log of mu / pi_B at the optimum with the minority gap held at zero; negative below R0."""
        program = two_groups(K_A, K_B, float(np.exp(log_R)), budget, merged=True)
        return float(np.log(_converged(program).multiplier / program.mass[1]))

    low, high = 1e-9, 0.5
    if excess(low) > 0:
        R0 = 1.0
    else:
        while excess(high) < 0:
            if high >= np.log(LARGEST_RATIO):
                raise InvalidInput(
                    f"the minority merges only above R = {LARGEST_RATIO:g}, where float64 loses its mass; "
                    "take smaller budgets."
                )
            low, high = high, min(2 * high, float(np.log(LARGEST_RATIO)))
        R0 = float(np.exp(brentq(excess, low, high, xtol=1e-15, rtol=1e-14)))
    program = two_groups(K_A, K_B, R0, budget, merged=True)
    found = _converged(program)
    residual = max(found.stationarity, abs(found.multiplier / program.mass[1] - 1) if R0 > 1 else 0.0)
    R00, residual_R00 = _vanishing(K_A, K_B, budget)
    return CollapseThreshold(
        majority=K_A, minority=K_B, E_W=E_W, E_H=E_H,
        R0=R0, R00=max(R00, R0), residual=residual, residual_R00=residual_R00,
    )  # fmt: skip


def two_groups(K_A: int, K_B: int, R: float, budget: float, *, merged: bool = False) -> GroupProgram:
    """The program of K_A classes with R times the samples of K_B others; with ``merged`` the minority's gap is 0."""
    program = GroupProgram(np.array([R, 1.0]) / (K_A * R + K_B), np.array([K_A, K_B]), budget)
    if merged:
        program.has_twins[1] = False  # not a variable of the program any more
    return program


def _vanishing(K_A: int, K_B: int, budget: float) -> tuple[float, float]:
    """R00 by its closed form, and the relative violation of the optimality condition there."""
    if K_A < 2:
        return float("inf"), 0.0
    K, a = K_A + K_B, budget / (K_A - 1)
    other, minority = np.exp(-a), np.exp(-a * (1 - 1 / K_A))  # relative to the true class
    total = 1 + (K_A - 1) * other + K_B * minority
    p_other, p_min = other / total, minority / total
    slope = K_A * p_other + K_B * p_min  # 1 - p_self + p_other without cancellation
    inside = slope**2 - K * K_B * p_min**2
    if inside <= 0:
        return float("inf"), 0.0
    R00 = float(max(np.sqrt(K_A / K) / np.sqrt(inside), 1 / slope))
    program = two_groups(K_A, K_B, R00, budget)
    _, grad_e, grad_M, _ = program.value(np.array([a, 0.0]), np.zeros((2, 2)))
    mu, gap_slope = program.twin_slope(grad_e)
    return R00, float(abs(max(np.linalg.norm(grad_M, 2), gap_slope) / mu - 1))


def _converged(program: GroupProgram) -> ReducedOptimum:
    found = minimise(program, rtol=1e-12)
    if not found.stationarity < 1e-8:
        raise NotConverged(f"the collapsed program stopped at stationarity {found.stationarity:.1e}.", partial=found)
    return found
