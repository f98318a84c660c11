"""Descent on the factors of the deep linear model with cross-entropy; a local search, nothing more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp


def descend(
    starts: Sequence[np.ndarray], counts: np.ndarray, lam: float, factors: int, width: int, *, max_steps: int,
    random_starts: int, rng: np.random.Generator,
) -> tuple[np.ndarray, float, int]:  # fmt: skip
    """Best logits, their objective at their numerical rank, and that rank.

    All factors share the penalty ``lam`` (the balanced rescaling of any penalties); the last one is H D^(1/2).
    *measure*: a local minimum of a nonconvex function, re-evaluated from the singular values of the product.
    """
    K = len(counts)
    shapes = [(K, width), *[(width, width)] * (factors - 2), (width, K)]
    cuts = np.cumsum([a * b for a, b in shapes])
    root, share = np.sqrt(counts), counts / counts.sum()

    def unpack(x: np.ndarray) -> list[np.ndarray]:
        return [part.reshape(shape) for part, shape in zip(np.split(x, cuts[:-1]), shapes, strict=True)]

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        parts = unpack(x)
        left = [np.eye(K)]
        for F in parts:
            left.append(left[-1] @ F)
        loss, G = _loss(left[-1] / root, share)
        G = G / root
        gradients = []
        for F, before in zip(reversed(parts), reversed(left[:-1]), strict=True):
            gradients.append((before.T @ G + lam * F).ravel())
            G = G @ F.T
        return loss + lam / 2 * float(x @ x), np.concatenate(gradients[::-1])

    best: tuple[np.ndarray, float, int] | None = None
    for k in range(len(starts) + random_starts):
        if k < len(starts):
            x = _balanced(starts[k] * root, factors, width)
            x = x + 1e-2 * np.abs(x).max() * rng.standard_normal(len(x))
        else:
            # random rank and random size: deep products fall to zero from small starts
            r = int(rng.integers(1, min(width, K) + 1))
            Y = rng.standard_normal((K, r)) @ rng.standard_normal((r, K))
            x = _balanced(Y * (10 * rng.random() * root.mean() / np.sqrt(r)), factors, width)
        found = minimize(
            objective, x, jac=True, method="L-BFGS-B",
            options={"maxiter": max_steps, "maxfun": 2 * max_steps, "ftol": 1e-15, "gtol": 1e-10, "maxcor": 30},
        )  # fmt: skip
        for point in _truncations(np.linalg.multi_dot(unpack(found.x)), root, share, lam, factors):
            if best is None or point[1] < best[1]:
                best = point
    assert best is not None
    return best


def _loss(Z: np.ndarray, share: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean cross-entropy and its gradient."""
    total = logsumexp(Z, axis=0)
    G = np.exp(Z - total)
    G[np.diag_indices_from(G)] -= 1
    return float(share @ (total - np.diagonal(Z))), G * share


def _balanced(Y: np.ndarray, factors: int, width: int) -> np.ndarray:
    """Y as a product of equal shares of its singular values, flattened."""
    U, s, Vt = np.linalg.svd(Y)
    s = s[:width] ** (1 / factors)
    r = len(s)
    first, last, middle = np.zeros((len(U), width)), np.zeros((width, len(U))), np.zeros((width, width))
    first[:, :r], last[:r] = U[:, :r] * s, s[:, None] * Vt[:r]
    middle[:r, :r] = np.diag(s)
    return np.concatenate([first.ravel(), *[middle.ravel()] * (factors - 2), last.ravel()])


def _truncations(
    Y: np.ndarray, root: np.ndarray, share: np.ndarray, lam: float, factors: int
) -> list[tuple[np.ndarray, float, int]]:
    """Z with the small singular values of Y = Z D^(1/2) cut at three levels, and the objective from the rest."""
    U, s, Vt = np.linalg.svd(Y)
    points = []
    for rank in sorted({int((s > level * max(s[0], 1e-6)).sum()) for level in (1e-2, 1e-4, 1e-7)}):
        Z = (U[:, :rank] * s[:rank]) @ Vt[:rank] / root
        value = _loss(Z, share)[0] + factors / 2 * lam * float((s[:rank] ** (2 / factors)).sum())
        points.append((Z, value, rank))
    return points
