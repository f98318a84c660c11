r"""Residual networks and other graphs: how far from homogeneous they are."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from theory._arrays import as_positive
from theory._errors import PreconditionError
from theory.architecture import Activation, Add, Architecture, Conv, Dropout, Flatten, Linear
from theory.flow.near_homogeneous import NearHomogeneity


def graph_near_homogeneity(architecture: Architecture, *, radius: float) -> NearHomogeneity:
    r"""The defect polynomials of a graph with skips and biases, for inputs of norm at most ``radius``.

    With fixed slopes the output is a sum over block paths, which start at the input or at a bias, pass weight tensors,
    and end at the output. Let c_k be the sum over the paths with k tensors of the product of their factors (radius or
    1 at the start, sqrt(taps) for a convolution, sqrt(positions) for its bias, the Lipschitz constant of each
    activation), M the largest k, and e_k the part of c_k that the homogenised network lacks. Then

    .. math:: |\langle h, \theta\rangle - M s| \le \kappa \sum_{k<M} (M - k)\, c_k\, k^{-k/2} \rho^k, \qquad
        |s - s_H| \le \kappa \sum_{k<M} e_k\, k^{-k/2} \rho^k

    for every h in Clarke's subdifferential; kappa = 1 for one output, else sqrt 2 for differences of two. *derived*
    (the notion: cai2025implicit): a path with k tensors is a product of k different ones, whose norms multiply to at
    most ``(rho^2/k)^(k/2)``, and it counts k times in ``<h, theta>`` (Euler). The homogenised network keeps, at each
    node, what has the node's largest degree only (biases of degree 1 below it are left out, additions keep their
    deepest inputs); the difference passes linear maps and activations without growing by more than their constants, and
    an addition adds what it drops. For a chain the first sum is that of :func:`near_homogeneity`, whatever the radius.

    Parameters
    ----------
    architecture : Linear, Conv (padded by zeros or circularly), positively homogeneous activations, Add, Flatten,
        Dropout; no tensor is used twice.
    radius : of the inputs, which matters through skips from the input and paths that are not the deepest.

    Raises
    ------
    InvalidInput : a radius that is not positive.
    PreconditionError : another operation; a network without weights.

    Examples
    --------
    >>> from theory.architecture import GraphBuilder
    >>> g = GraphBuilder(3)
    >>> block = g.add(Linear(3, bias=False), g.add(Activation("relu"), g.add(Linear(3, bias=False))))
    >>> last = g.add(Linear(1, bias=False), g.add(Add(), g.input, block))
    >>> near = graph_near_homogeneity(g.build(), radius=2)
    >>> near.degree, near.defect.tolist()     # the skip: one tensor, (3 - 1) x 2 x rho
    (3, [0.0, 4.0, 0.0])
    """
    size = as_positive("radius", radius)
    depth = sum(isinstance(node.operation, Linear | Conv) for node in architecture.nodes)
    start = np.zeros(depth + 1)
    start[0] = size
    # node -> (c, e): coefficients of all paths, and of those that its homogenised value lacks
    known = {"input": (start, np.zeros(depth + 1))}
    for node in architecture.nodes:
        op, inputs = node.operation, [known[name] for name in node.inputs]
        if isinstance(op, Linear | Conv):
            if isinstance(op, Conv) and op.padding_mode not in ("zeros", "zero", "circular"):
                raise PreconditionError(
                    f"{node.name!r} pads by {op.padding_mode}, where a tap may read an entry twice."
                )
            taps = np.prod(node.parameters[f"{node.name}.weight"][2:]) if isinstance(op, Conv) else 1.0
            spread = np.prod(node.shape[1:]) if isinstance(op, Conv) else 1.0
            c, e = (np.sqrt(taps) * np.append(0.0, part[:-1]) for part in inputs[0])
            if f"{node.name}.bias" in node.parameters:
                lacking = _degree(c) > 1
                c[1] += np.sqrt(spread)
                e[1] += np.sqrt(spread) if lacking else 0.0
            known[node.name] = c, e
        elif isinstance(op, Activation) and op.facts.degree == 1:
            known[node.name] = (op.facts.lipschitz * inputs[0][0], op.facts.lipschitz * inputs[0][1])
        elif isinstance(op, Add):
            known[node.name] = _sum(inputs)
        elif isinstance(op, Flatten | Dropout):
            known[node.name] = inputs[0]
        else:
            raise PreconditionError(
                f"the defect of a graph is known for dense and convolutional layers, homogeneous activations and "
                f"additions, but {node.name!r} is of kind {op.kind!r}."
            )
    c, e = known[architecture.output]
    M = _degree(c)
    if M == 0:
        raise PreconditionError("a network without weights has no degree.")
    k = np.arange(M, dtype=np.float64)
    scale = (np.sqrt(2.0) if np.prod(architecture.output_shape) > 1 else 1.0) * np.maximum(k, 1) ** (-k / 2)
    return NearHomogeneity(degree=M, defect=(M - k) * scale * c[:M], remainder=scale * e[:M])


def _degree(c: np.ndarray) -> int:
    return int(np.flatnonzero(c)[-1]) if c.any() else 0


def _sum(inputs: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Paths add up; the homogenised addition drops inputs below the largest degree, which are lacking as a whole."""
    parts = list(inputs)
    top = max(_degree(c) for c, _ in parts)
    return sum(c for c, _ in parts), sum(e if _degree(c) == top else c for c, e in parts)  # type: ignore[return-value]
