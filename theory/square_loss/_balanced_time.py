"""The time that the balanced flow of L equal layer norms takes from one norm to another, for L >= 3."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.integrate import quad
from scipy.special import hyp2f1

from theory._errors import NotConverged

QUADRATURE = 1e-6  # relative error past which a time is not returned
CLUSTER = 1e-2  # relative distance of two roots below which partial fractions lose digits (eps over its square)


def elapsed(L: int, mu: float, M: float, lam: float, start: float, end: float, limit: float) -> float:
    r"""``int dr / (2 [mu r^(L-1) - M r^(2L-1) - lam r])`` from r = start to end, on the way to the rest point limit."""
    if end == limit:
        return float("inf")  # no number lies between
    if lam == 0:
        return without_decay(L, mu, M, end) - without_decay(L, mu, M, start)
    coefficients = np.zeros(2 * L - 1)  # of -M r^(2L-2) + mu r^(L-2) - lam
    coefficients[0], coefficients[L], coefficients[-1] = -M, mu, -lam
    roots = np.append(_polished(coefficients, np.roots(coefficients)), 0.0)
    gaps = abs(roots[:, None] - roots) + np.diag(np.full(len(roots), np.inf))
    if gaps.min() < CLUSTER * abs(roots).max():
        return _by_quadrature(L, mu, M, lam, start, end, limit)
    slopes = np.polyval(np.polyder(np.append(coefficients, 0.0)), roots)
    ratio = (end - roots) / (start - roots)
    if not ratio.all():
        return float("inf")  # the limit, to rounding
    # a complex root's factor turns by less than pi between two real points: the principal logarithm is the right one
    logs = np.log(np.where(abs(roots.imag) > 0, ratio, abs(ratio)))
    return float((logs / slopes).sum().real / 2)


def without_decay(L: int, mu: float, M: float, r: float) -> float:
    r"""An antiderivative of ``1 / (2 r^(L-1) (mu - M r^L))``, by geometric series on either side of the rest point."""
    x = M * r**L
    with np.errstate(over="ignore"):
        if mu < 0 or x < mu:  # without a rest point one series, continued
            return float(np.float64(r) ** (2 - L) / (2 - L) * hyp2f1(1, (2 - L) / L, 2 / L, x / mu) / (2 * mu))
        power = np.float64(r) ** (2 - 2 * L) / (2 * L - 2)
        return float(power * hyp2f1(1, (2 * L - 2) / L, (3 * L - 2) / L, mu / x) / (2 * M))


def _polished(coefficients: np.ndarray, roots: np.ndarray) -> np.ndarray:
    """Roots after two steps of Newton; real where they are so to rounding."""
    roots, slope = roots.astype(complex), np.polyder(coefficients)
    for _ in range(2):
        rate = np.polyval(slope, roots)
        step = np.divide(np.polyval(coefficients, roots), rate, out=np.zeros_like(roots), where=rate != 0)
        roots = roots - np.where(abs(step) < 1e-6 * abs(roots), step, 0.0)
    return np.where(abs(roots.imag) < 1e-12 * abs(roots), roots.real, roots)


def _by_quadrature(L: int, mu: float, M: float, lam: float, start: float, end: float, limit: float) -> float:
    """The same integral over log r far below the limit, and over ``log |r - limit|`` near it and above."""

    def far(x: float) -> float:
        return 0.5 / (mu * np.exp((L - 2) * x) - M * np.exp((2 * L - 2) * x) - lam)

    if limit == 0:
        fold = np.log((L - 2) * mu / (2 * (L - 1) * M)) / L if mu > 0 else -np.inf  # where a vanished pair slows it
        between = [fold] if np.log(end) < fold < np.log(start) else []
        return _integral(far, np.log(start), np.log(end), between)
    rest = np.zeros(2 * L - 1)  # of -M r^(2L-2) + mu r^(L-2) - lam, divided by r - limit
    rest[0], rest[L], rest[-1] = -M, mu, -lam
    for k in range(1, 2 * L - 1):
        rest[k] += limit * rest[k - 1]

    def near(x: float) -> float:
        r = limit + np.sign(start - limit) * np.exp(x)
        return float(0.5 / (r * np.polyval(rest[:-1], r)))

    switch = min(max(limit / 2, start), end) if start < limit else start
    low = _integral(far, np.log(start), np.log(switch), []) if switch > start else 0.0
    if switch == end:
        return low
    return low + _integral(near, np.log(abs(switch - limit)), np.log(abs(end - limit)), [])


def _integral(rate: Callable[[float], float], a: float, b: float, between: list[float]) -> float:
    """By adaptive quadrature."""
    value, error, *_ = quad(rate, a, b, epsabs=0, epsrel=1e-12, limit=500, points=between or None, full_output=1)
    if not error <= QUADRATURE * abs(value):
        raise NotConverged("the time near a fold of the rest points is lost in rounding: lam is too close to it.", None)
    return float(value)
