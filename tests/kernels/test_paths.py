"""Features, values and kernel by products of layers against every path written out."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigvalsh

from tests.kernels.oracles import path_vectors
from theory._errors import InvalidInput
from theory.flow import fully_connected
from theory.kernels.paths import PathFeatures, path_features, path_value_norm


def network(seed, widths, slope=0.0):
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal((b, a)) for a, b in pairwise(widths)]
    return weights, rng.standard_normal((4, widths[0])), path_features(weights, rng.standard_normal((1, widths[0])))


@pytest.mark.parametrize("widths", [(3, 1), (3, 4, 1), (3, 4, 3, 1), (2, 3, 2, 3, 1)])
@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_products_are_sums_over_all_paths(widths, slope):
    weights, X, _ = network(len(widths), widths)
    phi = path_features(weights, X, slope=slope)
    kind = "leaky_relu" if slope else "relu"
    net = fully_connected(widths, activation=kind, **({"slope": slope} if slope else {}))
    theta = net.pack(**{f"W{i}": W for i, W in enumerate(weights, start=1)})
    all_features = [path_vectors(weights, [g[i] for g in phi.gates], X[i]) for i in range(4)]
    features, values = np.array([f for f, _ in all_features]), all_features[0][1]
    scale = np.linalg.norm(features, axis=1).max() * np.linalg.norm(values)
    assert features.shape[1] == round(np.exp(phi.log_count)) == np.prod(widths[:-1])
    assert np.abs(features @ values - net.output(theta, X)[:, 0]).max() < 1e-14 * scale
    assert np.abs(phi.product(weights) - net.output(theta, X)).max() < 1e-14 * scale
    assert np.allclose(phi.kernel(), features @ features.T, rtol=1e-13, atol=1e-14)
    assert path_value_norm(weights)[0] == pytest.approx(np.linalg.norm(values), rel=1e-13)
    others, _, _ = network(99, widths)
    v = path_vectors(others, [g[0] for g in phi.gates], X[0])[1]
    assert np.abs(phi.product(others)[:, 0] - features @ v).max() < 1e-13 * scale


def test_output_to_rounding_on_a_network_whose_paths_cannot_be_listed():
    widths = (20, 100, 100, 100, 5)
    weights, X, _ = network(0, widths)
    net = fully_connected(widths)
    f = net.output(net.pack(**{f"W{i}": W for i, W in enumerate(weights, start=1)}), X)
    phi = path_features(weights, X)
    assert np.abs(phi.product(weights) - f).max() < 1e-12 * np.abs(f).max()
    bound = np.sqrt(phi.kernel().diagonal())[:, None] * path_value_norm(weights)
    assert (np.abs(f) <= bound).all()


@given(st.integers(0, 10**6), st.floats(0.01, 100))
@settings(max_examples=20, deadline=None)
def test_kernel_invariances(seed, c):
    widths = (3, 5, 4, 1)
    weights, X, _ = network(seed, widths)
    phi = path_features(weights, X)
    H = phi.kernel()
    assert eigvalsh(H)[0] > -1e-12 * H.max()
    rescaled = path_features([c * weights[0], weights[1] / c, weights[2]], X)
    assert np.array_equal(H, rescaled.kernel())  # the gates do not see scales
    order = np.random.default_rng(seed).permutation(5)
    shuffled = path_features([weights[0][order], weights[1][:, order], weights[2]], X)
    assert np.allclose(H, shuffled.kernel(), rtol=1e-13)
    assert np.allclose(path_features(weights, c * X).kernel(), c**2 * H, rtol=1e-12)
    assert np.array_equal(phi.kernel(path_features(weights, X[:2])), H[:, :2])


def test_tangent_kernel_with_fixed_gates_has_the_path_kernel_as_its_mean():
    widths, s = (3, 4, 4, 1), 0.3
    weights, X, _ = network(7, widths)
    phi = path_features(weights, X[:2])
    rng, kernels = np.random.default_rng(0), []
    net = fully_connected(widths)
    masks = np.concatenate(phi.gates, axis=1)
    for _ in range(3000):
        theta = np.sqrt(s) * rng.standard_normal(net.n_parameters)
        J = net.jacobian(theta, X[:2], masks)[:, 0]
        kernels.append(J @ J.T)
    mean, error = np.mean(kernels, axis=0), np.std(kernels, axis=0) / np.sqrt(3000)
    expected = 3 * s**2 * phi.kernel()
    assert (np.abs(mean - expected) < 4 * error).all() and error.max() < 0.03 * expected.max()


def test_refusals():
    W, X = [np.ones((2, 3)), np.ones((1, 2))], np.ones((1, 3))
    phi = path_features(W, X)
    for call in (
        lambda: path_features(5, X), lambda: path_features([], X),
        lambda: path_features(W, np.ones((1, 2))), lambda: path_features(W, X, slope=2),
        lambda: path_features([W[0], np.ones((1, 3))], X), lambda: path_features(W, np.ones((0, 3))),
        lambda: phi.product(W[:1]), lambda: phi.product([np.ones((4, 3)), np.ones((1, 4))]),
        lambda: phi.kernel(PathFeatures(X=X, gates=(np.ones((1, 3)),))), lambda: path_value_norm([[[np.nan]]]),
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            call()


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_norm_of_the_values_where_squares_leave_float64(size):
    assert path_value_norm([[[3 * size, 4 * size]], [[1.0]]]) == pytest.approx([5 * size], rel=1e-15)
