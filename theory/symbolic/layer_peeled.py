r"""The layer-peeled model: mean cross-entropy (natural logarithm) under budgets E_W and E_H on mean squared norms.

Eliminating W and H leaves :math:`\min_Z \sum_k \pi_k \ell(z_k, k)` subject to
:math:`\|Z\|_* \le T = K\sqrt{E_W E_H}` (*derived*; srebro2004maximum), which is convex. A point Z = U S V^T on the
budget is optimal if and only if the gradient of the loss is -mu (U V^T + X), mu >= 0, ||X||_2 <= 1, U^T X = 0, X V = 0.
All features are collapsed class means, by convexity; p >= rank Z is needed.
"""

from __future__ import annotations

import sympy as sp

from theory.symbolic._blocks import BlockMatrix, softmax_columns
from theory.symbolic._record import ClosedForm, Identity, register
from theory.symbolic._symbols import E_H, E_W, EVERY_K, ONE, K, mu, pi_k

BALANCED = ("equal counts", "p >= K - 1")
FANG = ("fang2021layerpeeled",)


def etf_logits(gap: sp.Expr) -> BlockMatrix:
    """Gap times the centering matrix, for one group of K classes."""
    return BlockMatrix.centering([K]).times(gap)


def balanced_gradient(gap: sp.Expr) -> BlockMatrix:
    """Gradient of the mean cross-entropy in Z at gap (I - 11^T/K), balanced: (softmax - I) / K."""
    probabilities = softmax_columns(etf_logits(gap))
    return (probabilities - BlockMatrix.diagonal([K], [ONE])).times(1 / K)


def _matrix(name: str, difference: BlockMatrix, scope: str = EVERY_K) -> Identity:
    return Identity(name=name, expression=difference.coordinates(), scope=scope)


@register
def etf_gap() -> ClosedForm:
    """True logit minus any other at the balanced optimum."""
    gap = K * sp.sqrt(E_W * E_H) / (K - 1)

    def proofs() -> tuple[Identity, ...]:
        budget = (K - 1) * gap - K * sp.sqrt(E_W * E_H)
        return (Identity(name="the nuclear norm (K - 1) t meets the budget T", expression=budget, scope=EVERY_K),)

    return ClosedForm(
        name="etf_gap", quantity=r"z_{kk} - z_{ck}", expression=gap, label="derived", citations=FANG,
        statement="The balanced optimum is Z = t (I - 11^T/K) with this gap t.",
        hypotheses=BALANCED, domain=(sp.Ge(K, 2),), proofs=proofs,
    )  # fmt: skip


@register
def etf_cosine() -> ClosedForm:
    """Cosine of two classes of the simplex equiangular tight frame."""

    def proofs() -> tuple[Identity, ...]:
        P = BlockMatrix.centering([K])
        gram = P.times(K / (K - 1))
        return (
            Identity(name="unit vectors", expression=gram.own(0) - 1, scope=EVERY_K),
            Identity(name="equal angles", expression=gram.other(0) + 1 / (K - 1), scope=EVERY_K),
            _matrix("tight: the Gram matrix is K/(K - 1) times a projection", P @ P - P),
        )

    return ClosedForm(
        name="etf_cosine", quantity=r"\cos(w_k, w_c)", expression=-1 / (K - 1), label="proved",
        citations=("papyan2020prevalence", *FANG),
        statement="All classifiers, and all class means, meet at this cosine at the balanced optimum.",
        hypotheses=BALANCED, domain=(sp.Ge(K, 2),), proofs=proofs,
    )  # fmt: skip


@register
def self_duality() -> ClosedForm:
    """Classifier row over feature at the balanced optimum."""
    ratio = sp.sqrt(E_W / E_H)

    def proofs() -> tuple[Identity, ...]:
        P, gap = BlockMatrix.centering([K]), etf_gap().expression
        rows, features = P.times(gap * ratio), P.times(gap / ratio)  # W W^T and H^T H, both with W = ratio H^T
        return (
            _matrix("W W^T = c^2 H^T H", rows - features.times(ratio**2)),
            _matrix("W H = c H^T H is the optimal Z", features.times(ratio) - etf_logits(gap)),
            Identity(name="the classifiers meet their budget", expression=rows.trace / K - E_W, scope=EVERY_K),
            Identity(name="the features meet their budget", expression=features.trace / K - E_H, scope=EVERY_K),
        )

    return ClosedForm(
        name="self_duality", quantity=r"w_k / h_k", expression=ratio, label="proved", citations=FANG,
        statement="At the balanced optimum each classifier is this multiple of its class mean.",
        hypotheses=BALANCED, proofs=proofs,
    )  # fmt: skip


