"""Rates and movements of lazy training against exact flows, descent step by step, and networks that were trained."""

import numpy as np
import pytest
from scipy.linalg import eigvalsh

from theory._errors import InvalidInput, PreconditionError
from theory.flow import descend, fully_connected, integrate, two_layer
from theory.flow.exact.kernel import KernelFlow
from theory.kernels.certificate import lazy_certificate
from theory.kernels.lazy import descent_residual, kernel_movement, tangent_trajectory
from theory.kernels.relu import first_layer_kernel


def test_descent_and_movement_of_a_linear_model():
    rng = np.random.default_rng(0)
    J, y, eta = rng.standard_normal((4, 6)), rng.standard_normal(4), 0.05
    run = descend(fully_connected((6, 1), activation="linear"), (J, y), "square", np.zeros(6), step=eta, steps=40,
                  record=1)  # fmt: skip
    sizes = np.linalg.norm(run.thetas @ J.T - y, axis=1)
    assert np.allclose(descent_residual(J @ J.T, -y, eta, range(41)), sizes, rtol=1e-11)
    far = KernelFlow(K=J @ J.T, y=y, f0=np.zeros(4)).dual(1e6)
    assert kernel_movement(J @ J.T, -y) == pytest.approx(np.linalg.norm(J.T @ far), rel=1e-10)
    assert kernel_movement(J @ J.T, -y) == pytest.approx(np.linalg.norm(np.linalg.pinv(J) @ y), rel=1e-10)
    assert kernel_movement(np.diag([1.0, 0.0]), [1.0, 1.0]) == np.inf
    assert kernel_movement(np.diag([4.0, 0.0]), [1.0, 0.0]) == 0.5


def problem(seed, n=4, d=5, m=40):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    net = two_layer(d, m)
    return net, X / np.linalg.norm(X, axis=1, keepdims=True), rng.choice([-1.0, 1.0], n), net.random_parameters(rng=rng)


def test_trajectory_of_a_wide_network_keeps_its_inequalities():
    net, X, y, theta = problem(1)
    flow = integrate(net, (X, y), "square", theta, until="t:3", rtol=1e-8)
    with np.errstate(under="ignore"):
        run = tangent_trajectory(net, X, y, flow.thetas, np.exp(flow.log_t))
    assert (run.gradient_ratio >= run.least_eigenvalue - 1e-12).all() and run.rate > 0
    assert (run.residual <= run.linear_rate * (1 + 1e-7)).all() and run.residual[-1] < 0.2 * run.residual[0]
    assert (run.movement <= run.movement_bound * (1 + 1e-7) + 1e-12).all() and run.movement[-1] > 0.1
    assert run.kernel_change[0] == 0 and run.kernel_change[-1] > 0.01
    distance = [np.linalg.norm(X[i] - X[j]) for i in range(4) for j in range(i)]
    assert run.separation == pytest.approx(min(distance), rel=1e-13)
    J = net.jacobian(theta, X)[:, 0]
    assert run.least_eigenvalue[0] == pytest.approx(eigvalsh(J @ J.T)[0], rel=1e-10)
    assert run.gradient_ratio[0] == pytest.approx(
        np.sum((J.T @ (net.output(theta, X)[:, 0] - y)) ** 2) / run.residual[0] ** 2, rel=1e-12
    )


def test_both_bounds_are_reached_by_one_sample():
    net, t = fully_connected((1, 1), activation="linear"), np.linspace(0, 2, 5)
    x, w = np.array([[2.0], [2.0]]), 0.5 * (1 - np.exp(-8 * t))  # K = 4 [1 1; 1 1], y = 1
    run = tangent_trajectory(net, x, [1.0, 1.0], w[:, None], t)
    assert run.rate < 1e-14  # equal samples: nothing is claimed
    two = fully_connected((2, 1), activation="linear")
    thetas = np.stack([0.5 * (1 - np.exp(-4 * t)), 0.5 * (1 - np.exp(-4 * t))], axis=1)
    run = tangent_trajectory(two, 2 * np.eye(2), [1.0, 1.0], thetas, t)
    assert np.allclose(run.residual, run.linear_rate, rtol=1e-12)
    assert np.allclose(run.movement, run.movement_bound, rtol=1e-12)


