"""The limit of a flow: against closed forms, convex programs, and the stationarity condition written out again."""

import json

import cvxpy as cp
import numpy as np
import pytest

from tests.flow._flows import smooth_flow
from theory._errors import InvalidInput, NotConverged, PreconditionError
from theory.flow._kkt_system import KktSystem, margins_of
from theory.flow.limit import limit_direction
from theory.flow.max_margin import deep_linear_margin, linear_max_margin
from theory.flow.networks import deep_linear, diagonal_linear, fully_connected


def separable(seed, N=8, d=4):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, d))
    return X, np.where(X @ rng.standard_normal(d) > 0, 1.0, -1.0)


def late(network, X, y, loss, seed, u, scale=1.0):
    """A state of the smooth flow at log(1/Loss) = u."""
    start = network.random_parameters(rng=seed, scale=scale)
    return smooth_flow(network, X, y, loss, start, until=u, rtol=1e-7).theta(u)


def stationarity(network, X, y, limit):
    """``||theta - sum lam h|| / ||theta||`` with the Clarke weights put into the slopes; no solver in it."""
    slopes = None
    if limit.modes is not None:
        slopes = np.where(limit.modes == 1, 1.0, network.activation.slope)
        slopes[tuple(limit.sliding.T)] = limit.clarke
    if network.n_outputs == 1:
        G = (limit.multipliers * y)[:, None]
    else:
        G = np.diag(limit.multipliers.sum(axis=1)) @ np.eye(network.n_outputs)[y] - limit.multipliers
    return np.linalg.norm(limit.theta - network.vjp(limit.theta, X, G, slopes)) / np.linalg.norm(limit.theta)


def check(network, X, y, limit):
    """What every limit satisfies."""
    f = network.output(limit.theta, X)
    q = y * f[:, 0] if network.n_outputs == 1 else np.sort(f[np.arange(len(y)), y][:, None] - f, axis=1)[:, 1]
    slope = network.activation.slope
    assert limit.residual <= 1e-12 and stationarity(network, X, y, limit) < 1e-11
    assert q.min() == pytest.approx(1, abs=1e-11)
    assert (limit.multipliers >= 0).all() and (limit.multipliers[~limit.active] == 0).all()
    assert limit.multipliers.sum() == pytest.approx(limit.theta @ limit.theta / network.degree, rel=1e-11)
    assert limit.margin == pytest.approx(np.linalg.norm(limit.theta) ** -network.degree, rel=1e-12)
    assert np.allclose(limit.direction * np.linalg.norm(limit.theta), limit.theta, rtol=1e-12)
    assert (limit.clarke >= slope - 1e-9).all() and (limit.clarke <= 1 + 1e-9).all()
    assert not limit.violations


@pytest.mark.parametrize("loss", ["exponential", "logistic"])
@pytest.mark.parametrize("u", [50.0, 1e3])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_linear_networks_reach_the_svm(depth, u, loss):
    X, y = separable(depth)
    network = deep_linear((4,) + (3,) * (depth - 1) + (1,))
    theta = late(network, X, y, loss, depth, u)
    limit = limit_direction(network, X, y, loss, theta)
    check(network, X, y, limit)
    assert limit.margin == pytest.approx(deep_linear_margin(X, y, depth), rel=1e-12)
    w = np.linalg.multi_dot([np.eye(1), *list(network.views(limit.direction).values())[::-1], np.eye(4)]).ravel()
    assert np.allclose(w / np.linalg.norm(w), linear_max_margin(X, y).direction, atol=1e-12)
    flat = "local minimum with flat directions (symmetry)"
    assert limit.kind == (flat if depth > 1 else "strict local minimum of the norm")
    assert limit.order.flat == 2 * (depth - 1)  # the vector at each of the hidden layers turns in R^3
    assert limit.heading.same_active or u == 50.0