@register
def balanced_loss() -> ClosedForm:
    """Least cross-entropy of the balanced model."""
    loss = sp.log(1 + (K - 1) * sp.exp(-K / (K - 1) * sp.sqrt(E_W * E_H)))

    def proofs() -> tuple[Identity, ...]:
        gap = etf_gap().expression
        chance = softmax_columns(etf_logits(gap)).own(0)
        multiplier = balanced_multiplier().expression
        T = sp.Symbol("T", positive=True)
        along = sp.log(1 + (K - 1) * sp.exp(-T / (K - 1))).diff(T)
        return (
            Identity(name="-log of the true class's probability", expression=chance * sp.exp(loss) - 1, scope=EVERY_K),
            _matrix("KKT: the gradient at Z is -mu P, and P = U V^T", balanced_gradient(gap)
                    + BlockMatrix.centering([K]).times(multiplier)),
            Identity(name="the multiplier is -d loss / d T", scope=EVERY_K,
                     expression=along.subs(T, K * sp.sqrt(E_W * E_H)) + multiplier),
        )  # fmt: skip

    return ClosedForm(
        name="balanced_loss", quantity=r"\mathcal L^\star", expression=loss, label="derived", citations=FANG,
        statement="Least mean cross-entropy of the balanced model.",
        hypotheses=BALANCED, domain=(sp.Ge(K, 2),), proofs=proofs,
    )  # fmt: skip


@register
def balanced_multiplier() -> ClosedForm:
    """Multiplier of the nuclear-norm budget at the balanced optimum."""
    multiplier = 1 / (sp.exp(K / (K - 1) * sp.sqrt(E_W * E_H)) + K - 1)

    def proofs() -> tuple[Identity, ...]:
        gap = etf_gap().expression
        chance = softmax_columns(etf_logits(gap))
        slope = (1 - chance.own(0) + chance.other(0)) / K
        # W = sqrt(E_W) M^T and H = sqrt(E_H) M with M^T M = K/(K-1) P, so G M^T = -mu M^T
        nu_W, nu_H = K / 2 * multiplier * sp.sqrt(E_H / E_W), K / 2 * multiplier * sp.sqrt(E_W / E_H)
        return (
            Identity(name="mu = (1 - p_self + p_other) / K", expression=slope - multiplier, scope=EVERY_K),
            Identity(name="stationary in W with nu_W = (K mu / 2) sqrt(E_H / E_W)", scope=EVERY_K,
                     expression=balanced_gradient(gap).gaps[0] * sp.sqrt(E_H) + 2 * nu_W / K * sp.sqrt(E_W)),
            Identity(name="stationary in H with nu_H = (K mu / 2) sqrt(E_W / E_H)", scope=EVERY_K,
                     expression=balanced_gradient(gap).gaps[0] * sp.sqrt(E_W) + 2 * nu_H / K * sp.sqrt(E_H)),
        )  # fmt: skip

    return ClosedForm(
        name="balanced_multiplier", quantity=r"\mu", expression=multiplier, label="derived", citations=FANG,
        statement="Multiplier of the budget T at the balanced optimum: minus the slope of the least loss in T.",
        hypotheses=BALANCED, domain=(sp.Ge(K, 2),), proofs=proofs,
    )  # fmt: skip


@register
def squared_error_balanced_logit() -> ClosedForm:
    """True logit of the balanced model with the squared error."""
    logit = sp.Min(1, sp.sqrt(E_W * E_H))

    def proofs() -> tuple[Identity, ...]:
        z = sp.sqrt(E_W * E_H)
        Z = BlockMatrix.diagonal([K], [z])
        gradient = (Z - BlockMatrix.diagonal([K], [ONE])).times(1 / K)
        return (
            Identity(name="the nuclear norm K z meets the budget T", expression=Z.trace - K * z, scope=EVERY_K),
            _matrix("KKT where the budget binds: the gradient is -mu I with mu = (1 - z)/K",
                    gradient + BlockMatrix.diagonal([K], [(1 - z) / K])),
        )  # fmt: skip

    return ClosedForm(
        name="squared_error_balanced_logit", quantity=r"z_{kk}", expression=logit, label="derived",
        statement="With the loss ||z - e_k||^2 / 2 and no bias the balanced optimum is Z = z I, an orthogonal frame.",
        hypotheses=("equal counts", "no bias", "p >= K"), proofs=proofs,
    )  # fmt: skip


@register
def squared_error_logit() -> ClosedForm:
    """True logit of a class of frequency pi_k in the model with the squared error."""

    def proofs() -> tuple[Identity, ...]:
        z = 1 - mu / pi_k
        return (
            Identity(name="KKT of a class that is alive: pi_k (z - 1) + mu = 0", expression=pi_k * (z - 1) + mu,
                     scope="symbolic in all symbols; the class count does not enter"),
            Identity(name="and at its boundary the dual value pi_k is mu", expression=z.subs(mu, pi_k),
                     scope="symbolic in all symbols; the class count does not enter"),
        )  # fmt: skip

    return ClosedForm(
        name="squared_error_logit", quantity=r"z_{kk}", expression=sp.Max(0, 1 - mu / pi_k), label="derived",
        statement="Z is diagonal; mu >= 0 makes the entries sum to T = K sqrt(E_W E_H), and is 0 where T >= K.",
        hypotheses=("loss ||z - e_k||^2 / 2", "no bias", "p >= number of classes alive"), proofs=proofs,
    )  # fmt: skip


