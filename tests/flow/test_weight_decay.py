"""Weight decay in the flow: closed forms, laws that shrink at a known rate, a second integrator, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from theory import InvalidInput, PreconditionError
from theory.flow import conserved_quantities, diagnose, diagonal_linear, fully_connected, integrate

RNG = np.random.default_rng(5)
X, Y = RNG.standard_normal((7, 3)), np.array([1.0, -1, 1, 1, -1, -1, 1])


def test_linear_regression_is_the_matrix_exponential():
    # theta' = X^T (y - X theta) - w theta, on the eigenvectors of X^T X
    w, net = 0.3, fully_connected((3, 1))
    flow = integrate(net, (X, Y), "square", [0.5, -1.0, 2.0], until=1.7, weight_decay=w, rtol=1e-12)
    values, vectors = np.linalg.eigh(X.T @ X + w * np.eye(3))
    rest = vectors @ ((vectors.T @ (X.T @ Y)) / values)
    exact = rest + vectors @ (np.exp(-1.7 * values) * (vectors.T @ (np.array([0.5, -1.0, 2.0]) - rest)))
    np.testing.assert_allclose(flow.theta, exact, atol=1e-11)
    objective = 0.5 * np.sum((X @ flow.theta - Y) ** 2) + w / 2 * flow.theta @ flow.theta
    assert flow.log_inverse_loss[-1] == pytest.approx(-np.log(objective), abs=1e-12)


@pytest.mark.parametrize("loss", ["square", "exponential", "logistic"])
@pytest.mark.parametrize("kind", ["relu", "linear", "relu^2", "biased", "diagonal", "diagonal of depth 3"])
def test_conserved_quantities_shrink_by_twice_the_decay(kind, loss):
    w, T = 0.4, 2.5
    if kind.startswith("diagonal"):
        net = diagonal_linear(3, depth=3 if "3" in kind else 2)  # at depth 3 no quadratic form, but of degree 2
    elif kind == "biased":
        net = fully_connected((3, 4, 1), bias=True)
    else:
        net = fully_connected((3, 4, 4, 1), activation=kind)
    theta = net.random_parameters(rng=1)
    flow = integrate(net, (X, Y), loss, theta, until=T, weight_decay=w, rtol=1e-11)
    before, after = conserved_quantities(net, theta), conserved_quantities(net, flow.theta)
    assert not kind.startswith("diagonal") or np.isfinite(before["balance"]).any()
    for name, value in before.items():
        np.testing.assert_allclose(after[name], np.exp(-2 * w * T) * value, atol=1e-9)
    assert flow.conservation_drift < 1e-9 and flow.weight_decay == w


def test_relu_with_sliding_agrees_with_softplus_of_great_slope():
    # the kinks smoothed by softplus(k z) / k and left to Radau: it shares no code with the flow
    net = fully_connected((3, 3, 1))
    theta, w, T, k = net.random_parameters(rng=4), 0.5, 3.0, 1e7
    flow = integrate(net, (X, Y), "square", theta, until=T, weight_decay=w, rtol=1e-10)
    assert any(event.kind == "sliding" for event in flow.events)

    def rate(_, v):
        W, a = v[:9].reshape(3, 3), v[9:]
        z = X @ W.T
        with np.errstate(over="ignore"):
            act, slope = np.logaddexp(0, k * z) / k, 1 / (1 + np.exp(-k * z))
        r = Y - act @ a
        return np.concatenate([((r[:, None] * a * slope).T @ X).ravel(), r @ act]) - w * v

    smooth = solve_ivp(rate, (0, T), theta, method="Radau", rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(flow.theta, smooth.y[:, -1], atol=2e-6)


def test_rest_is_a_stationary_point_of_loss_and_penalty():
    net, w = fully_connected((3, 4, 1), activation="linear"), 0.2
    theta = net.random_parameters(rng=0)
    flow = integrate(net, (X, Y), "square", theta, until="stationary", weight_decay=w, rtol=1e-11)
    gradient = net.vjp(flow.theta, X, Y[:, None] - net.output(flow.theta, X)) - w * flow.theta
    assert np.linalg.norm(gradient) < 1e-8
    # the balanced two-layer linear problem is ridge-like: the product's singular value is soft-thresholded
    product = (flow.network.views(flow.theta)["W2"] @ flow.network.views(flow.theta)["W1"])[0]
    residual = X.T @ (Y - X @ product)
    np.testing.assert_allclose(residual, w * product / np.linalg.norm(product), atol=1e-7)


def test_without_decay_nothing_changes():
    net = fully_connected((3, 4, 1))
    theta = net.random_parameters(rng=2)
    plain, zero = (integrate(net, (X, Y), "square", theta, until=1.0, **more) for more in ({}, {"weight_decay": 0.0}))
    np.testing.assert_array_equal(plain.theta, zero.theta)


@pytest.mark.parametrize(
    "options",
    [
        {"weight_decay": -1.0, "until": 1.0},
        {"weight_decay": np.nan, "until": 1.0},
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "until": "log-loss:3"},
        {"weight_decay": 0.1, "until": "log-t:3"},
        {"weight_decay": 0.1, "until": 1.0, "clock": "loss-normalised"},
    ],
)
def test_refusals(options):
    net = fully_connected((3, 1))
    with pytest.raises(InvalidInput, match="weight"):
        integrate(net, (X, Y), "exponential", [1.0, 0, 0], **options)


def test_margins_of_the_limit_are_refused():
    net = fully_connected((2, 1))
    flow = integrate(net, ([[2.0, 1.0]], [1]), "exponential", [1.0, 1.0], until=5.0, weight_decay=0.01)
    for refused in (flow.smoothed_margins, lambda: diagnose(flow)):
        with pytest.raises(PreconditionError, match="weight decay"):
            refused()
    assert flow.to_json()["smoothed_margin"] is None
