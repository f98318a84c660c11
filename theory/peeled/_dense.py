"""The K x K program without symmetry: value, gradient and certificate for any logit matrix."""

from __future__ import annotations

import numpy as np

from theory._certificate import Certificate
from theory.peeled._program import ROUNDING
from theory.peeled.model import LayerPeeledModel


def loss_and_gradient(Z: np.ndarray, mass: np.ndarray) -> tuple[float, np.ndarray]:
    """sum_k mass_k cross-entropy(column k of Z, class k) and its gradient, without cancellation near certainty."""
    K = len(mass)
    D = Z - np.diagonal(Z)
    D[np.diag_indices(K)] = -np.inf
    peak = np.maximum(D.max(axis=0), 0.0)
    P, one = np.exp(D - peak), np.exp(-peak)
    rest = P.sum(axis=0)
    loss = np.where(peak > 0, peak + np.log(rest + one), np.log1p(rest))
    P *= mass / (rest + one)
    P[np.diag_indices(K)] = -P.sum(axis=0)
    return float(mass @ loss), P


def class_mass(model: LayerPeeledModel) -> np.ndarray:
    """(K,) share of each class in the (weighted) mean loss."""
    parts = model._partition
    return parts.mass[parts.class_mass_group]


def certify_factors(model: LayerPeeledModel, W: np.ndarray, H: np.ndarray, lower: float | None = None) -> Certificate:
    """The certificate of feasible (W, H): the larger of the Frank-Wolfe bound and ``lower``."""
    Z = W @ H
    value, G = loss_and_gradient(Z, class_mass(model))
    norm = float(np.linalg.norm(G, 2))
    gap = max(float(np.vdot(G, Z)) + model.budget * norm, 0.0) + ROUNDING * model.budget * norm
    method = "Frank-Wolfe dual gap"
    if lower is not None and value - lower < gap:
        gap, method = max(value - lower, 0.0), "lower bound of the convex relaxation"
    K = model.num_classes
    residuals = {
        "budget_W": float(np.vdot(W, W) / (K * model.E_W) - 1),
        "budget_H": float(np.vdot(H, H) / (K * model.E_H) - 1),
        "multiplier": norm,
    }
    return Certificate(lower=value - gap, upper=value, gap=gap, residuals=residuals, method=method)
