"""Any tolerance, whatever the padding unless it wraps around: a banded Cholesky factorisation of ``t I - A^T A``."""

from __future__ import annotations

from math import prod

import numpy as np

from theory._errors import PreconditionError
from theory.norms._apply import rayleigh_lower
from theory.norms._record import NormBracket
from theory.norms._rounding import gamma
from theory.norms.circular import bracket, zero_bracket
from theory.norms.geometry import Convolution

LIMIT = 2**28  # entries of the band: 2 GB


def _layout(conv: Convolution) -> tuple[int, int]:
    """Order and bandwidth of ``A^T A``, pixels in C order and channels fastest."""
    C = conv.kernel.shape[2]
    reach = conv.spans[0] - 1 if len(conv.size) == 1 else (conv.spans[0] - 1) * conv.size[1] + conv.spans[1] - 1
    order = C * prod(conv.size)
    return order, min(order - 1, C * (reach + 1) - 1)


def factor_cost(conv: Convolution) -> float:
    """Multiplications of the factorisation; infinite where it does not apply."""
    order, band = _layout(conv)
    if conv.padding_mode == "circular" or order * (band + 1) > LIMIT:
        return float("inf")
    return float(conv.kernel.shape[0]) * order * (band + 1.0) ** 2


def factored(conv: Convolution, *, rtol: float = 1e-2) -> NormBracket:
    r"""Norm under zero, reflect or replicate padding to a chosen relative accuracy.

    .. math:: t I - A^\top A + D = R^\top R \ \Rightarrow\ \|A\| \le \sqrt{t + \|D\|}

    *derived* as for the blocks of ``spectral_norm``, here with the band of ``A^T A``: the quotient from Lanczos,
    raised by rtol, proposes t; where the factorisation breaks down t is raised further. Nothing is lost at the border.
    Reflected and replicated pixels lie no further apart than those that they stand for, so the band is the same.

    Cost: order times bandwidth squared, ``C prod(n)`` and ``2 C n`` (2-D, 3 x 3); memory order times bandwidth.
    """
    from scipy.linalg import cholesky_banded

    if factor_cost(conv) == float("inf"):
        raise PreconditionError("the factorisation needs padding that is not circular and at most 2^28 band entries.")
    if conv.vanishes:
        return zero_bracket()
    lower = rayleigh_lower(conv, rtol=min(0.05, rtol / 4))
    order, band = _layout(conv)
    proved = 0.0
    for K in conv.kernel:
        G, error = _band(conv, K, band)
        t = max(lower**2 * (1 + rtol), proved)
        while True:
            M = -G
            M[0] += t
            try:
                cholesky_banded(M, lower=True, overwrite_ab=True, check_finite=False)
                break
            except np.linalg.LinAlgError:
                t = t * (1 + rtol) if t > 0 else float(np.linalg.norm(K)) ** 2 * K.shape[2]
        proved = max(proved, t * (1 + 2 * order * gamma(4 * band + 16)) + error)
    return bracket(
        conv, np.sqrt(proved) * (1 + gamma(4)), lower, "explicit matrix, proved by a banded Cholesky factorisation"
    )


def _band(conv: Convolution, K: np.ndarray, band: int) -> tuple[np.ndarray, float]:
    """Lower band (band + 1, order) of ``A^T A`` for one group, and a bound of its error in norm."""
    O, C, taps = K.shape
    flat = K.transpose(2, 1, 0).reshape(taps * C, O)
    products = (flat @ flat.T).reshape(taps, C, taps, C)
    reads = conv.read_positions()
    order = C * prod(conv.size)
    G = np.zeros((band + 1, order))
    row, column = np.meshgrid(np.arange(C), np.arange(C), indexing="ij")
    for p in range(taps):
        for q in range(taps):
            both = (reads[p] >= 0) & (reads[q] >= 0)
            i, j = reads[p, both], reads[q, both]
            keep = i >= j
            i, j = i[keep, None, None] * C + row, j[keep, None, None] * C + column
            inside = i >= j
            values = np.broadcast_to(products[p, :, q, :], i.shape)[inside]
            at = ((i - j)[inside], j[inside])
            if conv.padding_mode == "zeros":
                G[at] += values  # distinct outputs touch distinct entries for one pair of taps
            else:
                np.add.at(G, at, values)
    terms = 2 * (O + taps * reads.shape[1]) if conv.padding_mode != "zeros" else 2 * (O + taps * taps)
    error = gamma(terms + 16) * float(np.linalg.norm(K)) ** 2 * conv.most_reads()
    return G, error
