"""``theory sweep``: a study of many configurations, computed here or on a cluster, into a store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def sweep(
    study: Annotated[
        str | None,
        typer.Argument(help="A YAML file, or the name of a shipped study; without it: their list.", show_default=False),
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="SQLite file of the rows; default: STUDY.sqlite in this folder.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes of this machine; default: one per core.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, such as tcp://10.0.0.1:8786, instead of --jobs.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a study that has rows in the store; none is computed again.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="The same, and compute failed rows again.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print strict JSON.")] = False,
) -> None:
    """Compute every configuration of a study, one row of a store each; a killed sweep goes on with --resume.

    A configuration that fails is a row with its error. Exit code 0: every row has its record; 1: some failed;
    130: interrupted. A study with 'task: module:function' runs that code of yours, found from this folder; run only
    studies that you trust. Rows are read with 'theory results'.

    Example: theory sweep threshold-map --store map.sqlite --jobs 2
    """
    from simulations._output import json_text
    from simulations._progress import Progress
    from simulations.store import ResultsStore
    from simulations.sweep import read_study, run_study, shipped_studies
    from simulations.sweep._load import check_parameters, load_task
    from simulations.sweep._pool import cores
    from theory._errors import InvalidInput

    if study is None:
        names = {name: str(path) for name, path in shipped_studies().items()}
        typer.echo(json_text(names) if json else "\n".join(f"{name:<20}{path}" for name, path in names.items()))
        return
    if jobs is not None and scheduler is not None:
        raise InvalidInput("give --jobs for this machine or --scheduler for a cluster, not both.")
    chosen = read_study(study)
    check_parameters(load_task(chosen.task), chosen)  # before a file is made for it
    workers = jobs if jobs is not None else 1 if scheduler is not None else cores()
    path = Path(f"{chosen.name}.sqlite") if store is None else store
    if not os.path.isdir(path.parent):
        raise InvalidInput(f"no folder {str(path.parent)!r} for the store.")
    try:
        with ResultsStore(path) as rows, Progress(chosen.name) as progress:
            done = run_study(
                chosen, rows, jobs=workers, scheduler=scheduler, resume=resume, retry=retry, callback=progress.draw
            )  # fmt: skip
    except KeyboardInterrupt:
        typer.echo(f"theory: interrupted; what is stored in {path} stays, and --resume goes on from it.", err=True)
        raise typer.Exit(130) from None
    record = {**done.to_json(), "store": str(path)}
    typer.echo(json_text(record) if json else f"{done.summary()}\nrows in {path}")
    if not done.complete:
        raise typer.Exit(1)
