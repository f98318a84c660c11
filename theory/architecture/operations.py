"""The operations of a feed-forward network as records: shapes, parameters and what theorems ask of them.

Shapes are per sample: ``(d,)`` for vectors, ``(C, L)`` and ``(C, H, W)`` for maps of C channels. Parameters carry
the names and layouts of PyTorch: a dense weight is (out, in), a kernel (out, in / groups, *kernel_size).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from theory._arrays import as_count, as_positive, as_real
from theory._errors import InvalidInput

Shape = tuple[int, ...]
PADDING_MODES = ("zeros", "circular", "reflect", "replicate")


class Operation:
    """What a node does. Subclasses are frozen records."""

    __slots__ = ()
    arity: int | None = 1  # inputs taken; None: two or more

    def output_shape(self, *shapes: Shape) -> Shape:
        """The shape of the output; raises InvalidInput where the inputs do not fit."""
        return shapes[0]

    def parameters(self, shape: Shape) -> dict[str, Shape]:
        """Names and shapes of the parameters, for an input of that shape."""
        return {}

    @property
    def kind(self) -> str:
        """The word for it in a description, such as ``conv``."""
        return type(self).__name__.lower()


@dataclass(frozen=True, slots=True)
class Linear(Operation):
    """``W x + b`` along the last axis; W is (out_features, in_features)."""

    out_features: int
    bias: bool = True

    def __post_init__(self) -> None:
        as_count("out_features", self.out_features)

    def output_shape(self, *shapes: Shape) -> Shape:
        """The input with its last axis replaced."""
        return (*shapes[0][:-1], self.out_features)

    def parameters(self, shape: Shape) -> dict[str, Shape]:
        """``weight`` and, unless switched off, ``bias``."""
        named: dict[str, Shape] = {"weight": (self.out_features, shape[-1])}
        return {**named, "bias": (self.out_features,)} if self.bias else named


@dataclass(frozen=True, slots=True)
class Conv(Operation):
    """Cross-correlation in one or two dimensions, as in PyTorch; ``padding`` is a width or ``"same"``."""

    out_channels: int
    kernel_size: int | tuple[int, ...]
    stride: int | tuple[int, ...] = 1
    padding: int | tuple[int, ...] | str = 0
    dilation: int | tuple[int, ...] = 1
    groups: int = 1
    padding_mode: str = "zeros"
    bias: bool = True

    def __post_init__(self) -> None:
        as_count("out_channels", self.out_channels)
        as_count("groups", self.groups)
        for name in ("kernel_size", "stride", "dilation", "padding"):
            value = getattr(self, name)
            if name == "padding" and value == "same":
                continue
            for number in value if isinstance(value, Iterable) and not isinstance(value, str) else (value,):
                as_count(name, number, minimum=0 if name == "padding" else 1)
        if self.padding_mode not in PADDING_MODES:
            raise InvalidInput(f"padding_mode must be one of {', '.join(PADDING_MODES)}, but is {self.padding_mode!r}.")
        if self.out_channels % self.groups:
            raise InvalidInput(f"{self.out_channels} output channels do not split into {self.groups} groups.")

    def kernel(self, axes: int) -> Shape:
        """Kernel size, one number per axis."""
        return per_axis("kernel_size", self.kernel_size, axes)

    def strides(self, axes: int) -> Shape:
        """Stride, one number per axis."""
        return per_axis("stride", self.stride, axes)

    def dilations(self, axes: int) -> Shape:
        """Dilation, one number per axis."""
        return per_axis("dilation", self.dilation, axes)

    def paddings(self, axes: int) -> Shape:
        """Padding on each side, one number per axis; ``"same"`` needs odd kernels and stride 1."""
        if self.padding != "same":
            return per_axis("padding", cast("int | tuple[int, ...]", self.padding), axes)
        reach = [d * (k - 1) for d, k in zip(self.dilations(axes), self.kernel(axes), strict=True)]
        if any(s != 1 for s in self.strides(axes)) or any(r % 2 for r in reach):
            raise InvalidInput("padding 'same' needs stride 1 and kernels of odd extent; give the padding as numbers.")
        return tuple(r // 2 for r in reach)

    def output_shape(self, *shapes: Shape) -> Shape:
        """Channels, then the size of each axis."""
        channels, *size = _map(self.kind, shapes[0])
        if channels % self.groups:
            raise InvalidInput(f"{channels} input channels do not split into {self.groups} groups.")
        axes = len(size)
        pads = self.paddings(axes)
        if self.padding_mode == "circular" and any(p > n for p, n in zip(pads, size, strict=True)):
            raise InvalidInput(f"circular padding {pads} is larger than the map {tuple(size)}.")
        if self.padding_mode == "reflect" and any(p >= n for p, n in zip(pads, size, strict=True)):
            raise InvalidInput(f"reflect padding {pads} must be smaller than the map {tuple(size)}.")
        return (self.out_channels, *_slide(size, self.kernel(axes), self.strides(axes), pads, self.dilations(axes)))

    def parameters(self, shape: Shape) -> dict[str, Shape]:
        """``weight`` (out, in / groups, *kernel) and, unless switched off, ``bias``."""
        named: dict[str, Shape] = {"weight": (self.out_channels, shape[0] // self.groups, *self.kernel(len(shape) - 1))}
        return {**named, "bias": (self.out_channels,)} if self.bias else named


@dataclass(frozen=True, slots=True)
class MaxPool(Operation):
    """Maximum over windows; the padding never wins."""

    kernel_size: int | tuple[int, ...]
    stride: int | tuple[int, ...] | None = None
    padding: int | tuple[int, ...] = 0

    def window(self, axes: int) -> tuple[Shape, Shape, Shape]:
        """Kernel size, stride and padding, one number per axis."""
        return _window(self.kernel_size, self.stride, self.padding, axes)

    def output_shape(self, *shapes: Shape) -> Shape:
        """Channels, then the size of each axis."""
        return _pooled(self, shapes[0])


@dataclass(frozen=True, slots=True)
class AvgPool(Operation):
    """Mean over windows; padded zeros count unless ``count_include_pad`` is switched off."""

    kernel_size: int | tuple[int, ...]
    stride: int | tuple[int, ...] | None = None
    padding: int | tuple[int, ...] = 0
    count_include_pad: bool = True

    def window(self, axes: int) -> tuple[Shape, Shape, Shape]:
        """Kernel size, stride and padding, one number per axis."""
        return _window(self.kernel_size, self.stride, self.padding, axes)

    def output_shape(self, *shapes: Shape) -> Shape:
        """Channels, then the size of each axis."""
        return _pooled(self, shapes[0])


@dataclass(frozen=True, slots=True)
class GlobalAvgPool(Operation):
    """Mean of each channel: a vector of C entries."""

    def output_shape(self, *shapes: Shape) -> Shape:
        """``(C,)``."""
        return (_map(self.kind, shapes[0])[0],)


@dataclass(frozen=True, slots=True)
class GlobalMaxPool(Operation):
    """Maximum of each channel: a vector of C entries."""

    def output_shape(self, *shapes: Shape) -> Shape:
        """``(C,)``."""
        return (_map(self.kind, shapes[0])[0],)


@dataclass(frozen=True, slots=True)
class Flatten(Operation):
    """All entries as one vector, in C order."""

    def output_shape(self, *shapes: Shape) -> Shape:
        """``(d,)``."""
        return (math.prod(shapes[0]),)


@dataclass(frozen=True, slots=True)
class Add(Operation):
    """The sum of two or more inputs of one shape: a residual connection."""

    arity = None

    def output_shape(self, *shapes: Shape) -> Shape:
        """The common shape."""
        if len(set(shapes)) > 1:
            raise InvalidInput(f"add needs inputs of one shape, but has {', '.join(map(str, shapes))}.")
        return shapes[0]


@dataclass(frozen=True, slots=True)
class BatchNorm(Operation):
    """Evaluation mode: ``weight (x - running_mean) / sqrt(running_var + eps) + bias``, per channel."""

    eps: float = 1e-5

    def __post_init__(self) -> None:
        as_positive("eps", self.eps)

    def parameters(self, shape: Shape) -> dict[str, Shape]:
        """Four vectors of one entry per channel."""
        return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (shape[0],))


@dataclass(frozen=True, slots=True)
class Scale(Operation):
    """``weight x + bias`` per channel: what remains of a normalisation that folds into no neighbour."""

    def parameters(self, shape: Shape) -> dict[str, Shape]:
        """Two vectors of one entry per channel."""
        return dict.fromkeys(("weight", "bias"), (shape[0],))


@dataclass(frozen=True, slots=True)
class Bias(Operation):
    """``x + bias`` per channel."""

    def parameters(self, shape: Shape) -> dict[str, Shape]:
        """One entry per channel."""
        return {"bias": (shape[0],)}


@dataclass(frozen=True, slots=True)
class Dropout(Operation):
    """The identity in evaluation, which is what every bound speaks of."""

    p: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= as_real("p", self.p) < 1:
            raise InvalidInput(f"p must lie in [0, 1), but is {self.p:g}.")


@dataclass(frozen=True, slots=True)
class LayerNorm(Operation):
    """Normalisation of each sample over its last axis; not Lipschitz over all inputs."""

    eps: float = 1e-5

    def __post_init__(self) -> None:
        as_positive("eps", self.eps)

    def parameters(self, shape: Shape) -> dict[str, Shape]:
        """Two vectors of the length of the last axis."""
        return dict.fromkeys(("weight", "bias"), (shape[-1],))


@dataclass(frozen=True, slots=True)
class FilterResponseNorm(Operation):
    """Each channel over its root mean square: ``weight x / sqrt(mean x^2 + eps) + bias``; eps may be 0.

    As in singh2020filter, without the threshold, which is a Bias before a ReLU and its negative after it.
    """

    eps: float = 1e-6

    def __post_init__(self) -> None:
        if as_real("eps", self.eps) < 0:
            raise InvalidInput(f"eps must not be negative, but is {self.eps:g}.")

    def output_shape(self, *shapes: Shape) -> Shape:
        """The shape of the map."""
        return _map(self.kind, shapes[0])

    def parameters(self, shape: Shape) -> dict[str, Shape]:
        """Two vectors of one entry per channel."""
        return dict.fromkeys(("weight", "bias"), (shape[0],))


@dataclass(frozen=True, slots=True)
class Attention(Operation):
    """Multi-head self-attention on (positions, d), as in PyTorch; not Lipschitz over all inputs."""

    heads: int = 1

    def __post_init__(self) -> None:
        as_count("heads", self.heads)

    def output_shape(self, *shapes: Shape) -> Shape:
        """The shape of the input."""
        if len(shapes[0]) != 2 or shapes[0][1] % self.heads:
            raise InvalidInput(f"attention needs (positions, d) with d a multiple of {self.heads}, not {shapes[0]}.")
        return shapes[0]

    def parameters(self, shape: Shape) -> dict[str, Shape]:
        """Projections in and out with their biases."""
        d = shape[1]
        return {
            "in_proj_weight": (3 * d, d), "in_proj_bias": (3 * d,),
            "out_proj.weight": (d, d), "out_proj.bias": (d,),
        }  # fmt: skip


def per_axis(name: str, value: int | Iterable[int], axes: int, minimum: int = 1) -> Shape:
    """One whole number per axis, from one number or a row of them."""
    if isinstance(value, Iterable) and not isinstance(value, str):
        numbers = tuple(as_count(name, v, minimum=0 if name == "padding" else minimum) for v in value)
        if len(numbers) != axes:
            raise InvalidInput(f"{name} must be one number or {axes}, but is {numbers}.")
        return numbers
    return (as_count(name, value, minimum=0 if name == "padding" else minimum),) * axes


def _window(
    kernel: int | tuple[int, ...], stride: int | tuple[int, ...] | None, padding: int | tuple[int, ...], axes: int
) -> tuple[Shape, Shape, Shape]:
    sizes = per_axis("kernel_size", kernel, axes)
    return sizes, sizes if stride is None else per_axis("stride", stride, axes), per_axis("padding", padding, axes)


def _pooled(pool: MaxPool | AvgPool, shape: Shape) -> Shape:
    channels, *size = _map(pool.kind, shape)
    kernel, stride, padding = pool.window(len(size))
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise InvalidInput(f"the padding {padding} of a pool must be at most half its kernel {kernel}.")
    return (channels, *_slide(size, kernel, stride, padding, (1,) * len(size)))


def _slide(size: Iterable[int], kernel: Shape, stride: Shape, padding: Shape, dilation: Shape) -> Shape:
    out = []
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        room = n + 2 * p - d * (k - 1) - 1
        if room < 0:
            raise InvalidInput(f"a kernel of extent {d * (k - 1) + 1} does not fit into {n} + 2 x {p} padded entries.")
        out.append(room // s + 1)
    return tuple(out)


def _map(kind: str, shape: Shape) -> Shape:
    if len(shape) not in (2, 3):
        raise InvalidInput(f"{kind} needs an input (channels, length) or (channels, height, width), not {shape}.")
    return shape
