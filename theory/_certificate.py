"""The certificate that every optimum carries: a bracket of the true value, recomputed by us."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A two-sided bracket ``lower <= optimum <= upper`` and the residuals behind it.

    Attributes
    ----------
    lower : a valid lower bound of the optimal value, from a dual feasible point.
    upper : the objective at a feasible point (what is reported as the value).
    gap : ``upper - lower`` as computed without cancellation; up to rounding it is nonnegative.
    residuals : named relative residuals, such as ``stationarity`` and ``budget_W``; 0 is perfect.
    method : how the lower bound was obtained, in words.
    """

    lower: float
    upper: float
    gap: float
    residuals: Mapping[str, float] = field(default_factory=dict)
    method: str = ""

    @property
    def relative_gap(self) -> float:
        """``gap / |upper|``; the gap itself where ``upper`` is zero."""
        return self.gap / abs(self.upper) if self.upper else self.gap

    def to_json(self) -> dict[str, object]:
        """A dictionary of plain numbers and strings."""
        return {
            "lower": self.lower,
            "upper": self.upper,
            "gap": self.gap,
            "relative_gap": self.relative_gap,
            "residuals": dict(self.residuals),
            "method": self.method,
        }
