"""What ``steepest-descent`` computes: limits of linear models in each norm, small networks across norms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

DEGREE = 3  # of two layers of weights with squared ReLU between them
LINEAR_NORMS: tuple[str | float, ...] = ("l1", "l2", "linf", 1.5, 3.0)
NORMS = ("l1", "l2", "linf", "spectral")
ALGORITHMS = {"l1": "coordinate descent", "l2": "normalised gradient descent", "linf": "sign descent",
              "spectral": "orthogonalised gradients"}  # fmt: skip
FIRST = {"l1": 0.75, "l2": 0.3, "linf": 0.045, "spectral": 0.12}  # first step of a descent on a network, in its norm


Data = tuple[np.ndarray, np.ndarray]


def linear_data(name: str, seed: int) -> Data:
    """Samples and labels -1, +1 of a linear task that is separable without bias."""
    if name == "wine":
        from simulations.data import bundled

        data = bundled("wine", test_size=0)
        return data.X, np.where(data.y == 0, 1.0, -1.0)
    rng = np.random.default_rng([seed, 80])
    X = rng.standard_normal((12, 5))
    return X, np.where(X @ rng.standard_normal(5) > 0, 1.0, -1.0)


def several_classes(seed: int) -> Data:
    """Twelve samples of three classes that a linear model without bias made."""
    rng = np.random.default_rng([seed, 81])
    X = rng.standard_normal((12, 3))
    return X, np.argmax(X @ rng.standard_normal((3, 3)), axis=1)


def follow_flow(name: str, seed: int, norm: str | float, until: float) -> dict[str, Any]:
    """One flow of a linear model against the convex program of its norm."""
    from theory.flow.steepest import norm_max_margin, steepest_flow

    X, y = linear_data(name, seed)
    best = norm_max_margin(X, y, norm)
    flow = steepest_flow((X, y), "exponential", norm, until=until)
    rows = np.unique(np.linspace(flow.separated or 0, len(flow.thetas) - 1, 60).astype(int))
    size = float(np.abs(best.direction).max())
    return {
        "direction": float(np.abs(flow.direction - best.direction).max()) / size,
        "velocity": float(np.abs(flow.velocity - best.direction).max()) / size,
        "margin": float(flow.normalized_margins[-1]), "best": best.margin, "upper": best.certificate.upper,
        "gap": best.certificate.relative_gap, "fall": flow.monotonicity_violation, "events": len(flow.events),
        "steps": flow.steps, "u": flow.log_inverse_loss[rows], "smoothed": flow.smoothed_margins[rows] / best.margin,
        "along": np.abs(flow.thetas[rows] / flow.norms[rows, None] - best.direction).max(axis=1) / size,
    }  # fmt: skip


def descend_linear(seed: int, norm: str, steps: int) -> dict[str, Any]:
    """An algorithm on a linear model with three classes: its margin against the largest."""
    from theory.flow import fully_connected
    from theory.flow.steepest import norm_max_margin, steepest_descend

    X, y = several_classes(seed)
    best = norm_max_margin(X, y, norm)
    network = fully_connected((X.shape[1], 3), activation="linear")
    run = steepest_descend(network, (X, y), "cross_entropy", np.zeros(network.n_parameters), norm,
                           step=1 / np.sqrt(np.arange(1, steps + 1)))  # fmt: skip
    return {"margin": float(run.normalized_margins[-1]), "best": best.margin, "upper": best.certificate.upper,
            "updates": run.updates, "share": np.nan_to_num(run.normalized_margins / best.margin)}  # fmt: skip


def network_data(seed: int, n: int) -> Data:
    """Points of the plane and a constant; the label is the sign of the product of the two coordinates."""
    rng = np.random.default_rng([seed, 82])
    X = rng.uniform(-1, 1, (n, 2))
    X += 0.3 * np.sign(X)
    return np.column_stack([X, np.ones(n)]), np.sign(X[:, 0] * X[:, 1])


def descend_network(
    seed: int, norm: str, n: int, width: int, steps: int, callback: Callable[[str], Any] | None = None
) -> dict[str, Any]:
    """One algorithm on a two-layer squared-ReLU network: margins in all norms, the residual of its own.

    All algorithms of a seed start at the same weights. Steps of ``k^{-2/3}`` let the length grow like ``k^{1/3}``, so
    that margins of degree 3 change by the same amount in each step.
    """
    from theory.flow import two_layer
    from theory.flow._geometry import as_geometry
    from theory.flow.steepest import steepest_descend, steepest_kkt

    X, y = network_data(seed, n)
    network = two_layer(X.shape[1], width, activation="relu^2")
    start = network.random_parameters(rng=np.random.default_rng([seed, 83]), scale=0.5)

    def told(update: int, u: float) -> None:
        if callback is not None and update % 100 == 0:
            callback(f"{ALGORITHMS[norm]}, update {update} of {steps}")

    run = steepest_descend(network, (X, y), "exponential", start, norm,
                           step=FIRST[norm] * np.arange(1, steps + 1) ** (-2 / 3), callback=told)  # fmt: skip
    if run.separated is None:
        return {"separated": False, "error": float(np.mean(np.sign(network.output(run.theta, X)[:, 0]) != y))}
    rows = np.arange(run.separated, len(run.thetas))
    own = [steepest_kkt(network, X, y, "exponential", run.thetas[row], norm).relative_residual for row in rows]
    least = run.least_margins[-1]
    return {
        "separated": True, "u": run.log_inverse_loss[rows], "updates": run.updates[rows],
        "residual": np.array(own), "fall": run.monotonicity_violation, "rises": run.loss_increases,
        "own": run.normalized_margins[rows],
        "margins": {other: float(least / as_geometry(other, network).norm(run.theta) ** DEGREE) for other in NORMS},
        "growth": float(run.norms[-1] / run.norms[0]),
    }  # fmt: skip
