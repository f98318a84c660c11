"""Tangent margins against convex programs and KKT points; the bound of the movement; angles."""

import json
from dataclasses import replace
from importlib import import_module
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import InvalidInput, NotConverged, PreconditionError
from theory.flow import (
    descend,
    fully_connected,
    integrate,
    limit_direction,
    linear_max_margin,
    low_rotation,
    norm_max_margin,
    tangent_margin,
    two_layer,
)
from theory.flow.low_rotation import angles


def problem(seed=0, N=5, d=3, m=12, K=1, **options):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, d))
    y = rng.choice([-1.0, 1.0], N) if K == 1 else np.arange(N) % K
    network = fully_connected((d, m, K), **options)
    return network, X, y, network.random_parameters(rng=seed + 1)


@pytest.mark.parametrize("bias", [False, True])
def test_the_tangent_margin_is_the_convex_program_on_the_jacobian(bias):
    network, X, y, theta = problem(bias=bias)
    found = tangent_margin(network, X, y, "logistic", theta)
    features = network.jacobian(theta, X)[:, 0]
    assert found.margin == pytest.approx(norm_max_margin(features, y, "l2").margin, rel=1e-6)
    assert found.certificate.relative_gap < 1e-9
    moved = [(network.output(theta + h * found.direction, X)[:, 0] - network.output(theta, X)[:, 0]) for h in (1e-6,)]
    assert (y * moved[0]).min() / 1e-6 == pytest.approx(found.margin, rel=1e-4)


def test_several_classes_take_differences_of_outputs():
    network, X, y, theta = problem(K=3)
    J = network.jacobian(theta, X)
    rows = np.array([J[n, y[n]] - J[n, k] for n in range(len(X)) for k in range(3) if k != y[n]])
    expected = norm_max_margin(rows, np.ones(len(rows)), "l2").margin
    assert tangent_margin(network, X, y, "cross_entropy", theta).margin == pytest.approx(expected, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), widths=st.sampled_from([(3, 1), (3, 6, 1), (3, 4, 4, 1)]))
def test_it_is_at_least_the_margin_of_a_homogeneous_network(seed, widths):
    rng = np.random.default_rng(seed)
    network, X = fully_connected(widths), rng.standard_normal((4, 3))
    theta = rng.standard_normal(network.n_parameters)
    f = network.output(theta, X)[:, 0]
    if not (np.abs(f) > 1e-6).all():
        return
    gamma = tangent_margin(network, X, np.sign(f), "exponential", theta).margin
    assert gamma >= network.degree * np.abs(f).min() / np.linalg.norm(theta) * (1 - 1e-9)


@pytest.mark.parametrize("seed", [2, 3, 6])
def test_both_meet_just_at_kkt_points(seed):
    network, X, y, theta0 = problem(seed)
    flow = integrate(network, (X, y), "exponential", theta0, until="log-loss:1e5")
    limit = limit_direction(network, X, y, "exponential", flow.theta, modes=flow.state.modes)
    gamma = tangent_margin(network, X, y, "exponential", limit.theta, limit.modes).margin
    assert gamma == pytest.approx(2 / np.linalg.norm(limit.theta), rel=1e-9)
    early = flow.at(log_inverse_loss=3.0)
    q = (y * network.output(early, X)[:, 0]).min()
    gamma = tangent_margin(network, X, y, "exponential", early).margin
    assert q > 0 and gamma > 1.02 * 2 * q / np.linalg.norm(early)


