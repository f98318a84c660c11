"""Measures against closed forms, brute force and each other; what they refuse."""

from __future__ import annotations

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
    Conv,
    Flatten,
    GraphBuilder,
    LayerNorm,
    Linear,
    MaxPool,
    node_values,
)  # fmt: skip
from theory.bounds._problem import Problem, Sample
from theory.bounds.measures import (
    FAMILIES,
    all_layer_margins,
    jacobian_norms,
    measures,
    measures_of,
    noise_sigma,
)  # fmt: skip
from theory.bounds.measures._sample import weighted_nodes
from theory.bounds.measures.all_layer_margin import _Search
from theory.bounds.measures.cushions import _jacobian_squares, cushions
from theory.bounds.measures.jiang import tenth_percentile
from theory.norms import toeplitz_matrix

CONV = Architecture.sequential(
    [Conv(3, 3, padding=1), Activation("relu"), MaxPool(2), Conv(4, 2), Activation("relu"), Flatten(), Linear(3)],
    input_shape=(2, 6, 6),
)


def dense(*widths, bias=False, act="relu"):
    ops = []
    for w in widths[1:-1]:
        ops += [Linear(w, bias=bias), Activation(act)]
    return Architecture.sequential([*ops, Linear(widths[-1], bias=bias)], input_shape=widths[0])


def problem_of(net, seed=0, n=12, reference=False, biases=True):
    rng = np.random.default_rng(seed)
    weights = net.random_weights(rng=rng)
    if biases:
        weights = {k: v + 0.1 * rng.standard_normal(v.shape) if k.endswith("bias") else v for k, v in weights.items()}
    X, K = rng.standard_normal((n, *net.input_shape)), net.output_shape[0]
    right = node_values(net, weights, X)[net.output]
    y = right.argmax(axis=1) if K > 1 else (right[:, 0] > 0).astype(int)
    return Problem(net, weights, (X, y), net.random_weights(rng=9) if reference else None)


def by_name(found):
    return {m.name: m.value for m in found}


# Jacobians

@pytest.mark.parametrize(
    "net", [CONV, dense(4, 6, 5, 3, bias=True, act="tanh"), dense(3, 4, 1)], ids=["conv", "tanh", "one"]
)
def test_jacobian_norms_are_those_of_difference_quotients(net):
    problem = problem_of(net, n=3)
    found = {record.node: record for record in jacobian_norms(problem)}
    h, size = 1e-6, int(np.prod(net.input_shape))
    for i, x in enumerate(problem.X):
        steps = h * np.eye(size).reshape(size, *net.input_shape)
        up, down = (node_values(net, problem.named, x + s * steps)[net.output] for s in (1, -1))
        J = (up - down).T / (2 * h)
        assert found[INPUT].frobenius[i] == pytest.approx(np.linalg.norm(J), rel=1e-7)
        assert found[INPUT].spectral[i] == pytest.approx(np.linalg.norm(J, 2), rel=1e-7)
    # what the last layer reads has its weights for Jacobian
    W = problem.named[f"{net.output}.weight"]
    last = found[net[net.output].inputs[0]]
    np.testing.assert_allclose(last.frobenius, np.linalg.norm(W), rtol=1e-12)
    np.testing.assert_allclose(last.spectral, np.linalg.norm(W, 2), rtol=1e-12)


def test_jacobians_do_not_depend_on_batches(monkeypatch):
    problem = problem_of(CONV)
    one = jacobian_norms(problem)
    monkeypatch.setattr("theory.bounds.measures._sample.ENTRIES", 1)
    for a, b in zip(one, jacobian_norms(problem), strict=True):
        np.testing.assert_allclose(a.frobenius, b.frobenius, rtol=1e-12)
        np.testing.assert_allclose(a.spectral, b.spectral, rtol=1e-10)


# all-layer margin

@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([1, 2, 3]))
@settings(max_examples=20)
def test_one_layer_is_the_distance_over_the_input_length(seed, d, K):
    problem = problem_of(dense(d, K), seed, n=4)
    W, X, y = problem.named["linear1.weight"], problem.X, problem.y
    found = all_layer_margins(problem)
    for i in range(4):
        if K == 1:
            exact = abs(W[0] @ X[i]) / np.linalg.norm(X[i])
        else:
            others = [k for k in range(K) if k != y[i]]
            # the perturbation is added to the scores: e_y - e_k has length sqrt 2
            exact = min((W[y[i]] - W[k]) @ X[i] for k in others) / np.sqrt(2) / np.linalg.norm(X[i])
        assert found.first_order[i] == pytest.approx(exact, rel=1e-9)
        assert exact * (1 - 1e-9) <= found.upper[i] <= exact * 1.001


