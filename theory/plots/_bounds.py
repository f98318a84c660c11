"""Bounds of one network on a log scale, beside the error on fresh samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theory.plots._style import GUIDE, SMALL, THEORY, axes, finish

if TYPE_CHECKING:
    from theory.bounds import Comparison, Scaling


def bounds(comparison: Comparison, *, ax: Any | None = None) -> Any:
    """One row per bound: filled squares are certificates, open circles published forms; the star is the smallest.

    Parameters
    ----------
    comparison : from ``theory.bounds.compare``.
    ax : matplotlib Axes; a new figure where None.

    Returns
    -------
    The Axes.
    """
    reports = sorted(comparison.reports, key=lambda report: -report.log10)
    ax = axes(ax, width=7.2, height=1.2 + 0.27 * len(reports))
    holdout = comparison.holdout
    left = min([r.log10 for r in reports] + ([np.log10(holdout.upper)] if holdout is not None else [0.0]))
    for row, report in enumerate(reports):
        certified = report.status == "certificate"
        best = comparison.best is not None and report.name == comparison.best.name
        marker = "*" if best else ("s" if certified else "o")
        color = THEORY["color"]
        ax.plot([left - 0.2, report.log10], [row, row], color="0.85", linewidth=0.8, zorder=1)
        ax.plot(
            report.log10, row, marker, color=color, markersize=10 if best else 5,
            markerfacecolor=color if certified else "white", markeredgewidth=1.1, zorder=3,
        )  # fmt: skip
    ax.axvline(0, **GUIDE)
    top = len(reports) - 0.35  # above the first row, below the title
    ax.text(0, top, " 1: no information beyond", fontsize=SMALL - 1, va="center")
    if holdout is not None:
        ax.axvline(np.log10(holdout.upper), color=GUIDE["color"], linestyle="--", linewidth=1)
        ax.text(np.log10(holdout.upper), top, "hold-out ", fontsize=SMALL - 1, va="center", ha="right")
    ax.set_yticks(range(len(reports)), [report.name for report in reports])
    ax.set_ylim(-0.7, len(reports))
    ax.set_xlim(left - (0.9 if holdout is not None else 0.2), None)
    return finish(
        ax, title="Bounds on the error: ■ certificate (★ smallest), ○ published form",
        xlabel=rf"$\log_{{10}}$ of the bound, $n$ = {comparison.n}, each with probability {1 - comparison.delta:g}",
        ylabel="",
    )  # fmt: skip


def scaling(results: tuple[Scaling, ...], *, ax: Any | None = None) -> Any:
    """Complexity terms against one size of the architecture, log-log, each with its local exponent.

    Parameters
    ----------
    results : from ``theory.bounds.scaling``, all of the same variable.
    ax : matplotlib Axes; a new figure where None.

    Returns
    -------
    The Axes.
    """
    ax = axes(ax)
    styles = ("-", "--", "-.", ":")
    for index, result in enumerate(results):
        shade = str(0.75 * index / max(1, len(results) - 1))
        ax.plot(
            result.values, result.log10, color=shade, linestyle=styles[index % 4], marker="sov^D"[index % 5],
            markersize=4, label=f"{result.name}: {result.said}",
        )  # fmt: skip
    ax.set_xscale("linear" if results[0].variable == "depth" else "log")  # depth multiplies, sizes have powers
    ax.set_xticks(results[0].values, [f"{value:g}" for value in results[0].values])
    ax.minorticks_off()
    return finish(
        ax, title=f"Growth with {results[0].variable}: {results[0].family}", xlabel=results[0].variable,
        ylabel=r"$\log_{10}$ of the complexity term", legend="best",
    )  # fmt: skip
