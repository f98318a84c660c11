"""Certified radii against exhaustive attacks, the dual against its primal program, robust bounds against the truth."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.optimize import linprog

from theory import InvalidInput, PreconditionError
from theory.architecture import Activation, Architecture, Conv, Flatten, Linear, outputs
from theory.bounds import get
from theory.bounds._frame import BASE, Margins, index_cost
from theory.bounds._problem import Problem
from theory.bounds.adversarial import OF_THE_RAMP, robust_bound, wasserstein_bound
from theory.bounds.certified_radius import CertifiedRadii, certified_radii


def small(K: int, seed: int = 0):
    net = Architecture.sequential([Linear(5), Activation("relu"), Linear(K)], input_shape=2)
    rng = np.random.default_rng(seed)
    W = {key: rng.standard_normal(shape) for key, shape in net.parameters.items()}
    X = rng.uniform(-3, 3, (25, 2))
    y = outputs(net, W, X).argmax(axis=1) if K > 1 else (outputs(net, W, X)[:, 0] > 0).astype(int)
    y[:3] = (y[:3] + 1) % max(K, 2)
    return net, W, X, y


def right(net, W, X, y):
    scores = outputs(net, W, X)
    if scores.shape[1] == 1:
        return np.where(y == 1, scores[:, 0], -scores[:, 0]) > 0
    return np.array([s[c] > np.delete(s, c).max() for s, c in zip(scores, np.broadcast_to(y, len(X)), strict=True)])


@pytest.mark.parametrize("K", [1, 2, 4])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_no_attack_within_the_radius_succeeds(K, norm):
    net, W, X, y = small(K)
    found = certified_radii(net, W, (X, y), norm=norm)
    angles = np.linspace(0, 2 * np.pi, 200)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    if norm == "linf":
        circle /= np.abs(circle).max(axis=1, keepdims=True)
    assert (found.radii[:3] == 0).all() and (found.radii[3:] > 0).all()
    for x, label, r in zip(X[3:], y[3:], found.radii[3:], strict=True):
        around = np.concatenate([x + s * r * circle for s in (0.5, 0.999999)])
        assert right(net, W, around, np.full(len(around), label)).all()


def test_radius_of_a_linear_classifier_is_the_distance():
    net = Architecture.sequential([Linear(3)], input_shape=4)
    rng = np.random.default_rng(1)
    W, b, X = rng.standard_normal((3, 4)), rng.standard_normal(3), rng.standard_normal((30, 4))
    y = rng.integers(0, 3, 30)
    scores = X @ W.T + b
    for norm, dual in (("l2", 2), ("linf", 1)):
        exact = [
            max(0, min((scores[i, c] - scores[i, j]) / np.linalg.norm(W[c] - W[j], dual) for j in range(3) if j != c))
            for i, c in enumerate(y)
        ]
        found = certified_radii(net, {"linear1.weight": W, "linear1.bias": b}, (X, y), norm=norm)
        assert found.radii == pytest.approx(exact, rel=1e-12) and (found.radii <= np.array(exact)).all()
        assert found.robust_error(0.3) == np.mean(np.array(exact) <= 0.3)
        assert found.robust_error(0) == np.mean(np.array(exact) == 0)
    json.dumps(found.to_json())


def test_a_network_that_reads_nothing_is_right_for_ever():
    net = Architecture.sequential([Linear(2)], input_shape=2)
    W = {"linear1.weight": np.zeros((2, 2)), "linear1.bias": [0.0, 1.0]}
    found = certified_radii(net, W, (np.ones((2, 2)), [0, 1]))
    assert found.radii.tolist() == [0.0, math.inf] and found.worst_case(5.0).value == 0.5


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("rho", [0.0, 0.1, 0.7, 3.0])
def test_dual_is_the_primal_program(order, rho):
    rng = np.random.default_rng(order)
    r = np.concatenate([[0, 0, np.inf], rng.uniform(0, 2, 9), [1.0, 1.0]])
    found = CertifiedRadii(norm="l2", radii=r, lipschitz=np.ones((1, 1))).worst_case(rho, order=order)
    # move a share t_i of the mass of sample i to its nearest mistake
    movable = np.isfinite(r)
    cost = np.where(movable, r, 0.0) ** order
    primal = linprog(-1.0 * movable / len(r), A_ub=[cost / len(r)], b_ub=[rho**order], bounds=[(0, 1)] * len(r))
    assert found.value == pytest.approx(-primal.fun, abs=1e-9)
    # any multiplier gives an upper bound; the one reported gives the value
    dual = lambda lam: lam * rho**order + np.where(movable, np.maximum(0, 1 - lam * cost), 0).mean()  # noqa: E731
    assert all(dual(lam) >= found.value * (1 - 1e-12) for lam in np.geomspace(1e-3, 1e3, 60))
    assert dual(found.multiplier) == pytest.approx(found.value, rel=1e-9)


def test_worst_case_of_a_linear_classifier_by_moving_samples():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((8, 1))
    net = Architecture.sequential([Linear(1, bias=False)], input_shape=1)
    found = certified_radii(net, {"linear1.weight": [[2.0]]}, (x, (x[:, 0] > 0).astype(int)))
    order, rho = np.argsort(np.abs(x[:, 0])), 0.2
    spent = np.cumsum(np.abs(x[order, 0])) / 8
    k = int((spent <= rho).sum())
    part = (rho - (spent[k - 1] if k else 0.0)) * 8 / abs(x[order[k], 0])
    assert found.worst_case(rho).value == pytest.approx((k + part) / 8, rel=1e-10)


def line(n: int = 20_000):
    """Two normal clouds on a line at +-1.5 and the exact classifier sign(x)."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n)
    x = (2 * y - 1) * 1.5 + 0.5 * rng.standard_normal(n)
    net = Architecture.sequential([Linear(1, bias=False)], input_shape=1)
    return Problem(net, {"linear1.weight": [[2.0]]}, (x[:, None], y)), x, y


