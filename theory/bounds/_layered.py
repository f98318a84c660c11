r"""What the peeling bounds share: the factor of depth, layers as matrices with their biases, one scalar per statement.

Peeling (*derived*; golowich2018size has the exponential in place of cosh). Put phi(t) = cosh(lam t) - 1 for t >= 0 and
0 below, convex and nondecreasing. Let Z_l = sup ||sum_i e_i f_l(x_i)|| over l layers with their activations.

- All mass goes to the best row, by homogeneity: Z_(l+1) = M sup |sum e_i sigma(w . f_l(x_i))|, ||w|| <= 1.
- phi(|u|) <= phi(u) + phi(-u), and both signs have one distribution: a factor 2 for each activation.
- Contraction (ledoux1991probability): E phi(sup sum e_i sigma(u_i)) <= E phi(sup sum e_i u_i), as sigma(0) = 0.
- E cosh(||v + e x||) <= cosh ||v|| cosh ||x||, as cosh(sqrt t) is convex (pinelis1994optimum), so
  E cosh(lam ||sum e_i x_i||) <= exp(lam^2 XF^2 / 2), XF^2 = sum ||x_i||^2.

Hence E phi(Z) <= e^c (exp(lam^2 M^2 XF^2 / 2) - 1), M the product of the norms and e^c = 2^(L-1), times the number of
alternatives of which Z is the largest. Jensen, and either lam -> 0 or cosh z >= e^z / 2 at the best lam, give
``sqrt(E Z^2) <= M XF cosh_factor(c)``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from theory.architecture import Activation, AvgPool, Conv, GlobalAvgPool, Scale
from theory.bounds._bound import Found, found
from theory.bounds._chain import POOLS, Layer
from theory.bounds._frame import Choice, GridPoint, choose_margin, mcdiarmid
from theory.bounds._hypotheses import homogeneous, layered, no_max_pool, no_reference
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import Assumption
from theory.norms import average_pool_norm, conv_spectral_norm, frobenius_norm, spectral_norm, toeplitz_frobenius

LN2 = math.log(2)


def cosh_factor(c: float) -> float:
    r"""What c nats of alternatives cost: ``min(e^(c/2), sqrt(2 (c + ln 2)))``, *derived* above.

    Examples
    --------
    >>> cosh_factor(0.0), abs(cosh_factor(np.log(2)) - 2**0.5) < 1e-15, cosh_factor(3.0) < exponential_factor(3.0)
    (1.0, True, True)
    """
    return min(math.exp(c / 2), math.sqrt(2 * (c + LN2)))


def exponential_factor(c: float) -> float:
    """``1 + sqrt(2 c)``: the same by exponential moments (*published form*, golowich2018size); never smaller."""
    return 1 + math.sqrt(2 * c)


# ---- hypotheses


def peeling_hypotheses(network: Network, *, ordered_pools: bool = True) -> tuple[Assumption, ...]:
    """One layer after the other, homogeneous, no maxima; biases carried by a constant."""
    shared = (layered(network), homogeneous(network), no_max_pool(network), carries_one(network), no_reference(network))
    return (*shared, pools_last(network)) if ordered_pools else shared


def carries_one(network: Network) -> Assumption:
    """Biases ride on a coordinate that is 1 throughout: every activation maps 1 to 1."""
    name = "activations that map 1 to 1 where there are biases"
    if not any(key.endswith(".bias") for key in network.named):
        return Assumption(name=name, holds=True, reason="there are no biases")
    bad = [n.operation.name for n in network.graph.nodes
           if isinstance(n.operation, Activation) and n.operation.facts.at_one != 1]  # fmt: skip
    return Assumption(name=name, holds=not bad, reason=f"{bad[0]} does not" if bad else "all do")


def pools_last(network: Network) -> Assumption:
    """Average pools come after the activation, so that they belong to the next linear map."""
    pools = {node.name for node in network.graph.nodes if isinstance(node.operation, POOLS)}
    bad = [n.name for n in network.graph.nodes if isinstance(n.operation, Activation) and n.inputs[0] in pools]
    reason = f"{bad[0]!r} follows a pool" if bad else "they are"
    return Assumption(name="average pools after the activation", holds=not bad, reason=reason)


# ---- layers as matrices


def conv_arguments(layer: Layer) -> dict:
    """Stride and the rest of a convolution, as the functions of ``theory.norms`` take them."""
    op, axes = layer.operation, len(layer.input_shape) - 1
    assert isinstance(op, Conv)
    return {
        "stride": op.strides(axes), "padding": op.paddings(axes), "dilation": op.dilations(axes),
        "groups": op.groups, "padding_mode": op.padding_mode,
    }  # fmt: skip


def pool_norm(network: Network, index: int) -> float:
    """Operator norm, from above, of the average pools that layer ``index`` (from 0) reads through."""
    before = network.chain.layers[index - 1] if index else None
    return network.remember(("pool norm", index), lambda: _pool_norm(before))


def _pool_norm(layer: Layer | None) -> float:
    norm = 1.0
    for op, (_, *size) in layer.pools if layer is not None else ():
        if isinstance(op, AvgPool):
            norm *= average_pool_norm(tuple(size), *op.window(len(size)), count_include_pad=op.count_include_pad)
        else:
            assert isinstance(op, GlobalAvgPool)
            norm *= (1 + 1e-15) / math.sqrt(math.prod(size))
    return norm


def map_frobenius(network: Network, index: int) -> float:
    r"""Frobenius norm, from above, of layer ``index`` (not the last) as a matrix, pools before it included.

    With biases that of ``[[A, b], [0, 1]]``: the constant input 1, fixed before the sample, is handed on.
    """
    layer, p = network.chain.layers[index], pool_norm(network, index)
    F = network.remember(("toeplitz frobenius", layer.name), lambda: _frobenius(layer)) * p
    return math.hypot(F, _bias_norm(layer), 1.0) if network.chain.has_bias else F


def _frobenius(layer: Layer) -> float:
    if layer.is_conv:
        return toeplitz_frobenius(layer.weight, layer.input_shape[1:], **conv_arguments(layer))
    # a Scale is a diagonal map that is used at every position
    return frobenius_norm(layer.weight) * math.sqrt(layer.positions)


def _bias_norm(layer: Layer) -> float:
    return 0.0 if layer.bias is None else frobenius_norm(layer.bias) * math.sqrt(layer.positions)


def map_spectral(network: Network, index: int) -> float:
    """Operator norm, from above, of the same matrix."""
    layer, p = network.chain.layers[index], pool_norm(network, index)
    if not network.chain.has_bias:
        return p * plain_spectral(network, layer)
    if layer.weight.ndim == 2:
        W = np.pad(p * layer.weight, ((0, 1), (0, 1)))
        W[:-1, -1], W[-1, -1] = 0.0 if layer.bias is None else layer.bias, 1.0
        return spectral_norm(W).upper
    return spectral_norm([[p * plain_spectral(network, layer), _bias_norm(layer)], [0.0, 1.0]]).upper


def plain_spectral(network: Network, layer: Layer) -> float:
    """Operator norm, from above, of a layer without bias."""
    if isinstance(layer.operation, Scale):
        return float(np.abs(layer.weight).max())
    if layer.is_conv:
        compute = lambda: conv_spectral_norm(layer.weight, layer.input_shape[1:], **conv_arguments(layer))  # noqa: E731
    else:
        compute = lambda: spectral_norm(layer.weight)  # noqa: E731
    return network.remember(("spectral", layer.name), compute).upper


def last_matrix(network: Network, pool: float) -> np.ndarray:
    """``[p W_L, b_L]``: as long rows as those of the last map with the pools before it, or longer."""
    layer = network.chain.layers[-1]
    if not network.chain.has_bias:
        return pool * layer.weight
    bias = np.zeros(len(layer.weight)) if layer.bias is None else layer.bias
    return np.column_stack([pool * layer.weight, bias])


def shifts(W: np.ndarray) -> tuple[np.ndarray, ...]:
    """W with a common row taken off each row: margins do not change, and any row may be chosen after training."""
    return W, W - W.mean(axis=0), W - np.median(W, axis=0)


def root_mean_square(problem: Problem) -> float:
    """``sqrt(mean ||x_i||^2)`` of what the first layer reads, from above, with the constant where there are biases."""
    x = frobenius_norm(problem.inputs) / math.sqrt(problem.n)
    return math.hypot(x, 1.0) if problem.chain.has_bias else x


def hand_on(norm: float, constant: float) -> tuple[float, float]:
    """Norm of a layer, and the constant after it: at most norm times that before, kept where biases / it are numbers.

    A layer of zeros hands the constant on as it is; a norm may be raised, and any smaller constant will do.
    """
    norm = max(norm or 1.0, 1e-100 / constant)
    return norm, min(norm * constant, 1e100)


def log(value: float) -> float:
    """Natural logarithm, -inf at 0."""
    return math.log(value) if value > 0 else -math.inf


# ---- one or two statements, each with one scalar norm / gamma

Parts: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One statement: error <= R + factor norm / gamma + 3 sqrt((ln(1/delta) + cost) / (2n)), before the grid.

    Attributes
    ----------
    log_norm, log_factor : natural logarithms.
    cost : ln of the number of other choices the union is over (grids of ratios).
    label : tells two statements of one bound apart.
    quantities : values of its symbols besides R and j.
    """

    log_norm: float
    log_factor: float
    cost: float = 0.0
    label: str = ""
    quantities: Mapping[str, float] = field(default_factory=dict)


