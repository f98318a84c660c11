r"""Cross-entropy with penalties: (1/N) sum of losses + (lam_W/2) ||W||^2 + (lam_H/2) sum over samples of ||h||^2.

Eliminating W and H leaves the mean loss plus :math:`\lambda_Z \|Z D^{1/2}\|_*` with lam_Z = sqrt(lam_W lam_H) and
D = diag(n_k) (*derived*; srebro2004maximum), which is convex for a convex loss. n is the number of samples per class.
"""

from __future__ import annotations

import sympy as sp

from theory.symbolic._blocks import BlockMatrix
from theory.symbolic._record import ClosedForm, Identity, register
from theory.symbolic._symbols import (
    EVERY_K,
    K,
    K_g,
    M,
    N,
    N_w,
    alpha,
    e,
    gamma,
    lam_H,
    lam_W,
    lam_Z,
    n,
    n_g,
    omega,
    t,
)
from theory.symbolic.layer_peeled import balanced_gradient, etf_logits

ZHU = ("zhu2021geometric",)
BALANCED = ("equal counts n", "p >= K - 1")
EVERY = "symbolic in all symbols"
TWO = (sp.Ge(K, 2),)


def _penalty(gap: sp.Expr) -> sp.Expr:
    """lam_Z ||Z D^(1/2)||_* at Z = gap (I - 11^T/K)."""
    return lam_Z * sp.sqrt(n) * (K - 1) * gap


@register
def cross_entropy_gap() -> ClosedForm:
    """True logit minus any other at the balanced optimum, zero for a strong penalty."""
    alive = 1 / (lam_Z * sp.sqrt(n)) - K + 1

    def proofs() -> tuple[Identity, ...]:
        P = BlockMatrix.centering([K])
        stationary = balanced_gradient(sp.log(alive)) + P.times(lam_Z * sp.sqrt(n))
        objective = sp.log(1 + (K - 1) * sp.exp(-t)) + _penalty(t)
        at_zero = balanced_gradient(sp.Integer(0)).gaps[0]
        return (
            Identity(name="KKT: the gradient in Z is -lam_Z sqrt(n) P", expression=stationary.coordinates(),
                     scope=EVERY_K),
            Identity(name="the objective along Z = t P is stationary there", scope=EVERY_K,
                     expression=objective.diff(t).subs(t, sp.log(alive))),
            Identity(name="at zero the dual value is 1/K, so zero is optimal iff lam_Z sqrt(n) >= 1/K", scope=EVERY_K,
                     expression=sp.Matrix([at_zero + 1 / K, alive.subs(lam_Z, 1 / (K * sp.sqrt(n))) - 1])),
        )  # fmt: skip

    return ClosedForm(
        name="cross_entropy_gap", quantity="t^\\star", expression=sp.log(sp.Max(1, alive)), label="derived",
        citations=ZHU, statement="The balanced optimum is Z = t (I - 11^T/K); it is zero iff lam_Z >= 1/(K sqrt n).",
        hypotheses=BALANCED, domain=TWO, proofs=proofs,
    )  # fmt: skip


@register
def cross_entropy_objective() -> ClosedForm:
    """Least value of loss plus penalties, balanced."""
    gap = cross_entropy_gap().expression
    objective = sp.log(1 + (K - 1) * sp.exp(-gap)) + _penalty(gap)

    def proofs() -> tuple[Identity, ...]:
        root = sp.sqrt(lam_H * n / lam_W)  # W W^T = root Z, and H^T H = Z / root for the class means
        Z = etf_logits(t)
        value = lam_W / 2 * Z.times(root).trace + lam_H / 2 * n * Z.times(1 / root).trace
        alive = 1 / (lam_Z * sp.sqrt(n)) - K + 1
        plain = sp.log(1 + (K - 1) * sp.exp(-sp.log(alive))) + _penalty(sp.log(alive))
        return (
            Identity(name="the penalties of W and H add up to lam_Z times the nuclear norm", scope=EVERY_K,
                     expression=value - _penalty(t).subs(lam_Z, sp.sqrt(lam_W * lam_H))),
            Identity(name="the slope of the least value in lam_Z is the nuclear norm", scope=EVERY_K,
                     expression=plain.diff(lam_Z) - sp.sqrt(n) * (K - 1) * sp.log(alive)),
        )  # fmt: skip

    return ClosedForm(
        name="cross_entropy_objective", quantity=r"F^\star", expression=objective, label="derived", citations=ZHU,
        statement="Least mean cross-entropy plus penalties of the balanced model.",
        hypotheses=BALANCED, domain=TWO, proofs=proofs,
    )  # fmt: skip


