"""Gram iteration: the Schatten norm of the frequency matrices, from products alone."""

from __future__ import annotations

import numpy as np

from theory.norms._blocks import Chunk, gram_matrices
from theory.norms._rounding import gamma
from theory.norms._symbol import Grid, folding, symbol_loss, symbols
from theory.norms.geometry import Convolution

STEPS = 9  # 512^(2^-10) = 1.006


def gram_iteration(blocks: Chunk, steps: int = STEPS) -> float:
    r"""Schatten norm of order ``2^(t+1)`` of each matrix (F, m, c), real and imaginary parts; the largest, from above.

    .. math:: \|B\|_2 \le \Bigl(\sum_i \sigma_i^{2^{t+1}}\Bigr)^{2^{-(t+1)}} \le r^{2^{-(t+1)}} \|B\|_2, \qquad
        G^{(1)} = B B^*,\quad G^{(t+1)} = G^{(t)} G^{(t)}

    *proved*: delattre2023efficient, r the rank. Each G is divided by its Frobenius norm; an error e of that one, in
    Frobenius norm, becomes at most ``2 e + e^2 + gamma`` in its square.
    """
    G = gram_matrices(*blocks)
    m, c = len(G[0]), max(blocks[0].shape[1:])
    square = np.einsum("fii->f", G).real  # ||B||_F^2
    G, square = G[square > 0], square[square > 0]
    if not len(G):
        return 0.0
    G /= square[:, None, None]
    log, error = np.log2(square) / 2, np.full(len(G), gamma(8 * (m + c) + 32))
    for step in range(1, steps + 1):
        size = np.linalg.norm(G, axis=(1, 2))
        G, error = G / size[:, None, None], error / size + gamma(4 * m * m + 16)
        log += np.log2(size) * 2.0**-step
        if step < steps:
            G = G @ G
            error = 2 * error + error**2 + gamma(4 * m + 16)
    return float((2.0**log * (1 + error) ** (2.0**-steps)).max() * (1 + gamma(256)))


def grammed(conv: Convolution, N: tuple[int, ...], stride: tuple[int, ...], steps: int = STEPS) -> float:
    """Gram iteration on the grid N of a convolution, scaled, with the rounding error of the matrices."""
    grid = Grid.make(N, stride, (0,) * len(N))
    top = max(gram_iteration(blocks, steps) for blocks in symbols(conv, grid))
    return float((top * folding(stride) + symbol_loss(conv)) * (1 + gamma(4)))
