"""Two linear layers under the squared loss on whitened inputs: the Riccati flow of lambda-balanced weights."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats, short_repr
from theory._errors import InvalidInput, PreconditionError
from theory.flow.exact._base import Data, as_time, frozen, store


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LambdaBalanced:
    r"""Gradient flow of Loss = ||W2 W1 - S||_F^2 / 2 from W2^T W2 - W1 W1^T = lam I, for layers of any shape.

    .. math:: Q = \binom{W_1^\top}{W_2}, \quad F = \begin{pmatrix} -\lambda/2 & S^\top \\ S & \lambda/2 \end{pmatrix},
        \qquad QQ^\top(t) = e^{Ft} Q_0 \Bigl[I + Q_0^\top \int_0^t e^{2Fs} ds\; Q_0\Bigr]^{-1} Q_0^\top e^{Ft}

    which holds W2 W1 as its lower left block. *derived*: (QQ^T)' = F QQ^T + QQ^T F - (QQ^T)^2; domine2025lazy treat
    square layers. In eigenvectors of F with eigenvalues mu_i it is D K D with
    D_i^2 = 2 mu_i / (1 - e^{-2 mu_i t}), which is bounded, and K the upper block of the projector on the columns of
    [diag(j)^{1/2} V^T Q0; I], j_i the integral of e^{2 mu_i s}; the columns are eliminated with their exponents apart,
    so that neither large t nor modes far apart in speed lose digits. W1 and W2 themselves are known up to one rotation
    of the hidden layer, which has no closed form; ``solution`` is their product.

    A direction that the start misses by less than rounding is still found, after about 37 / (difference of
    eigenvalues) units of time, as in any computation with 16 digits.

    Parameters
    ----------
    S : (o, d) target map. W1 : (h, d) first layer. W2 : (o, h) second layer; lam is read from them.

    Raises
    ------
    InvalidInput : shapes that do not meet. PreconditionError : W2^T W2 - W1 W1^T is no multiple of the identity to
        1e-10 of the squared weights.

    Examples
    --------
    >>> form = LambdaBalanced(S=[[2.0]], W1=[[0.1]], W2=[[0.1]])
    >>> from theory.flow.exact.factorisation import ScalarFactorisation
    >>> bool(abs(form.solution(1.5)[0, 0] - ScalarFactorisation(s=2.0, a0=0.1, b0=0.1).product(1.5)) < 1e-14)
    True
    """

    S: np.ndarray
    W1: np.ndarray
    W2: np.ndarray
    lam: float = field(init=False)
    _rates: np.ndarray = field(init=False, repr=False)
    _axes: np.ndarray = field(init=False, repr=False)

    __repr__ = short_repr

    def __post_init__(self) -> None:
        S, W1, W2 = (as_floats(name, getattr(self, name), ndim=2) for name in ("S", "W1", "W2"))
        h, d, o = W1.shape[0], W1.shape[1], W2.shape[0]
        if 0 in (h, d, o) or W2.shape != (o, h) or S.shape != (o, d):
            raise InvalidInput(
                "S, W1 and W2 must have shapes (o, d), (h, d) and (o, h), "
                f"but have {S.shape}, {W1.shape} and {W2.shape}."
            )
        imbalance = W2.T @ W2 - W1 @ W1.T
        lam = float(np.trace(imbalance)) / h
        off = float(np.abs(imbalance - lam * np.eye(h)).max())
        if off > 1e-10 * max(float((W1**2).sum() + (W2**2).sum()), 1e-300):
            raise PreconditionError(f"W2^T W2 - W1 W1^T must be a multiple of the identity, but is {off:.3g} away.")
        F = np.block([[-lam / 2 * np.eye(d), S.T], [S, lam / 2 * np.eye(o)]])
        rates, axes = np.linalg.eigh(F)
        store(self, S=frozen(S), W1=frozen(W1), W2=frozen(W2), lam=lam, _rates=frozen(rates), _axes=frozen(axes))

    @property
    def theta0(self) -> np.ndarray:
        """The initial layers, W1 and then W2 row by row, shape (h d + o h,)."""
        return np.concatenate([self.W1.ravel(), self.W2.ravel()])

    @property
    def data(self) -> Data:
        """X of shape (d, d), the identity, and y of shape (d, o): sample n has target S e_n."""
        return Data(np.eye(self.S.shape[1]), self.S.T)

    @property
    def limit(self) -> np.ndarray:
        """W2 W1 at infinite time from almost every start: S cut to its h largest singular values, shape (o, d)."""
        U, s, V = np.linalg.svd(self.S, full_matrices=False)
        h = self.W1.shape[0]
        return (U[:, :h] * s[:h]) @ V[:h]

    def solution(self, t: ArrayLike) -> np.ndarray:
        """W2 W1, of the shape of the time followed by (o, d)."""
        d = self.S.shape[1]
        return self.gram(t)[..., d:, :d]

    def gram(self, t: ArrayLike) -> np.ndarray:
        """QQ^T with W1^T W1, W2 W1 and W2 W2^T as blocks, of the shape of the time followed by (d + o, d + o)."""
        times = as_time(t)
        size = sum(self.S.shape)
        found = np.array([self._gram(float(one)) for one in times.ravel()])
        return found.reshape(*times.shape, size, size)

    def loss(self, t: ArrayLike) -> np.ndarray:
        """||W2 W1 - S||_F^2 / 2, of the shape of the time; its rounding floor is about (1e-15 ||S||)^2."""
        return ((self.solution(t) - self.S) ** 2).sum(axis=(-2, -1)) / 2

    def _gram(self, t: float) -> np.ndarray:
        from scipy.special import exprel

        Q0 = np.vstack([self.W1.T, self.W2])
        if t == 0:
            return Q0 @ Q0.T
        t = min(t, 1e300 / max(float(np.abs(self._rates).max()), 1.0))  # long past every change
        x = 2 * self._rates * t
        with np.errstate(over="ignore", under="ignore"):
            scale = 1 / np.sqrt(t * exprel(-np.maximum(x, -700.0)))
            far = np.maximum(x, 1.0)
            log_j = np.log(t) + np.where(
                x > 30, far - np.log(far) + np.log1p(-np.exp(-far)), np.log(exprel(np.minimum(x, 30.0)))
            )
        K = _projector(self._axes.T @ Q0, log_j / 2)
        root = self._axes * scale
        return root @ K @ root.T


def _projector(B: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """The block of the rows e^exponents B in the projector on the columns of [e^exponents B; I].

    Column elimination with complete pivoting; a row's exponent is common to its entries, so only mantissas are
    combined, and the reduced columns have entries of at most 1.
    """
    m, h = B.shape
    M, e = np.vstack([B, np.eye(h)]), np.append(exponents, np.zeros(h))
    column_exponents, left = np.zeros(h), list(range(h))
    while left:
        with np.errstate(divide="ignore"):
            size = np.log(np.abs(M[:, left])) + e[:, None]
        row, at = np.unravel_index(int(size.argmax()), size.shape)
        pivot = left.pop(int(at))
        M[:, pivot] /= M[row, pivot]
        column_exponents[pivot] = e[row]
        M[:, left] -= np.outer(M[:, pivot], M[row, left])
        M[row, left] = 0.0
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        A = np.where(M == 0, 0.0, M * np.exp(np.minimum(e[:, None] - column_exponents, 700.0)))
    R = np.asarray(np.linalg.qr(A, mode="r"))
    half = np.linalg.solve(R.T, A[:m].T)
    return half.T @ half
