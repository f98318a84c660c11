r"""Steepest flow of a linear model where the steepest direction is not unique: selection, and what ends it.

By arc length, ``dw/ds`` in the face F(g) of the unit ball on which ``<v, g>`` is largest, for ``g = -grad Loss``, with
``dg/ds = -H v``. Where coordinates tie, the velocity in F that a solution can follow is

.. math:: v = \operatorname{argmin}_{v \in F(g)} \tfrac12 v^\top H v .

*derived*: its optimality conditions are the conditions of consistency. l_1: F is the hull of ``sign(g_j) e_j`` over
tied j, v = sum alpha_j sign(g_j) e_j; where alpha_j > 0, ``d|g_j|/ds`` is the same c for all, where alpha_j = 0 it is
at most c, so j leaves the tie. l_inf: F is a box in the coordinates with g_j = 0; where -1 < v_j < 1, ``dg_j/ds = 0``;
at v_j = 1 ``dg_j/ds >= 0``. Between events the set that slides is fixed and v solves a linear system, to which a pull
back to the tie is added, zero on it, that keeps rounding from adding up.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy.optimize import lsq_linear, nnls

TIE = 1e-9  # relative; an event is where a condition falls this far below 0
ZERO = 1e-9  # a weight of the selection below this does not take part
RANK = 1e-10  # singular values below this share of the largest are rounding


class Face(Protocol):
    """What moves freely, and in which sense the rest is held."""

    def velocity(self, g: np.ndarray, H: np.ndarray, pull: float) -> np.ndarray:
        """``dw/ds`` (P); ``pull`` is the rate at which ties that rounding broke are restored."""

    def conditions(self, g: np.ndarray, H: np.ndarray, pull: float) -> np.ndarray:
        """Numbers (P) that are nonnegative while the face is the right one, in units of one."""

    def sliding(self) -> np.ndarray:
        """Coordinates (P) that are tied."""


def _root(H: np.ndarray) -> np.ndarray:
    """F with ``F^T F = H``, columns of size about one."""
    values, vectors = np.linalg.eigh(H)
    return np.sqrt(np.maximum(values / values[-1], 0.0))[:, None] * vectors.T


class Hull:
    """l_1: the coordinates that share the largest |g_j|."""

    def __init__(self, tied: np.ndarray, signs: np.ndarray, size: int) -> None:
        self.tied, self.signs, self.size = tied, signs, size

    @staticmethod
    def tied_at(g: np.ndarray) -> np.ndarray:
        """Coordinates (P) that tie with the largest |g_j|."""
        size = np.abs(g)
        return size >= size.max() * (1 - 10 * TIE)

    @staticmethod
    def select(g: np.ndarray, H: np.ndarray, close: np.ndarray) -> Hull:
        """The face at a point where the coordinates ``close`` (P) tie."""
        where, signs = np.flatnonzero(close), np.sign(g)
        if len(where) > 1:
            B = (_root(H) * signs)[:, where]
            alpha, _ = nnls(np.vstack([B, np.ones(len(where))]), np.append(np.zeros(len(B)), 1.0), maxiter=10_000)
            where = where[alpha > ZERO * alpha.sum()]
        return Hull(where, signs[where], len(g))

    @staticmethod
    def onto_tie(g: np.ndarray, H: np.ndarray, close: np.ndarray) -> np.ndarray:
        """The least step of w (P) after which the ``|g_j|`` of ``close`` are equal, to first order."""
        where, signs = np.flatnonzero(close), np.sign(g)[close]
        h, rows = signs * g[where], signs[:, None] * H[where]
        return np.linalg.lstsq(rows - rows.mean(axis=0), h - h.mean(), rcond=RANK)[0]

    def _weights(self, g: np.ndarray, H: np.ndarray, pull: float) -> np.ndarray:
        T, s = self.tied, self.signs
        if len(T) == 1:
            return np.ones(1)
        h = s * g[T]
        block = H[np.ix_(T, T)] * np.outer(s, s)
        scale = np.trace(block) / len(T)
        A = np.ones((len(T) + 1, len(T) + 1))
        A[:-1, :-1], A[-1, -1] = block / scale, 0.0
        return np.linalg.lstsq(A, np.append(pull * (h - h.mean()) / scale, 1.0), rcond=RANK)[0][:-1]

    def velocity(self, g: np.ndarray, H: np.ndarray, pull: float) -> np.ndarray:
        v = np.zeros_like(g)
        v[self.tied] = self.signs * self._weights(g, H, pull)
        return v

    def conditions(self, g: np.ndarray, H: np.ndarray, pull: float) -> np.ndarray:
        top = float((self.signs * g[self.tied]).mean())
        room = 1 - np.abs(g) / top
        room[self.tied] = self._weights(g, H, pull)
        return room

    def sliding(self) -> np.ndarray:
        return np.isin(np.arange(self.size), self.tied)


class Box:
    """l_inf: the coordinates with g_j = 0 are free, the others move with the sign of g_j."""

    def __init__(self, signs: np.ndarray) -> None:
        self.signs, self.free = signs, signs == 0

    @staticmethod
    def tied_at(g: np.ndarray) -> np.ndarray:
        """Coordinates (P) with g_j = 0."""
        return np.abs(g) <= 10 * TIE * np.abs(g).sum()

    @staticmethod
    def select(g: np.ndarray, H: np.ndarray, close: np.ndarray) -> Box:
        """The face at a point where g_j = 0 for the coordinates ``close`` (P)."""
        signs = np.where(close, 0.0, np.sign(g))
        if close.any():
            F = _root(H)
            found = lsq_linear(F[:, close], -F[:, ~close] @ signs[~close], (-1.0, 1.0), method="bvls", tol=1e-15)
            signs[close] = np.where(np.abs(found.x) >= 1 - ZERO, np.sign(found.x), 0.0)
        return Box(signs)

    @staticmethod
    def onto_tie(g: np.ndarray, H: np.ndarray, close: np.ndarray) -> np.ndarray:
        """The least step of w (P) after which ``g_j = 0`` on ``close``, to first order."""
        return np.linalg.lstsq(H[close], g[close], rcond=RANK)[0]

    def velocity(self, g: np.ndarray, H: np.ndarray, pull: float) -> np.ndarray:
        S, v = self.free, self.signs.copy()
        if S.any():
            v[S] = np.linalg.lstsq(H[np.ix_(S, S)], pull * g[S] - H[np.ix_(S, ~S)] @ v[~S], rcond=RANK)[0]
        return v

    def conditions(self, g: np.ndarray, H: np.ndarray, pull: float) -> np.ndarray:
        v = self.velocity(g, H, pull)
        return np.where(self.free, 1 - np.abs(v), self.signs * g / np.abs(g).sum())

    def sliding(self) -> np.ndarray:
        return self.free
