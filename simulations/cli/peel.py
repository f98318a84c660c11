"""``theory peel``: solve a model of the last layer for given class counts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def peel(
    counts: Annotated[
        str | None, typer.Option(help="Samples per class as SAMPLESxCLASSES, such as 100x5,10x5.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Instead of --counts: labels (N), .npy or .csv; numbers or text.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="Column of a .csv of labels that has a header.")] = None,
    model: Annotated[
        str | None, typer.Option(help="lpm (default), ufm (implied by --lambda-W), seli or deep-linear.")
    ] = None,
    E_W: Annotated[
        float | None, typer.Option("--E-W", help="lpm: budget on the mean squared norm of the classifier rows.")
    ] = None,
    E_H: Annotated[
        float | None, typer.Option("--E-H", help="lpm: budget on the mean squared norm of the features.")
    ] = None,
    lam_W: Annotated[
        float | None, typer.Option("--lambda-W", help="ufm: penalty (lambda/2) on the squared norm of W.")
    ] = None,
    lam_H: Annotated[
        float | None,
        typer.Option("--lambda-H", help="ufm: the same, summed over samples, for the features."),
    ] = None,
    lam_b: Annotated[
        float | None, typer.Option("--lambda-b", help="ufm: the same for the bias; 0 is free, default no bias.")
    ] = None,
    loss: Annotated[
        str | None, typer.Option(help="cross_entropy or mse (lpm, ufm, deep-linear), focal (ufm).")
    ] = None,
    features: Annotated[str | None, typer.Option(help="ufm: free, or relu for nonnegative features.")] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="ufm: alpha in [0, 1).")] = None,
    gamma: Annotated[float | None, typer.Option(help="ufm: exponent of the focal loss.")] = None,
    lam: Annotated[
        float | None, typer.Option("--lambda", help="deep-linear: the penalty (lambda/2) of every factor.")
    ] = None,
    depth: Annotated[
        int | None, typer.Option(help="deep-linear: number of weight layers; default 1.")
    ] = None,
    margins: Annotated[
        str | None, typer.Option(help="seli: margins in the order of the classes, such as 1x5,2x5.")
    ] = None,
    temperatures: Annotated[
        str | None, typer.Option(help="seli: temperatures in the order of the classes, such as 1x5,2x5.")
    ] = None,
    dimension: Annotated[
        int | None, typer.Option(help="Number of features p; default: as many as the optimum needs.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Class weights in the order of the classes, such as 1x5,10x5; or 'balanced'."),
    ] = None,
    method: Annotated[
        str, typer.Option(help="auto, or a solver of this model; a wrong name lists them.")
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

    An option of another model is refused by name.

    Exit code 1 says that the tolerance was not reached; with --out what was reached is still written.

    Example: theory peel --counts 100x5,10x5 --E-W 1 --E-H 5

    Example: theory peel --counts 100x5,10x5 --lambda-W 1e-3 --lambda-H 1e-5 --features relu
    """
    from simulations._output import json_text
    from simulations._progress import Progress
    from simulations.cli._files import make_folder
    from simulations.cli._models import specification
    from simulations.cli._write import write_solution
    from theory._errors import NotConverged
    from theory.peeled import PeeledSolution, solve

    given = {
        "E_W": E_W, "E_H": E_H, "lam_W": lam_W, "lam_H": lam_H, "lam_b": lam_b, "loss": loss, "features": features,
        "label_smoothing": label_smoothing, "gamma": gamma, "lam": lam, "depth": depth, "margins": margins,
        "temperatures": temperatures, "dimension": dimension, "class_weights": weights,
    }  # fmt: skip
    problem = specification(model, counts, labels, column, given)
    folder = None if out is None else make_folder(out)
    try:
        with Progress("theory peel") as progress:
            solution = solve(problem, method=method, rtol=rtol, callback=progress)
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

