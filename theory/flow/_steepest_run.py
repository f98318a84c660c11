"""Following a steepest flow of a linear model by arc length: smooth pieces, located events, and a face between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.integrate import Radau
from scipy.optimize import brentq

from theory._errors import NotConverged
from theory.flow._geometry import Geometry
from theory.flow._steepest_faces import TIE, Box, Face, Hull
from theory.flow.losses import Loss

LOOKS = 4  # points of each step at which the conditions are looked at
TOUCHES = 2  # Newton steps onto a tie after its event
RIDGE = 1e-13  # keeps a fractional power of |g_j| from a derivative at 0


class LinearModel:
    """Outputs ``J w`` (N, K) with a constant Jacobian J (N, K, P), under a loss with an exponential tail."""

    def __init__(self, J: np.ndarray, y: np.ndarray, loss: Loss) -> None:
        self.J, self.y, self.loss = J, y, loss
        self.rows = J.reshape(-1, J.shape[2])
        self.pull = float(np.linalg.norm(self.rows, axis=1).max())

    def log_inverse(self, w: np.ndarray) -> float:
        """``u = log(1/Loss)``."""
        return self.loss.log_inverse(self.J @ w, self.y)

    def gradient(self, w: np.ndarray) -> np.ndarray:
        """``g = -grad Loss / Loss`` (P)."""
        return self.loss.log_slope(self.J @ w, self.y).ravel() @ self.rows

    def hessian(self, w: np.ndarray) -> np.ndarray:
        """``Hess Loss / Loss`` (P, P)."""
        D = self.loss.log_curvature(self.J @ w, self.y)
        return self.rows.T @ (D @ self.J).reshape(self.rows.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class SteepestEvent:
    """A change of the set that slides.

    Attributes
    ----------
    arc_length, log_inverse_loss : when.
    kind : ``tie`` (coordinates joined), ``release`` (coordinates left), ``crossing`` (l_inf: a sign turned over without
        sliding), or ``exchange`` (some joined, others left).
    coordinates : whose part changed.
    """

    arc_length: float
    log_inverse_loss: float
    kind: str
    coordinates: tuple[int, ...]


class SteepestRun:
    """One flow; rows are kept at every accepted step and event."""

    def __init__(self, model: LinearModel, geometry: Geometry, w: np.ndarray, rtol: float, max_steps: int) -> None:
        self.model, self.geometry, self.rtol, self.max_steps = model, geometry, rtol, max_steps
        self.s, self.w = 0.0, w
        self.rows: list[tuple[float, np.ndarray, float]] = [(0.0, w, model.log_inverse(w))]
        self.events: list[SteepestEvent] = []
        self.steps, self.face = 0, self._select(None)

    def _select(self, before: Face | None) -> Face | None:
        """The face at the present point; None for a smooth norm."""
        if not self.geometry.polyhedral:
            return None
        kind: type[Hull] | type[Box] = Hull if self.geometry.p == 1 else Box
        g, H = self.model.gradient(self.w), self.model.hessian(self.w)
        close = kind.tied_at(g) if before is None else kind.tied_at(g) | before.sliding()
        for _ in range(TOUCHES if close.any() else 0):  # the interpolant is less accurate than its ends
            self.w = self.w + kind.onto_tie(g, H, close)
            g, H = self.model.gradient(self.w), self.model.hessian(self.w)
        return kind.select(g, H, close)

    def velocity(self, w: np.ndarray) -> np.ndarray:
        """``dw/ds`` (P), of length one in the norm."""
        g = self.model.gradient(w)
        if self.face is None:
            return self.geometry.direction(g)
        return self.face.velocity(g, self.model.hessian(w), self.model.pull)

    def _jacobian(self, w: np.ndarray) -> np.ndarray:
        """``d(dw/ds)/dw`` (P, P) for a smooth norm: ``(q-1)/||g||_q (diag r^{q-2} - v v^T) dg/dw``, r = |g|/||g||_q."""
        g, H = self.model.gradient(w), self.model.hessian(w)
        q, size, v = self.geometry.dual_exponent, self.geometry.dual(g), self.geometry.direction(g)
        r = np.maximum(np.abs(g) / size, RIDGE)
        turn = (q - 1) / size * (np.diag(r ** (q - 2)) - np.outer(v, v))
        return turn @ (np.outer(g, g) - H)

    def conditions(self, w: np.ndarray) -> np.ndarray:
        """Nonnegative while the face is the right one; empty for a smooth norm."""
        if self.face is None:
            return np.zeros(0)
        return self.face.conditions(self.model.gradient(w), self.model.hessian(w), self.model.pull)

    def go(self, end: float, callback: Callable[[int, float], None] | None) -> None:
        """Until ``u = end``; NotConverged where steps run out or the method gives up."""
        if self.rows[-1][2] < end:
            while not self._piece(end, callback):
                self._switch()

    def _piece(self, end: float, callback: Callable[[int, float], None] | None) -> bool:
        """Integrate until the face changes, or the end is reached: True."""
        floor = np.minimum(0.0, self.conditions(self.w)) - TIE
        solver = Radau(
            lambda s, w: self.velocity(w), self.s, self.w, np.inf, rtol=self.rtol, atol=1e-2 * self.rtol,
            jac=(lambda s, w: self._jacobian(w)) if self.face is None else None,
        )  # fmt: skip
        while True:
            if self.steps >= self.max_steps:
                raise NotConverged(f"max_steps={self.max_steps} steps were taken before log(1/loss) reached {end:g}.")
            if solver.step() is not None or solver.status == "failed":
                raise NotConverged(f"the steps became too small at log(1/loss) = {self.rows[-1][2]:g}.")
            self.steps += 1
            path, now = solver.dense_output(), solver.t
            event = self._first_event(path, solver.t_old, now, floor)
            stop = now if event is None else event
            if self.model.log_inverse(path(stop)) >= end:
                stop = _crossing(partial(self._excess, path, end), solver.t_old, stop)
                self._keep(stop, path(stop))
                return True
            self._keep(stop, path(stop))
            if callback is not None:
                callback(self.steps, self.rows[-1][2])
            if event is not None:
                return False

    def _first_event(self, path: Callable[[float], np.ndarray], a: float, b: float, floor: np.ndarray) -> float | None:
        """The first arc length at which a condition falls below its floor, looked for at several points of the step."""
        if self.face is None:
            return None
        last = a
        for s in a + (b - a) * np.arange(1, LOOKS + 1) / LOOKS:
            under = self.conditions(path(s)) - floor
            if (under < 0).any():
                fallen = np.flatnonzero(under < 0).tolist()
                return min(_crossing(partial(self._room, path, floor, k), last, s) for k in fallen)
            last = s
        return None

    def _excess(self, path: Callable[[float], np.ndarray], end: float, s: float) -> float:
        return self.model.log_inverse(path(s)) - end

    def _room(self, path: Callable[[float], np.ndarray], floor: np.ndarray, k: int, s: float) -> float:
        return float(self.conditions(path(s))[k] - floor[k])

    def _keep(self, s: float, w: np.ndarray) -> None:
        self.s, self.w = s, w
        self.rows.append((s, w, self.model.log_inverse(w)))

    def _switch(self) -> None:
        """Choose the face anew and write down what changed."""
        before = self.face
        self.face = self._select(before)
        assert before is not None and self.face is not None
        was, now = before.sliding(), self.face.sliding()
        joined, left = np.flatnonzero(now & ~was), np.flatnonzero(was & ~now)
        if isinstance(before, Box) and isinstance(self.face, Box):
            turned = np.flatnonzero(before.signs * self.face.signs < 0)
        else:
            turned = np.zeros(0, dtype=int)
        changed = np.concatenate([joined, left, turned])
        if not len(changed):
            return  # touched and turned back
        kinds = [k for k, some in (("tie", joined), ("release", left), ("crossing", turned)) if len(some)]
        self.events.append(SteepestEvent(
            arc_length=self.s, log_inverse_loss=self.rows[-1][2], kind=kinds[0] if len(kinds) == 1 else "exchange",
            coordinates=tuple(int(j) for j in np.sort(changed)),
        ))  # fmt: skip


def _crossing(f: Callable[[float], float], a: float, b: float) -> float:
    """Where f changes sign in (a, b]; b where it does not."""
    return float(brentq(f, a, b, xtol=1e-14 * max(1.0, abs(b)))) if f(a) * f(b) < 0 else b