def test_convergence_is_quadratic_in_spite_of_the_symmetry():
    X, y = separable(3)
    network = deep_linear((4, 3, 3, 1))
    limit = limit_direction(network, X, y, "exponential", late(network, X, y, "exponential", 3, 50.0))
    off = 1e-3 * np.linalg.norm(limit.theta) * np.random.default_rng(0).standard_normal(24) / 5
    again = limit_direction(network, X, y, "exponential", 20 * (limit.theta + off))
    assert again.steps <= 4 and again.order.flat == 4  # 1e-3, 1e-6, 1e-12, and one for rounding


def test_the_state_nears_the_limit_like_the_theory_says():
    X, y = separable(2)
    network = deep_linear((4, 3, 1))
    flow = smooth_flow(network, X, y, "exponential", network.random_parameters(rng=2), until=1e4, rtol=1e-8)
    near, far = (limit_direction(network, X, y, "exponential", flow.theta(u)).heading for u in (1e4, 1e2))
    assert near.angle < far.angle / 8 and 0.5 < near.offset / far.offset < 2  # angle ~ u^(-1/2)
    assert near.weights < far.weights / 30 and near.idle <= far.idle
    assert near.same_active and near.log_inverse_loss == pytest.approx(1e4, rel=1e-4)
    assert "0." in str(near) and "rad from the limit" in str(near)


def test_leaky_relu_on_orthogonal_data():
    r"""*derived*: ``A^2 = (1 + g^2) sum_{y>0} 1/R^2``, B likewise, ``lam = 1/(A R^2)``, margin ``(1+g^2)/(2(A+B))``."""
    g, R, y = 0.3, np.array([1.0, 2.0, 1.5, 0.7]), np.array([1.0, 1.0, -1.0, -1.0])
    network = fully_connected((4, 4, 1), activation="leaky_relu", slope=g)
    X = np.diag(R)
    A, B = (np.sqrt((1 + g**2) * (R[y == s] ** -2.0).sum()) for s in (1, -1))
    start = network.pack(W1=np.array([1, 0.5, -1, -0.7])[:, None] * y * 0.3, W2=np.array([[1, 0.5, -1, -0.7]]) * 0.7)
    theta = smooth_flow(network, X, y, "exponential", start, until=300, rtol=1e-8).theta(300)
    limit = limit_direction(network, X, y, "exponential", theta)
    check(network, X, y, limit)
    assert limit.margin == pytest.approx((1 + g**2) / (2 * (A + B)), rel=1e-12)
    assert np.allclose(limit.multipliers, 1 / (np.where(y > 0, A, B) * R**2), rtol=1e-11)
    assert limit.active.all() and limit.order.flat == 2  # two neurons on each side share one direction


def test_quadratic_network_on_orthogonal_data():
    """*derived*: a neuron a (w.x)^2 on its own point has ``a^3 = 1/(2 R^2)`` and ``||w||^2 = 2 a^2``."""
    R, y = np.array([1.0, 2.0]), np.array([1.0, -1.0])
    network = fully_connected((2, 2, 1), activation="quadratic")
    theta = 3 * network.pack(W1=np.diag([1.0, 0.5]) + 0.05, W2=[[1.0, -0.6]])
    limit = limit_direction(network, np.diag(R), y, "logistic", theta)
    check(network, np.diag(R), y, limit)
    assert limit.margin == pytest.approx((3 * (2 * R**2) ** (-2 / 3)).sum() ** -1.5, rel=1e-12)
    assert limit.modes is None and limit.kind == "strict local minimum of the norm"


def pair(phi, r=(1.0, 1.7), signs=(1.0, -1.0), noise=0.02, seed=0):
    """Two inputs at an angle, a neuron for each that is blind to the other: the margin problem's KKT point by hand.

    ``w_1 = a_1 lam_1 r_1 (e_1 - cos(phi) e_2)``, ``a_i^2 = ||w_i||^2 = 1/(r_i sin phi)``, ``lam_i = 1/(r_i sin
    phi)``; the slope of neuron 1 on input 2 times y_1 y_2 is ``-cos phi`` (*derived*).
    """
    r, e = np.array(r), np.array([[1.0, 0.0], [np.cos(phi), np.sin(phi)]])
    network = fully_connected((2, 2, 1))
    a = np.array(signs) / np.sqrt(r * np.sin(phi))
    W = abs(a)[:, None] * (e - np.cos(phi) * e[::-1]) / np.sin(phi)
    theta = network.pack(W1=W, W2=a[None, :])
    margin = np.sin(phi) / (2 * (1 / r).sum())
    start = theta + noise * np.random.default_rng(seed).standard_normal(6)
    return network, r[:, None] * e, np.array(signs), 30 * start, margin, 1 / (r * np.sin(phi))


