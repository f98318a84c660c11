"""The explicit path: a network retreats to half of its neurons, hands over to the other, which comes out the same way.

Vertices are joined by straight segments on which the output matrix moves alone (there the loss is convex), or weights
move of which the output knows nothing, or a neuron's outgoing weights pass to its exact copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from theory.connectivity.condition import LayerCondition

Layers = list[np.ndarray]
Places = list[np.ndarray]  # neurons in use in the hidden layers 1, ..., L-1


def retreat(layers: Sequence[np.ndarray], found: Sequence[LayerCondition]) -> tuple[list[Layers], Places]:
    """Vertices from a network to one that uses ``found[0].neurons`` in layer 1 and half of each layer above.

    From the last hidden layer down: the network found on top of layer l is built into neurons that are not in use, the
    output passes to it, and the neurons used so far are cleared.
    """
    A = [M.copy() for M in layers]
    last = len(A) - 1  # hidden layers 1..last; A[k] reads layer k
    vertices = [list(layers)]
    top = found[last - 1]
    A[last] = _columns(top.layers[0], np.array(top.neurons), A[last].shape)
    vertices.append(list(A))
    used = [np.arange(len(M)) for M in A[:-1]]
    used[last - 1] = np.array(top.neurons)
    for layer in range(last - 1, 0, -1):
        kept, subnetwork = np.array(found[layer - 1].neurons), found[layer - 1].layers
        slots = [kept]
        for k in range(layer + 1, last + 1):
            free = np.setdiff1d(np.arange(len(A[k - 1])), used[k - 1])
            slots.append(free[: len(subnetwork[k - layer - 1])])
        for k in range(layer + 1, last + 1):
            A[k - 1] = A[k - 1].copy()
            A[k - 1][slots[k - layer]] = _columns(subnetwork[k - layer - 1], slots[k - layer - 1], A[k - 1].shape)
        vertices.append(list(A))
        A[last] = _columns(subnetwork[-1], slots[-1], A[last].shape)
        vertices.append(list(A))
        for k in range(layer + 1, last + 1):
            A[k - 1] = _only(A[k - 1], slots[k - layer])
        vertices.append(list(A))
        used[layer - 1 :] = slots
    return vertices, used


def hand_over(start: Layers, used: Places, end: Layers, wanted: Places) -> list[Layers]:
    """Vertices after ``start`` (which uses ``used``) up to ``end`` (which uses ``wanted``), both with spare neurons.

    The other network is built into spare neurons, at its own places where they are free; the output passes to it; then
    it moves to its own places, one exact copy at a time.
    """
    A = [M.copy() for M in start]
    last = len(A) - 1
    vertices: list[Layers] = []
    at = [_host(len(M), busy, want) for M, busy, want in zip(A[:-1], used, wanted, strict=True)]
    for k in range(last):
        rows = end[k][wanted[k]]
        A[k] = A[k].copy()
        A[k][at[k]] = rows if k == 0 else _columns(rows[:, [*wanted[k - 1], -1]], at[k - 1], (len(rows), A[k].shape[1]))
    vertices.append(list(A))
    head = end[last][:, [*wanted[last - 1], -1]]
    A[last] = _columns(head, at[last - 1], A[last].shape)
    vertices.append(list(A))
    for k in range(last):
        A[k] = _only(A[k], at[k])
    vertices.append(list(A))
    for k in range(last):
        for source, goal in _batches(at[k], wanted[k], len(A[k])):
            A[k] = A[k].copy()
            A[k][goal] = A[k][source]
            vertices.append(list(A))
            A[k + 1] = A[k + 1].copy()
            A[k + 1][:, goal] = A[k + 1][:, source]
            A[k + 1][:, source] = 0.0
            vertices.append(list(A))
    vertices.append([M.copy() for M in end])
    return vertices


def _columns(small: np.ndarray, places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A zero matrix with the columns of ``small`` at ``places``, its bias last."""
    grown = np.zeros((len(small), shape[1]))
    grown[:, places] = small[:, :-1]
    grown[:, -1] = small[:, -1]
    return grown


def _only(M: np.ndarray, rows: np.ndarray) -> np.ndarray:
    kept = np.zeros_like(M)
    kept[rows] = M[rows]
    return kept


def _host(n: int, busy: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Where the wanted neurons are built: at home where it is free, else in other spare places."""
    taken = set(busy.tolist())
    homes = set(want.tolist())
    spare = [i for i in range(n) if i not in taken and i not in homes]
    spare += [i for i in range(n) if i not in taken and i in homes]
    at, given = [], set()
    for i in want.tolist():
        if i not in taken:
            given.add(i)
    for i in want.tolist():
        place = i if i in given else next(j for j in spare if j not in given)
        given.add(place)
        at.append(place)
    return np.array(at)


def _batches(at: np.ndarray, want: np.ndarray, n: int) -> list[tuple[list[int], list[int]]]:
    """Moves (from, to) in rounds, each to places that are free when it starts; a ring is opened by a spare place."""
    here, rounds = dict(zip(want.tolist(), at.tolist(), strict=True)), []
    while any(place != goal for goal, place in here.items()):
        occupied = set(here.values())
        ready = [goal for goal, place in here.items() if place != goal and goal not in occupied]
        if ready:
            rounds.append(([here[goal] for goal in ready], ready))
            here.update({goal: goal for goal in ready})
        else:
            goal = next(goal for goal, place in here.items() if place != goal)
            spare = next(i for i in range(n) if i not in occupied)
            rounds.append(([here[goal]], [spare]))
            here[goal] = spare
    return rounds
