"""Certified layer-peeled solutions: against the semidefinite program, and against the linear algebra they need.

The semidefinite program (cvxpy with Clarabel) is timed with our certification of its answer, which is part of
``solve``. For many distinct counts the floor is what the solver's own full-size SVDs and matrix products cost when
measured alone; its ratio is the share of our time that this linear algebra takes.

Run as ``python -m simulations.benchmarks.layer_peeled [--quick]``; ``--quick`` leaves out the semidefinite program
at K = 60: 14 s a time, or minutes where its tolerance of 1e-12 is out of reach. On a machine that is busy otherwise
set OPENBLAS_NUM_THREADS=1: threads that wait for each other cost more than they bring.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from theory.peeled import LayerPeeledModel, phase_curve, solve
from theory.peeled._step import Pair, StepSystem

PRODUCTS = 8  # matrix products of size G in one step of conjugate gradients

Row = dict[str, float | str]
T = TypeVar("T")


def distinct_counts(K: int) -> np.ndarray:
    """(K,) all-distinct, falling geometrically from about 1000."""
    return np.round(1000 * 0.9 ** np.arange(K)) + np.arange(K)[::-1]


def imagenet_lt_like() -> np.ndarray:
    """(1000,) counts from 1280 to 5 with a heavy tail, 324 of them distinct."""
    return np.round(1280 * np.exp(-np.log(256) * (np.arange(1000) / 999) ** 0.55))


def eight_thousand() -> np.ndarray:
    """(8000,) counts of 400 distinct values, about 4400 to 5, 20 classes each."""
    return np.repeat(np.round(np.geomspace(4000, 5, 400)) + np.arange(400)[::-1], 20)


def run(quick: bool = False) -> list[Row]:
    """Return one record per case: seconds, certified relative gap, and what they are compared with."""
    return list(_rows(quick))


def _rows(quick: bool) -> Iterator[Row]:
    yield _against_sdp("K=20, all distinct", distinct_counts(20), repeats=2)
    yield _against_sdp("K=60, two groups, R=10", np.repeat([100, 10], 30), repeats=0 if quick else 1)
    yield _against_sdp("K=60, all distinct", distinct_counts(60), repeats=0 if quick else 1)
    yield _alone("K=10^6, two groups, E_W E_H=5", np.repeat([100, 10], 500_000), 5)
    yield _alone("K=10^6, two groups, E_W E_H=400", np.repeat([100, 10], 500_000), 400)
    yield _curve()
    for E_H in (5, 50, 200):
        yield _against_floor(f"ImageNet-LT-like, E_W E_H={E_H}", imagenet_lt_like(), E_H)
    yield _against_floor("K=8000, 400 distinct", eight_thousand(), 5)


def _against_sdp(name: str, counts: np.ndarray, repeats: int) -> Row:
    model = LayerPeeledModel(counts=counts, E_W=1, E_H=5)
    ours, seconds = _timed(lambda: solve(model), 20)
    row: Row = {"case": name, "seconds": seconds, "relative_gap": ours.relative_gap, "method": ours.method}
    if repeats:
        import cvxpy  # noqa: F401  # its import is not part of the time

        reference, reference_seconds = _timed(lambda: solve(model, method="sdp"), repeats)
        row |= {
            "reference": "semidefinite program",
            "reference_seconds": reference_seconds,
            "times_faster": reference_seconds / seconds,
            "reference_relative_gap": reference.relative_gap,
        }
    return row


def _alone(name: str, counts: np.ndarray, E_H: float) -> Row:
    model = LayerPeeledModel(counts=counts, E_W=1, E_H=E_H)
    ours, seconds = _timed(lambda: solve(model), 10)
    return {"case": name, "seconds": seconds, "relative_gap": ours.relative_gap, "method": ours.method}


def _curve() -> Row:
    ratios = np.geomspace(1, 1000, 1000)
    curve, seconds = _timed(lambda: phase_curve(majority=5, minority=5, E_W=1, E_H=5, ratios=ratios), 3)
    return {"case": f"phase curve, {len(curve.cos_minority)} points", "seconds": seconds, "method": "curve"}


def _against_floor(name: str, counts: np.ndarray, E_H: float) -> Row:
    model = LayerPeeledModel(counts=counts, E_W=1, E_H=E_H)
    G = len(np.unique(counts))
    repeats = 2
    with _counted(G) as work:
        ours, seconds = _timed(lambda: solve(model, rtol=1e-6), repeats)
    svds, products = work.svds // repeats, PRODUCTS * work.cg_steps // repeats
    A, B = np.random.default_rng(0).standard_normal((2, G, G))
    svd, product = _timed(lambda: np.linalg.svd(A), 5)[1], _timed(lambda: A @ B, 20)[1]
    floor = svds * svd + products * product
    return {
        "case": name, "seconds": seconds, "relative_gap": ours.relative_gap, "method": ours.method,
        "groups": G, "svds": svds, "products": products, "svd_seconds": svd, "product_seconds": product,
        "reference": f"{svds} SVDs, {products} products of size {G}",
        "reference_seconds": floor, "times_faster": floor / seconds,
    }  # fmt: skip


@dataclass
class _Work:
    svds: int = 0
    cg_steps: int = 0


@contextmanager
def _counted(size: int) -> Iterator[_Work]:
    """Count the SVDs and the steps of conjugate gradients of that size."""
    work, svd, step = _Work(), np.linalg.svd, StepSystem.solve

    def counted_svd(a: np.ndarray, *args: object, **kwargs: object) -> object:
        work.svds += a.shape == (size, size)
        return svd(a, *args, **kwargs)  # type: ignore[call-overload]

    def counted_step(system: StepSystem, rtol: float, max_steps: int = 200) -> tuple[Pair, float, float, int]:
        out = step(system, rtol, max_steps)
        work.cg_steps += out[3] * (len(system.own) == size)
        return out

    np.linalg.svd, StepSystem.solve = counted_svd, counted_step  # type: ignore[assignment,method-assign]
    try:
        yield work
    finally:
        np.linalg.svd, StepSystem.solve = svd, step  # type: ignore[method-assign]


def _timed(call: Callable[[], T], repeats: int) -> tuple[T, float]:
    """Return the value and the least wall time."""
    best = np.inf
    for _ in range(repeats):
        began = time.perf_counter()
        value = call()
        best = min(best, time.perf_counter() - began)
    return value, best


def main() -> None:
    """Print a table."""
    head = f"{'':32}{'ours s':>9}{'rel. gap':>10}  {'method':<12}{'compared with':<40}"
    print(head + f"{'its s':>9}{'ratio':>9}{'its gap':>10}")
    for row in _rows(quick="--quick" in sys.argv[1:]):
        line = f"{row['case']:32}{row['seconds']:9.4f}" + _number(row, "relative_gap", 10, ".1e")
        line += f"  {row['method']:<12}{row.get('reference', ''):<40}" + _number(row, "reference_seconds", 9, ".4f")
        line += _number(row, "times_faster", 9, ".2f") + _number(row, "reference_relative_gap", 10, ".1e")
        print(line, flush=True)


def _number(row: Row, key: str, width: int, form: str) -> str:
    return format(format(row[key], form) if key in row else "", f">{width}")


if __name__ == "__main__":
    main()
