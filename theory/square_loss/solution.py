"""What an integration of (rho, V) returns: the path, its averages and rest points, its norms, its crossings of zero."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats, short_repr
from theory._errors import InvalidInput
from theory.flow.networks import Network
from theory.flow.solution import FlowEvent, FlowSolution
from theory.square_loss._rho_run import ZeroCrossing
from theory.square_loss._scaled import ScaledNetwork
from theory.square_loss.moments import OutputMoments, output_moments

ROUNDING = 1e-14  # relative, of the last time


class RhoStatus(StrEnum):
    """How an integration of (rho, V) ended."""

    REACHED = "The requested end was reached."
    STATIONARY = "The gradient vanished: a stationary point."
    ZERO = "A scale reached zero, beyond which f = rho f_V has no weights: stopped there."
    STOPPED = "The integration could not be continued."


@dataclass(frozen=True, slots=True, kw_only=True)
class RhoState:
    """One moment of the flow.

    Attributes
    ----------
    rho, V : f = rho f_V; V (P) has blocks of norm 1. layer_norms : rho_k (L), None where only rho is a state.
    outputs : f_V on the data (N, K). moments : mu, M, Y.
    fit : ``(1/N) sum ||rho f_n - y_n||^2``. objective : with the penalty.
    """

    rho: float
    V: np.ndarray
    layer_norms: np.ndarray | None
    outputs: np.ndarray
    moments: OutputMoments
    fit: float
    objective: float

    __repr__ = short_repr

    @property
    def nu(self) -> float:
        r"""``rho (mu - M rho)``: the multiplier of a layer of degree 1; a layer of degree d has d times this."""
        return self.rho * (self.moments.mu - self.moments.M * self.rho)


@dataclass(frozen=True, slots=True, kw_only=True)
class RhoSolution:
    """A flow of ``f = rho f_V`` under the mean square loss with weight decay, dense in time.

    Attributes
    ----------
    network, X (N, d), y (N, K) : the problem. lam, normalisation : see ``integrate_rho``.
    t, rho, mu, M, sigma, fit, objective : (steps + 1).
    rho_eq : (steps + 1), where rho would rest if V stood still, layers that have norms being taken as balanced (from
        three layers and with decay a small rho rests at 0); NaN without a formula (unequal degrees of layers).
    nu : (steps + 1), the multiplier of a layer of degree 1 (see ``RhoState``).
    margins : (steps + 1, N), normalised: ``y_n f_n`` for one output, else the label's output less the largest other
        one, the label being the largest entry of y_n.
    layer_norms : (steps + 1, L), None where only rho is a state. V : (steps + 1, P).
    norm_drift : largest ``| ||U_k|| - 1 |`` of the integrated directions: the error of the norm, which V = U / ||U||
        does not inherit. NaN without normalisation.
    zero_crossings : of rho or a layer's scale. events : switches of the units. status : how it ended.
    flow : the integration itself.
    """

    network: Network
    X: np.ndarray
    y: np.ndarray
    lam: float
    normalisation: str
    t: np.ndarray
    rho: np.ndarray
    rho_eq: np.ndarray
    mu: np.ndarray
    M: np.ndarray
    sigma: np.ndarray
    fit: np.ndarray
    objective: np.ndarray
    nu: np.ndarray
    margins: np.ndarray
    layer_norms: np.ndarray | None
    V: np.ndarray
    norm_drift: float
    zero_crossings: tuple[ZeroCrossing, ...]
    events: tuple[FlowEvent, ...] = field(repr=False)
    status: RhoStatus
    flow: FlowSolution = field(repr=False)
    scaled: ScaledNetwork | None = field(repr=False)

    def __repr__(self) -> str:
        return (
            f"RhoSolution({self.normalisation}, lam={self.lam:g}, t={self.t[-1]:.6g}, rho={self.rho[-1]:.6g}, "
            f"objective={self.objective[-1]:.6g}, {self.status.name})"
        )

    @property
    def steps(self) -> int:
        """Accepted steps."""
        return len(self.t) - 1

    @property
    def end(self) -> RhoState:
        """The last moment."""
        return self.at(float(self.t[-1]))

    def at(self, t: float) -> RhoState:
        """The flow at time t, from 0 to the last; from interpolants of order 7 between the steps.

        Raises
        ------
        InvalidInput : t outside.
        """
        time, last = float(as_floats("t", t, ndim=0)), float(self.t[-1])
        if last < time <= last * (1 + ROUNDING):  # t = 20 is e^(log 20), a hair less
            time = last
        if not 0 <= time <= last:
            raise InvalidInput(f"t must be between 0 and {last:.6g}, but is {time:.6g}.")
        step = int(np.searchsorted(self.t, time))
        theta = self.flow.thetas[step] if self.t[step] == time else self.flow(time)
        return state_of(self.network, self.scaled, self.X, self.y, theta, self.lam)

    def weights(self, t: float) -> np.ndarray:
        """Weights theta (P) with the function rho f_V at time t: the layers' own norms, or balanced ones.

        Under ``lagrange`` only the product of the norms is a state; they are made balanced, ``rho_k^2 / d_k`` equal.

        Raises
        ------
        InvalidInput : t outside; rho = 0, where balanced layers are all zero.
        """
        state, parts = self.at(t), ScaledNetwork(self.network, per_layer=True)
        if state.layer_norms is None and not state.rho > 0:
            raise InvalidInput("rho is 0 at this time: the layers have no norms to be balanced.")
        norms = parts.balanced(state.rho) if state.layer_norms is None else state.layer_norms
        return state.V * parts.spread(norms)

    def rho_at(self, t: ArrayLike) -> np.ndarray:
        """The rho at times of any shape."""
        times = as_floats("t", t)
        return np.array([self.at(float(x)).rho for x in times.ravel()]).reshape(times.shape)

    def summary(self) -> str:
        """A few lines for people."""
        crossed = ", ".join(f"t = {c.t:.6g}{' (reflected)' if c.reflected else ''}" for c in self.zero_crossings)
        lines = [
            f"square loss, {self.normalisation}, lam = {self.lam:g}: {self.network.name}",
            f"  {self.status.value}",
            f"  t = {self.t[-1]:.6g}, rho = {self.rho[-1]:.9g}, at rest for this V: {self.rho_eq[-1]:.9g}",
            f"  mu = {self.mu[-1]:.6g}, sigma = {self.sigma[-1]:.3g}, fit {self.fit[-1]:.6g}, "
            f"objective {self.objective[-1]:.6g}",
            f"  {self.steps} steps, {len(self.events)} switches, norm drift {self.norm_drift:.1e}",
        ]
        return "\n".join(lines + ([f"  rho = 0 at {crossed}"] if crossed else []))

    def to_json(self) -> dict[str, object]:
        """The end of the flow in plain numbers; the path itself is in the arrays."""
        return {
            "status": self.status.value,
            "normalisation": self.normalisation,
            "lam": self.lam,
            "t": float(self.t[-1]),
            "rho": float(self.rho[-1]),
            "rho_eq": None if np.isnan(self.rho_eq[-1]) else float(self.rho_eq[-1]),
            "mu": float(self.mu[-1]),
            "M": float(self.M[-1]),
            "sigma": float(self.sigma[-1]),
            "fit": float(self.fit[-1]),
            "objective": float(self.objective[-1]),
            "nu": float(self.nu[-1]),
            "least_margin": float(self.margins[-1].min()),
            "layer_norms": None if self.layer_norms is None else self.layer_norms[-1].tolist(),
            "norm_drift": None if np.isnan(self.norm_drift) else self.norm_drift,
            "zero_crossings": [{"t": c.t, "layer": c.layer, "reflected": c.reflected} for c in self.zero_crossings],
            "switches": self.flow.event_counts,
            "steps": self.steps,
            "field_evaluations": self.flow.field_evaluations,
            "seconds": self.flow.seconds,
            "network": self.network.to_json(),
        }


def state_of(
    network: Network, scaled: ScaledNetwork | None, X: np.ndarray, y: np.ndarray, theta: np.ndarray, lam: float
) -> RhoState:
    """The moment that theta stands for: (U, s) of a scaled network, else plain weights."""
    parts = scaled or ScaledNetwork(network, per_layer=True)
    U = theta[: parts.P]
    norms = parts.norms(U)
    s = norms if scaled is None else theta[parts.P :]
    rho, V = parts.rho(s), U / parts.spread(np.where(norms > 0, norms, 1.0))
    penalty = lam * float(s @ s)
    if rho < 0:  # the last layer takes the sign
        s, rho = np.append(s[:-1], -s[-1]), -rho
        V = negated(network, parts, V)
    f = network.forward(V, X).outputs
    fit = float(((rho * f - y) ** 2).sum() / len(y))
    return RhoState(
        rho=rho, V=V, layer_norms=s if parts.per_layer else None, outputs=f, moments=output_moments(f, y), fit=fit,
        objective=fit + penalty,
    )  # fmt: skip


def negated(network: Network, parts: ScaledNetwork, V: np.ndarray) -> np.ndarray:
    """V' with ``f_V' = -f_V``: the last layer's sign; a diagonal network swaps u and v."""
    out = V.copy()
    if len(parts.cuts) == 1 and not parts.layers:
        half = len(V) // 2
        out[:half], out[half:] = V[half:], V[:half]
    else:
        out[parts.cuts[-1]] *= -1
    return out
