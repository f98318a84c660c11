"""Kernel norms instead of norms of explicit matrices: positions enter through the logarithm of their number."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from theory.architecture import AvgPool, Conv, GlobalAvgPool, GlobalMaxPool, MaxPool, Operation, Scale
from theory.architecture.forward import convolve
from theory.bounds import _layered as lay
from theory.bounds._bound import Bound, Found
from theory.bounds._chain import Layer
from theory.bounds._frame import ROUNDING
from theory.bounds._hypotheses import homogeneous, layered, no_reference
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import CERTIFICATE, Assumption
from theory.norms import frobenius_norm, tap_norms

if TYPE_CHECKING:
    from theory.bounds._symbolic import SymbolicBound


class Convolutional(Bound):
    r"""Error from norms of convolution kernels (*derived*; the idea of galanti2023norm).

    .. math:: \mathrm{err} \le \hat R_\gamma + \frac{m\, \theta\, \bar x_1}{\sqrt n}\, a^j
        + 3 \sqrt{\frac{\ln(1/\delta) + \ln(1/w_j)}{2n}}, \qquad a^j \ge \frac{F_1 G_2 \cdots G_L}{\gamma}

    F_1 the Frobenius norm of the first kernel, ``G_l = (sum_o (sum_t ||w_(o,t)||)^2)^(1/2)`` over output channels o and
    taps t (pixels of the map for a dense layer that reads one), G_L the plain sum over o and t, rows counted from a
    common one; x_1^2 the largest mean squared patch of the first layer, over its N_1 positions (times groups);
    ``theta = cosh_factor((L-1) ln 2 + ln N_1 + ln K)``; m = 4, or 2 with K = 1 for a single score.

    Peeling as in ``_layered`` with the position t inside the supremum, ``Z_l = sup_t ||sum_i e_i z_(l,t)(x_i)||``.
    The norm ``sum_t ||w_t||`` of a filter is dual to the largest tap: ``sum_t w_t . v_t <= (sum_t ||w_t||) max_t
    ||v_t||``, a pixel where nothing is read being 0. All positions have the same signs e_i, so nothing is gained or
    lost by sharing weights, and the sum over alternatives is made once, over the N_1 patches of the first layer.
    Average pools have weights of sum at most 1 and cost nothing.

    Max-pooling over q pixels: ``u -> sigma(max_s u_s)`` is 1-Lipschitz in l2 and vector contraction, valid inside phi,
    gives sqrt(2) and independent signs for each s: a factor sqrt(2 q) for each pool, and in place of N_1 the number of
    ways to pick a tap (and a pixel of each average pool) in every layer above the first, and a group of the first.

    Biases read a constant node, one more position at every layer (N_1 + 1; one more tap to pick), of value 1 at the
    input and multiplied by the layer's norm in every layer: ``sum_t ||w_(o,t)|| + |b_o| / (F_1 G_2 ... G_(l-1))`` in
    place of the sum over taps, ``F_1^2 = ||w||^2 + ||b||^2`` and ``x_1^2 + 1`` below.

    The explicit matrices give ``Frobenius``; neither is always the smaller one. Their minimum is not free, for the two
    products differ.
    """

    name = "convolutional"
    title = "product of kernel norms, logarithm of the number of positions"
    status = CERTIFICATE
    source = "derived (cosh moments, positions inside the supremum); idea of galanti2023norm"

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Layers in order with a convolution among them, homogeneous activations."""
        return (
            layered(network), has_convolution(network), homogeneous(network), lay.carries_one(network),
            maxima_first(network), no_reference(network),
        )  # fmt: skip

    def compute(self, problem: Problem, delta: float, margin: float | None) -> Found:
        """Logarithms of norms are added, so that nothing overflows."""
        G, x, scalar = kernel_norms(problem), patch_root_mean_square(problem), problem.chain.scalar
        counts = alternatives(problem)
        c = (len(G) - 1) * lay.LN2 + math.fsum(map(math.log, counts.nodes)) + math.log(problem.chain.outputs)
        pools = math.fsum(math.log(2 * q) for q in counts.windows) / 2
        factor = math.log(lay.risk_factor(scalar) * lay.cosh_factor(c) / math.sqrt(problem.n)) + pools
        form = lay.Form(
            log_norm=math.fsum(map(lay.log, G)), log_factor=factor + lay.log(x),
            quantities={"x_1": x, "F_1": G[0], **{f"G_{l}": g for l, g in enumerate(G[1:], start=2)}},
        )  # fmt: skip
        return lay.least(problem, [form], delta, margin)

    def symbolic_form(self, network: Network) -> SymbolicBound:
        """In F_1, G_2, ..., G_L and the patch size x_1."""
        import sympy as sp

        from theory.bounds import _layered_symbolic as ls
        from theory.bounds import _symbolic as sym

        chain, counts = network.chain, alternatives(network)
        L, x = len(chain), sp.Symbol("x_1", positive=True)
        norms = [sp.Symbol("F_1", positive=True), *sym.layer_symbols("G", L)[1:]]
        theta = ls.cosh_symbol((L - 1) * sp.log(2) + sp.log(sp.Mul(*counts.nodes)) + sp.log(chain.outputs))
        pools = sp.sqrt(sp.Mul(*(2 * q for q in counts.windows)))
        factor = (2 if chain.scalar else 4) * theta * pools * x / sp.sqrt(sym.n)
        form = ls.SymbolicForm(norm=sp.Mul(*norms), factor=factor)
        meaning = {g.name: "root over channels of the squared sum of tap lengths" for g in norms[1:]}
        meaning |= {"F_1": "Frobenius norm of the first kernel", "x_1": "largest root mean square of an input patch"}
        meaning[norms[-1].name] = "sum of tap lengths of the last layer, rows counted from a common one"
        return ls.symbolic(self.name, [form], meaning)


