"""What an experiment returns: the claim, what was done, theory beside measurement, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from simulations.bridge.agreement import Agreement


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentResult:
    """One experiment, done.

    Attributes
    ----------
    name, claim : as in the registry.
    settings : all that was chosen: data, networks, training, seeds, tolerances and how they were chosen.
    agreement : each predicted and measured quantity with its deviation, spread over seeds and stated tolerance.
    table : rows of plain values, in the order to print them; all rows have the same keys.
    curves : arrays by name, from which the figure is drawn.
    notes : sentences on what the verdict means and where theory and network part.
    """

    name: str
    claim: str
    settings: dict[str, Any]
    agreement: Agreement
    table: tuple[dict[str, Any], ...] = ()
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values; the curves as lists."""
        return {
            "name": self.name, "claim": self.claim, "settings": self.settings,
            "agreement": self.agreement.to_json(), "table": list(self.table),
            "curves": {name: values.tolist() for name, values in self.curves.items()}, "notes": list(self.notes),
        }  # fmt: skip

    def summary(self) -> str:
        """The claim, the table, the comparison and the notes."""
        parts = [f"{self.name}: {self.claim}", table_text(self.table), self.agreement.summary(), "\n".join(self.notes)]
        return "\n\n".join(part for part in parts if part)

    def __repr__(self) -> str:
        return f"ExperimentResult({self.name}, {self.agreement.verdict})"


def table_text(rows: tuple[dict[str, Any], ...]) -> str:
    """Rows of plain values as aligned text."""
    if not rows:
        return ""
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in cells)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
