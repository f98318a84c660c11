r"""The largest spectral norm in a family of matrices: one Gram matrix each, and one Cholesky factorisation as proof.

Where a Cholesky factorisation of ``t I - G`` runs to its end in floating point, with factor R, then
``t I - G + D = R^* R`` with ``|D| <= gamma_{m+1} |R|^* |R|`` (*proved*: higham2002accuracy; the use as a certificate is
rump2006verification), so ``||D|| <= gamma ||R||_F^2 <= gamma m t / (1 - gamma)`` and ``lam_max(G) <= t + ||D||``.
No eigenvalue routine is believed: its value only proposes t. The computed Gram matrix differs from ``B B^*`` by at
most ``gamma_c ||B||_F^2`` in norm. Constants are taken for complex arithmetic and doubled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from scipy.linalg import cho_solve
from scipy.sparse.linalg import ArpackError, eigsh

from theory.norms._rounding import gamma

Chunk: TypeAlias = tuple[np.ndarray, np.ndarray | None]  # real and imaginary parts of blocks (F, m, c)
SMALL = 24  # up to this side, all eigenvalues of a chunk at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Largest:
    """Bracket of the largest norm, and the block with its index that gave the lower end."""

    upper: float
    lower: float
    index: int
    right: np.ndarray  # right singular vector of that block


@dataclass(slots=True)
class _Search:
    top: float = 0.0  # largest eigenvalue met
    proved: float = 0.0  # no computed Gram matrix has one above this
    trace: float = 0.0  # largest ``||B||_F^2``
    index: int = 0
    block: np.ndarray = field(default_factory=lambda: np.zeros((1, 1)))
    vector: np.ndarray | None = None  # its left singular vector (of the smaller side), where one was found


def largest_norm(chunks: Iterable[Chunk]) -> Largest:
    """Largest spectral norm over all blocks of all chunks, entries of ordinary size and not all zero.

    Cost: a Gram matrix and a Cholesky factorisation of the smaller side m for each block; eigenvalues only where the
    factorisation fails, which for blocks in random order happens about log(F) times.
    """
    search, start, sides = _Search(), 0, (1, 1)
    for R, I in chunks:
        sides = R.shape[1:]
        if min(sides) <= SMALL:
            _together(search, R, I, start)
        else:
            for f in range(len(R)):
                _one_by_one(search, R[f], None if I is None else I[f], start + f)
        start += len(R)
    loss = gamma(8 * max(sides) + 32) * search.trace
    upper = np.sqrt(search.proved + loss) * (1 + gamma(4))
    lower, right = _image(search.block, search.top, search.vector)
    return Largest(upper=float(upper), lower=lower, index=search.index, right=right)


def gram_matrices(R: np.ndarray, I: np.ndarray | None) -> np.ndarray:
    """``B B^*`` of the smaller side, for ``B = R + i I`` or its transpose, in half the products."""
    if R.shape[-2] > R.shape[-1]:
        R, I = R.swapaxes(-1, -2), None if I is None else I.swapaxes(-1, -2)
    real = R @ R.swapaxes(-1, -2)
    if I is None:
        return real
    real += I @ I.swapaxes(-1, -2)
    cross = I @ R.swapaxes(-1, -2)
    G = np.empty(real.shape, dtype=complex)
    G.real, G.imag = real, cross - cross.swapaxes(-1, -2)
    return G


def _margin(m: int) -> float:
    return (m + 20) * 2.0**-46


def _proof(t: float, m: int) -> float:
    """Bound of the largest eigenvalue once ``t I - G`` has a Cholesky factor."""
    return t * (1 + 2 * m * gamma(4 * m + 16))


def _below(G: np.ndarray, t: float) -> tuple[bool, np.ndarray]:
    """Whether ``t I - G`` has a Cholesky factor, and the factor (lower)."""
    M = -G
    M.flat[:: len(M) + 1] += t
    try:
        # NumPy's, not SciPy's: the two bring thread pools of their own, which wait for each other
        return True, np.linalg.cholesky(M)
    except np.linalg.LinAlgError:
        return False, M


def _one_by_one(search: _Search, R: np.ndarray, I: np.ndarray | None, index: int) -> None:
    G = gram_matrices(R, I)
    m = len(G)
    search.trace = max(search.trace, float(np.trace(G).real))
    if np.sqrt(np.vdot(G, G).real) * (1 + gamma(2 * m * m + 8)) <= search.top:
        return  # its Frobenius norm is already below
    margin = _margin(m)
    if search.top > 0 and _below(G, search.top * (1 + margin))[0]:
        return
    value, vector = _proposed(G)
    proved = _below(G, max(value, search.top) * (1 + margin))[0]
    if vector is not None and not proved:
        value, vector = float(np.linalg.eigvalsh(G)[-1]), None  # the iteration missed it
        proved = _below(G, max(value, search.top) * (1 + margin))[0]
    if value > search.top:
        search.top, search.index, search.vector = value, index, vector
        search.block = R if I is None else R + 1j * I
    while not proved:
        margin *= 8  # only rounding can have refused
        proved = _below(G, search.top * (1 + margin))[0]
    search.proved = max(search.proved, _proof(search.top * (1 + margin), m))


def _proposed(G: np.ndarray) -> tuple[float, np.ndarray | None]:
    """The largest eigenvalue and its vector by Lanczos' iteration, a fraction of the cost of all eigenvalues."""
    start = np.random.default_rng(0).standard_normal(len(G)).astype(G.dtype)
    try:
        values, vectors = eigsh(G, k=1, which="LA", v0=start, maxiter=20)
    except ArpackError:
        return float(np.linalg.eigvalsh(G)[-1]), None
    return float(values[0]), vectors[:, 0]


