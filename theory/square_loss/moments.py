"""The two averages of a network's outputs on which everything about rho depends, and the usual targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats, as_labels, as_real
from theory._errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputMoments:
    r"""Averages over samples of the outputs ``f_n`` of the normalised network against the targets ``y_n``.

    Attributes
    ----------
    mu : mean of ``<y_n, f_n>``; for targets -1 and +1 the mean margin.
    M : mean of ``||f_n||^2``.
    target_square : Y, mean of ``||y_n||^2``: 1 for signs and one-hot targets, 1 - 1/K for centred ones.
    """

    mu: float
    M: float
    target_square: float

    @property
    def sigma(self) -> float:
        """Root of ``M - mu^2 / Y``, the mean of ``||f_n - (mu / Y) y_n||^2``: 0 where all outputs fit their targets.

        For signs it is the standard deviation of the margins.
        """
        return float(np.sqrt(max(self.M - self.mu**2 / self.target_square, 0.0)))


def output_moments(outputs: ArrayLike, targets: ArrayLike) -> OutputMoments:
    r"""``mu = (1/N) sum <y_n, f_n>``, ``M = (1/N) sum ||f_n||^2`` and ``Y = (1/N) sum ||y_n||^2``.

    Parameters
    ----------
    outputs, targets : (N, K), or (N) for one output.

    Raises
    ------
    InvalidInput : shapes that differ, no sample, NaN; targets that are all zero.

    Examples
    --------
    >>> found = output_moments([0.5, -0.5, 0.25], [1, -1, 1])
    >>> round(found.mu, 12), round(found.M, 12), round(found.sigma**2, 12)
    (0.416666666667, 0.1875, 0.013888888889)
    """
    f, y = as_floats("outputs", outputs), as_floats("targets", targets)
    if f.shape != y.shape or f.ndim not in (1, 2) or f.size == 0:
        raise InvalidInput(f"outputs and targets must have one shape (N) or (N, K), but have {f.shape} and {y.shape}.")
    N = len(f)
    square = float((y**2).sum() / N)
    if square == 0:
        raise InvalidInput("the targets are all zero: there is nothing to fit.")
    return OutputMoments(mu=float((f * y).sum() / N), M=float((f**2).sum() / N), target_square=square)


def class_targets(labels: ArrayLike, num_classes: int | None = None, *, centred: bool = False) -> np.ndarray:
    """One-hot targets (N, K) of labels 0..K-1, or the same less 1/K in every entry (``centred``).

    Raises
    ------
    InvalidInput : labels that are not whole numbers from 0, or reach ``num_classes``.

    Examples
    --------
    >>> class_targets([0, 1], 2, centred=True)
    array([[ 0.5, -0.5],
           [-0.5,  0.5]])
    """
    y = as_labels("labels", labels)
    K = int(y.max()) + 1 if num_classes is None else as_count("num_classes", num_classes)
    if y.max() >= K:
        raise InvalidInput(f"labels must be below num_classes = {K}, but reach {y.max()}.")
    return np.eye(K)[y] - (1 / K if centred else 0.0)


def as_decay(lam: float) -> float:
    """``lam`` as a float of at least 0."""
    decay = as_real("lam", lam)
    if decay < 0:
        raise InvalidInput(f"lam must be at least 0, but is {decay:g}.")
    return decay


def as_moments(mu: float, M: float, lam: float) -> tuple[float, float, float]:
    """Checked mean margin, mean square and weight decay: M and lam at least 0, and M + lam positive."""
    mean, square, decay = as_real("mu", mu), as_real("M", M), as_real("lam", lam)
    if square < 0 or decay < 0:
        raise InvalidInput(f"M and lam must be at least 0, but are {square:g} and {decay:g}.")
    if square + decay == 0:
        raise InvalidInput("M and lam must not both be 0: then nothing holds rho.")
    return mean, square, decay
