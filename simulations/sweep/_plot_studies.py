"""The figures of the two shipped studies, and the exponents that the second is about."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations.sweep._plot import new_figure
from theory._errors import InvalidInput
from theory.plots._style import GUIDE, NORMAL, SHADE, SMALL, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulations.sweep.table import Table

R0_LEVELS = (1.01, 1.1, 1.5, 3, 10, 100, 1e4, 1e6, 1e9)
WIDENING = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)  # R00 / R0 - 1
VARIABLES = ("n", "width", "depth")
BASE = {"n": 320, "width": 64, "depth": 3}
TRAINED = 0.01  # training error up to which a network counts as trained
SHOWN = {  # bounds whose complexity term is a product of norms over a margin; marker, line, grey
    "group_norm": ("o", "-", "0.0"), "row_norm": ("s", "-", "0.45"), "operator_frobenius": ("^", "--", "0.0"),
    "path_norm": ("D", "--", "0.45"), "covering": ("v", ":", "0.0"), "parameter_dudley": ("x", "-.", "0.25"),
}  # fmt: skip


def threshold_map_figure(table: Table, figure: Figure | None = None) -> Figure:
    """R0 over the budgets and the share of majority classes, and how much later the minority vanishes.

    Parameters
    ----------
    table : one row for each pair of ``majority`` and ``E_H`` (E_W = 1) with ``K``, ``log_R0`` and ``R00_over_R0``.
    figure : to draw on; None makes one without pyplot.

    Raises
    ------
    InvalidInput : rows that are no such grid.
    """
    from theory.peeled import vanishing_product

    x, y = np.unique(table["E_H"]), np.unique(table["majority"])
    if len(x) * len(y) != len(table) or len(np.unique(table["K"])) > 1:
        raise InvalidInput("the threshold map needs one row for each pair of majority and E_H, and one K.")
    K, order = int(table["K"][0]), np.lexsort((table["E_H"], table["majority"]))
    R0, ratio = (table[name][order].reshape(len(y), len(x)) for name in ("log_R0", "R00_over_R0"))
    ends = np.array([vanishing_product(majority=int(k), minority=K - int(k)) for k in y])
    figure = new_figure(figure, 11.0, 4.6)
    axes = figure.subplots(1, 2, sharey=True)
    names = [*(f"{level:g}" for level in R0_LEVELS[:-3]), "$10^4$", "$10^6$", "$10^9$"]
    _filled(axes[0], x, y / K, R0 / np.log(10), np.log10(R0_LEVELS), names, ((0.02, 0.8), (0.98, 0.8)))
    axes[1].patch.set(**SHADE)
    with np.errstate(divide="ignore"):
        later = np.ma.masked_invalid(np.log10(ratio - 1))
    names = [f"{100 * level:g} %" for level in WIDENING]
    _filled(axes[1], x, y / K, later, np.log10(WIDENING), names, ((0.1, 0.97), (0.66, 0.3)))
    for ax in axes:
        ax.plot(ends, y / K, color="#b3480f", linestyle="--", linewidth=1.8)
    words = {"fontsize": SMALL + 1, "ha": "right", "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 2}}
    for ax, said in zip(axes, ("right of the dashed line the minority never vanishes", "never"), strict=True):
        ax.text(0.97, 0.05, said, transform=ax.transAxes, **words)
    below = "product of the norm budgets $E_W E_H$"
    finish(axes[0], title="$R_0$: from this imbalance on, minority classifiers are equal", xlabel=below,
           ylabel="share of majority classes $K_A / K$")  # fmt: skip
    finish(axes[1], title="$R_{00} / R_0 - 1$: by how much later they are zero", xlabel=below, ylabel="")
    figure.suptitle(
        f"Minority collapse among {K} classes, {len(table):,} certified points: budgets put it off, "
        "a large majority brings it on", fontsize=11, x=0.01, ha="left",
    )  # fmt: skip
    return figure


def _filled(
    ax: Axes, x: np.ndarray, y: np.ndarray, z: Any, levels: np.ndarray, names: list[str], walk: Any
) -> None:  # fmt: skip
    """Grey ground between contours of z, which are labelled where they cross ``walk`` (axes fractions)."""
    from theory.plots._maps import _crossings

    ax.set_xscale("log")
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(y[0], y[-1])
    greys = [f"{grey:.3f}" for grey in np.linspace(1.0, 0.55, len(levels) + 1)]
    ax.contourf(x, y, z, levels=levels, colors=greys, extend="both")
    lines = ax.contour(x, y, z, levels=levels, colors="#1b3a5c", linewidths=1.1, linestyles="-")
    places = _crossings(ax, x, y, np.ma.masked_invalid(z), levels, walk)
    ax.clabel(lines, fmt=dict(zip(lines.levels, names, strict=True)), fontsize=SMALL, manual=places)


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How the complexity term of a bound grew in trained networks. *measure*.

    Attributes
    ----------
    name : of the bound. networks : how many the fit rests on.
    n, width : exponents. depth : log10 of the factor of one more layer. Each a mean over seeds.
    n_spread, width_spread, depth_spread : their standard deviations over seeds (n - 1); NaN for one seed.
    """

    name: str
    networks: int
    n: float
    width: float
    depth: float
    n_spread: float
    width_spread: float
    depth_spread: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def summary(self) -> str:
        """One line."""
        return (
            f"{self.name.replace('_', '-')}: n^({self.n:+.2f} \N{PLUS-MINUS SIGN} {self.n_spread:.2f}), width^("
            f"{self.width:+.2f} \N{PLUS-MINUS SIGN} {self.width_spread:.2f}), x {10**self.depth:.3g} per layer"
        )


