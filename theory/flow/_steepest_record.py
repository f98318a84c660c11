"""What steepest flows and descents return: rows along the arc, and the margins in the norm that is theirs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from theory._arrays import short_repr
from theory._certificate import Certificate
from theory._errors import PreconditionError
from theory.flow._geometry import Geometry
from theory.flow._steepest_run import SteepestEvent
from theory.flow._until import FlowStatus
from theory.flow.margins import monotonicity_violation


@dataclass(frozen=True, slots=True, kw_only=True)
class SteepestSolution:
    r"""Rows along a path whose velocity is a steepest direction.

    Attributes
    ----------
    geometry : the norm. degree : L, or None where the network is not homogeneous.
    arc_length : (rows) length of the path so far, in the norm.
    thetas : (rows, P). log_inverse_loss : (rows) ``u = log(1/Loss)``. norms : (rows) ``||theta||``.
    least_margins : (rows) ``min_n q_n``. smoothed : (rows) ``l^{-1}(Loss)``, positive once Loss < l(0).
    status : how it ended. seconds : taken.
    """

    geometry: Geometry
    degree: int | None
    arc_length: np.ndarray
    thetas: np.ndarray = field(repr=False)
    log_inverse_loss: np.ndarray = field(repr=False)
    norms: np.ndarray = field(repr=False)
    least_margins: np.ndarray = field(repr=False)
    smoothed: np.ndarray = field(repr=False)
    status: FlowStatus
    seconds: float

    __repr__ = short_repr

    @property
    def theta(self) -> np.ndarray:
        """The last parameters (P)."""
        return self.thetas[-1]

    @property
    def direction(self) -> np.ndarray:
        """``theta / ||theta||`` at the end (P)."""
        return self.theta / self.norms[-1]

    def _over_norm(self, values: np.ndarray) -> np.ndarray:
        if self.degree is None:
            raise PreconditionError("a normalised margin needs a homogeneous network, but this one is not.")
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.norms > 0, values / self.norms**self.degree, np.nan)

    @property
    def normalized_margins(self) -> np.ndarray:
        """``min_n q_n / ||theta||^L`` (rows): the geometric margin in this norm; NaN at theta = 0."""
        return self._over_norm(self.least_margins)

    @property
    def smoothed_margins(self) -> np.ndarray:
        """``l^{-1}(Loss) / ||theta||^L`` (rows); NaN at theta = 0."""
        return self._over_norm(self.smoothed)

    @property
    def separated(self) -> int | None:
        """The first row with ``Loss < l(0)``, from which every sample is classified; None if there is none."""
        rows = np.flatnonzero(self.smoothed > 0)
        return int(rows[0]) if len(rows) else None

    @property
    def monotonicity_violation(self) -> float:
        """Largest relative fall of the smoothed margin from that row on: 0 for the exact flow."""
        if self.separated is None:
            raise PreconditionError("the smoothed margin is monotone once Loss < l(0), which no row has reached.")
        return monotonicity_violation(self.smoothed_margins[self.separated :])

    def summary(self) -> str:
        """A few lines for people."""
        lines = [
            f"{self.geometry.name}: {len(self.arc_length)} rows to log(1/loss) = {self.log_inverse_loss[-1]:.6g}, "
            f"arc length {self.arc_length[-1]:.6g}, {self.seconds:.2f} s",
            f"  {self.status.value}",
        ]
        if self.degree is not None and self.norms[-1] > 0:
            lines.append(f"  margin over norm {self.normalized_margins[-1]:.6g}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """The end in plain numbers; the path itself is in the arrays."""
        margin = float(self.normalized_margins[-1]) if self.degree is not None and self.norms[-1] > 0 else None
        return {
            "norm": self.geometry.name, "rows": len(self.arc_length), "arc_length": float(self.arc_length[-1]),
            "log_inverse_loss": float(self.log_inverse_loss[-1]), "normalized_margin": margin,
            "status": self.status.name, "seconds": self.seconds,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SteepestFlow(SteepestSolution):
    """The flow of a linear model.

    Attributes
    ----------
    velocity : (P) ``dw/ds`` at the end, of unit length. Where the limit direction is unique and not degenerate it is
        much nearer to it than ``direction``, whose error falls like 1/log(1/loss) (measured: 1e-10 against 1e-5 at
        log(1/loss) = 1e5).
    events : changes of the coordinates that slide. steps : taken by the integrator.
    certificate : bracket of the largest margin of any direction in this norm: lower, the margin of ``velocity`` or
        of ``direction``; upper, the dual norm of the weighted mean of the samples.
    """

    velocity: np.ndarray = field(repr=False)
    events: tuple[SteepestEvent, ...]
    steps: int
    certificate: Certificate

    __repr__ = short_repr

    def summary(self) -> str:
        """A few lines for people."""
        c = self.certificate
        return SteepestSolution.summary(self) + (
            f"\n  {len(self.events)} events; largest margin between {c.lower:.8g} and {c.upper:.8g}"
        )

    def to_json(self) -> dict[str, object]:
        """The end in plain numbers."""
        return SteepestSolution.to_json(self) | {
            "events": [
                {"arc_length": e.arc_length, "kind": e.kind, "coordinates": list(e.coordinates)} for e in self.events
            ],
            "steps": self.steps, "certificate": self.certificate.to_json(),
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SteepestDescent(SteepestSolution):
    """The iterates of a steepest descent.

    Attributes
    ----------
    updates : (rows) number of updates before each row. loss_increases : in how many updates the loss rose.
    """

    updates: np.ndarray
    loss_increases: int

    __repr__ = short_repr

    def to_json(self) -> dict[str, object]:
        """The end in plain numbers."""
        return SteepestSolution.to_json(self) | {
            "updates": int(self.updates[-1]),
            "loss_increases": self.loss_increases,
        }
