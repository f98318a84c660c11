"""The acceptance checks of gradient flow, in one place: every claim with its numbers, and all of them in one figure."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from simulations.experiments import flow_checks_exact, flow_checks_margin, flow_checks_relu, flow_checks_structure
from simulations.experiments._flow_check import FlowCheck
from theory.plots._style import GROUPS, MEASURED, SMALL, THEORY, axes, finish

PARTS = flow_checks_exact.CHECKS | flow_checks_margin.CHECKS | flow_checks_relu.CHECKS | flow_checks_structure.CHECKS
CHECKS: dict[str, Callable[[], FlowCheck]] = {
    number: PARTS[number] for number in sorted(PARTS, key=lambda number: (int(number.rstrip("abcd")), number))
}
COLUMNS, WIDTH, HEIGHT = 4, 3.5, 2.6
LINES = ("-", "--", ":", "-.")
MOST_POINTS = 14  # of one series in the figure


def all_checks() -> Iterator[FlowCheck]:
    """Every check by its number, measured as it is asked for."""
    yield from (claim() for claim in CHECKS.values())


def draw(found: FlowCheck, ax: Any | None = None) -> Any:
    """One check: theory as lines, measurements as points; returns the matplotlib Axes.

    Where one label stands for several series, as for the entries of a matrix, they share its style.
    """
    ax = axes(ax)
    order = np.argsort(found.x, kind="stable")
    every = np.unique(np.linspace(0, len(order) - 1, MOST_POINTS).astype(int))
    group = -1
    for series in range(found.measured.shape[1]):
        label = found.labels[series] if found.labels else ""
        group += bool(label) or series == 0
        colour, marker = GROUPS[group % len(GROUPS)] if found.labels else (THEORY["color"], MEASURED["marker"])
        theory = THEORY | {"color": colour, "linestyle": LINES[group % len(LINES)], "linewidth": 1.2}
        points = MEASURED | {"marker": marker, "markeredgecolor": colour if found.labels else "#b3480f"}
        ax.plot(found.x[order], found.theory[order, series], **theory)
        ax.plot(found.x[order][every], found.measured[order, series][every], label=label or None, **points)
    ax.set_xscale(found.xscale)
    ax.set_yscale(found.yscale)
    title = textwrap.fill(f"{found.number}  {found.title}", 37)
    finish(ax, title=title, xlabel=found.xlabel, ylabel=textwrap.fill(found.ylabel, 32))  # fmt: skip
    ax.set_title(title, fontsize=SMALL + 1, loc="left")
    if found.labels:
        ax.legend(loc="best", fontsize=SMALL - 1, frameon=True, framealpha=0.8, edgecolor="none", borderpad=0.1)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_formatter("")  # on short log axes these labels would run into each other
    return ax


def figure(checks: Sequence[FlowCheck]) -> Any:
    """All checks as panels of one pyplot figure."""
    import matplotlib.pyplot as plt

    rows = -(-len(checks) // COLUMNS)
    whole = plt.figure(figsize=(COLUMNS * WIDTH, rows * HEIGHT), dpi=60)
    whole.subplots_adjust(left=0.06, right=0.985, bottom=0.02, top=0.975, wspace=0.33, hspace=0.62)
    for index, found in enumerate(checks, start=1):
        draw(found, whole.add_subplot(rows, COLUMNS, index))
    return whole
