"""Smallest singular value of a tall matrix, from both sides: how much a linear layer can shrink."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory.norms._record import NormBracket
from theory.norms._rounding import UNIT, exponent, gamma, scaled_back
from theory.norms.dense import as_matrix, frobenius_norm, spectral_norm


def smallest_gain(W: ArrayLike) -> NormBracket:
    r"""Least ``||W x|| / ||x||`` over all x, between two numbers; 0 where W has fewer rows than columns.

    .. math:: \|W x\| \ge \frac{1 - \|I - R W\|}{\|R\|} \|x\| \quad \text{for every } R

    *derived*: ``||x|| <= ||R W x|| + ||(I - R W) x||``. R is the pseudo-inverse as computed, whose own errors are thus
    in the residual; the product is off by at most ``gamma ||R||_F ||W||_F``. The upper end is the image of one unit
    vector. They differ by about 1e-16 times the square of the condition number, relatively.

    Parameters
    ----------
    W : matrix (out, in).

    Raises
    ------
    InvalidInput : not a finite matrix with entries.

    Cost: one singular value decomposition. When not to trust it: near singular, where ``lower`` is 0.

    Examples
    --------
    >>> found = smallest_gain([[3.0, 0.0], [0.0, -2.0], [0.0, 0.0]])
    >>> found.lower <= 2 <= found.upper, found.ratio < 1 + 1e-12
    (True, True)
    >>> smallest_gain([[1.0, 1.0]]).upper
    0.0
    """
    matrix = as_matrix(W)
    m, n = matrix.shape
    if m < n or not matrix.any():
        return NormBracket(upper=0.0, lower=0.0, method="a direction is lost: fewer rows than columns, or zero")
    e = exponent(matrix)
    A = np.ldexp(matrix, -e)
    left, sizes, right = np.linalg.svd(A, full_matrices=False)
    x = right[-1]
    size_A = frobenius_norm(A)
    slip = gamma(n + 4) * size_A  # of the image of a unit vector
    upper = (float(np.linalg.norm(A @ x)) + slip) / float(np.linalg.norm(x)) * (1 + gamma(2 * m + 2 * n + 16))
    lower = 0.0
    if sizes[-1] > 1e-14 * sizes[0]:
        R = (right.T / sizes) @ left.T
        residual = np.eye(n) - R @ A
        slip = gamma(m + 4) * frobenius_norm(R) * size_A + 2 * UNIT * np.sqrt(n)
        q = (spectral_norm(residual).upper + slip) * (1 + gamma(4))
        lower = max(0.0, 1 - q) / spectral_norm(R).upper * (1 - gamma(4))
    return NormBracket(
        upper=scaled_back(upper, e, up=True), lower=scaled_back(lower, e, up=False),
        method="an approximate inverse, its residual proved small",
    )  # fmt: skip
