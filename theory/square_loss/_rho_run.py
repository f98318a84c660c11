"""The flow of (rho, V) as a field of ``theory.flow``, and its integration with an eye on rho = 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from scipy.optimize import brentq

from theory.flow._field import Field, penalised
from theory.flow._layered import Forward, LayeredNetwork
from theory.flow._run import Run
from theory.flow._steppers import Piece
from theory.flow._surface import Surface
from theory.flow._until import FlowStatus, Until
from theory.flow.networks import Network
from theory.square_loss._loss import MeanSquareLoss
from theory.square_loss._scaled import ScaledNetwork

LOOKS = 8  # samples of a step at which the sign of a scale is looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroCrossing:
    """A scale that reached zero: when, of which layer (-1: rho itself), and whether the flow went on, reflected."""

    t: float
    layer: int
    reflected: bool


class RhoField(Field):
    """The field of ``ScaledNetwork`` under the mean square loss, with ``lam ||s||^2`` added."""

    def __init__(self, scaled: ScaledNetwork, X: np.ndarray, y: np.ndarray, lam: float) -> None:
        super().__init__(cast("Network", scaled), X, y, MeanSquareLoss())
        self.scaled, self.lam = scaled, lam

    @property
    def layered(self) -> LayeredNetwork:
        """The scaled network, which offers what the switches ask for."""
        return cast("LayeredNetwork", self.scaled)

    def log_inverse(self, theta: np.ndarray, surface: Surface) -> float:
        """Log of 1 over the objective."""
        u = self.loss.log_inverse(self.forward(theta, surface).outputs, self.y)
        s = theta[self.scaled.P :]
        return u if self.lam == 0 else penalised(u, self.lam * float(s @ s))

    def raw_from(self, at: Forward, theta: np.ndarray, *, log: bool) -> tuple[np.ndarray, np.ndarray]:
        """The field before it is projected where it slides."""
        g, signals = super().raw_from(at, theta, log=log)
        g[self.scaled.P :] -= 2 * self.lam * theta[self.scaled.P :]
        return g, signals

    def drift(self, theta0: np.ndarray, theta: np.ndarray, elapsed: float) -> float:
        """How far the norms of U have drifted from those at the start."""
        U0, U = theta0[: self.scaled.P], theta[: self.scaled.P]
        return float(abs(self.scaled.norms(U) - self.scaled.norms(U0)).max())


class RhoRun(Run):
    """A run that notes where a scale changes its sign, and ends there unless it may go on reflected."""

    def __init__(self, field: RhoField, end: Until, rtol: float, atol: float, ambiguous: str, reflect: bool,
                 began: float) -> None:  # fmt: skip
        super().__init__(field, end, "t", rtol, atol, ambiguous, True, began)
        self.scaled, self.reflect = field.scaled, reflect
        self.crossings: list[ZeroCrossing] = []
        self.stopped_at_zero = False
        self._sign = np.ones(len(field.scaled.powers))

    def _record(self, piece: Piece) -> bool:
        start = piece.a
        while (found := self._crossing(piece, start)) is not None:
            start, j = found
            last = len(self._sign) - 1
            goes_on = self.reflect and j == last
            t = self._log_time(piece, start) if start > piece.a else self.log_t
            self.crossings.append(ZeroCrossing(t=float(np.exp(t)), layer=j if last else -1, reflected=goes_on))
            if not goes_on:
                super()._record(Piece(piece.clock, piece.surface, piece.a, start, piece.path, piece.path(start)))
                self.stopped_at_zero, self.status = True, FlowStatus.REACHED
                return True
            self._sign[j] *= -1
        return super()._record(piece)

    def _crossing(self, piece: Piece, start: float) -> tuple[float, int] | None:
        """Where a scale first leaves its side after ``start``, and which."""
        before = start
        for x in np.linspace(start, piece.b, LOOKS + 1)[1:].tolist():
            s = self._sign * piece.theta(x)[self.scaled.P :]
            if (s < 0).any():
                return min((self._root(piece, before, x, j), j) for j in np.flatnonzero(s < 0).tolist())
            before = x
        return None

    def _root(self, piece: Piece, a: float, b: float, j: int) -> float:
        def scale(x: float) -> float:
            return float(self._sign[j] * piece.theta(x)[self.scaled.P + j])

        return float(brentq(scale, a, b, xtol=1e-15 * max(1.0, abs(b)), rtol=1e-14)) if scale(a) > 0 else a
