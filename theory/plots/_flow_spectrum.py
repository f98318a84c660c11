"""Singular values of the layers of a deep linear network along its flow, against exact modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from theory._errors import PreconditionError
from theory.plots._style import SMALL, THEORY, axes, finish, group_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from theory.flow import FlowSolution

MOST_MODES = 6
POINTS = 40


def singular_values(
    solution: FlowSolution, ax: Any | None = None, *, exact: Callable[[np.ndarray], np.ndarray] | None = None
) -> Axes:
    """Draw the singular values of every layer, at most six, against t (log t after t = e^20), one marker per layer.

    Parameters
    ----------
    solution : a flow of a fully connected linear network without bias.
    ax : axes to draw on; None makes a new figure.
    exact : times (T) -> singular values of the product of all layers (T, modes); drawn as lines at the power
        1/layers, which is what each layer of a balanced network has.

    Returns
    -------
    the axes.

    Raises
    ------
    PreconditionError : another network.
    """
    network = solution.network
    views = network.views(solution.thetas)
    layers = len(views)
    if network.activation.name != "linear" or any(name[0] != "W" for name in views):
        raise PreconditionError("singular values of layers need a linear network without bias.")
    ax = axes(ax)
    long = float(solution.state.log_t) > 20
    use = np.flatnonzero(np.isfinite(solution.log_t) & (solution.log_t > 0 if long else True))
    clock = np.log(solution.log_t[use]) if long else np.exp(solution.log_t[use])
    steps = use[np.unique(np.abs(clock[:, None] - np.linspace(clock[0], clock[-1], POINTS)).argmin(axis=0))]
    x = solution.log_t[steps] if long else np.exp(solution.log_t[steps])
    if long:
        ax.set_xscale("log")
    values = {name: np.linalg.svd(W[steps], compute_uv=False)[:, :MOST_MODES] for name, W in views.items()}
    if exact is not None:
        t = np.linspace(0, float(np.exp(solution.state.log_t)), 400)
        for i, mode in enumerate(np.asarray(exact(t)).T[:MOST_MODES]):
            ax.plot(t, np.abs(mode) ** (1 / layers), label="exact modes" if i == 0 else None, **THEORY)
    for place, (name, s) in enumerate(values.items()):
        colour, marker = group_style(place + (exact is not None))
        style = {"linestyle": "none", "marker": marker, "markersize": max(6.5 - 1.2 * place, 2.5),
                 "markerfacecolor": "none", "markeredgecolor": colour, "markeredgewidth": 1.1}  # fmt: skip
        ax.plot(x, s, **style)
        ax.plot([], [], label=f"layer {name[1:]}", **style)
    title = _title([s[-1] for s in values.values()])
    if exact is not None:
        root = np.abs(np.asarray(exact(np.exp(solution.log_t[steps])))) ** (1 / layers)
        off = max(float(np.abs(s[:, : root.shape[1]] - root[:, : s.shape[1]]).max()) for s in values.values())
        title = f"Each layer carries the exact modes, to {off:.0e}"
    finish(ax, title=title, xlabel="$\\log t$" if long else "$t$",
           ylabel="singular values of each layer")  # fmt: skip
    ax.legend(loc="best", fontsize=SMALL, framealpha=0.9, edgecolor="none")
    return ax


def _title(last: list[np.ndarray]) -> str:
    """How many singular values are not small against the largest, in the layer that has most of them."""
    kept = max(int((s > 0.05 * s.max()).sum()) for s in last)
    if kept == 1:
        return "Every layer ends with one singular value above 5 % of its largest"
    return f"A layer ends with up to {kept} singular values above 5 % of its largest"
