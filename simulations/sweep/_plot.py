"""Any table as a figure: a map where x and y form a grid, lines where each x comes once, points otherwise."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations.sweep.table import one_line
from theory._errors import InvalidInput
from theory.plots._style import GROUPS, SHADE, SMALL, finish, group_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulations.sweep.table import Table

CMAP = "cividis"  # its luminance rises throughout, so that it reads in grey
MOST_GROUPS = len(GROUPS)
FARTHEST = 1e300  # on a linear axis: the distance of two numbers, and a margin, must not overflow


def plot_table(
    table: Table, x: str, y: str, color: str | None = None, *, log: Collection[str] = (), figure: Figure | None = None
) -> Figure:  # fmt: skip
    """Draw column y against column x.

    With ``color`` and exactly one row for each pair of a grid of x and y: a map of ``color`` in filled cells with
    contours, hatched where it has no number. Otherwise rows are lines where every x comes once, and points where not;
    ``color`` then tells up to five values apart by colour and marker, more (or fractions) by a scale.

    Parameters
    ----------
    log : which of ``x, y, color`` are logarithmic; a map's rows that are not positive are left out.
    figure : to draw on, of any size; None makes one without pyplot.

    Raises
    ------
    InvalidInput : an unknown column or axis, x or y that are not numbers, numbers beyond 1e300 on an axis that is not
        logarithmic, nothing to draw.
    """
    for name in log:
        if name not in ("x", "y", "color"):
            raise InvalidInput(f"--log takes x, y and color, but was given {name[:40]!r}.")
    if "color" in log and color is None:
        raise InvalidInput("--log color needs --color.")
    xs, ys = _numbers(table, x, "x" in log), _numbers(table, y, "y" in log)
    figure = new_figure(figure, 6.4, 4.2)
    ax = figure.add_subplot()
    if "x" in log:
        ax.set_xscale("log")
    if "y" in log:
        ax.set_yscale("log")
    grid = None if color is None else _grid(xs, ys)
    if color is None:
        _series(ax, xs, ys, {})
    elif grid is not None and table[color].dtype.kind in "ifb":
        _map(ax, grid, _numbers(table, color, "color" in log), color, "color" in log)
    else:
        _grouped(ax, table, xs, ys, color, "color" in log)
    said = _words(f"{y} against {x}" if grid is None else str(color))
    finish(ax, title=said, xlabel=_words(x), ylabel=_words(y))
    return figure


def new_figure(figure: Figure | None, width: float, height: float) -> Figure:
    """``figure``, or one without pyplot, at this size in inches."""
    from matplotlib.figure import Figure

    figure = Figure() if figure is None else figure
    figure.set_layout_engine("constrained")
    figure.set_size_inches(width, height)
    return figure


def _words(text: str) -> str:
    """Text as it is: a dollar would begin a formula."""
    return one_line(text).replace("$", r"\$")


def _numbers(table: Table, name: str, log: bool) -> np.ndarray:
    """A column as floats, NaN where it cannot be drawn."""
    column = table[name]
    if column.dtype.kind not in "ifb":
        raise InvalidInput(f"column {name!r} holds {'text' if column.dtype.kind == 'U' else 'mixed values'}, "
                           "but numbers are wanted.")  # fmt: skip
    values = column.astype(np.float64)
    if log:
        values = np.where(values > 0, values, np.nan)
    elif (np.abs(values[np.isfinite(values)]) > FARTHEST).any():
        raise InvalidInput(f"column {name!r} has numbers beyond {FARTHEST:g}, which need a logarithmic axis.")
    if not np.isfinite(values).any():
        raise InvalidInput(f"column {name!r} has no {'positive number' if log else 'number'} in these rows.")
    return values


def _grid(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The values of x and y, and for each pair its row (len(y), len(x)); None where rows are no grid."""
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    (across, column), (up, line) = np.unique(x, return_inverse=True), np.unique(y, return_inverse=True)
    if min(len(across), len(up)) < 2 or len(across) * len(up) != len(x):
        return None
    index = np.full((len(up), len(across)), -1)
    index[line, column] = np.arange(len(x))
    return None if (index < 0).any() else (across, up, index)


