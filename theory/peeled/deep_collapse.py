"""Where the simplex frame stops being the best known solution of the deep linear model, as a map in (K, L)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from theory._arrays import as_count, as_positive
from theory._errors import InvalidInput
from theory.peeled import _deep_constructions as constructions
from theory.peeled._deep_bound import lower_bound
from theory.peeled.deep_linear import DeepLinearModel
from theory.peeled.solution import PeeledSolution


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepCollapseMap:
    """Values of the constructions for equal counts, cross-entropy, one penalty for all factors.

    Attributes
    ----------
    K, L : (I,), (J,) numbers of classes and of weight layers.
    lam, count : the penalty of every factor, the samples per class.
    collapsed, pairing, polygon : (I, J) least objective of each family; log K where its amplitude is zero.
    lower : (I, J) rigorous lower bound of the optimum.
    best : (I, J) name of the best family, ``collapsed`` on ties, or ``zero``.
    limit_ratio : (I, J) penalty at unit margin of the better low-rank family over that of ``collapsed``; below 1 the
        frame is not optimal for all small lam, whatever the sample size. Above 1 nothing is claimed.
    """

    K: np.ndarray
    L: np.ndarray
    lam: float
    count: int
    collapsed: np.ndarray
    pairing: np.ndarray
    polygon: np.ndarray
    lower: np.ndarray
    best: np.ndarray
    limit_ratio: np.ndarray

    @property
    def collapse_is_beaten(self) -> np.ndarray:
        """(I, J) where a low-rank family is strictly better: a proof that the frame is not optimal there."""
        return (self.best == "pairing") | (self.best == "polygon")

    @property
    def collapse_is_optimal(self) -> np.ndarray:
        """(I, J) where the lower bound meets the frame to 1e-9: a proof that it is optimal there."""
        return (self.best == "collapsed") & (self.collapsed - self.lower <= 1e-9 * self.collapsed)

    def to_json(self) -> dict[str, object]:
        """Plain numbers and strings."""
        return {name: np.asarray(getattr(self, name)).tolist() for name in self.__slots__}

    def __repr__(self) -> str:
        beaten = int(self.collapse_is_beaten.sum())
        size = f"K={len(self.K)}, L={len(self.L)}, lam={self.lam:g}"
        return f"DeepCollapseMap({size}, beaten at {beaten} of {self.best.size})"


def deep_collapse_map(
    K_values: Sequence[int], L_values: Sequence[int], *, lam: float, count: int = 1
) -> DeepCollapseMap:
    r"""Compare the simplex frame in every layer with two low-rank families, for equal counts and cross-entropy.

    For lam -> 0 the penalty at unit margin decides: (K-1) for the frame, 2^q floor(K/2) (+ 1 for odd K) for the
    pairing, 2 (K/2)^q / (1 - cos(2 pi/K))^q for the polygon, times c n^(q/2), q = 2/(L+1) (*derived*; the threshold
    K >= 4, L >= 3 or K >= 6, L = 2 of garrod2025persistence is where the pairing is the cheaper). For L > 2 better
    points than either family exist; where the map says ``collapsed``, optimality is not proved unless
    ``collapse_is_optimal`` says so.

    Parameters
    ----------
    K_values : numbers of classes, 2 to 10^5; cost O(K).
    L_values : numbers of weight layers, at least 1.
    lam : penalty of every factor; ``count`` : samples per class.

    Raises
    ------
    InvalidInput : a value out of range.

    Examples
    --------
    >>> deep_collapse_map([3, 4, 6], [1, 2, 3], lam=1e-3).collapse_is_beaten.astype(int)
    array([[0, 0, 0],
           [0, 0, 1],
           [0, 1, 1]])
    """
    K = np.array([as_count("K_values", k, minimum=2) for k in K_values], np.intp)
    L = np.array([as_count("L_values", depth) for depth in L_values], np.intp)
    if not len(K) or not len(L):
        raise InvalidInput("K_values and L_values must not be empty.")
    if K.max() > 10**5 or L.max() > 1000:
        raise InvalidInput("K_values must be at most 100000 and L_values at most 1000.")
    lam, n = as_positive("lam", lam), as_count("count", count)
    values = {name: np.empty((len(K), len(L))) for name in (*constructions.NAMES, "lower", "limit_ratio")}
    best = np.empty((len(K), len(L)), dtype="<U9")
    for i, k in enumerate(K):
        for j, depth in enumerate(L):
            q = 2 / (int(depth) + 1)
            setting = constructions.Setting(np.array([float(n)]), np.array([float(k)]), lam / q, q)
            for name, build in constructions.BUILDERS.items():
                values[name][i, j] = build(setting).value
            values["lower"][i, j] = lower_bound(setting.count, setting.classes, setting.c, q)
            values["limit_ratio"][i, j] = _limit_ratio(int(k), q)
            row = [float(values[name][i, j]) for name in constructions.NAMES]
            first = next(f for f, v in enumerate(row) if v <= min(row) * (1 + 1e-12))
            best[i, j] = constructions.NAMES[first] if row[first] < np.log(k) else "zero"
    return DeepCollapseMap(K=K, L=L, lam=lam, count=n, best=best, **values)


def _limit_ratio(K: int, q: float) -> float:
    pairing = 2.0**q * (K // 2) + K % 2
    polygon = (2 if K > 2 else 1) * ((K / 2 if K > 2 else 2) / (1 - np.cos(2 * np.pi / K))) ** q
    return float(min(pairing, polygon) / (K - 1))


def layer_weights(solution: PeeledSolution) -> tuple[np.ndarray, ...]:
    """(W_1, ..., W_L, H) of a solved deep linear model, balanced, so that W_L ... W_1 H are its logits.

    H (p, K) holds class means; all hidden widths are p = the model's dimension or the rank of the solution. The
    singular values of lam_l^(1/2) W_l and of lam_H^(1/2) H D^(1/2) are all equal. *derived*: equality in the
    arithmetic-geometric mean.

    Raises
    ------
    InvalidInput : the solution is not one of a :class:`DeepLinearModel`, or all its logits are zero.
    """
    model = solution.model
    if not isinstance(model, DeepLinearModel):
        raise InvalidInput(f"layer_weights takes a solution of DeepLinearModel, but got {type(model).__name__}.")
    if not solution.rank:
        raise InvalidInput("all logits are zero: every factor is zero, and there is no direction to show.")
    lams, root = np.asarray(model.lams), np.sqrt(np.asarray(model.counts))
    p, M, mean = model.dimension or solution.rank, model.factors, model.mean_penalty
    U, s, Vt = np.linalg.svd(solution.logits() * root, full_matrices=False)
    U, s, Vt = U[:, : solution.rank], s[: solution.rank], Vt[: solution.rank]
    part = np.zeros(p)
    part[: len(s)] = np.sqrt(mean) * s ** (1 / M)
    H = np.zeros((p, len(root)))
    H[: len(s)] = part[: len(s), None] * Vt / root / np.sqrt(lams[-1])
    middle = [np.diag(part) / np.sqrt(lam) for lam in lams[:-2]]
    top = np.zeros((len(root), p))
    top[:, : len(s)] = U * part[: len(s)] / np.sqrt(lams[-2])
    return (*middle, top, H)
