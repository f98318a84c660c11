"""The second-order check of a KKT point of the margin problem: strict minimum, flat family, or saddle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from theory.flow._kkt_newton import KktPoint, newton
from theory.flow._kkt_system import KktSystem

STRICT = "strict local minimum of the norm"
FLAT = "local minimum with flat directions (symmetry)"
SADDLE = "saddle"
OPEN = "undetermined to second order"

ZERO = 1e-8  # eigenvalues of the Hessian, whose trivial value is 1; multipliers relative to their sum


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondOrder:
    """The kind; least eigenvalue on the critical space (None where it is {0}); its dimension; flat ones; strictness."""

    kind: str
    curvature: float | None
    dimension: int
    flat: int
    strict: bool


def second_order(
    system: KktSystem, point: KktPoint, clarke: np.ndarray, signals: np.ndarray, slope: float
) -> SecondOrder:
    """Classify a solution.

    The Hessian of the Lagrangian is taken on the null space of the gradients of the constraints with a positive
    multiplier and of the sliding units (*derived*: positive there is sufficient for a strict local minimum, negative
    there necessary for a saddle where the multipliers are unique and none vanishes). A sliding unit strictly inside
    its Clarke interval with a positive signal is a saddle at once: the norm falls to first order on both sides of
    such a kink.

    Flat directions count as a symmetry only after a test: the point moved along a random one returns to a *different*
    solution of the same norm.
    """
    rows = system.rows(point.theta)
    A = len(system.active)
    total = point.lam.sum()
    positive = point.lam > ZERO * total
    inside = (clarke > slope + ZERO) & (clarke < 1 - ZERO)
    loud = np.abs(signals) > ZERO * np.abs(signals).max(initial=1.0)
    at = system.network.forward(point.theta, system.X, system.slopes)
    touching = system.margins.values(at.outputs) / system.level - 1 < ZERO
    strict = bool(touching.sum() <= positive.sum() and positive.all() and (inside | ~loud).all())
    H = system.lagrangian_hessian(point.theta, point.lam, point.beta)
    kept = np.concatenate([np.nonzero(positive)[0], np.arange(A, len(rows))])
    Q, unique = _range(rows[kept])
    values, vectors = _on_complement(H, Q)
    curvature = float(values[0]) if len(values) else None
    flat = int((np.abs(values) <= ZERO).sum())
    if (inside & loud & (signals > 0)).any():
        kind = SADDLE
    elif curvature is None or curvature > ZERO:
        kind = STRICT
    elif curvature < -ZERO:
        kind = SADDLE if strict and unique else OPEN
    else:
        kind = FLAT if _is_family(system, point, vectors[:, np.abs(values) <= ZERO]) else OPEN
    return SecondOrder(kind=kind, curvature=curvature, dimension=len(values), flat=flat, strict=strict)


def _range(rows: np.ndarray) -> tuple[np.ndarray, bool]:
    """An orthonormal basis (P, r) of the span of the rows, and whether the rows are independent."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(lengths > 0, lengths, 1.0)
    _, s, Vt = np.linalg.svd(unit, full_matrices=False)
    rank = int((s > 1e-10 * s.max(initial=0.0)).sum())
    return Vt[:rank].T, rank == len(rows)


def _on_complement(H: np.ndarray, Q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, ascending, and eigenvectors (P, .) of H on the complement of the span of Q (P, r)."""
    P, r = Q.shape
    if r == P:
        return np.empty(0), np.empty((P, 0))
    HQ = H @ Q
    M = H - Q @ HQ.T - HQ @ Q.T + Q @ (Q.T @ HQ) @ Q.T
    top = 10 * (1 + np.abs(M).sum(axis=1).max())  # a bound on the spectrum: the span of Q goes above it
    values, vectors = eigh(M + top * (Q @ Q.T))
    return values[: P - r], vectors[:, : P - r]


def _is_family(system: KktSystem, point: KktPoint, directions: np.ndarray) -> bool:
    """Whether a random flat direction leads to another solution of the same norm."""
    size = np.linalg.norm(point.theta)
    d = directions @ np.random.default_rng(0).standard_normal(directions.shape[1])
    there = newton(system, point.theta + 1e-2 * size * d / np.linalg.norm(d), rtol=1e-12)
    moved = np.linalg.norm(there.theta - point.theta) / size
    return bool(there.residual < 1e-10 and moved > 3e-3 and abs(np.linalg.norm(there.theta) - size) < 1e-10 * size)
