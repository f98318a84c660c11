"""NC2 and NC3: shapes of the class means and of the classifier. Undefined numbers are NaN."""

from __future__ import annotations

import numpy as np

from theory.frames import cosines, gram_distance, simplex_etf_gram

_EPS = float(np.finfo(np.float64).eps)


def shape_fields(vectors: np.ndarray, what: str, gram_field: str) -> dict[str, float]:
    """Return the NC2 metrics of K rows, under the names of the record.

    They are std/mean of norms, std of cosines, mean |cos + 1/(K-1)| and the Gram distance to the simplex.
    A zero row leaves the two angles NaN; zero rows only leave all four NaN.
    """
    K = len(vectors)
    names = (f"nc2_equinorm_{what}", f"nc2_equiangular_{what}", f"nc2_maximal_angle_{what}", gram_field)
    scale = float(np.abs(vectors).max())
    if scale == 0:
        return dict.fromkeys(names, float("nan"))
    scaled = vectors / scale
    norms = np.linalg.norm(scaled, axis=1)
    angles = cosines(scaled)[np.triu_indices(K, 1)]
    values = (
        norms.std() / norms.mean(),
        angles.std(),
        np.abs(angles + 1 / (K - 1)).mean(),
        gram_distance(scaled @ scaled.T, simplex_etf_gram(K)),
    )
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def self_duality(W: np.ndarray, M: np.ndarray) -> float:
    """|| W/||W||_F - M/||M||_F ||_F^2 of two K x d matrices; NaN where one is zero."""
    if not W.any() or not M.any():
        return float("nan")
    W, M = W / np.abs(W).max(), M / np.abs(M).max()
    return float(np.linalg.norm(W / np.linalg.norm(W) - M / np.linalg.norm(M)) ** 2)


def logit_shape(W: np.ndarray, M: np.ndarray) -> float:
    """Distance of the class logits W M^T to the simplex; NaN where they vanish up to rounding."""
    if not W.any() or not M.any():
        return float("nan")
    W, M = W / np.abs(W).max(), M / np.abs(M).max()
    logits = W @ M.T
    noise = max(M.shape) * _EPS * float(np.linalg.norm(W)) * float(np.linalg.norm(M))
    if np.linalg.norm(logits) <= noise:
        return float("nan")
    return gram_distance(logits, simplex_etf_gram(len(M)))
