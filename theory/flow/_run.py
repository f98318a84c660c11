"""One integration in progress: its state, its loop, and the record of what it met."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from theory._arrays import as_floats
from theory._errors import InvalidInput, NotConverged
from theory.flow._clocks import Clock, LogLogClock, LossClock, PlainClock
from theory.flow._events import INTERIOR, INTERIOR_SHORT, Hit, Watch, first_event, settle
from theory.flow._field import Field
from theory.flow._modes import SLIDING, modes_of
from theory.flow._steppers import Piece, Stepper, make_stepper
from theory.flow._surface import CurvedSurface, Surface
from theory.flow._switching import Switch, switch
from theory.flow._until import LARGEST, MARGIN_RTOL, PATIENCE, FlowStatus, Until
from theory.flow.solution import FlowEvent, FlowSolution, FlowState

SEPARATED = 10.0  # log(1/loss) from which s = log log(1/loss) is the clock; explicit steps cost one per unit of it
AT_REST = 1e-10  # of the largest speed so far: a stationary point
SLOW, HOVER = (
    1e-4,
    40,
)  # of the largest speed, and steps without a gain of the loss: at rest up to the method's tolerance
CROWDED = 0.3  # of a step before its first switch: the next steps are short ones
QUIET = 3  # short steps without a switch: back to long ones
AFTER_EVENT = 0.5  # of the last step, as the first one on a new piece
CHATTER, PROGRESS = 100, 1e-12  # events without progress of the clock, as a share of the longest step
REWIND = 1e4  # steps after which an explicit clock is counted from 0 again


class Run:
    """The mutable state of one integration."""

    def __init__(
        self, field: Field, end: Until, clock: str, rtol: float, atol: float, ambiguous: str, dense: bool, began: float
    ) -> None:
        self.field, self.end, self.rtol, self.atol = field, end, rtol, atol
        self.ambiguous, self.dense, self.began = ambiguous, dense, began
        self.auto = clock == "auto"
        in_t = end.kind == "t" or not field.loss.exponential_tail or field.weight_decay > 0
        plain = clock == "t" or (self.auto and in_t)
        self.clock: Clock = PlainClock(field) if plain else LossClock(field)
        self.status: FlowStatus | None = None
        self.events: list[FlowEvent] = []
        self.pieces: list[Piece] = []
        self.mode_table: list[np.ndarray] = []
        self.clock_error = self.fastest = 0.0
        self.x = 0.0
        self._idle, self._last_event, self._longest = 0, -np.inf, 0.0

    # -- the start ---------------------------------------------------------------------------------------------------

    def start(self, theta0: ArrayLike | FlowState) -> None:
        """Set the first state; kinks that are already met are resolved."""
        field, network = self.field, self.field.network
        resumed = isinstance(theta0, FlowState)
        theta = as_floats("theta0", theta0.theta if isinstance(theta0, FlowState) else theta0, ndim=1)
        if theta.shape != (network.n_parameters,):
            raise InvalidInput(f"theta0 must have shape ({network.n_parameters},), but has {theta.shape}.")
        theta = theta.copy()
        if not theta.any() and network.degree > 1:
            raise InvalidInput("theta0 is exactly zero, a stationary point of the loss: the flow never leaves it.")
        if isinstance(theta0, FlowState):
            modes, log_t = theta0.modes, theta0.log_t
        else:
            z = network.preactivations(theta, field.X)
            modes, log_t = modes_of(z), -np.inf
        self.log_t, self.theta0 = log_t, theta
        self.log_ts, self.us, self.thetas = [log_t], [0.0], [theta]
        self.mode_index: list[int] = [0]
        self._set(modes)
        if not resumed and network.n_units and network.activation.slides:
            on_kink = [Hit(int(n), int(u)) for n, u in zip(*np.nonzero(self._kinks(theta)), strict=True)]
            if on_kink:
                after, switches = switch(
                    field, theta, modes, on_kink, log=self._log, ambiguous=self.ambiguous, arriving=False
                )
                self._set(after)
                self._note([s for s in switches if s.kind != "crossing"])
        self.us[0] = field.log_inverse(theta, self.surface)
        if isinstance(theta0, FlowState) and theta0.clock == LogLogClock.name and isinstance(self.clock, LossClock):
            self.clock, self.x = LogLogClock(field), theta0.clock_value
        elif not self._late() and self.end.kind == "t":
            self.x = float(np.exp(log_t))
        self.clocks = [self.clock.name]
        self.state = self.clock.state(self.x, theta)

    @property
    def _log(self) -> bool:
        return self.clock.log

    def _kinks(self, theta: np.ndarray) -> np.ndarray:
        """Pairs that start exactly on their kink and could leave it (N, units)."""
        at = self.field.network.forward(theta, self.field.X)
        still = np.zeros_like(at.preactivations, dtype=bool)
        first = self.field.network.units[0]
        still[:, :first] = (np.linalg.norm(self.field.X, axis=1) == 0)[:, None]
        return np.logical_and(at.preactivations == 0, ~still)

    def _set(self, modes: np.ndarray) -> None:
        """Go to the surface of these modes."""
        self.mode_table.append(modes)
        self.mode_index[-1] = len(self.mode_table) - 1
        self.surface: Surface = self.field.surface(modes)

    def _late(self) -> bool:
        """Change to s = log log(1/Loss) where it is wanted and separation is reached."""
        if self.auto and isinstance(self.clock, LossClock) and self.us[-1] >= SEPARATED:
            self.clock = LogLogClock(self.field)
            self.x = float(np.log(self.us[-1]))
            return True
        return False

    # -- the loop ----------------------------------------------------------------------------------------------------

    def go(self, max_steps: int, callback: Callable[[int, float], None] | None) -> None:
        """Step, look for the first switch, cut there, decide, go on."""
        stepper: Stepper | None = None
        h: float | None = None
        short, quiet = False, 0
        switching = self.field.network.n_units > 0 and self.field.network.activation.has_kink
        self._finished()
        try:
            while self.status is None:
                if len(self.log_ts) > max_steps:
                    self.status = FlowStatus.STEPS
                    break
                theta = self.thetas[-1]
                if stepper is None:
                    stepper = make_stepper(
                        self.clock,
                        self.surface,
                        self.x,
                        self.state,
                        self._bound(),
                        h,
                        self.rtol,
                        self.atol,
                        short=short,
                    )
                watch = Watch(self.field, self.surface, theta, log=self._log) if switching else None
                piece = stepper.step()
                length = piece.b - piece.a
                self._longest = max(self._longest, length)
                samples = INTERIOR_SHORT if stepper.short else INTERIOR
                found = first_event(watch, piece, samples) if watch is not None else None
                kept = piece if watch is None or found is None else settle(watch, stepper, piece, found)
                if kept is not None and self._record(kept):
                    break
                if found is not None:
                    quiet = 0
                    self._switch(found.hits)
                    spacing = (found.x - piece.a) / length
                    short = spacing < CROWDED
                    stepper, h = None, length * (max(2 * spacing, 1e-3) if short else AFTER_EVENT)
                else:
                    quiet += 1
                    bent, later = self._bend(stepper), self._late()
                    if bent or later or (stepper.short and quiet >= QUIET) or self._rewind(stepper.h):
                        h = None if later else stepper.h
                        stepper, short = None, False
                        self.state = self.clock.state(self.x, self.thetas[-1])
                self._finished(moving=found is not None)
                if callback is not None:
                    callback(len(self.log_ts) - 1, self.us[-1])
        except NotConverged as error:
            self.status = FlowStatus.STOPPED
            raise NotConverged(str(error), self.solution()) from None
        if self.status is FlowStatus.STEPS:
            raise NotConverged(f"{self.status.value[:-1]} at log(1/loss) = {self.us[-1]:.6g}.", self.solution())

    def _bound(self) -> float:
        """Where the clock ends at the latest."""
        if isinstance(self.clock, LogLogClock):
            ends = {"log-loss": self.end.value, "margin-converged": PATIENCE}
            return float(np.log(ends.get(self.end.kind, LARGEST)))
        if isinstance(self.clock, PlainClock) and self.end.kind == "t":
            return self.end.value
        return np.inf

    def _rewind(self, h: float) -> bool:
        """Count the clock from 0 again where h would drown in it: the flow is autonomous; plateaus can last to 1e30."""
        if isinstance(self.clock, LogLogClock) or self.end.kind == "t" or self.x < REWIND * h:
            return False
        self.x, self._last_event = 0.0, self._last_event - self.x
        return True

    def _record(self, piece: Piece) -> bool:
        """Add a piece; True where the requested end lies on it (the piece is cut there)."""
        log_t = self._log_time(piece, piece.b)
        theta = piece.theta(piece.b)
        u = self.field.log_inverse(theta, piece.surface)
        target = {"t": np.log(self.end.value) if self.end.kind == "t" else 0.0, "log-t": self.end.value}.get(
            self.end.kind
        )
        x = piece.b
        if target is not None and log_t >= target and not isinstance(piece.clock, PlainClock):
            x = brentq(
                lambda x: self._log_time(piece, x) - target if x > piece.a else -1.0,
                piece.a,
                piece.b,
                xtol=1e-15,
                rtol=1e-14,
            )
        elif self.end.kind == "log-loss" and u > self.end.value and not isinstance(piece.clock, LogLogClock):
            x = brentq(
                lambda x: self.field.log_inverse(piece.theta(x), piece.surface) - self.end.value,
                piece.a,
                piece.b,
                xtol=1e-15,
            )
        cut = x < piece.b
        if cut:
            state = piece.path(x)
            piece = Piece(piece.clock, piece.surface, piece.a, x, piece.path, state)
            log_t, theta = self._log_time(piece, x), piece.theta(x)
            u = self.field.log_inverse(theta, piece.surface)
        self.log_t, self.x, self.state = log_t, piece.b, piece.end
        if isinstance(piece.clock, LogLogClock):
            self.clock_error = max(self.clock_error, abs(u / np.exp(piece.b) - 1))
        self.log_ts.append(log_t)
        self.us.append(u)
        self.thetas.append(theta)
        self.clocks.append(piece.clock.name)
        self.mode_index.append(len(self.mode_table) - 1)
        if self.dense:
            self.pieces.append(piece)
        if cut:
            self.status = FlowStatus.REACHED
        return cut

    def _log_time(self, piece: Piece, x: float) -> float:
        """Log t at x inside the piece."""
        if self.end.kind == "t" and isinstance(piece.clock, PlainClock):
            return float(np.log(x))
        return float(np.logaddexp(self.log_t, piece.clock.log_time(piece.a, x, piece.path, piece.surface)))

    def _switch(self, hits: list[Hit]) -> None:
        """Put the hits on their kinks, decide what they do, and note it."""
        theta, modes = self.thetas[-1], self.surface.modes
        meeting = [hit for hit in hits if hit.leaves is None]
        if meeting:
            onto = modes.copy()
            for hit in meeting:
                onto[hit.sample, hit.unit] = SLIDING
            theta = self.field.surface(onto).retract(theta)
        after, switches = switch(self.field, theta, modes, hits, log=self._log, ambiguous=self.ambiguous)
        if self.x - self._last_event > PROGRESS * self._longest:
            self._idle = 0
        self._idle, self._last_event = self._idle + 1, self.x
        if self._idle > CHATTER + modes.size:
            raise NotConverged(
                f"{self._idle} events without progress at log(1/loss) = {self.us[-1]:.6g}: unresolved chattering."
            )
        self.mode_index[-1] = len(self.mode_table) - 1
        self.thetas[-1], self.state = theta, self.clock.state(self.x, theta)
        self._set(after)
        self._note(switches)

    def _note(self, switches: list[Switch]) -> None:
        """Switches as events of the record."""
        starts = self.field.network.starts
        for s in switches:
            layer = int(np.searchsorted(starts, s.unit, side="right") - 1)
            self.events.append(
                FlowEvent(
                    kind=s.kind, layer=layer, unit=s.unit - starts[layer], sample=s.sample,
                    before=s.before, after=s.after,
                    velocity_off=s.velocity_off, velocity_on=s.velocity_on, step=len(self.log_ts) - 1,
                    log_t=self.log_ts[-1], log_inverse_loss=self.us[-1],
                )
            )  # fmt: skip

    def _bend(self, stepper: Stepper) -> bool:
        """Return to a curved surface that a step has left by its error; True where the stepper must start anew."""
        if not isinstance(self.surface, CurvedSurface):
            return False
        self.thetas[-1] = self.surface.retract(self.surface.retract(self.thetas[-1]))
        self.state = self.clock.state(self.x, self.thetas[-1])
        return not stepper.adopt(self.state)

    def _finished(self, *, moving: bool = False) -> None:
        """Set the status where an end is reached; ``moving`` where a switch shows that the flow is not at rest."""
        u, kind = self.us[-1], self.end.kind
        if kind == "t" and isinstance(self.clock, PlainClock):
            reached = self.x >= self.end.value
        else:
            late = isinstance(self.clock, LogLogClock)
            reached = kind == "log-loss" and (
                self.x >= np.log(self.end.value) if late else u >= self.end.value * (1 - 1e-9)
            )
            reached = reached or (kind == "t" and self.log_t >= np.log(self.end.value))
            reached = reached or (kind == "log-t" and self.log_t >= self.end.value)
        if reached:
            self.status = FlowStatus.REACHED
        elif isinstance(self.clock, LogLogClock):
            if self.x >= np.log(LARGEST) * (1 - 1e-12):
                self.status = FlowStatus.PRECISION
            elif kind == "margin-converged" and self._margin_is_converged():
                self.status = FlowStatus.MARGIN
            elif kind == "margin-converged" and self.x >= np.log(PATIENCE) * (1 - 1e-12):
                self.status = FlowStatus.SLOW
        elif not moving:
            v = self.field.velocity(self.thetas[-1], self.surface, log=self._log)
            speed = float(np.linalg.norm(v))
            self.fastest = max(self.fastest, speed)
            resting = speed <= AT_REST * self.fastest or (speed <= SLOW * self.fastest and self._hovers())
            if speed == 0 or (resting and kind != "t"):
                self.status = FlowStatus.STATIONARY

    def _hovers(self) -> bool:
        """Whether the loss has not gained a digit for many steps: an explicit method cannot come closer to rest."""
        if len(self.us) <= HOVER:
            return False
        return bool(self.us[-1] - max(self.us[:-HOVER]) <= 1e-13 * max(1.0, abs(self.us[-1])))

    def _margin_is_converged(self) -> bool:
        """Whether q_min / ||theta||^L changed by less than 1e-6 since log(1/loss) was half of what it is."""
        half = int(np.searchsorted(self.us, self.us[-1] / 2)) - 1
        if half < 1 or self.us[half] < SEPARATED:
            return False
        field, L = self.field, self.field.network.degree
        now, then = (
            field.loss.margins(field.network.output(theta, field.X), field.y).min() / np.linalg.norm(theta) ** L
            for theta in (self.thetas[-1], self.thetas[half])
        )
        return bool(abs(now - then) <= MARGIN_RTOL * abs(now))

    # -- the end -----------------------------------------------------------------------------------------------------

    def solution(self) -> FlowSolution:
        """What was computed so far, as a record."""
        field = self.field
        elapsed = float(np.exp(self.log_t) - np.exp(self.log_ts[0])) if field.weight_decay else 0.0
        state = FlowState(
            theta=self.thetas[-1], modes=self.surface.modes, log_t=self.log_t, log_inverse_loss=self.us[-1],
            clock=self.clock.name, clock_value=self.x,
        )  # fmt: skip
        return FlowSolution(
            network=field.network, X=field.X, y=field.y, loss=field.loss, log_t=np.array(self.log_ts),
            log_inverse_loss=np.array(self.us), thetas=np.array(self.thetas), mode_index=np.array(self.mode_index),
            mode_table=self.mode_table, clocks=np.array(self.clocks), events=tuple(self.events), state=state,
            status=self.status or FlowStatus.STOPPED, clock_error=float(self.clock_error),
            conservation_drift=field.drift(self.theta0, self.thetas[-1], elapsed), weight_decay=field.weight_decay,
            field_evaluations=field.evaluations, jacobian_evaluations=field.jacobians,
            seconds=time.perf_counter() - self.began, pieces=tuple(self.pieces),
        )  # fmt: skip
