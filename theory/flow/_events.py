"""Where a smooth piece ends: a pre-activation changes sign, or a Clarke weight leaves its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from theory.flow._field import Field, Weights
from theory.flow._modes import ON, SLIDING
from theory.flow._steppers import Piece, Stepper
from theory.flow._surface import Surface

INTERIOR, INTERIOR_SHORT = 6, 3  # samples of each step, its end included
Z_RTOL = 1e-12  # of the unit's largest pre-activation
WEIGHT_RTOL = 1e-11  # of the weight's interval
DIP = 0.05  # of the neighbouring samples
WEIGHT_FLOOR = 1e-15  # of the largest interval: rounding of a weight that ought to be zero
LOCATE_STEPS, SETTLE_STEPS = 60, 4


@dataclass(frozen=True, slots=True)
class Hit:
    """A pair (sample, unit) that reached a boundary; ``leaves`` is the mode of a sliding pair that goes, else None."""

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
        self.kinks = int(self._free.sum())
        at = field.forward(theta, surface)
        size = abs(at.preactivations).max(axis=0, initial=0.0)
        self.tolerance = np.broadcast_to(Z_RTOL * size, modes.shape).ravel()[self._free]
        values = (self._sign * at.preactivations.ravel())[self._free]
        if len(surface):
            g, signals = field.raw_from(at, theta, log=log)
            weights = field.weights(theta, surface, g, signals, log=log)
            self._orientation = np.where(weights.bound > 0, 1.0, -1.0)
            size = np.maximum(abs(weights.b), abs(weights.bound))
            slack = WEIGHT_RTOL * size + WEIGHT_FLOOR * size.max()
            self.tolerance = np.concatenate([self.tolerance, np.tile(slack, 2)])
            values = np.concatenate([values, self._inside(weights)])
        self.start = values + self.tolerance

    def crossings(self, theta: np.ndarray) -> np.ndarray:
        """The oriented pre-activations alone, raised by their tolerances."""
        return self._kinks(self.field.forward(theta, self.surface).preactivations)

    def _kinks(self, z: np.ndarray) -> np.ndarray:
        return (self._sign * z.ravel())[self._free] + self.tolerance[: self.kinks]

    def __call__(self, theta: np.ndarray) -> np.ndarray:
        """All switching functions, raised by their tolerances: negative means beyond the boundary."""
        field, surface = self.field, self.surface
        if not len(surface):
            return self.crossings(theta)
        at = field.forward(theta, surface)
        g, signals = field.raw_from(at, theta, log=self.log)
        weights = field.weights(theta, surface, g, signals, log=self.log)
        return np.concatenate([self._kinks(at.preactivations), self._inside(weights) + self.tolerance[self.kinks :]])

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


def first_event(watch: Watch, piece: Piece, interior: int = INTERIOR) -> Event | None:
    """The earliest boundary that the piece crosses, looked for at interior samples, and the pairs that reach it.

    Between samples a parabola through three values tells where a double crossing could hide; it is looked at as well.
    """
    xs, values = [piece.a], [watch.start]
    for k in range(1, interior + 1):
        xs.append(piece.b if k == interior else piece.a + (piece.b - piece.a) * k / interior)
        values.append(watch(piece.theta(xs[-1])))
        if k > 1:
            dip = _dip(watch, piece, xs[-3:], values[-3:])
            if dip is not None:
                return _locate(watch, piece, *dip)
        if values[-1].min(initial=0.0) < 0:
            return _locate(watch, piece, xs, values)
    return None


def _dip(
    watch: Watch, piece: Piece, xs: list[float], values: list[np.ndarray]
) -> tuple[list[float], list[np.ndarray]] | None:
    """A bracket where a function dips below zero and returns between three positive samples."""
    left, mid, right = values
    near = DIP * np.minimum(left, right)  # a predicted minimum below this is worth a look: the parabola errs at order 3
    # the parabola's lowest point lies below mid by at most |right - left| / 4 while it is between the samples
    some = np.flatnonzero((mid < abs(right - left) / 4 + near) & (left > 0) & (mid > 0) & (right > 0))
    for entry in some:
        points = [(x, float(v[entry])) for x, v in zip(xs, values, strict=True)]
        for _ in range(2):
            low = _lowest(points)
            if low is None or low[1] > near[entry]:
                break
            at = watch(piece.theta(low[0]))
            if at[entry] < 0:
                before = 1 if low[0] > xs[1] else 0
                return [xs[before], low[0]], [values[before], at]
            points = sorted([*points, (low[0], float(at[entry]))], key=lambda point: point[1])[:3]
    return None


def _lowest(points: list[tuple[float, float]]) -> tuple[float, float] | None:
    """The lowest point of the parabola through three points, where it lies among them."""
    (a, fa), (b, fb), (c, fc) = sorted(points)
    slope, later = (fb - fa) / (b - a), (fc - fb) / (c - b)
    curve = (later - slope) / (c - a)
    if curve <= 0:
        return None
    x = (a + b) / 2 - slope / (2 * curve)
    return (x, fa + (x - a) * (slope + curve * (x - b))) if a < x < c and x != b else None


def _locate(watch: Watch, piece: Piece, xs: list[float], values: list[np.ndarray]) -> Event:
    """The first zero before the last of the samples, where some functions are negative, by inverse interpolation.

    One function is followed; wherever another turns out to be negative there, its zero is earlier and it takes over.
    """
    candidates = np.flatnonzero(values[-1] < 0)
    look = watch.crossings if candidates[-1] < watch.kinks else watch
    a, b = xs[-2], xs[-1]
    high, low = values[-2][candidates], values[-1][candidates]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(high > low, high / (high - low), 0.0)  # zeros of the chords
    first, x = int(candidates[np.argmin(share)]), a + max(float(share.min()), 0.0) * (b - a)
    points = [(s, v) for s, v in zip(xs[-3:], values[-3:], strict=True)]
    if values[-2][first] <= 0:
        x = a
    for _ in range(LOCATE_STEPS):
        at = look(piece.theta(x))
        if x == a:
            break
        points.append((x, at))
        worst = int(candidates[np.argmin(at[candidates] / watch.tolerance[candidates])])
        if at[worst] < -watch.tolerance[worst]:
            first, b = worst, x
        elif abs(at[first]) <= watch.tolerance[first] or b - a <= 4e-16 * max(1.0, abs(b)):
            break
        else:
            a = x
        x = _inverse_interpolation([(s, float(v[first])) for s, v in points[-4:]])
        if not a < x < b:
            x = (a + b) / 2
    near = set(np.flatnonzero(at <= 100 * watch.tolerance[: len(at)]).tolist()) & set(candidates.tolist())
    return Event(x, first, [watch.hit(index) for index in sorted(near | {first})])


def _inverse_interpolation(points: list[tuple[float, float]]) -> float:
    """X where the polynomial through (f, x) has f = 0 (Neville); NaN where two values of f agree."""
    x, f = [p[0] for p in points], [p[1] for p in points]
    for gap in range(1, len(points)):
        for i in range(len(points) - gap):
            if f[i] == f[i + gap]:
                return np.nan
            x[i] = (f[i] * x[i + 1] - f[i + gap] * x[i]) / (f[i] - f[i + gap])
    return x[0]


def settle(watch: Watch, stepper: Stepper, piece: Piece, event: Event) -> Piece | None:
    """The piece up to the event, located on the step itself, not on its interpolant; None for an event at its start."""
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
