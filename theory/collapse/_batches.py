"""Checking what is given: a classifier, or a batch, which is cut into pieces that fit the cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats, as_labels
from theory._errors import InvalidInput

# Elements of float64 in one piece (4 MiB), and the size beyond which squares of features could overflow.
_PIECE = 2**19
_LARGEST = 1e140


def pieces(
    features: ArrayLike, labels: ArrayLike, *, num_classes: int, dimension: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Float64 pieces (features, labels) of a batch, converted one at a time: a memory map stays on disk.

    Raises
    ------
    InvalidInput : shapes that do not meet, labels out of range, values that are not finite or above 1e140.
    """
    array = features if isinstance(features, np.ndarray) else as_floats("features", features)
    if array.ndim != 2 or array.shape[1] != dimension:
        raise InvalidInput(f"features must have shape (samples, {dimension}), but have shape {array.shape}.")
    classes = as_labels("labels", labels)
    if len(classes) != len(array):
        raise InvalidInput(f"there are {len(array)} feature rows but {len(classes)} labels.")
    if classes.max() >= num_classes:
        raise InvalidInput(
            f"labels must be below the number of classes {num_classes}, but one is {classes.max()}."
        )
    return _cut(array, classes, max(64, _PIECE // dimension, num_classes))


def _cut(array: np.ndarray, classes: np.ndarray, rows: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(classes), rows):
        part = as_floats("features", array[start : start + rows])
        if max(part.max(), -part.min()) > _LARGEST:
            raise InvalidInput(f"features must be at most {_LARGEST:g} in absolute value; rescale them.")
        yield part, classes[start : start + rows]


def classifier_and_bias(
    classifier: ArrayLike | None, bias: ArrayLike | None, K: int, d: int
) -> tuple[np.ndarray | None, np.ndarray]:
    """Classifier and bias as float64 copies of fitting shape; an absent bias is zero."""
    if classifier is None:
        if bias is not None:
            raise InvalidInput("a bias needs a classifier, but only the bias was given.")
        return None, np.zeros(K)
    W = as_floats("classifier", classifier, ndim=2).copy()
    b = np.zeros(K) if bias is None else as_floats("bias", bias, ndim=1).copy()
    if W.shape != (K, d):
        raise InvalidInput(
            f"classifier must have shape ({K}, {d}), classes by features, but has shape {W.shape}."
        )
    if max(np.abs(W).max(), np.abs(b).max(initial=0.0)) > _LARGEST:
        raise InvalidInput(
            f"classifier and bias must be at most {_LARGEST:g} in absolute value; rescale them."
        )
    if b.shape != (K,):
        raise InvalidInput(f"bias must have shape ({K},), but has shape {b.shape}.")
    return W, b
