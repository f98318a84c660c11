"""Solving the softmax code: known configurations, otherwise several smoothed descents and a polish of the best."""

from __future__ import annotations

import numpy as np

from theory._certificate import Certificate
from theory._errors import PreconditionError
from theory.peeled._factors import ExplicitFactors
from theory.peeled._options import Options
from theory.peeled.hull_distance import separators
from theory.peeled.softmax_code import SoftmaxCodeModel, softmax_code_bound
from theory.peeled.solution import PeeledSolution, build_solution

METHODS = ("auto", "closed-form", "multistart")
MOST_CLASSES = 400
MOST_ENTRIES = 2**22
POLISHED = 4
MOST_POLISHED = 200  # unknowns of the polish; its cost grows with their cube
SHARPNESS = (8.0, 40.0, 200.0, 1000.0)


def solve_model(model: SoftmaxCodeModel, options: Options) -> PeeledSolution:
    """See :func:`theory.peeled.solve`."""
    K, d = model.num_classes, model.dimension
    known = d <= 2 or K <= 2 * d
    if options.method == "closed-form" and not known:
        raise PreconditionError(f"no closed form is known for K = {K} > 2d and d = {d} > 2; use 'multistart'.")
    if known and options.method != "multistart":
        if K * max(K, d) > MOST_ENTRIES:
            raise PreconditionError(f"K = {K} classes in {d} dimensions do not fit; the optimum is softmax_code_bound.")
        W = known_code(K, d)
        H, method = W, "closed-form"
    else:
        if K > MOST_CLASSES:
            raise PreconditionError(f"method 'multistart' takes at most {MOST_CLASSES} classes, but K = {K}.")
        W = multistart(K, d, max_steps=options.max_steps, rng=options.rng)
        H, method = separators(W)[1], "multistart"
    scores = H @ W.T
    margins = np.diagonal(scores)[:, None] - scores
    np.fill_diagonal(margins, np.inf)
    margin, bound = float(margins.min()), softmax_code_bound(K, d)
    gap = max(bound - margin, 0.0)
    norms = max(float(np.abs(np.linalg.norm(V, axis=1) - 1).max()) for V in (W, H))
    certificate = Certificate(
        lower=-max(bound, margin), upper=-margin, gap=gap, residuals={"unit_norm": norms},
        method="minus an upper bound of the margin (softmax_code_bound)",
    )  # fmt: skip
    proved = certificate.gap <= options.rtol * max(bound, 1e-6)
    starts = f"best of {_starts(K)} starts: a configuration whose margin is exact, not proved to be the largest"
    return build_solution(
        model, ExplicitFactors(W, H.T.copy(), model._partition.index), certificate, method=method,
        status="optimal" if proved else starts, began=options.began, merge_tol=1e-9,
    )  # fmt: skip


def known_code(K: int, d: int) -> np.ndarray:
    """Simplex, line, polygon, or part of a cross-polytope; (K, d)."""
    W = np.zeros((K, d))
    if K <= d + 1:
        from scipy.linalg import helmert

        W[:, : K - 1] = np.sqrt(K / (K - 1)) * helmert(K).T
    elif d == 1:
        W[:, 0] = (-1.0) ** np.arange(K)
    elif d == 2:
        angle = 2 * np.pi * np.arange(K) / K
        W[:] = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    else:
        W[:d] = np.eye(d)
        W[d:, : K - d] = -np.eye(K - d)
    return W


def multistart(K: int, d: int, *, max_steps: int, rng: np.random.Generator) -> np.ndarray:
    """The unit rows of largest margin among several local optima. *measure*: no optimum is proved global."""
    found = []
    for _ in range(_starts(K)):
        W = _unit(rng.standard_normal((K, d)))
        H = W
        for sharpness in SHARPNESS:
            W, H = _smoothed(W, H, sharpness, max_steps)
        found.append((float(separators(W)[0].min()), W))
    found.sort(key=lambda pair: -pair[0])
    if 2 * K * d <= MOST_POLISHED:
        polished = [_polish(W) for _, W in found[:POLISHED]]
        found += [(float(separators(W)[0].min()), W) for W in polished]
    return max(found, key=lambda pair: pair[0])[1]


def _starts(K: int) -> int:
    return 24 if K <= 40 else 6


def _unit(V: np.ndarray) -> np.ndarray:
    return V / np.linalg.norm(V, axis=1, keepdims=True)


def _smoothed(W: np.ndarray, H: np.ndarray, sharpness: float, max_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Descend on the soft maximum of <w_j - w_k, h_k> over k and j != k; rows are normalised in the objective."""
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    K, d = W.shape

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        raw = x.reshape(2, K, d)
        norm = np.linalg.norm(raw, axis=2, keepdims=True)
        U, V = raw / norm
        scores = V @ U.T
        excess = scores - np.diagonal(scores)[:, None]
        np.fill_diagonal(excess, -np.inf)
        total = logsumexp(sharpness * excess)
        P = np.exp(sharpness * excess - total)
        P[np.diag_indices(K)] = -P.sum(axis=1)
        G = np.stack([P.T @ V, P @ U])
        unit = np.stack([U, V])
        G -= unit * (G * unit).sum(axis=2, keepdims=True)
        return float(total) / sharpness, (G / norm).ravel()

    x = minimize(
        objective, np.stack([W, H]).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": max_steps, "maxcor": 20}
    ).x
    W, H = (_unit(V) for V in x.reshape(2, K, d))
    return W, H


def _polish(W: np.ndarray) -> np.ndarray:
    """Sequential quadratic programming on max rho, <w_k - w_j, h_k> >= rho for the nearly active pairs."""
    from scipy.optimize import minimize

    K, d = W.shape
    rho, H = separators(W)
    scores = H @ W.T
    slack = np.diagonal(scores)[:, None] - scores - rho.min()
    np.fill_diagonal(slack, np.inf)
    k, j = np.nonzero(slack < 0.25)
    rows = np.arange(len(k))
    size = K * d

    def split(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return x[:size].reshape(K, d), x[size:-1].reshape(K, d)

    def margins(x: np.ndarray) -> np.ndarray:
        U, V = split(x)
        return ((U[k] - U[j]) * V[k]).sum(axis=1) - x[-1]

    def margins_slope(x: np.ndarray) -> np.ndarray:
        U, V = split(x)
        J = np.zeros((len(k), 2, K, d))
        J[rows, 0, k], J[rows, 0, j], J[rows, 1, k] = V[k], -V[k], U[k] - U[j]
        return np.hstack([J.reshape(len(k), -1), -np.ones((len(k), 1))])

    def lengths(x: np.ndarray) -> np.ndarray:
        return (x[:-1].reshape(2 * K, d) ** 2).sum(axis=1) - 1

    def lengths_slope(x: np.ndarray) -> np.ndarray:
        J = np.zeros((2 * K, 2 * K, d))
        J[np.arange(2 * K), np.arange(2 * K)] = 2 * x[:-1].reshape(2 * K, d)
        return np.hstack([J.reshape(2 * K, -1), np.zeros((2 * K, 1))])

    upward = np.zeros(2 * size + 1)
    upward[-1] = -1.0
    x = minimize(
        lambda x: -x[-1], np.concatenate([W.ravel(), H.ravel(), [rho.min()]]), jac=lambda x: upward, method="SLSQP",
        constraints=[
            {"type": "ineq", "fun": margins, "jac": margins_slope},
            {"type": "eq", "fun": lengths, "jac": lengths_slope},
        ],
        options={"maxiter": 200, "ftol": 1e-15},
    ).x  # fmt: skip
    return _unit(split(x)[0])
