"""Which margins are active and which units slide: revised after each Newton solve until multipliers and signs agree."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from theory.flow._kkt_newton import MOST_NEWTON, KktPoint, newton, tangent_support
from theory.flow._kkt_system import KktSystem, Margins
from theory.flow._layers import Dense
from theory.flow._modes import OFF, ON, SLIDING, slopes_of

MOST_STEPS = 300  # of Newton in one search; searches that succeed take 3 to 100
LOOSE = 1e-9  # relative violation of a margin, a sign, a multiplier or a Clarke weight that counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """``min 1/2 ||theta||^2`` subject to ``q(theta) >= level``."""

    network: Any
    X: np.ndarray
    margins: Margins
    level: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sets:
    """The discrete unknowns: modes (N, units), or None without kinks, and the active constraints (mask, M)."""

    modes: np.ndarray | None
    active: np.ndarray

    def system(self, problem: Problem) -> KktSystem:
        """The smooth system that belongs to these sets."""
        return KktSystem(
            network=problem.network,
            X=problem.X,
            margins=problem.margins,
            level=problem.level,
            slopes=None if self.modes is None else slopes_of(self.modes, problem.network.activation),
            active=np.nonzero(self.active)[0],
            sliding=np.argwhere(self.modes == SLIDING) if self.modes is not None else np.empty((0, 2), dtype=int),
        )

    def key(self) -> bytes:
        """To tell sets apart."""
        return self.active.tobytes() + (b"" if self.modes is None else self.modes.tobytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A violation of relative ``size``, and the entry of ``active`` or ``modes`` that would mend it."""

    size: float
    what: str
    where: Any
    value: int
    is_mode: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A solved system: its sets, its point, Clarke weights (S) and signals (S) of sliding pairs, what it violates."""

    sets: Sets
    system: KktSystem
    point: KktPoint
    clarke: np.ndarray
    signals: np.ndarray
    changes: list[Change]

    def solved(self, rtol: float) -> bool:
        """Whether nothing is left to mend."""
        return not self.changes and self.point.residual <= rtol

    def badness(self) -> float:
        """The largest violation or residual."""
        return max(self.point.residual, max((change.size for change in self.changes), default=0.0))


def solve_active_set(problem: Problem, theta: np.ndarray, sets: Sets, *, rtol: float) -> tuple[Candidate, int]:
    """From theta (P) of length about one: the candidate that violates least, and all Newton steps.

    Where the search fails, it starts again without the units that Newton was about to remove: a neuron on its way to
    zero enters as the square of its size, and where that square would be negative Newton stalls beside zero.
    """
    best, steps = search_sets(problem, theta, tangent_sets(problem, theta, sets), rtol=rtol)
    if not best.solved(rtol) and steps <= MOST_STEPS:
        candidate, more = search_sets(problem, theta, sets, rtol=rtol)
        best, steps = min(best, candidate, key=Candidate.badness), steps + more
    origin = theta
    for _ in range(2):
        if best.solved(rtol) or steps > 2 * MOST_STEPS:
            break
        fewer = _without_fading(problem.network, theta, best.point.theta)
        if np.array_equal(fewer, theta):
            break
        theta = fewer
        candidate, more = search_sets(problem, theta, tangent_sets(problem, theta, sets), rtol=rtol, origin=origin)
        best, steps = min(best, candidate, key=Candidate.badness), steps + more
    return best, steps


def _without_fading(network: Any, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The point ``before`` (P) with zeros at the units of dense layers whose size has halved in ``after``."""
    out = before.copy()
    if not all(isinstance(layer, Dense) for layer in getattr(network, "layers", ())):
        return out
    views, old, new = network.views(out), network.views(before), network.views(after)
    for depth in range(1, len(network.units) + 1):
        into, onward = f"W{depth}", f"W{depth + 1}"
        sizes = [np.square(v[into]).sum(axis=1) + np.square(v[onward]).sum(axis=0) for v in (old, new)]
        fading = sizes[1] < sizes[0] / 4
        views[into][fading] = 0.0
        views[onward][:, fading] = 0.0
        if f"b{depth}" in views:
            views[f"b{depth}"][fading] = 0.0
    return out


def search_sets(
    problem: Problem,
    theta: np.ndarray,
    sets: Sets,
    *,
    rtol: float,
    origin: np.ndarray | None = None,
    most_steps: int = MOST_STEPS,
    most_newton: int = MOST_NEWTON,
) -> tuple[Candidate, int]:
    """The search for the sets from one theta (P) of length about one: the candidate that violates least, Newton steps.

    Each round starts again from theta, so that the search stays with the point that the flow has reached. All
    violations are mended at once; where that comes back to sets seen before, the margins are chosen by the convex
    problem tangent at the last point, and then only the worst violation is mended. ``origin`` (P) is the point before
    units were removed.
    """
    visits: Counter[bytes] = Counter()
    steps = 0
    best = candidate = _examine(problem, theta, sets, rtol, most_newton)
    for _ in range(40 + len(sets.active)):
        steps += candidate.point.steps
        if candidate.badness() < best.badness():
            best = candidate
        if not candidate.changes:
            if origin is not None and not candidate.solved(rtol):
                # nothing contradicts these sets, but a unit that was removed may be needed to solve them
                candidate = _examine(problem, origin, sets, rtol, most_newton)
                best, steps = min(best, candidate, key=Candidate.badness), steps + candidate.point.steps
            break
        visits[sets.key()] += 1
        again = visits[sets.key()] - 1
        sets = _mended(sets, candidate.changes, only_worst=again > 0)
        if again == 1:
            sets = tangent_sets(problem, candidate.point.theta, sets)
        if not sets.active.any() or visits[sets.key()] > 3 or steps > most_steps:
            break
        candidate = _examine(problem, theta, sets, rtol, most_newton)
    return best, steps


