"""Times as integrals of an exponential, in logarithms, and the safe Newton method that inverts them."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from theory._errors import NotConverged

DROP = 45.0  # e^-45 is below the rounding of a sum
TOLERANCE = 1e-12


def log_integral(fall: Callable[[float], float], length: float) -> float:
    """Logarithm of the integral of e^-fall over [0, length], fall nondecreasing from 0; relative error about 1e-14.

    Raises
    ------
    NotConverged : the estimated relative error of the quadrature is above 1e-12.
    """
    from scipy.integrate import quad

    edges = [0.0, _level(fall, length, 1.0), _level(fall, length, DROP)]
    total = error = 0.0
    for a, b in pairwise(edges):
        if b > a:
            value, bound, *_ = quad(
                lambda r: math.exp(-fall(r)), a, b, epsabs=0.0, epsrel=2e-14, limit=200, full_output=1
            )
            total, error = total + value, error + bound
    if not error <= TOLERANCE * total:
        raise NotConverged(f"the quadrature over a length of {length:g} stopped at relative error {error / total:.1e}.")
    return math.log(total)


def _level(fall: Callable[[float], float], length: float, level: float) -> float:
    """A point of [0, length] at which fall is a little above ``level``, or the length where it stays below."""
    low, high = 0.0, length
    if fall(length) <= level:
        return length
    for _ in range(1100):
        middle = high / 2 if low == 0 else low + (high - low) / 2
        low, high = (low, middle) if fall(middle) >= level else (middle, high)
        if high - low <= 1e-2 * high:
            break
    return high


def solve_increasing(f: Callable[[float], tuple[float, float]], target: float, guess: float) -> float:
    """The d > 0 with f(d) = target; f returns an increasing value and its derivative. Newton's method in log d.

    Raises
    ------
    NotConverged : no root found in 200 steps.
    """
    low, high, e = -math.inf, math.inf, math.log(guess)
    for _ in range(200):
        d = math.exp(e)
        value, slope = f(d)
        if value == target:
            return d
        low, high = (e, high) if value < target else (low, e)
        step = (target - value) / (slope * d) if slope > 0 else math.copysign(math.inf, target - value)
        following = e + max(-5.0, min(5.0, step))
        if not low < following < high:
            following = (low + high) / 2
        if abs(step) <= 1e-13:  # the last step on d itself: log d has lost digits
            return d * (1 + step)
        if math.isfinite(low) and math.isfinite(high) and high - low <= 4e-16 * max(1.0, abs(e)):
            return math.exp(following)
        e = following
    raise NotConverged(f"no time law was inverted: the bracket stayed at [{low:g}, {high:g}].")
