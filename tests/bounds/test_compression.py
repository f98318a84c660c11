"""Occam's bound of coded networks: what it speaks of, what it pays, and when it gives up."""

from __future__ import annotations

import math

import numpy as np
import pytest

from theory import InvalidInput, PreconditionError
from theory.architecture import (
    Activation,
    Architecture,
    BatchNorm,
    Conv,
    Flatten,
    LayerNorm,
    Linear,
    outputs,
)
from theory.bounds import compression
from theory.bounds._kl import kl_inverse
from theory.bounds._problem import Problem
from theory.bounds._quantise import decode_weights, uniform_quantise
from theory.bounds.compression import METHODS, Compression

DENSE = Architecture.sequential([Linear(6), Activation("relu"), Linear(3)], input_shape=4)
CONV = Architecture.sequential(
    [Conv(3, 3, padding=1), BatchNorm(), Activation("gelu"), Flatten(), LayerNorm(), Linear(2)], input_shape=(1, 4, 4)
)
SINGLE = Architecture.sequential([Linear(1, bias=False)], input_shape=3)
NETS = pytest.mark.parametrize("net", [DENSE, CONV, SINGLE], ids=["dense", "conv", "single"])


def sample(net, n=400, seed=0):
    rng = np.random.default_rng(seed)
    w = net.random_weights(rng=rng)
    X = rng.standard_normal((n, *net.input_shape))
    scores = outputs(net, w, X)
    return w, X, (scores[:, 0] > 0).astype(int) if net.output_shape == (1,) else scores.argmax(axis=1)


@pytest.mark.parametrize(
    ("net", "method"),
    [(DENSE, "quantised"), (CONV, "finite-precision"), (CONV, "codebook"), (SINGLE, "sparse"), (SINGLE, "best")],
)
def test_symbolic_form_is_the_number(net, method):
    w, X, y = sample(net)
    bound = Compression(method)
    report = bound.evaluate(net, w, (X, y), delta=0.05)
    assert report.value < 1
    assert float(bound.symbolic(net).evaluate(report.quantities)) == pytest.approx(report.value, rel=1e-12)
    assert report.status == "certificate" and "decoded network" in report.notes[0]
    cost = (report.quantities["b"] * math.log(2) + math.log(20)) / 400
    assert report.value == pytest.approx(float(kl_inverse(report.quantities["R"], cost)), rel=1e-13)


@NETS
@pytest.mark.parametrize("with_reference", [False, True])
def test_the_empirical_term_is_that_of_the_decoded_network(net, with_reference):
    w, X, y = sample(net)
    reference = None
    if with_reference:
        reference = {key: value + 0.01 for key, value in w.items()}
    problem = Problem(net, w, (X, y), reference)
    bound = Compression("quantised")
    chosen = bound.choose(problem, 0.05)
    wrong = 0
    for score, label in zip(outputs(problem.graph, chosen.weights, X), y, strict=True):
        if len(score) == 1:
            wrong += (score[0] if label else -score[0]) <= 0
        else:
            wrong += any(score[label] <= other for j, other in enumerate(score) if j != label)
    assert chosen.R == wrong / len(y)
    assert bound.report(problem, 0.05).terms["empirical"] == chosen.R


def test_the_bits_are_those_of_the_bytes_that_decode_to_it():
    w, X, y = sample(DENSE)
    problem = Problem(DENSE, w, (X, y))
    chosen = Compression("quantised").choose(problem, 0.05)
    shapes = {key: value.shape for key, value in problem.named.items()}
    lengths = {levels: uniform_quantise(problem.named, levels) for levels in compression.LEVELS}
    (found,) = [q for q in lengths.values() if q.bits == chosen.bits and q.setting in chosen.said]
    again = decode_weights(found.stream, shapes)
    assert all((again[key] == chosen.weights[key]).all() for key in shapes)


def test_the_best_setting_is_found_without_trying_all():
    w, X, y = sample(DENSE, n=300)
    problem = Problem(DENSE, w, (X, y))
    values = []
    for levels in compression.LEVELS:
        q = uniform_quantise(problem.named, levels)
        scores = outputs(problem.graph, q.weights, X)
        own = scores[np.arange(300), y]
        R = np.mean((scores >= own[:, None]).sum(axis=1) > 1)
        values.append(float(kl_inverse(R, (q.bits * math.log(2) + math.log(10)) / 300)))
    assert Compression("quantised").report(problem, 0.1).value == pytest.approx(min(values), rel=1e-12)


