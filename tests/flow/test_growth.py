"""Growth laws against the exact scalar flow, and the growth of the smoothed margin against finite differences."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expi

from tests.flow._flows import separable, sliding_pair, smooth_flow
from theory import InvalidInput, PreconditionError
from theory.flow.growth import evolution_identities, growth_constants
from theory.flow.margins import margins
from theory.flow.networks import fully_connected


def log_time(s, L):
    """log t of the scalar flow ds/dt = L^2 s^(2-2/L) e^-s: t = int e^s s^(2/L-2) ds / L^2, from its upper end."""
    a = 2 - 2 / L
    total = quad(lambda x: np.exp(-x) * (1 - x / s) ** -a, 0, min(s / 2, 200), epsabs=0, epsrel=1e-12, limit=200)[0]
    return s - a * np.log(s) - 2 * np.log(L) + np.log(total)


TABLE = [  # L, log t, constant: published with five digits
    (2, 1e2, 0.95210), (2, 1e3, 0.99275), (2, 1e4, 0.99904), (2, 1e6, 0.99999),
    (3, 1e2, 0.90896), (3, 1e3, 0.98627), (3, 1e4, 0.99821), (3, 1e6, 0.99997),
    (4, 1e2, 0.88122), (4, 1e3, 0.98205), (4, 1e4, 0.99767), (4, 1e6, 0.99997),
]  # fmt: skip


@pytest.mark.parametrize(("L", "target", "constant"), TABLE)
@pytest.mark.parametrize("margin", [1.0, 0.2])
def test_constants_of_the_scalar_flow(L, target, constant, margin):
    # q = g rho^L runs in the time t g^(2/L): the same table, shifted by (2/L) log g in log t
    s = target
    for _ in range(200):
        s += target - log_time(s, L)
    shift = -(2 / L) * np.log(margin)
    found = growth_constants([target + shift], [s], [(s / margin) ** (1 / L)], margin=margin, degree=L)
    T = target + shift
    assert found.loss[0] * (target / T) ** (2 - 2 / L) == pytest.approx(constant, abs=6e-6)
    assert found.norm[0] == pytest.approx((s / T) ** (1 / L), rel=1e-13)
    assert abs(found.norm[0] - 1) < 3 * np.log(T) / T


def test_the_scalar_time_is_the_exponential_integral_at_degree_two():
    assert log_time(80.0, 2) == pytest.approx(np.log(expi(80.0) / 4), rel=1e-12)


@pytest.mark.parametrize("L", [1, 2, 3])
@pytest.mark.parametrize("loss", ["exponential", "logistic"])
def test_constants_tend_to_one_along_a_flow(L, loss):
    X, y = separable(N=5, d=3, seed=2)
    network = fully_connected((3, *[3] * (L - 1), 1), activation="linear")
    flow = smooth_flow(network, X, y, loss, network.random_parameters(rng=2, scale=0.7), until=1e6, rtol=1e-8)
    us = np.array([1e2, 1e4, 1e6])
    rho = [np.linalg.norm(flow.theta(u)) for u in us]
    g = margins(network, X, y, loss, flow.theta(1e6)).normalized_margin
    found = growth_constants([flow.log_t(u) for u in us], us, rho, margin=g, degree=L)
    far, near = np.abs(found.loss - 1)[[0, -1]]
    assert near < 2e-3 and near < far / 10
    assert abs(found.norm[-1] - 1) < 1e-4 and abs(found.norm[0] - 1) > 3e-3
    assert np.abs(growth_constants([flow.log_t(1e6)], [1e6], rho[-1:], margin=1.2 * g, degree=L).loss - 1).max() > 0.1


def by_differences(network, X, y, loss, theta, g, modes=None):
    """``d log gtil / d log rho`` by a central difference along g, one Richardson step."""
    slopes = []
    for h in (2e-4, 1e-4):
        ends = [margins(network, X, y, loss, theta + sign * h * g / (g @ g), modes) for sign in (1, -1)]
        rise = np.log(ends[0].smoothed_margin / ends[1].smoothed_margin)
        slopes.append(rise / np.log(ends[0].norm / ends[1].norm))
    return (4 * slopes[1] - slopes[0]) / 3


@pytest.mark.parametrize("loss", ["exponential", "logistic", "cross_entropy"])
@pytest.mark.parametrize("L", [1, 2, 3])
def test_decomposition_is_the_derivative_of_the_smoothed_margin(L, loss):
    K = 3 if loss == "cross_entropy" else None
    X, y = separable(N=5, d=3, seed=3, K=K)
    network = fully_connected((3, *[4] * (L - 1), K or 1), activation="linear")
    start = network.random_parameters(rng=L, scale=0.5)
    flow = smooth_flow(network, X, y, loss, start, until=40, rtol=1e-7)
    for u in (1.0, 4.0, 35.0):
        theta = flow.theta(u)
        if margins(network, X, y, loss, theta).q_min <= 0:
            continue
        found = evolution_identities(network, X, y, loss, theta)
        g = flow.gradient(theta)
        assert found.weights_term > 0 and found.direction_term > 0
        assert found.rate == pytest.approx(by_differences(network, X, y, loss, theta, g), rel=1e-6)
        unit = theta / np.linalg.norm(theta)
        turning = np.sum((g / (unit @ g) - unit) ** 2)
        assert found.direction_term == pytest.approx(L * turning, rel=1e-6)


def test_decomposition_holds_while_sliding():
    network, X, y, theta, modes = sliding_pair(0.6, 3.0, 2.5, 2.3, 3.2)
    q = np.array([3.0 * 2.5, 2.3 * 3.2]) * np.sin(0.6)
    p = np.exp(-q) / np.exp(-q).sum()
    unit = network.views(theta)["W1"] / np.array([[2.5], [3.2]])
    sides = np.sin(0.6) * p
    g = network.pack(W1=(sides * [3.0, 2.3])[:, None] * unit, W2=[sides * [2.5, -3.2]])
    found = evolution_identities(network, X, y, "exponential", theta, modes)
    assert found.rate == pytest.approx(by_differences(network, X, y, "exponential", theta, g, modes), rel=1e-7)


def test_terms_do_not_cancel_late():
    network = fully_connected((2, 1), activation="linear")
    q = 1e8  # both samples carry half: H = log 2, and the logistic loss agrees to e^-q
    for loss in ("exponential", "logistic"):
        found = evolution_identities(network, np.eye(2), [1, 1], loss, [q, q])
        assert found.weights_term == pytest.approx(np.log(2) / (q - np.log(2)), rel=1e-7, abs=0)
        lone = evolution_identities(network, np.eye(2), [1, 1], loss, [100.0, 160.0])  # H = (1 + 60) e^-60
        assert lone.weights_term / (1 + lone.direction_term) == pytest.approx(61 * np.exp(-60) / 100, rel=1e-10, abs=0)


def test_refusals():
    with pytest.raises(InvalidInput, match="one length"):
        growth_constants([1.0, 2.0], [1.0], [1.0], margin=1, degree=2)
    with pytest.raises(InvalidInput, match="t > 1"):
        growth_constants([0.0], [1.0], [1.0], margin=1, degree=2)
    with pytest.raises(InvalidInput, match="margin must be positive"):
        growth_constants([1.0], [1.0], [1.0], margin=0, degree=2)
    with pytest.raises(InvalidInput, match="degree"):
        growth_constants([1.0], [1.0], [1.0], margin=1, degree=0)
    network = fully_connected((2, 1), activation="linear")
    with pytest.raises(PreconditionError, match="threshold"):
        evolution_identities(network, np.eye(2), [1, 1], "exponential", [0.1, 0.1])
