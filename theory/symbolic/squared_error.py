r"""The squared error with penalties: :math:`\frac1{2N}\|WH + b1^T - Y\|_F^2` with one-hot targets.

In A = Z D^(1/2), D = diag(n_k), d = sqrt(n), the objective is (1/2N) ||A + b d^T - D^(1/2)||_F^2 + lam_Z ||A||_* plus
(lam_b/2) ||b||^2, with lam_Z = sqrt(lam_W lam_H): singular values are soft-thresholded at N lam_Z (*derived*; convex).
Without bias the classes decouple and the frame is orthogonal, of unequal lengths; with a free bias targets are centred.
"""

from __future__ import annotations

import sympy as sp

from theory.symbolic._blocks import BlockMatrix
from theory.symbolic._record import ClosedForm, Identity, register
from theory.symbolic._symbols import (
    EVERY_GROUP,
    EVERY_K,
    K_A,
    K_B,
    K,
    N,
    lam_b,
    lam_H,
    lam_W,
    lam_Z,
    n,
    n_A,
    n_B,
    n_g,
    s,
    sigma,
)

EVERY = "symbolic in all symbols; the class count does not enter"
DANG = ("dang2023linear",)
FREE = ("any counts", "no bias", "p >= number of classes alive")
ALIVE = sp.sqrt(n_g) - N * lam_Z
GROUPS = ((K_A, K_B), (n_A, n_B))


@register
def orthogonal_singular_value() -> ClosedForm:
    """Singular value of Z D^(1/2) that belongs to a class of n_g samples."""

    def proofs() -> tuple[Identity, ...]:
        value = (sigma - sp.sqrt(n_g)) ** 2 / (2 * N) + lam_Z * sigma
        return (
            Identity(name="stationary in the singular value", expression=value.diff(sigma).subs(sigma, ALIVE),
                     scope=EVERY),
            Identity(name="the dual value at zero is the threshold sqrt(n_g)/N", scope=EVERY,
                     expression=value.diff(sigma).subs(sigma, 0).subs(lam_Z, sp.sqrt(n_g) / N)),
        )  # fmt: skip

    return ClosedForm(
        name="orthogonal_singular_value", quantity=r"\sigma_g", expression=sp.Max(0, ALIVE), label="derived",
        citations=DANG,
        statement="The optimum is diagonal, an orthogonal frame; a class dies if and only if lam_Z >= sqrt(n_g)/N.",
        hypotheses=FREE, proofs=proofs,
    )  # fmt: skip


@register
def orthogonal_logit() -> ClosedForm:
    """True logit of a class of n_g samples; all others are zero."""

    def proofs() -> tuple[Identity, ...]:
        z = 1 - N * lam_Z / sp.sqrt(n_g)
        return (Identity(name="singular value over sqrt(n_g)", expression=z - ALIVE / sp.sqrt(n_g), scope=EVERY),)

    return ClosedForm(
        name="orthogonal_logit", quantity="z_{gg}", expression=sp.Max(0, 1 - N * lam_Z / sp.sqrt(n_g)), label="derived",
        citations=DANG,
        statement="True logit of a class of n_g samples.", hypotheses=FREE, proofs=proofs,
    )  # fmt: skip


@register
def orthogonal_classifier_square() -> ClosedForm:
    """Squared length of a classifier row."""
    product = sp.sqrt(lam_W * lam_H)

    def proofs() -> tuple[Identity, ...]:
        # w = x u and h = y u with a common unit vector u
        x = sp.sqrt(sp.sqrt(lam_H / lam_W) * (sp.sqrt(n_g) - N * product))
        y = x / (x**2 + N * lam_H)
        z = 1 - N * product / sp.sqrt(n_g)
        return (
            Identity(name="w h is the logit", expression=x * y - z, scope=EVERY),
            Identity(name="stationary in w", expression=n_g / N * (x * y - 1) * y + lam_W * x, scope=EVERY),
            Identity(name="stationary in h", expression=(x * y - 1) * x / N + lam_H * y, scope=EVERY),
            Identity(name="||w||^2 = sqrt(n_g lam_H/lam_W) - N lam_H", scope=EVERY,
                     expression=x**2 - (sp.sqrt(n_g * lam_H / lam_W) - N * lam_H)),
        )  # fmt: skip

    return ClosedForm(
        name="orthogonal_classifier_square", quantity=r"\|w_g\|^2",
        expression=sp.sqrt(lam_H / lam_W) * sp.Max(0, sp.sqrt(n_g) - N * product), label="derived",
        citations=DANG,
        statement="Squared length of the classifier of a class of n_g samples; its feature is w / (||w||^2 + N lam_H).",
        hypotheses=FREE, proofs=proofs,
    )  # fmt: skip


