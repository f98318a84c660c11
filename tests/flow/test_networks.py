"""Networks: derivatives against differences and sympy, degrees against measured growth, convolutions against loops."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import correlate

from theory import InvalidInput, PreconditionError
from theory.flow._activation import Activation, as_activation
from theory.flow._convolution import Convolution
from theory.flow._layers import Dense
from theory.flow.networks import (
    LayeredNetwork,
    convolutional,
    deep_linear,
    diagonal_linear,
    fully_connected,
    homogeneity_defect,
    two_layer,
)

NETWORKS = {
    "linear predictor": fully_connected((3, 2)),
    "deep linear": deep_linear((3, 4, 3, 2)),
    "two-layer relu": two_layer(3, 6),
    "two-layer relu, biases": two_layer(3, 6, 2, bias=True),
    "deep relu": fully_connected((3, 5, 4, 2)),
    "deep leaky, first bias": fully_connected((3, 5, 4, 2), activation="leaky_relu", slope=0.2, bias="first"),
    "deep relu^2": fully_connected((3, 4, 4, 2), activation="relu^2"),
    "relu^3, biases": fully_connected((3, 4, 3, 2), activation="relu^3", bias=True),
    "quadratic": fully_connected((3, 4, 2), activation="quadratic"),
    "convolution 1-D": convolutional((2, 7), (3, 2), 3, stride=2, padding=1, n_outputs=2),
    "convolution 2-D": convolutional((2, 4, 5), (3, 2), (2, 3), padding=(0, 1), activation="relu^2"),
    "dense below a convolution": LayeredNetwork(
        layers=(
            Dense(n_in=3, n_out=8),
            Convolution(in_channels=2, out_channels=3, size=(4,), kernel_size=(2,), stride=(1,), padding=(0,)),
            Dense(n_in=9, n_out=1),
        ),
        activation=as_activation("leaky_relu"),
    ),
    "diagonal 2": diagonal_linear(4),
    "diagonal 5": diagonal_linear(4, 5),
}


def problem(network, seed=0, samples=4):
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal(network.n_parameters)
    X, G = rng.standard_normal((samples, network.n_inputs)), rng.standard_normal((samples, network.n_outputs))
    return theta, X, G


def soft(network, X, seed=0):
    """Slopes strictly between the two sides, as on a kink."""
    return np.random.default_rng(seed).uniform(0.1, 0.9, (len(X), network.n_units))


def difference(function, theta, direction, h=1e-3):
    """Central differences of eighth order along ``direction``."""
    weights = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
    return sum(
        w * (function(theta + j * h * direction) - function(theta - j * h * direction)) / h for j, w in weights.items()
    )


def close(a, b, rtol):
    return np.abs(a - b).max() <= rtol * max(np.abs(b).max(), 1e-300)


@pytest.mark.parametrize("mask", ["fixed", "soft"])
@pytest.mark.parametrize("name", NETWORKS)
def test_derivatives_against_differences(name, mask):
    network = NETWORKS[name]
    theta, X, G = problem(network)
    slopes = network.forward(theta, X).slopes if mask == "fixed" else soft(network, X)
    each = np.eye(len(theta))

    def output(at):
        return network.forward(at, X, slopes).outputs

    jacobian = np.stack([difference(output, theta, e) for e in each], axis=-1)
    assert jacobian.shape == (len(X), network.n_outputs, len(theta)) and np.abs(jacobian).max() > 0.1
    assert close(network.jacobian(theta, X, slopes), jacobian, 1e-9)
    assert close(network.vjp(theta, X, G, slopes), np.einsum("nk,nkp->p", G, jacobian), 1e-9)
    hessian = np.stack([difference(lambda at: network.vjp(at, X, G, slopes), theta, e) for e in each])
    assert np.abs(network.hessian(theta, X, G, slopes) - hessian).max() <= 1e-8 * max(1, np.abs(hessian).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_products_are_those_of_the_full_arrays_for_any_leading_axes(name):
    network = NETWORKS[name]
    theta, X, G = problem(network, seed=1)
    slopes = soft(network, X)
    J, H = network.jacobian(theta, X, slopes), network.hessian(theta, X, G, slopes)
    assert np.allclose(H, H.T, rtol=1e-13, atol=1e-13 * np.abs(H).max())
    tangents = np.random.default_rng(2).standard_normal((2, 3, len(theta)))
    for dtheta in (tangents[0, 0], tangents[0], tangents):
        assert close(network.jvp(theta, X, dtheta, slopes), np.einsum("nkp,...p->...nk", J, dtheta), 1e-13)
        assert network.hvp(theta, X, G, dtheta, slopes).shape == dtheta.shape
        assert np.abs(network.hvp(theta, X, G, dtheta, slopes) - dtheta @ H).max() <= 1e-12 * max(1, np.abs(H).max())
    copy = theta.copy()
    network.output(theta, X)
    assert np.array_equal(theta, copy)


@pytest.mark.parametrize("name", [n for n in NETWORKS if NETWORKS[n].n_units])
def test_signals_are_the_derivatives_by_the_activations(name):
    # moving a bias of the layer above by W e_j moves the output as its activation a_j does
    network = NETWORKS[name]
    theta, X, G = problem(network)
    at = network.forward(theta, X)
    signals = network.gradient(at, G)[1]
    last = network.layers[-1]
    width = network.units[-1]
    expected = last.pull_input(network.split(theta)[-1], G)
    assert signals.shape == (len(X), network.n_units)
    assert np.array_equal(signals[:, -width:], expected)
    # Euler: the activations' part of the first layer's gradient is <W_1, dW_1> = k sum a * signal
    first = network.layers[0].n_weights
    total = theta[:first] @ network.vjp(theta, X, G)[:first]
    a = at.inputs[1]
    assert np.isclose(total, network.activation.power * (a * signals[:, : network.units[0]]).sum(), rtol=1e-11)


def test_a_tiny_network_against_sympy():
    network = fully_connected((2, 2, 2), activation="relu^2", bias=True)
    t = sympy.symbols(f"t0:{network.n_parameters}")
    W1, b1, W2, b2 = sympy.Matrix(2, 2, t[:4]), sympy.Matrix(t[4:6]), sympy.Matrix(2, 2, t[6:10]), sympy.Matrix(t[10:])
    point = [sympy.Rational(p, 8) for p in (3, -5, 7, 2, 1, -6, 9, 4, -3, 5, 2, -1)]
    X = [[sympy.Rational(1, 2), sympy.Rational(-3, 4)], [-2, sympy.Rational(5, 4)], [1, 1]]
    slopes = sympy.Matrix([[1, sympy.Rational(1, 4)], [sympy.Rational(1, 2), 0], [1, 1]])
    theta, inputs, m = (np.array(a.tolist() if hasattr(a, "tolist") else a, dtype=float) for a in (point, X, slopes))
    G = np.array([[1.0, -2], [0.5, 3], [-1, 0.25]])
    at, J, weighted = dict(zip(t, point, strict=True)), [], 0
    for n, x in enumerate(X):
        z = W1 * sympy.Matrix(x) + b1
        f = W2 * sympy.Matrix([slopes[n, j] * z[j] ** 2 for j in range(2)]) + b2
        J.append(np.array(f.jacobian(t).subs(at), dtype=float))
        weighted += sum(sympy.Rational(G[n, k]) * f[k] for k in range(2))
    assert np.array_equal(network.jacobian(theta, inputs, m), J)  # all numbers are short binary fractions
    assert np.array_equal(
        network.hessian(theta, inputs, G, m), np.array(sympy.hessian(weighted, t).subs(at), dtype=float)
    )


def test_a_diagonal_network_against_sympy():
    network, t = diagonal_linear(2, 4), sympy.symbols("u0 u1 v0 v1")
    x, theta = [3, -2], [1, -2, 3, 2]
    f = sum(x[i] * (t[i] ** 4 - t[2 + i] ** 4) for i in range(2))
    at = dict(zip(t, theta, strict=True))
    assert network.output(theta, [x]).item() == int(f.subs(at))
    assert np.array_equal(network.jacobian(theta, [x])[0, 0], [int(f.diff(s).subs(at)) for s in t])
    assert np.array_equal(network.hessian(theta, [x], [[1.0]]), np.array(sympy.hessian(f, t).subs(at), dtype=float))


@pytest.mark.parametrize(("layers", "degree"), [(2, 3), (3, 7), (4, 15)])
def test_degree_of_relu_squared_networks_is_measured(layers, degree):
    # sum k^i; 3, 5, 9 for these depths is in circulation and wrong
    network = fully_connected([3] + [6] * (layers - 1) + [1], activation="relu^2")
    theta, X, _ = problem(network, seed=3)
    scales = np.geomspace(0.5, 2, 9)
    f = np.array([network.output(c * theta, X)[:, 0] for c in scales])
    active = np.abs(f[0]) > 0
    assert active.any()
    slope = np.polyfit(np.log(scales), np.log(np.abs(f[:, active])), 1)[0]
    assert np.abs(slope - degree).max() < 1e-12
    assert network.degree == degree


DEGREES = {"linear predictor": 1, "deep linear": 3, "two-layer relu": 2, "deep relu": 3, "deep leaky, first bias": 3,
           "deep relu^2": 7, "quadratic": 3, "convolution 1-D": 3, "convolution 2-D": 7, "diagonal 2": 2,
           "diagonal 5": 5, "dense below a convolution": 3}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_homogeneity_and_eulers_identity(name):
    network = NETWORKS[name]
    theta, X, _ = problem(network, seed=4)
    defect = homogeneity_defect(network, theta, X, scales=(0.25, 3.0))
    euler = network.jacobian(theta, X) @ theta - network.degree * network.output(theta, X)
    assert network.homogeneous == (name in DEGREES)
    if network.homogeneous:
        assert network.degree == DEGREES[name]
        assert defect < 1e-13
        assert np.abs(euler).max() < 1e-12 * np.abs(network.output(theta, X)).max() * network.degree
    else:
        theta = network.pack(**{k: v + 0.5 for k, v in network.views(theta).items()})
        assert homogeneity_defect(network, theta, X) > 1e-2
        assert np.abs(euler).max() > 1e-2


@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.sampled_from(["relu", "leaky_relu", "relu^2", "linear"]),
       st.sampled_from([False, "first"]), st.integers(0, 1000))  # fmt: skip
def test_every_homogeneous_network_is(widths, activation, bias, seed):
    network = fully_connected(widths, activation=activation, bias=bias)
    theta, X, G = problem(network, seed)
    f = network.output(theta, X)
    if f.any():
        assert homogeneity_defect(network, theta, X) < 1e-12
    total = (G * f).sum()
    assert (
        abs(network.vjp(theta, X, G) @ theta - network.degree * total)
        <= 1e-12 * network.degree * (np.abs(G) * np.abs(f)).sum()
    )


def test_output_by_hand():
    network = two_layer(2, 2, bias=True, activation="leaky_relu", slope=0.1)
    theta = network.pack(W1=[[1, 2], [3, -4]], b1=[0.5, -1], W2=[[2, -10]], b2=[7])
    assert network.output(theta, [[1, 1]]).item() == 2 * 3.5 - 10 * (0.1 * -2) + 7
    assert np.array_equal(network.preactivations(theta, np.array([[1.0, 1]])), [[3.5, -2]])


def test_views_and_pack_are_inverse_and_views_are_views():
    for network in NETWORKS.values():
        theta = np.arange(network.n_parameters, dtype=float)
        views = network.views(theta)
        assert sum(v.size for v in views.values()) == theta.size
        assert np.array_equal(network.pack(**views), theta)
        assert all(np.shares_memory(view, theta) for view in views.values())
        assert network.views(np.zeros((3, theta.size)))[next(iter(views))].shape[0] == 3


def test_truncated_networks_end_with_the_preactivations():
    network = NETWORKS["deep leaky, first bias"]
    theta, X, _ = problem(network)
    below = network.truncated(1)
    z = network.preactivations(theta, X)[:, network.starts[1] :]
    assert np.array_equal(below.output(theta[: below.n_parameters], X), z)


def test_random_parameters_have_the_variance_of_the_fan_in():
    network = fully_connected((50, 100, 40), bias=True)
    views = network.views(network.random_parameters(rng=0, scale=3.0))
    assert abs(views["W1"].std() * np.sqrt(50) / 3 - 1) < 0.03 and abs(views["W2"].std() * np.sqrt(100) / 3 - 1) < 0.03
    assert not views["b1"].any() and not views["b2"].any()
    conv = convolutional((8, 20), (40,), 5)
    assert abs(conv.views(conv.random_parameters(rng=0))["W1"].std() * np.sqrt(40) - 1) < 0.05
    assert np.array_equal(network.random_parameters(rng=5), network.random_parameters(rng=np.random.default_rng(5)))


# -- convolutions ---------------------------------------------------------------------------------------------------


def looped(layer, w, a):
    """The definition, entry by entry."""
    W = w.reshape(layer.out_channels, layer.in_channels, *layer.kernel_size)
    image = a.reshape(layer.in_channels, *layer.size)
    out = np.zeros((layer.out_channels, *layer.out_size))
    for o, c in itertools.product(range(layer.out_channels), range(layer.in_channels)):
        for p in np.ndindex(*layer.out_size):
            for t in np.ndindex(*layer.kernel_size):
                at = [s * i + j - pad for s, i, j, pad in zip(layer.stride, p, t, layer.padding, strict=True)]
                if all(0 <= i < n for i, n in zip(at, layer.size, strict=True)):
                    out[(o, *p)] += W[(o, c, *t)] * image[(c, *at)]
    return out.ravel()


@given(st.integers(1, 2), st.integers(0, 10**6))
def test_convolutions_against_a_loop_and_their_adjoints(dimensions, seed):
    rng = np.random.default_rng(seed)
    size, kernel = (tuple(rng.integers(1, top, dimensions).tolist()) for top in (6, 4))
    stride, padding = (tuple(rng.integers(low, 3, dimensions).tolist()) for low in (1, 0))
    kernel = tuple(min(k, n + 2 * p) for k, n, p in zip(kernel, size, padding, strict=True))
    layer = Convolution(in_channels=int(rng.integers(1, 4)), out_channels=int(rng.integers(1, 4)), size=size,
                        kernel_size=kernel, stride=stride, padding=padding)  # fmt: skip
    w, a = rng.standard_normal(layer.n_weights), rng.standard_normal((3, layer.n_in))
    dz = rng.standard_normal((3, layer.n_out))
    z = layer.apply(w, a)
    assert np.allclose(z, [looped(layer, w, row) for row in a], rtol=1e-12, atol=1e-12)
    assert np.isclose((dz * z).sum(), (layer.pull_input(w, dz) * a).sum(), rtol=1e-10, atol=1e-10)
    assert np.isclose((dz * z).sum(), layer.pull_weights(a, dz) @ w, rtol=1e-10, atol=1e-10)
    assert np.allclose(layer.pull_weights_each(a, dz).sum(axis=0), layer.pull_weights(a, dz), rtol=1e-12, atol=1e-12)
    batch = rng.standard_normal((2, layer.n_weights))
    assert np.allclose(layer.apply(batch, a)[1], layer.apply(batch[1], a), rtol=1e-13, atol=1e-13)
    assert np.allclose(layer.pull_input(batch, dz)[1], layer.pull_input(batch[1], dz), rtol=1e-13, atol=1e-13)


def test_convolution_against_scipy():
    rng = np.random.default_rng(0)
    layer = Convolution(in_channels=3, out_channels=2, size=(6, 7), kernel_size=(3, 2), stride=(1, 1), padding=(0, 0))
    w, a = rng.standard_normal(layer.n_weights), rng.standard_normal(layer.n_in)
    W, image = w.reshape(2, 3, 3, 2), a.reshape(3, 6, 7)
    expected = [sum(correlate(image[c], W[o, c], mode="valid", method="direct") for c in range(3)) for o in range(2)]
    assert layer.out_size == (4, 6)
    assert np.allclose(layer.apply(w, a[None]).reshape(2, 4, 6), expected, rtol=1e-13, atol=1e-13)


def test_a_convolution_whose_kernel_covers_its_input_is_dense():
    network = convolutional((2, 3, 3), (4,), 3, n_outputs=2)
    dense = fully_connected((18, 4, 2))
    theta, X, _ = problem(network)
    assert network.n_parameters == dense.n_parameters
    assert np.allclose(network.output(theta, X), dense.output(theta, X), rtol=1e-13)


def test_names_and_descriptions():
    for network in NETWORKS.values():
        described = json.loads(json.dumps(network.to_json()))
        assert described["parameters"] == network.n_parameters and described["degree"] == network.degree
        assert network.starts[-1] == network.n_units == sum(network.units)
        theta, X, _ = problem(network)
        assert network.preactivations(theta, X).shape == (len(X), network.n_units)
    assert two_layer(2, 3, bias=True).to_json()["homogeneous"] is False


NET, THETA = two_layer(2, 3), np.ones(9)
FOUR_BY_TWO, TWO_BY_FOUR = convolutional((1, 3), (4,), 2).layers[0], convolutional((2, 4), (1,), 2).layers[0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fully_connected((3,)), r"\(inputs, hidden ..., outputs\), but are \(3,\)"),
        (lambda: fully_connected(3), "sequence of whole numbers, but is 3"),
        (lambda: fully_connected((3, 0, 1)), "at least 1, but is 0"),
        (lambda: fully_connected((3, 2.5, 1)), "whole number, but is 2.5"),
        (lambda: fully_connected((3, 1), bias=1), "bias must be False, True or 'first', but is 1"),
        (lambda: fully_connected((3, 1), activation="tanh"), "relu, leaky_relu, relu\\^2, ..., linear or quadratic"),
        (lambda: fully_connected((3, 1), activation="relu^0"), "power of relu must be at least 1"),
        (lambda: fully_connected((3, 1), slope=0.1), "slope belongs to leaky_relu, not to 'relu'"),
        (lambda: as_activation("leaky_relu", slope=1.0), r"in \[0, 1\), but is 1"),
        (lambda: as_activation("leaky_relu", slope=np.nan), "finite"),
        (lambda: convolutional((3, 4, 4, 4), (2,), 2), "input_shape must be"),
        (lambda: convolutional((3, 4, 4), (), 2), "at least one convolution"),
        (lambda: convolutional((3, 4, 4), (2,), 5), r"kernel \(5, 5\) is larger than the padded input \(4, 4\)"),
        (lambda: convolutional((3, 4, 4), (2,), (2, 2, 2)), "kernel_size must be one number or 2"),
        (lambda: convolutional((3, 4), (2,), 2, stride=0), "stride must be at least 1"),
        (lambda: convolutional((3, 4), (2,), 2, padding=-1), "padding must be at least 0"),
        (lambda: diagonal_linear(0), "dimension must be at least 1"),
        (lambda: diagonal_linear(2, 1), "depth must be at least 2"),
        (lambda: diagonal_linear(2).pack(u=[1, 2]), "the parameters are u, v, but u was given"),
        (lambda: diagonal_linear(2).pack(u=[1, 2], v=[1]), r"v must have shape \(2,\), but has \(1,\)"),
        (lambda: diagonal_linear(2).output([1, 2, 3], np.ones((1, 2))), r"theta must have shape \(4,\)"),
        (lambda: diagonal_linear(2).output(np.ones(4), np.ones((1, 3))), r"\(samples, 2\), but have \(1, 3\)"),
        (lambda: NET.pack(W1=np.ones((3, 2))), "the parameters are W1, W2, but W1 was given"),
        (lambda: NET.pack(W1=np.ones((2, 3)), W2=np.ones((1, 3))), r"W1 must have shape \(3, 2\), but has \(2, 3\)"),
        (lambda: NET.output(THETA[1:], np.ones((1, 2))), r"theta must have shape \(9,\), but has \(8,\)"),
        (lambda: NET.output(THETA * np.inf, np.ones((1, 2))), "theta must be finite"),
        (lambda: NET.output(THETA, [[np.nan, 1]]), "inputs must be finite"),
        (lambda: NET.jacobian(THETA, np.ones(2)), r"inputs must have shape \(samples, 2\), but have \(2,\)"),
        (lambda: NET.hessian(THETA[1:], np.ones((1, 2)), np.ones((1, 1))), "theta must have shape"),
        (lambda: LayeredNetwork(layers=(), activation=Activation(name="relu")), "at least one layer"),
        (lambda: LayeredNetwork(layers=(NET.layers[0], NET.layers[0]), activation=NET.activation),
         "3 outputs meets one of 2 inputs"),
        (lambda: LayeredNetwork(layers=(FOUR_BY_TWO, TWO_BY_FOUR), activation=NET.activation),
         r"outputs \(4, 2\) meets one with inputs \(2, 4\)"),
        (lambda: homogeneity_defect(NET, THETA, np.ones((1, 2)), scales=()), "at least one scale"),
        (lambda: homogeneity_defect(NET, THETA, np.ones((1, 2)), scales=(-1,)), "positive"),
    ],
)  # fmt: skip
def test_bad_input(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()


def test_homogeneity_defect_by_hand():
    network = two_layer(1, 1, bias=True)
    theta = network.pack(W1=[[1]], b1=[0], W2=[[1]], b2=[1])  # f(c theta) = c^2 + c on x = 1, so 2 and then 6, not 8
    assert homogeneity_defect(network, theta, [[1.0]], scales=(2.0,)) == 0.25
    assert homogeneity_defect(network, theta, [[1.0]], scales=(2.0, 0.5)) == 0.5


def test_a_dead_network_has_no_measured_homogeneity():
    with pytest.raises(PreconditionError, match="all zero"):
        homogeneity_defect(NET, THETA, -np.ones((1, 2)))
