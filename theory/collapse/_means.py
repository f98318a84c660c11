"""First pass: class counts and class means, mergeable."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import Matrix, Vector, as_count
from theory._errors import InvalidInput
from theory.collapse._batches import pieces


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassMeans:
    """Counts and means of the classes: all that the second pass needs to know of the first.

    Attributes
    ----------
    counts : samples per class, int64 array of shape (K,), each at least 1.
    means : class means, array of shape (K, d).
    """

    counts: np.ndarray
    means: np.ndarray

    def centre(self, global_mean: str = "class") -> Vector:
        """Return the global mean (d,): ``class`` averages the class means, ``sample`` weighs them by counts.

        Raises
        ------
        InvalidInput : another name.
        """
        pivot = self.means[0]
        if global_mean == "class":
            return pivot + (self.means - pivot).mean(axis=0)
        if global_mean == "sample":
            return pivot + (self.counts / self.counts.sum()) @ (self.means - pivot)
        raise InvalidInput(f"global_mean must be 'class' or 'sample', but is {global_mean!r}.")

    def to_json(self) -> dict[str, object]:
        """Return a dictionary of plain lists."""
        return {"counts": self.counts.tolist(), "means": self.means.tolist()}

    def summary(self) -> str:
        """Return one sentence for people."""
        K, d = self.means.shape
        few, many = int(self.counts.min()), int(self.counts.max())
        return f"{K} class means in dimension {d}, from {few} to {many} samples per class."

    def __repr__(self) -> str:
        return f"ClassMeans(K={self.means.shape[0]}, d={self.means.shape[1]}, N={int(self.counts.sum())})"


class MeansAccumulator:
    r"""Running counts and means per class, from batches in any order and cut.

    .. math:: m_{ab} = m_a + \frac{n_b}{n_a + n_b} (m_b - m_a)

    for two sets of samples of one class, the pairwise update of chan1983algorithms (*proved*: exact in exact
    arithmetic). Means are held as deviations from the first sample of the class, so that neither a large
    common offset nor many small batches cost digits.

    Parameters
    ----------
    num_classes : K, at least 2.
    dimension : d, the length of a feature vector.

    Raises
    ------
    InvalidInput : K < 2 or d < 1.

    Notes
    -----
    Cost O(N d), memory O(K d).

    Examples
    --------
    >>> left = MeansAccumulator(2, 1).add([[1.0], [4.0]], [0, 1])
    >>> right = MeansAccumulator(2, 1).add([[3.0], [4.0]], [0, 1])
    >>> (left + right).finish().means.tolist()
    [[2.0], [4.0]]
    """

    __slots__ = ("_counts", "_moved", "_pivots")

    def __init__(self, num_classes: int, dimension: int) -> None:
        num_classes = as_count("num_classes", num_classes, minimum=2)
        dimension = as_count("dimension", dimension)
        self._counts = np.zeros(num_classes, dtype=np.int64)
        self._pivots: Matrix = np.zeros((num_classes, dimension))
        self._moved: Matrix = np.zeros((num_classes, dimension))

    def add(self, features: ArrayLike, labels: ArrayLike) -> MeansAccumulator:
        """Take in a batch: features (n, d) and labels (n,); returns self. A refused batch changes nothing.

        Raises
        ------
        InvalidInput : NaN or infinity, shapes that do not meet, a label out of range, no samples.
        """
        from scipy.sparse import csc_array

        counts, pivots, moved = self._counts.copy(), self._pivots.copy(), self._moved.copy()
        K, d = moved.shape
        for part, classes in pieces(features, labels, num_classes=K, dimension=d):
            n = len(classes)
            seen, where, numbers = np.unique(classes, return_index=True, return_counts=True)
            new = counts[seen] == 0
            pivots[seen[new]] = part[where[new]]
            indicator = csc_array((np.ones(n), classes, np.arange(n + 1)), (K, n))
            sums = (indicator @ (part - pivots[classes]))[seen]
            counts[seen] += numbers
            moved[seen] += (sums - numbers[:, None] * moved[seen]) / counts[seen, None]
        self._counts, self._pivots, self._moved = counts, pivots, moved
        return self

    def __add__(self, other: MeansAccumulator) -> MeansAccumulator:
        """Return a new accumulator of the samples of both.

        Raises
        ------
        InvalidInput : different numbers of classes or dimensions.
        """
        if not isinstance(other, MeansAccumulator):
            return NotImplemented
        if self._moved.shape != other._moved.shape:
            raise InvalidInput(
                "accumulators must have one (classes, dimension), "
                f"but have {self._moved.shape} and {other._moved.shape}."
            )
        merged = MeansAccumulator(*self._moved.shape)
        merged._counts = self._counts + other._counts
        absent = (self._counts == 0)[:, None]
        share = (other._counts / np.maximum(merged._counts, 1))[:, None]
        difference = (other._pivots - self._pivots) + (other._moved - self._moved)
        merged._pivots = np.where(absent, other._pivots, self._pivots)
        merged._moved = np.where(absent, other._moved, self._moved + share * difference)
        return merged

    @classmethod
    def combine(cls, shards: Iterable[MeansAccumulator]) -> MeansAccumulator:
        """Return the sum of one or more accumulators."""
        parts = list(shards)
        if not parts:
            raise InvalidInput("combine needs at least one accumulator, but got none.")
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def finish(self) -> ClassMeans:
        """Return the counts and means.

        Raises
        ------
        InvalidInput : a class without samples.
        """
        empty = np.flatnonzero(self._counts == 0)
        if len(empty):
            raise InvalidInput(
                f"every class needs a sample, but {len(empty)} of {len(self._counts)} classes have none, "
                f"class {empty[0]} first."
            )
        counts, means = self._counts.copy(), self._pivots + self._moved
        counts.setflags(write=False)
        means.setflags(write=False)
        return ClassMeans(counts=counts, means=means)

    def __repr__(self) -> str:
        K, d = self._moved.shape
        return f"MeansAccumulator(K={K}, d={d}, N={int(self._counts.sum())})"
