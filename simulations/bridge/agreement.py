"""Prediction against measurement: every quantity with its deviation, its spread over seeds and a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from simulations.bridge._checks import Agreement, Check, numbers
from theory._arrays import as_real
from theory._errors import InvalidInput

__all__ = ["Agreement", "Check", "Relative", "Tolerance", "compare"]


@dataclass(frozen=True, slots=True)
class Relative:
    """A tolerance as a share of the largest absolute entry of the predicted quantity.

    Raises
    ------
    InvalidInput : a share that is negative or not finite.

    Examples
    --------
    >>> compare({"norm": 4.0}, {"norm": 4.3}, tolerance=Relative(0.1)).checks[0].tolerance
    0.4
    """

    share: float

    def __post_init__(self) -> None:
        if as_real("Relative", self.share) < 0:
            raise InvalidInput(f"a relative tolerance must not be negative, but is {self.share:g}.")


Tolerance: TypeAlias = float | Relative


def compare(
    prediction: Any,
    measured: Any,
    *,
    tolerance: Tolerance | Mapping[str, Tolerance],
    relation: str | Mapping[str, str] = "equal",
    source: str | Mapping[str, str] | None = None,
) -> Agreement:
    """Hold predicted quantities against measured ones.

    A quantity is checked where it is predicted, measured and has a tolerance; every other one is listed in
    ``not_compared`` with the reason. An entry agrees when |mean over seeds - predicted| <= tolerance (or when the
    mean exceeds / falls below the prediction by no more, for the relations ``at most`` / ``at least``).

    Parameters
    ----------
    prediction : a record with ``quantities``, such as :func:`predict` returns, or a mapping from names to numbers
        or arrays; or a sequence of those, one per run, whose mean is held against the mean of the measurements (each
        run has effective penalties of its own).
    measured : one run: a record with ``quantities`` or a mapping; or a sequence of those, one per seed. In a mapping
        a value may have one axis more than predicted, the first, for the seeds.
    tolerance : absolute, or :class:`Relative`; one for all, or a mapping for those that are to be checked.
    relation : ``equal``, ``at most`` or ``at least`` (measured against predicted); one for all, or a mapping with
        ``equal`` for names that it lacks.
    source : where the predictions come from; None takes ``prediction.source`` (of the first run) if there is one.

    Raises
    ------
    InvalidInput : shapes that do not meet, seeds with different quantities, a tolerance, relation or source for a
        name that is neither predicted nor measured, nothing left to check.

    Examples
    --------
    >>> agreement = compare({"cosine": -1 / 9, "rank": 9}, {"cosine": [-0.11, -0.12]}, tolerance=0.01)
    >>> agreement.verdict, agreement.not_compared
    ('agrees', (('rank', 'predicted, not measured'),))
    """
    found = _over_seeds(measured)
    several = isinstance(prediction, Sequence) and not isinstance(prediction, str)
    if several and not (isinstance(measured, Sequence) and len(prediction) == len(measured)):
        raise InvalidInput("a sequence of predictions goes with a sequence of as many measured runs.")
    runs = [_quantities("prediction", one) for one in (prediction if several else [prediction])]
    predicted = {name: _mean(name, [run[name] for run in runs]) for name in runs[0] if all(name in r for r in runs)}
    known = {**{name: None for run in runs for name in run}, **found}
    for what, given in (("tolerance", tolerance), ("relation", relation), ("source", source)):
        unknown = [name for name in given if name not in known] if isinstance(given, Mapping) else []
        if unknown:
            raise InvalidInput(f"a {what} is given for {unknown[0]!r}, which is neither predicted nor measured.")
    if source is None:
        source = str(getattr(prediction[0] if several else prediction, "source", ""))
    checks, others = [], []
    for name in known:
        allowed = tolerance.get(name) if isinstance(tolerance, Mapping) else tolerance
        if name not in found:
            others.append((name, "predicted, not measured"))
        elif name not in predicted:
            somewhere = any(name in run for run in runs)
            others.append((name, "not predicted for every run" if somewhere else "measured, not predicted"))
        elif allowed is None:
            others.append((name, "no tolerance stated"))
        else:
            related = relation.get(name, "equal") if isinstance(relation, Mapping) else relation
            origin = source.get(name, "") if isinstance(source, Mapping) else source
            checks.append(_check(name, predicted[name], found[name], allowed, related, origin))
    return Agreement(checks=tuple(checks), not_compared=tuple(others))


def _check(name: str, predicted: Any, runs: list[Any], allowed: Tolerance, relation: str, source: str) -> Check:
    expected = numbers(name, predicted)
    values = [np.asarray(numbers(name, run)) for run in runs]
    ndim = np.ndim(expected)
    if len(values) == 1 and values[0].ndim == ndim + 1:
        values = list(values[0])
    wrong = next((value.shape for value in values if value.shape != np.shape(expected)), None)
    if wrong is not None or not values:
        given = "no runs" if wrong is None else f"shape {wrong}"
        raise InvalidInput(f"{name} is predicted with shape {np.shape(expected)}, but measured with {given}.")
    stacked = np.stack(values)
    with np.errstate(invalid="ignore"):
        mean = stacked.mean(axis=0)
        spread = stacked.std(axis=0, ddof=1) if len(stacked) > 1 else None
    if isinstance(allowed, Relative):
        scale = float(np.abs(expected).max(initial=0.0))
        allowed = allowed.share * scale if math.isfinite(scale) else 0.0
    return Check(
        name=name, predicted=expected, measured=mean, tolerance=allowed, spread=spread, seeds=len(stacked),
        relation=relation, source=source,
    )  # fmt: skip


def _mean(name: str, values: list[Any]) -> float | np.ndarray:
    """Mean over runs; the value itself where there is one run."""
    arrays = [numbers(name, value) for value in values]
    if len(arrays) == 1:
        return arrays[0]
    if len({np.shape(array) for array in arrays}) > 1:
        raise InvalidInput(f"{name} must be predicted with one shape in every run.")
    return numbers(name, np.stack([np.asarray(array) for array in arrays]).mean(axis=0))


def _quantities(what: str, given: Any) -> dict[str, Any]:
    """The mapping itself, or that of a record."""
    quantities = getattr(given, "quantities", given)
    if not isinstance(quantities, Mapping):
        raise InvalidInput(
            f"{what} must be a mapping from names to numbers or a record with quantities, "
            f"but is of type {type(given).__name__}."
        )
    return dict(quantities)


def _over_seeds(measured: Any) -> dict[str, list[Any]]:
    """Per name the values of all runs; a single mapping leaves the seeds inside its values."""
    several = isinstance(measured, Sequence) and not isinstance(measured, str)
    runs = [_quantities("measured", run) for run in (measured if several else [measured])]
    if not runs:
        raise InvalidInput("measured must hold at least one run, but is empty.")
    for run in runs[1:]:
        if run.keys() != runs[0].keys():
            name = sorted(run.keys() ^ runs[0].keys())[0]
            raise InvalidInput(f"every run must measure the same quantities, but {name!r} is missing in one.")
    return {name: [run[name] for run in runs] for name in runs[0]}
