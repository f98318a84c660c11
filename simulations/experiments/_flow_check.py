"""One acceptance check of gradient flow: what theory says, what was measured, how far apart they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowCheck:
    """A claim, and the numbers that decide it.

    Attributes
    ----------
    number : of the check, with a letter where it has several parts. title : the claim in words.
    x : (T). theory, measured : (T, S), one column for each of S series.
    compared : how ``error`` is taken, a key of ``ERRORS``. error, tolerance : the claim holds if error <= tolerance.
    xlabel, ylabel : with units or normalisation. xscale, yscale : ``linear`` or ``log``.
    labels : names of the series, or empty.
    """

    number: str
    title: str
    x: np.ndarray
    theory: np.ndarray
    measured: np.ndarray
    compared: str
    error: float
    tolerance: float
    xlabel: str
    ylabel: str
    xscale: str = "linear"
    yscale: str = "linear"
    labels: tuple[str, ...] = ()

    @property
    def is_met(self) -> bool:
        """Whether the claim holds."""
        return self.error <= self.tolerance


def _relative(theory: np.ndarray, measured: np.ndarray) -> np.ndarray:
    return np.abs(measured / theory - 1)


def _scaled(theory: np.ndarray, measured: np.ndarray) -> np.ndarray:
    return np.abs(measured - theory) / np.abs(theory).max()


def _absolute(theory: np.ndarray, measured: np.ndarray) -> np.ndarray:
    return np.abs(measured - theory)


def _below(theory: np.ndarray, measured: np.ndarray) -> np.ndarray:
    return np.maximum(measured - theory, 0.0) / np.abs(theory)


ERRORS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "relative": _relative,  # entry by entry
    "scaled": _scaled,  # over the largest entry of the theory
    "absolute": _absolute,
    "below": _below,  # the theory is an upper bound: what lies above it, relatively
}


def error_of(compared: str, theory: np.ndarray, measured: np.ndarray) -> float:
    """The largest deviation, NaN counting as infinite."""
    worst = ERRORS[compared](theory, measured).max()
    return float(worst) if np.isfinite(worst) else np.inf


def check(
    number: str,
    title: str,
    x: Sequence[float] | np.ndarray,
    theory: np.ndarray | float,
    measured: np.ndarray,
    *,
    xlabel: str,
    ylabel: str,
    tolerance: float,
    compared: str = "relative",
    xscale: str = "linear",
    yscale: str = "linear",
    labels: tuple[str, ...] = (),
) -> FlowCheck:
    """A ``FlowCheck`` from arrays (T) or (T, S); the theory may be one number or a row for all of x."""
    points = np.asarray(x, dtype=float)
    found = np.asarray(measured, dtype=float).reshape(len(points), -1)
    said = np.asarray(theory, dtype=float)
    said = np.broadcast_to(said[:, None] if said.shape == points.shape else said, found.shape)
    return FlowCheck(
        number=number, title=title, x=points, theory=said, measured=found, compared=compared,
        error=error_of(compared, said, found), tolerance=tolerance, xlabel=xlabel, ylabel=ylabel,
        xscale=xscale, yscale=yscale, labels=labels,
    )  # fmt: skip
