"""Linear maximum margins against cvxpy; data that cannot be separated is refused, data that can never is."""

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from theory._errors import InvalidInput, PreconditionError
from theory.flow.max_margin import deep_linear_margin, linear_max_margin
from theory.flow.networks import diagonal_linear, fully_connected
from theory.flow.separable import check_separable


def binary(seed, N=12, d=4):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, d))
    return X, np.where(X @ rng.standard_normal(d) > 0, 1.0, -1.0)


@pytest.mark.parametrize("seed", range(5))
def test_binary_margin_is_cvxpys(seed):
    X, y = binary(seed)
    w = cp.Variable(4)
    problem = cp.Problem(cp.Minimize(cp.norm(w)), [cp.multiply(y, X @ w) >= 1])
    problem.solve(solver=cp.CLARABEL)
    found = linear_max_margin(X, y)
    assert found.margin == pytest.approx(1 / problem.value, rel=1e-7)
    assert found.certificate.relative_gap < 1e-13
    assert found.margin == pytest.approx((y * (X @ found.direction)).min(), rel=1e-14)
    assert found.weights.sum() == pytest.approx(1, rel=1e-14) and (found.weights >= 0).all()
    assert np.allclose(found.weights * y @ X, found.margin * found.direction, rtol=0, atol=1e-13)


