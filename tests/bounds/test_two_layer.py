import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import comb

from theory import InvalidInput, PreconditionError
from theory.architecture import Activation, Architecture, Linear, outputs
from theory.bounds._homogenised import homogenised
from theory.bounds._problem import Problem
from theory.bounds.two_layer import TwoLayer, patterns_log, unit_norm


def setting(K=3, bias=False, n=200, d=3, h=6, act="relu"):
    net = Architecture.sequential([Linear(h, bias=bias), Activation(act), Linear(K, bias=bias)], input_shape=d)
    weights = {k: v + (0.2 if k.endswith("bias") else 0) for k, v in net.random_weights(rng=1).items()}
    reference = {k: v + (0.1 if k.endswith("bias") else 0) for k, v in net.random_weights(rng=2).items()}
    X = np.random.default_rng(3).standard_normal((n, d))
    scores = outputs(net, weights, X)
    y = (scores[:, 0] > 0).astype(int) if K == 1 else scores.argmax(axis=1)
    return net, weights, reference, X, y


@pytest.mark.parametrize("K", [1, 2, 5])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("around", [False, True])
@pytest.mark.parametrize("margin", ["best", 0.3])
def test_symbolic_form_is_the_number(K, bias, around, margin):
    net, weights, reference, X, y = setting(K, bias)
    problem = Problem(net, weights, (X, y), reference if around else None)
    bound = TwoLayer(eps=0.3)
    report = bound.report(problem, 0.05, margin)
    assert float(bound.symbolic_form(problem).evaluate(report.quantities)) == pytest.approx(report.value, rel=1e-12)
    complexity = bound.symbolic_form(problem).complexity
    U, V = homogenised(problem.chain)
    named = {"V_U": unit_norm(U, V), "V": np.linalg.norm(V), "gamma": report.margin, **report.quantities}
    if around:
        named["D"] = np.linalg.norm(U - homogenised(problem.chain, reference=True)[0])
    value = float(complexity.subs({s: named[s.name] for s in complexity.free_symbols}))
    assert value <= report.terms["complexity"] * (1 + 1e-9) <= 1.05**2 * value * (1 + 1e-8)


def sup_over_circle(e, X, u0, beta, K):
    """sup over ||u - u0|| <= beta of the norm over k of sum_i e_ik [u x_i]_+, by a grid of the disc."""
    angles, radii = np.linspace(0, 2 * np.pi, 241), np.linspace(0, beta, 9)
    disc = np.stack([np.cos(angles), np.sin(angles)], axis=1)[None] * radii[:, None, None] + u0
    active = np.maximum(disc.reshape(-1, 2) @ X.T, 0)
    return np.linalg.norm(active @ e, axis=1).max()


@pytest.mark.parametrize("K", [1, 2, 3])
@pytest.mark.parametrize("u0", [(0.0, 0.0), (0.7, -0.4)])
def test_unit_complexity_above_the_exact_one(K, u0):
    n, beta, u0 = 4, 0.8, np.array(u0)
    X = np.random.default_rng(5).standard_normal((n, 2))
    signs = np.array(list(itertools.product([-1, 1], repeat=n * K)), float).reshape(-1, n, K)
    if len(signs) > 600:
        signs = signs[np.random.default_rng(0).choice(len(signs), 600, replace=False)]
    exact = np.mean([sup_over_circle(e, X, u0, beta, K) for e in signs])
    bound = math.sqrt(2 * K) * beta * np.linalg.norm(X) + math.sqrt(K) * np.linalg.norm(X @ u0)
    assert exact <= bound
    assert exact > 0.3 * bound  # not far off either


@pytest.mark.parametrize("h", [1, 2, 3])
@pytest.mark.parametrize("eps", [0.25, 0.5, 1.0, 2.0])
def test_patterns_cover_every_split(h, eps):
    # all vectors of h positive whole numbers with sum at most N, counted one by one
    N = math.floor(h * (1 + 1 / eps))
    count = sum(sum(m) <= N for m in itertools.product(range(1, N + 1), repeat=h))
    assert patterns_log(h, eps) == pytest.approx(math.log(count), abs=1e-12)
    assert count == comb(N, h, exact=True)
    shares = np.random.default_rng(0).dirichlet(np.ones(h), size=200)  # squares of a unit vector
    steps = np.floor(shares * h / eps) + 1
    assert (steps.sum(axis=1) <= N).all()
    assert (steps * eps / h >= shares).all()
    assert (steps.sum(axis=1) * eps / h <= 1 + eps + 1e-12).all()


