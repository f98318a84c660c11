"""Printed VC bounds against the derived counts, patterns that are really found, and samples by direct search."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from theory import InvalidInput, PreconditionError
from theory.architecture import Activation, Architecture, Conv, Flatten, Linear
from theory.bounds._network import Network
from theory.bounds.definable import (
    definable_dimension,
    piecewise_polynomial_growth,
    samples_needed,
    sigmoid_log_growth,
    vc_piecewise_polynomial,
    vc_sigmoid,
)
from theory.bounds.growth_function import log_patterns, stages


def shattered(log_growth) -> int:
    """The largest m with Pi(m) = 2^m not excluded."""
    m = 1
    while log_growth(m) >= m * math.log(2) * (1 - 1e-12):
        m *= 2
    low, high = m // 2, m
    while high - low > 1:
        mid = (low + high) // 2
        low, high = (mid, high) if log_growth(mid) >= mid * math.log(2) * (1 - 1e-12) else (low, mid)
    return low


@pytest.mark.parametrize("widths", [[2, 3, 1], [5, 10, 10, 1], [3, 4, 4, 4, 1]])
@pytest.mark.parametrize(("pieces", "degree"), [(2, 1), (2, 2), (4, 3), (1, 2)])
def test_printed_piecewise_polynomial_form_is_above_the_derived_count(widths, pieces, degree):
    W = sum((a + 1) * b for a, b in itertools.pairwise(widths))
    k, L = sum(widths[1:]), len(widths) - 1
    derived = shattered(lambda m: piecewise_polynomial_growth(widths, m, pieces=pieces, degree=degree))
    assert derived <= vc_piecewise_polynomial(W, k, L, pieces=pieces, degree=degree)


@pytest.mark.parametrize(("W", "k"), [(3, 1), (13, 4), (100, 12), (1000, 30)])
def test_printed_sigmoid_forms_agree_with_each_other(W, k):
    # the growth bound excludes shattering beyond the printed dimension, and not far below it
    found = shattered(lambda m: sigmoid_log_growth(W, k, m))
    assert (W * k) ** 2 / 2 <= found <= vc_sigmoid(W, k)


def test_relu_count_is_that_of_the_growth_function():
    widths, m = [3, 5, 4, 2], 30_000
    net = Architecture.sequential(
        [Linear(5), Activation("relu"), Linear(4), Activation("relu"), Linear(2)], input_shape=3
    )
    found = [s for s in stages(Network.placeholder(net))]
    assert [(s.units, s.parameters, s.degree) for s in found] == [(5, 20, 1), (4, 44, 2), (1, 54, 3)]
    derived = piecewise_polynomial_growth(widths, m)
    assert log_patterns(found, m) <= derived  # it has a sharper count of the first layer
    each = [(s.parameters, 2 * math.e * m * s.units * s.degree) for s in found]
    exact = sum(math.log(2) + W * math.log(q / W) for W, q in each)
    assert derived == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("degree", [2, 3])
def test_patterns_of_polynomial_activations_never_exceed_the_count(degree):
    # activation max(z, 0)^degree, one input: patterns really found by random weights
    rng, n = np.random.default_rng(degree), 10
    X, seen = np.sort(rng.standard_normal((n, 1)), axis=0), set()
    for scale in (1.0, 5.0):
        for _ in range(4000):
            U, b = scale * rng.standard_normal((2, 1)), scale * rng.standard_normal(2)
            f = np.maximum(X @ U.T + b, 0) ** degree @ rng.standard_normal(2) + rng.standard_normal()
            seen.add(tuple(f > 0))
    assert 30 < len(seen) <= math.exp(piecewise_polynomial_growth([1, 2, 1], n, degree=degree))


def test_polynomials_without_breakpoints_have_one_stage():
    # degree-2 polynomial of 5 parameters composed once: degree 2 * 1 + 1 in the 7 parameters
    from theory.bounds._growth import warren_log

    assert piecewise_polynomial_growth([1, 2, 1], 500, pieces=1, degree=2) == pytest.approx(warren_log(500, 3, 7))
    assert piecewise_polynomial_growth([2, 3, 4], 10**5, classes=4) > piecewise_polynomial_growth([2, 3, 2], 10**5)


@pytest.mark.parametrize(("d", "eps", "delta"), [(1, 0.3, 0.1), (7.5, 0.2, 0.01), (40, 0.1, 0.001), (3, 5.0, 0.5)])
def test_samples_needed_is_the_least(d, eps, delta):
    n = np.arange(max(1, math.ceil(d)), 2 * 10**5)
    left = np.sqrt(2 * d * np.log(math.e * n / d) / n) + np.sqrt(math.log(1 / delta) / (2 * n))
    assert samples_needed(d, eps, delta) == n[np.argmax(left <= eps)]


def test_dimension_of_an_architecture():
    relu = Architecture.sequential([Flatten(), Linear(4), Activation("relu"), Linear(1)], input_shape=(1, 3))
    found = definable_dimension(relu)
    assert (found.kind, found.parameters, found.units, found.layers) == ("piecewise polynomial", 21, 5, 2)
    assert found.vc == vc_piecewise_polynomial(21, 5, 2) and found.samples(0.1) == samples_needed(found.vc, 0.1)
    clipped = Architecture.sequential([Linear(4), Activation("hardtanh"), Linear(1)], input_shape=3)
    assert definable_dimension(clipped).vc == vc_piecewise_polynomial(21, 5, 2, pieces=3)
    smooth = [
        definable_dimension(Architecture.sequential([Linear(4), Activation(a), Linear(1)], input_shape=3))
        for a in ("sigmoid", "tanh")
    ]
    assert smooth[0].vc == smooth[1].vc == vc_sigmoid(21, 5) and smooth[0].status == "published form"
    json.dumps(found.to_json())


def test_tanh_and_sigmoid_networks_are_one_class():
    rng = np.random.default_rng(0)
    X, U, b, v, c = (rng.standard_normal(s) for s in ((6, 3), (4, 3), 4, 4, ()))
    sigmoid = 1 / (1 + np.exp(-(X @ (2 * U).T + 2 * b))) @ (2 * v) + c - v.sum()
    assert np.tanh(X @ U.T + b) @ v + c == pytest.approx(sigmoid, rel=1e-12)


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([Linear(4), Activation("gelu"), Linear(1)], "gelu is not"),
        ([Linear(4), Activation("sigmoid"), Linear(4), Activation("relu"), Linear(1)], "relu is not"),
        ([Linear(4, bias=False), Activation("tanh"), Linear(1)], "bias in every layer"),
        ([Linear(4), Activation("relu"), Linear(2)], "one output"),
        ([Linear(4), Activation("relu")], "does not end in a dense layer"),
    ],
)
def test_refused_with_the_hypothesis_named(nodes, said):
    with pytest.raises(PreconditionError, match=said):
        definable_dimension(Architecture.sequential(nodes, input_shape=3))


def test_bad_input():
    with pytest.raises(PreconditionError, match="'conv1' is a conv"):
        definable_dimension(Architecture.sequential([Conv(2, 2), Flatten(), Linear(1)], input_shape=(1, 3)))
    with pytest.raises(InvalidInput, match="widths must be"):
        piecewise_polynomial_growth([3, 4], 10)
    with pytest.raises(InvalidInput, match="eps must be positive"):
        samples_needed(3, 0)
    with pytest.raises(InvalidInput, match="W must be at least 1"):
        vc_sigmoid(0, 3)


def test_what_float64_cannot_hold_is_said():
    for ask in (lambda: samples_needed(1e10, 1e-150), lambda: vc_sigmoid(10**200, 10**200)):
        with pytest.raises(InvalidInput, match="float64"):
            ask()
    with pytest.raises(InvalidInput, match="sequence"):
        piecewise_polynomial_growth(3, 5)
