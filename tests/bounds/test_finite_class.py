"""Counts of quantised and pruned networks against enumeration; the bounds against exact failure rates."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from theory import InvalidInput
from theory.architecture import Activation, Architecture, BatchNorm, Conv, Flatten, Linear, MaxPool
from theory.bounds import get
from theory.bounds._kl import kl_inverse
from theory.bounds._problem import Problem
from theory.bounds.finite_class import FiniteClass, count_array, log_supports
from theory.bounds.sparse_growth import SparseGrowth, nonzero_counts


@pytest.mark.parametrize("P", [1, 3, 5])
def test_ternary_arrays_are_counted_exactly(P):
    arrays = [np.array(a, float) for a in itertools.product((-1, 0, 1), repeat=P)]
    counts = [count_array(a, free_scale=True) for a in arrays]
    for s in range(1, P + 1):
        alike = [c.nats for c in counts if c.nonzero == s]
        # that many arrays share s, and each has that share of what s, m = 1 and the code leave
        assert np.ptp(alike) == 0
        assert math.exp(alike[0]) == pytest.approx(len(alike) * 3 * (P + 1) * 2, rel=1e-10)
        assert math.exp(log_supports(P, s)) * 2**s == pytest.approx(len(alike))
    assert sum(math.exp(-c.nats) for c in counts) <= 1 / 3


def test_weights_of_all_arrays_sum_to_at_most_one():
    # the values are told apart at 2^-31 or 2^-32 each: a table of 2^31 sizes is represented by its count
    total = 0.0
    for a in itertools.product((-2, -1, 0, 1, 2), repeat=3):
        found = count_array(a)
        kept = np.array([x for x in a if x])
        patterns = {"sizes": 2.0 ** (31 * found.sizes), "values": 2.0 ** (32 * found.values), "plain": 2.0 ** (32 * 3)}
        # at most that many arrays are this one with other values; the share of all of them stays below the code's
        share = math.exp(-found.nats) * patterns[found.code]
        assert share <= 1 / 6 or not kept.size
        total += share / (1 if not kept.size else math.comb(2, found.sizes))
    assert total <= 1


@pytest.mark.parametrize("free", [False, True])
def test_codes_and_their_lengths(free):
    rng = np.random.default_rng(0)
    ternary = rng.choice([-0.3, 0.0, 0.3], 1000)
    found, exact = count_array(ternary, free_scale=free), count_array(np.float32(ternary), free_scale=free)
    s = int((ternary != 0).sum())
    assert (found.nonzero, found.sizes, found.values, found.code) == (s, 1, 2, "sizes")
    base = math.log(3 * 1001 * 2) + math.lgamma(1001) - math.lgamma(s + 1) - math.lgamma(1001 - s) + s * math.log(2)
    more = 0 if free else 32 * math.log(2)
    assert exact.nats == pytest.approx(base + more, rel=1e-9)
    assert found.nats == pytest.approx(base + more + (0 if free else 32 * math.log(2)), rel=1e-9)
    # values of one sign need no sign; full precision is taken as it is; zeros cost next to nothing
    assert count_array(np.abs(np.float32(ternary[ternary != 0]))).code == "values"
    full = count_array(rng.standard_normal(100).astype(np.float32))
    assert full.code == "plain" and full.bits == pytest.approx(3200 + math.log2(6))
    assert count_array(np.zeros(10)).nats == pytest.approx(math.log(6 * 11), rel=1e-9)
    pruned = np.where(np.arange(10_000) % 100 == 0, np.float32(rng.standard_normal(10_000)), 0)
    assert count_array(pruned).bits < 100 * (32 + 8 + 10)


def ternary_network(n: int = 800, bias: bool = False):
    net = Architecture.sequential(
        [Linear(4, bias=bias), Activation("relu"), Linear(2, bias=False)], input_shape=5
    )
    rng = np.random.default_rng(1)
    W = {key: rng.choice([-1.0, 0.0, 1.0], shape) for key, shape in net.parameters.items()}
    X = rng.standard_normal((n, 5))
    problem = Problem(net, W, (X, np.zeros(n)))
    return net, W, X, problem.outputs.argmax(axis=1)


def test_the_bound_is_the_formula_and_its_symbol():
    net, W, X, y = ternary_network()
    report = FiniteClass().evaluate(net, W, (X, y), delta=0.05)
    bits = sum(count_array(w, free_scale=True).bits for w in W.values())
    R = report.quantities["R"]
    assert report.quantities["b"] == pytest.approx(bits, rel=1e-12) and bits < 75
    exact = float(kl_inverse(R, (bits * math.log(2) + math.log(20)) / len(X)))
    assert report.value == pytest.approx(exact, rel=1e-9) and report.value - R < 0.25
    again = FiniteClass().symbolic(net).evaluate(report.quantities)
    assert float(again) == pytest.approx(report.value, rel=1e-9)
    json.dumps(count_array([1.0]).to_json())


def test_a_scale_is_free_only_without_biases():
    net, W, X, y = ternary_network()
    data = (X, y)
    scaled = {"linear1.weight": 0.1 * W["linear1.weight"], "linear2.weight": 7.3 * W["linear2.weight"]}
    same = [FiniteClass().evaluate(net, V, data).value for V in (W, scaled)]
    assert same[0] == same[1]
    biased, V, X, y = ternary_network(bias=True)
    found = FiniteClass().evaluate(biased, V, (X, y))
    assert found.quantities["b"] > 3 * 32  # one size for each of three arrays
    odd = Architecture.sequential([Linear(4, bias=False), Activation("tanh"), Linear(2, bias=False)], input_shape=5)
    assert FiniteClass().evaluate(odd, W, data).quantities["b"] > 2 * 32
    normed = Architecture.sequential([Linear(2, bias=False), BatchNorm()], input_shape=5)
    assert FiniteClass().evaluate(normed, normed.random_weights(rng=0), data).quantities["b"] > 10 * 64


def test_failure_rate_over_all_ternary_classifiers():
    # every ternary linear classifier on the cube, its exact error, and the rate at which some bound is below it
    cube = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
    chance = np.array([0.9, 0.2, 0.7, 0.4, 0.6, 0.1, 0.8, 0.3])  # of label 1
    classifiers = [np.array(w, float) for w in itertools.product((-1, 0, 1), repeat=3)]
    scores = cube @ np.array(classifiers).T
    wrong = np.where(scores > 0, 1 - chance[:, None], np.where(scores < 0, chance[:, None], 1.0))
    truth = wrong.mean(axis=0)
    nats = np.array([count_array(w, free_scale=True).nats for w in classifiers])
    rng, n, delta, bad = np.random.default_rng(0), 40, 0.2, 0
    for _ in range(200):
        at = rng.integers(0, 8, n)
        y = rng.random(n) < chance[at]
        errors = (~np.where(y[:, None], scores[at] > 0, scores[at] < 0)).mean(axis=0)
        bad += bool((np.asarray(kl_inverse(errors, (nats + math.log(1 / delta)) / n)) < truth).any())
    assert bad / 200 <= delta


def pruned(seed: int = 0, n: int = 400):
    net = Architecture.sequential(
        [Conv(3, 3), Activation("relu"), MaxPool(2), Flatten(), Linear(3)], input_shape=(1, 8)
    )
    rng = np.random.default_rng(seed)
    W = {key: rng.standard_normal(s) * (rng.random(s) < 0.4) for key, s in net.parameters.items()}
    return net, W, (rng.standard_normal((n, 1, 8)), rng.integers(0, 3, n))


def test_sparse_growth_symbol_and_number_agree():
    net, W, data = pruned()
    report = SparseGrowth().evaluate(net, W, data, delta=0.05)
    form = SparseGrowth().symbolic_form(Problem(net, W, data))
    assert float(form.evaluate(report.quantities)) == pytest.approx(report.value, rel=1e-12)
    counts = nonzero_counts(Problem(net, W, data))
    cost = sum(math.log(P + 1) for P, _ in counts.values())
    whole = math.sqrt((math.log(20) + cost) / 800)
    assert report.terms["confidence"] + report.terms["union"] == pytest.approx(whole, rel=1e-12)


def test_dense_weights_are_the_growth_function_with_its_general_count():
    net = Architecture.sequential([Linear(4), Activation("relu"), Linear(3), Activation("relu"), Linear(2)],
                                  input_shape=3)  # fmt: skip
    rng = np.random.default_rng(2)
    W = {key: rng.standard_normal(s) for key, s in net.parameters.items()}
    data = (rng.standard_normal((50_000, 3)), rng.integers(0, 2, 50_000))
    sparse, dense = (b.evaluate(net, W, data) for b in (SparseGrowth(), get("growth-function")))
    assert sparse.terms["complexity"] >= dense.terms["complexity"]
    zeros = {key: w * (np.abs(w) > 0.9) for key, w in W.items()}
    assert SparseGrowth().evaluate(net, zeros, data).value < dense.value


def test_no_more_loss_patterns_are_found_than_counted():
    net = Architecture.sequential([Linear(3), Activation("relu"), Linear(1)], input_shape=2)
    rng, n = np.random.default_rng(3), 9
    X, y = rng.standard_normal((n, 2)), rng.integers(0, 2, n)
    s = {"linear1.weight": 2, "linear1.bias": 1, "linear2.weight": 2, "linear2.bias": 1}
    seen, W = set(), {}
    for _ in range(3000):
        for key, shape in net.parameters.items():
            w = np.zeros(math.prod(shape))
            w[rng.choice(w.size, s[key], replace=False)] = rng.standard_normal(s[key])
            W[key] = w.reshape(shape)
        hidden = np.maximum(X @ W["linear1.weight"].T + W["linear1.bias"], 0)
        f = (hidden @ W["linear2.weight"].T + W["linear2.bias"])[:, 0]
        seen.add(tuple(np.where(y == 1, f, -f) > 0))
    problem = Problem(net, W, (X, y))
    found = SparseGrowth().compute(problem, 0.1, None)
    counted = found.terms["complexity"] ** 2 * n / 2
    assert 20 < len(seen) and math.log(len(seen)) <= counted
    # supports: 15 * 3 * 3 * 1, each with its own patterns
    big = SparseGrowth().compute(Problem(net, W, (np.tile(X, (10**4, 1)), np.tile(y, 10**4))), 0.1, None)
    stage = [math.log(2) + w * math.log(2 * math.e * n * 10**4 * k * d / w) for w, k, d in ((3, 3, 1), (6, 1, 2))]
    exact = math.log(135) + sum(stage)
    assert big.terms["complexity"] ** 2 * n * 10**4 / 2 == pytest.approx(exact, rel=1e-9)


def test_nothing_left():
    net, W, data = pruned()
    report = SparseGrowth().evaluate(net, {key: 0 * w for key, w in W.items()}, data)
    assert report.terms["complexity"] == 0 and report.terms["empirical"] == 1
    with pytest.raises(InvalidInput, match="must have entries"):
        count_array([])
