r"""rho of a deep classifier under the square loss and weight decay, f = rho f_V with V standing still.

The letters: mu_V is the mean of <y_n, f_n>, M_V that of ||f_n||^2, lam the weight decay; the loss is the mean of
||rho f_n - y_n||^2, its targets of mean square 1. Under Lagrange-multiplier normalisation rho' = 2 mu_V -
2 (M_V + lam) rho; L balanced layers without it have rho' = 2L (rho^(2 - 2/L) (mu_V - M_V rho) - lam rho) (*derived*).
"""

from __future__ import annotations

import sympy as sp

from theory.symbolic._record import ClosedForm, Identity, register
from theory.symbolic._symbols import L, t

lam, mu_V, M_V, rho, rho_0, sigma_V = sp.symbols("lam mu_V M_V rho rho_0 sigma_V", positive=True)
XU = ("xu2023dynamics",)
EVERY = "symbolic in all symbols"
EVERY_L = "symbolic in L and in all other symbols"
FROZEN = ("square loss, mean over samples", "targets of mean square 1", "f_V stands still")
LAYERS = (*FROZEN, "balanced layers of degree 1", "penalty lam on the square of every layer")


def _objective(scale: sp.Expr) -> sp.Expr:
    return 1 - 2 * mu_V * scale + M_V * scale**2 + lam * scale**2


def _rate(scale: sp.Expr) -> sp.Expr:
    """The rate of rho under Lagrange multipliers."""
    return 2 * mu_V - 2 * (M_V + lam) * scale


def _layer_rate(r: sp.Expr, depth: sp.Expr, decay: sp.Expr = lam) -> sp.Expr:
    """The rate of r, rho = r^L, of balanced layers."""
    return 2 * r ** (depth - 1) * (mu_V - M_V * r**depth) - 2 * decay * r


def _layer_objective(scale: sp.Expr) -> sp.Expr:
    """The objective of balanced layers, less its value at rho = 0."""
    return -2 * mu_V * scale + M_V * scale**2 + L * lam * scale ** (2 / L)


def _balance(scale: sp.Expr) -> sp.Expr:
    return scale ** (1 - 2 / L) * (mu_V - M_V * scale) - lam


REST = mu_V / (M_V + lam)
FOLD = (L - 2) * mu_V / (2 * (L - 1) * M_V)


@register
def rho_equilibrium() -> ClosedForm:
    """Where rho rests under Lagrange-multiplier normalisation."""

    def proofs() -> tuple[Identity, ...]:
        return (
            Identity(name="rho stands still", expression=_rate(REST), scope=EVERY),
            Identity(name="the flow descends the objective", expression=_objective(rho).diff(rho) + _rate(rho),
                     scope=EVERY),
        )  # fmt: skip

    return ClosedForm(
        name="rho_equilibrium", quantity=r"\rho_{eq}", expression=REST, label="derived", citations=XU,
        statement="The one rest point of rho, approached at the rate 2 (M_V + lam).", hypotheses=FROZEN, proofs=proofs,
    )  # fmt: skip


@register
def rho_objective() -> ClosedForm:
    """The objective at the rest point of rho."""
    value = (sigma_V**2 + lam) / (sigma_V**2 + mu_V**2 + lam)

    def proofs() -> tuple[Identity, ...]:
        square = {M_V: sigma_V**2 + mu_V**2}
        return (
            Identity(name="objective at rho_eq", expression=_objective(REST).subs(square) - value, scope=EVERY),
            Identity(name="it is 1 - rho_eq mu_V", expression=(1 - REST * mu_V).subs(square) - value, scope=EVERY),
            Identity(name="equal margins: lam/(mu_V^2 + lam)", scope="sigma_V = 0",
                     expression=value.subs(sigma_V, 0) - lam / (mu_V**2 + lam)),
        )  # fmt: skip

    return ClosedForm(
        name="rho_objective", quantity=r"F(\rho_{eq})", expression=value, label="derived", citations=XU,
        statement="Loss plus penalty at rest; sigma_V^2 = M_V - mu_V^2 is the variance of the margins.",
        hypotheses=FROZEN, proofs=proofs,
    )  # fmt: skip


