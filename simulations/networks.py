"""Small networks for experiments, the same weights for the same seed, without touching the global random state.

Dense and convolutional weights are PyTorch's default ones (uniform, bound 1/sqrt(fan-in)) times ``scale``, batch
normalisation starts at 1 and 0; the residual network's are stated there. Names read well in a ``state_dict``:
``linear1.weight``, ``conv2.weight``, ``classifier.weight``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from simulations._torch import as_dtype, import_torch
from theory._arrays import as_count, as_positive
from theory._errors import InvalidInput

if TYPE_CHECKING:
    import torch

ACTIVATIONS = {"relu": "ReLU", "leaky_relu": "LeakyReLU", "gelu": "GELU", "silu": "SiLU", "tanh": "Tanh",
               "sigmoid": "Sigmoid", "identity": "Identity"}  # fmt: skip


def perceptron(
    widths: Sequence[int], *, bias: bool = False, activation: str = "relu", scale: float = 1.0, seed: int = 0,
    dtype: str = "float32",
) -> torch.nn.Sequential:  # fmt: skip
    """Dense layers with an activation between them; images are flattened first.

    Parameters
    ----------
    widths : input dimension, hidden widths, number of classes; two or more.
    activation : one of relu, leaky_relu (slope 0.01), gelu, silu, tanh, sigmoid, identity.
    scale : factor of the initial weights and biases.

    Raises
    ------
    InvalidInput : fewer than two widths, an unknown activation. PreconditionError : no PyTorch.

    Examples
    --------
    >>> list(perceptron([64, 32, 10]).state_dict())
    ['linear1.weight', 'classifier.weight']
    """
    nn = import_torch("a network").nn
    sizes = [as_count(f"widths[{i}]", width) for i, width in enumerate(widths)]
    if len(sizes) < 2:
        raise InvalidInput(f"widths must hold at least the input dimension and the classes, but holds {len(sizes)}.")
    act = _activation(nn, activation)

    def build() -> Any:
        net = nn.Sequential()
        net.add_module("flatten", nn.Flatten())
        for i, (fan_in, width) in enumerate(pairwise(sizes[:-1]), start=1):
            net.add_module(f"linear{i}", nn.Linear(fan_in, width, bias=bias))
            net.add_module(f"{activation}{i}", act())
        net.add_module("classifier", nn.Linear(sizes[-2], sizes[-1], bias=bias))
        return net

    return _built(build, seed, scale, dtype)


def convnet(
    input_shape: Sequence[int], channels: Sequence[int], num_classes: int, *, kernel: int = 3, stride: int = 1,
    pool: int = 1, batch_norm: bool = False, bias: bool = False, activation: str = "relu", average: bool = False,
    scale: float = 1.0, seed: int = 0, dtype: str = "float32",
) -> torch.nn.Sequential:  # fmt: skip
    """Blocks of convolution, batch normalisation if asked for, activation, max-pooling if asked for; a dense layer.

    Parameters
    ----------
    input_shape : (c, length) or (c, height, width). channels : of each block.
    kernel : odd, padded by (kernel - 1)/2 zeros. stride : of each convolution. pool : window and stride of the
        max-pooling after each block, 1 for none.
    average : the mean over positions before the dense layer, and not all positions flattened.
    bias : in convolutions (left out where batch normalisation follows) and in the dense layer.

    Raises
    ------
    InvalidInput : not one or two spatial dimensions, an even kernel, pooling that leaves no position.
    PreconditionError : no PyTorch.

    Examples
    --------
    >>> list(convnet((1, 8, 8), (4, 8), 10, stride=2).state_dict())
    ['conv1.weight', 'conv2.weight', 'classifier.weight']
    """
    nn = import_torch("a network").nn
    shape = [as_count(f"input_shape[{i}]", size) for i, size in enumerate(input_shape)]
    widths = [as_count(f"channels[{i}]", c) for i, c in enumerate(channels)]
    k, stride, pool = as_count("kernel", kernel), as_count("stride", stride), as_count("pool", pool)
    num_classes = as_count("num_classes", num_classes)
    if len(shape) not in (2, 3):
        raise InvalidInput(f"input_shape must be (c, length) or (c, height, width), but is {tuple(shape)}.")
    if k % 2 == 0:
        raise InvalidInput(f"kernel must be odd, but is {k}.")
    if not widths:
        raise InvalidInput("channels must name at least one block.")
    sizes = shape[1:]
    for i in range(len(widths)):
        sizes = [((size - 1) // stride + 1) // pool for size in sizes]
        if min(sizes) < 1:
            raise InvalidInput(f"pooling leaves no position after block {i + 1} of inputs {tuple(shape)}.")
    act, dim = _activation(nn, activation), len(sizes)
    conv, norm = getattr(nn, f"Conv{dim}d"), getattr(nn, f"BatchNorm{dim}d")
    max_pool, average_pool = getattr(nn, f"MaxPool{dim}d"), getattr(nn, f"AdaptiveAvgPool{dim}d")

    def build() -> Any:
        net = nn.Sequential()
        for i, (c_in, c_out) in enumerate(pairwise([shape[0], *widths]), start=1):
            with_bias = bias and not batch_norm
            net.add_module(f"conv{i}", conv(c_in, c_out, k, stride=stride, padding=k // 2, bias=with_bias))
            if batch_norm:
                net.add_module(f"norm{i}", norm(c_out))
            net.add_module(f"{activation}{i}", act())
            if pool > 1:
                net.add_module(f"pool{i}", max_pool(pool))
        positions = 1
        if average:
            net.add_module("average", average_pool(1))
        else:
            for size in sizes:
                positions *= size
        net.add_module("flatten", nn.Flatten())
        net.add_module("classifier", nn.Linear(widths[-1] * positions, num_classes, bias=bias))
        return net

    return _built(build, seed, scale, dtype)


def tree_network(
    depth: int, width: int, num_classes: int, *, bias: bool = True, activation: str = "relu", scale: float = 1.0,
    seed: int = 0, dtype: str = "float32",
) -> torch.nn.Sequential:  # fmt: skip
    """The convolutional network on a binary tree: each layer sees two neighbours and halves the length.

    Convolutions of kernel 2 and stride 2, so that a unit of layer l sees 2^l inputs, as a node of the tree of
    ``simulations.data.compositional`` does; its weights are shared along a layer.

    Parameters
    ----------
    depth : layers; inputs are (n, 1, 2^depth). width : channels of each layer.

    Raises
    ------
    InvalidInput : a size below 1. PreconditionError : no PyTorch.

    Examples
    --------
    >>> [tuple(w.shape) for w in tree_network(2, 5, 3, bias=False).state_dict().values()]
    [(5, 1, 2), (5, 5, 2), (3, 5)]
    """
    nn = import_torch("a network").nn
    depth, width, num_classes = as_count("depth", depth), as_count("width", width), as_count("num_classes", num_classes)
    act = _activation(nn, activation)

    def build() -> Any:
        net = nn.Sequential()
        for i in range(1, depth + 1):
            net.add_module(f"conv{i}", nn.Conv1d(1 if i == 1 else width, width, 2, stride=2, bias=bias))
            net.add_module(f"{activation}{i}", act())
        net.add_module("flatten", nn.Flatten())
        net.add_module("classifier", nn.Linear(width, num_classes, bias=bias))
        return net

    return _built(build, seed, scale, dtype)


def resnet18(
    num_classes: int = 10, in_channels: int = 3, small: bool = True, *, width: int = 64, seed: int = 0,
    dtype: str = "float32",
) -> torch.nn.Module:  # fmt: skip
    """The residual network of 18 layers with batch normalisation, under torchvision's names.

    Convolutions start as He's normal (variance 2 / fan-out), batch normalisation at 1 and 0, the dense layer at
    PyTorch's default.

    Parameters
    ----------
    small : for 32 x 32 images, a first convolution of 3 x 3 at stride 1 and no max-pooling; else 7 x 7 at stride 2
        and max-pooling, as for 224 x 224. width : channels of the first stage, doubled at each of the next three.

    Raises
    ------
    InvalidInput : a size below 1. PreconditionError : no PyTorch.

    Examples
    --------
    >>> sum(p.numel() for p in resnet18().parameters())
    11173962
    """
    import_torch("a network")
    from simulations._residual import ResNet18

    sizes = [as_count(n, v) for n, v in (("num_classes", num_classes), ("in_channels", in_channels), ("width", width))]
    return _built(lambda: ResNet18(*sizes, small=bool(small)), seed, 1.0, dtype)


def _activation(nn: Any, name: str) -> Callable[[], Any]:
    if name not in ACTIVATIONS:
        raise InvalidInput(f"activation must be one of {', '.join(ACTIVATIONS)}, but is {name!r}.")
    return getattr(nn, ACTIVATIONS[name])


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The global CPU generator of torch seeded inside, as it was outside (torch.manual_seed would reseed CUDA too)."""
    torch = import_torch("a network")
    with torch.random.fork_rng(devices=[]):
        seed = as_count("seed", seed, minimum=0)
        if seed >= 2**63:
            raise InvalidInput(f"seed must be below 2^63, but is {seed}.")
        torch.default_generator.manual_seed(seed)
        yield


def _built(build: Callable[[], Any], seed: int, scale: float, dtype: str) -> Any:
    """What ``build`` makes under the seed; drawn in float32, so that both types get the same weights."""
    torch = import_torch("a network")
    kind, factor = as_dtype(dtype), as_positive("scale", scale)
    layers = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float32)
        with _seeded(seed):
            net = build()
    finally:
        torch.set_default_dtype(before)
    if factor != 1:
        with torch.no_grad():
            for module in net.modules():
                if isinstance(module, layers):
                    for parameter in module.parameters(recurse=False):
                        parameter.mul_(factor)
    return net.to(kind)
