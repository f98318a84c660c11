"""Diagonal linear networks from a vanishing start: the jumps between saddles, by a recursion of NNLS problems."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_real, short_repr
from theory._errors import InvalidInput, NotConverged, PreconditionError
from theory.flow.exact._base import Data, as_problem, as_time, frozen, store

ROUNDING = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SaddleToSaddle:
    r"""The limit alpha -> 0 of the gradient flow of :class:`DiagonalSquare` in the time t / (log(1/alpha) / 2).

    The dual variable S = arcsinh(beta/2 alpha^2) / (2 log(1/alpha)) lies in [-1, 1]^d and runs straight,
    dS/dt = -X^T (X beta_k - y), while beta rests at beta_k. When some \|S_i\| reaches 1,

    .. math:: \beta_{k+1} = \operatorname{argmin}\Bigl\{\tfrac12\|X\beta - y\|^2 : \;
        \beta_i S_i \ge 0 \text{ where } |S_i| = 1, \quad \beta_i = 0 \text{ elsewhere}\Bigr\}

    until the loss is least; the last saddle has the least l1 norm of all least-squares solutions. *proved*:
    pesme2023saddle, for data in general position; at finite alpha the jumps come O(1/log(1/alpha)) away.

    Parameters
    ----------
    X : (n, d) inputs. y : (n,) targets; Loss = ||X beta - y||^2 / 2 sets the unit of time.

    Raises
    ------
    InvalidInput : shapes out of order. PreconditionError : the active columns of X are linearly dependent.
    NotConverged : more than 100 + 10 d jumps.

    Examples
    --------
    >>> form = SaddleToSaddle(X=np.eye(3), y=[1.0, -4.0, 2.0])
    >>> form.times.tolist()
    [0.25, 0.5, 1.0]
    >>> form.solution(0.7).tolist()
    [0.0, -4.0, 2.0]
    """

    X: np.ndarray
    y: np.ndarray
    times: np.ndarray = field(init=False)
    saddles: np.ndarray = field(init=False)
    duals: np.ndarray = field(init=False, repr=False)

    __repr__ = short_repr

    def __post_init__(self) -> None:
        X, y = as_problem(self.X, self.y, signs=False)
        times, saddles, duals = _recursion(X, y)
        store(self, X=X, y=y, times=frozen(times), saddles=frozen(saddles), duals=frozen(duals))

    @property
    def data(self) -> Data:
        """X of shape (n, d) and y of shape (n,)."""
        return Data(self.X, self.y)

    @property
    def limit(self) -> np.ndarray:
        """The last saddle (d,): the minimum of the loss of least l1 norm."""
        return self.saddles[-1]

    @property
    def losses(self) -> np.ndarray:
        """||X beta_k - y||^2 / 2 of all saddles, the first of them zero, shape (jumps + 1,)."""
        return ((self.saddles @ self.X.T - self.y) ** 2).sum(axis=1) / 2

    def jump_times(self, log_alpha: float) -> np.ndarray:
        """Predicted times (jumps,) of the flow from u = v = e^log_alpha, to be trusted to O(1/log(1/alpha))."""
        log_alpha = as_real("log_alpha", log_alpha)
        if log_alpha >= 0:
            raise InvalidInput(f"log_alpha must be negative, but is {log_alpha:g}.")
        return self.times * (-log_alpha / 2)

    def solution(self, t: ArrayLike) -> np.ndarray:
        """Weights beta at rescaled times, the new saddle at a jump, of the shape of the time followed by (d,)."""
        return self.saddles[np.searchsorted(self.times, as_time(t), side="right")]

    def dual(self, t: ArrayLike) -> np.ndarray:
        """S at rescaled times, of the shape of the time followed by (d,)."""
        at = as_time(t)
        k = np.searchsorted(self.times, at, side="right")
        starts = np.append(0.0, self.times)
        slopes = np.vstack([np.diff(self.duals, axis=0) / np.diff(starts)[:, None], np.zeros(self.X.shape[1])])
        return self.duals[k] + np.asarray(at - starts[k])[..., None] * slopes[k]


def _recursion(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    d = X.shape[1]
    beta, S, now = np.zeros(d), np.zeros(d), 0.0
    times: list[float] = []
    saddles, duals = [beta], [S]
    rounding = ROUNDING * float(np.linalg.norm(X, axis=0).max() * np.linalg.norm(y))
    for _ in range(100 + 10 * d):
        force = -X.T @ (X @ beta - y)
        force[(beta != 0) | (np.abs(force) <= rounding)] = 0.0
        if not force.any():
            return np.array(times), np.array(saddles), np.array(duals)
        moving = force != 0
        waits = np.full(d, np.inf)
        waits[moving] = (1 - np.sign(force[moving]) * S[moving]) / np.abs(force[moving])
        now += float(waits.min())
        S = S + float(waits.min()) * force
        full = np.abs(S) >= 1 - ROUNDING
        S[full] = np.sign(S[full])
        beta = _constrained(X, y, S, full)
        times.append(now)
        saddles.append(beta)
        duals.append(S)
    raise NotConverged(f"the recursion did not end within {100 + 10 * d} jumps.")


def _constrained(X: np.ndarray, y: np.ndarray, S: np.ndarray, full: np.ndarray) -> np.ndarray:
    """The least-squares solution with beta_i S_i >= 0 where ``full``, zero elsewhere."""
    from scipy.optimize import nnls

    A = X[:, full] * S[full]
    if np.linalg.matrix_rank(A) < A.shape[1]:
        raise PreconditionError("the data must be in general position: the active columns of X are dependent.")
    sizes = nnls(A, y)[0]
    support = sizes > 0
    sizes[support] = np.linalg.lstsq(A[:, support], y, rcond=None)[0]
    beta = np.zeros(X.shape[1])
    beta[full] = sizes * S[full]
    return beta
