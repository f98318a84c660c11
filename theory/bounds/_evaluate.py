"""What bounds of other networks than the trained one share: their mistakes on the sample, and what those cost."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from theory.architecture import Architecture, Linear, Node, node_values
from theory.bounds._frame import margins
from theory.bounds._hypotheses import _activations
from theory.bounds._network import Network
from theory.bounds._report import Assumption

BATCH = 256


def mistakes(graph: Architecture, named: Mapping[str, np.ndarray], X: np.ndarray, y: np.ndarray) -> int:
    """Samples that the network does not get strictly right; ties and scores that overflow count as mistakes."""
    wrong = 0
    for start in range(0, len(X), BATCH):
        part = slice(start, start + BATCH)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            scores = node_values(graph, dict(named), X[part], keep=(graph.output,))[graph.output]
            wrong += int((~(margins(scores, y[part]) > 0)).sum())
    return wrong


def multiplications(graph: Architecture) -> int:
    """Multiplications of one evaluation of one sample, to within those of activations and poolings."""
    return sum(_positions(node) * int(np.prod(shape)) for node in graph.nodes for shape in node.parameters.values())


def _positions(node: Node) -> int:
    own = node.shape[:-1] if isinstance(node.operation, Linear) else node.shape[1:]
    return int(np.prod(own)) if own else 1


def computable(network: Network) -> Assumption:
    """Every activation is one that can be evaluated: other weights than the trained ones are tried on the sample."""
    unknown = [a.name for a in _activations(network) if np.isnan(a.facts.at_one)]
    return Assumption(
        name="activations that can be evaluated", holds=not unknown,
        reason=f"{unknown[0]!r} is only declared" if unknown else "all can",
    )  # fmt: skip


def moderate(network: Network) -> Assumption:
    """No weight so large that its square, or the float32 of a rounded one, overflows."""
    arrays = [*network.named.values(), *(network.reference or {}).values()]
    top = max((float(np.abs(array).max()) for array in arrays if array.size), default=0.0)
    return Assumption(name="weights below 1e37", holds=top < 1e37, reason=f"the largest is {top:.3g}")
