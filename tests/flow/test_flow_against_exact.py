"""The integrator against closed forms: what section 3's formulas say, to the accuracy asked for."""

import numpy as np
import pytest
from scipy.special import expi

from theory.flow import integrate
from theory.flow.exact.balanced_depth import BalancedDepth
from theory.flow.exact.diagonal import DiagonalSquare
from theory.flow.exact.factorisation import ScalarFactorisation
from theory.flow.exact.lambda_balanced import LambdaBalanced
from theory.flow.exact.mirrored import MirroredPoints
from theory.flow.exact.one_point import OnePointExponential, OnePointLogistic
from theory.flow.exact.orthogonal import OrthogonalExponential
from theory.flow.exact.saddle_to_saddle import SaddleToSaddle
from theory.flow.exact.scalar import ScalarHomogeneous
from theory.flow.exact.two_factors import TwoFactors
from theory.flow.exact.variation_norm import OneActiveNeuron
from theory.flow.networks import deep_linear, diagonal_linear, fully_connected

TIGHT = {"rtol": 1e-12, "atol": 1e-14}
LINE = deep_linear((1, 1))


def orthogonal():
    X = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0] * np.array([[1.0], [2.0], [0.7]])
    return OrthogonalExponential(X=X, y=[1, -1, 1], w0=[0.3, -0.2, 0.5])


def test_orthogonal_data_in_t():
    form = orthogonal()
    flow = integrate(deep_linear((3, 1)), form.data, "exponential", form.theta0, until=100.0, clock="t", **TIGHT)
    times = np.geomspace(1e-3, 100, 30)
    assert np.abs(flow(times) - form.solution(times)).max() < 2e-11
    assert np.abs(flow.theta - form.solution(100.0)).max() < 1e-11


def test_orthogonal_data_to_infinity():
    form = orthogonal()
    flow = integrate(deep_linear((3, 1)), form.data, "exponential", form.theta0, until="log-t:1e6", rtol=1e-12)
    exact = form.solution(log_t=1e6)
    assert np.abs(flow.theta / exact - 1).max() < 1e-10
    logs = np.array([5.0, 50.0, 2e3, 3e5])
    assert np.abs(flow.at(log_t=logs) / form.solution(log_t=logs) - 1).max() < 1e-9
    assert abs(flow.normalized_margins()[-1] / form.normalised_margin(log_t=1e6) - 1) < 1e-10


@pytest.mark.parametrize(("loss", "form"), [("exponential", OnePointExponential), ("logistic", OnePointLogistic)])
def test_one_point_and_its_log_time(loss, form):
    form = form(w0=-0.4, x=1.5, y=1)
    flow = integrate(LINE, form.data, loss, form.theta0, until="log-t:1e6", rtol=1e-12)
    for log_t in (-2.0, 3.0, 700.0, 1e6):
        assert abs(flow.at(log_t=log_t)[0] / form.solution(log_t=log_t)[0] - 1) < 1e-10, log_t  # 100 rtol
    grid = np.isfinite(flow.log_t)
    u = form.log_inverse_loss(log_t=flow.log_t[grid])
    assert (np.abs(flow.log_inverse_loss[grid] - u) / np.maximum(1, abs(u))).max() < 1e-10


@pytest.mark.parametrize("L", [2, 3, 4])
def test_balanced_chains_follow_the_homogeneous_scalar(L):
    # w' = w^(L-1) e^{-w^L} is q' = L w^(2L-2) e^{-q} with q = w^L; the scalar of degree L has q' = L^2 q^(2-2/L) e^{-q}
    chain = deep_linear((1,) * (L + 1))
    form = ScalarHomogeneous(L=L, theta0_value=0.8)
    flow = integrate(chain, ([[1.0]], [1.0]), "exponential", np.full(L, 0.8), until="log-t:1e6", rtol=1e-12)
    for log_t in (-1.0, 4.0, 300.0, 1e6 - 2):
        w = flow.at(log_t=log_t)
        assert np.abs(w / form.solution(log_t=log_t - np.log(L)) - 1).max() < 1e-9, log_t
    if L == 2:  # Ei(q) = Ei(q0) + 2 t
        q = flow(10.0)[0] ** 2
        assert abs((expi(q) - expi(0.64)) / 20 - 1) < 1e-8


