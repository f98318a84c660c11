"""The explicit matrix of a convolution: the oracle of everything else, and exact norms where it is small."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from theory._errors import PreconditionError
from theory.norms._blocks import largest_norm
from theory.norms._record import NormBracket
from theory.norms._rounding import gamma, scaled_back
from theory.norms.circular import bracket, zero_bracket
from theory.norms.geometry import Convolution, Spatial, as_convolution

if TYPE_CHECKING:
    from scipy.sparse import csr_array

LIMIT = 2**26  # entries of the dense matrix of one group: 512 MB


def toeplitz_matrix(
    kernel: ArrayLike,
    size: Spatial,
    *,
    stride: Spatial = 1,
    padding: Spatial = 0,
    padding_mode: str = "zeros",
    dilation: Spatial = 1,
    groups: int = 1,
) -> csr_array:
    r"""The sparse matrix A with ``A @ x.ravel() == conv(x).ravel()``.

    .. math:: y_{o,t} = \sum_{c,q} K_{o,c,q}\, x_{c,\ \pi(s t + d q - p)}

    where pi is the padding (a zero, or the index of the copied pixel); cross-correlation, as in PyTorch. *derived*: the
    definition. Entries at which several taps read one pixel are added.

    Parameters
    ----------
    kernel : (O, C/groups, *k), 1-D or 2-D.
    size : input size.
    stride, padding, padding_mode, dilation, groups : as in PyTorch; ``zeros``, ``circular``, ``reflect`` or
        ``replicate``.

    Returns
    -------
    csr_array ``(O prod(out), C prod(size))``, both sides flattened in C order.

    Raises
    ------
    InvalidInput : arguments that describe no convolution.

    Cost: O C/groups prod(k) prod(out) entries.

    Examples
    --------
    >>> toeplitz_matrix([[[1.0, 2.0]]], 3).toarray()
    array([[1., 2., 0.],
           [0., 1., 2.]])
    """
    conv = as_convolution(
        kernel, size, stride=stride, padding=padding, padding_mode=padding_mode, dilation=dilation, groups=groups
    )
    return np.ldexp(1.0, conv.exponent) * _sparse(conv) if abs(conv.exponent) < 1000 else _exact(conv)


def _exact(conv: Convolution) -> csr_array:
    """Entries scaled back one by one, where the scale itself is no float64."""
    matrix = _sparse(conv)
    matrix.data = np.ldexp(matrix.data, conv.exponent)
    return matrix


def _sparse(conv: Convolution) -> csr_array:
    from scipy.sparse import csr_array

    g, O, C, _ = conv.kernel.shape
    reads = conv.read_positions()
    P, outs = prod(conv.size), prod(conv.out)
    tap, out = np.nonzero(reads >= 0)
    group, o, c = (a.ravel()[:, None] for a in np.indices((g, O, C)))
    rows = (group * O + o) * outs + out
    columns = (group * C + c) * P + reads[tap, out]
    values = conv.kernel[group, o, c, tap]
    return csr_array((values.ravel(), (rows.ravel(), columns.ravel())), shape=(g * O * outs, g * C * P))


def toeplitz_norm(
    kernel: ArrayLike,
    size: Spatial,
    *,
    stride: Spatial = 1,
    padding: Spatial = 0,
    padding_mode: str = "zeros",
    dilation: Spatial = 1,
    groups: int = 1,
) -> NormBracket:
    """Spectral norm of the explicit matrix, one group at a time; exact for every padding mode, for small maps only.

    *derived* as ``spectral_norm``.

    Parameters
    ----------
    kernel, size, stride, padding, padding_mode, dilation, groups : as for ``toeplitz_matrix``.

    Raises
    ------
    InvalidInput : arguments that describe no convolution.
    PreconditionError : a group's dense matrix has more than 2^26 entries.

    Cost: cubic in the smaller side of the matrix; 0.1 s at 1000.

    Examples
    --------
    >>> found = toeplitz_norm([[[[1, 1, 1]] * 3]], 8, padding=1)
    >>> abs(found.upper - 8.29085936938158) < 1e-9
    True
    """
    conv = as_convolution(
        kernel, size, stride=stride, padding=padding, padding_mode=padding_mode, dilation=dilation, groups=groups
    )
    return toeplitz(conv)


def toeplitz_sides(conv: Convolution) -> tuple[int, int]:
    """Rows and columns of one group's matrix."""
    _, O, C, _ = conv.kernel.shape
    return O * prod(conv.out), C * prod(conv.size)


def toeplitz(conv: Convolution) -> NormBracket:
    """The same for a checked convolution."""
    rows, columns = toeplitz_sides(conv)
    if rows * columns > LIMIT:
        raise PreconditionError(
            f"the explicit matrix must have at most 2^26 entries for each group, but is {rows} x {columns}."
        )
    if conv.vanishes:
        return zero_bracket()
    reads = conv.read_positions()
    tap, out = np.nonzero(reads >= 0)
    single = _single_reads(conv)
    loss = 0.0 if single else gamma(reads.shape[0]) * float(np.linalg.norm(conv.kernel)) * np.sqrt(conv.most_reads())
    found = largest_norm((_dense(K, reads, tap, out, prod(conv.size)), None) for K in conv.kernel)
    return bracket(conv, found.upper + loss, found.lower - loss, "explicit matrix, proved by a Cholesky factorisation")


def _dense(K: np.ndarray, reads: np.ndarray, tap: np.ndarray, out: np.ndarray, P: int) -> np.ndarray:
    """One group's matrix (1, O outs, C P)."""
    O, C, _ = K.shape
    A = np.zeros((reads.shape[1], P, O, C))
    np.add.at(A, (out, reads[tap, out]), K[:, :, tap].transpose(2, 0, 1))
    return A.transpose(2, 0, 3, 1).reshape(1, O * reads.shape[1], C * P)