def _twin_gap_slope(mass: sp.Expr) -> sp.Expr:
    """Slope at 0 of the loss of a group's classes, each of the given mass, along the gap e between their logits.

    The other logits, and the group's own mean logit, are arbitrary: ``rest`` is the sum of the other exponentials.
    """
    mean, rest = sp.symbols("mean rest", positive=True)
    own, twin = mean + e * (1 - 1 / K_g), mean - e / K_g
    loss = K_g * mass * (sp.log(sp.exp(own) + (K_g - 1) * sp.exp(twin) + rest) - own)
    return loss.diff(e).subs(e, 0)


@register
def merge_threshold() -> ClosedForm:
    """The penalty at which the classes of one size coincide."""

    def proofs() -> tuple[Identity, ...]:
        slope = _twin_gap_slope(n_g / N)
        penalty = lam_Z * sp.sqrt(n_g) * (K_g - 1)  # of the gap e, whose singular value comes K_g - 1 times
        return (
            Identity(name="at gap zero the loss falls at (K_g - 1) n_g / N, whatever the other logits",
                     expression=slope + (K_g - 1) * n_g / N, scope="symbolic in K_g and in all other symbols"),
            Identity(name="loss and penalty balance at the threshold", scope="symbolic in K_g and in all other symbols",
                     expression=slope + penalty.subs(lam_Z, sp.sqrt(n_g) / N)),
        )  # fmt: skip

    return ClosedForm(
        name="merge_threshold", quantity=r"\lambda_Z^\star", expression=sp.sqrt(n_g) / N, label="derived",
        citations=("hong2023imbalanced",),
        statement="The classes of size n_g merge if and only if lam_Z is at least this; N samples in all.",
        hypotheses=("at least two classes of size n_g", "any other counts", "no bias, or one that is equal on twins"),
        proofs=proofs,
    )  # fmt: skip


@register
def weighted_merge_threshold() -> ClosedForm:
    """The same with class weights in the loss."""

    def proofs() -> tuple[Identity, ...]:
        balance = _twin_gap_slope(omega * n_g / N_w) + omega * sp.sqrt(n_g) / N_w * sp.sqrt(n_g) * (K_g - 1)
        return (
            Identity(name="loss and penalty balance at the threshold", expression=balance,
                     scope="symbolic in K_g and in all other symbols"),
            Identity(name="weight one gives the plain threshold", scope=EVERY,
                     expression=(omega * sp.sqrt(n_g) / N_w).subs({omega: 1, N_w: N}) - merge_threshold().expression),
        )  # fmt: skip

    return ClosedForm(
        name="weighted_merge_threshold", quantity=r"\lambda_Z^\star", expression=omega * sp.sqrt(n_g) / N_w,
        label="derived",
        statement="Threshold for classes of size n_g and weight omega where the loss is sum omega_k loss / "
        "N_w, N_w = sum omega_k n_k over classes.",
        hypotheses=("at least two classes of that size and weight", "penalties not weighted"), proofs=proofs,
    )  # fmt: skip


@register
def label_smoothing_gap() -> ClosedForm:
    """True logit minus any other for smoothed targets, balanced; lam_Z -> 0 gives log(K/alpha - K + 1)."""
    wrong = (K - 1) * (alpha / K + lam_Z * sp.sqrt(n))
    gap = sp.log(sp.Max(1, (K - 1) * (1 - wrong) / wrong))

    def proofs() -> tuple[Identity, ...]:
        alive = sp.log((K - 1) * (1 - wrong) / wrong)
        own, other = 1 - alpha + alpha / K, alpha / K
        # logits t and 0: cross-entropy against (own, other, ..., other)
        loss = own * sp.log(1 + (K - 1) * sp.exp(-t)) + (K - 1) * other * (t + sp.log(1 + (K - 1) * sp.exp(-t)))
        return (
            Identity(name="loss plus penalty along Z = t P is stationary there", scope=EVERY_K,
                     expression=(loss + _penalty(t)).diff(t).subs(t, alive)),
            Identity(name="without smoothing it is the plain gap", scope=EVERY_K,
                     expression=((K - 1) * (1 - wrong) / wrong).subs(alpha, 0) - (1 / (lam_Z * sp.sqrt(n)) - K + 1)),
            Identity(name="without penalties it is log(K/alpha - K + 1)", scope=EVERY_K,
                     expression=((K - 1) * (1 - wrong) / wrong).subs(lam_Z, 0) - (K / alpha - K + 1)),
            Identity(name="zero iff lam_Z >= (1 - alpha)/(K sqrt n)", scope=EVERY_K,
                     expression=(loss + _penalty(t)).diff(t).subs(t, 0).subs(lam_Z, (1 - alpha) / (K * sp.sqrt(n)))),
        )  # fmt: skip

    return ClosedForm(
        name="label_smoothing_gap", quantity="t^\\star", expression=gap, label="derived",
        citations=("zhou2022losses",),
        statement="With targets (1 - alpha) e_k + alpha/K the balanced optimum is Z = t (I - 11^T/K).",
        hypotheses=BALANCED, domain=(*TWO, sp.Lt(alpha, 1)), proofs=proofs,
    )  # fmt: skip


