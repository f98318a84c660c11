r"""Counting what a piecewise-linear network can do to n labelled samples: no norm, no margin, any graph.

.. math:: \mathrm{err} \le \widehat{\mathrm{err}} + \sqrt{\frac{2 \ln \Pi}{n}} + \sqrt{\frac{\ln(1/\delta)}{2 n}},
          \quad \ln \Pi \le \min\Bigl\{\sum_i \ln\Bigl[2 \Bigl(\frac{2 e\, n k_i D_i}{W_i}\Bigr)^{W_i}\Bigr],
          \ n \ln 2\Bigr\}

with probability at least 1 - delta, for all weights. Ties count as errors on both sides. Natural logarithms.

*derived*, with the counting of bartlett2019nearly and warren1968lower. With phi = sup(err - mean error): McDiarmid
with differences 1/n gives phi <= E phi + sqrt(ln(1/delta) / (2 n)); symmetrisation and Massart's lemma for the loss
vectors less 1/2, of length sqrt(n) / 2, give E phi <= 2 sqrt(ln Pi / (2 n)). Pi counts the 0/1 loss vectors over n
labelled samples: within a cell where all earlier signs are fixed, the k_i comparisons of stage i per sample (units
times breakpoints, positions counted, and q (q - 1) / 2 for each maximum over q inputs) are polynomials of degree D_i
(weight layers on the longest path to it) in the W_i parameters below it, and n k_i polynomials have at most the
bracket's number of signs (2^(n k_i) where n k_i < W_i). The last stage has the K - 1 signs of f_y - f_j, which decide
whether a labelled sample is right. The maximum of a monotone activation is decided by what the activation reads, in
the same stage. Sums, means, residuals and folded normalisations cost nothing. A stage of one comparison per unit that
reads data through one layer has filters of its own, each with at most 2 sum_{i <= m} binom(N - 1, i) <= 2 (e (N - 1)
/ m)^m patterns on N points in m dimensions and a bias (cover1965geometrical).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from theory.architecture import (
    INPUT,
    Activation,
    Architecture,
    Attention,
    Conv,
    FilterResponseNorm,
    GlobalMaxPool,
    LayerNorm,
    Linear,
    MaxPool,
    Node,
)  # fmt: skip
from theory.bounds._bound import Bound, Found, found
from theory.bounds._frame import mcdiarmid
from theory.bounds._growth import Stage, warren_log
from theory.bounds._hypotheses import piecewise_linear
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import CERTIFICATE, Assumption

if TYPE_CHECKING:
    import sympy as sp

    from theory.bounds._symbolic import SymbolicBound

NOT_MONOTONE = "abs"  # the piecewise-linear activation that is not monotone


def stages(network: Network, free: Mapping[str, int] | None = None) -> tuple[Stage, ...]:
    """The comparisons that decide the losses, stage by stage, from the graph alone: biases that are zero count.

    Parameters
    ----------
    free : how many parameters of each node are variables; all where it is not given.

    Raises
    ------
    InvalidInput : never for a network whose hypotheses hold.

    Examples
    --------
    >>> from theory.architecture import Architecture
    >>> net = Architecture.sequential([Linear(4), Activation("relu"), Linear(3)], input_shape=2)
    >>> [(s.units, s.parameters, s.degree) for s in stages(Network.placeholder(net))]
    [(4, 12, 1), (2, 27, 2)]
    """
    graph = network.graph
    own = {node.name: sum(math.prod(shape) for shape in node.parameters.values()) for node in graph.nodes}
    if free is not None:
        own = {name: free.get(name, 0) for name in own}
    below: dict[str, frozenset[str]] = {INPUT: frozenset()}
    degree = {INPUT: 0}
    made: dict[str, dict] = {}
    for node in graph.nodes:
        below[node.name] = frozenset([node.name]).union(*(below[name] for name in node.inputs))
        degree[node.name] = max(degree[name] for name in node.inputs) + (own[node.name] > 0)
        count = sum(own[name] for name in below[node.name])
        if count == 0:
            continue  # of the data alone
        at, op = {"parameters": count, "degree": degree[node.name]}, node.operation
        if isinstance(op, Activation) and op.facts.breakpoints:
            made[node.name] = at | {"units": math.prod(node.shape), "pool": 0, "breakpoints": op.facts.breakpoints}
            made[node.name] |= _filters(network, node, count) if free is None else {}
        elif isinstance(op, MaxPool | GlobalMaxPool):
            pairs = _pairs(node)
            if _monotone(graph, node.inputs[0]) and node.inputs[0] in made:
                made[node.inputs[0]]["pool"] += pairs
            else:
                made[node.name] = at | {"units": 0, "pool": pairs}
    total = {"parameters": sum(own[name] for name in below[graph.output]), "degree": max(1, degree[graph.output])}
    return (*(Stage(**_plain(stage)) for stage in made.values()), Stage(units=network.K - 1, **total))


def _monotone(graph: Architecture, name: str) -> bool:
    """Whether a node is a monotone activation, whose maximum is decided by what it reads."""
    op = None if name == INPUT else graph[name].operation
    return isinstance(op, Activation) and op.name != NOT_MONOTONE


def _plain(stage: dict) -> dict:
    """Without the count by filters where the stage has more than one kind of comparison."""
    if stage["pool"] or stage.get("breakpoints", 1) != 1:
        return {key: value for key, value in stage.items() if key not in ("fan_in", "filters")}
    return stage


def _filters(network: Network, node: Node, count: int) -> dict[str, int]:
    """Size and number of the filters of an activation that reads a single linear map of the data."""
    name = node.inputs[0]
    before = None if name == INPUT else network.graph[name]
    if before is None or not isinstance(before.operation, Linear | Conv):
        return {}
    shape = before.parameters[f"{name}.weight"]
    if count != sum(math.prod(s) for s in before.parameters.values()):
        return {}
    return {"fan_in": math.prod(shape[1:]), "filters": shape[0]}


def _pairs(node: Node) -> int:
    """Comparisons of a maximum: q (q - 1) / 2 for each window of q inputs."""
    axes = node.input_shapes[0][1:]
    window = node.operation.window(len(axes))[0] if isinstance(node.operation, MaxPool) else axes
    q = math.prod(window)
    return math.prod(node.shape) * q * (q - 1) // 2


def log_patterns(found: Sequence[Stage], n: int) -> float:
    """``ln Pi`` of the module's formula, at most n ln 2."""
    return min(math.fsum(_stage_log(stage, n) for stage in found), n * math.log(2))


