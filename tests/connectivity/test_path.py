"""The constructed path: its ends, what its segments prove, its barrier; the straight lines beside it."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from theory import InvalidInput, PreconditionError
from theory.architecture import Activation, Architecture, Linear, outputs
from theory.connectivity import DenseNetwork, aligned_path, check_condition, connect, linear_path
from theory.connectivity._construct import _batches, _host
from theory.connectivity._segments import kind_of, upper_bound
from theory.connectivity._subnetwork import trained
from theory.connectivity._task import Task


def random_network(widths, rng, activation="relu", bias=True):
    pairs = list(zip(widths[1:], widths[:-1], strict=True))
    W = [rng.standard_normal((m, n)) * np.sqrt(2 / n) for m, n in pairs]
    return DenseNetwork.of(W, [0.3 * rng.standard_normal(m) for m, _ in pairs] if bias else None, activation)


def loss_by_hand(network, X, y):
    """Cross-entropy through the evaluation of ``theory.architecture``."""
    operations = []
    for k, W in enumerate(network.weights):
        operations += [Linear(len(W))] + ([Activation(network.activation.name)] if k < len(network.weights) - 1 else [])
    net = Architecture.sequential(operations, input_shape=network.widths[0])
    named = {}
    for k, (W, b) in enumerate(zip(network.weights, network.biases, strict=True)):
        named |= {f"linear{k + 1}.weight": W, f"linear{k + 1}.bias": np.zeros(len(W)) if b is None else b}
    f = outputs(net, named, X)
    return float(np.mean(logsumexp(f, axis=1) - f[np.arange(len(y)), y]))


@cache
def solutions():
    """Two networks trained from different starts to a loss of 0.01, with their data."""
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((24, 3)), rng.integers(0, 3, 24)
    biased, widths = (True,) * 3, (20, 16, 3)
    blank = random_network((3, *widths), rng)
    task = Task.of(blank, X, y, "cross_entropy")
    found = []
    for seed in (1, 2):
        layers = trained(X, widths, task, blank.activation, biased, target=0.01, max_steps=500,
                         rng=np.random.default_rng(seed))  # fmt: skip
        found.append(blank.with_layers(layers))
    return X, y, found[0], found[1]


@cache
def constructed():
    X, y, a, b = solutions()
    return connect(a, b, X, y, points=1500)


def test_ends_are_the_given_networks():
    X, y, a, b = solutions()
    path = constructed()
    assert path.at(0) is a is path.vertices[0] and path.at(1) is b is path.vertices[-1]
    assert path.ends == pytest.approx((loss_by_hand(a, X, y), loss_by_hand(b, X, y)), rel=1e-12)
    assert max(path.ends) <= 0.01


def test_no_barrier_where_the_straight_line_has_one():
    X, y, a, b = solutions()
    path, line = constructed(), linear_path(a, b, X, y)
    assert all(c.holds for c in path.conditions)
    assert path.barrier <= 1e-12 and path.barrier_upper <= 1e-12 and path.points >= 1500
    assert line.barrier > 0.5 and line.points == 1000
    assert path.occupied == (10 + 10, 8 + 3)  # both halves of layer 1; a half of layer 2 beside three passing units


def test_the_loss_along_it_is_that_of_its_networks():
    X, y, *_ = solutions()
    path = constructed()
    for s in np.random.default_rng(0).random(20):
        assert loss_by_hand(path.at(float(s)), X, y) <= path.upper + 1e-12
    s, losses = path.curve()
    for i in (3, 200, 901):
        assert loss_by_hand(path.at(float(s[i])), X, y) == pytest.approx(losses[i], abs=1e-9)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("widths", [(3, 6, 2), (3, 7, 8, 7, 3)])
def test_bound_of_the_theorem_and_what_the_weights_prove(activation, bias, widths):
    rng = np.random.default_rng(len(widths))
    a, b = (random_network(widths, rng, activation, bias) for _ in range(2))
    X, y = rng.standard_normal((5, 3)), np.arange(5) % widths[-1]
    given = [M.copy() for M in (*a.layers, *b.layers)]
    path = connect(a, b, X, y, max_steps=200)
    assert path.maximum <= max(*path.ends, *(c.eps for c in path.conditions)) * (1 + 1e-12)
    assert all(np.array_equal(old, new) for old, new in zip(given, (*a.layers, *b.layers), strict=True))
    elsewhere = 3 * rng.standard_normal((9, 3))
    for start, end, segment in zip(path.vertices[:-1], path.vertices[1:], path.segments, strict=True):
        assert segment.kind in ("convex", "constant")
        assert bias or not any(M[:, -1].any() for M in end.layers)
        middle = start.with_layers([(A + B) / 2 for A, B in zip(start.layers, end.layers, strict=True)])
        f = [network.outputs(elsewhere) for network in (start, middle, end)]
        assert f[1] == pytest.approx((f[0] + f[2]) / 2, rel=1e-9, abs=1e-9 * (1 + np.abs(f[0]).max()))
        if segment.kind == "constant":  # of the function, on any data
            assert f[0] == pytest.approx(f[2], rel=1e-9, abs=1e-9 * (1 + np.abs(f[0]).max()))


def test_kinds_are_read_off_the_weights():
    a = DenseNetwork.of([[[1.0], [1.0], [2.0]], [[1.0, 0.0, 0.0]]])

    def moved(W1=None, W2=None):
        return DenseNetwork.of([a.weights[0] if W1 is None else W1, a.weights[1] if W2 is None else W2])

    assert kind_of(a, a) == "constant"
    assert kind_of(a, moved(W2=[[0.0, 1.0, 0.0]])) == "constant"  # to an exact copy
    assert kind_of(a, moved(W2=[[0.0, 0.0, 1.0]])) == "convex"
    assert kind_of(a, moved(W2=[[0.5, 0.4, 0.0]])) == "convex"
    assert kind_of(a, moved(W1=[[1.0], [5.0], [7.0]])) == "constant"  # neurons that are not read
    assert kind_of(a, moved(W1=[[1.1], [1.0], [2.0]])) == "general"
    # the copy moves while it takes over, so it is a copy at one end only
    assert kind_of(a, moved(W1=[[1.0], [1.5], [2.0]], W2=[[0.0, 1.0, 0.0]])) == "general"
    biased = [DenseNetwork.of([[[1.0]], [[1.0]]], [[0.0], [b]]) for b in (0.0, 1.0)]
    assert kind_of(*biased) == "convex"


@settings(max_examples=60)
@given(st.integers(2, 7), st.data())
def test_moves_never_overwrite_a_neuron_in_use(n, data):
    count = data.draw(st.integers(1, n - 1))
    at = np.array(data.draw(st.permutations(range(n)))[:count])
    want = np.array(data.draw(st.permutations(range(n)))[:count])
    held = dict(zip(at.tolist(), range(count), strict=True))
    for source, goal in _batches(at, want, n):
        assert not set(goal) & set(held) and len(set(goal)) == len(goal)
        for i, j in zip(source, goal, strict=True):
            held[j] = held.pop(i)
    assert held == dict(zip(want.tolist(), range(count), strict=True))
    busy = np.array(data.draw(st.permutations(range(n)))[: n - count])
    host = _host(n, busy, want)
    assert len(set(host.tolist())) == count and not set(host.tolist()) & set(busy.tolist())
    free = ~np.isin(want, busy)
    assert (host[free] == want[free]).all()


def test_a_network_is_joined_to_itself_in_another_order():
    X, y, a, _ = solutions()
    rng = np.random.default_rng(3)
    b = a.permuted([rng.permutation(20), rng.permutation(16)])
    assert connect(a, b, X, y).barrier <= 1e-12
    assert linear_path(a, b, X, y).barrier > 0.1
    assert aligned_path(a, b, X, y).barrier <= 1e-12


STRAIGHT = [(linear_path, "relu"), (linear_path, "silu"), (aligned_path, "tanh")]


@pytest.mark.parametrize(("straight", "activation"), STRAIGHT)
def test_interval_bound_lies_above_a_fine_grid(straight, activation):
    rng = np.random.default_rng(11)
    a, b = (random_network((3, 5, 4, 3), rng, activation) for _ in range(2))
    X, y = rng.standard_normal((8, 3)), rng.integers(0, 3, 8)
    few, many = straight(a, b, X, y, pieces=16), straight(a, b, X, y, pieces=1024)
    fine = max(loss_by_hand(many.at(float(s)), X, y) for s in np.linspace(0, 1, 601))
    assert many.maximum >= fine - 1e-6
    assert few.upper > many.upper >= many.maximum and many.upper <= 1.3 * fine
    assert many.ends[1] == pytest.approx(loss_by_hand(b, X, y), rel=1e-12)


def test_interval_bound_of_a_piece_is_reached():
    """Weights that grow from 0 to 1 in two layers, a bias with them: f(t) = 3 t^2 + t, largest at the end."""
    a = DenseNetwork.of([[[0.0]], [[0.0]]], [[0.0], [0.0]], "identity")
    b = DenseNetwork.of([[[3.0]], [[1.0]]], [[0.0], [1.0]], "identity")
    task = Task.of(a, [[1.0]], [0.0], "squared")
    assert upper_bound(a, b, task, measured=0.0, pieces=16) == pytest.approx(8, rel=1e-12)
    offset = DenseNetwork.of([[[0.0]], [[1.0]]], [[2.0], [0.0]], "tanh")
    still = DenseNetwork.of([[[0.0]], [[1.0]]], [[0.0], [0.0]], "tanh")
    centre, radius = 31 / 16, 1 / 16
    expected = (np.tanh(centre) + radius) ** 2 / 2
    assert upper_bound(still, offset, task, measured=0.0, pieces=16) == pytest.approx(expected, rel=1e-12)


def test_line_search_goes_beyond_the_grid():
    a = DenseNetwork.of([[[1.0], [-1.0]], [[4.0, 0.0]]])
    b = DenseNetwork.of([[[-1.0], [1.0]], [[0.0, 4.0]]])  # the same function, worst half-way
    X, y = np.array([[1.0], [2.0]]), np.array([1.0, 1.0])
    path = linear_path(a, b, X, y, loss="logistic", points=4)
    assert max(path.segments[0].losses) < path.maximum == pytest.approx(np.log(2), abs=1e-7)
    assert path.barrier == pytest.approx(path.maximum - path.ends[0])


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_other_losses(loss):
    rng = np.random.default_rng(1)
    a, b = (random_network((2, 10, 8, 1), rng) for _ in range(2))
    X = rng.standard_normal((6, 2))
    y = np.where(rng.random(6) < 0.5, -1.0, 1.0)
    path = connect(a, b, X, y, loss=loss, max_steps=300)
    f = a.outputs(X)[:, 0]
    by_hand = np.log1p(np.exp(-y * f)).mean() if loss == "logistic" else 0.5 * ((f - y) ** 2).mean()
    assert path.ends[0] == pytest.approx(by_hand, rel=1e-12)
    assert path.barrier <= 1e-12
    if loss == "logistic":
        assert path.conditions[0].layers[0].method == "separable"


def test_an_unreachable_target_is_reported_and_the_path_pays_for_it():
    rng = np.random.default_rng(2)
    X, y = np.zeros((4, 2)), np.array([0, 1, 0, 1])  # equal inputs: no loss below log 2
    a, b = (random_network((2, 4, 4, 2), rng) for _ in range(2))
    found = check_condition(a, X, y, target=0.5, max_steps=50)
    assert not found.holds and found.eps >= np.log(2) - 1e-9
    path = connect(a, b, X, y, max_steps=50)
    assert path.maximum >= np.log(2) - 1e-9 and "path" in path.summary() and path.to_json()["points"] == path.points


def small(width):
    return random_network((3, width, 3), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a, X, y: connect(a, small(4), X, y), InvalidInput, "one kind"),
        (lambda a, X, y: connect(a, a, X[:, :2], y), InvalidInput, "X must have shape"),
        (lambda a, X, y: connect(a, a, X, y[:3]), InvalidInput, "one length"),
        (lambda a, X, y: connect(a, a, X, y + 5), InvalidInput, "below the number of outputs"),
        (lambda a, X, y: connect(a, a, X, y, loss="hinge"), InvalidInput, "loss must be"),
        (lambda a, X, y: connect(a, a, X, y, method="magic"), InvalidInput, "method must be"),
        (lambda a, X, y: connect(a, a, X, np.eye(3)[y], loss="squared", method="separable"), PreconditionError,
         "classes"),
        (lambda a, X, y: constructed().at(1.5), InvalidInput, "lie in"),
        (lambda a, X, y: connect(small(1), small(1), X, y), PreconditionError, "single neuron"),
    ],
)  # fmt: skip
def test_refusals(call, error, message):
    X, y, a, _ = solutions()
    with pytest.raises(error, match=message):
        call(a, X, y)


def test_a_network_that_overflows_has_no_barrier_of_zero():
    rng = np.random.default_rng(0)
    a, b = (DenseNetwork.of([s * rng.standard_normal((4, 2)), s * rng.standard_normal((2, 4))]) for s in (1, 1e160))
    for path in (linear_path, aligned_path, connect):
        with pytest.raises(InvalidInput, match="not finite"):
            path(a, b, np.eye(2), [0, 1])
