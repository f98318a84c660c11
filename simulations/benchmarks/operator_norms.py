"""Convolution norms against the exact SVD of the explicit matrix, power iteration, and the reshaped kernel.

All run on the same kernels in the same process. Ratios are to the true norm: ours must be at least 1, and at most 1.01
where that is promised; power iteration and the reshaped kernel fall below. Where the explicit matrix is too
large for an SVD, the table gives ``upper / lower`` instead. Run as ``python -m simulations.benchmarks.operator_norms``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from theory.norms import conv_spectral_norm, spectral_norm, toeplitz_matrix
from theory.norms._apply import Applied
from theory.norms.geometry import as_convolution

T = TypeVar("T")
ITERATIONS = 20

# name, output and input channels, kernel, stride, size, padding mode, kind of kernel
SMALL = (
    ("16x16x3x3 on 8x8", 16, 16, 3, 1, 8, "zeros", "random"),
    ("16x16x3x3 on 8x8, one peak", 16, 16, 3, 1, 8, "zeros", "peak"),
    ("16x16x3x3 on 8x8, circular", 16, 16, 3, 1, 8, "circular", "random"),
    ("32x16x3x3 stride 2 on 8x8", 32, 16, 3, 2, 8, "zeros", "random"),
    ("8x8x5x5 on 12x12, reflect", 8, 8, 5, 1, 12, "reflect", "random"),
    ("64x64x3x3 on 4x4", 64, 64, 3, 1, 4, "zeros", "random"),
    ("8x8x3x3 on 16x16", 8, 8, 3, 1, 16, "zeros", "random"),
)
# the convolutions of a ResNet-18 on 32 x 32 images, and how often each occurs
RESNET = (
    ("64x3x3x3 on 32x32", 64, 3, 3, 1, 32, 1),
    ("64x64x3x3 on 32x32", 64, 64, 3, 1, 32, 4),
    ("128x64x3x3 stride 2 on 32x32", 128, 64, 3, 2, 32, 1),
    ("128x64x1x1 stride 2 on 32x32", 128, 64, 1, 2, 32, 1),
    ("128x128x3x3 on 16x16", 128, 128, 3, 1, 16, 3),
    ("256x128x3x3 stride 2 on 16x16", 256, 128, 3, 2, 16, 1),
    ("256x128x1x1 stride 2 on 16x16", 256, 128, 1, 2, 16, 1),
    ("256x256x3x3 on 8x8", 256, 256, 3, 1, 8, 3),
    ("512x256x3x3 stride 2 on 8x8", 512, 256, 3, 2, 8, 1),
    ("512x256x1x1 stride 2 on 8x8", 512, 256, 1, 2, 8, 1),
    ("512x512x3x3 on 4x4", 512, 512, 3, 1, 4, 3),
)


def power_iteration(kernel: np.ndarray, size: int, stride: int, padding: int, mode: str, seed: int) -> float:
    """Return the usual script's number: alternate the convolution and its transpose from a random image."""
    applied = Applied(as_convolution(kernel, size, stride=stride, padding=padding, padding_mode=mode))
    x = np.random.default_rng(seed).standard_normal(kernel.shape[1] * size**2)
    for _ in range(ITERATIONS):
        x = applied.adjoint(applied.forward(x / np.linalg.norm(x)))
    e = as_convolution(kernel, size, stride=stride, padding=padding, padding_mode=mode).exponent
    return float(np.sqrt(np.linalg.norm(x)) * 2.0**e)


def run(seed: int = 0) -> list[dict[str, float | str]]:
    """Return one record per small case: seconds of each method and its ratio to the true norm."""
    rng = np.random.default_rng(seed)
    return [_small(*case, rng=rng) for case in SMALL]


def _small(
    name: str, O: int, C: int, k: int, s: int, n: int, mode: str, kind: str, *, rng: np.random.Generator
) -> dict[str, float | str]:
    K = rng.standard_normal((O, C, k, k))
    if kind == "peak":
        K = np.abs(K)
    p = k // 2
    truth, svd = _timed(
        lambda: float(np.linalg.norm(toeplitz_matrix(K, n, stride=s, padding=p, padding_mode=mode).toarray(), 2)), 1
    )
    ours, seconds = _timed(lambda: conv_spectral_norm(K, n, stride=s, padding=p, padding_mode=mode), 2)
    grid, grid_seconds = _timed(
        lambda: conv_spectral_norm(K, n, stride=s, padding=p, padding_mode=mode, method="grid"), 2
    )
    power, power_seconds = _timed(lambda: power_iteration(K, n, s, p, mode, seed=1), 2)
    reshaped = spectral_norm(K.reshape(O, -1)).upper
    return {
        "case": name,
        "truth": truth,
        "seconds": seconds,
        "upper": ours.upper / truth,
        "lower": ours.lower / truth,
        "grid_seconds": grid_seconds,
        "grid_upper": grid.upper / truth,
        "svd_seconds": svd,
        "power_seconds": power_seconds,
        "power": power / truth,
        "reshaped": reshaped / truth,
        "method": ours.method,
    }


def run_resnet(seed: int = 0) -> list[dict[str, float | str]]:
    """Return one record per layer of a ResNet-18 with random kernels: seconds, and ``upper / lower``."""
    rng = np.random.default_rng(seed)
    found: list[dict[str, float | str]] = []
    for name, O, C, k, s, n, count in RESNET:
        K = rng.standard_normal((O, C, k, k)) / np.sqrt(C * k * k)
        ours, seconds = _timed(lambda K=K, n=n, s=s, k=k: conv_spectral_norm(K, n, stride=s, padding=k // 2), 1)  # type: ignore[misc]
        power = power_iteration(K, n, s, k // 2, "zeros", seed=1)
        found.append(
            {
                "case": name,
                "count": float(count),
                "seconds": seconds,
                "upper": ours.upper,
                "ratio": ours.ratio,
                "power": power / ours.upper,
                "method": ours.method,
            }
        )
    return found


def _timed(call: Callable[[], T], repeats: int) -> tuple[T, float]:
    """Return the value and the least wall time."""
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        value = call()
        best = min(best, time.perf_counter() - start)
    return value, best


def main() -> None:
    """Print both tables."""
    print(
        f"{'ratios to the true norm':32}{'upper':>9}{'lower':>9}{'grid':>9}{'power':>9}{'reshaped':>10}"
        f"{'ours s':>9}{'grid s':>9}{'power s':>9}{'SVD s':>8}"
    )
    for row in run():
        print(
            f"{row['case']:32}{row['upper']:9.5f}{row['lower']:9.5f}{row['grid_upper']:9.5f}{row['power']:9.5f}"
            f"{row['reshaped']:10.3f}{row['seconds']:9.3f}{row['grid_seconds']:9.3f}{row['power_seconds']:9.3f}"
            f"{row['svd_seconds']:8.2f}"
        )
    total = 0.0
    print(f"\n{'ResNet-18, 32 x 32, random':32}{'times':>6}{'upper':>9}{'upper/lower':>13}{'power/upper':>13}{'s':>8}")
    for row in run_resnet():
        total += float(row["count"]) * float(row["seconds"])
        print(
            f"{row['case']:32}{row['count']:6.0f}{row['upper']:9.4f}{row['ratio']:13.4f}{row['power']:13.4f}"
            f"{row['seconds']:8.2f}"
        )
    print(f"{'all 20 layers':32}{'':41}{total:8.2f}")


if __name__ == "__main__":
    main()