@given(st.floats(0.2, 5), st.floats(0.2, 5), st.floats(0.1, 9))
@settings(max_examples=30)
def test_two_scalar_layers_have_a_closed_form(w1, w2, x):
    weights = {"linear1.weight": [[w1]], "linear2.weight": [[w2]]}
    problem = Problem(dense(1, 1, 1, act="identity"), weights, ([[x]], [1]))
    found = all_layer_margins(problem)
    # the score is (w1 + d1) x (w2 +- d2): zero where one factor is
    assert found.first_order[0] == pytest.approx(w1 * w2 / math.hypot(w1, w2), rel=1e-12)
    assert min(w1, w2) * (1 - 1e-9) <= found.upper[0] <= min(w1, w2) * 1.01


def test_single_layers_and_rounds_shorten_what_is_found():
    weights = {"linear1.weight": [[3.0]], "linear2.weight": [[4.0]]}
    problem = Problem(dense(1, 1, 1, act="identity"), weights, ([[2.0]], [1]))
    # the ray of the first-order solution alone reaches zero at 5 * 3 / 4
    assert all_layer_margins(problem, rounds=0, starts=0).upper[0] == pytest.approx(3, rel=1e-3)
    problem = problem_of(dense(2, 3, 2, bias=True), 4, n=3)
    without, with_rounds = (all_layer_margins(problem, rounds=r, starts=0).upper for r in (0, 4))
    assert (with_rounds <= without).all() and with_rounds[1] < 0.99 * without[1]


def test_rays_follow_the_gradient_of_the_perturbed_network():
    problem = problem_of(dense(3, 4, 5, 1, bias=True, act="tanh"), 2, n=2)
    layers = weighted_nodes(problem.graph)
    search = _Search(problem.graph, problem.named, problem.X, problem.y, layers)
    rng, h = np.random.default_rng(0), 1e-6
    delta = {node.name: 0.3 * rng.standard_normal((2, *node.shape)) for node in layers}
    _, (ray,) = search.nearest(delta, search.values(delta), [search.layers])
    gradient = {name: np.zeros_like(part) for name, part in delta.items()}
    for name, part in delta.items():
        for k in range(part.shape[1]):
            step = h * np.eye(part.shape[1])[k]
            up, down = (search.margin(search.values({**delta, name: part + s * step})) for s in (1, -1))
            gradient[name][:, k] = (up - down) / (2 * h)
    a, b = (np.concatenate(list(d.values()), axis=1) for d in (ray, gradient))
    d = np.concatenate(list(delta.values()), axis=1)
    # the nearest zero of M + G (x - delta) is along G
    wanted = ((b * d).sum(axis=1) - search.margin(search.values(delta))) / (b**2).sum(axis=1)
    np.testing.assert_allclose(a, wanted[:, None] * b, rtol=1e-5, atol=1e-8)


def test_no_shorter_perturbation_is_found_by_random_search_but_longer_ones_are():
    problem = problem_of(dense(2, 3, 2, bias=True), 4, n=3)
    found = all_layer_margins(problem, rounds=8)
    rng = np.random.default_rng(0)
    net, named = problem.graph, problem.named
    for i in range(3):
        x, y = problem.X[i], problem.y[i]

        def flips(d1, d2, x=x, y=y):
            h = d1 * np.linalg.norm(x) + x @ named["linear1.weight"].T + named["linear1.bias"]
            a = np.maximum(h, 0)
            v = a @ named["linear2.weight"].T + named["linear2.bias"] + d2 * np.linalg.norm(a, axis=1, keepdims=True)
            return v[:, y] <= v[:, 1 - y]

        rays = rng.standard_normal((200_000, 5))
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        shorter, longer = (rays * found.upper[i] * s for s in (0.98, 1.3))
        assert not flips(shorter[:, :3], shorter[:, 3:]).any()
        assert flips(longer[:, :3], longer[:, 3:]).any()
    assert net.output == "linear2"


def test_a_dead_network_has_no_gradient_but_a_margin():
    net = dense(2, 3, 2, bias=True)
    weights = net.random_weights(rng=0)
    weights["linear1.bias"], weights["linear2.bias"] = np.full(3, -9.0), np.array([0.3, 0.0])
    found = all_layer_margins(Problem(net, weights, ([[1.0, 0.5]], [0])))
    assert found.first_order[0] == np.inf
    # the units must be moved above zero first
    assert 4 < found.upper[0] < np.inf


