r"""What a flow does at a kink: cross it, slide along it, stick to it, or face a choice.

With ``v-`` and ``v+`` the velocities of the pre-activation for the slopes off and on, a single pair

- crosses where both have one sign; slides where ``v- > 0 > v+``; sticks where ``v- = 0 > v+`` (nothing moves it);
- is ambiguous where ``v- < 0 < v+``: Clarke's flow is not unique there, and a stated policy decides.

Several pairs at once: where turning a unit on pushes it back (``signal < 0``) the field is the residual of a bounded
least
squares, ``min || g - sum_s beta_s Z_s ||`` over ``0 <= beta_s <= |bound_s|``, whose solution is unique: its optimality
conditions are those of Filippov (*derived*: the gradient in ``beta_s`` is minus the velocity of ``z_s``).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.optimize import lsq_linear

from theory._errors import NotConverged
from theory.flow._events import Hit
from theory.flow._field import Field
from theory.flow._modes import OFF, ON, SLIDING
from theory.flow._surface import unit_gradients

REST = 1e-10  # a velocity below this share of |grad z| |v| is at rest
FOLLOW = 20  # trials of the sides that the velocities of the last trial point to
CORNER = 6  # pairs of a corner whose modes are all tried
POLICIES = ("off", "on", "raise")


@dataclass(frozen=True, slots=True)
class Switch:
    """What one pair did: ``crossing``, ``sliding``, ``sticking``, ``release`` or ``ambiguous``; its two velocities."""

    kind: str
    sample: int
    unit: int
    before: int
    after: int
    velocity_off: float
    velocity_on: float


def switch(
    field: Field,
    theta: np.ndarray,
    modes: np.ndarray,
    hits: list[Hit],
    *,
    log: bool,
    ambiguous: str,
    arriving: bool = True,
) -> tuple[np.ndarray, list[Switch]]:
    """The modes (N, units) after the hits, and what happened; theta lies on the kinks of the hits.

    ``arriving`` is False at a start on a kink, where no direction of travel tells which side comes next.

    Raises
    ------
    NotConverged : an ambiguous point under the policy ``raise``.
    """
    modes, switches = modes.copy(), []
    leaving = {(hit.sample, hit.unit) for hit in hits if hit.leaves is not None}
    for n, u in sorted(leaving):
        ways = {hit.leaves for hit in hits if (hit.sample, hit.unit) == (n, u) and hit.leaves is not None}
        # both ends at once: nothing arrives at the unit any more, and from here on v- < 0 < v+
        unique = len(ways) == 1
        modes[n, u] = after = ways.pop() if unique else _policy(ambiguous)
        switches.append(Switch("release" if unique else "ambiguous", n, u, SLIDING, after, 0.0, 0.0))
    open_pairs = [(hit.sample, hit.unit) for hit in hits if (hit.sample, hit.unit) not in leaving]
    if field.network.activation.slides:
        for group in _groups(field, modes, sorted(set(open_pairs))):
            switches += _decide(field, theta, modes, group, log=log, ambiguous=ambiguous, arriving=arriving)
    else:
        for n, u in sorted(set(open_pairs)):
            before, modes[n, u] = int(modes[n, u]), ON - modes[n, u]
            switches.append(Switch("crossing", n, u, before, int(modes[n, u]), np.nan, np.nan))
    return modes, switches


def _groups(field: Field, modes: np.ndarray, pairs: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Pairs that must be decided together: those of one unit in a two-layer network, else all."""
    if len(field.network.units) > 1:
        return [pairs] if pairs else []
    return [[pair for pair in pairs if pair[1] == unit] for unit in sorted({unit for _, unit in pairs})]