def growth(table: Table, name: str) -> Growth:
    r"""The law of one bound's complexity term C at the median margin, or of a column, by least squares.

    .. math:: \log_{10} C = a + \alpha \log_{10} n + \beta \log_{10} \mathrm{width} + \gamma\, \mathrm{depth}

    fitted for each seed alone, over the networks of ``trained_rows``. *measure*: exponents over these sizes and of
    this training, no law of the bound; the median margin changes with the sizes too. Where a bound is its norms over
    margin and sqrt(n), as ``row_norm`` is, the norms over the margin grow like n to the power alpha + 1/2.

    Parameters
    ----------
    table : the rows of ``bounds-scaling``.
    name : of a bound, or of a column of positive numbers such as ``median_margin``.

    Raises
    ------
    InvalidInput : no such bound or column, a number in it that is not positive, or a seed with too few sizes to tell
        the three apart.
    """
    trained, found = trained_rows(table), []
    logs = _logs(trained, name)
    seeds = np.unique(trained["seed"])
    for seed in seeds:
        mine = trained["seed"] == seed
        rows = trained.where(mine)
        design = np.column_stack([np.ones(len(rows)), *(_on_scale(v, rows[v]) for v in VARIABLES)])
        if np.linalg.matrix_rank(design) < 4:
            raise InvalidInput(f"seed {seed} has too few trained networks to tell n, width and depth apart.")
        found.append(np.linalg.lstsq(design, logs[mine], rcond=None)[0][1:])
    laws = np.array(found)
    spread = laws.std(axis=0, ddof=1) if len(laws) > 1 else np.full(3, np.nan)
    return Growth(
        name=name, networks=len(trained), **dict(zip(VARIABLES, laws.mean(axis=0).tolist(), strict=True)),
        **{f"{v}_spread": float(s) for v, s in zip(VARIABLES, spread, strict=True)},
    )  # fmt: skip


def _logs(table: Table, name: str) -> np.ndarray:
    if name not in table.columns:
        return table[f"{name}_complexity_log10"]
    if not (table[name] > 0).all():
        raise InvalidInput(f"column {name!r} has numbers that are not positive, of which there is no power law.")
    return np.log10(table[name])


