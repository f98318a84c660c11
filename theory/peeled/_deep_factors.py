"""Factors of a deep linear solution: the last layer, and the product of all others with the features."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from theory.peeled._factors import ExplicitFactors, Inner, SymmetricFactors
from theory.peeled._factors import _check_size as check_size


@dataclass(frozen=True, slots=True)
class LayeredFactors:
    """W_L takes the power 1/(L+1) of every singular value of Y, the features it sees take the rest.

    ``top`` and ``bottom`` are symmetric factors whose halves have these powers; ``whole`` is Z.
    """

    whole: SymmetricFactors
    top: SymmetricFactors
    bottom: SymmetricFactors

    @property
    def rank(self) -> int:
        """Rank of Z."""
        return self.whole.rank

    def inner(self, which: str) -> Inner:
        """Inner products per group."""
        return self.top.inner("W") if which == "W" else self.bottom.inner("H")

    def logits(self) -> np.ndarray:
        """Z, (K, K)."""
        return self.whole.logits()

    def classifier(self, p: int) -> np.ndarray:
        """W_L, (K, p)."""
        return self.top.classifier(p)

    def features(self, p: int) -> np.ndarray:
        """W_{L-1} ... W_1 H, (p, K)."""
        return self.bottom.features(p)


def layered(whole: SymmetricFactors, lams: np.ndarray) -> LayeredFactors:
    """The balanced factorisation of a symmetric Y; ``lams`` as in the model, lam_L second to last."""
    M, ratio = len(lams), _top_scale(lams)
    top = replace(whole, e=whole.e ** (2 / M), s=whole.s ** (2 / M), ratio=ratio)
    power = 2 * (1 - 1 / M)
    return LayeredFactors(whole, top, replace(whole, e=whole.e**power, s=whole.s**power, ratio=ratio))


def explicit(Z: np.ndarray, counts: np.ndarray, lams: np.ndarray, index: np.ndarray, rank: int) -> ExplicitFactors:
    """The balanced factorisation of a logit matrix of the given rank."""
    U, s, Vt = np.linalg.svd(Z * np.sqrt(counts), full_matrices=False)
    U, s, Vt = U[:, :rank], s[:rank], Vt[:rank]
    M, scale = len(lams), np.sqrt(_top_scale(lams))
    W, H = scale * U * s ** (1 / M), s[:, None] ** (1 - 1 / M) * Vt / np.sqrt(counts) / scale
    return ExplicitFactors(W, H, index)


@dataclass(frozen=True, slots=True)
class OrthogonalFactors:
    """A diagonal Z: classifiers and features on orthogonal axes, zero classes without one.

    Attributes
    ----------
    w, h : (G,) lengths of a classifier and of a feature per group; their product is the logit.
    index : (K,) group of each class.
    """

    w: np.ndarray
    h: np.ndarray
    index: np.ndarray

    @property
    def rank(self) -> int:
        """Number of classes with a nonzero logit."""
        return int((self.w[self.index] > 0).sum())

    def inner(self, which: str) -> Inner:
        """Inner products per group: exact zeros between classes."""
        length = self.w if which == "W" else self.h
        return Inner(length**2, np.zeros_like(length), np.zeros((len(length), len(length))))

    def logits(self) -> np.ndarray:
        """Z, (K, K), exactly diagonal."""
        check_size(len(self.index), len(self.index))
        return np.diag((self.w * self.h)[self.index])

    def classifier(self, p: int) -> np.ndarray:
        """W_L, (K, p): one axis per nonzero class."""
        return self._rows(self.w, p)

    def features(self, p: int) -> np.ndarray:
        """W_{L-1} ... W_1 H, (p, K)."""
        return self._rows(self.h, p).T

    def _rows(self, length: np.ndarray, p: int) -> np.ndarray:
        check_size(len(self.index), p)
        out = np.zeros((len(self.index), p))
        alive = np.flatnonzero(self.w[self.index] > 0)
        out[alive, np.arange(len(alive))] = length[self.index[alive]]
        return out


def orthogonal(z: np.ndarray, count: np.ndarray, lams: np.ndarray, index: np.ndarray) -> OrthogonalFactors:
    """The balanced factorisation of Z = diag(z) per group."""
    M, scale = len(lams), np.sqrt(_top_scale(lams))
    w = scale * (z * np.sqrt(count)) ** (1 / M)
    return OrthogonalFactors(w, z / np.where(w > 0, w, 1.0), index)


def _top_scale(lams: np.ndarray) -> float:
    """||W_L||^2 is this times sum sigma^(2/(L+1))."""
    logs = np.log(lams)
    return float(np.exp(logs.mean() - logs[-2]))
