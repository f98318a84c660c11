"""Several models at the same class counts: a Gram matrix per model, and their cosines in one panel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from theory._errors import InvalidInput, PreconditionError
from theory.frames import simplex_etf_gram
from theory.plots._style import GUIDE, NORMAL, SHADE, SMALL, group_style, plural

if TYPE_CHECKING:
    from theory.peeled.compare import Comparison
    from theory.peeled.solution import Group, PeeledSolution

MOST_CLASSES = 1000
MOST_NAMED = 5  # groups that are told apart in the panel of cosines
FRAME = "simplex frame"


def comparison_axes(models: int, figure: Any | None = None) -> np.ndarray:
    """Axes for :func:`comparison` of so many models: models + 1 squares, then the panel of cosines.

    ``figure`` is a matplotlib figure with constrained layout, about 10.8 by 7.2 inches for eight models; None makes
    one with pyplot.
    """
    columns = int(np.ceil(np.sqrt(models + 1)))
    rows = -(-(models + 1) // columns)
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=comparison_size(models), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(columns * 2.05, 4.7))  # type: ignore[misc]
    grid = left.subplots(rows, columns, squeeze=False).ravel()
    for spare in grid[models + 1 :]:
        spare.remove()
    return np.array([*grid[: models + 1], right.subplots()], dtype=object)


def comparison_size(models: int) -> tuple[float, float]:
    """Width and height in inches of a figure for :func:`comparison_axes`."""
    columns = int(np.ceil(np.sqrt(models + 1)))
    rows = -(-(models + 1) // columns)
    return 2.05 * columns + 4.7, max(2.15 * rows + 0.7, 3.6)


def comparison(result: Comparison, axes: Sequence[Any] | np.ndarray | None = None) -> np.ndarray:
    """Draw what each model does with the same classes.

    First the simplex frame, then W W^T of each model divided by its largest squared length, all on one scale of
    colours (linear near zero, logarithmic beyond 1/(K-1); luminance rises with the value); classes in order of falling
    counts, lines between groups, zero classifiers hatched. Then, per model and group, the cosine between two
    classifiers of the group (with the closest other classifier, where every group is a single class); the dotted line
    is that of the simplex frame. At most five groups, the commonest and the rarest, are drawn there.

    Parameters
    ----------
    result : from :func:`theory.peeled.compare`.
    axes : as from :func:`comparison_axes`; None makes a new figure.

    Returns
    -------
    the axes, (models + 2,).

    Raises
    ------
    InvalidInput : another number of axes. PreconditionError : more than 1000 classes.
    """
    models = len(result.names)
    K = result.solutions[0].model.num_classes
    if K > MOST_CLASSES:
        raise PreconditionError(f"at most {MOST_CLASSES} classes are drawn, but there are {K}.")
    axes = np.asarray(comparison_axes(models) if axes is None else axes, dtype=object)
    if axes.shape != (models + 2,):
        raise InvalidInput(f"{models} models need {models + 2} axes, but {axes.size} were given.")
    counts = np.asarray(result.solutions[0].model.counts)
    order = np.argsort(-counts, kind="stable")
    matrices = [simplex_etf_gram(K), *(_gram(s)[np.ix_(order, order)] for s in result.solutions)]
    matrices = [G / (np.diagonal(G).max() or 1.0) for G in matrices]
    names = [FRAME, *result.names]
    notes = ["equal counts", *(_phases(s.groups) for s in result.solutions)]
    norm = _norm(matrices)
    sorted_counts = counts[order]
    for ax, G, name, note in zip(axes[:-1], matrices, names, notes, strict=True):
        image = ax.imshow(G, cmap="cividis", norm=norm, interpolation="nearest")
        _frame(ax, sorted_counts if name != FRAME else None, np.diagonal(G) == 0)
        ax.set_title(f"{name}\n{note}", fontsize=SMALL, linespacing=1.25)
    _name_groups(axes[:-1], sorted_counts)
    _colour_bar(axes[:-1], image, norm, K)
    _cosines(axes[-1], result, K)
    return axes


def _gram(solution: PeeledSolution) -> np.ndarray:
    return solution.gram_classifier()


def _phases(groups: tuple[Group, ...]) -> str:
    """Which groups are merged or zero: the second line of a title."""
    said = []
    for phase, verb in (("merged", "merged"), ("vanishing", "zero")):
        counts = list(dict.fromkeys(int(g.count) for g in groups if g.phase == phase))
        if counts:
            named = ", ".join(f"{n:,}".replace(",", "\N{THIN SPACE}") for n in counts)
            said.append(f"$n_k$ = {named} {verb}" if len(counts) <= 3 else f"{len(counts)} groups {verb}")
    if not said:
        return "all separated"
    return "all zero" if all(g.phase == "vanishing" for g in groups) else "; ".join(said)


def _norm(matrices: list[np.ndarray]) -> Any:
    from matplotlib.colors import AsinhNorm

    width = 1 / max(len(matrices[0]) - 1, 1)
    return AsinhNorm(linear_width=width, vmin=min(float(min(G.min() for G in matrices)), -width), vmax=1.0)


def _frame(ax: Any, counts: np.ndarray | None, zero: np.ndarray) -> None:
    """Lines between groups, hatching on zero rows and columns, no ticks."""
    from matplotlib.patches import Rectangle

    K = len(zero)
    ax.set_xticks([])
    ax.set_yticks([])
    for side in ax.spines.values():
        side.set_linewidth(0.5)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], zero.astype(int), [0]])))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        ax.add_patch(Rectangle((-0.5, start - 0.5), K, stop - start, **SHADE))
        ax.add_patch(Rectangle((start - 0.5, -0.5), stop - start, K, **SHADE))
    lines = None if counts is None else np.flatnonzero(np.diff(counts)) + 0.5
    for start in () if lines is None or len(lines) == K - 1 else lines:
        for draw in (ax.axhline, ax.axvline):
            draw(start, color="black", linewidth=1.8)
            draw(start, color="white", linewidth=0.9)


def _name_groups(grid: np.ndarray, counts: np.ndarray) -> None:
    """Ticks with the groups, left of the first panel that has groups in each row."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(counts)) + 1])
    if not 1 < len(starts) <= 6:
        return
    stops = np.append(starts[1:], len(counts))
    labels = [f"{int(counts[a])} × {b - a}" for a, b in zip(starts, stops, strict=True)]
    columns = int(np.ceil(np.sqrt(len(grid))))
    for i, ax in enumerate(grid):
        if i % columns == 0 and i > 0:
            ax.set_yticks((starts + stops - 1) / 2, labels, fontsize=SMALL - 1, rotation=90, va="center")
            ax.tick_params(length=0, pad=2)
            ax.set_ylabel("$n_k$ × classes", fontsize=SMALL - 1, labelpad=2)


