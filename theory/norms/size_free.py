"""Norms of a kernel that hold for every input size: the supremum of its frequency matrices, bounded."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count
from theory._errors import InvalidInput
from theory.norms._rounding import gamma, scaled_back
from theory.norms.circular import grid_norm
from theory.norms.geometry import Convolution, as_convolution
from theory.norms.kernels import as_kernel


def any_size(kernel: ArrayLike, groups: int) -> Convolution:
    """The kernel as a convolution without dilation or stride, on the smallest input that it fits."""
    array = as_kernel(kernel)
    return as_convolution(array, array.shape[2:], groups=groups)


def size_free_norm(kernel: ArrayLike, *, groups: int = 1, points: int = 32) -> float:
    r"""Bound of the convolution's norm at every size, from a coarse grid of N frequencies per axis.

    .. math:: \sup_{f} \|\hat K(f)\|_2 \le \max_{u \in \text{grid}} \|\hat K(u)\|_2
        \prod_i \Bigl(1 - \frac{k_i - 1}{N_i}\Bigr)^{-1/2}

    *derived* (another constant is proved in araujo2021lipschitz, from pfister2019bounding): let a and b be Dirichlet
    kernels of N and M = N - k + 1 terms and V = a b/M; its spectrum is 1 on k neighbouring frequencies and it does not
    alias modulo N, so each axis is interpolated with the constant ``(1/N) sum |V| <= sqrt(N/M)`` (Cauchy-Schwarz). It
    bounds zero and circular padding without repeated outputs, any dilation (the same supremum), any stride (sampling
    is a contraction).

    Parameters
    ----------
    kernel : (O, C/groups, *k), without zeros of dilation inserted.
    groups : as in PyTorch.
    points : N, at least k on each axis (raised to k where smaller).

    Raises
    ------
    InvalidInput : not a finite kernel, or counts that are not positive.

    Cost: N (1-D) or N^2 (2-D) frequencies, half of them by symmetry.

    Examples
    --------
    >>> 3 <= size_free_norm([[[1, 1, 1]]], points=64) < 3.05
    True
    """
    conv, N = any_size(kernel, groups), as_count("points", points)
    return scaled_back(size_free(conv, N), conv.exponent, up=True)


def size_free(conv: Convolution, points: int = 32) -> float:
    """The same for a checked convolution, scaled; its stride, size and dilation are not used."""
    if not conv.kernel.any():
        return 0.0
    plain = undilated(conv)
    N = tuple(max(points, k) if k > 1 else 1 for k in conv.kernel_size)
    factor = prod(1 - (k - 1) / n for k, n in zip(conv.kernel_size, N, strict=True)) ** -0.5
    found, loss = grid_norm(plain, N, (1,) * len(N), (0,) * len(N))
    return float((found.upper + loss) * factor * (1 + gamma(16)))


def undilated(conv: Convolution) -> Convolution:
    """The convolution without its inserted zeros, stride 1."""
    from dataclasses import replace

    ones = (1,) * len(conv.size)
    return replace(conv, dilation=ones, stride=ones)


def unfolding_norm(kernel: ArrayLike, *, groups: int = 1) -> float:
    r"""Bound of the convolution's norm at every size, from the kernel as a matrix in four ways.

    .. math:: \|A\| \le \sqrt{k_1 k_2}\, \min\bigl(\|K_{O \times C k_1 k_2}\|, \|K_{C \times O k_1 k_2}\|,
        \|K_{O k_1 \times C k_2}\|, \|K_{O k_2 \times C k_1}\|\bigr)

    *proved* for zero and circular padding (singla2021fantastic), with exact norms instead of power iteration; in 1-D
    the first two, with sqrt(k). Holds where ``size_free_norm`` does.

    Parameters
    ----------
    kernel : (O, C/groups, *k).
    groups : as in PyTorch.

    Raises
    ------
    InvalidInput : not a finite kernel, or groups that do not divide O.

    Cost: four Gram matrices.

    Examples
    --------
    >>> abs(unfolding_norm([[[[1, 1, 1]] * 3]]) - 9) < 1e-11
    True
    """
    conv = any_size(kernel, groups)
    return scaled_back(unfoldings(conv), conv.exponent, up=True)


def unfoldings(conv: Convolution) -> float:
    """The same for a checked convolution, scaled."""
    from theory.norms._blocks import largest_norm

    if not conv.kernel.any():
        return 0.0
    g, O, C, taps = conv.kernel.shape
    k = (*conv.kernel_size, 1)[:2]
    K = conv.kernel.reshape(g, O, C, *k)
    shapes = [
        K.reshape(g, O, -1),
        K.swapaxes(1, 2).reshape(g, C, -1),
        K.transpose(0, 1, 3, 2, 4).reshape(g, O * k[0], -1),
        K.transpose(0, 1, 4, 2, 3).reshape(g, O * k[1], -1),
    ]
    # in 1-D the last two are the first two with the kernel on the other side, and sqrt(k) holds for them as well
    return min(largest_norm([(shape, None)]).upper for shape in shapes) * np.sqrt(taps) * (1 + gamma(4))


def self_correlation_norm(kernel: ArrayLike, *, groups: int = 1, steps: int = 3) -> float:
    r"""Bound of the convolution's norm at every size, from the kernel convolved with itself.

    .. math:: \|A\| \le \Bigl(\max_{c} \sum_{c', q} |G^{(t)}_{c c' q}|\Bigr)^{2^{-t}}, \qquad
        G^{(1)} = K^\top \star K, \quad G^{(t+1)} = G^{(t)} * G^{(t)} \text{ at full support}

    *derived* (delattre2024spectral has another normalisation): the frequency matrices of G are Hermitian with norm
    ``||K^||^(2^t)``, and a Hermitian matrix is no larger than its largest absolute row sum. t = 0, plain row sums, is
    false and not offered. Rounding: sums of absolute values are submultiplicative under convolution, so an error e
    of the normalised G becomes at most ``2 e + e^2 + gamma``. Holds where ``size_free_norm`` does.

    Parameters
    ----------
    kernel : (O, C/groups, *k).
    groups : as in PyTorch.
    steps : t >= 1; each doubles the support.

    Raises
    ------
    InvalidInput : not a finite kernel, or counts that are not positive.

    Cost: at step t about ``(2^(t-1) k)^(2 axes)`` products of C x C matrices, C the smaller side.

    Examples
    --------
    >>> 3 <= self_correlation_norm([[[1, 1, 1]]]) < 3 + 1e-12
    True
    """
    conv, t = any_size(kernel, groups), as_count("steps", steps)
    if t > 6:
        raise InvalidInput(f"steps must be at most 6, for the support doubles each time, but is {t}.")
    return scaled_back(self_correlation(conv, t), conv.exponent, up=True)


def self_correlation(conv: Convolution, steps: int = 3) -> float:
    """The same for a checked convolution, scaled."""
    return max((_correlated(K, conv.kernel_size, steps) for K in conv.kernel if K.any()), default=0.0)


def _correlated(K: np.ndarray, k: tuple[int, ...], steps: int) -> float:
    if K.shape[0] < K.shape[1]:
        K = K.swapaxes(0, 1)  # the transposed convolution, up to a reflection
    kernel = np.moveaxis(K.reshape(*K.shape[:2], *k), (0, 1), (-2, -1))
    flipped = np.flip(kernel, tuple(range(len(k)))).swapaxes(-1, -2)
    G, terms = _convolved(flipped, kernel), K.shape[0] * K.shape[2]
    error = gamma(2 * terms + 8) * _row_sum(np.abs(flipped)) * _row_sum(np.abs(kernel))
    log = 0.0  # log2 of the scales taken out
    for step in range(1, steps + 1):
        size = _row_sum(np.abs(G))
        G, error = G / size, error / size + gamma(4)
        log += np.log2(size) * 2.0**-step
        if step < steps:
            terms = G.size // G.shape[-1]
            G = _convolved(G, G)
            error = 2 * error + error**2 + gamma(2 * terms + 8)
    return float(2.0**log * (1 + error) ** (2.0**-steps) * (1 + gamma(64)))


def _row_sum(G: np.ndarray) -> float:
    """Largest row sum over the last axis and all positions, a little above."""
    return float(G.sum(axis=(*range(G.ndim - 2), -1)).max()) * (1 + gamma(G.size))


def _convolved(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Full convolution over the leading axes of matrices in the last two."""
    grid = tuple(a + b - 1 for a, b in zip(A.shape[:-2], B.shape[:-2], strict=True))
    total = np.zeros((*grid, A.shape[-2], B.shape[-1]))
    for at in np.ndindex(A.shape[:-2]):
        total[tuple(slice(i, i + b) for i, b in zip(at, B.shape[:-2], strict=True))] += A[at] @ B
    return total
