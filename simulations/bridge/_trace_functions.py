"""What each torch function is among the operations of ``theory.architecture``.

Every function here has the signature of its PyTorch namesake after the tape: values of the network come as ``Value``,
constants as tensors or numbers. It emits steps on the tape and returns the value of the result, or raises Unreadable.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from simulations.bridge._trace_values import (
    Padded,
    Pending,
    Unreadable,
    Value,
    affine,
    evaluates,
    given,
    independent,
    per_channel,
    row,
)
from theory.architecture import (
    Activation,
    Add,
    AvgPool,
    BatchNorm,
    Bias,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    LayerNorm,
    Linear,
    MaxPool,
    Operation,
    Scale,
)  # fmt: skip

if TYPE_CHECKING:
    from simulations.bridge._trace import Tape

CASTS = frozenset(("to", "type", "type_as", "float", "double", "half", "bfloat16", "cpu", "cuda"))
METADATA = frozenset(
    ("size", "dim", "ndimension", "numel", "nelement", "stride", "is_contiguous", "is_floating_point", "is_complex",
     "__len__", "sym_size", "get_device", "element_size", "type")
)  # fmt: skip
_PADDINGS = {"constant": "zeros", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


def same(tape: Tape, x: Value, *args: Any, **kwargs: Any) -> Value:
    """The value itself: detach, clone, contiguous."""
    return x


def reshape(tape: Tape, x: Value, *args: Any, **kwargs: Any) -> Value:
    """View, flatten, squeeze: one vector per sample, or nothing new; the input may be given its shape."""
    shape = tape.out_shape
    if isinstance(x, Pending) and not isinstance(x, Padded):
        x = x.source
    if shape == x.shape:
        return x
    if len(shape) == 1:
        return tape.emit(Flatten(), x)
    why = f"a value of shape {x.shape} per sample is given the shape {shape}; only flattening is read"
    return tape.reshape_input(x, shape) or Pending("", shape, x, why)


def activation(name: str) -> Callable[..., Value]:
    """An activation without parameters."""

    def read(tape: Tape, x: Value, inplace: bool = False) -> Value:
        return tape.emit(Activation(name), x)

    return read


def leaky_relu(tape: Tape, x: Value, negative_slope: float = 0.01, inplace: bool = False) -> Value:
    """Leaky ReLU of a fixed slope."""
    return tape.emit(Activation("leaky_relu", slope=float(negative_slope)), x)


def prelu(tape: Tape, x: Value, weight: torch.Tensor) -> Value:
    """One learned slope, read as a constant."""
    if isinstance(weight, Value) or weight.numel() != 1:
        raise Unreadable("a PReLU of one slope per channel has no counterpart, one of a single slope has")
    tape.note_slope()
    return tape.emit(Activation("leaky_relu", slope=float(weight)), x)


def rrelu(
    tape: Tape, x: Value, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> Value:
    """In evaluation, leaky ReLU of the mean slope."""
    evaluates("rrelu", training)
    return tape.emit(Activation("leaky_relu", slope=(lower + upper) / 2), x)


def elu(tape: Tape, x: Value, alpha: float = 1.0, inplace: bool = False) -> Value:
    """ELU."""
    return tape.emit(Activation("elu", slope=float(alpha)), x)


def gelu(tape: Tape, x: Value, approximate: str = "none") -> Value:
    """GELU with the error function."""
    if approximate != "none":
        raise Unreadable(f"a GELU approximated by {approximate!r} has no counterpart, one of approximate='none' has")
    return tape.emit(Activation("gelu"), x)


def softplus(tape: Tape, x: Value, beta: float = 1.0, threshold: float = 20.0) -> Value:
    """Softplus of beta 1; PyTorch's is linear from its threshold on, 2e-9 below softplus at 20."""
    if beta != 1 or threshold < 20:
        raise Unreadable(f"a softplus of beta {beta:g} and threshold {threshold:g} has no counterpart")
    return tape.emit(Activation("softplus"), x)


