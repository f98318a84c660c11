r"""How far a change at one node moves the scores of a graph, and how large a node's values can be.

With s_l a bound of every weight layer's operator norm over a class of networks:

- S_l, from the output of l to the scores: 1 at the scores; ``S(u) = sum over readers c of u of Lip(c) S(c)``.
- B, root mean square over the sample of the Euclidean norm: ``B(c) = Lip(c) B(u) + |c(0)|``; sums at an Add.

*derived*: the triangle inequality along the graph, once backwards and once forwards. Both hold for the whole class,
and for networks some of whose layers' outputs were replaced (the other outputs held fixed). Everything by logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from theory.architecture import (
    INPUT,
    Activation,
    Architecture,
    Conv,
    GraphBuilder,
    Linear,
    Node,
    Scale,
)
from theory.bounds._network import Network
from theory.bounds._report import Assumption
from theory.norms import NormBracket
from theory.norms.layers import layer_spectral_norm
from theory.norms.lipschitz import fixed_lipschitz

Logs = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """The folded network whose scores have the same margins and smaller norms.

    Attributes
    ----------
    graph, named, reference : as in Network; the last dense layer W is W - 1 c^T, or the difference of two classes.
    scalar : whether there is one score f, with margin y f.
    """

    graph: Architecture
    named: Mapping[str, np.ndarray]
    reference: Mapping[str, np.ndarray] | None
    scalar: bool

    @property
    def layers(self) -> tuple[Node, ...]:
        """The nodes with weights."""
        return tuple(node for node in self.graph.nodes if isinstance(node.operation, Linear | Conv | Scale))

    @property
    def lipschitz(self) -> float:
        """Of the margin in the scores, Euclidean: 1 for one score, sqrt(2) for several."""
        return 1.0 if self.scalar else math.sqrt(2)

    def biased(self, node: Node) -> bool:
        """Whether a layer has a bias; one that training left at zero counts, since the class must be fixed before."""
        return f"{node.name}.bias" in self.graph.parameters

    @property
    def one_scalar(self) -> bool:
        """Whether rescaling layers against each other leaves the class: product of norms over margin is all there is.

        One layer after the other, no biases, no reference, positively homogeneous activations.
        """
        before = INPUT
        for node in self.graph.nodes:
            op = node.operation
            if node.inputs != (before,) or (isinstance(op, Activation) and op.facts.degree != 1):
                return False
            before = node.name
        return self.reference is None and not any(self.biased(node) for node in self.layers)

    def difference(self, node: Node, key: str = "weight") -> np.ndarray:
        """W - M, or b - b_0."""
        value = self.named[f"{node.name}.{key}"]
        return value if self.reference is None else value - self.reference[f"{node.name}.{key}"]


def scored(network: Network, centre: str = "mean") -> Scored:
    """The network as its margins see it; ``centre`` is what c is of the rows, ``mean`` or ``median``.

    ``v -> v + c(x) 1`` leaves every margin as it is, for any c, also one chosen after training (*derived*).
    """
    return network.remember(("scored", centre), lambda: _scored(network, centre))


def _scored(network: Network, centre: str) -> Scored:
    last = network.graph.nodes[-1]
    if network.binary or not isinstance(last.operation, Linear):
        return Scored(graph=network.graph, named=network.named, reference=network.reference, scalar=network.binary)
    scalar = network.K == 2

    def moved(source: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        keys = [key for key in (f"{last.name}.weight", f"{last.name}.bias") if key in source]
        rows = np.median if centre == "median" else np.mean
        new = {k: source[k][1:2] - source[k][0:1] if scalar else source[k] - rows(source[k], axis=0) for k in keys}
        return {**source, **new}

    graph = network.graph
    if scalar:
        builder = GraphBuilder(graph.input_shape)
        for node in graph.nodes[:-1]:
            builder.add(node.operation, *node.inputs, name=node.name)
        builder.add(Linear(1, bias=last.operation.bias), *last.inputs, name=last.name)
        graph = builder.build()
    reference = None if network.reference is None else moved(network.reference)
    return Scored(graph=graph, named=moved(network.named), reference=reference, scalar=scalar)


def operator_norms(network: Network, net: Scored, what: str = "weight") -> dict[str, float]:
    """``weight``: of W; ``distance``: of W - M; ``reference``: of M (0 where there is none), for each layer."""
    if net.reference is None:
        if what == "reference":
            return {node.name: 0.0 for node in net.layers}
        what = "weight"

    def norm(node: Node) -> NormBracket:
        key = f"{node.name}.weight"
        if what == "reference" and net.reference is not None:
            return layer_spectral_norm(node, net.reference[key])
        return layer_spectral_norm(node, net.difference(node) if what == "distance" else net.named[key])

    def key(node: Node) -> tuple[str, ...]:  # the last layer is not as other bounds see it
        shared = what == "weight" and node.name != net.graph.output
        return ("spectral", node.name) if shared else ("scored operator", what, node.name)

    return {node.name: network.remember(key(node), partial(norm, node)).upper for node in net.layers}


def positions(node: Node) -> int:
    """How many output entries share one entry of the bias."""
    size = node.shape[:-1] if isinstance(node.operation, Linear) else node.shape[1:]
    return math.prod(size)


def log_of(value: float) -> float:
    """ln, -inf at 0."""
    return math.log(value) if value > 0 else -math.inf


def log_sum(*logs: float) -> float:
    """Ln of the sum of exponentials."""
    return float(np.logaddexp.reduce(logs))


def sensitivities(net: Scored, log_s: Mapping[str, float]) -> Logs:
    """Ln S of every node (and of the input), for layers of norms exp(log_s)."""
    logs: dict[str, float] = {net.graph.output: 0.0}
    for node in reversed(net.graph.nodes):
        slope = log_s[node.name] if node.name in log_s else log_of(fixed_lipschitz(node))
        for name in node.inputs:
            logs[name] = log_sum(logs.get(name, -math.inf), logs[node.name] + slope)
    return logs


def radii(net: Scored, log_s: Mapping[str, float], log_shift: Mapping[str, float], log_input: float) -> Logs:
    """Ln B of every node; ``log_shift`` is that of the Euclidean norm of each layer's bias."""
    logs = {INPUT: log_input}
    for node in net.graph.nodes:
        read = log_sum(*(logs[name] for name in node.inputs))
        if node.name in log_s:
            shift = log_shift.get(node.name, -math.inf) + 0.5 * math.log(positions(node))
            logs[node.name] = log_sum(log_s[node.name] + read, shift)
        else:
            op = node.operation
            at_zero = abs(op.facts.at_zero) if isinstance(op, Activation) else 0.0
            constant = log_of(at_zero) + 0.5 * math.log(math.prod(node.shape))
            logs[node.name] = log_sum(log_of(fixed_lipschitz(node)) + read, constant)
    return logs


def log_fixed(net: Scored) -> float:
    """Ln of the product of all Lipschitz constants that are not of weights, along a chain."""
    return sum(log_of(fixed_lipschitz(n)) for n in net.graph.nodes if n not in net.layers)


def has_weights(network: Network) -> Assumption:
    """There is something to cover."""
    count = len(scored(network).layers)
    return Assumption(
        name="a layer with weights", holds=count > 0, reason=f"there are {count}" if count else "there is none"
    )


def known_at_zero(network: Network) -> Assumption:
    """Every activation's value at zero is known."""
    operations = [node.operation for node in network.graph.nodes]
    bad = [a.name for a in operations if isinstance(a, Activation) and math.isnan(a.facts.at_zero)]
    return Assumption(
        name="activations whose value at zero is known",
        holds=not bad,
        reason=f"{bad[0]!r} is not" if bad else "all are",
    )


def log_rms(X: np.ndarray) -> float:
    """Ln of the root mean square norm of the samples, beyond overflow."""
    top = float(np.abs(X).max())
    if top == 0:
        return -math.inf
    scaled = (X / top).reshape(len(X), -1)
    return math.log(top) + 0.5 * math.log(float((scaled**2).sum(axis=1).mean()))