def test_robust_bound_is_above_the_truth_and_says_something():
    problem, _, _ = line()
    for eps in (0.1, 0.3):
        exact = 0.5 * math.erfc((1.5 - eps) / 0.5 / math.sqrt(2))  # P[y x <= eps]
        report = robust_bound(problem, eps, delta=0.05)
        assert exact < report.value < 0.3
    assert robust_bound(problem, 0.3).value > robust_bound(problem, 0.1).value
    assert robust_bound(problem, 0.1, norm="linf").value == pytest.approx(robust_bound(problem, 0.1).value, rel=1e-9)


def test_parts_of_the_robust_bound():
    problem, x, y = line(500)
    report, eps = robust_bound(problem, 0.2, delta=0.05), 0.2
    at = report.quantities
    assert at["Lambda"] == pytest.approx(2.0, rel=1e-9)
    # the grid point is at least a eps Lambda / gamma, and margins are reduced by it
    assert BASE ** at["i"] * report.margin >= BASE * eps * 2.0
    assert at["shift"] == pytest.approx(BASE ** at["i"] * report.margin, rel=1e-6)
    ramp = np.clip(1 - ((2 * y - 1) * 2 * x - at["shift"]) / report.margin, 0, 1).mean()
    assert report.terms["empirical"] == pytest.approx(ramp, rel=1e-9)
    # the level of the grid point is paid
    level = 0.05 * math.exp(-index_cost(int(at["i"])))
    assert report.terms["confidence"] == pytest.approx(3 * math.sqrt(math.log(1 / level) / 1000), rel=1e-9)
    assert report.value >= get("frobenius").report(problem, 0.05).value
    assert 10**report.log10 == pytest.approx(report.value, rel=1e-9)


def test_no_perturbation_is_the_bound_itself():
    problem, _, _ = line(500)
    assert robust_bound(problem, 0.0).value == get("frobenius").report(problem, 0.01).value
    free, base = wasserstein_bound(problem, 0.0), get("frobenius").report(problem, 0.01)
    assert "transport" not in free.terms and base.value <= free.value * (1 + 1e-12) and free.value <= base.value * 1.02


