r"""The clocks of a flow, and what time is in them.

- ``t``: ``dtheta/dt = -grad Loss``.
- ``loss-normalised`` tau, ``dtau = Loss dt``: ``dtheta/dtau = grad u``, u = log(1/Loss); nothing overflows.
- ``log-log``, ``s = log u`` once u >= 10. State ``phi = theta e^{-s/L}`` = direction times e^{log-norm - s/L}:
  ``dphi/ds = e^{s(1 - 1/L)} v / ||v||^2 - phi/L`` with v = grad u at theta (*derived*: du/dtau = ||v||^2). For a
  homogeneous network phi tends to the solution of the margin problem and ``||phi||^{-L}`` is the smoothed margin; the
  state   needs no
  normalisation, and ``u(theta) = e^s`` is an invariant that measures the error.

Where the flow slides, v is the tangential part, and ``du/dtau = <grad u, v> = ||v||^2`` still holds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from theory.flow._field import Field, Solver
from theory.flow._surface import Surface

NARROW, WIDE = np.polynomial.legendre.leggauss(8), np.polynomial.legendre.leggauss(20)
PAIR, STILL = np.polynomial.legendre.leggauss(2), 0.01  # two nodes do where u moves less than this between them
HORIZON = 40.0  # e^-40 of a time increment is below rounding


class Clock(ABC):
    """How parameters, state and time hang together; ``x`` is the value of the clock."""

    name: str
    log = True  # whether the field is grad u (else -grad Loss)

    def __init__(self, field: Field) -> None:
        self.field = field

    def theta(self, x: float, state: np.ndarray) -> np.ndarray:
        """Parameters (P) from the state."""
        return state

    def state(self, x: float, theta: np.ndarray) -> np.ndarray:
        """State (P) from the parameters."""
        return theta

    def rate(self, x: float, state: np.ndarray, surface: Surface) -> np.ndarray:
        """``d state / dx``."""
        return self.field.velocity(state, surface, log=self.log)

    @abstractmethod
    def log_time(self, a: float, b: float, path: Callable[[float], np.ndarray], surface: Surface) -> float:
        """``log(t(b) - t(a))`` along the states ``path(x)``."""


class PlainClock(Clock):
    """t itself."""

    name, log = "t", False

    def log_time(self, a: float, b: float, path: Callable[[float], np.ndarray], surface: Surface) -> float:
        return float(np.log(b - a))


class LossClock(Clock):
    """tau with ``dtau = Loss dt``."""

    name = "loss-normalised"

    def log_time(self, a: float, b: float, path: Callable[[float], np.ndarray], surface: Surface) -> float:
        """Quadrature of ``dt = e^u dtau`` on the interpolant, in panels over which u moves by about two."""
        a = self._horizon(a, b, path, surface)
        panels, (nodes, weights) = 1, PAIR
        while True:
            edges = a + (b - a) * np.arange(panels + 1) / panels
            width = (b - a) / panels
            xs = (edges[:-1, None] + width * (1 + nodes) / 2).ravel()
            u = np.array([self.field.log_inverse(path(x), surface) for x in xs])
            if panels > 1 or nodes is NARROW[0] or np.ptp(u) < STILL:
                return float(u.max() + np.log(np.exp(u - u.max()) @ np.tile(weights, panels) * width / 2))
            panels, (nodes, weights) = max(1, min(int(np.ptp(u)), int(HORIZON))), NARROW

    def _horizon(self, a: float, b: float, path: Callable[[float], np.ndarray], surface: Surface) -> float:
        """a, or where u is 40 below its value at b: what comes before is below rounding."""
        floor = self.field.log_inverse(path(b), surface) - HORIZON
        if self.field.log_inverse(path(a), surface) >= floor:
            return a
        low, high = a, b
        for _ in range(60):
            mid = (low + high) / 2
            low, high = (mid, high) if self.field.log_inverse(path(mid), surface) < floor else (low, mid)
        return low


class LogLogClock(Clock):
    """s = log log(1/Loss)."""

    name = "log-log"

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.L = field.network.degree

    def theta(self, x: float, state: np.ndarray) -> np.ndarray:
        return state * np.exp(x / self.L)

    def state(self, x: float, theta: np.ndarray) -> np.ndarray:
        return theta * np.exp(-x / self.L)

    def rate(self, x: float, state: np.ndarray, surface: Surface) -> np.ndarray:
        v = self.field.velocity(self.theta(x, state), surface, log=True)
        return np.exp(x * (1 - 1 / self.L)) / (v @ v) * v - state / self.L

    def linearise(self, x: float, state: np.ndarray, surface: Surface) -> Callable[[complex], Solver]:
        """The factory of solvers of ``(c - d rate / d state) k = r``."""
        lin = self.field.linearise(self.theta(x, state), surface)
        kappa = np.exp(x) / (lin.g @ lin.g)
        return lambda c: lin.factor(c + 1 / self.L, kappa)

    def jacobian(self, x: float, state: np.ndarray, surface: Surface) -> np.ndarray:
        """``d rate / d state`` (P, P), for small P."""
        lin = self.field.linearise(self.theta(x, state), surface, dense=True)
        return np.exp(x) / (lin.g @ lin.g) * lin.turned() - np.eye(len(state)) / self.L

    def log_time(self, a: float, b: float, path: Callable[[float], np.ndarray], surface: Surface) -> float:
        """Quadrature of ``dt = e^u / ||v||^2 du``; the last 40 units of u hold all but e^-40 of it."""
        end = np.exp(b)
        span = min(end - np.exp(a), HORIZON)
        nodes, weights = NARROW if span < 8 else WIDE
        back = span * (1 - nodes) / 2  # e^b - u at the nodes
        terms = np.empty(len(nodes))
        for i, gap in enumerate(back):
            x = max(b + np.log1p(-gap / end), a)
            v = self.field.velocity(self.theta(x, path(x)), surface, log=True)
            terms[i] = np.log(weights[i] * span / 2) - gap - np.log(v @ v)
        top = terms.max()
        return float(end + top + np.log(np.exp(terms - top).sum()))
