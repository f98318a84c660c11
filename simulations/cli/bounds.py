"""``theory bounds``: generalization bounds of a trained network, or their formulas for an architecture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from theory.architecture import Architecture
    from theory.bounds import Bound, Sample


def bounds(
    architecture: Annotated[Path, typer.Option(help="The network without its weights, .json or .yaml.")],
    weights: Annotated[Path | None, typer.Option(help="Weights by name, .npz.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(help=".npz with X (n, ...) and y (n); optionally outputs, X_test, y_test, outputs_test."),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Weights fixed independently of the data, such as the initialisation, .npz.")
    ] = None,
    delta: Annotated[float, typer.Option(help="Failure probability over the sample.")] = 0.01,
    margin: Annotated[
        float | None, typer.Option(help="A margin fixed before the data; default: the best, inside the union.")
    ] = None,
    radius: Annotated[
        float | None,
        typer.Option(help="A bound on the norm of every input, known before the data; some bounds need it."),
    ] = None,
    only: Annotated[str | None, typer.Option(help="Names of bounds, separated by commas.")] = None,
    measures: Annotated[
        str | None,
        typer.Option(help="Also print measures, which bound nothing: 'all', or families such as norms,jacobians."),
    ] = None,
    symbolic: Annotated[
        bool, typer.Option("--symbolic", help="Print the formulas; no weights or data are needed.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for bounds.json and bounds.png.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print strict JSON; numbers that overflow are null.")] = False,
) -> None:
    """Every bound that applies to this network, its parts, and the smallest certificate.

    A certificate holds with probability at least 1 - delta over the sample, for the weights found by training on that
    very sample; published forms are printed beside them for comparison.

    Example: theory bounds --architecture notebooks/data/digits/net.json --weights notebooks/data/digits/net.npz
    --data notebooks/data/digits/data.npz --radius 8
    """
    from simulations._output import json_text
    from theory._errors import InvalidInput
    from theory.architecture import read_architecture

    net = read_architecture(architecture)
    chosen = chosen_bounds(only, radius)
    if symbolic:
        forms = _formulas(net, chosen)
        typer.echo(json_text(forms) if json else _formula_text(forms))
        return
    if weights is None or data is None:
        raise InvalidInput("give --weights and --data, or --symbolic for the formulas alone.")
    _evaluate(net, weights, data, reference, chosen, delta, margin, measures, out, json)


def _evaluate(
    net: Architecture, weights: Path, data: Path, reference: Path | None, chosen: tuple[Bound, ...], delta: float,
    margin: float | None, families: str | None, out: Path | None, json: bool,
) -> None:  # fmt: skip
    from simulations._output import json_text, write_json
    from simulations._progress import Progress
    from simulations.cli._files import make_folder, read_archive
    from theory.bounds import compare

    named, sample = read_archive(weights), read_sample(data)
    start = None if reference is None else read_archive(reference)
    folder = None if out is None else make_folder(out)
    with Progress("bounds") as progress:
        result = compare(
            net, named, sample, delta, margin="best" if margin is None else margin, reference=start, bounds=chosen,
            callback=lambda done, total, name: progress.draw(f"{done} of {total}, {name}"),
        )  # fmt: skip
    record: dict[str, Any] = result.to_json()
    if families is not None:
        from theory.bounds.measures import measures

        names = None if families == "all" else [name.strip() for name in families.split(",")]
        found = measures(net, named, sample, start, names=names)
        record["measures"] = [measure.to_json() for measure in found]
    if folder is not None:
        from matplotlib.figure import Figure

        from simulations._output import save_figure
        from theory.plots import bounds as draw

        write_json(record, folder / "bounds.json")
        figure = Figure(figsize=(7.2, 1.2 + 0.27 * len(result.reports)), layout="constrained")
        draw(result, ax=figure.add_subplot())
        save_figure(figure, folder / "bounds.png")
    if json:
        typer.echo(json_text(record))
        return
    typer.echo(result.summary())
    if families is not None:
        typer.echo("\nmeasures (no guarantee)")
        for measure in found:
            typer.echo(f"  {measure.name:<34}{measure.value:>14.6g}")
    if folder is not None:
        typer.echo(f"\nwrote bounds.json and bounds.png to {folder}")


def read_sample(path: Path) -> Sample:
    """The sample in an ``.npz`` file.

    Raises
    ------
    InvalidInput : X or y missing, an unknown name.
    """
    from dataclasses import fields

    from simulations.cli._files import read_archive
    from theory._errors import InvalidInput
    from theory.bounds import Sample

    arrays, names = read_archive(path), [field.name for field in fields(Sample)]
    missing, unknown = [k for k in ("X", "y") if k not in arrays], [k for k in arrays if k not in names]
    if missing or unknown:
        what = f"has no {missing[0]!r}" if missing else f"holds {unknown[0]!r}"
        raise InvalidInput(f"{str(path)!r} {what}; wanted are X and y, and allowed {', '.join(names[2:])}.")
    return Sample(**arrays)


def chosen_bounds(only: str | None, radius: float | None) -> tuple[Bound, ...]:
    """All bounds, or those named."""
    from theory._errors import InvalidInput
    from theory.bounds import all_bounds

    known = {bound.name: bound for bound in all_bounds(radius=radius)}
    if only is None:
        return tuple(known.values())
    names = [name.strip() for name in only.split(",")]
    for name in names:
        if name not in known:
            raise InvalidInput(f"no bound is called {name!r}; there are {', '.join(known)}.")
    return tuple(known[name] for name in dict.fromkeys(names))


def _formulas(net: Architecture, chosen: tuple[Bound, ...]) -> list[dict[str, object]]:
    from theory._errors import PreconditionError

    rows: list[dict[str, object]] = []
    for bound in chosen:
        row: dict[str, object] = {"name": bound.name, "status": bound.status, "source": bound.source}
        try:
            form = bound.symbolic(net)
        except PreconditionError as error:
            rows.append({**row, "refused": str(error)})
            continue
        meaning = dict(form.meaning)
        rows.append({**row, "expression": str(form.expression), "latex": form.latex(),
                     "complexity": str(form.complexity), "meaning": meaning})  # fmt: skip
    return rows


def _formula_text(rows: list[dict[str, object]]) -> str:
    lines = []
    for row in rows:
        lines.append(f"{row['name']} ({row['status']}; {row['source']})")
        if "refused" in row:
            lines.append(f"  refused: {row['refused']}")
        else:
            lines.append(f"  bound:      {row['expression']}\n  complexity: {row['complexity']}")
            meaning = row["meaning"]
            assert isinstance(meaning, dict)
            lines += [f"    {symbol}: {said}" for symbol, said in meaning.items()]
        lines.append("")
    return "\n".join(lines).rstrip()
