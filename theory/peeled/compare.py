"""Several models of the last layer at the same class counts, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from theory._errors import InvalidInput
from theory.frames import gram_distance, simplex_etf_gram
from theory.peeled._specification import Specification
from theory.peeled.solution import PeeledSolution
from theory.peeled.solver import solve


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Solutions of several models with the same class counts.

    Attributes
    ----------
    names : one per model, in the order given.
    solutions : the certified solutions.
    etf_distance : (m,) distance of each classifier Gram matrix W W^T to the simplex frame's, both of unit Frobenius
        norm; 0 for neural collapse, NaN where the classifier vanishes or K > 2000.
    """

    names: tuple[str, ...]
    solutions: tuple[PeeledSolution, ...]
    etf_distance: np.ndarray

    def to_json(self) -> dict[str, object]:
        """One object per model, under its name."""
        return {
            name: {**solution.to_json(), "etf_distance": float(distance)}
            for name, solution, distance in zip(self.names, self.solutions, self.etf_distance, strict=True)
        }

    def summary(self) -> str:
        """A table: per model and group the phase, the cosines and the lengths relative to the longest row."""
        width = max(len(name) for name in self.names)
        lines = [
            f"{'model':<{width}}  {'count':>10} {'classes':>7}  {'phase':<10} {'cos(w,w)':>10} {'cos(h,h)':>10} "
            f"{'|w|/max':>8} {'|h|/max':>8}   {'objective':>12} {'rel. gap':>8} {'to ETF':>7}  status"
        ]
        for name, s, distance in zip(self.names, self.solutions, self.etf_distance, strict=True):
            longest_w = max(g.norm_w for g in s.groups) or 1.0
            longest_h = max(g.norm_h for g in s.groups) or 1.0
            for i, g in enumerate(s.groups):
                row = (
                    f"{name if i == 0 else '':<{width}}  {int(g.count):>10} {g.classes:>7}  {g.phase:<10} "
                    f"{_cell(g.cos_within):>10} {_cell(g.cos_within_features):>10} "
                    f"{g.norm_w / longest_w:>8.4f} {g.norm_h / longest_h:>8.4f}"
                )
                if i == 0:
                    row += f"   {s.objective:>12.6g} {s.relative_gap:>8.0e} {_cell(distance, 4):>7}  {s.status}"
                lines.append(row)
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.names)})"


def compare(
    models: Mapping[str, Specification], *, callback: Callable[[int, str], None] | None = None
) -> Comparison:
    """Solve every model and put the geometries side by side.

    Parameters
    ----------
    models : names and specifications, all with the same class counts.
    callback : called as ``callback(models_done, name)``.

    Raises
    ------
    InvalidInput : no models, or models of different counts.
    """
    if not models:
        raise InvalidInput("compare needs at least one model.")
    first, *others = (np.asarray(model.counts) for model in models.values())
    if any(other.shape != first.shape or (other != first).any() for other in others):
        raise InvalidInput("compare needs models of the same class counts.")
    solutions, distances = [], []
    for done, (name, model) in enumerate(models.items(), 1):
        solution = solve(model)
        solutions.append(solution)
        distances.append(_etf_distance(solution))
        if callback is not None:
            callback(done, name)
    return Comparison(names=tuple(models), solutions=tuple(solutions), etf_distance=np.array(distances))


def _etf_distance(solution: PeeledSolution) -> float:
    K = solution.model.num_classes
    if K > 2000:
        return float("nan")
    gram = solution.gram_classifier()
    return float(gram_distance(gram, simplex_etf_gram(K))) if gram.any() else float("nan")


def _cell(value: float, digits: int = 6) -> str:
    return "-" if np.isnan(value) else f"{value:.{digits}f}"
