r"""L linear layers on free features with penalties on every factor, no bias: squared error, and cross-entropy bounds.

Squared error: with Lam the product of the L + 1 penalties, eliminating the factors of a singular value sigma of
Z D^(1/2) leaves, for each class, (sigma - sqrt(n_g))^2 / (2N) + ((L+1)/2) Lam^(1/(L+1)) sigma^(2/(L+1)) (*derived*).
For L >= 2 this is not convex: zero is always a local minimum, and the global minimum jumps.
"""

from __future__ import annotations

import sympy as sp

from theory.symbolic._record import ClosedForm, Identity, register
from theory.symbolic._symbols import K, L, Lam, N, lam_H, lam_W, lam_Z, n, n_g, sigma, t

EVERY_L = "symbolic in L and in all other symbols"
DANG = ("dang2023linear",)
SHAPE = ("mean squared error", "no bias", "any counts", "p >= number of classes alive")
DEEP = (sp.Ge(L, 2),)
LEAST = sp.Ge(L, 1)
COEFFICIENT = Lam ** (1 / (L + 1))


def _value() -> sp.Expr:
    return (sigma - sp.sqrt(n_g)) ** 2 / (2 * N) + (L + 1) / 2 * COEFFICIENT * sigma ** (2 / (L + 1))


def _threshold() -> sp.Expr:
    return n_g**L * (L - 1) ** (L - 1) / (L ** (2 * L) * N ** (L + 1))


def _local_threshold() -> sp.Expr:
    return n_g**L * (L - 1) ** (L - 1) * (L + 1) ** (L + 1) / ((2 * L) ** (2 * L) * N ** (L + 1))


@register
def deep_class_objective() -> ClosedForm:
    """What a singular value contributes to loss plus penalties."""

    def proofs() -> tuple[Identity, ...]:
        found = []
        for depth in range(1, 6):
            lams = sp.symbols(f"lam_1:{depth + 2}", positive=True)
            product = sp.prod(lams)
            # factors x_i with prod x_i = sigma: by the means inequality all lam_i x_i^2 are equal at the minimum
            common = (product * sigma**2) ** sp.Rational(1, depth + 1)
            factors = [sp.sqrt(common / lam) for lam in lams]
            found.append(sp.powsimp(sp.prod(factors) ** 2 - sigma**2, force=True))
            least = sum(lam * x**2 for lam, x in zip(lams, factors, strict=True)) / 2
            found.append(least - ((L + 1) / 2 * COEFFICIENT * sigma ** (2 / (L + 1))).subs({L: depth, Lam: product}))
        return (
            Identity(name="least penalty of L + 1 factors with product sigma", expression=sp.Matrix(found),
                     scope="L = 1, ..., 5, symbolic in all penalties"),
        )  # fmt: skip

    return ClosedForm(
        name="deep_class_objective", quantity=r"F_g(\sigma)", expression=_value(), label="derived",
        citations=DANG,
        statement="Share of a class in loss plus penalties; all factors balance.", hypotheses=SHAPE, domain=(LEAST,),
        proofs=proofs,
    )  # fmt: skip


@register
def deep_stationarity() -> ClosedForm:
    """The equation of a nonzero singular value; the minimum is its larger root."""
    equation = (sigma - sp.sqrt(n_g)) / N + COEFFICIENT * sigma ** ((1 - L) / (1 + L))

    def proofs() -> tuple[Identity, ...]:
        shallow = equation.subs({L: 1, Lam: lam_W * lam_H})
        return (
            Identity(name="derivative of the objective", expression=_value().diff(sigma) - equation, scope=EVERY_L),
            Identity(name="L = 1 gives sigma = sqrt(n_g) - N sqrt(lam_W lam_H)",
                     scope="L = 1, symbolic in all other symbols",
                     expression=shallow.subs(sigma, sp.sqrt(n_g) - N * sp.sqrt(lam_W * lam_H))),
        )  # fmt: skip

    return ClosedForm(
        name="deep_stationarity", quantity="0", expression=equation, label="derived",
        citations=DANG,
        statement="Stationary singular values; for L >= 2 compare the larger root with zero, also a local minimum.",
        hypotheses=SHAPE, domain=(LEAST,), proofs=proofs,
    )  # fmt: skip


@register
def deep_jump() -> ClosedForm:
    """True logit at the moment a class dies."""

    def proofs() -> tuple[Identity, ...]:
        at = {sigma: sp.sqrt(n_g) * (L - 1) / L, Lam: _threshold()}
        return (
            Identity(name="stationary at the threshold", expression=_value().diff(sigma).subs(at), scope=EVERY_L),
            Identity(name="and no better than zero", expression=_value().subs(at) - n_g / (2 * N), scope=EVERY_L),
        )

    return ClosedForm(
        name="deep_jump", quantity="z_{gg}", expression=(L - 1) / L, label="derived",
        citations=DANG,
        statement="At Lam = deep_threshold the true logit jumps from here to zero: sigma = sqrt(n_g) (L - 1)/L.",
        hypotheses=SHAPE, domain=(LEAST,), proofs=proofs,
    )  # fmt: skip