def test_upper_margin_works_on_graphs_and_is_zero_for_mistakes():
    g = GraphBuilder((2, 4, 4))
    a = g.add(Conv(2, 3, padding=1))
    g.add(Linear(3), g.add(Flatten(), g.add(AvgPool(2), g.add(Add(), g.input, g.add(Activation("relu"), a)))))
    problem = problem_of(g.build(), n=8)
    y = problem.y.copy()
    y[0] = (y[0] + 1) % 3
    found = all_layer_margins(Problem(problem.architecture, problem.weights, (problem.X, y)), rounds=6)
    assert found.first_order[0] == found.upper[0] == 0
    assert (found.upper[1:] > 0).all() and (found.upper[1:] < 2 * found.first_order[1:]).all()
    values = by_name(measures(problem.architecture, problem.weights, (problem.X, y), names=["all-layer margin"]))
    assert values == {"all-layer-margin-first-order": np.inf, "all-layer-margin-upper": np.inf}


@settings(max_examples=10)
@given(st.floats(0.1, 10))
def test_scaling_the_input_of_a_homogeneous_network_leaves_the_margin(c):
    problem = problem_of(dense(3, 5, 3), 1, n=4)
    scaled = Problem(problem.architecture, problem.weights, (c * problem.X, problem.y))
    a, b = all_layer_margins(problem), all_layer_margins(scaled)
    np.testing.assert_allclose(a.first_order, b.first_order, rtol=1e-9)
    np.testing.assert_allclose(a.upper, b.upper, rtol=2e-2)


# cushions

def test_cushions_are_the_definition():
    problem = problem_of(CONV, n=5)
    found = cushions(problem, rows=10**6)
    named, values = problem.named, node_values(CONV, problem.named, problem.X)
    T = [
        toeplitz_matrix(named["conv1.weight"], (6, 6), padding=1).toarray(),
        toeplitz_matrix(named["conv2.weight"], (3, 3)).toarray(), named["linear1.weight"],
    ]  # fmt: skip
    reads = [values[INPUT], values["maxpool1"], values["flatten1"]]
    for i, (A, h) in enumerate(zip(T, reads, strict=True)):
        flat = h.reshape(5, -1)
        exact = (np.linalg.norm(flat @ A.T, axis=1) / np.linalg.norm(A) / np.linalg.norm(flat, axis=1)).min()
        assert found.layer[i] == pytest.approx(exact, rel=1e-12)
    # z_2 to z_3 through the ReLU
    z = values["conv2"].reshape(5, -1)
    quotients = []
    for x in z:
        J = T[2] * (x > 0)
        quotients.append(np.linalg.norm(J @ x) / np.linalg.norm(J) / np.linalg.norm(x))
    assert found.interlayer[1] == pytest.approx(min(z.shape[1] ** -0.5, *quotients), rel=1e-12)
    assert found.interlayer[2] == pytest.approx(3**-0.5)
    c = max(
        np.linalg.norm(v) / np.linalg.norm(np.maximum(v, 0)) for name in ("conv1", "conv2") for v in values[name]
    )
    assert found.contraction == pytest.approx(c, rel=1e-12)
    assert found.largest_output == pytest.approx(np.linalg.norm(problem.outputs, axis=1).max())
    assert found.exact


def test_an_interlayer_cushion_over_two_layers():
    problem = problem_of(dense(3, 4, 4, 2), n=3)
    found, values = cushions(problem), node_values(problem.graph, problem.named, problem.X)
    W2, W3 = problem.named["linear2.weight"], problem.named["linear3.weight"]
    quotients = []
    for z1, z2 in zip(values["linear1"], values["linear2"], strict=True):
        for J in (W2 * (z1 > 0), W3 @ ((z2 > 0)[:, None] * W2 * (z1 > 0))):
            quotients.append(np.linalg.norm(J @ z1) / np.linalg.norm(J) / np.linalg.norm(z1))
    assert found.interlayer[0] == pytest.approx(min(0.5, *quotients), rel=1e-12)


def test_random_probes_are_unbiased():
    problem = problem_of(dense(4, 8, 60, 3), n=3)
    assert cushions(problem, rows=60).exact and not cushions(problem, rows=50).exact
    values, layers = node_values(problem.graph, problem.named, problem.X), weighted_nodes(problem.graph)
    rng = np.random.default_rng(0)
    exact = _jacobian_squares(problem, values, layers, 1, 60, rng)["linear1"]
    near = np.mean([_jacobian_squares(problem, values, layers, 1, 59, rng)["linear1"] for _ in range(60)], axis=0)
    np.testing.assert_allclose(near, exact, rtol=0.03)
    W = problem.named["linear2.weight"]
    np.testing.assert_allclose(exact, ((W[None] * (values["linear1"] > 0)[:, None]) ** 2).sum(axis=(1, 2)), rtol=1e-12)


