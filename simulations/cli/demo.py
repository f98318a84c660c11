"""``theory demo``: a long-tailed histogram and the published configuration, solved, tabulated and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from theory.peeled import PeeledSolution

PUBLISHED = {"majority": 5, "minority": 5, "E_W": 1.0, "E_H": 5.0}


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("demo"),
    imbalance: Annotated[
        float, typer.Option(help="Class k of the digits keeps n_k * IMBALANCE^(-k/9) samples.")
    ] = 100.0,
) -> None:
    """Solve the layer-peeled model for a real long-tailed histogram and for the published configuration.

    Example: theory demo --out demo
    """
    import numpy as np

    from simulations.cli._files import make_folder
    from simulations.data import long_tailed_digits_counts
    from theory.peeled import LayerPeeledModel, collapse_threshold, solve

    folder = make_folder(out)
    counts = long_tailed_digits_counts(imbalance)
    typer.echo(f"1. Handwritten digits (scikit-learn), made long-tailed: n_k * {imbalance:g}^(-k/9) samples kept\n")
    digits = solve(LayerPeeledModel(counts=counts, E_W=1, E_H=5))
    typer.echo(f"{_head(digits)}\n{class_table(digits)}\n")

    typer.echo("2. The published configuration: 5 majority and 5 minority classes, E_W = 1, E_H = 5\n")
    pairs = []
    for ratio in (10, 100):
        solution = solve(LayerPeeledModel(counts=np.repeat([ratio, 1], 5), E_W=1, E_H=5))
        pairs.append((ratio, solution))
        typer.echo(f"R = {ratio}: {_head(solution)}\n{group_table(solution)}\n")
    typer.echo(f"{collapse_threshold(**PUBLISHED).summary()}\n")  # type: ignore[arg-type]

    written = _figures(folder, digits, pairs)
    typer.echo(f"wrote {', '.join(written)} to {folder}")


def class_table(solution: PeeledSolution) -> str:
    """One line per distinct count: norms, and the classifier of another class that is closest in angle."""
    import numpy as np

    lines = [f"{'samples':>9} {'classes':>8} {'phase':<10} {'|w|':>9} {'|h|':>9}   closest other classifier"]
    cos = np.where(np.isnan(solution.cos_between), -2.0, solution.cos_between)
    for group, row in zip(solution.groups, cos, strict=True):
        near = int(np.argmax(row))
        other = f"cos {row[near]:+.6f} (n = {int(solution.groups[near].count)})" if row[near] > -2 else "-"
        size = f"{int(group.count):>9} {group.classes:>8} {group.phase:<10}"
        lines.append(f"{size} {group.norm_w:>9.5f} {group.norm_h:>9.5f}   {other}")
    return "\n".join(lines)


def group_table(solution: PeeledSolution) -> str:
    """One line per group of classes: count, phase, cosine within it, norms."""
    lines = [f"{'samples':>9} {'classes':>8} {'phase':<10} {'cos(w,w)':>12} {'|w|':>9} {'|h|':>9}"]
    for g in solution.groups:
        cos = "-" if g.cos_within != g.cos_within else f"{g.cos_within:.8f}"
        lines.append(f"{int(g.count):>9} {g.classes:>8} {g.phase:<10} {cos:>12} {g.norm_w:>9.5f} {g.norm_h:>9.5f}")
    return "\n".join(lines)


def _head(solution: PeeledSolution) -> str:
    return (
        f"loss {solution.objective:.12f}, certified gap {solution.certificate.gap:.1e}, rank {solution.rank}, "
        f"{1e3 * solution.seconds:.0f} ms"
    )


def _figures(folder: Path, digits: PeeledSolution, pairs: list[tuple[int, PeeledSolution]]) -> list[str]:
    import numpy as np
    from matplotlib.figure import Figure

    from simulations._output import save_figure
    from simulations.cli._write import save_gram
    from simulations.data import published_minority_cosines
    from theory import plots
    from theory.peeled import phase_curve

    curve = phase_curve(**PUBLISHED, ratios=np.geomspace(1, 100, 201))  # type: ignore[arg-type]
    figure = Figure(figsize=(5.4, 3.8), layout="constrained")
    plots.phase_curve(
        curve,
        ax=figure.add_subplot(),
        points=published_minority_cosines(),
        points_label="published by the authors (4 digits)",
    )
    save_figure(figure, folder / "phase_curve.png")
    names = ["phase_curve.png"]
    for name, solution in (("digits", digits), *((f"R{ratio}", solution) for ratio, solution in pairs)):
        save_gram(solution, "classifier", folder / f"gram_{name}.png")
        names.append(f"gram_{name}.png")
    return names
