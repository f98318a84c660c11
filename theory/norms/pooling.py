"""Pooling layers: Lipschitz constant of the maximum, norm of the average."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod, sqrt

import numpy as np

from theory._arrays import as_count
from theory._errors import InvalidInput
from theory.norms._rounding import gamma
from theory.norms.geometry import Spatial, output_size, padded_index, per_axis


def _axes(*values: Spatial) -> int:
    return max(len(v) if isinstance(v, Sequence | np.ndarray) else 1 for v in values)


def max_pool_lipschitz(kernel_size: Spatial, stride: Spatial | None = None, *, dimensions: int | None = None) -> float:
    r"""Lipschitz constant of max pooling in Euclidean norms, for images large enough, from above.

    .. math:: \mathrm{Lip} = \sqrt{\textstyle\prod_i \lceil k_i/s_i \rceil}

    *derived*: each output moves by at most the largest move in its window, hence by its Euclidean length, and a pixel
    lies in at most ``ceil(k/s)`` windows per axis; attained where one pixel is the maximum of all its windows.
    1 without overlap.

    Parameters
    ----------
    kernel_size, stride : one number, or one for each axis; the stride is the kernel size where not given.
    dimensions : number of axes where both are single numbers; 2 by default.

    Raises
    ------
    InvalidInput : counts that are not positive whole numbers.

    Cost: none.

    Examples
    --------
    >>> max_pool_lipschitz(2), max_pool_lipschitz(3, 2)
    (1.0, 2.0)
    """
    step = kernel_size if stride is None else stride
    both = not isinstance(kernel_size, Sequence) and not isinstance(step, Sequence)
    axes = as_count("dimensions", 2 if dimensions is None else dimensions) if both else _axes(kernel_size, step)
    k = per_axis("kernel_size", kernel_size, axes, minimum=1)
    s = per_axis("stride", step, axes, minimum=1)
    overlap = prod(ceil(a / b) for a, b in zip(k, s, strict=True))
    root = sqrt(overlap)
    return root if root * root >= overlap else float(np.nextafter(root, np.inf))


def average_pool_norm(
    size: Spatial,
    kernel_size: Spatial,
    stride: Spatial | None = None,
    padding: Spatial = 0,
    *,
    count_include_pad: bool = True,
) -> float:
    r"""Spectral norm of average pooling with zero padding, from above.

    .. math:: \|A\| \le \prod_i \min\Bigl(\sqrt{\|A_i\|_1 \|A_i\|_\infty},\ \|A_i\|_2\Bigr), \qquad
        A = A_1 \otimes A_2

    *derived*: an average over a rectangle is the Kronecker product of averages over its sides, border windows
    included, so the norm is the product of those of the small matrices A_i (out_i, n_i), taken here exactly as
    ``||A_i||_2 <= sqrt(||A_i||_1 ||A_i||_inf)`` allows. ``1/sqrt(q)`` for windows of q pixels that do not overlap,
    and at most ``sqrt(overlap/q)`` otherwise.

    Parameters
    ----------
    size : input size; one number is a 1-D signal unless another argument has more axes.
    kernel_size, stride, padding : as in PyTorch; the stride is the kernel size where not given.
    count_include_pad : whether border windows divide by all of their pixels, or by those inside the image.

    Raises
    ------
    InvalidInput : counts that describe no pooling; padding above half of the kernel.

    Cost: one small spectral norm per axis, or one pass over it above 1024 pixels.

    Examples
    --------
    >>> abs(average_pool_norm((8, 8), 2) - 0.5) < 1e-12
    True
    """
    from theory.norms.dense import norm_1_inf, spectral_norm

    step = kernel_size if stride is None else stride
    axes = _axes(size, kernel_size, step, padding)
    n, k, s = (
        per_axis(name, v, axes, minimum=1)
        for name, v in (("size", size), ("kernel_size", kernel_size), ("stride", step))
    )
    p = per_axis("padding", padding, axes, minimum=0)
    out, norm = output_size(n, k, s, p), 1.0
    for i in range(axes):
        if 2 * p[i] > k[i]:
            raise InvalidInput(f"padding must be at most half of the kernel, {k[i]}, but is {p[i]}.")
        A = np.zeros((out[i], n[i]))
        for t in range(out[i]):
            reads = padded_index(s[i] * t + np.arange(k[i]) - p[i], n[i], "zeros")
            inside = reads[reads >= 0]
            A[t, inside] = 1 / (k[i] if count_include_pad else len(inside))
        schur = np.sqrt(norm_1_inf(A) * norm_1_inf(A.T)) * (1 + gamma(4))
        norm *= min(schur, spectral_norm(A).upper) if max(A.shape) <= 1024 else schur
    return float(norm * (1 + gamma(8)))
