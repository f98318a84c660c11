"""SGD's noise: the floor and its witness; the stationary covariance against solvers, exact moments and simulation."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from scipy.linalg import solve_continuous_lyapunov, solve_discrete_lyapunov

from theory import InvalidInput, PreconditionError
from theory.flow import convolutional, deep_linear, diagonal_linear, fully_connected, two_layer
from theory.square_loss import common_fixed_point, sgd_fluctuation, stationary_covariance

from ._oracles import X, Y

RNG = np.random.default_rng(9)


@pytest.mark.parametrize(
    "net",
    [
        two_layer(4, 3),
        two_layer(4, 3, bias="first"),
        fully_connected((4, 3, 3, 1), activation="relu^2"),
        convolutional((1, 4), (2,), 3),
        fully_connected((4, 1)),
    ],
    ids=lambda n: f"{n.name} {n.n_parameters}",
)
def test_floor_holds_at_any_weights(net):
    for seed in range(20):
        theta = np.random.default_rng(seed).standard_normal(net.n_parameters)
        found = common_fixed_point(net, (X, Y), theta, lam=0.3)
        assert found.noise >= found.first_layer_noise >= found.floor > 0
        assert not found.is_fixed and not found.possible
        assert found.noise**2 == pytest.approx(found.spread**2 + found.mean_gradient**2)


def test_floor_is_sharp_for_a_linear_layer():
    # free residuals: delta_n chosen freely per sample projects 2 lam W_1 on each input; W_1 along the top direction
    # of the mean projection leaves exactly the floor
    unit = X / np.linalg.norm(X, axis=1)[:, None]
    w = np.linalg.eigh(unit.T @ unit / 12)[1][:, -1]
    lam = 0.2
    # targets with 2 (w x_n - y_n) x_n = -2 lam <w, x_n> x_n / ||x_n||^2
    y = X @ w + lam * (X @ w) / (X**2).sum(axis=1)
    found = common_fixed_point(fully_connected((4, 1)), (X, y), w, lam=lam)
    assert found.first_layer_noise == pytest.approx(found.floor, rel=1e-12)


def test_witness_is_the_least_collinear_pair():
    found = common_fixed_point(two_layer(4, 3), (X, Y), two_layer(4, 3).random_parameters(rng=0), lam=0.1)
    unit = X / np.linalg.norm(X, axis=1)[:, None]
    i, j = found.witness
    assert abs(unit[i] @ unit[j]) == pytest.approx(found.cosine) == pytest.approx(abs(unit @ unit.T).min())


def test_a_bias_counts_as_one_more_input():
    net = two_layer(4, 3, bias="first")
    found = common_fixed_point(net, (X, Y), net.random_parameters(rng=0), lam=0.1)
    rows = np.hstack([X, np.ones((12, 1))])
    unit = rows / np.linalg.norm(rows, axis=1)[:, None]
    assert found.coherence == pytest.approx(np.linalg.eigvalsh(unit.T @ unit / 12)[-1], rel=1e-12)


def test_collinear_data_have_a_common_fixed_point():
    # f = w x on inputs +-x with targets +-c: every sample has the same gradient, zero at w = c x / (x^2 + lam)
    lam, net = 0.3, fully_connected((2, 1))
    x = np.array([1.0, 2.0])
    data = (np.stack([x, -x]), [1.0, -1.0])
    w = x / (x @ x + lam)
    found = common_fixed_point(net, data, w, lam=lam)
    assert found.possible and found.is_fixed and found.witness is None and found.floor == pytest.approx(0, abs=1e-8)
    assert not common_fixed_point(net, data, 1.1 * w, lam=lam).is_fixed
    # without decay an interpolant is one, whatever the data
    at = common_fixed_point(net, (np.eye(2), [1.0, -1.0]), [1.0, -1.0], lam=0.0)
    assert at.possible and at.is_fixed


def test_patches_of_a_convolution():
    # the floor uses the span of all patches: with patches that span everything it is zero, and no bound is claimed
    net = convolutional((1, 4), (2,), 1)
    found = common_fixed_point(net, (X, Y), net.random_parameters(rng=0), lam=0.3)
    assert found.coherence == pytest.approx(1) and found.possible
    wide = convolutional((1, 4), (2,), 3)
    patches = np.array([[x[:3], x[1:]] for x in X])
    P = np.mean([np.linalg.pinv(p) @ p for p in patches], axis=0)
    assert common_fixed_point(wide, (X, Y), wide.random_parameters(rng=0), lam=0.3).coherence == pytest.approx(
        np.linalg.eigvalsh(P)[-1]
    )


def random_problem(P, seed):
    rng = np.random.default_rng(seed)
    A, B = rng.standard_normal((2, P, P))
    return A @ A.T + 0.1 * np.eye(P), B @ B.T


@pytest.mark.parametrize("P", [1, 3, 8])
def test_covariance_against_scipy_and_iteration(P):
    H, C = random_problem(P, P)
    step = 1.2 / np.linalg.eigvalsh(H)[-1]
    S = stationary_covariance(H, C, step)
    A = np.eye(P) - step * H
    np.testing.assert_allclose(S, solve_discrete_lyapunov(A, step**2 * C), rtol=1e-8, atol=1e-10)
    iterate = np.zeros_like(C)
    for _ in range(20000):
        iterate = A @ iterate @ A.T + step**2 * C
    np.testing.assert_allclose(S, iterate, rtol=1e-8, atol=1e-10)
    limit = stationary_covariance(H, C, step, continuous=True)
    np.testing.assert_allclose(limit, solve_continuous_lyapunov(H, step * C), rtol=1e-8, atol=1e-10)
    small = step * 1e-6
    np.testing.assert_allclose(
        stationary_covariance(H, C, small), stationary_covariance(H, C, small, continuous=True), rtol=1e-4, atol=1e-12
    )


def test_flat_directions_without_noise_are_left_out():
    H, C = np.diag([2.0, 0.0, 1.0]), np.diag([1.0, 0.0, 3.0])
    np.testing.assert_allclose(np.diag(stationary_covariance(H, C, 0.1)), [0.1 / 3.6, 0, 0.3 / 1.9])
    with pytest.raises(PreconditionError, match="diffuse"):
        stationary_covariance(H, np.eye(3), 0.1)


def linear_moments(inputs, y, lam, step, batches):
    """The exact stationary second moment of SGD on linear regression, whose noise depends on theta; by Kronecker."""
    d, N = inputs.shape[1], len(inputs)
    H = 2 / N * inputs.T @ inputs + 2 * lam * np.eye(d)
    w = np.linalg.solve(H, 2 / N * inputs.T @ y)
    total, noise, drift = np.zeros((d * d, d * d)), np.zeros((d, d)), np.zeros((d * d, d))
    for chosen in batches:
        rows = inputs[list(chosen)]
        A = np.eye(d) - step * (2 / len(rows) * rows.T @ rows + 2 * lam * np.eye(d))
        g = 2 / len(rows) * rows.T @ (rows @ w - y[list(chosen)]) + 2 * lam * w
        total += np.kron(A, A) / len(batches)
        noise += np.outer(g, g) / len(batches)
    del drift  # the mean of theta is w: its coupling with the noise vanishes
    return w, np.linalg.solve(np.eye(d * d) - total, step**2 * noise.ravel()).reshape(d, d)


@pytest.mark.parametrize("replacement", [True, False])
def test_linear_regression_against_exact_moments_at_the_stated_order(replacement):
    inputs, y = RNG.standard_normal((6, 2)), RNG.standard_normal(6)
    batches = list(product(range(6), repeat=2)) if replacement else list(combinations(range(6), 2))
    net, errors = fully_connected((2, 1)), []
    for step in (0.004, 0.002, 0.001):
        w, exact = linear_moments(inputs, y, 0.1, step, batches)
        found = sgd_fluctuation(net, (inputs, y), w, lam=0.1, step=step, batch=2, replacement=replacement)
        errors.append(np.linalg.norm(found.covariance - exact) / np.linalg.norm(exact))
        assert found.factor == (0.5 if replacement else 4 / 10)
        assert found.excess == pytest.approx(np.trace(
            (2 / 6 * inputs.T @ inputs + 0.2 * np.eye(2)) @ found.covariance) / 2)  # fmt: skip
        spread = np.sqrt(np.einsum("nd,de,ne->n", inputs, found.covariance, inputs))
        np.testing.assert_allclose(found.output_std[:, 0], spread, rtol=1e-10)
    assert errors[2] < 0.01
    np.testing.assert_allclose([errors[0] / errors[1], errors[1] / errors[2]], 2, rtol=0.05)


def test_equal_curvature_of_all_samples_is_exact():
    # the same input with different targets: the noise does not depend on theta and nothing is approximated
    inputs, y = np.ones((5, 1)), np.array([1.0, -1.0, 0.3, 0.2, 2.0])
    step, lam = 0.3, 0.2
    w, exact = linear_moments(inputs, y, lam, step, [(n,) for n in range(5)])
    found = sgd_fluctuation(fully_connected((1, 1)), (inputs, y), w, lam=lam, step=step, batch=1)
    assert found.covariance.item() == pytest.approx(exact.item(), rel=1e-12)


def test_full_batch_and_interpolation_have_no_noise():
    inputs, y = RNG.standard_normal((6, 2)), RNG.standard_normal(6)
    net = fully_connected((2, 1))
    w = np.linalg.lstsq(inputs, y, rcond=None)[0]
    full = sgd_fluctuation(net, (inputs, y), w, lam=0.0, step=0.01, batch=6, replacement=False)
    assert full.factor == 0 and full.weight_std == 0
    exact = sgd_fluctuation(net, (inputs, inputs @ w), w, lam=0.0, step=0.01, batch=1)
    assert exact.weight_std < 1e-12


def test_small_smooth_network_against_simulation():
    # f = a b x with decay, 4000 replicas of SGD with batches of two drawn afresh, without replacement
    x, y = np.array([1.0, -0.7, 0.4, 1.3, -0.2, 0.9]), np.array([1.2, -0.5, 0.9, 0.7, 0.3, 1.4])
    lam, step, B, replicas = 0.15, 0.02, 2, 4000
    rng = np.random.default_rng(0)
    u = ((x * y).mean() - lam) / (x**2).mean()  # a^2 at the minimum
    theta = np.full((replicas, 2), np.sqrt(u))
    net = deep_linear((1, 1, 1))
    predicted = sgd_fluctuation(net, (x[:, None], y), theta[0], lam=lam, step=step, batch=B, replacement=False)
    kept = []
    for t in range(1500):
        chosen = rng.random((replicas, 6)).argsort(axis=1)[:, :B]
        xs, r = x[chosen], theta.prod(axis=1)[:, None] * x[chosen] - y[chosen]
        pull = 2 * (r * xs).mean(axis=1)[:, None] * theta[:, ::-1] + 2 * lam * theta
        theta = theta - step * pull
        if t >= 500 and t % 100 == 0:
            kept.append(theta)
    sample = np.concatenate(kept)
    measured = np.cov(sample.T)
    # 3 per cent: 40,000 draws leave 1 per cent, linear response the rest
    np.testing.assert_allclose(np.trace(measured), np.trace(predicted.covariance), rtol=0.03)
    np.testing.assert_allclose(measured, predicted.covariance, rtol=0.06)


def test_networks_of_all_kinds_have_a_prediction_at_their_minimum():
    from theory.flow import integrate

    for net in (diagonal_linear(4), two_layer(4, 2, activation="quadratic")):
        flow = integrate(net, (X, Y / 1.0), "square", net.random_parameters(rng=1), until="stationary",
                         weight_decay=2.4, rtol=1e-10)  # fmt: skip
        # the sum over samples with weight decay w is N times the mean with lam = w / (2 N) ... and loss/2
        found = sgd_fluctuation(net, (X, Y), flow.theta, lam=2.4 / 12, step=1e-3, batch=1)
        assert found.weight_std >= 0 and found.gradient_norm < 1e-5 and found.to_json()["batch"] == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"batch": 7, "replacement": False}, InvalidInput),
        ({"step": 10.0}, PreconditionError),
        ({"lam": -1.0}, InvalidInput),
        ({"batch": 0}, InvalidInput),
    ],
)
def test_refusals(change, error):
    inputs, y = np.arange(12.0).reshape(6, 2) / 10, np.arange(6.0)
    w = np.linalg.solve(inputs.T @ inputs / 3 + 0.2 * np.eye(2), inputs.T @ y / 3)
    with pytest.raises(error):
        sgd_fluctuation(fully_connected((2, 1)), (inputs, y), w, **({"lam": 0.1, "step": 0.1, "batch": 2} | change))


def test_points_that_are_no_minimum_are_refused():
    net = two_layer(4, 2)
    with pytest.raises(PreconditionError, match="no minimum"):
        sgd_fluctuation(net, (X, Y), net.random_parameters(rng=0), lam=0.1, step=0.01, batch=1)
    with pytest.raises(PreconditionError, match="kink"):
        sgd_fluctuation(net, (X, Y), np.zeros(10), lam=0.1, step=0.01, batch=1)
    with pytest.raises(PreconditionError, match="first layer"):
        common_fixed_point(diagonal_linear(4), (X, Y), np.ones(8), lam=0.1)
    with pytest.raises(InvalidInput):
        stationary_covariance(np.eye(2), np.eye(3), 0.1)
    with pytest.raises(InvalidInput):
        stationary_covariance([[1.0, 2.0], [0.0, 1.0]], np.eye(2), 0.1)
    with pytest.raises(PreconditionError, match="no minimum"):
        stationary_covariance(-np.eye(2), np.eye(2), 0.1)


def test_patches_that_meet_in_pairs_but_not_together_have_no_witness():
    # two patches a sample span the coordinate planes of R^3: any two share a line, all three nothing
    e = np.eye(3)
    inputs = np.array([[*e[0], *e[1]], [*e[0], *e[2]], [*e[1], *e[2]]])
    net = convolutional((1, 6), (2,), 3, stride=3)
    found = common_fixed_point(net, (inputs, [1.0, -1.0, 1.0]), net.random_parameters(rng=0), lam=0.1)
    assert not found.possible and found.floor > 0 and found.coherence == pytest.approx(2 / 3)
    assert found.witness is None and found.cosine is None and "witness" not in found.summary()
