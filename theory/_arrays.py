"""Array aliases, and the one place that checks finite, shape, positive."""

from __future__ import annotations

import numbers
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from theory._errors import InvalidInput

Vector: TypeAlias = Float[np.ndarray, "n"]
Matrix: TypeAlias = Float[np.ndarray, "m n"]
Square: TypeAlias = Float[np.ndarray, "n n"]
Labels: TypeAlias = Int[np.ndarray, "n"]


def as_floats(name: str, value: ArrayLike, *, ndim: int | None = None) -> np.ndarray:
    """``value`` as a finite float64 array (a copy only where the type asks for one).

    Raises
    ------
    InvalidInput : not numeric, complex, not finite, or not of ``ndim`` dimensions.
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise TypeError
        array = array.astype(np.float64, copy=False)
    except (TypeError, ValueError):
        raise InvalidInput(f"{name} must be an array of real numbers.") from None
    if ndim is not None and array.ndim != ndim:
        raise InvalidInput(f"{name} must have {ndim} dimension(s), but has shape {array.shape}.")
    if not np.isfinite(array).all():
        raise InvalidInput(f"{name} must be finite, but contains NaN or infinity.")
    return array


def as_positive(name: str, value: Any) -> float:
    """``value`` as a positive finite float; raises InvalidInput otherwise."""
    number = as_real(name, value)
    if number <= 0:
        raise InvalidInput(f"{name} must be positive, but is {number:g}.")
    return number


def as_real(name: str, value: Any) -> float:
    """``value`` as a finite float; raises InvalidInput otherwise."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise InvalidInput(f"{name} must be a real number, but is {value!r}.")
    try:
        number = float(value)
    except OverflowError:
        number = np.inf
    if not np.isfinite(number):
        raise InvalidInput(f"{name} must be finite, but is {number}.")
    return number


def as_count(name: str, value: Any, *, minimum: int = 1) -> int:
    """``value`` as an integer of at least ``minimum``; a float is taken only where it is whole."""
    number = as_real(name, value)
    if number != int(number):
        raise InvalidInput(f"{name} must be a whole number, but is {number:g}.")
    if number < minimum:
        raise InvalidInput(f"{name} must be at least {minimum}, but is {int(number)}.")
    return int(value)


def as_labels(name: str, value: ArrayLike) -> np.ndarray:
    """Class labels as integers 0..K-1 (int64); whole-number floats are accepted.

    Raises
    ------
    InvalidInput : empty, not one-dimensional, fractional or negative labels.
    """
    array = np.asarray(value)
    if array.ndim != 1 or array.size == 0:
        raise InvalidInput(f"{name} must be a non-empty one-dimensional array, but has shape {array.shape}.")
    whole = as_floats(name, array)
    if (whole != np.floor(whole)).any() or (whole < 0).any():
        raise InvalidInput(f"{name} must be whole numbers counted from 0.")
    if (whole > 2**53).any():
        raise InvalidInput(f"{name} must be below 2^53.")
    return whole.astype(np.int64)


def short_repr(record: object) -> str:
    """One line for a record: its numbers and words, and the shapes of its arrays; ``__repr__ = short_repr``."""
    from dataclasses import fields

    known = [field.name for field in fields(record) if field.repr]  # type: ignore[arg-type]
    return f"{type(record).__name__}({', '.join(_shown(name, getattr(record, name)) for name in known)})"


def _shown(name: str, value: object) -> str:
    if isinstance(value, np.ndarray) and value.ndim:
        return f"{name}: {value.shape}"
    if isinstance(value, tuple | list | dict) and len(value) > 3:
        return f"{name}: {len(value)}"
    return f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value!r}"
