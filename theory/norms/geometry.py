"""Which input pixel each kernel position reads at each output position: all that a convolution is, apart from K."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count
from theory._errors import InvalidInput
from theory.norms._rounding import exponent
from theory.norms.kernels import as_kernel

MODES = ("zeros", "circular", "reflect", "replicate")
Spatial = int | Sequence[int]
LARGEST = 10**7  # positions of a map


def per_axis(name: str, value: Spatial, axes: int, *, minimum: int) -> tuple[int, ...]:
    """An int for every axis, or one for each."""
    values = list(value) if isinstance(value, Sequence | np.ndarray) else [value] * axes
    if len(values) != axes:
        raise InvalidInput(f"{name} must be one number or {axes}, but has {len(values)}.")
    counts = tuple(as_count(name, v, minimum=minimum) for v in values)
    if max(counts, default=0) > LARGEST:
        raise InvalidInput(f"{name} must be at most {LARGEST:.0e}, but is {max(counts):.0e}.")
    return counts


def output_size(
    size: Spatial, kernel_size: Spatial, stride: Spatial = 1, padding: Spatial = 0, dilation: Spatial = 1
) -> tuple[int, ...]:
    r"""Spatial size of a convolution's output.

    .. math:: \Bigl\lfloor \frac{n + 2p - d(k-1) - 1}{s} \Bigr\rfloor + 1 \quad\text{for each axis}

    *derived*: the number of steps of s that keep the extended kernel inside the padded input, as in PyTorch and for
    every padding mode. The number of axes is that of the longest argument.

    Raises
    ------
    InvalidInput : counts that are not whole, not positive (padding: negative), a kernel larger than the padded input.

    Cost: none.

    Examples
    --------
    >>> output_size((32, 32), 3, stride=2, padding=1)
    (16, 16)
    """
    given = (size, kernel_size, stride, padding, dilation)
    axes = max(len(v) if isinstance(v, Sequence | np.ndarray) else 1 for v in given)
    names = ("size", "kernel_size", "stride", "padding", "dilation")
    n, k, s, p, d = (
        per_axis(name, v, axes, minimum=int(name != "padding")) for name, v in zip(names, given, strict=True)
    )
    out = []
    for i in range(axes):
        room = n[i] + 2 * p[i] - d[i] * (k[i] - 1) - 1
        if room < 0:
            raise InvalidInput(
                f"the kernel spans {d[i] * (k[i] - 1) + 1} on axis {i}, but the padded input is only {n[i] + 2 * p[i]}."
            )
        out.append(room // s[i] + 1)
    positions = max(math.prod(out), math.prod(n))
    if positions > LARGEST:
        raise InvalidInput(f"a map may have at most {LARGEST:.0e} positions, but this one has {positions:.0e}.")
    return tuple(out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """A checked convolution. ``kernel`` is scaled by ``2^-exponent`` so that its largest entry is in [1/2, 1)."""

    kernel: np.ndarray  # (groups, O/groups, C/groups, taps)
    exponent: int
    size: tuple[int, ...]
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    padding_mode: str
    out: tuple[int, ...]

    @property
    def axes(self) -> range:
        """The spatial axes."""
        return range(len(self.size))

    @property
    def spans(self) -> tuple[int, ...]:
        """Extent of the dilated kernel on each axis."""
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel_size, strict=True))

    @property
    def channels(self) -> tuple[int, int]:
        """Output and input channels, all groups together."""
        g, O, C, _ = self.kernel.shape
        return g * O, g * C

    @property
    def vanishes(self) -> bool:
        """Whether the kernel is zero, or every output sees nothing but padding zeros."""
        return not self.kernel.any() or self.most_reads() == 0

    def reads(self, axis: int) -> np.ndarray:
        """Input index (k, out) read on one axis by each kernel position at each output; -1 where it reads a zero."""
        n, p, i = self.size[axis], self.padding[axis], axis
        taps = self.dilation[i] * np.arange(self.kernel_size[i])
        at = taps[:, None] + self.stride[i] * np.arange(self.out[i]) - p
        return padded_index(at, n, self.padding_mode)

    def read_positions(self) -> np.ndarray:
        """Flattened input position (taps, outs), C order; -1 where a zero is read."""
        found = self.reads(0)
        for i in self.axes[1:]:
            other = self.reads(i)
            joint = found[:, None, :, None] * self.size[i] + other[None, :, None, :]
            joint[(found < 0)[:, None, :, None] | (other < 0)[None, :, None, :]] = -1
            found = joint.reshape(len(found) * len(other), -1)
        return found

    def most_reads(self) -> int:
        """How often the most read input pixel is read by the whole kernel (product over the axes)."""
        return prod(int(np.bincount(r[r >= 0], minlength=1).max()) for r in (self.reads(i) for i in self.axes))


def padded_index(at: np.ndarray, n: int, mode: str) -> np.ndarray:
    """Index in [0, n) that stands at coordinate ``at`` of the padded line; -1 for a zero."""
    if mode == "circular":
        return at % n
    if mode == "replicate":
        return at.clip(0, n - 1)
    if mode == "reflect":
        at = np.abs(at)
        return np.where(at >= n, 2 * (n - 1) - at, at)
    return np.where((at < 0) | (at >= n), -1, at)


def as_convolution(
    kernel: ArrayLike,
    size: Spatial,
    *,
    stride: Spatial = 1,
    padding: Spatial = 0,
    padding_mode: str = "zeros",
    dilation: Spatial = 1,
    groups: int = 1,
) -> Convolution:
    """Check the arguments of a convolution, with PyTorch's meaning of each."""
    array = as_kernel(kernel)
    axes = array.ndim - 2
    count = as_count("groups", groups)
    if array.shape[0] % count:
        raise InvalidInput(f"the {array.shape[0]} output channels must be a multiple of groups, which is {count}.")
    if padding_mode not in MODES:
        raise InvalidInput(f"padding_mode must be one of {', '.join(MODES)}, but is {padding_mode!r}.")
    n = per_axis("size", size, axes, minimum=1)
    s = per_axis("stride", stride, axes, minimum=1)
    p = per_axis("padding", padding, axes, minimum=0)
    d = per_axis("dilation", dilation, axes, minimum=1)
    for i in range(axes):
        most = {"circular": n[i], "reflect": n[i] - 1}.get(padding_mode)
        if most is not None and p[i] > most:
            raise InvalidInput(f"{padding_mode} padding of a line of {n[i]} can be at most {most}, but is {p[i]}.")
    k = array.shape[2:]
    e = exponent(array)
    grouped = np.ldexp(array, -e).reshape(count, array.shape[0] // count, array.shape[1], prod(k))
    return Convolution(
        kernel=grouped,
        exponent=e,
        size=n,
        kernel_size=k,
        stride=s,
        padding=p,
        dilation=d,
        padding_mode=padding_mode,
        out=output_size(n, k, s, p, d),
    )
