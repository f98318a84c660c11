"""The gradients of the margins, with Clarke's choices at the kinks, as the blocks of a cone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from theory._errors import PreconditionError
from theory.flow._cone import Cone
from theory.flow._point import Point

PATTERNS = 10  # kinks of one sample outside its largest layer, all of whose 2^k on-off patterns are listed


@dataclass(frozen=True, slots=True, kw_only=True)
class ClarkeCone:
    """The cone, the constraint (B) of each block, the kink (M) of each direction, pairs (block, kink) that are on."""

    cone: Cone
    rows: np.ndarray
    kink: np.ndarray
    patterns: np.ndarray

    def shares(self, lam: np.ndarray, mu: np.ndarray, kinks: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """How far each kink (sample, unit) is on, in [0, 1]: its mean under the multipliers; 0 without weight."""
        weight = np.bincount(self.kink, weights=mu, minlength=len(kinks))
        weight += np.bincount(self.patterns[:, 1], weights=lam[self.patterns[:, 0]], minlength=len(kinks))
        total = np.bincount(samples[self.rows], weights=lam, minlength=int(samples.max()) + 1)[kinks[:, 0]]
        return np.divide(weight, total, out=np.zeros(len(kinks)), where=total > 0)


def clarke_cone(point: Point, theta: np.ndarray, cost: np.ndarray) -> ClarkeCone:
    r"""``{sum_r lam_r h_r : lam >= 0, h_r in the subdifferential of constraint r}`` for constraints with costs (R).

    *derived*: given all other slopes, a gradient is affine in the slopes of one layer (the value at a kink is 0
    whatever its slope). So kinks of one layer span a box, and of several layers the hull of all patterns: the
    patterns of the smaller layers are listed, each with the box of the largest. The units of a fully connected layer
    have rows of their own, so near theta every pattern occurs and this is Clarke's subdifferential of each margin;
    where kinks depend on each other (shared kernels) it may be larger.

    Raises
    ------
    PreconditionError : a sample with more than 10 kinks outside its largest kinked layer.
    """
    network, starts = point.network, np.asarray(point.network.starts if point.network.n_units else (0,))
    samples, G, _ = point.constraints()
    rows_of: list[list[int]] = [[] for _ in point.X]
    for row, n in enumerate(samples):
        rows_of[n].append(row)
    kinks = np.argwhere(point.kinks)
    where, slopes = [], []  # contexts: one sample, one choice of slopes
    blocks: list[tuple[int, int]] = []  # constraint, context
    ends: list[tuple[int, int, int, int]] = []  # block, kink, context with it on, context with it off
    patterns: list[tuple[int, int]] = []

    def context(n: int, on: list[int]) -> int:
        where.append(n)
        if point.slopes is not None:
            slopes.append(np.where(np.isin(np.arange(network.n_units), on), 1.0, point.slopes[n]))
        return len(where) - 1

    for n in range(len(point.X)):
        mine = np.flatnonzero(kinks[:, 0] == n)
        layer = np.searchsorted(starts, kinks[mine, 1], side="right")
        boxed = layer == np.bincount(layer).argmax() if len(mine) else np.zeros(0, dtype=bool)
        others, box = mine[~boxed], mine[boxed]
        if len(others) > PATTERNS:
            raise PreconditionError(
                f"sample {n} sits on kinks of several layers, {len(others)} of them outside the largest, but at most "
                f"{PATTERNS} can be listed."
            )
        for choice in product((False, True), repeat=len(others)):
            lit = [int(i) for i, on in zip(others, choice, strict=True) if on]
            units = [int(kinks[i, 1]) for i in lit]
            off = context(n, units)
            on = [context(n, [*units, int(kinks[i, 1])]) for i in box]
            for row in rows_of[n]:
                blocks.append((row, off))
                patterns += [(len(blocks) - 1, i) for i in lit]
                ends += [(len(blocks) - 1, int(i), c, off) for i, c in zip(box, on, strict=True)]
    J = network.jacobian(theta, point.X[where], np.array(slopes) if slopes else None)
    rows, contexts = np.array(blocks).T
    owner, kink, lit_context, off_context = np.array(ends, dtype=int).reshape(-1, 4).T
    base = np.einsum("bk,bkp->bp", G[rows], J[contexts])
    directions = np.einsum("bk,bkp->bp", G[rows[owner]], J[lit_context] - J[off_context])
    return ClarkeCone(
        cone=Cone(base=base, cost=cost[rows], directions=directions, owner=owner),
        rows=rows,
        kink=kink,
        patterns=np.array(patterns, dtype=int).reshape(-1, 2),
    )
