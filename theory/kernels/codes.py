"""Binary activation codes of a network on a batch, and how well they tell the samples apart."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigvalsh

from theory._errors import InvalidInput

EXACT = 400  # samples up to which a doubtful determinant is computed in whole numbers


def hamming_kernel(codes: ArrayLike) -> np.ndarray:
    r"""``K_ij = M - d_H(c_i, c_j)``: on how many of M units two samples agree.

    *published form* of mellor2021neural; positive semidefinite, being ``C C^T + (1 - C)(1 - C)^T`` (*derived*).

    Parameters
    ----------
    codes : (n, M) of 0 and 1 (or booleans), such as ``network.preactivations(theta, X) > 0``.

    Returns
    -------
    (n, n) whole numbers as float64.

    Raises
    ------
    InvalidInput : other entries, or an empty or other shape.

    Examples
    --------
    >>> hamming_kernel([[1, 0, 1], [1, 1, 1]])
    array([[3., 2.],
           [2., 3.]])
    """
    C = _codes(codes)
    return C @ C.T + (1 - C) @ (1 - C).T


def activation_code_score(codes: ArrayLike) -> float:
    r"""``log det K`` of the Hamming kernel, natural logarithm; ``-inf`` where K is singular.

    *published form*: mellor2021neural, as a *measure* of an untrained network; nothing is guaranteed by it.

    Singular or not is decided, not guessed from rounding: K holds whole numbers, so ``det K`` is 0 or at least 1 and
    the score is -inf or at least 0. Equal codes, and more than M + 1 samples, make K singular (*derived*: with s = 2c -
    1, ``K = (M 1 1^T + S S^T) / 2`` has rank at most M + 1). Where the least eigenvalue is not clear of rounding the
    determinant is computed in whole numbers.

    Parameters
    ----------
    codes : (n, M) of 0 and 1.

    Raises
    ------
    InvalidInput : as for ``hamming_kernel``; more than 400 samples with a determinant in doubt.

    Cost: eigenvalues of K, O(n^3 + n^2 M); in doubt n^3 / 3 products of long integers (seconds at n = 200).

    Examples
    --------
    >>> math.isclose(activation_code_score([[1, 0, 1], [1, 1, 1]]), math.log(5))
    True
    >>> activation_code_score([[1, 0], [1, 0]])
    -inf
    """
    C = _codes(codes)
    n, M = C.shape
    if n > M + 1 or len(np.unique(C, axis=0)) < n:
        return -math.inf
    K = hamming_kernel(C)
    eigenvalues = eigvalsh(K)
    if eigenvalues[0] > 1e5 * n * np.finfo(float).eps * eigenvalues[-1]:
        return float(np.log(eigenvalues).sum())
    if n > EXACT:
        raise InvalidInput(f"whether these codes are singular is in doubt, and {n} samples are too many to compute it.")
    det = _determinant(K)
    return math.log(det) if det else -math.inf


def _determinant(K: np.ndarray) -> int:
    """Bareiss' elimination of a positive semidefinite matrix of whole numbers: exact, no pivoting needed.

    A leading minor of 0 makes such a matrix singular.
    """
    rows = [[int(entry) for entry in row] for row in K]
    last = 1
    for k in range(len(rows) - 1):
        pivot = rows[k][k]
        if pivot == 0:
            return 0
        for row in rows[k + 1 :]:
            lead = row[k]
            row[k + 1 :] = [(pivot * a - lead * b) // last for a, b in zip(row[k + 1 :], rows[k][k + 1 :], strict=True)]
        last = pivot
    return rows[-1][-1]


def _codes(codes: ArrayLike) -> np.ndarray:
    C = np.asarray(codes)
    if C.ndim != 2 or 0 in C.shape or C.dtype.kind not in "biuf":
        raise InvalidInput(f"codes must have shape (samples, units), neither 0, but have {C.shape}.")
    C = C.astype(np.float64)
    if not np.isin(C, (0.0, 1.0)).all():
        raise InvalidInput("codes must hold 0 and 1 only.")
    return C