def _single_reads(conv: Convolution) -> bool:
    """Whether no output reads a pixel through two taps, so that no two entries are added."""
    return all((label == np.arange(len(label)))[label >= 0].all() for _, label in _patterns(conv))


def _patterns(conv: Convolution) -> list[tuple[int, np.ndarray]]:
    """Each way in which an output sees the taps, with how many outputs see it.

    A way is a label per tap: -1 where it reads a zero, else the first tap that reads the same pixel.
    """
    per_axis = []
    for i in conv.axes:
        reads = conv.reads(i)
        first = (reads[:, None, :] == reads[None, :, :]).argmax(axis=1)
        labels, counts = np.unique(np.where(reads < 0, -1, first), axis=1, return_counts=True)
        per_axis.append(list(zip(labels.T, counts, strict=True)))
    found = []
    for parts in product(*per_axis):
        label, count = parts[0]
        for i, (more, times) in enumerate(parts[1:], start=1):
            joint = label[:, None] * conv.kernel_size[i] + more
            joint[(label[:, None] < 0) | (more < 0)] = -1
            label, count = joint.ravel(), count * times
        found.append((int(count), label))
    return found


def _row_squares(conv: Convolution) -> list[tuple[int, np.ndarray]]:
    """Squared row lengths (output channels) for each pattern, and how many outputs have it."""
    taps = conv.kernel.shape[3]
    found = []
    for count, label in _patterns(conv):
        merge = np.zeros((taps, taps))
        merge[np.flatnonzero(label >= 0), label[label >= 0]] = 1
        found.append((count, ((conv.kernel @ merge) ** 2).sum(axis=(2, 3)).ravel()))
    return found


def toeplitz_frobenius(
    kernel: ArrayLike,
    size: Spatial,
    *,
    stride: Spatial = 1,
    padding: Spatial = 0,
    padding_mode: str = "zeros",
    dilation: Spatial = 1,
    groups: int = 1,
) -> float:
    r"""Frobenius norm of the explicit matrix without forming it, from above.

    .. math:: \|A\|_F^2 = \sum_t \sum_{o,c,j} \Bigl(\sum_{q:\ t \text{ reads } j \text{ through } q} K_{o,c,q}
        \Bigr)^2, \qquad \text{zero padding:}\quad \sum_q \#\{t : q \text{ falls inside}\}\ \|K_q\|_F^2

    *derived*: outputs that see the taps in the same way have equal rows, and there are few ways. Taps that read one
    pixel (circular maps smaller than the kernel, reflect, replicate) are added first, without which the number is too
    small or too large.

    Parameters
    ----------
    kernel, size, stride, padding, padding_mode, dilation, groups : as for ``toeplitz_matrix``.

    Raises
    ------
    InvalidInput : arguments that describe no convolution.

    Cost: one pass over the kernel for each way in which an output sees the taps.

    Examples
    --------
    >>> A = toeplitz_matrix([[[1.0, 2.0, 3.0]]], 5, padding=1)
    >>> bool(abs(toeplitz_frobenius([[[1.0, 2.0, 3.0]]], 5, padding=1) - np.linalg.norm(A.toarray())) < 1e-12)
    True
    """
    conv = as_convolution(
        kernel, size, stride=stride, padding=padding, padding_mode=padding_mode, dilation=dilation, groups=groups
    )
    total = sum(count * squares.sum() for count, squares in _row_squares(conv))
    return _from_above(conv, float(np.sqrt(total)), np.sqrt(prod(conv.out)))


def toeplitz_norm_2_1(
    kernel: ArrayLike,
    size: Spatial,
    *,
    stride: Spatial = 1,
    padding: Spatial = 0,
    padding_mode: str = "zeros",
    dilation: Spatial = 1,
    groups: int = 1,
) -> float:
    r"""Sum of the Euclidean lengths of all rows of the explicit matrix without forming it, from above.

    .. math:: \sum_{t,o} \Bigl(\sum_{c,j} A_{(o,t),(c,j)}^2\Bigr)^{1/2}

    *derived* as ``toeplitz_frobenius``.

    Parameters
    ----------
    kernel, size, stride, padding, padding_mode, dilation, groups : as for ``toeplitz_matrix``.

    Raises
    ------
    InvalidInput : arguments that describe no convolution.

    Cost: as ``toeplitz_frobenius``.

    Examples
    --------
    >>> abs(toeplitz_norm_2_1([[[3.0, 4.0]]], 3) - 10) < 1e-12
    True
    """
    conv = as_convolution(
        kernel, size, stride=stride, padding=padding, padding_mode=padding_mode, dilation=dilation, groups=groups
    )
    total = sum(count * np.sqrt(squares).sum() for count, squares in _row_squares(conv))
    return _from_above(conv, float(total), prod(conv.out) * np.sqrt(conv.channels[0]))


def _from_above(conv: Convolution, value: float, rows: float) -> float:
    """Scaled back, with the rounding of the squares and sums, and of the entries that are sums of taps themselves."""
    terms = conv.kernel[0].size + conv.kernel.shape[0] * len(_patterns(conv))
    cancelled = 0.0
    if not _single_reads(conv):
        taps = conv.kernel.shape[3]
        cancelled = gamma(taps + 4) * np.sqrt(taps) * float(np.linalg.norm(conv.kernel)) * rows
    return scaled_back(value * (1 + gamma(terms + 64)) + cancelled, conv.exponent, up=True)