def mirrored(seed, m, d):
    """Pairs of neurons with opposite outer weights: the network starts at zero."""
    W = np.repeat(np.random.default_rng(seed).standard_normal((m // 2, d)), 2, axis=0)
    return W, np.tile([1.0, -1.0], m // 2) / np.sqrt(m)


def test_certificate_proves_what_then_happens():
    d, m, y = 2, 12_000, np.array([1.0, -1.0])
    X = np.array([[1.0, 0.1], [-0.2, 1.0]])
    W, a = mirrored(0, m, d)
    found = lazy_certificate(X, y, W, a)
    H = first_layer_kernel(X)
    assert found.holds and found.least_eigenvalue == pytest.approx(eigvalsh(H)[0], rel=0.05)
    assert found.residual == pytest.approx(np.sqrt(2), rel=1e-12)
    start, flow, eta, sizes = W.copy(), W.copy(), 0.02, [found.residual]
    for k in range(1, 301):
        r = np.maximum(X @ flow.T, 0) @ a - y
        flow = flow - eta * ((((X @ flow.T) > 0) * r[:, None]).T @ X) * a[:, None]
        size = np.linalg.norm(np.maximum(X @ flow.T, 0) @ a - y)
        sizes.append(size)
        assert size <= np.exp(-found.rate * eta * k) * found.residual
        flipped = ((X @ flow.T > 0) != (X @ start.T > 0)).mean(axis=1).max()
        assert flipped <= found.flips
    predicted = descent_residual(H, -y, eta, range(301))  # arora2019fine's formula, with the infinite-width kernel
    assert np.abs(np.array(sizes) - predicted).max() < 0.02 * predicted[0] and predicted[-1] < 0.1 * predicted[0]
    assert np.linalg.norm(flow - start) == pytest.approx(kernel_movement(H, -y), rel=0.05)
    moved = np.linalg.norm(flow - start, axis=1).max()
    assert 0.2 * found.neuron_radius < moved <= found.neuron_radius
    assert np.linalg.norm(flow - start) <= found.radius
    assert "proved" in found.summary() and found.to_json()["holds"] is True


def test_certificate_against_its_condition_written_out():
    d, m, y, X = 3, 4000, np.array([1.0, -1.0]), np.array([[1.0, 0.1, 0.3], [-0.2, 1.0, 0.0]])
    W, a = mirrored(1, m, d)
    a = a * np.random.default_rng(2).uniform(0.5, 1.0, m)
    y = np.maximum(X @ W.T, 0) @ a + 0.1 * y
    found = lazy_certificate(X, y, W, a)
    assert found.holds
    R = np.abs(a).max() * np.linalg.norm(X, 2) * found.residual / found.rate
    near = np.abs(X @ W.T) <= R * np.linalg.norm(X, axis=1, keepdims=True)
    s = (near * a**2).sum(axis=1).max()
    assert found.neuron_radius == pytest.approx(R, rel=1e-12) and found.flips == near.mean(axis=1).max()
    left = np.sqrt(found.least_eigenvalue) - np.linalg.norm(X, 2) * np.sqrt(s)
    assert left >= np.sqrt(found.rate)
    # whatever the neurons do within R, the kernel keeps its least eigenvalue
    rng = np.random.default_rng(3)
    for _ in range(20):
        step = rng.standard_normal(W.shape)
        moved = W + R * step / np.linalg.norm(step, axis=1, keepdims=True)
        on = (X @ moved.T > 0) * a
        assert eigvalsh((X @ X.T) * (on @ on.T))[0] >= found.rate


def test_narrow_network_is_not_certified():
    W, a = mirrored(0, 50, 2)
    found = lazy_certificate(np.eye(2), [1.0, -1.0], W, a)
    assert not found.holds and found.rate == 0 and found.shortfall > 0 and found.to_json()["radius"] is None
    same = lazy_certificate([[1.0, 0.0], [1.0, 0.0]], [1.0, -1.0], W, a)
    assert not same.holds and same.least_eigenvalue == 0 and "nothing proved" in same.summary()


def test_refusals():
    W, a = mirrored(0, 4, 2)
    for call in (
        lambda: lazy_certificate(np.eye(2), [1.0], W, a), lambda: lazy_certificate(np.eye(3), np.ones(3), W, a),
        lambda: lazy_certificate(np.eye(2), [1.0, np.nan], W, a), lambda: descent_residual(np.eye(2), [1.0], 1, [1]),
        lambda: descent_residual(np.eye(2), [1.0, 1.0], 1, 3),
        lambda: descent_residual(np.eye(2), [1.0, 1.0], 0, [1]), lambda: kernel_movement(np.ones((2, 3)), [1.0, 1.0]),
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            call()
    with pytest.raises(PreconditionError, match="semidefinite"):
        kernel_movement(-np.eye(2), [1.0, 1.0])
    net, X, y, theta = problem(0)
    for wrong in (
        {"y": y[:2]}, {"X": X[:1]}, {"thetas": theta}, {"times": [1.0, 2.0]}, {"X": 0 * X},
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            tangent_trajectory(net, **{"X": X, "y": y, "thetas": theta[None]} | wrong)
    with pytest.raises(PreconditionError, match="times"):
        tangent_trajectory(net, X, y, theta[None]).linear_rate  # noqa: B018


def test_sizes_beyond_float64_are_refused_and_descent_may_diverge():
    for X, a in ((1e200 * np.eye(2), [1.0]), (np.eye(2), [1e200])):
        with pytest.raises(InvalidInput, match="overflows"):
            lazy_certificate(X, [1.0, 1.0], [[1.0, 1.0]], a)
    assert descent_residual([[1.0]], [1.0], 100.0, [1000])[0] == np.inf
