r"""The largest spectral norm in a family of matrices: one Gram matrix each, and one Cholesky factorisation as proof.

Where a Cholesky factorisation of ``t I - G`` runs to its end in floating point, with factor R, then
``t I - G + D = R^* R`` with ``|D| <= gamma_{m+1} |R|^* |R|`` (*proved*: higham2002accuracy; the use as a certificate is
rump2006verification), so ``||D|| <= gamma ||R||_F^2 <= gamma m t / (1 - gamma)`` and ``lam_max(G) <= t + ||D||``.
No eigenvalue routine is believed: its value only proposes t. The computed Gram matrix differs from ``B B^*`` by at
most ``gamma_c ||B||_F^2`` in norm. Constants are taken for complex arithmetic and doubled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from theory.norms._rounding import gamma

FEW = 4  # blocks whose eigenvalues propose the first t
SMALL = 24  # below this side all eigenvalues cost less than being clever


@dataclass(frozen=True, slots=True, kw_only=True)
class Largest:
    """Bracket of the largest norm, and the block with its index that gave the lower end."""

    upper: float
    lower: float
    index: int
    right: np.ndarray  # right singular vector of that block


def largest_norm(chunks: Iterable[np.ndarray]) -> Largest:
    """Largest spectral norm over all blocks of all chunks (F, m, c), real or complex, of entries of ordinary size.

    Cost: a product and a Cholesky factorisation of the smaller side for each block, eigenvalues for a few.
    """
    top, proved, loss, start = -1.0, 0.0, 0.0, 0
    index, winner = 0, np.zeros((1, 1))
    for blocks in chunks:
        wide = blocks if blocks.shape[1] <= blocks.shape[2] else blocks.conj().swapaxes(1, 2)
        G = wide @ wide.conj().swapaxes(1, 2)
        frobenius = np.einsum("fii->f", G).real
        loss = max(loss, gamma(4 * wide.shape[2] + 16) * float(frobenius.max(initial=0.0)))
        best, place, t = _raise(G, top)
        if place is not None:
            top, index, winner = best, start + place, blocks[place]
        proved = max(proved, t)
        start += len(blocks)
    return _finish(proved + loss, index, winner)


def _raise(G: np.ndarray, top: float) -> tuple[float, int | None, float]:
    """New largest eigenvalue (or ``top``), where it is, and a proved bound of all eigenvalues of G."""
    m, place = G.shape[1], None
    score = np.linalg.norm(G, axis=(1, 2)) * (1 + gamma(m * m + 8))  # Frobenius: above the largest eigenvalue
    todo = np.flatnonzero(score > max(top, 0.0))
    todo = todo[np.argsort(-score[todo], kind="stable")]
    tried = todo if m <= SMALL else todo[:FEW]
    margin = (m + 20) * 2.0**-46
    while len(todo):
        if len(tried):
            values = np.linalg.eigvalsh(G[tried])[:, -1]
            if values.max() > top:
                top, place = float(values.max()), int(tried[values.argmax()])
        again = todo[_not_below(G[todo], top * (1 + margin))]
        if np.array_equal(again, tried):
            margin *= 8  # only rounding can have refused these
        todo = tried = again
    t = max(top, 0.0) * (1 + margin)
    return top, place, t * (1 + 2 * m * gamma(4 * m + 16))


def _not_below(G: np.ndarray, t: float) -> np.ndarray:
    """Indices at which ``t I - G`` has no Cholesky factor, by halving."""
    M = -G
    M[:, range(G.shape[1]), range(G.shape[1])] += t
    try:
        np.linalg.cholesky(M)
    except np.linalg.LinAlgError:
        half = len(G) // 2
        if half == 0:
            return np.array([0])
        return np.concatenate([_not_below(G[:half], t), half + _not_below(G[half:], t)])
    return np.array([], dtype=int)


def _finish(squared: float, index: int, block: np.ndarray) -> Largest:
    """Square root upwards; the lower end is the length of the image of one vector."""
    upper = np.sqrt(squared) * (1 + gamma(4))
    m, c = block.shape
    if m <= c:
        u = np.linalg.eigh(block @ block.conj().T)[1][:, -1]
        right = block.conj().T @ u
        image, source = right, u
    else:
        right = np.linalg.eigh(block.conj().T @ block)[1][:, -1]
        image, source = block @ right, right
    loss = gamma(4 * max(m, c) + 16) * np.linalg.norm(block)
    lower = float(np.linalg.norm(image) / np.linalg.norm(source)) * (1 - gamma(2 * max(m, c) + 16)) - 2 * loss
    return Largest(upper=float(upper), lower=max(0.0, float(lower)), index=index, right=right)
