"""The orthogonal frame."""

from __future__ import annotations

import numpy as np

from theory._arrays import Matrix, as_count
from theory._errors import InvalidInput


def orthogonal_frame(K: int, dimension: int | None = None) -> Matrix:
    r"""Build the orthogonal frame: K orthonormal vectors, the first K coordinate directions.

    .. math:: F = [\, I_K \;\; 0 \,], \qquad F F^\top = I_K

    Rows are classes. Centring the rows and scaling them gives the simplex frame, which is why nonnegative
    (ReLU) features can collapse as well as signed ones. *derived*: I - 11^T/K is (K-1)/K times the simplex
    Gram matrix.

    Parameters
    ----------
    K : number of classes, at least 1.
    dimension : length of each vector, at least K (the default).

    Returns
    -------
    array of shape (K, dimension).

    Raises
    ------
    InvalidInput : K < 1, or a dimension below K.

    Examples
    --------
    >>> from theory.frames import gram_distance, simplex_etf_gram
    >>> centred = orthogonal_frame(4) - orthogonal_frame(4).mean(axis=0)
    >>> gram_distance(centred @ centred.T, simplex_etf_gram(4)) < 1e-15
    True
    """
    K = as_count("K", K)
    dimension = K if dimension is None else as_count("dimension", dimension)
    if dimension < K:
        raise InvalidInput(
            f"{K} orthogonal vectors need dimension at least {K}, but dimension is {dimension}."
        )
    return np.eye(K, dimension)