@register
def orthogonal_objective_share() -> ClosedForm:
    """What a class of n_g samples contributes to the least value; the sum over classes is the optimum."""
    alive = lam_Z * sp.sqrt(n_g) - N * lam_Z**2 / 2
    share = sp.Piecewise((alive, lam_Z * N < sp.sqrt(n_g)), (n_g / (2 * N), True))

    def proofs() -> tuple[Identity, ...]:
        value = (sigma - sp.sqrt(n_g)) ** 2 / (2 * N) + lam_Z * sigma
        return (
            Identity(name="loss and penalty at the optimal singular value", scope=EVERY,
                     expression=value.subs(sigma, ALIVE) - alive),
            Identity(name="continuous where the class dies", scope=EVERY,
                     expression=alive.subs(lam_Z, sp.sqrt(n_g) / N) - n_g / (2 * N)),
        )  # fmt: skip

    return ClosedForm(
        name="orthogonal_objective_share", quantity="F_g", expression=share, label="derived",
        citations=DANG,
        statement="Share of a class of n_g samples in the least loss plus penalties.", hypotheses=FREE, proofs=proofs,
    )  # fmt: skip


@register
def free_bias() -> ClosedForm:
    """The optimal free bias is the vector of class frequencies."""

    def proofs() -> tuple[Identity, ...]:
        sizes, counts = GROUPS
        total = K_A * n_A + K_B * n_B
        D = BlockMatrix.diagonal(sizes, [sp.sqrt(c) for c in counts])
        d = sp.Matrix([sp.sqrt(size * c) for size, c in zip(sizes, counts, strict=True)])  # sqrt(n) between groups
        target = D.between * (sp.eye(2) - d * d.T / total)
        # The optimum A has the null space of its target, so A d = 0.
        frequencies = sp.Matrix([sp.sqrt(size) * c / total for size, c in zip(sizes, counts, strict=True)])
        balanced = BlockMatrix.centering([K])
        return (
            Identity(name="the centred target D^(1/2) (I - d d^T/N) annihilates d", expression=target * d,
                     scope=EVERY_GROUP),
            Identity(name="with A d = 0 stationarity in b gives D^(1/2) d = N b", scope=EVERY_GROUP,
                     expression=D.between * d - total * frequencies),
            Identity(name="balanced: the target is sqrt(n) (I - 11^T/K), a simplex frame", scope=EVERY_K,
                     expression=sp.Matrix([balanced.gaps[0] - 1, balanced.between[0]])),
        )  # fmt: skip

    return ClosedForm(
        name="free_bias", quantity="b_g", expression=n_g / N, label="derived",
        citations=DANG,
        statement="With a free bias, b is the vector of class frequencies for any counts.",
        hypotheses=("bias without penalty", "any counts"), proofs=proofs,
    )  # fmt: skip


@register
def free_bias_between() -> ClosedForm:
    """The between-group singular value with a free bias; within a group it is that of the model without bias."""
    total = K_A * n_A + K_B * n_B
    value = sp.sqrt((K_A + K_B) * n_A * n_B / total)

    def proofs() -> tuple[Identity, ...]:
        sizes, counts = GROUPS
        D = sp.diag(*[sp.sqrt(c) for c in counts])
        d = sp.Matrix([sp.sqrt(size * c) for size, c in zip(sizes, counts, strict=True)])
        target = D * (sp.eye(2) - d * d.T / total)
        right = sp.Matrix([sp.sqrt(K_B * n_B), -sp.sqrt(K_A * n_A)]) / sp.sqrt(total)
        left = sp.Matrix([sp.sqrt(K_B), -sp.sqrt(K_A)]) / sp.sqrt(K_A + K_B)
        shrunk = value - total * lam_Z
        residual = (shrunk * left * right.T - target) / total + lam_Z * left * right.T
        return (
            Identity(name="singular value decomposition of the centred target", scope=EVERY_GROUP,
                     expression=(target - value * left * right.T).reshape(4, 1)),
            Identity(name="KKT: residual / N + lam_Z U V^T = 0", expression=residual.reshape(4, 1), scope=EVERY_GROUP),
            Identity(name="equal counts give sqrt(n)", scope=EVERY_GROUP,
                     expression=value.subs({n_A: n, n_B: n}) - sp.sqrt(n)),
        )  # fmt: skip

    return ClosedForm(
        name="free_bias_between", quantity=r"\sigma_{AB}", expression=sp.Max(0, value - total * lam_Z), label="derived",
        citations=DANG,
        statement="Two groups, free bias: the singular values are sqrt(n_A) - N lam_Z, sqrt(n_B) - N lam_Z and this.",
        hypotheses=("two groups of equal counts", "bias without penalty"), proofs=proofs,
    )  # fmt: skip


def _bias_objective(x: sp.Expr) -> sp.Expr:
    """The part of the balanced objective along the ones vector, with sigma there and b = x 1 / (K sqrt n)."""
    return (sigma + x - sp.sqrt(n)) ** 2 / (2 * K * n) + lam_Z * sigma + lam_b / 2 * x**2 / (K * n)