def hardtanh(tape: Tape, x: Value, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Value:
    """Clipping to [-1, 1] or [0, 6], or to non-negative numbers."""
    known = {(-1.0, 1.0): "hardtanh", (0.0, 6.0): "relu6", (0.0, math.inf): "relu"}
    if isinstance(min_val, Value | torch.Tensor) or (min_val, max_val) not in known:
        raise Unreadable(f"clipping to [{min_val}, {max_val}] has no counterpart; to [-1, 1], [0, 6] and [0, inf) has")
    return tape.emit(Activation(known[min_val, max_val]), x)


def clamp(tape: Tape, x: Value, min: float | None = None, max: float | None = None) -> Value:
    """Clipping, by the names of ``torch.clamp``."""
    return hardtanh(tape, x, -math.inf if min is None else min, math.inf if max is None else max)


def linear(tape: Tape, x: Value, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Value:
    """A dense layer."""
    independent("linear", weight, bias)
    operation = Linear(len(weight), bias=bias is not None)
    return tape.emit(operation, x, weight=weight, **given(bias=bias))


def matmul(tape: Tape, x: Value, other: torch.Tensor) -> Value:
    """A dense layer written as ``x @ other``."""
    if not isinstance(x, Value) or isinstance(other, Value) or other.ndim != 2:
        raise Unreadable("a matrix product can be read where the first factor is a value and the second a matrix")
    return linear(tape, x, other.t())


def conv(
    tape: Tape, x: Value, weight: torch.Tensor, bias: torch.Tensor | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Value:  # fmt: skip
    """A convolution, with the padding that comes before it."""
    independent("a convolution", weight, bias)
    axes, mode = weight.ndim - 2, "zeros"
    padding = 0 if padding == "valid" else padding
    if isinstance(x, Padded):
        if padding == "same" or (any(row(padding, axes)) and x.mode != "zeros"):
            raise Unreadable("a padded map is padded again by the convolution that reads it")
        padding = tuple(p + q for p, q in zip(x.pads, row(padding, axes), strict=True))
        mode, x = x.mode, x.source
    operation = Conv(
        len(weight), tuple(weight.shape[2:]), stride=row(stride, axes),
        padding=padding if padding == "same" else row(padding, axes), dilation=row(dilation, axes), groups=groups,
        padding_mode=mode, bias=bias is not None,
    )  # fmt: skip
    return tape.emit(operation, x, weight=weight, **given(bias=bias))


def pad(tape: Tape, x: Value, pad: Any, mode: str = "constant", value: float | None = None) -> Value:
    """The same padding on both sides of each axis, for the convolution that follows."""
    axes = len(x.shape) - 1
    before, after = tuple(pad[0::2])[::-1], tuple(pad[1::2])[::-1]
    if mode == "constant" and value:
        raise Unreadable(f"a padding by {value:g} cannot be read; by zeros it can")
    if before != after or len(before) != axes or min(before) < 0 or mode not in _PADDINGS:
        raise Unreadable(f"a padding {tuple(pad)} cannot be read; one equal on both sides of every axis can")
    why = "a padded map is read by something else than a convolution, which alone can take the padding up"
    return Padded("", tape.out_shape, x, why, before, _PADDINGS[mode])


def functional_batch_norm(
    tape: Tape, x: Value, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Value:  # fmt: skip
    """Batch normalisation at its running statistics."""
    if training or running_mean is None:
        raise Unreadable(
            "batch normalisation by the statistics of the batch is no function of one sample; "
            "running statistics are wanted (track_running_stats=True, evaluation mode)"
        )
    independent("batch normalisation", running_mean, running_var, weight, bias)
    filled = affine(len(running_mean), weight, bias)
    return tape.emit(BatchNorm(eps), x, running_mean=running_mean, running_var=running_var, **filled)


def batch_norm(
    tape: Tape, x: Value, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool,
    momentum: float, eps: float, cudnn_enabled: bool,
) -> Value:  # fmt: skip
    """``torch.batch_norm``, whose arguments stand in another order."""
    return functional_batch_norm(tape, x, running_mean, running_var, weight, bias, training, momentum, eps)


def layer_norm(
    tape: Tape, x: Value, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Value:  # fmt: skip
    """Layer normalisation over the last axis."""
    independent("layer normalisation", weight, bias)
    if len(normalized_shape) != 1:
        raise Unreadable(f"a layer normalisation over {tuple(normalized_shape)} cannot be read; over one axis it can")
    return tape.emit(LayerNorm(eps), x, **affine(normalized_shape[0], weight, bias))


def max_pool(
    tape: Tape, x: Value, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Value:  # fmt: skip
    """Maximum over windows; ``ceil_mode`` only where it changes nothing (the tape compares the shapes)."""
    axes = len(x.shape) - 1
    if any(d != 1 for d in row(dilation, axes)):
        raise Unreadable(f"a dilated pool ({dilation}) cannot be read")
    return tape.emit(MaxPool(row(kernel_size, axes), row(stride, axes, None), row(padding, axes)), x)


def avg_pool(
    tape: Tape, x: Value, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Value:  # fmt: skip
    """Mean over windows."""
    axes = len(x.shape) - 1
    if divisor_override is not None:
        raise Unreadable("a pool with divisor_override cannot be read")
    sizes = row(kernel_size, axes), row(stride, axes, None), row(padding, axes)
    return tape.emit(AvgPool(*sizes, count_include_pad=count_include_pad), x)


def adaptive(kind: type[AvgPool] | type[MaxPool]) -> Callable[..., Value]:
    """A pool by its output size, where that divides the size of the map."""

    def read(tape: Tape, x: Value, output_size: Any, return_indices: bool = False) -> Value:
        size, out = x.shape[1:], tape.out_shape[1:]
        if size == out and set(out) != {1}:
            return x
        if any(n % m for n, m in zip(size, out, strict=True)):
            raise Unreadable(f"an adaptive pool of a {size} map to {out} has windows of several sizes")
        kernel = tuple(n // m for n, m in zip(size, out, strict=True))
        return tape.emit(kind(kernel, kernel), x)

    return read


def over_map(kind: type[AvgPool] | type[MaxPool]) -> Callable[..., Value]:
    """Mean or maximum over all positions of a map, written as a reduction."""
    whole: Operation = GlobalAvgPool() if kind is AvgPool else GlobalMaxPool()

    def read(tape: Tape, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
        axes = len(x.shape)
        dims = {d % (axes + 1) for d in ((dim,) if isinstance(dim, int) else dim or ())}
        if axes < 2 or dims != set(range(2, axes + 1)):
            raise Unreadable(f"a reduction over the axes {dim} cannot be read; over all positions of a map it can")
        return tape.emit(kind(x.shape[1:], x.shape[1:]) if keepdim else whole, x)

    return read


def dropout(tape: Tape, x: Value, p: float = 0.5, training: bool = True, inplace: bool = False) -> Value:
    """The identity in evaluation."""
    evaluates("dropout", training)
    return tape.emit(Dropout(float(p)), x) if p < 1 else x


def add(tape: Tape, x: Any, other: Any, alpha: float = 1) -> Value:
    """The sum of two values, or of a value and a constant per channel."""
    if not isinstance(x, Value):
        return shift(tape, times(tape, other, alpha), x)
    if not isinstance(other, Value):
        return shift(tape, x, other if alpha == 1 else other * alpha)
    if x.shape != other.shape:
        raise Unreadable(f"values of the shapes {x.shape} and {other.shape} are added; equal shapes can be read")
    return tape.emit(Add(), x, times(tape, other, alpha))


def sub(tape: Tape, x: Any, other: Any, alpha: float = 1) -> Value:
    """``x - alpha other``."""
    return add(tape, x, other, -alpha)


def rsub(tape: Tape, x: Any, other: Any, alpha: float = 1) -> Value:
    """``other - alpha x``."""
    return add(tape, other, x, -alpha)


def neg(tape: Tape, x: Value) -> Value:
    """``-x``."""
    return times(tape, x, -1.0)


def mul(tape: Tape, x: Any, other: Any) -> Value:
    """A value times a constant per channel."""
    if isinstance(x, Value) and isinstance(other, Value):
        raise Unreadable("a product of two values of the network has no counterpart in theory.architecture")
    return times(tape, x, other) if isinstance(x, Value) else times(tape, other, x)


def div(tape: Tape, x: Any, other: Any) -> Value:
    """A value over a constant per channel."""
    if not isinstance(x, Value) or isinstance(other, Value):
        raise Unreadable("a division by a value of the network cannot be read")
    return times(tape, x, 1 / other)


def times(tape: Tape, x: Value, factor: Any) -> Value:
    """A Scale without a shift."""
    if isinstance(factor, int | float) and factor == 1:
        return x
    weight = per_channel(factor, x.shape)
    return tape.emit(Scale(), x, fixed=True, weight=weight, bias=np.zeros(x.shape[0]))


def shift(tape: Tape, x: Value, offset: Any) -> Value:
    """A Bias."""
    if isinstance(offset, int | float) and offset == 0:
        return x
    return tape.emit(Bias(), x, fixed=True, bias=per_channel(offset, x.shape))


FUNCTIONS: dict[str, Callable[..., Value]] = {
    **{name: same for name in ("detach", "clone", "contiguous", "data", "alias", "identity")},
    **{name: reshape for name in ("flatten", "view", "reshape", "squeeze", "unsqueeze", "unflatten", "_unsafe_view")},
    **{name: activation(name) for name in ("relu", "relu6", "selu", "silu", "mish", "tanh", "sigmoid", "abs")},
    **dict.fromkeys(("conv1d", "conv2d"), conv),
    **dict.fromkeys(("max_pool1d", "max_pool2d"), max_pool),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d"), avg_pool),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d"), adaptive(AvgPool)),
    **dict.fromkeys(("adaptive_max_pool1d", "adaptive_max_pool2d"), adaptive(MaxPool)),
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "alpha_dropout", "feature_alpha_dropout",
                     "feature_dropout"), dropout),
    **dict.fromkeys(("clamp", "clip"), clamp), **dict.fromkeys(("matmul", "mm", "__matmul__"), matmul),
    **dict.fromkeys(("div", "true_divide", "__truediv__"), div),
    **dict.fromkeys(("mul", "multiply", "__mul__", "__rmul__"), mul),
    **dict.fromkeys(("add", "__add__", "__radd__"), add), **dict.fromkeys(("sub", "subtract", "__sub__"), sub),
    **dict.fromkeys(("__rsub__", "rsub"), rsub),
    "leaky_relu": leaky_relu, "prelu": prelu, "rrelu": rrelu, "elu": elu, "gelu": gelu, "softplus": softplus,
    "hardtanh": hardtanh, "linear": linear, "pad": pad, "batch_norm": functional_batch_norm,
    "torch.batch_norm": batch_norm, "layer_norm": layer_norm, "mean": over_map(AvgPool), "amax": over_map(MaxPool),
    "neg": neg, "negative": neg, "__neg__": neg,
}  # fmt: skip
