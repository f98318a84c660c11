"""Two-layer networks of growing width whose first layer is trained: what over-parameterisation promises, measured."""

from __future__ import annotations

from typing import Any

import numpy as np

N, D = 4, 20
STEP = 0.5  # of one over the largest eigenvalue of the limit kernel
LEFT = 1e-3  # share of the residual at which descent ends, by the limit kernel
ROWS = 25


class FirstLayer:
    """``f(x) = sum_r a_r relu(<w_r, x>)`` with a fixed; theta is W, row by row."""

    def __init__(self, a: np.ndarray, d: int) -> None:
        self.a, self.d = a, d

    @property
    def n_parameters(self) -> int:
        """Entries of W."""
        return len(self.a) * self.d

    def output(self, theta: np.ndarray, X: np.ndarray) -> np.ndarray:
        """Outputs (n, 1)."""
        return np.maximum(X @ theta.reshape(-1, self.d).T, 0) @ self.a[:, None]

    def jacobian(self, theta: np.ndarray, X: np.ndarray) -> np.ndarray:
        """(n, 1, P)."""
        on = (X @ theta.reshape(-1, self.d).T > 0) * self.a
        return (on[:, :, None] * X[:, None, :]).reshape(len(X), 1, -1)


def task(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit inputs in random directions, labels -1 and +1 at random."""
    rng = np.random.default_rng([seed, 91])
    X = rng.standard_normal((N, D))
    return X / np.linalg.norm(X, axis=1, keepdims=True), rng.choice([-1.0, 1.0], N)


def start(width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """W (width, D) standard normal and a: neurons in pairs of opposite sign, so that f = 0."""
    W = np.repeat(np.random.default_rng([seed, 92]).standard_normal((width // 2, D)), 2, axis=0)
    return W, np.tile([1.0, -1.0], width // 2) / np.sqrt(width)


def schedule(spectrum: np.ndarray) -> tuple[float, int]:
    """Step, and updates after which the limit kernel has left a thousandth of the slowest part."""
    eta = STEP / float(spectrum[-1])
    return eta, int(np.ceil(np.log(1 / LEFT) / (eta * spectrum[0])))


def gradient(W: np.ndarray, a: np.ndarray, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Of ``||f - y||^2 / 2``, and ``||f - y||``."""
    z = X @ W.T
    r = np.maximum(z, 0) @ a - y
    return ((z > 0) * r[:, None] * a).T @ X, float(np.linalg.norm(r))


def certify(width: int, seed: int) -> dict[str, Any]:
    """What is proved of one start, and descent from it against the proved rate."""
    from theory.kernels import first_layer_kernel, lazy_certificate

    X, y = task(seed)
    W, a = start(width, seed)
    found = lazy_certificate(X, y, W, a)
    eta, updates = schedule(np.linalg.eigvalsh(first_layer_kernel(X)))
    eta, updates = eta / 4, min(4 * updates, 100)  # the certificate speaks of the flow
    residual, theta = [], W
    for _ in range(updates if found.holds else 0):
        slope, size = gradient(theta, a, X, y)
        residual.append(size)
        theta = theta - eta * slope
    proved = found.residual * np.exp(-found.rate * eta * np.arange(len(residual)))
    return {
        "holds": found.holds, "rate": found.rate, "least_eigenvalue": found.least_eigenvalue,
        "shortfall": found.shortfall, "flips": found.flips if found.holds else None,
        "radius": found.neuron_radius if found.holds else None,
        "moved": float(np.linalg.norm(theta - W, axis=1).max()) if found.holds else None,
        "excess": float((np.array(residual) / proved)[1:].max()) if found.holds else None,
    }  # fmt: skip


def descend(width: int, seed: int) -> dict[str, Any]:
    """Gradient descent on half the sum of squares, weights standard normal, beside what the kernels predict.

    Neurons come in pairs of opposite sign, so that f = 0 at the start and the residual is that of the theorems.
    """
    from theory.kernels import descent_residual, first_layer_kernel, kernel_movement, tangent_trajectory

    X, y = task(seed)
    W, a = start(width, seed)
    H = first_layer_kernel(X)
    spectrum = np.linalg.eigvalsh(H)
    eta, updates = schedule(spectrum)
    rows = np.unique(np.r_[0, np.geomspace(1, updates, ROWS)].astype(int))
    network, kept, theta = FirstLayer(a, D), [], W
    for k in range(updates + 1):
        if k in rows:
            kept.append(theta.ravel())
        theta = theta - eta * gradient(theta, a, X, y)[0]
    run = tangent_trajectory(network, X, y, np.array(kept), eta * rows)
    size = float(np.linalg.norm(y))
    # where the kernel's limit has left something, the movement is that of the part which is gone
    gone = descent_gone(H, y, eta, updates)
    return {
        "eigenvalue": float(run.least_eigenvalue[0] / spectrum[0]), "updates": updates,
        "curve": float(np.abs(run.residual - descent_residual(H, y, eta, rows.tolist())).max() / size),
        "movement": float(run.movement[-1] / gone), "whole_movement": kernel_movement(H, y),
        "rate": float((run.residual / run.linear_rate)[1:].max()),
        "bound": float((run.movement[1:] / run.movement_bound[1:]).max()),
        "neuron": float(np.linalg.norm(kept[-1].reshape(-1, D) - W, axis=1).max()),
        "kernel_change": float(run.kernel_change.max()),
        "times": eta * rows, "residual": run.residual / size,
        "predicted": descent_residual(H, y, eta, rows.tolist()) / size,
    }  # fmt: skip


def descent_gone(H: np.ndarray, y: np.ndarray, eta: float, updates: int) -> float:
    """Movement of the linear model: ``sqrt(sum_i (1 - (1 - eta lam_i)^k)^2 c_i^2 / lam_i)``, k updates."""
    values, vectors = np.linalg.eigh(H)
    part = (1 - (1 - eta * values) ** updates) * (vectors.T @ y)
    return float(np.sqrt((part**2 / values).sum()))
