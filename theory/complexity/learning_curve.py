"""Checkpoints of one network measured against a family of simpler classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats, as_real
from theory._errors import InvalidInput
from theory.complexity._entropy import NAMES
from theory.complexity.information import Information, estimate


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LearningCurve:
    """Information measures of every checkpoint against every reference classifier.

    Attributes
    ----------
    steps : (T,) increasing: epochs, steps or times of the checkpoints.
    references : names of the simpler classifiers, as given (say from linear to wide).
    points : for each name, T records ``Information`` with L its predictions.
    unit, n : of all of them.
    """

    steps: np.ndarray
    references: tuple[str, ...]
    points: Mapping[str, tuple[Information, ...]]
    unit: str
    n: int

    def values(self, measure: str, reference: str) -> np.ndarray:
        """One measure (T,) against one reference, such as ``values("mu", "linear")``.

        Raises
        ------
        InvalidInput : an unknown measure or reference.
        """
        if measure not in NAMES:
            raise InvalidInput(f"measure must be one of {', '.join(NAMES)}, but is {measure!r}.")
        return np.array([getattr(point, measure) for point in self._of(reference)])

    def explained_until(self, reference: str, *, tolerance: float) -> float | None:
        """Last step up to which I(F;Y|L) stays within ``tolerance`` (same unit): the phase that L explains.

        None where it is exceeded from the start. *measure*; state the tolerance with the number.
        """
        within = self.values("I_FY_given_L", reference) <= as_real("tolerance", tolerance)
        first = len(within) if within.all() else int(np.argmin(within))
        return float(self.steps[first - 1]) if first else None

    def lost(self, reference: str) -> float:
        """I(L;Y|F) at the last checkpoint: what the final network no longer knows of L; 0 is full retention."""
        return self._of(reference)[-1].I_LY_given_F

    def to_json(self) -> dict[str, object]:
        """Plain lists, numbers and strings."""
        points = {name: [point.to_json() for point in found] for name, found in self.points.items()}
        return {"steps": self.steps.tolist(), "unit": self.unit, "n": self.n, "points": points}

    def summary(self) -> str:
        """The last checkpoint against each reference."""
        lines = [f"{len(self.steps)} checkpoints, {self.n} samples, in {self.unit}; at step {self.steps[-1]:g}:"]
        for name in self.references:
            last = self._of(name)[-1]
            lines.append(
                f"{name:<16} I(F;Y) {last.I_FY:.4f}  mu {last.mu:.4f}  I(F;Y|L) {last.I_FY_given_L:.4f}"
                f"  I(L;Y|F) {last.I_LY_given_F:.4f}"
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"LearningCurve({len(self.steps)} checkpoints against {', '.join(self.references)}, n={self.n})"

    def _of(self, reference: str) -> tuple[Information, ...]:
        if reference not in self.points:
            raise InvalidInput(f"reference must be one of {', '.join(self.references)}, but is {reference!r}.")
        return self.points[reference]


def learning_curve(
    checkpoints: ArrayLike,
    labels: ArrayLike,
    references: Mapping[str, ArrayLike],
    *,
    steps: ArrayLike | None = None,
    estimator: str = "miller-madow",
    unit: str = "bits",
    n_bootstrap: int = 0,
    level: float = 0.95,
    rng: np.random.Generator | int | None = None,
) -> LearningCurve:
    """Measure how much of a network's performance simpler classifiers explain, over its training.

    The plot of nakkiran2019sgd (*measure*): where mu_Y(F_t;L) follows I(F_t;Y), the network is no better than what L
    knows; where I(L;Y|F_t) stays near 0, L is retained.

    Parameters
    ----------
    checkpoints : predicted classes (T, n) of the network, in order of training.
    labels : (n,) of the same held-out samples.
    references : predictions (n,) of the simpler classifiers by name.
    steps : (T,) increasing; default 0, 1, ...
    estimator, unit, n_bootstrap, level, rng : as in ``estimate``.

    Raises
    ------
    InvalidInput : no checkpoint, no reference, arrays that do not fit, steps that do not increase.

    Examples
    --------
    >>> y, line = [0, 0, 1, 1, 1, 0], [0, 0, 1, 1, 0, 1]
    >>> curve = learning_curve([line, y], y, {"line": line}, estimator="plug-in")
    >>> curve.explained_until("line", tolerance=1e-9), abs(curve.lost("line")) < 1e-9
    (0.0, True)
    """
    rows = as_floats("checkpoints", checkpoints)
    if rows.ndim != 2 or len(rows) == 0:
        raise InvalidInput(f"checkpoints must have shape (T, n) with T >= 1, but has {rows.shape}.")
    if not isinstance(references, Mapping) or not references:
        raise InvalidInput("references must map at least one name to predictions.")
    at = np.arange(len(rows), dtype=float) if steps is None else as_floats("steps", steps, ndim=1)
    if len(at) != len(rows) or (np.diff(at) <= 0).any():
        raise InvalidInput(f"steps must be {len(rows)} increasing numbers, one per checkpoint.")
    generator = np.random.default_rng(rng)
    points = {
        str(name): tuple(
            estimate(row, labels, reference, estimator=estimator, unit=unit, n_bootstrap=n_bootstrap, level=level,
                     rng=generator)
            for row in rows
        )
        for name, reference in references.items()
    }  # fmt: skip
    return LearningCurve(steps=at, references=tuple(points), points=points, unit=unit, n=rows.shape[1])
