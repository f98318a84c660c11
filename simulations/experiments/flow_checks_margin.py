"""Checks 8, 11, 12 and 14: where flows of exponential losses head, and the certificates on the way."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from scipy.optimize import minimize

from simulations.experiments._flow_check import FlowCheck, check
from theory.flow import FlowSolution, alignment, deep_linear, flow_kkt, integrate, margins, two_layer
from theory.flow.exact import LeakyReluOrthogonal

LOSSES = ("exponential", "logistic", "cross_entropy")


def leaky_relu() -> FlowCheck:
    """``1 - cos`` to the KKT point of leaky ReLU units on orthogonal inputs, against the exact path.

    The closed form holds the outer weights at +-a. Here they are trained, but start at 1e5: balance keeps a² - ||w||²,
    and ||w|| stays below 1, so that they move by less than 1e-10 of themselves.
    """
    rng, a, signs = np.random.default_rng(1), 1e5, np.array([1.0, 1.0, 1.0, -1.0, -1.0])
    X = np.linalg.qr(rng.standard_normal((4, 4)))[0] * np.array([[1.0], [1.5], [0.7], [1.2]])
    y = np.array([1.0, 1.0, -1.0, -1.0])
    W0 = (signs[:, None] * y * rng.uniform(0.02, 0.1, (5, 4)) / np.sum(X**2, axis=1)) @ X / a
    form = LeakyReluOrthogonal(X=X, y=y, m_plus=3, m_minus=2, a=a, slope=0.1, W0=W0)
    network = two_layer(4, 5, activation="leaky_relu", slope=0.1)
    theta0 = network.pack(W1=W0, W2=(a * signs)[None])
    flow = integrate(network, form.data, "exponential", theta0, until="log-loss:1.1e5", rtol=1e-12,
                     atol=1e-20)  # fmt: skip
    log_t = np.concatenate([[0.0, 5.0, 30.0], np.geomspace(1e2, 1e5, 7)]) - 2 * np.log(a)
    gaps = [
        [_one_minus_cosine(W, form.limit.direction) for W in path]
        for path in (form.solution(log_t=log_t), network.views(flow.at(log_t=log_t))["W1"])
    ]
    return check(
        "8", "Leaky ReLU, orthogonal data: into the one KKT point", form.log_inverse_loss(log_t=log_t),
        np.array(gaps[0]), np.array(gaps[1]), xlabel="log(1/loss)", ylabel="1 − cos to the KKT point", tolerance=1e-11,
        compared="absolute", xscale="log", yscale="log",
    )  # fmt: skip


def _one_minus_cosine(W: np.ndarray, direction: np.ndarray) -> float:
    """Without cancellation; ``direction`` has length 1."""
    return float(np.sum((W / np.linalg.norm(W) - direction) ** 2) / 2)


@cache
def relu_flows() -> list[FlowSolution]:
    """A ReLU network under each loss, with kinks on the way, to log(1/Loss) = 1e4."""
    angles = 2 * np.pi * (np.arange(6) + 0.3 * np.array([0, 1, 0, 2, 1, 0])) / 6
    X, flows = np.stack([np.cos(angles), np.sin(angles)], axis=1), []
    for loss in LOSSES:
        y, outputs = (np.arange(6) // 2, 3) if loss == "cross_entropy" else (np.where(np.arange(6) < 3, 1, -1), 1)
        network = two_layer(2, 6, outputs)
        flow = integrate(network, (X, y), loss, network.random_parameters(rng=5), until="log-loss:1e3", rtol=1e-9)
        flows.append(flow)
    return flows


def _separated(flow: FlowSolution, points: int) -> list[int]:
    """Steps next to even values of log log(1/Loss), none of them at a switch, where the velocity is not one vector."""
    switches = {event.step for event in flow.events}
    steps = np.array([k for k in range(flow.steps + 1) if k not in switches])
    u = np.log(flow.log_inverse_loss[steps].clip(1e-3))
    return [int(steps[np.abs(u - np.log(at)).argmin()]) for at in np.geomspace(1.5, 1e3, points)]


def smoothed_margins() -> FlowCheck:
    """Each smoothed margin, from log(1/Loss) = 1.5 on, against the largest before it, to the rtol of 1e-9."""
    u, said, found = np.geomspace(1.5, 990, 80), [], []
    for flow in relu_flows():
        smoothed = np.array([flow.loss.smoothed_margin(float(value)) for value in u])
        values = smoothed / np.linalg.norm(flow.at(log_inverse_loss=u), axis=1) ** flow.network.degree
        found.append(values)
        said.append(np.maximum.accumulate(values))
    return check(
        "11a", "The smoothed margin never falls", u, np.array(said).T, np.array(found).T, xlabel="log(1/loss)",
        ylabel="smoothed margin", tolerance=1e-9, xscale="log", labels=LOSSES,
    )  # fmt: skip


def kkt_identity() -> FlowCheck:
    """``||theta - sum lam h||`` of the flow's multipliers against ``sqrt(2 (1 - beta)) gbar^(-1/L)``."""
    rows = [[flow_kkt(f.network, f.X, f.y, f.loss, f.thetas[k], modes=f.modes(k)) for k in _separated(f, 14)]
            for f in relu_flows()]  # fmt: skip
    return check(
        "11b", "KKT residual: ε = √(2(1 − β)) γ^(−1/L), Clarke weights included", np.geomspace(1.5, 1e3, 14),
        np.array([[at.eps_identity for at in row] for row in rows]).T,
        np.array([[at.eps for at in row] for row in rows]).T,
        xlabel="log(1/loss)", ylabel="ε at least margin 1", tolerance=1e-6, xscale="log", yscale="log", labels=LOSSES,
    )  # fmt: skip


