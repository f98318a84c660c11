"""The least interpolating rho: against optimisation, the variation norm, and flows that come near it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from theory import InvalidInput, PreconditionError
from theory.flow import deep_linear, fully_connected, two_layer, variation_margin
from theory.square_loss import compare_normalisations, integrate_rho, minimum_rho_linear, minimum_rho_two_layer

RNG = np.random.default_rng(11)
WIDE, SIGNS = RNG.standard_normal((3, 5)), np.array([1.0, -1.0, 1.0])
ORTHOGONAL = np.diag([1.0, 2.0, 0.5, 1.5])
VALUES = np.array([1.0, -1.0, 0.7, -2.0])


def least_product_of_norms(net, X, y, starts):
    """min of prod ||W_k||_F over interpolants, by a constrained solver."""
    best = np.inf
    for seed in range(starts):
        found = minimize(
            lambda theta: np.prod([np.linalg.norm(w) for w in net.split(theta)]),
            net.random_parameters(rng=seed),
            constraints={"type": "eq", "fun": lambda theta: net.output(theta, X)[:, 0] - y},
            method="SLSQP",
            options={"maxiter": 500, "ftol": 1e-14},
        )
        if found.success and abs(net.output(found.x, X)[:, 0] - y).max() < 1e-8:
            best = min(best, found.fun)
    return best


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_linear_against_a_constrained_solver(depth):
    found = minimum_rho_linear(WIDE, SIGNS, depth)
    net = deep_linear((5, *[2] * (depth - 1), 1))
    assert least_product_of_norms(net, WIDE, SIGNS, 4) == pytest.approx(found.rho, rel=1e-6)
    chain = deep_linear(found.widths)
    np.testing.assert_allclose(found.rho * chain.output(found.V, WIDE)[:, 0], SIGNS, atol=1e-12)
    np.testing.assert_allclose([np.linalg.norm(v) for v in chain.split(found.V)], 1, atol=1e-15)
    np.testing.assert_allclose(SIGNS * chain.output(found.V, WIDE)[:, 0], found.margin, atol=1e-12)


def test_two_layer_relu_against_a_constrained_solver():
    found = minimum_rho_two_layer(ORTHOGONAL, VALUES)
    best = least_product_of_norms(two_layer(4, 3), ORTHOGONAL, VALUES, 8)
    assert best == pytest.approx(found.rho, rel=1e-5)
    net = two_layer(4, 2)
    np.testing.assert_allclose(found.rho * net.output(found.V, ORTHOGONAL)[:, 0], VALUES, atol=1e-12)
    np.testing.assert_allclose([np.linalg.norm(v) for v in net.split(found.V)], 1, atol=1e-15)


def test_two_layer_is_the_inverse_of_the_variation_margin_for_signs():
    y = np.sign(VALUES)
    margin = variation_margin(ORTHOGONAL, y)
    rho = minimum_rho_two_layer(ORTHOGONAL, y).rho
    assert 1 / margin.certificate.upper <= rho * (1 + 1e-12) and rho <= (1 + 1e-12) / margin.certificate.lower


def test_weights_from_a_small_start_come_to_the_least_rho():
    # without decay: the offset that the start leaves in the product is of its own size
    net, least = deep_linear((5, 2, 1)), minimum_rho_linear(WIDE, SIGNS, 2).rho
    excess = []
    for scale in (1e-1, 1e-2):
        theta = net.random_parameters(rng=2, scale=scale)
        flow = integrate_rho(net, (WIDE, SIGNS), theta0=theta, normalisation="none", until=60.0)
        assert flow.fit[-1] < 1e-12
        excess.append(flow.rho[-1] / least - 1)
    assert 0 < excess[1] < excess[0] / 30 and excess[1] < 1e-3


def test_comparison_of_normalisations():
    net = fully_connected((5, 3, 1), activation="linear")
    least = minimum_rho_linear(WIDE, SIGNS, 2).rho
    found = compare_normalisations(
        net, (WIDE, SIGNS), theta0=net.random_parameters(rng=1, scale=0.5), until=60.0, rho_min=least
    )
    assert (found.fit < 1e-10).all() and (found.excess > -1e-9).all()
    for flow, settled in zip(found.solutions, found.settling_time, strict=True):
        late = flow.t >= settled
        assert (abs(flow.rho[late] / flow.rho[-1] - 1) <= 1e-3).all() and 0 < settled < 60
        assert flow.lam == 0
    assert found.summary().count("\n") == 3 and set(found.to_json()["flows"]) == set(found.names)


def test_comparison_where_rho_stops_at_zero():
    net = fully_connected((2, 1))
    data = (np.eye(2), [-1.0, -0.5])
    found = compare_normalisations(net, data, lam=0.1, theta0=[0.24, 0.18], at_zero="stop", until=5.0, rho_min=1.0)
    assert found.rho[0] == 0 and found.solutions[0].status.name == "ZERO"
    assert found.settling_time[0] == found.solutions[0].t[-1] and found.excess[0] == -1


def test_decay_does_not_keep_rho_below_the_least_interpolating_one():
    net, y = two_layer(3, 4), [1.0, 1.0, -1.0]
    theta = net.random_parameters(rng=1, scale=3.0)
    flow = integrate_rho(net, (np.eye(3), y), lam=1e-4, theta0=theta, until=20.0)
    assert flow.rho[-1] > 2 * minimum_rho_two_layer(np.eye(3), y).rho and flow.fit[-1] < 1e-6


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: minimum_rho_linear([[1.0], [1.0]], [1.0, -1.0]), PreconditionError),
        (lambda: minimum_rho_linear([[1.0], [1.0]], [0.0, 0.0]), InvalidInput),
        (lambda: minimum_rho_linear([[1.0]], [1.0], 0), InvalidInput),
        (lambda: minimum_rho_two_layer([[1.0, 0.0], [1.0, 1.0]], [1.0, 1.0]), PreconditionError),
        (lambda: minimum_rho_two_layer([[1.0]], [0.0]), InvalidInput),
    ],
)
def test_refusals(call, error):
    with pytest.raises(error):
        call()