def _map(ax: Axes, grid: tuple[np.ndarray, np.ndarray, np.ndarray], values: np.ndarray, name: str, log: bool) -> None:
    x, y, index = grid
    z = np.ma.masked_invalid((np.log10(values) if log else values)[index])
    if np.ma.is_masked(z):
        ax.patch.set(**SHADE)
        ax.text(1.0, 1.0, "hatched: no number", transform=ax.transAxes, ha="right", va="bottom", fontsize=SMALL)
    edges = [_edges(values, scale) for values, scale in ((x, ax.get_xscale()), (y, ax.get_yscale()))]
    drawn = ax.pcolormesh(*edges, z, cmap=CMAP, rasterized=True)
    levels = _levels(float(z.min()), float(z.max()), log)
    if len(levels) > 1 and min(z.shape) > 2:
        lines = ax.contour(x, y, z, levels=levels, colors="white", linewidths=0.9, linestyles="-")
        ax.clabel(lines, fmt=lambda level: _power(level) if log else f"{level:g}", fontsize=SMALL)
    _scale(ax, drawn, name, log)


def _levels(low: float, high: float, log: bool) -> list[float]:
    """About eight round numbers inside the range; ``log``: log10 of 1, 2, 5, 10, ... or of powers of ten."""
    from matplotlib.ticker import MaxNLocator

    if log and high - low < 3:
        ticks = np.log10([m * 10.0**k for k in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)])
    else:
        ticks = np.asarray(MaxNLocator(8, integer=log).tick_values(low, high))
    return ticks[(ticks > low) & (ticks < high)].tolist()


def _power(level: float) -> str:
    """``10^level`` as it is read: small powers in figures."""
    return f"{10.0**level:.4g}" if -4 < level < 5 else f"$10^{{{level:g}}}$"


def _scale(ax: Axes, drawn: Any, name: str, log: bool) -> None:
    """The bar beside the axes; a logarithmic one holds log10, so that 1e300 does not overflow in it."""
    bar = ax.figure.colorbar(drawn, ax=ax)
    bar.set_label(_words(name))
    bar.ax.tick_params(labelsize=SMALL)
    if log:
        low, high = drawn.get_clim()
        bar.set_ticks(_levels(low, high, True))
        bar.ax.yaxis.set_major_formatter(lambda level, _: _power(level))


def _edges(values: np.ndarray, scale: str) -> np.ndarray:
    """Borders of cells half way between neighbours, on the axis' own scale."""
    at = np.log(values) if scale == "log" else values
    middle = (at[1:] + at[:-1]) / 2
    border = np.concatenate([[2 * at[0] - middle[0]], middle, [2 * at[-1] - middle[-1]]])
    return np.exp(border) if scale == "log" else border


def _series(ax: Axes, x: np.ndarray, y: np.ndarray, style: dict[str, Any]) -> None:
    """A line through points where each x comes once, else points."""
    there = np.isfinite(x) & np.isfinite(y)
    x, y = x[there], y[there]
    if not x.size:
        return
    order = np.argsort(x, kind="stable")
    once = len(np.unique(x)) == len(x)
    color, marker = group_style(0)
    drawn = {"color": color, "marker": marker if len(x) <= 100 or not once else None, **style}
    size = 4 if len(x) <= 500 else 2
    ax.plot(x[order], y[order], linestyle="-" if once and len(x) > 1 else "none", markersize=size, linewidth=1.4,
            markerfacecolor="white", **drawn)  # fmt: skip


def _grouped(ax: Axes, table: Table, x: np.ndarray, y: np.ndarray, name: str, log: bool) -> None:
    """Points told apart by colour: by a few values with markers and a legend, or along a scale."""
    column = table[name]
    values = list(dict.fromkeys(column.tolist()))
    if len(values) <= MOST_GROUPS:
        for i, value in enumerate(sorted(values, key=lambda v: (isinstance(v, str), v is None, v))):
            mine = np.array([v == value for v in column.tolist()])
            color, marker = group_style(i)
            _series(ax, x[mine], y[mine], {"color": color, "marker": marker, "label": _words(f"{name} = {value}")})
        ax.legend(fontsize=SMALL, frameon=False)
        return
    if column.dtype.kind not in "ifb":
        raise InvalidInput(f"column {name!r} has {len(values)} different texts, but {MOST_GROUPS} can be told apart.")
    numbers = _numbers(table, name, log)
    there = np.isfinite(x) & np.isfinite(y) & np.isfinite(numbers)
    drawn = ax.scatter(x[there], y[there], c=np.log10(numbers[there]) if log else numbers[there], cmap=CMAP, s=12)
    _scale(ax, drawn, name, log)