@register
def rho_frozen() -> ClosedForm:
    """The path of rho under Lagrange-multiplier normalisation while f_V stands still."""
    path = REST + (rho_0 - REST) * sp.exp(-2 * (M_V + lam) * t)

    def proofs() -> tuple[Identity, ...]:
        return (
            Identity(name="solves rho' = 2 mu_V - 2 (M_V + lam) rho", expression=path.diff(t) - _rate(path),
                     scope=EVERY),
            Identity(name="starts at rho_0", expression=path.subs(t, 0) - rho_0, scope=EVERY),
        )  # fmt: skip

    return ClosedForm(
        name="rho_frozen", quantity=r"\rho(t)", expression=path, label="derived", citations=XU,
        statement="An exponential; one layer without normalisation has the same law.", hypotheses=FROZEN, proofs=proofs,
    )  # fmt: skip


@register
def rho_two_layers() -> ClosedForm:
    """The path of rho of two balanced layers without normalisation."""
    top, growth = mu_V - lam, sp.exp(-4 * (mu_V - lam) * t)
    path = rho_0 / (growth + M_V * rho_0 * (1 - growth) / top)

    def proofs() -> tuple[Identity, ...]:
        return (
            Identity(name="solves rho' = 4 rho (mu_V - lam - M_V rho)", scope=EVERY,
                     expression=path.diff(t) - 4 * path * (top - M_V * path)),
            Identity(name="which is the flow of a layer, rho = r^2", scope=EVERY,
                     expression=4 * rho * (top - M_V * rho) - (2 * sp.sqrt(rho) * _layer_rate(sp.sqrt(rho), 2))),
            Identity(name="starts at rho_0", expression=path.subs(t, 0) - rho_0, scope=EVERY),
            Identity(name="and ends at (mu_V - lam)/M_V", scope="growth -> 0",
                     expression=(rho_0 / (M_V * rho_0 / top)) - top / M_V),
        )  # fmt: skip

    return ClosedForm(
        name="rho_two_layers", quantity=r"\rho(t)", expression=path, label="derived",
        statement="A logistic law: rho leaves zero at the rate 4 (mu_V - lam) if lam < mu_V, else it goes to zero.",
        hypotheses=LAYERS, domain=(sp.Ne(mu_V, lam),), proofs=proofs,
    )  # fmt: skip


@register
def rho_balance() -> ClosedForm:
    """The equation of the rest points of L balanced layers."""

    def proofs() -> tuple[Identity, ...]:
        slope = _layer_objective(rho).diff(rho) / 2
        return (
            Identity(name="stationary objective", expression=slope + _balance(rho) * rho ** (2 / L - 1), scope=EVERY_L),
            Identity(name="the flow of a layer stands still", scope=EVERY_L,
                     expression=_layer_rate(rho ** (1 / L), L) - 2 * rho ** (1 / L) * _balance(rho)),
            Identity(name="L = 1 gives mu_V/(M_V + lam)", scope="L = 1",
                     expression=_balance(rho).subs(L, 1).subs(rho, REST)),
            Identity(name="L = 2 gives (mu_V - lam)/M_V", scope="L = 2",
                     expression=_balance(rho).subs(L, 2).subs(rho, (mu_V - lam) / M_V)),
        )  # fmt: skip

    return ClosedForm(
        name="rho_balance", quantity="0", expression=_balance(rho), label="derived",
        statement="Rest points rho > 0; for L >= 3 the larger root is stable, the smaller is not, and zero is stable.",
        hypotheses=LAYERS, proofs=proofs,
    )  # fmt: skip


@register
def rho_fold() -> ClosedForm:
    """Rho where the two rest points of three or more layers meet."""

    def proofs() -> tuple[Identity, ...]:
        return (Identity(name="the balance is stationary", expression=_balance(rho).diff(rho).subs(rho, FOLD),
                         scope=EVERY_L),)  # fmt: skip

    return ClosedForm(
        name="rho_fold", quantity=r"\rho_c", expression=FOLD, label="derived",
        statement="The last nonzero rest point before weight decay leaves only zero.", hypotheses=LAYERS,
        domain=(sp.Ge(L, 3),), proofs=proofs,
    )  # fmt: skip


