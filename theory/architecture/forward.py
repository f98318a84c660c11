"""Evaluation of a network in float64 NumPy: outputs, or the values of every node."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from theory.architecture.activation import Activation
from theory.architecture.graph import INPUT, Architecture, Node
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
    Scale,
)  # fmt: skip

_PAD_MODES = {"circular": "wrap", "reflect": "reflect", "replicate": "edge"}


def outputs(
    architecture: Architecture,
    weights: Mapping[str, ArrayLike],
    X: ArrayLike,
    *,
    batch_size: int = 256,
    callback: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """The network's outputs (n, *output_shape) in evaluation mode.

    Parameters
    ----------
    weights : parameters by name, shapes as ``architecture.parameters``.
    X : (n, *input_shape).
    batch_size : samples evaluated at once; memory grows with it.
    callback : called as ``callback(samples_done, samples)``.

    Raises
    ------
    InvalidInput : weights or inputs that do not fit; an activation that is only declared.

    Examples
    --------
    >>> from theory.architecture import Linear
    >>> net = Architecture.sequential([Linear(1, bias=False)], input_shape=2)
    >>> outputs(net, {"linear1.weight": [[1, 2]]}, [[3, 4]])
    array([[11.]])
    """
    checked, inputs = architecture.check_weights(weights), architecture.check_inputs(X)
    found = np.empty((len(inputs), *architecture.output_shape))
    for start in range(0, len(inputs), batch_size):
        part = slice(start, start + batch_size)
        found[part] = node_values(architecture, checked, inputs[part], keep=(architecture.output,))[architecture.output]
        if callback is not None:
            callback(min(start + batch_size, len(inputs)), len(inputs))
    return found


def node_values(
    architecture: Architecture,
    weights: Mapping[str, np.ndarray],
    X: np.ndarray,
    *,
    keep: tuple[str, ...] | None = None,
) -> dict[str, np.ndarray]:
    """The values (n, *shape) of the named nodes (all where ``keep`` is None); nothing is checked."""
    values: dict[str, np.ndarray] = {INPUT: X}
    last_read = {name: i for i, node in enumerate(architecture.nodes) for name in node.inputs}
    for i, node in enumerate(architecture.nodes):
        named = {key: weights[f"{node.name}.{key}"] for key in node.operation.parameters(node.input_shapes[0])}
        values[node.name] = apply(node, named, *(values[name] for name in node.inputs))
        if keep is not None:
            for name in {*node.inputs}:
                if last_read[name] == i and name not in keep:
                    del values[name]
    return values


def apply(node: Node, named: Mapping[str, np.ndarray], *x: np.ndarray) -> np.ndarray:
    """One operation on its inputs (n, *shape), with its own parameters by short name."""
    op, z = node.operation, x[0]
    match op:
        case Linear():
            return z @ named["weight"].T + named.get("bias", 0.0)
        case Conv():
            linear = convolve(op, named["weight"], z)
            return linear + _channels(named["bias"], z) if op.bias else linear
        case Activation():
            return op.facts.function(z)
        case MaxPool():
            return _windows(z, op.window(z.ndim - 2), -np.inf).max(axis=_trailing(z))
        case AvgPool():
            window = op.window(z.ndim - 2)
            sums = _windows(z, window, 0.0).sum(axis=_trailing(z))
            if op.count_include_pad:
                return sums / np.prod(window[0])
            return sums / _windows(np.ones((1, 1, *z.shape[2:])), window, 0.0).sum(axis=_trailing(z))
        case GlobalAvgPool():
            return z.mean(axis=tuple(range(2, z.ndim)))
        case GlobalMaxPool():
            return z.max(axis=tuple(range(2, z.ndim)))
        case Flatten():
            return z.reshape(len(z), -1)
        case Add():
            return sum(x[1:], z)
        case BatchNorm():
            scale = named["weight"] / np.sqrt(named["running_var"] + op.eps)
            return _channels(scale, z) * (z - _channels(named["running_mean"], z)) + _channels(named["bias"], z)
        case Scale():
            return _channels(named["weight"], z) * z + _channels(named["bias"], z)
        case Bias():
            return z + _channels(named["bias"], z)
        case Dropout():
            return z
        case LayerNorm():
            centred = z - z.mean(axis=-1, keepdims=True)
            size = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + op.eps)
            return centred / size * named["weight"] + named["bias"]
        case FilterResponseNorm():
            size = np.sqrt((z**2).mean(axis=tuple(range(2, z.ndim)), keepdims=True) + op.eps)
            # a channel that is zero throughout stays zero, also at eps = 0
            unit = np.divide(z, size, out=np.zeros_like(z), where=size > 0)
            return _channels(named["weight"], z) * unit + _channels(named["bias"], z)
        case Attention():
            return _attend(op, named, z)
    raise NotImplementedError(op.kind)


def convolve(op: Conv, kernel: np.ndarray, z: np.ndarray) -> np.ndarray:
    """The convolution without its bias, (n, C, *size) to (n, O, *out), as one matrix product per group."""
    axes = z.ndim - 2
    windows = patches(op, z)  # (n, C, *out, *kernel)
    n, C, G = z.shape[0], z.shape[1], op.groups
    out, taps = windows.shape[2 : 2 + axes], windows.shape[2 + axes :]
    order = (0, *range(2, 2 + axes), 1, *range(2 + axes, 2 + 2 * axes))
    columns = windows.transpose(order).reshape(-1, G, C // G * int(np.prod(taps)))
    rows = kernel.reshape(G, op.out_channels // G, -1)
    found = np.concatenate([columns[:, g] @ rows[g].T for g in range(G)], axis=1)
    return np.moveaxis(found.reshape(n, *out, op.out_channels), -1, 1)


def patches(op: Conv, z: np.ndarray) -> np.ndarray:
    """The padded windows (n, C, *out, *kernel) that each output position reads; a view where nothing is padded."""
    axes = z.ndim - 2
    pads = ((0, 0), (0, 0), *((p, p) for p in op.paddings(axes)))
    if any(p for p, _ in pads):
        mode = _PAD_MODES.get(op.padding_mode)
        z = np.pad(z, pads) if mode is None else np.pad(z, pads, mode=mode)  # type: ignore[call-overload]
    extents = tuple(d * (k - 1) + 1 for d, k in zip(op.dilations(axes), op.kernel(axes), strict=True))
    windows = sliding_window_view(z, extents, axis=tuple(range(2, 2 + axes)))
    steps = tuple(slice(None, None, s) for s in op.strides(axes))
    taps = tuple(slice(None, None, d) for d in op.dilations(axes))
    return windows[(slice(None), slice(None), *steps, *taps)]


def _windows(z: np.ndarray, window: tuple[tuple[int, ...], ...], fill: float) -> np.ndarray:
    kernel, stride, padding = window
    if any(padding):
        z = np.pad(z, ((0, 0), (0, 0), *((p, p) for p in padding)), constant_values=fill)
    view = sliding_window_view(z, kernel, axis=tuple(range(2, z.ndim)))
    return view[(slice(None), slice(None), *(slice(None, None, s) for s in stride))]


def _trailing(z: np.ndarray) -> tuple[int, ...]:
    return tuple(range(-(z.ndim - 2), 0))


def _channels(vector: np.ndarray, z: np.ndarray) -> np.ndarray:
    return vector.reshape(-1, *(1,) * (z.ndim - 2))


def _attend(op: Attention, named: Mapping[str, np.ndarray], z: np.ndarray) -> np.ndarray:
    n, T, d = z.shape
    joint = z @ named["in_proj_weight"].T + named["in_proj_bias"]
    q, k, v = joint.reshape(n, T, 3, op.heads, d // op.heads).transpose(2, 0, 3, 1, 4)
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(d // op.heads)
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = (scores / scores.sum(axis=-1, keepdims=True)) @ v
    return mixed.swapaxes(1, 2).reshape(n, T, d) @ named["out_proj.weight"].T + named["out_proj.bias"]
