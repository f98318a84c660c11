"""Frobenius product refined by operator norms: depth costs little where operator norms are the smaller ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from theory.bounds import _layered as lay
from theory.bounds._bound import Bound, Found
from theory.bounds._frame import ROUNDING
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds._report import CERTIFICATE, Assumption
from theory.bounds.frobenius import last_rows
from theory.bounds.group_norm import last_frobenius, named

if TYPE_CHECKING:
    from theory.bounds._symbolic import SymbolicBound

RATIO = 1.2  # of neighbouring grid points for s / F, fixed before the sample


def peeled_moment(ratios: Sequence[float], *, first: bool = False) -> float:
    r"""What depth costs, given the ratios s_l / F_l of the peeled layers below the top one.

    .. math:: b_1 = \sqrt2, \qquad b_{k+1} = \sqrt{b_k^2 + 2 b_k \rho_k}, \qquad \rho_k = \prod_{l \le k} s_l / F_l

    b of one activation more than there are ratios; a single layer has b_0 = 1.

    Parameters
    ----------
    ratios : s_1/F_1, ..., s_(k-1)/F_(k-1).
    first : ``1 + rho_0 + rho_1 + ...`` of first moments instead, for comparison; always larger.

    Examples
    --------
    >>> peeled_moment([1 / 2, 1 / 2], first=True), peeled_moment([]) == 2**0.5
    (2.75, True)
    """
    b, rho = (2.0 if first else math.sqrt(2)), 1.0
    for ratio in ratios:
        rho *= ratio
        b = b + rho if first else math.sqrt(b * b + 2 * b * rho)
    return b


def operator_frobenius_rademacher(
    F: Sequence[float], s: Sequence[float], XF: float, n: int, *, first: bool = False
) -> float:
    r"""Rademacher complexity of all networks with these Frobenius and operator norms and one output.

    .. math:: \hat R \le \tfrac1n \prod_l F_l\, b_{L-1}\, X_F

    Parameters
    ----------
    F, s : norms of the L layers (the last two s are not used).
    first : by first moments, for comparison.

    Examples
    --------
    >>> round(operator_frobenius_rademacher([4, 3, 2], [2, 1.5, 1.2], 100, 10_000, first=True), 12)
    0.6
    """
    return math.prod(F) * _b(F, s, first) * XF / n


def operator_frobenius_rademacher_multiclass(
    F: Sequence[float], s: Sequence[float], t: float, K: int, XF: float, n: int, *, first: bool = False
) -> tuple[float, float]:
    r"""The same for K outputs: through the rows of the last layer (lengths of sum t), or all of it.

    .. math:: \frac{X_F}{n}\, t \prod_{l<L} F_l \bigl(b_{L-1} + \sqrt{2 \ln K}\, \rho_{L-1}\bigr), \qquad
        \frac{X_F}{n} \sqrt K \prod_l F_l\, b_{L-1}

    With ``first``: b by first moments, and ``sqrt(b^2 + rho_(L-1)^2)`` in the second.

    Examples
    --------
    >>> both = operator_frobenius_rademacher_multiclass([4, 3, 2], [2, 1.5, 1.2], 5, 10, 100, 10_000, first=True)
    >>> [round(x, 6) for x in both]
    [1.821895, 1.90683]
    """
    b, rho = _b(F, s, first), math.prod(q / f for q, f in zip(s[:-1], F[:-1], strict=True))
    rows = math.prod(F[:-1]) * t * (b + math.sqrt(2 * math.log(K)) * rho)
    return rows * XF / n, math.sqrt(K) * math.prod(F) * (math.hypot(b, rho) if first else b) * XF / n


def _b(F: Sequence[float], s: Sequence[float], first: bool) -> float:
    return peeled_moment([q / f for q, f in zip(s[:-2], F[:-2], strict=True)], first=first) if len(F) > 1 else 1.0


class OperatorFrobenius(Bound):
    r"""Error from the product of Frobenius norms and the ratios of operator to Frobenius norms (*derived*).

    .. math:: \mathrm{err} \le \hat R_\gamma + \frac{m\, b_{L-1}(r)\, \bar x}{\sqrt n}\, a^j
        + 3 \sqrt{\frac{\ln(1/\delta) + \ln(1/w_j) + \sum_l \ln N_l}{2n}}, \qquad r_l = (5/6)^{i_l} \ge s_l / F_l

    b as in ``peeled_moment`` on the ratios r_1, ..., r_(L-2). One score: m = 2. Several: m = 4 and the least of the
    two statements of ``operator_frobenius_rademacher_multiclass`` at delta/2 each, ratios up to r_(L-1).

    Let U = sup sum e_i sigma(w . f_k(x_i)) over unit w and U' the same with -e. Both are >= 0, of one law, and of
    variance at most P_k^2 XF^2, P_k = s_1 ... s_k (Efron-Stein: one sign moves U by 2 P_k ||x_i||). So
    ``E max(U, U')^2 = (E U^2 + E U'^2 + E |U - U'| (U + U')) / 2 <= E U^2 + 2 P_k XF sqrt(E U^2)``, and by contraction
    ``E U^2 <= E Z_k^2``: with b_k = sqrt(E Z_k^2) / (F_1 ... F_k XF) that is the recursion (its first step 2 is the
    plain factor). Rows: the K lengths are within sub-Gaussian P_(L-1) XF of their mean. sellke2023size has the idea.

    After training: layers are rescaled so that F_l are equal, which leaves s_l / F_l; each ratio is rounded up to its
    own finite grid of N_l points, since s_l / F_l >= rank^(-1/2). Convolutions, pools and biases as in ``GroupNorm``.
    """

    name = "operator-frobenius"
    title = "product of Frobenius norms, depth weighed by operator norms"
    status = CERTIFICATE
    source = "derived (second moments, Efron-Stein); idea of sellke2023size"

    def hypotheses(self, network: Network) -> tuple[Assumption, ...]:
        """Layers in order, homogeneous activations, no max-pooling."""
        return lay.peeling_hypotheses(network)

    def compute(self, problem: Problem, delta: float, margin: float | None) -> Found:
        """Logarithms of norms are added, so that nothing overflows."""
        L, K, n, scalar = len(problem.chain), problem.chain.outputs, problem.n, problem.chain.scalar
        F = [lay.map_frobenius(problem, i) for i in range(L - 1)]
        points = grid_sizes(problem)
        s = [lay.map_spectral(problem, i) for i in range(len(points))]
        steps = [_step(q, f, N) for q, f, N in zip(s, F, points, strict=False)]
        ratios = [RATIO**-i for i in steps]
        b = peeled_moment(ratios[: L - 2]) if L > 1 else 1.0
        last, x = last_frobenius(problem), lay.root_mean_square(problem)
        quantities = {
            "x_rms": x, **named("F", [*F, last]), **named("s", s), **{f"i_{l}": i for l, i in enumerate(steps, start=1)}
        }  # fmt: skip
        inner, cost = math.fsum(map(lay.log, F)), math.fsum(map(math.log, points))

        def form(last: float, factor: float, label: str) -> lay.Form:
            return lay.Form(
                log_norm=inner + lay.log(last), log_factor=math.log(factor / math.sqrt(n)) + lay.log(x),
                cost=cost, label=label, quantities=quantities,
            )  # fmt: skip

        if scalar:
            return lay.least(problem, [form(last, 2 * b, "")], delta, margin)
        quantities["t"] = t = last_rows(problem)
        rows = b + math.sqrt(2 * math.log(K)) * math.prod(ratios)
        forms = [form(t, 4 * rows, "rows"), form(last, 4 * math.sqrt(K) * b, "all")]
        return lay.least(problem, forms, delta, margin)

    def symbolic_form(self, network: Network) -> SymbolicBound:
        """In the Frobenius norms F_1, ..., F_L and operator norms s_1, ..."""
        import sympy as sp

        from theory.bounds import _layered_symbolic as ls
        from theory.bounds import _symbolic as sym

        L, K = len(network.chain), network.chain.outputs
        points = grid_sizes(network)
        F, s, t = sym.layer_symbols("F", L), sym.layer_symbols("s", len(points)), sp.Symbol("t", positive=True)
        steps = [sym.index(f"i_{l}") for l in range(1, len(points) + 1)]
        x, cost = sym.x_rms / sp.sqrt(sym.n), sp.Add(*(sp.log(N) for N in points))
        meaning = {f.name: "Frobenius norm of the layer's matrix" for f in F}
        meaning |= {q.name: "operator norm of the layer's matrix" for q in s}
        meaning |= {i.name: "index of the grid point (5/6)^i above s / F" for i in steps}

        def b_and_rho(ratios: list[sp.Expr]) -> tuple[sp.Expr, sp.Expr]:
            b, rho = sp.S.One if L == 1 else sp.sqrt(2), sp.S.One
            for k, ratio in enumerate(ratios):
                rho = rho * ratio
                if k < L - 2:
                    # b appears once, so that the expression grows with L and not with 2^L
                    b = sp.sqrt((b + rho) ** 2 - rho**2)
            return b, rho

        b, rho = b_and_rho([sp.Rational(5, 6) ** i for i in steps])
        b_named, rho_named = b_and_rho([q / f for q, f in zip(s, F, strict=False)])
        if network.chain.scalar:
            form = ls.SymbolicForm(norm=sp.Mul(*F), factor=2 * b * x, named=2 * b_named * x, cost=cost)
            return ls.symbolic(self.name, [form], meaning)
        root = sp.sqrt(2 * sp.log(K))
        rows = ls.SymbolicForm(
            norm=sp.Mul(*F[:-1]) * t, factor=4 * (b + root * rho) * x, named=4 * (b_named + root * rho_named) * x,
            cost=cost, label="rows",
        )  # fmt: skip
        whole = ls.SymbolicForm(
            norm=sp.Mul(*F), factor=4 * sp.sqrt(K) * b * x, named=4 * sp.sqrt(K) * b_named * x, cost=cost, label="all"
        )
        meaning["t"] = "sum of the lengths of the last layer's rows"
        return ls.symbolic(self.name, [rows, whole], meaning)


def grid_sizes(network: Network) -> list[int]:
    """Points N_l of the grids of s_l / F_l, for as many layers as the statement needs."""
    chain = network.chain
    needed = max(0, len(chain) - (2 if chain.scalar else 1))
    sizes = []
    for layer in chain.layers[:needed]:
        rank = min(math.prod(layer.input_shape), math.prod(layer.output_shape)) + chain.has_bias
        sizes.append(1 + math.floor(math.log(rank) / 2 / math.log(RATIO)))
    return sizes


def _step(s: float, F: float, points: int) -> int:
    """The largest i below ``points`` with RATIO^-i >= s / F."""
    if F == 0:
        return 0
    room = -math.log(max(s / F, 1e-300)) / math.log(RATIO) - ROUNDING * 100
    return max(0, min(points - 1, math.floor(room)))
