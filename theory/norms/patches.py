"""A stride at least as long as the kernel: no pixel is read twice, and the norm is that of the kernel as a matrix."""

from __future__ import annotations

import numpy as np

from theory._errors import PreconditionError
from theory.norms._blocks import largest_norm
from theory.norms._record import NormBracket
from theory.norms.circular import bracket
from theory.norms.geometry import Convolution


def patches(conv: Convolution) -> NormBracket:
    r"""Exact norm where every pixel is read at most once: ``||A|| = ||K reshaped to (O, C k)||``.

    *derived*: outputs at different positions then read disjoint pixels, so A is block-diagonal over them, each block
    the reshaped kernel or, at a border, that with columns missing; the largest where no output sees every tap.
    """
    if conv.most_reads() > 1:
        raise PreconditionError("the patches overlap: some pixel is read more than once.")
    g, O, _, _ = conv.kernel.shape
    seen = np.unique(conv.read_positions() >= 0, axis=1).T
    largest = [a for a in seen if a.any() and not any((b >= a).all() and (b > a).any() for b in seen)]
    found = [largest_norm([(conv.kernel[..., taps].reshape(g, O, -1), None)]) for taps in largest]
    upper, lower = max((f.upper for f in found), default=0.0), max((f.lower for f in found), default=0.0)
    return bracket(conv, upper, lower, "kernel as a matrix: patches do not overlap")