@register
def focal_stationarity() -> ClosedForm:
    """The equation of the gap t for the focal loss -(1 - p)^gamma log p."""
    other = (K - 1) * sp.exp(-t)
    p, wrong = 1 / (1 + other), other / (1 + other)
    equation = wrong**gamma * (gamma * p * sp.log(p) - wrong) + lam_Z * sp.sqrt(n) * (K - 1)

    def proofs() -> tuple[Identity, ...]:
        objective = -(wrong**gamma) * sp.log(p) + _penalty(t)
        return (
            Identity(name="the derivative of loss plus penalty along Z = t P", scope=EVERY_K,
                     expression=objective.diff(t) - equation),
            Identity(name="gamma = 0 is the cross-entropy", scope=EVERY_K,
                     expression=equation.subs(gamma, 0).subs(t, sp.log(1 / (lam_Z * sp.sqrt(n)) - K + 1))),
        )  # fmt: skip

    return ClosedForm(
        name="focal_stationarity", quantity="0", expression=equation, label="derived",
        citations=("zhou2022losses",),
        statement="A stationary multiple t of the simplex frame; the loss is not convex, so it may be local only.",
        hypotheses=BALANCED, domain=TWO, proofs=proofs,
    )  # fmt: skip


@register
def relu_margin() -> ClosedForm:
    """Margin of a class of n_g samples where features are nonnegative."""
    alive = (K - 1) * (sp.sqrt(n_g * K / ((K - 1) * lam_W * lam_H)) / N - 1)

    def proofs() -> tuple[Identity, ...]:
        lam = sp.sqrt(lam_W * lam_H)
        pi = n_g / N
        value = pi * sp.log(1 + (K - 1) * sp.exp(-t)) + lam * sp.sqrt(n_g * (K - 1) / K) * t
        x = sp.Symbol("x", positive=True)  # ||h||^2; W h = t (e - 1/K) costs at least t^2 (1 - 1/K) / x
        cost = lam_H / 2 * n_g * x + lam_W / 2 * t**2 * (1 - 1 / K) / x
        best = relu_feature_square().expression.subs(M, t)
        spread = []
        for k in range(2, 7):
            y = sp.symbols(f"y:{k}", positive=True)
            square = sum(v**2 for v in y)
            pairs = sum(y[i] * y[j] for i in range(k) for j in range(i))
            projected = square - sum(y) ** 2 / k  # || P y ||^2
            spread.append(sp.expand((1 - sp.Rational(1, k)) * square - projected - 2 * pairs / k))
        return (
            Identity(name="stationary in the margin", expression=value.diff(t).subs(t, sp.log(alive)), scope=EVERY_K),
            Identity(name="least penalty of a column", scope=EVERY_K,
                     expression=cost.subs(x, best) - lam * sp.sqrt(n_g * (K - 1) / K) * t),
            Identity(name="that feature length is stationary", expression=cost.diff(x).subs(x, best), scope=EVERY_K),
            Identity(name="the margin vanishes at n_g = N^2 lam_W lam_H K/(K - 1)", scope=EVERY_K,
                     expression=alive.subs(n_g, N**2 * lam_W * lam_H * K / (K - 1)) - 1),
            Identity(name="dual bound: (1 - 1/K) ||y||^2 - ||P y||^2 is a sum of products y_i y_j >= 0",
                     expression=sp.Matrix(spread), scope="K = 2, ..., 6, symbolic in y"),
        )  # fmt: skip

    return ClosedForm(
        name="relu_margin", quantity="M_g", expression=sp.log(sp.Max(1, alive)), label="derived",
        citations=("dang2024relu",),
        statement="With H >= 0 the optimum has orthogonal features and columns z_k = M_k (e_k - 1/K). It is global: "
        "the dual norm is max ||G h|| over nonnegative unit h, and ||P y||^2 <= (1 - 1/K) ||y||^2 for y >= 0.",
        hypotheses=("features with nonnegative entries", "any counts", "no bias", "p >= K"), domain=TWO, proofs=proofs,
    )  # fmt: skip


@register
def relu_feature_square() -> ClosedForm:
    """Squared length of a nonnegative feature of margin M."""

    def proofs() -> tuple[Identity, ...]:
        square = relu_feature_square().expression
        return (
            Identity(name="the feature's penalty equals that of its part of W", scope=EVERY_K,
                     expression=lam_H * n_g * square - lam_W * M**2 * (1 - 1 / K) / square),
        )  # fmt: skip

    return ClosedForm(
        name="relu_feature_square", quantity=r"\|h_g\|^2", expression=sp.sqrt((K - 1) * lam_W / (K * lam_H * n_g)) * M,
        label="derived", citations=("dang2024relu",),
        statement="Squared length of the features of a class of n_g samples and margin M.",
        hypotheses=("features with nonnegative entries", "no bias", "p >= K"), domain=TWO, proofs=proofs,
    )  # fmt: skip
