"""The hyperbolic entropy of diagonal networks: its mirror map in logarithms, its minimiser under linear constraints."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats
from theory._errors import InvalidInput, NotConverged

REACH = 2.0
RATIO = 1.3  # of successive log(1/alpha) in the continuation
LARGEST = 200.0  # exponents are cut here: a trial step may go anywhere


def mirror(z: np.ndarray, log_alpha: float) -> np.ndarray:
    """The weights beta = 2 alpha^2 sinh z, for alpha that may underflow."""
    size = np.abs(z)
    with np.errstate(under="ignore"):
        return np.sign(z) * np.exp(np.minimum(size + 2 * log_alpha, LARGEST)) * -np.expm1(-2 * size)


def curvature(z: np.ndarray, log_alpha: float) -> np.ndarray:
    """The derivative 2 alpha^2 cosh z of :func:`mirror`."""
    size = np.abs(z)
    with np.errstate(under="ignore"):
        return np.exp(np.minimum(size + 2 * log_alpha, LARGEST)) * (1 + np.exp(-2 * size))


def minimise(R: np.ndarray, c: np.ndarray, log_alpha: float) -> np.ndarray:
    """The m (r,) with R beta(R^T m) = c, for R of full rank: the dual of the hypentropy's minimiser.

    Newton's method on sum_j 2 alpha^2 cosh z_j - c . m, z = R^T m, in a trust region of z, as its third derivative is
    at most its second; alpha is lowered by continuation, z growing in proportion to log(1/alpha).

    Raises
    ------
    NotConverged : the constraint stays violated by more than 1e-12 + 10 eps log(1/alpha), relative to c.
    """
    size = float(np.abs(c).max())
    if size == 0:
        return np.zeros_like(c)
    easy = 0.5 * np.log(size)  # here the problem is nearly least squares
    level, m = max(log_alpha, easy), np.zeros_like(c)
    tolerance = 1e-12 + 10 * np.finfo(float).eps * abs(log_alpha)
    while True:
        gap = np.inf
        for _ in range(500):
            z = R.T @ m
            rest = R @ mirror(z, level) - c
            previous, gap = gap, float(np.abs(rest).max()) / size
            if gap <= 1e-15 or (gap <= tolerance and gap >= previous / 2):
                break
            m = m - _step((R * curvature(z, level)) @ R.T, rest, R)
        if not gap <= tolerance:
            raise NotConverged(f"the least hypentropy was not found: the constraints are violated by {gap:.1e}.")
        if level <= log_alpha:
            return m
        lower = max(log_alpha, easy + RATIO * (level - easy) - 1.0)
        # |z| of the largest weights is about log(1 + size / alpha^2)
        m = m * float(np.logaddexp(0.0, 2 * (easy - lower)) / np.logaddexp(0.0, 2 * (easy - level)))
        level = lower


def _step(H: np.ndarray, rest: np.ndarray, R: np.ndarray) -> np.ndarray:
    """(H + shift)^-1 rest, the shift just large enough that no z moves by more than REACH.

    Where the weights are fewer than the constraints H is singular to rounding: a shift holds those directions still,
    which a shorter step would not.
    """
    values, axes = np.linalg.eigh(H)
    values, inner, shift = np.maximum(values, 0.0), axes.T @ rest, 0.0
    while True:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            step = axes @ np.where(inner == 0, 0.0, inner / (values + shift))
            if np.isfinite(step).all() and np.abs(R.T @ step).max() <= REACH:
                return step
        shift = max(4 * shift, 1e-18 * float(values[-1]), 1e-300)


def log_factors(theta: ArrayLike, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms (2, d) of (u, v), and log(u/v)."""
    found = as_floats("theta", theta)
    if found.shape != (2 * d,):
        raise InvalidInput(f"theta must be (u, v) of shape ({2 * d},), but has shape {found.shape}.")
    if not (found > 0).all():
        raise InvalidInput("u and v must be positive, as they are along the flow.")
    logs = np.log(found).reshape(2, d)
    return logs, logs[0] - logs[1]
