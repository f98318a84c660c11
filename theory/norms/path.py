r"""Path norms of a network: all paths from an input or a bias to an output, each with the product of its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from theory._errors import InvalidInput, PreconditionError
from theory.architecture import (
    INPUT,
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
    fold,
)  # fmt: skip
from theory.architecture.forward import _trailing, _windows, convolve
from theory.norms._rounding import gamma

FLOOR = 2.0**-400  # nonzero numbers below FLOOR of the largest are raised to it: products never vanish


@dataclass(frozen=True, slots=True, kw_only=True)
class PathNorm:
    """A path norm from above, by its logarithm so that it may exceed what a float64 holds.

    Attributes
    ----------
    exponent : q, 1 or 2.
    log : natural logarithm; -inf where no path has weight.
    """

    exponent: int
    log: float

    @property
    def value(self) -> float:
        """The norm; infinite where it overflows."""
        return math.exp(self.log) if self.log < 709.78 else math.inf

    def to_json(self) -> dict[str, object]:
        """Plain numbers; ``log10`` is None for the zero norm."""
        log10 = None if self.log == -math.inf else self.log / math.log(10)
        return {"exponent": self.exponent, "value": self.value, "log10": log10}

    def __repr__(self) -> str:
        size = f"{self.value:.6g}" if math.isfinite(self.value) else f"10^{self.log / math.log(10):.1f}"
        return f"PathNorm(L{self.exponent}: {size})"


def path_norm(architecture: Architecture, weights: Mapping[str, ArrayLike], *, exponent: int = 1) -> PathNorm:
    r"""L1 or L2 path norm of a network with biases, skips and pools, from above.

    .. math:: \|\Phi\|_q = \Bigl(\sum_{\text{paths}} \prod_{e} |w_e|^q\Bigr)^{1/q}

    Paths start at an input coordinate or at a bias (an edge from a further input that is 1), and end at an output. An
    average over m entries has edges 1/m, hence 1/m^q inside the sum; a maximum has an edge 1 from each entry of its
    window; an activation is passed with weight 1. Normalisations are folded first with their signs, since
    ``|running_mean|`` inside one lets biases cancel. *derived*: the sum obeys the recursion of the network itself with
    ``|w|^q`` for w, fed with ones (neyshabur2015norm; gonon2024path for graphs with pools).

    Values are mantissas with one binary exponent per node; nonzero ones below 2^-400 of the largest are raised to that,
    and the roundings are added, so the result is never below the norm.

    Parameters
    ----------
    weights : by name, as ``architecture.parameters``.
    exponent : q, 1 or 2.

    Raises
    ------
    InvalidInput : weights that do not fit; another exponent.
    PreconditionError : a layer normalisation or attention, which have no path norm.

    Cost: one forward pass of one sample.

    Examples
    --------
    >>> from theory.architecture import BatchNorm
    >>> net = Architecture.sequential([Linear(1, bias=False), BatchNorm(eps=1e-300)], input_shape=1)
    >>> one = {"weight": [1.0], "bias": [0.0], "running_mean": [1.0], "running_var": [1.0]}
    >>> path_norm(net, {"linear1.weight": [[1.0]], **{f"batchnorm1.{k}": v for k, v in one.items()}})
    PathNorm(L1: 2)
    """
    return folded_path_norm(*fold(architecture, weights), exponent=exponent)


def folded_path_norm(graph: Architecture, named: Mapping[str, np.ndarray], *, exponent: int = 1) -> PathNorm:
    """The same for a network whose normalisations are folded already."""
    if exponent not in (1, 2):
        raise InvalidInput(f"exponent must be 1 or 2, but is {exponent!r}.")
    values = {INPUT: _Scaled(np.ones((1, *graph.input_shape)), 0)}
    last_read = {name: node.name for node in graph.nodes for name in node.inputs}
    terms = 0
    for node in graph.nodes:
        values[node.name] = _node(node, named, [values[name] for name in node.inputs], exponent)
        terms += _fan_in(node) + exponent + 4
        for name in {*node.inputs}:
            if last_read[name] == node.name:
                del values[name]
    out = values[graph.output]
    total = float(out.mantissa.sum())
    if total == 0:
        return PathNorm(exponent=exponent, log=-math.inf)
    log = math.log(total) + out.exponent * math.log(2) + 2 * gamma(terms + out.mantissa.size)
    return PathNorm(exponent=exponent, log=(log + 4 * 2.0**-53 * abs(log)) / exponent)


class _Scaled:
    """Nonnegative numbers ``mantissa * 2^exponent`` with the largest mantissa in [1/2, 1)."""

    def __init__(self, values: np.ndarray, exponent: int) -> None:
        shift = math.frexp(float(values.max(initial=0.0)))[1]
        self.exponent = exponent + shift
        self.mantissa = _raised(np.ldexp(values, -shift), values)

    def __add__(self, other: _Scaled) -> _Scaled:
        top = max(self.exponent, other.exponent)
        return _Scaled(self.at(top) + other.at(top), top)

    def at(self, exponent: int) -> np.ndarray:
        """Mantissas for a larger exponent, never rounded to zero."""
        return _raised(np.ldexp(self.mantissa, max(self.exponent - exponent, -2000)), self.mantissa)


def _raised(small: np.ndarray, original: np.ndarray) -> np.ndarray:
    return np.where(original > 0, np.maximum(small, FLOOR), 0.0)


def _power(array: np.ndarray, q: int) -> _Scaled:
    """``|array|^q``."""
    absolute = _Scaled(np.abs(array), 0)
    return _Scaled(absolute.mantissa**q, q * absolute.exponent)


def _node(node: Node, named: Mapping[str, np.ndarray], reads: list[_Scaled], q: int) -> _Scaled:
    op, z = node.operation, reads[0]
    v, axes = z.mantissa, z.mantissa.ndim - 2
    match op:
        case Linear() | Conv() | Scale():
            W = _power(named[f"{node.name}.weight"], q)
            if isinstance(op, Linear):
                out = v @ W.mantissa.T
            elif isinstance(op, Conv):
                out = convolve(replace(op, bias=False), W.mantissa, v)
            else:
                out = v * W.mantissa.reshape(-1, *(1,) * axes)
            found = _Scaled(out, z.exponent + W.exponent)
            b = named.get(f"{node.name}.bias")
            if b is None or not b.any():
                return found
            shape = (1,) * (out.ndim - 1) + (-1,) if isinstance(op, Linear) else (1, -1, *(1,) * axes)
            bias = _power(b, q)
            return found + _Scaled(np.broadcast_to(bias.mantissa.reshape(shape), out.shape), bias.exponent)
        case Activation() | Dropout():
            return z
        case Add():
            for other in reads[1:]:
                z = z + other
            return z
        case Flatten():
            return _Scaled(v.reshape(1, -1), z.exponent)
        case MaxPool() | AvgPool():
            sums = _windows(v, op.window(axes), 0.0).sum(axis=_trailing(v))
            if isinstance(op, AvgPool):
                sums = sums / window_counts(op, v.shape[2:]) ** float(q)
            return _Scaled(sums, z.exponent)
        case GlobalAvgPool() | GlobalMaxPool():
            size = float(np.prod(v.shape[2:])) ** q if isinstance(op, GlobalAvgPool) else 1.0
            return _Scaled(v.sum(axis=_trailing(v)) / size, z.exponent)
    raise PreconditionError(f"a path norm needs weighted sums, pools and activations: {node.name!r} is a {op.kind}.")


def window_counts(op: MaxPool | AvgPool, size: tuple[int, ...]) -> np.ndarray:
    """How many entries each window (1, 1, *out) holds; padding counts only in averages that say so."""
    window = op.window(len(size))
    if isinstance(op, AvgPool) and op.count_include_pad:
        return np.full((1, 1, *(1,) * len(size)), float(np.prod(window[0])))
    ones = np.ones((1, 1, *size))
    return _windows(ones, window, 0.0).sum(axis=_trailing(ones))


def _fan_in(node: Node) -> int:
    """Additions that one output entry takes, at most."""
    op, shape = node.operation, node.input_shapes[0]
    match op:
        case Linear():
            return shape[-1] + 1
        case Conv():
            return shape[0] // op.groups * int(np.prod(op.kernel(len(shape) - 1))) + 1
        case MaxPool() | AvgPool():
            return int(np.prod(op.window(len(shape) - 1)[0]))
        case GlobalAvgPool() | GlobalMaxPool():
            return int(np.prod(shape[1:]))
    return len(node.inputs)
