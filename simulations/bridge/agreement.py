"""Prediction against measurement: every quantity with its deviation, its spread over seeds and a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_real
from theory._errors import InvalidInput

RELATIONS = ("equal", "at most", "at least")


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Check:
    """One predicted quantity beside its measurement; numbers, or arrays of one shape.

    Attributes
    ----------
    name : the quantity.
    predicted, measured : a float or an array; measured is the mean over seeds.
    spread : standard deviation over seeds (``ddof=1``), shaped like ``measured``; None for one seed.
    seeds : how many runs were averaged.
    tolerance : absolute; the verdict is about the mean, whatever the spread.
    relation : ``equal``, or measured ``at most`` / ``at least`` predicted.
    source : where the prediction comes from.

    Raises
    ------
    InvalidInput : shapes that differ, an unknown relation, a negative tolerance, no seeds.
    """

    name: str
    predicted: float | np.ndarray
    measured: float | np.ndarray
    tolerance: float
    spread: float | np.ndarray | None = None
    seeds: int = 1
    relation: str = "equal"
    source: str = ""

    def __post_init__(self) -> None:
        if self.relation not in RELATIONS:
            raise InvalidInput(f"relation must be one of {', '.join(RELATIONS)}, but is {self.relation!r}.")
        if as_real(f"the tolerance of {self.name}", self.tolerance) < 0:
            raise InvalidInput(f"the tolerance of {self.name} must not be negative, but is {self.tolerance:g}.")
        as_count("seeds", self.seeds)
        predicted, measured = _numbers(self.name, self.predicted), _numbers(self.name, self.measured)
        if np.shape(predicted) != np.shape(measured):
            raise InvalidInput(
                f"{self.name} is predicted with shape {np.shape(predicted)}, but measured with {np.shape(measured)}."
            )
        object.__setattr__(self, "predicted", predicted)
        object.__setattr__(self, "measured", measured)
        object.__setattr__(self, "tolerance", float(self.tolerance))
        if self.spread is not None:
            object.__setattr__(self, "spread", _numbers(self.name, self.spread))

    def _deviations(self) -> np.ndarray:
        """By how much each entry misses the relation; for inequalities negative where there is room left."""
        measured, predicted = np.atleast_1d(self.measured), np.atleast_1d(self.predicted)
        with np.errstate(invalid="ignore"):
            signed = np.where(measured == predicted, 0.0, measured - predicted)  # equal infinities deviate by 0
        if self.relation == "equal":
            return np.abs(signed)
        return signed if self.relation == "at most" else -signed

    @property
    def worst(self) -> int:
        """Flat index of the entry that deviates most; the first NaN where there is one."""
        return int(np.argmax(self._deviations()))

    @property
    def deviation(self) -> float:
        """Largest deviation of an entry: |measured - predicted|, or the excess over the bound; NaN if one is NaN."""
        return float(self._deviations().max())

    @property
    def agrees(self) -> bool:
        """Whether the deviation is within the tolerance; never where a number is NaN."""
        return bool(self.deviation <= self.tolerance)

    def to_json(self) -> dict[str, object]:
        """Plain numbers, lists and strings."""
        values = {key: getattr(self, key) for key in self.__slots__}
        listed = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in values.items()}
        return {**listed, "deviation": self.deviation, "agrees": self.agrees}

    def __repr__(self) -> str:
        word = "agrees" if self.agrees else "disagrees"
        return f"Check({self.name!r}, deviation={self.deviation:.3g}, tolerance={self.tolerance:.3g}, {word})"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Agreement:
    """Every check, and what could not be checked.

    Attributes
    ----------
    checks : one per quantity that was predicted, measured and given a tolerance.
    not_compared : (name, reason) of all the others.
    """

    checks: tuple[Check, ...]
    not_compared: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.checks:
            raise InvalidInput("an agreement needs at least one quantity that is both predicted and measured.")

    @property
    def agreeing(self) -> int:
        """How many checks agree."""
        return sum(check.agrees for check in self.checks)

    @property
    def agrees(self) -> bool:
        """Whether all checks agree."""
        return self.agreeing == len(self.checks)

    @property
    def verdict(self) -> str:
        """``agrees`` (all checks), ``disagrees`` (none) or ``partly``."""
        return "agrees" if self.agrees else "partly" if self.agreeing else "disagrees"

    def __getitem__(self, name: str) -> Check:
        """The check of a quantity."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)

    def to_json(self) -> dict[str, object]:
        """Verdict, counts, the checks and what was not compared."""
        return {
            "verdict": self.verdict,
            "agreeing": self.agreeing,
            "total": len(self.checks),
            "checks": [check.to_json() for check in self.checks],
            "not_compared": [{"name": name, "reason": reason} for name, reason in self.not_compared],
        }

    def summary(self) -> str:
        """A table; of an array the entry that deviates most is shown, with its index."""
        rows = [("quantity", "predicted", "measured", "spread", "deviation", "tolerance", "verdict")]
        for check in self.checks:
            spread = "-" if check.spread is None else f"{_entry(check.spread, check.worst):.3g}"
            sign = {"equal": "", "at most": "<= ", "at least": ">= "}[check.relation]
            rows.append(
                (
                    check.name + _index(check), sign + f"{_entry(check.predicted, check.worst):.6g}",
                    f"{_entry(check.measured, check.worst):.6g}", spread, f"{check.deviation:.3g}",
                    f"{check.tolerance:.3g}", _word(check),
                )
            )  # fmt: skip
        widths = [max(len(row[i]) for row in rows) for i in range(7)]
        seeds = sorted({check.seeds for check in self.checks})
        runs = f"mean and standard deviation over {seeds[0]}{f' to {seeds[-1]}' if len(seeds) > 1 else ''} runs"
        lines = [f"{self.verdict}: {self.agreeing} of {len(self.checks)} checks agree ({runs})"]
        lines[0] = lines[0].replace(f" ({runs})", "") if seeds == [1] else lines[0]
        for row in rows:
            first, *middle, last = (
                cell.ljust(width) if i in (0, 6) else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            lines.append("  ".join((first, *middle, last)).rstrip())
        lines += [f"not compared: {name} ({reason})" for name, reason in self.not_compared]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Agreement({self.verdict}, {self.agreeing} of {len(self.checks)})"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.summary())}</pre>"


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
        or arrays.
    measured : one run: a record with ``quantities`` or a mapping; or a sequence of those, one per seed. In a mapping
        a value may have one axis more than predicted, the first, for the seeds.
    tolerance : absolute, or :class:`Relative`; one for all, or a mapping for those that are to be checked.
    relation : ``equal``, ``at most`` or ``at least`` (measured against predicted); one for all, or a mapping with
        ``equal`` for names that it lacks.
    source : where the predictions come from; None takes ``prediction.source`` if there is one.

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
    predicted, found = _quantities("prediction", prediction), _over_seeds(measured)
    known = {**predicted, **found}
    for what, given in (("tolerance", tolerance), ("relation", relation), ("source", source)):
        unknown = [name for name in given if name not in known] if isinstance(given, Mapping) else []
        if unknown:
            raise InvalidInput(f"a {what} is given for {unknown[0]!r}, which is neither predicted nor measured.")
    if source is None:
        source = str(getattr(prediction, "source", ""))
    checks, others = [], []
    for name in known:
        allowed = tolerance.get(name) if isinstance(tolerance, Mapping) else tolerance
        if name not in found or name not in predicted:
            others.append((name, "predicted, not measured" if name in predicted else "measured, not predicted"))
        elif allowed is None:
            others.append((name, "no tolerance stated"))
        else:
            related = relation.get(name, "equal") if isinstance(relation, Mapping) else relation
            origin = source.get(name, "") if isinstance(source, Mapping) else source
            checks.append(_check(name, predicted[name], found[name], allowed, related, origin))
    return Agreement(checks=tuple(checks), not_compared=tuple(others))


def _check(name: str, predicted: Any, runs: list[Any], allowed: Tolerance, relation: str, source: str) -> Check:
    expected = _numbers(name, predicted)
    values = [np.asarray(_numbers(name, run)) for run in runs]
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


def _numbers(name: str, value: ArrayLike) -> float | np.ndarray:
    """A float or a float64 array; NaN and infinities are allowed, they are results too."""
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biuf" or array.size == 0:
            raise TypeError
        array = array.astype(np.float64)
    except (TypeError, ValueError):
        raise InvalidInput(f"{name} must be a real number or an array of them, but is {value!r}.") from None
    return float(array) if array.ndim == 0 else array


def _entry(value: float | np.ndarray, index: int) -> float:
    return float(np.ravel(value)[index])


def _index(check: Check) -> str:
    shape = np.shape(check.predicted)
    return f"[{','.join(str(int(i)) for i in np.unravel_index(check.worst, shape))}]" if shape else ""


def _word(check: Check) -> str:
    return "undefined" if math.isnan(check.deviation) else "agrees" if check.agrees else "DISAGREES"
