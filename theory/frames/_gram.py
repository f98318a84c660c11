"""Comparing shapes: cosines and the distance of a Gram matrix to a target, guarded against zero vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import Square, as_floats
from theory._errors import InvalidInput, PreconditionError

_EPS = float(np.finfo(np.float64).eps)
# A Gram entry may exceed the Cauchy-Schwarz bound by this share of the largest diagonal entry (solver noise).
_SLACK = 1e-6


def gram_distance(G: ArrayLike, target: ArrayLike) -> float:
    r"""Distance of two matrices as directions, blind to their scales.

    .. math:: \Bigl\| \frac{G}{\|G\|_F} - \frac{G^\star}{\|G^\star\|_F} \Bigr\|_F \in [0, 2]

    Between Gram matrices it is at most sqrt(2) and also blind to rotations of the vectors. *measure*; with
    the simplex as target it is the second and third metric of zhu2021geometric, with other targets that of
    thrampoulidis2022imbalance.

    Parameters
    ----------
    G : array of shape (K, K).
    target : array of shape (K, K).

    Raises
    ------
    InvalidInput : not finite, not square, shapes that differ.
    PreconditionError : one of the matrices is zero, which has no direction.

    Examples
    --------
    >>> round(gram_distance([[3, 0], [0, 0]], [[0, 0], [0, 5]]) ** 2, 12)
    2.0
    """
    first, second = _square("G", G), _square("target", target)
    if first.shape != second.shape:
        raise InvalidInput(f"G and target must have one shape, but have {first.shape} and {second.shape}.")
    return float(np.linalg.norm(_direction("G", first) - _direction("target", second)))


def cosines(vectors: ArrayLike, *, rtol: float | None = None) -> Square:
    r"""Cosines between all pairs of rows; NaN for a row that is zero.

    .. math:: \cos_{kj} = \langle v_k, v_j \rangle / (\|v_k\| \|v_j\|)

    A vector no longer than ``rtol`` times the longest has no direction that rounding has not made, so its
    row and column are NaN, the diagonal too. The other diagonal entries are exactly 1. *measure*.

    Parameters
    ----------
    vectors : array of shape (K, d).
    rtol : length below which a row counts as zero, relative to the longest; default max(K, d) eps.

    Returns
    -------
    array of shape (K, K), entries in [-1, 1] or NaN.

    Raises
    ------
    InvalidInput : not finite, not two-dimensional.

    Examples
    --------
    >>> cosines([[2, 0], [0, 3], [0, 0]])
    array([[ 1.,  0., nan],
           [ 0.,  1., nan],
           [nan, nan, nan]])
    """
    array = as_floats("vectors", vectors, ndim=2)
    scale = np.abs(array).max(initial=0.0)
    scaled = array / scale if scale > 0 else array
    norms = np.linalg.norm(scaled, axis=1)
    rtol = max(array.shape) * _EPS if rtol is None else rtol
    zero = norms <= rtol * norms.max(initial=0.0)
    units = scaled / np.where(zero, 1.0, norms)[:, None]
    return _finish(units @ units.T, zero)


def cosines_from_gram(G: ArrayLike, *, rtol: float | None = None) -> Square:
    r"""Cosines between all pairs of vectors with Gram matrix G; NaN for a vector that is zero.

    .. math:: \cos_{kj} = G_{kj} / \sqrt{G_{kk} G_{jj}}

    Squared lengths are compared, so a vector shorter than about 1e-8 of the longest is already rounding:
    prefer :func:`cosines` where the vectors are at hand. *measure*.

    Parameters
    ----------
    G : array of shape (K, K), positive semidefinite up to rounding.
    rtol : diagonal entry below which a vector counts as zero, relative to the largest; default K eps.

    Returns
    -------
    array of shape (K, K), entries in [-1, 1] or NaN.

    Raises
    ------
    InvalidInput : not finite, not square, or clearly not positive semidefinite.

    Examples
    --------
    >>> cosines_from_gram([[4, -2], [-2, 4]])
    array([[ 1. , -0.5],
           [-0.5,  1. ]])
    """
    gram = _square("G", G)
    scale = np.abs(gram).max(initial=0.0)
    scaled = gram / scale if scale > 0 else gram
    squares = np.diag(scaled)
    largest = squares.max(initial=0.0)
    rtol = len(gram) * _EPS if rtol is None else rtol
    zero = squares <= rtol * largest
    roots = np.sqrt(np.where(squares > 0, squares, 0.0))
    bounds = np.outer(roots, roots)
    if (squares < -_SLACK * largest).any() or (np.abs(scaled) > bounds + _SLACK * max(largest, 0.0)).any():
        raise InvalidInput(
            "G must be positive semidefinite, but an entry exceeds the product of its vectors' lengths."
        )
    roots = np.where(zero, 1.0, roots)
    return _finish(scaled / roots[:, None] / roots, zero)


def _finish(values: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """Clip rounding beyond [-1, 1], set the diagonal to 1, and blank the zero vectors."""
    values = np.clip(values, -1.0, 1.0)
    np.fill_diagonal(values, 1.0)
    values[zero, :] = np.nan
    values[:, zero] = np.nan
    return values


def _square(name: str, value: ArrayLike) -> np.ndarray:
    """``value`` as a finite square matrix."""
    array = as_floats(name, value, ndim=2)
    if array.shape[0] != array.shape[1]:
        raise InvalidInput(f"{name} must be square, but has shape {array.shape}.")
    return array


def _direction(name: str, matrix: np.ndarray) -> np.ndarray:
    """``matrix`` over its Frobenius norm, without overflow."""
    scale = np.abs(matrix).max(initial=0.0)
    if scale == 0:
        raise PreconditionError(f"{name} is zero, so it has no direction to compare.")
    scaled = matrix / scale
    return scaled / np.linalg.norm(scaled)
