r"""The unconstrained-features support vector machine: least (||W||^2 + ||H||^2)/2 with all margins at least m_k.

The optimal logits are Z = P diag(m), P = I - 11^T/K, so that with S = (P diag(m^2 n) P)^(1/2) the classifiers have
W W^T = S, and the class means the Gram matrix diag(m) S^+ diag(m), here with all margins one (*derived*;
thrampoulidis2022imbalance prove it for the simplex-encoded labels). Optimality needs the off-diagonal entries of S^+
to be at most zero; they always are.
"""

from __future__ import annotations

import sympy as sp

from theory.symbolic._blocks import BlockMatrix
from theory.symbolic._record import ClosedForm, Identity, register
from theory.symbolic._symbols import EVERY_GROUP, K_A, K_B, ONE, n, n_A, n_B

K = K_A + K_B
SIZES = (K_A, K_B)
MIXED = (K_B * n_A + K_A * n_B) / K
U = sp.Matrix([sp.sqrt(K_B / K), -sp.sqrt(K_A / K)])
PAPER = ("thrampoulidis2022imbalance",)
SHAPE = ("two groups of equal counts", "all margins one", "p >= K - 1")


def gram(values: tuple[sp.Expr, sp.Expr, sp.Expr]) -> BlockMatrix:
    """The matrix with these eigenvalues on differences within A, within B, and on the one vector between."""
    return BlockMatrix(SIZES, values[:2], values[2] * U * U.T)


CLASSIFIERS = (sp.sqrt(n_A), sp.sqrt(n_B), sp.sqrt(MIXED))
FEATURES = (1 / sp.sqrt(n_A), 1 / sp.sqrt(n_B), 1 / sp.sqrt(MIXED))


def _square(at: tuple[sp.Expr, sp.Expr, sp.Expr], g: int) -> sp.Expr:
    own, other = SIZES[g], SIZES[1 - g]
    return at[g] * (1 - 1 / own) + at[2] * other / (K * own)


def _inner(at: tuple[sp.Expr, sp.Expr, sp.Expr], g: int) -> sp.Expr:
    own, other = SIZES[g], SIZES[1 - g]
    return at[2] * other / (K * own) - at[g] / own


def _entries(at: tuple[sp.Expr, sp.Expr, sp.Expr]) -> sp.Matrix:
    """Squares A and B, inner products AA, BB and AB."""
    return sp.Matrix([_square(at, 0), _square(at, 1), _inner(at, 0), _inner(at, 1), -at[2] / K])


def _same(name: str, difference: BlockMatrix) -> Identity:
    return Identity(name=name, expression=difference.coordinates(), scope=EVERY_GROUP)


def _as_entries(matrix: BlockMatrix) -> sp.Matrix:
    return sp.Matrix([matrix.own(0), matrix.own(1), matrix.other(0), matrix.other(1), matrix.across(0, 1)])


@register
def seli_singular_values() -> ClosedForm:
    """Singular values of the optimal logits of all samples: within A, within B, between."""

    def proofs() -> tuple[Identity, ...]:
        P, D = BlockMatrix.centering(SIZES), BlockMatrix.diagonal(SIZES, [n_A, n_B])
        weighted = P @ BlockMatrix.diagonal(SIZES, [sp.sqrt(n_A), sp.sqrt(n_B)])  # P D^(1/2)
        squares = gram((n_A, n_B, MIXED))
        return (
            _same("P D P has these squares as eigenvalues", P @ D @ P - squares),
            _same("they are those of P D^(1/2)", weighted @ weighted.T - squares),
            _same("equal counts leave sqrt(n) only", BlockMatrix(SIZES, *_equal(gram(CLASSIFIERS)))
                  - P.times(sp.sqrt(n))),
        )  # fmt: skip

    return ClosedForm(
        name="seli_singular_values", quantity=r"(\sigma_A, \sigma_B, \sigma_{AB})", expression=sp.Matrix(CLASSIFIERS),
        label="derived", citations=PAPER, statement="They occur K_A - 1, K_B - 1 times and once.",
        hypotheses=SHAPE, proofs=proofs,
    )  # fmt: skip


