"""Peeling bounds as sympy expressions: written apart from the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sympy as sp

from theory.bounds import _symbolic as sym


def cosh_symbol(c: sp.Expr) -> sp.Expr:
    """``_layered.cosh_factor`` of an expression without free symbols."""
    return min(sp.sqrt(sp.exp(c)), sp.sqrt(2 * (c + sp.log(2))), key=float)


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolicForm:
    """The same statement in symbols: ``factor`` with grids for ratios, ``named`` the factor in named norms."""

    norm: sp.Expr
    factor: sp.Expr
    named: sp.Expr | None = None
    cost: sp.Expr = sp.S.Zero
    label: str = ""


def symbolic(name: str, forms: Sequence[SymbolicForm], meaning: Mapping[str, str]) -> sym.SymbolicBound:
    """The whole bound: the least of the statements."""
    wholes, complexities, words = [], [], dict(COMMON)
    for form in forms:
        tail = form.label and f"_{form.label}"
        R, j = sp.Symbol(f"R{tail}", positive=True), sym.index(f"j{tail}")
        words |= {R.name: "mean ramp loss", j.name: "index of the grid point a^j above norm / gamma"}
        cost = sym.grid_cost(j) + form.cost + sp.log(len(forms))
        wholes.append(R + form.factor * sym.a**j + sym.confidence(cost))
        complexities.append((form.factor if form.named is None else form.named) * form.norm / sym.gamma)
    return sym.SymbolicBound(
        name=name, expression=_least(wholes), complexity=_least(complexities), meaning={**words, **meaning}
    )


def _least(expressions: list[sp.Expr]) -> sp.Expr:
    """Their minimum, which sympy is not asked to decide: that takes seconds for deep networks."""
    return expressions[0] if len(expressions) == 1 else sp.Min(*expressions, evaluate=False)


COMMON = {
    "n": "sample size", "delta": "probability of failure", "gamma": "margin",
    "x_rms": "root of the mean squared length of an input, with the constant 1 where there are biases",
}  # fmt: skip
