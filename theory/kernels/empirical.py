"""The tangent kernel of a network as it is: inner products of its gradients."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats, as_positive, as_real
from theory._errors import InvalidInput, PreconditionError


class Differentiable(Protocol):
    """What is asked of a network: those of ``theory.flow`` have it."""

    @property
    def n_parameters(self) -> int:
        """Length P of theta."""

    def jacobian(self, theta: np.ndarray, X: np.ndarray) -> np.ndarray:
        """``df_nk/dtheta`` (N, K, P)."""


def empirical_tangent_kernel(
    network: Differentiable,
    theta: ArrayLike,
    X: ArrayLike,
    X_other: ArrayLike | None = None,
    *,
    parametrisation: str = "standard",
    weight_variance: float = 2.0,
    bias_variance: float = 0.0,
) -> np.ndarray:
    r"""``K_nk,mj = sum_p c_p^2 (df_k(x_n)/dtheta_p) (df_j(x_m)/dtheta_p)`` of one network.

    With ``standard`` c = 1: the kernel of gradient descent on theta. With ``ntk`` theta is read as ``c`` times
    standard normal parameters, ``c = sqrt(s_w / fan-in)`` for weights and ``sqrt(s_b)`` for biases, as in
    ``relu_kernels`` (*derived*: chain rule). At a kink the gradient is that of the side where the unit is off.

    Parameters
    ----------
    network, theta : with ``jacobian``; parameters (P). ``ntk`` needs a fully connected network of ``theory.flow``.
    X, X_other : (N, d) and (M, d); X_other defaults to X.
    weight_variance, bias_variance : s_w, s_b, for ``ntk`` only.

    Returns
    -------
    K : (N, M), or (N, K, M, K) for K > 1 outputs.

    Raises
    ------
    InvalidInput : shapes that do not meet, an unknown parametrisation. PreconditionError : ``ntk`` of another network.

    Cost: two Jacobians (N K P numbers).

    Examples
    --------
    >>> from theory.flow import fully_connected
    >>> net = fully_connected((2, 1), activation="linear")
    >>> empirical_tangent_kernel(net, [0.0, 0.0], [[1.0, 2.0], [3.0, 4.0]])
    array([[ 5., 11.],
           [11., 25.]])
    """
    at = as_floats("theta", theta, ndim=1)
    if at.shape != (network.n_parameters,):
        raise InvalidInput(f"theta must have shape ({network.n_parameters},), but has {at.shape}.")
    if parametrisation not in ("standard", "ntk"):
        raise InvalidInput(f"parametrisation must be standard or ntk, but is {parametrisation!r}.")
    c = 1.0 if parametrisation == "standard" else _scales(network, weight_variance, bias_variance)
    J = c * network.jacobian(at, as_floats("X", X, ndim=2))
    J_other = J if X_other is None else c * network.jacobian(at, as_floats("X_other", X_other, ndim=2))
    K = np.tensordot(J, J_other, axes=(2, 2))
    return K[:, 0, :, 0] if J.shape[1] == 1 else K


def _scales(network: Differentiable, weight_variance: float, bias_variance: float) -> np.ndarray:
    """The c (P) of each parameter."""
    s_w, s_b = as_positive("weight_variance", weight_variance), as_real("bias_variance", bias_variance)
    if s_b < 0:
        raise InvalidInput(f"bias_variance must be at least 0, but is {s_b:g}.")
    views = getattr(network, "views", None)
    c = np.ones(network.n_parameters)
    named = views(c) if views is not None else {}
    if not named or not all(name[0] in "Wb" and array.ndim == (2 if name[0] == "W" else 1)
                            for name, array in named.items()):  # fmt: skip
        raise PreconditionError("the ntk parametrisation needs a fully connected network of theory.flow.")
    for name, array in named.items():
        array[...] = np.sqrt(s_w / array.shape[1]) if name[0] == "W" else np.sqrt(s_b)
    return c
