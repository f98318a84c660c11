"""Alignment of theta with its velocity, of layers with each other, and the excess over rank one."""

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.flow._flows import separable, sliding_pair, smooth_flow
from theory import InvalidInput, PreconditionError
from theory.flow.alignment import alignment
from theory.flow.margins import margins
from theory.flow.networks import convolutional, deep_linear, diagonal_linear, fully_connected


@given(seed=st.integers(0, 10_000))
def test_measures_against_their_definitions(seed):
    rng = np.random.default_rng(seed)
    network = deep_linear((3, 4, 2, 1))
    X, theta = rng.standard_normal((5, 3)), rng.standard_normal(network.n_parameters)
    y = np.sign(rng.standard_normal(5))
    found = alignment(network, X, y, "logistic", theta, direction=[1.0, 2.0, 3.0])
    f = network.output(theta, X)[:, 0]
    g = network.vjp(theta, X, (y / (1 + np.exp(y * f)))[:, None])
    assert found.beta == pytest.approx(theta @ g / np.linalg.norm(theta) / np.linalg.norm(g), abs=1e-12)
    assert found.one_minus_beta == pytest.approx(1 - found.beta, abs=1e-12)
    W = list(network.views(theta).values())
    for k, w in enumerate(W):
        s = np.linalg.svd(w)[1]
        assert found.singular_values[k] == pytest.approx(s) and found.numerical_ranks[k] == len(s)
        assert found.excess[k] == pytest.approx(np.sum(w**2) - s[0] ** 2, abs=1e-12)
        assert found.stable_ranks[k] == pytest.approx(np.sum(w**2) / s[0] ** 2)
        assert found.layer_norms[k] == pytest.approx(np.linalg.norm(w))
    product = (W[2] @ W[1] @ W[0])[0]
    assert found.product[0] == pytest.approx(product / np.linalg.norm(product))
    cosine = product @ [1, 2, 3] / np.linalg.norm(product) / np.sqrt(14)
    assert found.product_gap == pytest.approx(1 - cosine, abs=1e-12)
    u, v = np.linalg.eigh(W[0] @ W[0].T)[1][:, -1], np.linalg.eigh(W[1].T @ W[1])[1][:, -1]
    assert found.consecutive[0] == pytest.approx(abs(u @ v), abs=1e-9)


def test_the_angle_does_not_cancel():
    network = fully_connected((2, 1), activation="linear")
    found = alignment(network, [[1.0, 0.0]], [1], "exponential", [1.0, 1e-9], direction=[1.0, 1e-10])
    assert found.one_minus_beta == pytest.approx(5e-19, rel=1e-9, abs=0) and found.beta == 1
    assert found.product_gap == pytest.approx(0.5 * 0.9e-9**2, rel=1e-9, abs=0)


@pytest.mark.parametrize("L", [2, 3, 4])
@pytest.mark.parametrize("loss", ["exponential", "logistic"])
def test_layers_become_rank_one_within_their_bound(L, loss):
    X, y = separable(N=8, d=4, seed=5)
    w = cp.Variable(4)
    cp.Problem(cp.Minimize(cp.sum_squares(w)), [cp.multiply(y, X @ w) >= 1]).solve(solver=cp.CLARABEL)
    network = deep_linear((4, *[3] * (L - 1), 1))
    theta0 = network.random_parameters(rng=3, scale=1.5)
    flow = smooth_flow(network, X, y, loss, theta0, until=1e6, rtol=1e-8)
    found = [
        alignment(network, X, y, loss, flow.theta(u), theta0=theta0, direction=w.value) for u in (flow.start, 1e2, 1e6)
    ]
    for at in found:
        assert (at.excess <= at.excess_bound + 1e-7).all() and at.excess[-1] == 0
        assert at.excess_bound == pytest.approx(found[0].excess_bound, rel=1e-9)
    assert found[-1].excess[0] > 0.02 * found[-1].excess_bound[0]  # the same order: not a vacuous bound
    spread = [at.stable_ranks - 1 for at in found]  # a constant over the squared norm, which grows like u^(2/L)
    assert spread[0][0] > 0.1 and (spread[2] <= 2 * spread[1] * 1e4 ** (-2 / L)).all()
    assert (1 - found[2].consecutive <= 0.1 * (1 - found[1].consecutive)).all()
    assert found[2].product_gap < 0.1 * found[1].product_gap and found[2].product_gap < 1e-3
    best = 1 / np.linalg.norm(w.value) / L ** (L / 2)  # the max margin in parameter space
    reached = margins(network, X, y, loss, flow.theta(1e6)).normalized_margin
    assert reached == pytest.approx(best, rel=1e-3 if L < 4 else 1e-2)


