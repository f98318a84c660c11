"""``theory compare``: what each model of the last layer does with the same class counts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from theory.peeled._specification import Specification

MOST_DRAWN = 1000  # classes


def compare(
    counts: Annotated[str, typer.Option(help="Samples per class as SAMPLESxCLASSES, such as 100x3,20x3,3x4.")],
    E_W: Annotated[
        float, typer.Option("--E-W", help="Budget on the mean squared norm of the classifier rows.")
    ] = 1.0,
    E_H: Annotated[float, typer.Option("--E-H", help="Budget on the mean squared norm of the features.")] = 5.0,
    lam_W: Annotated[float | None, typer.Option("--lambda-W", help="Penalty of W; with --lambda-H.")] = None,
    lam_H: Annotated[
        float | None, typer.Option("--lambda-H", help="Penalty of the features; with --lambda-W.")
    ] = None,
    lam: Annotated[
        float | None, typer.Option("--lambda", help="Penalty of every factor of the deep linear model.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for comparison.json and comparison.png.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print strict JSON; undefined numbers are null.")
    ] = False,
) -> None:
    """Budgets, penalties, a bias, nonnegative features, the squared error, more layers: which geometry each one gives.

    The loss is the cross-entropy where none is named. Default penalties lie between the two smallest distinct counts:
    lambda_W lambda_H is the product of sqrt(n)/N for n the two, so that the smallest classes merge (cross-entropy:
    sqrt(n)/N is the exact threshold of sqrt(lambda_W lambda_H)) or vanish (squared error without bias) and the others
    stay apart; lambda_W / lambda_H is N. The deep linear model, two layers, takes the geometric mean of its own two
    thresholds. With equal counts: half the threshold.

    Example: theory compare --counts 100x3,20x3,3x4 --out figures
    """
    from simulations._output import json_text, write_json
    from simulations.cli._files import make_folder
    from simulations.cli._groups import parse_counts
    from theory.peeled.compare import compare as solve_all

    models = standard_models(parse_counts(counts), E_W=E_W, E_H=E_H, lam_W=lam_W, lam_H=lam_H, lam=lam)
    folder = None if out is None else make_folder(out)
    result = solve_all(models)
    notes = []
    if folder is not None:
        write_json(result.to_json(), folder / "comparison.json")
        names = ["comparison.json", *_figure(result, folder)]
        K = len(next(iter(models.values())).counts)
        few = [] if len(names) > 1 else [f"no figure: {K} classes are more than {MOST_DRAWN}."]
        notes = ["", *few, f"wrote {' and '.join(names)} to {folder}"]
    if json:
        typer.echo(json_text(result.to_json()))
        return
    lines = [f"{name}: {model!r}" for name, model in models.items()]
    typer.echo("\n".join([*lines, "", result.summary(), *notes]))


def standard_models(
    counts: list[int], *, E_W: float = 1.0, E_H: float = 5.0, lam_W: float | None = None,
    lam_H: float | None = None, lam: float | None = None,
) -> dict[str, Specification]:  # fmt: skip
    """The models that the command compares, under their names.

    Raises
    ------
    InvalidInput : one of the two penalties without the other; what a model refuses.
    """
    import numpy as np

    from theory._errors import InvalidInput
    from theory.peeled import DeepLinearModel, LayerPeeledModel, SELIModel, UnconstrainedFeaturesModel

    if (lam_W is None) != (lam_H is None):
        raise InvalidInput("give both --lambda-W and --lambda-H, or neither.")
    peeled = LayerPeeledModel(counts=counts, E_W=E_W, E_H=E_H)
    n = np.asarray(peeled.counts)
    if lam_W is None:
        lam_Z = between(np.sqrt(n) / n.sum())
        lam_W, lam_H = lam_Z * float(np.sqrt(n.sum())), lam_Z / float(np.sqrt(n.sum()))
    penalties: dict[str, Any] = {"counts": n, "lam_W": lam_W, "lam_H": lam_H}
    return {
        "layer-peeled": peeled,
        "penalised": UnconstrainedFeaturesModel(**penalties),
        "penalised, free bias": UnconstrainedFeaturesModel(**penalties, lam_b=0.0),
        "penalised, ReLU features": UnconstrainedFeaturesModel(**penalties, features="relu"),
        "SELI (penalty → 0)": SELIModel(counts=n),
        "squared error": UnconstrainedFeaturesModel(**penalties, loss="mse"),
        "squared error, free bias": UnconstrainedFeaturesModel(**penalties, loss="mse", lam_b=0.0),
        "squared error, 2 layers": DeepLinearModel(counts=n, depth=2, lam=_deep_penalty(n) if lam is None else lam),
    }


def between(thresholds: Any) -> float:
    """The geometric mean of the two smallest distinct thresholds; half of it where there is only one."""
    import numpy as np

    values = np.unique(thresholds)
    return float(np.sqrt(values[0]) * np.sqrt(values[1])) if len(values) > 1 else float(values[0]) / 2


def _deep_penalty(n: Any) -> float:
    import numpy as np

    from theory.peeled import deep_linear_threshold

    return between([deep_linear_threshold(float(k), float(n.sum()), 2) ** (1 / 3) for k in np.unique(n)])


def _figure(result: Any, folder: Path) -> list[str]:
    """``comparison.png`` where the classes are few enough to be drawn."""
    if result.solutions[0].model.num_classes > MOST_DRAWN:
        return []
    from matplotlib.figure import Figure

    from simulations._output import save_figure
    from theory import plots

    figure = Figure(figsize=plots.comparison_size(len(result.names)), layout="constrained")
    plots.comparison(result, plots.comparison_axes(len(result.names), figure))
    save_figure(figure, folder / "comparison.png")
    return ["comparison.png"]
