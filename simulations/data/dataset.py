"""The record of a data set, and what is done to its labels: thinned to unequal classes, or shuffled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats, as_labels
from theory._errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Samples with labels, and held-out ones where there are any.

    Parameters
    ----------
    name : what it is called in records.
    X, y : samples (n, ...) and labels (n,) in 0..K-1, every class present; kept as float64 and int64.
    X_test, y_test : held-out samples (m, ...) and labels of the same shapes, both or neither; a class may be absent.
    num_classes : K; counted from y where 0.
    notes : where the data come from, in words.

    Raises
    ------
    InvalidInput : not finite, shapes that do not meet, a label out of range, a class without a sample.

    Examples
    --------
    >>> data = Dataset(name="two points", X=[[0.0], [1.0]], y=[0, 1])
    >>> data
    Dataset('two points': 2 samples of shape (1,), 2 classes, no held-out samples)
    >>> data.counts
    array([1, 1])
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray | None = None
    y_test: np.ndarray | None = None
    num_classes: int = 0
    notes: str = ""

    def __post_init__(self) -> None:
        X, y = _samples("X", self.X), as_labels("y", self.y)
        _same_length("X", X, "y", y)
        K = as_count("num_classes", self.num_classes, minimum=0) or int(y.max()) + 1
        if y.max() >= K:
            raise InvalidInput(f"labels must lie in 0..{K - 1}, but y holds {y.max()}.")
        missing = np.flatnonzero(np.bincount(y, minlength=K) == 0)
        if len(missing):
            raise InvalidInput(f"every class must have a sample, but class {missing[0]} has none in y.")
        if (self.X_test is None) != (self.y_test is None):
            raise InvalidInput("X_test and y_test must be given together.")
        if self.X_test is not None and self.y_test is not None:
            X_test, y_test = _samples("X_test", self.X_test), as_labels("y_test", self.y_test)
            _same_length("X_test", X_test, "y_test", y_test)
            if X_test.shape[1:] != X.shape[1:]:
                raise InvalidInput(f"samples of X_test have shape {X_test.shape[1:]}, but those of X {X.shape[1:]}.")
            if y_test.max() >= K:
                raise InvalidInput(f"labels must lie in 0..{K - 1}, but y_test holds {y_test.max()}.")
            object.__setattr__(self, "X_test", X_test)
            object.__setattr__(self, "y_test", y_test)
        for field, value in (("X", X), ("y", y), ("num_classes", K)):
            object.__setattr__(self, field, value)

    @property
    def counts(self) -> np.ndarray:
        """Samples of each class in y, (K,)."""
        return np.bincount(self.y, minlength=self.num_classes)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.X.shape[1:])

    def subset(self, *, counts: ArrayLike, seed: int = 0) -> Dataset:
        """The first ``counts[k]`` samples of each class in a seeded order; held-out samples stay as they are.

        With one seed, smaller counts give a part of what larger counts give. Samples keep their order.

        Parameters
        ----------
        counts : (K,) samples to keep of each class, at least 1 and at most what there is; or one number for all.

        Raises
        ------
        InvalidInput : another length, a fractional or zero count, a class that has too few.

        Examples
        --------
        >>> Dataset(name="four", X=np.eye(4), y=[0, 0, 0, 1]).subset(counts=[2, 1]).counts
        array([2, 1])
        """
        given = np.asarray(counts)
        if given.ndim == 0:
            given = np.full(self.num_classes, given)
        if given.shape != (self.num_classes,):
            raise InvalidInput(
                f"counts must have one entry for each of {self.num_classes} classes, but has shape {given.shape}."
            )
        kept = [as_count(f"counts[{k}]", value.item()) for k, value in enumerate(given)]
        for k, (wanted, there) in enumerate(zip(kept, self.counts, strict=True)):
            if wanted > there:
                raise InvalidInput(f"class {k} of {self.name!r} has {there} samples, but {wanted} were asked for.")
        rng = np.random.default_rng([as_count("seed", seed, minimum=0), 1])
        chosen = [rng.permutation(np.flatnonzero(self.y == k))[:n] for k, n in enumerate(kept)]
        index = np.sort(np.concatenate(chosen))
        words = f"{self.notes} Thinned to {_listed(kept)} samples per class (seed {seed}).".strip()
        return replace(self, X=self.X[index], y=self.y[index], notes=words)

    def to_json(self) -> dict[str, Any]:
        """Name, sizes, class counts and notes; not the samples."""
        return {
            "name": self.name,
            "samples": len(self.y),
            "held_out": 0 if self.y_test is None else len(self.y_test),
            "input_shape": list(self.input_shape),
            "num_classes": self.num_classes,
            "counts": self.counts.tolist(),
            "notes": self.notes,
        }

    def __repr__(self) -> str:
        held = "no held-out samples" if self.y_test is None else f"{len(self.y_test)} held out"
        size = f"{len(self.y)} samples of shape {self.input_shape}, {self.num_classes} classes"
        return f"Dataset({self.name!r}: {size}, {held})"


def imbalanced(dataset: Dataset, counts: ArrayLike, seed: int = 0) -> Dataset:
    """``dataset`` thinned to ``counts`` samples per class, chosen by ``seed``; see ``Dataset.subset``.

    Parameters
    ----------
    counts : (K,), for example of ``step_counts`` or ``long_tail_counts``.

    Raises
    ------
    InvalidInput : a class that has fewer samples than asked for, a count below 1.

    Examples
    --------
    >>> from simulations.data import digits, step_counts
    >>> imbalanced(digits(), step_counts(10, 100, 10)).counts
    array([100, 100, 100, 100, 100,  10,  10,  10,  10,  10])
    """
    return dataset.subset(counts=counts, seed=seed)


def random_labels(dataset: Dataset, seed: int = 0) -> Dataset:
    """``dataset`` with its labels shuffled among its samples, so that samples tell nothing about them.

    A permutation, so class counts stay; the held-out labels are shuffled among themselves. Whatever a network then
    learns is memory: its expected held-out error is that of a guess.

    Examples
    --------
    >>> from simulations.data import digits
    >>> data = digits()
    >>> shuffled = random_labels(data, seed=1)
    >>> bool((shuffled.counts == data.counts).all()), bool((shuffled.y == data.y).mean() < 0.2)
    (True, True)
    """
    rng = np.random.default_rng([as_count("seed", seed, minimum=0), 2])
    y = rng.permutation(dataset.y)
    y_test = None if dataset.y_test is None else rng.permutation(dataset.y_test)
    words = f"{dataset.notes} Labels shuffled among the samples (seed {seed}).".strip()
    return replace(dataset, name=f"{dataset.name}, random labels", y=y, y_test=y_test, notes=words)


def _listed(counts: list[int]) -> str:
    """Counts in short: one number where all are equal."""
    return str(counts[0]) if len(set(counts)) == 1 else ", ".join(map(str, counts))


def _samples(name: str, value: ArrayLike) -> np.ndarray:
    X = as_floats(name, value)
    if X.ndim < 2 or X.size == 0:
        raise InvalidInput(f"{name} must be a non-empty array (n, ...) of samples, but has shape {X.shape}.")
    return X


def _same_length(name: str, X: np.ndarray, other: str, y: np.ndarray) -> None:
    if len(X) != len(y):
        raise InvalidInput(f"{name} holds {len(X)} samples, but {other} {len(y)} labels.")
