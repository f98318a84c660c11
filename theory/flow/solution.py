"""What an integration returns: the trajectory, dense in time, its events, and the figures that vouch for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import brentq

from theory._arrays import short_repr
from theory._errors import InvalidInput, PreconditionError
from theory.flow._steppers import Piece
from theory.flow._until import FlowStatus
from theory.flow.losses import Loss
from theory.flow.networks import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowState:
    """Where a flow stands: hand it to ``integrate`` as ``theta0`` to go on.

    Attributes
    ----------
    theta : (P). modes : (N, units), 0 off, 1 on, 2 sliding. log_t : logarithm of the time so far.
    log_inverse_loss : u = log(1/Loss). clock, clock_value : the clock in use and its reading.
    """

    theta: np.ndarray
    modes: np.ndarray
    log_t: float
    log_inverse_loss: float
    clock: str
    clock_value: float

    __repr__ = short_repr


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowEvent:
    """A switch of one unit on one sample.

    Attributes
    ----------
    kind : ``crossing``, ``sliding`` (the start of it), ``sticking``, ``release`` (its end) or ``ambiguous``.
    layer, unit, sample : counted from 0. before, after : modes, 0 off, 1 on, 2 sliding.
    velocity_off, velocity_on : velocities of the pre-activation for the slopes off and on, along grad u or -grad Loss
    (NaN where the activation is smooth enough to cross in any case, 0 at a release).
    step, log_t, log_inverse_loss : when.
    """

    kind: str
    layer: int
    unit: int
    sample: int
    before: int
    after: int
    velocity_off: float
    velocity_on: float
    step: int
    log_t: float
    log_inverse_loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSolution:
    """A gradient flow ``dtheta/dt in -d Loss(theta)`` (Clarke's subdifferential), dense in time.

    Attributes
    ----------
    network, X (N, d), y, loss : the problem.
    log_t, log_inverse_loss : (steps + 1), at the start and after each step; log t is -inf at the start.
    thetas : (steps + 1, P). mode_index : (steps + 1), rows of ``mode_table`` (pieces, N, units).
    clocks : (steps + 1) names: the clock in which each step was made.
    events : every switch, in time. state : the last state, to go on from.
    clock_error : largest ``|log(1/Loss) - e^s| / e^s`` in the clock s = log log(1/Loss), an error estimate; else 0.
    conservation_drift : change of the conserved quantities from start to end over ||theta||^2 (see
    ``conservation_drift``); with weight decay, from the values that decay makes of those at the start.
    weight_decay : of the penalty ``(weight_decay / 2) ||theta||^2``, which is part of log(1/Loss) here.
    field_evaluations, jacobian_evaluations, seconds : the cost.
    """

    network: Network
    X: np.ndarray
    y: np.ndarray
    loss: Loss
    log_t: np.ndarray
    log_inverse_loss: np.ndarray
    thetas: np.ndarray
    mode_index: np.ndarray
    mode_table: list[np.ndarray] = field(repr=False)
    clocks: np.ndarray
    events: tuple[FlowEvent, ...] = field(repr=False)
    state: FlowState = field(repr=False)
    status: FlowStatus
    clock_error: float
    conservation_drift: float
    field_evaluations: int
    jacobian_evaluations: int
    seconds: float
    pieces: tuple[Piece, ...] = field(repr=False)
    weight_decay: float = 0.0

    __repr__ = short_repr

    @property
    def theta(self) -> np.ndarray:
        """The last parameters (P)."""
        return self.state.theta

    @property
    def steps(self) -> int:
        """Accepted steps."""
        return len(self.log_t) - 1

    @property
    def event_counts(self) -> dict[str, int]:
        """Events of each kind."""
        return dict(sorted(Counter(event.kind for event in self.events).items()))

    @property
    def phases(self) -> list[tuple[str, int]]:
        """Each clock in turn, with the step at which it began."""
        starts = [0, *(np.flatnonzero(self.clocks[1:] != self.clocks[:-1]) + 1).tolist()]
        return [(str(self.clocks[k]), k) for k in starts]

    def modes(self, step: int = -1) -> np.ndarray:
        """Modes (N, units) after a step."""
        return self.mode_table[int(self.mode_index[step])]

    def __call__(self, t: float | np.ndarray) -> np.ndarray:
        """Parameters (..., P) at times t, from 0 to the last."""
        times = np.asarray(t, dtype=float)
        if (times < 0).any() or np.isnan(times).any():
            raise InvalidInput("t must be at least 0.")
        with np.errstate(divide="ignore"):
            return self.at(log_t=np.log(times))

    def at(
        self, *, log_t: float | np.ndarray | None = None, log_inverse_loss: float | np.ndarray | None = None
    ) -> np.ndarray:
        """Parameters (..., P) where log t or log(1/Loss) has the given value.

        Raises
        ------
        InvalidInput : not exactly one of the two; a value outside the trajectory; the trajectory was kept without
        ``dense``.
        """
        if (log_t is None) == (log_inverse_loss is None):
            raise InvalidInput("give exactly one of log_t and log_inverse_loss.")
        by_time = log_inverse_loss is None
        wanted = np.asarray(log_t if by_time else log_inverse_loss, dtype=float)
        flat = [self._locate(float(value), by_time) for value in wanted.ravel()]
        return np.array(flat).reshape(*wanted.shape, self.network.n_parameters)

    def _locate(self, value: float, by_time: bool) -> np.ndarray:
        grid = self.log_t if by_time else self.log_inverse_loss
        name = "log_t" if by_time else "log_inverse_loss"
        slack = 1e-9 * max(1.0, min(abs(float(grid[-1])), abs(value)))  # the end is what `until` asked for, to rounding
        if not grid[0] - slack <= value <= grid[-1] + slack:
            raise InvalidInput(f"{name} must be between {grid[0]:.6g} and {grid[-1]:.6g}, but is {value:.6g}.")
        value = min(max(value, float(grid[0])), float(grid[-1]))
        step = int(np.searchsorted(grid, value, side="left"))
        if step == 0 or grid[step] == value:
            return self.thetas[step]
        if not self.pieces:
            raise InvalidInput("the trajectory was kept at its steps only (dense=False).")
        piece, before = self.pieces[step - 1], float(self.log_t[step - 1])

        def excess(x: float) -> float:
            if x == piece.a:
                return float(grid[step - 1] - value) if np.isfinite(grid[step - 1]) else -1e300
            if not by_time:
                return piece.clock.field.log_inverse(piece.theta(x), piece.surface) - value
            return float(np.logaddexp(before, piece.clock.log_time(piece.a, x, piece.path, piece.surface))) - value

        if excess(piece.b) <= 0:
            return piece.theta(piece.b)
        return piece.theta(float(brentq(excess, piece.a, piece.b, xtol=1e-15 * max(1.0, abs(piece.b)), rtol=1e-14)))

    def margins(self) -> np.ndarray:
        """Least margin ``q_min`` (steps + 1) of each step, not normalised."""
        outputs = (self.network.output(theta, self.X) for theta in self.thetas)
        return np.array([self.loss.margins(f, self.y).min() for f in outputs])

    def normalized_margins(self) -> np.ndarray:
        """``q_min / ||theta||^L`` (steps + 1)."""
        return self.margins() / self.norms() ** self.network.degree

    def smoothed_margins(self) -> np.ndarray:
        """``l^{-1}(Loss) / ||theta||^L`` (steps + 1): never decreases once the data are separated.

        Raises
        ------
        PreconditionError : weight decay, under which the loss is part of the objective only.
        """
        if self.weight_decay > 0:
            raise PreconditionError("the smoothed margin belongs to a flow without weight decay.")
        values = np.array([self.loss.smoothed_margin(float(u)) for u in self.log_inverse_loss])
        return values / self.norms() ** self.network.degree

    def norms(self) -> np.ndarray:
        """``||theta||_2`` (steps + 1)."""
        return np.linalg.norm(self.thetas, axis=1)

    def summary(self) -> str:
        """A few lines for people."""
        counts = ", ".join(f"{number} {kind}" for kind, number in self.event_counts.items()) or "none"
        phases = ", then ".join(f"{clock} from step {step}" for clock, step in self.phases)
        lines = [
            f"gradient flow of {self.network.name}, {self.network.n_parameters} parameters, {self.loss.name} loss",
            f"  {self.status.value}",
            f"  log t = {self.state.log_t:.6g}, log(1/loss) = {self.state.log_inverse_loss:.6g}",
            f"  {self.steps} steps, {self.field_evaluations} field evaluations, {self.seconds:.2f} s",
            f"  clocks: {phases}",
            f"  events: {counts}",
            f"  conservation drift {self.conservation_drift:.1e}, clock error {self.clock_error:.1e}",
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """The end of the flow and its cost in plain numbers; the trajectory itself is in the arrays."""
        theory = self.loss.exponential_tail and self.network.homogeneous
        smooth = theory and self.weight_decay == 0
        f = self.network.output(self.theta, self.X)
        scale = float(np.linalg.norm(self.theta)) ** self.network.degree
        return {
            "status": self.status.value,
            "log_t": self.state.log_t,
            "log_inverse_loss": self.state.log_inverse_loss,
            "margin": float(self.loss.margins(f, self.y).min() / scale) if theory else None,
            "smoothed_margin": self.loss.smoothed_margin(self.state.log_inverse_loss) / scale if smooth else None,
            "weight_decay": self.weight_decay,
            "conservation_drift": self.conservation_drift,
            "clock_error": self.clock_error,
            "events": self.event_counts,
            "steps": self.steps,
            "field_evaluations": self.field_evaluations,
            "jacobian_evaluations": self.jacobian_evaluations,
            "clocks": [{"clock": clock, "from_step": step} for clock, step in self.phases],
            "seconds": self.seconds,
            "network": self.network.to_json(),
        }