def test_cushions_ignore_the_scale_of_layers():
    problem = problem_of(dense(3, 9, 8, 2), 1)
    scaled = {k: 7.0 * v if k == "linear2.weight" else v for k, v in problem.weights.items()}
    other = Problem(problem.architecture, scaled, (problem.X, problem.y))
    a, b = cushions(problem), cushions(other)
    np.testing.assert_allclose(a.layer, b.layer, rtol=1e-12)
    np.testing.assert_allclose(a.interlayer, b.interlayer, rtol=1e-12)
    capacity = [by_name(measures_of(p, names=["cushion-capacity"]))["cushion-capacity"] for p in (problem, other)]
    assert capacity[0] == pytest.approx(capacity[1], rel=1e-10)  # outputs and margins both grow sevenfold
    assert np.isfinite(capacity[0])
    scale = 3 * a.contraction * a.largest_output / tenth_percentile(problem)
    assert capacity[0] == pytest.approx((scale / a.layer / a.interlayer) @ (scale / a.layer / a.interlayer), rel=1e-10)


# the face

def test_every_family_answers_and_is_a_measure():
    problem = problem_of(CONV, reference=True)
    reference = CONV.random_weights(rng=9)
    found = measures(CONV, problem.weights, Sample(X=problem.X, y=problem.y), reference)
    names = [m.name for m in found]
    assert len(set(names)) == len(names)
    assert {name.split(":")[0] for name in names} == {name for family in FAMILIES.values() for name in family}
    assert {m.family for m in found} == set(FAMILIES)
    assert all(m.to_json()["status"] == "measure" and m.statement and m.source for m in found)
    assert all(np.isfinite(m.value) for m in found)
    again = measures(CONV, problem.weights, (problem.X, problem.y), reference)
    assert again == found


ONE_D = Architecture.sequential(
    [Conv(2, 3, stride=2, padding=1, padding_mode="circular"), Activation("silu"), Flatten(), Linear(1)],
    input_shape=(1, 8),
)


@pytest.mark.parametrize("net", [ONE_D, dense(3, 4, 2), CONV], ids=["one score", "two", "conv"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e30])
def test_nothing_is_not_a_number(net, scale):
    problem = problem_of(net, n=3)
    weights = {k: scale * v if k.endswith("weight") else v for k, v in problem.weights.items()}
    found = measures(net, weights, (problem.X, problem.y), problem.weights)
    assert not [m for m in found if np.isnan(m.value)]


def test_names_select_and_unknown_ones_are_refused():
    problem = problem_of(dense(3, 4, 2))
    assert [m.name for m in measures_of(problem, names="parameter-norm")] == ["parameter-norm"]
    assert {m.family for m in measures_of(problem, names=["jacobians", "inverse-margin"])} == {"jacobians", "norms"}
    with pytest.raises(InvalidInput, match="unknown measure 'sharp'"):
        measures_of(problem, names=["sharp"])
    with pytest.raises(InvalidInput, match="'frobenius-distance' needs reference"):
        measures_of(problem, names=["frobenius-distance"])
    with pytest.raises(InvalidInput, match="drop"):
        noise_sigma(problem, drop=1.5)
    with pytest.raises(InvalidInput, match="center"):
        noise_sigma(problem, center={})


def test_layer_normalisation_is_refused_by_name_and_left_out_otherwise():
    net = Architecture.sequential([Linear(4), LayerNorm(), Linear(2)], input_shape=3)
    problem = problem_of(net)
    assert {m.family for m in measures_of(problem)} == {"pac-bayes"}
    for family in ("norms", "jacobians", "cushions", "sharpness", "all-layer margin"):
        with pytest.raises(PreconditionError, match="layernorm"):
            measures_of(problem, names=[family])


def test_a_network_that_is_only_declared_has_norms():
    net = dense(3, 4, 2, act="identity")
    problem = problem_of(net)
    declared = Architecture.sequential([Linear(4), Activation("mine", lipschitz=1.0), Linear(2)], input_shape=3)
    weights = declared.random_weights(rng=0)
    sample = Sample(X=problem.X, y=problem.y, outputs=problem.outputs)
    assert {m.family for m in measures(declared, weights, sample)} == {"norms"}
    with pytest.raises(PreconditionError, match="only declared"):
        measures(declared, weights, sample, names=["pac-bayes"])


def test_inputs_are_not_changed():
    problem = problem_of(CONV)
    before = {k: v.copy() for k, v in problem.weights.items()}
    X = problem.X.copy()
    measures(CONV, problem.weights, (problem.X, problem.y))
    assert all(np.array_equal(before[k], problem.weights[k]) for k in before) and np.array_equal(X, problem.X)
