"""The one style of all figures."""

from __future__ import annotations

from typing import Any

THEORY: dict[str, Any] = {"color": "#1b3a5c", "linewidth": 1.6, "solid_capstyle": "round"}
MEASURED: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 4.5, "markerfacecolor": "white",
            "markeredgecolor": "#b3480f", "markeredgewidth": 1.2}  # fmt: skip
GUIDE: dict[str, Any] = {"color": "0.35", "linewidth": 0.9}
SHADE: dict[str, Any] = {"facecolor": "0.93", "edgecolor": "0.8", "hatch": "////", "linewidth": 0.0}
# luminance falls along this list, and every group has its own marker too
GROUPS = (("#1b3a5c", "o"), ("#b3480f", "s"), ("#3f8f5f", "^"), ("#8a6fb0", "D"), ("#b59a2b", "v"))
SMALL, NORMAL = 8, 9


def group_style(index: int) -> tuple[str, str]:
    """Colour and marker of the group of this index, repeating after five."""
    return GROUPS[index % len(GROUPS)]


def axes(ax: Any | None, *, width: float = 5.4, height: float = 3.8, projection: str | None = None) -> Any:
    """``ax`` itself, or the axes of a new pyplot figure."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(width, height), layout="constrained")
    return figure.add_subplot(projection=projection)


def finish(ax: Any, *, title: str, xlabel: str, ylabel: str, legend: str | None = None) -> Any:
    """Labels, title, spines and font sizes; returns ``ax``."""
    ax.set_title(title, fontsize=NORMAL + 1, loc="left")
    ax.set_xlabel(xlabel, fontsize=NORMAL)
    ax.set_ylabel(ylabel, fontsize=NORMAL)
    ax.tick_params(labelsize=SMALL)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    if legend is not None:
        ax.legend(loc=legend, fontsize=SMALL, frameon=False)
    return ax


def plural(n: int, noun: str, ending: str = "es") -> str:
    """``1 class``, ``5 classes``."""
    return f"{n} {noun}{'' if n == 1 else ending}"
