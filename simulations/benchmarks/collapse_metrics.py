"""Collapse metrics against the programs in use: outer products per sample, a float32 pseudo-inverse, truncated SVD.

Ours computes NC1-NC4 in all its variants in the time given; the peers compute one NC1.
Run as ``python -m simulations.benchmarks.collapse_metrics [--quick]``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simulations.benchmarks import _peers_collapse as peers
from simulations.benchmarks._comparison import OURS, Comparison, Entry, against, not_installed, walk
from simulations.benchmarks._measure import gemm_rate, read_rate, timed, timed_for, version
from simulations.benchmarks._report import print_tables
from theory.collapse import collapse_metrics

DIMENSION, CLASSES, NOISE = 512, 100, 1e-3
WRONG = 0.1  # relative error of NC1 that the title tells

Program = Callable[[np.ndarray, np.ndarray, int], float]
PEERS: tuple[tuple[str, tuple[str, ...], Program], ...] = (  # method, packages, program
    ("loop over samples, NumPy float32, pinv", ("numpy", "scipy"), peers.loop_numpy),
    ("loop over samples, PyTorch float32, pinv", ("torch",), peers.loop_torch),
    ("one product, NumPy float32, svds", ("numpy", "scipy"), peers.product_svds),
    ("one product, NumPy float64, pinv", ("numpy",), peers.product_double),
)


def features(
    N: int, factor: float = 1.0, *, d: int = DIMENSION, K: int = CLASSES, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(N, d) float32 features and labels; half of the random class means are contracted to their centroid."""
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((K, d)) / np.sqrt(d) * 5
    half = means[K // 2 :]
    half += (factor - 1) * (half - half.mean(axis=0))
    y = np.arange(N) % K
    X = np.empty((N, d), dtype=np.float32)
    for i in range(0, N, 5000):
        X[i : i + 5000] = means[y[i : i + 5000]] + NOISE * rng.standard_normal((len(y[i : i + 5000]), d))
    return X, y


def compare(quick: bool = False, callback: Callable[[str], None] | None = None) -> list[Comparison]:
    """Class means that lie apart, and half of them nearly merged, as minority collapse leaves them."""
    limit, say = (2.0 if quick else 20.0), callback or (lambda line: None)
    sizes = (1000, 3000) if quick else (2000, 10_000, 50_000)
    merged = (1000, 3000) if quick else (2000, 10_000)
    return [
        _comparison("collapse_metrics", "Class means apart", sizes, 1.0, limit, say),
        _comparison("collapse_metrics_merged", "Half the class means nearly merged", merged, 1e-3, limit, say),
    ]


def _comparison(
    name: str, what: str, sizes: tuple[int, ...], factor: float, limit: float, say: Callable[[str], None]
) -> Comparison:
    W, b = np.random.default_rng(1).standard_normal((CLASSES, DIMENSION)), np.zeros(CLASSES)
    data = {N: features(N, factor) for N in sizes}
    truth: dict[float, float] = {}
    floor: dict[float, float] = {}
    entries: list[Entry] = []
    single: list[tuple[float, float, float]] = []  # error, value, truth of the float32 programs
    for N, (X, y) in data.items():
        say(f"NC1 in extended precision, {N} samples")
        truth[N] = peers.exact_nc1(X, y, CLASSES)
        say(f"ours, {N} samples")
        record, seconds = timed_for(lambda X=X, y=y: collapse_metrics(X, y, W, b), 1.0, 5)  # type: ignore[misc]
        note, error = f"NC1-NC4, NC1 = {record.nc1_zhu:.6g}", abs(record.nc1_zhu / truth[N] - 1)
        installed = str(version("numpy", "scipy"))
        entries.append(Entry(method=OURS, version=installed, size=N, seconds=seconds, error=error, note=note))
        floor[N] = 2 * N * DIMENSION * (CLASSES - 1) / gemm_rate() + 2 * X.nbytes / read_rate()
    for method, packages, program in PEERS:
        found = version(*packages)
        if found is None:
            entries.append(not_installed(method, ", ".join(packages), sizes[0]))
            continue

        def at(N: float, method: str = method, found: str = found, program: Program = program) -> Entry:
            say(f"{method}, {N:g} samples")
            nc1, seconds = timed(lambda: program(*data[int(N)], CLASSES))
            error, note = abs(nc1 / truth[N] - 1), f"NC1 = {nc1:.6g}"
            if "float32" in method:
                single.append((error, nc1, truth[N]))
            return Entry(method=method, version=found, size=N, seconds=seconds, error=error, note=note)

        entries += walk(method, found, sizes, at, limit)
    error, value, true = max(single, default=(0.0, 0.0, 0.0))
    worst = f"; float32 programs err by up to {error:.0e} of NC1" if single else ""
    if error > WRONG:
        worst = f"; a float32 program says NC1 = {value:.2g} where it is {true:.2g}"
    means = "" if factor == 1 else f", half of the class means brought together by a factor of {1 / factor:g}"
    return Comparison(
        name=name, claim=f"{what}: {against(entries, 'N')}{worst}", entries=tuple(entries), floor=floor,
        size_label="samples N", error_label="|NC1 / NC1 in extended precision − 1|",
        floor_label="two reads of the float32 features and one float64 product with a basis of the class means.",
        settings=f"{DIMENSION} dimensions, {CLASSES} classes, float32 features of noise {NOISE:g}{means}; "
        f"seed 0, one thread, {limit:g} s for a peer at a size.",
    )  # fmt: skip


def main() -> None:
    """Print both tables."""
    print_tables(compare)


if __name__ == "__main__":
    main()
