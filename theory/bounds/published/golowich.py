r"""Rademacher complexities of golowich2018size for one score, with Frobenius and with (1,inf) norms.

.. math:: R \le \frac{\sqrt{2 \ln 2\, L} + 1}{n} \prod_l F_l\, X_F, \qquad
          R \le \frac2n \prod_l m_l \sqrt{(L + 1 + \ln d)\, \max_j \textstyle\sum_i x_{ij}^2}

X_F^2 = sum ||x_i||^2, m_l the largest sum of absolute values of a row, d inputs. *published form*; the risk is ``mean
ramp + 2 K R / gamma + 3 sqrt(ln(2/delta) / (2n))`` (see ``_form``: K scores, no union). Programs take sqrt(max_j
||x_j||) in the second, which is not the theorem's. The derived ``frobenius`` has L - 1 for L, and ``row-norm`` a
smaller constant. Convolutions enter through their Toeplitz matrices, biases of dense networks as a unit of value 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import Assumption
from theory.bounds.published._form import PublishedForm, listed, log, numbered, scores
from theory.bounds.published._maps import inputs, matrices, matrix_hypotheses, rms

if TYPE_CHECKING:
    import sympy as sp


def frobenius_complexity(F: Sequence[float], *, x_rms: float, n: int) -> float:
    """Logarithm of R with Frobenius norms.

    Examples
    --------
    >>> round(math.exp(frobenius_complexity([4, 3, 2], x_rms=1, n=10**4)), 10)
    0.7294401553
    """
    return math.fsum(map(log, F)) + math.log(1 + math.sqrt(2 * math.log(2) * len(F))) + log(x_rms) - math.log(n) / 2


def row_complexity(m: Sequence[float], *, column_rms: float, d: int, n: int) -> float:
    """Logarithm of R with (1,inf) norms; ``column_rms`` is ``sqrt(max_j mean_i x_ij^2)``.

    Examples
    --------
    >>> round(math.exp(row_complexity([6, 5, 4], column_rms=0.2**0.5, d=20, n=10**4)), 9)
    2.838852511
    """
    spread = math.log(len(m) + 1 + math.log(d)) / 2
    return math.log(2) + math.fsum(map(log, m)) + spread + log(column_rms) - math.log(n) / 2


class GolowichFrobenius(PublishedForm):
    """Product of Frobenius norms, root of the depth.

    *published form*: see the module.
    """

    name = "golowich-frobenius"
    title = "Frobenius norms, root of the depth (Golowich, Rakhlin, Shamir)"
    source = "published form; golowich2018size"
    meaning = (("F_l", "Frobenius norms"), ("x_rms", "root mean squared length of the inputs"))

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """One layer after the other, homogeneous activations."""
        return matrix_hypotheses(network)

    def norms(self, problem: Problem) -> dict[str, float]:
        """Of explicit matrices."""
        return {**numbered("F", (m.frobenius for m in matrices(problem))), "x_rms": rms(inputs(problem))}

    def log_complexity(self, network: Network, norms: dict[str, float], n: int, gamma: float) -> float:
        """``2 K R / gamma``."""
        R = frobenius_complexity(listed(norms, "F", len(network.chain)), x_rms=norms["x_rms"], n=n)
        return math.log(2 * scores(network) / gamma) + R

    def complexity(self, network: Network) -> sp.Expr:
        """``2 K R / gamma``."""
        import sympy as sp

        from theory.bounds import _symbolic as s

        L = len(network.chain)
        R = (sp.sqrt(2 * sp.log(2) * L) + 1) * sp.prod(s.layer_symbols("F", L)) * s.x_rms / sp.sqrt(s.n)
        return 2 * scores(network) * R / s.gamma


class GolowichRows(PublishedForm):
    """Product of the largest absolute row sums.

    *published form*: see the module.
    """

    name = "golowich-rows"
    title = "(1,inf) norms (Golowich, Rakhlin, Shamir)"
    source = "published form; golowich2018size"
    meaning = (
        ("m_l", "largest absolute row sums"),
        ("column_rms", "largest root mean square of an input coordinate"),
    )

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """One layer after the other, homogeneous activations."""
        return matrix_hypotheses(network)

    def norms(self, problem: Problem) -> dict[str, float]:
        """Of explicit matrices."""
        X = inputs(problem)
        column = math.sqrt(float((X**2).sum(axis=0).max()) / problem.n)
        return {**numbered("m", (m.row for m in matrices(problem))), "column_rms": column, "d": X.shape[1]}

    def log_complexity(self, network: Network, norms: dict[str, float], n: int, gamma: float) -> float:
        """``2 K R / gamma``."""
        m = listed(norms, "m", len(network.chain))
        R = row_complexity(m, column_rms=norms["column_rms"], d=int(norms["d"]), n=n)
        return math.log(2 * scores(network) / gamma) + R

    def complexity(self, network: Network) -> sp.Expr:
        """``2 K R / gamma``."""
        import sympy as sp

        from theory.bounds import _symbolic as s

        L, column, d = len(network.chain), sp.Symbol("column_rms", positive=True), sp.Symbol("d", positive=True)
        R = 2 * sp.prod(s.layer_symbols("m", L)) * sp.sqrt(L + 1 + sp.log(d)) * column / sp.sqrt(s.n)
        return 2 * scores(network) * R / s.gamma
