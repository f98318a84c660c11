"""The time that the balanced flow of L equal layer norms takes from one norm to another, for L >= 3."""

from __future__ import annotations

import numpy as np
from scipy.integrate import quad
from scipy.special import hyp2f1

CLUSTER = 1e-2  # relative distance of two roots below which partial fractions lose digits (eps over its square)


def elapsed(L: int, mu: float, M: float, lam: float, start: float, end: float) -> float:
    r"""``int dr / (2 [mu r^(L-1) - M r^(2L-1) - lam r])`` from r = start to end, with no zero in between."""
    if lam == 0:
        return without_decay(L, mu, M, end) - without_decay(L, mu, M, start)
    coefficients = np.zeros(2 * L - 1)  # of -M r^(2L-2) + mu r^(L-2) - lam
    coefficients[0], coefficients[L], coefficients[-1] = -M, mu, -lam
    roots = np.append(_polished(coefficients, np.roots(coefficients)), 0.0)
    gaps = abs(roots[:, None] - roots) + np.diag(np.full(len(roots), np.inf))
    if gaps.min() < CLUSTER * abs(roots).max():
        return _by_quadrature(L, mu, M, lam, start, end)
    slopes = np.polyval(np.polyder(np.append(coefficients, 0.0)), roots)
    ratio = (end - roots) / (start - roots)
    # a complex root's factor turns by less than pi between two real points: the principal logarithm is the right one
    logs = np.log(np.where(abs(roots.imag) > 0, ratio, abs(ratio)))
    return float((logs / slopes).sum().real / 2)


def without_decay(L: int, mu: float, M: float, r: float) -> float:
    r"""An antiderivative of ``1 / (2 r^(L-1) (mu - M r^L))``, by geometric series on either side of the rest point."""
    x = M * r**L
    if x < mu:
        return float(r ** (2.0 - L) / (2 - L) * hyp2f1(1, (2 - L) / L, 2 / L, x / mu) / (2 * mu))
    return float(r ** (2.0 - 2 * L) / (2 * L - 2) * hyp2f1(1, (2 * L - 2) / L, (3 * L - 2) / L, mu / x) / (2 * M))


def _polished(coefficients: np.ndarray, roots: np.ndarray) -> np.ndarray:
    """Roots after two steps of Newton; real where they are so to rounding."""
    roots, slope = roots.astype(complex), np.polyder(coefficients)
    for _ in range(2):
        rate = np.polyval(slope, roots)
        step = np.divide(np.polyval(coefficients, roots), rate, out=np.zeros_like(roots), where=rate != 0)
        roots = roots - np.where(abs(step) < 1e-6 * abs(roots), step, 0.0)
    return np.where(abs(roots.imag) < 1e-12 * abs(roots), roots.real, roots)


def _by_quadrature(L: int, mu: float, M: float, lam: float, start: float, end: float) -> float:
    """The same integral over log r."""
    value, _ = quad(
        lambda x: 0.5 / (mu * np.exp((L - 2) * x) - M * np.exp((2 * L - 2) * x) - lam),
        np.log(start), np.log(end), epsabs=0, epsrel=1e-12, limit=500,
    )  # fmt: skip
    return float(value)
