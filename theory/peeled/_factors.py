"""What a solver returns: W and H up to rotation, in symmetric or in explicit form, behind one small face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from theory._errors import InvalidInput, PreconditionError

MAX_ENTRIES = 2**28  # 2 GiB of float64


@dataclass(frozen=True, slots=True)
class Inner:
    """Inner products of class vectors per group: squared norm, within a group (two classes), between groups."""

    square: np.ndarray
    within: np.ndarray
    between: np.ndarray


class Factors(Protocol):
    """A pair (W, H) of class vectors."""

    @property
    def rank(self) -> int: ...
    def classifier(self, p: int) -> np.ndarray: ...
    def features(self, p: int) -> np.ndarray: ...
    def logits(self) -> np.ndarray: ...
    def inner(self, which: str) -> Inner: ...


@dataclass(frozen=True, slots=True)
class SymmetricFactors:
    """Y = sum of e_g (I - 11^T/K_g) per group, plus left diag(s) right^T between group averages; Z = Y / column.

    W W^T = ratio (Y Y^T)^(1/2) and C H^T H C = (Y^T Y)^(1/2) / ratio with C = diag(column).

    Attributes
    ----------
    classes, e : (G,); left, right : (G, r) with orthonormal columns; s : (r,) nonnegative.
    index : (K,) group of each class.
    ratio : sqrt(E_W / E_H) under budgets, sqrt(lam_H / lam_W) under penalties.
    column : (G,), 1 under budgets on class means, sqrt(n_g) where every sample's feature is penalised.
    """

    classes: np.ndarray
    e: np.ndarray
    left: np.ndarray
    s: np.ndarray
    right: np.ndarray
    index: np.ndarray
    ratio: float
    column: np.ndarray | float = 1.0

    @property
    def rank(self) -> int:
        """Rank of Z."""
        return int(len(self.s) + ((self.classes - 1) * (self.e > 0)).sum())

    def inner(self, which: str) -> Inner:
        """Per mass group; ``which`` is "W" or "H"."""
        side, scale = (self.left, self.ratio) if which == "W" else (self.right, 1 / self.ratio)
        A = scale * (side * self.s) @ side.T
        c = np.broadcast_to(1.0 if which == "W" else self.column, self.classes.shape)
        A, e = A / np.outer(c, c), scale * self.e / c**2
        own, root = np.diagonal(A) / self.classes, np.sqrt(self.classes)
        return Inner(e * (1 - 1 / self.classes) + own, own - e / self.classes, A / np.outer(root, root))

    def logits(self) -> np.ndarray:
        """Z, (K, K): column k holds the logits of a sample of class k."""
        _check_size(len(self.index), len(self.index))
        root = np.sqrt(self.classes)
        e = self.e / self.column
        M = (self.left * self.s) @ self.right.T / np.outer(root, root * self.column)
        Z = (M - np.diag(e / self.classes))[np.ix_(self.index, self.index)]
        Z[np.diag_indices_from(Z)] += e[self.index]
        return Z

    def classifier(self, p: int) -> np.ndarray:
        """W, (K, p)."""
        return np.sqrt(self.ratio) * self._vectors(self.left, p)

    def features(self, p: int) -> np.ndarray:
        """Class means, (p, K)."""
        column = np.broadcast_to(self.column, self.classes.shape)[self.index]
        return (self._vectors(self.right, p) / column[:, None]).T / np.sqrt(self.ratio)

    def _vectors(self, side: np.ndarray, p: int) -> np.ndarray:
        from scipy.linalg import helmert

        K = len(self.index)
        _check_size(K, p)
        out, column = np.zeros((K, p)), len(self.s)
        out[:, :column] = (side * np.sqrt(self.s) / np.sqrt(self.classes)[:, None])[self.index]
        for g in np.flatnonzero(self.e > 0):
            n = int(self.classes[g]) - 1
            out[self.index == g, column : column + n] = np.sqrt(self.e[g]) * helmert(n + 1).T
            column += n
        return out


@dataclass(frozen=True, slots=True)
class ExplicitFactors:
    """W (K, p) and H (p, K) as found by a solver that does not use the symmetry; index: (K,) group of each class."""

    W: np.ndarray
    H: np.ndarray
    index: np.ndarray

    @property
    def rank(self) -> int:
        """Numerical rank of W H at relative tolerance 1e-6 (what such a solver resolves)."""
        s = np.linalg.svd(self.W @ self.H, compute_uv=False)
        return int((s > 1e-6 * s[0]).sum())

    def inner(self, which: str) -> Inner:
        """Group averages of the Gram matrix."""
        V = self.W if which == "W" else self.H.T
        n = np.bincount(self.index).astype(float)
        one_hot = np.eye(len(n))[self.index]
        between = one_hot.T @ (V @ V.T) @ one_hot
        square = one_hot.T @ (V * V).sum(axis=1)
        within = (np.diagonal(between) - square) / np.maximum(n * (n - 1), 1)
        return Inner(square / n, within, between / np.outer(n, n))

    def logits(self) -> np.ndarray:
        """W H."""
        return self.W @ self.H

    def classifier(self, p: int) -> np.ndarray:
        """W padded with zero columns to p."""
        return np.pad(self.W, ((0, 0), (0, p - self.W.shape[1])))

    def features(self, p: int) -> np.ndarray:
        """H padded with zero rows to p."""
        return np.pad(self.H, ((0, p - self.H.shape[0]), (0, 0)))


def checked_dimension(rank: int, asked: int | None, default: int | None) -> int:
    """The number of columns to write W in: at least the rank."""
    p = rank if asked is None and default is None else (asked if asked is not None else default)
    if p is None or p < max(rank, 1):
        raise InvalidInput(f"dimension must be at least the rank {rank} of this solution, but is {p}.")
    return p


def _check_size(rows: int, columns: int) -> None:
    if rows * columns > MAX_ENTRIES:
        raise PreconditionError(
            f"a {rows} x {columns} matrix does not fit in 2 GiB; use the group-level quantities of the solution."
        )