def _equal(matrix: BlockMatrix) -> tuple[tuple[sp.Expr, ...], sp.Matrix]:
    equal = {n_A: n, n_B: n}
    return tuple(gap.subs(equal) for gap in matrix.gaps), matrix.between.subs(equal)


@register
def seli_classifiers() -> ClosedForm:
    """Squared lengths A and B, and inner products AA, BB and AB, of the classifiers."""

    def proofs() -> tuple[Identity, ...]:
        P, D = BlockMatrix.centering(SIZES), BlockMatrix.diagonal(SIZES, [n_A, n_B])
        root = gram(CLASSIFIERS)
        return (
            _same("(W W^T)^2 = P D P", root @ root - P @ D @ P),
            Identity(name="entries of W W^T", expression=_as_entries(root) - _entries(CLASSIFIERS), scope=EVERY_GROUP),
        )

    return ClosedForm(
        name="seli_classifiers", quantity=r"(\|w_A\|^2, \|w_B\|^2, w_A \cdot w_{A'}, w_B \cdot w_{B'}, w_A \cdot w_B)",
        expression=_entries(CLASSIFIERS), label="derived", citations=PAPER,
        statement="Geometry of the classifiers; the third and fourth are defined for two classes in the group.",
        hypotheses=SHAPE, proofs=proofs,
    )  # fmt: skip


@register
def seli_features() -> ClosedForm:
    """Squared lengths A and B, and inner products AA, BB and AB, of the class means."""

    def proofs() -> tuple[Identity, ...]:
        P = BlockMatrix.centering(SIZES)
        root, inverse = gram(CLASSIFIERS), gram(FEATURES)
        return (
            _same("H^T H is the pseudo-inverse of W W^T: their product is P", inverse @ root - P),
            _same("and P leaves it as it is", P @ inverse - inverse),
            Identity(name="entries of H^T H", expression=_as_entries(inverse) - _entries(FEATURES), scope=EVERY_GROUP),
        )

    return ClosedForm(
        name="seli_features", quantity=r"(\|h_A\|^2, \|h_B\|^2, h_A \cdot h_{A'}, h_B \cdot h_{B'}, h_A \cdot h_B)",
        expression=_entries(FEATURES), label="derived", citations=PAPER,
        statement="Geometry of the class means: that of the classifiers with every singular value inverted.",
        hypotheses=SHAPE, proofs=proofs,
    )  # fmt: skip


def _cosines(at: tuple[sp.Expr, sp.Expr, sp.Expr]) -> sp.Matrix:
    square_A, square_B, inner_A, inner_B, inner_AB = _entries(at)
    return sp.Matrix([inner_A / square_A, inner_B / square_B, inner_AB / sp.sqrt(square_A * square_B)])


@register
def seli_classifier_cosines() -> ClosedForm:
    """Cosines AA, BB and AB of the classifiers."""

    def proofs() -> tuple[Identity, ...]:
        balanced = seli_classifier_cosines().expression.subs({n_A: n, n_B: n})
        simplex = Identity(name="equal counts give -1/(K - 1)", scope=EVERY_GROUP,
                           expression=balanced + sp.ones(3, 1) / (K - 1))  # fmt: skip
        return (simplex,)

    return ClosedForm(
        name="seli_classifier_cosines", quantity=r"(\cos_{AA}, \cos_{BB}, \cos_{AB})", expression=_cosines(CLASSIFIERS),
        label="derived", citations=PAPER, statement="Cosines of the classifiers.", hypotheses=SHAPE,
        domain=(sp.Ge(K, 3),), proofs=proofs,
    )  # fmt: skip