# ---- hypotheses


def has_convolution(network: Network) -> Assumption:
    """Without one this is the Frobenius bound."""
    found = network.not_a_chain is None and any(layer.is_conv for layer in network.chain.layers)
    return Assumption(name="a convolution", holds=found, reason="there is one" if found else "all layers are dense")


def maxima_first(network: Network) -> Assumption:
    """No maximum over averages within one layer: its windows would not be pixels."""
    name, layers = "no max-pooling of averages", () if network.not_a_chain else network.chain.layers
    for layer in layers:
        kinds = [isinstance(op, MaxPool | GlobalMaxPool) for op, _ in layer.pools]
        if kinds != sorted(kinds, reverse=True):
            return Assumption(name=name, holds=False, reason=f"a maximum follows an average after {layer.name!r}")
    return Assumption(name=name, holds=True, reason="there is none")


# ---- norms and counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternatives:
    """What the maximum is over: ``nodes`` factors of their number, ``windows`` pixels of each max-pool."""

    nodes: tuple[int, ...]
    windows: tuple[int, ...]


def alternatives(network: Network) -> Alternatives:
    """Positions of the first layer; with max-pooling the taps and averaged pixels of all the others."""
    layers, more = network.chain.layers, int(network.chain.has_bias)
    pools = [(op, _pixels(op, shape)) for layer in layers for op, shape in layer.pools]
    windows = tuple(q for op, q in pools if isinstance(op, MaxPool | GlobalMaxPool))
    if not windows:
        return Alternatives(nodes=(first_positions(layers[0]) + more,), windows=())
    averaged = tuple(q for op, q in pools if isinstance(op, AvgPool | GlobalAvgPool))
    taps = tuple(_ways(network, i) + more for i in range(1, len(layers)))
    return Alternatives(nodes=(groups_of(layers[0]), *taps, *averaged), windows=windows)


def _pixels(op: Operation, shape: tuple[int, ...]) -> int:
    """Pixels in a window of a pool, no more than the map has."""
    size = shape[1:]
    if isinstance(op, MaxPool | AvgPool):
        return math.prod(min(k, n) for k, n in zip(op.window(len(size))[0], size, strict=True))
    return math.prod(size)


def first_positions(layer: Layer) -> int:
    """Patches of the first layer: output positions, times the groups that read different channels."""
    return layer.positions * groups_of(layer)


