"""Networks with biases: their defect of homogeneity, its bounds, and the modified margin along flows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.flow._flows import separable, smooth_flow
from theory import InvalidInput, PreconditionError
from theory.flow.integrate import integrate
from theory.flow.margins import margins, monotonicity_violation
from theory.flow.near_homogeneous import modified_margin, near_homogeneity
from theory.flow.networks import convolutional, fully_connected


def homogeneous_part(network, theta):
    """theta without the biases beyond the first layer."""
    kept = theta.copy()
    for name, view in network.views(kept).items():
        if name.startswith("b") and name != "b1":
            view[...] = 0
    return kept


@given(
    seed=st.integers(0, 10_000),
    widths=st.sampled_from([(2, 3, 1), (2, 3, 2), (3, 4, 2, 1), (1, 2, 2, 2, 3)]),
    slope=st.sampled_from([0.0, 0.3, 1.0]),
    scale=st.floats(0.05, 5.0),
    size=st.floats(0.0, 100.0),
)
def test_defect_and_remainder_are_bounded_for_all_inputs(seed, widths, slope, scale, size):
    rng = np.random.default_rng(seed)
    name = "linear" if slope == 1 else "leaky_relu"
    network = fully_connected(widths, activation=name, slope=None if slope == 1 else slope, bias=True)
    X, theta = size * rng.standard_normal((6, widths[0])), scale * rng.standard_normal(network.n_parameters)
    near, rho = near_homogeneity(network), np.linalg.norm(theta)
    G = np.ones((1, 1)) if widths[-1] == 1 else np.eye(widths[-1])[[0]] - np.eye(widths[-1])[[1]]
    s = (network.output(theta, X) @ G.T)[:, 0]
    pull = np.einsum("k,nkp,p->n", G[0], network.jacobian(theta, X), theta)
    top = (network.output(homogeneous_part(network, theta), X) @ G.T)[:, 0]
    room = 1e-9 * (1 + np.abs(s).max() + np.abs(pull).max())
    assert (np.abs(pull - near.degree * s) <= near.defect_bound(rho) + room).all()
    assert (np.abs(s - top) <= near.remainder_bound(rho) + room).all()


@pytest.mark.parametrize("M", [2, 3, 4])
@pytest.mark.parametrize("K", [1, 2])
def test_each_coefficient_is_reached(M, K):
    network = fully_connected((1, *[2] * (M - 1), K), bias=True)
    near = near_homogeneity(network)
    for k in range(1, M):  # only b_{M-k+1} and the layers above it, each of norm sqrt(1/k)
        theta = np.zeros(network.n_parameters)
        views, side = network.views(theta), np.sqrt(1 / k)
        bias = views[f"b{M - k + 1}"]
        direction = np.ones(1) if K == 1 else np.array([1.0, -1.0]) / np.sqrt(2)
        bias[: len(direction) if k == 1 else 1] = side * (direction if k == 1 else 1.0)
        for layer in range(M - k + 2, M + 1):
            W = views[f"W{layer}"]
            W[: len(direction) if layer == M else 1, 0] = side * (direction if layer == M else 1.0)
        s = network.output(theta, [[1.0]])[0]
        s = s[0] if K == 1 else s[0] - s[1]
        J = network.jacobian(theta, np.ones((1, 1)))[0]
        pull = (J[0] if K == 1 else J[0] - J[1]) @ theta
        assert abs(pull - M * s) == pytest.approx(near.defect[k], rel=1e-13)
        assert s == pytest.approx(near.remainder[k], rel=1e-13)


@pytest.mark.parametrize("bias", [True, "first", False])
def test_the_polynomials_solve_their_equation(bias):
    near = near_homogeneity(fully_connected((3, 4, 4, 4, 2), bias=bias))
    M, r, h = near.degree, 1.7, 1e-5
    slope = (near.remainder_bound(r + h) - near.remainder_bound(r - h)) / (2 * h)
    assert M * near.remainder_bound(r) - r * slope == pytest.approx(near.defect_bound(r), rel=1e-9)
    assert (near.defect_bound(r) > 0) == (bias is True)


@pytest.mark.parametrize("loss", ["exponential", "logistic", "cross_entropy"])
@pytest.mark.parametrize("M", [2, 3])
def test_modified_margin_rises_along_a_smooth_flow(M, loss):
    K = 3 if loss == "cross_entropy" else None
    X, y = separable(N=6, d=3, seed=4, K=K)
    network = fully_connected((3, *[3] * (M - 1), K or 1), activation="linear", bias=True)
    theta0 = network.random_parameters(rng=4) + 0.1
    flow = smooth_flow(network, 2 * X, y, loss, theta0, until=300, rtol=1e-8)
    us = np.geomspace(max(flow.start, 0.05), 300, 200)
    found = [modified_margin(network, 2 * X, y, loss, flow.theta(u)) for u in us]
    valid = [m for m in found if m.is_valid]
    assert len(valid) > 50 and all(m.is_valid for m in found[found.index(valid[0]) :])
    assert monotonicity_violation([m.value for m in valid]) < 1e-8
    short = [(m.smoothed - 3 * m.remainder) / m.norm ** (M + 1) for m in valid]
    assert monotonicity_violation(np.abs(short)) > 1e-3  # the test can see a fall


def test_the_modified_margin_rises_where_the_plain_one_falls():
    # one unit: a large last bias classifies at once; log(1/Loss)/rho^2 then falls for a while
    network = fully_connected((1, 1, 1), activation="linear", bias=True)
    theta0 = network.pack(W1=[[0.4]], b1=[0.0], W2=[[0.4]], b2=[1.5])
    flow = smooth_flow(network, np.array([[1.0]]), [1.0], "exponential", theta0, until=300, rtol=1e-9)
    us = np.geomspace(max(flow.start, 0.1), 300, 200)
    found = [modified_margin(network, [[1.0]], [1.0], "exponential", flow.theta(u)) for u in us]
    plain = [m.smoothed / m.norm**2 for m in found]
    assert monotonicity_violation(plain) > 0.1
    assert monotonicity_violation([m.value for m in found if m.is_valid]) < 1e-9


@pytest.mark.parametrize(("widths", "seed"), [((2, 6, 1), 1), ((2, 5, 4, 1), 0)])
def test_modified_margin_rises_through_the_kinks(widths, seed):
    rng = np.random.default_rng(seed)
    X, y = 10 * rng.standard_normal((5, 2)), np.sign(rng.standard_normal(5))
    network = fully_connected(widths, bias=True)
    start = network.random_parameters(rng=seed)
    flow = integrate(network, (X, y), "exponential", start, until="log-loss:3e4", rtol=1e-7)
    modes = np.asarray(flow.mode_table)[flow.mode_index]
    found = [modified_margin(network, X, y, "exponential", flow.thetas[i], modes[i]) for i in range(len(modes))]
    valid = [m for m in found if m.is_valid]
    assert len(valid) > 15 and valid[-1] is found[-1]
    assert monotonicity_violation([m.value for m in valid]) < 1e-7
    assert any(event.log_inverse_loss > valid[0].smoothed for event in flow.events)


def test_without_upper_biases_it_is_the_smoothed_margin():
    network = fully_connected((2, 3, 1), bias="first")
    X, theta = np.array([[1.0, 0.0], [0.5, 1.0]]), np.linspace(0.2, 1.0, network.n_parameters)
    found = modified_margin(network, X, [1, 1], "logistic", theta)
    assert found.value == pytest.approx(margins(network, X, [1, 1], "logistic", theta).smoothed_margin, rel=1e-14)


def test_refusals():
    for network in (fully_connected((2, 3, 1), activation="relu^2", bias=True), convolutional((1, 5), (2,), 2)):
        with pytest.raises(PreconditionError, match="dense layers"):
            near_homogeneity(network)
    network = fully_connected((2, 3, 1), bias=True)
    with pytest.raises(PreconditionError, match="no direction"):
        modified_margin(network, np.eye(2), [1, 1], "exponential", np.zeros(13))
    with pytest.raises(PreconditionError, match="exponential tail"):
        modified_margin(network, np.eye(2), [1, 1], "square", np.ones(13))
    with pytest.raises(InvalidInput, match="at least 0"):
        near_homogeneity(network).defect_bound(-1.0)
