"""What the measures share: a stated part of the sample, its margins, and the nodes that hold weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from theory._arrays import as_count
from theory.architecture import Architecture, Conv, Linear, Node, Scale, outputs
from theory.bounds._frame import margins
from theory.bounds._problem import Problem

ENTRIES = 1 << 23  # float64 entries (64 MiB) that one batch of stacked derivatives may hold


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some of the samples: inputs (m, *shape) and labels (m)."""

    X: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.y)


def part_of(problem: Problem, samples: int) -> Part:
    """At most ``samples`` of the sample, evenly spaced in the given order."""
    most = min(problem.n, as_count("samples", samples))
    at = np.linspace(0, problem.n - 1, most).round().astype(int)
    return Part(problem.X[at], problem.y[at])


def weighted_nodes(graph: Architecture) -> tuple[Node, ...]:
    """The nodes that hold weights, in order."""
    return tuple(node for node in graph.nodes if isinstance(node.operation, Linear | Conv | Scale))


def batch_for(graph: Architecture, copies: int, most: int = 128) -> int:
    """How many samples fit into one batch when every node's value is held ``copies`` times."""
    size = math.prod(graph.input_shape) + sum(math.prod(node.shape) for node in graph.nodes)
    return min(most, max(1, ENTRIES // (copies * size)))


def error_rate(graph: Architecture, named: dict[str, np.ndarray], part: Part) -> float:
    """Share of samples whose margin is not positive; overflowing scores count as wrong."""
    with np.errstate(all="ignore"):
        found = margins(outputs(graph, named, part.X), part.y)
    return float(1 - (found > 0).mean())


def rival(labels: np.ndarray, n_scores: int, r: int) -> np.ndarray:
    """Cotangents (n, n_scores) of ``own score - score of the class r + 1 further on``; +-1 for one score."""
    if n_scores == 1:
        return np.where(labels == 1, 1.0, -1.0)[:, None]
    rows, found = np.arange(len(labels)), np.zeros((len(labels), n_scores))
    found[rows, labels] = 1.0
    found[rows, (labels + 1 + r) % n_scores] = -1.0
    return found


def norms(x: np.ndarray) -> np.ndarray:
    """Euclidean length of each sample's entries (n,)."""
    return np.linalg.norm(x.reshape(len(x), -1), axis=1)


def along(x: np.ndarray, like: np.ndarray) -> np.ndarray:
    """A vector (n,) shaped to multiply ``like`` (n, ...)."""
    return x.reshape(-1, *(1,) * (like.ndim - 1))
