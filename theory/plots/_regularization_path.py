"""How far apart the classes of each group are, against the penalty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theory.plots._style import SHADE, SMALL, axes, finish, group_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from theory.peeled.regularization import RegularizationPath

MOST_DRAWN = 5
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def regularization_path(path: RegularizationPath, ax: Any | None = None) -> Axes:
    """Draw the merge ratio of each group against lam_Z (logarithmic); its threshold is a vertical line of its style.

    The merge ratio is ||w_k - w_k'|| / max_j ||w_j|| for two classes of the group, 0 if and only if they are merged.
    Groups of a single class have none; of more than five groups the two commonest and the three rarest are drawn. The
    line passes through the exact corner (threshold, 0), whether or not that penalty is on the grid; where everything is
    zero the ratio is undefined, and that range is shaded.

    Parameters
    ----------
    path : from :func:`theory.peeled.regularization_path`.
    ax : axes to draw on; None makes a new figure.

    Returns
    -------
    the axes.
    """
    ax = axes(ax)
    order = np.argsort(path.lam_Z, kind="stable")
    lam = path.lam_Z[order]
    nothing = (path.phase[order] == "vanishing").all(axis=1)
    several = np.flatnonzero(path.classes > 1)
    shown = several if len(several) <= MOST_DRAWN else np.concatenate([several[:2], several[-3:]])
    top = 1.0
    for place, g in enumerate(shown):
        colour, _ = group_style(place)
        corner, ratio = float(path.merge_threshold[g]), np.where(nothing, np.nan, path.merge_ratio[order, g])
        x, y = lam, ratio
        if lam[0] < corner < lam[-1]:
            at = int(np.searchsorted(lam, corner))
            x, y = np.insert(lam, at, corner), np.insert(ratio, at, ratio[at - 1] if nothing[at] else 0.0)
            ax.axvline(corner, color=colour, linestyle=DASHES[place], linewidth=0.9, alpha=0.8)
        end = "zero" if nothing.any() and g == path.merge_threshold.argmax() else "merged"
        label = f"{path.classes[g]} classes of $n_k$ = {int(path.count[g])}, {end} from {corner:.3g}"
        ax.plot(x, y, color=colour, linestyle=DASHES[place], linewidth=1.6, label=label)
        top = max(top, float(np.nanmax(y, initial=0.0)))
    ax.set_xscale("log")
    gone = max(float(np.max(path.merge_threshold)), lam[~nothing].max(initial=lam[0]))
    if nothing.any():
        ax.axvspan(gone, lam[-1], zorder=0, **SHADE)
        ax.text(np.sqrt(gone * lam[-1]), 0.5 * top, "all zero", rotation=90, ha="center", va="center", fontsize=SMALL,
                style="italic")  # fmt: skip
    ax.set_xlim(lam[0], lam[-1] if lam[-1] > lam[0] else lam[0] * 1.01)
    ax.set_ylim(-0.02 * top, 1.06 * top)
    finish(ax, title=_title(path, lam, shown), xlabel="penalty $\\lambda_Z = \\sqrt{\\lambda_W \\lambda_H}$",
           ylabel="distance of two classifiers of a group\n/ length of the longest")  # fmt: skip
    if len(shown):
        ax.legend(loc="upper left", bbox_to_anchor=(0.0, -0.19), fontsize=SMALL, frameon=False, handlelength=2.8)
    ax.tick_params(which="both", labelsize=SMALL)
    return ax


def _title(path: RegularizationPath, lam: np.ndarray, shown: np.ndarray) -> str:
    inside = [g for g in shown if lam[0] < path.merge_threshold[g] < lam[-1]]
    if not inside:
        return "No group of classes merges in this range of penalties"
    if len(inside) == 1:
        (g,) = inside
        return f"The classes of {int(path.count[g])} samples merge at a penalty of {path.merge_threshold[g]:.3g}"
    first = min(inside, key=lambda g: path.merge_threshold[g])
    which = "Rare classes merge first" if path.count[first] == path.count[shown].min() else "Groups merge one by one"
    return f"{which}, each group at its own penalty"
