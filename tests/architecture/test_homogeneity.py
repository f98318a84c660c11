"""Degrees of homogeneity against networks that are really rescaled, and refusals with their hypothesis."""

from __future__ import annotations

import json

import numpy as np
import pytest

from theory import InvalidInput, PreconditionError
from theory.architecture import (
    Activation,
    Add,
    Architecture,
    BatchNorm,
    Bias,
    Conv,
    FilterResponseNorm,
    Flatten,
    GlobalAvgPool,
    GraphBuilder,
    LayerNorm,
    Linear,
    MaxPool,
    from_description,
    homogeneity,
    outputs,
    to_description,
)  # fmt: skip
from theory.bounds import get
from theory.norms import network_lipschitz


def filters(eps: float = 0.0, bias: bool = False) -> Architecture:
    """Two convolutions, each normalised, thresholded units after the first, a dense layer."""
    return Architecture.sequential(
        [
            Conv(3, 3, bias=bias), FilterResponseNorm(eps=eps), Activation("relu"), MaxPool(2),
            Conv(2, 3, bias=False), FilterResponseNorm(eps=eps), Activation("leaky_relu"), Flatten(),
            Linear(2, bias=False),
        ],
        input_shape=(1, 14),
    )  # fmt: skip


def skips() -> Architecture:
    g = GraphBuilder((2, 6))
    a = g.add(Activation("relu"), g.add(Conv(2, 3, padding=1, bias=False)))
    b = g.add(Conv(2, 1, bias=False), a, name="same")
    c = g.add(FilterResponseNorm(eps=0), g.add(Conv(2, 3, padding=1, bias=False), g.input))
    g.add(Add(), b, g.add(Conv(2, 1, bias=False), c, name="other"))
    g.add(Linear(2, bias=False), g.add(GlobalAvgPool()))
    return g.build()


def plain() -> Architecture:
    return Architecture.sequential(
        [Linear(4), Activation("relu"), Linear(3, bias=False), Activation("abs"), Linear(2, bias=False)], input_shape=3
    )


def weights_of(net: Architecture, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {key: rng.standard_normal(shape) for key, shape in net.parameters.items()}


def rescaled(weights: dict[str, np.ndarray], c: float, node: str | None = None) -> dict[str, np.ndarray]:
    return {key: c * w if node is None or key.rsplit(".", 1)[0] == node else w for key, w in weights.items()}


@pytest.mark.parametrize("make", [filters, skips, plain])
@pytest.mark.parametrize("c", [0.2, 3.0])
def test_degrees_are_those_of_rescaled_networks(make, c):
    net = make()
    W, found = weights_of(net), homogeneity(net)
    X = np.random.default_rng(1).standard_normal((5, *net.input_shape))
    base = outputs(net, W, X)
    for name, degree in found.layers.items():
        moved = outputs(net, rescaled(W, c, name), X)
        if degree is None:
            assert found.failures[name]
            assert all(not np.allclose(moved, c**d * base, rtol=1e-3) for d in range(4))
        else:
            assert moved == pytest.approx(c**degree * base, rel=1e-9)
    assert outputs(net, rescaled(W, c), X) == pytest.approx(c ** found.require() * base, rel=1e-9)
    json.dumps(found.to_json())


def test_what_the_degrees_are():
    found = homogeneity(filters())
    assert found.total == 2 and found.invariant == ("conv1", "filterresponsenorm1", "conv2")
    assert found.layers["filterresponsenorm2"] == 1 and found.layers["linear1"] == 1
    assert homogeneity(plain()).total == 3
    assert homogeneity(skips()).total == 3 and homogeneity(skips()).layers["conv3"] == 0
    assert homogeneity(skips()).layers["conv1"] is None  # the terms of the sum have degrees 1 and 0 in it


def test_a_bias_before_the_normalisation_goes_with_its_weights():
    found = homogeneity(filters(bias=True))
    assert found.layers["conv1"] == 0 and found.total == 2


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([Linear(3), Activation("relu"), Linear(2)], "'linear2' adds its bias to must have degree 1, but has 2"),
        ([Linear(3, bias=False), Activation("tanh"), Linear(2, bias=False)], "positively homogeneous .* it is tanh"),
        ([Linear(3, bias=False), BatchNorm(), Linear(2, bias=False)], "running mean is wanted, but 'batchnorm1'"),
        ([Linear(3, bias=False), LayerNorm(), Linear(2, bias=False)], "eps = 0 is wanted .*'layernorm1'.* 1e-05"),
        ([Linear(3, bias=False), Linear(3, bias=False), Bias()], "'bias1' adds its bias to must have degree 1"),
    ],
)
def test_refused_with_the_hypothesis_named(nodes, said):
    found = homogeneity(Architecture.sequential(nodes, input_shape=4))
    with pytest.raises(PreconditionError, match=said):
        found.require()


def test_eps_is_refused_unless_declared_negligible():
    net = filters(eps=1e-3)
    assert homogeneity(net).total is None and homogeneity(net, negligible_eps=True).total == 2
    W, X = weights_of(net), np.random.default_rng(1).standard_normal((3, 1, 14))
    small, large = (outputs(net, rescaled(W, c, "conv1"), X) for c in (1e-3, 1.0))
    assert not np.allclose(small, large, rtol=0.1)  # so the refusal is needed


def test_a_squared_activation_doubles_the_degree():
    nodes = [Linear(2, bias=False), Activation("squared", lipschitz=1.0, degree=2), Linear(1, bias=False)]
    found = homogeneity(Architecture.sequential(nodes, input_shape=2))
    assert found.total == 3 and dict(found.layers) == {"linear1": 2, "linear2": 1}


def test_filter_response_norm_itself():
    net = Architecture.sequential([FilterResponseNorm(eps=0.5)], input_shape=(2, 3, 2))
    W = {"filterresponsenorm1.weight": [2.0, -1.0], "filterresponsenorm1.bias": [0.0, 1.0]}
    X = np.random.default_rng(0).standard_normal((4, 2, 3, 2))
    found = outputs(net, W, X)
    for i in range(4):
        for c, (w, b) in enumerate([(2, 0), (-1, 1)]):
            size = np.sqrt((X[i, c] ** 2).sum() / 6 + 0.5)
            assert found[i, c] == pytest.approx(w * X[i, c] / size + b, rel=1e-12)
    zero = Architecture.sequential([FilterResponseNorm(eps=0)], input_shape=(1, 3))
    assert not outputs(zero, zero.random_weights(rng=0), np.zeros((1, 1, 3))).any()
    assert from_description(to_description(net)) == net
    with pytest.raises(InvalidInput, match="eps must not be negative"):
        FilterResponseNorm(eps=-1)
    with pytest.raises(InvalidInput, match="channels"):
        Architecture.sequential([FilterResponseNorm()], input_shape=3)


@pytest.mark.parametrize("name", ["frobenius", "parameter-dudley", "covering", "path-norm", "growth-function"])
def test_norm_bounds_refuse_the_layer(name):
    net = filters()
    data = (np.ones((4, 1, 14)), [0, 1, 0, 1])
    with pytest.raises(PreconditionError, match="filterresponsenorm"):
        get(name).evaluate(net, weights_of(net), data)
    with pytest.raises(PreconditionError, match="filterresponsenorm"):
        network_lipschitz(net, weights_of(net))
