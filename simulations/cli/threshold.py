"""``theory threshold``: where classes merge, and where they vanish."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from theory.peeled._specification import Specification


def threshold(
    model: Annotated[
        str | None, typer.Option(help="lpm (default without --counts), ufm (default with) or deep-linear.")
    ] = None,
    majority: Annotated[int | None, typer.Option(help="lpm: number of majority classes.")] = None,
    minority: Annotated[int | None, typer.Option(help="lpm: number of minority classes.")] = None,
    E_W: Annotated[
        float | None, typer.Option("--E-W", help="lpm: budget on the mean squared norm of the classifier rows.")
    ] = None,
    E_H: Annotated[
        float | None, typer.Option("--E-H", help="lpm: budget on the mean squared norm of the features.")
    ] = None,
    counts: Annotated[
        str | None, typer.Option(help="ufm, deep-linear: samples per class, such as 100x5,10x5.")
    ] = None,
    loss: Annotated[str | None, typer.Option(help="ufm: cross_entropy or mse.")] = None,
    features: Annotated[str | None, typer.Option(help="ufm: free, or relu for nonnegative features.")] = None,
    lam_b: Annotated[
        float | None, typer.Option("--lambda-b", help="ufm: penalty of the bias; 0 is free, default no bias.")
    ] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="ufm: alpha in [0, 1).")] = None,
    weights: Annotated[
        str | None, typer.Option(help="ufm: class weights, such as 1x5,10x5; or 'balanced'.")
    ] = None,
    depth: Annotated[
        int | None, typer.Option(help="deep-linear: number of weight layers; default 1.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print strict JSON; infinity and undefined numbers are null.")
    ] = False,
) -> None:
    """Where the geometry changes: imbalance ratios under budgets, penalties per group of classes otherwise.

    lpm: from R0 on minority classifiers are equal, from R00 on they are zero. ufm: the least sqrt(lambda_W lambda_H)
    at which each group collapses. deep-linear (squared error): the least product of all penalties, and the least
    common penalty, at which each class vanishes.

    Example: theory threshold --majority 5 --minority 5 --E-W 1 --E-H 5

    Example: theory threshold --counts 500x5,100x5
    """
    from simulations._output import json_text
    from simulations.cli._models import Kind, chosen

    kinds = {
        "lpm": Kind("collapse_threshold", ("majority", "minority", "E_W", "E_H")),
        "ufm": Kind(
            "merge_threshold", ("counts",), ("loss", "features", "lam_b", "label_smoothing", "class_weights")
        ),
        "deep-linear": Kind("deep_linear_threshold", ("counts",), ("depth",)),
    }
    given = {
        "majority": majority, "minority": minority, "E_W": E_W, "E_H": E_H, "counts": counts, "loss": loss,
        "features": features, "lam_b": lam_b, "label_smoothing": label_smoothing, "class_weights": weights,
        "depth": depth,
    }  # fmt: skip
    if model is None:
        model = "lpm" if counts is None else "ufm"
    model, _ = chosen(model, given, kinds)
    options = {name: value for name, value in given.items() if value is not None}
    record, text = {"lpm": _lpm, "ufm": _ufm, "deep-linear": _deep_linear}[model](options)
    typer.echo(json_text({"model": model, **record}) if json else text)


def _lpm(options: dict[str, Any]) -> tuple[dict[str, object], str]:
    from theory.peeled import collapse_threshold

    found = collapse_threshold(**options)
    return found.to_json(), found.summary()


def _ufm(options: dict[str, Any]) -> tuple[dict[str, object], str]:
    from simulations.cli._groups import parse_counts, parse_weights
    from theory.peeled.penalised_thresholds import merge_threshold

    counts = parse_counts(options.pop("counts"))
    options["class_weights"] = parse_weights(options.get("class_weights"))
    found = merge_threshold(counts, **options)
    return found.to_json(), found.summary()


def _deep_linear(options: dict[str, Any]) -> tuple[dict[str, object], str]:
    import numpy as np

    from simulations.cli._groups import parse_counts
    from theory._errors import InvalidInput
    from theory.peeled import DeepLinearModel, deep_linear_threshold

    depth = options.get("depth", 1)
    model: Specification = DeepLinearModel(counts=parse_counts(options["counts"]), lam=1.0, depth=depth)
    parts, total = model._partition, float(np.asarray(model.counts).sum())
    product = np.array([deep_linear_threshold(float(n), total, depth) for n in parts.count])
    if not (product >= 1e-300).all():
        raise InvalidInput(f"--depth {depth} puts the threshold of the product below what float64 can hold.")
    each = product ** (1 / (depth + 1))
    record = {"depth": depth, "count": parts.count, "classes": parts.classes, "Lambda": product, "lam": each}
    head = f"{'count':>14} {'classes':>8}  {'vanish from Lambda =':>24}  {'lambda of each factor':>24}"
    rows = zip(parts.count, parts.classes, product, each, strict=True)
    lines = [f"{int(n):>14} {k:>8}  {a:>24.10g}  {b:>24.10g}" for n, k, a, b in rows]
    return record, "\n".join([head, *lines])
