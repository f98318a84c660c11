"""Where minority classes merge, as maps with contours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theory._errors import InvalidInput
from theory.plots._style import SMALL, THEORY, axes, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from theory.peeled.maps import PenaltyMap, ThresholdMap

DECADES = range(-18, 19)
ONE_TWO_FIVE = np.array([float(f"{m}e{k}") for k in DECADES for m in (1, 2, 5)])
ONE_THREE = np.array([float(f"{m}e{k}") for k in DECADES for m in (1, 3)])
TENS = ONE_THREE[::2]
MOST_LEVELS = 10


def threshold_map(found: ThresholdMap, ax: Any | None = None) -> Axes:
    """Draw R0 over E_W E_H (logarithmic) and K_A / K as labelled contours; darker ground merges at smaller R.

    Left of the dashed line the minority also vanishes, at a finite R00. Points whose R0 exceeds float64 stay white.

    Parameters
    ----------
    found : from :func:`theory.peeled.threshold_map`, at least 2 by 2 points, budgets and shares rising.
    ax : axes to draw on; None makes a new figure.

    Returns
    -------
    the axes.

    Raises
    ------
    InvalidInput : fewer points, or not rising.
    """
    x, y = found.products, found.majority_shares
    _check(x, y)
    ax = axes(ax, height=4.2)
    ax.set_xscale("log")
    ax.set_xlim(x[0], x[-1])
    R0 = np.where(np.isfinite(found.R0), found.R0, np.nan)
    _contours(ax, x, y, R0, _levels(R0), ((0.03, 0.93), (0.97, 0.1)))
    ends = found.vanishing_product
    if ((ends > x[0]) & (ends < x[-1])).any():
        ax.plot(ends, y, color="#b3480f", linestyle="--", linewidth=1.6, marker="o", markersize=3.5, clip_on=True,
                label="to its left the minority vanishes at a finite $R_{00}$")  # fmt: skip
        ax.legend(loc="upper left", bbox_to_anchor=(0.0, -0.14), fontsize=SMALL, frameon=False)
        ax.set_ylim(y[0], y[-1])
    title = f"Larger budgets put off the merging of minority classes\n{found.K} classes; contours of $R_0$"
    return finish(ax, title=title, xlabel="product of the norm budgets $E_W E_H$",
                  ylabel="share of majority classes $K_A / K$")  # fmt: skip


def penalty_map(found: PenaltyMap, ax: Any | None = None) -> Axes:
    """Draw the merge threshold of sqrt(lam_W lam_H) over the counts (both logarithmic) as labelled contours.

    The dashed line is the largest threshold for each n_A,
    at K_B n_B = K_A n_A.

    Parameters
    ----------
    found : from :func:`theory.peeled.penalty_map`, at least 2 by 2 points, counts rising.
    ax : axes to draw on; None makes a new figure.

    Returns
    -------
    the axes.

    Raises
    ------
    InvalidInput : fewer points, or not rising.
    """
    x, y = found.majority_counts, found.minority_counts
    _check(x, y)
    ax = axes(ax, height=4.2)
    ax.set_xscale("log")
    ax.set_yscale("log")
    _contours(ax, x, y, found.lam_Z.T, _levels(found.lam_Z), ((0.02, 0.16), (0.98, 0.16)))
    ridge = found.majority * x / found.minority
    ax.plot(x, ridge, color="#b3480f", linestyle="--", linewidth=1.6,
            label="largest threshold: half of all samples, $K_B n_B = K_A n_A$")  # fmt: skip
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(y[0], y[-1])
    ax.legend(loc="upper left", bbox_to_anchor=(0.0, -0.14), fontsize=SMALL, frameon=False)
    title = (
        "A penalty merges the classes of group B from $\\lambda_Z^* = \\sqrt{n_B}/N$ on\n"
        f"{found.majority} + {found.minority} classes; contours of $\\lambda_Z^*$, "
        "the least $\\sqrt{\\lambda_W \\lambda_H}$"
    )
    return finish(ax, title=title, xlabel="samples per class of group A, $n_A$",
                  ylabel="samples per class of group B, $n_B$")  # fmt: skip


def _check(x: np.ndarray, y: np.ndarray) -> None:
    if min(len(x), len(y)) < 2 or (np.diff(x) <= 0).any() or (np.diff(y) <= 0).any():
        raise InvalidInput("a map needs at least 2 by 2 points, rising along both axes.")


def _levels(values: np.ndarray) -> np.ndarray:
    """At most about ten round levels inside the range of the values, the low decades finer where there are many."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    for steps in (ONE_TWO_FIVE, ONE_THREE, TENS):
        inside = steps[(steps > low * (1 + 1e-9)) & (steps < high)]
        if 2 <= len(inside) <= MOST_LEVELS:
            return inside
    if len(inside) < 2:
        return np.geomspace(low, high, 7)[1:-1]
    few = inside[2 :: -(-len(inside) // (MOST_LEVELS - 3))]
    finer = ONE_TWO_FIVE[(ONE_TWO_FIVE > low * (1 + 1e-9)) & (ONE_TWO_FIVE < inside[0])]
    return np.concatenate([finer, inside[:2], few])


def _contours(ax: Axes, x: np.ndarray, y: np.ndarray, z: np.ndarray, levels: np.ndarray, walk: Any) -> None:
    """Shaded ground and lines of log z, labelled where they cross ``walk`` (two points in axes fractions)."""
    logs = np.ma.masked_invalid(np.log10(z))
    if logs.count() == 0 or logs.max() - logs.min() < 1e-12:
        return
    edges = np.log10(levels)
    span = max(float(edges[-1] - edges[0]), 1e-9)
    filled = np.unique([float(logs.min()) - 1e-9, *edges, float(logs.max()) + 1e-9])
    ax.contourf(x, y, logs, levels=filled, cmap="Greys_r", vmin=edges[0] - 1.1 * span, vmax=edges[-1] + 0.25 * span,
                zorder=0)  # fmt: skip
    lines = ax.contour(x, y, logs, levels=edges, colors=THEORY["color"], linewidths=1.2, linestyles="-")
    names = {edge: _name(level) for edge, level in zip(lines.levels, levels, strict=True)}
    places = _crossings(ax, x, y, logs, edges, walk)
    if places:
        ax.clabel(lines, fmt=names, fontsize=SMALL, inline_spacing=3, manual=places)
    ax.tick_params(labelsize=SMALL)


def _name(level: float) -> str:
    power = round(np.log10(level))
    if abs(level / 10.0**power - 1) < 1e-9 and not -4 <= power <= 4:
        return f"$10^{{{power}}}$"
    return f"{level:g}"


def _crossings(
    ax: Axes, x: np.ndarray, y: np.ndarray, logs: np.ma.MaskedArray, edges: np.ndarray, walk: Any
) -> list[tuple[float, float]]:
    """Where each contour first crosses the straight walk, in data coordinates."""
    from scipy.interpolate import RegularGridInterpolator

    scale = [np.log(v) if ax_scale == "log" else v for v, ax_scale in ((x, ax.get_xscale()), (y, ax.get_yscale()))]
    t = np.linspace(0, 1, 400)[:, None]
    along = (1 - t) * np.array(walk[0]) + t * np.array(walk[1])
    points = np.stack([v[0] + along[:, i] * (v[-1] - v[0]) for i, v in enumerate(scale)], axis=1)
    values = RegularGridInterpolator((scale[1], scale[0]), logs.filled(np.nan))(points[:, ::-1])
    out = []
    for edge in edges:
        side = values > edge
        hit = np.flatnonzero((side[1:] != side[:-1]) & np.isfinite(values[1:] + values[:-1]))
        if len(hit):
            a, b = (float(v) for v in points[hit[0]])
            out.append((np.exp(a) if ax.get_xscale() == "log" else a, np.exp(b) if ax.get_yscale() == "log" else b))
    return out