MODES = {"sliding": [[1, 2], [2, 1]], "on": [[1, 1], [1, 1]], "mixed": [[1, 2], [1, 1]], "from signs": None}


def test_two_layers_slide_at_once():
    """A state of the flow, rounded to two digits: units of both hidden layers slide on one sample."""
    network = fully_connected((2, 3, 3, 1))
    X, y = np.array([[0.7, 2.3], [-1.7, -0.1], [1.2, 1.1], [1.4, 0.2]]), np.array([-1.0, -1.0, -1.0, 1.0])
    theta = np.array([-6, 42, -22, -1, 33, -4, 41, 21, 0, -10, 0, 33, -2, -7, -1, -46, 33, -1]) / 5
    modes = np.array([[1, 0, 1, 1, 0, 0], [1, 1, 0, 1, 0, 0], [1, 0, 1, 1, 1, 0], [2, 0, 1, 2, 1, 0]])
    limit = limit_direction(network, X, y, "exponential", theta, modes=modes)
    check(network, X, y, limit)
    assert limit.sliding.tolist() == [[2, 4], [3, 0], [3, 3]]
    assert (limit.clarke > 0.1).all() and (limit.clarke < 0.9).all()
    z = network.preactivations(limit.theta, X)
    assert np.abs(z[tuple(limit.sliding.T)]).max() < 1e-11
    fixed = limit.modes != 2
    assert ((z > 0) == (limit.modes == 1))[fixed & (np.abs(z) > 1e-9)].all()
    assert limit.kind == "strict local minimum of the norm"


def test_hessian_of_the_lagrangian_by_differences():
    """With sliding units in both hidden layers: the derivative of ``theta - sum lam grad q - sum beta grad z``."""
    network = fully_connected((2, 3, 3, 1))
    rng = np.random.default_rng(0)
    X, y, theta = rng.standard_normal((4, 2)), np.array([1.0, -1.0, 1.0, 1.0]), network.random_parameters(rng=1)
    system = KktSystem(
        network=network, X=X, margins=margins_of(y, 1), level=0.7, slopes=rng.integers(0, 2, (4, 6)).astype(float),
        active=np.array([0, 1, 3]), sliding=np.array([[0, 1], [2, 0], [2, 4], [3, 5]]),
    )  # fmt: skip
    nu, d = rng.standard_normal(7), rng.standard_normal(network.n_parameters)
    forward, back = (theta + s * 1e-5 * d - nu @ system.rows(theta + s * 1e-5 * d) for s in (1, -1))
    H = system.lagrangian_hessian(theta, nu[:3], nu[3:])
    assert np.allclose(H @ d, (forward - back) / 2e-5, rtol=0, atol=1e-8 * np.abs(H @ d).max())


@pytest.mark.parametrize("given", MODES)
def test_neurons_that_slide_in_closed_form(given):
    phi = 1.1
    network, X, y, theta, margin, lam = pair(phi)
    modes = MODES[given] and np.array(MODES[given])
    if modes is None:
        theta = pair(phi, noise=1e-4)[3]
    limit = limit_direction(network, X, y, "exponential", theta, modes=modes)
    check(network, X, y, limit)
    assert limit.margin == pytest.approx(margin, rel=1e-12)
    assert np.allclose(limit.multipliers, lam, rtol=1e-11)
    assert limit.sliding.tolist() == [[0, 1], [1, 0]]
    assert np.allclose(limit.clarke, np.cos(phi), atol=1e-11)
    assert limit.kind == "strict local minimum of the norm" and limit.order.strict
    assert limit.heading.same_modes == (given in ("sliding", "from signs"))


