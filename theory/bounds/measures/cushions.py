"""Noise-stability of each layer on the sample: layer and interlayer cushions, activation contraction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from theory.architecture import Activation, Conv, Linear, Node, node_values
from theory.bounds._problem import Problem
from theory.bounds.measures._backward import Arrays, backward, check_differentiable, forward_tangent
from theory.bounds.measures._record import Measure
from theory.bounds.measures._sample import batch_for, norms, part_of, weighted_nodes
from theory.bounds.measures.jiang import tenth_percentile
from theory.norms import frobenius_norm, toeplitz_frobenius

NAMES = ("layer-cushion", "interlayer-cushion", "activation-contraction", "cushion-capacity")
FAMILY = "cushions"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cushions:
    """Cushions of the L layers of weights, least over the samples.

    Attributes
    ----------
    names : of the layers.
    layer : mu_i (L); infinite where the layer reads zeros only.
    interlayer : mu_{i ->} (L).
    contraction : c.
    largest_output : max ||f(x)||.
    exact : whether every Jacobian norm was computed from all rows, none from random probes.
    samples : how many.
    """

    names: tuple[str, ...]
    layer: np.ndarray
    interlayer: np.ndarray
    contraction: float
    largest_output: float
    exact: bool
    samples: int

    def __repr__(self) -> str:
        return f"Cushions({len(self.names)} layers, {self.samples} samples)"


def cushions(
    problem: Problem, *, samples: int = 64, rows: int = 64, rng: np.random.Generator | int = 0
) -> Cushions:  # fmt: skip
    r"""Layer cushions, interlayer cushions and the contraction of the activations, on the sample.

    .. math:: \mu_i = \min_x \frac{\|A_i h_{i-1}\|}{\|A_i\|_F \|h_{i-1}\|},\qquad
              \mu_{i \to} = \min_{j \ge i} \min_x \frac{\|J_{ij} z_i\|}{\|J_{ij}\|_F \|z_i\|},\qquad
              c = \max_{x, i} \frac{\|z_i\|}{\|\phi(z_i)\|}

    h_{i-1} is what layer i reads, z_i = A_i h_{i-1} + b_i, J_ij the Jacobian of z_j with respect to z_i at x; j = i
    gives 1/sqrt(width). *measure*: arora2018stronger. A convolution counts as the matrix that it is, with its
    Frobenius norm; the numerator of mu_i is without the bias. Quotients 0/0 are left out.

    ``||J_ij||_F`` takes all rows where z_j has at most ``rows`` entries, and otherwise the root of the mean of
    ``||J^T e||^2`` over ``rows`` random sign vectors e, which is unbiased for its square; ``J_ij z_i`` is exact.

    Raises
    ------
    PreconditionError : a network that is not one layer after the other; an operation not differentiated here.

    Cost: L rows reverse sweeps.

    Examples
    --------
    >>> from theory.architecture import Architecture, Linear
    >>> net = Architecture.sequential([Linear(2, bias=False)], input_shape=2)
    >>> found = cushions(Problem(net, {"linear1.weight": [[3, 0], [0, 4]]}, ([[1, 0]], [0])))
    >>> round(float(found.layer[0]), 9), round(float(found.interlayer[0] ** 2), 9)
    (0.6, 0.5)
    """
    problem.chain  # noqa: B018  refuses what is not one
    graph, named = problem.graph, problem.named
    check_differentiable(graph)
    part, layers = part_of(problem, samples), weighted_nodes(graph)
    names = tuple(node.name for node in layers)
    acts = [node for node in graph.nodes if isinstance(node.operation, Activation)]
    frobenius = [_frobenius(node, named[f"{node.name}.weight"]) for node in layers]
    layer, between = np.full(len(layers), np.inf), np.array([np.prod(node.shape) ** -0.5 for node in layers])
    contraction, largest = 1.0, 0.0
    generator = np.random.default_rng(rng)
    step = batch_for(graph, 6)
    for start in range(0, len(part), step):
        values = node_values(graph, named, part.X[start : start + step])
        largest = max(largest, float(norms(values[graph.output]).max()))
        for node in acts:
            contraction = max(contraction, -_least(-norms(values[node.inputs[0]]), norms(values[node.name])))
        for i, node in enumerate(layers):
            image = _without_bias(node, named, values[node.name])
            layer[i] = min(layer[i], _least(norms(image), frobenius[i] * norms(values[node.inputs[0]])))
        squares = {j: _jacobian_squares(problem, values, layers, j, rows, generator) for j in range(1, len(layers))}
        for i, name in enumerate(names[:-1]):
            moved = forward_tangent(graph, named, values, {name: values[name]}, keep=names[i + 1 :])
            for j in range(i + 1, len(layers)):
                size = np.sqrt(squares[j][names[i]]) * norms(values[name])
                between[i] = min(between[i], _least(norms(moved[names[j]]), size))
    return Cushions(
        names=names, layer=layer, interlayer=between, contraction=contraction, largest_output=largest,
        exact=all(np.prod(node.shape) <= rows for node in layers[1:]), samples=len(part),
    )  # fmt: skip


def cushion_measures(problem: Problem, *, rng: np.random.Generator | int = 0) -> tuple[Measure, ...]:
    """Cushions of each layer, the contraction, and the capacity of arora2018stronger without its hidden constant."""
    found, gamma = cushions(problem, rng=rng), tenth_percentile(problem)
    how = f"over {found.samples} samples" + ("" if found.exact else "; Jacobian norms by random probes")
    with np.errstate(divide="ignore", over="ignore"):
        total = float((1 / (found.layer * found.interlayer) ** 2).sum())
    scale = found.contraction * len(found.names) * found.largest_output
    capacity = scale**2 * total / gamma**2 if gamma > 0 else float("inf")
    rows: list[tuple[str, float, str]] = []
    for name, mu, between in zip(found.names, found.layer, found.interlayer, strict=True):
        rows.append((f"layer-cushion:{name}", float(mu), f"least ||A h|| / (||A||_F ||h||) {how}"))
        rows.append((f"interlayer-cushion:{name}", float(between), f"least ||J z|| / (||J||_F ||z||) {how}"))
    rows.append(("activation-contraction", found.contraction, f"largest ||z|| / ||phi(z)|| {how}"))
    text = f"c^2 L^2 max||f||^2 / gamma^2 times sum of 1 / (mu_i mu_i->)^2, gamma = {gamma:.6g}, {how}; no constants"
    rows.append(("cushion-capacity", capacity, text))
    return tuple(Measure(name=a, value=v, family=FAMILY, source="arora2018stronger", statement=t) for a, v, t in rows)


def _jacobian_squares(
    problem: Problem, values: Arrays, layers: tuple[Node, ...], j: int, rows: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Squared Frobenius norms of d z_j / d z_i for all i < j, one entry per sample."""
    earlier, node = [other.name for other in layers[:j]], layers[j]
    width, n = int(np.prod(node.shape)), len(values[node.name])
    exact = width <= rows
    total = {name: np.zeros(n) for name in earlier}
    for r in range(width if exact else rows):
        seed = np.eye(1, width, r)[0] if exact else rng.choice([-1.0, 1.0], width)
        g = np.broadcast_to(seed.reshape(node.shape), values[node.name].shape)
        kept, _ = backward(problem.graph, problem.named, values, {node.name: g}, keep=earlier)
        for name in earlier:
            total[name] += norms(kept[name]) ** 2
    return total if exact else {name: value / rows for name, value in total.items()}


def _frobenius(node: Node, weight: np.ndarray) -> float:
    op, shape = node.operation, node.input_shapes[0]
    axes = len(shape) - 1
    if isinstance(op, Conv):
        return toeplitz_frobenius(
            weight, shape[1:], stride=op.strides(axes), padding=op.paddings(axes), padding_mode=op.padding_mode,
            dilation=op.dilations(axes), groups=op.groups,
        )  # fmt: skip
    copies = np.prod(shape[:-1]) if isinstance(op, Linear) else np.prod(shape[1:])
    return float(np.sqrt(copies)) * frobenius_norm(weight)


def _without_bias(node: Node, named: Mapping[str, np.ndarray], z: np.ndarray) -> np.ndarray:
    b = named.get(f"{node.name}.bias")
    if b is None:
        return z
    return z - (b if isinstance(node.operation, Linear) else b.reshape(-1, *(1,) * (z.ndim - 2)))


def _least(above: np.ndarray, below: np.ndarray) -> float:
    """Least quotient; 0/0 is left out."""
    some = (above != 0) | (below != 0)
    with np.errstate(divide="ignore"):
        return float(np.divide(above[some], below[some]).min(initial=np.inf))
