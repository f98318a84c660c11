"""More classes than dimensions allow a simplex: classifiers and features on the sphere, temperature to zero."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import comb

import numpy as np

from theory._arrays import as_count
from theory._errors import InvalidInput
from theory.peeled._partition import Partition, partition

MOST_CLASSES = 10**5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SoftmaxCodeModel:
    r"""Unit classifiers and unit features that maximise the least margin of a class against each other one.

    .. math::

        \min_{W, H} \max_{k} \max_{j \ne k} \langle w_j - w_k, h_k \rangle \quad\text{s.t.}\quad
        \|w_k\| = \|h_k\| = 1 \text{ in } \mathbb R^d

    The limit of cross-entropy with normalised classifiers and features as the temperature falls to zero
    (jiang2024generalized). The least value is minus the best margin rho = max_W min_k dist(w_k, conv{w_j, j != k}); an
    optimal W is called a softmax code. So the ``objective`` of a solution is negative: -rho at the returned point;
    ``certificate.lower`` is minus an upper bound of rho. W is ``classifier()``, H is ``features()``.

    Parameters
    ----------
    num_classes : K, from 2 to 10^5.
    dimension : d, at least 1.

    Raises
    ------
    InvalidInput : K or d out of range.

    Examples
    --------
    >>> SoftmaxCodeModel(num_classes=12, dimension=3)
    SoftmaxCodeModel(num_classes=12, dimension=3)
    """

    num_classes: int
    dimension: int
    _partition: Partition = field(init=False, repr=False)

    def __post_init__(self) -> None:
        K = as_count("num_classes", self.num_classes, minimum=2)
        if K > MOST_CLASSES:
            raise InvalidInput(f"num_classes must be at most {MOST_CLASSES}, but is {K}.")
        object.__setattr__(self, "num_classes", K)
        object.__setattr__(self, "dimension", as_count("dimension", self.dimension))
        object.__setattr__(self, "_partition", partition(self.counts, None))

    @property
    def counts(self) -> np.ndarray:
        """(K,) ones: every class counts the same."""
        return np.ones(self.num_classes)

    def parameters(self) -> dict[str, object]:
        """What the model was given, as plain values."""
        return {"num_classes": self.num_classes, "dimension": self.dimension}

    def __repr__(self) -> str:
        return f"SoftmaxCodeModel(num_classes={self.num_classes}, dimension={self.dimension})"


def softmax_code_bound(num_classes: int, dimension: int) -> float:
    r"""An upper bound of the best margin rho(K, d) of :class:`SoftmaxCodeModel`; exact where the optimum is known.

    - K <= d + 1: K/(K-1), the simplex (*derived*: the sum of <w_k - w_j, h_k> over all pairs is half that
      of <w_k - w_j, h_k - h_j>, at most K^2).
    - d = 1, K >= 3: 0, two classes coincide.
    - d = 2: 1 - cos(2 pi/K), the polygon (*derived*: some class has two neighbouring gaps of sum at most 4 pi/K, and is
      that near to the chord between its neighbours).
    - K >= d + 2: at most 1, attained for K <= 2d by vectors +-e_i (alcala2026orthoplex characterise all optima;
      *derived*: the point x of conv W nearest to 0 combines all but some w_k, and ||w_k - x||^2 <= 1 - ||x||^2).
    - K > r_m, the dimension of the polynomials of degree m on the sphere:

    .. math:: \rho \le 2 \tanh^2\Bigl(\frac{\operatorname{arcosh}(1/\varepsilon)}{2m}\Bigr), \quad
        \varepsilon^2 = \frac{K - r_m}{r_m (K-1)}, \quad r_m = \binom{d+m-1}{m} + \binom{d+m-2}{m-1}

    *derived*: let p_k = <w_k, h_k>, so <w_j, h_k> lies in [-1, p_k - rho] for j != k. The Chebyshev polynomial of
    degree m of that interval, scaled to 1 at p_k, is at most 1/T_m((2+rho)/(2-rho)) there. The matrix of its values
    at <w_j, h_k> has trace K and rank at most r_m, and (trace)^2 <= rank ||.||_F^2 bounds T_m. The least over m is
    returned.

    Parameters
    ----------
    num_classes, dimension : K >= 2, d >= 1.

    Raises
    ------
    InvalidInput : K or d out of range.

    Examples
    --------
    >>> softmax_code_bound(6, 3), round(softmax_code_bound(12, 3), 4)
    (1.0, 0.5898)
    """
    K, d = as_count("num_classes", num_classes, minimum=2), as_count("dimension", dimension)
    if K <= d + 1:
        return K / (K - 1)
    if d == 1:
        return 0.0
    if d == 2:
        return float(2 * np.sin(np.pi / K) ** 2)
    best, m = 1.0, 1
    while (r := comb(d + m - 1, m) + comb(d + m - 2, m - 1)) < K:
        inverse = np.sqrt(r * (K - 1) / (K - r))
        best = min(best, float(2 * np.tanh(np.arccosh(inverse) / (2 * m)) ** 2) * (1 + 1e-14))
        m += 1
    return best
