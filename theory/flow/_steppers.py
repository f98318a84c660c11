"""One step at a time through a smooth piece: DOP853 in the clocks t and tau, Radau IIA in s = log log(1/Loss)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.integrate import DOP853, RK45

from theory._errors import NotConverged
from theory.flow._clocks import Clock, LogLogClock
from theory.flow._radau import STAGES, FullNewton, RadauStep, SimplifiedNewton, radau_step
from theory.flow._surface import Surface

SHORT_SHARE = 0.1  # of the tolerance for RK45, whose interpolant is of order 4
LOOK_AHEAD = 0.6  # of the step: Newton overshoots where a softmin weight grows beyond the Jacobian's

ROUNDING = 1e-17  # of log(1/Loss): what rounding of the exponents leaves of theta, relatively
FULL_SIZE = 1000  # unknowns of a step up to which Newton may use the Jacobian of every stage


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of trajectory from clock value a to b on one surface; ``path`` is the state in between."""

    clock: Clock
    surface: Surface
    a: float
    b: float
    path: Callable[[float], np.ndarray]
    end: np.ndarray

    def theta(self, x: float) -> np.ndarray:
        """Parameters (P) at clock value x."""
        return self.clock.theta(x, self.end if x == self.b else self.path(x))


class ExplicitStepper:
    """DOP853 (order 8, interpolant of order 7), or RK45 where switches crowd; scipy's control."""

    def __init__(
        self,
        clock: Clock,
        surface: Surface,
        x: float,
        state: np.ndarray,
        end: float,
        h: float | None,
        rtol: float,
        atol: float,
        *,
        short: bool,
    ) -> None:
        self.clock, self.surface, self.short = clock, surface, short
        first = None if h is None else min(h, end - x)
        method, share = (RK45, SHORT_SHARE) if short else (DOP853, 1.0)
        with np.errstate(over="ignore", invalid="ignore"):
            self._solver = method(
                lambda x, y: clock.rate(x, y, surface),
                x, state, end, first_step=first, rtol=max(share * rtol, 3e-14), atol=share * atol,
            )  # fmt: skip

    def step(self) -> Piece:
        """The next step.

        Raises
        ------
        NotConverged : the step falls below the spacing of floating-point numbers.
        """
        solver = self._solver
        with np.errstate(over="ignore", invalid="ignore"):
            message = solver.step()
        if solver.status == "failed":
            raise NotConverged(f"the flow cannot be continued past {self.clock.name} = {solver.t:.6g}: {message}")
        return Piece(self.clock, self.surface, solver.t_old, solver.t, solver.dense_output(), solver.y)

    @property
    def h(self) -> float:
        """The length proposed for the next step."""
        return float(self._solver.h_abs)

    def adopt(self, state: np.ndarray) -> bool:
        """Whether it can go on from a state that was corrected after its step: it cannot, its stages are kept."""
        return False

    def shorten(self, piece: Piece, x: float) -> Piece:
        """The piece up to x, inside it."""
        return Piece(piece.clock, piece.surface, piece.a, x, piece.path, piece.path(x))


class ImplicitStepper:
    """Radau IIA with the analytic Jacobian; error per step below ``atol + rtol |state|`` in the mean square."""

    def __init__(
        self,
        clock: LogLogClock,
        surface: Surface,
        x: float,
        state: np.ndarray,
        end: float,
        h: float | None,
        rtol: float,
        atol: float,
    ) -> None:
        self.clock, self.surface, self.x, self.state, self.end = clock, surface, x, state, end
        self.h, self.short = (1e-3 if h is None else h), False
        self.rtol, self.atol = rtol, atol
        self._before: Callable[[float], np.ndarray] | None = None

    def step(self) -> Piece:
        """The next step.

        Raises
        ------
        NotConverged : the step falls below the spacing of floating-point numbers.
        """
        x, surface = self.x, self.surface
        self._rate = self.clock.rate(x, self.state, surface)
        failures = 0
        while True:
            last = self.end - x <= self.h * (1 + 1e-10)
            h = self.end - x if last else self.h
            if h < 1e-14 * max(1.0, abs(x)):
                raise NotConverged(f"the flow cannot be continued past log log(1/loss) = {x:.6g}: steps of {h:.1e}.")
            tried = self._try(h)
            if tried is None:
                self.h = h / 2 if self._before is not None else h / 4
                failures += 1
                if failures == 4:  # the last step tells nothing about this one
                    self._before = None
                continue
            scale = self.atol + self.rtol * np.maximum(abs(self.state), abs(tried.end))
            error = float(np.sqrt(np.mean((tried.error / scale) ** 2)))
            self.h = h * min(6.0, max(0.2, 0.85 * max(error, 1e-12) ** (-1 / (STAGES + 1))))
            if error <= 1:
                break
        self._start = x, self.state
        self.x, self.state, self._before = (self.end if last else x + h), tried.end, tried
        return Piece(self.clock, surface, x, self.x, tried, tried.end)

    def _try(self, h: float) -> RadauStep | None:
        """A step of length h; its Jacobian is that of the extrapolated state inside it, whose weights have grown."""
        x, state = self.x, self.state
        if self._before is not None:
            x, state = self.x + LOOK_AHEAD * h, self._before(self.x + LOOK_AHEAD * h)
        scale = self.atol + self.rtol * abs(self.state)

        noise = ROUNDING * float(np.exp(self.x)) / self.rtol

        def rate(s: float, v: np.ndarray) -> np.ndarray:
            return self.clock.rate(s, v, self.surface)

        def jacobian(s: float, v: np.ndarray) -> np.ndarray:
            return self.clock.jacobian(s, v, self.surface)

        with np.errstate(over="ignore", invalid="ignore"):
            newton: SimplifiedNewton | FullNewton = SimplifiedNewton(self.clock.linearise(x, state, self.surface), h)
            tried = radau_step(rate, newton, self.x, self.state, h, self._rate, scale, self._before, noise)
            if tried is None and self._before is not None and STAGES * len(self.state) <= FULL_SIZE:
                newton = FullNewton(jacobian, self.x, self.state, h)
                tried = radau_step(rate, newton, self.x, self.state, h, self._rate, scale, self._before, noise)
        return tried

    def adopt(self, state: np.ndarray) -> bool:
        """Go on from a state that was corrected after its step; the predictor stays."""
        self.state = state
        return True

    def shorten(self, piece: Piece, x: float) -> Piece:
        """The piece up to x by a shorter step from its start: more accurate than the interpolant."""
        self.x, self.state = self._start
        self._before, self._rate = piece.path, self.clock.rate(self.x, self.state, self.surface)
        again = self._try(x - self.x)
        if again is None:
            return Piece(piece.clock, piece.surface, piece.a, x, piece.path, piece.path(x))
        return Piece(piece.clock, piece.surface, piece.a, x, again, again.end)


Stepper = ExplicitStepper | ImplicitStepper


def make_stepper(
    clock: Clock,
    surface: Surface,
    x: float,
    state: np.ndarray,
    end: float,
    h: float | None,
    rtol: float,
    atol: float,
    *,
    short: bool = False,
) -> Stepper:
    """The stepper that suits the clock, from x towards ``end``; ``h`` is a first length, None to choose."""
    if isinstance(clock, LogLogClock):
        return ImplicitStepper(clock, surface, x, state, end, h, rtol, atol)
    return ExplicitStepper(clock, surface, x, state, end, h, rtol, atol, short=short)
