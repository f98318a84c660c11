"""One predicted quantity beside its measurement, and all of them with a verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_real
from theory._errors import InvalidInput

RELATIONS = ("equal", "at most", "at least")


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
        predicted, measured = numbers(self.name, self.predicted), numbers(self.name, self.measured)
        if np.shape(predicted) != np.shape(measured):
            raise InvalidInput(
                f"{self.name} is predicted with shape {np.shape(predicted)}, but measured with {np.shape(measured)}."
            )
        object.__setattr__(self, "predicted", predicted)
        object.__setattr__(self, "measured", measured)
        object.__setattr__(self, "tolerance", float(self.tolerance))
        if self.spread is not None:
            object.__setattr__(self, "spread", numbers(self.name, self.spread))

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


def numbers(name: str, value: ArrayLike) -> float | np.ndarray:
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