def slackness_bound() -> FlowCheck:
    """``sum lam (q - 1) <= R (1 + (K' - 1) e^-q) gbar^(-2/L) / (e L q)`` with R constraints, q the least margin."""
    said, found = [], []
    for flow in relu_flows():
        problem, rows = (flow.network, flow.X, flow.y, flow.loss), []
        for k in _separated(flow, 14):
            own, at = flow_kkt(*problem, flow.thetas[k], modes=flow.modes(k)), margins(*problem, flow.thetas[k])
            classes = {"exponential": 1, "logistic": 2}.get(flow.loss.name, 3)
            R, L = len(flow.X) * max(1, flow.network.n_outputs - 1), flow.network.degree
            tail = 1 + (classes - 1) * np.exp(-at.q_min)
            rows.append((R * tail * at.normalized_margin ** (-2 / L) / (math.e * L * at.q_min), own.delta_sum))
        bound, sums = np.array(rows).T
        said.append(bound)
        found.append(sums)
    return check(
        "11c", "Complementary slackness: Σλ(q − 1) below its bound", np.geomspace(1.5, 1e3, 14), np.array(said).T,
        np.array(found).T, xlabel="log(1/loss)", ylabel="Σ λ (q − 1)", tolerance=0.0, compared="below", xscale="log",
        yscale="log", labels=LOSSES,
    )  # fmt: skip


