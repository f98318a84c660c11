r"""Pruned networks with real weights: the loss patterns of every support, and the number of supports.

.. math:: \mathrm{err} \le \widehat{\mathrm{err}} + \sqrt{\frac{2 \ln \Pi}{n}}
          + \sqrt{\frac{\ln(1/\delta) + \sum_l \ln(P_l + 1)}{2 n}}, \qquad
          \ln \Pi \le \min\Bigl\{\sum_l \ln \binom{P_l}{s_l} + \sum_i \ln\Bigl[2 \Bigl(\frac{2 e\, n k_i D_i}{W_i}
          \Bigr)^{W_i}\Bigr],\ n \ln 2\Bigr\}

for weights of which s_l of P_l are nonzero in the l-th array, W_i the nonzero ones below stage i. *derived*: the class
of all networks with these counts is a union of ``prod binom(P_l, s_l)`` classes of fixed support, each counted as in
``growth_function`` with its nonzero weights as the only variables; the counts s_l, found in training, are paid for by a
union with weight ``prod 1/(P_l + 1)``. Natural logarithms; ties count as errors.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from theory.bounds._bound import Bound, Found, found
from theory.bounds._frame import mcdiarmid
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import CERTIFICATE, Assumption
from theory.bounds.finite_class import log_supports
from theory.bounds.growth_function import _stage_log, _stage_symbolic, counted, stages

if TYPE_CHECKING:
    from theory.bounds._symbolic import SymbolicBound


def nonzero_counts(network: Network) -> dict[str, tuple[int, int]]:
    """P and s of every array of the folded network."""
    return {key: (W.size, int(np.count_nonzero(W))) for key, W in network.named.items()}


class SparseGrowth(Bound):
    """Loss patterns of a pruned piecewise-linear network: supports times patterns.

    *derived*: see the module. Any directed acyclic graph, with pooling, shared weights and residuals.

    Cost: nothing beyond the training error. When not to trust it: an architecture that was searched for on the sample.

    Examples
    --------
    >>> from theory.architecture import Architecture, Linear
    >>> net, n = Architecture.sequential([Linear(1, bias=False)], input_shape=50), 5000
    >>> x, W = np.random.default_rng(0).standard_normal((n, 50)), np.eye(50)[:1]
    >>> report = SparseGrowth().evaluate(net, {"linear1.weight": W}, (x, (x[:, 0] > 0).astype(int)))
    >>> growth = np.log(50) + np.log(2) + np.log(2 * np.e * n)  # one of 50 supports, one parameter
    >>> bool(abs(report.terms["complexity"] - np.sqrt(2 * growth / n)) < 1e-12)
    True
    """

    name = "sparse-growth"
    title = "count of supports and of loss patterns on each"
    status = CERTIFICATE
    source = "derived; bartlett2019nearly, warren1968lower"

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Piecewise-linear activations; no attention, no layer normalisation."""
        return counted(network)

    def symbolic_form(self, network: Network) -> SymbolicBound:
        """The counts of nonzero weights are those of this network; n, delta and R are symbols."""
        import sympy as sp

        from theory.bounds import _symbolic as s

        counts = nonzero_counts(network)
        supports = sum(sp.log(sp.binomial(P, k)) for P, k in counts.values())
        patterns = sum(_stage_symbolic(stage, s.n) for stage in self._stages(network) if stage.parameters)
        complexity = sp.sqrt(2 * sp.Min(supports + patterns, s.n * sp.log(2)) / s.n)
        cost = sp.Add(*(sp.log(P + 1) for P, _ in counts.values()))
        return s.SymbolicBound(
            name=self.name, expression=s.R + complexity + s.confidence(cost, factor=1), complexity=complexity,
            meaning={"R": "training error"},
        )  # fmt: skip

    def compute(self, problem: Problem, delta: float, margin: float | None) -> Found:
        """The same for every margin."""
        n, errors, counts = problem.n, problem.margins.errors, nonzero_counts(problem)
        log_growth = math.fsum(log_supports(P, s) for P, s in counts.values())
        log_growth = min(log_growth + math.fsum(_stage_log(s, n) for s in self._stages(problem)), n * math.log(2))
        cost = math.fsum(math.log(P + 1) for P, _ in counts.values())
        confidence, union = mcdiarmid(n, delta, cost, data_dependent=False)
        kept, size = (sum(c[i] for c in counts.values()) for i in (1, 0))
        log_complexity = math.log(2 * log_growth / n) / 2 if log_growth > 0 else -math.inf
        return found(
            empirical=errors, log_complexity=log_complexity, confidence=confidence, union=union,
            quantities={"n": n, "delta": delta, "R": errors}, notes=(f"{kept} of {size} weights are nonzero",),
        )  # fmt: skip

    @staticmethod
    def _stages(network: Network) -> tuple:
        own: dict[str, int] = {}
        for key, (_, s) in nonzero_counts(network).items():
            node = key.rsplit(".", 1)[0]
            own[node] = own.get(node, 0) + s
        return stages(network, own)
