"""The numbers that predictions and measurements share, computed by one function for both."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import pdist
from scipy.special import log_softmax, softmax

from theory.frames import cosines, gram_distance, simplex_etf_gram

RANK_TOLERANCE = 1e-2
LOSSES = ("cross_entropy", "mse")


def geometry(W: np.ndarray, means: np.ndarray, counts: np.ndarray) -> dict[str, float | np.ndarray]:
    """Shape and size of a classifier W (K, p) and of class means (K, p); the names are those of ``Prediction``.

    Numbers that are undefined (cosines with a zero row, of a single class) are NaN. The names that compare the
    groups of :func:`rarest` are left out for equal counts, where they would say nothing.
    """
    gram, K = W @ W.T, len(W)
    of_logits = _spectrum(W @ means.T, K)
    norms = np.linalg.norm(W, axis=1)
    angles, few, many = cosines(W), rarest(counts), rarest(-counts)
    largest = float(norms.max())
    found: dict[str, float | np.ndarray] = {
        "classifier_singular_values": _spectrum(W, K),
        "logit_singular_values": of_logits,
        "minority_cosine": mean_pair(angles, few),
        "minority_merge_ratio": merge_ratio(W[few], largest),
        "feature_cosine": mean_pair(cosines(means), np.ones(K, bool)),
        "classifier_norm": float(np.linalg.norm(W)),
        "gram_classifier": gram / np.linalg.norm(gram) if largest > 0 else np.full_like(gram, np.nan),
        "nc2_etf_distance": gram_distance(gram, simplex_etf_gram(K)) if largest > 0 else float("nan"),
        "rank": float((of_logits > RANK_TOLERANCE * of_logits[0]).sum()),
    }
    if not (few & many).any():
        low = float(norms[few].mean())
        found["majority_cosine"] = mean_pair(angles, many)
        found["norm_ratio"] = float(norms[many].mean()) / low if low > 0 else float("inf")
    return found


def rarest(counts: np.ndarray) -> np.ndarray:
    """(K,) whether a class is of the least count, or, where that is one class only, below the median count.

    Of ``-counts`` the most frequent classes.
    """
    least = counts == counts.min()
    return least if least.sum() > 1 else counts < np.median(counts)


def mean_pair(angles: np.ndarray, group: np.ndarray) -> float:
    """Mean of the entries (K, K) over pairs of two classes of a group; NaN where there is none."""
    inside = angles[np.ix_(group, group)]
    return float(inside[np.triu_indices(len(inside), 1)].mean()) if len(inside) > 1 else float("nan")


def merge_ratio(rows: np.ndarray, largest: float) -> float:
    """Largest distance between two of the rows over ``largest``."""
    if len(rows) < 2 or largest == 0:
        return float("nan")
    return float(pdist(rows).max()) / largest


def losses(logits: np.ndarray, labels: np.ndarray, loss: str, smoothing: float) -> np.ndarray:
    """(n,) loss of each row of logits (n, K): cross-entropy of natural logarithm, or half the squared distance."""
    target = targets(labels, logits.shape[1], smoothing)
    if loss == "mse":
        return 0.5 * ((logits - target) ** 2).sum(axis=1)
    return -(target * log_softmax(logits, axis=1)).sum(axis=1)


def slopes(logits: np.ndarray, labels: np.ndarray, loss: str, smoothing: float) -> np.ndarray:
    """(n, K) gradient of each loss in its logits."""
    target = targets(labels, logits.shape[1], smoothing)
    return (logits if loss == "mse" else softmax(logits, axis=1)) - target


def targets(labels: np.ndarray, K: int, smoothing: float) -> np.ndarray:
    """(n, K) one-hot rows, smoothed."""
    return (1 - smoothing) * np.eye(K)[labels] + smoothing / K


def margins(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) logit of the own class minus the largest other one."""
    rows = np.arange(len(labels))
    others = logits.copy()
    others[rows, labels] = -np.inf
    return logits[rows, labels] - others.max(axis=1)


def listed(quantities: dict[str, float | np.ndarray]) -> dict[str, object]:
    """The quantities as plain numbers and lists."""
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in quantities.items()}


def _spectrum(matrix: np.ndarray, K: int) -> np.ndarray:
    """(K,) singular values over the Frobenius norm, falling; NaN for a zero matrix."""
    s = np.linalg.svd(matrix, compute_uv=False)
    size = float(np.linalg.norm(s))
    return np.pad(s, (0, K - len(s))) / size if size > 0 else np.full(K, np.nan)