def least(problem: Problem, forms: Sequence[Form], delta: float, margin: float | None) -> Found:
    """The least of the statements, each at its best margin and at its share of delta."""
    chosen: list[tuple[float, Choice, float]] = []
    quantities = {"n": float(problem.n), "delta": delta}
    for form in forms:
        cost = form.cost + math.log(len(forms))

        def parts(gamma: float, point: GridPoint, form: Form = form, cost: float = cost) -> Parts:
            confidence, union = mcdiarmid(problem.n, delta, point.log_cost + cost)
            return problem.margins.ramp(gamma), form.log_factor + point.log, confidence, union

        choice = choose_margin(problem.margins, form.log_norm, parts, margin)
        tail = form.label and f"_{form.label}"
        quantities |= {**form.quantities, f"R{tail}": choice.terms["empirical"], f"j{tail}": float(choice.point.index)}
        chosen.append((choice.log10, choice, form.log_factor + choice.point.log))
    _, best, log_complexity = min(chosen, key=lambda item: item[0])
    terms, quantities["gamma"] = best.terms, best.gamma
    return found(
        empirical=terms["empirical"], log_complexity=log_complexity, confidence=terms["confidence"],
        union=terms["union"], margin=best.gamma, quantities=quantities,
    )  # fmt: skip


def risk_factor(scalar: bool) -> int:
    """2 for one score (2 R / gamma), 4 for several (4 T / gamma, maurer2016vector)."""
    return 2 if scalar else 4
