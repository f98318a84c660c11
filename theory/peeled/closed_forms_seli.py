"""Closed forms of the simplex-encoded-labels geometry for two groups of classes; no linear algebra."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from theory._arrays import as_count, as_positive


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoGroupGeometry:
    """Norms, inner products and cosines of one side (classifiers or features) for two groups A and B.

    Attributes
    ----------
    square_A, square_B : squared lengths.
    inner_AA, inner_BB, inner_AB : inner products of two different classes; NaN where a group has one class.
    """

    square_A: float
    square_B: float
    inner_AA: float
    inner_BB: float
    inner_AB: float

    @property
    def cos_AA(self) -> float:
        """Cosine of two classes of A."""
        return self.inner_AA / self.square_A

    @property
    def cos_BB(self) -> float:
        """Cosine of two classes of B."""
        return self.inner_BB / self.square_B

    @property
    def cos_AB(self) -> float:
        """Cosine of a class of A and one of B."""
        return self.inner_AB / float(np.sqrt(self.square_A * self.square_B))

    @property
    def norm_ratio(self) -> float:
        """Length in A over length in B."""
        return float(np.sqrt(self.square_A / self.square_B))


@dataclass(frozen=True, slots=True, kw_only=True)
class SELITwoGroups:
    """The simplex-encoded-labels geometry of two groups.

    Attributes
    ----------
    classifiers, features : the two sides; features are class means.
    objective : tr (P D P)^(1/2), the least (1/2)(||W||^2 + ||H||^2) over all samples.
    cos_wh_A, cos_wh_B : cosine of a class's classifier and its feature; 1 would be self-duality.
    """

    classifiers: TwoGroupGeometry
    features: TwoGroupGeometry
    objective: float
    cos_wh_A: float
    cos_wh_B: float


def seli_two_groups(K_A: int, K_B: int, n_A: float, n_B: float) -> SELITwoGroups:
    r"""Geometry of the unconstrained-features support vector machine for K_A classes of n_A and K_B of n_B samples.

    .. math::

        \|w_A\|^2 = \sqrt{n_A}\Bigl(1 - \tfrac1{K_A}\Bigr) + \sqrt{\bar n}\, \tfrac{K_B}{K K_A}, \quad
        w_A^\top w_{A'} = -\tfrac{\sqrt{n_A}}{K_A} + \sqrt{\bar n}\, \tfrac{K_B}{K K_A}, \quad
        w_A^\top w_B = -\tfrac{\sqrt{\bar n}}{K},

    with nbar = (K_B n_A + K_A n_B)/K and A, B exchanged for the minority; the features have the inverse of every
    singular value (sqrt n_A, sqrt n_B, sqrt nbar). *derived*: P D P has the eigenvalue n_A on differences within A,
    n_B within B and nbar on the one vector left (thrampoulidis2022imbalance print the case n_B = 1).

    Parameters
    ----------
    K_A, K_B : classes per group, at least 1.
    n_A, n_B : samples per class, positive; margins m are taken into account by effective counts m^2 n in W only.

    Raises
    ------
    InvalidInput : a group without classes, a count that is not positive.

    Examples
    --------
    >>> round(seli_two_groups(5, 5, 10, 1).classifiers.cos_BB, 6)
    0.033369
    >>> round(seli_two_groups(4, 3, 7, 7).classifiers.cos_AB, 12) == round(-1 / 6, 12)
    True
    """
    K_A, K_B = as_count("K_A", K_A), as_count("K_B", K_B)
    a, b = float(np.sqrt(as_positive("n_A", n_A))), float(np.sqrt(as_positive("n_B", n_B)))
    K = K_A + K_B
    mixed = float(np.sqrt((K_B * a**2 + K_A * b**2) / K))
    W, H = _side(K_A, K_B, a, b, mixed), _side(K_A, K_B, 1 / a, 1 / b, 1 / mixed)
    return SELITwoGroups(
        classifiers=W, features=H, objective=(K_A - 1) * a + (K_B - 1) * b + mixed,
        cos_wh_A=(1 - 1 / K) / float(np.sqrt(W.square_A * H.square_A)),
        cos_wh_B=(1 - 1 / K) / float(np.sqrt(W.square_B * H.square_B)),
    )  # fmt: skip


def _side(K_A: int, K_B: int, a: float, b: float, mixed: float) -> TwoGroupGeometry:
    K, nan = K_A + K_B, float("nan")
    own_A, own_B = mixed * K_B / (K * K_A), mixed * K_A / (K * K_B)
    return TwoGroupGeometry(
        square_A=a * (1 - 1 / K_A) + own_A,
        square_B=b * (1 - 1 / K_B) + own_B,
        inner_AA=own_A - a / K_A if K_A > 1 else nan,
        inner_BB=own_B - b / K_B if K_B > 1 else nan,
        inner_AB=-mixed / K,
    )
