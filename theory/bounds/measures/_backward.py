r"""Derivatives through a folded graph: products with the Jacobian and with its transpose, in NumPy.

For one sample every node is a function of the nodes it reads. ``backward`` carries a cotangent g (one row per sample)
to ``J^T g`` at every node and, summed over samples, at every parameter; ``forward_tangent`` carries a tangent t to
``J t``. *derived*: the chain rule. At a kink the derivative of ReLU, hard tanh and the like is taken from the
flat side (0 for ReLU), that of ``abs`` is 0, and a tied maximum goes to the first entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import product

import numpy as np
from scipy.special import erf, expit

from theory._errors import PreconditionError
from theory.architecture import (
    Activation,
    Add,
    Architecture,
    AvgPool,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    Linear,
    MaxPool,
    Node,
    Scale,
)  # fmt: skip
from theory.architecture.activation import _SELU
from theory.architecture.forward import _channels, _windows, apply, convolve, patches

Arrays = dict[str, np.ndarray]
Shape = tuple[int, ...]
_MODES = {"circular": "wrap", "reflect": "reflect", "replicate": "edge"}
_KNOWN = (Activation, Add, AvgPool, Conv, Dropout, Flatten, GlobalAvgPool, GlobalMaxPool, Linear, MaxPool, Scale)


def check_differentiable(graph: Architecture) -> None:
    """Raise PreconditionError at an operation whose derivative is not at hand (LayerNorm, attention, declared ones)."""
    for node in graph.nodes:
        op = node.operation
        if not isinstance(op, _KNOWN) or (isinstance(op, Activation) and op.name not in _SLOPES):
            what = op.name if isinstance(op, Activation) else op.kind
            raise PreconditionError(
                f"derivatives need operations that are differentiated here; {node.name!r} ({what}) is not."
            )


def check_evaluated(graph: Architecture) -> None:
    """Raise PreconditionError at an activation that is only declared."""
    for node in graph.nodes:
        if isinstance(node.operation, Activation) and node.operation.name not in _SLOPES:
            raise PreconditionError(f"noise needs a network that can be evaluated; {node.name!r} is only declared.")


def _gelu(z: np.ndarray, y: np.ndarray, a: float) -> np.ndarray:
    return (1 + erf(z / np.sqrt(2))) / 2 + z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


def _mish(z: np.ndarray, y: np.ndarray, a: float) -> np.ndarray:
    t = np.tanh(np.logaddexp(z, 0))
    return t + z * (1 - t**2) * expit(z)


# slope at z, where the value is y; a is the slope parameter of leaky_relu and elu
_SLOPES: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "relu": lambda z, y, a: (z > 0).astype(float),
    "identity": lambda z, y, a: np.ones_like(z),
    "abs": lambda z, y, a: np.sign(z),
    "hardtanh": lambda z, y, a: (np.abs(z) < 1).astype(float),
    "relu6": lambda z, y, a: ((z > 0) & (z < 6)).astype(float),
    "tanh": lambda z, y, a: 1 - y**2,
    "sigmoid": lambda z, y, a: y * (1 - y),
    "softplus": lambda z, y, a: expit(z),
    "gelu": _gelu,
    "silu": lambda z, y, a: expit(z) * (1 + z * expit(-z)),
    "mish": _mish,
    "selu": lambda z, y, a: _SELU[0] * np.where(z > 0, 1.0, _SELU[1] * np.exp(np.minimum(z, 0))),
    "leaky_relu": lambda z, y, a: np.where(z > 0, 1.0, a),
    "elu": lambda z, y, a: np.where(z > 0, 1.0, a * np.exp(np.minimum(z, 0))),
}


def slope(op: Activation, z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Derivative of an activation at z, where its value is y."""
    default = 0.01 if op.name == "leaky_relu" else 1.0
    return _SLOPES[op.name](z, y, default if op.slope is None else op.slope)


def parameters_of(node: Node, named: Mapping[str, np.ndarray]) -> Arrays:
    """A node's own parameters by short name."""
    return {key: named[f"{node.name}.{key}"] for key in node.operation.parameters(node.input_shapes[0])}


