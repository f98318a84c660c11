r"""Bound of lin2019generalization on the ramp losses of convolutional networks, as a program has it (their Lemma 18).

With s_l the spectral norm of the map, F_l the Frobenius norm of the kernel, P_l its parameters, d_l the input side and
q_l the stride,

.. math:: R \le \frac{16}{\sqrt n} \Bigl[\frac{2 L^2}{\gamma} x_{rms} \sum_l P_l^2 \frac{d_l}{q_l} F_l
          \prod_{j \ne l} s_j\Bigr]^{1/4}

*published form*; the risk is ``mean ramp + 2 R + 3 sqrt(ln(2/delta) / (2n))`` without a union.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import Assumption
from theory.bounds.published._form import PublishedForm, listed, log, log_sum, numbered, replaced, replaced_logs
from theory.bounds.published._maps import inputs, kernel_hypotheses, operator_norms, rms, sides
from theory.norms import frobenius_norm

if TYPE_CHECKING:
    import sympy as sp


def root_complexity(
    s: Sequence[float], F: Sequence[float], scales: Sequence[float], *, x_rms: float, n: int, gamma: float
) -> float:
    """Logarithm of R; ``scales`` are ``P_l^2 d_l / q_l``."""
    terms = replaced_logs([f * c for f, c in zip(F, scales, strict=True)], s)
    return math.log(16) - math.log(n) / 2 + (log(2 * len(s) ** 2 / gamma * x_rms) + log_sum(terms)) / 4


class LinZhang(PublishedForm):
    """A fourth root of norms and parameters.

    *published form*: see the module.
    """

    name = "lin-zhang"
    title = "fourth root of norms and parameters (Lin, Zhang)"
    source = "published form; lin2019generalization"
    meaning = (("s_l", "spectral norms of the maps"), ("F_l", "Frobenius norms of kernels"))

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Kernels in a row, homogeneous activations, no biases, no pooling."""
        return kernel_hypotheses(network)

    def norms(self, problem: Problem) -> dict[str, float]:
        """Spectral and Frobenius norms."""
        F = (frobenius_norm(layer.weight) for layer in problem.chain.layers)
        return {**numbered("s", operator_norms(problem)), **numbered("F", F), "x_rms": rms(inputs(problem))}

    def log_complexity(self, network: Network, norms: dict[str, float], n: int, gamma: float) -> float:
        """``2 R``."""
        L = len(network.chain)
        scales = [p**2 * d / q for p, d, q in _sizes(network)]
        s, F = listed(norms, "s", L), listed(norms, "F", L)
        return math.log(2) + root_complexity(s, F, scales, x_rms=norms["x_rms"], n=n, gamma=gamma)

    def complexity(self, network: Network) -> sp.Expr:
        """``2 R``."""
        import sympy as sp

        from theory.bounds import _symbolic as s

        L = len(network.chain)
        scaled = [sp.Rational(p**2 * d, q) * F
                  for F, (p, d, q) in zip(s.layer_symbols("F", L), _sizes(network), strict=True)]  # fmt: skip
        inside = 2 * L**2 / s.gamma * s.x_rms * sum(replaced(scaled, s.layer_symbols("s", L)))
        return 32 / sp.sqrt(s.n) * inside ** sp.Rational(1, 4)


def _sizes(network: Network) -> list[tuple[int, int, int]]:
    """Parameters, input side and stride."""
    return [(layer.n_weights, d, q) for layer, (d, q, _) in zip(network.chain.layers, sides(network), strict=True)]
