"""``theory validate``: a prediction confronted with trained networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NAMES = (
    "neural-collapse, minority-collapse, unconstrained-features, bounds-along-training, "
    "dense-versus-convolutional, depth-and-rank, rho-dynamics, low-rank, sgd-noise, square-loss-collapse, "
    "increasing-complexity, connectivity, path-kernel, steepest-descent"
)


def validate(
    name: Annotated[str | None, typer.Argument(help=f"One of {NAMES}.", show_default=False)] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller, under 40 s; the verdict is about that.")] = False,
    seeds: Annotated[int | None, typer.Option(help="Networks per setting; default: the experiment's own.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the record, the figure and the store; a killed run goes on from the store."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print strict JSON.")] = False,
) -> None:
    """Train networks, measure them, and hold the measurement against the theory's number.

    The verdict is computed from the data, and may be that theory and network disagree. Without a name: the list.

    Example: theory validate minority-collapse --quick --out result
    """
    from simulations._output import json_text, save_figure, write_json
    from simulations._progress import Progress
    from simulations.cli._files import make_folder
    from simulations.experiments.registry import EXPERIMENTS, experiment
    from simulations.store import ResultsStore
    from theory._arrays import as_count

    if name is None:
        typer.echo(json_text(EXPERIMENTS) if json else "\n".join(f"{n:<28}{c}" for n, c in EXPERIMENTS.items()))
        return
    chosen = experiment(name)
    if seeds is not None:
        seeds = as_count("seeds", seeds)
    folder = None if out is None else make_folder(out)
    with ResultsStore(":memory:" if folder is None else folder / "results.sqlite") as store, Progress(name) as progress:
        result = chosen.run(quick=quick, seeds=seeds, store=store, callback=progress.draw)
    if folder is not None:
        from matplotlib.figure import Figure

        write_json(result.to_json(), folder / f"{name}.json")
        figure = Figure(layout="constrained")
        chosen.draw(result, figure)
        save_figure(figure, folder / f"{name}.png")
    typer.echo(json_text(result.to_json()) if json else result.summary())
    if folder is not None and not json:
        typer.echo(f"\nwrote {name}.json and {name}.png to {folder}")