def groups_of(layer: Layer) -> int:
    """Sets of channels that different rows of a layer read."""
    op = layer.operation
    return op.groups if isinstance(op, Conv) else len(layer.weight) if isinstance(op, Scale) else 1


def map_read(network: Network, index: int) -> tuple[int, ...]:
    """Shape of what layer ``index`` >= 1 reads, before any flattening."""
    before = network.chain.layers[index - 1]
    shape = before.output_shape
    for op, _ in before.pools:
        shape = op.output_shape(shape)
    return shape


def taps_of(network: Network, index: int) -> int:
    """Pixels that one output of layer ``index`` >= 1 reads."""
    layer = network.chain.layers[index]
    if isinstance(layer.operation, Scale):
        return 1
    return math.prod(layer.weight.shape[2:] if layer.is_conv else map_read(network, index)[1:])


def _ways(network: Network, index: int) -> int:
    """Pixels that some output of layer ``index`` >= 1 may read, given its position."""
    layer = network.chain.layers[index]
    if isinstance(layer.operation, Scale):
        # a Scale of a flattened map has one position: its rows read one pixel each, but not the same one
        return math.prod(map_read(network, index)[1:]) // layer.positions
    return taps_of(network, index)


def kernel_norms(network: Network) -> list[float]:
    """F_1, G_2, ..., G_L from above; a layer of zeros hands the constant on as it is."""
    layers, has_bias = network.chain.layers, network.chain.has_bias
    first = layers[0]
    bias = () if first.bias is None else first.bias
    norms = [frobenius_norm(np.concatenate([first.weight.ravel(), bias]))]
    constant = 1.0
    if has_bias:
        norms[0], constant = lay.hand_on(norms[0], constant)
    for i, layer in enumerate(layers[1:-1], start=1):
        norms.append(frobenius_norm(_sums(network, i, layer.weight, layer.bias, constant)))
        if has_bias:
            norms[-1], constant = lay.hand_on(norms[-1], constant)
    last = layers[-1]
    if network.chain.scalar or last.bias is None:
        candidates = [(W, last.bias) for W in ((last.weight,) if network.chain.scalar else lay.shifts(last.weight))]
    else:
        both = lay.shifts(np.column_stack([last.weight, last.bias]))
        candidates = [(V[:, :-1], V[:, -1]) for V in both]
    sums = [_sums(network, len(layers) - 1, W, b, constant) for W, b in candidates]
    return [*norms, min(float(s.sum()) for s in sums) * (1 + ROUNDING)]


def _sums(network: Network, index: int, W: np.ndarray, bias: np.ndarray | None, constant: float) -> np.ndarray:
    """``sum_t ||w_(o,t)|| + |b_o| / constant`` for each output channel, from above."""
    if isinstance(network.chain.layers[index].operation, Scale):
        lengths = np.abs(W)[:, None]
    elif network.chain.layers[index].is_conv:
        lengths = tap_norms(W)
    else:
        channels, *size = map_read(network, index)
        lengths = tap_norms(W.reshape(len(W), channels, math.prod(size)))
    sums = lengths.sum(axis=1)
    return (sums if bias is None else sums + np.abs(bias) / constant) * (1 + ROUNDING)


def patch_root_mean_square(problem: Problem) -> float:
    """``max_p sqrt(mean_i ||patch_p(x_i)||^2)`` over the patches of the first layer, from above."""
    layer, inputs = problem.chain.layers[0], problem.inputs
    scale = float(np.abs(inputs).max(initial=0.0)) or 1.0
    squares = np.zeros(inputs.shape[1:])
    for start in range(0, len(inputs), 1024):
        squares += ((inputs[start : start + 1024] / scale) ** 2).sum(axis=0)
    op = layer.operation
    if isinstance(op, Conv):
        # the squares are read as the inputs are, through a kernel of ones for each group
        ones = np.ones((op.groups, *layer.weight.shape[1:]))
        sums = convolve(replace(op, out_channels=op.groups, bias=False), ones, squares[None])
    else:
        sums = squares if isinstance(op, Scale) else squares.sum()
    x = scale * math.sqrt(float(np.max(sums)) / problem.n) * (1 + ROUNDING)
    return math.hypot(x, 1.0) if problem.chain.has_bias else x
