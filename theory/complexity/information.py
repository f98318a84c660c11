r"""How much of a classifier's performance another one explains: I(F;Y), I(F;Y|L) and mu_Y(F;L).

F: predictions of a classifier, L: of a simpler one, Y: the labels.

.. math:: \mu_Y(F; L) = I(F;Y) - I(F;Y\mid L)

the performance correlation of nakkiran2019sgd (*measure*). *derived*: in entropies it is symmetric in F, Y and L, hence
:math:`\mu = I(L;Y) - I(L;Y|F) = I(F;L) - I(F;L|Y) \le \min(I(F;Y), I(L;Y), I(F;L))`; it can be negative (the exclusive
or of two coins: -1 bit).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats, as_labels, as_real
from theory._errors import InvalidInput
from theory.complexity._entropy import ESTIMATORS, NAMES, measures, plug_in

UNITS = {"bits": math.log(2), "nats": 1.0}
_BATCH = 2_000_000  # entries of resampled tables held at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A bootstrap interval of a stated level."""

    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Both ends."""
        return {"low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True, kw_only=True)
class Information:
    """Information measures of predictions F, labels Y and a reference L.

    Attributes
    ----------
    I_FY, I_LY, I_FL : mutual informations.
    I_FY_given_L, I_LY_given_F, I_FL_given_Y : conditional ones; ``I_LY_given_F`` is what F lost of L (0: retained).
    mu : the performance correlation I(F;Y) - I(F;Y|L).
    H_Y : entropy of the labels, which no I(F;Y) exceeds.
    unit : ``bits`` or ``nats``.
    estimator : ``exact`` for a table of probabilities, or the name of the estimator.
    n : samples, or None where exact.
    level, intervals : of the bootstrap, by the names above; empty where none was asked.
    """

    I_FY: float
    I_LY: float
    I_FL: float
    I_FY_given_L: float
    I_LY_given_F: float
    I_FL_given_Y: float
    mu: float
    H_Y: float
    unit: str = "bits"
    estimator: str = "exact"
    n: int | None = None
    level: float | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)

    @property
    def explained(self) -> float:
        """The share mu / I(F;Y) of F's performance that L explains; NaN where F has none."""
        return self.mu / self.I_FY if self.I_FY > 0 else math.nan

    def to_json(self) -> dict[str, object]:
        """Plain numbers and strings."""
        numbers = {name: getattr(self, name) for name in NAMES}
        intervals = {name: found.to_json() for name, found in self.intervals.items()}
        return {**numbers, "unit": self.unit, "estimator": self.estimator, "n": self.n, "level": self.level,
                "intervals": intervals}  # fmt: skip

    def summary(self) -> str:
        """One line per measure, with its interval where there is one."""
        of = "exact" if self.n is None else f"{self.estimator}, {self.n} samples"
        lines = [f"in {self.unit} ({of})"]
        for name in NAMES:
            span = self.intervals.get(name)
            tail = "" if span is None else f"   [{span.low:.5f}, {span.high:.5f}]"
            lines.append(f"{name:<14}{getattr(self, name):>10.5f}{tail}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Information(I_FY={self.I_FY:.5f}, I_FY_given_L={self.I_FY_given_L:.5f}, mu={self.mu:.5f} {self.unit})"


def joint_counts(predictions: ArrayLike, labels: ArrayLike, reference: ArrayLike) -> np.ndarray:
    """Counts (classes of F, of Y, of L) of three arrays of class labels 0, 1, ...

    Raises
    ------
    InvalidInput : labels that are not whole numbers from 0; lengths that differ.
    """
    F, Y, L = as_labels("predictions", predictions), as_labels("labels", labels), as_labels("reference", reference)
    if not len(F) == len(Y) == len(L):
        raise InvalidInput(
            f"predictions, labels and reference must have one length, but have {len(F)}, {len(Y)} and {len(L)}."
        )
    # classes that never occur do not count, whatever their number
    codes = [np.unique(column, return_inverse=True)[1] for column in (F, Y, L)]
    table = np.zeros([int(code.max()) + 1 for code in codes], dtype=np.int64)
    np.add.at(table, tuple(codes), 1)
    return table


def exact(table: ArrayLike, *, unit: str = "bits") -> Information:
    """The measures of a known joint distribution, *derived* from its entropies without error.

    Parameters
    ----------
    table : probabilities (F, Y, L), nonnegative, of sum 1 within 1e-12 (a table of counts belongs to ``estimate``).
    unit : ``bits`` (log to base 2) or ``nats``.

    Raises
    ------
    InvalidInput : another shape, negative or not of sum 1, NaN, an unknown unit.

    Examples
    --------
    >>> import numpy as np
    >>> xor = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]]]) / 4
    >>> exact(xor)
    Information(I_FY=0.00000, I_FY_given_L=1.00000, mu=-1.00000 bits)
    """
    p = as_floats("table", table, ndim=3)
    if (p < 0).any() or p.size == 0 or abs(p.sum() - 1) > 1e-12:
        raise InvalidInput("table must hold nonnegative probabilities of sum 1.")
    scale = _scale(unit)
    found: dict[str, Any] = {name: float(value) / scale for name, value in measures(p, plug_in).items()}
    return Information(**found, unit=unit)


def estimate(
    predictions: ArrayLike,
    labels: ArrayLike,
    reference: ArrayLike,
    *,
    estimator: str = "miller-madow",
    unit: str = "bits",
    n_bootstrap: int = 0,
    level: float = 0.95,
    rng: np.random.Generator | int | None = None,
) -> Information:
    r"""The measures estimated from samples, by entropies that are corrected one by one.

    ``plug-in`` has the bias :math:`(\text{cells} - 1)/(2n)` nats per entropy to first order. ``miller-madow`` adds the
    cells that occurred (miller1955note), ``jackknife`` leaves one out (zahl1977jackknifing), ``grassberger``
    uses digamma weights (grassberger2003entropy); all three in *published form*. No estimator is unbiased, and only the
    plug-in values obey 0 <= I and mu <= min(...) exactly: corrected ones are reported as they are, not clipped.

    Parameters
    ----------
    predictions, labels, reference : class labels (n,) of F, Y and L, on data that trained neither.
    n_bootstrap : multinomial resamples; 0: no intervals.
    level : of the intervals: the estimate plus quantiles of the resampled estimates about their mean, so that the bias
        of resampling does not enter. *measure*: coverage is asymptotic (0.86 to 0.93 for 0.9 at 300 samples of two
        classes; reflected quantiles gave 0.77), and fails where an information is 0.

    Raises
    ------
    InvalidInput : labels or options that do not fit; fewer than 2 samples.

    Cost: O(n + n_bootstrap cells).

    Examples
    --------
    >>> found = estimate([0, 0, 1, 1], [0, 0, 1, 1], [0, 1, 0, 1], estimator="plug-in")
    >>> found.I_FY, found.mu
    (1.0, 0.0)
    """
    counts = joint_counts(predictions, labels, reference)
    return from_counts(counts, estimator=estimator, unit=unit, n_bootstrap=n_bootstrap, level=level, rng=rng)


def from_counts(
    counts: ArrayLike,
    *,
    estimator: str = "miller-madow",
    unit: str = "bits",
    n_bootstrap: int = 0,
    level: float = 0.95,
    rng: np.random.Generator | int | None = None,
) -> Information:
    """``estimate`` from a table of counts (F, Y, L).

    Raises
    ------
    InvalidInput : counts that are negative or fractional, fewer than 2 samples, an unknown estimator or unit.
    """
    table = as_floats("counts", counts, ndim=3)
    if (table < 0).any() or (table != np.floor(table)).any() or table.sum() < 2:
        raise InvalidInput("counts must be whole numbers of at least 0, with 2 samples or more.")
    if estimator not in ESTIMATORS:
        raise InvalidInput(f"estimator must be one of {', '.join(ESTIMATORS)}, but is {estimator!r}.")
    draws, confidence = as_count("n_bootstrap", n_bootstrap, minimum=0), as_real("level", level)
    if not 0 < confidence < 1:
        raise InvalidInput(f"level must lie between 0 and 1, but is {confidence:g}.")
    scale, n = _scale(unit), int(table.sum())
    values: dict[str, Any] = {name: float(v) / scale for name, v in measures(table, ESTIMATORS[estimator]).items()}
    intervals: dict[str, Interval] = {}
    if draws:
        resampled = _resampled(table, estimator, draws, np.random.default_rng(rng))
        tail = (1 - confidence) / 2
        for name in NAMES:
            around = (resampled[name] - resampled[name].mean()) / scale
            low, high = np.quantile(around, [tail, 1 - tail])
            intervals[name] = Interval(low=values[name] + float(low), high=values[name] + float(high))
    return Information(
        **values, unit=unit, estimator=estimator, n=n, level=confidence if draws else None, intervals=intervals
    )


def _resampled(table: np.ndarray, estimator: str, draws: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    n, p = int(table.sum()), (table / table.sum()).ravel()
    size = max(1, _BATCH // table.size)
    parts = []
    for start in range(0, draws, size):
        drawn = rng.multinomial(n, p, size=min(size, draws - start)).reshape(-1, *table.shape).astype(float)
        parts.append(measures(drawn, ESTIMATORS[estimator]))
    return {name: np.concatenate([part[name] for part in parts]) for name in NAMES}


def _scale(unit: str) -> float:
    if unit not in UNITS:
        raise InvalidInput(f"unit must be 'bits' or 'nats', but is {unit!r}.")
    return UNITS[unit]
