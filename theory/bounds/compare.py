"""All bounds of one network side by side, and the smallest certificate with what choosing it costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from theory._errors import InvalidInput, PreconditionError
from theory.architecture import Architecture
from theory.bounds._bound import Bound
from theory.bounds._frame import as_margin
from theory.bounds._kl import as_delta
from theory.bounds._network import Weights
from theory.bounds._problem import Data, Problem
from theory.bounds._registry import all_bounds
from theory.bounds._report import CERTIFICATE, BoundReport, HoldOut


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A bound that does not speak of this network.

    Attributes
    ----------
    name, status : which one.
    reason : the hypothesis that fails.
    """

    name: str
    status: str
    reason: str

    def to_json(self) -> dict[str, object]:
        """Plain strings."""
        return {"name": self.name, "status": self.status, "refused": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Every bound that applies, each at its own level delta, and the smallest certificate at delta / m.

    Attributes
    ----------
    reports : evaluated bounds, certificates first, each by size.
    refused : bounds whose hypotheses fail.
    best : the smallest certificate, evaluated at delta / m for the m certificates that were asked for: choosing the
        smallest of m bounds after seeing them is a union over m. None where no certificate applies.
    n_certificates : m.
    holdout : the comparator, or None without a fresh sample.
    """

    reports: tuple[BoundReport, ...]
    refused: tuple[Refusal, ...]
    best: BoundReport | None
    n_certificates: int
    n: int
    delta: float
    holdout: HoldOut | None = field(default=None)

    def to_json(self) -> dict[str, object]:
        """Plain values: ``bounds``, ``refused``, ``best``, ``holdout``."""
        return {
            "n": self.n,
            "delta": self.delta,
            "n_certificates": self.n_certificates,
            "bounds": [report.to_json() for report in self.reports],
            "refused": [refusal.to_json() for refusal in self.refused],
            "best": None if self.best is None else self.best.to_json(),
            "holdout": None if self.holdout is None else self.holdout.to_json(),
        }

    def summary(self) -> str:
        """A table: value, its parts, and the sample size from which each bound says something."""
        lines = [
            f"n = {self.n} samples, each bound with probability {1 - self.delta:g}",
            f"{'':2}{'bound':<22} {'status':<15} {'value':>10} {'empirical':>10} {'complexity':>11} {'confidence':>11} "
            f"{'union':>9} {'below 1 at n':>13}",
        ]
        for report in self.reports:
            part = [report.terms.get(k, math.nan) for k in ("empirical", "complexity", "confidence", "union")]
            star = "* " if self.best is not None and report.name == self.best.name else "  "
            lines.append(
                f"{star}{report.name:<22} {report.status:<15} {_number(report.value, report.log10):>10} "
                f"{part[0]:>10.4f} {_number(part[1]):>11} {part[2]:>11.4f} {part[3]:>9.4f} "
                f"{_count(report.n_needed):>13}"
            )
        for refusal in self.refused:
            lines.append(f"  {refusal.name:<22} {'refused':<15} {refusal.reason}")
        if self.best is not None:
            lines.append(
                f"* the smallest certificate: error <= {_number(self.best.value, self.best.log10)} with probability "
                f"{1 - self.delta:g}, the choice among {self.n_certificates} certificates included"
            )
        if self.holdout is not None:
            h = self.holdout
            lines.append(f"  hold-out: error <= {h.upper:.4f} from {h.errors} errors in {h.n} fresh samples")
        return "\n".join(lines)

    def __repr__(self) -> str:
        best = "none applies" if self.best is None else f"best {self.best.name} = {self.best.value:.4g}"
        return f"Comparison({len(self.reports)} bounds, {len(self.refused)} refused, {best})"


def compare(
    architecture: Architecture,
    weights: Weights,
    data: Data,
    delta: float = 0.01,
    *,
    margin: float | str = "best",
    reference: Weights | None = None,
    bounds: Sequence[Bound] | None = None,
    callback: Callable[[int, int, str], None] | None = None,
) -> Comparison:
    """Evaluate every bound on one trained network.

    Parameters
    ----------
    weights, data, delta, margin, reference : as in ``Bound.evaluate``.
    bounds : which ones; all of ``all_bounds()`` by default. The list is part of what is fixed before the sample.
    callback : called as ``callback(bounds_done, bounds, name)``.

    Raises
    ------
    InvalidInput : weights, data, delta or margin outside their domain; no bounds.
    """
    level = as_delta(delta)
    as_margin(margin)
    chosen = tuple(all_bounds() if bounds is None else bounds)
    if not chosen:
        raise InvalidInput("compare needs at least one bound.")
    names = [bound.name for bound in chosen]
    if len(set(names)) < len(names):
        raise InvalidInput(f"two bounds are called {max(names, key=names.count)!r}.")
    problem = Problem(architecture, weights, data, reference)
    reports, refused = [], []
    for done, bound in enumerate(chosen):
        if callback is not None:
            callback(done, len(chosen), bound.name)
        try:
            reports.append(bound.report(problem, level, margin))
        except PreconditionError as error:
            reason = str(error).removeprefix(f"{bound.name} needs ").rstrip(".")
            refused.append(Refusal(name=bound.name, status=bound.status, reason=reason))
    reports.sort(key=lambda report: (report.status != CERTIFICATE, report.log10))
    count = sum(bound.status == CERTIFICATE for bound in chosen)
    best = None
    if reports and reports[0].status == CERTIFICATE:
        winner = next(bound for bound in chosen if bound.name == reports[0].name)
        best = winner.report(problem, level / count, margin)
    return Comparison(
        reports=tuple(reports), refused=tuple(refused), best=best, n_certificates=count, n=problem.n, delta=level,
        holdout=problem.holdout(level),
    )  # fmt: skip


def _number(value: float, log10: float | None = None) -> str:
    if math.isnan(value):
        return "-"
    if not math.isfinite(value):
        return "inf" if log10 is None else f"10^{log10:.0f}"
    return f"{value:.4f}" if value < 1e3 else f"{value:.2e}"


def _count(n: float | None) -> str:
    if n is None:
        return "-"
    return "never" if math.isinf(n) else (f"{n:.0f}" if n < 1e6 else f"{n:.1e}")
