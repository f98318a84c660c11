"""What the exact solutions share: times in two scales, signed labels, orthogonal inputs, the small records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats, short_repr
from theory._errors import InvalidInput, PreconditionError

LARGEST_LOG = 709.0


class Data(NamedTuple):
    """Inputs X of shape (n, d), one sample to a row, and targets or labels y of shape (n,) or (n, k)."""

    X: np.ndarray
    y: np.ndarray


class Times(NamedTuple):
    """A time and its logarithm; ``t`` is infinite where only the logarithm fits into float64."""

    t: np.ndarray
    log_t: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MarginLimit:
    """Where a flow of an exponential-tailed loss heads.

    Attributes
    ----------
    direction : unit vector, of the shape of the parameters.
    margin : min_n y_n f(x_n) at ``direction``.
    """

    direction: np.ndarray
    margin: float

    __repr__ = short_repr


def as_times(t: ArrayLike | None, log_t: ArrayLike | None) -> Times:
    """Exactly one of ``t >= 0`` and ``log_t``, as both; raises InvalidInput otherwise."""
    if t is not None and log_t is None:
        plain = as_time(t)
        with np.errstate(divide="ignore"):
            return Times(plain, np.log(plain))
    if log_t is not None and t is None:
        logs = as_floats("log_t", log_t)
        with np.errstate(over="ignore", under="ignore"):
            return Times(np.exp(logs), logs)
    raise InvalidInput("give exactly one of t and log_t.")


def as_time(t: ArrayLike) -> np.ndarray:
    """``t`` as an array of finite nonnegative times; raises InvalidInput otherwise."""
    plain = as_floats("t", t)
    if (plain < 0).any():
        raise InvalidInput(f"t must be nonnegative, but contains {plain.min():g}.")
    return plain


def as_signs(name: str, value: ArrayLike) -> np.ndarray:
    """Labels -1 and 1 as floats; raises InvalidInput for anything else."""
    labels = as_floats(name, value)
    if labels.size == 0 or not np.isin(labels, (-1.0, 1.0)).all():
        raise InvalidInput(f"{name} must consist of labels -1 and 1.")
    return labels


def as_problem(X: ArrayLike, y: ArrayLike, *, signs: bool) -> tuple[np.ndarray, np.ndarray]:
    """Copies of X (n, d) and y (n,), with labels -1 and 1 if ``signs``; raises InvalidInput otherwise."""
    inputs = as_floats("X", X, ndim=2)
    targets = as_signs("y", y) if signs else as_floats("y", y)
    if 0 in inputs.shape:
        raise InvalidInput(f"X must have at least one sample and one coordinate, but has shape {inputs.shape}.")
    if targets.shape != inputs.shape[:1]:
        raise InvalidInput(f"y must have shape {inputs.shape[:1]}, one per row of X, but has shape {targets.shape}.")
    return frozen(inputs), frozen(targets)


def as_vector(name: str, value: ArrayLike, length: int) -> np.ndarray:
    """A copy of ``value`` of shape (length,); raises InvalidInput otherwise."""
    vector = as_floats(name, value)
    if vector.shape != (length,):
        raise InvalidInput(f"{name} must have shape ({length},), but has shape {vector.shape}.")
    return frozen(vector)


def orthogonal_squares(X: np.ndarray) -> np.ndarray:
    """Squared lengths (n,) of the rows of X, mutually orthogonal to 1e-12 of their lengths.

    Raises
    ------
    InvalidInput : a row that is zero. PreconditionError : two rows that are not orthogonal.
    """
    lengths = np.linalg.norm(X, axis=1)
    if not (lengths > 0).all():
        raise InvalidInput(f"row {int(np.argmin(lengths))} of X is zero; every input must be nonzero.")
    unit = X / lengths[:, None]
    cosines = np.abs(unit @ unit.T - np.diag(np.diag(unit @ unit.T)))
    i, j = np.unravel_index(int(cosines.argmax()), cosines.shape)
    if cosines[i, j] > 1e-12:
        raise PreconditionError(
            f"the inputs must be mutually orthogonal, but rows {i} and {j} have cosine {cosines[i, j]:.3g}."
        )
    return lengths**2


def frozen(array: np.ndarray) -> np.ndarray:
    """A read-only copy."""
    copy = np.array(array, dtype=np.float64)
    copy.setflags(write=False)
    return copy


def store(record: object, **values: object) -> None:
    """Set fields of a frozen record, once, in its __post_init__."""
    for name, value in values.items():
        object.__setattr__(record, name, value)
