"""What a module is to the flow: one of ``theory.flow``'s own networks, or which kinks its operations have."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from simulations.bridge.architecture import read_architecture
from theory import architecture as operation
from theory._errors import InvalidInput
from theory.architecture import INPUT, Node
from theory.flow._activation import Activation, as_activation
from theory.flow._convolution import Convolution
from theory.flow._layers import Dense, Layer
from theory.flow.networks import LayeredNetwork

# operations whose derivative jumps, and that draw, as PyTorch's dispatcher names them
KINKED = frozenset((
    "relu", "leaky_relu", "_prelu_kernel", "rrelu_with_noise", "threshold", "hardtanh", "hardswish", "hardsigmoid",
    "hardshrink", "softshrink", "heaviside", "abs", "sign", "sgn", "maximum", "minimum", "fmax", "fmin", "max", "min",
    "amax", "amin", "aminmax", "cummax", "cummin", "argmax", "argmin", "clamp", "clamp_min", "clamp_max", "where",
    "floor", "ceil", "round", "trunc", "frac", "fmod", "remainder", "sort", "topk", "kthvalue", "median", "nanmedian",
    "mode",
))  # fmt: skip
RANDOM = frozenset((
    "bernoulli", "native_dropout", "rand", "randn", "rand_like", "randn_like", "randint", "normal", "uniform",
    "multinomial",
))  # fmt: skip


class Operations(TorchDispatchMode):
    """Collects what a forward pass does, however it is written: functions, methods or modules."""

    def __init__(self) -> None:
        super().__init__()
        self.kinked: set[str] = set()
        self.random: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note the operation and do it."""
        name = func.overloadpacket.__name__.rstrip("_")
        if name in KINKED or "max_pool" in name or (name == "elu" and _elu_bends(*args[1:])):
            self.kinked.add(name.strip("_").removesuffix("_kernel").removesuffix("_with_indices"))
        if name in RANDOM:
            self.random.add(name)
        return func(*args, **(kwargs or {}))


def _elu_bends(alpha: float = 1, scale: float = 1, input_scale: float = 1) -> bool:
    """Whether the slopes ``alpha scale input_scale`` and ``scale`` at zero differ, as those of SELU do."""
    return float(alpha) * float(input_scale) != 1


def as_theory_network(module: nn.Module, X: np.ndarray) -> LayeredNetwork | None:
    """The network of ``theory.flow`` with the same theta, or None where there is none.

    It is a chain of dense layers (any biases), or of convolutions without bias and then dense layers, with one
    activation between all of them (ReLU, leaky ReLU or none) and every parameter trainable. Both sides keep the
    weights layer by layer, each weight row by row and then its bias, so theta is the same vector.
    """
    try:
        net = read_architecture(module, X[:3]).architecture
    except InvalidInput:
        return None
    named = list(module.named_parameters(remove_duplicate=False))
    if [name for name, p in named if p.requires_grad] != list(net.parameters) or len(named) > len(net.parameters):
        return None
    if any(
        node.inputs != (before,) for node, before in zip(net.nodes, (INPUT, *(n.name for n in net.nodes)), strict=False)
    ):
        return None
    layers: list[Layer] = []
    between: list[list[Activation]] = []  # after each layer
    for node in net.nodes:
        if isinstance(node.operation, operation.Activation):
            sigma = _activation(node.operation)
            if sigma is None or not between:
                return None
            between[-1].append(sigma)
        elif not isinstance(node.operation, operation.Flatten | operation.Dropout):
            layer = _layer(node)
            if layer is None:
                return None
            layers.append(layer)
            between.append([])
    if not layers or between[-1] or not isinstance(layers[-1], Dense):
        return None
    inner = {tuple(sigmas) for sigmas in between[:-1]} or {()}
    sigmas = inner.pop()
    if inner or len(sigmas) > 1:
        return None
    sigma = sigmas[0] if sigmas else as_activation("linear")
    kind = "fully connected" if all(isinstance(layer, Dense) for layer in layers) else "convolutional"
    return LayeredNetwork(layers=tuple(layers), activation=sigma, name=f"{kind}, {sigma.name}")


def _activation(op: operation.Activation) -> Activation | None:
    if op.name == "relu":
        return as_activation("relu")
    slope = 0.01 if op.slope is None else op.slope
    return as_activation("leaky_relu", slope=slope) if op.name == "leaky_relu" and 0 <= slope < 1 else None


def _layer(node: Node) -> Layer | None:
    """The layer of the flow, or None."""
    op, shape = node.operation, node.input_shapes[0]
    if isinstance(op, operation.Linear) and len(shape) == 1:
        return Dense(n_in=shape[0], n_out=op.out_features, bias=op.bias)
    if not isinstance(op, operation.Conv):
        return None
    axes = len(shape) - 1
    pads = op.paddings(axes)
    if op.bias or op.groups > 1 or set(op.dilations(axes)) != {1} or (op.padding_mode != "zeros" and any(pads)):
        return None
    return Convolution(
        in_channels=shape[0], out_channels=op.out_channels, size=shape[1:], kernel_size=op.kernel(axes),
        stride=op.strides(axes), padding=pads,
    )  # fmt: skip


def operations(module: nn.Module, X: torch.Tensor) -> Operations:
    """What the forward pass does on these inputs."""
    seen = Operations()
    with torch.random.fork_rng(devices=[]), torch.no_grad(), seen:
        module(X)
    return seen
