"""Certified layer-peeled solutions against the semidefinite program in cvxpy and against descent on W and H.

Run as ``python -m simulations.benchmarks.layer_peeled [--quick]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np

from simulations.benchmarks._comparison import NOT_TRIED, OURS, Comparison, Entry, against, not_installed, walk
from simulations.benchmarks._measure import gemm_rate, timed, timed_for, version
from simulations.benchmarks._peers_peeled import PeerRun, descent, objective, semidefinite
from simulations.benchmarks._report import print_tables
from theory.peeled import LayerPeeledModel, solve
from theory.peeled._step import Pair, StepSystem

E_W, E_H = 1.0, 20.0
PRODUCTS = 8  # matrix products of size G in one step of conjugate gradients
SVD_FLOPS = 22  # times n^3, with both sets of vectors
MEMORY = 60  # classes
DESCENTS = (("SGD", "sgd", 300), ("SGD", "sgd", 3000), ("Adam", "adam", 3000))

Lower = dict[float, float]
Counts = Callable[[int], np.ndarray]


def two_groups(K: int) -> np.ndarray:
    """(K,) half of the classes with 150 samples, half with 30."""
    return np.repeat([150, 30], K // 2)


def distinct_counts(K: int) -> np.ndarray:
    """(K,) all-distinct counts, falling about geometrically to 10."""
    return np.round(np.geomspace(1000, 10, K)) + np.arange(K)[::-1]


def compare(quick: bool = False, callback: Callable[[str], None] | None = None) -> list[Comparison]:
    """Two groups of classes, and counts that are all distinct."""
    limit, say = (2.0 if quick else 15.0), callback or (lambda line: None)
    pairs, others = ((10, 20), (10, 20)) if quick else ((10, 30, 100, 300, 1000), (10, 30, 100, 300))
    settings = (
        f"E_W = {E_W:g}, E_H = {E_H:g}; one thread, float64, seed 0; a peer gets {limit:g} s at a size. The solvers of "
        "cvxpy run at their default tolerances, compilation included; descent uses full gradients and one feature per "
        "class, and the best step size of those tried at K = 10 and 100 (in its favour), a tenth of it after one third "
        "of the steps and a hundredth after two. Only ours knows its distance to the optimum; the errors of the peers "
        "are taken against our lower bound."
    )
    shared = {
        "size_label": "classes K",
        "error_label": "(objective − certified lower bound) / lower bound",
        "settings": settings,
    }
    ours, lower, floor = _ours(two_groups, pairs, say, _sorting)
    entries = (*ours, *_peers(two_groups, pairs, lower, limit, say))
    first = Comparison(
        name="layer_peeled_two_groups", claim=f"Two groups of classes: {against(entries, 'K')}",
        entries=entries, floor=floor,
        floor_label="one sort of the K counts into groups, measured; all else is on 2 groups.", **shared,
    )  # fmt: skip
    ours, lower, floor = _ours(distinct_counts, others, say, _linear_algebra)
    entries = (*ours, *_peers(distinct_counts, others, lower, limit, say))
    second = Comparison(
        name="layer_peeled_distinct", claim=f"All class counts distinct: {against(entries, 'K')}",
        entries=entries, floor=floor,
        floor_label=f"our solver's own SVDs ({SVD_FLOPS} K^3 each) and products (2 K^3), counted, at the rate of a "
        "matrix product.", **shared,
    )  # fmt: skip
    return [first, second]


def _model(counts: np.ndarray) -> LayerPeeledModel:
    return LayerPeeledModel(counts=counts, E_W=E_W, E_H=E_H)


def _ours(
    counts: Counts, sizes: tuple[int, ...], say: Callable[[str], None], floor: Callable[[np.ndarray], float]
) -> tuple[list[Entry], Lower, Lower]:
    """Entries, certified lower bounds and floors by size."""
    entries: list[Entry] = []
    lower: Lower = {}
    floors: Lower = {}
    ours = str(version("numpy", "scipy"))
    for K in sizes:
        say(f"ours, K = {K}")
        model = _model(counts(K))
        solution, seconds = timed_for(lambda model=model: solve(model))  # type: ignore[misc]
        certificate = solution.certificate
        lower[K], floors[K] = certificate.lower, floor(counts(K))
        note = f"{solution.method}, rank {solution.rank}"
        entries.append(Entry(method=OURS, version=ours, size=K, seconds=seconds,
                             error=certificate.gap / certificate.lower, note=note))  # fmt: skip
    return entries, lower, floors


def _peers(
    counts: Counts, sizes: tuple[int, ...], lower: Lower, limit: float, say: Callable[[str], None]
) -> Iterator[Entry]:
    for solver, package in (("CLARABEL", "clarabel"), ("SCS", "scs")):
        method, installed = f"cvxpy, {'Clarabel' if solver == 'CLARABEL' else solver}", version("cvxpy", package)
        if installed is None:
            yield not_installed(method, f"cvxpy, {package}", sizes[0])
            continue
        import cvxpy  # noqa: F401  # its import is not part of the time

        within = [K for K in sizes if solver != "CLARABEL" or K <= MEMORY]
        run = partial(semidefinite, solver=solver, limit=limit)
        yield from walk(method, installed, within, _entry(method, installed, counts, lower, run, say), limit)
        if beyond := [K for K in sizes if K not in within]:
            note = f"{NOT_TRIED}: its factor of the 2K x 2K cone needs gigabytes beyond K = {MEMORY}"
            yield Entry(method=method, version=installed, size=beyond[0], seconds=None, error=None, note=note)
    for name, optimiser, steps in DESCENTS:
        method, installed = f"{name} on W and H, {steps} steps", version("torch")
        if installed is None:
            yield not_installed(method, "torch", sizes[0])
            continue
        step = partial(descent, optimiser=optimiser, steps=steps, limit=limit)
        yield from walk(method, installed, sizes, _entry(method, installed, counts, lower, step, say), limit)


def _entry(
    method: str, installed: str, counts: Counts, lower: Lower, run: Callable[..., PeerRun], say: Callable[[str], None]
) -> Callable[[float], Entry]:
    def at(K: float) -> Entry:
        say(f"{method}, K = {K:g}")
        sample = counts(int(K))
        found = run(_model(sample))
        excess = None if found.logits is None else objective(found.logits, sample) / lower[K] - 1
        note = found.said
        if excess is not None and excess < -1e-12:
            note += "; BELOW our lower bound: a certificate is wrong"
        error = None if excess is None else abs(excess)
        if not found.finished:
            note += f" when {found.seconds:.0f} s had passed"
        return Entry(method=method, version=installed, size=K, error=error, note=note,
                     seconds=found.seconds if found.finished else None)  # fmt: skip

    return at


def _sorting(counts: np.ndarray) -> float:
    return timed(lambda: np.unique(counts, return_inverse=True), 20)[1]


def _linear_algebra(counts: np.ndarray) -> float:
    with _counted(len(counts)) as work:
        solve(_model(counts))
    return (SVD_FLOPS * work.svds + 2 * PRODUCTS * work.cg_steps) * len(counts) ** 3 / gemm_rate()


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


def main() -> None:
    """Print both tables."""
    print_tables(compare)


if __name__ == "__main__":
    main()
