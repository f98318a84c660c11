"""Architectures: convolutions against scipy, folding leaves the function as it is, refusals are sentences."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.signal import correlate

from theory import InvalidInput
from theory.architecture import (
    Activation,
    Add,
    Architecture,
    Attention,
    AvgPool,
    BatchNorm,
    Bias,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GraphBuilder,
    LayerNorm,
    Linear,
    MaxPool,
    fold,
    from_description,
    node_values,
    outputs,
    read_architecture,
    to_description,
)  # fmt: skip

MODES = {"zeros": "constant", "circular": "wrap", "reflect": "reflect", "replicate": "edge"}


def one(operation, X, weights=()):
    net = Architecture.sequential({"a": operation}, input_shape=X.shape[1:])
    return outputs(net, {f"a.{k}": v for k, v in dict(weights).items()}, X)


def residual():
    g = GraphBuilder((3, 8, 8))
    a = g.add(Activation(), g.add(BatchNorm(), g.add(Conv(8, 3, padding=1))))
    b = g.add(BatchNorm(), g.add(Conv(8, 3, padding=1, groups=2, bias=False), a))
    s = g.add(MaxPool(2), g.add(Activation(), g.add(BatchNorm(), g.add(Add(), a, b))))
    s = g.add(Dropout(), g.add(GlobalAvgPool(), g.add(AvgPool(2, padding=1), s)))
    g.add(Bias(), g.add(BatchNorm(), g.add(Linear(5), s)))
    return g.build()


def positive_weights(net, seed=0):
    """Positive but for the running means, which have both signs."""
    rng = np.random.default_rng(seed)
    named = {k: v * rng.uniform(0.5, 1.5, v.shape) + 0.3 * rng.standard_normal(v.shape) ** 2
             for k, v in net.random_weights(rng=rng).items()}  # fmt: skip
    return {k: rng.standard_normal(v.shape) if k.endswith("running_mean") else v for k, v in named.items()}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("stride", "dilation", "groups"), list(itertools.product((1, 2), (1, 2), (1, 2))))
def test_convolution_is_scipys_correlation(mode, stride, dilation, groups):
    rng = np.random.default_rng(1)
    X, K = rng.standard_normal((2, 4, 7, 6)), rng.standard_normal((6, 4 // groups, 3, 2))
    op = Conv(6, (3, 2), stride=stride, padding=(2, 1), dilation=dilation, groups=groups, padding_mode=mode, bias=False)
    found = one(op, X, {"weight": K})
    wide = np.zeros((6, 4 // groups, 3 + 2 * (dilation - 1), 2 + dilation - 1))
    wide[:, :, ::dilation, ::dilation] = K
    padded = np.pad(X, ((0, 0), (0, 0), (2, 2), (1, 1)), mode=MODES[mode])
    share = 4 // groups
    for i, o in itertools.product(range(2), range(6)):
        first = (o // (6 // groups)) * share
        want = correlate(padded[i, first : first + share], wide[o], mode="valid")[0, ::stride, ::stride]
        np.testing.assert_allclose(found[i, o], want, atol=1e-12)


def test_one_dimension_and_same_padding():
    X, K = np.arange(5.0).reshape(1, 1, 5), np.array([[[1.0, 10.0, 100.0]]])
    found = one(Conv(1, 3, padding="same", bias=False), X, {"weight": K})
    assert found.tolist() == [[[100.0, 210.0, 321.0, 432.0, 43.0]]]


def test_pools():
    X = np.array([[[[1.0, 2.0, -3.0], [4.0, -5.0, 6.0], [-7.0, 8.0, 9.0]]]])
    assert one(MaxPool(2, stride=1), X).tolist() == [[[[4.0, 6.0], [8.0, 9.0]]]]
    assert one(MaxPool(2, padding=1), -X - 20).tolist() == [[[[-21.0, -17.0], [-13.0, -15.0]]]]
    assert one(AvgPool(2, stride=1), X)[0, 0, 0].tolist() == [0.5, 0.0]
    assert one(AvgPool(2, padding=1), X)[0, 0].tolist() == [[0.25, -0.25], [-0.75, 4.5]]
    assert one(AvgPool(2, padding=1, count_include_pad=False), X)[0, 0].tolist() == [[1.0, -0.5], [-1.5, 4.5]]
    assert one(GlobalAvgPool(), X)[0, 0] == pytest.approx(15 / 9)
    assert one(GlobalMaxPool(), X).tolist() == [[9.0]]


def test_layer_norm_and_attention():
    rng = np.random.default_rng(2)
    X = rng.standard_normal((3, 4, 6))
    normal = one(LayerNorm(), X, {"weight": np.ones(6), "bias": np.zeros(6)})
    np.testing.assert_allclose(normal.mean(-1), 0, atol=1e-12)
    np.testing.assert_allclose(normal.var(-1), 1, rtol=1e-3)
    W, V = rng.standard_normal((18, 6)), rng.standard_normal((6, 6))
    named = {"in_proj_weight": W, "in_proj_bias": rng.standard_normal(18), "out_proj.weight": V,
             "out_proj.bias": rng.standard_normal(6)}  # fmt: skip
    found = one(Attention(2), X, named)
    for i in range(3):
        q, k, v = np.split(X[i] @ W.T + named["in_proj_bias"], 3, axis=1)
        heads = []
        for h in (slice(0, 3), slice(3, 6)):
            scores = np.exp(q[:, h] @ k[:, h].T / np.sqrt(3))
            heads.append(scores / scores.sum(1, keepdims=True) @ v[:, h])
        np.testing.assert_allclose(found[i], np.hstack(heads) @ V.T + named["out_proj.bias"], atol=1e-12)


def test_folding_leaves_the_function_as_it_is():
    net = residual()
    weights, X = positive_weights(net), np.random.default_rng(3).standard_normal((4, 3, 8, 8))
    folded, named = fold(net, weights)
    kinds = [node.operation.kind for node in folded.nodes]
    assert kinds.count("scale") == 1 and not {"batchnorm", "bias", "dropout"} & set(kinds)
    want = outputs(net, weights, X)
    np.testing.assert_allclose(outputs(folded, named, X), want, rtol=1e-12)
    assert abs(want).min() > 1e-3


@pytest.mark.parametrize(
    "operations",
    [
        [BatchNorm(), Conv(4, 2), Flatten(), Linear(2)],
        [BatchNorm(), Conv(4, 3, padding=1, padding_mode="circular", groups=2), Flatten(), Linear(2)],
        [BatchNorm(), Conv(4, 3, padding=1), Flatten(), Linear(2)],
        [Flatten(), BatchNorm(), Linear(2), BatchNorm()],
    ],
)
def test_a_normalisation_before_a_linear_map(operations):
    net = Architecture.sequential(operations, input_shape=(2, 4, 4))
    weights, X = positive_weights(net), np.random.default_rng(4).standard_normal((3, 2, 4, 4))
    folded, named = fold(net, weights)
    np.testing.assert_allclose(outputs(folded, named, X), outputs(net, weights, X), rtol=1e-11)
    padded = isinstance(operations[1], Conv) and operations[1].padding_mode == "zeros" and operations[1].padding
    assert any(node.operation.kind == "scale" for node in folded.nodes) == bool(padded)


@pytest.mark.parametrize("name", ["relu", "abs", "hardtanh", "relu6", "tanh", "sigmoid", "softplus", "gelu", "silu",
                                  "mish", "selu", "elu", "leaky_relu", "identity"])  # fmt: skip
def test_facts_of_activations(name):
    facts = Activation(name).facts
    x = np.linspace(-12, 12, 240_001)
    slopes = np.diff(facts.function(x)) / np.diff(x)
    steepest = np.abs(slopes).max()
    if name in ("gelu", "silu", "mish"):
        i = int(np.argmax(np.abs(slopes)))
        h = 1e-5
        found = minimize_scalar(
            lambda t: -(facts.function(np.array(t + h)) - facts.function(np.array(t - h))) / (2 * h),
            bounds=(x[i - 5], x[i + 5]), method="bounded", options={"xatol": 1e-10},
        )  # fmt: skip
        steepest = -found.fun
    assert steepest <= facts.lipschitz * (1 + 1e-9)
    assert steepest == pytest.approx(facts.lipschitz, rel=1e-4 if name not in ("gelu", "silu", "mish") else 1e-8)
    assert facts.function(np.array(0.0)) == pytest.approx(facts.at_zero)
    assert facts.function(np.array(1.0)) == pytest.approx(facts.at_one)
    homogeneous = np.allclose(facts.function(3 * x), 3 * facts.function(x))
    assert homogeneous == (facts.degree == 1)
    if facts.breakpoints is not None:
        # slopes change on at most two neighbouring intervals of the grid for each breakpoint
        assert facts.breakpoints <= (np.abs(np.diff(slopes)) > 1e-6).sum() <= 2 * facts.breakpoints


def test_description_round_trip(tmp_path):
    net = residual()
    path = tmp_path / "net.json"
    path.write_text(json.dumps(to_description(net)))
    assert read_architecture(path) == net
    short = {"input_shape": 4, "nodes": [{"op": "linear", "out_features": 3}, {"op": "leaky_relu", "slope": 0.2},
             {"op": "activation", "name": "tanh"}, {"op": "linear", "out_features": 2, "bias": False}]}  # fmt: skip
    assert [n.operation.kind for n in from_description(short).nodes] == ["linear", "activation", "activation", "linear"]
    assert from_description(short).nodes[2].operation == Activation("tanh")


def test_yaml(tmp_path):
    pytest.importorskip("yaml")
    path = tmp_path / "net.yaml"
    path.write_text("input_shape: [1, 4, 4]\nnodes:\n- {op: conv, out_channels: 2, kernel_size: [3, 3]}\n- op: relu\n")
    assert read_architecture(path).output_shape == (2, 2, 2)


@pytest.mark.parametrize(
    ("described", "said"),
    [
        (3, "a description is an object"),
        ({"input_shape": [2], "nodes": []}, "at least one operation"),
        ({"input_shape": [2], "nodes": [{"op": "lin"}]}, "unknown operation 'lin'"),
        ({"input_shape": [2], "nodes": [{"op": "linear"}]}, "needs 'out_features'"),
        ({"input_shape": [2], "nodes": [{"op": "linear", "out_features": 2, "width": 1}]}, "takes no 'width'"),
        ({"input_shape": [2], "nodes": [{"op": "linear", "out_features": -1}]}, "at least 1"),
        ({"input_shape": [2], "nodes": [{"op": "linear", "out_features": "x"}]}, "is a number"),
        ({"input_shape": [2], "nodes": [{"op": "linear", "out_features": 2, "bias": 1}]}, "true or false"),
        ({"input_shape": [2], "nodes": [{"op": "conv", "out_channels": 2, "kernel_size": 3}]}, "does not fit"),
        ({"input_shape": [1, 2], "nodes": [{"op": "conv", "out_channels": 2, "kernel_size": 3}]}, "extent 3"),
        ({"input_shape": [0], "nodes": [{"op": "relu"}]}, "at least 1"),
        ({"input_shape": [2], "nodes": [{"op": "relu", "inputs": ["q"]}]}, "reads 'q'"),
        ({"input_shape": [2], "nodes": [{"op": "swish9"}]}, "unknown operation"),
        ({"input_shape": [2], "nodes": [{"op": "relu"}], "x": 1}, "unknown key 'x'"),
        ({"input_shape": [2], "nodes": [{"op": "add"}]}, "two or more"),
        ({"input_shape": [2, 2, 2, 2], "nodes": [{"op": "relu"}]}, "one to three"),
        ({"input_shape": [2], "nodes": [{"op": "relu", "name": "a"}, {"op": "relu", "name": "a"}]}, "two nodes"),
        ({"input_shape": [2], "nodes": [{"op": "relu", "name": "a"}, {"op": "relu", "inputs": ["input"]}]}, "not used"),
        ({"input_shape": [4, 4], "nodes": [{"op": "conv", "out_channels": 3, "kernel_size": 1, "groups": 2}]}, "split"),
        ({"input_shape": [1, 4], "nodes": [{"op": "conv", "out_channels": 1, "kernel_size": 3, "padding_mode": "x"}]},
         "padding_mode"),
    ],
)  # fmt: skip
def test_bad_descriptions_are_sentences(described, said):
    with pytest.raises(InvalidInput, match=said):
        from_description(described)


def test_bad_files(tmp_path):
    cases = (("a.json", "{", "does not parse"), ("a.txt", "", "neither"), ("none.json", None, "cannot"))
    for name, text, said in cases:
        path = tmp_path / name
        if text is not None:
            path.write_text(text)
        with pytest.raises(InvalidInput, match=said):
            read_architecture(path)


def test_bad_weights_and_inputs():
    net = Architecture.sequential([Linear(2), BatchNorm()], input_shape=3)
    good = net.random_weights(rng=0)
    for change, said in (
        ({"linear1.weight": np.ones((2, 2))}, "shape"),
        ({"linear1.bias": [np.nan, 0]}, "NaN"),
        ({"batchnorm1.running_var": [-1.0, 1.0]}, "variance"),
        ({"other": 1.0}, "does not have"),
    ):
        with pytest.raises(InvalidInput, match=said):
            outputs(net, {**good, **change}, np.ones((1, 3)))
    with pytest.raises(InvalidInput, match="lack"):
        outputs(net, {k: good[k] for k in list(good)[1:]}, np.ones((1, 3)))
    for X, said in ((np.ones((1, 4)), "shape"), (np.ones((0, 3)), "at least one"), ([[np.inf, 0, 0]], "NaN or inf")):
        with pytest.raises(InvalidInput, match=said):
            outputs(net, good, X)
    with pytest.raises(InvalidInput, match="only declared"):
        outputs(Architecture.sequential([Activation("mine", lipschitz=1.0)], input_shape=1), {}, [[1.0]])


def test_values_of_nodes_and_batches():
    net = residual()
    weights, X = positive_weights(net), np.random.default_rng(5).standard_normal((5, 3, 8, 8))
    seen = []
    whole = outputs(net, weights, X, batch_size=2, callback=lambda done, n: seen.append((done, n)))
    assert seen == [(2, 5), (4, 5), (5, 5)]
    values = node_values(net, net.check_weights(weights), X)
    np.testing.assert_allclose(values[net.output], whole, rtol=1e-12)
    assert set(values) == {"input", *(node.name for node in net.nodes)}
