"""A second integrator of (rho, V), which shares no code with theory.square_loss: plain formulas, scipy, no events."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.integrate import solve_ivp

DATA = np.random.default_rng(7)
X = DATA.standard_normal((12, 4))
Y = np.sign(DATA.standard_normal(12))
X3, LABELS = DATA.standard_normal((9, 4)), np.arange(9) % 3


def layer_cuts(widths):
    sizes = [a * b for a, b in itertools.pairwise(widths)]
    ends = np.cumsum([0, *sizes])
    return [slice(a, b) for a, b in itertools.pairwise(ends)]


def outputs_and_pull(theta, widths, inputs, G_of, act):
    """f (N, K) of a fully connected network and ``sum G df/dtheta`` for G = G_of(f); act(z) gives a, da/dz."""
    cuts = layer_cuts(widths)
    W = [theta[c].reshape(b, a) for c, a, b in zip(cuts, widths[:-1], widths[1:], strict=True)]
    a, steps = inputs, []
    for w in W[:-1]:
        z = a @ w.T
        value, slope = act(z)
        steps.append((a, slope))
        a = value
    f = a @ W[-1].T
    delta = G_of(f)
    parts = [(delta.T @ a).ravel()]
    for w, (before, slope) in zip(W[:0:-1], steps[::-1], strict=True):
        delta = (delta @ w) * slope
        parts.insert(0, (delta.T @ before).ravel())
    return f, np.concatenate(parts)


def activation(kind, k=1e7):
    if kind == "linear":
        return lambda z: (z, np.ones_like(z))
    if kind == "relu^2":
        return lambda z: (np.maximum(z, 0) ** 2, 2 * np.maximum(z, 0))

    def soft(z):
        with np.errstate(over="ignore"):
            return np.logaddexp(0, k * z) / k, 1 / (1 + np.exp(-k * z))

    return soft


def rho_flow(kind, widths, inputs, y, lam, state, T, normalisation, method="DOP853", rtol=1e-12, degrees=None):
    """The end of the flow of (V, s); s = (rho) for lagrange, else the layer norms."""
    cuts, act, N = layer_cuts(widths), activation(kind), len(inputs)
    d = np.ones(len(cuts)) if degrees is None else np.array(degrees, dtype=float)
    P = cuts[-1].stop

    def rate(_, v):
        V, s = v[:P], v[P:]
        rho = s[0] if normalisation == "lagrange" else np.prod(s**d)
        f, pulled = outputs_and_pull(V, widths, inputs, lambda f: 2 / N * (y - rho * f), act)
        mu, M = (y * f).sum() / N, (f * f).sum() / N
        out = np.empty_like(v)
        for k, c in enumerate(cuts):
            out[c] = rho * (pulled[c] - V[c] * d[k] * 2 * (mu - rho * M))
            if normalisation == "none":
                out[c] /= s[k] ** 2
        if normalisation == "lagrange":
            out[P:] = 2 * mu - 2 * (M + lam) * rho
        else:
            out[P:] = 2 * d * rho / s * (mu - rho * M) - 2 * lam * s
        return out

    return solve_ivp(rate, (0, T), state, method=method, rtol=rtol, atol=1e-13).y[:, -1]


def unit_layers(network, rng):
    """Random unit layers (P) of a fully connected network."""
    theta = network.random_parameters(rng=rng)
    return np.concatenate([w / np.linalg.norm(w) for w in network.split(theta)])
