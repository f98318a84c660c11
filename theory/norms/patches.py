"""A stride at least as long as the kernel: no pixel is read twice, and the norm is that of the kernel as a matrix."""

from __future__ import annotations

from theory._errors import PreconditionError
from theory.norms._blocks import largest_norm
from theory.norms._record import NormBracket
from theory.norms._rounding import gamma
from theory.norms.circular import bracket, zero_bracket
from theory.norms.geometry import Convolution


def patches(conv: Convolution) -> NormBracket:
    r"""Exact norm where every pixel is read at most once: ``||A|| = ||K reshaped to (O, C k)||``.

    *derived*: outputs at different positions then read disjoint pixels, so A is block-diagonal over them, each block
    the reshaped kernel or, at a border, that with columns missing.
    """
    if conv.most_reads() > 1:
        raise PreconditionError("the patches overlap: some pixel is read more than once.")
    if not conv.kernel.any():
        return zero_bracket()
    g, O, C, _ = conv.kernel.shape
    reads = conv.read_positions() >= 0
    # the fullest patch has the norm where it contains all others
    full = reads.any(axis=1)
    found = largest_norm([conv.kernel[..., full].reshape(g, O, C * int(full.sum()))])
    attained = bool(reads[full].all(axis=0).any())
    lower = found.lower
    if not attained:
        from theory.norms._apply import rayleigh_lower

        lower = rayleigh_lower(conv)
    return bracket(conv, found.upper * (1 + gamma(2)), lower, "kernel as a matrix: patches do not overlap")
