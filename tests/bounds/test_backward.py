"""Derivatives of every operation: against central differences, and J^T against J."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory._errors import PreconditionError
from theory.architecture import (
    INPUT,
    Activation,
    Add,
    Architecture,
    Attention,
    AvgPool,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GraphBuilder,
    LayerNorm,
    Linear,
    MaxPool,
    Scale,
    fold,
    node_values,
)  # fmt: skip
from theory.bounds.measures._backward import _SLOPES, backward, check_differentiable, forward_tangent

NAMES = [name for name in _SLOPES if name != "identity"]


def skip_network() -> Architecture:
    g = GraphBuilder((2, 6, 5))
    a = g.add(Conv(4, 3, padding=1))
    b = g.add(Conv(4, 3, padding=1), g.add(Activation("tanh"), a))
    g.add(Flatten(), g.add(AvgPool(2), g.add(Add(), a, b, a)))
    g.add(Linear(3))
    return g.build()


def in_between(*operations, shape=(4, 6, 5)):
    """Operations between a convolution, so that inputs have no ties, and a dense layer."""
    return Architecture.sequential([Conv(4, 1), *operations, Flatten(), Linear(3)], input_shape=shape)


NETWORKS = {
    "dense": Architecture.sequential([Linear(5), Activation("gelu"), Linear(3)], input_shape=4),
    "shared": Architecture.sequential([Linear(5), Activation("tanh"), Flatten(), Linear(3)], input_shape=(4, 3)),
    "scale": in_between(Scale(), Activation("relu"), Scale()),
    "1d": Architecture.sequential(
        [Conv(4, 3, stride=2, padding=2, dilation=2), Activation("tanh"), MaxPool(2), Flatten(), Linear(2)],
        input_shape=(2, 11),
    ),
    "groups": in_between(Conv(6, (3, 2), groups=2, stride=(2, 1), padding=(1, 0), dilation=(1, 2)), Activation("relu")),
    **{
        f"{mode}{stride}": in_between(Conv(3, 3, padding=(2, 3), stride=stride, padding_mode=mode))
        for mode in ("zeros", "circular", "reflect", "replicate") for stride in (1, 2)
    },
    "same": in_between(Conv(3, 3, padding="same", dilation=2, bias=False)),
    "maxpool": in_between(MaxPool(3, 2, 1)),
    "avgpool": in_between(AvgPool((3, 2), (2, 1), (1, 1))),
    "avgpool-unpadded": in_between(AvgPool(3, 2, 1, count_include_pad=False)),
    "global": Architecture.sequential([Conv(4, 2), GlobalAvgPool(), Linear(3)], input_shape=(2, 4, 4)),
    "global-max": Architecture.sequential(
        [Conv(4, 2), Activation("silu"), GlobalMaxPool(), Linear(3)], input_shape=(2, 4, 4)
    ),
    "batchnorm": in_between(BatchNorm(), Activation("relu"), Dropout(0.3), BatchNorm()),
    "skip": skip_network(),
    **{name: Architecture.sequential([Linear(6), Activation(name), Linear(2)], input_shape=4) for name in NAMES},
    "leaky": Architecture.sequential([Linear(6), Activation("leaky_relu", slope=0.3), Linear(2)], input_shape=4),
    "elu-2": Architecture.sequential([Linear(6), Activation("elu", slope=2.0), Linear(2)], input_shape=4),
}  # fmt: skip


def prepared(net: Architecture, seed: int = 0, n: int = 3):
    rng = np.random.default_rng(seed)
    weights = {k: rng.standard_normal(s) / np.sqrt(max(1, np.prod(s[1:]))) for k, s in net.parameters.items()}
    weights = {k: np.abs(v) + 0.5 if k.endswith("running_var") else v for k, v in weights.items()}
    graph, named = fold(net, weights)
    X = rng.standard_normal((n, *net.input_shape))
    return graph, named, X, rng


def score(graph, named, X, c):
    return (node_values(graph, named, X)[graph.output] * c).sum(axis=tuple(range(1, c.ndim)))


@pytest.mark.parametrize("name", NETWORKS)
def test_central_differences_agree(name):
    graph, named, X, rng = prepared(NETWORKS[name])
    values = node_values(graph, named, X)
    c = rng.standard_normal(values[graph.output].shape)
    kept, grads = backward(graph, named, values, {graph.output: c}, keep=(INPUT,), parameters=True)
    assert set(grads) == set(graph.parameters)
    h = 1e-6
    for _ in range(3):
        t = rng.standard_normal(X.shape)
        slopes = (score(graph, named, X + h * t, c) - score(graph, named, X - h * t, c)) / (2 * h)
        exact = (kept[INPUT] * t).reshape(len(X), -1).sum(axis=1)
        np.testing.assert_allclose(exact, slopes, rtol=2e-7, atol=2e-8)
    for key, value in named.items():
        t = rng.standard_normal(value.shape)
        up, down = ({**named, key: value + s * h * t} for s in (1, -1))
        slope = (score(graph, up, X, c).sum() - score(graph, down, X, c).sum()) / (2 * h)
        np.testing.assert_allclose((grads[key] * t).sum(), slope, rtol=2e-7, atol=1e-7, err_msg=key)


@pytest.mark.parametrize("name", NETWORKS)
def test_jacobian_and_transpose_are_adjoint(name):
    graph, named, X, rng = prepared(NETWORKS[name], 1)
    values = node_values(graph, named, X)
    c, t = rng.standard_normal(values[graph.output].shape), rng.standard_normal(X.shape)
    kept, _ = backward(graph, named, values, {graph.output: c}, keep=(INPUT,))
    moved = forward_tangent(graph, named, values, {INPUT: t}, keep=(graph.output,))[graph.output]
    left, right = (moved * c).reshape(len(X), -1).sum(axis=1), (kept[INPUT] * t).reshape(len(X), -1).sum(axis=1)
    np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-13)


@settings(max_examples=40)
@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(0, 3), st.integers(1, 2), st.sampled_from([1, 2]),
    st.sampled_from(["zeros", "circular", "reflect", "replicate"]), st.integers(0, 99),
)  # fmt: skip
def test_convolutions_of_every_kind_are_adjoint(k, stride, padding, dilation, groups, mode, seed):
    op = Conv(4, k, stride=stride, padding=padding, dilation=dilation, groups=groups, padding_mode=mode, bias=False)
    net = Architecture.sequential([op], input_shape=(2, 5, 6))
    graph, named, X, rng = prepared(net, seed, n=2)
    values = node_values(graph, named, X)
    c = rng.standard_normal(values[graph.output].shape)
    kept, grads = backward(graph, named, values, {graph.output: c}, keep=(INPUT,), parameters=True)
    # a bilinear map: both gradients return the value itself
    value = (values[graph.output] * c).sum()
    assert (kept[INPUT] * X).sum() == pytest.approx(value, rel=1e-11, abs=1e-11)
    assert (grads["conv1.weight"] * named["conv1.weight"]).sum() == pytest.approx(value, rel=1e-11, abs=1e-11)


def test_homogeneous_networks_satisfy_euler():
    net = Architecture.sequential(
        [Conv(3, 3, bias=False), Activation("relu"), MaxPool(2), Flatten(), Linear(4, bias=False)],
        input_shape=(2, 6, 6),
    )
    graph, named, X, _ = prepared(net)
    values = node_values(graph, named, X)
    moved = forward_tangent(graph, named, values, {INPUT: X})
    np.testing.assert_allclose(moved[graph.output], values[graph.output], rtol=1e-12)


def test_kinks_take_the_flat_side():
    net = Architecture.sequential([Activation("relu"), Linear(1, bias=False)], input_shape=1)
    values = node_values(net, {"linear1.weight": np.ones((1, 1))}, np.zeros((1, 1)))
    kept, _ = backward(net, {"linear1.weight": np.ones((1, 1))}, values, {net.output: np.ones((1, 1))}, keep=(INPUT,))
    assert kept[INPUT].item() == 0


@pytest.mark.parametrize(
    "op", [LayerNorm(), Attention(), Activation("unheard", lipschitz=1.0)], ids=["layernorm", "attention", "declared"]
)
def test_others_are_refused_by_name(op):
    net = Architecture.sequential([op, Flatten(), Linear(2)], input_shape=(3, 4))
    with pytest.raises(PreconditionError, match=f"{op.kind}1"):
        check_differentiable(net)