@register
def decay_collapse() -> ClosedForm:
    """The weight decay above which only rho = 0 is left."""
    value = L * mu_V / (2 * (L - 1)) * FOLD ** (1 - 2 / L)

    def proofs() -> tuple[Identity, ...]:
        return (
            Identity(name="the balance holds at the fold", expression=_balance(rho).subs(rho, FOLD).subs(lam, value),
                     scope=EVERY_L),
            *rho_fold().identities,
        )  # fmt: skip

    return ClosedForm(
        name="decay_collapse", quantity=r"\lambda_c", expression=value, label="derived",
        statement="A fold of the rest points; two layers have a pitchfork at lam = mu_V instead.", hypotheses=LAYERS,
        domain=(sp.Ge(L, 3),), proofs=proofs,
    )  # fmt: skip


@register
def decay_preference() -> ClosedForm:
    """The weight decay above which rho = 0 is better than the stable rest point."""
    value = mu_V / (L - 1) * (2 * FOLD) ** (1 - 2 / L)

    def proofs() -> tuple[Identity, ...]:
        at = {rho: 2 * FOLD}
        return (
            Identity(name="the objective equals that of zero", scope=EVERY_L,
                     expression=_layer_objective(rho).subs(at).subs(lam, value)),
            Identity(name="at a rest point", expression=_balance(rho).subs(at).subs(lam, value), scope=EVERY_L),
        )  # fmt: skip

    return ClosedForm(
        name="decay_preference", quantity=r"\lambda_p", expression=value, label="derived",
        statement="Between this and decay_collapse the nonzero rest point is stable but worse than zero.",
        hypotheses=LAYERS, domain=(sp.Ge(L, 3),), proofs=proofs,
    )  # fmt: skip


@register
def plateau_three_layers() -> ClosedForm:
    """Time from rho_0 to rho, to leading order in a small rho_0, three layers without decay."""
    value = rho_0 ** sp.Rational(-1, 3) / (2 * mu_V)

    def proofs() -> tuple[Identity, ...]:
        # near zero rho' = 6 mu_V rho^(4/3): the time is - d/d rho_0 of the leading term, to be integrated exactly
        lead = 6 * rho_0 ** sp.Rational(4, 3) * mu_V
        general = rho_0 ** (2 / L - 1) / (2 * mu_V * (L - 2))
        slow = 2 * L * rho_0 ** (2 - 2 / L) * mu_V
        return (
            Identity(name="dt = d rho / rho' near zero", expression=-value.diff(rho_0) - 1 / lead, scope=EVERY),
            Identity(name="as for L layers, rho_0^(2/L - 1)/(2 mu_V (L - 2))", scope=EVERY_L,
                     expression=-general.diff(rho_0) - 1 / slow),
            Identity(name="of which it is L = 3", expression=general.subs(L, 3) - value, scope="L = 3"),
        )  # fmt: skip

    return ClosedForm(
        name="plateau_three_layers", quantity=r"t_{\mathrm{plateau}}", expression=value, label="derived",
        statement="How long rho stays near a small rho_0; a constant and O(rho_0^(2/3)) are left out.",
        hypotheses=(*LAYERS[:-1], "no weight decay", "rho_0 -> 0"), proofs=proofs,
    )  # fmt: skip


@register
def stationary_margin() -> ClosedForm:
    """The normalised margin at which a sample alone is stationary."""
    root = (1 + sp.sqrt(1 - 4 * lam * rho**2)) / (2 * rho)

    def proofs() -> tuple[Identity, ...]:
        equal = mu_V / (mu_V**2 + lam)
        inside = 1 - 4 * lam * equal**2 - ((mu_V**2 - lam) / (mu_V**2 + lam)) ** 2
        upper = (1 + (mu_V**2 - lam) / (mu_V**2 + lam)) / (2 * equal)
        return (
            Identity(name="(rho b - 1) b = -lam rho", expression=rho * root**2 - root + lam * rho, scope=EVERY),
            Identity(name="at rho = mu_V/(mu_V^2 + lam) the radicand is a square", expression=inside, scope=EVERY),
            Identity(name="so the root is mu_V where mu_V^2 >= lam", expression=upper - mu_V, scope="mu_V^2 >= lam"),
        )

    return ClosedForm(
        name="stationary_margin", quantity="b", expression=root, label="derived", citations=XU,
        statement="Two classes, targets -1 and 1: if every sample is stationary on this root, margins are equal.",
        hypotheses=("square loss", "one output", "targets -1 and 1"), domain=(sp.Le(4 * lam * rho**2, 1),),
        proofs=proofs,
    )  # fmt: skip
