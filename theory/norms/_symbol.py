r"""The matrices K^(f) that a convolution on a torus is made of, one for each frequency.

``K^(f) = sum_q K_q exp(-2 pi i <f, d q>)``; on the grid of N_i frequencies ``(u_i + h_i/2)/N_i`` per axis. With stride
s, ``s | N``, the frequencies that fold onto one another stand side by side, divided by ``sqrt(prod s)``. Frequencies
are kept as integers modulo 2N, so large arguments cost no accuracy and a kernel longer than the grid wraps by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from theory.norms._blocks import Chunk
from theory.norms._rounding import gamma
from theory.norms.geometry import Convolution

CHUNK = 2**22  # complex entries held at once: 64 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Frequencies of a grid, those of a conjugate pair once: (F, S, axes) integers w, frequency ``w / (2 N)``."""

    N: tuple[int, ...]
    w: np.ndarray

    @classmethod
    def make(cls, N: tuple[int, ...], stride: tuple[int, ...], twist: tuple[int, ...]) -> Grid:
        """Grid of N points per axis, N a multiple of the stride, shifted by half a step where ``twist`` is 1."""
        base = tuple(n // s for n, s in zip(N, stride, strict=True))
        v = np.indices(base).reshape(len(base), -1).T
        partner = np.ravel_multi_index(tuple(((-v - np.array(twist)) % base).T), base)
        v = v[partner >= np.arange(len(v))]  # a real kernel has conjugate matrices at opposite frequencies
        folds = np.array(list(product(*(range(s) for s in stride))))
        w = 2 * (v[:, None, :] + folds[None] * base) + np.array(twist)
        return cls(N=N, w=w)


def phases(conv: Convolution, grid: Grid, rows: slice) -> np.ndarray:
    """``exp(-2 pi i <f, d q>)`` as (F, S, taps)."""
    table: np.ndarray = np.ones((*grid.w[rows].shape[:2], 1), dtype=complex)
    for i in conv.axes:
        steps = conv.dilation[i] * np.arange(conv.kernel_size[i])
        turn = (grid.w[rows, :, i, None] * steps) % (2 * grid.N[i])
        axis = np.exp(-1j * np.pi * turn / grid.N[i])
        table = (table[..., :, None] * axis[..., None, :]).reshape(*table.shape[:2], -1)
    return table


def symbols(conv: Convolution, grid: Grid) -> Iterator[Chunk]:
    """Chunks (F * groups, O/groups, S C/groups) of folded matrices in two real parts, less the factor ``1/sqrt(S)``."""
    g, O, C, taps = conv.kernel.shape
    S = grid.w.shape[1]
    flat = np.ascontiguousarray(conv.kernel.reshape(-1, taps).T)
    step = max(1, CHUNK // (g * O * C * S))
    for start in range(0, len(grid.w), step):
        table = phases(conv, grid, slice(start, start + step))
        rows = table.reshape(-1, taps)
        shaped = ((part @ flat).reshape(len(table), S, g, O, C) for part in (rows.real.copy(), rows.imag.copy()))
        real, imaginary = (part.transpose(0, 2, 3, 1, 4).reshape(-1, O, S * C) for part in shaped)
        yield real, imaginary


def folding(stride: tuple[int, ...]) -> float:
    """The factor ``1/sqrt(S)`` that ``symbols`` leaves out."""
    return 1 / np.sqrt(prod(stride))


def symbol_loss(conv: Convolution) -> float:
    """Bound of the rounding error of any frequency matrix: each of its entries sums ``taps`` products of phases."""
    size = np.linalg.norm(conv.kernel, axis=(1, 2)).sum(axis=1).max()
    return gamma(4 * conv.kernel.shape[3] + 32) * float(size)
