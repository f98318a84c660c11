"""Norms of a dense matrix (out, in)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats
from theory._errors import InvalidInput
from theory.norms._blocks import largest_norm
from theory.norms._record import NormBracket
from theory.norms._rounding import exponent, gamma, scaled_back


def as_matrix(W: ArrayLike) -> np.ndarray:
    """W as a finite float64 matrix with at least one row and column."""
    matrix = as_floats("W", W, ndim=2)
    if matrix.size == 0:
        raise InvalidInput(f"W must have at least one row and one column, but has shape {matrix.shape}.")
    return matrix


def spectral_norm(W: ArrayLike) -> NormBracket:
    r"""Largest singular value of a matrix, from both sides.

    .. math:: \|W\|_2 = \sqrt{\lambda_{\max}(W W^\top)}

    *derived*: the Gram matrix G of the smaller side m is off by at most ``gamma ||W||_F^2``; its largest eigenvalue,
    raised by ``(m + 20) 2^-46``, is proved to be above all others by one Cholesky factorisation
    (rump2006verification, higham2002accuracy). The lower end is the length of the image of one unit vector. The two
    differ by 4e-12 relatively for a random 10 x 512 matrix and by 7e-10 for 512 x 4096.

    Parameters
    ----------
    W : matrix (out, in).

    Raises
    ------
    InvalidInput : not a finite matrix with entries, or a norm above the largest float64.

    Cost: ``in out m / 2 + m^3 / 6`` multiplications, m the smaller side, and some tens of products of G with a
    vector; 4096 x 512 takes 0.1 s.

    Examples
    --------
    >>> found = spectral_norm([[3, 0], [4, 5]])
    >>> found.lower <= 45**0.5 <= found.upper, found.ratio < 1 + 1e-12
    (True, True)
    """
    matrix = as_matrix(W)
    e = exponent(matrix)
    if not matrix.any():
        return NormBracket(upper=0.0, lower=0.0, method="the matrix is zero")
    found = largest_norm([(np.ldexp(matrix, -e)[None], None)])
    return NormBracket(
        upper=scaled_back(found.upper, e, up=True),
        lower=scaled_back(found.lower, e, up=False),
        method="Gram matrix, its largest eigenvalue proved by a Cholesky factorisation",
    )


def _from_above(norms: np.ndarray, terms: int, e: int) -> float:
    """Sum of ``norms`` that ``terms`` roundings each made, from above."""
    return scaled_back(float(norms.sum()) * (1 + gamma(terms + norms.size + 8)), e, up=True)


def frobenius_norm(A: ArrayLike) -> float:
    r"""Root of the sum of squares of all entries, from above.

    .. math:: \|A\|_F = \Bigl(\sum_i A_i^2\Bigr)^{1/2}

    For an array of any shape, a convolution kernel for one. *derived*: the computed value times ``1 + gamma_{n+9}``, n
    the number of entries; relative excess ``n 2^-53`` (higham2002accuracy).

    Raises
    ------
    InvalidInput : not numeric or not finite, empty, or a norm above the largest float64.

    Cost: n multiplications.

    Examples
    --------
    >>> 5.0 <= frobenius_norm([[3, 0], [0, 4]]) < 5 + 1e-13
    True
    """
    array = as_floats("A", A)
    if array.size == 0:
        raise InvalidInput(f"A must have entries, but has shape {array.shape}.")
    e = exponent(array)
    return _from_above(np.linalg.norm(np.ldexp(array, -e).reshape(1, -1), axis=1), array.size, e)


def norm_2_1(A: ArrayLike) -> float:
    r"""Sum over output rows of their Euclidean lengths, from above.

    .. math:: \|A^\top\|_{2,1} = \sum_{o} \Bigl(\sum_i A_{oi}^2\Bigr)^{1/2}

    The (2,1) norm of the transpose in the convention of columns; between the Frobenius norm and ``sqrt(out)`` times it.
    *derived* as ``frobenius_norm``.

    Parameters
    ----------
    A : matrix (out, in).

    Raises
    ------
    InvalidInput : not a finite matrix with entries, or a norm above the largest float64.

    Cost: one pass.

    Examples
    --------
    >>> 7.0 <= norm_2_1([[3, 0], [0, 4]]) < 7 + 1e-13
    True
    """
    matrix = as_matrix(A)
    e = exponent(matrix)
    return _from_above(np.linalg.norm(np.ldexp(matrix, -e), axis=1), matrix.shape[1], e)


def norm_1_inf(A: ArrayLike) -> float:
    r"""Largest sum of absolute values of an output row, from above.

    .. math:: \|A\|_{\infty \to \infty} = \max_o \sum_i |A_{oi}|

    *derived* as ``frobenius_norm``.

    Parameters
    ----------
    A : matrix (out, in).

    Raises
    ------
    InvalidInput : not a finite matrix with entries, or a norm above the largest float64.

    Cost: one pass.

    Examples
    --------
    >>> 7.0 <= norm_1_inf([[3, -4], [0, 5]]) < 7 + 1e-13
    True
    """
    matrix = as_matrix(A)
    e = exponent(matrix)
    return _from_above(np.abs(np.ldexp(matrix, -e)).sum(axis=1).max()[None], matrix.shape[1], e)
