"""The limit of a flow as a record: the KKT point, its second-order check, and how near the flow's state is."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from theory._arrays import short_repr
from theory.flow._kkt_order import SecondOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """How near the flow's state is to the limit.

    Attributes
    ----------
    log_inverse_loss : u = log(1/Loss) of the state.
    angle : between the state and the limit, in radians; it falls like u^(-1/L).
    offset : angle times the norm of the state: of the order of the start, where the flow heads to this limit.
    weights : largest difference between the loss's weights p_c and lam_c / sum lam.
    idle : weight that the inactive constraints still carry; it falls exponentially in u.
    same_active : whether each active constraint weighs more than every inactive one.
    same_modes : whether the limit lies in the modes that were given.
    """

    log_inverse_loss: float
    angle: float
    offset: float
    weights: float
    idle: float
    same_active: bool
    same_modes: bool

    def __str__(self) -> str:
        sets = "the active" if self.same_active else "not only the active"
        modes = "unchanged" if self.same_modes else "changed"
        return (
            f"at log(1/loss) = {self.log_inverse_loss:.6g} the state is {self.angle:.3g} rad from the limit (offset "
            f"{self.offset:.3g}), its weights differ from the multipliers by {self.weights:.3g}, "
            f"{sets} constraints weigh most (the others {self.idle:.1e}), modes {modes}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitDirection:
    """A KKT point of ``min 1/2 ||theta||^2`` subject to ``q_n(theta) >= 1``, and why the flow goes there.

    Attributes
    ----------
    theta : (P) the point, with q_min = 1.
    direction : (P) the same at unit length.
    margin : normalised margin ``q_min(direction) = ||theta||^-L``.
    multipliers : (N), or (N, K) with the wrong class as second index; zero where the constraint is not active.
        ``sum lam = ||theta||^2 / L`` by Euler's identity.
    active : mask like ``multipliers``; a margin of one that the others make redundant need not be in it.
    modes : (N, units) off, on, sliding; None for a network without hidden units.
    sliding : (S, 2) sample and unit of each sliding pair.
    clarke : (S) the slope of the activation that each sliding pair takes, between the activation's slope and 1.
    residual : relative residual of the KKT system.
    violations : what disagrees and by how much; empty at a solution.
    order : second-order check: kind, least curvature (that of the free problem is 1), flat directions, strict
        complementarity.
    heading : how near the flow's state is.
    steps : Newton steps in all.
    """

    theta: np.ndarray
    direction: np.ndarray
    margin: float
    multipliers: np.ndarray
    active: np.ndarray
    modes: np.ndarray | None
    sliding: np.ndarray
    clarke: np.ndarray
    residual: float
    violations: dict[str, float]
    order: SecondOrder
    heading: Heading
    steps: int

    __repr__ = short_repr

    @property
    def kind(self) -> str:
        """Strict local minimum of the norm, local minimum with flat directions, saddle, or undetermined."""
        return self.order.kind

    @property
    def distance(self) -> float:
        """Angle between the flow's state and the limit."""
        return self.heading.angle

    @property
    def evidence(self) -> str:
        """One sentence on why the flow heads here."""
        return str(self.heading)

    def summary(self) -> str:
        """A few readable lines."""
        curvature = "none" if self.order.curvature is None else f"{self.order.curvature:.6g}"
        return "\n".join([
            f"limit direction: {self.kind}",
            f"margin {self.margin:.12g}, residual {self.residual:.1e}, {self.active.sum()} active constraints, "
            f"{len(self.sliding)} sliding units",
            f"least curvature {curvature}, flat directions {self.order.flat}, "
            f"strict complementarity {self.order.strict}",
            self.evidence,
        ])  # fmt: skip

    def to_json(self) -> dict[str, object]:
        """Plain numbers, lists and strings."""
        return {
            "margin": self.margin,
            "residual": self.residual,
            "kind": self.kind,
            "theta": self.theta.tolist(),
            "multipliers": self.multipliers.tolist(),
            "sliding": self.sliding.tolist(),
            "clarke": self.clarke.tolist(),
            "violations": self.violations,
            "order": asdict(self.order),
            "heading": asdict(self.heading),
            "distance": self.distance,
            "steps": self.steps,
        }