def _decide(
    field: Field,
    theta: np.ndarray,
    modes: np.ndarray,
    hit: list[tuple[int, int]],
    *,
    log: bool,
    ambiguous: str,
    arriving: bool,
) -> list[Switch]:
    """Set the modes of the pairs ``hit`` and of the sliding pairs that interact with them (``modes`` is changed)."""
    sliding = [(int(n), int(u)) for n, u in zip(*np.nonzero(modes == SLIDING), strict=True)]
    if len(field.network.units) == 1:
        sliding = [pair for pair in sliding if pair[1] == hit[0][1]]
    pairs = hit + [pair for pair in sliding if pair not in hit]
    before = np.array([modes[pair] for pair in pairs])
    samples, units = (np.array(column) for column in zip(*pairs, strict=True))
    modes[samples, units] = OFF
    surface = field.surface(modes)
    g, signals = field.raw(theta, surface, log=log)
    Z = unit_gradients(field.layered, theta, field.X, surface.slopes, samples, units)
    if len(surface):
        g, Z = surface.project(theta, g), surface.project(theta, Z)
    reach = (1 - field.network.activation.slope) * signals[samples, units]
    if len(pairs) == 1:
        after, off, on, kind = _single(g, Z[0], float(reach[0]), ambiguous)
        modes[pairs[0]] = after
        return [Switch(kind, *pairs[0], int(before[0]), after, off, on)]
    off = Z @ g
    on = off + reach * (Z**2).sum(axis=1)
    rest = REST * np.linalg.norm(Z, axis=1) * np.linalg.norm(np.vstack([g, reach[:, None] * Z]), axis=1).max()
    open_choice = np.zeros(len(pairs), dtype=bool) if arriving else (off <= rest) & (on > rest)
    # turning on a pair with reach >= 0 pulls it further: it cannot slide stably, it crosses
    side = np.where(before == OFF, ON, OFF) if arriving else np.where(off > rest, ON, OFF)
    if open_choice.any():
        side = np.where(open_choice, _policy(ambiguous), side)
    guess = _several(field, theta, modes, (samples, units), side, g, Z, reach, log)
    modes[samples, units] = _checked(field, theta, modes, (samples, units), guess, log, ambiguous)
    return [
        Switch(
            "ambiguous" if choice else _kind(was, int(modes[pair])), *pair, was, int(modes[pair]), float(v), float(w)
        )
        for pair, was, v, w, choice in zip(pairs, before.tolist(), off, on, open_choice, strict=True)
        if was != modes[pair] or choice
    ]


def _kind(before: int, after: int) -> str:
    return "sliding" if after == SLIDING else "release" if before == SLIDING else "crossing"


def _single(g: np.ndarray, z: np.ndarray, reach: float, ambiguous: str) -> tuple[int, float, float, str]:
    """Mode, velocities and kind of one pair with gradient z (P)."""
    square = z @ z
    off = float(z @ g)
    on = float(off + reach * square)
    rest = REST * (np.sqrt(square) * np.linalg.norm(g) + abs(reach) * square)
    if off > rest and on >= -rest:
        return ON, off, on, "crossing"
    if off > rest:
        return SLIDING, off, on, "sliding"
    if on > rest:  # off <= 0 < on
        return _policy(ambiguous), off, on, "ambiguous"
    if off >= -rest and on < -rest:
        return SLIDING, off, on, "sticking"
    return OFF, off, on, "crossing"


def _policy(ambiguous: str) -> int:
    if ambiguous == "raise":
        raise NotConverged(
            "a pre-activation is zero with v- <= 0 < v+: the flow is not unique; choose ambiguous='off' or 'on'."
        )
    return ON if ambiguous == "on" else OFF


def _several(
    field: Field,
    theta: np.ndarray,
    modes: np.ndarray,
    where: tuple[np.ndarray, np.ndarray],
    side: np.ndarray,
    g: np.ndarray,
    Z: np.ndarray,
    reach: np.ndarray,
    log: bool,
) -> np.ndarray:
    """Modes of several pairs at once: bounded least squares for those pushed back, the rest go to ``side``."""
    pushed = reach < 0
    others = np.flatnonzero(~pushed)
    after = np.where(pushed, OFF, side)
    bounds = -reach
    for _ in range(2 * len(field.network.units) + 2):
        field_on = g + (reach[others] * (after[others] == ON)) @ Z[others]
        beta = np.zeros(len(side))
        if pushed.any():
            solved = lsq_linear(
                Z[pushed].T, field_on, bounds=(0, np.maximum(bounds[pushed], 1e-300)), method="bvls", tol=1e-15
            )
            beta[pushed] = solved.x
        velocity = Z @ (field_on - beta @ Z)
        renewed = _reach(field, theta, modes, where, after, beta, bounds, log)
        if len(field.network.units) == 1 or np.allclose(renewed, reach, rtol=1e-12, atol=0):
            break
        reach, bounds = renewed, -renewed
        pushed = reach < 0
        others = np.flatnonzero(~pushed)
    rest = REST * np.linalg.norm(Z, axis=1) * np.linalg.norm(g)
    share = np.where(pushed, beta / np.maximum(bounds, 1e-300), 0.0)
    after = np.where(pushed, SLIDING, after)
    after = np.where(pushed & (share <= 1e-12) & (velocity < -rest), OFF, after)
    after = np.where(pushed & (share >= 1 - 1e-12) & (velocity > rest), ON, after)
    return after


