"""A network that is one weight layer after the other, as the product bounds see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from theory.architecture import (
    INPUT,
    Activation,
    Architecture,
    AvgPool,
    Conv,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    Linear,
    MaxPool,
    Node,
    Operation,
    Scale,
    node_values,
)  # fmt: skip

Shape = tuple[int, ...]
POOLS = (AvgPool, GlobalAvgPool, MaxPool, GlobalMaxPool)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """A linear map with what follows it up to the next one.

    Attributes
    ----------
    name : of the node.
    operation : Linear, Conv, or Scale (a diagonal map).
    weight, bias : (out, in), (O, C / groups, *kernel) or (C,); bias (out), or None where the architecture has none.
    reference, reference_bias : of the same shapes, or None for zero.
    input_shape, output_shape : of the linear map, per sample.
    activation : the activation that follows, or None (as after the last layer).
    pools : pooling operations between this layer and the next, in order, with the shapes they read.
    """

    name: str
    operation: Operation
    weight: np.ndarray
    bias: np.ndarray | None
    reference: np.ndarray | None
    reference_bias: np.ndarray | None
    input_shape: Shape
    output_shape: Shape
    activation: Activation | None
    pools: tuple[tuple[Operation, Shape], ...]

    @property
    def is_conv(self) -> bool:
        """Whether the map is a convolution."""
        return isinstance(self.operation, Conv)

    @property
    def positions(self) -> int:
        """Output positions at which the weights are used: 1 for a dense map."""
        return int(np.prod(self.output_shape[1:])) if len(self.output_shape) > 1 else 1

    @property
    def n_weights(self) -> int:
        """Entries of the weight."""
        return self.weight.size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chain:
    """Weight layers in order.

    Attributes
    ----------
    layers : L of them. With a single output or two classes the last one has a single row: the score whose sign is the
        class (for two classes the difference of the two rows, which has the same margins).
    graph, prefix : the graph, and the name of the node that the first weight layer reads (what lies before has no
        parameters, and is applied to the data).
    """

    layers: tuple[Layer, ...]
    graph: Architecture
    prefix: str

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def scalar(self) -> bool:
        """Whether there is one score, so that the margin is y f."""
        return self.layers[-1].output_shape == (1,)

    @property
    def outputs(self) -> int:
        """Scores of the last layer: 1, or the number of classes."""
        return self.layers[-1].output_shape[0]

    @property
    def has_bias(self) -> bool:
        """Whether the architecture gives any layer a bias."""
        return any(layer.bias is not None for layer in self.layers)

    @property
    def dense(self) -> bool:
        """Whether every layer is a full matrix."""
        return all(isinstance(layer.operation, Linear) for layer in self.layers)

    def read_input(self, X: np.ndarray) -> np.ndarray:
        """What the first weight layer reads for inputs X (n, *input_shape)."""
        if self.prefix == INPUT:
            return X
        upto = next(i for i, node in enumerate(self.graph.nodes) if node.name == self.prefix)
        part = Architecture(input_shape=self.graph.input_shape, nodes=self.graph.nodes[: upto + 1])
        return node_values(part, {}, X, keep=(self.prefix,))[self.prefix]


def find_chain(
    graph: Architecture,
    named: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray] | None,
    binary: bool,
    K: int,
) -> Chain | str:
    """The chain of a folded graph, or the reason why it is none."""
    layers: list[dict] = []
    prefix, before = INPUT, INPUT
    for node in graph.nodes:
        if node.inputs != (before,):
            return f"{node.name!r} reads {' and '.join(node.inputs)}"
        before, op = node.name, node.operation
        if isinstance(op, Linear | Conv | Scale):
            if isinstance(op, Linear) and len(node.shape) > 1:
                return f"{node.name!r} is shared over {node.shape[0]} positions"
            layers.append(_layer(node, named, reference))
        elif not layers:
            if not isinstance(op, (Flatten, *POOLS)):
                return f"{node.name!r} ({op.kind}) stands before the first weights"
            prefix = node.name
        elif isinstance(op, Activation):
            if layers[-1]["activation"] is not None:
                return f"{node.name!r} follows another activation"
            layers[-1]["activation"] = op
        elif isinstance(op, POOLS):
            layers[-1]["pools"] += ((op, node.input_shapes[0]),)
        elif not isinstance(op, Flatten):
            return f"{node.name!r} ({op.kind}) is neither a linear map, an activation nor a pool"
    if not layers or not isinstance(layers[-1]["operation"], Linear):
        return "its last weights are not a dense layer"
    if layers[-1]["activation"] is not None or layers[-1]["pools"]:
        return "an activation or a pool follows its last weights"
    if K == 2 and not binary:
        layers[-1] = _difference(layers[-1])
    return Chain(layers=tuple(Layer(**layer) for layer in layers), graph=graph, prefix=prefix)


def _layer(node: Node, named: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray] | None) -> dict:
    def get(source: Mapping[str, np.ndarray] | None, key: str) -> np.ndarray | None:
        return None if source is None else source.get(f"{node.name}.{key}")

    # a declared bias counts even where training left it at zero: the class was fixed before the sample
    bias, reference_bias = get(named, "bias"), get(reference, "bias")
    return {
        "name": node.name, "operation": node.operation, "weight": get(named, "weight"), "bias": bias,
        "reference": get(reference, "weight"), "reference_bias": reference_bias,
        "input_shape": node.input_shapes[0], "output_shape": node.shape, "activation": None, "pools": (),
    }  # fmt: skip


def _difference(layer: dict) -> dict:
    """Two classes: w_2 - w_1, whose sign is the class (label 1 is positive)."""
    found = {key: None if layer[key] is None else layer[key][1:2] - layer[key][0:1]
             for key in ("weight", "bias", "reference", "reference_bias")}  # fmt: skip
    return {**layer, **found, "operation": Linear(1, bias=layer["operation"].bias), "output_shape": (1,)}