def test_two_factors():
    form = TwoFactors(u0=1.2, v0=-0.4)
    flow = integrate(
        deep_linear((1, 1, 1)), ([[1.0]], [1.0]), "exponential", form.theta0, until="log-t:1e5", rtol=1e-12
    )
    for log_t in (-1.0, 4.0, 300.0, 1e5):
        assert np.abs(flow.at(log_t=log_t) / form.solution(log_t=log_t) - 1).max() < 1e-9, log_t


def test_mirrored_points_keep_their_integral():
    form = MirroredPoints(a=1.0, b=0.5, w0=[0.3, -0.7])
    flow = integrate(deep_linear((2, 1)), form.data, "exponential", form.theta0, until=1e4, **TIGHT)
    assert np.abs(flow.theta - form.solution(1e4)).max() < 1e-10
    assert abs(form.invariant(flow.theta) / form.invariant(form.theta0) - 1) < 1e-9


@pytest.mark.parametrize(("a0", "b0"), [(0.1, 0.1), (0.9, 0.2), (0.3, -0.5)])
def test_scalar_factors_of_the_square_loss(a0, b0):
    form = ScalarFactorisation(s=1.7, a0=a0, b0=b0)
    flow = integrate(deep_linear((1, 1, 1)), ([[1.0]], [1.7]), "square", form.theta0, until=4.0, **TIGHT)
    assert np.abs(np.sort(flow.theta) - np.sort(form.solution(4.0))).max() < 1e-11
    assert np.abs(np.prod(flow(np.array([0.5, 1.0, 2.0])), axis=1) - form.product([0.5, 1.0, 2.0])).max() < 1e-11


@pytest.mark.parametrize("depth", [3, 4, 5])
def test_balanced_chain_of_the_square_loss(depth):
    form = BalancedDepth(depth=depth, s=2.0, w0=0.6)
    flow = integrate(deep_linear((1,) * (depth + 1)), ([[1.0]], [2.0]), "square", form.theta0, until=1.5, **TIGHT)
    assert np.abs(flow.theta - form.solution(1.5)).max() < 1e-11


@pytest.mark.parametrize("lam", [0.0, 1.3, -0.8])
@pytest.mark.parametrize("shape", [(2, 3, 2), (3, 4, 2)])
def test_lambda_balanced_layers(lam, shape):
    rng = np.random.default_rng(3)
    d, r, k = shape
    # W2^T W2 - W1 W1^T = lam I: a common basis with s2^2 - s1^2 = lam, where the ranks allow it
    basis = np.linalg.qr(rng.standard_normal((r, r)))[0]
    first, second = np.zeros((r, d)), np.zeros((k, r))
    U, V = np.linalg.qr(rng.standard_normal((d, d)))[0], np.linalg.qr(rng.standard_normal((k, k)))[0]
    if lam != 0 and (d < r if lam < 0 else k < r):
        r = min(d, k)
        basis, first, second = basis[:r, :r], np.zeros((r, d)), np.zeros((k, r))
        basis = np.linalg.qr(basis)[0]
    small = rng.uniform(0.2, 0.6, min(r, d, k))
    for i, s in enumerate(small):
        first[i, i], second[i, i] = np.sqrt(s**2 + max(-lam, 0)), np.sqrt(s**2 + max(lam, 0))
    W1, W2 = basis @ first @ U.T, V @ second @ basis.T
    S = rng.standard_normal((k, d))
    form = LambdaBalanced(S=S, W1=W1, W2=W2)
    flow = integrate(deep_linear((d, r, k)), form.data, "square", form.theta0, until=1.2, **TIGHT)
    W = flow.network.views(flow.theta)
    assert np.abs(W["W2"] @ W["W1"] - form.solution(1.2)).max() < 1e-10
    assert flow.conservation_drift < 1e-11