def test_a_good_reference_shortens_the_description():
    w, X, y = sample(DENSE)
    near = {key: value.copy() for key, value in w.items()}
    near["linear1.weight"][0, 0] += 0.5
    bound = Compression("quantised")
    plain = bound.evaluate(DENSE, w, (X, y))
    helped = bound.evaluate(DENSE, w, (X, y), reference=near)
    assert helped.quantities["b"] < 0.9 * plain.quantities["b"] and helped.value < plain.value
    # the reference differs in one weight, which three levels say exactly: only the ties of dead samples are left
    assert helped.terms["empirical"] == Problem(DENSE, w, (X, y)).margins.errors


def test_all_methods_together_are_no_worse_than_each():
    w, X, y = sample(SINGLE)
    problem = Problem(SINGLE, w, (X, y))
    each = [sum(Compression(method).compute(problem, 0.05, None).terms.values()) for method in METHODS]
    assert sum(Compression().compute(problem, 0.05, None).terms.values()) == min(each)
    assert len(set(each)) > 1


def test_too_few_samples_give_one_and_say_so():
    w, X, y = sample(DENSE, n=5)
    report = Compression("codebook").evaluate(DENSE, w, (X, y))
    assert report.value == 1 and "not evaluated" in report.notes[0]
    assert report.quantities["b"] == 24 + 32 * DENSE.n_parameters
    assert float(Compression().symbolic(DENSE).evaluate(report.quantities)) == 1


def test_evaluations_stop_at_the_cost_allowed(monkeypatch):
    w, X, y = sample(DENSE)
    calls = []
    real = compression.mistakes
    monkeypatch.setattr(compression, "mistakes", lambda *given: calls.append(1) or real(*given))
    one_pass = 400 * (4 * 6 + 6 + 6 * 3 + 3)
    Compression("quantised", most=2.5 * one_pass).evaluate(DENSE, w, (X, y))
    assert len(calls) == 2
    assert Compression("quantised", most=0.5 * one_pass).evaluate(DENSE, w, (X, y)).value == 1


def test_large_networks_are_passed_over_quickly(monkeypatch):
    net = Architecture.sequential([Linear(300), Activation("relu"), Linear(2)], input_shape=100)
    w, X, y = sample(net, n=50)
    monkeypatch.setattr(compression, "THINNED", 3000)
    sizes = []
    real = compression.uniform_quantise
    monkeypatch.setattr(
        compression,
        "uniform_quantise",
        lambda weights, levels: sizes.append(sum(v.size for v in weights.values())) or real(weights, levels),
    )
    assert Compression("quantised").evaluate(net, w, (X, y)).value == 1
    assert len(sizes) == 1 and sizes[0] < 4000


def test_weights_are_left_alone_and_the_number_is_reproducible():
    w, X, y = sample(SINGLE)
    before = {key: value.copy() for key, value in w.items()}
    a, b = (Compression("sparse").evaluate(SINGLE, w, (X, y)).to_json() for _ in range(2))
    assert a == b and all((w[key] == before[key]).all() for key in w)


def test_refusals():
    with pytest.raises(InvalidInput, match="'best' or one of quantised"):
        Compression("zip")
    with pytest.raises(InvalidInput, match="positive"):
        Compression(most=0.0)
    odd = Architecture.sequential([Linear(3), Activation("mine", lipschitz=1.0), Linear(2)], input_shape=4)
    with pytest.raises(PreconditionError, match="only declared"):
        Compression().symbolic(odd)
    huge = {key: value * 1e200 for key, value in DENSE.random_weights(rng=0).items()}
    with pytest.raises(PreconditionError, match="weights below 1e37"):
        Compression().evaluate(DENSE, huge, (np.ones((2, 4)), [0, 1]))
    bare = Architecture.sequential([Flatten()], input_shape=(2, 1))
    with pytest.raises(PreconditionError, match="weights to describe: there are 0 arrays"):
        Compression().evaluate(bare, {}, (np.ones((2, 2, 1)), [0, 1]))
