r"""Candidates for the deep linear model with cross-entropy, each a family with its amplitude minimised globally.

- *collapsed*: Z = t (I - 11^T/K), the simplex frame in every layer, rank K - 1.
- *pairing*: blocks t [[1, -1], [-1, 1]] on pairs of classes, largest counts first, and t on a class left over
  (garrod2025persistence; the classes of a pair are opposite, so it is a cross-polytope), rank ceil(K/2).
- *polygon*: Z_jk = t cos(2 pi (j - k)/K), the classes on a circle, rank 2.

Each amplitude solves min over t >= 0 of cross-entropy(t) + s t^q: not convex, so a logarithmic grid brackets the least
value before the local refinement, and t = 0 is compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from theory.peeled._seli import weighted_simplex

NAMES = ("collapsed", "pairing", "polygon")
LARGEST_LOGIT = 700.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A point of a family: mean loss plus penalty, the amplitudes (one per block), its rank."""

    name: str
    value: float
    amplitude: np.ndarray
    rank: int


@dataclass(frozen=True, slots=True)
class Setting:
    """Counts per group and the penalty c sum sigma^q."""

    count: np.ndarray
    classes: np.ndarray
    c: float
    q: float

    @property
    def K(self) -> int:
        return int(self.classes.sum())

    @property
    def N(self) -> float:
        return float(self.count @ self.classes)


def collapsed(setting: Setting) -> Candidate:
    """The simplex frame."""
    K, q = setting.K, setting.q
    root = np.sqrt(setting.count)
    mixed = weighted_simplex(np.sqrt(setting.classes / K), root)[1]
    penalty = setting.c * float((setting.classes - 1) @ root**q + (mixed**q).sum())
    t, value = least(lambda t: np.log1p((K - 1) * np.exp(-t)), penalty, q, np.log(K))
    return Candidate("collapsed", value, np.array([t]), K - 1 if t > 0 else 0)


def pairs(setting: Setting) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts of the two classes of each kind of pair (0: nobody), number of such pairs; neighbours in falling order."""
    kinds, left = [], 0.0
    for n, k in zip(setting.count, setting.classes.astype(int), strict=True):
        if left:
            kinds.append((left, n, 1))
            k -= 1
        if k >= 2:
            kinds.append((n, n, k // 2))
        left = n if k % 2 else 0.0
    if left:
        kinds.append((left, 0.0, 1))
    first, second, number = np.array(kinds, float).T
    return first, second, number


def pairing(setting: Setting) -> Candidate:
    """Opposite pairs; every kind of pair has its own amplitude, zero where that is better."""
    K, q = setting.K, setting.q
    value, amplitudes, rank = 0.0, [], 0
    for n, m, number in zip(*pairs(setting), strict=True):
        mass = (n + m) / setting.N

        def loss(t: np.ndarray, mass: float = mass, lone: bool = m == 0) -> np.ndarray:
            others = (K - 1) * np.exp(-t) if lone else np.exp(-2 * t) + (K - 2) * np.exp(-t)
            return mass * np.log1p(others)

        size = np.sqrt(2 * (n + m)) if m else np.sqrt(n)
        t, part = least(loss, setting.c * size**q, q, mass * np.log(K))
        value += float(number * part)
        amplitudes.append(t)
        rank += int(number) if t > 0 else 0
    return Candidate("pairing", value, np.array(amplitudes), rank)


def polygon(setting: Setting) -> Candidate:
    """A regular polygon, classes in falling order of their counts."""
    K, q = setting.K, setting.q
    angle = 2 * np.pi * np.arange(K) / K
    frame = np.stack([np.cos(angle), np.sin(angle)])
    root = np.sqrt(np.repeat(setting.count, setting.classes.astype(int)))
    # C^T (C D^(1/2)) has rank two: its singular values are those of the two triangular factors
    s = np.linalg.svd(np.linalg.qr(frame.T)[1] @ np.linalg.qr((frame * root).T)[1].T, compute_uv=False)
    s = s[s > 1e-12 * s[0]]
    height = 1 - np.cos(angle)
    kinds, number = np.unique(np.round(height[1:], 15), return_counts=True)

    def loss(t: np.ndarray) -> np.ndarray:
        return np.log1p(np.exp(-np.multiply.outer(t, kinds)) @ number)

    t, value = least(loss, setting.c * float((s**q).sum()), q, np.log(K))
    return Candidate("polygon", value, np.array([t]), len(s) if t > 0 else 0)


def least(loss: Callable[[np.ndarray], np.ndarray], penalty: float, q: float, at_zero: float) -> tuple[float, float]:
    """Global minimum over t >= 0 of loss(t) + penalty t^q, for a decreasing convex loss; exact zero where that wins."""
    from scipy.optimize import minimize_scalar

    top = min(LARGEST_LOGIT, float(np.exp(min(np.log(at_zero / penalty) / q, 7.0))))
    grid = top * np.concatenate([np.logspace(-12, -2, 200), np.linspace(0.01, 1, 2000)[1:]])
    values = loss(grid) + penalty * grid**q
    j = int(np.argmin(values))
    low, high = grid[max(j - 1, 0)], grid[min(j + 1, len(grid) - 1)]
    found = minimize_scalar(
        lambda t: float(loss(np.asarray(t)) + penalty * t**q), bounds=(low, high), method="bounded",
        options={"xatol": 1e-12 * high},
    )  # fmt: skip
    t, value = (float(found.x), float(found.fun)) if found.fun < values[j] else (float(grid[j]), float(values[j]))
    return (t, value) if value < at_zero else (0.0, float(at_zero))


def logits(candidate: Candidate, setting: Setting) -> np.ndarray:
    """Z for classes in falling order of their counts, (K, K)."""
    K = setting.K
    if candidate.name == "collapsed":
        return candidate.amplitude[0] * (np.eye(K) - 1 / K)
    if candidate.name == "polygon":
        angle = 2 * np.pi * np.arange(K) / K
        return candidate.amplitude[0] * np.cos(angle[:, None] - angle)
    Z, k = np.zeros((K, K)), 0
    for m, number, t in zip(*pairs(setting)[1:], candidate.amplitude, strict=True):
        for _ in range(int(number)):
            block = np.array([[1.0, -1.0], [-1.0, 1.0]]) if m else np.ones((1, 1))
            Z[k : k + len(block), k : k + len(block)] = t * block
            k += len(block)
    return Z


BUILDERS = {"collapsed": collapsed, "pairing": pairing, "polygon": polygon}