def _stage_log(stage: Stage, n: int) -> float:
    warren = warren_log(n * stage.comparisons, stage.degree, stage.parameters)
    if stage.fan_in is None or stage.filters is None:
        return warren
    m, N = stage.fan_in, n * stage.units // stage.filters
    each = N * math.log(2) if N - 1 < m else math.log(2) + m * (1 + math.log((N - 1) / m))
    return min(warren, stage.filters * each)


def risk(problem: Problem, delta: float, log_growth: float, **quantities: float) -> Found:
    """Training error, ``sqrt(2 ln Pi / n)`` and the confidence term."""
    n, errors = problem.n, problem.margins.errors
    confidence, _ = mcdiarmid(n, delta, 0.0, data_dependent=False)
    return found(
        empirical=errors, log_complexity=math.log(2 * log_growth / n) / 2, confidence=confidence, union=0.0,
        quantities={"n": n, "delta": delta, "R": errors, **quantities},
        notes=("counts classes of weights, not norms: the trained weights enter through their errors only",),
    )  # fmt: skip


def counted(network: Network) -> tuple[Assumption, ...]:
    """Operations that are piecewise polynomial in the weights with known pieces; scores that read some weights."""
    odd = LayerNorm | FilterResponseNorm | Attention
    bad = [node for node in network.graph.nodes if isinstance(node.operation, odd)]
    known = Assumption(
        name="operations that are piecewise polynomial in weights and data", holds=not bad,
        reason=f"{bad[0].name!r} ({bad[0].operation.kind}) is not" if bad else "all are",
    )  # fmt: skip
    count = stages(network)[-1].parameters
    read = Assumption(name="scores that depend on weights", holds=count > 0, reason=f"they read {count} of them")
    return known, piecewise_linear(network), read


class GrowthFunction(Bound):
    """Loss patterns of a piecewise-linear network, counted layer by layer.

    *derived*: see the module. Any directed acyclic graph, with pooling, shared weights and residuals.

    Cost: nothing beyond the training error. When not to trust it: an architecture that was searched for on the sample
    (its choice is not paid for). It says something only for n far above the number of parameters.

    Examples
    --------
    >>> import numpy as np
    >>> net, x = Architecture.sequential([Linear(1)], input_shape=1), np.linspace(-1, 1, 5000)[:, None]
    >>> W, y = {"linear1.weight": [[1.0]], "linear1.bias": [0.0]}, (x[:, 0] > 0).astype(int)
    >>> report = GrowthFunction().evaluate(net, W, (x, y))
    >>> growth = np.log(2) + 2 * np.log(np.e * 5000)  # 2 (2 e n / W)^W with W = 2
    >>> bool(abs(report.terms["complexity"] - np.sqrt(2 * growth / 5000)) < 1e-12)
    True
    """

    name = "growth-function"
    title = "count of loss patterns, layer by layer"
    status = CERTIFICATE
    source = "derived; bartlett2019nearly, warren1968lower"

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Piecewise-linear activations; no attention, no layer normalisation."""
        return counted(network)

    def symbolic_form(self, network: Network) -> SymbolicBound:
        """The numbers of units and parameters are those of the architecture; n, delta and R are symbols."""
        import sympy as sp

        from theory.bounds import _symbolic as s

        growth = sp.Min(sum(_stage_symbolic(stage, s.n) for stage in stages(network)), s.n * sp.log(2))
        complexity = sp.sqrt(2 * growth / s.n)
        return s.SymbolicBound(
            name=self.name, complexity=complexity,
            expression=s.R + complexity + s.confidence(sp.Integer(0), factor=1), meaning={"R": "training error"},
        )  # fmt: skip

    def compute(self, problem: Problem, delta: float, margin: float | None) -> Found:
        """The same for every margin."""
        return risk(problem, delta, log_patterns(stages(problem), problem.n))


def _stage_symbolic(stage: Stage, n: sp.Symbol) -> sp.Expr:
    import sympy as sp

    W, q = sp.Integer(stage.parameters), n * stage.comparisons
    warren = sp.Min(sp.log(2) + W * sp.log(2 * sp.E * q * stage.degree / W), q * sp.log(2))
    warren = sp.Piecewise((warren, q >= W), (q * sp.log(2), True))
    if stage.fan_in is None or stage.filters is None:
        return warren
    m, N = sp.Integer(stage.fan_in), n * sp.Rational(stage.units, stage.filters)
    each = sp.Piecewise((sp.log(2) + m * sp.log(sp.E * (N - 1) / m), N - 1 >= m), (N * sp.log(2), True))
    return sp.Min(warren, stage.filters * each)
