"""Which options belong to which model, and the specification that they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theory._errors import InvalidInput

if TYPE_CHECKING:
    from theory.peeled._specification import Specification

FLAGS = {  # names of the library, as options
    "E_W": "--E-W", "E_H": "--E-H", "lam_W": "--lambda-W", "lam_H": "--lambda-H", "lam_b": "--lambda-b",
    "lam": "--lambda", "depth": "--depth", "loss": "--loss", "features": "--features",
    "label_smoothing": "--label-smoothing", "gamma": "--gamma", "margins": "--margins",
    "temperatures": "--temperatures", "class_weights": "--weights", "dimension": "--dimension",
    "majority": "--majority", "minority": "--minority", "counts": "--counts",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """A model on the command line: its class in ``theory.peeled``, what it needs, and what else it takes."""

    builder: str
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


MODELS = {
    "lpm": Kind("LayerPeeledModel", ("E_W", "E_H"), ("loss", "dimension", "class_weights")),
    "ufm": Kind(
        "UnconstrainedFeaturesModel",
        ("lam_W", "lam_H"),
        ("lam_b", "loss", "features", "label_smoothing", "gamma", "dimension", "class_weights"),
    ),
    "seli": Kind("SELIModel", (), ("margins", "temperatures", "dimension", "class_weights")),
    "deep-linear": Kind("DeepLinearModel", ("lam",), ("depth", "loss", "dimension")),
}


def chosen(model: str | None, given: Mapping[str, Any], models: Mapping[str, Kind] = MODELS) -> tuple[str, Kind]:
    """The model of this name (None: ``ufm`` where a penalty of it is given, else ``lpm``), its options checked.

    Raises
    ------
    InvalidInput : an unknown model, an option that does not belong to it, or one that it needs and is not given.
    """
    present = [name for name, value in given.items() if value is not None]
    if model is None:
        model = "ufm" if any(name in present for name in ("lam_W", "lam_H", "lam_b")) else "lpm"
    if model not in models:
        raise InvalidInput(f"--model must be one of {', '.join(models)}, but is {model[:40]!r}.")
    kind = models[model]
    for name in present:
        if name not in kind.needs + kind.takes:
            belongs = " or ".join(other for other, k in models.items() if name in k.needs + k.takes)
            raise InvalidInput(
                f"{FLAGS[name]} does not belong to --model {model}; it goes with --model {belongs}."
            )
    missing = [FLAGS[name] for name in kind.needs if name not in present]
    if missing:
        raise InvalidInput(f"--model {model} needs {' and '.join(missing)}.")
    return model, kind


def specification(
    model: str | None, counts: str | None, labels: Path | None, column: str | None, given: Mapping[str, Any]
) -> Specification:
    """The specification; exactly one of counts and labels.

    Raises
    ------
    InvalidInput : what :func:`chosen` refuses, both or neither of counts and labels, a list that cannot be read.
    """
    import theory.peeled
    from simulations.cli._groups import parse_counts, parse_numbers, parse_weights

    _, kind = chosen(model, given)
    if (counts is None) == (labels is None):
        raise InvalidInput("give exactly one of --counts and --labels.")
    options = {name: value for name, value in given.items() if value is not None}
    if "class_weights" in options:
        options["class_weights"] = parse_weights(options["class_weights"])
    for name in ("margins", "temperatures"):
        if name in options:
            options[name] = parse_numbers(FLAGS[name], options[name])
    builder = getattr(theory.peeled, kind.builder)
    if counts is not None:
        if column is not None:
            raise InvalidInput("--column goes with --labels, not with --counts.")
        return builder(counts=parse_counts(counts), **options)
    from simulations.cli._files import read_array

    return builder.from_labels(read_array(labels, column=column, text=True), **options)  # type: ignore[arg-type]
