r"""The growth function through one number, the Vapnik-Chervonenkis dimension of the network's 0/1 losses.

.. math:: \mathrm{err} \le \widehat{\mathrm{err}} + \sqrt{\frac{2 V \ln(e n / V)}{n}} + \sqrt{\frac{\ln(1/\delta)}{2 n}}
          \quad (n \ge V), \qquad V = L + \Bigl(\sum_i W_i\Bigr) \log_2(2 r \log_2 r), \quad
          r = \max\bigl(2 e \textstyle\sum_i D_i k_i,\ 16\bigr)

with probability at least 1 - delta, for all weights; stages as in ``growth_function``. For n < V the root is
sqrt(2 ln 2).

*derived*: a set of V + 1 labelled samples of which all loss patterns occur contradicts the count of patterns
(``vc_dimension_bound`` has the inversion; bartlett2019nearly for one output); the last stage has K - 1 comparisons,
so the classes are those of the losses. Then Sauer's lemma, ln Pi <= V ln(e n / V), and the risk bound of
``growth_function``, whose direct count at the given n is smaller. Textbooks state this form, hence it is here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from theory.bounds._bound import Bound, Found
from theory.bounds._growth import vc_dimension_bound
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import CERTIFICATE, Assumption
from theory.bounds.growth_function import counted, risk, stages

if TYPE_CHECKING:
    from theory.bounds._symbolic import SymbolicBound


class VCDimension(Bound):
    """Vapnik-Chervonenkis form of the count of loss patterns.

    *derived*: see the module.

    Cost: nothing beyond the training error; never below ``growth-function``. When not to trust it: as there.

    Examples
    --------
    >>> from theory.architecture import Activation, Architecture, Linear
    >>> net = Architecture.sequential([Linear(3), Activation("relu"), Linear(1)], input_shape=2)
    >>> V = vc_dimension_bound(stages(Network.placeholder(net)))
    >>> r = 2 * math.e * (1 * 3 + 2 * 1)
    >>> abs(V - (2 + (9 + 13) * math.log2(2 * r * math.log2(r)))) < 1e-9
    True
    """

    name = "vc-dimension"
    title = "VC dimension of a piecewise-linear network"
    status = CERTIFICATE
    source = "derived; bartlett2019nearly"

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """As for the growth function, and parameters in every stage."""
        return counted(network)

    def symbolic_form(self, network: Network) -> SymbolicBound:
        """W is the sum of the W_i, S = sum_i D_i k_i, L the number of stages."""
        import sympy as sp

        from theory.bounds import _symbolic as s

        found = stages(network)
        W, S = sum(stage.parameters for stage in found), sum(stage.degree * stage.comparisons for stage in found)
        r = sp.Max(2 * sp.E * S, 16)
        V = len(found) + W * sp.log(2 * r * sp.log(r, 2), 2)
        growth = sp.Piecewise((sp.Min(V * sp.log(sp.E * s.n / V), s.n * sp.log(2)), s.n >= V), (s.n * sp.log(2), True))
        complexity = sp.sqrt(2 * growth / s.n)
        return s.SymbolicBound(
            name=self.name, complexity=complexity,
            expression=s.R + complexity + s.confidence(sp.Integer(0), factor=1), meaning={"R": "training error"},
        )  # fmt: skip

    def compute(self, problem: Problem, delta: float, margin: float | None) -> Found:
        """The same for every margin."""
        V, n = vc_dimension_bound(stages(problem)), problem.n
        growth = min(V * math.log(math.e * n / V), n * math.log(2)) if n >= V else n * math.log(2)
        return risk(problem, delta, growth, V=V)
