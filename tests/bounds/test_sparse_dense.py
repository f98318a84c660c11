"""Sparse against dense: the formula in symbols, in numbers, and as the ratio of the two bounds themselves."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import sympy as sp

from theory._errors import InvalidInput, PreconditionError
from theory.architecture import Activation, Architecture, AvgPool, Conv, Flatten, Linear, MaxPool
from theory.bounds._problem import Problem
from theory.bounds.convolutional import Convolutional
from theory.bounds.frobenius import Frobenius
from theory.bounds.sparse_dense import sparse_dense_ratio

RELU = Activation("relu")


def vgg(size, K, *, pools=True):
    ops = []
    for width in (4, 8):
        ops += [Conv(width, 3, padding=1, bias=False), RELU] + [AvgPool(2)] * pools
    return Architecture.sequential([*ops, Flatten(), Linear(K, bias=False)], input_shape=(3, size, size))


@pytest.mark.parametrize("K", [1, 2, 10])
@pytest.mark.parametrize("share", [None, 0.25])
def test_symbolic_is_numeric(K, share):
    found = sparse_dense_ratio(vgg(16, K), patch_share=share)
    expression = found.expression.subs({s: sp.Float(found.values[s.name], 30) for s in found.expression.free_symbols})
    assert abs(float(sp.N(expression, 30)) / found.ratio - 1) < 1e-12
    assert found.log10 == pytest.approx(math.log10(found.ratio), abs=1e-13)
    assert found.values["K"] == (K if K > 2 else 1) and found.values["N_1"] == 256
    assert "kappa" in found.latex() and json.dumps(found.to_json())


def test_the_ratio_is_that_of_the_bounds():
    """Equally long taps, circular maps and inputs of constant size: every inequality in the ratio is an equality."""
    rng = np.random.default_rng(0)
    ops = [
        Conv(3, 3, padding=1, padding_mode="circular", bias=False), RELU,
        Conv(2, 2, stride=2, bias=False), RELU, Flatten(), Linear(1, bias=False),
    ]  # fmt: skip
    net = Architecture.sequential(ops, input_shape=(2, 6, 6))
    weights = {}
    for key, shape in net.parameters.items():
        columns = (shape[0], 2, 9) if key == "linear1.weight" else (*shape[:2], -1)
        w = rng.standard_normal(shape).reshape(columns)
        # the conv's taps must agree in length for each channel, and so must channels for G to be sqrt(kappa) F
        weights[key] = (w / np.linalg.norm(w, axis=1, keepdims=True)).reshape(shape)
    X = rng.choice([-1.0, 1.0], size=(50, 2, 6, 6))
    p = Problem(net, weights, (X, rng.integers(0, 2, 50)))
    values = {}
    for bound in (Convolutional(), Frobenius()):
        q = {**bound.report(p, 0.1).quantities, "gamma": 1.0}
        expression = bound.symbolic_form(p).complexity
        values[bound.name] = float(expression.subs({s: q[s.name] for s in expression.free_symbols}))
    found = sparse_dense_ratio(net)
    assert found.ratio == pytest.approx(values["convolutional"] / values["frobenius"], rel=1e-12)
    assert found.values["v"] == pytest.approx(9 / 36)


def test_kernels_of_full_size_are_dense():
    ops = [Conv(4, 5, bias=False), RELU, Flatten(), Linear(3, bias=False)]
    net = Architecture.sequential(ops, input_shape=(2, 5, 5))
    assert sparse_dense_ratio(net).ratio == pytest.approx(1, rel=1e-15)


def test_biases_are_left_out():
    nets = [
        Architecture.sequential([Conv(4, 3, bias=b), RELU, Flatten(), Linear(3, bias=b)], input_shape=(2, 9))
        for b in (True, False)
    ]
    assert sparse_dense_ratio(nets[0]).ratio == sparse_dense_ratio(nets[1]).ratio


def test_scaling_with_the_size_of_the_image():
    """Per doubling of the side: (kappa_1/P_0)^(1/2), P_1^(-1/2), P_2^(-1/2) each halve; the last kappa doubles."""
    conv = Conv(4, 3, padding=1, bias=False)
    ops = [conv, RELU, conv, RELU, Flatten(), Linear(1, bias=False)]
    nets = [Architecture.sequential(ops, input_shape=(1, s, s)) for s in (32, 64)]
    small, large = map(sparse_dense_ratio, nets)
    logs = [math.log(8 * found.values["N_1"]) for found in (small, large)]
    assert large.ratio / small.ratio == pytest.approx(1 / 4 * math.sqrt(logs[1] / logs[0]), rel=1e-12)
    assert small.ratio == pytest.approx(9 / 1024 * math.sqrt(2 * math.log(8 * 1024)) / 2, rel=1e-12)


def test_refusals():
    relu_max = [Conv(4, 3), RELU, MaxPool(2), Flatten(), Linear(2)]
    with pytest.raises(PreconditionError, match="no max-pooling"):
        sparse_dense_ratio(Architecture.sequential(relu_max, input_shape=(1, 8, 8)))
    with pytest.raises(PreconditionError, match="a convolution"):
        sparse_dense_ratio(Architecture.sequential([Linear(3), RELU, Linear(2)], input_shape=4))
    for share, match in ((1.5, "at most 1"), (0.0, "positive"), (math.nan, "finite")):
        with pytest.raises(InvalidInput, match=match):
            sparse_dense_ratio(vgg(16, 2), patch_share=share)