@register
def ones_singular_value() -> ClosedForm:
    """Singular value along the ones vector with a penalised bias, balanced."""
    alive = sp.sqrt(n) - K * n * lam_Z * (1 + lam_b) / lam_b

    def proofs() -> tuple[Identity, ...]:
        x = sp.Symbol("x", positive=True)
        at = {sigma: alive, x: (sp.sqrt(n) - alive) / (1 + lam_b)}
        beta = x / (K * sp.sqrt(n))
        ones = BlockMatrix.from_entries([K], [beta * sp.sqrt(n)], [beta * sp.sqrt(n)], sp.zeros(1))  # b d^T
        return (
            Identity(name="b d^T has x on the ones vector and zero elsewhere", scope=EVERY_K,
                     expression=sp.Matrix([ones.gaps[0], ones.between[0] - x, K * beta**2 - x**2 / (K * n)])),
            Identity(name="stationary in the singular value", expression=_bias_objective(x).diff(sigma).subs(at),
                     scope=EVERY_K),
            Identity(name="stationary in the bias", expression=_bias_objective(x).diff(x).subs(at), scope=EVERY_K),
            Identity(name="lam_b -> infinity gives sqrt(n) - N lam_Z", scope=EVERY_K,
                     expression=alive.limit(lam_b, sp.oo) - (sp.sqrt(n) - K * n * lam_Z)),
        )  # fmt: skip

    return ClosedForm(
        name="ones_singular_value", quantity=r"\sigma_1", expression=sp.Max(0, alive), label="derived",
        statement="The other K - 1 singular values are sqrt(n) - K n lam_Z: a simplex frame where this one is zero, "
        "on the way to an orthogonal frame where it is not.",
        hypotheses=("equal counts n", "bias with penalty lam_b"), proofs=proofs,
    )  # fmt: skip


@register
def penalised_bias() -> ClosedForm:
    """Every entry of the penalised bias, balanced."""
    shrunk = ones_singular_value().expression

    def proofs() -> tuple[Identity, ...]:
        x = sp.Symbol("x", positive=True)
        silent = _bias_objective(x).subs(sigma, 0).diff(x).subs(x, sp.sqrt(n) / (1 + lam_b))
        return (
            Identity(name="stationary where the singular value is zero", expression=silent, scope=EVERY_K),
            Identity(name="lam_b -> 0 gives the class frequency 1/K", scope=EVERY_K,
                     expression=(1 / (K * (1 + lam_b))).subs(lam_b, 0) - 1 / K),
        )  # fmt: skip

    return ClosedForm(
        name="penalised_bias", quantity="b_k", expression=(1 - shrunk / sp.sqrt(n)) / (K * (1 + lam_b)),
        label="derived",
        statement="The bias is the same for all classes.", hypotheses=("equal counts n", "bias with penalty lam_b"),
        proofs=proofs,
    )  # fmt: skip


@register
def simplex_to_orthogonal() -> ClosedForm:
    """The bias penalty at which the simplex frame starts to turn into an orthogonal frame."""
    rho = K * sp.sqrt(n) * lam_Z  # N lam_Z / sqrt(n)

    def proofs() -> tuple[Identity, ...]:
        x = sp.Symbol("x", positive=True)
        slope = _bias_objective(x).diff(sigma).subs({sigma: 0, x: sp.sqrt(n) / (1 + lam_b)})
        alive = sp.sqrt(n) - K * n * lam_Z * (1 + lam_b) / lam_b
        return (
            Identity(name="slope in the singular value at zero, with the bias that fits it", scope=EVERY_K,
                     expression=slope.subs(lam_b, rho / (1 - rho))),
            Identity(name="the singular value along the ones vector vanishes there", scope=EVERY_K,
                     expression=alive.subs(lam_b, rho / (1 - rho))),
        )  # fmt: skip

    return ClosedForm(
        name="simplex_to_orthogonal", quantity=r"\lambda_b^\star", label="derived",
        expression=rho / (1 - rho), domain=(sp.Lt(rho, 1),),
        statement="The optimum is a simplex frame if and only if lam_b is at most this.",
        hypotheses=("equal counts n", "squared error", "K sqrt(n) lam_Z < 1, as otherwise Z = 0"), proofs=proofs,
    )  # fmt: skip


@register
def regression_singular_value() -> ClosedForm:
    """Eigenvalue of W W^T for a singular value s of the targets Y / sqrt(M)."""
    product = sp.sqrt(lam_W * lam_H)

    def proofs() -> tuple[Identity, ...]:
        x = sp.sqrt(sp.sqrt(lam_H / lam_W) * (s - product))
        y = sp.sqrt(sp.sqrt(lam_W / lam_H) * (s - product))
        return (
            Identity(name="stationary in W", expression=(x * y - s) * y + lam_W * x, scope=EVERY),
            Identity(name="stationary in H", expression=(x * y - s) * x + lam_H * y, scope=EVERY),
        )  # fmt: skip

    return ClosedForm(
        name="regression_singular_value", quantity=r"\sigma(WW^\top)", label="derived",
        citations=("andriopoulos2024regression",),
        expression=sp.sqrt(lam_H / lam_W) * sp.Max(0, s - product),
        statement="Regression, (1/2M) ||WH - Y||^2 + (lam_H/2M) ||H||^2 + (lam_W/2) ||W||^2: the singular values s of "
        "Y/sqrt(M) are soft-thresholded at sqrt(lam_W lam_H).",
        hypotheses=("no bias, or Y centred and the bias free", "p >= rank"), proofs=proofs,
    )  # fmt: skip
