"""Accelerated proximal gradient with restarts, for smooth + nuclear norm at the size of the groups."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

CHECK_EVERY = 10
GROWTH = 1.1  # of the step, after every accepted one

Smooth = Callable[[np.ndarray], np.ndarray]
Prox = Callable[[np.ndarray, float], tuple[np.ndarray, np.ndarray]]
Stop = Callable[[int, np.ndarray, np.ndarray], bool]


def descend(
    gradient: Smooth, prox: Prox, x: np.ndarray, *, step: float, stop: Stop, max_steps: int, fixed: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    r"""Minimise f + g from ``gradient`` of f and the proximal map of g: the point, and a subgradient of g there.

    Nesterov's momentum with restart where the step points back (beck2009fast for the method). The step is cut while
    :math:`\langle \nabla f(x) - \nabla f(y), x - y\rangle > \|x - y\|^2/step`, which needs no difference of nearly
    equal values, and grows slowly otherwise. For a nonconvex f it stops at a stationary point, if at all.

    Parameters
    ----------
    prox : ``prox(v, step)`` is the new point and the subgradient (v - point)/step of g there, computed without the
        cancellation of that difference.
    stop : ``stop(k, x, subgradient)``, asked every few steps and at the last; True ends the descent.
    fixed : the step is 1/L for a known L and is kept.
    """
    y, momentum, subgradient = x, 1.0, np.zeros_like(x)
    for k in range(1, max_steps + 1):
        slope = gradient(y)
        while True:
            new, subgradient = prox(y - step * slope, step)
            move = new - y
            length = float(move @ move)
            if fixed or length == 0 or float(move @ (gradient(new) - slope)) <= length / step * (1 + 1e-12):
                break
            step *= 0.5
        if (k % CHECK_EVERY == 0 or k == max_steps) and stop(k, new, subgradient):
            return new, subgradient
        if float((y - new) @ (new - x)) > 0:
            momentum, y = 1.0, new
        else:
            following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            y = new + (momentum - 1) / following * (new - x)
            momentum = following
        x = new
        step *= 1.0 if fixed else GROWTH
    return x, subgradient


def until(
    gap: Callable[[np.ndarray, np.ndarray], float], rtol: float, callback: Callable[[int, float], None] | None
) -> Stop:
    """Stop well below ``rtol``: at 1e-15, or after three times the steps that reached rtol/100 (the minimiser lags)."""
    reached = 0

    def stop(k: int, x: np.ndarray, subgradient: np.ndarray) -> bool:
        nonlocal reached
        value = gap(x, subgradient)
        if callback is not None:
            callback(k, value)
        if value <= 1e-2 * rtol and not reached:
            reached = k
        return value <= 1e-15 or bool(reached and k >= 3 * reached + 100)

    return stop
