"""Feed-forward architectures: a graph of operations, its shapes, its evaluation, normalisations folded away.

>>> import numpy as np
>>> from theory.architecture import Activation, Architecture, Conv, Flatten, Linear, outputs
>>> net = Architecture.sequential([Conv(4, 3), Activation("relu"), Flatten(), Linear(2)], input_shape=(1, 5, 5))
>>> outputs(net, net.random_weights(rng=0), np.ones((3, 1, 5, 5))).shape
(3, 2)
"""

from theory.architecture.activation import Activation
from theory.architecture.description import from_description, read_architecture, to_description
from theory.architecture.fold import fold
from theory.architecture.forward import node_values, outputs
from theory.architecture.graph import INPUT, Architecture, GraphBuilder, Node
from theory.architecture.homogeneity import Homogeneity, homogeneity
from theory.architecture.operations import (
    Add,
    Attention,
    AvgPool,
    BatchNorm,
    Bias,
    Conv,
    Dropout,
    FilterResponseNorm,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    LayerNorm,
    Linear,
    MaxPool,
    Operation,
    Scale,
)  # fmt: skip

__all__ = [
    "INPUT", "Activation", "Add", "Architecture", "Attention", "AvgPool", "BatchNorm", "Bias", "Conv", "Dropout",
    "FilterResponseNorm", "Flatten", "GlobalAvgPool", "GlobalMaxPool", "GraphBuilder", "Homogeneity", "LayerNorm",
    "Linear", "MaxPool", "Node", "Operation", "Scale", "fold", "from_description", "homogeneity", "node_values",
    "outputs", "read_architecture", "to_description",
]  # fmt: skip
