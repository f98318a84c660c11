"""Plain networks: forms they are given in, reordering, alignment against all permutations."""

import itertools

import numpy as np
import pytest

from theory import InvalidInput, PreconditionError
from theory.architecture import Activation, Add, Architecture, Dropout, Flatten, GraphBuilder, Linear, outputs
from theory.connectivity import DenseNetwork, align


def random_network(widths, seed, activation="tanh", bias=True):
    rng = np.random.default_rng(seed)
    W = [rng.standard_normal((m, n)) for n, m in itertools.pairwise(widths)]
    return DenseNetwork.of(W, [rng.standard_normal(len(M)) for M in W] if bias else None, activation)


def test_read_from_an_architecture():
    net = Architecture.sequential(
        [Flatten(), Linear(5), Activation("elu"), Dropout(), Linear(4, bias=False), Activation("elu"), Linear(2)],
        input_shape=(1, 2, 3),
    )
    weights = net.random_weights(rng=0)
    weights["linear1.bias"] = np.arange(5.0)
    found = DenseNetwork.read(net, weights)
    X = np.random.default_rng(1).standard_normal((7, 6))
    assert found.outputs(X) == pytest.approx(outputs(net, weights, X), abs=1e-13)
    assert found.widths == (6, 5, 4, 2) and found.biased == (True, False, True) and found.biases[1] is None
    assert [F.shape[1] for F in found.features(X)] == [6, 5, 4]


def test_what_is_not_a_perceptron_is_refused():
    builder = GraphBuilder(3)
    first = builder.add(Linear(3))
    builder.add(Linear(2), builder.add(Add(), builder.input, builder.add(Activation("relu"), first)))
    relu, tanh, dense = Activation("relu"), Activation("tanh"), Linear(3)
    rows = ([dense, relu, dense, tanh, dense], [dense, relu, dense, relu], [dense, dense, relu, dense])
    for net in (builder.build(), *(Architecture.sequential(row, input_shape=2) for row in rows)):
        with pytest.raises(PreconditionError, match="paths are built"):
            DenseNetwork.read(net, net.random_weights(rng=0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[[1.0]]],), "one hidden layer"),
        (([[[1.0]], [[1.0, 2.0]]],), "does not follow"),
        (([[[1.0]], [[1.0]]], [None]), "2 entries"),
        (([[[1.0]], [[1.0]]], [None, [1.0, 2.0]]), "must have 1 entries"),
        (([[[1.0]], [[np.inf]]],), "finite"),
        (([[[1.0]], [[1.0]]], None, "step"), "unknown activation"),
    ],
)
def test_bad_networks_are_refused(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        DenseNetwork.of(*arguments)


def test_reordering_keeps_the_function():
    net, rng = random_network((3, 6, 5, 2), 0), np.random.default_rng(1)
    other = net.permuted([rng.permutation(6), rng.permutation(5)])
    X = rng.standard_normal((9, 3))
    assert other.outputs(X) == pytest.approx(net.outputs(X), abs=1e-12)
    assert not np.array_equal(other.layers[0], net.layers[0])
    with pytest.raises(InvalidInput, match="permutations"):
        net.permuted([[0, 0, 1, 2, 3, 4], range(5)])


def distance(a, b):
    return np.sqrt(sum(((A - B) ** 2).sum() for A, B in zip(a.layers, b.layers, strict=True)))


@pytest.mark.parametrize("bias", [True, False])
def test_one_hidden_layer_is_matched_best_of_all(bias):
    a, b = random_network((2, 5, 3), 2, bias=bias), random_network((2, 5, 3), 3, bias=bias)
    found = align(a, b, starts=1)
    best = min(distance(a, b.permuted([p])) for p in itertools.permutations(range(5)))
    assert found.distance == pytest.approx(best, abs=1e-12) == distance(a, found.network)
    assert found.distance_before == pytest.approx(distance(a, b))


def test_a_reordered_copy_is_recovered_and_each_start_helps_or_not_at_all():
    a, rng = random_network((4, 9, 8, 7, 3), 4), np.random.default_rng(5)
    orders = [rng.permutation(n) for n in (9, 8, 7)]
    found = align(a, a.permuted(orders))
    assert found.distance == 0
    assert all((order[got] == np.arange(len(order))).all() for order, got in zip(orders, found.orders, strict=True))
    b = random_network((4, 9, 8, 7, 3), 6)
    one, many = align(a, b, starts=1), align(a, b, starts=6)
    assert many.distance <= one.distance < distance(a, b) and one.to_json()["sweeps"] >= 2


def test_no_single_exchange_improves_a_matching():
    a, b = random_network((3, 6, 5, 2), 7), random_network((3, 6, 5, 2), 8)
    found = align(a, b, starts=2)
    for layer, n in ((0, 6), (1, 5)):
        for i, j in itertools.combinations(range(n), 2):
            swapped = [np.arange(6), np.arange(5)]
            swapped[layer][[i, j]] = j, i
            assert distance(a, found.network.permuted(swapped)) >= found.distance - 1e-12


def test_networks_of_different_kinds_are_refused():
    with pytest.raises(InvalidInput, match="one kind"):
        align(random_network((2, 5, 3), 0), random_network((2, 5, 3), 0, activation="relu"))
