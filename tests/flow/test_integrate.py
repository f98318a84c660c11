"""The integrator as a whole: convergence, certificates, invariances, resuming, and every degenerate problem."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory._errors import InvalidInput, NotConverged
from theory.flow import integrate
from theory.flow.networks import (
    convolutional,
    deep_linear,
    diagonal_linear,
    fully_connected,
    two_layer,
)
from theory.flow.solution import FlowSolution


def problem(seed=0, N=6, d=3, m=8, scale=1.0, **options):
    """Random labels, which a network of this width fits."""
    rng = np.random.default_rng(seed)
    network = two_layer(d, m, **options)
    X, y = rng.standard_normal((N, d)), rng.choice([-1.0, 1.0], N)
    return network, (X, y), network.random_parameters(rng=seed + 1, scale=scale)


def test_errors_fall_with_rtol_through_the_kinks():
    network, data, theta0 = problem(seed=6)
    reference = integrate(network, data, "square", theta0, until=3.0, rtol=1e-13, atol=1e-15)
    assert reference.event_counts["sliding"] >= 4 and reference.event_counts["crossing"] >= 4
    errors = []
    for rtol in (1e-4, 1e-6, 1e-8, 1e-10, 1e-12):
        flow = integrate(network, data, "square", theta0, until=3.0, rtol=rtol, atol=rtol / 100)
        assert flow.event_counts == reference.event_counts
        errors.append(np.abs(flow.theta - reference.theta).max())
        assert errors[-1] < 30 * rtol + 1e-12
    assert errors[3] < errors[0] / 1e4


def test_order_of_the_smooth_segments():
    # the local error is held at rtol: over five decades the steps of DOP853 grow tenfold at most by 10^(1/8) a decade
    network, theta0 = deep_linear((2, 3, 1)), deep_linear((2, 3, 1)).random_parameters(rng=3)
    data = np.random.default_rng(0).standard_normal((4, 2)), np.array([1.0, -1.0, 0.5, 0.2])
    steps = [
        integrate(network, data, "square", theta0, until=3.0, rtol=r, atol=r / 100).steps for r in (1e-5, 1e-9, 1e-13)
    ]
    order = 4 / np.log10(steps[2] / steps[1])
    assert 6.5 < order < 10


def test_certificates_early_and_late():
    for seed in range(3):
        network, data, theta0 = problem(seed=seed)
        early = integrate(network, data, "square", theta0, until=3.0, rtol=1e-9)
        assert early.conservation_drift < 1e-9
        late = integrate(network, data, "exponential", theta0, until="log-loss:1e4", rtol=1e-8)
        assert late.conservation_drift < 1e-7
        assert late.clock_error < 1e-7
        assert abs(late.state.log_inverse_loss / 1e4 - 1) < 1e-7
        assert (np.diff(late.log_inverse_loss) > -1e-9).all() and (np.diff(early.log_inverse_loss) > -1e-9).all()
        separated = late.log_inverse_loss > np.log(2)
        smoothed = late.smoothed_margins()[separated]
        assert (np.diff(smoothed) > -1e-9 * smoothed[1:]).all() and smoothed[-1] > 1.05 * smoothed[0]


@pytest.mark.parametrize("loss", ["logistic", "cross_entropy"])
def test_smoothed_margins_of_the_other_losses_grow(loss):
    rng = np.random.default_rng(4)
    K = 3 if loss == "cross_entropy" else 1
    network = fully_connected((3, 8, K))
    y = np.array([0, 1, 2, 0, 1]) if K == 3 else np.array([1.0, -1, 1, -1, 1])
    flow = integrate(
        network, (rng.standard_normal((5, 3)), y), loss, network.random_parameters(rng=4), until="log-loss:200"
    )
    smoothed = flow.smoothed_margins()[flow.log_inverse_loss > 0.4]
    assert flow.event_counts["sliding"] >= 1
    assert (np.diff(smoothed) > -1e-9).all() and smoothed[-1] > smoothed[0]
    assert (np.diff(flow.log_inverse_loss) > -1e-9).all()
    assert np.abs(flow.margins()[-1] / 200 - 1) < 0.02


def test_rescaled_data_rescale_time():
    # x -> c x, w -> w / c leaves every output alone; w moves at speed c^-2: rescale w by balancing both layers instead
    network, (X, y), theta0 = problem(seed=1)
    c = 1.7
    flow = integrate(network, (X, y), "exponential", theta0, until="log-loss:100", rtol=1e-10)
    # a network of degree 2 on c x: theta -> theta / sqrt(c), t -> t / c is the same flow
    other = integrate(network, (c * X, y), "exponential", theta0 / np.sqrt(c), until="log-loss:100", rtol=1e-10)
    assert np.abs(other.theta * np.sqrt(c) - flow.theta).max() < 1e-7
    assert abs(other.state.log_t + np.log(c) - flow.state.log_t) < 1e-7
    assert other.event_counts == flow.event_counts


def test_resuming_midway_gives_the_same_end():
    network, data, theta0 = problem(seed=0)
    whole = integrate(network, data, "exponential", theta0, until="log-loss:300", rtol=1e-10)
    for middle in ("t:0.7", "log-loss:0.5", "log-loss:20"):
        first = integrate(network, data, "exponential", theta0, until=middle, rtol=1e-10)
        rest = integrate(network, data, "exponential", first.state, until="log-loss:300", rtol=1e-10)
        assert np.abs(rest.theta - whole.theta).max() < 1e-8 * np.abs(whole.theta).max()
        assert abs(rest.state.log_t - whole.state.log_t) < 1e-6
        assert first.state.log_t < rest.log_t[-1] and rest.log_t[0] == first.state.log_t
    slide = next(e for e in whole.events if e.kind == "sliding")
    inside = integrate(network, data, "exponential", theta0, until=float(1.001 * np.exp(slide.log_t)), rtol=1e-10)
    assert inside.state.modes[slide.sample, slide.unit] == 2
    again = integrate(network, data, "exponential", inside.state, until="log-loss:300", rtol=1e-10)
    assert np.abs(again.theta - whole.theta).max() < 1e-8 * np.abs(whole.theta).max()


@pytest.mark.parametrize("share", [0.4, 0.2])
def test_a_double_crossing_inside_one_step_is_caught(share):
    network, (X, y), theta0 = problem(seed=0)
    base = integrate(network, (X, y), "square", theta0, until=2.0, rtol=1e-6)
    times = np.exp(base.log_t)
    quiet = [k for k in range(2, base.steps) if not any(abs(e.step - k) <= 1 for e in base.events)]
    longest = max(quiet, key=lambda k: times[k] - times[k - 1])
    t = times[longest - 1] + (times[longest] - times[longest - 1]) * np.array([0.55 - share / 2, 0.55 + share / 2])
    w = base(t)[:, :24].reshape(2, 8, 3)
    unit = int(np.argmax(np.linalg.norm(np.cross(w[0], w[1]), axis=1)))
    probe = np.cross(w[0, unit], w[1, unit])  # its pre-activation vanishes at both times; too small to disturb the flow
    probe *= 1e-6 / np.linalg.norm(probe)
    flow = integrate(network, (np.vstack([X, probe]), np.append(y, 0.0)), "square", theta0, until=2.0, rtol=1e-6)
    found = [np.exp(e.log_t) for e in flow.events if e.sample == len(X) and e.unit == unit]
    assert [f for f in found if abs(f - t.mean()) < 2 * np.ptp(t)] == pytest.approx(list(t), abs=0.05 * np.ptp(t))


def ends(flow, u):
    assert isinstance(flow, FlowSolution)
    assert abs(flow.state.log_inverse_loss / u - 1) < 1e-6
    assert np.isfinite(flow.theta).all() and flow.conservation_drift < 1e-7
    assert (np.diff(flow.log_inverse_loss) > -1e-9).all()


SMOOTH = [
    deep_linear((3, 1)),
    deep_linear((3, 4, 2, 1)),
    two_layer(3, 5, activation="quadratic"),
    two_layer(3, 8, activation="relu^2"),
    diagonal_linear(3),
    diagonal_linear(3, depth=3),
]
KINKED = [
    convolutional((1, 3), (3,), 2),
    two_layer(3, 6, bias="first"),
    two_layer(3, 6, bias=True),
    two_layer(3, 6, activation="leaky_relu", slope=0.1),
    fully_connected((3, 5, 4, 1)),
]


@pytest.mark.parametrize("network", SMOOTH + KINKED, ids=lambda n: f"{n.name} {n.n_parameters}")
def test_every_network(network):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((5, 3))
    theta0 = network.random_parameters(rng=3)
    flow = integrate(network, (X, np.sign(X[:, 0])), "exponential", theta0, until="log-loss:100")
    ends(flow, 100)
    squared = integrate(network, (X, X[:, 1]), "square", theta0, until=1.0)
    assert (np.diff(squared.log_inverse_loss) > -1e-9).all() and squared.conservation_drift < 1e-8
    assert network.activation.has_kink or not (flow.events or squared.events)


def test_duplicate_samples_are_a_weight():
    network, (X, y), theta0 = problem(seed=0, N=4)
    twice = integrate(network, (np.vstack([X, X]), np.append(y, y)), "exponential", theta0, until=1.0, rtol=1e-10)
    once = integrate(network, (X, y), "exponential", theta0, until=2.0, rtol=1e-10)  # twice the loss: half the time
    assert np.abs(twice.theta - once.theta).max() < 1e-8


def test_duplicate_units_stay_equal():
    network, data, theta0 = problem(seed=3)
    views = network.views(theta0)
    views["W1"][1], views["W2"][:, 1] = views["W1"][0], views["W2"][:, 0]
    flow = integrate(network, data, "exponential", theta0, until="log-loss:50")
    after = network.views(flow.theta)
    assert np.array_equal(after["W1"][1], after["W1"][0]) and np.array_equal(after["W2"][:, 1], after["W2"][:, 0])
    ends(flow, 50)


def test_a_zero_input_does_nothing():
    network, (X, y), theta0 = problem(seed=0, N=4)
    plain = integrate(network, (X, y), "square", theta0, until=2.0, rtol=1e-10)
    zero = integrate(network, (np.vstack([X, np.zeros(3)]), np.append(y, 0.5)), "square", theta0, until=2.0, rtol=1e-10)
    assert np.abs(plain.theta - zero.theta).max() < 1e-9
    assert zero.event_counts == plain.event_counts


def test_dead_units_stay_and_a_dead_network_is_stationary():
    network, (X, y), theta0 = problem(seed=0)
    X = np.abs(X)
    views = network.views(theta0)
    views["W1"][2] = -np.abs(views["W1"][2])
    flow = integrate(network, (X, y), "square", theta0, until=1.0)
    after = network.views(flow.theta)
    assert np.array_equal(after["W1"][2], views["W1"][2]) and after["W2"][0, 2] == views["W2"][0, 2]
    for until in ("t:5", "log-loss:10", "stationary", "margin-converged"):
        dead = integrate(network, (X, y), "exponential", -np.abs(theta0), until=until)
        assert dead.status.name == "STATIONARY" and dead.steps == 0
        assert "stationary" in dead.status.value


@pytest.mark.parametrize(("N", "d", "m"), [(1, 3, 4), (5, 1, 4), (1, 1, 1)])
def test_the_smallest_problems(N, d, m):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((N, d))
    network = two_layer(d, m)
    theta0 = np.abs(network.random_parameters(rng=2))
    theta0[: m * d] *= np.resize([1, -1], m * d) if N > 1 else np.sign(np.resize(X[0], m * d))
    theta0[m * d :] *= np.resize([1, -1], m) if N > 1 else 1
    ends(
        integrate(network, (X, np.sign(X[:, 0]) if N > 1 else np.ones(1)), "exponential", theta0, until="log-loss:1e3"),
        1e3,
    )


def test_a_finite_minimum_is_found_stationary():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((18, 3)), rng.choice([-1.0, 1.0], 18)
    network = deep_linear((3, 1))
    flow = integrate(network, (X, y), "exponential", np.full(3, 0.1), until="stationary", max_steps=2000)
    assert flow.status.name == "STATIONARY"
    p = np.exp(-y * (X @ flow.theta))
    assert np.abs((p * y) @ X).max() < 1e-6 * p.sum()


def test_margin_converged_stops_when_the_margin_does():
    network, data = deep_linear((3, 4, 1)), problem(seed=0, N=3)[1]
    flow = integrate(network, data, "exponential", network.random_parameters(rng=0))
    assert flow.status.name == "MARGIN"
    u, margin = flow.log_inverse_loss, flow.normalized_margins()
    assert abs(np.interp(u[-1] / 2, u, margin) / margin[-1] - 1) < 1.5e-6
    further = integrate(network, data, "exponential", flow.state, until=f"log-loss:{u[-1] * 100:g}")
    assert abs(further.normalized_margins()[-1] / margin[-1] - 1) < 1e-5


def test_max_steps_hands_back_what_there_is():
    network, data, theta0 = problem(seed=0)
    with pytest.raises(NotConverged, match="max_steps") as caught:
        integrate(network, data, "exponential", theta0, until="log-loss:1e4", max_steps=12)
    partial = caught.value.partial
    assert isinstance(partial, FlowSolution) and 12 <= partial.steps <= 13
    done = integrate(network, data, "exponential", partial.state, until="log-loss:30", rtol=1e-8)
    whole = integrate(network, data, "exponential", theta0, until="log-loss:30", rtol=1e-8)
    assert np.abs(done.theta - whole.theta).max() < 1e-6


def test_the_callback_sees_every_step_and_inputs_are_left_alone():
    network, (X, y), theta0 = problem(seed=0)
    copies = X.copy(), y.copy(), theta0.copy()
    seen = []
    flow = integrate(network, (X, y), "square", theta0, until=1.0, callback=lambda step, u: seen.append((step, u)))
    assert [step for step, _ in seen][-1] == flow.steps and seen[-1][1] == flow.log_inverse_loss[-1]
    assert all(np.array_equal(a, b) for a, b in zip(copies, (X, y, theta0), strict=True))


@given(st.integers(0, 10_000))
def test_no_small_problem_breaks(seed):
    rng = np.random.default_rng(seed)
    N, d, m = int(rng.integers(1, 4)), int(rng.integers(1, 4)), int(rng.integers(1, 4))
    loss = str(rng.choice(["exponential", "logistic", "square"]))
    network = two_layer(d, m, bias=bool(rng.integers(2)) and "first")
    X = rng.integers(-2, 3, (N, d)) / 2.0 if rng.integers(2) else rng.standard_normal((N, d))
    y = rng.choice([-1.0, 1.0], N)
    theta0 = network.random_parameters(rng=seed, scale=float(10 ** rng.uniform(-2, 0.5)))
    until = "t:1" if loss == "square" or rng.integers(2) else "log-loss:20"
    try:
        flow = integrate(network, (X, y), loss, theta0, until=until, rtol=1e-6, max_steps=150)
    except NotConverged as error:
        flow = error.partial
    except InvalidInput as error:  # half-integer points coincide, or are multiples of each other
        assert until != "t:1" and ("separates" in str(error) or "is zero" in str(error))
        return
    assert np.isfinite(flow.thetas).all()
    loss_values = np.exp(-flow.log_inverse_loss)  # where the square loss is fitted, rounding of 1e-16 is left
    assert (np.diff(loss_values) <= 1e-7 * loss_values[:-1] + 1e-13).all()
    assert (np.diff(flow.log_t) >= 0).all()
    assert flow.conservation_drift < 1e-4