def test_a_kink_that_repels_is_a_saddle():
    """Two positive inputs at an obtuse angle: the equations hold, yet on both sides of the kink the norm is lower."""
    network, X, y, theta, margin, _ = pair(2.0, signs=(1.0, 1.0), noise=1e-3)
    limit = limit_direction(network, X, y, "exponential", theta, modes=np.array(MODES["sliding"]))
    check(network, X, y, limit)
    assert limit.margin == pytest.approx(margin, rel=1e-12)
    assert np.allclose(limit.clarke, -np.cos(2.0), atol=1e-11)
    assert limit.kind == "saddle" and limit.order.curvature > 0


def test_a_slope_outside_its_interval_leaves_the_kink():
    """At an obtuse angle the blind neuron of the other sign needs slope ``cos phi < 0`` to slide: it is off instead."""
    network, X, y, theta, _, _ = pair(2.0, noise=0.0)
    limit = limit_direction(network, X, y, "exponential", theta, modes=np.array(MODES["sliding"]))
    check(network, X, y, limit)
    assert limit.modes.tolist() == [[1, 0], [0, 1]] and not len(limit.sliding)
    assert limit.margin == pytest.approx(0.5 / (1 / 1.0 + 1 / 1.7), rel=1e-12)  # one neuron along each input


def test_an_idle_neuron_that_would_grow_is_a_saddle():
    """One neuron at the bisector of inputs 150 degrees apart: another, on input 1 only, has curvature 1 - lam."""
    phi = np.deg2rad(150)
    X, y = np.array([[1.0, 0.0], [np.cos(phi), np.sin(phi)]]), np.ones(2)
    network = fully_connected((2, 2, 1))
    middle = np.array([np.cos(phi / 2), np.sin(phi / 2)])
    theta = network.pack(W1=[6 * middle, [0.01, 0.0]], W2=[[6.0, 0.01]])
    limit = limit_direction(network, X, y, "exponential", theta)
    check(network, X, y, limit)
    assert limit.margin == pytest.approx(np.cos(phi / 2) / 2, rel=1e-12)
    assert limit.kind == "saddle"
    assert limit.order.curvature == pytest.approx(1 - 1 / (2 * np.cos(phi / 2)), rel=1e-10)


def test_three_classes():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((8, 3))
    y = np.argmax(X @ rng.standard_normal((3, 3)), axis=1)
    flat = fully_connected((3, 3))
    limit = limit_direction(flat, X, y, "cross_entropy", late(flat, X, y, "cross_entropy", 0, 60.0))
    check(flat, X, y, limit)
    best = linear_max_margin(X, y)
    assert limit.margin == pytest.approx(best.margin, rel=1e-12)
    assert np.allclose(limit.multipliers / limit.multipliers.sum(), best.weights, atol=1e-11)

    deep = deep_linear((3, 4, 3))  # 1/2 ||theta||^2 is at least the nuclear norm of the product
    limit = limit_direction(deep, X, y, "cross_entropy", late(deep, X, y, "cross_entropy", 1, 60.0))
    check(deep, X, y, limit)
    W = cp.Variable((3, 3))
    scores = X @ W.T
    apart = [scores[n, y[n]] - scores[n, j] >= 1 for n in range(8) for j in range(3) if j != y[n]]
    problem = cp.Problem(cp.Minimize(cp.normNuc(W)), apart)
    problem.solve(solver=cp.CLARABEL)
    assert limit.margin == pytest.approx(1 / (2 * problem.value), rel=1e-6)


def test_diagonal_network_is_the_l1_margin():
    X, y = separable(3)
    network = diagonal_linear(4)
    limit = limit_direction(network, X, y, "exponential", late(network, X, y, "exponential", 0, 1e3))
    check(network, X, y, limit)
    w = cp.Variable(4)
    problem = cp.Problem(cp.Minimize(cp.norm1(w)), [cp.multiply(y, X @ w) >= 1])
    problem.solve(solver=cp.CLARABEL)
    assert limit.margin == pytest.approx(1 / problem.value, rel=1e-7)  # ||theta||^2 = ||w||_1 there


