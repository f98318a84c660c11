"""Diagonal linear networks under the squared loss: a first integral, and the end as a convex program."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats, as_real, short_repr
from theory._certificate import Certificate
from theory._errors import InvalidInput, NotConverged
from theory.flow.exact._base import Data, as_problem, as_time, frozen, store
from theory.flow.exact._hypentropy import curvature, log_factors, minimise, mirror


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HypentropyLimit:
    """The minimiser of the hyperbolic entropy over the least-squares solutions.

    Attributes
    ----------
    beta : (d,) the weights. z : (d,) arcsinh(beta / 2 alpha^2), in the row space of X.
    certificate : of the least hypentropy; ``interpolation`` is the relative violation of the constraints.
    """

    beta: np.ndarray
    z: np.ndarray
    certificate: Certificate

    __repr__ = short_repr


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DiagonalSquare:
    r"""Gradient flow of Loss = ||X beta - y||^2 / 2, beta = u*u - v*v, from u = v = alpha in every coordinate.

    .. math:: \beta(t) = 2\alpha^2 \sinh\Bigl(-4 X^\top \int_0^t (X\beta - y)\Bigr), \qquad u * v = \alpha^2

    A first integral, not a closed form: arcsinh(beta / 2 alpha^2) = log(u/v) stays in the row space of X, so the
    end is the least-squares solution that minimises the hyperbolic entropy

    .. math:: Q_\alpha(\beta) = \sum_j \beta_j \operatorname{arcsinh}\frac{\beta_j}{2\alpha^2}
        - \sqrt{\beta_j^2 + 4\alpha^4} + 2\alpha^2,

    near the l2 norm for large alpha and the l1 norm for small (*proved*: woodworth2020kernel, whose factor differs).
    ``limit`` is found by our own Newton method on the dual, with its certificate. ``solution`` integrates the equation
    of the dual variable numerically (Radau, to about 1e-9); u v = alpha^2 and the row space hold exactly. All is done
    in logarithms: log_alpha = -1600 is no harder than -2.

    Parameters
    ----------
    X : (n, d) inputs. y : (n,) targets. log_alpha : logarithm of the initial size, in [-10^4, 100].

    Raises
    ------
    InvalidInput : shapes or numbers out of order.

    Examples
    --------
    >>> form = DiagonalSquare(X=[[1.0, 2.0]], y=[3.0], log_alpha=-400.0)
    >>> bool(np.abs(form.limit.beta - [0, 1.5]).max() < 1e-12)
    True
    """

    X: np.ndarray
    y: np.ndarray
    log_alpha: float
    _rows: np.ndarray = field(init=False, repr=False)
    _target: np.ndarray = field(init=False, repr=False)

    __repr__ = short_repr

    def __post_init__(self) -> None:
        X, y = as_problem(self.X, self.y, signs=False)
        log_alpha = as_real("log_alpha", self.log_alpha)
        if not -1e4 <= log_alpha <= 100:
            raise InvalidInput(f"log_alpha must lie in [-10000, 100], but is {log_alpha:g}.")
        U, s, V = np.linalg.svd(X, full_matrices=False)
        rank = int((s > max(X.shape) * np.finfo(float).eps * s[0]).sum())
        target = U[:, :rank].T @ y / s[:rank]
        store(self, X=X, y=y, log_alpha=log_alpha, _rows=frozen(V[:rank]), _target=frozen(target))

    @property
    def theta0(self) -> np.ndarray:
        """The start (u, v), shape (2 d,)."""
        return np.full(2 * self.X.shape[1], self._held())

    @property
    def data(self) -> Data:
        """X of shape (n, d) and y of shape (n,)."""
        return Data(self.X, self.y)

    @property
    def limit(self) -> HypentropyLimit:
        """Where the flow ends.

        Raises
        ------
        NotConverged : Newton's method did not meet the constraints.
        """
        R, c = self._rows, self._target
        m = minimise(R, c, self.log_alpha) if len(c) else np.zeros(0)
        z = R.T @ m
        beta = mirror(z, self.log_alpha)
        rest = R @ beta - c
        value = self.potential(beta)
        gap = abs(float(m @ rest))  # Q(beta) + Q*(z) = beta . z at beta = Q*'(z)
        violation = float(np.abs(rest).max(initial=0.0)) / max(float(np.abs(c).max(initial=0.0)), 1e-300)
        certificate = Certificate(
            lower=value - gap, upper=value, gap=gap, residuals={"interpolation": violation}, method="Fenchel dual"
        )
        return HypentropyLimit(beta=beta, z=z, certificate=certificate)

    def potential(self, beta: ArrayLike) -> float:
        """Q_alpha at beta (d,)."""
        size = np.abs(as_floats("beta", beta))
        square = np.exp(2 * self.log_alpha)
        with np.errstate(divide="ignore", over="ignore"):
            near = np.arcsinh(size / max(2 * square, 1e-300))
            z = np.where(square * 1e9 > size, near, np.log(size) - 2 * self.log_alpha)
        root = np.hypot(size, 2 * square)
        # root - 2 square without cancellation
        return float(np.sum(size * np.where(size > 0, z, 0.0) - size * (size / np.maximum(root + 2 * square, 1e-300))))

    def residual(self, theta: ArrayLike) -> float:
        """Largest violation of the first integral by positive (u, v) of shape (2 d,), in units of log(u) and log(v)."""
        logs, z = log_factors(theta, self.X.shape[1])
        off_hyperbola = logs.sum(axis=0) - 2 * self.log_alpha
        off_rows = z - self._rows.T @ (self._rows @ z)
        return float(max(np.abs(off_hyperbola).max(), np.abs(off_rows).max()))

    def dual(self, t: ArrayLike, *, rtol: float = 1e-10) -> np.ndarray:
        """The numerical z = arcsinh(beta / 2 alpha^2), of the shape of the time followed by (d,).

        Raises
        ------
        NotConverged : the integration stopped early.
        """
        from scipy.integrate import solve_ivp

        times = as_time(t)
        order, at = np.unique(times.ravel(), return_inverse=True)
        R, G, X = self._rows, self._rows @ self.X.T @ self.X, self.X

        def rate(_: float, m: np.ndarray) -> np.ndarray:
            return 4 * (R @ (X.T @ self.y) - G @ mirror(R.T @ m, self.log_alpha))

        def jacobian(_: float, m: np.ndarray) -> np.ndarray:
            return -4 * (G * curvature(R.T @ m, self.log_alpha)) @ R.T

        if len(R) == 0 or order[-1] == 0:
            return np.zeros((*times.shape, self.X.shape[1]))
        found = solve_ivp(
            rate, (0.0, order[-1]), np.zeros(len(R)), method="Radau", jac=jacobian, t_eval=order, rtol=rtol, atol=rtol
        )
        if not found.success:
            raise NotConverged(f"the dual flow stopped at t = {found.t[-1]:g}: {found.message}")
        return (R.T @ found.y).T[at.ravel()].reshape(*times.shape, -1)

    def product(self, t: ArrayLike, *, rtol: float = 1e-10) -> np.ndarray:
        """The numerical beta, of the shape of the time followed by (d,)."""
        return mirror(self.dual(t, rtol=rtol), self.log_alpha)

    def solution(self, t: ArrayLike, *, rtol: float = 1e-10) -> np.ndarray:
        """The numerical (u, v), of the shape of the time followed by (2 d,)."""
        half = self.dual(t, rtol=rtol) / 2
        return self._held() * np.exp(np.concatenate([half, -half], axis=-1))

    def _held(self) -> float:
        if self.log_alpha < -340:
            raise InvalidInput("u and v need log_alpha of at least -340 in float64; use dual or product.")
        return float(np.exp(self.log_alpha))