def test_a_unit_on_its_kink_counts_with_both_slopes():
    network, X = two_layer(2, 2), np.array([[1.0, 1.0], [0.2, 3.0]])
    theta = network.pack(W1=[[1.0, -1.0], [0.5, 1.0]], W2=[[2.0, 1.0]])  # the first unit is 0 on the first sample
    found = tangent_margin(network, X, [1, 1], "exponential", theta)
    slopes = np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    rows = network.jacobian(theta, X[[0, 0, 1]], slopes)[:, 0]
    assert found.weights.shape == (3,)
    assert found.margin == pytest.approx(linear_max_margin(rows, np.ones(3)).margin, rel=1e-12)
    assert found.margin < linear_max_margin(rows[1:], np.ones(2)).margin * (1 - 1e-3)  # the other side alone has more
    theta[0] += 1e-8  # off the kink, but the modes know better
    near = tangent_margin(network, X, [1, 1], "exponential", theta, modes=[[2, 1], [0, 1]])
    assert near.weights.shape == (3,) and near.margin == pytest.approx(found.margin, rel=1e-6)


def test_rows_take_the_modes_of_the_flow():
    network, X, y, theta0 = problem(1, N=6)
    flow = integrate(network, (X, y), "exponential", theta0, until="log-loss:200")
    assert sum((flow.modes(k) == 2).any() for k in range(flow.steps)) > 20
    found = low_rotation(flow, rows=20)
    noise = 1e-9 * np.random.default_rng(0).standard_normal(flow.thetas.shape)
    noise[0] = 0
    np.testing.assert_allclose(low_rotation(replace(flow, thetas=flow.thetas + noise), rows=20).tangent_margins,
                               found.tangent_margins, rtol=1e-6)  # fmt: skip


def test_an_interior_point_takes_over_where_active_sets_fail(monkeypatch):
    def gives_up(*_):
        raise NotConverged("the margin is known to 3.6e-04 only.")

    network, X, y, theta = problem()
    sure = tangent_margin(network, X, y, "logistic", theta)
    monkeypatch.setattr(import_module("theory.flow.low_rotation"), "linear_max_margin", gives_up)
    found = tangent_margin(network, X, y, "logistic", theta)
    assert found.margin == pytest.approx(sure.margin, rel=1e-6) and found.certificate.method.startswith("dual norm")


def test_the_bound_is_attained_where_the_features_do_not_change():
    network = fully_connected((2, 1), activation="linear")
    flow = integrate(network, (np.eye(2), [1, 1]), "exponential", [0.0, 0.0], until="log-loss:50")
    found = low_rotation(flow)
    assert found.lazy == len(found.steps) and found.feature_change.max() == 0
    np.testing.assert_allclose(found.bound, found.movement, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.lazy_bound, 2 * found.movement, rtol=1e-6, atol=1e-9)
    # w = a (1, 1): log(1/Loss) = a - log 2, movement = sqrt(2) a
    np.testing.assert_allclose(found.movement, np.sqrt(2) * (found.log_inverse_loss + np.log(2)), rtol=1e-6, atol=1e-9)
    assert found.neuron_rotation.shape == (len(found.steps), 0) and found.largest_neuron_rotation is None


@pytest.mark.parametrize("loss", ["exponential", "logistic", "cross_entropy"])
@pytest.mark.parametrize("seed", [1, 2])
def test_no_flow_moves_farther_than_its_tangent_margins_allow(loss, seed):
    network, X, y, theta0 = problem(seed, K=3 if loss == "cross_entropy" else 1, N=6)
    flow = integrate(network, (X, y), loss, theta0, until="log-loss:200")
    found = low_rotation(flow, rows=400)
    assert found.exact_flow and found.holds and 0.4 < found.tightness <= 1
    least = np.array([min(pair) for pair in pairwise(found.tangent_margins)])
    assert (np.diff(found.path) * least <= np.diff(found.smoothed) * (1 + 1e-6)).all()
    assert (found.movement <= found.path * (1 + 1e-12)).all()
    assert not replace(found, bound=found.bound / 3).holds
    assert not replace(found, lazy=len(found.steps), lazy_bound=found.lazy_bound / 1e3).holds