def test_diagonal_network_keeps_the_hypentropy_identity():
    X = np.random.default_rng(1).standard_normal((2, 4))
    form = DiagonalSquare(X=X, y=[1.0, -0.5], log_alpha=float(np.log(0.05)))
    flow = integrate(diagonal_linear(4), form.data, "square", form.theta0, until=6.0, **TIGHT)
    u, v = flow.theta[:4], flow.theta[4:]
    assert np.abs(u * v - 0.05**2).max() < 1e-12
    assert np.abs(u**2 - v**2 - form.product(6.0, rtol=1e-12)).max() < 1e-9
    assert form.residual(flow.theta) < 1e-9


def test_jump_times_from_saddle_to_saddle():
    X = np.array([[1.0, 0.2, 0.0], [0.1, 1.0, 0.3], [0.0, 0.2, 1.0]])
    form = SaddleToSaddle(X=X, y=[2.0, -1.0, 0.4])
    late = []
    for log_alpha in (-20.0, -80.0):
        theta0 = np.full(6, np.exp(log_alpha))
        predicted = form.jump_times(log_alpha)[0]
        flow = integrate(
            diagonal_linear(3), form.data, "square", theta0, until=float(2 * predicted), rtol=1e-9, atol=1e-300
        )
        final = form.limit
        times = np.linspace(0.2 * predicted, 1.8 * predicted, 400)
        beta = np.square(flow(times)[:, :3]) - np.square(flow(times)[:, 3:])
        first = np.argmax(np.abs(beta).max(axis=1) > 0.1 * np.abs(final).max())
        late.append(abs(times[first] / predicted - 1) * -log_alpha)
    assert late[1] / 80 < 0.05  # an error of order 1 / log(1/alpha) ...
    assert late[1] < 2 * late[0] + 0.5  # ... with a constant that does not grow


def test_one_active_neuron_interpolates_at_any_scale():
    X, y = np.diag([1.0, 2.0]), np.array([1.5, 0.8])
    form = OneActiveNeuron(X=X, y=y, a0=0.5, w0=[0.2, 0.3])
    network = fully_connected((2, 1, 1))
    flow = integrate(network, (X, y), "square", np.array([0.2, 0.3, 0.5]), until=60.0, **TIGHT)
    a, w = form.limit
    assert np.abs(flow.theta - np.append(w, a)).max() < 1e-10


def test_two_layers_on_orthogonal_data_reach_the_variation_norm_from_small_starts():
    X, y = np.diag([1.0, 2.0, 1.5, 1.0]), np.array([1.0, -0.7, 0.8, -0.4])
    norm = sum(np.sqrt(np.sum((y[s] / np.diag(X)[s]) ** 2)) for s in (y > 0, y < 0))
    network = fully_connected((4, 12, 1))
    gaps = []
    for scale in (1e-1, 1e-3):
        theta0 = network.random_parameters(rng=0, scale=scale)
        flow = integrate(network, (X, y), "square", theta0, until=80.0, rtol=1e-8)
        assert flow.log_inverse_loss[-1] > 25
        gaps.append(0.5 * np.sum(flow.theta**2) / norm - 1)
    assert gaps[1] < 0.02 and 0 < gaps[1] < gaps[0]


def test_published_three_points_stop_at_the_linear_fit():
    x, y = np.array([[-0.75], [-0.5], [0.125]]), np.array([1.1, 0.1, 0.8])
    design = np.hstack([x, np.ones((3, 1))])
    fit = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    network = fully_connected((1, 20, 1), bias="first")
    rng = np.random.default_rng(0)
    inner = 1e-3 * rng.standard_normal((20, 2))
    outer = np.linalg.norm(inner, axis=1) * rng.choice([-1.0, 1.0], 20)  # balanced
    theta0 = network.pack(W1=inner[:, :1], b1=inner[:, 1], W2=outer[None])
    flow = integrate(network, (x, y), "square", theta0, until=400.0)
    assert np.abs(network.output(flow.theta, x)[:, 0] - fit).max() < 1e-6
    assert abs(np.exp(-flow.log_inverse_loss[-1]) - 0.5 * np.sum((fit - y) ** 2)) < 1e-9
    assert flow.event_counts["crossing"] >= 10
