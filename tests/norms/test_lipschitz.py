"""Lipschitz constants of networks: never below what any pair of inputs shows, exact where the map is linear."""

from __future__ import annotations

import numpy as np
import pytest

from theory import InvalidInput, PreconditionError
from theory.architecture import (
    Activation,
    Add,
    Architecture,
    AvgPool,
    Conv,
    Flatten,
    GlobalAvgPool,
    GraphBuilder,
    LayerNorm,
    Linear,
    MaxPool,
    outputs,
)  # fmt: skip
from theory.norms.lipschitz import difference_lipschitz, network_lipschitz
from theory.norms.residual import bi_lipschitz


def mixed(padding_mode: str = "zeros") -> Architecture:
    g = GraphBuilder((2, 5, 5))
    a = g.add(Activation("gelu"), g.add(Conv(3, 3, padding=1, padding_mode=padding_mode)))
    b = g.add(Conv(3, 3, padding=1, padding_mode=padding_mode), a)
    g.add(MaxPool(3, 1, padding=1), g.add(Add(), a, b))
    g.add(AvgPool(2, 1))
    g.add(Flatten())
    g.add(Linear(3))
    return g.build()


def weights_of(net: Architecture, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {key: rng.standard_normal(shape) for key, shape in net.parameters.items()}


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect", "replicate"])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_no_pair_of_inputs_moves_more(mode, norm):
    net = mixed(mode)
    W, rng = weights_of(net, 0), np.random.default_rng(1)
    X = rng.standard_normal((400, 2, 5, 5))
    step = np.sign(rng.standard_normal(X.shape)) * rng.choice([1e-3, 1.0], (400, 1, 1, 1))
    order = 2 if norm == "l2" else np.inf
    moved = outputs(net, W, X + step) - outputs(net, W, X)
    size = np.linalg.norm(step.reshape(400, -1), order, axis=1)
    assert (np.linalg.norm(moved, order, axis=1) <= network_lipschitz(net, W, norm=norm) * size).all()
    pairs = difference_lipschitz(net, W, norm=norm)
    for y in range(3):
        for j in range(3):
            assert (np.abs(moved[:, y] - moved[:, j]) <= pairs[y, j] * size).all()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_exact_for_two_linear_maps_one_after_the_other(norm):
    # nonnegative matrices: norms of products equal products of norms in maximum norm when row sums are equal
    net = Architecture.sequential([Linear(3, bias=False), Linear(2, bias=False)], input_shape=4)
    rng = np.random.default_rng(2)
    Q = np.linalg.qr(rng.standard_normal((4, 3)))[0].T
    A = np.array([[0.5, 0.25, 0.25, 0.0], [0.1, 0.4, 0.3, 0.2], [1.0, 0, 0, 0]])
    V = rng.standard_normal((2, 3))
    if norm == "l2":
        found = network_lipschitz(net, {"linear1.weight": Q, "linear2.weight": V}, norm=norm)
        exact = np.linalg.norm(V @ Q, 2)
    else:
        found = network_lipschitz(net, {"linear1.weight": A, "linear2.weight": np.abs(V)}, norm=norm)
        exact = np.abs(np.abs(V) @ A).sum(axis=1).max()
    assert exact <= found <= exact * (1 + 1e-9)


def test_kernel_in_maximum_norm_is_that_of_its_matrix():
    net = Architecture.sequential([Conv(2, 3, padding=1, bias=False), Flatten()], input_shape=(2, 6))
    W = weights_of(net, 3)
    columns = outputs(net, W, np.eye(12)).T
    exact = np.abs(columns).sum(axis=1).max()
    assert network_lipschitz(net, W, norm="linf") == pytest.approx(exact, rel=1e-12)


def test_each_norm_may_use_the_others_constant():
    net = Architecture.sequential([Linear(1, bias=False)], input_shape=9)
    ones, first = {"linear1.weight": np.ones((1, 9))}, {"linear1.weight": np.eye(9)[:1]}
    assert difference_lipschitz(net, ones, norm="linf") == pytest.approx(9)  # both ways: 3 * sqrt(9), and 9
    assert difference_lipschitz(net, ones, norm="l2") == pytest.approx(3)
    assert difference_lipschitz(net, first, norm="linf") == pytest.approx(1)
    deep = Architecture.sequential([Linear(4, bias=False), Linear(1, bias=False)], input_shape=1)
    W = {"linear1.weight": np.ones((4, 1)), "linear2.weight": np.eye(4)[:1]}
    assert difference_lipschitz(deep, W, norm="l2") == pytest.approx(1)  # 2 through Euclidean norms


def test_scores_that_end_in_no_dense_layer():
    net = Architecture.sequential([Conv(3, 1, bias=False), GlobalAvgPool()], input_shape=(1, 4))
    W = {"conv1.weight": np.array([1.0, 2.0, 2.0]).reshape(3, 1, 1)}
    pairs = difference_lipschitz(net, W, norm="l2")
    assert pairs[0, 0] == 0 and pairs[0, 1] == pytest.approx(np.sqrt(2) * 3 / 2)


def test_terms_of_a_sum_add_up():
    g = GraphBuilder(3)
    g.add(Add(), g.input, g.add(Linear(3, bias=False)))
    for norm in ("l2", "linf"):
        assert network_lipschitz(g.build(), {"linear1.weight": 2 * np.eye(3)}, norm=norm) == pytest.approx(3, rel=1e-9)


def test_zero_weights_and_refusals():
    net = Architecture.sequential([Linear(2), Activation("relu"), Linear(2)], input_shape=3)
    W = {key: np.zeros(shape) for key, shape in net.parameters.items()}
    assert network_lipschitz(net, W) == 0 and not difference_lipschitz(net, W, norm="linf").any()
    with pytest.raises(InvalidInput, match="norm must be"):
        network_lipschitz(net, W, norm="l1")
    bad = Architecture.sequential([Linear(2), LayerNorm(), Linear(2)], input_shape=3)
    with pytest.raises(PreconditionError, match="layernorm"):
        network_lipschitz(bad, bad.random_weights(rng=0))


def test_underflow_leaves_an_upper_bound():
    net = Architecture.sequential([Linear(1, bias=False), Linear(1, bias=False)], input_shape=1)
    weights = {"linear1.weight": [[1e-200]], "linear2.weight": [[1e-200]]}
    for norm in ("l2", "linf"):
        assert network_lipschitz(net, weights, norm=norm) > 0  # 1e-400, which no float64 holds
        assert difference_lipschitz(net, weights, norm=norm)[0, 0] > 0
    assert bi_lipschitz(net, weights).upper > 0


def test_overflow_leaves_an_upper_bound():
    net = Architecture.sequential([Linear(2, bias=False), Linear(2, bias=False)], input_shape=2)
    weights = {"linear1.weight": 1e200 * np.eye(2), "linear2.weight": 1e200 * np.eye(2)}
    assert difference_lipschitz(net, weights, norm="l2")[0, 1] == np.inf
