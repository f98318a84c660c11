"""The F1 margin: closed forms, a fine grid of directions, and networks that must stay below it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from tests.flow.test_limit import MODES, pair
from theory._errors import InvalidInput, NotConverged, PreconditionError
from theory.flow._cells import cell_bound, cells
from theory.flow.limit import limit_direction
from theory.flow.networks import fully_connected
from theory.flow.variation_norm import variation_margin


def sample(seed, N=8, d=2):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((N, d)), rng.choice([-1.0, 1.0], N)


@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_orthogonal_data_in_closed_form(slope):
    """*derived*: ``sqrt(1 + g^2) / (sqrt(sum_{y>0} 1/R^2) + sqrt(sum_{y<0} 1/R^2))``; g = 0: minimum variation norm."""
    R, y = np.array([1.0, 2.0, 1.5, 0.7]), np.array([1.0, 1.0, -1.0, -1.0])
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0][:4]
    found = variation_margin(R[:, None] * turn, y, slope=slope)
    expected = np.sqrt(1 + slope**2) / sum(np.sqrt((R[y == s] ** -2.0).sum()) for s in (1, -1))
    assert found.margin == pytest.approx(expected, rel=1e-12)
    assert found.certificate.relative_gap < 1e-12


def test_two_neurons_that_slide_in_closed_form():
    """The limit of ``pair`` at an acute angle is globally optimal: twice its margin, ``sin(phi)/(1/r_1 + 1/r_2)``."""
    network, X, y, theta, margin, lam = pair(1.1)
    found = variation_margin(X, y)
    limit = limit_direction(network, X, y, "exponential", theta, modes=np.array(MODES["sliding"]))
    assert found.margin == pytest.approx(2 * margin, rel=1e-12)
    assert limit.margin == pytest.approx(found.parameter_bound, rel=1e-12)
    assert np.allclose(found.weights, lam / lam.sum(), atol=1e-11)


def test_a_saddle_stays_below():
    network, X, y, theta, _, _ = pair(2.0, signs=(1.0, 1.0), noise=1e-3)
    limit = limit_direction(network, X, y, "exponential", theta, modes=np.array(MODES["sliding"]))
    assert limit.kind == "saddle" and limit.margin < 0.95 * variation_margin(X, y).parameter_bound


@pytest.mark.parametrize("seed", range(4))
def test_the_bracket_holds_a_fine_grid_in_the_plane(seed):
    X, y = sample(seed)
    found = variation_margin(X, y)
    kinks = np.arctan2(X[:, 1], X[:, 0])[:, None] + np.array([0.5, -0.5]) * np.pi
    angles = np.append(np.linspace(0, 2 * np.pi, 4001), kinks)
    F = y[:, None] * np.maximum(X @ np.array([np.cos(angles), np.sin(angles)]), 0)
    F = np.hstack([F, -F])
    grid = -linprog(
        np.append(np.zeros(F.shape[1]), -1.0), A_ub=np.hstack([-F, np.ones((len(y), 1))]), b_ub=np.zeros(len(y)),
        A_eq=np.append(np.ones(F.shape[1]), 0.0)[None, :], b_eq=[1.0],
        bounds=[(0, None)] * F.shape[1] + [(None, None)], method="highs",
    ).fun  # fmt: skip
    assert grid * (1 - 1e-7) <= found.certificate.upper and found.margin == pytest.approx(grid, rel=3e-6)
    assert (found.weights @ F).max() <= found.certificate.upper * (1 + 1e-12)
    assert found.cells == 2 * len(X)


@pytest.mark.parametrize(("N", "d", "slope"), [(8, 3, 0.0), (12, 3, 0.0), (8, 5, 0.0), (8, 3, 0.4)])
def test_the_certificate_is_its_own_proof(N, d, slope):
    """The measure reaches the lower end, no direction among many exceeds the upper one, a network reaches half."""
    X, y = sample(N + d, N, d)
    found = variation_margin(X, y, slope=slope)
    Z = X @ found.atoms.T
    f = np.maximum(Z, slope * Z) @ found.masses
    assert (y * f).min() == pytest.approx(found.margin, rel=1e-12)
    assert np.abs(found.masses).sum() == pytest.approx(1, rel=1e-12)
    assert np.allclose(np.linalg.norm(found.atoms, axis=1), 1, rtol=1e-12)
    assert found.certificate.relative_gap < 1e-9
    rng = np.random.default_rng(0)
    W = rng.standard_normal((20000, d))
    W = np.vstack([W / np.linalg.norm(W, axis=1, keepdims=True), found.atoms])
    prices = np.abs((found.weights * y) @ np.maximum(X @ W.T, slope * X @ W.T))
    assert prices.max() <= found.certificate.upper * (1 + 1e-12)
    at_atoms = prices[-len(found.atoms) :]
    assert np.abs(found.masses) @ at_atoms == pytest.approx(found.certificate.upper, rel=1e-8)  # complementarity
    network = fully_connected((d, len(found.masses), 1), activation="leaky_relu", slope=slope)
    root = np.sqrt(np.abs(found.masses))
    theta = network.pack(W1=root[:, None] * found.atoms, W2=(np.sign(found.masses) * root)[None, :])
    reached = (y * network.output(theta, X)[:, 0]).min() / (theta @ theta)
    assert reached == pytest.approx(found.parameter_bound, rel=1e-9)


@given(st.integers(0, 10**6), st.floats(1e-4, 1e4))
@settings(max_examples=10, deadline=None)
def test_margin_scales_and_ignores_order_and_rotation(seed, scale):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((5, 2)), rng.choice([-1.0, 1.0], 5)
    order, turn = rng.permutation(5), np.linalg.qr(rng.standard_normal((3, 3)))[0][:2]
    one, other = variation_margin(X, y), variation_margin(scale * X[order] @ turn, y[order])
    assert other.margin == pytest.approx(scale * one.margin, rel=1e-5)


def test_cells_are_all_there():
    rng = np.random.default_rng(0)
    for N, d in ((5, 1), (6, 2), (7, 3), (6, 4), (4, 6)):
        signs = cells(rng.standard_normal((N, d)))
        assert len(signs) == len(np.unique(signs, axis=0)) == cell_bound(N, d)
    parallel = np.array([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    assert len(cells(parallel)) == 4


def test_bad_input_is_one_sentence():
    with pytest.raises(InvalidInput, match="up to 783405424 activation patterns; the exact search goes up to 20000"):
        variation_margin(*sample(0, 60, 8))
    with pytest.raises(InvalidInput, match="slope must be in"):
        variation_margin(*sample(0), slope=1.0)
    with pytest.raises(InvalidInput, match="labels -1 and"):
        variation_margin(np.eye(2), [0, 1])
    with pytest.raises(PreconditionError, match="an input is zero"):
        variation_margin([[0.0, 0.0], [1.0, 0.0]], [1, -1])
    with pytest.raises(PreconditionError, match="no two-layer network without biases separates"):
        variation_margin([[1.0, 2.0], [2.0, 4.0]], [1, -1])


def test_a_gap_that_stays_open_is_said():
    with pytest.raises(NotConverged, match="is known to") as caught:
        variation_margin(*sample(1, 8, 3), rtol=1e-300)
    assert caught.value.partial.certificate.relative_gap < 1e-9
