"""Checks 1 to 7: the integrator against flows that are known in closed form, or up to a first integral."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import brentq

from simulations.experiments._flow_check import FlowCheck, check
from theory.flow import FlowSolution, deep_linear, diagonal_linear, growth_constants, integrate
from theory.flow.exact import (
    BalancedDepth,
    DiagonalSquare,
    LambdaBalanced,
    OnePointLogistic,
    OrthogonalExponential,
    SaddleToSaddle,
    SaxeModes,
    ScalarFactorisation,
    ScalarHomogeneous,
)

LATE = np.array([3.0, 1e1, 3e1, 1e2, 1e3, 1e4, 1e5, 1e6])  # log t
EARLY = np.geomspace(1e-2, 1e4, 13)  # t
TIGHT: dict[str, Any] = {"rtol": 1e-14, "atol": 1e-16}


def _orthogonal() -> OrthogonalExponential:
    X = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0] * np.array([[1.0], [2.0], [0.7]])
    y = np.array([1.0, -1.0, 1.0])
    w0 = (y * np.array([0.3, 0.2, 0.1]) / np.sum(X**2, axis=1)) @ X
    return OrthogonalExponential(X=X, y=y, w0=w0)


def orthogonal_early() -> FlowCheck:
    """Margins of a linear model on orthogonal data at t up to 1e4."""
    form = _orthogonal()
    flow = integrate(deep_linear((3, 1)), form.data, "exponential", form.theta0, until=1e4, clock="t", **TIGHT)
    return check(
        "1a", "Orthogonal data: every margin is log(exp q(0) + |x|² t)", EARLY, form.margins(EARLY),
        form.y * (flow(EARLY) @ form.X.T), xlabel="time t", ylabel="margins", tolerance=1e-12, xscale="log",
        labels=("|x| = 1", "|x| = 2", "|x| = 0.7"),
    )  # fmt: skip


def orthogonal_late() -> FlowCheck:
    """The same to log t = 1e6, in the clock log log(1/Loss)."""
    form = _orthogonal()
    flow = integrate(deep_linear((3, 1)), form.data, "exponential", form.theta0, until="log-t:1000001", rtol=1e-12)
    w = flow.at(log_t=LATE)
    margin = (form.y * (w @ form.X.T)).min(axis=1) / np.linalg.norm(w, axis=1)
    return check(
        "1b", "Orthogonal data: the exact normalised margin at all times", LATE, form.normalised_margin(log_t=LATE),
        margin, xlabel="log t", ylabel="least margin / |w|", tolerance=1e-12, xscale="log",
    )  # fmt: skip


def homogeneous_scalar() -> FlowCheck:
    """``theta^L`` on one point, from u = 1 and v = 0 of a diagonal network; Ei(q) = Ei(1) + 4t for L = 2.

    The reference's 8e-15 belongs to t <= 1e5; the tolerance here is what the clock log log(1/Loss) keeps to t = e^1e6.
    """
    said, found = [], []
    for L in (2, 3, 4):
        form = ScalarHomogeneous(L=L, theta0_value=1.0)
        flow = integrate(diagonal_linear(1, L), form.data, "exponential", [1.0, 0.0], until="log-t:1000001", rtol=1e-14)
        said.append(form.log_inverse_loss(log_t=LATE))
        found.append(flow.at(log_t=LATE)[:, 0] ** L)
    return check(
        "2a", "The law Ei(q) = Ei(q₀) + 4t, and its like, to t = exp(10⁶)", LATE,
        (np.array(said) / LATE).T, (np.array(found) / LATE).T, xlabel="log t", ylabel="log(1/loss) / log t",
        tolerance=1e-11, xscale="log", labels=("L = 2", "L = 3", "L = 4"),
    )  # fmt: skip


def growth_table() -> FlowCheck:
    """``L² t Loss (log t)^(2 - 2/L)`` against the published form's five printed digits, hence half of the last."""
    table = [[0.95210, 0.90896, 0.88122], [0.99275, 0.98627, 0.98205], [0.99904, 0.99821, 0.99767],
             [0.99999, 0.99997, 0.99997]]  # fmt: skip
    logs, found = np.array([1e2, 1e3, 1e4, 1e6]), []
    for L in (2, 3, 4):
        flow = integrate(
            diagonal_linear(1, L), ([[1.0]], [1.0]), "exponential", [1.0, 0.0], until="log-t:1000001", rtol=1e-13
        )
        q = flow.at(log_t=logs)[:, 0] ** L
        found.append(growth_constants(logs, q, q ** (1 / L), margin=1.0, degree=L).loss)
    return check(
        "2b", "Loss ~ 1 / (L² t (log t)^(2 − 2/L)): the tabled constants", logs, np.array(table), np.array(found).T,
        xlabel="log t", ylabel="L² t loss (log t)^(2 − 2/L)", tolerance=5e-6, compared="absolute", xscale="log",
        labels=("L = 2", "L = 3", "L = 4"),
    )  # fmt: skip


