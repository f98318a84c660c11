"""Per-sample gradients of the square loss at one point, and the checks that noise predictions share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats
from theory._errors import InvalidInput
from theory.flow.integrate import _problem
from theory.flow.networks import Network
from theory.square_loss._loss import MeanSquareLoss


@dataclass(frozen=True, slots=True, kw_only=True)
class PerSample:
    """X (N, d), y (N, K), theta (P), outputs (N, K), their Jacobian (N, K, P), gradients ``grad ||f_n - y_n||^2``."""

    X: np.ndarray
    y: np.ndarray
    theta: np.ndarray
    outputs: np.ndarray
    jacobian: np.ndarray
    gradients: np.ndarray


def per_sample(network: Network, data: tuple[ArrayLike, ArrayLike], theta: ArrayLike) -> PerSample:
    """All of it, with slopes from the signs of the pre-activations."""
    X, y = _problem(network, data, MeanSquareLoss())
    at = as_floats("theta", theta, ndim=1)
    if at.shape != (network.n_parameters,):
        raise InvalidInput(f"theta must have shape ({network.n_parameters},), but has {at.shape}.")
    f = network.output(at, X)
    J = network.jacobian(at, X)
    return PerSample(X=X, y=y, theta=at, outputs=f, jacobian=J, gradients=2 * np.einsum("nk,nkp->np", f - y, J))
