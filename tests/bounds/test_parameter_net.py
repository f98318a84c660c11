"""Parameter nets: integrals in closed form, the symbolic twin, brute-force nets, scaling, refusals."""

import math

import numpy as np
import pytest
from scipy.integrate import quad

from theory._errors import InvalidInput, PreconditionError
from theory.architecture import Activation, Architecture, Flatten, Linear, outputs
from theory.bounds._kl import kl
from theory.bounds._problem import Problem
from theory.bounds.covering import CoveringBound
from theory.bounds.parameter_net import ParameterDudley, ParameterNet, log_integral

from .test_covering import NETS, initial, trained

BOUNDS = (ParameterDudley(), ParameterNet(radius=30.0))


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda b: b.name)
@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_symbolic_form_is_the_number(name, reference, bound):
    net = NETS[name]
    problem = Problem(net, *trained(net), initial(net) if reference else None)
    report = bound.report(problem, 0.02, 0.5 if reference else "best")
    assert float(bound.symbolic_form(problem).evaluate(report.quantities)) == pytest.approx(report.value, rel=1e-12)
    assert report.value == pytest.approx(10**report.log10, rel=1e-12)


def test_integral():
    for a in (1e-3, 1.0, 100.0, 1e6):
        exact = quad(lambda u, a=a: math.log1p(a / u), 0, 1, epsabs=1e-13, epsrel=1e-12)[0]
        assert log_integral(np.array([math.log(a)]))[0] == pytest.approx(exact, rel=1e-9)
    assert 3 * math.sqrt(log_integral(np.array([math.log(400)]))[0]) == pytest.approx(7.93, abs=5e-3)
    assert 12 * math.sqrt(log_integral(np.array([math.log(100)]))[0]) == pytest.approx(28.42, abs=5e-3)


def separable(n, K=2, d=2):
    rng = np.random.default_rng(0)
    y = rng.integers(0, K, size=n)
    return np.eye(d)[y] + 0.01 * rng.normal(size=(n, d)), y


def test_closed_form_of_one_layer():
    n = 20_000
    net = Architecture.sequential([Linear(2, bias=False)], input_shape=2)
    W = np.array([[1.0, -1.0], [-1.0, 1.0]])  # the score is 2 (x_2 - x_1): norm sqrt(8)
    data = separable(n)
    dudley = ParameterDudley().evaluate(net, {"linear1.weight": W}, data, margin=1.0)
    kappa = 1.05 ** math.ceil(math.log(math.sqrt(8)) / math.log(1.05))
    x = math.sqrt((data[0] ** 2).sum(axis=1).mean())
    a = 8 * x * kappa
    g = math.log1p(a) + a * math.log1p(1 / a)
    assert dudley.terms["complexity"] == pytest.approx(6 / math.sqrt(n) * math.sqrt(2 * g), rel=1e-11)
    report = ParameterNet(radius=1.5).evaluate(net, {"linear1.weight": W}, data, delta=0.01, margin=1.0)
    j = report.quantities["j"]
    assert 1.05**j == pytest.approx(kappa, rel=1e-12)
    budget = 2 * math.log1p(4 * 1.5 * kappa) + math.log(100) + math.log(2 * (j + 1) * (j + 2))
    assert report.terms["empirical"] == 0.0
    assert report.value == pytest.approx(-math.expm1(-budget / n), rel=1e-12)
    assert not report.vacuous
    assert n * kl(0.0, report.value) == pytest.approx(budget, rel=1e-9)


def test_a_net_of_the_ball_moves_no_margin_by_more_than_half():
    """Every score w . x with |w| <= beta is within gamma/2 of one of at most (1 + 2 beta / eta)^2 centres."""
    beta, gamma, radius = 1.0, 0.5, 2.0
    eta = gamma / (2 * radius)
    rng = np.random.default_rng(0)
    candidates = rng.normal(size=(1500, 2))
    candidates *= (np.sqrt(rng.uniform(size=1500)) * beta / np.linalg.norm(candidates, axis=1))[:, None]
    centres = []
    for w in candidates:
        if all(np.linalg.norm(w - c) > eta for c in centres):
            centres.append(w)
    assert len(centres) <= (1 + 2 * beta / eta) ** 2
    assert len(centres) > 0.1 * (1 + 2 * beta / eta) ** 2
    X = rng.normal(size=(50, 2))
    X *= radius / np.linalg.norm(X, axis=1)[:, None]
    gaps = np.abs((candidates[:, None] - np.array(centres)) @ X.T).max(axis=2).min(axis=1)
    assert gaps.max() <= gamma / 2


