"""The simplex equiangular tight frame."""

from __future__ import annotations

import numpy as np

from theory._arrays import Matrix, Square, as_count
from theory._errors import InvalidInput


def simplex_etf(K: int, dimension: int | None = None) -> Matrix:
    r"""Build the simplex equiangular tight frame: K unit vectors as far apart as can be.

    .. math:: F = \sqrt{\tfrac{K}{K-1}}\; \mathrm{Helmert}(K)^\top, \qquad
              F F^\top = \tfrac{K}{K-1} I - \tfrac{1}{K-1} 1 1^\top

    Rows are classes and have norm 1; they sum to zero. Columns beyond K - 1 are zero. Any rotation is as
    good. *derived*: the Helmert rows are an orthonormal basis of the complement of the ones vector; the
    name is from papyan2020prevalence.

    Parameters
    ----------
    K : number of classes, at least 2.
    dimension : length of each vector, at least K - 1 (the default).

    Returns
    -------
    array of shape (K, dimension).

    Raises
    ------
    InvalidInput : K < 2, or a dimension below K - 1, where no simplex fits.

    Notes
    -----
    Cost and memory O(K^2 + K dimension).

    Examples
    --------
    >>> bool(np.allclose(simplex_etf(5, 7) @ simplex_etf(5, 7).T, simplex_etf_gram(5), atol=1e-15))
    True
    """
    from scipy.linalg import helmert

    K = as_count("K", K, minimum=2)
    dimension = K - 1 if dimension is None else as_count("dimension", dimension)
    if dimension < K - 1:
        raise InvalidInput(
            f"a simplex of {K} classes needs dimension at least {K - 1}, but dimension is {dimension}."
        )
    frame = np.zeros((K, dimension))
    frame[:, : K - 1] = np.sqrt(K / (K - 1)) * helmert(K).T
    return frame


def simplex_etf_gram(K: int) -> Square:
    r"""Gram matrix of the simplex equiangular tight frame with unit vectors.

    .. math:: G_{kk} = 1, \qquad G_{kj} = -\tfrac{1}{K-1} \quad (j \ne k)

    Its Frobenius norm is K / sqrt(K-1). The least largest cosine that K vectors can have.
    *derived*: the entries of a Gram matrix have a nonnegative sum. Its name is from papyan2020prevalence.

    Parameters
    ----------
    K : number of classes, at least 2.

    Returns
    -------
    array of shape (K, K).

    Raises
    ------
    InvalidInput : K < 2.

    Examples
    --------
    >>> bool(abs(np.linalg.norm(simplex_etf_gram(10)) - 10 / 3) < 1e-15)
    True
    """
    K = as_count("K", K, minimum=2)
    gram = np.full((K, K), -1 / (K - 1))
    np.fill_diagonal(gram, 1.0)
    return gram
