r"""Matrices that do not change when the classes of a group are permuted, for a symbolic number of classes.

With K_g classes in group g the space splits into the differences within each group (K_g - 1 dimensions, on which such
a matrix is a multiple of the identity, its *gap*) and the span of the normalised group indicators (on which it is a
G x G matrix, *between*). Products, transposes and sums act on both parts, so an identity between such matrices is an
identity between G gaps and G^2 entries, whatever the K_g.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sympy as sp


@dataclass(frozen=True, slots=True, eq=False)
class BlockMatrix:
    """An invariant K x K matrix; ``sizes`` and ``gaps`` have G entries, ``between`` is G x G."""

    sizes: tuple[sp.Expr, ...]
    gaps: tuple[sp.Expr, ...]
    between: sp.Matrix

    @classmethod
    def from_entries(
        cls, sizes: Sequence[sp.Expr], own: Sequence[sp.Expr], other: Sequence[sp.Expr], across: sp.MatrixBase
    ) -> BlockMatrix:
        """Diagonal entries ``own``, other entries ``other`` of the diagonal blocks, ``across[g, h]`` off them."""
        groups = range(len(sizes))
        between = sp.Matrix(
            len(sizes), len(sizes),
            lambda g, h: own[g] + (sizes[g] - 1) * other[g] if g == h else across[g, h] * sp.sqrt(sizes[g] * sizes[h]),
        )  # fmt: skip
        return cls(tuple(sizes), tuple(own[g] - other[g] for g in groups), between)

    @classmethod
    def diagonal(cls, sizes: Sequence[sp.Expr], values: Sequence[sp.Expr]) -> BlockMatrix:
        """diag(values), each repeated over its group."""
        return cls(tuple(sizes), tuple(values), sp.diag(*values))

    @classmethod
    def centering(cls, sizes: Sequence[sp.Expr]) -> BlockMatrix:
        """P = I - 11^T/K."""
        ones = sp.Matrix([sp.sqrt(size) for size in sizes])
        return cls(tuple(sizes), (sp.Integer(1),) * len(sizes), sp.eye(len(sizes)) - ones * ones.T / sum(sizes))

    def own(self, g: int) -> sp.Expr:
        """The diagonal entry in group g."""
        return self.other(g) + self.gaps[g]

    def other(self, g: int) -> sp.Expr:
        """The entry of two different classes of group g."""
        return (self.between[g, g] - self.gaps[g]) / self.sizes[g]

    def across(self, g: int, h: int) -> sp.Expr:
        """The entry of a class of group g and one of h."""
        return self.between[g, h] / sp.sqrt(self.sizes[g] * self.sizes[h])

    @property
    def trace(self) -> sp.Expr:
        """The sum of the diagonal."""
        return sum((s - 1) * gap for s, gap in zip(self.sizes, self.gaps, strict=True)) + self.between.trace()

    @property
    def T(self) -> BlockMatrix:
        """The transpose."""
        return BlockMatrix(self.sizes, self.gaps, self.between.T)

    def __matmul__(self, right: BlockMatrix) -> BlockMatrix:
        gaps = tuple(a * b for a, b in zip(self.gaps, right.gaps, strict=True))
        return BlockMatrix(self.sizes, gaps, self.between * right.between)

    def __add__(self, right: BlockMatrix) -> BlockMatrix:
        gaps = tuple(a + b for a, b in zip(self.gaps, right.gaps, strict=True))
        return BlockMatrix(self.sizes, gaps, self.between + right.between)

    def __sub__(self, right: BlockMatrix) -> BlockMatrix:
        return self + right.times(sp.Integer(-1))

    def times(self, factor: sp.Expr) -> BlockMatrix:
        """A scalar multiple."""
        return BlockMatrix(self.sizes, tuple(factor * gap for gap in self.gaps), factor * self.between)

    def coordinates(self) -> sp.Matrix:
        """All gaps, then all entries of ``between``, as one column."""
        return sp.Matrix([*self.gaps, *self.between])


def softmax_columns(logits: BlockMatrix) -> BlockMatrix:
    """Each column of ``logits`` through the softmax."""
    groups = range(len(logits.sizes))
    own, other = [], []
    across = sp.zeros(len(logits.sizes))
    for h in groups:
        # relative to the true class, as probabilities are
        twin = sp.exp(logits.other(h) - logits.own(h))
        rest = {g: sp.exp(logits.across(g, h) - logits.own(h)) for g in groups if g != h}
        total = 1 + (logits.sizes[h] - 1) * twin + sum(logits.sizes[g] * rest[g] for g in rest)
        own.append(1 / total)
        other.append(twin / total)
        for g in rest:
            across[g, h] = rest[g] / total
    return BlockMatrix.from_entries(logits.sizes, own, other, across)