def test_the_bound_of_the_excess_is_reached():
    # W_1 = diag(a, b) and W_2 = (c, 0) stay diagonal; b moves not at all: excess b^2 = D with lambda_max(B) = c^2 - a^2
    network = deep_linear((2, 2, 1))
    theta0 = network.pack(W1=[[1.0, 0.0], [0.0, 0.5]], W2=[[2.0, 0.0]])
    later = network.pack(W1=[[4.0, 0.0], [0.0, 0.5]], W2=[[np.sqrt(19.0), 0.0]])
    found = alignment(network, [[1.0, 0.0]], [1], "exponential", later, theta0=theta0)
    assert found.excess == pytest.approx([0.25, 0]) and found.excess_bound == pytest.approx([0.25, 0])


@pytest.mark.parametrize("K", [2, 3])
def test_several_outputs_add_the_last_excess(K):
    X, y = separable(N=6, d=4, seed=1, K=K)
    network = deep_linear((4, 3, 3, K))
    theta0 = network.random_parameters(rng=0, scale=0.8)
    flow = smooth_flow(network, X, y, "cross_entropy", theta0, until=20, rtol=1e-7)
    for u in (flow.start, 3.0, 20.0):
        at = alignment(network, X, y, "cross_entropy", flow.theta(u), theta0=theta0)
        assert (at.excess <= at.excess_bound + 1e-8).all()
        assert at.product.shape == (K, 4)


def test_sliding_and_given_velocities():
    network, X, y, theta, modes = sliding_pair(0.7, 2.0, 2.0, 2.0, 2.0)
    assert alignment(network, X, y, "exponential", theta, modes).one_minus_beta < 1e-30
    free = alignment(network, X, y, "exponential", theta, g=theta + 0.1 * np.array([0, 0, 0, 0, 2.0, 2.0]), modes=modes)
    assert free.one_minus_beta == pytest.approx(1 - 16 / np.sqrt(16 * 16.08), rel=1e-12)


def test_square_loss_kernels_and_diagonal_networks():
    network = diagonal_linear(2)
    theta = network.pack(u=[1.0, 2.0], v=[0.5, 0.5])
    found = alignment(network, np.eye(2), [2.0, 3.0], "square", theta)
    residual = np.array([2.0, 3.0]) - [0.75, 3.75]
    g = 2 * theta * np.append(residual, -residual)
    assert found.beta == pytest.approx(theta @ g / np.linalg.norm(theta) / np.linalg.norm(g))
    assert found.layer_norms == pytest.approx([np.sqrt(5), np.sqrt(0.5)])
    assert found.singular_values == () and found.product is None and found.excess_bound is None
    network = convolutional((1, 5), (2, 3), 2)
    X, theta = np.random.default_rng(0).standard_normal((4, 5)), network.random_parameters(rng=1)
    found = alignment(network, X, [1.0, 2.0, 3.0, 4.0], "square", theta)
    kernel = theta[4 : 4 + 12].reshape(3, 4)  # channels out, (channels in, width)
    assert found.singular_values[1] == pytest.approx(np.linalg.svd(kernel)[1])
    assert np.isnan(found.consecutive).all()


def test_refusals():
    network = deep_linear((2, 2, 1))
    theta = np.ones(6)
    for bad in ([1.0, 2.0, 3.0], [0.0, 0.0]):
        with pytest.raises(InvalidInput, match="direction"):
            alignment(network, np.eye(2), [1, 1], "exponential", theta, direction=bad)
    with pytest.raises(InvalidInput, match="theta0 must have 6"):
        alignment(network, np.eye(2), [1, 1], "exponential", theta, theta0=np.ones(5))
    with pytest.raises(InvalidInput, match="rank_tol"):
        alignment(network, np.eye(2), [1, 1], "exponential", theta, rank_tol=0)
    with pytest.raises(PreconditionError, match="no direction"):
        alignment(network, np.eye(2), [1, 1], "exponential", np.zeros(6))
    relu, biased = fully_connected((2, 2, 1)), fully_connected((2, 2, 1), activation="linear", bias="first")
    for other in (relu, biased):
        with pytest.raises(PreconditionError, match="deep linear"):
            alignment(other, np.eye(2), [1, 1], "exponential", np.ones(other.n_parameters), theta0=theta)
