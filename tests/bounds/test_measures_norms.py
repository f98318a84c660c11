"""Sharpness, noise and the norms of Jiang et al.: closed forms, brute force, and the errors that others made."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from theory.architecture import (
    Activation,
    Architecture,
    AvgPool,
    BatchNorm,
    Conv,
    Flatten,
    Linear,
    MaxPool,
    node_values,
)  # fmt: skip
from theory.bounds._problem import Problem
from theory.bounds.measures import (
    magnitude_kl,
    noise_sigma,
    worst_radius,
)  # fmt: skip
from theory.bounds.measures._sample import part_of
from theory.bounds.measures.jiang import noise_measures, norm_measures, tenth_percentile
from theory.bounds.measures.sharpness import loss_gradient
from theory.norms import toeplitz_matrix

CONV = Architecture.sequential(
    [Conv(3, 3, padding=1), Activation("relu"), MaxPool(2), Conv(4, 2), Activation("relu"), Flatten(), Linear(3)],
    input_shape=(2, 6, 6),
)


def dense(*widths, bias=False, act="relu"):
    ops = []
    for w in widths[1:-1]:
        ops += [Linear(w, bias=bias), Activation(act)]
    return Architecture.sequential([*ops, Linear(widths[-1], bias=bias)], input_shape=widths[0])


def problem_of(net, seed=0, n=12, reference=False, biases=True):
    rng = np.random.default_rng(seed)
    weights = net.random_weights(rng=rng)
    if biases:
        weights = {k: v + 0.1 * rng.standard_normal(v.shape) if k.endswith("bias") else v for k, v in weights.items()}
    X, K = rng.standard_normal((n, *net.input_shape)), net.output_shape[0]
    right = node_values(net, weights, X)[net.output]
    y = right.argmax(axis=1) if K > 1 else (right[:, 0] > 0).astype(int)
    return Problem(net, weights, (X, y), net.random_weights(rng=9) if reference else None)


def by_name(found):
    return {m.name: m.value for m in found}


# sharpness and noise

def test_sigma_is_a_standard_deviation():
    net = dense(1, 1)
    problem = Problem(net, {"linear1.weight": [[3.0]]}, ([[1.0]], [1]))
    # wrong where 3 + sigma u <= 0, with probability 1/10
    found = noise_sigma(problem, draws=1000, steps=10)
    assert found.met and found.value == pytest.approx(3 / norm.isf(0.1), rel=0.08)
    assert found.value**2 != pytest.approx(3 / norm.isf(0.1), rel=0.2)  # sigma^2 in its place


def test_magnitude_noise_has_the_variance_that_the_divergence_counts():
    net = dense(1, 1)
    problem = Problem(net, {"linear1.weight": [[3.0]]}, ([[1.0]], [1]))
    plain = noise_sigma(problem, draws=60, steps=16).value
    for m, eps in ((1.0, 1e-3), (2.9, 1.5)):
        found = noise_sigma(problem, draws=60, steps=16, center={"linear1.weight": np.array([[m]])}, eps=eps)
        assert math.hypot(found.value * (3 - m), eps) == pytest.approx(plain, rel=1e-3)


def test_sigma_is_deterministic_and_scales():
    problem = problem_of(dense(2, 6, 2, bias=False), 5, n=40)
    one = noise_sigma(problem, rng=3)
    assert one == noise_sigma(problem, rng=3) and one.met
    scaled = Problem(problem.architecture, {k: 4.0 * v for k, v in problem.weights.items()}, (problem.X, problem.y))
    assert noise_sigma(scaled, rng=3).value == pytest.approx(4 * one.value, rel=0.02)


def test_an_end_of_the_search_is_said():
    net = dense(1, 1, bias=True)
    strong = Problem(net, {"linear1.weight": [[0.0]], "linear1.bias": [1e9]}, ([[1.0]], [1]))
    assert noise_sigma(strong) == noise_sigma(strong, rng=5) and not noise_sigma(strong).met
    weak = Problem(net, {"linear1.weight": [[0.0]], "linear1.bias": [1e-9]}, ([[1.0]], [1]))
    assert worst_radius(weak).value == 2.0**-20 and not worst_radius(weak).met
    assert "end of the search" in by_statement(strong)


def by_statement(problem):
    return " ".join(m.statement for m in noise_measures(problem))


def test_worst_radius_of_a_linear_score_is_the_dual_norm():
    w, X = np.array([[1.0, -2.0, 3.0]]), np.array([[1.0, 1.0, 2.0], [0.5, -1.0, 1.0]])
    problem = Problem(dense(3, 1), {"linear1.weight": w}, (X, [1, 1]))
    # the box of side alpha lowers w.x by alpha ||x||_1; one mistake among two is a rise of a half
    exact = min(w[0] @ x / np.abs(x).sum() for x in X)
    found = worst_radius(problem, ascent=5, steps=14, drop=0.3)
    assert exact <= found.value <= 1.05 * exact
    center = {"linear1.weight": np.zeros((1, 3))}
    magnitude = worst_radius(problem, center=center, eps=0.1, ascent=5, steps=14, drop=0.3)
    exact = min((w[0] @ x - 0.1 * np.abs(x).sum()) / (np.abs(w[0]) @ np.abs(x)) for x in X)
    assert exact <= magnitude.value <= 1.05 * exact


@pytest.mark.parametrize(
    "net", [dense(3, 4, 3, bias=True), dense(3, 4, 1, bias=True, act="tanh"), CONV], ids=["K", "one", "conv"]
)
def test_the_gradient_of_the_loss(net, monkeypatch):
    problem = problem_of(net, n=7)
    monkeypatch.setattr("theory.bounds.measures._sample.ENTRIES", 9 * sum(int(np.prod(v.shape)) for v in net.nodes))
    def loss(named):
        v = node_values(net, named, problem.X)[net.output]
        if problem.binary:
            return np.logaddexp(0, np.where(problem.y == 1, -1, 1) * v[:, 0]).mean()
        return (np.logaddexp.reduce(v, axis=1) - v[np.arange(7), problem.y]).mean()

    found = loss_gradient(problem, problem.named, part_of(problem, 100))
    rng, h = np.random.default_rng(0), 1e-6
    for key, w in problem.named.items():
        t = rng.standard_normal(w.shape)
        up, down = (loss({**problem.named, key: w + s * h * t}) for s in (1, -1))
        assert (found[key] * t).sum() == pytest.approx((up - down) / (2 * h), rel=1e-6, abs=1e-8)


# norms

def test_norms_are_their_formulas():
    problem = problem_of(CONV, n=30, reference=True)
    found, gamma = by_name(norm_measures(problem)), tenth_percentile(problem)
    assert gamma == np.sort(problem.margins.values)[2]
    names = ["conv1", "conv2", "linear1"]
    size = {"conv1": ((6, 6), 1), "conv2": ((3, 3), 0)}

    def matrix(name, K):
        return K if K.ndim == 2 else toeplitz_matrix(K, size[name][0], padding=size[name][1]).toarray()

    W = {name: problem.named[f"{name}.weight"] for name in names}
    D = {name: W[name] - problem.reference[f"{name}.weight"] for name in names}
    s2 = np.array([np.linalg.norm(matrix(name, W[name]), 2) ** 2 for name in names])
    F2 = np.array([(W[name] ** 2).sum() for name in names])
    d2 = np.array([(D[name] ** 2).sum() for name in names])
    about = {"rel": 0.02, "abs": 0.06}  # spectral norms of convolutions are brackets
    assert found["log-product-spectral"] == pytest.approx(np.log(s2).sum(), **about)
    assert found["log-product-spectral"] >= np.log(s2).sum() - 1e-12
    assert found["log-product-frobenius"] == pytest.approx(np.log(F2).sum(), rel=1e-12)
    over = found["log-product-frobenius-over-margin"]
    assert over == pytest.approx(np.log(F2.prod() / gamma**2), rel=1e-10)
    assert found["log-sum-frobenius"] == pytest.approx(np.log(3 * F2.prod() ** (1 / 3)), rel=1e-12)
    assert found["log-sum-frobenius-over-margin"] == pytest.approx(np.log(3 * (F2.prod() / gamma**2) ** (1 / 3)))
    assert found["frobenius-over-spectral"] == pytest.approx((F2 / s2).sum(), rel=0.03)
    assert found["log-spectral-origin"] == pytest.approx(np.log(s2.prod() / gamma**2 * (F2 / s2).sum()), **about)
    assert found["log-spectral-initial"] == pytest.approx(np.log(s2.prod() / gamma**2 * (d2 / s2).sum()), **about)
    assert found["parameter-norm"] == pytest.approx(F2.sum(), rel=1e-12)
    assert found["frobenius-distance"] == pytest.approx(d2.sum(), rel=1e-12)
    exact = sum(np.linalg.norm(matrix(name, D[name]), 2) ** 2 for name in names)
    assert exact <= found["spectral-distance"] <= 1.03 * exact
    assert found["inverse-margin"] == pytest.approx(gamma**-2)
    assert found["parameter-count"] == CONV.n_parameters


def test_the_reshaped_kernel_is_not_the_convolution():
    K = np.ones((1, 1, 3, 3))
    net = Architecture.sequential([Conv(1, 3, padding=1, bias=False), Flatten(), Linear(1)], input_shape=(1, 8, 8))
    weights = {"conv1.weight": K, "linear1.weight": np.eye(1, 64), "linear1.bias": np.zeros(1)}
    found = by_name(norm_measures(Problem(net, weights, (np.ones((1, 1, 8, 8)), [1]))))
    truth = 2 * math.log((1 + 2 * math.cos(math.pi / 9)) ** 2)
    assert found["log-product-spectral"] == pytest.approx(truth, abs=0.03)
    assert 2 * math.log(np.linalg.norm(K.reshape(1, -1), 2)) < truth - 1.5


def test_the_squared_path_norm_takes_squared_averages():
    net = Architecture.sequential([AvgPool(2), Flatten(), Linear(1, bias=False)], input_shape=(1, 4, 4))
    problem = Problem(net, {"linear1.weight": [[1.0, 2.0, 3.0, 4.0]]}, (np.ones((1, 1, 4, 4)), [1]))
    # four inputs, each with 1/4^2, per entry of the pool
    assert by_name(norm_measures(problem))["log-path-norm"] == pytest.approx(math.log(30 * 4 / 16))


def test_negative_margins_stay_negative():
    net = dense(1, 1)
    problem = Problem(net, {"linear1.weight": [[2.0]]}, ([[1.0], [-1.0]], [1, 1]))
    assert tenth_percentile(problem) == -2
    found = by_name(norm_measures(problem))
    assert found["inverse-margin"] == np.inf == found["log-path-norm-over-margin"]
    assert found["log-path-norm"] == pytest.approx(math.log(4))


def test_normalisations_are_folded_before_norms():
    net = Architecture.sequential([Linear(2, bias=False), BatchNorm(), Activation("relu"), Linear(1)], input_shape=2)
    weights = net.random_weights(rng=0)
    weights["batchnorm1.weight"] = np.array([3.0, 5.0])
    problem = Problem(net, weights, (np.ones((2, 2)), [0, 1]))
    scale = np.array([3.0, 5.0]) / np.sqrt(1 + 1e-5)
    exact = ((scale[:, None] * weights["linear1.weight"]) ** 2).sum() + (weights["linear2.weight"] ** 2).sum()
    assert by_name(norm_measures(problem))["parameter-norm"] == pytest.approx(exact, rel=1e-12)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.floats(0.05, 3))
def test_magnitude_divergence_is_the_least_over_the_prior(seed, sigma):
    d = np.random.default_rng(seed).standard_normal(5)
    var = sigma**2 * d**2 + 1e-6

    def kl(log_s2):
        s2 = math.exp(log_s2)
        return 0.5 * (var.sum() / s2 + d @ d / s2 - 5 + np.log(s2 / var).sum())

    best = minimize_scalar(kl, bounds=(-20, 10), method="bounded", options={"xatol": 1e-10}).fun
    assert magnitude_kl(d, sigma) == pytest.approx(best, rel=1e-8)


def test_pac_bayes_forms():
    problem = problem_of(dense(2, 6, 2, bias=True), 5, n=40, reference=True)
    found = by_name(noise_measures(problem, rng=1))
    sigma = found["pac-bayes-flatness"] ** -0.5
    w, m = (np.concatenate([d[k].ravel() for k in problem.named]) for d in (problem.named, problem.reference))
    assert found["pac-bayes-origin"] == pytest.approx(w @ w / (4 * sigma**2) + math.log(40 / sigma) + 10)
    assert found["pac-bayes-initial"] == pytest.approx((w - m) @ (w - m) / (4 * sigma**2) + math.log(40 / sigma) + 10)
    mag = found["pac-bayes-magnitude-flatness"] ** -0.5
    terms = np.log((1e-6 + (mag**2 + 1) * (w @ w) / w.size) / (1e-6 + mag**2 * w**2))
    assert found["pac-bayes-magnitude-origin"] == pytest.approx(terms.sum() / 4 + math.log(40 / mag) + 10)