def trained_rows(table: Table) -> Table:
    """The networks that misclassify at most 1 % of their training samples."""
    return table.where(table["train_error"] <= TRAINED)


def bounds_scaling_figure(table: Table, figure: Figure | None = None) -> Figure:
    """Complexity terms against n, width and depth, with the laws of ``growth``.

    Each point is the geometric mean over the trained networks of that size, moved along the fitted law to the other
    sizes ``BASE``, so that networks which were not trained do not shift it.

    Parameters
    ----------
    table : the rows of the study ``bounds-scaling``.
    figure : to draw on; None makes one without pyplot.
    """
    trained = trained_rows(table)
    laws = {name: growth(table, name) for name in SHOWN}
    figure = new_figure(figure, 11.5, 5.2)
    axes = figure.subplots(1, 3, sharey=True)
    words = {"n": "training samples $n$", "width": "width of the hidden layers", "depth": "weight layers"}
    for ax, variable in zip(axes, VARIABLES, strict=True):
        values = np.unique(trained[variable])
        for name, (marker, line, grey) in SHOWN.items():
            log = _moved(trained, laws[name], variable)
            mean = [log[trained[variable] == value].mean() for value in values]
            ax.plot(values, 10.0 ** np.array(mean), marker=marker, linestyle=line, color=grey, markersize=5,
                    markerfacecolor="white", label=_law(laws[name], variable))  # fmt: skip
        ax.axhline(1, **GUIDE)
        ax.set_yscale("log")
        if variable != "depth":
            ax.set_xscale("log", base=2)
        ax.set_xticks(values, [str(v) for v in values])
        ax.minorticks_off()
        others = ", ".join(f"{name} {BASE[name]}" for name in VARIABLES if name != variable)
        finish(ax, title="", xlabel=f"{words[variable]}   (at {others})", ylabel="")
        ax.legend(fontsize=SMALL, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axes[0].set_ylabel("complexity term at the median margin", fontsize=NORMAL)
    axes[0].text(0.02, 1.15, "says nothing above 1", transform=axes[0].get_yaxis_transform(), fontsize=SMALL)
    figure.suptitle(
        "Complexity terms of trained perceptrons: products of norms multiply with depth, a count of parameters hardly "
        f"grows with it\n{len(trained)} of {len(table)} perceptrons on digits with at most 1 % training error; laws: "
        f"mean and deviation over {len(np.unique(table['seed']))} seeds", fontsize=NORMAL + 1, x=0.01, ha="left",
    )  # fmt: skip
    return figure


def _moved(trained: Table, law: Growth, variable: str) -> np.ndarray:
    """log10 of the complexity terms, moved along the law to ``BASE`` in all but one variable."""
    log = trained[f"{law.name}_complexity_log10"].copy()
    for other in VARIABLES:
        if other != variable:
            log -= getattr(law, other) * (_on_scale(other, trained[other]) - _on_scale(other, np.array(BASE[other])))
    return log


def _on_scale(variable: str, values: np.ndarray) -> np.ndarray:
    return values if variable == "depth" else np.log10(values)


def _law(law: Growth, variable: str) -> str:
    name, value, spread = law.name.replace("_", "-"), getattr(law, variable), getattr(law, f"{variable}_spread")
    if variable == "depth":
        return f"{name}: $\\times$ {10**value:.2g} per layer ($10^{{{value:.2f} \\pm {spread:.2f}}}$)"
    return f"{name}: ${'n' if variable == 'n' else 'width'}^{{{value:+.2f} \\pm {spread:.2f}}}$"


def main() -> None:
    """Draw both figures from the tables in ``docs/studies`` to ``docs/figures``."""
    from pathlib import Path

    from simulations._output import save_figure
    from simulations.sweep._table_export import stored_table

    docs = Path(__file__).parents[2] / "docs"
    for name, draw in (("threshold-map", threshold_map_figure), ("bounds-scaling", bounds_scaling_figure)):
        save_figure(draw(stored_table(name)), docs / "figures" / f"study_{name}.png")


if __name__ == "__main__":
    main()
