"""``theory threshold``: the imbalance at which minority classes merge, and at which they vanish."""

from __future__ import annotations

from typing import Annotated

import typer


def threshold(
    majority: Annotated[int, typer.Option(help="Number of majority classes.")],
    minority: Annotated[int, typer.Option(help="Number of minority classes.")],
    E_W: Annotated[float, typer.Option("--E-W", help="Budget on the mean squared norm of the classifier rows.")],
    E_H: Annotated[float, typer.Option("--E-H", help="Budget on the mean squared norm of the features.")],
    json: Annotated[
        bool, typer.Option("--json", help="Print strict JSON; infinity and undefined numbers are null.")
    ] = False,
) -> None:
    """Imbalance ratios R0 and R00: from R0 on minority classifiers are equal, from R00 on they are zero.

    Example: theory threshold --majority 5 --minority 5 --E-W 1 --E-H 5
    """
    from simulations.cli._output import json_text
    from theory.peeled import collapse_threshold

    found = collapse_threshold(majority=majority, minority=minority, E_W=E_W, E_H=E_H)
    typer.echo(json_text(found.to_json()) if json else found.summary())
