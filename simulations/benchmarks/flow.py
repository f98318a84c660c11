"""Gradient flows at equal trajectory error, against SciPy's ``solve_ivp``, torchdiffeq and diffrax.

ReLU networks whose units slide along their kinks, by samples and by width; a deep linear network, which is smooth, so
that nothing is gained by locating events; and the late phase, where t itself overflows. Run as
``python -m simulations.benchmarks --only flow [--quick]``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import exp, log

import numpy as np

from simulations.benchmarks._comparison import NOT_TRIED, OURS, Comparison, Entry, not_installed, number
from simulations.benchmarks._flow_peers import PEERS, Peer, our_entry_version, ours
from simulations.benchmarks._flow_problems import Problem, by_samples, by_width, linear
from simulations.benchmarks._flow_reference import SHARPNESS, independent, reference
from simulations.benchmarks._flow_walk import TARGETS, entries, reached, walk_tolerances
from simulations.benchmarks._measure import gemm_rate, one_thread
from simulations.benchmarks._report import table
from theory._errors import NotConverged

Callback = Callable[[str], None]
LIMIT = 2.0  # seconds of one solve of a peer, and at least
MULTIPLE = 5.0  # times what ours needs for the smallest target
LATE_RTOL = 1e-8
LATE_PEERS = ("SciPy DOP853", "SciPy LSODA", "SciPy BDF", "SciPy Radau", "torchdiffeq dopri5", "diffrax Kvaerno5")
ERROR = "largest error of a parameter at 17 times"
FLOOR = (
    "the field evaluations of ours to the smallest target it reached, 6 N P operations each, at the rate of a 1024 x "
    "1024 double product on one thread."
)


def compare(quick: bool = False, callback: Callback | None = None) -> list[Comparison]:
    """Four comparisons; ``quick`` takes three at small sizes, half a second for a peer, one solver of each kind."""
    tell = callback or (lambda text: None)
    peers = tuple(p for p in PEERS if not quick or p.name.endswith(("DOP853", "Radau", "dopri5", "Tsit5")))
    limit = 0.5 if quick else LIMIT
    found = [
        _equal_error(
            "flow_samples", "ReLU flows by samples",
            "samples N (two-layer ReLU, width 10, 3 inputs, exponential loss, t = 3)",
            [by_samples(N) for N in ((5, 10) if quick else (5, 10, 20, 40, 80))], peers, limit, 10, tell,
        ),
        _equal_error(
            "flow_smooth", "Smooth flows by width",
            "width (three linear layers, 10 samples, 3 inputs, exponential loss, t = 10)",
            [linear(width) for width in ((4, 8) if quick else (4, 8, 16, 32))], peers, limit, 8, tell,
        ),
        late((10.0, 100.0, 1e4) if quick else (10.0, 100.0, 500.0, 1e4, 1e6), peers, limit, tell),
    ]  # fmt: skip
    if not quick:
        by_widths = _equal_error(
            "flow_width", "ReLU flows by width", "width (two-layer ReLU, 10 samples, 3 inputs, square loss, t = 3)",
            [by_width(width) for width in (5, 10, 20, 40, 80)], peers, limit, 20, tell,
        )  # fmt: skip
        found.insert(1, by_widths)
    return found


def _equal_error(
    name: str, what: str, size_label: str, problems: Iterable[Problem], peers: tuple[Peer, ...], limit: float,
    confirmed_to: float, tell: Callback,
) -> Comparison:  # fmt: skip
    """Time to each target for ours and every peer; the reference is confirmed at sizes up to ``confirmed_to``."""
    found: list[Entry] = []
    floor: dict[float, float] = {}
    gaps: dict[float, float] = {}
    failed: dict[str, float | None] = {}  # peer -> size at which it reached no target, None once told
    for problem in problems:
        size = problem.size
        tell(f"{name} at {size:g}: reference")
        truth = reference(problem)
        if size <= confirmed_to:
            gaps[size] = float(np.abs(independent(problem) - truth).max())
        mine = walk_tolerances(ours(problem, np.inf), truth)
        found += entries(OURS, our_entry_version(), size, mine)
        finest = next((best for target in sorted(TARGETS) if (best := reached(mine, target)) is not None), None)
        if finest is None:
            raise NotConverged(f"ours reached no target at {size:g}.")
        floor[size] = finest.evaluations * problem.flops / gemm_rate()
        for peer in peers:
            tell(f"{name} at {size:g}: {peer.name}")
            found += _peer(peer, problem, truth, max(limit, MULTIPLE * finest.seconds), failed)
    settings = (
        f"One thread, float64; atol = rtol / 100, rtol in decades from 1e-2; every method has a lean field of its own "
        f"arrays, and SciPy's implicit ones the exact Jacobian. A solve of a peer is stopped after {limit:g} s, or "
        f"{MULTIPLE:g} times what ours takes to 1e-7 if that is longer; diffrax, which cannot be stopped, after as "
        f"many steps as take about as long. A peer that reached no target is not tried at larger sizes. "
        f"Gaussian data, seeds fixed as the first whose flow is unique. Reference: ours at rtol 1e-12; "
        f"{_confirmation(gaps, any(p.kinked for p in problems))}"
    )
    return Comparison(name=name, claim=f"{what}: {verdict(found)}", size_label=size_label, error_label=ERROR,
                      entries=tuple(found), floor=floor, floor_label=FLOOR, settings=settings)  # fmt: skip


def verdict(found: Iterable[Entry]) -> str:
    """What the entries say of ours and of the peers, in half a sentence.

    For the smallest target that ours reached at every size: the fastest peer and its ratio, at the largest size where
    a peer reached it too; or how far the best of the peers came.
    """
    done = [(e.seconds, e.error, e.size, e.method) for e in found if e.seconds is not None and e.error is not None]
    mine, peers = [e for e in done if e[3] == OURS], [e for e in done if e[3] != OURS]

    def fastest(part: list[tuple[float, float, float, str]], at: float, goal: float) -> tuple[float, str] | None:
        return min(((t, name) for t, error, size, name in part if size == at and error <= goal), default=None)

    sizes = sorted({size for _, _, size, _ in mine})
    common = [goal for goal in sorted(TARGETS) if all(fastest(mine, size, goal) for size in sizes)]
    if not common:
        return "ours reached no target at every size"
    for size in reversed(sizes):
        own, peer = fastest(mine, size, common[0]), fastest(peers, size, common[0])
        if own is not None and peer is not None:
            faster, times = peer[0] < own[0], max(own[0] / peer[0], peer[0] / own[0])
            relation = f"{number(times)} times {'faster' if faster else 'slower'} than ours"
            return f"to error {common[0]:.0e} at {size:g}, the fastest peer is {peer[1]}, {relation}"
    best = min(((error, name, size) for _, error, size, name in peers), default=None)
    reaching = "none came to an end" if best is None else f"{best[1]} came nearest, to {best[0]:.0e} at {best[2]:g}"
    return f"ours reached error {common[0]:.0e} at every size; of the peers {reaching}"


def _confirmation(gaps: dict[float, float], kinked: bool) -> str:
    """Which independent method confirms the reference, and to what."""
    by = f"Radau on softplus units of sharpness {SHARPNESS:.0e}" if kinked else "SciPy's Radau at rtol 1e-11"
    at = ", ".join(f"{gap:.0e} at {size:g}" for size, gap in gaps.items())
    return f"{by}, which shares no code with it and knows no events, differs by {at}."


def _peer(
    peer: Peer, problem: Problem, truth: np.ndarray, limit: float, failed: dict[str, float | None]
) -> list[Entry]:
    """Entries of one peer at one size; nothing after the line that says that it is not installed or not tried."""
    if peer.name in failed:
        at, failed[peer.name] = failed[peer.name], None
        if at is None:
            return []
        note = f"{NOT_TRIED}: at {at:g} it reached no target"
        version = peer.version or ""
        return [Entry(method=peer.name, version=version, size=problem.size, seconds=None, error=None, note=note)]
    if peer.version is None:
        failed[peer.name] = None
        return [not_installed(peer.name, " and ".join(peer.packages), problem.size)]
    solve, compilation = peer.prepare(problem, limit)
    attempts = walk_tolerances(solve, truth)
    if reached(attempts, max(TARGETS)) is None:
        failed[peer.name] = problem.size
    extra = f"; compiled before in {compilation:.1f} s" if compilation else ""
    return entries(peer.name, peer.version, problem.size, attempts, extra=extra)


def late(log_times: Iterable[float], peers: tuple[Peer, ...], limit: float, tell: Callback) -> Comparison:
    """Where the flow of a deep linear network is at log t: peers have no clock but t, and e^710 is no float64."""
    problem, sizes = linear(8), tuple(log_times)
    truths: dict[float, np.ndarray] = {}
    floor: dict[float, float] = {}
    found: list[Entry] = []
    for size in sizes:
        tell(f"flow_late at {size:g}")
        solve = ours(problem, np.inf, f"log-t:{size!r}")
        truth, mine = solve(1e-12), solve(LATE_RTOL)
        if truth.thetas is None or mine.thetas is None:
            raise NotConverged(f"the flow did not come to log t = {size:g}: {truth.note or mine.note}.")
        truths[size], floor[size] = truth.thetas[-1], mine.evaluations * problem.flops / gemm_rate()
        found.append(Entry(method=OURS, version=our_entry_version(), size=size, seconds=mine.seconds,
                           error=_relative(mine.thetas[-1], truths[size]), note=f"rtol {LATE_RTOL:.0e}"))  # fmt: skip
    for peer in peers:
        if peer.name not in LATE_PEERS:
            continue
        tell(f"flow_late: {peer.name}")
        if peer.version is None:
            found.append(not_installed(peer.name, " and ".join(peer.packages), sizes[0]))
            continue
        for size in sizes:
            found.append(_late_peer(peer, problem, size, truths[size], limit))
            if found[-1].seconds is None:
                break
    return Comparison(
        name="flow_late", claim=_late_verdict(found),
        size_label="log t (three linear layers of width 8, 10 samples, exponential loss)",
        error_label="largest error of a parameter / ||theta||", entries=tuple(found), floor=floor,
        floor_label="the field evaluations of ours, 6 N P operations each, without its Jacobians.",
        settings=(
            f"One thread, float64, rtol {LATE_RTOL:.0e}, atol a hundredth of it; a peer is stopped after {limit:g} s, "
            f"and ends where it did not finish. Ours goes by log log(1/loss); at log t = 1e6, log(1/loss) is 1e6 up to "
            f"its logarithm. Reference: ours at rtol 1e-12; a scalar flow with a closed form is tested to the same end."
        ),
    )  # fmt: skip


def _late_peer(peer: Peer, problem: Problem, log_t: float, truth: np.ndarray, limit: float) -> Entry:
    """One peer to t = e^log_t."""
    version = peer.version or ""
    if log_t > log(sys.float_info.max):
        return Entry(method=peer.name, version=version, size=log_t, seconds=None, error=None,
                     note=f"t is its only clock, and e^{log_t:g} is beyond float64")  # fmt: skip
    solve, compilation = peer.prepare(replace(problem, times=np.array([0.0, exp(log_t)])), limit)
    attempt = solve(LATE_RTOL)
    note = f"rtol {LATE_RTOL:.0e}" if attempt.thetas is not None else attempt.note
    note += f"; compiled before in {compilation:.1f} s" if compilation else ""
    if attempt.thetas is None:
        return Entry(method=peer.name, version=version, size=log_t, seconds=None, error=None, note=note)
    error = _relative(attempt.thetas[-1], truth)
    return Entry(method=peer.name, version=version, size=log_t, seconds=attempt.seconds, error=error, note=note)


def _late_verdict(found: list[Entry]) -> str:
    """How far each side came."""
    ends = {entry.method: entry.size for entry in found if entry.seconds is not None}  # sizes rise, the last one stays
    mine = ends.pop(OURS)
    best = max(ends, key=lambda method: ends[method], default=None)
    peers = "no peer came to any" if best is None else f"the peers, whose clock is t, to {ends[best]:g} ({best})"
    return f"The late phase: ours came to log t = {mine:g}, {peers}"


def _relative(theta: np.ndarray, truth: np.ndarray) -> float:
    return float(np.abs(theta - truth).max() / np.linalg.norm(truth))


def main() -> None:
    """Print the tables."""
    began = time.perf_counter()
    with one_thread():
        for comparison in compare(quick="--quick" in sys.argv[1:]):
            print(table(comparison) + "\n", flush=True)
    print(f"{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
