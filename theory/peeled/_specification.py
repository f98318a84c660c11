"""What every specification of a last-layer model has, and the checks its parts share."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats
from theory._errors import InvalidInput
from theory.peeled._partition import Partition


class Specification(Protocol):
    """A model of the last layer: class counts and whatever else it takes."""

    @property
    def counts(self) -> Any: ...
    @property
    def dimension(self) -> int | None: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def _partition(self) -> Partition: ...
    def parameters(self) -> dict[str, object]:
        """What the model was given besides its counts, as plain values."""
        ...


def as_counts(value: ArrayLike) -> np.ndarray:
    """(K,) positive whole numbers up to 10^12, read-only float64, K from 2 to 10^6; InvalidInput otherwise."""
    counts = as_floats("counts", value, ndim=1)
    if not 2 <= len(counts) <= 10**6:
        raise InvalidInput(f"counts must name between 2 and 1000000 classes, but names {len(counts)}.")
    if (counts < 1).any() or (counts != np.floor(counts)).any() or (counts > 1e12).any():
        raise InvalidInput("counts must be positive integers up to 10^12 (no class may be empty).")
    counts = counts.copy()
    counts.flags.writeable = False
    return counts


def as_class_weights(value: ArrayLike | str | None, counts: np.ndarray) -> np.ndarray | None:
    """(K,) positive weights, or None; "balanced" means N / (K n_k); InvalidInput otherwise."""
    if value is None:
        return None
    if isinstance(value, str):
        if value != "balanced":
            raise InvalidInput(f"class_weights must be an array or 'balanced', but is {value!r}.")
        weights = counts.sum() / (len(counts) * counts)
    else:
        weights = as_floats("class_weights", value, ndim=1).copy()
    if weights.shape != counts.shape:
        raise InvalidInput(f"class_weights must have one entry per class ({len(counts)}), but has {len(weights)}.")
    if not ((weights >= 1e-100) & (weights <= 1e100)).all():
        raise InvalidInput("class_weights must be positive (between 1e-100 and 1e100).")
    weights.flags.writeable = False
    return weights


def label_counts(y: ArrayLike, num_classes: int | None = None) -> np.ndarray:
    """Samples per class in sorted order of the labels (numbers or strings); InvalidInput for an empty class."""
    labels = np.asarray(y)
    if labels.ndim != 1 or labels.size == 0:
        raise InvalidInput(f"y must be a non-empty one-dimensional array, but has shape {labels.shape}.")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise InvalidInput("y must not contain NaN or infinity.")
    if labels.dtype.kind not in "biufUS":
        raise InvalidInput(f"y must hold numbers or strings, but has type {labels.dtype}.")
    counts = np.unique(labels, return_counts=True)[1]
    if num_classes is not None and len(counts) != as_count("num_classes", num_classes):
        raise InvalidInput(f"y holds {len(counts)} classes, but num_classes is {num_classes}: a class is empty.")
    return counts
