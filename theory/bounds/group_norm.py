"""Frobenius product with a factor sqrt(2) for each activation: the shortest proof."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from theory.bounds import _layered as lay
from theory.bounds._bound import Bound, Found
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import CERTIFICATE, Assumption
from theory.norms import frobenius_norm

if TYPE_CHECKING:
    from theory.bounds._symbolic import SymbolicBound


def group_norm_rademacher(F: Sequence[float], XF: float, n: int, *, moment: int = 2, K: int = 1) -> float:
    r"""Rademacher complexity of all networks with these Frobenius norms.

    .. math:: \hat R \le \tfrac1n \sqrt K\, 2^{(L-1)/p} \prod_l F_l\, X_F, \qquad X_F^2 = \sum_i \|x_i\|^2

    Parameters
    ----------
    F : Frobenius norms of the L layers.
    XF, n : root of the sum of squared lengths of the sample, its size.
    moment : p. 2 (*derived*, see ``GroupNorm``), or 1, the constant of neyshabur2015norm, larger.
    K : outputs, each with its own signs (then ``(1/n) E sup sum_ik e_ik f_k(x_i)``; moment 2 only).

    Examples
    --------
    >>> round(group_norm_rademacher([4, 3, 2], 100, 10_000, moment=1), 12)
    0.96
    """
    return math.sqrt(K) * 2 ** ((len(F) - 1) / moment) * math.prod(F) * XF / n


class GroupNorm(Bound):
    r"""Error from the product of Frobenius norms, by second moments (*derived*).

    .. math:: \mathrm{err} \le \hat R_\gamma + \frac{m \sqrt K\, 2^{(L-1)/2}}{\sqrt n}\, \bar x\, a^j
        + 3 \sqrt{\frac{\ln(1/\delta) + \ln(1/w_j)}{2n}}, \qquad a^j \ge \frac{\prod_l F_l}{\gamma}

    m = 4, or 2 with K = 1 for a single score. Peeling as in ``_layered`` with phi(t) = t^2: each activation costs a
    factor 2 in ``E Z^2``, so sqrt(2) in its root, where neyshabur2015norm pays 2 in the mean; at the bottom
    ``E ||sum e_i x_i||^2 = XF^2``. Several scores: ``sum_k w_k . v_k <= F_L (sum_k ||v_k||^2)^(1/2)``, the v_k of one
    distribution. Rows of the last layer are counted from their mean, which margins do not see.

    A convolution is its explicit matrix, an average pool belongs to the map that reads it, biases ride on a constant
    input 1: F_l is that of ``[[W, b], [0, 1]]``.

    From four layers on ``frobenius`` is the smaller one.
    """

    name = "group-norm"
    title = "product of Frobenius norms, sqrt(2) for each activation"
    status = CERTIFICATE
    source = "derived (second moments); neyshabur2015norm has 2 for each activation"

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Layers in order, homogeneous activations, no max-pooling."""
        return lay.peeling_hypotheses(network)

    def compute(self, problem: Problem, delta: float, margin: float | None) -> Found:
        """Logarithms of norms are added, so that nothing overflows."""
        L, K, scalar = len(problem.chain), problem.chain.outputs, problem.chain.scalar
        F = [lay.map_frobenius(problem, i) for i in range(L - 1)] + [last_frobenius(problem)]
        x = lay.root_mean_square(problem)
        factor = lay.risk_factor(scalar) * math.sqrt(K / problem.n) * 2 ** ((L - 1) / 2)
        form = lay.Form(
            log_norm=math.fsum(map(lay.log, F)), log_factor=math.log(factor) + lay.log(x),
            quantities={"x_rms": x, **named("F", F)},
        )  # fmt: skip
        return lay.least(problem, [form], delta, margin)

    def symbolic_form(self, network: Network) -> SymbolicBound:
        """In the Frobenius norms F_1, ..., F_L."""
        import sympy as sp

        from theory.bounds import _layered_symbolic as ls
        from theory.bounds import _symbolic as sym

        L, K = len(network.chain), network.chain.outputs
        m = lay.risk_factor(network.chain.scalar)
        factor = m * sp.sqrt(K * sp.Integer(2) ** (L - 1)) * sym.x_rms / sp.sqrt(sym.n)
        F = sym.layer_symbols("F", L)
        form = ls.SymbolicForm(norm=sp.Mul(*F), factor=factor)
        return ls.symbolic(self.name, [form], {f.name: "Frobenius norm of the layer's matrix" for f in F})


def last_frobenius(network: Network) -> float:
    """Frobenius norm, from above, of the last map, its rows counted from their mean where there are several."""
    W = lay.last_matrix(network, lay.pool_norm(network, len(network.chain) - 1))
    if network.chain.scalar:
        return frobenius_norm(W)
    return min(frobenius_norm(V) for V in lay.shifts(W))


def named(letter: str, values: Sequence[float]) -> dict[str, float]:
    """``{letter_1: ...}``."""
    return {f"{letter}_{i}": float(np.float64(v)) for i, v in enumerate(values, start=1)}
