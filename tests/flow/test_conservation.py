"""What a gradient flow keeps: along flows computed elsewhere, by hand, by count."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from theory import InvalidInput, NotConverged
from theory.flow import _law_count
from theory.flow._activation import as_activation
from theory.flow._layers import Dense
from theory.flow.conservation import conservation_drift, conservation_law_count, conserved_quantities
from theory.flow.networks import (
    LayeredNetwork,
    convolutional,
    deep_linear,
    diagonal_linear,
    fully_connected,
    two_layer,
)


def rates(network, theta, velocity):
    """d/dt of every conserved quantity along the velocity, by central differences."""
    h = 1e-6
    ahead, behind = (
        conserved_quantities(network, theta + h * velocity),
        conserved_quantities(network, theta - h * velocity),
    )
    return np.concatenate([((ahead[name] - behind[name]) / (2 * h)).ravel() for name in ahead])


NETWORKS = {
    "deep linear": deep_linear((3, 4, 2, 2)),
    "deep linear, biases": fully_connected((3, 4, 2, 2), activation="linear", bias=True),
    "relu": fully_connected((3, 4, 5, 2)),
    "relu, biases": fully_connected((3, 4, 5, 2), bias=True),
    "leaky": fully_connected((3, 4, 5, 2), activation="leaky_relu", slope=0.3, bias="first"),
    "relu^2": fully_connected((3, 4, 5, 2), activation="relu^2"),
    "relu^3": two_layer(3, 4, activation="relu^3", bias=True),
    "quadratic": fully_connected((3, 4, 5, 2), activation="quadratic"),
    "convolution 1-D": convolutional((2, 7), (3, 2), 3, stride=2, padding=1, n_outputs=2),
    "convolution 2-D, relu^2": convolutional((1, 4, 5), (2, 3), 2, activation="relu^2"),
    "convolution, linear": convolutional((2, 6), (3, 2), 2, activation="linear"),
    "dense below a convolution": LayeredNetwork(
        layers=(Dense(n_in=3, n_out=8), convolutional((2, 4), (3,), 2).layers[0], Dense(n_in=9, n_out=1)),
        activation=as_activation("leaky_relu"),
    ),
    "diagonal 2": diagonal_linear(3),
    "diagonal 3": diagonal_linear(3, 3),
    "diagonal 4": diagonal_linear(3, 4),
    "diagonal 5": diagonal_linear(3, 5),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_no_gradient_moves_a_conserved_quantity(name):
    network, rng = NETWORKS[name], np.random.default_rng(0)
    for _ in range(5):
        theta = rng.standard_normal(network.n_parameters)
        theta = np.abs(theta) + 0.3 if name.startswith("diagonal") else theta
        X, G = rng.standard_normal((6, network.n_inputs)), rng.standard_normal((6, network.n_outputs))
        velocity = network.vjp(theta, X, G)
        velocity /= np.linalg.norm(velocity)
        moved = rates(network, theta, velocity)
        assert np.abs(moved).max() < 1e-8
        other = rng.standard_normal(network.n_parameters)  # a direction that is no gradient does move them
        assert np.abs(rates(network, theta, other / np.linalg.norm(other))).max() > 1e-2


@pytest.mark.parametrize("bias", [False, "first"])
def test_units_on_their_kink_keep_the_law_for_every_clarke_weight(bias):
    network, rng = fully_connected((3, 4, 5, 2), bias=bias), np.random.default_rng(0)
    theta, X = rng.standard_normal(network.n_parameters), rng.standard_normal((6, 3))
    slopes = rng.random((6, network.n_units))
    # a unit slides where its pre-activation is zero; elsewhere the slope is that of its side
    z = network.preactivations(theta, X)
    pair = [2, 1]
    W = network.views(theta)["W1"][pair[1]]
    x, b = X[pair[0]], network.views(theta).get("b1", np.zeros(4))[pair[1]]
    W -= (W @ x + b) / (x @ x) * x
    z = network.preactivations(theta, X)
    assert abs(z[tuple(pair)]) < 1e-14
    slopes = np.where(np.abs(z) < 1e-12, slopes, z > 0)
    assert 0 < slopes[tuple(pair)] < 1
    velocity = network.vjp(theta, X, rng.standard_normal((6, 2)), slopes)
    assert np.abs(rates(network, theta, velocity / np.linalg.norm(velocity))).max() < 1e-8


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_diagonal_networks_along_a_flow(depth):
    network, rng = diagonal_linear(4, depth), np.random.default_rng(1)
    X, y = rng.standard_normal((3, 4)), rng.standard_normal((3, 1))
    theta0 = 0.5 + rng.random(8)

    def field(_, theta):
        return network.vjp(theta, X, y - network.output(theta, X))

    run = solve_ivp(field, (0, 3), theta0, method="DOP853", rtol=1e-12, atol=1e-14)
    assert np.linalg.norm(run.y[:, -1] - theta0) > 0.1
    assert conservation_drift(network, theta0, run.y[:, -1]) < 1e-11


def test_diagonal_laws_by_hand():
    # depth 4: the power mean of exponent -2, squared, is the harmonic mean of the squares
    u, v = np.array([1.0, 0.0, -2.0]), np.array([2.0, 3.0, 2.0])
    assert np.allclose(conserved_quantities(diagonal_linear(3, 4), np.r_[u, v])["balance"], [1.6, 0, 4], rtol=1e-15)
    # depth 3: the harmonic mean, squared; no law between opposite signs
    found = conserved_quantities(diagonal_linear(3, 3), np.r_[u, v])["balance"]
    assert np.allclose(found, [16 / 9, 0, np.nan], rtol=1e-15, equal_nan=True)
    tiny = conserved_quantities(diagonal_linear(1, 40), np.array([1e-100, 2e-100]))["balance"]
    assert np.allclose(tiny, 1e-200 * ((1 + 0.5**38) / 2) ** (-1 / 19), rtol=1e-14, atol=0)


def test_values_by_hand():
    linear = deep_linear((2, 2, 1))
    theta = linear.pack(W1=[[1, 2], [3, 4]], W2=[[5, 6]])
    assert np.array_equal(conserved_quantities(linear, theta)["balance1"], [[25 - 5, 30 - 11], [30 - 11, 36 - 25]])
    square = fully_connected((2, 2, 1), activation="relu^2", bias="first")
    theta = square.pack(W1=[[1, 2], [3, 4]], b1=[1, 0], W2=[[5, 6]])
    assert np.array_equal(conserved_quantities(square, theta)["balance1"], [1 + 4 + 1 - 50, 9 + 16 - 72])
    assert conserved_quantities(fully_connected((3, 2)), np.zeros(6)) == {}


@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_drift_does_not_see_the_scale_of_theta(seed, scale):
    network, rng = fully_connected((2, 3, 1), activation="relu^2"), np.random.default_rng(seed)
    a, b = rng.standard_normal((2, network.n_parameters))
    drift = conservation_drift(network, a, b)
    assert drift == pytest.approx(conservation_drift(network, b, a), rel=1e-14)
    assert drift == pytest.approx(conservation_drift(network, scale * a, scale * b), rel=1e-12)
    assert conservation_drift(network, a, a) == 0


def test_drift_at_the_edges():
    network = two_layer(1, 1)
    assert conservation_drift(network, [0.0, 0.0], [0.0, 0.0]) == 0
    assert conservation_drift(network, [0.0, 0.0], [0.0, 2.0]) == 1
    assert conservation_drift(fully_connected((2, 1)), [0.0, 1.0], [5.0, 5.0]) == 0
    odd = diagonal_linear(2, 3)
    assert conservation_drift(odd, [1, 1, 1, -1], [1, 2, 1, -3]) == 0  # no law between opposite signs
    assert conservation_drift(odd, [1, 1, 1, 1], [1, 0, 1, 2]) == pytest.approx(
        1 / 6, rel=1e-15
    )  # through zero: 1 becomes 0, over 6
    assert conservation_drift(odd, [1, 1, 1, 1], [1, -0.5, 1, 1]) == 1 / 4


SHAPES = {
    (2, 3, 2): 3,
    (2, 3, 4): 10,
    (2, 3, 5): 15,
    (2, 3, 6): 20,
    (2, 3, 9): 35,
    (1, 1, 1): 1,
    (1, 1, 4): 7,
    (3, 2, 7): 25,
}


@pytest.mark.parametrize(("n", "m", "r"), SHAPES)
def test_published_counts_of_two_linear_layers(n, m, r):
    count = conservation_law_count(deep_linear((n, r, m)))
    assert count.laws == count.known == SHAPES[n, m, r]
    assert count.is_complete and count.accepted > 1e-3 and count.rejected < 1e-12


def closed_form(n, r, m):
    return r * (r + 1) // 2 if r <= n + m else (n + m) * r - (n + m) * (n + m - 1) // 2


@given(st.integers(1, 5), st.integers(1, 12), st.integers(1, 5), st.integers(0, 100))
def test_two_linear_layers_have_the_closed_form(n, r, m, seed):
    count = conservation_law_count(deep_linear((n, r, m)), rng=seed)
    assert count.laws == count.known == closed_form(n, r, m)


@pytest.mark.parametrize("seed", range(20))
def test_relu_networks_have_one_law_per_hidden_unit(seed):
    rng = np.random.default_rng(seed)
    widths = rng.integers(1, 6, rng.integers(3, 6)).tolist()
    name = ["relu", "leaky_relu", "relu^2"][seed % 3]
    bias = [False, True, "first"][seed // 3 % 3]
    count = conservation_law_count(fully_connected(widths, activation=name, bias=bias), rng=seed)
    assert count.laws == count.known == sum(widths[1:-1])
    assert count.brackets == 0


@pytest.mark.parametrize("seed", range(20))
def test_deep_linear_networks_keep_their_balances_and_nothing_else(seed):
    rng = np.random.default_rng(seed)
    hidden = rng.integers(1, 5, rng.integers(2, 4))
    ends = np.maximum(hidden[[0, -1]], 2)  # no wider inside than at the ends: all matrices are independent
    count = conservation_law_count(deep_linear([ends[0], *hidden, ends[1]]), rng=seed)
    assert count.laws == count.known == sum(h * (h + 1) // 2 for h in hidden)


@pytest.mark.parametrize(
    ("network", "laws"),
    [
        (fully_connected((3, 4, 2), activation="quadratic"), 4),
        (fully_connected((2, 3, 2, 1), activation="quadratic"), 5),
        (convolutional((1, 6), (3, 2), 3), 5),
        (convolutional((2, 4, 4), (3, 2), 2, activation="leaky_relu"), 5),
        (convolutional((2, 8), (3, 4), 3, activation="linear"), 6 + 10),
        (diagonal_linear(5, 2), 5),
        (diagonal_linear(5, 3), 5),
        (diagonal_linear(5, 4), 5),
        (fully_connected((3, 2)), 0),
    ],
    ids=lambda x: getattr(x, "name", x),
)
def test_other_architectures(network, laws):
    count = conservation_law_count(network)
    assert count.laws == count.known == laws


@pytest.mark.parametrize("widths", [(1, 3, 3, 1), (1, 2, 3, 1)])
def test_a_deep_chain_from_one_input_to_one_output_has_laws_that_no_balance_gives(widths):
    # one gradient field alone: every function of its orbits is kept, P - 1 of them
    network = deep_linear(widths)
    count = conservation_law_count(network)
    assert count.laws == network.n_parameters - 1 > count.known
    assert not count.is_complete


def test_brackets_of_brackets_are_found():
    # wider inside than at the ends: gradients and first brackets reach 4 + 3 of 10 directions
    count = conservation_law_count(deep_linear((2, 3, 4, 2)))
    assert (count.laws, count.known, count.brackets) == (16, 16, 2)
    assert count.to_json()["laws"] == 16 and count.to_json()["is_complete"] is True


def test_an_unclear_rank_is_refused(monkeypatch):
    monkeypatch.setattr(_law_count, "CLEAR_GAP", 1e20)
    with pytest.raises(NotConverged, match="singular value"):
        conservation_law_count(deep_linear((2, 3, 4)))
    monkeypatch.setattr(_law_count, "ROUNDS", 0)
    with pytest.raises(NotConverged, match="dimension 6"):
        conservation_law_count(deep_linear((2, 4, 3)))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: conserved_quantities(two_layer(2, 3), np.zeros(8)), r"shape \(9,\), but has \(8,\)"),
        (lambda: conserved_quantities(two_layer(2, 3), np.full(9, np.nan)), "finite"),
        (lambda: conservation_drift(two_layer(2, 3), np.zeros(9), np.zeros(8)), r"\(8,\)"),
        (lambda: conserved_quantities(type("Other", (), {"n_parameters": 2})(), np.zeros(2)), "layered and diagonal"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
