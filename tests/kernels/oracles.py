"""Slow ways to the same numbers: quadrature for the moments, enumeration for the paths."""

import itertools

import numpy as np
from scipy.stats import norm

NODES, WEIGHTS = np.polynomial.legendre.leggauss(400)


def moments(p, q, c):
    """E[relu(u) relu(v)] and P(u > 0, v > 0) by integrating the conditional moments of v over u > 0."""
    u = 6.0 * (NODES + 1)
    w = 6.0 * WEIGHTS * norm.pdf(u)
    mean, spread = c / np.sqrt(p) * u, np.sqrt(max(q - c * c / p, 0.0))
    if spread < 1e-12 * np.sqrt(q):
        first, on = np.maximum(mean, 0), (mean > 0).astype(float)
    else:
        a = mean / spread
        first, on = mean * norm.cdf(a) + spread * norm.pdf(a), norm.cdf(a)
    return float(w @ (np.sqrt(p) * u * first)), float(w @ on)


def kernels(x, z, depth, s_w, s_b, sizes=None):
    """The recursions of both kernels for one pair, with those moments."""
    d = len(x)
    cov = np.array([x @ x, z @ z, x @ z]) / d
    tangent = 0.0
    on = 0.0
    for layer in range(depth):
        own = s_w * cov + s_b
        mine = own[2] if sizes is None else sizes[layer] * cov[2] + (s_b > 0)
        tangent = mine + s_w * on * tangent
        if layer + 1 < depth:
            both, on = moments(*own)
            cov = np.array([own[0] / 2, own[1] / 2, both])
    return own[2], tangent


def path_vectors(weights, gates, x):
    """Features and values of every path of a network with one output, input by input and unit by unit."""
    features, values = [], []
    layers = [range(len(x)), *[range(len(g)) for g in gates]]
    for path in itertools.product(*layers):
        features.append(x[path[0]] * np.prod([g[i] for g, i in zip(gates, path[1:], strict=True)]))
        hops = [*path, 0]
        values.append(np.prod([W[b, a] for W, a, b in zip(weights, hops[:-1], hops[1:], strict=True)]))
    return np.array(features), np.array(values)
