r"""Feature extractors that keep distances: both Lipschitz constants of residual networks, certified."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from math import prod

import numpy as np
from numpy.typing import ArrayLike

from theory._errors import InvalidInput
from theory.architecture import INPUT, Activation, Add, Architecture, Conv, Flatten, Linear, Node, Scale, fold
from theory.norms._rounding import gamma
from theory.norms.lipschitz import TINY, operation_lipschitz
from theory.norms.smallest import smallest_gain
from theory.norms.toeplitz import toeplitz_matrix

EXPLICIT = 2**20  # entries of a convolution's matrix up to which its least singular value is computed
Pair = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualBlock:
    """A sum whose terms all read one node.

    Attributes
    ----------
    name, reads : of the sum, and of the node that its terms are functions of.
    branch : Lipschitz constant of all terms but the one that shrinks least, from above: L of ``x + g(x)``.
    lower, upper : of the block, ``1 - L`` and ``1 + L`` where that term is the identity.
    """

    name: str
    reads: str
    branch: float
    lower: float
    upper: float

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "name": self.name, "reads": self.reads, "branch": self.branch, "lower": self.lower, "upper": self.upper,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class BiLipschitz:
    """``lower ||x' - x|| <= ||f(x') - f(x)|| <= upper ||x' - x||`` for all inputs, in Euclidean norms.

    Attributes
    ----------
    lower, upper : certified; ``lower`` is 0 where nothing could be proved.
    blocks : the residual blocks, in order.
    reason : the first node behind which nothing is proved from below, or empty.
    """

    lower: float
    upper: float
    blocks: tuple[ResidualBlock, ...]
    reason: str = ""

    @property
    def injective(self) -> bool:
        """Whether no two inputs share their features, proved."""
        return self.lower > 0

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "lower": self.lower, "upper": self.upper, "reason": self.reason,
            "blocks": [block.to_json() for block in self.blocks],
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"BiLipschitz({self.lower:.6g} to {self.upper:.6g}, {len(self.blocks)} blocks)"


def bi_lipschitz(
    architecture: Architecture, weights: Mapping[str, ArrayLike], *, node: str | None = None
) -> BiLipschitz:
    r"""Least and largest factor by which a network changes the distance of two inputs, certified.

    .. math:: (1 - L)\, \|x' - x\| \le \|x' + g(x') - x - g(x)\| \le (1 + L)\, \|x' - x\|, \qquad L = \mathrm{Lip}(g)

    *derived*: triangle inequality for a sum whose terms read one node; products along the graph. Linear maps by their
    extreme singular values, activations by their least slope (0 for ReLU: only a skip carries distances past one).
    For L < 1 the block is invertible (behrmann2019invertible); liu2020simple uses the constants for
    distance-aware features under a spectral constraint.

    Parameters
    ----------
    weights : by name, as ``architecture.parameters``; normalisations are folded first.
    node : the features, such as what the classifier reads; the output by default.

    Raises
    ------
    InvalidInput : weights that do not fit; no such node in the folded network.
    PreconditionError : a layer normalisation or attention.

    Cost: one operator norm for each layer; one singular value decomposition for each linear map that no skip bypasses,
    if it is dense or small.

    Examples
    --------
    >>> from theory.architecture import GraphBuilder
    >>> g = GraphBuilder(2)
    >>> a = g.add(Linear(2, bias=False), g.add(Activation("relu"), g.add(Linear(2, bias=False))))
    >>> found = bi_lipschitz((g.add(Add(), g.input, a), g.build())[1],
    ...                      {"linear1.weight": np.eye(2) / 2, "linear2.weight": np.eye(2) / 2})
    >>> round(found.lower, 9), round(found.upper, 9)
    (0.75, 1.25)
    """
    graph, named = fold(architecture, weights)
    if node is None:
        node = graph.output
    if node != INPUT and node not in {each.name for each in graph.nodes}:
        raise InvalidInput(f"the folded network has no node {node!r}.")
    walk = _Walk(graph, named)
    found = walk.pairs(INPUT, node)
    low, high = found[node]
    way = walk.on_the_way(node)
    lost = (n.name for n in way if found[n.name][0] == 0 and walk.is_function_of(n.name, [node]))
    blocks = tuple(walk.block(n, walk.gate(n, INPUT)) for n in way if isinstance(n.operation, Add))
    return BiLipschitz(lower=low, upper=high, blocks=blocks, reason=next(lost, ""))


class _Walk:
    """Both constants from one node to another, for every pair that needs them."""

    def __init__(self, graph: Architecture, named: Mapping[str, np.ndarray]) -> None:
        self.graph, self.named = graph, named
        self.order = {name: i for i, name in enumerate([INPUT, *(node.name for node in graph.nodes)])}
        self.least, self.largest = cache(self._least), cache(self._largest)
        self.block = cache(self._block)

    def between(self, start: str, end: str) -> tuple[Node, ...]:
        """The nodes after ``start``, up to ``end``."""
        return self.graph.nodes[self.order[start] : self.order[end]]

    def pairs(self, start: str, end: str) -> dict[str, Pair]:
        """For every node up to ``end`` that is a function of ``start`` alone."""
        found: dict[str, Pair] = {start: (1.0, 1.0)}
        for node in self.between(start, end):
            if not all(name in found for name in node.inputs):
                continue
            if isinstance(node.operation, Add):
                gate = self.gate(node, start)
                block, before = self.block(node, gate), found[gate]
                low = before[0] * block.lower
                high = min(before[1] * block.upper + TINY, sum(found[x][1] for x in node.inputs))
            else:
                before = found[node.inputs[0]]
                low = before[0] * self.least(node.name) if before[0] > 0 else 0.0
                slope = self.largest(node.name) if before[1] > 0 else 0.0
                high = before[1] * slope + TINY if slope > 0 else 0.0
            found[node.name] = (low * (1 - gamma(4)), high * (1 + gamma(8)))
        return found

    def is_function_of(self, start: str, ends: Iterable[str]) -> bool:
        """Whether nodes read the input through ``start`` alone."""
        found, last = {start}, max(ends, key=self.order.__getitem__)
        for node in self.between(start, last):
            if all(name in found for name in node.inputs):
                found.add(node.name)
        return found.issuperset(ends)

    def gate(self, node: Node, start: str) -> str:
        """The last node, not before ``start``, that all terms of a sum are functions of."""
        names, last = list(self.order), min(self.order[name] for name in node.inputs)
        between = names[self.order[start] : last + 1]
        return next(name for name in reversed(between) if self.is_function_of(name, node.inputs))

    def _block(self, node: Node, gate: str) -> ResidualBlock:
        last = max(node.inputs, key=self.order.__getitem__)
        found = self.pairs(gate, last)
        terms = [found[name] for name in node.inputs]
        others = [sum(high for j, (_, high) in enumerate(terms) if j != i) for i in range(len(terms))]
        kept, branch = max(
            zip((low for low, _ in terms), others, strict=True), key=lambda each: each[0] - each[1]
        )
        up = 1 + gamma(4 * len(terms) + 8)
        return ResidualBlock(
            name=node.name, reads=gate, branch=branch * up, lower=max(0.0, kept - branch * up) * (1 - gamma(8)),
            upper=sum(high for _, high in terms) * up,
        )  # fmt: skip

    def _largest(self, name: str) -> float:
        return operation_lipschitz(self.graph[name], self.named.get(f"{name}.weight"), "l2")

    def _least(self, name: str) -> float:
        node, weight = self.graph[name], self.named.get(f"{name}.weight")
        op = node.operation
        match op:
            case Flatten():
                return 1.0
            case Activation():
                slope = 0.01 if op.slope is None else op.slope
                return {"identity": 1.0, "leaky_relu": min(1.0, slope)}.get(op.name, 0.0)
            case Scale() if weight is not None:
                return float(np.abs(weight).min())
            case Linear() if weight is not None:
                return smallest_gain(weight).lower
            case Conv() if weight is not None and prod(node.shape) * prod(node.input_shapes[0]) <= EXPLICIT:
                size = node.input_shapes[0][1:]
                axes = len(size)
                A = toeplitz_matrix(
                    weight, size, stride=op.strides(axes), padding=op.paddings(axes), padding_mode=op.padding_mode,
                    dilation=op.dilations(axes), groups=op.groups,
                )  # fmt: skip
                return smallest_gain(A.toarray()).lower
        return 0.0

    def on_the_way(self, name: str) -> list[Node]:
        """The nodes that ``name`` is computed from, itself included, in order."""
        wanted = {name}
        for node in reversed(self.graph.nodes):
            if node.name in wanted:
                wanted |= set(node.inputs)
        return [node for node in self.graph.nodes if node.name in wanted]
