"""Path-norm bounds: symbolic twin, printed constants, exact complexities of tiny classes, invariances."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory._errors import PreconditionError
from theory.architecture import (
    Activation,
    Add,
    Architecture,
    AvgPool,
    Conv,
    Flatten,
    GlobalMaxPool,
    GraphBuilder,
    Linear,
    MaxPool,
)
from theory.bounds.path_norm import PathNormBound, PathNormPublished, levels, published_constant
from theory.norms.path import path_norm


def residual(K=3, activation="relu"):
    g = GraphBuilder(4)
    first = g.add(Activation(activation), g.add(Linear(5)))
    branch = g.add(Linear(5, bias=False), g.add(Activation(activation), g.add(Linear(5), first)))
    g.add(Linear(K), g.add(Activation(activation), g.add(Add(), first, branch)))
    return g.build()


def dense(K, bias, activation="relu"):
    return Architecture.sequential(
        [
            Linear(6, bias=bias),
            Activation(activation),
            Linear(5, bias=bias),
            Activation(activation),
            Linear(K, bias=bias),
        ],
        input_shape=4,
    )


def convolutional(pool):
    return Architecture.sequential(
        [Conv(3, 3, padding=1), Activation("relu"), pool, Conv(4, 3), Activation("leaky_relu"), Flatten(), Linear(4)],
        input_shape=(1, 8, 8),
    )


NETS = {
    "dense": dense(3, True), "dense without bias": dense(4, False), "two classes": dense(2, True),
    "score": dense(1, False),
    "sloped": dense(3, True, "leaky_relu"), "skip": residual(), "skip, leaky": residual(3, "leaky_relu"),
    "maximum": convolutional(MaxPool(2)), "padded maximum": convolutional(MaxPool(3, 2, 1)),
    "average": convolutional(AvgPool(2)),
}  # fmt: skip


def trained(net, seed=0, n=60, scale=1.0):
    rng = np.random.default_rng(seed)
    weights = {k: v + 0.1 * rng.normal(size=v.shape) for k, v in net.random_weights(rng=rng).items()}
    X = scale * rng.normal(size=(n, *net.input_shape))
    return weights, (X, rng.integers(0, max(2, net.output_shape[0]), size=n))


@pytest.mark.parametrize("bound", [PathNormBound(), PathNormPublished()], ids=lambda b: b.name)
@pytest.mark.parametrize("name", NETS)
def test_symbolic_form_is_the_number(name, bound):
    net = NETS[name]
    if "leaky" in str(net.nodes) and bound.name == "path-norm-published":
        with pytest.raises(PreconditionError, match="ReLU"):
            bound.symbolic(net)
        return
    for margin in ("best", 0.5):
        report = bound.evaluate(net, *trained(net), 0.02, margin)
        assert float(bound.symbolic(net).evaluate(report.quantities)) == pytest.approx(report.value, rel=1e-12)
        assert report.value == pytest.approx(10**report.log10, rel=1e-12)


def test_printed_constants():
    # table of gonon2024path as in the reference notes: 4 / sqrt(n) B C for ResNet-18, 34, 50
    n, B = int(0.99 * 1281167), 2.640000104904175
    for D, value in ((18, 0.0880927), (34, 0.1145217), (50, 0.1359048)):
        C = published_constant(D=D, k=9, P=1, d=150528, K=1000)
        assert 4 / math.sqrt(n) * B * C == pytest.approx(value, abs=6e-8)


def test_grid_rounds_the_norm_up():
    net = NETS["two classes"]
    weights, data = trained(net)
    report = PathNormBound().evaluate(net, weights, data)
    one = dense(1, True)
    scalar = dict(weights)
    for key in ("linear3.weight", "linear3.bias"):
        scalar[key] = weights[key][1:] - weights[key][:1]
    r = path_norm(one, scalar).value
    kappa = 1.05 ** report.quantities["j"]
    assert r / report.margin <= kappa <= 1.05 * r / report.margin * (1 + 1e-9)
    same = PathNormBound().evaluate(one, scalar, data)
    assert same.value == pytest.approx(report.value, rel=1e-12)


def test_cases_are_counted():
    assert levels(NETS["dense"]).count(True) == 4
    assert levels(NETS["skip"]).count(True) == 2**4 - 1
    assert levels(NETS["skip, leaky"]).count(True) == 3**3
    # relu, a 2 x 2 maximum, leaky: every path takes all three
    assert (levels(NETS["maximum"]).count(True), levels(NETS["maximum"]).pooled) == (2 * 8 * 2, 1)
    # windows of 4, 6 and 9 entries
    assert levels(NETS["padded maximum"]).count(True) == 2 * 2 * (4 + 6 + 9) * 2
    assert levels(NETS["average"]).count(True) == 4


def signs(n):
    return np.array(list(itertools.product([-1.0, 1.0], repeat=n)))


def critical(points):
    """Corners of the l1 ball in the plane, and where its edges meet w . x_i = 0: a piecewise linear map peaks there."""
    corners = [np.array(c, float) for c in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    found = list(corners)
    for p in points:
        u = np.array([-p[1], p[0]]) / max(np.abs(p).sum(), 1e-300)
        found += [u, -u]
    return np.array(found)


def test_one_hidden_layer_is_never_above_the_bound():
    rng = np.random.default_rng(1)
    for n, bias in itertools.product((3, 6), (True, False)):
        X = rng.normal(size=(n, 2))
        if bias:
            X[:, 1] = 1.0
        E, W = signs(n), critical(X)
        hidden = np.maximum(W @ X.T, 0)
        exact = np.abs(E @ hidden.T).max(axis=1).mean() / n  # sup over r = 1 of mean e f
        v = (X**2).mean(axis=0).max()
        bound = math.sqrt(2 * v * math.log(2 * 2 * 2) / n)
        raw = np.abs(E @ X).max(axis=1)
        skip = np.maximum(np.abs(E @ hidden.T).max(axis=1), raw).mean() / n
        assert exact <= bound
        assert skip <= math.sqrt(2 * v * math.log(3 * 2 * 2) / n)
        assert exact > 0.2 * bound
        net = Architecture.sequential([Linear(2, bias=bias), Activation("relu"), Linear(1, bias=False)],
                                      input_shape=1 if bias else 2)  # fmt: skip
        weights = net.random_weights(rng=rng)
        report = PathNormBound().evaluate(net, weights, (X[:, : 1 if bias else 2], np.ones(n)), margin=1.0)
        kappa = 1.05 ** report.quantities["j"]
        assert report.terms["complexity"] == pytest.approx(2 * kappa * bound, rel=1e-12)


def test_several_classes_are_never_above_the_bound():
    rng = np.random.default_rng(4)
    n, K = 4, 3
    X = rng.normal(size=(n, 2))
    hidden = np.maximum(critical(X) @ X.T, 0)
    each = np.abs(signs(n) @ hidden.T).max(axis=1)  # one sign vector per class, independent
    exact = np.maximum.reduce(np.meshgrid(*[each] * K)).mean() / n
    bound = math.sqrt(2 * (X**2).mean(axis=0).max() * math.log(2 * 2 * 2 * K) / n)
    assert 0.2 * bound < exact <= bound
    net = Architecture.sequential([Linear(2, bias=False), Activation("relu"), Linear(K, bias=False)], input_shape=2)
    report = PathNormBound().evaluate(net, net.random_weights(rng=rng), (X, [0, 1, 2, 0]), margin=1.0)
    assert report.terms["complexity"] == pytest.approx(4 * 1.05 ** report.quantities["j"] * bound, rel=1e-12)


def test_maximum_of_inputs_is_never_above_the_bound():
    rng = np.random.default_rng(2)
    n = 6
    X = rng.normal(size=(n, 2))
    c = np.linspace(0, 1, 201)[:, None]
    units = np.concatenate([np.maximum(c * s * X[:, a], (1 - c) * t * X[:, b])
                            for s, t in itertools.product((1, -1), repeat=2)
                            for a, b in itertools.product((0, 1), repeat=2)])  # fmt: skip
    exact = np.abs(signs(n) @ units.T).max(axis=1).mean() / n
    v = (X**2).mean(axis=0).max()
    bound = math.sqrt(2 * 2 * v * math.log(4 * 2 * 2) / n)  # the value with 2 inputs and one maximum of 2
    assert 0.1 * bound < exact <= bound
    net = Architecture.sequential([Conv(1, 1, bias=False), GlobalMaxPool(), Linear(1, bias=False)], input_shape=(1, 2))
    report = PathNormBound().evaluate(net, net.random_weights(rng=0), (X, np.ones(n)), margin=1.0)
    assert report.terms["complexity"] == pytest.approx(2 * 1.05 ** report.quantities["j"] * bound, rel=1e-12)


@given(st.integers(0, 1000), st.floats(1e-2, 1e2))
@settings(max_examples=8, deadline=None)
def test_rescaling_layers_changes_nothing(seed, c):
    net = NETS["skip"]
    weights, data = trained(net, seed, n=20)
    scaled = {k: v.copy() for k, v in weights.items()}
    scaled["linear2.weight"] *= c
    scaled["linear2.bias"] *= c
    scaled["linear3.weight"] /= c
    first, second = (PathNormBound().evaluate(net, w, data) for w in (weights, scaled))
    assert second.value == pytest.approx(first.value, rel=1e-9)


def test_shifting_all_scores_changes_nothing():
    net = NETS["dense"]
    weights, data = trained(net)
    moved = {k: v.copy() for k, v in weights.items()}
    moved["linear3.weight"] += np.arange(5.0)
    moved["linear3.bias"] += 7.0
    first, second = (PathNormBound().evaluate(net, w, data) for w in (weights, moved))
    assert second.value == pytest.approx(first.value, rel=1e-9)


def test_zero_network_and_refusals():
    net = NETS["dense"]
    report = PathNormBound().evaluate(net, {k: np.zeros(s) for k, s in net.parameters.items()}, trained(net)[1])
    assert report.terms["empirical"] == 1.0
    assert report.terms["complexity"] == 0.0
    tanh = dense(3, True, "tanh")
    with pytest.raises(PreconditionError, match="homogeneous"):
        PathNormBound().symbolic(tanh)