@pytest.mark.parametrize("seed", range(3))
def test_multiclass_margin_is_cvxpys(seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((10, 3))
    y = np.argmax(X @ rng.standard_normal((3, 3)), axis=1)
    W = cp.Variable((3, 3))
    scores = X @ W.T
    apart = [scores[n, y[n]] - scores[n, j] >= 1 for n in range(10) for j in range(3) if j != y[n]]
    problem = cp.Problem(cp.Minimize(cp.norm(W, "fro")), apart)
    problem.solve(solver=cp.CLARABEL)
    found = linear_max_margin(X, y)
    assert found.margin == pytest.approx(1 / problem.value, rel=1e-7)
    assert found.certificate.relative_gap < 1e-12
    assert found.weights.shape == (10, 3) and (found.weights[np.arange(10), y] == 0).all()


@given(st.integers(0, 10**6), st.floats(1e-6, 1e6))
@settings(max_examples=30, deadline=None)
def test_margin_scales_with_the_data_and_ignores_order(seed, scale):
    X, y = binary(seed)
    found = linear_max_margin(X, y).margin
    order = np.random.default_rng(seed).permutation(len(y))
    assert linear_max_margin(scale * X[order], y[order]).margin == pytest.approx(scale * found, rel=1e-11)


def test_deep_linear_margin_is_the_best_of_random_chains():
    X, y = binary(0)
    w = linear_max_margin(X, y)
    for L in (2, 3):
        chain = [w.direction[None, :], *[np.ones((1, 1))] * (L - 1)]  # unit layers: rho^L = L^(L/2)
        f = (X @ chain[0].T).ravel()
        assert deep_linear_margin(X, y, L) == pytest.approx((y * f).min() / L ** (L / 2), rel=1e-13)


def test_inseparable_margins_are_refused():
    with pytest.raises(PreconditionError, match="no linear classifier separates"):
        linear_max_margin([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], [1, 1, -1])
    with pytest.raises(PreconditionError, match="every input is zero"):
        linear_max_margin(np.zeros((2, 2)), [1, -1])
    with pytest.raises(InvalidInput, match="labels -1 and"):
        deep_linear_margin(np.eye(3), [0, 1, 2], 2)


RELU, QUADRATIC = fully_connected((2, 4, 1)), fully_connected((2, 4, 1), activation="quadratic")
LINEAR, BIASED = fully_connected((2, 4, 1), activation="linear"), fully_connected((2, 4, 1), bias="first")


@pytest.mark.parametrize(
    ("network", "X", "y", "message"),
    [
        (BIASED, [[0.1, 0.2], [1, 0], [0.1, 0.2]], [1, 1, -1], "samples 0 and 2 are equal with different labels"),
        (RELU, [[0.1, 0.2], [0, 0]], [1, -1], "sample 1 is zero"),
        (RELU, [[0.1, 0.2], [0.2, 0.4]], [1, -1], "positive multiples of each other with different labels"),
        (QUADRATIC, [[0.1, -0.2], [-0.2, 0.4]], [1, -1], "negative multiples of each other with different"),
        (LINEAR, [[0.1, -0.2], [-0.2, 0.4]], [1, 1], "negative multiples of each other with the same label"),
        (LINEAR, [[1, 0], [0, 1], [-1, -2]], [1, 1, 1], "hypothesis: linear separability"),
        (diagonal_linear(2), [[1, 0], [0, 1], [-1, -2]], [1, 1, 1], "hypothesis: linear separability"),
        (fully_connected((2, 4, 3)), [[1, 1], [3, 3]], [0, 2], "positive multiples"),
    ],
)
def test_contradictions_are_one_sentence(network, X, y, message):
    with pytest.raises(InvalidInput, match=message):
        check_separable(network, X, y)


@pytest.mark.parametrize(
    ("network", "X", "y"),
    [
        (BIASED, [[0.0, 0.0], [0.1, 0.2], [0.2, 0.4], [-0.1, -0.2]], [1, -1, 1, 1]),
        (RELU, [[0.1, 0.2], [-0.1, -0.2]], [1, 1]),
        (RELU, [[0.1, 0.2], [-0.1, -0.2]], [1, -1]),
        (RELU, [[0.1, 0.3], [0.1 * 3, 0.3 * 3]], [1, -1]),  # 0.1 * 3 rounds up: not multiples
        (QUADRATIC, [[0.1, 0.2], [-0.1, -0.2]], [1, 1]),
        (fully_connected((2, 4, 1), activation="relu^2"), [[0.1, 0.2], [-0.1, -0.2]], [1, -1]),
        (fully_connected((2, 4, 1), activation="linear", bias="first"), [[1, 0], [2, 0]], [1, -1]),
        (fully_connected((2, 4, 1), activation="linear", bias="first"), [[1, 0], [2, 0], [-1, 0]], [-1, -1, 1]),
        (LINEAR, [[0.3, 1.0], [-(0.1 + 0.2), -1.0]], [1, 1]),  # 0.1 + 0.2 > 0.3: separated, if only just
        (fully_connected((1, 1)), [[1.0], [2.0]], [1, 1]),
    ],
)
def test_separable_data_passes(network, X, y):
    check_separable(network, X, y)


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 4), st.sampled_from(["linear", "relu", "quadratic"]))
@settings(max_examples=60, deadline=None)
def test_what_a_network_labels_is_never_refused(seed, d, K, activation):
    """Small integers make multiples, opposites and points on boundaries frequent; labels come from a network."""
    rng = np.random.default_rng(seed)
    network = fully_connected((d, 5, K), activation=activation)
    X = rng.integers(-2, 3, (12, d)).astype(float)
    f = network.output(network.random_parameters(rng=rng), X)
    sure = np.sort(f, axis=1)[:, -1] - np.sort(f, axis=1)[:, -2] > 1e-9
    if sure.any():
        check_separable(network, X[sure], np.argmax(f, axis=1)[sure])


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_linear_networks_agree_with_a_linear_program(seed):
    rng = np.random.default_rng(seed)
    X, y = rng.integers(-4, 5, (5, 3)).astype(float), rng.choice([-1.0, 1.0], 5)
    t = linprog([0, 0, 0, -1], A_ub=np.hstack([-y[:, None] * X, np.ones((5, 1))]), b_ub=np.zeros(5),
                bounds=[(-1, 1)] * 4, method="highs").x[-1]  # fmt: skip
    refused = False
    try:
        check_separable(fully_connected((3, 3, 1), activation="linear"), X, y)
    except InvalidInput:
        refused = True
    assert refused == (t < 1e-6)  # integers of this size: a margin is at least 1e-3
