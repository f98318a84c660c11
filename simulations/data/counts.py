"""Class counts that are unequal by a stated rule: a step, or a long tail."""

from __future__ import annotations

from typing import Any

import numpy as np

from theory._arrays import as_count, as_real
from theory._errors import InvalidInput, PreconditionError


def step_counts(K: int, n_majority: int, ratio: float, minority: int | None = None) -> np.ndarray:
    r"""Counts of step imbalance: the last ``minority`` classes are ``ratio`` times rarer than the others.

    .. math:: n_k = n_A \;(k < K - m), \qquad n_k = \lfloor n_A / R \rfloor \;(k \ge K - m)

    The setting of fang2021layerpeeled, who take whole quotients; the rounding down is ours.

    Parameters
    ----------
    K : number of classes, at least 2.
    n_majority : samples of each frequent class. ratio : R, at least 1.
    minority : m, how many classes are rare, 0..K; K // 2 where None.

    Returns
    -------
    (K,) integers, frequent classes first.

    Raises
    ------
    InvalidInput : out of range, or a ratio that leaves the rare classes empty.

    Examples
    --------
    >>> step_counts(4, 100, 10)
    array([100, 100,  10,  10])
    """
    K, n_majority, R = as_count("K", K, minimum=2), as_count("n_majority", n_majority), _ratio("ratio", ratio)
    m = K // 2 if minority is None else as_count("minority", minority, minimum=0)
    if m > K:
        raise InvalidInput(f"minority must be at most K = {K}, but is {m}.")
    rare = _floor(n_majority / R)
    if rare < 1:
        raise InvalidInput(f"a ratio of {R:g} leaves the rare classes of {n_majority} samples empty.")
    return np.where(np.arange(K) < K - m, n_majority, rare).astype(np.int64)


def long_tail_counts(K: int, n_max: int, ratio: float) -> np.ndarray:
    r"""Counts of a long tail: each class is rarer than the one before by the same factor.

    .. math:: n_k = \max\bigl(1, \lfloor n_{\max} \, R^{-k/(K-1)} \rfloor\bigr), \qquad k = 0, \dots, K-1

    The usual rule of long-tailed benchmarks, *published form* cao2019ldam; the maximum with 1 is ours, so that no
    class is empty.

    Parameters
    ----------
    K : number of classes, at least 2. n_max : samples of class 0. ratio : R, at least 1.

    Returns
    -------
    (K,) integers that do not increase.

    Raises
    ------
    InvalidInput : out of range.

    Examples
    --------
    >>> long_tail_counts(5, 1000, 10_000)
    array([1000,  100,   10,    1,    1])
    """
    K, n_max, R = as_count("K", K, minimum=2), as_count("n_max", n_max), _ratio("ratio", ratio)
    return np.maximum(_floor(n_max * R ** (-np.arange(K) / (K - 1))), 1)


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
    R = _ratio("imbalance", imbalance)
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise PreconditionError(
            "the digits histogram needs scikit-learn: pip install 'deep-classifier-theory[demo]'."
        ) from None
    counts = np.bincount(load_digits().target)
    return np.maximum(_floor(counts * R ** (-np.arange(len(counts)) / (len(counts) - 1))), 1)


def _ratio(name: str, value: float) -> float:
    R = as_real(name, value)
    if R < 1:
        raise InvalidInput(f"{name} must be at least 1, but is {R:g}.")
    return R


def _floor(value: Any) -> Any:
    """Whole part; a quotient that round-off leaves just below a whole number counts as that number."""
    return np.floor(np.asarray(value) * (1 + 1e-12)).astype(np.int64)
