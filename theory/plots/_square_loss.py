"""rho under the square loss: its path beside the rest point, rest points against decay, bounds, spectra with ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theory._arrays import as_count, as_positive
from theory._errors import PreconditionError
from theory.plots._style import GUIDE, MEASURED, SHADE, SMALL, THEORY, axes, finish, group_style
from theory.square_loss import BalancedRho, decay_thresholds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from theory.square_loss import BoundsAlong, RankCertificate, RhoSolution

DOTTED: dict[str, Any] = {"color": "#1b3a5c", "linewidth": 1.2, "linestyle": (0, (1, 1.5))}
BRANCH_POINTS = 120


def rho_dynamics(solution: RhoSolution, ax: Any | None = None) -> Axes:
    """Draw rho(t), the integration's steps as points, beside the rho at which it would rest at each moment's V.

    Vertical lines mark where rho reached zero. The axis of t is logarithmic and starts at the first step.

    Parameters
    ----------
    solution : from :func:`theory.square_loss.integrate_rho`.
    ax : axes to draw on; None makes a new figure.

    Returns
    -------
    the axes.
    """
    ax = axes(ax)
    t, rho = solution.t[1:], solution.rho[1:]
    known = np.isfinite(solution.rho_eq[1:])
    if known.any():
        ax.plot(t[known], solution.rho_eq[1:][known], label="rest point for this V", **THEORY)
    ax.plot(t, rho, label=r"$\rho$", **MEASURED)
    for crossing in solution.zero_crossings:
        ax.axvline(crossing.t, linestyle=":", **GUIDE)
    ax.set_xscale("log")
    end = f"$\\rho$ = {rho[-1]:.4g} at t = {t[-1]:.3g}"
    finish(ax, title=f"{solution.normalisation}, $\\lambda$ = {solution.lam:g}: {end}", xlabel="t", ylabel=r"$\rho$")
    ax.legend(loc="best", fontsize=SMALL, frameon=False)
    return ax


def rho_equilibria(depth: int, mu: float, M: float, ax: Any | None = None) -> Axes:
    """Draw the rest points of rho of L balanced layers against weight decay: stable as lines, unstable dotted.

    Beyond the shaded edge only rho = 0 is left; the vertical line is where rho = 0 becomes the better one.

    Parameters
    ----------
    depth : L, at least 2. mu, M : positive averages of the outputs.
    ax : axes to draw on; None makes a new figure.

    Returns
    -------
    the axes.

    Raises
    ------
    InvalidInput : numbers out of range.
    """
    L, mu, M = as_count("depth", depth, minimum=2), as_positive("mu", mu), as_positive("M", M)
    ax, limits = axes(ax), decay_thresholds(L, mu, M)
    lams = limits.collapse * (1 - np.linspace(1, 0, BRANCH_POINTS) ** 2) * (1 - 1e-12)
    laws = [BalancedRho(depth=L, mu=mu, M=M, lam=float(lam), rho0=1.0).equilibria for lam in lams]
    top = [rests[-1].rho for rests in laws]
    ax.plot(lams, top, label="stable", **THEORY)
    middle = [(lam, rests[1].rho) for lam, rests in zip(lams, laws, strict=True) if len(rests) == 3]
    if middle:
        ax.plot(*zip(*middle, strict=True), label="unstable", **DOTTED)
    right = 1.35 * limits.collapse
    if L == 2:
        ax.plot([0, limits.collapse], [0, 0], label="unstable", **DOTTED)
        ax.plot([limits.collapse, right], [0, 0], **THEORY)
    else:
        ax.plot([0, right], [0, 0], **THEORY)
        ax.axvline(limits.preference, linestyle=":", label=r"$\rho$ = 0 is better beyond", **GUIDE)
    ax.axvspan(limits.collapse, right, **SHADE)
    ax.set_xlim(0, right)
    ax.set_ylim(-0.04 * top[0], 1.08 * top[0])
    finish(ax, title=f"{L} balanced layers: only $\\rho$ = 0 from $\\lambda$ = {limits.collapse:.4g}",
           xlabel=r"$\lambda$", ylabel=r"$\rho$ at rest")  # fmt: skip
    ax.legend(loc="upper right", fontsize=SMALL, frameon=False)
    return ax


def bounds_along(record: BoundsAlong, ax: Any | None = None) -> Axes:
    """Draw certificates of the error along a flow against t, and rho dotted on an axis of its own.

    Above the dashed line at 1 a bound says nothing.

    Parameters
    ----------
    record : from :func:`theory.square_loss.bounds_along`.
    ax : axes to draw on; None makes a new figure. The axis of t is logarithmic and leaves t = 0 out.

    Returns
    -------
    the axes.

    Raises
    ------
    PreconditionError : no bound applied, or fewer than two moments after t = 0.
    """
    seen = record.t > 0
    if not record.names or seen.sum() < 2:
        raise PreconditionError("a path of bounds needs a bound that applies and two moments after t = 0.")
    from matplotlib.ticker import LogLocator, NullFormatter

    ax = axes(ax)
    for index, (name, value) in enumerate(zip(record.names, record.value[:, seen], strict=True)):
        colour, marker = group_style(index)
        ax.plot(record.t[seen], value, color=colour, marker=marker, markersize=3.5, linewidth=1.2, label=name)
    ax.axhline(1.0, linestyle="--", **GUIDE)
    ax.set_xscale("log")
    ax.set_yscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    right = ax.twinx()
    right.plot(record.t[seen], record.rho[seen], label=r"$\rho$", **DOTTED)
    right.set_ylabel(r"$\rho$ (dotted)")
    right.set_ylim(0, None)
    least = f"{record.value[:, -1].min():.3g} at t = {record.t[-1]:.3g}"
    finish(
        ax, title=f"error at most {least}, probability {1 - record.delta:g}", xlabel="t", ylabel="bound of the error"
    )
    ax.set_zorder(right.get_zorder() + 1)  # the legend above the dotted line
    ax.patch.set_visible(False)
    ax.legend(loc="best", fontsize=SMALL, framealpha=0.9, edgecolor="none")
    return ax


def rank_profile(certificate: RankCertificate, ax: Any | None = None) -> Axes:
    """Draw how far a weight is from rank k, against k: the truth as points, the bound as a line, vacuous ranks shaded.

    Parameters
    ----------
    certificate : from :func:`theory.square_loss.rank_certificate`.
    ax : axes to draw on; None makes a new figure.

    Returns
    -------
    the axes.

    Raises
    ------
    PreconditionError : no bound lies below the full rank, so there is nothing to compare.
    """
    seen = ~certificate.vacuous
    if not seen.any():
        raise PreconditionError("every rank of the bound reaches min_dim: the bound says nothing here.")
    ax, s = axes(ax), certificate.singular_values
    beyond = np.sqrt(np.append(np.cumsum((s**2)[::-1])[::-1], 0.0)) / np.linalg.norm(s)
    k = np.arange(len(beyond))
    floor = 1e-17  # rounding: log axes need something
    ax.plot(k[:-1], np.maximum(beyond[:-1], floor), label="distance of the weight", **MEASURED)
    ax.plot(certificate.rank[seen], np.maximum(certificate.distance[seen], floor), label="bound $q^n$", **THEORY)
    ax.axvspan(certificate.min_dim, certificate.min_dim * 1.1, **SHADE)
    ax.set_xlim(0, certificate.min_dim * 1.1)
    ax.set_yscale("log")
    verdict = "holds" if certificate.holds else "is violated"
    finish(ax, title=f"distance from rank k of {certificate.min_dim}: the bound {verdict}", xlabel="k",
           ylabel="Frobenius distance / norm")  # fmt: skip
    ax.legend(loc="best", fontsize=SMALL, frameon=False)
    return ax
