"""Frobenius product with the square root of the depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from theory.bounds import _layered as lay
from theory.bounds._bound import Bound, Found
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import CERTIFICATE, Assumption
from theory.bounds.group_norm import last_frobenius, named
from theory.norms import norm_2_1

if TYPE_CHECKING:
    from theory.bounds._symbolic import SymbolicBound


def frobenius_rademacher(F: Sequence[float], XF: float, n: int, *, exponential: bool = False) -> float:
    r"""Rademacher complexity of all networks with these Frobenius norms and one output.

    .. math:: \hat R \le \tfrac1n \prod_l F_l\, X_F\, \min\bigl(2^{(L-1)/2}, \sqrt{2 L \ln 2}\bigr)

    Parameters
    ----------
    F : Frobenius norms of the L layers.
    XF, n : root of the sum of squared lengths of the sample, its size.
    exponential : the factor ``1 + sqrt(2 (L-1) ln 2)`` of exponential moments instead (golowich2018size with L-1 for
        L, as their lemma gives), for comparison; always larger.

    Examples
    --------
    >>> round(frobenius_rademacher([4, 3, 2], 100, 10_000, exponential=True), 10)
    0.6396262134
    """
    factor = lay.exponential_factor if exponential else lay.cosh_factor
    return math.prod(F) * factor((len(F) - 1) * lay.LN2) * XF / n


def frobenius_rademacher_multiclass(
    F: Sequence[float], t: float, K: int, XF: float, n: int, *, exponential: bool = False
) -> tuple[float, float]:
    r"""The same for K outputs, ``(1/n) E sup sum_ik e_ik f_k(x_i)``: through the rows of the last layer, or all of it.

    .. math:: \frac{X_F}{n}\, t \prod_{l<L} F_l\, \theta\bigl((L-1) \ln 2 + \ln K\bigr), \qquad
        \frac{X_F}{n} \sqrt K \prod_l F_l\, \theta\bigl((L-1) \ln 2\bigr)

    theta as in ``cosh_factor``; with ``exponential`` the theta of exponential moments, and ``sqrt(theta^2 + 1)`` in
    the second (a variance that the second moment makes unnecessary).

    Parameters
    ----------
    F : Frobenius norms of the L layers.
    t : sum of the Euclidean lengths of the rows of the last layer.

    Examples
    --------
    >>> [round(x, 6) for x in frobenius_rademacher_multiclass([4, 3, 2], 5, 10, 100, 10_000, exponential=True)]
    [2.229722, 2.160374]
    """
    c = (len(F) - 1) * lay.LN2
    if exponential:
        rows, whole = lay.exponential_factor(c + math.log(K)), math.hypot(lay.exponential_factor(c), 1)
    else:
        rows, whole = lay.cosh_factor(c + math.log(K)), lay.cosh_factor(c)
    return math.prod(F[:-1]) * t * rows * XF / n, math.sqrt(K) * math.prod(F) * whole * XF / n


class Frobenius(Bound):
    r"""Error from the product of Frobenius norms, with the root of the depth (*derived*).

    .. math:: \mathrm{err} \le \hat R_\gamma + \frac{m\,\theta\,\bar x}{\sqrt n}\, a^j
        + 3 \sqrt{\frac{\ln(1/\delta) + \ln(1/w_j)}{2n}}

    One score: m = 2, ``theta = cosh_factor((L-1) ln 2)``, ``a^j >= prod F_l / gamma``. Several: m = 4 and the least of
    two statements at delta/2 each. Rows: ``theta = cosh_factor((L-1) ln 2 + ln K)`` and the last norm the sum t_L of
    row lengths, since ``sum_k w_k . v_k <= t_L max_k ||v_k||`` and a maximum over k is at most a sum inside phi. All:
    ``sqrt(K) cosh_factor((L-1) ln 2)`` and F_L, by Cauchy-Schwarz and ``E ||v_k||^2``. The peeling is that of
    ``_layered``; golowich2018size prints ``1 + sqrt(2 L ln 2)``.

    Convolutions, average pools and biases as in ``GroupNorm``.
    """

    name = "frobenius"
    title = "product of Frobenius norms, root of the depth"
    status = CERTIFICATE
    source = "derived (cosh moments); golowich2018size has 1 + sqrt(2 L ln 2)"

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Layers in order, homogeneous activations, no max-pooling."""
        return lay.peeling_hypotheses(network)

    def compute(self, problem: Problem, delta: float, margin: float | None) -> Found:
        """Logarithms of norms are added, so that nothing overflows."""
        L, K, n = len(problem.chain), problem.chain.outputs, problem.n
        F = [lay.map_frobenius(problem, i) for i in range(L - 1)] + [last_frobenius(problem)]
        x, c = lay.root_mean_square(problem), (L - 1) * lay.LN2
        quantities = {"x_rms": x, **named("F", F)}
        inner = math.fsum(map(lay.log, F[:-1]))

        def form(last: float, factor: float, label: str) -> lay.Form:
            return lay.Form(
                log_norm=inner + lay.log(last), log_factor=math.log(factor / math.sqrt(n)) + lay.log(x),
                label=label, quantities=quantities,
            )  # fmt: skip

        if problem.chain.scalar:
            return lay.least(problem, [form(F[-1], 2 * lay.cosh_factor(c), "")], delta, margin)
        t = last_rows(problem)
        quantities["t"] = t
        forms = [
            form(t, 4 * lay.cosh_factor(c + math.log(K)), "rows"),
            form(F[-1], 4 * math.sqrt(K) * lay.cosh_factor(c), "all"),
        ]
        return lay.least(problem, forms, delta, margin)

    def symbolic_form(self, network: Network) -> SymbolicBound:
        """In the Frobenius norms F_1, ..., F_L and the sum t of row lengths of the last layer."""
        import sympy as sp

        from theory.bounds import _layered_symbolic as ls
        from theory.bounds import _symbolic as sym

        L, K = len(network.chain), network.chain.outputs
        F, t = sym.layer_symbols("F", L), sp.Symbol("t", positive=True)
        c, x = (L - 1) * sp.log(2), sym.x_rms / sp.sqrt(sym.n)
        meaning = {f.name: "Frobenius norm of the layer's matrix" for f in F}
        if network.chain.scalar:
            form = ls.SymbolicForm(norm=sp.Mul(*F), factor=2 * ls.cosh_symbol(c) * x)
            return ls.symbolic(self.name, [form], meaning)
        theta = ls.cosh_symbol(c + sp.log(K))
        rows = ls.SymbolicForm(norm=sp.Mul(*F[:-1]) * t, factor=4 * theta * x, label="rows")
        whole = ls.SymbolicForm(norm=sp.Mul(*F), factor=4 * sp.sqrt(K) * ls.cosh_symbol(c) * x, label="all")
        meaning["t"] = "sum of the lengths of the last layer's rows"
        return ls.symbolic(self.name, [rows, whole], meaning)


def last_rows(network: Network) -> float:
    """Sum of the row lengths, from above, of the last map, counted from a common row."""
    W = lay.last_matrix(network, lay.pool_norm(network, len(network.chain) - 1))
    return min(norm_2_1(V) for V in lay.shifts(W))