def backward(
    graph: Architecture,
    named: Mapping[str, np.ndarray],
    values: Mapping[str, np.ndarray],
    cotangents: Mapping[str, np.ndarray],
    *,
    keep: Iterable[str] = (),
    parameters: bool = False,
    extra: Callable[[Node, np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> tuple[Arrays, Arrays]:
    """``J^T g`` at the nodes of ``keep`` (n, *shape), and summed over samples at the parameters where asked.

    Parameters
    ----------
    values : of every node, from ``node_values``.
    cotangents : g at one or more nodes, (n, *shape).
    extra : ``extra(node, g, x)``, added to the gradient at the input x of each node with weights.
    """
    wanted, kept, found = set(keep), {}, {}
    pending: Arrays = {name: g for name, g in cotangents.items()}
    for node in reversed(graph.nodes):
        g = pending.pop(node.name, None)
        if g is None:
            continue
        if node.name in wanted:
            kept[node.name] = g
        x, y = [values[name] for name in node.inputs], values[node.name]
        own = parameters_of(node, named)
        if parameters and own:
            found.update({f"{node.name}.{key}": part for key, part in _pull_parameters(node, own, x[0], g).items()})
        for name, part in zip(node.inputs, _pull(node, own, x, y, g), strict=True):
            if extra is not None and own:
                part = part + extra(node, g, x[0])
            pending[name] = pending[name] + part if name in pending else part
    kept.update({name: g for name, g in pending.items() if name in wanted})
    return kept, found


def forward_tangent(
    graph: Architecture,
    named: Mapping[str, np.ndarray],
    values: Mapping[str, np.ndarray],
    tangents: Mapping[str, np.ndarray],
    *,
    keep: Iterable[str] | None = None,
) -> Arrays:
    """``J t`` at the nodes that a tangent t reaches: at all of them, or at those of ``keep``."""
    moving: Arrays = dict(tangents)
    for node in graph.nodes:
        if node.name in tangents or not any(name in moving for name in node.inputs):
            continue
        x = [values[name] for name in node.inputs]
        t = [moving.get(name, 0.0 * values[name]) for name in node.inputs]
        moving[node.name] = _push(node, parameters_of(node, named), x, values[node.name], t)
    return moving if keep is None else {name: moving[name] for name in keep if name in moving}


def _push(node: Node, own: Arrays, x: list[np.ndarray], y: np.ndarray, t: list[np.ndarray]) -> np.ndarray:
    op = node.operation
    match op:
        case Linear():
            return t[0] @ own["weight"].T
        case Conv():
            return convolve(op, own["weight"], t[0])
        case Scale():
            return _channels(own["weight"], t[0]) * t[0]
        case Activation():
            return slope(op, x[0], y) * t[0]
        case MaxPool():
            window = op.window(x[0].ndim - 2)
            return _at(_windows(t[0], window, 0.0), _windows(x[0], window, -np.inf), y.ndim)
        case GlobalMaxPool():
            return _at(t[0], x[0], 2)
    return apply(node, {}, *t)  # linear without parameters


def _at(chosen: np.ndarray, by: np.ndarray, ndim: int) -> np.ndarray:
    """Entries of ``chosen`` where ``by`` is largest, over all axes from ``ndim`` on."""
    shape = (*by.shape[:ndim], -1)
    best = by.reshape(shape).argmax(axis=-1)[..., None]
    return np.take_along_axis(chosen.reshape(shape), best, axis=-1)[..., 0]


def _pull(node: Node, own: Arrays, x: list[np.ndarray], y: np.ndarray, g: np.ndarray) -> list[np.ndarray]:
    op, z = node.operation, x[0]
    axes = z.ndim - 2
    match op:
        case Linear():
            return [g @ own["weight"]]
        case Conv():
            return [_pull_conv(op, own["weight"], z, g)]
        case Scale():
            return [_channels(own["weight"], g) * g]
        case Activation():
            return [slope(op, z, y) * g]
        case Add():
            return [g] * len(x)
        case Flatten():
            return [g.reshape(z.shape)]
        case AvgPool():
            window = op.window(axes)
            count = np.array(float(np.prod(window[0])))
            if not op.count_include_pad:
                ones = np.ones((1, 1, *z.shape[2:]))
                count = _windows(ones, window, 0.0).sum(axis=tuple(range(-axes, 0)))
            share = g / count
            return [_spread(z, window[0], window[1], (1,) * axes, window[2], lambda tap: share)]
        case MaxPool():
            window = op.window(axes)
            view = _windows(z, window, -np.inf)
            best = view.reshape(*view.shape[: 2 + axes], -1).argmax(axis=-1)
            index = {tap: i for i, tap in enumerate(product(*map(range, window[0])))}
            return [_spread(z, window[0], window[1], (1,) * axes, window[2], lambda tap: g * (best == index[tap]))]
        case GlobalAvgPool():
            return [np.broadcast_to(_tail(g, axes) / np.prod(z.shape[2:]), z.shape)]
        case GlobalMaxPool():
            flat = z.reshape(*z.shape[:2], -1)
            out = np.zeros_like(flat)
            np.put_along_axis(out, flat.argmax(axis=-1)[..., None], g[..., None], axis=-1)
            return [out.reshape(z.shape)]
    return [g]  # dropout


def _pull_conv(op: Conv, kernel: np.ndarray, z: np.ndarray, g: np.ndarray) -> np.ndarray:
    axes, G = z.ndim - 2, op.groups
    shape, inputs = op.kernel(axes), kernel.shape[1]
    # (taps, G, in, out) times (n, G, out, positions)
    rows = np.ascontiguousarray(kernel.reshape(G, op.out_channels // G, inputs, -1).transpose(3, 0, 2, 1))
    split = g.reshape(len(g), G, op.out_channels // G, -1)

    def part(tap: Shape) -> np.ndarray:
        return (rows[np.ravel_multi_index(tap, shape)] @ split).reshape(len(g), z.shape[1], *g.shape[2:])

    return _spread(z, shape, op.strides(axes), op.dilations(axes), op.paddings(axes), part, _MODES.get(op.padding_mode))


def _spread(
    z: np.ndarray, kernel: Shape, stride: Shape, dilation: Shape, padding: Shape,
    part: Callable[[Shape], np.ndarray], mode: str | None = None,
) -> np.ndarray:  # fmt: skip
    """Sum of ``part(tap)`` (n, C, *out) at the entries that the tap reads: the transpose of padding and sliding."""
    size = z.shape[2:]
    padded = np.zeros((*z.shape[:2], *(n + 2 * p for n, p in zip(size, padding, strict=True))))
    for tap in product(*map(range, kernel)):
        added = part(tap)
        steps = zip(tap, dilation, stride, added.shape[2:], strict=True)
        at = tuple(slice(k * d, k * d + s * (m - 1) + 1, s) for k, d, s, m in steps)
        padded[(slice(None), slice(None), *at)] += added
    for axis, (n, p) in enumerate(zip(size, padding, strict=True), start=2):
        if not p:
            continue
        moved = np.moveaxis(padded, axis, 0)
        inner = moved[p : p + n].copy()
        if mode is not None:
            source = np.pad(np.arange(n), p, mode=mode)  # type: ignore[call-overload]
            for i in (*range(p), *range(p + n, n + 2 * p)):
                inner[source[i]] += moved[i]
        padded = np.moveaxis(inner, 0, axis)
    return padded


def _pull_parameters(node: Node, own: Arrays, z: np.ndarray, g: np.ndarray) -> Arrays:
    op = node.operation
    found: Arrays = {}
    if isinstance(op, Linear):
        rows = g.reshape(-1, g.shape[-1])
        found["weight"] = rows.T @ z.reshape(-1, z.shape[-1])
        if op.bias:
            found["bias"] = rows.sum(axis=0)
        return found
    if isinstance(op, Scale):
        found["weight"] = (g * z).sum(axis=_but_channels(z))
    elif isinstance(op, Conv):
        G = op.groups
        P = int(np.prod(g.shape[2:]))
        windows = patches(op, z).reshape(len(z), G, z.shape[1] // G, P, -1)
        columns = windows.transpose(1, 0, 3, 2, 4).reshape(G, len(z) * P, -1)
        split = g.reshape(len(g), G, op.out_channels // G, P).transpose(1, 2, 0, 3).reshape(G, -1, len(z) * P)
        found["weight"] = (split @ columns).reshape(own["weight"].shape)
    if "bias" in own:
        found["bias"] = g.sum(axis=_but_channels(g))
    return found


def _but_channels(z: np.ndarray) -> tuple[int, ...]:
    return (0, *range(2, z.ndim))


def _tail(g: np.ndarray, axes: int) -> np.ndarray:
    return g.reshape(*g.shape, *(1,) * axes)
