"""A Gram matrix of classifiers or class means as an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats
from theory._errors import InvalidInput, PreconditionError
from theory.frames import gram_distance, simplex_etf_gram
from theory.plots._style import NORMAL, SMALL, axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_WRITTEN = 12  # classes up to which the numbers are written into the cells
MOST_TICKS = 12  # groups up to which each has a tick


def gram(
    matrix: ArrayLike, groups: Sequence[Any] | np.ndarray | None = None, ax: Any | None = None, *, name: str = "$G$"
) -> Axes:
    """Draw a Gram matrix divided by its largest diagonal entry, with borders between groups of classes.

    Luminance increases with the value throughout, so the figure can be printed in grey. The scale of the colours is
    linear near zero and logarithmic beyond 1/(K-1), the size of an inner product in the simplex frame. Up to 12
    classes the numbers stand in the cells. The title says how far the matrix is from the simplex frame
    (:func:`theory.frames.gram_distance`).

    Parameters
    ----------
    matrix : (K, K), symmetric positive semidefinite.
    groups : (K,) label of each class, such as its count; neighbours of equal label form one group.
    ax : axes to draw on; None makes a new figure.
    name : what the matrix is, for the title.

    Returns
    -------
    the axes; the colour bar is on axes of its own.

    Raises
    ------
    InvalidInput : not square, not symmetric, a negative or only zero diagonal, groups of another length.
    """
    G = _checked(matrix)
    labels = None if groups is None else list(groups)
    if labels is not None and len(labels) != len(G):
        raise InvalidInput(f"groups must name each of the {len(G)} classes, but has {len(labels)} entries.")
    ax = axes(ax, height=4.8)
    norm = _norm(G)
    image = ax.imshow(G, cmap="cividis", norm=norm, interpolation="nearest")
    if len(G) <= MOST_WRITTEN:
        for (row, column), value in np.ndenumerate(G):
            text = f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")
            ax.text(column, row, text, ha="center", va="center", fontsize=SMALL - 2 * (len(G) > 6),
                    color="black" if norm(value) > 0.5 else "white")  # fmt: skip
    _borders(ax, labels, len(G))
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.85, pad=0.03)
    bar.set_label("inner product / largest squared length", fontsize=NORMAL)
    ticks = [t for t in (-1, -0.3, -0.1, -0.03, 0, 0.03, 0.1, 0.3, 1) if norm.vmin <= t]
    bar.set_ticks([t for t in ticks if t == 0 or abs(t) > 0.4 / len(G)])
    bar.ax.yaxis.set_major_formatter("{x:g}")
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=SMALL)
    bar.outline.set_linewidth(0.5)
    for side in ax.spines.values():
        side.set_linewidth(0.5)
    ax.set_title(_title(G, name), fontsize=NORMAL + 1, loc="left")
    return ax


def _checked(matrix: ArrayLike) -> np.ndarray:
    G = as_floats("matrix", matrix, ndim=2)
    if G.shape[0] != G.shape[1] or not G.size:
        raise InvalidInput(f"matrix must be square, but has shape {G.shape}.")
    scale = float(np.diagonal(G).max())
    if scale <= 0 or np.abs(G).max() > scale * (1 + 1e-6) or np.abs(G - G.T).max() > 1e-6 * scale:
        raise InvalidInput("matrix must be a Gram matrix: symmetric, its largest entry positive and on the diagonal.")
    return G / scale


def _norm(G: np.ndarray) -> Any:
    from matplotlib.colors import AsinhNorm

    width = 1 / max(len(G) - 1, 1)
    return AsinhNorm(linear_width=width, vmin=min(float(G.min()), -width), vmax=1.0)


def _borders(ax: Axes, labels: list[Any] | None, K: int) -> None:
    """White lines between groups, and a tick with the label of each group."""
    starts = [k for k in range(K) if k == 0 or (labels is not None and labels[k] != labels[k - 1])]
    stops = [*starts[1:], K]
    if labels is None or len(starts) > MOST_TICKS:
        ax.set_xlabel("class", fontsize=NORMAL)
        ax.set_ylabel("class", fontsize=NORMAL)
        ax.tick_params(labelsize=SMALL)
        return
    single = len(starts) == K
    for start in starts[1:] if not single else ():
        for draw in (ax.axhline, ax.axvline):
            draw(start - 0.5, color="black", linewidth=2.4)
            draw(start - 0.5, color="white", linewidth=1.2)
    centres = [(a + b - 1) / 2 for a, b in zip(starts, stops, strict=True)]
    names = [str(labels[a]) if single else f"{labels[a]} × {b - a}" for a, b in zip(starts, stops, strict=True)]
    ax.set_xticks(centres, names, fontsize=SMALL)
    ax.set_yticks(centres, names, fontsize=SMALL, rotation=0 if single else 90, va="center")
    ax.tick_params(length=0)
    unit = "samples in the class" if single else "samples per class × classes"
    ax.set_xlabel(unit, fontsize=NORMAL)
    ax.set_ylabel(unit, fontsize=NORMAL)


def _title(G: np.ndarray, name: str) -> str:
    if len(G) < 2:
        return name
    try:
        distance = gram_distance(G, simplex_etf_gram(len(G)))
    except PreconditionError:
        return name
    if distance < 1e-7:
        return f"{name} is the simplex frame"
    return f"{name} is at distance {distance:.3f} from the simplex frame"
