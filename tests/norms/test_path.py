"""Path norms: every path enumerated on tiny graphs, published counterexample, invariances, no overflow."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory._errors import InvalidInput, PreconditionError
from theory.architecture import (
    INPUT,
    Activation,
    Add,
    Architecture,
    AvgPool,
    BatchNorm,
    Conv,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GraphBuilder,
    LayerNorm,
    Linear,
    MaxPool,
    fold,
    outputs,
)  # fmt: skip
from theory.norms.path import path_norm
from theory.norms.toeplitz import toeplitz_matrix


def enumerated(net, weights, q):
    """Sum over all paths, walked one by one from each output entry back to an input or a bias."""
    graph, named = fold(net, weights)

    def edges(node, entry):
        op, shape, name = node.operation, node.input_shapes[0], node.inputs[0]
        b = named.get(f"{node.name}.bias")
        channel = np.unravel_index(entry, node.shape)[0]
        found = [] if b is None else [(None, 0, b[channel])]
        if isinstance(op, Linear):
            return found + [(name, i, w) for i, w in enumerate(named[f"{node.name}.weight"][entry])]
        if isinstance(op, Conv):
            A = toeplitz_matrix(named[f"{node.name}.weight"], shape[1:], stride=op.stride, padding=op.padding,
                                dilation=op.dilation, groups=op.groups).toarray()  # fmt: skip
            return found + [(name, i, A[entry, i]) for i in np.flatnonzero(A[entry])]
        if isinstance(op, Add):
            return [(read, entry, 1.0) for read in node.inputs]
        if isinstance(op, MaxPool | AvgPool):
            k, s, p = (v[0] for v in op.window(1))
            channel, t = np.unravel_index(entry, node.shape)
            inside = [j for j in range(s * t - p, s * t - p + k) if 0 <= j < shape[1]]
            w = 1.0 if isinstance(op, MaxPool) else 1 / (k if op.count_include_pad else len(inside))
            return [(name, channel * shape[1] + j, w) for j in inside]
        if isinstance(op, GlobalAvgPool | GlobalMaxPool):
            w = 1.0 if isinstance(op, GlobalMaxPool) else 1 / shape[1]
            return [(name, entry * shape[1] + j, w) for j in range(shape[1])]
        return [(name, entry, 1.0)]

    def walk(name, entry, weight):
        if name in (None, INPUT):
            yield weight
            return
        for read, at, w in edges(graph[name], entry):
            yield from walk(read, at, weight * w)

    total = sum(abs(w) ** q for o in range(math.prod(net.output_shape)) for w in walk(graph.output, o, 1.0))
    return total ** (1 / q)


def residual():
    g = GraphBuilder(3)
    first = g.add(Activation("relu"), g.add(Linear(4)))
    branch = g.add(Linear(4), g.add(Activation("relu"), g.add(BatchNorm(), g.add(Linear(2), first))))
    g.add(Linear(2), g.add(Activation("relu"), g.add(Add(), first, branch)))
    return g.build()


def convolutional(pool):
    return Architecture.sequential(
        [Conv(2, 3, padding=1), Activation("relu"), pool, Conv(4, 2, stride=2, groups=2), Activation("relu"),
         GlobalAvgPool(), Linear(3)], input_shape=(2, 7))  # fmt: skip


NETS = {
    "residual": residual(),
    "max": convolutional(MaxPool(3, 2, 1)),
    "average": convolutional(AvgPool(2, 1)),
    "average of what is there": convolutional(AvgPool(3, 2, 1, count_include_pad=False)),
    "average with zeros": convolutional(AvgPool(3, 2, 1)),
    "global maximum": Architecture.sequential([Conv(3, 2), GlobalMaxPool(), Linear(2)], input_shape=(1, 4)),
    "flattened": Architecture.sequential([Conv(2, 2, dilation=2), Flatten(), Linear(1)], input_shape=(1, 5)),
}


def random(net, seed):
    rng = np.random.default_rng(seed)
    return {k: np.abs(rng.normal(size=s)) + 0.1 if k.endswith("running_var") else rng.normal(size=s)
            for k, s in net.parameters.items()}  # fmt: skip


@pytest.mark.parametrize("q", [1, 2])
@pytest.mark.parametrize("name", NETS)
def test_equals_the_sum_over_all_paths(name, q):
    weights = random(NETS[name], 3)
    exact, found = enumerated(NETS[name], weights, q), path_norm(NETS[name], weights, exponent=q).value
    assert exact * (1 - 1e-13) <= found <= exact * (1 + 1e-12)


def test_normalisation_is_folded_with_its_sign():
    net = Architecture.sequential([Linear(1, bias=False), BatchNorm(eps=1e-300)], input_shape=1)
    named = {"weight": [1.0], "bias": [0.0], "running_mean": [1.0], "running_var": [1.0]}
    found = path_norm(net, {"linear1.weight": [[1.0]], **{f"batchnorm1.{k}": v for k, v in named.items()}})
    assert found.value == pytest.approx(2, rel=1e-14)


def test_deep_and_large_does_not_overflow():
    net = Architecture.sequential([Linear(2, bias=False)] * 50, input_shape=2)
    weights = {k: np.full(s, 1e300) for k, s in net.parameters.items()}
    found = path_norm(net, weights)
    assert found.value == math.inf
    assert found.log == pytest.approx(50 * math.log(1e300) + 51 * math.log(2), rel=1e-14)
    tiny = path_norm(net, {k: np.full(s, 1e-300) for k, s in net.parameters.items()})
    assert tiny.log == pytest.approx(-50 * math.log(1e300) + 51 * math.log(2), rel=1e-14)


def test_small_channels_beside_large_ones_are_not_lost():
    net = Architecture.sequential([Linear(2, bias=False), Linear(1, bias=False)], input_shape=1)
    found = path_norm(net, {"linear1.weight": [[1e200], [1e-200]], "linear2.weight": [[0.0, 1e200]]})
    assert found.value >= 1.0
    zero = path_norm(net, {"linear1.weight": [[1.0], [0.0]], "linear2.weight": [[0.0, 1.0]]})
    assert (zero.value, zero.log) == (0.0, -math.inf)


@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
@settings(max_examples=15, deadline=None)
def test_rescaling_a_neuron_changes_nothing(seed, c):
    net = NETS["residual"]
    weights = random(net, seed)
    scaled = {k: v.copy() for k, v in weights.items()}
    scaled["batchnorm1.weight"][0] *= c
    scaled["batchnorm1.bias"][0] *= c
    scaled["linear3.weight"][:, 0] /= c
    for q in (1, 2):
        before = path_norm(net, weights, exponent=q).log
        assert path_norm(net, scaled, exponent=q).log == pytest.approx(before, abs=1e-12)


def test_bounds_the_output_on_the_cube():
    rng = np.random.default_rng(0)
    for net in NETS.values():
        weights = random(net, 5)
        X = rng.uniform(-1, 1, size=(200, *net.input_shape))
        assert np.abs(outputs(net, weights, X)).sum(axis=1).max() <= path_norm(net, weights).value


def test_refusals():
    net = Architecture.sequential([Linear(2), LayerNorm()], input_shape=2)
    with pytest.raises(PreconditionError, match="layernorm"):
        path_norm(net, net.random_weights(rng=0))
    net = Architecture.sequential([Linear(2)], input_shape=2)
    with pytest.raises(InvalidInput, match="exponent"):
        path_norm(net, net.random_weights(rng=0), exponent=3)
