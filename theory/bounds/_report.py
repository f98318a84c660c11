"""What a bound returns: the number, its parts, the hypotheses it was checked against, and the hold-out beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

CERTIFICATE, PUBLISHED = "certificate", "published form"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """One hypothesis of a theorem, checked.

    Attributes
    ----------
    name : the hypothesis in words.
    holds : whether this network and sample satisfy it.
    reason : why, or why not.
    """

    name: str
    holds: bool
    reason: str = ""

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {"name": self.name, "holds": self.holds, "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOut:
    """The comparator that needs no theory: exact binomial (Clopper-Pearson) upper limit of the error on fresh samples.

    Attributes
    ----------
    errors, n : mistakes (ties count) among n test samples.
    upper : with probability 1 - delta over the test sample, the error is at most this (*proved*: clopper1934use).
    """

    errors: int
    n: int
    delta: float
    upper: float

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {"errors": self.errors, "n": self.n, "delta": self.delta, "upper": self.upper}


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundReport:
    """A bound of the probability of error, evaluated.

    Attributes
    ----------
    name, title, status, source : which bound; ``certificate`` (holds with probability at least 1 - delta, every
        constant included) or ``published form`` (as printed, unchecked).
    terms : parts that add up to ``value``: ``empirical`` (mean ramp loss or share of small margins), ``complexity``,
        ``confidence`` (what delta costs), ``union`` (what choosing norms and margin after training costs).
    log10 : of the value, also where the value overflows to infinity.
    margin : the margin at which the bound was taken, or None where it has none.
    quantities : value of every symbol of the symbolic form.
    n_needed : the sample size from which the bound is below 1, with everything per sample as it is here; infinite
        where no sample size helps, None where it was not asked for.
    """

    name: str
    title: str
    status: str
    source: str
    terms: Mapping[str, float]
    log10: float
    n: int
    delta: float
    margin: float | None = None
    quantities: Mapping[str, float] = field(default_factory=dict, repr=False)
    assumptions: tuple[Assumption, ...] = ()
    n_needed: float | None = None
    holdout: HoldOut | None = None
    notes: tuple[str, ...] = ()

    @property
    def value(self) -> float:
        """The bound, which may exceed 1."""
        return sum(self.terms.values())

    @property
    def clipped(self) -> float:
        """``min(1, value)``."""
        return min(1.0, self.value)

    @property
    def vacuous(self) -> bool:
        """Whether the bound says nothing."""
        return self.value >= 1

    def to_json(self) -> dict[str, object]:
        """Plain numbers and strings."""
        return {
            "name": self.name,
            "title": self.title,
            "status": self.status,
            "value": self.value,
            "clipped": self.clipped,
            "log10": self.log10,
            "terms": dict(self.terms),
            "margin": self.margin,
            "n": self.n,
            "delta": self.delta,
            "n_needed": self.n_needed,
            "quantities": dict(self.quantities),
            "assumptions": [a.to_json() for a in self.assumptions],
            "notes": list(self.notes),
            "source": self.source,
            "holdout": None if self.holdout is None else self.holdout.to_json(),
        }

    def summary(self) -> str:
        """The value, its parts and hypotheses, as text."""
        size = f"{self.value:.6g}" if math.isfinite(self.value) else f"10^{self.log10:.1f}"
        lines = [f"{self.name} ({self.status}): error <= {size} with probability {1 - self.delta:g}; {self.source}"]
        lines += [f"  {name:<12}{value:>14.6g}" for name, value in self.terms.items()]
        if self.margin is not None:
            lines.append(f"  {'margin':<12}{self.margin:>14.6g}")
        if self.n_needed is not None:
            lines.append(f"  {'below 1 at':<12}{self.n_needed:>14.3g}   samples (here n = {self.n})")
        if self.holdout is not None:
            h = self.holdout
            lines.append(f"  {'hold-out':<12}{h.upper:>14.6g}   ({h.errors} errors in {h.n})")
        return "\n".join([*lines, *(f"  {'holds' if a.holds else 'FAILS'}: {a.name}" for a in self.assumptions)])

    def __repr__(self) -> str:
        return f"BoundReport({self.name}: {self.value:.4g}, {self.status})"
