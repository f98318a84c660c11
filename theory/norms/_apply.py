"""The convolution as a linear map on vectors, and a lower bound of its norm from a few applications."""

from __future__ import annotations

from contextlib import suppress
from math import prod

import numpy as np

from theory.norms._rounding import gamma
from theory.norms.geometry import Convolution

STEPS = 12  # Lanczos vectors


class Applied:
    """``x -> A x`` and ``y -> A^T y`` by one gather and one matrix product each, for every padding mode."""

    def __init__(self, conv: Convolution) -> None:
        from scipy.sparse import csr_array

        self.kernel = conv.kernel
        g, O, C, taps = conv.kernel.shape
        self.rows = np.ascontiguousarray(conv.kernel.reshape(g, O, C * taps))
        self.P, self.outs = prod(conv.size), prod(conv.out)
        reads = conv.read_positions().ravel()
        self.at = np.where(reads < 0, self.P, reads)
        ones = np.ones(reads.size)
        self.scatter = csr_array((ones, (self.at, np.arange(reads.size))), shape=(self.P + 1, reads.size))[: self.P]

    def forward(self, x: np.ndarray) -> np.ndarray:
        """A x for x (inputs)."""
        g, _, C, taps = self.kernel.shape
        padded = np.zeros((g * C, self.P + 1))
        padded[:, : self.P] = x.reshape(g * C, self.P)
        return (self.rows @ padded[:, self.at].reshape(g, C * taps, self.outs)).ravel()

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        """Transpose of A applied to y (outputs)."""
        g, O, C, _ = self.kernel.shape
        spread = self.rows.swapaxes(1, 2) @ y.reshape(g, O, self.outs)
        return (self.scatter @ spread.reshape(g * C, -1).T).T.ravel()


def rayleigh_lower(conv: Convolution, start: np.ndarray | None = None, *, rtol: float = 0.05) -> float:
    """``||A x|| / ||x||`` at a vector found by Lanczos, less its rounding error: never above the norm.

    ``rtol`` is ARPACK's; the vector is not believed to be an eigenvector, only multiplied.
    """
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    applied = Applied(conv)
    n = conv.channels[1] * applied.P
    x = np.random.default_rng(0).standard_normal(n)
    if start is not None and start.any():
        x = start / np.linalg.norm(start) + 1e-2 * x / np.linalg.norm(x)
    if n > STEPS + 2:
        gram = LinearOperator((n, n), matvec=lambda v: applied.adjoint(applied.forward(v)), dtype=np.float64)
        with suppress(ArpackError):  # the start vector then gives a lower bound all the same
            x = eigsh(gram, k=1, v0=x, ncv=STEPS, tol=rtol, maxiter=30)[1][:, 0]
    else:
        dense = np.stack([applied.forward(e) for e in np.eye(n)], axis=1)
        x = np.linalg.svd(dense)[2][0]
    image = float(np.linalg.norm(applied.forward(x)) / np.linalg.norm(x))
    terms = conv.kernel.shape[2] * conv.kernel.shape[3]
    loss = gamma(2 * terms + 16) * float(np.linalg.norm(conv.kernel)) * np.sqrt(conv.most_reads())
    return max(0.0, image * (1 - gamma(2 * n + 16)) - loss)
