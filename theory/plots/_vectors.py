"""The classifier rows as vectors in space, where they span at most three dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theory._errors import InvalidInput, PreconditionError
from theory.plots._style import NORMAL, SMALL, axes, group_style, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from theory.peeled import PeeledSolution

MOST_NAMED = 6  # groups that the legend names; the others are drawn only


def classifier_vectors(solution: PeeledSolution, ax: Any | None = None) -> Axes:
    """Draw the rows of W as vectors from the origin, with their shadows on the floor.

    Lengths are in units of the root mean square of the rows, which is sqrt(E_W) under a budget. W is unique up to a
    rotation; the one shown turns the principal axes of W into x, y, z.

    Parameters
    ----------
    solution : a solution of rank at most 3 (always so for K <= 4, or after a collapse).
    ax : three-dimensional axes (``projection="3d"``); None makes a new figure.

    Returns
    -------
    the axes.

    Raises
    ------
    PreconditionError : the rank exceeds 3. InvalidInput : the axes are not three-dimensional.
    """
    if solution.rank > 3:
        raise PreconditionError(f"vectors can be drawn up to rank 3, but this solution has rank {solution.rank}.")
    ax = axes(ax, height=5.0, projection="3d")
    if getattr(ax, "name", "") != "3d":
        raise InvalidInput('the classifier vectors need axes with projection="3d".')
    V = _principal(solution)
    index = solution.model._partition.index
    reach = 1.15 * float(np.abs(V).max()) or 1.0
    floor = -reach
    for g, group in enumerate(solution.groups):
        rows = V[index == g]
        colour, marker = group_style(g)
        label = f"{plural(group.classes, 'class')} of $n_k$ = {int(group.count)}: {group.phase}"
        arrows = rows[:1] if group.phase != "separated" else rows
        for v in arrows:
            ax.plot(*zip(np.zeros(3), v, strict=True), color=colour, linewidth=1.8)
            ax.plot([0, v[0]], [0, v[1]], [floor, floor], color="0.75", linewidth=1.0)
            ax.plot([v[0]] * 2, [v[1]] * 2, [floor, v[2]], color="0.75", linewidth=0.7, linestyle=":")
        ax.plot(*arrows.T, linestyle="none", marker=marker, markersize=7, color=colour,
                label=label if g < MOST_NAMED else None)  # fmt: skip
    ax.plot([0], [0], [0], marker="+", color="black", markersize=8, linestyle="none")
    for axis in "xyz":
        getattr(ax, f"set_{axis}lim")(-reach, reach)
        getattr(ax, f"set_{axis}label")(f"${axis}$", fontsize=NORMAL, labelpad=-6)
        getattr(ax, f"set_{axis}ticks")([-1, 0, 1] if reach > 1 else [-0.5, 0, 0.5])
    ax.set_box_aspect((1, 1, 1), zoom=0.92)
    ax.view_init(*_view(V))
    ax.tick_params(labelsize=SMALL - 1, pad=-2)
    units = "principal axes of $W$ in units of rms $\\|w_k\\|$"
    ax.set_title(f"{_title(solution)}\n{units}", fontsize=NORMAL + 1, loc="left")
    ax.legend(loc="upper left", bbox_to_anchor=(0.0, 1.02), fontsize=SMALL, frameon=False)
    return ax


def _principal(solution: PeeledSolution) -> np.ndarray:
    """W in its principal axes, (K, 3), its rows in units of their root mean square length: sqrt(E_W) under budgets."""
    W = solution.classifier(max(solution.rank, solution.model.dimension or 0, 3))
    U, s, _ = np.linalg.svd(W, full_matrices=False)
    out = np.zeros((len(W), 3))
    columns, unit = min(3, len(s)), float(np.linalg.norm(s)) / np.sqrt(len(W))
    out[:, :columns] = U[:, :columns] * (s[:columns] / (unit or 1.0))
    return out


def _view(V: np.ndarray) -> tuple[float, float]:
    """Elevation and azimuth (degrees) from which the tips lie farthest apart, and apart from the origin."""
    tips = np.unique(np.round(np.vstack([np.zeros(3), V]), 6), axis=0)
    best, view = -1.0, (20.0, -60.0)
    for elevation in (15, 25, 35):
        for azimuth in (*range(-75, -10, 5), *range(15, 80, 5)):
            a, b = np.radians(azimuth), np.radians(elevation)
            right = np.array([-np.sin(a), np.cos(a), 0])
            up = np.array([-np.sin(b) * np.cos(a), -np.sin(b) * np.sin(a), np.cos(b)])
            flat = tips @ np.stack([right, up], axis=1)
            apart = np.linalg.norm(flat[:, None] - flat, axis=2) + 1e9 * np.eye(len(flat))
            if apart.min() > best:
                best, view = float(apart.min()), (float(elevation), float(azimuth))
    return view


def _title(solution: PeeledSolution) -> str:
    K, rank = solution.model.num_classes, solution.rank
    gone = sum(group.classes for group in solution.groups if group.phase == "vanishing")
    merged = sum(group.classes for group in solution.groups if group.phase == "merged")
    if gone:
        return f"{gone} of {K} classifiers are zero"
    if merged:
        return f"{merged} of {K} classifiers coincide in their groups"
    return f"{K} classifiers span {plural(rank, 'dimension', 's')}"
