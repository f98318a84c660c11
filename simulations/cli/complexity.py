"""``theory complexity``: how much of a classifier's performance simpler classifiers explain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from theory.complexity import LearningCurve

MOST, MOST_CELLS = 1_000_000, 10_000_000  # resamples, and entries of the table of counts


def complexity(
    predictions: Annotated[
        Path, typer.Option(help="Predicted classes (n), or a row for each checkpoint (T, n); .npy or .csv.")
    ],
    labels: Annotated[Path, typer.Option(help="Class labels 0, 1, ... (n) of the same samples, held out.")],
    reference: Annotated[
        list[Path], typer.Option(help="Predicted classes (n) of a simpler classifier; may be given several times.")
    ],
    steps: Annotated[
        Path | None, typer.Option(help="Epochs or times (T) of the checkpoints; default 0, 1, ...")
    ] = None,
    estimator: Annotated[
        str, typer.Option(help="plug-in, miller-madow, jackknife or grassberger.")
    ] = "miller-madow",
    unit: Annotated[str, typer.Option(help="bits or nats.")] = "bits",
    bootstrap: Annotated[int, typer.Option(help="Resamples for intervals; 0: none.")] = 0,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Of the resamples.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print strict JSON.")] = False,
) -> None:
    """I(F;Y), I(F;Y|L) and mu = I(F;Y) - I(F;Y|L) of predictions F, labels Y and a reference L.

    mu is the part of F's performance that L explains, I(L;Y|F) what F does not know of L. With checkpoints or several
    references, the measures over training against each; a reference goes by the name of its file.

    Example: theory complexity --predictions F.npy --labels y.npy --reference linear.npy --bootstrap 1000
    """
    import numpy as np

    from simulations._output import json_text
    from simulations.cli._files import read_array
    from theory._arrays import as_count
    from theory._errors import InvalidInput
    from theory.complexity import estimate, learning_curve

    F, Y = read_array(predictions), read_array(labels)
    references = {path.stem: read_array(path) for path in reference}
    if len(references) < len(reference):
        raise InvalidInput("references go by the names of their files, but two are called the same.")
    if F.ndim == 1 and steps is not None:
        raise InvalidInput("--steps goes with a row of predictions for each checkpoint, but there is one checkpoint.")
    if bootstrap > MOST:
        raise InvalidInput(f"--bootstrap must be at most {MOST}, but is {bootstrap}.")
    classes = [max(len(np.unique(a)) for a in found) for found in ([F], [Y], list(references.values()))]
    if np.prod(classes, dtype=float) > MOST_CELLS:
        raise InvalidInput(f"a table of {' x '.join(map(str, classes))} classes is too large: are these classes?")
    options: dict[str, Any] = {"estimator": estimator, "unit": unit, "n_bootstrap": bootstrap, "level": level}
    rng = np.random.default_rng(as_count("seed", seed, minimum=0))
    if F.ndim == 1 and len(references) == 1:
        found = estimate(F, Y, *references.values(), **options, rng=rng)
        typer.echo(json_text(found.to_json()) if json else found.summary())
        return
    rows, times = np.atleast_2d(F), None if steps is None else read_array(steps)
    curve = learning_curve(rows, Y, references, steps=times, **options, rng=rng)
    typer.echo(json_text(curve.to_json()) if json else f"{_table(curve)}\n\n{curve.summary()}")


def _table(curve: LearningCurve) -> str:
    """I(F;Y) at every checkpoint, and mu and I(L;Y|F) against each reference."""
    from simulations.experiments.result import table_text

    rows = []
    for k, step in enumerate(curve.steps):
        row = {"step": float(step), "I(F;Y)": curve.points[curve.references[0]][k].I_FY}
        for name in curve.references:
            point = curve.points[name][k]
            row |= {f"mu, {name}": point.mu, f"I(L;Y|F), {name}": point.I_LY_given_F}
        rows.append(row)
    return table_text(tuple(rows))
