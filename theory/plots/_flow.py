"""A gradient flow to infinite time: its margins, its KKT residuals, and its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theory._errors import PreconditionError
from theory.plots._style import GUIDE, MEASURED, SMALL, THEORY, axes, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from theory.flow import FlowSolution
    from theory.flow.limit import LimitDirection

LARGEST_LOG_T = float(np.log(np.finfo(float).max))  # 709.78: the largest log t of a clock in t
DASHED: dict[str, Any] = {"linestyle": (0, (4, 1.5)), "linewidth": 1.4, "color": "#b3480f"}


def flow_margin(solution: FlowSolution, ax: Any | None = None, *, limit: LimitDirection | float | None = None) -> Axes:
    """Draw the normalised and the smoothed margin of a separated flow against log t, with the limit as a line.

    The axis of log t is logarithmic. The ground beyond log t = 709.78, the largest logarithm of a float64, is shaded:
    a clock in t ends there, and the loss, about 1/t, underflows. The normalised margin is drawn as points, one for
    each step.

    Parameters
    ----------
    solution : a flow of a homogeneous network under a loss with an exponential tail, with separated data.
    ax : axes to draw on; None makes a new figure.
    limit : the limit direction or its margin.

    Returns
    -------
    the axes.

    Raises
    ------
    PreconditionError : no margin theory for this flow, or its data are not separated yet.
    """
    after = _separated(solution)
    ax = axes(ax)
    log_t = solution.log_t[after]
    margin = solution.normalized_margins()[after]
    level = limit if limit is None or isinstance(limit, float | int) else limit.margin
    ax.set_xscale("log")
    if level is not None:
        ax.axhline(level, label=f"margin of the limit, {level:.6g}", **THEORY)
    ax.plot(log_t, solution.smoothed_margins()[after], label="smoothed margin", **DASHED)
    ax.plot(log_t, margin, label="normalised margin", **MEASURED)
    left, right = _reach(log_t)
    ax.set_xlim(left, right)
    top = max(float(margin.max()), level or 0.0)
    ax.set_ylim(min(0.0, float(margin.min())), 1.12 * top)
    if right > LARGEST_LOG_T:
        _wall(ax, right)
    finish(ax, title=_margin_title(log_t, margin, level), xlabel="$\\log t$",
           ylabel=f"margin $/\\ \\|\\theta\\|^{{{solution.network.degree}}}$")  # fmt: skip
    ax.legend(loc="lower right", fontsize=SMALL, framealpha=0.9, edgecolor="none")
    return ax


def _separated(solution: FlowSolution) -> np.ndarray:
    """Steps (mask) after which every margin is positive and log t is."""
    if not solution.loss.exponential_tail or not solution.network.homogeneous:
        raise PreconditionError("margins need a homogeneous network and a loss with an exponential tail.")
    after = (solution.log_inverse_loss > 0) & (solution.log_t > 0)
    if after.sum() < 2:
        raise PreconditionError("the flow has not separated its data: log(1/loss) is not positive.")
    return after


def _reach(x: np.ndarray) -> tuple[float, float]:
    ratio = (float(x[-1]) / float(x[0])) ** 0.02
    return float(x[0]) / ratio, float(x[-1]) * ratio


def _wall(ax: Axes, right: float) -> None:
    """Mark the end of plain time."""
    ax.axvspan(LARGEST_LOG_T, right, facecolor="0.94", linewidth=0, zorder=0)
    ax.axvline(LARGEST_LOG_T, linestyle="-.", **GUIDE)
    ax.text(LARGEST_LOG_T, 0.985, " no float64 holds t, nor the loss", fontsize=SMALL, va="top",
            transform=ax.get_xaxis_transform())  # fmt: skip


def _margin_title(log_t: np.ndarray, margin: np.ndarray, level: float | None) -> str:
    """Where the margin came within a thousandth of its limit."""
    aim = float(margin[-1]) if level is None else level
    far = np.flatnonzero(np.abs(margin - aim) > 1e-3 * abs(aim))
    first = int(far[-1]) + 1 if len(far) else 0
    if first >= len(margin):
        return f"At log t = {log_t[-1]:.3g} the margin is still 0.1 % from its limit"
    what = "its limit" if level is not None else "its last value"
    return f"The margin is within 0.1 % of {what} from log t = {log_t[first]:.3g} on"


def flow_kkt(solution: FlowSolution, ax: Any | None = None, *, points: int = 24) -> Axes:
    r"""Draw the (eps, delta)-KKT residuals of states of a flow against log(1/loss), on logarithmic axes.

    Points are the certificate of :func:`theory.flow.kkt_certificate` with slackness 1. Lines are the theory of the
    flow's own multipliers: eps from the identity ``sqrt(2 (1 - beta)) gbar^(-1/L)``, and the bound on the sum of the
    delta. Dotted is the slope -1/L, that of a direction which differs from its limit by a constant over ||theta||.

    Parameters
    ----------
    solution : as in :func:`flow_margin`.
    ax : axes to draw on; None makes a new figure.
    points : number of states, evenly spaced in log log(1/loss).

    Returns
    -------
    the axes.

    Raises
    ------
    PreconditionError : as in :func:`flow_margin`.

    Cost: two convex programs for each point.
    """
    from theory.flow.kkt import flow_kkt as own
    from theory.flow.kkt import kkt_certificate

    after = np.flatnonzero(_separated(solution) & (solution.log_inverse_loss >= 1))
    if len(after) < 2:
        raise PreconditionError("the KKT residuals need a flow that goes beyond log(1/loss) = 1.")
    ax = axes(ax)
    u = solution.log_inverse_loss
    wanted = np.linspace(np.log(u[after[0]]), np.log(u[after[-1]]), points)
    steps = np.unique(after[np.abs(np.log(u[after])[:, None] - wanted).argmin(axis=0)])
    p = (solution.network, solution.X, solution.y, solution.loss)
    best = [kkt_certificate(*p, solution.thetas[k], solution.modes(k), slackness=1.0) for k in steps]
    flow = [own(*p, solution.thetas[k], modes=solution.modes(k)) for k in steps]
    x, L = u[steps], solution.network.degree
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.plot(x, [f.eps_identity for f in flow], label=r"$\sqrt{2(1-\beta)}\,\bar\gamma^{-1/L}$ of the flow", **THEORY)
    ax.plot(x, [f.delta_bound for f in flow], label=r"bound on $\sum_n \delta_n$ of the flow", **DASHED)
    ax.plot(x, [b.eps for b in best], label=r"$\varepsilon$, certified", **MEASURED)
    ax.plot(x, [b.delta for b in best], label=r"$\delta$, certified", **{**MEASURED, "marker": "s"})
    ax.plot(x, 2.5 * best[0].eps * (x / x[0]) ** (-1 / L), linestyle=":", label=f"slope $-1/{L}$", **GUIDE)
    finish(ax, title=_kkt_title(x, np.array([b.eps for b in best]), L), xlabel="$\\log(1/\\mathrm{loss})$",
           ylabel="KKT residuals at $q_{\\min} = 1$", legend="lower left")  # fmt: skip
    return ax


def _kkt_title(u: np.ndarray, eps: np.ndarray, L: int) -> str:
    """The measured exponent of the later half, in log log."""
    late = (np.log(u) >= 0.5 * (np.log(u[0]) + np.log(u[-1]))) & (eps > 0)
    if late.sum() < 3:
        return "KKT residuals along the flow"
    slope = np.polyfit(np.log(u[late]), np.log(eps[late]), 1)[0]
    return f"The direction becomes a KKT point like $\\log(1/\\mathrm{{loss}})^{{{slope:.2f}}}$"


def flow_loss(solution: FlowSolution, ax: Any | None = None) -> Axes:
    """Draw the loss, a sum over samples, against t on logarithmic axes, with its last value as a line.

    Parameters
    ----------
    solution : any flow.
    ax : axes to draw on; None makes a new figure.

    Returns
    -------
    the axes.
    """
    ax = axes(ax)
    after = np.isfinite(solution.log_t) & (np.abs(solution.log_t) < LARGEST_LOG_T)
    t, loss = np.exp(solution.log_t[after]), np.exp(-solution.log_inverse_loss[after])
    ax.set_xscale("log")
    last = float(loss[-1])
    if 0 < loss.min() < 0.05 * loss.max():
        ax.set_yscale("log")
    ax.axhline(last, label=f"at the end: {last:.6g}", **THEORY)
    ax.plot(t, loss, label="loss", **MEASURED)
    name = {"square": r"$\frac{1}{2}\sum_n \|f(x_n) - y_n\|^2$"}.get(solution.loss.name, "loss")
    return finish(ax, title=f"The loss ends at {last:.4g}", xlabel="$t$", ylabel=name, legend="upper right")
