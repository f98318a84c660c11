"""Norms of every weight layer of a network, normalisations folded first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._errors import InvalidInput
from theory.architecture import Architecture, Conv, Linear, Node, Scale, fold
from theory.norms._record import NormBracket
from theory.norms.convolution import conv_spectral_norm
from theory.norms.dense import frobenius_norm, norm_1_inf, norm_2_1, spectral_norm
from theory.norms.kernels import filter_norm_2_1


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNorms:
    """Norms of one layer's weights; all but ``spectral.lower`` are upper bounds.

    Attributes
    ----------
    name, kind, shape : of the node and its weight.
    spectral : of the linear map, a convolution's at its input size, stride and padding.
    frobenius : of the weight, a kernel counted once.
    norm_2_1 : sum of the lengths of the rows; of a kernel, over output channels and kernel positions.
    norm_1_inf : largest l1 norm of what one output reads.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    spectral: NormBracket
    frobenius: float
    norm_2_1: float
    norm_1_inf: float

    def to_json(self) -> dict[str, object]:
        """Plain numbers and strings."""
        return {
            "name": self.name, "kind": self.kind, "shape": list(self.shape), "spectral": self.spectral.to_json(),
            "frobenius": self.frobenius, "norm_2_1": self.norm_2_1, "norm_1_inf": self.norm_1_inf,
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"LayerNorms({self.name}: spectral {self.spectral.upper:.6g}, Frobenius {self.frobenius:.6g})"


def layer_norms(architecture: Architecture, weights: Mapping[str, ArrayLike]) -> tuple[LayerNorms, ...]:
    """Operator, Frobenius, (2,1) and (1,inf) norms of every layer of the folded network.

    A normalisation that folds into no neighbour counts as a diagonal layer, of kind ``scale``. *derived*, each norm as
    its function says.

    Parameters
    ----------
    weights : by name, as ``architecture.parameters``.

    Raises
    ------
    InvalidInput : weights that do not fit; a network without weight layers.

    Cost: that of one ``spectral_norm`` or ``conv_spectral_norm`` for each layer.

    Examples
    --------
    >>> net = Architecture.sequential([Linear(2)], input_shape=2)
    >>> layer_norms(net, {"linear1.weight": [[3, 0], [0, 4]], "linear1.bias": [0, 0]})
    (LayerNorms(linear1: spectral 4, Frobenius 5),)
    """
    graph, named = fold(architecture, weights)
    found = tuple(
        _norms(node, named[f"{node.name}.weight"])
        for node in graph.nodes
        if isinstance(node.operation, Linear | Conv | Scale)
    )
    if not found:
        raise InvalidInput("the network has no layer with weights.")
    return found


def _norms(node: Node, weight: np.ndarray) -> LayerNorms:
    op = node.operation
    rows = weight[:, None] if isinstance(op, Scale) else weight
    sums = filter_norm_2_1(weight) if isinstance(op, Conv) else norm_2_1(rows)
    return LayerNorms(
        name=node.name, kind=op.kind, shape=weight.shape, spectral=layer_spectral_norm(node, weight),
        frobenius=frobenius_norm(weight), norm_2_1=sums, norm_1_inf=norm_1_inf(weight.reshape(len(weight), -1)),
    )  # fmt: skip


def layer_spectral_norm(node: Node, weight: np.ndarray) -> NormBracket:
    """Operator norm of a layer's linear map with these weights, between two numbers.

    Examples
    --------
    >>> net = Architecture.sequential([Conv(1, 1, bias=False)], input_shape=(1, 5))
    >>> abs(layer_spectral_norm(net.nodes[0], np.full((1, 1, 1), -2.0)).upper - 2) < 1e-9
    True
    """
    op = node.operation
    if isinstance(op, Scale):
        largest = float(np.abs(weight).max())
        return NormBracket(upper=largest, lower=largest, method="diagonal: its largest entry")
    if isinstance(op, Linear):
        return spectral_norm(weight)
    if not isinstance(op, Conv):
        raise InvalidInput(f"{node.name!r} is a {op.kind}, not a layer with weights.")
    size = node.input_shapes[0][1:]
    axes = len(size)
    return conv_spectral_norm(
        weight, size, stride=op.strides(axes), padding=op.paddings(axes), padding_mode=op.padding_mode,
        dilation=op.dilations(axes), groups=op.groups,
    )  # fmt: skip