def _colour_bar(grid: np.ndarray, image: Any, norm: Any, K: int) -> None:
    bar = grid[0].figure.colorbar(image, ax=list(grid), location="bottom", shrink=0.7, aspect=40, pad=0.02)
    bar.set_label("$w_k^\\top w_j$ / largest squared length", fontsize=SMALL)
    ticks = [t for t in (-1, -0.3, -0.1, -0.03, 0, 0.03, 0.1, 0.3, 1) if norm.vmin <= t]
    bar.set_ticks([t for t in ticks if t == 0 or abs(t) > 0.4 / K])
    bar.ax.xaxis.set_major_formatter("{x:g}")
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=SMALL - 1)
    bar.outline.set_linewidth(0.5)


def _cosines(ax: Any, result: Comparison, K: int) -> None:
    """One line per model, one marker per group; a group of zero classifiers stands in the shaded strip."""
    models = len(result.names)
    all_counts = sorted({(g.count, g.classes) for s in result.solutions for g in s.groups}, reverse=True)
    single = all(classes == 1 for _, classes in all_counts)
    several = all_counts if single else [pair for pair in all_counts if pair[1] > 1]
    shown = several if len(several) <= MOST_NAMED else [*several[:2], *several[2 - MOST_NAMED :][-3:]]
    values = [_closest(s) if single else [g.cos_within for g in s.groups] for s in result.solutions]
    lowest = min([-1 / (K - 1), *(v for row in values for v in row if not np.isnan(v))])
    left, strip, right = lowest - 0.12, 1.14, 1.52
    for row in range(models):
        ax.axhline(row, color="0.88", linewidth=0.6, zorder=0)
    ax.axvline(-1 / (K - 1), linestyle=":", **GUIDE)
    ax.axvline(0, linestyle="-", color="0.8", linewidth=0.6, zorder=0)
    ax.axvline(1, linestyle="--", **GUIDE)
    ax.axvspan(strip, right, zorder=0, **SHADE)
    for place, (count, classes) in enumerate(shown):
        colour, marker = group_style(place)
        x, y = [], []
        for row, solution in enumerate(result.solutions):
            for g, value in zip(solution.groups, values[row], strict=True):
                if (g.count, g.classes) == (count, classes):
                    x.append((strip + right) / 2 if np.isnan(value) else value)
                    y.append(row + min(0.22, 0.7 / len(shown)) * (place - (len(shown) - 1) / 2))
        ax.plot(x, y, linestyle="none", marker=marker, markersize=5.5, color=colour, markeredgecolor="white",
                markeredgewidth=0.4, label=f"{plural(classes, 'class')} of {int(count)}")  # fmt: skip
    ax.set_yticks(range(models), result.names, fontsize=SMALL)
    ax.set_ylim(models - 0.4, -0.6)
    ax.set_xlim(left, right)
    ticks = [-1 / (K - 1), 0.25, 0.5, 0.75, 1.0, (strip + right) / 2]
    names = [f"$-1/{K - 1}$" if K > 2 else "$-1$", "0.25", "0.5", "0.75", "1:\nmerged", "none:\nzero"]
    ax.set_xticks(ticks, names, fontsize=SMALL)
    ax.tick_params(length=2)
    what = "with the closest other classifier" if single else "between two classifiers of one group"
    ax.set_xlabel(f"cosine {what}", fontsize=NORMAL)
    ax.set_title(_claim(result), fontsize=NORMAL + 1, loc="left")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    if shown:
        ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.1), ncols=min(len(shown), 3), fontsize=SMALL,
                  frameon=False, handletextpad=0.2, columnspacing=1.0)  # fmt: skip


def _closest(solution: PeeledSolution) -> list[float]:
    """For each of the groups, all of one class, the largest cosine with another; NaN for a zero classifier."""
    cos = np.where(np.eye(len(solution.groups), dtype=bool) | np.isnan(solution.cos_between), -2, solution.cos_between)
    return [float(v) if v > -2 else float("nan") for v in cos.max(axis=1)]


def _claim(result: Comparison) -> str:
    """What the models do with the rarest group, as a sentence."""
    rarest = [min(s.groups, key=lambda g: g.count) for s in result.solutions]
    number = {phase: sum(g.phase == phase for g in rarest) for phase in ("separated", "merged", "vanishing")}
    words = {"separated": "apart", "merged": "merged", "vanishing": "zero"}
    said = [f"{words[phase]} in {n}" for phase, n in number.items() if n]
    return f"The rarest classes are\n{', '.join(said)} of {len(rarest)} models"