def tangent_sets(problem: Problem, theta: np.ndarray, sets: Sets) -> Sets:
    """The sets with the margins that carry the convex problem tangent at theta (P)."""
    everything = Sets(modes=sets.modes, active=np.ones_like(sets.active))
    support = tangent_support(everything.system(problem), theta)
    return sets if support is None else Sets(modes=sets.modes, active=support)


def _mended(sets: Sets, changes: list[Change], *, only_worst: bool) -> Sets:
    """The sets after the changes."""
    active = sets.active.copy()
    modes = None if sets.modes is None else sets.modes.copy()
    for change in [max(changes, key=lambda change: change.size)] if only_worst else changes:
        if change.is_mode and modes is not None:
            modes[change.where] = change.value
        else:
            active[change.where] = change.value
    return Sets(modes=modes, active=active)


def _examine(problem: Problem, theta: np.ndarray, sets: Sets, rtol: float, most_newton: int) -> Candidate:
    """One Newton solve, and what its point violates."""
    system = sets.system(problem)
    point = newton(system, theta, rtol=rtol, max_steps=most_newton)
    at = problem.network.forward(point.theta, problem.X, system.slopes)
    changes = []
    gaps = problem.margins.values(at.outputs) / problem.level - 1
    for c in np.nonzero(~sets.active & (gaps < -LOOSE))[0]:
        changes.append(Change(size=-gaps[c], what="a margin below one", where=c, value=True, is_mode=False))
    share = point.lam / max(np.abs(point.lam).sum(), 1e-300)
    for i in np.nonzero(share < -LOOSE)[0]:
        where = system.active[i]
        changes.append(Change(size=-share[i], what="a negative multiplier", where=where, value=False, is_mode=False))
    clarke = signals = np.empty(0)
    if sets.modes is not None:
        everywhere = system.signals(point.theta, point.lam, point.beta)
        signals = everywhere[tuple(system.sliding.T)]
        clarke = clarke_weights(point.beta, signals, everywhere, problem.network.activation.slope)
        changes += _wrong_signs(problem, at, sets.modes, everywhere, point.theta)
        changes += _released(system.sliding, clarke, signals, problem.network.activation.slope)
    return Candidate(sets=sets, system=system, point=point, clarke=clarke, signals=signals, changes=changes)


def clarke_weights(beta: np.ndarray, signals: np.ndarray, everywhere: np.ndarray, slope: float) -> np.ndarray:
    """``slope + beta_s / signal_s`` (S): what beta stands for; the lower slope where none arrives."""
    loud = np.abs(signals) > 1e-12 * np.abs(everywhere).max(initial=1e-300)
    return np.where(loud, slope + beta / np.where(loud, signals, 1.0), slope)


def _wrong_signs(problem: Problem, at: Any, modes: np.ndarray, signals: np.ndarray, theta: np.ndarray) -> list[Change]:
    """Units on the wrong side of their kink: to slide where the kink attracts (negative signal), else to switch."""
    starts = problem.network.starts
    lengths = [np.linalg.norm(a, axis=1, keepdims=True) for a in at.inputs[: len(starts) - 1]]
    widths = np.diff(starts)
    scale = np.concatenate([np.repeat(a, k, axis=1) for a, k in zip(lengths, widths, strict=True)], axis=1)
    z = at.preactivations / np.where(scale > 0, scale * np.linalg.norm(theta), 1.0)
    wrong = ((modes == ON) & (z < -LOOSE)) | ((modes == OFF) & (z > LOOSE))
    changes = []
    for n, unit in np.argwhere(wrong):
        slides = problem.network.activation.slides and signals[n, unit] < 0
        value = SLIDING if slides else ON + OFF - modes[n, unit]
        size = abs(z[n, unit])
        changes.append(Change(size=size, what="a unit across its kink", where=(n, unit), value=value, is_mode=True))
    return changes


def _released(sliding: np.ndarray, clarke: np.ndarray, signals: np.ndarray, slope: float) -> list[Change]:
    """Clarke weights outside [slope, 1]: the unit goes to the side that the excess pushes it to."""
    changes = []
    for pair, weight, signal in zip(sliding, clarke, signals, strict=True):
        excess = max(weight - 1, slope - weight)
        if excess > LOOSE:
            value = ON if (weight > 1) == (signal < 0) else OFF
            what = "a Clarke weight outside its interval"
            changes.append(Change(size=excess, what=what, where=tuple(pair), value=value, is_mode=True))
    return changes