def test_more_samples_bring_it_below_one():
    net = Architecture.sequential([Linear(4, bias=False), Activation("relu"), Linear(2, bias=False)], input_shape=3)
    weights, data = trained(net)
    y = outputs(net, weights, data[0]).argmax(axis=1)
    bound = ParameterDudley()
    report = bound.evaluate(net, weights, (data[0], y))
    assert 40 < report.n_needed < 1e6
    symbolic = bound.symbolic(net)
    assert float(symbolic.evaluate({**report.quantities, "n": report.n_needed * 1.001})) < 1
    assert float(symbolic.evaluate({**report.quantities, "n": report.n_needed * 0.99})) >= 1


def test_scaling_the_whole_network_changes_nothing():
    net = NETS["convolutional"]
    weights, data = trained(net)
    twice = {k: 2 * v for k, v in weights.items()}
    for bound in (ParameterDudley(), ParameterNet(radius=30.0)):
        first, second = bound.evaluate(net, weights, data), bound.evaluate(net, twice, data)
        assert second.value == pytest.approx(first.value, rel=1e-2)


def test_a_reference_close_to_the_weights_helps():
    net = NETS["residual"]
    weights, (X, y) = trained(net)
    near = {k: v.copy() for k, v in weights.items()}
    near["linear1.weight"] += 1e-3
    dudley = ParameterDudley()
    assert dudley.evaluate(net, weights, (X, y), reference=near).value < dudley.evaluate(net, weights, (X, y)).value


def test_a_reference_carries_its_own_norm():
    net = NETS["tanh"]
    weights, (X, y) = trained(net)
    weights["linear1.bias"] = np.array([3.0, 4.0, 0.0, 0.0, 0.0])
    report = ParameterDudley().evaluate(net, weights, (X, y), reference=weights)
    norms = [np.linalg.norm(weights[f"linear{l}.weight"], 2) for l in (1, 2)]
    x = math.sqrt((X**2).sum(axis=1).mean())
    assert report.quantities["i_1"] == report.quantities["i_2"] == -(10**6)
    assert report.quantities["B_2"] == pytest.approx(norms[0] * x + 5.0, rel=1e-9)
    last = weights["linear3.weight"] - weights["linear3.weight"].mean(axis=0)
    assert report.quantities["S_1"] == pytest.approx(norms[1] * np.linalg.norm(last, 2), rel=1e-9)


def test_refusals():
    net = NETS["dense"]
    weights, (X, y) = trained(net)
    with pytest.raises(PreconditionError, match="radius of the inputs"):
        ParameterNet().evaluate(net, weights, (X, y))
    with pytest.raises(PreconditionError, match="largest norm"):
        ParameterNet(radius=0.5).evaluate(net, weights, (X, y))
    with pytest.raises(InvalidInput, match="radius"):
        ParameterNet(radius=-1.0)
    with pytest.raises(PreconditionError, match="radius"):
        ParameterNet().symbolic(net)


def test_huge_inputs_keep_the_symbolic_form():
    weights, (X, y) = trained(NETS["dense"])
    problem = Problem(NETS["dense"], weights, (1e60 * X, y))
    report = ParameterDudley().report(problem, 0.1, 1.0)
    value = float(ParameterDudley().symbolic_form(problem).evaluate(report.quantities))
    assert value == pytest.approx(report.value, rel=1e-12)


def test_a_network_without_weights_is_refused():
    net = Architecture.sequential([Flatten()], input_shape=(2, 2))
    data = (np.ones((3, 2, 2)), [0, 1, 2])
    for bound in (*BOUNDS, CoveringBound()):
        with pytest.raises(PreconditionError, match="a layer with weights"):
            bound.evaluate(net, {}, data)


def test_zero_weights():
    for name in ("dense", "biased"):
        net = NETS[name]
        zero = {k: np.zeros(s) for k, s in net.parameters.items()}
        problem = Problem(net, zero, trained(net)[1])
        for bound in BOUNDS:
            report = bound.report(problem, 0.1)
            value = float(bound.symbolic_form(problem).evaluate(report.quantities))
            assert value == pytest.approx(report.value, rel=1e-12)
            assert report.terms["empirical"] == 1.0
