r"""Bounds of graf2022measuring on the ramp losses of convolutional networks: distances of kernels from a reference.

With b_l = sum over outputs and kernel positions of the length over input channels of K_l - M_l, s_l the spectral norm
of the map, W_l parameters, W the largest, H the harmonic number, natural logarithms, ``C_l = (4/gamma) x_rms b_l
prod_{j != l} s_j``,

.. math:: R \le \frac4n + \frac{12 H_{n-1}}{\sqrt n} \sqrt{\ln(2 W)} \Bigl(\sum_l \lceil C_l^{2/3} \rceil\Bigr)^{3/2},
          \qquad R \le \frac{12}{\sqrt n} \Bigl(\sum_l 2 W_l \bigl[\ln(1 + \lceil L^2 C_l^2 \rceil)
          + \psi(\lceil L^2 C_l^2 \rceil)\bigr]\Bigr)^{1/2}

*published form*; the risk is ``mean ramp + 2 R + 3 sqrt(ln(2/delta) / (2n))`` without a union. Programs put ln n for
H and leave the ceilings out. psi(x) = zeta(3/2)^{1/3} zeta(3/2, 1 + 1/x^2)^{2/3}, the Hurwitz zeta function: the
exponent 2/3 is the one with psi < 2.7 and above the integral of ln(1 + ceil(x/e^2)) over e in (0, 1) less ln(1 + x),
which the tests check. Chains only, without pooling. ``covering`` is the certificate of this kind, for any graph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import digamma, zeta

from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import Assumption
from theory.bounds.published._form import PublishedForm, listed, log, log_sum, numbered, replaced, replaced_logs
from theory.bounds.published._maps import filter_distances, inputs, kernel_hypotheses, operator_norms, rms

if TYPE_CHECKING:
    import sympy as sp


def psi(x: float) -> float:
    """``zeta(3/2)^{1/3} zeta(3/2, 1 + 1/x^2)^{2/3}``; 0 at 0."""
    return float(zeta(1.5) ** (1 / 3) * zeta(1.5, 1 + 1 / x**2) ** (2 / 3)) if x > 1e-100 else 0.0


def capacities(s: Sequence[float], b: Sequence[float], *, x_rms: float, gamma: float) -> list[float]:
    """``ln C_l`` for each layer."""
    return [log(4 / gamma * x_rms) + v for v in replaced_logs(b, s)]


def norm_complexity(log_C: Sequence[float], *, W: int, n: int) -> float:
    """Logarithm of the bound on R by norms."""
    harmonic = float(digamma(n) + np.euler_gamma)
    scale = log(12 * harmonic * math.sqrt(math.log(2 * W) / n))
    return log_sum([math.log(4 / n), scale + 1.5 * log_sum(_ceiling(2 / 3 * v) for v in log_C)])


def parameter_complexity(log_C: Sequence[float], *, counts: Sequence[int], n: int) -> float:
    """Logarithm of the bound on R by the numbers of parameters."""
    L, total = len(log_C), 0.0
    for v, W in zip(log_C, counts, strict=True):
        x = _ceiling(2 * (v + math.log(L)))
        total += 2 * W * (float(np.logaddexp(0.0, x)) + psi(math.exp(min(x, 300.0))))
    return math.log(12) - math.log(n) / 2 + log(total) / 2


def _ceiling(v: float) -> float:
    """``ln ceil(e^v)``."""
    return v if v > 36 else log(math.ceil(math.exp(v)))


class GrafNorms(PublishedForm):
    """Covering by norms.

    *published form*: see the module.
    """

    name = "graf-norms"
    title = "distances of kernels, covering by norms (Graf et al.)"
    source = "published form; graf2022measuring"
    meaning = (("s_l", "spectral norms of the maps"), ("b_l", "(2,1) distances of kernels from the reference"))

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Kernels in a row, homogeneous activations, no biases, no pooling."""
        return kernel_hypotheses(network)

    def norms(self, problem: Problem) -> dict[str, float]:
        """Spectral norms, distances."""
        return {
            **numbered("s", operator_norms(problem)), **numbered("b", filter_distances(problem)),
            "x_rms": rms(inputs(problem)),
        }  # fmt: skip

    def log_complexity(self, network: Network, norms: dict[str, float], n: int, gamma: float) -> float:
        """``2 R``."""
        return math.log(2) + norm_complexity(_capacities(network, norms, gamma), W=max(_counts(network)), n=n)

    def complexity(self, network: Network) -> sp.Expr:
        """``2 R``."""
        import sympy as sp

        from theory.bounds import _symbolic as s

        total = sum(sp.ceiling(C ** sp.Rational(2, 3)) for C in _symbolic_capacities(network))
        scale = 12 * sp.harmonic(s.n - 1) / sp.sqrt(s.n) * sp.sqrt(sp.log(2 * max(_counts(network))))
        return 2 * (4 / s.n + scale * total ** sp.Rational(3, 2))


class GrafParameters(GrafNorms):
    """Covering by the numbers of parameters.

    *published form*: see the module.
    """

    name = "graf-parameters"
    title = "distances of kernels, covering by parameters (Graf et al.)"

    def log_complexity(self, network: Network, norms: dict[str, float], n: int, gamma: float) -> float:
        """``2 R``."""
        return math.log(2) + parameter_complexity(_capacities(network, norms, gamma), counts=_counts(network), n=n)

    def complexity(self, network: Network) -> sp.Expr:
        """``2 R``."""
        import sympy as sp

        from theory.bounds import _symbolic as s

        half, total = sp.Rational(3, 2), sp.Integer(0)
        for C, W in zip(_symbolic_capacities(network), _counts(network), strict=True):
            x = sp.ceiling(len(network.chain) ** 2 * C**2)
            tail = sp.zeta(half) ** sp.Rational(1, 3) * sp.zeta(half, 1 + 1 / sp.Max(x, 1) ** 2) ** sp.Rational(2, 3)
            total += 2 * W * (sp.log(1 + x) + sp.Piecewise((tail, x > 0), (0, True)))
        return 24 / sp.sqrt(s.n) * sp.sqrt(total)


def _counts(network: Network) -> list[int]:
    return [layer.n_weights for layer in network.chain.layers]


def _capacities(network: Network, norms: dict[str, float], gamma: float) -> list[float]:
    L = len(network.chain)
    return capacities(listed(norms, "s", L), listed(norms, "b", L), x_rms=norms["x_rms"], gamma=gamma)


def _symbolic_capacities(network: Network) -> list[sp.Expr]:
    import sympy as sp

    from theory.bounds import _symbolic as s

    # not declared positive: the ceiling of a capacity may be zero
    b, S = ([sp.Symbol(f"{letter}_{i + 1}", nonnegative=True) for i in range(len(network.chain))] for letter in "bs")
    return [4 / s.gamma * s.x_rms * v for v in replaced(b, S)]
