r"""The layer-peeled model with K_A classes of R times the samples of K_B others, in four scalars.

The optimum has a gap a within the majority, e within the minority, and a between-group part u (q_A, -q_B)^T of rank one
with u = (sqrt(K_B/K), -sqrt(K_A/K)), because the columns of the cross-entropy's Z sum to zero; its nuclear norm is
(K_A - 1) a + (K_B - 1) e + sqrt(q_A^2 + q_B^2). *derived*.
"""

from __future__ import annotations

import sympy as sp

from theory.symbolic._blocks import BlockMatrix, softmax_columns
from theory.symbolic._record import ClosedForm, Identity, register
from theory.symbolic._symbols import E_H, E_W, EVERY_GROUP, K_A, K_B, ONE, R, a, e, mu, q_A, q_B, x

K = K_A + K_B
SIZES = (K_A, K_B)
U = sp.Matrix([sp.sqrt(K_B / K), -sp.sqrt(K_A / K)])
MASSES = (R / (K_A * R + K_B), 1 / (K_A * R + K_B))
NORM = sp.sqrt(q_A**2 + q_B**2)
FANG = ("fang2021layerpeeled",)
SHAPE = ("two groups of equal counts", "p >= K - 1")


def logits(gap_A: sp.Expr = a, gap_B: sp.Expr = e, between: sp.MatrixBase | None = None) -> BlockMatrix:
    """The logit matrix of the four scalars (or of another 2 x 2 part)."""
    return BlockMatrix(SIZES, (gap_A, gap_B), U * sp.Matrix([[q_A, -q_B]]) if between is None else between)


def gradient(Z: BlockMatrix) -> BlockMatrix:
    """Gradient of the mean cross-entropy in Z: (softmax - I) diag(pi)."""
    return (softmax_columns(Z) - BlockMatrix.diagonal(SIZES, [ONE, ONE])) @ BlockMatrix.diagonal(SIZES, MASSES)


