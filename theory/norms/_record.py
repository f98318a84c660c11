"""The bracket that every operator norm comes in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NormBracket:
    """A norm between two numbers, each with its rounding errors counted.

    Attributes
    ----------
    upper : never below the norm; the value to use in a bound.
    lower : never above the norm; how loose ``upper`` can be at most.
    method : how ``upper`` was found, in words.

    Examples
    --------
    >>> NormBracket(upper=2.0, lower=1.6, method="by hand").ratio
    1.25
    """

    upper: float
    lower: float
    method: str

    @property
    def ratio(self) -> float:
        """``upper / lower``, 1 where both are zero."""
        if self.lower > 0:
            return self.upper / self.lower
        return 1.0 if self.upper == 0 else float("inf")

    def to_json(self) -> dict[str, object]:
        """A dictionary of plain numbers and a string."""
        return {"upper": self.upper, "lower": self.lower, "method": self.method}

    def __repr__(self) -> str:
        return f"NormBracket(upper={self.upper:.10g}, lower={self.lower:.10g}, method={self.method!r})"