@register
def deep_threshold() -> ClosedForm:
    """The product of penalties at which a class dies."""

    def proofs() -> tuple[Identity, ...]:
        shallow = _threshold().subs(L, 1)
        binary = _threshold().subs({n_g: n, N: 2 * n}) * n
        known = (L - 1) ** (L - 1) / (2 ** (L + 1) * L ** (2 * L))
        return (
            Identity(name="L = 1 gives lam_W lam_H = n_g / N^2", expression=shallow - n_g / N**2,
                     scope="L = 1, symbolic in n_g, N"),
            Identity(name="two balanced classes: n Lam = (L - 1)^(L - 1) / (2^(L + 1) L^(2L))",
                     expression=binary - known,
                     scope=EVERY_L),
            *deep_jump().identities,
        )  # fmt: skip

    return ClosedForm(
        name="deep_threshold", quantity=r"\Lambda^\star", expression=_threshold(), label="derived",
        citations=DANG,
        statement="A class of n_g samples has z = 0 if and only if the product of all L + 1 penalties is at least this "
        "(0^0 = 1 for L = 1).",
        hypotheses=SHAPE, domain=(LEAST,), proofs=proofs,
    )  # fmt: skip


@register
def deep_local_threshold() -> ClosedForm:
    """The product of penalties beyond which the nonzero stationary point is gone."""

    def proofs() -> tuple[Identity, ...]:
        at = {sigma: sp.sqrt(n_g) * (L - 1) / (2 * L), Lam: _local_threshold()}
        scaled = L * N * (N * Lam) ** (1 / L) / n_g
        return (
            Identity(name="stationary", expression=_value().diff(sigma).subs(at), scope=EVERY_L),
            Identity(name="and degenerate", expression=_value().diff(sigma, 2).subs(at), scope=EVERY_L),
            Identity(name="b/n_g = L N (N Lam)^(1/L)/n_g is (L-1)^((L-1)/L) (L+1)^((L+1)/L) / (4L) here", scope=EVERY_L,
                     expression=scaled.subs(Lam, _local_threshold())
                     - (L - 1) ** ((L - 1) / L) * (L + 1) ** ((L + 1) / L) / (4 * L)),
            Identity(name="and (L-1)^((L-1)/L) / L at the threshold", scope=EVERY_L,
                     expression=scaled.subs(Lam, _threshold()) - (L - 1) ** ((L - 1) / L) / L),
        )  # fmt: skip

    return ClosedForm(
        name="deep_local_threshold", quantity=r"\Lambda_{\mathrm{loc}}", expression=_local_threshold(), label="derived",
        citations=DANG,
        statement="Between deep_threshold and this a nonzero local minimum exists, but zero is better.",
        hypotheses=SHAPE, domain=DEEP, proofs=proofs,
    )  # fmt: skip


def _penalty(values: sp.Expr, copies: sp.Expr) -> sp.Expr:
    return (L + 1) / 2 * COEFFICIENT * copies * (values * sp.sqrt(n)) ** (2 / (L + 1))


@register
def deep_cross_entropy_simplex() -> ClosedForm:
    """Cross-entropy plus penalties on the simplex frame Z = t (I - 11^T/K)."""
    value = sp.log(1 + (K - 1) * sp.exp(-t)) + _penalty(t, K - 1)

    def proofs() -> tuple[Identity, ...]:
        nuclear = lam_Z * sp.sqrt(n) * (K - 1) * t
        shallow = value.subs({L: 1, Lam: lam_Z**2}) - sp.log(1 + (K - 1) * sp.exp(-t)) - nuclear
        return (
            Identity(name="L = 1 is the nuclear-norm penalty of one layer", expression=shallow,
                     scope="L = 1, symbolic in K and in all other symbols"),
        )  # fmt: skip

    return ClosedForm(
        name="deep_cross_entropy_simplex", quantity="F(t)", expression=value, label="derived",
        citations=("garrod2025persistence",),
        statement="An upper bound of the least value for every t, attained at L = 1; not the optimum in general.",
        hypotheses=("cross-entropy", "equal counts n", "L linear layers", "no bias"), domain=(sp.Ge(K, 2), LEAST),
        proofs=proofs,
    )  # fmt: skip


@register
def deep_cross_entropy_pairing() -> ClosedForm:
    """Cross-entropy plus penalties on classes paired off: diagonal blocks (t/2) ((1, -1), (-1, 1))."""
    value = sp.log(1 + sp.exp(-t) + (K - 2) * sp.exp(-t / 2)) + _penalty(t, K / 2)

    def proofs() -> tuple[Identity, ...]:
        block = t / 2 * sp.Matrix([[1, -1], [-1, 1]])
        along = sp.Matrix([1, -1]) / sp.sqrt(2)
        simplex = deep_cross_entropy_simplex().expression
        return (
            Identity(name="each block has the one singular value t", scope="symbolic in t; K/2 blocks",
                     expression=(block - t * along * along.T).reshape(4, 1)),
            Identity(name="two classes: the pairing is the simplex frame", expression=(value - simplex).subs(K, 2),
                     scope="K = 2, symbolic in L and in all other symbols"),
        )  # fmt: skip

    return ClosedForm(
        name="deep_cross_entropy_pairing", quantity="F(t)", expression=value, label="derived",
        citations=("garrod2025persistence",),
        statement="An upper bound of rank K/2; below the simplex frame's for many classes and layers.",
        hypotheses=("cross-entropy", "equal counts n", "L linear layers", "no bias", "K even"),
        domain=(sp.Ge(K, 2), LEAST), proofs=proofs,
    )  # fmt: skip