@register
def seli_feature_cosines() -> ClosedForm:
    """Cosines AA, BB and AB of the class means."""

    def proofs() -> tuple[Identity, ...]:
        balanced = seli_feature_cosines().expression.subs({n_A: n, n_B: n})
        simplex = Identity(name="equal counts give -1/(K - 1)", scope=EVERY_GROUP,
                           expression=balanced + sp.ones(3, 1) / (K - 1))  # fmt: skip
        return (simplex,)

    return ClosedForm(
        name="seli_feature_cosines", quantity=r"(\cos_{AA}, \cos_{BB}, \cos_{AB})", expression=_cosines(FEATURES),
        label="derived", citations=PAPER, statement="Cosines of the class means.", hypotheses=SHAPE,
        domain=(sp.Ge(K, 3),), proofs=proofs,
    )  # fmt: skip


@register
def seli_alignment() -> ClosedForm:
    """Cosine of a classifier and its own class mean, in A and in B."""
    cosines = sp.Matrix([
        (1 - 1 / K) / sp.sqrt(_square(CLASSIFIERS, g) * _square(FEATURES, g)) for g in (0, 1)
    ])  # fmt: skip

    def proofs() -> tuple[Identity, ...]:
        Z = gram(CLASSIFIERS) @ gram(FEATURES)  # W H for W = S^(1/2), H = (S^(1/2))^+
        differences = [*Z.gaps, Z.own(0) - Z.across(1, 0), Z.own(1) - Z.across(0, 1)]
        return (
            Identity(name="all margins are one", expression=sp.Matrix(differences) - sp.ones(4, 1), scope=EVERY_GROUP),
            Identity(name="w_k h_k = 1 - 1/K", scope=EVERY_GROUP,
                     expression=sp.Matrix([Z.own(0) - 1 + 1 / K, Z.own(1) - 1 + 1 / K])),
            Identity(name="equal counts give one: self-duality", scope=EVERY_GROUP,
                     expression=cosines.subs({n_A: n, n_B: n}).applyfunc(lambda c: c**2) - sp.ones(2, 1)),
        )  # fmt: skip

    return ClosedForm(
        name="seli_alignment", quantity=r"\cos(w_k, h_k)", expression=cosines, label="derived", citations=PAPER,
        statement="One, that is self-duality, only for equal counts.", hypotheses=SHAPE, proofs=proofs,
    )  # fmt: skip


@register
def seli_objective() -> ClosedForm:
    """Least (||W||^2 + ||H||^2)/2 over all samples."""
    objective = (K_A - 1) * sp.sqrt(n_A) + (K_B - 1) * sp.sqrt(n_B) + sp.sqrt(MIXED)

    def proofs() -> tuple[Identity, ...]:
        S, inverse = gram(CLASSIFIERS), gram(FEATURES)
        D = BlockMatrix.diagonal(SIZES, [n_A, n_B])
        M = BlockMatrix.centering(SIZES) @ D @ inverse  # the dual matrix U V^T D^(1/2), transposed
        return (
            Identity(name="||W||^2", expression=S.trace - objective, scope=EVERY_GROUP),
            Identity(name="||H||^2, with every class mean counted n_k times",
                     expression=(inverse @ D).trace - objective,
                     scope=EVERY_GROUP),
            Identity(name="the dual matrix S^+ D has the same value: trace", expression=M.trace - objective,
                     scope=EVERY_GROUP),
            _same("and spectral norm one: (S^+ D^(1/2)) (S^+ D^(1/2))^T is the projection P",
                  inverse @ D @ inverse - BlockMatrix.centering(SIZES)),
        )  # fmt: skip

    return ClosedForm(
        name="seli_objective", quantity=r"\operatorname{tr} (PDP)^{1/2}", expression=objective, label="derived",
        citations=PAPER, statement="Least objective: the sum of the singular values.", hypotheses=SHAPE, proofs=proofs,
    )  # fmt: skip


