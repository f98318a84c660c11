"""What breaks the balance of layers: a finite step, by its square, and weight decay, which shrinks it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats, as_positive, as_real
from theory._errors import InvalidInput
from theory.flow.exact._base import as_time


def descent_imbalance_change(
    eta: float, gradient_i: ArrayLike, gradient_j: ArrayLike, *, k_i: float = 1.0, k_j: float = 1.0
) -> float:
    r"""Change of ||w_i||^2/k_i - ||w_j||^2/k_j in one step w <- w - eta gradient of gradient descent.

    .. math:: \eta^2 \Bigl(\frac{\|g_i\|^2}{k_i} - \frac{\|g_j\|^2}{k_j}\Bigr)

    exactly, for blocks in which the network is homogeneous of degrees k_i and k_j; any loss and data. Gradient flow
    conserves the difference (du2018algorithmic). *derived*: the terms linear in eta are -2 eta <w, g>/k, equal for
    all blocks by Euler's identity.

    Parameters
    ----------
    eta : step, positive. gradient_i, gradient_j : gradients of the two blocks, of any shapes. k_i, k_j : degrees.

    Raises
    ------
    InvalidInput : numbers out of range.

    Examples
    --------
    >>> descent_imbalance_change(0.5, [2.0, 0.0], [1.0])
    0.75
    """
    eta, k_i, k_j = as_positive("eta", eta), as_positive("k_i", k_i), as_positive("k_j", k_j)
    g_i, g_j = as_floats("gradient_i", gradient_i), as_floats("gradient_j", gradient_j)
    return float(eta**2 * ((g_i**2).sum() / k_i - (g_j**2).sum() / k_j))


def decayed_imbalance(imbalance0: ArrayLike, lam: float, t: ArrayLike) -> np.ndarray:
    r"""An imbalance after time t of the flow theta' = -grad Loss - 2 lam theta.

    .. math:: \Delta(t) = e^{-4\lambda t}\, \Delta(0)

    for every quantity that the flow without decay conserves and that is quadratic: ||w_i||^2/k_i - ||w_j||^2/k_j, and
    the matrix W_{l+1}^T W_{l+1} - W_l W_l^T of linear layers. *derived*: the decay alone contributes -4 lam Delta.
    The penalty is lam ||theta||^2, so lam is half the ``weight_decay`` of common optimisers.

    Parameters
    ----------
    imbalance0 : the initial value, an array of any shape. lam : nonnegative. t : nonnegative times.

    Returns
    -------
    array of the shape of t followed by that of imbalance0.

    Raises
    ------
    InvalidInput : numbers out of range.

    Examples
    --------
    >>> bool(abs(decayed_imbalance(3.0, 0.25, np.log(3)) - 1) < 1e-15)
    True
    """
    start, lam, times = as_floats("imbalance0", imbalance0), as_real("lam", lam), as_time(t)
    if lam < 0:
        raise InvalidInput(f"lam must be nonnegative, but is {lam:g}.")
    with np.errstate(under="ignore", over="ignore"):
        return np.multiply.outer(np.exp(-4 * lam * times), start)
