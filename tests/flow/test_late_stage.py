"""Normalised SGD iterates: criticality against a quadratic program, and its fall on runs with batches."""

import json
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from scipy.optimize import minimize

from theory import InvalidInput, NotConverged, PreconditionError
from theory.flow import descend, fully_connected, integrate, late_stage, limit_direction, linear_max_margin, two_layer
from theory.flow.late_stage import _ratio

DATA = np.array([[1.0, 0.2], [0.3, 2.0], [1.0, 1.0], [-2.0, 0.5]]), np.array([1.0, -1.0, 1.0, -1.0])


def linear_run(**options):
    network = fully_connected((2, 1), activation="linear")
    return descend(network, DATA, "logistic", [0.0, 1.0], **{"step": 0.2, "steps": 4000, "rng": 0} | options)


def relu_run(**options):
    rng = np.random.default_rng(3)
    network, data = two_layer(3, 10), (rng.standard_normal((6, 3)), rng.choice([-1.0, 1.0], 6))
    start = network.random_parameters(rng=1)
    return descend(network, data, "logistic", start, **{"step": 0.05, "steps": 4000, "rng": 0} | options)


@pytest.mark.parametrize("batch", [1, 2, None])
def test_linear_sgd_turns_to_the_widest_margin(batch):
    late = late_stage(linear_run(batch=batch))
    best = linear_max_margin(*DATA)
    np.testing.assert_allclose(late.limit.direction, best.direction, atol=1e-10)
    np.testing.assert_allclose(np.cos(late.distance), late.directions @ best.direction, atol=1e-12)
    assert late.outside == () and late.approaches
    assert late.distance_ratio < 0.6 and late.criticality_ratio < 0.6
    assert late.normalized_margins[-1] > 0.9 * best.margin >= late.normalized_margins[0]


@pytest.mark.parametrize("k", [0, 15, -1])
def test_criticality_is_the_least_value_of_its_program(k):
    run = linear_run(batch=1)
    late = late_stage(run)
    V, theta = DATA[1][:, None] * DATA[0], run.thetas[late.steps[k]]
    theta = theta / (V @ theta).min()

    def value(lam):
        r = theta - V.T @ lam
        return 0.5 * r @ r + lam @ (V @ theta - 1), -V @ r + V @ theta - 1

    best = minimize(value, np.ones(4), jac=True, bounds=[(0, None)] * 4, method="L-BFGS-B", tol=1e-15)
    expected = best.fun / (0.5 * theta @ theta)
    assert late.criticality[k] == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert late.criticality_lower[k] <= expected * (1 + 1e-6) + 1e-9


@pytest.mark.parametrize("batch", [1, 3])
def test_relu_sgd_comes_nearer_to_the_critical_points(batch):
    run = relu_run(batch=batch)
    late = late_stage(run)
    assert late.approaches and late.criticality_ratio < 0.8
    assert (late.criticality_lower <= late.criticality + 1e-12).all() and (late.criticality <= 1 + 1e-12).all()
    margins = run.margins()
    assert (margins[late.steps[0] :] > 0).all() and late.steps[0] > 0 and not margins[late.steps[0] - 1] > 0
    np.testing.assert_array_equal(late.updates, run.updates[late.steps])


def test_only_directions_count():
    run = relu_run(batch=2)
    one, two = late_stage(run), late_stage(replace(run, thetas=3 * run.thetas))
    np.testing.assert_allclose(two.criticality, one.criticality, rtol=1e-7)
    np.testing.assert_allclose(two.normalized_margins, one.normalized_margins, rtol=1e-12)
    np.testing.assert_allclose(two.distance, one.distance, atol=1e-12)


def test_a_critical_point_has_criticality_zero_and_reversal_does_not_approach():
    run = linear_run(batch=1)
    limit = late_stage(run).limit
    late = late_stage(replace(run, thetas=np.concatenate([run.thetas[:-1], 7 * limit.theta[None]])), limit=limit)
    assert late.criticality[-1] < 1e-12 and late.distance[-1] < 1e-7 < late.criticality[-2]
    kept = late.steps[0]
    back = replace(run, thetas=np.concatenate([run.thetas[:kept], run.thetas[kept:][::-1]]))
    turned = late_stage(back, limit=limit)
    assert not turned.approaches and "DO NOT approach" in turned.summary()


def test_a_flow_goes_on_to_where_sgd_with_small_steps_goes():
    run = linear_run(step=0.05)
    flow = integrate(run.network, DATA, "logistic", run.thetas[0], until="log-loss:1e4")
    limit = limit_direction(run.network, *DATA, "logistic", flow.theta)
    late, late_flow = late_stage(run, limit=limit), late_stage(flow)
    assert late.distance_ratio < 1 and late_flow.distance[-1] < 1e-3 and late_flow.criticality[-1] < 1e-3
    assert late_flow.outside == ("a flow, not SGD",)


def test_what_the_theorem_does_not_cover_is_named():
    late = late_stage(linear_run(step_rule="loss-scaled", momentum=0.5, steps=200))
    assert late.outside == ("steps that are not constant", "momentum")
    assert "outside the theorem" in late.summary()
    network, X = fully_connected((2, 3), activation="linear"), np.array([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]])
    run = descend(network, (X, [0, 1, 2]), "cross_entropy", np.zeros(6), steps=300, batch=1, rng=0)
    assert late_stage(run).outside == ("several classes",)


def test_without_a_limit_it_says_why(monkeypatch):
    def gives_up(*_):
        raise NotConverged("the KKT system was not solved")

    monkeypatch.setattr(import_module("theory.flow.late_stage"), "limit_direction", gives_up)
    late = late_stage(linear_run(batch=1))
    assert late.limit is None and late.distance is None and late.distance_ratio is None
    assert "not solved" in late.summary() and late.approaches == (late.criticality_ratio < 1)
    assert json.loads(json.dumps(late.to_json(), allow_nan=False))["why_no_limit"] == "the KKT system was not solved"


def test_the_record_is_plain():
    late = late_stage(linear_run(batch=1), rows=12)
    record = json.loads(json.dumps(late.to_json()))
    assert len(record["criticality"]) == len(late.steps) <= 12 and record["approaches"] is True
    assert "approach the critical points" in late.summary() and late.steps[-1] == len(linear_run().thetas) - 1
    assert _ratio(np.zeros(4)) == 0 and _ratio(np.array([0.0, 1.0, 1.0])) == np.inf
    assert _ratio(np.array([4.0, 4.0, 9.0, 9.0, 1.0, 1.0])) == 0.25


def test_refusals():
    run = linear_run(steps=50)
    with pytest.raises(InvalidInput, match="at least 3"):
        late_stage(run, rows=2)
    with pytest.raises(PreconditionError, match="weight decay"):
        late_stage(linear_run(weight_decay=0.1, steps=50))
    with pytest.raises(PreconditionError, match="stay separated for 0"):
        late_stage(linear_run(step=1e-6, steps=50))
    square = descend(run.network, DATA, "square", [0.0, 1.0], step=0.01, steps=50)
    with pytest.raises(PreconditionError, match="exponential tail"):
        late_stage(square)
    biased = fully_connected((2, 2, 1), bias=True)
    with pytest.raises(PreconditionError, match="homogeneous"):
        late_stage(descend(biased, DATA, "logistic", np.ones(9), step=0.01, steps=50))
    with pytest.raises(InvalidInput, match="parameters"):
        late_stage(run, limit=late_stage(relu_run()).limit)
