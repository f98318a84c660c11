"""Deciding that an expression is identically zero: exponentials and radicals become generators of a polynomial ring."""

from __future__ import annotations

import sympy as sp


def vanishes(expression: sp.Expr | sp.MatrixBase) -> bool:
    r"""Whether ``expression`` (each entry, for a matrix) is shown to be zero where radicands' factors are positive.

    Exponentials :math:`e^{\sum_j c_j m_j}` become monomials in one generator per m_j, and powers with a symbolic
    exponent likewise through logarithms; the numerator is then a polynomial in these generators and in radicals,
    and is reduced modulo :math:`g^q = \text{radicand}`. True is a proof; False means only that none was found.
    """
    if isinstance(expression, sp.MatrixBase):
        return all(vanishes(entry) for entry in expression)
    expression = sp.sympify(expression)
    if expression.has(sp.nan, sp.zoo, sp.oo):
        return False
    return sp.expand(expression) == 0 or _reduced(expression) == 0


def _reduced(expression: sp.Expr) -> sp.Expr:
    """The numerator of ``expression`` in the ring of its symbols, exponentials and radicals."""
    numerator = _numerator(_with_generators(_without_symbolic_powers(_with_plain_radicands(expression))))
    while True:
        radicals = [p for p in numerator.atoms(sp.Pow) if p.exp.is_Rational and not p.exp.is_Integer]
        if not radicals:
            return sp.expand(numerator)
        # An outer radical goes before the radicals inside it.
        base = max({p.base for p in radicals}, key=lambda b: (len(b.atoms(sp.Pow)), sp.default_sort_key(b)))
        same = [p for p in radicals if p.base == base]
        order = sp.ilcm(1, *[p.exp.q for p in same])
        root = sp.Dummy("root", positive=True)
        numerator = _numerator(numerator.xreplace({p: root ** (p.exp * order) for p in same}))
        # Zero coefficients of root, root^2, ... are sufficient, so root may stay as a free symbol.
        numerator = _numerator(sp.rem(numerator, root**order - base, root))


def _numerator(expression: sp.Expr) -> sp.Expr:
    return sp.expand(sp.fraction(sp.together(expression))[0])


def _with_plain_radicands(expression: sp.Expr) -> sp.Expr:
    """sqrt(x y^2 / z) as sqrt(x) y / sqrt(z), with each radicand factored."""

    def split(power: sp.Pow) -> sp.Expr:
        base = sp.factor(sp.together(power.base))
        if any(factor.is_Number and factor.is_negative for factor in sp.Mul.make_args(base)):
            base = power.base  # a sign pulled out of a radicand would leave the reals
        return sp.Mul(*[b ** (m * power.exp) for b, m in (f.as_base_exp() for f in sp.Mul.make_args(base))])

    return expression.replace(lambda e: e.is_Pow and e.exp.is_Rational and not e.exp.is_Integer, split)


def _without_symbolic_powers(expression: sp.Expr) -> sp.Expr:
    """x^f(L) as e^(f(L) log x), so that exponents add up in one place."""
    return expression.replace(
        lambda e: e.is_Pow and not e.exp.is_number,
        lambda p: sp.exp(sp.expand_log(sp.log(sp.factor(p.base)), force=True) * p.exp, evaluate=False),
    )


def _with_generators(expression: sp.Expr) -> sp.Expr:
    """Every e^(sum c_j m_j) as a product of powers of generators, one for each m_j."""
    exponentials = {e: _terms(e.args[0]) for e in expression.atoms(sp.exp)}
    monomials = {m for terms in exponentials.values() for m, _ in terms}
    order = {m: sp.ilcm(1, 1, *[c.q for t in exponentials.values() for n, c in t if n == m]) for m in monomials}
    generator = {m: m.args[0] if isinstance(m, sp.log) else sp.Dummy("g", positive=True) for m in monomials}
    swap = {
        e: sp.Mul(*[(generator[m] ** c if isinstance(m, sp.log) else generator[m] ** (c * order[m])) for m, c in terms])
        for e, terms in exponentials.items()
    }
    return expression.xreplace(swap)


def _terms(exponent: sp.Expr) -> list[tuple[sp.Expr, sp.Rational]]:
    """The exponent as a sum of monomials with rational coefficients.

    Parts are gathered by their logarithms and by the letters in which the exponent is linear; what multiplies those is
    brought to one form, as partial fractions where it is a rational function of one letter.
    """
    exponent = sp.expand(exponent)
    linear = {x for x in exponent.free_symbols if not exponent.diff(x).has(x)}
    found: dict[sp.Expr, sp.Expr] = {}
    for part in sp.Add.make_args(exponent):
        kernel = sp.Mul(*[f for f in sp.Mul.make_args(part) if isinstance(f, sp.log) or f in linear])
        found[kernel] = found.get(kernel, sp.Integer(0)) + part / kernel
    terms = []
    for kernel, coefficient in found.items():
        coefficient = sp.factor(sp.together(coefficient))
        if len(coefficient.free_symbols) == 1 and coefficient.is_rational_function():
            coefficient = sp.apart(coefficient, *coefficient.free_symbols)
        for part in sp.Add.make_args(sp.expand(coefficient)):
            number, rest = part.as_coeff_Mul(rational=True)
            terms.append((rest * kernel, number))
    return terms
