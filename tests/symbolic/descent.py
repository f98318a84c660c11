"""Brute force for the penalised models: descent on W, H and b themselves; nothing is reduced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, minimize_scalar

Loss = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def least_scalar(f: Callable[[np.ndarray], np.ndarray], high: float, points: int = 20001) -> tuple[float, float]:
    """(argument, value) of the global minimum of f on [0, high]: a grid, then a search around its best point."""
    grid = np.linspace(0, high, points)
    best = int(np.argmin(f(grid)))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, points - 1)])
    found = minimize_scalar(lambda v: float(f(np.array([v]))[0]), bounds=bounds, options={"xatol": 1e-13})
    at_best = float(f(grid[best : best + 1])[0])
    return (float(found.x), float(found.fun)) if found.fun < at_best else (float(grid[best]), at_best)


def cross_entropy(targets: np.ndarray) -> Loss:
    """Cross-entropy of each column against ``targets`` (K, columns), and its gradient."""

    def value(Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log_sum = Z.max(axis=0) + np.log(np.exp(Z - Z.max(axis=0)).sum(axis=0))
        return (targets * (log_sum - Z)).sum(axis=0), np.exp(Z - log_sum) - targets

    return value


def squared(targets: np.ndarray) -> Loss:
    """Half the squared distance of each column to ``targets``, and its gradient."""
    return lambda Z: (0.5 * ((Z - targets) ** 2).sum(axis=0), Z - targets)


@dataclass(frozen=True)
class Found:
    """The best point of all starts."""

    value: float
    W: np.ndarray
    H: np.ndarray
    b: np.ndarray

    @property
    def Z(self) -> np.ndarray:
        """W H, without the bias."""
        return self.W @ self.H


def descend(
    loss: Loss, samples: np.ndarray, K: int, *, lam_W: float, lam_H: float, lam_b: float | None = None,
    nonnegative: bool = False, starts: int = 1, weights: np.ndarray | float = 1.0,
) -> Found:  # fmt: skip
    """Least mean loss + penalties over W (K, p), H (p, columns), b (K,); column j stands for ``samples[j]`` samples.

    ``weights`` multiply the loss of a column and the normalisation of the mean, but not the penalty.
    """
    p, columns = K + 2, len(samples)
    mass = samples * weights / (samples * weights).sum()
    cut, end = K * p, K * p + p * columns
    size = end + (0 if lam_b is None else K)

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        W, H, b = x[:cut].reshape(K, p), x[cut:end].reshape(p, columns), x[end:]
        values, slope = loss(W @ H + (0 if lam_b is None else b[:, None]))
        slope = slope * mass
        value = values @ mass + lam_W / 2 * (W**2).sum() + lam_H / 2 * (samples * H**2).sum()
        gradient = [(slope @ H.T + lam_W * W).ravel(), (W.T @ slope + lam_H * samples * H).ravel()]
        if lam_b is not None:
            value += lam_b / 2 * (b**2).sum()
            gradient.append(slope.sum(axis=1) + lam_b * b)
        return float(value), np.concatenate(gradient)

    rng = np.random.default_rng(0)
    bounds = [(0 if nonnegative and cut <= i < end else None, None) for i in range(size)]
    options = {"maxiter": 20000, "maxfun": 40000, "ftol": 0.0, "gtol": 1e-11, "maxcor": 30}
    runs = []
    for _ in range(starts):
        x = rng.standard_normal(size)
        x[cut:end] = np.abs(x[cut:end]) if nonnegative else x[cut:end]
        runs.append(minimize(objective, x, jac=True, method="L-BFGS-B", bounds=bounds, options=options))
    best = min(runs, key=lambda run: run.fun)
    x = best.x
    return Found(float(best.fun), x[:cut].reshape(K, p), x[cut:end].reshape(p, columns), x[end:])
