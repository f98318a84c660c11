"""Norms of the Jacobian of the scores with respect to what each layer reads, on the sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from theory.architecture import node_values
from theory.bounds._problem import Problem
from theory.bounds.measures._backward import backward, check_differentiable
from theory.bounds.measures._record import Measure
from theory.bounds.measures._sample import batch_for, part_of, weighted_nodes

NAMES = ("jacobian-frobenius", "jacobian-spectral")
FAMILY = "jacobians"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JacobianNorms:
    """Norms of d scores / d node, one entry per sample.

    Attributes
    ----------
    node : the node whose value is varied; ``input`` for the network's input.
    frobenius, spectral : (samples).
    """

    node: str
    frobenius: np.ndarray
    spectral: np.ndarray

    def __repr__(self) -> str:
        return f"JacobianNorms({self.node}: {len(self.frobenius)} samples)"


def jacobian_norms(problem: Problem, *, samples: int = 256) -> tuple[JacobianNorms, ...]:
    r"""Frobenius and spectral norms of the Jacobian of the scores, at what each layer of weights reads.

    .. math:: J_i(x) = \partial f(x) / \partial h_i(x), \qquad \|J_i(x)\|_F,\ \|J_i(x)\|_2

    *measure*: novak2018sensitivity (the input), wei2019data (hidden layers). One reverse sweep for each score; the
    spectral norm is the root of the largest eigenvalue of the K x K matrix J J^T, accurate to 1e-8 of the Frobenius
    norm.

    Parameters
    ----------
    samples : at most so many, evenly spaced.

    Raises
    ------
    PreconditionError : an operation that is not differentiated here (LayerNorm, attention, a declared activation).

    Cost: K reverse sweeps. Do not trust it as a Lipschitz constant: it is local, and silent between the samples.

    Examples
    --------
    >>> from theory.architecture import Architecture, Linear
    >>> net = Architecture.sequential([Linear(2, bias=False)], input_shape=2)
    >>> found = jacobian_norms(Problem(net, {"linear1.weight": [[3, 0], [0, 4]]}, ([[1, 1]], [0])))
    >>> found[0].node, float(found[0].frobenius[0]), float(found[0].spectral[0])
    ('input', 5.0, 4.0)
    """
    graph, named = problem.graph, problem.named
    check_differentiable(graph)
    part, K = part_of(problem, samples), problem.n_scores
    nodes = tuple(dict.fromkeys(node.inputs[0] for node in weighted_nodes(graph)))
    step = batch_for(graph, K + 2)
    frobenius, spectral = np.empty((len(nodes), len(part))), np.empty((len(nodes), len(part)))
    for start in range(0, len(part), step):
        at = slice(start, start + step)
        values = node_values(graph, named, part.X[at])
        rows: dict[str, list[np.ndarray]] = {name: [] for name in nodes}
        for k in range(K):
            seed = np.zeros_like(values[graph.output])
            seed[:, k] = 1.0
            kept, _ = backward(graph, named, values, {graph.output: seed}, keep=nodes)
            for name in nodes:
                rows[name].append(kept[name].reshape(len(seed), -1))
        for i, name in enumerate(nodes):
            J = np.stack(rows[name], axis=1)  # (n, K, d)
            gram = J @ J.swapaxes(1, 2)
            frobenius[i, at] = np.sqrt(np.einsum("nkk->n", gram))
            spectral[i, at] = np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[:, -1], 0))
    return tuple(
        JacobianNorms(node=name, frobenius=f, spectral=s)
        for name, f, s in zip(nodes, frobenius, spectral, strict=True)
    )


def jacobian_measures(problem: Problem) -> tuple[Measure, ...]:
    """Root mean squared Frobenius norm and largest spectral norm, for each node that weights read."""
    found = []
    for record in jacobian_norms(problem):
        m = len(record.frobenius)
        found.append(Measure(
            name=f"jacobian-frobenius:{record.node}", value=float(np.sqrt((record.frobenius**2).mean())), family=FAMILY,
            source="novak2018sensitivity" if record.node == "input" else "wei2019data",
            statement=f"root mean over {m} samples of the squared Frobenius norm of d scores / d {record.node}",
        ))  # fmt: skip
        found.append(Measure(
            name=f"jacobian-spectral:{record.node}", value=float(record.spectral.max()), family=FAMILY,
            source="wei2019data",
            statement=f"largest spectral norm of d scores / d {record.node} over {m} samples",
        ))  # fmt: skip
    return tuple(found)
