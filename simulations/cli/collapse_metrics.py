"""``theory collapse-metrics``: neural-collapse metrics of saved features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np


def collapse_metrics(
    features: Annotated[Path, typer.Option(help="Last-layer features (N, d), .npy (read in place) or .csv.")],
    labels: Annotated[Path, typer.Option(help="Class labels 0..K-1 (N), .npy or .csv.")],
    classifier: Annotated[Path | None, typer.Option(help="Classifier weights (K, d), .npy or .csv.")] = None,
    bias: Annotated[
        Path | None, typer.Option(help="Classifier bias (K), .npy or .csv; default zero.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="Column of a .csv of labels that has a header.")] = None,
    global_mean: Annotated[
        str, typer.Option(help="'class': mean of class means; 'sample': mean of all samples.")
    ] = "class",
    json: Annotated[
        bool, typer.Option("--json", help="Print strict JSON; undefined numbers are null.")
    ] = False,
) -> None:
    """Neural-collapse metrics NC1-NC4 of saved features, each under the name of its source.

    Features are read a piece at a time, so the file may be larger than memory.

    Example: theory collapse-metrics --features H.npy --labels y.npy --classifier W.npy --bias b.npy
    """
    from simulations._output import json_text
    from simulations.cli._files import read_array
    from theory.collapse import collapse_metrics as measure

    record = measure(
        _read_features(features),
        read_array(labels, column=column),
        None if classifier is None else read_array(classifier),
        None if bias is None else read_array(bias),
        global_mean=global_mean,
    )
    typer.echo(json_text(record.to_json()) if json else record.summary())


def _read_features(path: Path) -> np.ndarray:
    """Return the features; those of a ``.npy`` file stay on disk as a memory map."""
    import numpy as np

    from simulations.cli._files import read_array, reading

    if path.suffix != ".npy":
        return read_array(path)
    with reading(path):
        return np.load(path, mmap_mode="r", allow_pickle=False)
