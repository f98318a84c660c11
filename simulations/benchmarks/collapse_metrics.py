"""Collapse metrics against the usual program: one outer product per sample and a float32 pseudo-inverse.

Both run on the same features in the same process; the third column of numbers is their ratio, and beside it
stand the relative errors of NC1 against least squares in double precision. Run as
``python -m simulations.benchmarks.collapse_metrics``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from theory.collapse import collapse_metrics

# name, samples, dimension, classes, contraction of half of the class means towards their centroid
CASES = (
    ("10 classes", 4_000, 512, 10, 1.0),
    ("10 classes, half of them nearly merged", 4_000, 512, 10, 1e-3),
    ("100 classes", 20_000, 512, 100, 1.0),
)


def usual_nc1(X: np.ndarray, y: np.ndarray, K: int) -> float:
    """Return Tr(Sw pinv(Sb))/K from float32 d x d covariances, summed sample by sample."""
    from scipy.linalg import pinv

    means = np.stack([X[y == k].mean(axis=0) for k in range(K)])
    centre = X.mean(axis=0)
    within = np.zeros((X.shape[1],) * 2, dtype=np.float32)
    for row, label in zip(X, y, strict=True):
        deviation = row - means[label]
        within += np.outer(deviation, deviation)
    between = sum(np.outer(mean - centre, mean - centre) for mean in means) / K
    return float(np.trace(within / np.float32(len(X)) @ pinv(between)) / K)


def reference_nc1(X: np.ndarray, y: np.ndarray, K: int) -> float:
    """Return the same number by least squares in double precision, no inverse formed."""
    doubles = X.astype(np.float64)
    means = np.stack([doubles[y == k].mean(axis=0) for k in range(K)])
    centred = means - doubles.mean(axis=0)
    weights = np.linalg.lstsq(centred.T, (doubles - means[y]).T, rcond=1e-12)[0]
    return float((weights**2).sum() / len(X))


def run(seed: int = 0) -> list[dict[str, float | str]]:
    """Return one record per case: seconds of both, their ratio, and both relative errors of NC1."""
    return [_case(*case, rng=np.random.default_rng(seed)) for case in CASES]


def _case(
    name: str, N: int, d: int, K: int, factor: float, *, rng: np.random.Generator
) -> dict[str, float | str]:
    means = rng.standard_normal((K, d)) / np.sqrt(d) * 5
    half = means[K // 2 :]
    half += (factor - 1) * (half - half.mean(axis=0))
    y = np.arange(N) % K
    X = (means[y] + 1e-3 * rng.standard_normal((N, d))).astype(np.float32)
    W, b = rng.standard_normal((K, d)), np.zeros(K)
    truth = reference_nc1(X, y, K)
    ours, seconds = _timed(lambda: collapse_metrics(X, y, W, b).nc1_zhu, 3)
    usual, usual_seconds = _timed(lambda: usual_nc1(X, y, K), 1)
    return {
        "case": name,
        "samples": N,
        "dimension": d,
        "classes": K,
        "seconds": seconds,
        "usual_seconds": usual_seconds,
        "times_faster": usual_seconds / seconds,
        "nc1": truth,
        "relative_error": abs(ours / truth - 1),
        "usual_relative_error": abs(usual / truth - 1),
    }


def _timed(call: Callable[[], float], repeats: int) -> tuple[float, float]:
    """Return the value and the least wall time."""
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        value = call()
        best = min(best, time.perf_counter() - start)
    return value, best


def main() -> None:
    """Print a table."""
    print(f"{'':40}{'ours s':>9}{'usual s':>9}{'ratio':>8}{'NC1':>11}{'our error':>11}{'usual error':>13}")
    for row in run():
        print(
            f"{row['case']:40}{row['seconds']:9.3f}{row['usual_seconds']:9.3f}{row['times_faster']:8.1f}"
            f"{row['nc1']:11.3g}{row['relative_error']:11.1e}{row['usual_relative_error']:13.1e}"
        )


if __name__ == "__main__":
    main()
