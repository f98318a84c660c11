"""What a measure returns: a number that may rank networks and bounds nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A number computed from a trained network; no guarantee goes with it.

    Attributes
    ----------
    name, family : such as ``frobenius-distance`` of ``norms``.
    value : infinite where it divides by a margin that is not positive.
    source : citation key, or derived.
    statement : the formula in words, with everything that was estimated or approximated.

    Examples
    --------
    >>> Measure(name="a", value=1.0, family="norms", source="none", statement="one").to_json()["status"]
    'measure'
    """

    name: str
    value: float
    family: str
    source: str
    statement: str

    @property
    def status(self) -> str:
        """``measure``, always."""
        return "measure"

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "name": self.name, "status": self.status, "value": self.value, "family": self.family,
            "source": self.source, "statement": self.statement,
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"Measure({self.name}: {self.value:.6g})"
