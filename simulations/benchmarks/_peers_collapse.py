r"""NC1 as public scripts compute it, written here anew, and its value in extended precision.

.. math:: \tfrac1K \mathrm{Tr}(S_w S_b^+)

with means over samples in S_w and over classes in S_b. Features are float32, as networks give them.
"""

from __future__ import annotations

import numpy as np

from simulations._torch import import_torch


def _centred_means(X: np.ndarray, y: np.ndarray, K: int) -> tuple[np.ndarray, np.ndarray]:
    means = np.stack([X[y == k].mean(axis=0) for k in range(K)])
    return means, means - X.mean(axis=0)


def loop_numpy(X: np.ndarray, y: np.ndarray, K: int) -> float:
    """One outer product per sample and a pseudo-inverse, in the precision of X (zhu2021geometric's algorithm)."""
    from scipy.linalg import pinv

    means, centred = _centred_means(X, y, K)
    within = np.zeros((X.shape[1],) * 2, dtype=X.dtype)
    for row, label in zip(X, y, strict=True):
        deviation = row - means[label]
        within += np.outer(deviation, deviation)
    between = centred.T @ centred / K
    return float(np.trace(within / X.dtype.type(len(X)) @ pinv(between)) / K)


def loop_torch(X: np.ndarray, y: np.ndarray, K: int) -> float:
    """The same in PyTorch: class sums and outer products sample by sample, ``torch.linalg.pinv``."""
    torch = import_torch("this peer")
    features, labels, d = torch.from_numpy(X), torch.from_numpy(y), X.shape[1]
    with torch.no_grad():
        sums, counts = torch.zeros(K, d, dtype=features.dtype), torch.zeros(K, dtype=features.dtype)
        for i in range(len(labels)):
            sums[labels[i]] += features[i]
            counts[labels[i]] += 1
        means = sums / counts[:, None]
        centred = means - features.mean(dim=0)
        within = torch.zeros(d, d, dtype=features.dtype)
        for i in range(len(labels)):
            deviation = features[i] - means[labels[i]]
            within += torch.outer(deviation, deviation)
        between = centred.T @ centred / K
        return float(torch.trace(within / len(labels) @ torch.linalg.pinv(between)) / K)


def product_svds(X: np.ndarray, y: np.ndarray, K: int) -> float:
    """One matrix product for S_w, and the K - 1 leading singular pairs of S_b by ``svds``, in the precision of X.

    As in papyan2020prevalence, but for the product, which takes the place of its batches of outer products.
    """
    from scipy.sparse.linalg import svds

    means, centred = _centred_means(X, y, K)
    deviations = X - means[y]
    within = deviations.T @ deviations / X.dtype.type(len(X))
    vectors, values, _ = svds(centred.T @ centred / X.dtype.type(K), k=K - 1, rng=np.random.default_rng(0))
    return float(np.trace(within @ vectors @ np.diag(1 / values) @ vectors.T) / K)


def product_double(X: np.ndarray, y: np.ndarray, K: int) -> float:
    """What a careful user writes: everything in float64, one product, ``pinv(hermitian=True)``."""
    doubles = X.astype(np.float64)
    means, centred = _centred_means(doubles, y, K)
    deviations = doubles - means[y]
    within = deviations.T @ deviations / len(X)
    between = centred.T @ centred / K
    return float(np.vdot(within, np.linalg.pinv(between, hermitian=True)) / K)


def exact_nc1(X: np.ndarray, y: np.ndarray, K: int, piece: int = 2000) -> float:
    r"""The same number in NumPy's longdouble (64 bits of mantissa on x86), for equal counts.

    .. math:: \mathrm{Tr}(S_w S_b^+) / K = \frac1N \sum_i \|(A A^T)^{-1} A \delta_i\|^2, \qquad A = C M

    with M the (K, d) centred class means and C the (K - 1, K) Helmert contrasts. *derived*: S_b = A^T A / K, as C has
    orthonormal rows orthogonal to the constant, so that S_b^+ = K A^+ A^{+T}. A A^T squares the condition of the
    means; what that costs is eps_longdouble cond^2, 1e-13 for half the classes merged to 1e-3.
    """
    from scipy.linalg import helmert

    long = np.longdouble
    means = np.zeros((K, X.shape[1]), dtype=long)
    np.add.at(means, y, X.astype(long))
    means /= np.bincount(y, minlength=K)[:, None]
    A = _contrasts(helmert(K)) @ means
    scatter = np.zeros((K - 1, K - 1), dtype=long)
    for start in range(0, len(X), piece):
        part = X[start : start + piece].astype(long) - means[y[start : start + piece]]
        inside = np.einsum("ij,kj->ki", A, part)
        scatter += np.einsum("ki,kj->ij", inside, inside)
    gram = np.einsum("ij,kj->ik", A, A)
    half = _solve(gram, scatter)
    return float(np.trace(_solve(gram, half.T)) / len(X))


def _contrasts(rows: np.ndarray) -> np.ndarray:
    """Helmert rows made orthonormal beyond float64: signs and counts are exact, the norms are taken again."""
    n = np.arange(1, len(rows) + 1, dtype=np.longdouble)
    exact = np.where(rows > 0, np.longdouble(1), np.where(rows < 0, -n[:, None], np.longdouble(0)))
    return exact / np.sqrt(n * (n + 1))[:, None]


def _solve(gram: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Gram^-1 right by Gauss elimination, for a positive definite matrix, in its own precision."""
    left, right = gram.copy(), right.copy()
    n = len(left)
    for j in range(n):
        factor = left[j + 1 :, j] / left[j, j]
        left[j + 1 :] -= factor[:, None] * left[j]
        right[j + 1 :] -= factor[:, None] * right[j]
    for j in range(n - 1, -1, -1):
        right[j] = (right[j] - left[j, j + 1 :] @ right[j + 1 :]) / left[j, j]
    return right
