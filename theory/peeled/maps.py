r"""Where minority classes merge, over two of the quantities that decide it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats
from theory._errors import InvalidInput
from theory.peeled.thresholds import collapse_thresholds


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdMap:
    """R0 and R00 of the layer-peeled model over the budgets and the share of majority classes.

    Attributes
    ----------
    K : number of classes.
    products : (n,) E_W E_H.
    majority : (m,) number of majority classes K_A.
    R0, R00 : (m, n) imbalance at which the minority merges and vanishes (R00 inf: never; R0 inf: above 1e308).
    residual : (m, n) largest relative violation of the optimality conditions at the two.
    vanishing_product : (m,) R00 is finite if and only if E_W E_H is below it (:func:`vanishing_product`).
    """

    K: int
    products: np.ndarray
    majority: np.ndarray
    R0: np.ndarray
    R00: np.ndarray
    residual: np.ndarray
    vanishing_product: np.ndarray

    @property
    def majority_shares(self) -> np.ndarray:
        """K_A / K."""
        return self.majority / self.K

    def to_json(self) -> dict[str, object]:
        """Lists of plain numbers; NaN and infinity as they are (the command line prints null)."""
        return {"K": self.K, **{name: getattr(self, name).tolist() for name in self.__slots__ if name != "K"}}

    def __repr__(self) -> str:
        return (
            f"ThresholdMap(K={self.K}, {len(self.products)} budgets x {len(self.majority)} shares, "
            f"largest residual {np.max(self.residual, initial=0):.1e})"
        )


def threshold_map(K: int, products: ArrayLike, majority_shares: ArrayLike) -> ThresholdMap:
    """R0 and R00 of :func:`theory.peeled.collapse_thresholds` on a grid.

    Parameters
    ----------
    K : number of classes, at least 3.
    products : (n,) E_W E_H, positive.
    majority_shares : (m,) K_A / K; each is rounded to a whole number of classes, 1 <= K_A <= K - 2.

    Raises
    ------
    InvalidInput : numbers out of range, or two shares that round to the same number of classes.

    Examples
    --------
    >>> float(threshold_map(10, [5], [0.5]).R0.round(8)[0, 0])
    12.19244708
    """
    K = as_count("K", K, minimum=3)
    P = as_floats("products", products, ndim=1)
    shares = as_floats("majority_shares", majority_shares, ndim=1)
    if not P.size or not shares.size or (P <= 0).any():
        raise InvalidInput("products must be positive, and neither products nor majority_shares may be empty.")
    majority = np.round(shares * K).astype(np.int64)
    if (majority < 1).any() or (majority > K - 2).any():
        raise InvalidInput(f"majority_shares must leave between 1 and K - 2 = {K - 2} majority classes.")
    if len(np.unique(majority)) < len(majority):
        raise InvalidInput(f"two of the majority_shares stand for the same number of classes out of {K}.")
    found = collapse_thresholds(majority=majority[:, None], minority=K - majority[:, None], E_W=1.0, E_H=P)
    residual = np.maximum(found.residual, found.residual_R00)
    ends = np.array([vanishing_product(majority=int(k), minority=K - int(k)) for k in majority])
    return ThresholdMap(
        K=K, products=P.copy(), majority=majority, R0=found.R0, R00=found.R00, residual=residual, vanishing_product=ends
    )


def vanishing_product(*, majority: int, minority: int) -> float:
    r"""The product of the budgets from which on the minority never vanishes, however large the imbalance.

    .. math:: E_W E_H < \Bigl(\frac{K_A (K_A - 1)}{K} \log \frac{K_A}{\sqrt{K K_B} - K_B}\Bigr)^2

    is necessary and sufficient for a finite R00; 0 for a single majority class. *derived*: R00 is finite if and only
    if :math:`1 - p_s + p_o > \sqrt{K K_B}\, p_{min}` (:func:`theory.peeled.collapse_threshold`). Divided by
    :math:`p_o` this is :math:`K_A + K_B u > \sqrt{K K_B}\, u` with :math:`u = e^{a/K_A}`,
    :math:`a = K \sqrt{E_W E_H}/(K_A - 1)`.

    Parameters
    ----------
    majority, minority : K_A >= 1 and K_B >= 1.

    Raises
    ------
    InvalidInput : numbers out of range.

    Examples
    --------
    >>> round(vanishing_product(majority=5, minority=5), 6)
    3.107278
    """
    K_A, K_B = as_count("majority", majority), as_count("minority", minority)
    K = K_A + K_B
    # sqrt(K K_B) - K_B = K_A K_B / (sqrt(K K_B) + K_B)
    return float((K_A * (K_A - 1) / K * np.log((np.sqrt(K * K_B) + K_B) / K_B)) ** 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class PenaltyMap:
    r"""Penalty from which the minority is merged in the unconstrained-features model, over the counts of two groups.

    Attributes
    ----------
    majority, minority : numbers of classes K_A, K_B.
    majority_counts, minority_counts : (m,), (n,) samples per class.
    lam_Z : (m, n) sqrt(lam_W lam_H) = sqrt(n_B) / N with N = K_A n_A + K_B n_B; exact.
    """

    majority: int
    minority: int
    majority_counts: np.ndarray
    minority_counts: np.ndarray
    lam_Z: np.ndarray

    def to_json(self) -> dict[str, object]:
        """Lists of plain numbers."""
        names = ("majority_counts", "minority_counts", "lam_Z")
        return {
            "majority": self.majority, "minority": self.minority,
            **{name: getattr(self, name).tolist() for name in names},
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"PenaltyMap({self.majority}+{self.minority} classes, {' x '.join(map(str, self.lam_Z.shape))} counts)"


def penalty_map(majority: int, minority: int, majority_counts: ArrayLike, minority_counts: ArrayLike) -> PenaltyMap:
    r"""The merge threshold of the unconstrained-features model with cross-entropy, no class weights.

    .. math:: \lambda_Z^* = \frac{\sqrt{n_B}}{K_A n_A + K_B n_B}

    A group of n_g samples per class is merged if and only if :math:`\sqrt{\lambda_W\lambda_H} \ge \sqrt{n_g}/N`, for
    any number of groups (*derived*: the gap within a group has the slope -(1/N) sqrt(n_g) at zero whatever the others
    do). With more samples of the minority its threshold rises like sqrt(n_B) while they are few, and falls once they
    dominate N.

    Parameters
    ----------
    majority, minority : K_A >= 0 and K_B >= 2.
    majority_counts, minority_counts : (m,), (n,) samples per class, at least 1.

    Raises
    ------
    InvalidInput : numbers out of range.

    Examples
    --------
    >>> penalty_map(5, 5, [500], [100]).lam_Z.tolist() == [[100**0.5 / 3000]]
    True
    """
    K_A, K_B = as_count("majority", majority, minimum=0), as_count("minority", minority, minimum=2)
    n_A = as_floats("majority_counts", majority_counts, ndim=1)
    n_B = as_floats("minority_counts", minority_counts, ndim=1)
    if not n_A.size or not n_B.size or min(n_A.min(), n_B.min()) < 1:
        raise InvalidInput("majority_counts and minority_counts must be non-empty, with entries of at least 1.")
    total = K_A * n_A[:, None] + K_B * n_B[None, :]
    return PenaltyMap(
        majority=K_A, minority=K_B, majority_counts=n_A.copy(), minority_counts=n_B.copy(), lam_Z=np.sqrt(n_B) / total
    )
