"""Discrete algorithms against the flow: the order of their error, the shared record, the phase of tiny losses."""

import numpy as np
import pytest

from tests.flow._algorithm_problems import classification
from theory.flow import descend, diagnose, fully_connected, integrate, two_layer
from theory.flow.losses import as_loss

CROSSING = (21, 33, 36, 47, 88, 106)  # the first six from 0 on with two crossings or more and no sliding until t = 1


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_the_error_to_a_smooth_flow_is_of_order_one(momentum):
    network = fully_connected((3, 4, 1), activation="quadratic")
    rng = np.random.default_rng(1)
    data, theta0 = (rng.standard_normal((6, 3)), rng.standard_normal(6)), network.random_parameters(rng=2, scale=0.7)
    flow = integrate(network, data, "square", theta0, until=1.0, rtol=1e-12, atol=1e-14)
    errors = [
        np.linalg.norm(
            descend(
                network, data, "square", theta0, step=(1 - momentum) / n, steps=n, momentum=momentum, limits=False
            ).theta
            - flow.theta
        )
        for n in (2000, 4000, 8000)
    ]
    ratios = np.array(errors[:-1]) / errors[1:]
    assert (np.abs(ratios - 2) < 0.1).all() and errors[0] > 1e-6


def test_the_error_to_a_kinked_flow_is_of_order_one():
    # where in a step a kink is met is arbitrary, so that a single ratio is 2 only on average
    steps, rates = np.array([250, 400, 640, 1000, 1600, 2560]), []
    for seed in CROSSING:
        rng, network = np.random.default_rng(seed), two_layer(2, 5)
        data, theta0 = (rng.standard_normal((4, 2)), rng.standard_normal(4)), network.random_parameters(rng=seed)
        flow = integrate(network, data, "square", theta0, until=1.0, rtol=1e-11, atol=1e-13)
        assert set(flow.event_counts) == {"crossing"} and flow.event_counts["crossing"] >= 2
        errors = [
            np.linalg.norm(
                descend(network, data, "square", theta0, step=1 / n, steps=n, limits=False, record=int(n)).theta
                - flow.theta
            )
            for n in steps
        ]
        rates.append(-np.polyfit(np.log(steps), np.log(errors), 1)[0])
    assert abs(np.mean(rates) - 1) < 0.05 and np.ptp(rates) < 0.4


def test_decay_follows_the_flow_with_decay():
    network, data, theta0 = classification(11)
    flow = integrate(network, data, "logistic", theta0, until=1.0, weight_decay=0.2, rtol=1e-10)
    run = descend(network, data, "logistic", theta0, step=1e-4, steps=10_000, weight_decay=0.2)
    assert np.abs(run.theta - flow.theta).max() < 1e-3
    assert abs(run.log_inverse_loss[-1] - flow.log_inverse_loss[-1]) < 1e-3  # both with the penalty
    assert run.conservation_drift < 1e-3 and run.to_json()["weight_decay"] == 0.2


def test_the_record_serves_what_a_flow_serves():
    from theory.plots import flow_kkt, flow_loss, flow_margin

    network, data, theta0 = classification(12)
    flow = integrate(network, data, "exponential", theta0, until="log-loss:30")
    run = descend(network, data, "exponential", theta0, step=2e-3, steps=8000, step_rule="loss-scaled")
    assert run.log_inverse_loss[-1] > 20
    ax = flow_margin(run, flow_margin(flow))
    assert len(ax.lines) >= 4
    flow_loss(run, flow_loss(flow))
    flow_kkt(run, points=4)
    at_run, at_flow = diagnose(run, points=6), diagnose(flow, points=6)
    assert at_run.margin_violation < 1e-9 and at_run.conservation_drift[-1] < 0.02
    assert np.abs(at_run.flow_eps - at_run.eps_identity).max() < 1e-9
    assert 0.9 < at_run.normalized_margin[-1] / at_flow.normalized_margin[-1] < 1.1
    np.testing.assert_array_equal(run.modes(3), network.preactivations(run.thetas[3], data[0]) > 0)


@pytest.mark.parametrize("rule", ["loss-scaled", "normalised", lambda k, u: np.exp(0.5 * u) / (1 + k)])
@pytest.mark.parametrize("loss", ["exponential", "logistic", "cross_entropy"])
def test_scaled_steps_are_constant_steps_of_their_size(loss, rule):
    K = 3 if loss == "cross_entropy" else 1
    network = two_layer(3, 8, K)
    rng = np.random.default_rng(3)
    data = rng.standard_normal((6, 3)), np.arange(6) % 3 if K == 3 else rng.choice([-1.0, 1.0], 6)
    theta0 = network.random_parameters(rng=4)
    for options in ({}, {"batch": 4, "rng": 1}, {"momentum": 0.8, "nesterov": True}, {"weight_decay": 1e-3}):
        run = descend(network, data, loss, theta0, step=0.002, steps=80, step_rule=rule, record=1, **options)
        same = descend(network, data, loss, theta0, step=np.exp(run.log_step[:-1]), record=1, **options)
        assert np.abs(run.thetas - same.thetas).max() < 1e-10
        assert np.allclose(run.log_t[1:], same.log_t[1:], rtol=0, atol=1e-12)
        assert np.ptp(run.log_step) > 0.02


@pytest.mark.parametrize("u", [1e3, 1e4])
def test_a_loss_that_no_float_holds_goes_on_falling(u):
    network, data, theta0 = classification(0)
    flow = integrate(network, data, "exponential", theta0, until=f"log-loss:{u:g}")
    speed = network.vjp(
        flow.theta, data[0], as_loss("exponential").log_slope(network.output(flow.theta, data[0]), data[1])
    )
    step = 1e-3 / float(speed @ speed)  # u gains 1e-3 a step
    run = descend(network, data, "exponential", flow.state, step=step, steps=500, step_rule="loss-scaled", record=1)
    gain = np.diff(run.log_inverse_loss)
    assert (gain > 0).all() and abs(gain.mean() - 1e-3) < 2e-4 and run.loss_increases == 0 and not run.stalled
    assert np.allclose(run.log_step, np.log(step) + run.log_inverse_loss, rtol=1e-15)
    assert abs(run.log_t[0] - flow.log_t[-1]) == 0
    assert abs(run.log_t[-1] - flow.log_t[-1]) < 1 and run.log_t[-1] > run.log_t[0]
    unit = descend(network, data, "exponential", flow.state, step=1e-3, steps=50, step_rule="normalised", record=1)
    moved = np.linalg.norm(np.diff(unit.thetas, axis=0), axis=1)
    assert np.allclose(moved, 1e-3, rtol=1e-9)
    frozen = descend(network, data, "exponential", flow.state, step=0.1, steps=5)
    assert frozen.stalled and "rounding" in frozen.summary()
