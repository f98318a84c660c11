"""Label histograms and published numbers that experiments and the command line start from."""

from __future__ import annotations

import numpy as np

from theory._arrays import as_real
from theory._errors import InvalidInput, PreconditionError


def long_tailed_digits_counts(imbalance: float = 100.0) -> np.ndarray:
    r"""The label histogram of scikit-learn's digits, thinned to a long tail by a stated rule.

    .. math:: n'_k = \max\bigl(1, \lfloor n_k \, R^{-k/(K-1)} \rfloor\bigr), \qquad k = 0, \dots, K-1,

    so that class 0 keeps all its samples and class 9 one in R: the usual rule of long-tailed benchmarks.

    Parameters
    ----------
    imbalance : R, at least 1.

    Returns
    -------
    (10,) integers.

    Raises
    ------
    InvalidInput : an imbalance below 1 or not finite. PreconditionError : scikit-learn is not installed.

    Examples
    --------
    >>> long_tailed_digits_counts(100)
    array([178, 109,  63,  39,  23,  14,   8,   4,   2,   1])
    """
    R = as_real("imbalance", imbalance)
    if R < 1:
        raise InvalidInput(f"imbalance must be at least 1, but is {R:g}.")
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise PreconditionError(
            "the digits histogram needs scikit-learn: pip install 'deep-classifier-theory[demo]'."
        ) from None
    counts = np.bincount(load_digits().target)
    kept = counts * R ** (-np.arange(len(counts)) / (len(counts) - 1))
    return np.maximum(np.floor(kept).astype(np.int64), 1)


def published_minority_cosines() -> np.ndarray:
    """The cosines that the script of fang2021layerpeeled prints: five and five classes, E_W = 1, E_H = 5.

    Returns
    -------
    (12, 2) pairs (R, cosine between two minority classifiers) for R = 10^0, 10^0.1, ..., 10^1.1, to four digits;
    the first eleven lie below the threshold R0 = 12.19, the last above it.

    Examples
    --------
    >>> published_minority_cosines()[10]
    array([10.    ,  0.5175])
    """
    cosines = [-0.1111, -0.0993, -0.085, -0.0675, -0.0455, -0.0172, 0.0206, 0.0732, 0.1511, 0.2776, 0.5175, 1.0]
    return np.column_stack([10 ** (np.arange(12) / 10), cosines])
