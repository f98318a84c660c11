"""Margins: their definitions, their bounds, their monotonicity along flows, and their range."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.flow._flows import separable, smooth_flow
from theory import InvalidInput, PreconditionError
from theory.flow.margins import margins, monotonicity_violation
from theory.flow.networks import diagonal_linear, fully_connected

LOSSES = ["exponential", "logistic", "cross_entropy"]


def case(L, loss, seed=0, activation="linear"):
    K = 3 if loss == "cross_entropy" else None
    X, y = separable(N=6, d=3, seed=seed, K=K)
    network = fully_connected((3, *[4] * (L - 1), K or 1), activation=activation)
    return network, X, y, network.random_parameters(rng=seed, scale=0.6)


def direct(loss, f, y):
    """The smoothed margin by the textbook formula."""
    if loss == "exponential":
        return -np.log(np.exp(-y * f[:, 0]).sum())
    total = (
        np.log1p(np.exp(-y * f[:, 0])).sum()
        if loss == "logistic"
        else -sum(np.log(np.exp(row[k]) / np.exp(row).sum()) for row, k in zip(f, y, strict=True))
    )
    return -np.log(np.expm1(total))


@pytest.mark.parametrize("loss", LOSSES)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 3.0))
def test_definitions_and_bounds(loss, seed, scale):
    network, X, y, theta = case(2, loss, seed)
    theta = scale * theta
    found, f = margins(network, X, y, loss, theta), network.output(theta, X)
    rho = np.sqrt(np.sum(theta**2))
    assert found.smoothed_margin == pytest.approx(direct(loss, f, y) / rho**2, rel=1e-9, abs=1e-12)
    assert found.normalized_margin == pytest.approx(found.q.min() / rho**2, rel=1e-12)
    W1, W2 = network.views(theta).values()
    both = np.linalg.norm(W1) * np.linalg.norm(W2)
    assert found.layer_normalized_margin == pytest.approx(found.q_min / both, rel=1e-12)
    assert found.layer_smoothed_margin == pytest.approx(found.smoothed / both, rel=1e-12)
    lower, upper = found.sandwich
    room = 1e-9 * (abs(lower) + abs(upper) + 1)
    assert lower - room <= found.smoothed_margin <= upper + room
    total = np.exp(-found.log_inverse_loss)
    assert found.smoothed_margin_valid == (total < (1 if loss == "exponential" else np.log(2)))
    if loss == "exponential":
        assert lower == pytest.approx(upper - np.log(len(X)) / rho**2, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_bounds_are_reached(loss):
    K = 3 if loss == "cross_entropy" else 1  # all margins equal to 2; then one alone counts
    network, X = fully_connected((4, K), activation="linear"), np.eye(4)
    W = np.full((4, 1), 2.0) if K == 1 else np.where(np.arange(3) == 0, 2.0, 0.0) * np.ones((4, 1))
    y = np.ones(4) if K == 1 else np.zeros(4, dtype=int)
    found = margins(network, X, y, loss, W.T.ravel())
    assert found.smoothed == pytest.approx(found.smoothed_lower, rel=1e-13) and found.smoothed < 2
    W[1:] *= 50
    far = margins(network, X, y, loss, W.T.ravel())
    assert far.smoothed == pytest.approx(2 - np.log(K - 1 if K > 1 else 1), rel=1e-13)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("L", [1, 2, 3])
def test_smoothed_margin_rises_along_the_flow(L, loss):
    network, X, y, theta0 = case(L, loss, seed=L)
    until = 100 if loss == "cross_entropy" else 1e3
    flow = smooth_flow(network, X, y, loss, theta0, until=until, rtol=1e-8)
    found = [margins(network, X, y, loss, flow.theta(u)) for u in np.geomspace(max(flow.start, 0.1), until, 150)]
    valid = [m for m in found if m.smoothed_margin_valid]
    assert len(valid) > 80
    assert monotonicity_violation([m.smoothed_margin for m in valid]) < 1e-8
    assert monotonicity_violation([m.layer_smoothed_margin for m in valid]) < 1e-8
    assert monotonicity_violation([m.smoothed / m.norm ** (L + 1) for m in valid]) > 0.1  # another degree would fall


def test_smoothed_margin_of_one_sample_moves_by_the_growth_of_the_norm_alone():
    network = fully_connected((2, 1), activation="linear")  # theta = (q, 1): gtil = q / sqrt(q^2 + 1)
    found = margins(network, [[1.0, 0.0]], [1], "exponential", [3.0, 1.0])
    assert found.smoothed_margin == pytest.approx(3 / np.sqrt(10), rel=1e-15)


@pytest.mark.parametrize(("activation", "degrees"), [("relu^2", (4, 2, 1)), ("relu^3", (9, 3, 1)), ("relu", (1, 1, 1))])
def test_layers_have_their_own_degree(activation, degrees):
    network = fully_connected((3, 5, 4, 1), activation=activation, bias="first")
    X, theta = np.random.default_rng(1).standard_normal((5, 3)), network.random_parameters(rng=3)
    y = np.where(network.output(theta, X)[:, 0] > 0, 1.0, -1.0)
    before = margins(network, X, y, "exponential", theta)
    assert before.layer_degrees == degrees and sum(degrees) == network.degree == before.degree
    for layer, degree in enumerate(degrees):
        other = theta.copy()
        network.split(other)[layer][:] *= 1.5
        after = margins(network, X, y, "exponential", other)
        assert after.q == pytest.approx(1.5**degree * before.q, rel=1e-12)
        assert after.layer_normalized_margin == pytest.approx(before.layer_normalized_margin, rel=1e-12)


def test_a_diagonal_network_is_one_block():
    network = diagonal_linear(2, depth=3)
    found = margins(network, np.eye(2), [1, -1], "logistic", network.pack(u=[2, 0], v=[0, 1]))
    assert found.layer_degrees == (3,) and found.layer_normalized_margin == found.normalized_margin
    assert found.normalized_margin == pytest.approx(5**-1.5, rel=1e-15)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("L", [1, 2, 4])
def test_nothing_underflows_at_a_loss_of_exp_minus_1e8(L, loss):
    K = 2 if loss == "cross_entropy" else 1
    network = fully_connected((1, *[1] * (L - 1), K), activation="linear")
    side = 1e8 ** (1 / L)
    theta = np.full(network.n_parameters, side)
    theta[-K:] = side if K == 1 else (-side / 2, side / 2)
    found = margins(network, [[1.0], [1.0]], [1, 1], loss, theta)
    assert found.smoothed == pytest.approx(1e8 - np.log(2), rel=1e-15)
    norm = side * np.sqrt(L if K == 1 else L - 0.5)
    assert found.smoothed_margin == pytest.approx((1e8 - np.log(2)) / norm**L, rel=1e-13)
    assert found.sandwich[0] <= found.smoothed_margin * (1 + 1e-15) <= found.sandwich[1] * (1 + 1e-14)


def test_a_loss_above_overflow_has_a_smoothed_margin():
    network = fully_connected((1, 1), activation="linear")
    assert margins(network, [[1.0]], [1], "logistic", [1e-3]).smoothed_margin_valid
    assert not margins(network, [[1.0]], [-1], "logistic", [1e-3]).smoothed_margin_valid  # Loss just above log 2
    found = margins(network, [[1.0]], [-1], "logistic", [2e3])
    assert found.smoothed == pytest.approx(-2e3, rel=1e-14) and not found.smoothed_margin_valid


def test_violation_is_the_largest_relative_fall():
    assert monotonicity_violation([1, 2, 3]) == 0
    assert monotonicity_violation([1, 4, 3, 5, 4.5, 2]) == pytest.approx(0.6)
    assert monotonicity_violation([-1, -2]) == 1
    assert monotonicity_violation([0, -1]) == np.inf


def test_refusals():
    network = fully_connected((2, 3, 1), bias=True)
    found = margins(network, np.eye(2), [1, 1], "exponential", np.ones(network.n_parameters))
    assert found.q_min == 3 * 2 + 1 and found.degree is None
    for name in ("normalized_margin", "smoothed_margin", "sandwich", "layer_normalized_margin"):
        with pytest.raises(PreconditionError, match="homogeneous"):
            getattr(found, name)
    network = fully_connected((2, 3, 1))
    with pytest.raises(PreconditionError, match="stationary point"):
        margins(network, np.eye(2), [1, 1], "exponential", np.zeros(9))
    with pytest.raises(PreconditionError, match="exponential tail"):
        margins(network, np.eye(2), [1, 1], "square", np.ones(9))
    with pytest.raises(InvalidInput, match="labels -1 and"):
        margins(network, np.eye(2), [0, 1], "exponential", np.ones(9))
    with pytest.raises(InvalidInput, match="finite"):
        margins(network, np.eye(2), [1, 1], "exponential", np.full(9, np.nan))
    with pytest.raises(InvalidInput, match="too small"):
        _ = margins(network, np.eye(2), [1, 1], "exponential", np.append(np.zeros(6), np.ones(3))).layer_smoothed_margin
    with pytest.raises(InvalidInput, match="empty"):
        monotonicity_violation([])
