"""One flow in several clocks, and the dense solution in t, log t and log(1/Loss)."""

import numpy as np
import pytest

from theory._errors import InvalidInput
from theory.flow import integrate
from theory.flow.networks import deep_linear, two_layer


@pytest.fixture(scope="module")
def setting():
    rng = np.random.default_rng(1)
    network = two_layer(3, 8)
    data = rng.standard_normal((6, 3)), rng.choice([-1.0, 1.0], 6)
    return network, data, network.random_parameters(rng=2)


@pytest.fixture(scope="module")
def late(setting):
    network, data, theta0 = setting
    return integrate(network, data, "exponential", theta0, until="log-loss:1e3", rtol=1e-10)


def test_clocks_agree_at_a_common_time(setting, late):
    network, data, theta0 = setting
    t = 40.0
    plain = integrate(network, data, "exponential", theta0, until=t, clock="t", rtol=1e-11)
    tau = integrate(network, data, "exponential", theta0, until=f"t:{t}", clock="loss-normalised", rtol=1e-11)
    assert [name for name, _ in plain.phases] == ["t"]
    assert [name for name, _ in tau.phases] == ["loss-normalised"]
    assert [name for name, _ in late.phases] == ["loss-normalised", "log-log"]
    assert plain.event_counts["sliding"] >= 2 and plain.log_inverse_loss[-1] > 1.5
    assert np.abs(plain.theta - tau.theta).max() < 1e-8
    assert np.abs(plain.theta - late(t)).max() < 1e-7
    assert plain.state.log_t == pytest.approx(np.log(t), abs=1e-14)
    assert tau.state.log_t == pytest.approx(np.log(t), abs=1e-9)


def test_the_switch_of_phase_is_at_ten_and_recorded(late):
    (_, first), (_, second) = late.phases
    assert first == 0 and second > 0
    assert late.log_inverse_loss[second - 2] < 10 <= late.log_inverse_loss[second - 1]  # step k ends at index k
    assert (late.margins()[second:] > 0).all()


def test_the_dense_solution_is_one_function_of_three_arguments(late):
    levels = np.array([-0.2, 0.6, 1.0, 5.0, 123.4, 999.0])
    levels = levels[levels > late.log_inverse_loss[0]]
    by_level = late.at(log_inverse_loss=levels)
    u = [late.loss.log_inverse(late.network.output(theta, late.X), late.y) for theta in by_level]
    assert np.abs(np.array(u) / levels - 1).max() < 1e-8
    times = np.geomspace(1e-3, 1e3, 9)
    assert np.array_equal(late(times), late.at(log_t=np.log(times)))
    assert np.array_equal(late(0.0), late.thetas[0]) and np.array_equal(late.at(log_t=late.log_t[-1]), late.theta)
    for step in (1, late.steps // 2, late.steps - 1):
        assert np.abs(late.at(log_t=late.log_t[step]) - late.thetas[step]).max() < 1e-12
        between = 0.5 * (late.log_t[step] + late.log_t[step + 1])
        theta = late.at(log_t=between)
        level = late.loss.log_inverse(late.network.output(theta, late.X), late.y)
        assert np.abs(late.at(log_inverse_loss=level) - theta).max() < 1e-7 * np.abs(theta).max()
    assert late.at(log_t=np.zeros((2, 3))).shape == (2, 3, late.network.n_parameters)


def test_the_velocity_of_the_dense_solution_is_the_gradient(late):
    for t in (0.3, 2.0, 20.0):
        h = 1e-4 * t
        if any(abs(np.exp(e.log_t) - t) < 3 * h for e in late.events):
            continue
        moved = (late(t + h) - late(t - h)) / (2 * h)
        f = late.network.output(late(t), late.X)
        step = int(np.searchsorted(late.log_t, np.log(t)))
        if not (late.modes(step - 1) == 2).any():
            assert np.abs(moved - late.network.vjp(late(t), late.X, late.loss.slope(f, late.y))).max() < 1e-6
    assert not (late.modes(0) == 2).any()


def test_log_time_past_every_float():
    network = deep_linear((2, 2, 1))
    data = [[1.0, 0.5], [0.2, 1.0]], [1.0, 1.0]
    flow = integrate(network, data, "logistic", network.random_parameters(rng=0), until="log-t:1e6", rtol=1e-12)
    u, L = flow.log_inverse_loss[-1], 2
    margin = flow.normalized_margins()[-1]
    # t Loss (log t)^(2 - 2/L) -> 1 / (L^2 margin^(2/L))
    assert flow.state.log_t == pytest.approx(1e6, rel=1e-12)
    constant = flow.state.log_t - u + (2 - 2 / L) * np.log(flow.state.log_t)
    assert constant == pytest.approx(-2 * np.log(L) - 2 / L * np.log(margin), abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one"),
        ({"log_t": 0.0, "log_inverse_loss": 1.0}, "exactly one"),
        ({"log_t": 1e9}, "must be between"),
        ({"log_inverse_loss": 1e4}, "must be between"),
        ({"log_inverse_loss": -1e4}, "must be between"),
        ({"log_inverse_loss": np.inf}, "must be between"),
        ({"log_t": np.nan}, "must be between"),
    ],
)
def test_refusals_of_the_dense_solution(late, arguments, message):
    with pytest.raises(InvalidInput, match=message):
        late.at(**arguments)


def test_the_end_is_there_to_rounding(late):
    end = late.log_inverse_loss[-1]
    for value in (end, end * (1 + 1e-11), end * (1 - 1e-15)):
        np.testing.assert_allclose(late.at(log_inverse_loss=value), late.thetas[-1], rtol=1e-9)
    with pytest.raises(InvalidInput, match="must be between"):
        late.at(log_inverse_loss=end * (1 + 1e-6))


def test_refusals_of_times(setting, late):
    for t in (-1.0, np.nan, [1.0, -2.0]):
        with pytest.raises(InvalidInput):
            late(t)
    network, data, theta0 = setting
    thin = integrate(network, data, "square", theta0, until=1.0, dense=False)
    assert np.array_equal(thin(1.0), thin.theta)
    with pytest.raises(InvalidInput, match="dense=False"):
        thin(0.123)
