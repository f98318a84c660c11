"""Checks 13, 20 and 22: what a flow keeps, margins of networks with biases, degrees of homogeneity."""

from __future__ import annotations

import numpy as np
from scipy.integrate import solve_ivp

from simulations.experiments._flow_check import FlowCheck, check
from theory.flow import (
    LayeredNetwork,
    conservation_drift,
    conservation_law_count,
    conserved_quantities,
    deep_linear,
    fully_connected,
    integrate,
    modified_margin,
    two_layer,
)

SHAPES = ((2, 3, 2), (2, 3, 4), (2, 3, 5), (2, 3, 6), (2, 3, 9), (1, 1, 1), (1, 1, 4), (3, 2, 7))  # n, m, r


def law_counts() -> FlowCheck:
    """``r (r + 1) / 2`` laws, or ``(n + m) r - (n + m)(n + m - 1) / 2`` for r > n + m, by numerical rank."""
    said = [r * (r + 1) / 2 if r <= n + m else (n + m) * r - (n + m) * (n + m - 1) / 2 for n, m, r in SHAPES]
    found = [conservation_law_count(deep_linear((n, r, m))).laws for n, m, r in SHAPES]
    return check(
        "13a", "Two linear layers: how many conservation laws", np.arange(1, 9), np.array(said), np.array(found),
        xlabel="shape, of eight", ylabel="independent laws", tolerance=0.0, compared="absolute",
    )  # fmt: skip


def _circle() -> tuple[np.ndarray, np.ndarray]:
    """Six points around a circle, labelled so that one line cannot separate them."""
    angles = 2 * np.pi * (np.arange(6) + 0.3 * np.array([0, 1, 0, 2, 1, 0])) / 6
    return np.stack([np.cos(angles), np.sin(angles)], axis=1), np.array([1, 1, -1, -1, -1, 1])


def drift() -> FlowCheck:
    """Change of the balances over ||theta||²: at most 1e-9 while log(1/Loss) < 10, and 1e-7 from then on."""
    u, found = np.geomspace(0.5, 1e3, 14), []
    for layers in ((2, 6, 1), (2, 4, 3, 1)):
        network = fully_connected(layers)
        theta0 = network.random_parameters(rng=1)
        flow = integrate(network, _circle(), "exponential", theta0, until="log-loss:1.1e3")
        found.append([conservation_drift(network, theta0, theta) for theta in flow.at(log_inverse_loss=u)])
    return check(
        "13b", "Balances of ReLU layers drift by less than the bound", u, np.where(u < 10, 1e-9, 1e-7),
        np.maximum(np.array(found).T, 1e-17), xlabel="log(1/loss)", ylabel="drift / |θ|²", tolerance=0.0,
        compared="below", xscale="log", yscale="log", labels=("two layers", "three layers"),
    )  # fmt: skip


def _descent(network: LayeredNetwork, X: np.ndarray, y: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """``-grad sum_n (f - y)²/2`` of one output."""
    return -network.vjp(theta, X, network.output(theta, X) - y[:, None])


def decay() -> FlowCheck:
    """``theta' = -grad Loss - 2 lam theta``, which scipy integrates: W2ᵀW2 - W1W1ᵀ shrinks in all its entries."""
    X, y = _circle()
    network, lam, t = deep_linear((2, 2, 1)), 0.15, np.linspace(0, 3, 13)
    theta0 = network.random_parameters(rng=2)
    path = solve_ivp(lambda _, theta: _descent(network, X, y, theta) - 2 * lam * theta, (0, 3), theta0, method="DOP853",
                     rtol=1e-13, atol=1e-14, t_eval=t).y.T  # fmt: skip
    balance = np.array([conserved_quantities(network, theta)["balance1"].ravel()[[0, 1, 3]] for theta in path])
    return check(
        "13c", "Weight decay λ shrinks every balance by exp(−4λt)", t, np.exp(-4 * lam * t)[:, None] * balance[0],
        balance, xlabel="time t", ylabel="entries of W₂ᵀW₂ − W₁W₁ᵀ", tolerance=1e-11, compared="scaled",
        labels=("11", "12", "22"),
    )  # fmt: skip


def descent_step() -> FlowCheck:
    """One step of size eta moves ``||W_2||² - ||W_1||²`` by ``eta² (||g_2||² - ||g_1||²)``, exactly."""
    X, y = _circle()
    network, etas = two_layer(2, 6), np.geomspace(1e-3, 1e-1, 7)
    theta = network.random_parameters(rng=3)
    g = network.views(_descent(network, X, y, theta))

    def imbalance(at: np.ndarray) -> float:
        W = network.views(at)
        return float(np.sum(W["W2"] ** 2) - np.sum(W["W1"] ** 2))

    moved = [imbalance(theta + eta * _descent(network, X, y, theta)) - imbalance(theta) for eta in etas]
    said = etas**2 * (np.sum(g["W2"] ** 2) - np.sum(g["W1"] ** 2))
    return check(
        "13d", "A step of gradient descent breaks the balance by η²", etas, np.abs(said), np.abs(moved),
        xlabel="step η", ylabel="|change of ‖W₂‖² − ‖W₁‖²|", tolerance=1e-9, xscale="log", yscale="log",
    )  # fmt: skip


def biased_margin() -> FlowCheck:
    """The modified margin of networks with biases everywhere, from where its numerator is positive."""
    u, said, found = np.geomspace(30, 300, 30), [], []
    network, data = two_layer(2, 5, bias=True), _circle()
    for seed in (2, 3):
        flow = integrate(network, data, "exponential", network.random_parameters(rng=seed), until="log-loss:330")
        at = [modified_margin(network, *data, "exponential", theta) for theta in flow.at(log_inverse_loss=u)]
        values = np.array([one.value if one.is_valid else np.nan for one in at])
        found.append(values)
        said.append(np.maximum.accumulate(values))
    return check(
        "20", "Biases everywhere: the modified margin only rises", u, np.array(said).T, np.array(found).T,
        xlabel="log(1/loss)", ylabel="(log(1/loss) − p(|θ|)) / |θ|^L", tolerance=1e-9, xscale="log",
        labels=("one start", "another"),
    )  # fmt: skip


def degrees() -> FlowCheck:
    """``log2 |f(2 theta)| / |f(theta)|`` of relu^k networks; the published code's degree is wrong from 3 layers on."""
    depths, powers = np.arange(2, 6), (1, 2, 3)
    X = np.random.default_rng(0).standard_normal((4, 3))
    found = np.zeros((4, 3))
    for i, depth in enumerate(depths):
        for j, k in enumerate(powers):
            network = fully_connected((3, *[6] * (depth - 1), 1), activation=f"relu^{k}" if k > 1 else "relu")
            theta = network.random_parameters(rng=1, scale=0.6)
            f, double = (np.abs(network.output(c * theta, X)).max() for c in (1, 2))
            found[i, j] = np.log2(double / f)
    said = np.array([[sum(k**i for i in range(depth)) for k in powers] for depth in depths])
    return check(
        "22", "ReLU to the k: the degree is 1 + k + k² + …", depths, said, found, xlabel="layers",
        ylabel="degree of homogeneity", tolerance=1e-12, yscale="log", labels=("k = 1", "k = 2", "k = 3"),
    )  # fmt: skip


CHECKS = {
    "13a": law_counts, "13b": drift, "13c": decay, "13d": descent_step, "20": biased_margin, "22": degrees,
}  # fmt: skip
