"""Neurons of a ReLU flow that slide: they stay on the kink of a sample for a stretch of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theory._arrays import as_count
from theory._errors import PreconditionError
from theory.plots._style import GUIDE, SMALL, axes, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from theory.flow import FlowSolution

STYLES = ((0, ()), (0, (5, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
MARKERS = "os^D"
SLIDING = 2  # the mode
AROUND = 6  # steps shown before the first slide and after the last


def flow_sliding(solution: FlowSolution, ax: Any | None = None, *, most: int = 3) -> Axes:
    r"""Draw :math:`\cos(w_j, x_n)` step by step for the neurons that slide longest, thick where they slide.

    A neuron slides on a sample where the fields of both sides of its kink :math:`w_j \cdot x_n = 0` point at the kink:
    the flow then stays on it (Filippov) until one of the fields turns away. Markers are the located ends of a slide.
    The lower axis counts the integrator's steps, which events crowd; the upper one says log t. The cosine is linear
    within 0.01 of 0 and logarithmic beyond.

    Parameters
    ----------
    solution : a flow of a network whose first layer is dense and has no bias.
    ax : axes to draw on; None makes a new figure.
    most : pairs of neuron and sample drawn, at most 4.

    Returns
    -------
    the axes.

    Raises
    ------
    PreconditionError : no unit of the first layer slides, or it has a bias. InvalidInput : ``most`` is not a count.
    """
    views = solution.network.views(solution.thetas)
    if "W1" not in views or "b1" in views:
        raise PreconditionError("a slide is drawn for a network whose first layer is dense and without bias.")
    slides = _slides(solution)
    if not slides:
        raise PreconditionError("no unit of the first layer slides along a sample in this flow.")
    longest = sorted(slides, key=lambda slide: slide[2] - slide[3])
    pairs = list(dict.fromkeys(slide[:2] for slide in longest))[: min(as_count("most", most), len(STYLES))]
    shown = [slide for slide in slides if slide[:2] in pairs]
    begin = max(1, min(first for _, _, first, _ in shown) - AROUND)  # log t is -inf at step 0
    steps = np.arange(begin, min(solution.steps, max(last for *_, last in shown) + AROUND) + 1)
    ax = axes(ax)
    ax.axhline(0, **GUIDE)
    for (unit, sample), style, marker in zip(pairs, STYLES, MARKERS, strict=False):
        w, x = views["W1"][steps, unit], solution.X[sample]
        cosine = w @ x / (np.linalg.norm(w, axis=-1) * np.linalg.norm(x))
        ax.plot(steps, cosine, color="0.45", linewidth=1.2, linestyle=style, marker=marker, markevery=[],
                markerfacecolor="white", markeredgecolor="#b3480f",
                label=f"unit {unit + 1} on sample {sample + 1}")  # fmt: skip
        for _, _, first, last in (slide for slide in shown if slide[:2] == (unit, sample)):
            on = (steps >= first) & (steps <= last)
            ax.plot(steps[on], cosine[on], color="#1b3a5c", linewidth=3.0, solid_capstyle="butt", zorder=3)
            ax.plot(steps[on][[0, -1]], cosine[on][[0, -1]], linestyle="none", marker=marker, markersize=6,
                    markerfacecolor="white", markeredgecolor="#b3480f", markeredgewidth=1.2, zorder=4)  # fmt: skip
    ax.set_xlim(begin, steps[-1])
    ax.set_yscale("symlog", linthresh=0.01)
    title = f"{len({slide[0] for slide in slides})} of {views['W1'].shape[1]} neurons slide along a kink"
    finish(ax, title=title, xlabel="step of the integrator", ylabel="cosine between $w_j$ and $x_n$", legend="best")
    _times(ax, solution)
    return ax


def _slides(solution: FlowSolution) -> list[tuple[int, int, int, int]]:
    """Unit, sample, first and last step of each slide of the first layer, in time."""
    found: list[tuple[int, int, int, int]] = []
    since: dict[tuple[int, int], int] = {}
    for event in (event for event in solution.events if event.layer == 0):
        where = (event.unit, event.sample)
        if event.after == SLIDING:
            since.setdefault(where, event.step)
        elif where in since:
            found.append((*where, since.pop(where), event.step))
    return [*found, *((*where, first, solution.steps) for where, first in since.items())]


def _times(ax: Axes, solution: FlowSolution) -> None:
    """Say log t above, at the ticks of the steps."""
    top = ax.secondary_xaxis("top")
    ticks = [tick for tick in ax.get_xticks() if ax.get_xlim()[0] <= tick <= ax.get_xlim()[1]]
    top.set_xticks(ticks, [f"{solution.log_t[round(tick)]:.3g}" for tick in ticks], fontsize=SMALL)
    top.set_xlabel("$\\log t$", fontsize=SMALL)
