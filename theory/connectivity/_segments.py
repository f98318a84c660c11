"""The loss along one straight segment of weights: its largest value on a grid, by line search, and an upper bound."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.optimize import minimize_scalar

from theory.connectivity._task import Task
from theory.connectivity.network import DenseNetwork, between

CONVEX, CONSTANT, GENERAL = "convex", "constant", "general"


def kind_of(start: DenseNetwork, end: DenseNetwork) -> str:
    """What the weights alone prove of the loss along a segment, whatever the data.

    ``convex``: only the last matrix moves, and the loss is convex in the outputs, so it is largest at an end.
    ``constant``: by induction from the input, every neuron that reaches the output through weights that are not zero
    at both ends keeps its value: its row does not move, or moves so that the changes over columns that read exact
    copies (equal rows) cancel exactly.
    """
    pairs = list(zip(start.layers, end.layers, strict=True))
    moved = [not np.array_equal(A, B) for A, B in pairs]
    if not any(moved):
        return CONSTANT
    if not any(moved[:-1]):
        return CONVEX if not _silent(pairs) else CONSTANT
    return CONSTANT if _silent(pairs) else GENERAL


def _silent(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> bool:
    live = [np.ones(len(pairs[-1][0]), dtype=bool)]
    for A, B in pairs[:0:-1]:
        read = (A[live[0], :-1] != 0) | (B[live[0], :-1] != 0)
        live.insert(0, read.any(axis=0))
    for k, (A, B) in enumerate(pairs):
        change = (B - A)[live[k]]
        if not change.any():
            continue
        if k == 0 or change[:, -1].any():
            return False
        # the columns are read, so the neurons below keep their values, and equal rows at the start tell copies
        columns = np.nonzero(change.any(axis=0))[0]
        _, group = np.unique(pairs[k - 1][0][columns], axis=0, return_inverse=True)
        sums = np.zeros((len(change), int(group.max()) + 1))
        np.add.at(sums.T, group.ravel(), change[:, columns].T)
        if sums.any():
            return False
    return True


def largest(
    start: DenseNetwork, end: DenseNetwork, task: Task, points: int
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """(t, losses on the grid, largest loss, where): ``points`` equally spaced ones, then a bounded line search."""
    t = np.linspace(0, 1, points)
    losses = np.array([task.of_network(between(start, end, float(s))) for s in t])
    best = int(np.argmax(losses))
    where, value = float(t[best]), float(losses[best])
    if kind_of(start, end) == GENERAL:
        low, high = t[max(best - 1, 0)], t[min(best + 1, points - 1)]
        found = minimize_scalar(
            lambda s: -task.of_network(between(start, end, float(s))), bounds=(low, high), method="bounded",
            options={"xatol": 1e-10},
        )  # fmt: skip
        if -found.fun > value:
            where, value = float(found.x), float(-found.fun)
    return t, losses, value, where


def upper_bound(start: DenseNetwork, end: DenseNetwork, task: Task, *, measured: float, pieces: int) -> float:
    """A number that the loss nowhere exceeds on the segment, up to rounding, by bisection of the worst piece.

    On a piece every matrix is C + t D with |t| <= r, and values are carried as centre and radius: of a matrix product
    |C| rad + r |D| (|h| + rad), of an activation its Lipschitz constant times the radius (*derived*).
    """
    changes = [B - A for A, B in zip(start.layers, end.layers, strict=True)]
    lipschitz, s = start.activation.facts.lipschitz, start.activation.facts.function

    @np.errstate(over="ignore", invalid="ignore")
    def bound(low: float, high: float) -> float:
        r = (high - low) / 2
        middle = between(start, end, (low + high) / 2)
        h = task.X
        radius = np.zeros_like(h)
        for k, (C, D) in enumerate(zip(middle.layers, changes, strict=True)):
            z = h @ C[:, :-1].T + C[:, -1]
            size = np.abs(D)
            spread = radius @ np.abs(C[:, :-1]).T + r * ((np.abs(h) + radius) @ size[:, :-1].T + size[:, -1])
            if k == len(changes) - 1:
                found = task.upper(z, spread)
                return np.inf if np.isnan(found) else found
            h, radius = s(z), lipschitz * spread
        raise AssertionError

    grid = np.linspace(0, 1, 17)
    heap = [(-bound(a, b), a, b) for a, b in pairwise(grid)]
    heapq.heapify(heap)
    while len(heap) < pieces and -heap[0][0] > measured * (1 + 1e-3):
        _, a, b = heapq.heappop(heap)
        for low, high in ((a, (a + b) / 2), ((a + b) / 2, b)):
            heapq.heappush(heap, (-bound(low, high), low, high))
    return max(-heap[0][0], measured)
