"""A second integrator, for smooth networks only, and units that slide in closed form: oracles of the diagnostics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from theory.flow.losses import as_loss
from theory.flow.networks import fully_connected

EARLY = 3.0  # log(1/Loss) up to which the clock is u itself


@dataclass
class SmoothFlow:
    """``dtheta/du = g/||g||^2``, g = du/dtheta: scipy's DOP853 in u, then Radau in log u for (theta/rho, log rho)."""

    network: Any
    X: np.ndarray
    y: np.ndarray
    loss: Any
    start: float
    early: Any
    late: Any

    def theta(self, u):
        if u <= EARLY:
            return self.early(u)
        state = self.late(np.log(u))
        return np.exp(state[-1]) * state[:-1] / np.linalg.norm(state[:-1])

    def gradient(self, theta):
        f = self.network.output(theta, self.X)
        return self.network.vjp(theta, self.X, self.loss.log_slope(f, self.y))

    def log_t(self, u):
        """``log int e^u / ||g||^2 du`` by Gauss-Laguerre: only the last units of u count."""
        nodes, weights = np.polynomial.laguerre.laggauss(12)
        speeds = [np.sum(self.gradient(self.theta(u - x)) ** 2) for x in nodes]
        return u + np.log(np.sum(weights / np.array(speeds)))


def smooth_flow(network, X, y, loss, theta0, until=1e4, rtol=1e-10) -> SmoothFlow:
    X = np.asarray(X, dtype=float)
    loss = as_loss(loss)
    y = loss.labels(np.asarray(y), len(X), network.n_outputs)
    flow = SmoothFlow(network, X, y, loss, loss.log_inverse(network.output(theta0, X), y), None, None)

    def slow(_, theta):
        g = flow.gradient(theta)
        return g / (g @ g)

    def fast(s, state):
        unit = state[:-1] / np.linalg.norm(state[:-1])
        rho = np.exp(state[-1])
        g = flow.gradient(rho * unit)
        along = unit @ g
        scale = np.exp(s) / (rho * (g @ g))
        return scale * np.append(g - along * unit, along)

    early = solve_ivp(slow, (flow.start, EARLY), theta0, method="DOP853", rtol=1e-12, atol=1e-13, dense_output=True)
    rho = np.linalg.norm(early.y[:, -1])
    state = np.append(early.y[:, -1] / rho, np.log(rho))
    late = solve_ivp(fast, np.log((EARLY, until)), state, method="Radau", rtol=rtol, atol=rtol, dense_output=True)
    assert early.success and late.success
    flow.early, flow.late = early.sol, late.sol
    return flow


def separable(N=6, d=3, seed=0, K=None):
    """Inputs that a linear network separates with some room, and labels: +-1, or classes where K is given."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, d))
    if K is None:
        y = np.sign(X[:, 0])
        X[:, 0] += 0.5 * y
        return X, y
    y = np.arange(N) % K
    return X + 4 * np.eye(K, d)[y], y


def sliding_pair(phi, a, w, b, v):
    """Two ReLU units, two samples at angle phi with labels +-1: each unit slides on the other's sample.

    Unit 0 has outer weight a and length w across x_2, unit 1 has -b and v across x_1: the margins are a w sin(phi)
    and b v sin(phi).
    """
    network = fully_connected((2, 2, 1))
    X = np.array([[1.0, 0.0], [np.cos(phi), np.sin(phi)]])
    W1 = np.array([[w * np.sin(phi), -w * np.cos(phi)], [0.0, v]])
    modes = np.array([[1, 2], [2, 1]], dtype=np.int8)  # (samples, units)
    return network, X, np.array([1.0, -1.0]), network.pack(W1=W1, W2=np.array([[a, -b]])), modes
