"""Analytic kernels against quadrature, against finite networks, and in their limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigvalsh

from tests.kernels.oracles import kernels
from theory._errors import InvalidInput, PreconditionError
from theory.bounds.kernel import relu_tangent_kernel
from theory.flow import convolutional, fully_connected
from theory.kernels._angles import SERIES, _sine_less
from theory.kernels.empirical import empirical_tangent_kernel
from theory.kernels.relu import first_layer_kernel, relu_kernels


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize(("s_w", "s_b"), [(2.0, 0.0), (1.3, 0.7)])
def test_recursion_is_quadrature(depth, s_w, s_b):
    rng = np.random.default_rng(depth)
    X, Z = rng.standard_normal((3, 4)), rng.standard_normal((2, 4))
    Z[1] = 1.5 * X[0]
    widths = (7, 5, 3, 2)[: depth - 1]
    ntk = relu_kernels(X, Z, depth=depth, weight_variance=s_w, bias_variance=s_b)
    standard = relu_kernels(
        X, Z, depth=depth, weight_variance=s_w, bias_variance=s_b, parametrisation="standard", widths=widths
    )
    for i in range(3):
        for j in range(2):
            nngp, tangent = kernels(X[i], Z[j], depth, s_w, s_b)
            assert ntk.nngp[i, j] == pytest.approx(nngp, rel=1e-10, abs=1e-12)
            assert ntk.tangent[i, j] == pytest.approx(tangent, rel=1e-10, abs=1e-12)
            wide = kernels(X[i], Z[j], depth, s_w, s_b, (4, *widths))[1]
            assert standard.tangent[i, j] == pytest.approx(wide, rel=1e-10, abs=1e-12)
    assert np.array_equal(standard.nngp, ntk.nngp)


def mean_of_networks(net, X, count, s_w, s_b, parametrisation, seed):
    """Means and standard errors of kernels and of output products over random networks."""
    rng, tangent, outputs = np.random.default_rng(seed), [], []
    for _ in range(count):
        theta = np.zeros(net.n_parameters)
        for name, array in net.views(theta).items():
            spread = np.sqrt(s_w / array.shape[1]) if name[0] == "W" else np.sqrt(s_b)
            array[...] = spread * rng.standard_normal(array.shape)
        K = empirical_tangent_kernel(
            net, theta, X, parametrisation=parametrisation, weight_variance=s_w, bias_variance=s_b
        )
        f = net.output(theta, X)
        tangent.append(K)
        outputs.append(f @ f.T)
    both = [np.array(tangent), np.array(outputs)]
    return [(a.mean(axis=0), a.std(axis=0) / np.sqrt(count)) for a in both]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("parametrisation", ["ntk", "standard"])
def test_one_hidden_layer_is_exact_in_the_mean(bias, parametrisation):
    X = np.array([[1.0, 0.2, -0.5], [0.3, -1.0, 0.4]])
    net, s_b = fully_connected((3, 6, 1), bias=bias), 0.5 * bias
    (K, K_error), (f, f_error) = mean_of_networks(net, X, 1500, 2.0, s_b, parametrisation, seed=1)
    widths = None if parametrisation == "ntk" else (6,)
    found = relu_kernels(X, depth=2, bias_variance=s_b, parametrisation=parametrisation, widths=widths)
    assert (np.abs(K - found.tangent) < 4 * K_error).all() and (K_error < 0.04 * K.max()).all()
    assert (np.abs(f - found.nngp) < 4 * f_error).all() and (f_error < 0.08 * f.max()).all()


@pytest.mark.parametrize("parametrisation", ["ntk", "standard"])
def test_wide_deep_network_approaches_the_limit(parametrisation):
    X = np.array([[1.0, 0.2, -0.5], [0.3, -1.0, 0.4]])
    gaps = []
    for width in (6, 96):
        net = fully_connected((3, width, width, 1))
        (K, error), _ = mean_of_networks(net, X, 600 if width == 6 else 120, 2.0, 0.0, parametrisation, seed=2)
        widths = None if parametrisation == "ntk" else (width, width)
        found = relu_kernels(X, depth=3, parametrisation=parametrisation, widths=widths).tangent
        scale = found.max()
        gaps.append((np.abs(K - found).max() / scale, error.max() / scale))
    assert gaps[1][0] < 4 * gaps[1][1] + 1 / 96 and gaps[1][1] < 0.03


@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([0.0, 0.3]))
@settings(max_examples=25, deadline=None)
def test_kernels_are_semidefinite_symmetric_and_turn_with_the_inputs(seed, depth, s_b):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((6, 3))
    X[5] = -X[0]
    Q = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    found = relu_kernels(X, depth=depth, bias_variance=s_b)
    turned = relu_kernels(X @ Q, depth=depth, bias_variance=s_b)
    for K, other in ((found.nngp, turned.nngp), (found.tangent, turned.tangent)):
        assert np.abs(K - K.T).max() < 1e-14 * K.max() and eigvalsh(K)[0] > -1e-13 * K.max()
        assert np.abs(K - other).max() < 1e-13 * K.max()
    assert (found.tangent - found.nngp).diagonal().min() >= -1e-13


@given(st.integers(0, 10**6), st.integers(1, 5), st.floats(0.01, 100))
@settings(max_examples=25, deadline=None)
def test_homogeneous_without_bias(seed, depth, c):
    X = np.random.default_rng(seed).standard_normal((4, 3))
    a, b = relu_kernels(X, depth=depth), relu_kernels(c * X, X, depth=depth)
    assert np.allclose(b.tangent, c * a.tangent, rtol=1e-13) and np.allclose(b.nngp, c * a.nngp, rtol=1e-13)
    assert np.allclose(a.tangent.diagonal(), depth * 2 * (X**2).sum(axis=1) / 3, rtol=1e-13)  # s_w = 2 keeps sizes


def test_nearly_parallel_and_opposite_inputs_keep_their_digits():
    x, e = np.array([1.0, 0.0]), 1e-9
    tilted = np.array([[np.cos(e), np.sin(e)]])
    on = relu_kernels(x[None], tilted, depth=4, weight_variance=2.0).on_both
    angle = e
    for value in on:
        assert 0.5 - value[0, 0] == pytest.approx(angle / (2 * np.pi), rel=1e-6)
        angle = np.sqrt(angle**2 - 2 * angle**3 / (3 * np.pi))  # 1 - cos t' = t^2/2 - t^3/(3 pi) + ...
    assert relu_kernels(x[None], 3 * x[None], depth=6).on_both[-1][0, 0] == 0.5
    opposite = relu_kernels(x[None], -2 * tilted, depth=2)
    assert opposite.on_both[0][0, 0] == pytest.approx(e / (2 * np.pi), rel=1e-6)
    shifted = relu_kernels(x[None], tilted, depth=3, bias_variance=0.5)
    assert 0.5 - shifted.on_both[0][0, 0] == pytest.approx(e * np.sqrt(1 / 1.5) / (2 * np.pi), rel=1e-6)


def test_series_meets_the_formula():
    t = np.array([SERIES * (1 - 1e-9), SERIES * (1 + 1e-9)])  # the second by sin t - t cos t, good to 1e-10 here
    assert _sine_less(t)[0] == pytest.approx(_sine_less(t)[1], rel=1e-8)
    assert _sine_less(np.array([1.5]))[0] == pytest.approx(np.sin(1.5) - 1.5 * np.cos(1.5), rel=1e-15)


def test_zero_input():
    found = relu_kernels([[0.0, 0.0], [1.0, 2.0]], depth=3)
    assert (found.tangent[0] == 0).all() and found.tangent[1, 1] > 0
    with_bias = relu_kernels([[0.0, 0.0]], depth=2, bias_variance=1.0)
    assert with_bias.nngp[0, 0] == pytest.approx(2.0, rel=1e-15)  # 2 (1/2) + 1


def test_first_layer_kernel():
    X = np.random.default_rng(0).standard_normal((6, 3))
    assert np.allclose(first_layer_kernel(X), relu_tangent_kernel(X), rtol=1e-14, atol=1e-15)
    assert np.allclose(first_layer_kernel(X, X[:2]), relu_tangent_kernel(X)[:, :2], rtol=1e-14, atol=1e-15)
    net = fully_connected((3, 4000, 1))
    theta = net.random_parameters(rng=1) * 3**0.5  # standard normal rows
    theta[-4000:] = np.sign(theta[-4000:]) / np.sqrt(4000)
    J = net.jacobian(theta, X)[:, 0, :-4000]
    assert np.abs(J @ J.T - first_layer_kernel(X)).max() < 0.05 * np.abs(first_layer_kernel(X)).max()


def test_several_outputs_and_other_inputs():
    net, rng = fully_connected((3, 4, 2)), np.random.default_rng(0)
    theta, X, Z = net.random_parameters(rng=1), rng.standard_normal((3, 3)), rng.standard_normal((2, 3))
    K = empirical_tangent_kernel(net, theta, X, Z)
    J, J_other = net.jacobian(theta, X), net.jacobian(theta, Z)
    assert K.shape == (3, 2, 2, 2)
    assert K[2, 1, 0, 1] == pytest.approx(J[2, 1] @ J_other[0, 1], rel=1e-13)


def test_refusals():
    X = np.eye(2)
    for wrong in (
        {"depth": 0}, {"depth": 1.5}, {"depth": 2, "weight_variance": 0}, {"depth": 2, "bias_variance": -1},
        {"depth": 2, "parametrisation": "mup"}, {"depth": 2, "parametrisation": "standard"},
        {"depth": 2, "parametrisation": "standard", "widths": (3, 3)}, {"depth": 2, "widths": (3,)},
        {"depth": 2, "X_other": np.eye(3)}, {"depth": 2, "parametrisation": "standard", "widths": 3},
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            relu_kernels(X, **wrong)
    with pytest.raises(InvalidInput):
        first_layer_kernel(X, np.eye(3))
    with pytest.raises(InvalidInput):
        relu_kernels([[np.nan, 1.0]], depth=2)
    net = convolutional((1, 4), (2,), 3)
    with pytest.raises(PreconditionError, match="fully connected"):
        empirical_tangent_kernel(net, np.ones(net.n_parameters), np.ones((1, 4)), parametrisation="ntk")
    with pytest.raises(InvalidInput):
        empirical_tangent_kernel(net, np.ones(3), np.ones((1, 4)))
    with pytest.raises(InvalidInput):
        empirical_tangent_kernel(net, np.ones(net.n_parameters), np.ones((1, 4)), parametrisation="mup")


def test_kernels_beyond_float64_are_refused():
    for kernel in (lambda X: relu_kernels(X, depth=2), first_layer_kernel):
        with pytest.raises(InvalidInput, match="overflows"):
            kernel([[1e200, 0.0]])
