"""Where a smooth piece ends: a pre-activation changes sign, or a Clarke weight leaves its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from theory.flow._field import Field, Weights
from theory.flow._modes import ON, SLIDING
from theory.flow._steppers import Piece, Stepper
from theory.flow._surface import Surface

INTERIOR = 6  # samples of each step, its end included
Z_RTOL = 1e-12  # of the unit's largest pre-activation
WEIGHT_RTOL = 1e-11  # of the weight's interval
WEIGHT_FLOOR = 1e-15  # of the largest interval: rounding of a weight that ought to be zero
SETTLE_STEPS = 4


@dataclass(frozen=True, slots=True)
class Hit:
    """A pair (sample, unit) that reached a boundary; ``leaves`` is the mode by which a sliding pair goes, None for a kink."""

    sample: int
    unit: int
    leaves: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """The clock value, the switching function that vanishes first, and every pair that reaches its boundary there."""

    x: float
    first: int
    hits: list[Hit]


class Watch:
    """The switching functions of a surface, positive inside the piece: oriented pre-activations, then weights."""

    def __init__(self, field: Field, surface: Surface, theta: np.ndarray, *, log: bool) -> None:
        self.field, self.surface, self.log = field, surface, log
        modes = surface.modes
        self._sign = np.where(modes == ON, 1.0, -1.0).ravel()
        self._free = (modes != SLIDING).ravel()
        at = field.forward(theta, surface)
        size = abs(at.preactivations).max(axis=0, initial=0.0)
        self.tolerance = np.broadcast_to(Z_RTOL * size, modes.shape).ravel()[self._free]
        values = (self._sign * at.preactivations.ravel())[self._free]
        if len(surface):
            g, signals = field.raw(theta, surface, log=log)
            weights = field.weights(theta, surface, g, signals, log=log)
            self._orientation = np.where(weights.bound > 0, 1.0, -1.0)
            size = np.maximum(abs(weights.b), abs(weights.bound))
            slack = WEIGHT_RTOL * size + WEIGHT_FLOOR * size.max()
            self.tolerance = np.concatenate([self.tolerance, np.tile(slack, 2)])
            values = np.concatenate([values, self._inside(weights)])
        self.start = values + self.tolerance

    def __call__(self, theta: np.ndarray) -> np.ndarray:
        """All switching functions, raised by their tolerances: negative means beyond the boundary."""
        field, surface = self.field, self.surface
        if not len(surface):
            z = field.forward(theta, surface).preactivations
            return (self._sign * z.ravel())[self._free] + self.tolerance
        z = field.forward(theta, surface).preactivations
        g, signals = field.raw(theta, surface, log=self.log)
        weights = field.weights(theta, surface, g, signals, log=self.log)
        return np.concatenate([(self._sign * z.ravel())[self._free], self._inside(weights)]) + self.tolerance

    def _inside(self, weights: Weights) -> np.ndarray:
        """How far each b is from the two ends of its interval."""
        return np.concatenate([self._orientation * weights.b, self._orientation * (weights.bound - weights.b)])

    def hit(self, index: int) -> Hit:
        """What the entry ``index`` of the switching functions stands for."""
        free = np.flatnonzero(self._free)
        units = self.surface.modes.shape[1]
        if index < len(free):
            return Hit(int(free[index] // units), int(free[index] % units))
        pair, top = (index - len(free)) % len(self.surface), index - len(free) >= len(self.surface)
        return Hit(int(self.surface.samples[pair]), int(self.surface.units[pair]), int(top))


def first_event(watch: Watch, piece: Piece) -> Event | None:
    """The earliest boundary that the piece crosses, looked for at interior samples, and the pairs that reach it.

    Between samples a parabola through three values tells where a double crossing could hide; it is looked at as well.
    """
    xs = piece.a + (piece.b - piece.a) * np.arange(INTERIOR + 1) / INTERIOR
    xs[-1] = piece.b
    values = np.array([watch.start, *(watch(piece.theta(x)) for x in xs[1:])])
    xs, values = _with_dips(watch, piece, xs, values)
    beyond = values < 0
    beyond[0] = False
    if not beyond.any():
        return None
    k = int(np.argmax(beyond.any(axis=1)))
    candidates = np.flatnonzero(beyond[k])

    def least(x: float) -> float:
        return float(watch(piece.theta(x))[candidates].min())

    if values[k - 1, candidates].min() <= 0:
        root = xs[k - 1]
    else:
        root = float(brentq(least, xs[k - 1], xs[k], xtol=4e-16 * max(1.0, abs(xs[k])), rtol=1e-15, maxiter=200))
    at = watch(piece.theta(root))
    first = int(candidates[np.argmin(at[candidates])])
    near = np.flatnonzero(at <= 100 * watch.tolerance)
    hits = sorted(set(near.tolist()) & set(candidates.tolist()) | {first})
    return Event(root, first, [watch.hit(index) for index in hits])


def settle(watch: Watch, stepper: Stepper, piece: Piece, event: Event) -> Piece | None:
    """The piece up to the event, located on the step itself rather than on its interpolant; None for an event at its start."""
    x, reach = event.x, 1e-3 * (piece.b - piece.a)
    cut = None
    for _ in range(SETTLE_STEPS):
        if x <= piece.a:
            return cut
        cut = stepper.shorten(piece, x)
        value = watch(cut.theta(x))[event.first] - watch.tolerance[event.first]
        if abs(value) <= 10 * watch.tolerance[event.first]:
            break
        left, right = max(x - reach, piece.a), min(x + reach, piece.b)
        slope = (watch(piece.theta(right)) - watch(piece.theta(left)))[event.first] / (right - left)
        if slope >= 0:
            break
        x = min(x - value / slope, piece.b)
    return cut


def _with_dips(watch: Watch, piece: Piece, xs: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples joined by the lowest points of parabolas that dip below zero between positive samples."""
    left, mid, right = values[:-2], values[1:-1], values[2:]
    curve, slope = left - 2 * mid + right, (right - left) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where(curve > 0, -slope / curve, 0.0)
        lowest = mid - 0.5 * np.where(curve > 0, slope**2 / curve, 0.0)
    dips = (lowest < 0) & (abs(shift) < 1) & (left > 0) & (mid > 0) & (right > 0)
    if not dips.any():
        return xs, values
    step = xs[1] - xs[0]
    extra = np.unique([xs[k + 1] + shift[k, i] * step for k, i in zip(*np.nonzero(dips), strict=True)])[:12]
    rows = np.array([watch(piece.theta(x)) for x in extra])
    order = np.argsort(np.concatenate([xs, extra]), kind="stable")
    return np.concatenate([xs, extra])[order], np.vstack([values, rows])[order]
