"""The cosine between minority classifiers against the imbalance ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats
from theory._errors import InvalidInput
from theory.plots._style import GUIDE, MEASURED, SHADE, SMALL, THEORY, axes, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from theory.peeled import PhaseCurve


def phase_curve(
    curve: PhaseCurve,
    ax: Any | None = None,
    *,
    points: ArrayLike | None = None,
    points_label: str = "measured",
) -> Axes:
    """Draw cos(w_k, w_k') of two minority classes against R, with the thresholds R0 and R00 as vertical lines.

    Where the classifiers vanish the cosine is undefined: that range is shaded, and no line is drawn in it. At R0
    the line passes through the exact value 1, whether or not R0 is on the grid of the curve.

    Parameters
    ----------
    curve : from :func:`theory.peeled.phase_curve`.
    ax : axes to draw on; None makes a new figure.
    points : (m, 2) measured pairs (R, cosine), drawn as points.
    points_label : what the points are, for the legend.

    Returns
    -------
    the axes.

    Raises
    ------
    InvalidInput : points that are not pairs, or a ratio that is not positive.
    """
    measured = None if points is None else _pairs(points)
    ax = axes(ax)
    R0, R00 = _thresholds(curve)
    x, y = _line(curve, R0, R00)
    left, right = float(curve.ratios.min()), float(curve.ratios.max())
    right = max(right, left * 1.01)
    ax.set_xscale("log")
    ax.set_xlim(left / (right / left) ** 0.02, right * (right / left) ** 0.02)
    ax.set_ylim(-0.25, 1.19)
    balanced = -1 / (curve.majority + curve.minority - 1)
    ax.axhline(balanced, linestyle=":", label="simplex frame, $-1/(K-1)$", **GUIDE)
    ax.plot(x, y, label="theory", **THEORY)
    if measured is not None:
        ax.plot(*measured.T, label=points_label, **MEASURED)
    if R00 < right:
        ax.axvspan(max(R00, left), ax.get_xlim()[1], zorder=0, **SHADE)
    for value, dash, name in ((R0, "--", "$R_0$"), (R00, "-.", "$R_{00}$")):
        if left <= value <= right:
            ax.axvline(value, linestyle=dash, label=f"{name} = {value:.4g}", **GUIDE)
    _name_phases(ax, [left, R0, R00, right])
    finish(ax, title=_title(curve, R0, R00), xlabel="imbalance ratio $R = n_A / n_B$",
           ylabel="cosine between two minority classifiers")  # fmt: skip
    narrow = np.log(max(min(R0, R00, right), left) / left) < 0.45 * np.log(right / left)
    ax.legend(loc="lower right" if narrow else "upper left", bbox_to_anchor=(1, 0.14) if narrow else (0.0, 0.9),
              fontsize=SMALL, framealpha=0.9, edgecolor="none")  # fmt: skip
    return ax


def _pairs(points: ArrayLike) -> np.ndarray:
    pairs = as_floats("points", points, ndim=2)
    if pairs.shape[1] != 2 or (pairs[:, 0] <= 0).any():
        raise InvalidInput("points must be pairs (R, cosine) with R > 0.")
    return pairs


def _thresholds(curve: PhaseCurve) -> tuple[float, float]:
    found = curve.threshold
    return (np.inf, np.inf) if found is None else (found.R0, found.R00)


def _line(curve: PhaseCurve, R0: float, R00: float) -> tuple[np.ndarray, np.ndarray]:
    """The defined part of the curve, with the exact corners (R0, 1) and (R00, 1) where they are in range."""
    order = np.argsort(curve.ratios, kind="stable")
    x, y = curve.ratios[order], curve.cos_minority[order]
    left, right, defined = x[0], x[-1], np.isfinite(y)
    x, y = x[defined], y[defined]
    for corner in (R0, R00) if R0 < R00 else ():
        if left < corner < right:
            at = int(np.searchsorted(x, corner))
            x, y = np.insert(x, at, corner), np.insert(y, at, 1.0)
    return x, y


def _name_phases(ax: Axes, edges: list[float]) -> None:
    """Write the name of each phase above its range of R, where there is room for it."""
    left, right = edges[0], edges[-1]
    names = ("separated", "merged", "zero: cosine undefined")
    inside = np.clip([left, edges[1], edges[2], right], left, right)
    for name, a, b in zip(names, inside[:-1], inside[1:], strict=True):
        share = np.log(b / a) / np.log(right / left)
        if share > 0.03 + 0.016 * len(name):
            ax.text(np.sqrt(a * b), 1.12, name, ha="center", va="center", fontsize=SMALL, style="italic")
        elif share > 0.06:
            ax.text(np.sqrt(a * b), 0.55, name, ha="center", va="center", rotation=90, fontsize=SMALL,
                    style="italic")  # fmt: skip


def _title(curve: PhaseCurve, R0: float, R00: float) -> str:
    sizes = f"{curve.majority} + {curve.minority} classes, $E_W E_H$ = {curve.E_W * curve.E_H:g}"
    if np.isinf(R0):
        return f"Minority classifiers stay apart\n{sizes}"
    if R00 <= R0:
        return f"Minority classifiers vanish at $R_{{00}}$ = {R00:.4g}\n{sizes}"
    more = "" if np.isinf(R00) else f" and vanish at $R_{{00}}$ = {R00:.4g}"
    return f"Minority classifiers merge at $R_0$ = {R0:.4g}{more}\n{sizes}"