def _checked(
    field: Field,
    theta: np.ndarray,
    modes: np.ndarray,
    where: tuple[np.ndarray, np.ndarray],
    guess: np.ndarray,
    log: bool,
    ambiguous: str,
) -> np.ndarray:
    """The guess where its velocities and weights bear it out, else the consistent modes nearest to it.

    At a corner where turning one unit on frees another, the guess can fail although Filippov's field exists; the
    corner is
    small, so all its modes are tried: those that slide against a pull come last, being unstable.
    """
    trial = modes.copy()

    def faults(after: np.ndarray) -> tuple[int, int, np.ndarray]:
        trial[where] = after
        return _faults(field, theta, trial, where, log)

    after = guess
    for _ in range(FOLLOW):  # many pairs meet where a unit's weights vanish: its new direction tells their sides
        wrong, _, velocity = faults(after)
        if wrong == 0:
            return after
        after = np.where(velocity > 0, ON, OFF)
    patterns = np.array(list(itertools.product((OFF, ON, SLIDING), repeat=min(len(guess), CORNER))))
    choices = np.tile(guess, (len(patterns), 1))
    choices[:, : patterns.shape[1]] = patterns
    order = np.argsort((choices != guess).sum(axis=1), kind="stable")
    unstable: np.ndarray | None = None
    for after in choices[order]:
        wrong, pulled, _ = faults(after)
        if wrong == 0 and pulled == 0:
            return after
        if wrong == 0 and unstable is None:
            unstable = after
    if unstable is not None:
        return unstable
    return np.where(guess == SLIDING, guess, _policy(ambiguous))


def _faults(
    field: Field, theta: np.ndarray, modes: np.ndarray, where: tuple[np.ndarray, np.ndarray], log: bool
) -> tuple[int, int, np.ndarray]:
    """How many pairs move against their mode or leave their weight's interval, and how many slide against a pull.

    Last, the velocities of the pairs.
    """
    surface = field.surface(modes)
    g, signals = field.raw(theta, surface, log=log)
    v = surface.project(theta, g)
    Z = unit_gradients(field.layered, theta, field.X, surface.slopes, *where)
    velocity, rest = Z @ v, REST * np.linalg.norm(Z, axis=1) * np.linalg.norm(g)
    after = modes[where]
    wrong = ((after == ON) & (velocity < -rest)) | ((after == OFF) & (velocity > rest))
    if not len(surface):
        return int(wrong.sum()), 0, velocity
    weights = field.weights(theta, surface, g, signals, log=log)
    sign = np.where(weights.bound > 0, 1.0, -1.0)
    slack = REST * (abs(weights.bound) + 1e-3 * abs(weights.b).max())
    outside = np.minimum(sign * weights.b, sign * (weights.bound - weights.b)) < -slack
    return int(wrong.sum() + outside.sum()), int((weights.bound > 0).sum()), velocity


def _reach(
    field: Field,
    theta: np.ndarray,
    modes: np.ndarray,
    where: tuple[np.ndarray, np.ndarray],
    after: np.ndarray,
    beta: np.ndarray,
    bounds: np.ndarray,
    log: bool,
) -> np.ndarray:
    """``(1 - gamma) signal`` at the pairs, with the Clarke weights of the pairs above them."""
    gamma = field.network.activation.slope
    surface = field.surface(modes)
    slopes = surface.slopes.copy()
    share = np.where(after == ON, 1.0, np.clip(beta / np.maximum(bounds, 1e-300), 0, 1))
    slopes[where] = gamma + (1 - gamma) * share
    at = field.forward(theta, surface)
    G = field.loss.log_slope(at.outputs, field.y) if log else field.loss.slope(at.outputs, field.y)
    soft = type(at)(at.outputs, at.preactivations, slopes, at.inputs, at.weights)
    return (1 - gamma) * field.network.gradient(soft, G)[1][where]
