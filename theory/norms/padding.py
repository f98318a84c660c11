"""Reflect and replicate padding: how often one pixel is copied."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from theory.norms._rounding import gamma
from theory.norms.geometry import Convolution, padded_index


def unpadded(conv: Convolution) -> tuple[Convolution, float]:
    r"""A convolution as one without padding on the padded image, and the norm of the padding operator.

    .. math:: \|A\| \le \|A_{\text{valid}}\| \prod_i \sqrt{\max_j \#\{\text{copies of pixel } j \text{ on axis } i
        \text{ that are read}\}}

    *derived*: each row of the padding operator P is a unit vector, so ``P^T P`` is the diagonal of copy counts, a
    product over the axes. Replicate: at most p + 1; reflect: 2 where ``2 p <= n - 2``, at most 3 otherwise.
    """
    factor = 1.0
    for i in conv.axes:
        taps = conv.dilation[i] * np.arange(conv.kernel_size[i])
        read = np.unique(taps[:, None] + conv.stride[i] * np.arange(conv.out[i])) - conv.padding[i]
        source = padded_index(read, conv.size[i], conv.padding_mode)
        factor *= np.sqrt(np.bincount(source[source >= 0], minlength=1).max()) * (1 + gamma(2))
    grown = tuple(n + 2 * p for n, p in zip(conv.size, conv.padding, strict=True))
    valid = replace(conv, size=grown, padding=(0,) * len(grown), padding_mode="zeros")
    return valid, float(factor)
