"""The cells of the arrangement of hyperplanes x_n . w = 0: on each a ReLU network's neuron is linear in its weights."""

from __future__ import annotations

from math import comb

import numpy as np
from scipy.optimize import nnls


def cell_bound(N: int, rank: int) -> int:
    """At most ``2 sum_{k < rank} C(N-1, k)`` cells of N hyperplanes through 0; in general position as many."""
    return 2 * sum(comb(N - 1, k) for k in range(min(rank, N)))


def cells(X: np.ndarray) -> np.ndarray:
    """Signs (C, N) of ``x_n . w`` on every open cell, for nonzero rows X (N, r).

    One hyperplane after the other: it cuts a cell exactly where the cone of the signs so far has points on both
    sides. The side of a known inner point is free, the other is decided by the distance of a hull from 0. Cells
    thinner than 1e-12 are dropped: they lie within that angle of the closure of their neighbours.
    """
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    signs = np.array([[1.0], [-1.0]])
    inner = np.array([unit[0], -unit[0]])
    for n in range(1, len(unit)):
        side = np.where(inner @ unit[n] > 0, 1.0, -1.0)
        grown_signs, grown_inner = [], []
        for s, w, known in zip(signs, inner, side, strict=True):
            for sign in (known, -known):
                extended = np.append(s, sign)
                point = w if sign == known and abs(w @ unit[n]) > 1e-3 else inside(extended[:, None] * unit[: n + 1])
                if point is not None:
                    grown_signs.append(extended)
                    grown_inner.append(point)
        signs, inner = np.array(grown_signs), np.array(grown_inner)
    return signs


def inside(rows: np.ndarray) -> np.ndarray | None:
    """A unit vector w with ``rows w > 0`` as far inside as possible, for unit rows (M, r); None for an empty cone."""
    A = np.vstack([rows.T, np.ones(len(rows))])
    c, misfit = nnls(A, np.append(np.zeros(rows.shape[1]), 1.0), maxiter=30 * max(A.shape) + 1000)
    if misfit < 1e-12:
        return None
    w = c @ rows
    return w / np.linalg.norm(w)


def best_in_cone(g: np.ndarray, rows: np.ndarray) -> tuple[float, np.ndarray]:
    """``max g . w`` over ``||w|| <= 1, rows w >= 0`` from above, and the direction (r) that attains it (0 for none).

    It is the length of g's projection on the cone, ``g + rows^T mu`` with mu >= 0 of least squares; every mu >= 0
    gives a bound.
    """
    mu, _ = nnls(rows.T, -g, maxiter=30 * max(rows.shape) + 1000)
    point = g + mu @ rows
    length = float(np.linalg.norm(point))
    return length, point / length if length > 0 else point