def wright_omega() -> FlowCheck:
    """One point under the logistic loss, in the clock t at t <= 1e4 and a tolerance that rounding sets."""
    form = OnePointLogistic(w0=-0.4, x=1.5, y=1)
    flow = integrate(deep_linear((1, 1)), form.data, "logistic", form.theta0, until=1e4, clock="t", **TIGHT)
    return check(
        "3", "Logistic loss on one point: the log of Wright's omega", EARLY, form.solution(EARLY), flow(EARLY),
        xlabel="time t", ylabel="weight w", tolerance=1e-12, xscale="log", compared="scaled",
    )  # fmt: skip


def saxe_modes() -> FlowCheck:
    """Balanced layers aligned with a 2 x 3 target: the strengths of its two modes."""
    form = SaxeModes(S=np.array([[2.0, 0.5, 0.3], [-0.4, 1.0, 0.6]]), u0=np.array([0.02, 0.01]))
    t = np.linspace(0, 4, 17)
    flow = integrate(deep_linear((3, 2, 2)), form.data, "square", form.theta0, until=4.0, **TIGHT)
    U, _, V = np.linalg.svd(form.S, full_matrices=False)
    W = flow.network.views(flow(t))
    return check(
        "4a", "Two linear layers: one sigmoid to each singular value", t, form.modes(t),
        np.einsum("oi,tod,id->ti", U, W["W2"] @ W["W1"], V), xlabel="time t", ylabel="strength of the mode",
        tolerance=1e-12, compared="scaled", labels=("first mode", "second mode"),
    )  # fmt: skip


def unbalanced_factors() -> FlowCheck:
    """``ab`` towards 1.7, from starts with a² - b² = 0, 0.77 and a b < 0."""
    t, said, found = np.linspace(0, 3, 16), [], []
    for a0, b0 in ((0.1, 0.1), (0.9, 0.2), (0.3, -0.5)):
        form = ScalarFactorisation(s=1.7, a0=a0, b0=b0)
        flow = integrate(deep_linear((1, 1, 1)), form.data, "square", form.theta0, until=3.0, **TIGHT)
        said.append(form.product(t))
        found.append(flow(t).prod(axis=1))
    return check(
        "4b", "Unbalanced factors keep to their closed form", t, np.array(said).T, np.array(found).T,
        xlabel="time t", ylabel="product a b", tolerance=1e-12, compared="scaled",
        labels=("0.1, 0.1", "0.9, 0.2", "0.3, −0.5"),
    )  # fmt: skip


def deep_chains() -> FlowCheck:
    """N equal layers from the product 0.05; N = 4 is an area hyperbolic tangent, N = 3 and 5 quadratures."""
    t, said, found = np.linspace(0, 4, 17), [], []
    for depth in (3, 4, 5):
        form = BalancedDepth(depth=depth, s=2.0, w0=0.05 ** (1 / depth))
        flow = integrate(deep_linear((1,) * (depth + 1)), form.data, "square", form.theta0, until=4.0, **TIGHT)
        said.append(form.product(t))
        found.append(flow(t).prod(axis=1))
    # dp(t)/dp(0) = f(p(t)) / f(p(0)), f(p) = p^(2 - 2/N) (2 - p), reaches 66 for N = 5: a dozen first steps at
    # rtol = 1e-14 leave up to 1e-11, and which part of it depends on the processor's rounding
    return check(
        "4c", "Deeper chains wait longer: the law of time of N layers", t, np.array(said).T, np.array(found).T,
        xlabel="time t", ylabel="product of the layers", tolerance=1e-11, compared="scaled",
        labels=("N = 3", "N = 4", "N = 5"),
    )  # fmt: skip


def lambda_balanced() -> FlowCheck:
    """All six entries of W2 W1 for layers 3-2-2 and W2ᵀW2 - W1W1ᵀ = lam I of either sign, as in the Riccati flow."""
    rng, t, said, found = np.random.default_rng(3), np.linspace(0, 2, 11), [], []
    S = rng.standard_normal((2, 3))
    U, V, R = (np.linalg.qr(rng.standard_normal((n, n)))[0] for n in (3, 2, 2))
    for lam in (0.0, 1.3, -0.8):
        s = np.array([0.3, 0.5])
        W1 = R @ np.diag(np.sqrt(s**2 + max(-lam, 0))) @ U[:, :2].T
        W2 = V @ np.diag(np.sqrt(s**2 + max(lam, 0))) @ R.T
        form = LambdaBalanced(S=S, W1=W1, W2=W2)
        flow = integrate(deep_linear((3, 2, 2)), form.data, "square", form.theta0, until=2.0, **TIGHT)
        W = flow.network.views(flow(t))
        said.append(form.solution(t).reshape(len(t), -1))
        found.append((W["W2"] @ W["W1"]).reshape(len(t), -1))
    labels = tuple(f"λ = {lam:g}" if k == 0 else "" for lam in (0, 1.3, -0.8) for k in range(6))
    return check(
        "5", "λ-balanced rectangular layers follow the Riccati flow", t, np.hstack(said), np.hstack(found),
        xlabel="time t", ylabel="entries of W₂W₁", tolerance=1e-12, compared="scaled", labels=labels,
    )  # fmt: skip


