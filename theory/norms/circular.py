"""Convolution that wraps around: one matrix for each frequency of the grid."""

from __future__ import annotations

from math import gcd

import numpy as np
from numpy.typing import ArrayLike

from theory._errors import PreconditionError
from theory.norms._blocks import Largest, largest_norm
from theory.norms._record import NormBracket
from theory.norms._rounding import gamma, scaled_back
from theory.norms._symbol import Grid, folding, symbol_loss, symbols
from theory.norms.geometry import Convolution, Spatial, as_convolution


def circular_norm(
    kernel: ArrayLike,
    size: Spatial,
    *,
    stride: Spatial = 1,
    padding: Spatial = 0,
    dilation: Spatial = 1,
    groups: int = 1,
) -> NormBracket:
    r"""Spectral norm of a convolution with circular padding: the largest norm among its frequency matrices.

    .. math:: \|A\| = \max_{u} \Bigl\| \tfrac{1}{\sqrt{\prod s}}
        \bigl[\hat K(u + m N/s)\bigr]_{m \in \prod [0, s)} \Bigr\|_2, \qquad
        \hat K(u) = \sum_q K_q\, e^{-2\pi i \langle u/N,\, d q \rangle}, \qquad N = n

    *proved* for stride 1 (sedghi2019singular); *derived* for a stride that divides n: sampling every s-th output adds
    the s aliases of each frequency, and the unitary transforms of n and n/s points differ by ``1/sqrt(s)``. A kernel
    longer than the grid wraps by itself, frequencies being integers modulo n. Where the stride does not divide n, the
    outputs are a selection of those at stride gcd(s, n); where the padding makes some outputs repeat, at most r times,
    the norm grows by at most ``sqrt(r)``. Then ``upper`` is no longer exact and ``lower`` shows by how much. Groups:
    the largest of them.

    Parameters
    ----------
    kernel : (O, C/groups, *k), 1-D or 2-D.
    size : input size.
    stride, padding, dilation, groups : as in PyTorch.

    Raises
    ------
    InvalidInput : arguments that describe no convolution.

    Cost: half the frequencies, each one product and one Cholesky factorisation of the smaller side.

    Examples
    --------
    >>> found = circular_norm([[[1, 1, 1]]], 8, padding=1)
    >>> abs(found.upper - 3) < 1e-11, found.ratio < 1 + 1e-11
    (True, True)
    """
    conv = as_convolution(
        kernel, size, stride=stride, padding=padding, padding_mode="circular", dilation=dilation, groups=groups
    )
    return circular(conv)


def circular(conv: Convolution) -> NormBracket:
    """The same for a checked convolution."""
    from theory.norms._apply import rayleigh_lower

    if conv.padding_mode != "circular":
        raise PreconditionError(f"the exact frequency grid needs circular padding, not {conv.padding_mode}.")
    if conv.vanishes:
        return zero_bracket()
    step = tuple(gcd(s, n) for s, n in zip(conv.stride, conv.size, strict=True))
    most = least = 1
    for n, s, g, out in zip(conv.size, conv.stride, step, conv.out, strict=True):
        counts = np.bincount((s * np.arange(out)) % n, minlength=n)[::g]
        most, least = most * int(counts.max()), least * int(counts.min())
    found, loss = grid_norm(conv, conv.size, step, (0,) * len(step))
    upper = (found.upper + loss) * np.sqrt(most) * (1 + gamma(4))
    exact = most == least
    lower = (found.lower - loss) * np.sqrt(least) * (1 - gamma(4)) if exact else rayleigh_lower(conv)
    return bracket(
        conv, upper, lower, "exact circular frequency grid" + ("" if exact else ", outputs selected or repeated")
    )


def grid_norm(
    conv: Convolution, N: tuple[int, ...], stride: tuple[int, ...], twist: tuple[int, ...]
) -> tuple[Largest, float]:
    """Largest folded matrix on one grid, factor ``1/sqrt(S)`` included, and the rounding error of the matrices."""
    grid, factor = Grid.make(N, stride, twist), folding(stride)
    found = largest_norm(symbols(conv, grid))
    scaled = Largest(
        upper=found.upper * factor * (1 + gamma(4)),
        lower=found.lower * factor * (1 - gamma(4)),
        index=found.index,
        right=found.right,
    )
    return scaled, symbol_loss(conv)


def zero_bracket() -> NormBracket:
    """The norm of a map that is zero."""
    return NormBracket(upper=0.0, lower=0.0, method="the map is zero")


def bracket(conv: Convolution, upper: float, lower: float, method: str) -> NormBracket:
    """A bracket of the scaled convolution, scaled back."""
    return NormBracket(
        upper=scaled_back(float(upper), conv.exponent, up=True),
        lower=scaled_back(max(0.0, float(lower)), conv.exponent, up=False),
        method=method,
    )
