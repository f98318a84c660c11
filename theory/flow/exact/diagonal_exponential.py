"""Diagonal linear networks under the exponential loss: the manifold that holds the flow at all times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_real, short_repr
from theory._errors import InvalidInput, NotConverged, PreconditionError
from theory.flow.exact._base import Data, MarginLimit, as_problem, store
from theory.flow.exact._hypentropy import log_factors


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DiagonalExponential:
    r"""Gradient flow of Loss = sum_n e^{-y_n beta . x_n}, beta = u*u - v*v, from u = v = alpha in every coordinate.

    .. math:: \log\frac uv = \operatorname{arcsinh}\frac\beta{2\alpha^2} = 4 \sum_n \nu_n y_n x_n, \quad
        \nu_n(t) = \int_0^t e^{-q_n} \ge 0, \qquad u * v = \alpha^2

    A first integral, not a closed form: log(u/v) stays in the cone of the y_n x_n. *derived*; the direction tends to
    the l1 maximum margin, which for small alpha shows only at losses far below 1e-100 (moroshko2020implicit).

    Parameters
    ----------
    X : (n, d) inputs. y : (n,) labels -1 and 1. log_alpha : logarithm of the initial size, in [-340, 340].

    Raises
    ------
    InvalidInput : shapes, labels or numbers out of order.

    Examples
    --------
    >>> form = DiagonalExponential(X=[[2.0, 1.0]], y=[1], log_alpha=0.0)
    >>> form.residual(np.exp([2.0, 1, -2, -1])) < 1e-15
    True
    """

    X: np.ndarray
    y: np.ndarray
    log_alpha: float

    __repr__ = short_repr

    def __post_init__(self) -> None:
        X, y = as_problem(self.X, self.y, signs=True)
        log_alpha = as_real("log_alpha", self.log_alpha)
        if abs(log_alpha) > 340:
            raise InvalidInput(f"log_alpha must lie in [-340, 340], but is {log_alpha:g}.")
        store(self, X=X, y=y, log_alpha=log_alpha)

    @property
    def theta0(self) -> np.ndarray:
        """The start (u, v), shape (2 d,)."""
        return np.full(2 * self.X.shape[1], np.exp(self.log_alpha))

    @property
    def data(self) -> Data:
        """X of shape (n, d) and y of shape (n,)."""
        return Data(self.X, self.y)

    @property
    def limit(self) -> MarginLimit:
        """A direction (u, v) of largest margin at unit norm: u*u - v*v has the largest l1 margin.

        Raises
        ------
        PreconditionError : the data are not linearly separable.
        NotConverged : the linear program is not certified to 1e-9 by its dual.
        """
        from scipy.optimize import linprog

        Z = self.y[:, None] * self.X
        n, d = Z.shape
        # maximise g subject to Z (p - m) >= g, sum p + m <= 1
        program = linprog(
            np.append(np.zeros(2 * d), -1.0),
            A_ub=np.vstack([np.hstack([-Z, Z, np.ones((n, 1))]), np.append(np.ones(2 * d), 0.0)]),
            b_ub=np.append(np.zeros(n), 1.0), bounds=[(0, None)] * (2 * d) + [(None, None)], method="highs",
        )  # fmt: skip
        if not program.success:
            raise NotConverged("the linear program of the l1 margin was not solved.")
        beta = program.x[:d] - program.x[d : 2 * d]
        size, weights = float(np.abs(beta).sum()), np.maximum(-program.ineqlin.marginals[:n], 0.0)
        upper = float(np.abs(weights @ Z).max()) / max(float(weights.sum()), 1e-300)
        margin = float((Z @ beta).min()) / size if size > 0 else 0.0
        if upper <= 1e-12 * float(np.abs(Z).max()):
            raise PreconditionError("the data must be linearly separable through the origin.")
        if not upper - margin <= 1e-9 * upper:
            raise NotConverged(f"the l1 margin lies between {margin:g} and {upper:g}, which is not close enough.")
        beta = beta / size
        return MarginLimit(direction=np.sqrt(np.maximum(np.append(beta, -beta), 0.0)), margin=margin)

    def multipliers(self, theta: ArrayLike) -> np.ndarray:
        """Nonnegative nu (n,) nearest to explaining log(u/v) of (u, v) of shape (2 d,)."""
        from scipy.optimize import nnls

        _, z = log_factors(theta, self.X.shape[1])
        return nnls(4 * (self.y[:, None] * self.X).T, z)[0]

    def residual(self, theta: ArrayLike) -> float:
        """Largest violation of the first integral by (u, v) of shape (2 d,), in units of log(u) and log(v)."""
        logs, z = log_factors(theta, self.X.shape[1])
        off_cone = z - 4 * (self.multipliers(theta) * self.y) @ self.X
        return float(max(np.abs(logs.sum(axis=0) - 2 * self.log_alpha).max(), np.abs(off_cone).max()))