def test_a_wide_network_stays_lazy_and_turns_less():
    turned, shares = [], []
    for m in (8, 800):
        network, X, y, _ = problem(3, m=m)
        rng = np.random.default_rng(0)
        half, signs = rng.standard_normal((m // 2, 3)), rng.choice([-1.0, 1.0], m // 2)  # f = 0 at the start
        theta0 = network.pack(W1=np.concatenate([half, half]), W2=[np.append(signs, -signs)])
        found = low_rotation(integrate(network, (X, y), "logistic", theta0, until="log-loss:2"))
        assert found.holds
        turned.append(found.rotation[-1])
        shares.append(found.lazy / len(found.steps))
    assert turned[1] < turned[0] / 4 and shares[1] == 1 and shares[0] < 1


def test_steps_too_large_break_the_bound_and_it_says_so():
    network = fully_connected((2, 1), activation="linear")
    data = np.array([[1.0, 0.0], [-0.9, 0.1]]), [1.0, 1.0]
    run = descend(network, data, "logistic", [0.0, 0.0], step=30.0, steps=40, batch=1, rng=0, record=1)
    found = low_rotation(run)
    assert not found.exact_flow and not found.holds and "DO NOT hold" in found.summary()
    small = low_rotation(descend(network, data, "logistic", [0.0, 0.0], step=1e-3, steps=400, record=1))
    assert small.holds and "discrete" in small.summary()


def test_rotation_is_the_angle():
    network, X, y, theta0 = problem(4)
    flow = integrate(network, (X, y), "exponential", theta0, until="log-loss:20")
    found = low_rotation(flow)
    W, start = network.views(flow.theta)["W1"], network.views(flow.thetas[0])["W1"]
    cosines = (W * start).sum(1) / np.linalg.norm(W, axis=1) / np.linalg.norm(start, axis=1)
    np.testing.assert_allclose(np.cos(found.neuron_rotation[-1]), cosines, atol=1e-12)
    whole = flow.theta @ flow.thetas[0] / np.linalg.norm(flow.theta) / np.linalg.norm(flow.thetas[0])
    assert np.cos(found.rotation[-1]) == pytest.approx(whole, abs=1e-12)
    assert found.rotation[0] == 0 and found.largest_neuron_rotation == found.neuron_rotation[-1].max() > 0
    assert angles(np.array([1.0, 1e-12]), np.array([3.0, 0.0])) == pytest.approx(1e-12, rel=1e-9)
    assert angles(np.array([-2.0, 0.0]), np.array([1.0, 0.0])) == pytest.approx(np.pi)
    assert np.isnan(angles(np.zeros(2), np.ones(2)))


def test_the_record_is_plain_and_infinite_bounds_are_none():
    network, X, y, theta0 = problem(5)
    found = low_rotation(integrate(network, (X, y), "exponential", theta0, until="log-loss:20"))
    stopped = replace(found, bound=np.append(found.bound[:-1], np.inf))
    record = json.loads(json.dumps(stopped.to_json(), allow_nan=False))
    assert record["bound"][-1] is None and record["holds"] is True and len(repr(found)) < 700
    assert "bounds hold" in found.summary()


def test_refusals():
    network, X, y, theta = problem()
    with pytest.raises(PreconditionError, match="exponential tail"):
        tangent_margin(network, X, y, "square", theta)
    linear = fully_connected((1, 1), activation="linear")
    with pytest.raises(PreconditionError, match="separates"):
        tangent_margin(linear, [[1.0], [2.0]], [1, -1], "exponential", [1.0])
    many = fully_connected((2, 9, 1))
    with pytest.raises(PreconditionError, match="9 units on their kinks"):
        tangent_margin(many, [[1.0, 0.0]], [1], "exponential", many.pack(W1=[[0.0, 1.0]] * 9, W2=np.ones((1, 9))))
    run = descend(network, (X, y), "logistic", theta, steps=5, weight_decay=0.1)
    with pytest.raises(PreconditionError, match="weight decay"):
        low_rotation(run)
    with pytest.raises(InvalidInput, match="at least 2"):
        low_rotation(descend(network, (X, y), "logistic", theta, steps=5), rows=1)