def test_unit_norm_is_at_most_the_frobenius_product_and_invariant():
    rng = np.random.default_rng(0)
    U, V, c = rng.standard_normal((5, 3)), rng.standard_normal((2, 5)), rng.uniform(0.1, 10, 5)
    assert unit_norm(U, V) <= np.linalg.norm(U) * np.linalg.norm(V)
    assert unit_norm(U * c[:, None], V / c) == pytest.approx(unit_norm(U, V), rel=1e-12)
    assert unit_norm(np.eye(2), np.eye(2)) == pytest.approx(2, rel=1e-12)


def test_complexity_by_hand():
    net, weights, _, X, y = setting(K=4)
    report = TwoLayer().evaluate(net, weights, (X, y), margin=0.5)
    V = weights["linear2.weight"] - weights["linear2.weight"].mean(axis=0)
    kappa = unit_norm(weights["linear1.weight"], V) / 0.5
    exact = 4 * math.sqrt(8) * np.linalg.norm(X) / len(X) * kappa
    assert exact <= report.terms["complexity"] <= 1.05 * exact * (1 + 1e-9)


def test_close_to_its_start_only_the_start_counts():
    net, weights, _, X, y = setting(K=4)
    report = TwoLayer(eps=0.5).evaluate(net, weights, (X, y), margin=0.5, reference=weights)  # frozen first layer
    V = weights["linear2.weight"] - weights["linear2.weight"].mean(axis=0)
    exact = 4 / len(X) * np.linalg.norm(V) / 0.5 * math.sqrt(4 * 1.5) * np.linalg.norm(X @ weights["linear1.weight"].T)
    assert exact <= report.terms["complexity"] <= 1.05 * exact * (1 + 1e-9)
    assert math.isfinite(report.value)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.floats(0.1, 10), min_size=6, max_size=6))
def test_rescaling_a_unit_changes_nothing(c):
    net, weights, _, X, y = setting(K=3)
    U, V = weights["linear1.weight"], weights["linear2.weight"]
    scaled = {"linear1.weight": U * np.array(c)[:, None], "linear2.weight": V / c}
    first, again = (TwoLayer().evaluate(net, w, (X, y)) for w in (weights, scaled))
    assert again.value == pytest.approx(first.value, rel=1e-9)


def test_violations_stay_below_delta():
    # a fixed rule picks the best of a few networks on each sample; the truth is computed on a large one
    rng, net = np.random.default_rng(0), Architecture.sequential([Linear(2, bias=False), Activation("relu"),
                                                                  Linear(1, bias=False)], input_shape=2)  # fmt: skip
    nets = [net.random_weights(rng=i) for i in range(6)]
    draw = lambda n: (X := rng.standard_normal((n, 2)), (X[:, 0] + 0.3 * rng.standard_normal(n) > 0).astype(int))  # noqa: E731
    Z, truth = draw(20000)
    errors = [np.mean((outputs(net, w, Z)[:, 0] > 0) != truth) for w in nets]
    bad = 0
    for _ in range(40):
        X, y = draw(3000)
        k = int(np.argmin([np.mean((outputs(net, w, X)[:, 0] > 0) != y) for w in nets]))
        report = TwoLayer().evaluate(net, nets[k], (X, y), delta=0.1)
        assert report.value < 1  # it says something here
        bad += errors[k] > report.value
    assert bad <= 4


def test_zero_and_bad_input():
    net, weights, reference, X, y = setting(K=3)
    zero = {k: v * 0 for k, v in weights.items()}
    report = TwoLayer().evaluate(net, zero, (X, y))
    assert report.terms["complexity"] < 1e-12 and report.terms["empirical"] == 1
    assert math.isfinite(TwoLayer().evaluate(net, zero, (X, y), reference=reference).value)
    with pytest.raises(InvalidInput, match="eps must be positive"):
        TwoLayer(eps=0.0)
    deep = Architecture.sequential([Linear(2), Activation("relu")] * 2 + [Linear(2)], input_shape=2)
    with pytest.raises(PreconditionError, match="two weight layers: there are 3"):
        TwoLayer().symbolic(deep)
    sigmoid = Architecture.sequential([Linear(2), Activation("sigmoid"), Linear(2)], input_shape=2)
    with pytest.raises(PreconditionError, match="sigmoid is not"):
        TwoLayer().symbolic(sigmoid)
