"""The spectral norm of a convolution: the cheapest certificate that is good enough."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_positive
from theory._errors import InvalidInput, PreconditionError
from theory.norms._apply import rayleigh_lower
from theory.norms._record import NormBracket
from theory.norms._rounding import gamma
from theory.norms.circular import bracket, circular, zero_bracket
from theory.norms.factor import factor_cost, factored
from theory.norms.geometry import Convolution, Spatial, as_convolution
from theory.norms.gram import grammed
from theory.norms.padded import grid_name, padded, padded_grid, padded_upper
from theory.norms.padding import unpadded
from theory.norms.patches import patches
from theory.norms.size_free import self_correlation, size_free, unfoldings
from theory.norms.toeplitz import toeplitz, toeplitz_sides

METHODS = ("auto", "grid", "gram", "size-free", "self-correlation", "unfoldings", "toeplitz", "factor")
DENSE = 1e9  # cost up to which the explicit matrix is taken at once
FACTOR = 2e10  # multiplications up to which `auto` factorises: about a second


def conv_spectral_norm(
    kernel: ArrayLike,
    size: Spatial,
    *,
    stride: Spatial = 1,
    padding: Spatial = 0,
    padding_mode: str = "zeros",
    dilation: Spatial = 1,
    groups: int = 1,
    method: str = "auto",
    rtol: float = 1e-2,
) -> NormBracket:
    r"""Spectral norm of a convolution layer, from both sides.

    .. math:: \|A\| = \max_{x \ne 0} \frac{\|\mathrm{conv}(x)\|_2}{\|x\|_2}

    on inputs of this size. ``upper`` is *derived* or *proved* as its method says, with rounding errors counted; no
    power iteration enters it. ``lower`` is the quotient at one vector, found by Lanczos.

    Methods: ``grid``, the frequency grid (``circular_norm``, exact; ``padded_norm``); ``gram``, the same grid by
    products alone; ``toeplitz``, the explicit matrix; ``factor``, a banded Cholesky factorisation of ``t I - A^T A``
    (any padding but circular); and three that hold for every size, ``size-free``, ``self-correlation``,
    ``unfoldings``. Reflect and replicate padding multiply the bound without padding by the norm of the padding, save
    under ``toeplitz`` and ``factor``. ``auto``: the kernel as a matrix where no pixel is read twice, the explicit
    matrix where it is small, else the grid, and where that is not within ``rtol`` of ``lower``, the factorisation if it
    costs less than about a second. On layers too large for that the grid stands: within 0.2% for kernels with one
    peak, but 10% above the norm for random kernels of 512 channels on 4 x 4 maps (``ratio`` shows it).

    Parameters
    ----------
    kernel : (O, C/groups, *k), 1-D or 2-D.
    size : input size, one number for all axes or one for each.
    stride, padding, dilation : one number, or one for each axis.
    padding_mode : ``zeros``, ``circular``, ``reflect`` or ``replicate``, all as in PyTorch.
    groups : as in PyTorch.
    method : see above.
    rtol : how near ``upper`` should come to the norm under ``auto`` and ``factor``; not a promise under ``auto``.

    Raises
    ------
    InvalidInput : arguments that describe no convolution, an unknown method.
    PreconditionError : a method that does not apply, or a matrix too large for it.

    Cost: see the methods; 512 x 512 x 3 x 3 on 4 x 4 takes 0.5 s, 64 x 64 x 3 x 3 on 32 x 32 takes 0.2 s.

    Examples
    --------
    >>> found = conv_spectral_norm([[[[1, 1, 1]] * 3]], 8, padding=1)
    >>> abs(found.upper - 8.29085936938158) < 1e-9
    True
    >>> abs(conv_spectral_norm([[[[1, 1, 1]] * 3]], 8, padding=1, padding_mode="circular").upper - 9) < 1e-10
    True
    """
    conv = as_convolution(
        kernel, size, stride=stride, padding=padding, padding_mode=padding_mode, dilation=dilation, groups=groups
    )
    tolerance = as_positive("rtol", rtol)
    if method not in METHODS:
        raise InvalidInput(f"method must be one of {', '.join(METHODS)}, but is {method!r}.")
    if conv.vanishes:
        return zero_bracket()
    if method == "auto":
        return _auto(conv, tolerance)
    if method == "toeplitz":
        return toeplitz(conv)
    if method == "factor":
        return factored(conv, rtol=tolerance)
    if method == "grid":
        return _grid(conv)
    bound: Callable[[Convolution], float] = {
        "gram": lambda c: grammed(c, c.size if c.padding_mode == "circular" else padded_grid(c), _fold(c)),
        "size-free": size_free,
        "self-correlation": self_correlation,
        "unfoldings": unfoldings,
    }[method]
    plain, factor, note = _reduced(conv)
    upper = bound(plain) * factor * np.sqrt(_repeats(plain)) * (1 + gamma(8))
    return bracket(conv, upper, rayleigh_lower(conv), method + note)


def _auto(conv: Convolution, rtol: float) -> NormBracket:
    if conv.most_reads() == 1:
        return patches(conv)
    rows, columns = toeplitz_sides(conv)
    small, large = sorted((rows, columns))
    exact_grid = conv.padding_mode == "circular" and not any(
        n % s or n != s * out for n, s, out in zip(conv.size, conv.stride, conv.out, strict=True)
    )
    if not exact_grid and conv.kernel.shape[0] * small**2 * (large + 4 * small) <= DENSE:
        return toeplitz(conv)
    found = _grid(conv)
    if found.ratio <= 1 + rtol or factor_cost(conv) > FACTOR:
        return found
    try:
        better = factored(conv, rtol=rtol / 2)
    except PreconditionError:
        return found
    return better if better.upper < found.upper else found


def _grid(conv: Convolution) -> NormBracket:
    if conv.padding_mode == "circular":
        return circular(conv)
    if conv.padding_mode == "zeros":
        return padded(conv)
    plain, factor, note = _reduced(conv)
    upper, twist, _ = padded_upper(plain)
    return bracket(conv, upper * factor * (1 + gamma(4)), rayleigh_lower(conv), grid_name(plain, twist) + note)


def _reduced(conv: Convolution) -> tuple[Convolution, float, str]:
    if conv.padding_mode in ("zeros", "circular"):
        return conv, 1.0, ""
    plain, factor = unpadded(conv)
    return plain, factor, f", times the norm {factor:.4g} of {conv.padding_mode} padding"


def _fold(conv: Convolution) -> tuple[int, ...]:
    if conv.padding_mode == "zeros":
        return conv.stride
    return tuple(int(np.gcd(s, n)) for s, n in zip(conv.stride, conv.size, strict=True))


def _repeats(conv: Convolution) -> int:
    """How often the most repeated output of a circular convolution occurs."""
    if conv.padding_mode != "circular":
        return 1
    rows = zip(conv.size, conv.stride, conv.out, strict=True)
    return prod(int(np.bincount((s * np.arange(out)) % n).max()) for n, s, out in rows)
