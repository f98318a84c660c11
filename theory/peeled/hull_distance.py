"""Distance of each class vector to the convex hull of all others, and the smallest angle between two."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats
from theory._errors import InvalidInput


def one_vs_rest_distance(W: ArrayLike) -> np.ndarray:
    r"""How far each vector is from the convex hull of the others: the margin of one class against the rest.

    .. math:: \rho_k = \min_{x \in \Delta} \bigl\| w_k - \sum_{j \ne k} x_j w_j \bigr\|
        = \max_{\|h\| = 1} \min_{j \ne k} \langle w_k - w_j, h \rangle_+

    Solved exactly by an active-set method: with A = (w_j - w_k)_j the nonnegative least squares problem
    min ||A u||^2 + (1^T u - 1)^2 has the solution u = x/(1 + rho_k^2) with the same x (*derived*). jiang2024generalized
    approximate the same number by projected gradient steps.

    Parameters
    ----------
    W : (K, d) one row per class, K at least 2.

    Returns
    -------
    (K,) distances; 0 where a vector lies in the hull of the others.

    Raises
    ------
    InvalidInput : not a finite matrix, fewer than two rows.

    Notes
    -----
    K problems of d + 1 equations and K - 1 unknowns. Absolute accuracy about 1e-15 times the longest row.

    Examples
    --------
    >>> one_vs_rest_distance([[1, 0], [0, 1], [-1, 0], [0, -1]])
    array([1., 1., 1., 1.])
    """
    return separators(_rows(W))[0]


def tammes_angle(W: ArrayLike) -> float:
    """Smallest angle between two rows, in radians: what the Tammes problem maximises on the unit sphere.

    Parameters
    ----------
    W : (K, d), K at least 2, no zero row.

    Raises
    ------
    InvalidInput : not a finite matrix, fewer than two rows, or a zero row.

    Examples
    --------
    >>> bool(np.isclose(tammes_angle([[1, 0], [0, 2], [-1, 0]]), np.pi / 2))
    True
    """
    rows = _rows(W)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    if (norm == 0).any():
        raise InvalidInput("W must have no zero row: its angle is undefined.")
    unit = rows / norm
    i, j = np.triu_indices(len(unit), 1)
    chord, across = np.linalg.norm(unit[i] - unit[j], axis=1), np.linalg.norm(unit[i] + unit[j], axis=1)
    return float(2 * np.arctan2(chord, across).min())


def separators(W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances (K,) and unit normals (K, d): min_j <w_k - w_j, h_k> is the distance, recomputable by hand."""
    from scipy.optimize import nnls

    size = float(np.abs(W).max()) or 1.0
    distance, H = np.empty(len(W)), np.empty_like(W)
    for k, w in enumerate(W):
        A = (np.delete(W, k, axis=0) - w).T / size
        target = np.zeros(len(A) + 1)
        target[-1] = 1.0
        u = nnls(np.vstack([A, np.ones(A.shape[1])]), target, maxiter=30 * (A.shape[1] + 10))[0]
        nearest = A @ (u / u.sum())
        length = float(np.linalg.norm(nearest))
        distance[k] = size * length
        H[k] = -nearest / length if length > 0 else w / (np.linalg.norm(w) or 1.0)
    return distance, H


def _rows(value: ArrayLike) -> np.ndarray:
    W = as_floats("W", value, ndim=2)
    if len(W) < 2 or not W.shape[1]:
        raise InvalidInput(f"W must have at least two rows and one column, but has shape {W.shape}.")
    return W
