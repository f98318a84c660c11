"""Growth of homogeneous models under an exponential tail: the constants, once the direction has converged."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats, as_positive, as_real
from theory._errors import InvalidInput
from theory.flow.exact.scalar import ScalarHomogeneous


def growth_constant_loss(L: float, margin: float) -> float:
    r"""Limit of t Loss (log t)^{2 - 2/L} along the gradient flow of an exponential-tailed loss.

    .. math:: \frac1{L^2\, \gamma^{2/L}}

    with Loss the sum over samples, L the degree of homogeneity and gamma the normalised margin of the limit
    direction. *derived* from du/dt = L^2 gamma^{2/L} u^{2 - 2/L} e^{-u}, u = log(1/Loss); the rate without its
    constant is lyu2020gradient's.

    Raises
    ------
    InvalidInput : L below 1 or a margin that is not positive.

    Examples
    --------
    >>> growth_constant_loss(2, 0.25)
    1.0
    """
    L, margin = _checked(L, margin)
    return float(1 / (L**2 * margin ** (2 / L)))


def growth_constant_norm(L: float, margin: float) -> float:
    r"""Limit of ||theta|| / (log t)^{1/L} along the gradient flow of an exponential-tailed loss.

    .. math:: \gamma^{-1/L}

    *derived* from log(1/Loss) = gamma ||theta||^L + O(1) and log(1/Loss) = log t + O(log log t); the rate without its
    constant is lyu2020gradient's.

    Raises
    ------
    InvalidInput : L below 1 or a margin that is not positive.

    Examples
    --------
    >>> growth_constant_norm(3, 0.125)
    2.0
    """
    L, margin = _checked(L, margin)
    return float(margin ** (-1 / L))


def normalised_loss_constant(L: float, log_t: ArrayLike, *, margin: float = 1.0, theta0: float = 1.0) -> np.ndarray:
    r"""How near the scalar model is to its limit: t Loss (log t)^{2 - 2/L} over :func:`growth_constant_loss`.

    .. math:: L^2 \gamma^{2/L}\; t\, \mathrm{Loss}(t)\, (\log t)^{2 - 2/L} \to 1

    for Loss = e^{-gamma theta^L}; the gap is of order log log t / log t. *derived*: exact at every t by
    :class:`ScalarHomogeneous`.

    Parameters
    ----------
    log_t : positive logarithms of time. Returns an array of this shape.

    Raises
    ------
    InvalidInput : numbers out of range.

    Examples
    --------
    >>> np.round(normalised_loss_constant(2, [1e2, 1e3, 1e4, 1e6]), 5)
    array([0.9521 , 0.99275, 0.99904, 0.99999])
    """
    L, margin = _checked(L, margin)
    logs = as_floats("log_t", log_t)
    if not (logs > 0).all():
        raise InvalidInput("log_t must be positive.")
    u = ScalarHomogeneous(L=L, theta0_value=theta0, x=margin).log_inverse_loss(log_t=logs)
    return np.exp(logs - u + (2 - 2 / L) * np.log(logs)) / growth_constant_loss(L, margin)


def _checked(L: float, margin: float) -> tuple[float, float]:
    L = as_real("L", L)
    if L < 1:
        raise InvalidInput(f"L must be at least 1, but is {L:g}.")
    return L, as_positive("margin", margin)
