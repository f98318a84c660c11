"""Diagonal linear networks: a linear predictor whose weights are differences of powers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from theory._arrays import as_count, as_floats
from theory._errors import InvalidInput
from theory.flow._activation import Activation
from theory.flow._layered import Forward

LINEAR = Activation(name="linear", slope=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagonalNetwork:
    r"""``f(x) = sum_i x_i (u_i^depth - v_i^depth)`` with theta = (u, v), no hidden units, degree ``depth``."""

    dimension: int
    depth: int = 2
    activation: Activation = LINEAR

    @property
    def name(self) -> str:
        """What it is, in words."""
        return "diagonal linear"

    @property
    def n_inputs(self) -> int:
        """Dimension of an input."""
        return self.dimension

    @property
    def n_outputs(self) -> int:
        """One output."""
        return 1

    @property
    def n_parameters(self) -> int:
        """Length of theta: u and v."""
        return 2 * self.dimension

    @property
    def units(self) -> tuple[int, ...]:
        """No hidden layer."""
        return ()

    @property
    def n_units(self) -> int:
        """No hidden unit."""
        return 0

    @property
    def starts(self) -> tuple[int, ...]:
        """Of no hidden layer: the number of units."""
        return (0,)

    @property
    def homogeneous(self) -> bool:
        """f(c theta) = c^depth f(theta)."""
        return True

    @property
    def degree(self) -> int:
        """The depth."""
        return self.depth

    def views(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """``u`` and ``v`` (..., d) as views into theta (..., P)."""
        return {"u": theta[..., : self.dimension], "v": theta[..., self.dimension :]}

    def pack(self, **named: np.ndarray) -> np.ndarray:
        """The flat theta (P) from ``u`` and ``v`` (d).

        Raises
        ------
        InvalidInput : a name is missing or unknown, or a shape does not fit.
        """
        if set(named) != {"u", "v"}:
            raise InvalidInput(f"the parameters are u, v, but {', '.join(named) or 'none'} was given.")
        parts = [as_floats(name, named[name]) for name in ("u", "v")]
        for name, part in zip("uv", parts, strict=True):
            if part.shape != (self.dimension,):
                raise InvalidInput(f"{name} must have shape ({self.dimension},), but has {part.shape}.")
        return np.concatenate(parts)

    def random_parameters(self, *, rng: np.random.Generator | int | None = None, scale: float = 1.0) -> np.ndarray:
        """Gaussian theta (P) of standard deviation ``scale``."""
        return scale * np.random.default_rng(rng).standard_normal(self.n_parameters)

    def forward(self, theta: np.ndarray, X: np.ndarray, slopes: np.ndarray | None = None) -> Forward:
        """Evaluate at theta (P) on inputs X (N, d); there is nothing to give slopes to."""
        u, v = theta[: self.dimension], theta[self.dimension :]
        empty = np.zeros((len(X), 0))
        return Forward((X @ (u**self.depth - v**self.depth))[:, None], empty, empty, [X], [theta])

    def _checked(self, theta: np.ndarray, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both as float64 arrays whose shapes fit; their entries are not looked at."""
        theta, X = np.asarray(theta, dtype=np.float64), np.asarray(X, dtype=np.float64)
        if theta.shape != (self.n_parameters,):
            raise InvalidInput(f"theta must have shape ({self.n_parameters},), but has {theta.shape}.")
        if X.ndim != 2 or X.shape[1] != self.n_inputs:
            raise InvalidInput(f"inputs must have shape (samples, {self.n_inputs}), but have {X.shape}.")
        return theta, X

    def output(self, theta: np.ndarray, X: np.ndarray) -> np.ndarray:
        """The outputs f (N, 1) at theta (P) on inputs X (N, d).

        Raises
        ------
        InvalidInput : theta or X of another shape; NaN or infinity in them.
        """
        return self.forward(*self._checked(as_floats("theta", theta), as_floats("inputs", X))).outputs

    def preactivations(self, theta: np.ndarray, X: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
        """No switching functions (N, 0)."""
        return np.zeros((len(X), 0))

    def _slope(self, theta: np.ndarray) -> np.ndarray:
        """Derivative of ``u^depth`` and ``-v^depth`` (P)."""
        first = self.depth * theta ** (self.depth - 1)
        first[self.dimension :] *= -1
        return first

    def gradient(self, at: Forward, G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``sum_n G_n grad f_n`` (P), and no signals (N, 0)."""
        pulled = G[:, 0] @ at.inputs[0]
        return self._slope(at.weights[0]) * np.concatenate([pulled, pulled]), at.preactivations

    def vjp(self, theta: np.ndarray, X: np.ndarray, G: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
        """``sum_n G_n grad f_n`` (P) for cotangents G (N, 1)."""
        return self.gradient(self.forward(*self._checked(theta, X)), np.asarray(G, dtype=np.float64))[0]

    def jacobian(self, theta: np.ndarray, X: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
        """``df_n/dtheta`` (N, 1, P)."""
        theta, X = self._checked(theta, X)
        return (np.concatenate([X, X], axis=1) * self._slope(theta))[:, None, :]

    def jvp(self, theta: np.ndarray, X: np.ndarray, dtheta: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
        """``df/dtheta . dtheta`` (..., N, 1) for tangents dtheta (..., P)."""
        return (np.asarray(dtheta, dtype=np.float64) @ self.jacobian(theta, X)[:, 0].T)[..., None]

    def _curvature(self, theta: np.ndarray, X: np.ndarray, G: np.ndarray) -> np.ndarray:
        """The diagonal (P) of ``sum_n G_n Hess f_n``, which has no other entries."""
        theta, X = self._checked(theta, X)
        second = self.depth * (self.depth - 1) * theta ** (self.depth - 2)
        second[self.dimension :] *= -1
        pulled = np.asarray(G, dtype=np.float64)[:, 0] @ X
        return second * np.concatenate([pulled, pulled])

    def hvp(
        self, theta: np.ndarray, X: np.ndarray, G: np.ndarray, dtheta: np.ndarray, slopes: np.ndarray | None = None
    ) -> np.ndarray:
        """``(sum_n G_n Hess f_n) dtheta`` (..., P) for tangents dtheta (..., P)."""
        return self._curvature(theta, X, G) * np.asarray(dtheta, dtype=np.float64)

    def hessian(self, theta: np.ndarray, X: np.ndarray, G: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
        """``sum_n G_n Hess f_n`` (P, P), a diagonal matrix."""
        return np.diag(self._curvature(theta, X, G))

    def to_json(self) -> dict[str, object]:
        """A description in plain numbers."""
        return {
            "name": self.name,
            "dimension": self.dimension,
            "depth": self.depth,
            "degree": self.degree,
            "homogeneous": True,
            "parameters": self.n_parameters,
        }


def diagonal_linear(dimension: int, depth: int = 2) -> DiagonalNetwork:
    r"""``f(x) = sum_i x_i (u_i^depth - v_i^depth)``, theta = (u, v).

    Parameters
    ----------
    dimension : of the inputs.
    depth : power, at least 2 (a linear predictor is ``fully_connected((dimension, 1))``).

    Raises
    ------
    InvalidInput : a dimension below 1, a depth below 2.

    Examples
    --------
    >>> net = diagonal_linear(2, depth=3)
    >>> net.output(net.pack(u=[2, 0], v=[0, 1]), [[1, 5]]).item()  # 1 * 2^3 - 5 * 1^3
    3.0
    """
    return DiagonalNetwork(dimension=as_count("dimension", dimension), depth=as_count("depth", depth, minimum=2))
