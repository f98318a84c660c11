"""Norms of a convolution kernel (O, C/groups, *k) that need no input size."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats
from theory._errors import InvalidInput
from theory.norms._rounding import exponent, gamma, scaled_back


def as_kernel(kernel: ArrayLike) -> np.ndarray:
    """A finite float64 kernel of a 1-D or 2-D convolution, (O, C/groups, k) or (O, C/groups, k1, k2)."""
    array = as_floats("kernel", kernel)
    if array.ndim not in (3, 4) or array.size == 0:
        raise InvalidInput(
            f"kernel must be (out, in/groups, k) or (out, in/groups, k1, k2) without an empty axis, "
            f"but has shape {array.shape}."
        )
    return array


def tap_norms(kernel: ArrayLike) -> np.ndarray:
    r"""Length over input channels of each output channel's vector at each kernel position, from above.

    .. math:: T_{o,p} = \|K_{o,:,p}\|_2

    *derived* as ``frobenius_norm``. The per-filter norms of convolutional peeling are built from it.

    Parameters
    ----------
    kernel : (O, C/groups, *k).

    Returns
    -------
    ndarray (O, taps), positions in C order.

    Raises
    ------
    InvalidInput : not a finite kernel of a 1-D or 2-D convolution, or a length above the largest float64.

    Cost: one pass.

    Examples
    --------
    >>> bool((abs(tap_norms([[[3, 1], [4, 0]]]) - [[5, 1]]) < 1e-14).all())
    True
    """
    array = as_kernel(kernel)
    e = exponent(array)
    flat = np.ldexp(array, -e).reshape(*array.shape[:2], -1)
    lengths = np.linalg.norm(flat, axis=1) * (1 + gamma(array.shape[1] + 8))
    with np.errstate(over="ignore"):
        lengths[lengths > 0] = np.nextafter(np.ldexp(lengths[lengths > 0], e), np.inf)
    if not np.isfinite(lengths).all():
        raise InvalidInput("the entries are so large that the norm exceeds float64; rescale them.")
    return lengths


def filter_norm_2_1(kernel: ArrayLike) -> float:
    r"""Sum over output channels and kernel positions of the length over input channels, from above.

    .. math:: \sum_{o,p} \|K_{o,:,p}\|_2

    The norm in which convolution kernels are covered (Maurey's argument at the level of the kernel): no factor of the
    number of output positions. *derived* as ``frobenius_norm``.

    Parameters
    ----------
    kernel : (O, C/groups, *k).

    Raises
    ------
    InvalidInput : not a finite kernel of a 1-D or 2-D convolution, or a norm above the largest float64.

    Cost: one pass.

    Examples
    --------
    >>> abs(filter_norm_2_1([[[3, 1], [4, 0]]]) - 6) < 1e-13
    True
    """
    lengths = tap_norms(kernel)
    e = exponent(lengths)
    total = float(np.ldexp(lengths, -e).sum()) * (1 + gamma(lengths.size))
    return scaled_back(total, e, up=True)