DIAGONAL_X = np.array([[1.0, 0.4, -0.3, 0.7], [0.2, -0.8, 0.9, 0.5]])
DIAGONAL_Y = np.array([1.0, -0.5])


def hypentropy_path() -> FlowCheck:
    """``log(u/v)`` equals the projection on the rows of X of arcsinh(beta / 2 alpha²): both first integrals at once."""
    alpha, t = 0.05, np.linspace(0, 6, 13)
    flow = integrate(diagonal_linear(4), (DIAGONAL_X, DIAGONAL_Y), "square", np.full(8, alpha), until=6.0, **TIGHT)
    u, v = flow(t)[:, :4], flow(t)[:, 4:]
    rows = np.linalg.pinv(DIAGONAL_X) @ DIAGONAL_X
    return check(
        "6a", "Diagonal networks stay on the hypentropy manifold", t, np.arcsinh((u**2 - v**2) / (2 * alpha**2)) @ rows,
        np.log(u / v), xlabel="time t", ylabel="log(u/v)", tolerance=1e-12,
        compared="scaled", labels=tuple(f"β{j}" for j in range(1, 5)),
    )  # fmt: skip


def hypentropy_limit() -> FlowCheck:
    """The end of the flow, from small to large starts, against Newton's method on the dual convex program."""
    alphas, said, found = np.geomspace(1e-2, 3, 4), [], []
    for alpha in alphas:
        form = DiagonalSquare(X=DIAGONAL_X, y=DIAGONAL_Y, log_alpha=float(np.log(alpha)))
        flow = integrate(diagonal_linear(4), form.data, "square", form.theta0, until=60.0, rtol=1e-11, atol=1e-14)
        said.append(form.limit.beta)
        found.append(flow.theta[:4] ** 2 - flow.theta[4:] ** 2)
    return check(
        "6b", "… and end where hypentropy is least: between l₁ and l₂", alphas, np.array(said), np.array(found),
        xlabel="size α of the start", ylabel="weights β at the end", tolerance=1e-10, compared="scaled",
        xscale="log", labels=tuple(f"β{j}" for j in range(1, 5)),
    )  # fmt: skip


def _reaches(flow: FlowSolution, coordinate: int, level: float) -> float:
    """The first time at which ``|u² - v²|`` of one coordinate is ``level``."""

    def above(theta: np.ndarray) -> np.ndarray:
        return np.abs(theta[..., coordinate] ** 2 - theta[..., coordinate + 3] ** 2) - level

    step = int(np.argmax(above(flow.thetas) > 0))
    before, after = np.exp(flow.log_t[step - 1 : step + 1])
    return float(brentq(lambda t: above(flow(t)), before, after, xtol=1e-12))


def saddle_to_saddle() -> FlowCheck:
    """Times at which a weight reaches half of its next value, counted from those at log(1/alpha) = 20.

    The recursion gives T log(1/alpha)/2 + O(1); the O(1) does not depend on alpha but by powers of alpha, so that
    differences show T itself. That is an error of order 1/log(1/alpha) in the rescaled time, and sharper.
    """
    X, y = np.array([[1.0, 0.2, 0.0], [0.1, 1.0, 0.3], [0.0, 0.2, 1.0]]), np.array([2.0, -1.0, 0.4])
    form, logs, jumps = SaddleToSaddle(X=X, y=y), np.array([20.0, 40.0, 80.0]), []
    for L in logs:
        until = float(form.jump_times(-L)[-1] * 1.3 + 10)
        flow = integrate(diagonal_linear(3), form.data, "square", np.full(6, np.exp(-L)), until=until, rtol=1e-9,
                         atol=1e-300)  # fmt: skip
        jumps.append([_reaches(flow, k, abs(form.saddles[k + 1, k]) / 2) for k in range(3)])
    found = np.array(jumps)
    return check(
        "7", "Saddle to saddle: jumps where the NNLS recursion has them", logs[1:],
        np.outer(logs[1:] - logs[0], form.times) / 2, found[1:] - found[0], xlabel="log(1/α)",
        ylabel="time since that at log(1/α) = 20", tolerance=1e-8, labels=("first", "second", "third jump"),
    )  # fmt: skip


CHECKS = {
    "1a": orthogonal_early, "1b": orthogonal_late, "2a": homogeneous_scalar, "2b": growth_table, "3": wright_omega,
    "4a": saxe_modes, "4b": unbalanced_factors, "4c": deep_chains, "5": lambda_balanced, "6a": hypentropy_path,
    "6b": hypentropy_limit, "7": saddle_to_saddle,
}  # fmt: skip
