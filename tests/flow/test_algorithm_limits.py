"""Step limits: exact on quadratics, by two computations elsewhere, and the flags of a run above them."""

import json

import numpy as np
import pytest

from tests.flow._algorithm_problems import classification, loss_gradient, regression
from theory._errors import NotConverged
from theory.flow import _algorithm_limit as limit_module
from theory.flow import (
    deep_linear,
    descend,
    descent_limit,
    fully_connected,
    integrate,
    step_limit,
)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.6}, {"momentum": 0.6, "nesterov": True}, {"weight_decay": 2.0}])
def test_the_limit_of_a_quadratic_is_exact(options):
    network, data, H, _, theta0 = regression(3)
    found = step_limit(network, data, "square", theta0, **options)
    largest = np.linalg.eigvalsh(H)[-1] + options.get("weight_decay", 0.0)
    beta = options.get("momentum", 0.0)
    factor = 2 * (1 + beta) / (1 + 2 * beta) if options.get("nesterov") else 2 * (1 + beta)
    assert found.exact and np.isclose(found.limit, factor / largest, rtol=1e-13)
    below = descend(network, data, "square", theta0, step=0.98 * found.limit, steps=3000, **options)
    rest = loss_gradient(network, data, "square", below.theta) + options.get("weight_decay", 0.0) * below.theta
    assert np.linalg.norm(rest) < 1e-8 and below.above_limit == 0
    above = descend(network, data, "square", theta0, step=1.02 * found.limit, steps=1000, **options)
    assert np.linalg.norm(above.theta) > 1e4 and above.above_limit == 32 and above.loss_increases > 500


@pytest.mark.parametrize("loss", ["exponential", "cross_entropy", "square"])
def test_the_curvature_is_that_of_differences_and_of_lanczos(loss, monkeypatch):
    K = 3 if loss == "cross_entropy" else 1
    network = fully_connected((3, 5, 4, K), bias=True)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((5, 3)), np.arange(5) % 3 if K == 3 else rng.choice([-1.0, 1.0], 5)
    theta, h = network.random_parameters(rng=1), 1e-5
    found = step_limit(network, (X, y), loss, theta)
    shifted = [[loss_gradient(network, (X, y), loss, theta + c * h * e) for e in np.eye(len(theta))] for c in (1, -1)]
    H = (np.array(shifted[0]) - np.array(shifted[1])) / (2 * h)
    largest = np.linalg.eigvalsh((H + H.T) / 2)[-1]
    assert np.isclose(found.limit, 2 / largest, rtol=1e-7) and not found.exact
    monkeypatch.setattr(limit_module, "DENSE", 0)
    assert np.isclose(step_limit(network, (X, y), loss, theta).curvature, found.curvature, rtol=1e-6)


def test_a_step_below_the_descent_limit_never_raises_the_loss():
    rng = np.random.default_rng(0)
    for trial in range(40):
        L, loss = 1 + trial % 4, ("exponential", "logistic", "cross_entropy")[trial % 3]
        K = 3 if loss == "cross_entropy" else 1
        network = deep_linear((2, *[3] * (L - 1), K))
        data = rng.standard_normal((5, 2)), rng.integers(0, 3, 5) if K == 3 else rng.choice([-1.0, 1.0], 5)
        theta = network.random_parameters(rng=rng, scale=0.03 if trial < 8 else rng.uniform(0.2, 2))
        safe = descent_limit(network, data, loss, theta)
        assert safe <= step_limit(network, data, loss, theta).log_limit + 1e-12
        run = descend(network, data, loss, theta, step=np.exp(safe), steps=1, limits=False)
        assert run.loss_increases == 0 and run.log_inverse_loss[1] > run.log_inverse_loss[0]


@pytest.mark.parametrize("L", [1, 2, 3])
def test_the_descent_limit_is_the_schedule_of_lyu_and_li(L):
    # eta Loss = Theta(u^-(2 - 2/L))
    network, rng = deep_linear((2, *[3] * (L - 1), 1)), np.random.default_rng(2)
    X = rng.standard_normal((4, 2)) + np.array([3.0, 0.0])
    y = np.ones(4)
    flow = integrate(network, (X, y), "exponential", network.random_parameters(rng=6), until="log-loss:1e6")
    low, high = (descent_limit(network, (X, y), "exponential", flow.at(log_inverse_loss=u)) - u for u in (1e4, 1e6))
    assert abs((high - low) / np.log(100) + 2 - 2 / L) < 0.02


def test_steps_above_the_limit_and_rises_are_flagged():
    network, data, theta0 = classification(5)
    calm = descend(network, data, "logistic", theta0, step=1e-3, steps=200)
    assert (calm.above_limit, calm.loss_increases, calm.compared) == (0, 0, 200)
    wild = descend(network, data, "logistic", theta0, step=3.0, steps=200)
    assert wild.above_limit > 3 and wild.loss_increases > 3
    assert (
        f"rose in {wild.loss_increases} of 200" in wild.summary() and f"at {wild.above_limit} of 32" in wild.summary()
    )
    u = descend(network, data, "logistic", theta0, step=3.0, steps=200, record=1).log_inverse_loss
    assert wild.loss_increases == (np.diff(u) < -1e-9).sum()
    record = json.loads(json.dumps(wild.to_json(), allow_nan=False))
    assert record["updates"] == 200 and record["above_limit"] == wild.above_limit
    assert record["log_largest_step_over_limit"] > 0 > calm.to_json()["log_largest_step_over_limit"]


def test_an_overflow_is_an_error_that_keeps_the_rows_before():
    network, data, _, _, theta0 = regression(3)
    for options in ({}, {"batch": 2, "rng": 0}):
        with pytest.raises(NotConverged, match="overflow before update") as caught:
            descend(network, data, "square", theta0, step=10.0, steps=5000, **options)
        rows = caught.value.partial
        assert 2 < len(rows.updates) < 130 and np.isfinite(rows.thetas).all()
        assert rows.loss_increases > 1


def test_the_normalised_rule_stops_where_the_gradient_is_zero():
    network = fully_connected((1, 1))
    run = descend(network, ([[1.0]], [1.0]), "square", [0.0], step=0.25, steps=50, step_rule="normalised", record=50)
    assert run.theta[0] == 1.0 and run.updates.tolist() == [0, 4] and "stationary" in run.status.value
