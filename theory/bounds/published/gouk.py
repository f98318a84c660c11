r"""Bounds of gouk2021distance: distances from the initial weights, exponential in the depth, as a program has them.

.. math:: K R = \frac{2^{L+1} K}{\sqrt n} \ln(d) \max_{i,j} |x_{ij}| \sum_l D_l \prod_{j \ne l} m_j, \qquad
          K R = \frac{2^{L+1/2} K}{\sqrt n} x_{rms} \prod_l \frac{d_l^2 \sqrt{c_l}}{q_l}
          \sum_l \frac{D'_l \prod_{j \ne l} F_j}{\prod_{j \le l} d_j \sqrt{c_j}}

m_l the largest absolute row sum of the kernel and D_l that of its difference from the reference; F_l, D'_l the same
with Frobenius norms; d inputs, d_l input side (1 for dense layers), c_l input channels, q_l stride, K scores (1 for
two classes). *published form*; the risk is ``mean ramp + 2 K R / gamma + 3 sqrt(ln(2/delta) / (2n))`` (see
``_form``). The peeling argument would give sqrt(ln(2 d)) for ln(d).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import Assumption
from theory.bounds.published._form import (
    PublishedForm,
    listed,
    log,
    log_sum,
    numbered,
    replaced,
    replaced_logs,
    scores,
)  # fmt: skip
from theory.bounds.published._maps import distances, inputs, kernel_hypotheses, rms, sides
from theory.norms import frobenius_norm, norm_1_inf

if TYPE_CHECKING:
    import sympy as sp


def row_complexity(m: Sequence[float], D: Sequence[float], *, x_max: float, d: int, n: int) -> float:
    """Logarithm of R with (1,inf) norms."""
    scale = (len(m) + 1) * math.log(2) + log(x_max * math.log(d)) - math.log(n) / 2
    return scale + log_sum(replaced_logs(D, m))


def frobenius_complexity(
    F: Sequence[float], D: Sequence[float], sizes: Sequence[tuple[int, int, int]], *, x_rms: float, n: int
) -> float:
    """Logarithm of R with Frobenius norms; ``sizes`` are (d_l, q_l, c_l)."""
    scale = (len(F) + 0.5) * math.log(2) + log(x_rms) - math.log(n) / 2
    scale += math.fsum(2 * math.log(d) + math.log(c) / 2 - math.log(q) for d, q, c in sizes)
    below = np.cumsum([math.log(d) + math.log(c) / 2 for d, _, c in sizes])
    return scale + log_sum(v - w for v, w in zip(replaced_logs(D, F), below, strict=True))


class GoukRows(PublishedForm):
    """Distances in the (1,inf) norm.

    *published form*: see the module.
    """

    name = "gouk-rows"
    title = "(1,inf) distances from the start (Gouk, Hospedales, Pontil)"
    source = "published form; gouk2021distance"
    meaning = (
        ("m_l", "largest absolute row sums"),
        ("D_l", "those of the distances"),
        ("x_max", "largest input entry"),
    )

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Kernels in a row, homogeneous activations, no biases, no pooling."""
        return kernel_hypotheses(network)

    def norms(self, problem: Problem) -> dict[str, float]:
        """Of kernels."""
        m = (norm_1_inf(layer.weight.reshape(len(layer.weight), -1)) for layer in problem.chain.layers)
        D = (norm_1_inf(d.reshape(len(d), -1)) for d in distances(problem))
        X = inputs(problem)
        return {**numbered("m", m), **numbered("D", D), "x_max": float(np.abs(X).max()), "d": X.shape[1]}

    def log_complexity(self, network: Network, norms: dict[str, float], n: int, gamma: float) -> float:
        """``2 K R / gamma``."""
        m, D = (listed(norms, letter, len(network.chain)) for letter in "mD")
        return math.log(2 * scores(network) / gamma) + row_complexity(
            m, D, x_max=norms["x_max"], d=int(norms["d"]), n=n
        )

    def complexity(self, network: Network) -> sp.Expr:
        """``2 K R / gamma``."""
        import sympy as sp

        from theory.bounds import _symbolic as s

        L, top, d = len(network.chain), sp.Symbol("x_max", positive=True), sp.Symbol("d", positive=True)
        total = sum(replaced(s.layer_symbols("D", L), s.layer_symbols("m", L)))
        return 2 ** (L + 2) * scores(network) * sp.log(d) * top * total / (s.gamma * sp.sqrt(s.n))


class GoukFrobenius(PublishedForm):
    """Distances in the Frobenius norm.

    *published form*: see the module.
    """

    name = "gouk-frobenius"
    title = "Frobenius distances from the start (Gouk, Hospedales, Pontil)"
    source = "published form; gouk2021distance"
    meaning = (("F_l", "Frobenius norms of kernels"), ("D_l", "Frobenius distances"))

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Kernels in a row, homogeneous activations, no biases, no pooling."""
        return kernel_hypotheses(network)

    def norms(self, problem: Problem) -> dict[str, float]:
        """Of kernels."""
        F = (frobenius_norm(layer.weight) for layer in problem.chain.layers)
        D = map(frobenius_norm, distances(problem))
        return {**numbered("F", F), **numbered("D", D), "x_rms": rms(inputs(problem))}

    def log_complexity(self, network: Network, norms: dict[str, float], n: int, gamma: float) -> float:
        """``2 K R / gamma``."""
        F, D = (listed(norms, letter, len(network.chain)) for letter in "FD")
        return math.log(2 * scores(network) / gamma) + frobenius_complexity(
            F, D, sides(network), x_rms=norms["x_rms"], n=n
        )

    def complexity(self, network: Network) -> sp.Expr:
        """``2 K R / gamma``."""
        import sympy as sp

        from theory.bounds import _symbolic as s

        L, sizes = len(network.chain), sides(network)
        scale = 2 ** (L + sp.Rational(1, 2)) * scores(network) * s.x_rms / sp.sqrt(s.n)
        scale *= sp.prod([sp.Rational(d**2, q) * sp.sqrt(c) for d, q, c in sizes])
        total, below = sp.Integer(0), sp.Integer(1)
        for v, (d, _, c) in zip(replaced(s.layer_symbols("D", L), s.layer_symbols("F", L)), sizes, strict=True):
            below *= d * sp.sqrt(c)
            total += v / below
        return 2 * scale * total / s.gamma