@pytest.mark.parametrize("name", OF_THE_RAMP)
def test_every_bound_of_the_ramp_can_be_made_robust(name):
    first = Conv(2, 2, bias=False) if name == "convolutional" else Linear(3, bias=False)
    nodes = [first, Activation("relu"), Flatten(), Linear(3, bias=False)]
    net = Architecture.sequential(nodes, input_shape=(1, 3) if name == "convolutional" else 3)
    rng = np.random.default_rng(4)
    W = net.random_weights(rng=4)
    problem = Problem(net, W, (rng.standard_normal((60, 3)), rng.integers(0, 3, 60)))
    before = problem.margins.values.copy()
    values = [robust_bound(problem, eps, bound=name, margin=0.5).value for eps in (0.0, 0.02, 0.2)]
    assert values == sorted(values) and values[0] < values[1] and (problem.margins.values == before).all()
    assert robust_bound(problem, 0.02, bound=name).value <= values[1] * 1.05
    report = wasserstein_bound(problem, 0.02, bound=name, margin=0.5)
    slope = report.quantities["Lambda"]
    assert report.terms["transport"] == pytest.approx(1.05 * 0.02 * slope / 0.5, rel=1e-6)
    assert report.value > get(name).report(problem, 0.01, 0.5).value


def test_wasserstein_bound_is_above_the_moved_distribution():
    problem, x, y = line()
    rho = 0.1
    # exact worst case of the population by transport of the nearest mass: P[yx <= c] with E[yx; 0 < yx <= c] = rho
    rng = np.random.default_rng(5)
    m = np.sort(1.5 + 0.5 * rng.standard_normal(10**6))
    spent = np.cumsum(np.maximum(m, 0)) / m.size
    exact = np.searchsorted(spent, rho) / m.size
    report = wasserstein_bound(problem, rho, delta=0.05)
    assert exact < report.value < 0.5
    of_sample = certified_radii(problem.architecture, problem.weights, (x[:, None], y)).worst_case(rho)
    assert of_sample.value == pytest.approx(exact, abs=0.01) and of_sample.value < report.value


def test_refusals():
    problem, _, _ = line(50)
    with pytest.raises(PreconditionError, match="ramp loss"):
        robust_bound(problem, 0.1, bound="compression")
    with pytest.raises(InvalidInput, match="must not be negative"):
        robust_bound(problem, -0.1)
    with pytest.raises(InvalidInput, match="norm must be"):
        wasserstein_bound(problem, 0.1, norm="l3")
    with pytest.raises(InvalidInput, match="order must be"):
        CertifiedRadii(norm="l2", radii=np.ones(2), lipschitz=np.ones((1, 1))).worst_case(0.1, order=0)
    assert robust_bound(problem, 1e9).value >= 1
    assert Margins(np.array([1.0])).share(1.0) == 1


def test_radii_are_finite_where_products_of_norms_underflow():
    net = Architecture.sequential([Linear(1, bias=False), Linear(1)], input_shape=1)
    weights = {"linear1.weight": [[1e-200]], "linear2.weight": [[-1e-200]], "linear2.bias": [1.0]}
    radius = certified_radii(net, weights, ([[0.0]], [1])).radii[0]
    assert 1e300 < radius < math.inf  # the score vanishes at 1e400


@pytest.mark.parametrize(("rho", "order"), [(1e200, 2), (1.9, 10**6)])
def test_a_ball_whose_power_overflows_holds_everything(rho, order):
    found = CertifiedRadii(norm="l2", radii=np.array([0.0, 1.0, 1.5]), lipschitz=np.ones((1, 1)))
    assert found.worst_case(rho, order=order).value == 1


def test_a_power_that_underflows_is_not_nothing():
    found = CertifiedRadii(norm="l2", radii=np.array([1e-155]), lipschitz=np.ones((1, 1)))
    assert found.worst_case(1e-165, order=2).value >= 1e-20


@pytest.mark.parametrize("bound", [3, None])
def test_what_is_no_bound_is_refused(bound):
    net, W, X, y = small(2)
    with pytest.raises(InvalidInput, match="must be a name or a Bound"):
        robust_bound(Problem(net, W, (X, y)), 0.1, bound=bound)