def _together(search: _Search, R: np.ndarray, I: np.ndarray | None, start: int) -> None:
    G = gram_matrices(R, I)
    m = G.shape[1]
    search.trace = max(search.trace, float(np.einsum("fii->f", G).real.max()))
    values = np.linalg.eigvalsh(G)[:, -1]
    best = int(values.argmax())
    if values[best] > search.top:
        block = R[best] if I is None else R[best] + 1j * I[best]
        search.top, search.index, search.block, search.vector = float(values[best]), start + best, block, None
    if search.top == 0:
        return
    margin = _margin(m)
    while True:
        M = -G
        M[:, range(m), range(m)] += search.top * (1 + margin)
        try:
            np.linalg.cholesky(M)
            break
        except np.linalg.LinAlgError:
            margin *= 8  # only rounding can have refused
    search.proved = max(search.proved, _proof(search.top * (1 + margin), m))


def _image(block: np.ndarray, top: float, u: np.ndarray | None) -> tuple[float, np.ndarray]:
    """``||B^* u|| / ||u||`` less its rounding error, and the right vector; without u, by inverse iterations."""
    tall = block.shape[0] > block.shape[1]
    B = block.T if tall else block
    if not B.any():
        return 0.0, np.zeros(block.shape[1])
    if u is None:
        u = _top_vector(B, top)
    image = B.conj().T @ u
    terms = gamma(8 * max(block.shape) + 32)
    lower = float(np.linalg.norm(image) / np.linalg.norm(u)) * (1 - terms) - terms * float(np.linalg.norm(B))
    return max(0.0, lower), u.conj() if tall else image


def _top_vector(B: np.ndarray, top: float) -> np.ndarray:
    """Three inverse iterations with ``t I - B B^*``, t just above the top."""
    m, margin, G = len(B), _margin(len(B)), B @ B.conj().T
    ok, factor = _below(G, top * (1 + margin))
    while not ok:
        margin *= 8
        ok, factor = _below(G, top * (1 + margin))
    u = np.random.default_rng(0).standard_normal(m).astype(B.dtype)
    for _ in range(3):
        u = cho_solve((factor, True), u)
        u /= np.abs(u).max()  # of a tiny block u is so large that its squares overflow
        u /= np.linalg.norm(u)
    return u
