"""A gradient flow on data in one or two dimensions: neurons' directions, decision boundaries, fitted functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theory._errors import InvalidInput, PreconditionError
from theory.plots._style import NORMAL, SMALL, THEORY, axes, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from theory.flow import FlowSolution

HUB = 0.25  # radius at which the flow starts
CLASS = (("s", "#b3480f"), ("o", "#1b3a5c"))  # labels -1 and +1
EVENTS = {"crossing": ("|", 5.5), "sliding": ("o", 4.5), "release": ("x", 4.5), "sticking": ("D", 4.0),
          "ambiguous": ("*", 7.0)}  # fmt: skip
GREYS = ("0.75", "0.6", "0.42", "black")


def neuron_directions(solution: FlowSolution, ax: Any | None = None) -> Axes:
    """Draw the direction of each neuron's input weights on the circle, from the start (hub) to the end (rim).

    The radius grows linearly with the number of the step. Neurons with a positive outgoing weight are solid lines,
    negative ones dashed; thicker lines end with a larger share of the norm. Dotted rays are the kinks of the samples,
    ``w . x_n = 0``: a neuron that slides stays on one. Events are marked by kind; samples stand outside the rim.

    Parameters
    ----------
    solution : a flow of a two-layer network with inputs (N, 2), one output and no bias.
    ax : axes with ``projection="polar"``; None makes a new figure.

    Returns
    -------
    the axes.

    Raises
    ------
    PreconditionError : another network. InvalidInput : the axes are not polar.
    """
    network = solution.network
    views = network.views(solution.thetas)
    if network.n_inputs != 2 or network.n_outputs != 1 or set(views) != {"W1", "W2"}:
        raise PreconditionError(
            "directions on the circle need a two-layer network without bias, two inputs, one output."
        )
    ax = axes(ax, height=5.0, projection="polar")
    if getattr(ax, "name", "") != "polar":
        raise InvalidInput('the directions of neurons need axes with projection="polar".')
    W, a = views["W1"], views["W2"][:, 0]  # (steps + 1, width, 2), (steps + 1, width)
    angle = np.unwrap(np.arctan2(W[..., 1], W[..., 0]), axis=0)
    radius = HUB + (1 - HUB) * np.arange(len(W)) / max(len(W) - 1, 1)
    share = np.sqrt(np.square(W[-1]).sum(axis=1) + a[-1] ** 2) / np.linalg.norm(solution.theta)
    _kinks(ax, solution.X)
    for j in range(W.shape[1]):
        ax.plot(angle[:, j], radius, color="#1b3a5c", linestyle="-" if a[-1, j] > 0 else (0, (4, 1.5)),
                linewidth=0.8 + 2.4 * share[j], zorder=2)  # fmt: skip
    _events(ax, solution, angle, radius)
    _samples(ax, solution)
    ax.plot(np.linspace(0, 2 * np.pi, 200), np.ones(200), color="0.4", linewidth=0.8)
    ax.set_ylim(0, 1.2)
    ax.set_yticks([])
    ax.set_xticks([])
    ax.grid(False)
    ax.spines["polar"].set_visible(False)
    ax.set_title(_directions_title(solution, angle[-1], share), fontsize=NORMAL + 1, loc="left")
    ax.legend(loc="upper left", bbox_to_anchor=(-0.14, -0.01), ncols=3, fontsize=SMALL, frameon=False,
              columnspacing=1.0, handletextpad=0.4)  # fmt: skip
    return ax


def _kinks(ax: Axes, X: np.ndarray) -> None:
    """Both rays on which each sample switches."""
    for x in X[X.any(axis=1)]:
        for turn in (-0.5, 0.5):
            ray = np.arctan2(x[1], x[0]) + turn * np.pi
            ax.plot([ray, ray], [HUB, 1], linestyle=":", color="0.7", linewidth=0.8, zorder=1)


def _events(ax: Axes, solution: FlowSolution, angle: np.ndarray, radius: np.ndarray) -> None:
    for kind, number in solution.event_counts.items():
        marker, size = EVENTS.get(kind, ("+", 5.0))
        at = [(angle[e.step, e.unit], radius[e.step]) for e in solution.events if e.kind == kind]
        ax.plot(*zip(*at, strict=True), linestyle="none", marker=marker, markersize=size, markerfacecolor="white",
                markeredgecolor="black", markeredgewidth=0.9, zorder=3, label=f"{number} {kind}")  # fmt: skip


def _samples(ax: Axes, solution: FlowSolution) -> None:
    sign = _signs(solution)
    place = np.arctan2(solution.X[:, 1], solution.X[:, 0])
    for value, (marker, colour) in zip((-1, 1), CLASS, strict=True):
        if (sign == value).any():
            ax.plot(place[sign == value], np.full((sign == value).sum(), 1.1), linestyle="none", marker=marker,
                    color=colour, markersize=6, label=f"samples of label {'−' if value < 0 else '+'}")  # fmt: skip


def _signs(solution: FlowSolution) -> np.ndarray:
    """-1 or 1 for each sample (N); the sign of a target of the square loss."""
    return np.where(np.asarray(solution.y).reshape(len(solution.X), -1)[:, 0] > 0, 1, -1)


def _directions_title(solution: FlowSolution, angle: np.ndarray, share: np.ndarray) -> str:
    """How many directions are left among the neurons that carry weight."""
    carrying = share > 1e-3 * share.max()
    points = np.exp(1j * angle[carrying])
    close = np.abs(points[:, None] - points) < 0.02
    directions = len({tuple(row) for row in close})
    return f"{carrying.sum()} of {len(share)} neurons end in {directions} directions"


def decision_boundary(solution: FlowSolution, ax: Any | None = None, *, times: int = 4, cells: int = 240) -> Axes:
    """Draw where the network changes sign, at a few times from the first separation to the end, light to dark.

    The times are evenly spaced in log log(1/loss) where the flow separates its data, otherwise in steps.

    Parameters
    ----------
    solution : a flow with inputs (N, 2) and one output.
    ax : axes to draw on; None makes a new figure.
    times : number of boundaries, at most 4.
    cells : grid per side.

    Returns
    -------
    the axes.

    Raises
    ------
    PreconditionError : other inputs or outputs. InvalidInput : times outside 1 to 4.
    """
    if solution.network.n_inputs != 2 or solution.network.n_outputs != 1:
        raise PreconditionError("a decision boundary can be drawn for two inputs and one output.")
    if not 1 <= times <= len(GREYS):
        raise InvalidInput(f"times must be between 1 and {len(GREYS)}, but is {times}.")
    ax = axes(ax, height=5.0)
    X, sign, u = solution.X, _signs(solution), solution.log_inverse_loss
    half = 1.25 * float(np.abs(X).max()) or 1.0
    line = np.linspace(-half, half, cells)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    steps = _moments(u, times)
    handles = []
    for step, grey, width in zip(steps, GREYS[-len(steps) :], np.linspace(0.9, 2.2, len(steps)), strict=True):
        f = solution.network.output(solution.thetas[step], grid)[:, 0].reshape(cells, cells)
        dash = "-" if step == steps[-1] else "--"
        if f.min() < 0 < f.max():
            ax.contour(line, line, f, levels=[0.0], colors=[grey], linewidths=[width], linestyles=[dash])
        handles += ax.plot([], [], color=grey, linewidth=width, linestyle=dash, label=_moment(solution, step))
    for value, (marker, colour) in zip((-1, 1), CLASS, strict=True):
        ax.plot(*X[sign == value].T, linestyle="none", marker=marker, color=colour, markersize=6,
                markeredgecolor="white", markeredgewidth=0.5)  # fmt: skip
    ax.set_xlim(-half, half)
    ax.set_ylim(-half, half)
    ax.set_aspect("equal")
    right = int((sign * solution.network.output(solution.theta, X)[:, 0] > 0).sum())
    title = f"The boundary where $f = 0$: {right} of {len(X)} samples are on the right side"
    finish(ax, title=title, xlabel="$x_1$", ylabel="$x_2$")
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, -0.1), ncols=2, fontsize=SMALL, frameon=False)
    return ax


def _moments(u: np.ndarray, times: int) -> list[int]:
    """Steps at which to draw, rising, the last one included."""
    separated = np.flatnonzero(u > 1)
    if len(separated) > times:
        wanted = np.linspace(np.log(u[separated[0]]), np.log(u[-1]), times)
        found = separated[np.abs(np.log(u[separated])[:, None] - wanted).argmin(axis=0)]
    else:
        found = np.linspace(0, len(u) - 1, times).astype(int)
    return [int(step) for step in np.unique(found)]


def _by_loss(solution: FlowSolution, times: int) -> np.ndarray:
    """The first and last step, and those nearest to equal decreases of the loss between them."""
    loss = np.exp(-solution.log_inverse_loss)
    inner = [np.abs(loss - level).argmin() for level in np.linspace(loss[0], loss[-1], times)[1:-1]]
    return np.unique([0, *inner, solution.steps])


def _moment(solution: FlowSolution, step: int) -> str:
    log_t = float(solution.log_t[step])
    if not np.isfinite(log_t):
        return "$t = 0$"
    return f"$\\log t$ = {log_t:.3g}" if log_t > 10 else f"$t$ = {np.exp(log_t):.3g}"


def flow_fit(solution: FlowSolution, ax: Any | None = None, *, times: int = 4, cells: int = 400) -> Axes:
    """Draw the function of one input at a few times, light to dark, with the samples and their least-squares line.

    Parameters
    ----------
    solution : a flow with inputs (N, 1) and one output.
    ax : axes to draw on; None makes a new figure.
    times, cells : as in :func:`decision_boundary`; the times are evenly spaced in the loss.

    Returns
    -------
    the axes.

    Raises
    ------
    PreconditionError : other inputs or outputs. InvalidInput : times outside 1 to 4.
    """
    if solution.network.n_inputs != 1 or solution.network.n_outputs != 1:
        raise PreconditionError("a fitted function can be drawn for one input and one output.")
    if not 1 <= times <= len(GREYS):
        raise InvalidInput(f"times must be between 1 and {len(GREYS)}, but is {times}.")
    ax = axes(ax)
    x, y = solution.X[:, 0], np.asarray(solution.y, dtype=float).reshape(len(solution.X), -1)[:, 0]
    spread = max(float(np.ptp(x)), 1e-9)
    line = np.linspace(x.min() - 0.15 * spread, x.max() + 0.15 * spread, cells)
    design = np.stack([x, np.ones_like(x)], axis=1)
    best = np.linalg.lstsq(design, y, rcond=None)[0]
    ax.plot(line, line * best[0] + best[1], label="least-squares line", color="0.85", linewidth=6)
    steps = _by_loss(solution, times)
    for step, grey in zip(steps, GREYS[-len(steps) :], strict=True):
        f = solution.network.output(solution.thetas[step], line[:, None])[:, 0]
        style = {**THEORY, "color": grey, "linestyle": "-" if step == steps[-1] else "--"}
        ax.plot(line, f, label=_moment(solution, int(step)), **style)
    ax.plot(x, y, linestyle="none", marker="o", markersize=6, markerfacecolor="white", markeredgecolor="#b3480f",
            markeredgewidth=1.4, label="samples")  # fmt: skip
    error = solution.network.output(solution.theta, solution.X)[:, 0] - y
    title = f"The flow ends at a mean squared error of {np.square(error).mean():.6g}"
    if solution.loss.name == "square":
        title += f"\nthe line of least squares has {np.square(design @ best - y).mean():.6g}"
    return finish(ax, title=title, xlabel="$x$", ylabel="$f(x)$", legend="best")
