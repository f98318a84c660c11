"""Independent computations of the collapse metrics: slow and plain, and one in exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np


def naive(features, labels, W=None, b=None, *, global_mean="class"):
    """Definitions read aloud: sums over samples, d x d matrices, loops over pairs."""
    X, y = np.asarray(features, dtype=np.float64), np.asarray(labels)
    K, (N, d) = int(y.max()) + 1, X.shape
    mu = np.array([X[y == k].mean(axis=0) for k in range(K)])
    mean_class, mean_sample = mu.mean(axis=0), X.mean(axis=0)
    centre = {"class": mean_class, "sample": mean_sample}[global_mean]
    Sw = sum(np.outer(x - mu[k], x - mu[k]) for x, k in zip(X, y, strict=True)) / N

    def nc1(g):
        Sb = sum(np.outer(m - g, m - g) for m in mu) / K
        values, vectors = np.linalg.eigh(Sb)
        r = min(K - 1, d)
        inverse = vectors[:, -r:] / values[-r:] @ vectors[:, -r:].T
        return np.trace(Sw @ inverse) / K, np.trace(Sw) / np.trace(Sb)

    variances = [((X[y == k] - mu[k]) ** 2).sum(axis=1).mean() for k in range(K)]
    pairs = [(i, j) for i in range(K) for j in range(K) if i != j]
    ideal = (np.eye(K) - 1 / K) / np.sqrt(K - 1)

    def shapes(V):
        norms = [np.sqrt(v @ v) for v in V]
        angles = np.array([V[i] @ V[j] / norms[i] / norms[j] for i, j in pairs])
        gram = V @ V.T
        return (
            np.std(norms) / np.mean(norms),
            np.std(angles),
            np.mean(np.abs(angles + 1 / (K - 1))),
            np.linalg.norm(gram / np.linalg.norm(gram) - ideal),
        )

    M = mu - centre
    out = {
        "nc1_papyan": nc1(centre)[0],
        "nc1_zhu": nc1(mean_sample)[0],
        "nc1_ratio": nc1(centre)[1],
        "nc1_cdnv": np.mean(
            [(variances[i] + variances[j]) / 2 / np.sum((mu[i] - mu[j]) ** 2) for i, j in pairs]
        ),
    }
    names = ("nc2_equinorm_means", "nc2_equiangular_means", "nc2_maximal_angle_means", "nc2_etf_means")
    out |= dict(zip(names, shapes(M), strict=True))
    if W is not None:
        names = (
            "nc2_equinorm_classifier",
            "nc2_equiangular_classifier",
            "nc2_maximal_angle_classifier",
            "nc2_zhu",
        )
        out |= dict(zip(names, shapes(W), strict=True))
        b = np.zeros(K) if b is None else b
        logits = W @ (mu - mean_sample).T
        nearest = [np.argmin([np.sum((x - m) ** 2) for m in mu]) for x in X]
        out["nc3_papyan"] = np.sum((W / np.linalg.norm(W) - M / np.linalg.norm(M)) ** 2)
        out["nc3_zhu"] = np.linalg.norm(logits / np.linalg.norm(logits) - ideal)
        out["bias_collapse"] = np.linalg.norm(b + W @ centre)
        out["nc4"] = np.mean([np.argmax(W @ x + b) != k for x, k in zip(X, nearest, strict=True)])
    return out


def exact(features, labels, *, global_mean="class"):
    """Tr(Sw Sb^+)/K in rational arithmetic, for d >= K-1 and affinely independent class means.

    With T the contrasts mu_k - mu_0 as columns, M^T = T R and Sb = T (R R^T / K) T^T, so that
    Sb^+ = T (T^T T)^{-1} (R R^T / K)^{-1} (T^T T)^{-1} T^T.
    """
    labels = [int(label) for label in labels]
    X = [[Fraction(float(v)) for v in row] for row in features]
    K, N = max(labels) + 1, len(X)
    groups = [[x for x, label in zip(X, labels, strict=True) if label == k] for k in range(K)]
    mu = [[sum(column) / len(g) for column in zip(*g, strict=True)] for g in groups]
    weights = [Fraction(1, K) if global_mean == "class" else Fraction(len(g), N) for g in groups]
    T = [[a - b for a, b in zip(m, mu[0], strict=True)] for m in mu[1:]]
    R = [[Fraction(int(k == j)) - weights[j] for k in range(K)] for j in range(1, K)]
    gram = [[_dot(s, t) for t in T] for s in T]
    core = [[_dot(s, t) / K for t in R] for s in R]
    total = Fraction(0)
    for k, group in enumerate(groups):
        for x in group:
            moved = [_dot(t, [a - b for a, b in zip(x, mu[k], strict=True)]) for t in T]
            left = _solve(gram, moved)
            total += _dot(left, _solve(core, left))
    return float(total / N / K)


def _dot(a, b):
    return sum((p * q for p, q in zip(a, b, strict=True)), Fraction(0))


def _solve(matrix, right):
    """Gauss-Jordan elimination with exact pivots."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    n = len(rows)
    for i in range(n):
        pivot = next(j for j in range(i, n) if rows[j][i] != 0)
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [v / rows[i][i] for v in rows[i]]
        for j in range(n):
            if j != i and rows[j][i] != 0:
                rows[j] = [a - rows[j][i] * c for a, c in zip(rows[j], rows[i], strict=True)]
    return [row[-1] for row in rows]


def pinv32(features, labels):
    """Usual program: float32 covariances d x d and a pseudo-inverse with the default cutoff."""
    from scipy.linalg import pinv

    X, y = np.asarray(features, dtype=np.float32), np.asarray(labels)
    K = int(y.max()) + 1
    mu = np.array([X[y == k].mean(axis=0) for k in range(K)], dtype=np.float32)
    centred, deviations = mu - mu.mean(axis=0), X - mu[y]
    Sb = centred.T @ centred / np.float32(K)
    Sw = deviations.T @ deviations / np.float32(len(X))
    return float(np.trace(Sw @ pinv(Sb)) / K)
