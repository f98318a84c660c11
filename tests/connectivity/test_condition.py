"""Separability with its certificate, passing units, trained networks on top, neuron counts."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from theory import InvalidInput, PreconditionError
from theory.architecture import Activation
from theory.connectivity import DenseNetwork, check_condition, connect, neuron_counts, separate
from theory.connectivity._subnetwork import evaluate, passing, trained
from theory.connectivity._task import Task
from theory.connectivity.condition import importance

ACTIVATIONS = ("relu", "leaky_relu", "identity", "abs", "hardtanh", "relu6", "tanh", "sigmoid", "softplus", "gelu",
               "silu", "mish", "selu", "elu")  # fmt: skip


def network(widths, seed=0, activation="relu", bias=True):
    rng = np.random.default_rng(seed)
    W = [rng.standard_normal((m, n)) for n, m in pairwise(widths)]
    return DenseNetwork.of(W, [np.zeros(len(M)) for M in W] if bias else None, activation)


def test_margin_of_two_points_on_a_line():
    """With scores of slope 2v and offset 2c, the margins are 2c and 2v - 2c, at most 1 for |v|, |c| <= 1."""
    found = separate([[0.0], [5.0]], [0, 1])
    assert found.margin == pytest.approx(1, abs=1e-9) and found.certificate.upper == pytest.approx(1, abs=1e-9)
    scores = np.array([[0.0], [5.0]]) @ found.weights.T + found.bias
    assert scores[0, 0] - scores[0, 1] == pytest.approx(1) == scores[1, 1] - scores[1, 0]
    assert not separate([[0.0], [5.0]], [0, 1], bias=False).separable


def test_exclusive_or_is_refuted_by_the_dual():
    found = separate([[0.0, 0], [1, 1], [0, 1], [1, 0]], [0, 0, 1, 1])
    assert not found.separable and found.certificate.upper < 1e-9
    assert separate([[0.0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 0, 0]], [0, 0, 1, 1]).separable


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(1, 4), st.integers(2, 4), st.booleans())
def test_bracket_and_a_second_decision(seed, n, d, K, bias):
    rng = np.random.default_rng(seed)
    F, y = np.round(rng.standard_normal((n, d)), 2), rng.integers(0, K, n)
    found = separate(F, y, n_classes=K, bias=bias)
    assert 0 <= found.certificate.lower <= found.certificate.upper + 1e-12 and found.certificate.gap < 1e-7
    # feasibility of margins >= 1 without any box
    lifted = np.column_stack([F, np.full(n, float(bias))])
    rows = [np.kron(np.eye(K)[k] - np.eye(K)[y[i]], lifted[i]) for i in range(n) for k in range(K) if k != y[i]]
    other = linprog(np.zeros(K * (d + 1)), A_ub=np.array(rows), b_ub=-np.ones(len(rows)), bounds=(None, None))
    assert found.separable == (other.status == 0)
    if found.separable:
        assert ((F @ found.weights.T + found.bias).argmax(axis=1) == y).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("loss", ["cross_entropy", "logistic"])
def test_passing_units_keep_the_classes_apart(activation, bias, loss):
    rng = np.random.default_rng(7)
    kind = Activation(activation)
    K = 3 if loss == "cross_entropy" else 2
    F = kind.facts.function(2 * rng.standard_normal((12, 16)))
    y = np.arange(12) % K
    top = network((16, 8, 8, K if K == 3 else 1), activation=activation)
    task = Task.of(top, F, y if K == 3 else 2.0 * y - 1, loss)
    biased = (bias,) * 3
    layers = passing(F, separate(F, y, bias=bias), task, kind, biased, 1e-3)
    if not bias and activation in ("gelu", "silu", "mish"):
        assert layers is None  # scores on both sides of 0, where these do not increase
        return
    assert layers is not None and [len(A) for A in layers] == [K, K, task.X.shape[1] and top.widths[-1]]
    assert task.value(evaluate(layers, F, kind)) <= 1e-3
    assert bias or not any(A[:, -1].any() for A in layers)


@pytest.mark.parametrize("loss", ["cross_entropy", "logistic", "squared"])
def test_value_gradient_and_box(loss):
    rng = np.random.default_rng(8)
    C = 1 if loss == "logistic" else 3
    net = network((2, 4, C))
    y = {"cross_entropy": rng.integers(0, 3, 5), "logistic": np.array([1.0, -1, 1, 1, -1]),
         "squared": rng.standard_normal((5, 3))}[loss]  # fmt: skip
    task = Task.of(net, rng.standard_normal((5, 2)), y, loss)
    f = rng.standard_normal((5, C))
    numeric = np.zeros_like(f)
    for index in np.ndindex(f.shape):
        e = np.zeros_like(f)
        e[index] = 1e-6
        numeric[index] = (task.value(f + e) - task.value(f - e)) / 2e-6
    assert task.gradient(f) == pytest.approx(numeric, abs=1e-8)
    radius = rng.random((5, C))
    corners = max(task.value(f + radius * rng.choice([-1, 1], f.shape)) for _ in range(1000))
    assert corners <= task.upper(f, radius) + 1e-12 and task.upper(f, radius) <= corners * 1.5
    assert task.upper(f, np.zeros(())) == task.value(f)


def test_the_box_is_reached():
    task = Task.of(network((1, 2, 2)), np.zeros((1, 1)), np.array([0]), "cross_entropy")
    assert task.upper(np.array([[1.0, 2.0]]), np.array([[0.5, 0.25]])) == pytest.approx(np.logaddexp(0, 2.25 - 0.5))


def test_training_on_top_reaches_a_target_and_the_convex_optimum():
    rng = np.random.default_rng(9)
    F, T = rng.standard_normal((20, 6)), rng.standard_normal((20, 2))
    task = Task.of(network((6, 3, 2)), F, T, "squared")
    options = {"rng": rng}
    [A] = trained(F, [2], task, Activation("relu"), (True,), target=0.0, max_steps=500, **options)
    lifted = np.column_stack([F, np.ones(20)])
    least, *_ = np.linalg.lstsq(lifted, T, rcond=None)
    assert A == pytest.approx(least.T, abs=1e-5)
    layers = trained(F, [30, 2], task, Activation("relu"), (True, True), target=1e-3, max_steps=2000, **options)
    assert task.value(evaluate(layers, F, Activation("relu"))) <= 1e-3
    [B] = trained(F, [2], task, Activation("relu"), (False,), target=0.0, max_steps=500, **options)
    assert not B[:, -1].any()


def test_condition_of_each_layer():
    net = network((3, 12, 10, 3), bias=True)
    rng = np.random.default_rng(10)
    X, y = rng.standard_normal((9, 3)), np.arange(9) % 3
    found = check_condition(net, X, y, target=0.1)
    assert [c.layer for c in found.layers] == [1, 2] and found.holds and found.eps <= 0.1
    first, second = found.layers
    assert first.method == "separable" and second.method == "convex" and second.separation is None
    assert first.units == (3,) and len(first.neurons) == 6 and len(second.neurons) == 5
    assert first.separation.margin > 0 and first.eps <= 0.1
    F = net.features(X)[1]
    score = np.linalg.norm(net.weights[1], axis=0) * np.sqrt((F**2).mean(axis=0))
    assert set(first.neurons) == set(np.argsort(score)[-6:].tolist())
    by_training = check_condition(net, X, y, target=0.1, method="trained")
    assert by_training.layers[0].method == "trained" and by_training.layers[0].units == (5,) and by_training.holds
    assert "holds" in found.summary() and found.to_json()["layers"][0]["separation"]["separable"]
    lines = []
    check_condition(net, X, y, target=0.1, callback=lines.append)
    assert len(lines) == 2


def test_training_starts_from_the_given_weights():
    """Half of the neurons are never read: without biases, what is left is the same function, enlarged."""
    rng = np.random.default_rng(12)
    X = rng.standard_normal((12, 3))
    y = X.argmax(axis=1)
    small = network((3, 10, 8, 3), bias=False)
    task = Task.of(small, X, y, "cross_entropy")
    layers = trained(X, [10, 8, 3], task, small.activation, (False,) * 3, target=0.05, max_steps=500, rng=rng)
    W = [A[:, :-1] for A in layers]
    grown = DenseNetwork.of([np.vstack([W[0], -W[0]]), np.kron([[1, 0], [0, 0]], W[1]), np.kron([[1, 0]], W[2])])
    f = grown.outputs(X)
    assert task.value(f) <= 0.05
    found = check_condition(grown, X, y, method="trained", starts=1, max_steps=1, target=0.0)
    assert set(found.layers[1].neurons) <= set(range(8)) and set(found.layers[0].neurons) == set(range(10))
    assert found.layers[0].eps <= task.value(4 * f) and found.layers[1].eps <= task.value(2 * f)
    dropped = check_condition(grown, X, y, method="dropout", starts=1)
    assert [c.eps for c in dropped.layers] == pytest.approx([task.value(4 * f), task.value(2 * f)], rel=1e-9)
    assert dropped.holds and dropped.layers[0].method == "dropout" and dropped.layers[0].units == (8,)
    path = connect(grown, grown.permuted([np.arange(20)[::-1], np.arange(16)[::-1]]), X, y, method="dropout")
    assert path.barrier <= 1e-12


def test_counts_by_bisection_are_those_of_a_scan():
    a, b = network((3, 12, 10, 3), 1), network((3, 12, 10, 3), 2)
    rng = np.random.default_rng(11)
    X, y = rng.standard_normal((15, 3)), np.arange(15) % 3
    counts = neuron_counts(a, b, X, y)
    for k, count in enumerate(counts):
        scans = []
        for net in (a, b):
            F = net.features(X)[k + 1]
            order = importance(net, F, k + 1)
            verdicts = [separate(F[:, order[:m]], y).separable for m in range(1, count.width + 1)]
            scans.append(verdicts.index(True) + 1 if any(verdicts) else None)
        assert count.separable == tuple(scans)
        assert (count.generic, count.wide) == (4, 16)
    p = [count.separable for count in counts]
    assert counts[0].needed == sum(p[0]) and counts[1].needed == max(p[1][0] + 3, p[1][1] + 3, 6)
    assert all(count.enough == (count.needed <= count.width) for count in counts)
    deep = neuron_counts(*[network((3, 9, 9, 9, 3))] * 2, X, y)
    assert [c.generic for c in deep] == [None, 4, 4]


def test_nothing_separates_equal_inputs():
    net = network((2, 4, 4, 2))
    count = neuron_counts(net, net, np.zeros((4, 2)), [0, 1, 0, 1])[0]
    assert count.separable == (None, None) and count.needed is None and not count.enough


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: separate([[1.0], [2.0]], [0, 0]), InvalidInput, "two classes"),
        (lambda: separate([[1.0], [2.0]], [0, 2], n_classes=2), InvalidInput, "two classes"),
        (lambda: separate([[1.0], [2.0]], [0]), InvalidInput, "one length"),
        (lambda: separate([[np.nan], [2.0]], [0, 1]), InvalidInput, "finite"),
        (lambda: neuron_counts(*[network((2, 4, 2))] * 2, np.ones((2, 2)), np.ones((2, 2)), loss="squared"),
         PreconditionError, "needs classes"),
    ],
)  # fmt: skip
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("d", [3, 20])
def test_margins_hold_in_exact_arithmetic(d, seed):
    """The lower end against the least score difference of the classifier found, in fractions."""
    rng = np.random.default_rng(seed)
    F, y = rng.standard_normal((8, d)), rng.integers(0, 2, 8)
    y[0] = 1 - y[1]
    found = separate(F, y)
    V, c = ([Fraction(float(v)) for v in found.weights[1] - found.weights[0]], found.bias[1] - found.bias[0])
    exact = min(
        (2 * label - 1) * (sum(v * Fraction(float(f)) for v, f in zip(V, row, strict=True)) + Fraction(float(c)))
        for row, label in zip(F, y.tolist(), strict=True)
    )
    assert found.certificate.lower <= max(exact, 0)
    assert found.certificate.lower <= found.certificate.upper


def test_sizes_that_float64_cannot_divide_by_are_refused():
    with pytest.raises(InvalidInput, match="1e-300"):
        separate([[1e-320], [0.0]], [0, 1])
    with pytest.raises(InvalidInput, match="sequence"):
        DenseNetwork.of(5)
