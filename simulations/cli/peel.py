"""``theory peel``: solve a layer-peeled model for given class counts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from theory.peeled import LayerPeeledModel


def peel(
    E_W: Annotated[float, typer.Option("--E-W", help="Budget on the mean squared norm of the classifier rows.")],
    E_H: Annotated[float, typer.Option("--E-H", help="Budget on the mean squared norm of the features.")],
    counts: Annotated[
        str | None, typer.Option(help="Samples per class as SAMPLESxCLASSES, such as 100x5,10x5.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Instead of --counts: labels (N), .npy or .csv; numbers or text.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="Column of a .csv of labels that has a header.")] = None,
    dimension: Annotated[
        int | None, typer.Option(help="Number of features p; default: as many as the optimum needs.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Class weights in the order of the classes, such as 1x5,10x5; or 'balanced'."),
    ] = None,
    method: Annotated[
        str, typer.Option(help="auto, closed-form, groups, dense, factored or sdp.")
    ] = "auto",
    rtol: Annotated[float, typer.Option(help="Wanted relative gap of the certificate.")] = 1e-9,
    out: Annotated[
        Path | None, typer.Option(help="Folder for solution.npz, solution.json and the figures.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print strict JSON; undefined numbers are null.")
    ] = False,
) -> None:
    """The last layer that a well-trained classifier takes for these class counts, with its certificate.

    Exit code 1 says that the tolerance was not reached; with --out what was reached is still written.

    Example: theory peel --counts 100x5,10x5 --E-W 1 --E-H 5
    """
    from simulations.cli._files import make_folder
    from simulations.cli._output import json_text
    from simulations.cli._progress import Progress
    from simulations.cli._write import write_solution
    from theory._errors import NotConverged
    from theory.peeled import PeeledSolution, solve

    model = _model(counts, labels, column, weights, dimension, E_W, E_H)
    folder = None if out is None else make_folder(out)
    try:
        with Progress("theory peel") as progress:
            solution = solve(model, method=method, rtol=rtol, callback=progress)
    except NotConverged as error:
        if not isinstance(error.partial, PeeledSolution):
            raise
        reached = f"relative gap {error.partial.relative_gap:.1e} reached, {rtol:.1e} wanted"
        if folder is None:
            raise NotConverged(f"{reached}; --out DIR keeps what was reached.", error.partial) from None
        write_solution(error.partial, folder)
        raise NotConverged(f"{reached}; what was reached is in {str(folder)!r}.", error.partial) from None
    notes = [] if folder is None else ["", *write_solution(solution, folder)]
    typer.echo(json_text(solution.to_json()) if json else "\n".join([solution.summary(), *notes]))


def _model(
    counts: str | None,
    labels: Path | None,
    column: str | None,
    weights: str | None,
    dimension: int | None,
    E_W: float,
    E_H: float,
) -> LayerPeeledModel:
    """The specification; exactly one of counts and labels."""
    from simulations.cli._groups import parse_counts, parse_weights
    from theory._errors import InvalidInput
    from theory.peeled import LayerPeeledModel

    if (counts is None) == (labels is None):
        raise InvalidInput("give exactly one of --counts and --labels.")
    omega = parse_weights(weights)
    if counts is not None:
        if column is not None:
            raise InvalidInput("--column goes with --labels, not with --counts.")
        return LayerPeeledModel(
            counts=parse_counts(counts), E_W=E_W, E_H=E_H, dimension=dimension, class_weights=omega
        )
    from simulations.cli._files import read_array

    y = read_array(labels, column=column, text=True)  # type: ignore[arg-type]
    return LayerPeeledModel.from_labels(y, E_W=E_W, E_H=E_H, dimension=dimension, class_weights=omega)
