r"""Lipschitz constants of a whole network, layer by layer along its graph, in Euclidean and in maximum norm."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from theory._errors import InvalidInput, PreconditionError
from theory.architecture import (
    INPUT,
    Activation,
    Architecture,
    Attention,
    AvgPool,
    Conv,
    FilterResponseNorm,
    GlobalAvgPool,
    LayerNorm,
    Linear,
    MaxPool,
    Node,
    Scale,
    fold,
)  # fmt: skip
from theory.norms._rounding import gamma
from theory.norms.dense import frobenius_norm, norm_1_inf
from theory.norms.layers import layer_spectral_norm
from theory.norms.pooling import average_pool_norm, max_pool_lipschitz

NORMS = ("l2", "linf")
TINY = math.ulp(0.0)  # added to products, which underflow downwards


def as_norm(norm: object) -> str:
    """``"l2"`` or ``"linf"``; raises InvalidInput otherwise."""
    if norm not in NORMS:
        raise InvalidInput(f"norm must be 'l2' or 'linf', but is {norm!r}.")
    return str(norm)


def fixed_lipschitz(node: Node) -> float:
    """Euclidean Lipschitz constant of an operation without weights, from above."""
    op, shape = node.operation, node.input_shapes[0]
    match op:
        case Activation():
            return op.facts.lipschitz
        case MaxPool():
            kernel, stride, _ = op.window(len(shape) - 1)
            return max_pool_lipschitz(kernel, stride)
        case AvgPool():
            kernel, stride, padding = op.window(len(shape) - 1)
            return average_pool_norm(shape[1:], kernel, stride, padding, count_include_pad=op.count_include_pad)
        case GlobalAvgPool():
            return 1 / math.sqrt(math.prod(shape[1:]))
    return 1.0


def operation_lipschitz(node: Node, weight: np.ndarray | None, norm: str) -> float:
    r"""Lipschitz constant of one operation of a folded graph, from above.

    In maximum norm that of a linear map is the largest l1 norm of what one output reads; of a kernel at most the sum
    of its absolute values (every padding mode reads one pixel or zero for each of its entries); of a maximum or an
    average 1 (*derived*).

    Raises
    ------
    PreconditionError : a layer normalisation or attention.
    """
    op = node.operation
    if isinstance(op, LayerNorm | FilterResponseNorm | Attention):
        raise PreconditionError(f"a Lipschitz constant needs operations that have one: {node.name!r} is a {op.kind}.")
    if isinstance(op, Linear | Conv | Scale):
        assert weight is not None
        if norm == "l2":
            return layer_spectral_norm(node, weight).upper
        return norm_1_inf(weight.reshape(len(weight), -1))
    if norm == "linf":
        return op.facts.lipschitz if isinstance(op, Activation) else 1.0
    return fixed_lipschitz(node) * (1 + gamma(4))


def node_lipschitz(graph: Architecture, named: Mapping[str, np.ndarray], *, norm: str = "l2") -> dict[str, float]:
    r"""Lipschitz constants from the input to every node of a folded graph.

    .. math:: \Lambda(\mathrm{input}) = 1, \qquad \Lambda(c) = \mathrm{Lip}(c) \sum_{u \to c} \Lambda(u)

    *derived*: composition and the triangle inequality at an Add.
    """
    found = {INPUT: 1.0}
    for node in graph.nodes:
        slope = operation_lipschitz(node, named.get(f"{node.name}.weight"), norm)
        read = math.fsum(found[name] for name in node.inputs)
        found[node.name] = 0.0 if slope == 0 or read == 0 else slope * read * (1 + gamma(4)) + TINY
    return found


def network_lipschitz(architecture: Architecture, weights: Mapping[str, ArrayLike], *, norm: str = "l2") -> float:
    r"""Lipschitz constant of a network's scores, from above: inputs and scores in the same norm.

    .. math:: \|f(x') - f(x)\|_p \le \Lambda\, \|x' - x\|_p, \qquad p = 2, \infty

    *derived*: along the graph, normalisations folded first (``node_lipschitz``).

    Parameters
    ----------
    weights : by name, as ``architecture.parameters``.
    norm : ``"l2"`` or ``"linf"``.

    Raises
    ------
    InvalidInput : another norm, weights that do not fit.
    PreconditionError : a layer normalisation or attention.

    Cost: that of one operator norm for each layer. When not to trust it as the constant itself: it is from above, and
    for deep networks far above.

    Examples
    --------
    >>> net = Architecture.sequential([Linear(2, bias=False), Activation("relu")], input_shape=2)
    >>> W = {"linear1.weight": [[3, 4], [0, 5]]}
    >>> round(network_lipschitz(net, W, norm="linf"), 9), network_lipschitz(net, W) < 7
    (7.0, True)
    """
    norm = as_norm(norm)
    graph, named = fold(architecture, weights)
    return node_lipschitz(graph, named, norm=norm)[graph.output]


def difference_lipschitz(architecture: Architecture, weights: Mapping[str, ArrayLike], *, norm: str) -> np.ndarray:
    r"""Lipschitz constants (K, K) of the differences ``f_y - f_j`` of scores, from above; (1, 1) for one score.

    .. math:: |(f_y - f_j)(x') - (f_y - f_j)(x)| \le \Lambda_{yj}\, \|x' - x\|_p

    *derived*: a last dense layer gives ``||w_y - w_j||_2`` (l1 norm where the layers below are taken in maximum norm)
    times the constant below it; otherwise two entries of the scores give sqrt(2) (2). As ``|d|_inf <= |d|_2 <=
    sqrt(D) |d|_inf`` for inputs of D entries, each norm may use the other's constant; the least is taken.

    Raises
    ------
    InvalidInput : another norm, weights that do not fit, scores that are no vector.
    PreconditionError : a layer normalisation or attention.

    Examples
    --------
    >>> net = Architecture.sequential([Linear(2, bias=False)], input_shape=2)
    >>> difference_lipschitz(net, {"linear1.weight": [[3, 0], [0, 4]]}, norm="l2").round(9)
    array([[0., 5.],
           [5., 0.]])
    """
    norm = as_norm(norm)
    graph, named = fold(architecture, weights)
    if len(graph.output_shape) != 1:
        raise InvalidInput(f"scores are a vector, but this network ends in shape {graph.output_shape}.")
    euclid, top = (_differences(graph, named, each) for each in NORMS)
    root = math.sqrt(math.prod(graph.input_shape)) * (1 + gamma(4))
    return np.minimum(euclid, top) if norm == "l2" else np.minimum(root * euclid, top)


def _differences(graph: Architecture, named: Mapping[str, np.ndarray], norm: str) -> np.ndarray:
    constants, last, K = node_lipschitz(graph, named, norm=norm), graph.nodes[-1], graph.output_shape[0]
    if not isinstance(last.operation, Linear):
        pair = 1.0 if K == 1 else math.sqrt(2) if norm == "l2" else 2.0
        found = np.full((K, K), constants[graph.output] * pair * (1 + gamma(4)))
    else:
        W, below = named[f"{last.name}.weight"], constants[last.inputs[0]]
        rows = np.array([[_length(w - v, norm) for v in W] for w in W]) if K > 1 else np.array([[_length(W[0], norm)]])
        found, moves = np.zeros((K, K)), (rows > 0) & (below > 0)
        with np.errstate(over="ignore", under="ignore"):
            found[moves] = rows[moves] * (below * (1 + gamma(8))) + TINY
    if K > 1:
        np.fill_diagonal(found, 0.0)
    return found


def _length(row: np.ndarray, norm: str) -> float:
    return (frobenius_norm(row) if norm == "l2" else norm_1_inf(row[None])) * (1 + gamma(2))