def test_repeated_samples_leave_the_multipliers_free():
    X, y = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]]), np.ones(3)
    limit = limit_direction(fully_connected((2, 1)), X, y, "exponential", [5.0, 2.0])
    check(fully_connected((2, 1)), X, y, limit)
    assert limit.multipliers[:2].sum() == pytest.approx(1, rel=1e-13)
    assert not limit.order.strict and limit.kind == "strict local minimum of the norm"


@pytest.mark.parametrize("scale", [4, 5, 7])
def test_a_bias_in_the_first_layer(scale):
    X, y = np.array([[0.0], [1.0], [2.5]]), np.array([1.0, -1.0, 1.0])
    network = fully_connected((1, 3, 1), bias="first")
    theta = network.pack(W1=[[-1.0], [1.0], [1.1]], b1=[0.9, 0.1, -1.2], W2=[[2.0, -1.8, 3.9]])
    limit = limit_direction(network, X, y, "exponential", scale * theta)
    check(network, X, y, limit)
    assert limit.margin == pytest.approx(0.0922313192852, rel=1e-11)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_the_scale_of_the_data_does_not_matter(scale):
    network, X, y, theta, margin, _ = pair(1.1)
    limit = limit_direction(network, scale * X, y, "logistic", theta / np.sqrt(scale), modes=np.array(MODES["on"]))
    check(network, scale * X, y, limit)
    assert limit.margin == pytest.approx(scale * margin, rel=1e-12)


def test_the_record_reads_and_travels():
    network, X, y, theta, margin, _ = pair(1.1)
    limit = limit_direction(network, X, y, "exponential", theta, modes=np.array(MODES["on"]))
    data = json.loads(json.dumps(limit.to_json()))
    assert data["margin"] == limit.margin and data["kind"] == limit.kind and data["residual"] <= 1e-12
    assert data["heading"]["same_modes"] is False and data["clarke"] == limit.clarke.tolist()
    assert "strict local minimum" in limit.summary() and f"{margin:.6g}" in limit.summary()


def test_bad_input_is_one_sentence():
    network, X, y, theta, _, _ = pair(1.1)
    with pytest.raises(PreconditionError, match="no exponential tail"):
        limit_direction(network, X, y, "square", theta)
    with pytest.raises(PreconditionError, match="not homogeneous"):
        limit_direction(fully_connected((2, 2, 1), bias=True), X, y, "exponential", np.ones(9))
    with pytest.raises(PreconditionError, match="does not separate"):
        limit_direction(network, X, -y, "exponential", theta)
    with pytest.raises(PreconditionError, match="does not separate"):
        limit_direction(network, X, y, "exponential", np.zeros(6))
    with pytest.raises(InvalidInput, match=r"theta \(6,\)"):
        limit_direction(network, X, y, "exponential", theta[:5])
    with pytest.raises(InvalidInput, match="modes must be 0, 1 or 2"):
        limit_direction(network, X, y, "exponential", theta, modes=np.full((2, 2), 3))
    smooth = fully_connected((2, 2, 1), activation="relu^2")
    with pytest.raises(InvalidInput, match="no unit slides"):
        limit_direction(smooth, X, y, "exponential", theta, modes=np.array(MODES["sliding"]))


def test_what_does_not_converge_says_so_and_keeps_what_it_has():
    X, y = separable(1)
    network = deep_linear((4, 3, 1))
    theta = late(network, X, y, "exponential", 1, 50.0)
    with pytest.raises(NotConverged, match="integrate the flow further") as caught:
        limit_direction(network, X, y, "exponential", theta, rtol=1e-30)
    assert caught.value.partial.margin == pytest.approx(deep_linear_margin(X, y, 2), rel=1e-10)