def _weights(own: sp.Expr, other: sp.Expr, gap: sp.Expr, q: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Odds of a twin and of a class of the other group against the true class."""
    return sp.exp(-gap), sp.exp(-gap * (1 - 1 / own) - sp.sqrt(K / other) / own * q)


def _loss() -> sp.Expr:
    twin_A, other_A = _weights(K_A, K_B, a, q_A)
    twin_B, other_B = _weights(K_B, K_A, e, q_B)
    loss_A = sp.log(1 + (K_A - 1) * twin_A + K_B * other_A)
    loss_B = sp.log(1 + (K_B - 1) * twin_B + K_A * other_B)
    return (K_A * R * loss_A + K_B * loss_B) / (K_A * R + K_B)


def _budget() -> sp.Expr:
    return (K_A - 1) * a + (K_B - 1) * e + NORM - K * sp.sqrt(E_W * E_H)


def _stationarity() -> tuple[sp.Expr, sp.Expr, sp.Expr, sp.Expr]:
    """Left minus right of the four KKT equations, in the order a, e, q_A, q_B."""
    twin_A, other_A = _weights(K_A, K_B, a, q_A)
    twin_B, other_B = _weights(K_B, K_A, e, q_B)
    all_A, all_B = 1 + (K_A - 1) * twin_A + K_B * other_A, 1 + (K_B - 1) * twin_B + K_A * other_B
    pi_A, pi_B = MASSES
    return (
        pi_A * (K_A * twin_A + K_B * other_A) / all_A - mu,
        pi_B * (K_B * twin_B + K_A * other_B) / all_B - mu,
        pi_A * K_B * other_A / all_A * sp.sqrt(K / K_B) - mu * q_A / NORM,
        pi_B * K_A * other_B / all_B * sp.sqrt(K / K_A) - mu * q_B / NORM,
    )


@register
def two_group_loss() -> ClosedForm:
    """Mean cross-entropy of the four scalars."""

    def proofs() -> tuple[Identity, ...]:
        Z = logits()
        twin_A, other_A = _weights(K_A, K_B, a, q_A)
        twin_B, other_B = _weights(K_B, K_A, e, q_B)
        odds = sp.Matrix([
            sp.exp(Z.other(0) - Z.own(0)) - twin_A, sp.exp(Z.across(1, 0) - Z.own(0)) - other_A,
            sp.exp(Z.other(1) - Z.own(1)) - twin_B, sp.exp(Z.across(0, 1) - Z.own(1)) - other_B,
        ])  # fmt: skip
        columns = sp.Matrix([[sp.sqrt(K_A), sp.sqrt(K_B)]]) * Z.between
        spectrum = (Z.between * Z.between.T - NORM**2 * U * U.T).reshape(4, 1)
        return (
            Identity(name="odds of the matrix with these four scalars", expression=odds, scope=EVERY_GROUP),
            Identity(name="its columns sum to zero", expression=columns.T, scope=EVERY_GROUP),
            Identity(name="its between-group singular value is sqrt(q_A^2 + q_B^2)", expression=spectrum,
                     scope=EVERY_GROUP),
        )  # fmt: skip

    return ClosedForm(
        name="two_group_loss", quantity=r"\mathcal L(a, e, q_A, q_B)", expression=_loss(), label="derived",
        statement="Mean cross-entropy in the four scalars, R = n_A / n_B.",
        citations=FANG, hypotheses=SHAPE, proofs=proofs,
    )  # fmt: skip


@register
def two_group_kkt() -> ClosedForm:
    """KKT system of the two-group program: four stationarity equations and the budget."""
    system = sp.Matrix([*_stationarity(), _budget()])

    def proofs() -> tuple[Identity, ...]:
        lagrangian = _loss() + mu * _budget()
        # The gaps a and e come K_A - 1 and K_B - 1 times, in K_A and K_B classes of the loss.
        copies = (K_A - 1, K_B - 1, ONE, ONE)
        scalar = [
            lagrangian.diff(x) + copy * equation
            for x, equation, copy in zip((a, e, q_A, q_B), _stationarity(), copies, strict=True)
        ]
        G = gradient(logits())
        polar = U * sp.Matrix([[q_A, -q_B]]) / NORM
        equations = _stationarity()
        correction = U * sp.Matrix([[equations[2], -equations[3]]])
        matrix = [G.gaps[0] + mu + equations[0], G.gaps[1] + mu + equations[1]]
        matrix += list(G.between + mu * polar + correction)
        return (
            Identity(name="derivatives of the Lagrangian in a, e, q_A, q_B", expression=sp.Matrix(scalar),
                     scope=EVERY_GROUP),
            Identity(name="the K x K condition G + mu U V^T = 0 is these equations", expression=sp.Matrix(matrix),
                     scope=EVERY_GROUP),
        )  # fmt: skip

    return ClosedForm(
        name="two_group_kkt", quantity="0", expression=system, label="derived", citations=FANG,
        statement="The optimum with both gaps positive; where e = 0 the second entry is at most zero instead.",
        hypotheses=SHAPE, proofs=proofs,
    )  # fmt: skip


@register
def two_group_cosines() -> ClosedForm:
    """Cosines of classifiers AA, BB, AB at given (a, e, r) with r = sqrt(q_A^2 + q_B^2)."""
    mixed_A, mixed_B = NORM * K_B / (K * K_A), NORM * K_A / (K * K_B)
    square_A, square_B = a * (1 - 1 / K_A) + mixed_A, e * (1 - 1 / K_B) + mixed_B
    cosines = sp.Matrix([
        (mixed_A - a / K_A) / square_A, (mixed_B - e / K_B) / square_B, -NORM / K / sp.sqrt(square_A * square_B)
    ])  # fmt: skip

    def proofs() -> tuple[Identity, ...]:
        Z = logits()
        root = BlockMatrix(SIZES, (a, e), NORM * U * U.T)  # W W^T up to a constant
        entries = sp.Matrix([
            root.own(0) - square_A, root.own(1) - square_B, root.other(0) - cosines[0] * square_A,
            root.other(1) - cosines[1] * square_B, root.across(0, 1) - cosines[2] * sp.sqrt(square_A * square_B),
        ])  # fmt: skip
        return (
            Identity(name="the square of the Gram matrix is Z Z^T", scope=EVERY_GROUP,
                     expression=(root @ root - Z @ Z.T).coordinates()),
            Identity(name="its entries are the lengths and inner products", expression=entries, scope=EVERY_GROUP),
        )  # fmt: skip

    return ClosedForm(
        name="two_group_cosines", quantity=r"(\cos_{AA}, \cos_{BB}, \cos_{AB})", expression=cosines, label="derived",
        citations=FANG, statement="Cosines of two majority, two minority, and two different classifiers.",
        hypotheses=SHAPE, proofs=proofs,
    )  # fmt: skip


@register
def minority_collapse_system() -> ClosedForm:
    """The equations of R0, the least imbalance at which the minority classifiers coincide."""
    merged = [equation.subs(e, 0) for equation in _stationarity()]
    pi_B = MASSES[1]
    twin, other_A = _weights(K_A, K_B, a, q_A)
    other_B = _weights(K_B, K_A, sp.Integer(0), q_B)[1]
    all_A, all_B = 1 + (K_A - 1) * twin + K_B * other_A, K_B + K_A * other_B
    system = sp.Matrix([
        R * (K_A * twin + K_B * other_A) / all_A - 1,
        R * K_B * other_A / all_A * sp.sqrt(K / K_B) - q_A / NORM,
        K_A * other_B / all_B * sp.sqrt(K / K_A) - q_B / NORM,
        (K_A - 1) * a + NORM - K * sp.sqrt(E_W * E_H),
    ])  # fmt: skip

    def proofs() -> tuple[Identity, ...]:
        at = [equation.subs(mu, pi_B) / pi_B for equation in merged]
        kept = sp.Matrix([at[0] - system[0], at[2] - system[1], at[3] - system[2], _budget().subs(e, 0) - system[3]])
        slope = _loss().diff(e).subs(e, 0)
        return (
            Identity(name="the KKT system at e = 0 with mu = pi_B", expression=kept, scope=EVERY_GROUP),
            Identity(name="at e = 0 the loss falls in e at (K_B - 1) pi_B, whatever the other scalars",
                     scope=EVERY_GROUP,
                     expression=slope + (K_B - 1) * pi_B),
        )  # fmt: skip

    return ClosedForm(
        name="minority_collapse_system", quantity="0", expression=system, label="derived", citations=FANG,
        statement="Four equations in a, q_A, q_B and R; the R that solves them is the threshold R0 of exact merging.",
        hypotheses=(*SHAPE, "K_A >= 2 (for one majority class a and its equation drop out)", "K_B >= 2"),
        domain=(sp.Ge(K_A, 2), sp.Ge(K_B, 2)), proofs=proofs,
    )  # fmt: skip


@register
def minority_collapse_equation() -> ClosedForm:
    """That system as one increasing function of the margin x of a minority sample over a majority class."""
    T = K * sp.sqrt(E_W * E_H)
    sine = sp.sqrt(K * K_A) * sp.exp(-x) / (K_B + K_A * sp.exp(-x))
    radius = K_B / K * x * (K_A + K_B * sp.exp(x))
    cosine = sp.sqrt(1 - sine**2)

    def value(r: sp.Expr, c: sp.Expr) -> sp.Expr:
        odds = sp.log(K_B / K_A * (sp.sqrt(K / K_B) / c - 1))
        return (K_A - 1) * (sp.sqrt(K / K_B) * r * c - K_A * odds) - (T - r)

    def proofs() -> tuple[Identity, ...]:
        c, r, u, v = sp.symbols("c r u v", positive=True)  # u, v: the odds of a twin and of a minority class
        twin, other = _weights(K_A, K_B, a, r * c)
        share = R / (1 + (K_A - 1) * u + K_B * v)
        first, second = share * (K_A * u + K_B * v), share * v * sp.sqrt(K * K_B)
        # first = 1 and second = c together: c (K_A twin/other + K_B) = sqrt(K K_B)
        log_ratio = -a / K_A + sp.sqrt(K / K_B) / K_A * r * c
        wanted = sp.log(K_B / K_A * (sp.sqrt(K / K_B) / c - 1))
        other_B = _weights(K_B, K_A, sp.Integer(0), radius * sine)[1]
        return (
            Identity(name="r and theta solve the third equation", scope=EVERY_GROUP, expression=sp.Matrix([
                sp.log(other_B) + x,
                K_A * sp.exp(-x) / (K_B + K_A * sp.exp(-x)) * sp.sqrt(K / K_A) - sine,
            ])),
            Identity(name="the first equation over the second", scope=EVERY_GROUP, expression=sp.Matrix([
                first * sp.sqrt(K * K_B) - second * (K_A * u / v + K_B),
                twin - other * sp.exp(log_ratio),
            ])),
            Identity(name="its logarithm is the function", scope=EVERY_GROUP,
                     expression=value(r, c) - K_A * (K_A - 1) * (log_ratio - wanted).subs(a, (T - r) / (K_A - 1))),
        )  # fmt: skip

    return ClosedForm(
        name="minority_collapse_equation", quantity="0", expression=value(radius, cosine), label="derived",
        statement="Its one root x gives (a, q_A, q_B) and the threshold R0; it rises from -T at x = 0.",
        citations=FANG, hypotheses=(*SHAPE, "K_B >= 2"), domain=(sp.Ge(K_B, 2),), proofs=proofs,
    )  # fmt: skip


def _vanishing_odds() -> tuple[sp.Expr, sp.Expr]:
    gap = K * sp.sqrt(E_W * E_H) / (K_A - 1)
    return sp.exp(-gap), sp.exp(-gap * (1 - 1 / K_A))


@register
def vanishing_ratio() -> ClosedForm:
    """R00, the least imbalance at which the minority classifiers and features are exactly zero."""
    twin, other = _vanishing_odds()
    total = 1 + (K_A - 1) * twin + K_B * other
    slope, minority = (K_A * twin + K_B * other) / total, other / total
    radicand = slope**2 - K * K_B * minority**2
    root = sp.sqrt(K_A / K) / sp.sqrt(radicand)
    ratio = sp.Piecewise((sp.Max(root, 1 / slope), radicand > 0), (sp.oo, True))

    def proofs() -> tuple[Identity, ...]:
        twin, other = sp.exp(-a), sp.exp(-a * (1 - 1 / K_A))
        total = 1 + (K_A - 1) * twin + K_B * other
        slope, minority = (K_A * twin + K_B * other) / total, other / total
        G = gradient(logits(a, sp.Integer(0), sp.zeros(2)))
        # the gradient's 2 x 2 part has the row u on its left, so its norm is that of (g_A, g_B)
        g_A, g_B = MASSES[0] * K_B * minority * sp.sqrt(K / K_B), MASSES[1] * sp.sqrt(K_A / K)
        inside = slope**2 - K * K_B * minority**2
        excess = (g_A**2 + g_B**2 - (MASSES[0] * slope) ** 2) * (K_A * R + K_B) ** 2
        return (
            Identity(name="gradient at the majority's frame: multiplier, minority gap, 2 x 2 part", scope=EVERY_GROUP,
                     expression=sp.Matrix([G.gaps[0] + MASSES[0] * slope, G.gaps[1] + MASSES[1],
                                           *(G.between + U * sp.Matrix([[g_A, -g_B]]))])),
            Identity(name="2 x 2 part within the multiplier if and only if K_A/K <= R^2 radicand", scope=EVERY_GROUP,
                     expression=excess - (K_A / K - R**2 * inside)),
        )  # fmt: skip

    return ClosedForm(
        name="vanishing_ratio", quantity="R_{00}", expression=ratio, label="derived", citations=FANG,
        statement="All minority classifiers and features are zero if and only if R is at least this.",
        hypotheses=(*SHAPE, "K_A >= 2"), domain=(sp.Ge(K_A, 2),), proofs=proofs,
    )  # fmt: skip


@register
def vanishing_loss() -> ClosedForm:
    """Least cross-entropy where the minority has vanished."""
    twin, other = _vanishing_odds()
    loss = (K_A * R * sp.log(1 + (K_A - 1) * twin + K_B * other) + K_B * sp.log(K)) / (K_A * R + K_B)

    def proofs() -> tuple[Identity, ...]:
        gap = K * sp.sqrt(E_W * E_H) / (K_A - 1)
        chances = softmax_columns(logits(gap, sp.Integer(0), sp.zeros(2)))
        loss_A = sp.log(1 + (K_A - 1) * twin + K_B * other)
        T = sp.Symbol("T", positive=True)
        along = loss.subs(sp.sqrt(E_W) * sp.sqrt(E_H), T / K).diff(T)
        slope = (K_A * twin + K_B * other) / (1 + (K_A - 1) * twin + K_B * other)
        return (
            Identity(name="-log of the true class's probability", scope=EVERY_GROUP,
                     expression=sp.Matrix([chances.own(0) * sp.exp(loss_A) - 1, chances.own(1) * K - 1])),
            Identity(name="minus its slope in T is the multiplier pi_A (1 - p_self + p_other)", scope=EVERY_GROUP,
                     expression=along.subs(T, K * sp.sqrt(E_W * E_H)) + MASSES[0] * slope),
        )  # fmt: skip

    return ClosedForm(
        name="vanishing_loss", quantity=r"\mathcal L^\star", expression=loss, label="derived", citations=FANG,
        statement="Least mean cross-entropy for R >= R00: the majority's simplex frame, the minority at chance.",
        hypotheses=(*SHAPE, "K_A >= 2", "R >= R00"), domain=(sp.Ge(K_A, 2),), proofs=proofs,
    )  # fmt: skip