@register
def seli_sign_condition() -> ClosedForm:
    """Off-diagonal entries AA, BB and AB of the features' Gram matrix: the multipliers, with their sign turned."""
    inverse = gram(FEATURES)
    entries = sp.Matrix([inverse.other(0), inverse.other(1), inverse.across(0, 1)])

    def proofs() -> tuple[Identity, ...]:
        # K_B/(K sqrt(MIXED)) <= 1/sqrt(n_A) if and only if K^2 MIXED - K_B^2 n_A >= 0
        slack = sp.Matrix([
            K**2 * MIXED - K_B**2 * n_A - K_A * (K_B * n_A + K * n_B),
            K**2 * MIXED - K_A**2 * n_B - K_B * (K_A * n_B + K * n_A),
        ])  # fmt: skip
        squares = sp.Matrix([
            entries[0] * K_A * K * sp.sqrt(MIXED * n_A) - (K_B * sp.sqrt(n_A) - K * sp.sqrt(MIXED)),
            entries[1] * K_B * K * sp.sqrt(MIXED * n_B) - (K_A * sp.sqrt(n_B) - K * sp.sqrt(MIXED)),
            entries[2] * K * sp.sqrt(MIXED) + 1,
        ])  # fmt: skip
        return (
            Identity(name="the entries have the signs of K_B sqrt(n_A) - K sqrt(nbar), its mirror image, and -1",
                     expression=squares, scope=EVERY_GROUP),
            Identity(name="K^2 nbar - K_B^2 n_A is a sum of positive terms, and so is its mirror image",
                     expression=slack, scope=EVERY_GROUP),
            _resolvent(),
        )  # fmt: skip

    return ClosedForm(
        name="seli_sign_condition", quantity=r"(S^+_{AA'}, S^+_{BB'}, S^+_{AB})", expression=entries, label="derived",
        citations=PAPER,
        statement="All negative, so the simplex-encoded labels are optimal. For any counts: (P D P)^(-1/2) is a "
        "positive average of the pseudo-inverses of P (D + x) P, whose off-diagonal entries are negative.",
        hypotheses=SHAPE, proofs=proofs,
    )  # fmt: skip


def _resolvent() -> Identity:
    """Entries that make X = F - f f^T/S, S = sum f, the pseudo-inverse of P F^(-1) P for any number of classes.

    F^(-1) X = I - 1 f^T/S and 1^T X = 0, hence P X = X and P F^(-1) P X = P F^(-1) X = P.
    """
    f_k, f_c, S = sp.symbols("f_k f_c S", positive=True)
    own, other = f_k - f_k**2 / S, -f_k * f_c / S
    column = f_c - S * f_c / S
    return Identity(
        name="(P (D + x) P)^+ = F - f f^T / sum f with F = diag(f), f_k = 1/(n_k + x)",
        expression=sp.Matrix([own / f_k - (1 - f_k / S), other / f_k + f_c / S, column]),
        scope="entry by entry, so for any number of classes and any counts",
    )


@register
def ldam_simplex_margin() -> ClosedForm:
    """The margin of a class of n samples that restores the simplex frame, up to a common factor."""

    def proofs() -> tuple[Identity, ...]:
        P = BlockMatrix.centering(SIZES)
        margins = BlockMatrix.diagonal(SIZES, [n_A ** sp.Rational(-1, 2), n_B ** sp.Rational(-1, 2)])
        D = BlockMatrix.diagonal(SIZES, [n_A, n_B])
        effective = margins @ D @ margins  # Z = P diag(m), so W W^T = (P diag(m) D diag(m) P)^(1/2)
        ones = BlockMatrix.diagonal(SIZES, [ONE, ONE])
        return (
            _same("the effective counts m^2 n are equal", effective - ones),
            _same("so (W W^T)^2 is a projection, and W W^T the simplex frame", P @ effective @ P - P),
        )

    return ClosedForm(
        name="ldam_simplex_margin", quantity="m_k", expression=1 / sp.sqrt(n), label="derived",
        citations=("cao2019ldam",),
        statement="Margins act on W as effective counts m_k^2 n_k; proportional to n_k^(-1/2) they give a simplex.",
        hypotheses=("additive margins", "any counts", "p >= K - 1"), proofs=proofs,
    )  # fmt: skip
