"""``theory results``: what a store of sweeps holds; as a list, by SQL, as a file, as a figure."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from simulations.sweep.table import Table

FIGURES = (".png", ".pdf", ".svg")


def results(
    store: Annotated[Path, typer.Argument(help="The .sqlite file of theory sweep; it is only read.")],
    study: Annotated[str | None, typer.Option(help="Only rows of this study.")] = None,
    query: Annotated[
        str | None, typer.Option(help="One SELECT on the view rows, which has a column for every parameter and number.")
    ] = None,
    export: Annotated[str | None, typer.Option(help="csv or parquet: finished rows, or the query's, to --out.")] = None,
    out: Annotated[Path | None, typer.Option(help="The file that --export writes.")] = None,
    plot: Annotated[Path | None, typer.Option(help="A figure of --y against --x: .png, .pdf or .svg.")] = None,
    x: Annotated[str | None, typer.Option(help="--plot: column of the horizontal axis.")] = None,
    y: Annotated[str | None, typer.Option(help="--plot: column of the vertical axis.")] = None,
    color: Annotated[
        str | None, typer.Option(help="--plot: column told by colour; a map where x and y form a grid.")
    ] = None,
    log: Annotated[str | None, typer.Option(help="--plot: logarithmic axes among x,y,color.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print strict JSON; undefined numbers are null.")] = False,
) -> None:
    """Rows done and failed of each study, what computed them, and the first errors; or a query, a file, a figure.

    A file or figure is made of all finished rows, or of what --query finds. In SQL, text stands in single quotes.

    Example: theory results threshold-map.sqlite

    Example: theory results threshold-map.sqlite --query "SELECT majority, MIN(R0) FROM rows GROUP BY majority"

    Example: theory results threshold-map.sqlite --plot map.png --x E_H --y majority --color R0 --log x,color
    """
    from simulations._output import json_text
    from simulations.sweep._table_store import contents
    from simulations.sweep._table_store import query as run_query
    from simulations.sweep.table import read_table
    from theory._errors import InvalidInput

    if export is not None and plot is not None:
        raise InvalidInput("give --export or --plot, not both.")
    _belongs("--export", export, {"--out": out})
    _belongs("--plot", plot, {"--x": x, "--y": y, "--color": color, "--log": log})
    if query is not None or export is not None or plot is not None:
        table = read_table(store, study) if query is None else run_query(store, query, study)
        if export is not None:
            typer.echo(_export(table, store, study, query, export, out, json))
        elif plot is not None:
            typer.echo(_plot(table, store, plot, x, y, color, log, json))
        else:
            typer.echo(json_text(table.rows()) if json else table.summary(most=10**9))
        return
    held = [one for one in contents(store) if study is None or one.study == study]
    if study is not None and not held:
        known = ", ".join(str(one.study) for one in contents(store) if one.study is not None)
        raise InvalidInput(f"the store has no study {study!r}; it has {known or 'none'}.")
    if json:
        typer.echo(json_text([one.to_json() for one in held]))
    else:
        typer.echo("\n\n".join(one.summary() for one in held) or "no rows")


def _belongs(option: str, value: object, others: dict[str, object]) -> None:
    from theory._errors import InvalidInput

    for name, given in others.items():
        if given is not None and value is None:
            raise InvalidInput(f"{name} goes with {option}.")


def _spare(store: Path, out: Path, option: str) -> None:
    from theory._errors import InvalidInput

    if os.path.realpath(out) == os.path.realpath(store):
        raise InvalidInput(f"{option} would replace the store: give another file.")


def _export(
    table: Table, store: Path, study: str | None, query: str | None, form: str, out: Path | None, json: bool
) -> str:
    from simulations._output import json_text
    from simulations.sweep._table_export import export
    from simulations.sweep._table_store import contents
    from theory._errors import InvalidInput

    if out is None:
        raise InvalidInput("--export needs --out, the file to write.")
    _spare(store, out, "--out")
    export(table, out, form, [one for one in contents(store) if study is None or one.study == study], query)
    said = {"file": str(out), "rows": len(table), "columns": list(table.names)}
    return json_text(said) if json else f"wrote {len(table)} rows of {len(table.names)} columns to {out}"


def _plot(
    table: Table, store: Path, path: Path, x: str | None, y: str | None, color: str | None, log: str | None, json: bool
) -> str:
    from simulations._output import json_text
    from simulations.sweep._plot import plot_table
    from simulations.sweep._table_export import write_whole
    from theory._errors import InvalidInput

    if x is None or y is None:
        raise InvalidInput("--plot needs --x and --y, the columns to draw.")
    if path.suffix not in FIGURES:
        raise InvalidInput(f"--plot must name a {', '.join(FIGURES)} file, but names {str(path)!r}.")
    _spare(store, path, "--plot")
    axes = [] if log is None else [name.strip() for name in log.split(",")]
    figure = plot_table(table, x, y, color, log=axes)
    write_whole(path, lambda partial: figure.savefig(partial, format=path.suffix[1:], dpi=160))
    said = {"file": str(path), "rows": len(table), "x": x, "y": y, "color": color}
    return json_text(said) if json else f"drew {len(table)} rows to {path}"
