"""Fewer dimensions than the rank of the relaxation: descent on W and H directly."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from theory._certificate import Certificate
from theory.peeled._dense import certify_factors, class_mass, loss_and_gradient
from theory.peeled.model import LayerPeeledModel
from theory.peeled.solution import PeeledSolution

STARTS = 8


def descend(
    model: LayerPeeledModel, relaxed: PeeledSolution, *, max_steps: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, Certificate]:
    """The best of several local minima with p = ``model.dimension``; the lower bound is the relaxation's.

    W and H are normalised to their budgets inside the objective and multiplied by one factor in [0, 1], so every
    iterate is feasible (for p this small the full budget need not be used). *measure*: no local minimum is proved
    global unless the gap says so.
    """
    K, p = model.num_classes, int(model.dimension or relaxed.rank)
    mass, T = class_mass(model), model.budget

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        W, H, a = x[: K * p].reshape(K, p), x[K * p : -1].reshape(p, K), x[-1]
        w, h = np.linalg.norm(W), np.linalg.norm(H)
        Z = W @ H * (T / (w * h))
        value, G = loss_and_gradient(a * Z, mass)
        along = float(np.vdot(G, Z))
        dW = a * (T / (w * h) * G @ H.T - along / w**2 * W)
        dH = a * (T / (w * h) * W.T @ G - along / h**2 * H)
        # in units of the relaxation's loss, so that the solver's tolerances mean something
        return value / unit, np.concatenate([dW.ravel(), dH.ravel(), [along]]) / unit

    unit = relaxed.objective
    U, s, Vt = np.linalg.svd(relaxed.logits())
    r = min(p, K)
    first = np.zeros((K, p)), np.zeros((p, K))
    first[0][:, :r], first[1][:r] = U[:, :r] * np.sqrt(s[:r]), np.sqrt(s[:r])[:, None] * Vt[:r]
    best = None
    for k in range(STARTS):
        noise = rng.standard_normal((K, p)), rng.standard_normal((p, K))
        W0, H0 = (first[0] + 1e-3 * noise[0], first[1] + 1e-3 * noise[1]) if k == 0 else (noise[0], noise[0].T)
        W0, H0 = W0 / np.linalg.norm(W0), H0 / np.linalg.norm(H0)
        found = minimize(
            objective, np.concatenate([W0.ravel(), H0.ravel(), [1.0]]), jac=True, method="L-BFGS-B",
            bounds=[(None, None)] * (2 * K * p) + [(0.0, 1.0)],
            options={"maxiter": max_steps, "maxfun": 2 * max_steps, "ftol": 1e-15, "gtol": 1e-12, "maxcor": 30},
        )  # fmt: skip
        if best is None or found.fun < best.fun:
            best = found
    assert best is not None
    W, H, a = best.x[: K * p].reshape(K, p), best.x[K * p : -1].reshape(p, K), best.x[-1]
    W = W * (np.sqrt(a * K * model.E_W) / np.linalg.norm(W))
    H = H * (np.sqrt(a * K * model.E_H) / np.linalg.norm(H))
    return W, H, certify_factors(model, W, H, lower=relaxed.certificate.lower)
