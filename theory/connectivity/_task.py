"""The loss over a data set: value, gradient and an upper bound over a box of outputs; convex in the outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from theory._arrays import as_floats, as_labels
from theory._errors import InvalidInput
from theory.connectivity.network import DenseNetwork

LOSSES = ("cross_entropy", "logistic", "squared")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """Inputs X (n, d), labels or targets y, and the loss, a mean over the samples.

    ``cross_entropy`` (classes 0..C-1), ``logistic`` (one output, y = +-1: mean log(1 + exp(-y f))), ``squared``
    (targets (n, C): mean of ||f - y||^2 / 2).
    """

    X: np.ndarray
    y: np.ndarray
    loss: str

    @staticmethod
    def of(network: DenseNetwork, X: ArrayLike, y: ArrayLike, loss: str) -> Task:
        """Checked against the shapes of a network."""
        inputs = as_floats("X", X, ndim=2)
        d, C = network.widths[0], network.widths[-1]
        if inputs.shape[1] != d or len(inputs) == 0:
            raise InvalidInput(f"X must have shape (n, {d}) with n >= 1, but has {inputs.shape}.")
        if loss not in LOSSES:
            raise InvalidInput(f"loss must be one of {', '.join(LOSSES)}, but is {loss!r}.")
        if loss == "squared":
            targets = as_floats("y", y)
            targets = targets[:, None] if targets.ndim == 1 and C == 1 else targets
            if targets.shape != (len(inputs), C):
                raise InvalidInput(f"y must have shape {(len(inputs), C)}, but has {targets.shape}.")
        elif loss == "logistic":
            targets = as_floats("y", y, ndim=1)
            if C != 1 or not np.isin(targets, (-1, 1)).all():
                raise InvalidInput(f"the logistic loss takes labels +-1 and one output, not {C}.")
        else:
            targets = as_labels("y", y)
            if C < 2 or targets.max() >= C:
                raise InvalidInput(f"cross-entropy takes labels below the number of outputs, {C}, and two or more.")
        if len(targets) != len(inputs):
            raise InvalidInput(f"X and y must have one length, but have {len(inputs)} and {len(targets)}.")
        return Task(X=inputs, y=targets, loss=loss)

    @property
    def classes(self) -> np.ndarray | None:
        """Labels 0, 1, ..., or None where the targets are no classes."""
        if self.loss == "squared":
            return None
        return self.y if self.loss == "cross_entropy" else (self.y > 0).astype(np.int64)

    def value(self, outputs: np.ndarray) -> float:
        """The loss at outputs (n, C)."""
        return self.upper(outputs, np.zeros(()))

    def upper(self, outputs: np.ndarray, radius: np.ndarray) -> float:
        """The largest loss over outputs within ``radius`` (broadcast) of ``outputs``, exact up to rounding."""
        if self.loss == "squared":
            return float(0.5 * ((np.abs(outputs - self.y) + radius) ** 2).sum(axis=1).mean())
        if self.loss == "logistic":
            slack = np.broadcast_to(radius, outputs.shape)[:, 0]
            return float(np.logaddexp(0, slack - self.y * outputs[:, 0]).mean())
        worst = outputs + radius
        at = np.arange(len(self.y))
        low = outputs[at, self.y] - np.broadcast_to(radius, outputs.shape)[at, self.y]
        gaps = worst - low[:, None]
        gaps[at, self.y] = 0.0
        return float(logsumexp(gaps, axis=1).mean())

    def gradient(self, outputs: np.ndarray) -> np.ndarray:
        """Derivative (n, C) of the loss by the outputs."""
        n = len(outputs)
        if self.loss == "squared":
            return (outputs - self.y) / n
        if self.loss == "logistic":
            z = -self.y[:, None] * outputs
            return -self.y[:, None] * np.exp(z - np.logaddexp(0, z)) / n
        p = np.exp(outputs - logsumexp(outputs, axis=1, keepdims=True))
        p[np.arange(n), self.y] -= 1
        return p / n

    def of_network(self, network: DenseNetwork) -> float:
        """The loss of a network; InvalidInput where it is not finite, since NaN would pass for the least of all."""
        with np.errstate(over="ignore", invalid="ignore"):
            found = self.value(network.outputs(self.X))
        if not np.isfinite(found):
            raise InvalidInput("the loss of a network is not finite on these data: its weights overflow.")
        return found
