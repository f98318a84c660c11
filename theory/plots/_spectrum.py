"""The singular values of the logit matrix, and which contrasts between classes they carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theory._errors import PreconditionError
from theory.peeled._factors import SymmetricFactors
from theory.plots._style import GUIDE, SMALL, axes, finish, group_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from theory.peeled import PeeledSolution

MOST_NAMED = 5  # groups up to which each has its own marker
MOST_POINTS = 300  # more equal values than this are drawn as a line


def spectrum(solution: PeeledSolution, ax: Any | None = None) -> Axes:
    """Draw the singular values of Z in units of their sum over K - 1, which is T/(K-1) under the budgets.

    Within a group of equal classes the K_g - 1 contrasts share one singular value; the others belong to contrasts
    between group averages. Of the K - 1 contrasts, those that the optimum gives up are crosses at zero. A balanced
    problem has K - 1 values equal to 1. Here T = K sqrt(E_W E_H). Solutions found without use of the symmetry
    (``dense``, ``factored``, ``sdp``) are drawn as one series.

    Parameters
    ----------
    solution : from :func:`theory.peeled.solve`.
    ax : axes to draw on; None makes a new figure.

    Returns
    -------
    the axes.

    Raises
    ------
    PreconditionError : the logits are zero.
    """
    ax = axes(ax)
    K = solution.model.num_classes
    series = _series(solution)
    if not series:
        raise PreconditionError("the logits are zero, so there is no spectrum to draw.")
    unit = sum(float(values.sum()) for _, values in series) / (K - 1)
    size = 5 if K <= 40 else 3
    order = sorted(range(len(series)), key=lambda i: -series[i][1].max())
    flat = np.concatenate([series[i][1] for i in order])
    owner = np.concatenate([np.full(len(series[i][1]), i) for i in order])
    rank_of = np.empty(len(flat), int)
    rank_of[np.argsort(-flat, kind="stable")] = np.arange(1, len(flat) + 1)
    for place, i in enumerate(order):
        label, _ = series[i]
        x, y = rank_of[owner == i], flat[owner == i] / unit
        colour, marker = group_style(place)
        if len(x) > MOST_POINTS and np.ptp(y) == 0:
            x, y, line = np.array([x.min(), x.max()]), y[:2], "-"
        else:
            line = "none"
        ax.plot(x, y, linestyle=line, marker=marker, markersize=size, color=colour, label=label)
    gone = max(K - 1 - solution.rank, 0)
    if gone:
        x = np.arange(len(flat) + 1, K) if gone <= MOST_POINTS else np.array([len(flat) + 1, K - 1])
        ax.plot(x, 0 * x, linestyle="none" if gone <= MOST_POINTS else "-", marker="x", markersize=size, color="black",
                clip_on=False, label="zero: lost")  # fmt: skip
    ax.axhline(1.0, linestyle=":", label="balanced classes", **GUIDE)
    ax.set_ylim(0, 1.08 * max(1.0, flat.max() / unit))
    if K > MOST_POINTS:
        ax.set_xscale("log")
    else:
        from matplotlib.ticker import MaxNLocator

        ax.set_xlim(0.5 - 0.01 * K, K - 0.5 + 0.01 * K)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    lost = f": {gone} of the $K - 1$ = {K - 1} contrasts are lost"
    title = f"The logits have rank {solution.rank}" + (lost if gone else ": every contrast is kept")
    finish(ax, title=title, xlabel="index", ylabel=r"singular value of $Z$ / ($\|Z\|_* / (K-1)$)")
    ax.legend(loc="best", fontsize=SMALL, frameon=False)
    return ax


def _series(solution: PeeledSolution) -> list[tuple[str, np.ndarray]]:
    """Named sets of nonzero singular values; equal values within a group first."""
    factors = solution._factors
    if not isinstance(factors, SymmetricFactors):
        s = np.linalg.svd(factors.logits(), compute_uv=False)
        return [("singular values", s[: solution.rank])]
    out = []
    column = np.broadcast_to(factors.column, factors.e.shape)
    e = factors.e / column
    s = np.linalg.svd(factors.s[:, None] * (factors.right / column[:, None]).T, compute_uv=False)
    owner = solution.model._partition.mass_group
    inner = np.flatnonzero((e > 0) & (factors.classes > 1))
    several = len(factors.classes) < len(factors.index)
    if len(inner) > MOST_NAMED:
        out.append((f"within {len(inner)} groups", np.repeat(e[inner], factors.classes[inner].astype(int) - 1)))
    for g in inner if len(inner) <= MOST_NAMED else ():
        names = " or ".join(str(int(group.count)) for group, m in zip(solution.groups, owner, strict=True) if m == g)
        n = int(factors.classes[g])
        out.append((f"within the {n} classes of $n_k$ = {names}", np.full(n - 1, e[g])))
    if len(s):
        out.append(("between groups" if several else "singular values", s))
    return out