def _points(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Twelve separable points in three dimensions."""
    X = np.random.default_rng(seed).standard_normal((12, 3))
    y = np.sign(X[:, 0])
    X[:, 0] += 0.3 * y
    return X, y


def _qp_margin(X: np.ndarray, y: np.ndarray) -> float:
    """``1/||w||`` of min ||w||²/2 subject to ``y X w >= 1``, by sequential quadratic programming."""
    A = y[:, None] * X
    found = minimize(lambda w: w @ w / 2, A.mean(axis=0) * 5, jac=lambda w: w, method="SLSQP",
                     constraints={"type": "ineq", "fun": lambda w: A @ w - 1, "jac": lambda w: A},
                     options={"ftol": 1e-15, "maxiter": 500})  # fmt: skip
    return float((A @ found.x).min() / np.linalg.norm(found.x))


def deep_linear_limit() -> FlowCheck:
    """The normalised margin at log(1/Loss) = 1e8 over depth; the reference has 7 digits at depth 3."""
    X, y = _points(4)
    found = []
    for depth in (1, 2, 3):
        network = deep_linear((3, *[3] * (depth - 1), 1))
        flow = integrate(network, (X, y), "exponential", network.random_parameters(rng=1, scale=0.7),
                         until="log-loss:1e8", dense=False)  # fmt: skip
        found.append(flow.normalized_margins()[-1])
    depths = np.array([1, 2, 3])
    said = _qp_margin(X, y) / depths ** (depths / 2)
    return check(
        "12a", "Depth L: the margin of the support vectors over L^(L/2)", depths, said,
        np.array(found), xlabel="layers L", ylabel="margin at log(1/loss) = 10⁸", tolerance=1e-6,
    )  # fmt: skip


def excess_of_layers() -> FlowCheck:
    """``||W||_F² - ||W||_2²`` of the hidden layers against the bound that the start alone gives."""
    X, y = _points(4)
    network = deep_linear((3, 4, 4, 1))
    theta0 = network.random_parameters(rng=2)
    flow = integrate(network, (X, y), "exponential", theta0, until="log-loss:1e6", rtol=1e-9)
    u = np.geomspace(2, 0.9e6, 14)
    at = [alignment(network, X, y, "exponential", theta, theta0=theta0) for theta in flow.at(log_inverse_loss=u)]
    bounds = [one.excess_bound for one in at if one.excess_bound is not None]
    return check(
        "12b", "Layers become rank one: the excess stays below its bound", u, np.array(bounds)[:, :2],
        np.array([one.excess[:2] for one in at]), xlabel="log(1/loss)", ylabel="‖W‖²_F − ‖W‖²₂", tolerance=0.0,
        compared="below", xscale="log", labels=("first layer", "second layer"),
    )  # fmt: skip


def steepest_euclidean() -> FlowCheck:
    """Linear models of four data sets at log(1/Loss) = 1e8, where the gap of order 1/log(1/Loss) is near 1e-8."""
    said, found = [], []
    for seed in range(4):
        X, y = _points(seed)
        flow = integrate(
            deep_linear((3, 1)), (X, y), "exponential", [0.3, -0.2, 0.1], until="log-loss:1e8", dense=False
        )
        said.append(_qp_margin(X, y))
        found.append(flow.normalized_margins()[-1])
    return check(
        "14a", "Linear models: the l₂ margin of the quadratic program", np.arange(1, 5), np.array(said),
        np.array(found), xlabel="data set", ylabel="margin at log(1/loss) = 10⁸", tolerance=1e-7,
    )  # fmt: skip


def steepest_monotone() -> FlowCheck:
    """Their smoothed margins, against the largest before."""
    said, found, u = [], [], np.geomspace(1.5, 1e4, 200)
    for seed in range(3):
        X, y = _points(seed)
        flow = integrate(deep_linear((3, 1)), (X, y), "exponential", [0.3, -0.2, 0.1], until="log-loss:1.1e4")
        values = u / np.linalg.norm(flow.at(log_inverse_loss=u), axis=1)
        said.append(np.maximum.accumulate(values))
        found.append(values)
    return check(
        "14b", "… and their smoothed margins only rise", u, np.array(said).T, np.array(found).T,
        xlabel="log(1/loss)", ylabel="smoothed margin", tolerance=1e-9, xscale="log",
        labels=("data set 1", "data set 2", "data set 3"),
    )  # fmt: skip


CHECKS = {
    "8": leaky_relu, "11a": smoothed_margins, "11b": kkt_identity, "11c": slackness_bound,
    "12a": deep_linear_limit, "12b": excess_of_layers, "14a": steepest_euclidean, "14b": steepest_monotone,
}  # fmt: skip
