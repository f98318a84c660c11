"""Covers at the level of kernels: printed numbers, Maurey's sampling, the calculus on graphs, the symbolic twin."""

import itertools
import math

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
    AvgPool,
    BatchNorm,
    Conv,
    Flatten,
    GlobalAvgPool,
    GraphBuilder,
    LayerNorm,
    Linear,
    MaxPool,
    node_values,
)
from theory.bounds._calculus import fixed_lipschitz, log_rms, operator_norms, radii, scored, sensitivities
from theory.bounds._problem import Problem, Sample
from theory.bounds.covering import CoveringBound, log_combine, log_dudley
from theory.norms import filter_norm_2_1, toeplitz_matrix


def residual(K=3, activation="relu"):
    g = GraphBuilder((1, 6, 6))
    stem = g.add(Activation(activation), g.add(BatchNorm(), g.add(Conv(3, 3, padding=1))))
    branch = g.add(Conv(3, 3, padding=1), g.add(Activation(activation), g.add(Conv(3, 3, padding=1), stem)))
    g.add(Linear(K), g.add(GlobalAvgPool(), g.add(MaxPool(3, 2, 1), g.add(Add(), stem, branch))))
    return g.build()


def dense(K, bias=False, activation="relu"):
    return Architecture.sequential(
        [*[Linear(5, bias=bias), Activation(activation)] * 2, Linear(K, bias=bias)], input_shape=4
    )


def convolutional(**options):
    return Architecture.sequential(
        [
            *(Conv(3, 3, bias=False, **options), Activation("relu"), AvgPool(2, 1), Conv(2, 2, bias=False)),
            *(Activation("leaky_relu"), MaxPool(2), Flatten(), Linear(4, bias=False)),
        ],
        input_shape=(1, 8, 8),
    )


NETS = {
    "dense": dense(3), "two classes": dense(2), "score": dense(1), "biased": dense(3, True),
    "tanh": dense(3, True, "tanh"), "sigmoid": dense(1, True, "sigmoid"), "convolutional": convolutional(padding=1),
    "circular": convolutional(padding=1, padding_mode="circular"), "residual": residual(),
    "smooth": residual(2, "gelu"),
}  # fmt: skip


def trained(net, seed=0, n=40):
    rng = np.random.default_rng(seed)
    weights = {k: v + 0.05 * rng.normal(size=v.shape) for k, v in net.random_weights(rng=rng).items()}
    return weights, (rng.normal(size=(n, *net.input_shape)), rng.integers(0, max(2, net.output_shape[0]), size=n))


def initial(net):
    return net.random_weights(rng=np.random.default_rng(0))


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_symbolic_form_is_the_number(name, reference):
    net, bound = NETS[name], CoveringBound()
    problem = Problem(net, *trained(net), initial(net) if reference else None)
    for margin in ("best", 0.5):
        report = bound.report(problem, 0.02, margin)
        assert float(bound.symbolic_form(problem).evaluate(report.quantities)) == pytest.approx(report.value, rel=1e-12)
        assert report.value == pytest.approx(10**report.log10, rel=1e-12)


def test_reference_numbers():
    s, t = (2, 1.5, 1.2), (20, 12, 5)
    logs = [sum(map(math.log, s)) + math.log(t[l] / s[l]) for l in range(3)]
    assert math.exp(log_combine(logs)) == pytest.approx(135.4962258, rel=1e-9)
    for K_0, value in ((50, 0.22880), (300, 0.728)):
        assert math.exp(log_dudley(math.log(K_0), 10_000)) / 2 == pytest.approx(value, abs=5e-4 * value)
    # Dudley's bound at its best cut: 4 a / sqrt n + 12/n K ln(sqrt n / 4a), minimised on a grid
    cuts = np.geomspace(1e-6, 25, 200_001)
    for K_0 in (0.5, 5, 50, 300):
        grid = (4 * cuts / 100 + 12 / 1e4 * K_0 * np.log(100 / (4 * cuts))).min()
        assert math.exp(log_dudley(math.log(K_0), 10_000)) / 2 == pytest.approx(grid, rel=1e-6)


def test_one_layer_in_closed_form():
    net = Architecture.sequential([Linear(1, bias=False)], input_shape=3)
    X = np.random.default_rng(0).normal(size=(50, 3))
    report = CoveringBound().evaluate(net, {"linear1.weight": [[3.0, 4.0, 0.0]]}, (X, np.ones(50)), margin=2.0)
    # t = s = 5, kappa = 5/2 rounded up to 1.05^19; the ratio is 1 up to rounding
    i = report.quantities["i_1"]
    assert i in (0, 1)
    assert 1.05**18 < 2.5 < 1.05**19
    K_0 = math.sqrt(2) * np.linalg.norm(X) * 1.05 ** (19 + i) * math.sqrt(math.log(6))
    dudley = 24 * K_0 / 50 * (1 + math.log(max(1, 50 / (12 * K_0))))
    assert report.terms["complexity"] == pytest.approx(dudley, rel=1e-12)
    union = 3 * math.sqrt((math.log(100) + math.log(2 * 20 * 21) + math.log(2 * (i + 1) * (i + 2))) / 100)
    assert report.terms["confidence"] + report.terms["union"] == pytest.approx(union, rel=1e-12)


def test_two_biased_layers_in_closed_form():
    net = Architecture.sequential([Linear(3), Activation("tanh"), Linear(1)], input_shape=2)
    rng = np.random.default_rng(5)
    weights, X = {k: rng.normal(size=s) for k, s in net.parameters.items()}, rng.normal(size=(30, 2))
    found = CoveringBound().evaluate(net, weights, (X, np.ones(30)), margin=1.0)
    q = {key: 1.05**value for key, value in found.quantities.items() if key[0] in "ijkh"}
    W, V = weights["linear1.weight"], weights["linear2.weight"]
    for key, value in {
        "i_1": np.linalg.norm(W, 2), "i_2": np.linalg.norm(V), "k_1": np.linalg.norm(W, axis=1).sum(),
        "k_2": np.linalg.norm(V), "h_1": np.abs(weights["linear1.bias"]).sum(), "h_2": abs(weights["linear2.bias"][0]),
    }.items():  # fmt: skip
        assert value <= q[key] <= 1.05 * value * (1 + 1e-9)
    x = math.sqrt((X**2).sum() / 30)
    first = q["i_2"] * (q["k_1"] * x + q["h_1"]) * math.sqrt(math.log(2 * 9))
    second = (q["k_2"] * (q["i_1"] * x + q["h_1"]) + q["h_2"]) * math.sqrt(math.log(2 * 4))
    K_0 = math.sqrt(2 * 30) * q["j"] * (first ** (2 / 3) + second ** (2 / 3)) ** 1.5
    assert found.terms["complexity"] == pytest.approx(24 * K_0 / 30, rel=1e-12)  # 12 K_0 > n
    cost = sum(math.log(2 * (abs(i) + 1) * (abs(i) + 2)) for k, i in found.quantities.items() if k[0] in "ijkh")
    whole = found.terms["confidence"] + found.terms["union"]
    assert whole == pytest.approx(3 * math.sqrt((math.log(100) + cost) / 60), rel=1e-12)


def test_maurey_sampling_of_a_kernel():
    rng = np.random.default_rng(1)
    K, x = rng.normal(size=(2, 3, 3)), rng.normal(size=(5, 3, 7))
    atoms, scale = [], []
    for o, c, q in itertools.product(range(2), range(3), range(3)):
        tap = np.zeros_like(K)
        tap[o, c, q] = 1.0
        V = (toeplitz_matrix(tap, 7, padding=1) @ x.reshape(5, -1).T).T
        assert np.linalg.norm(V) <= np.linalg.norm(x[:, c]) * (1 + 1e-12)
        atoms.append(V / np.linalg.norm(x[:, c]))
        scale.append(K[o, c, q] * np.linalg.norm(x[:, c]))
    scale, atoms = np.array(scale), np.array(atoms)
    weight = np.abs(scale).sum()
    assert weight <= filter_norm_2_1(K) * np.linalg.norm(x)
    exact = np.tensordot(scale, atoms, 1)
    k = 20
    picks = rng.choice(len(scale), size=(200, k), p=np.abs(scale) / weight)
    means = (np.sign(scale)[picks][..., None, None] * weight * atoms[picks]).mean(axis=1)
    assert np.linalg.norm(means - exact, axis=(1, 2)).min() <= weight / math.sqrt(k)


@pytest.mark.parametrize("name", NETS)
def test_sensitivities_and_radii_hold(name):
    net = NETS[name]
    weights, (X, y) = trained(net)
    problem = Problem(net, weights, (X, y))
    graph = scored(problem)
    log_s = {k: math.log(v) for k, v in operator_norms(problem, graph).items()}
    shifts = {v.name: math.log(np.linalg.norm(graph.named[f"{v.name}.bias"]) + 1e-300)
              for v in graph.layers if graph.biased(v)}  # fmt: skip
    S, B = sensitivities(graph, log_s), radii(graph, log_s, shifts, log_rms(X))
    named = dict(graph.named)
    before = node_values(graph.graph, named, X)
    for node in graph.graph.nodes:
        assert log_rms(before[node.name]) <= B[node.name] + 1e-12
    rng = np.random.default_rng(7)
    for node in graph.layers:
        key = f"{node.name}.weight"
        for size in (1e-3, 1.0):
            changed = named | {key: named[key] + size * rng.normal(size=named[key].shape)}
            after = node_values(graph.graph, changed, X)
            moved = np.linalg.norm(after[graph.graph.output] - before[graph.graph.output])
            assert moved <= math.exp(S[node.name]) * np.linalg.norm(after[node.name] - before[node.name]) * (1 + 1e-12)
    assert INPUT in S


def test_calculus_in_closed_form():
    """A block z + g(z) has 1 + Lip(g), and a bias adds its norm times the root of its positions."""
    g = GraphBuilder((2, 3))
    stem = g.add(Conv(2, 1))
    g.add(Flatten(), g.add(Add(), stem, g.add(Conv(2, 1), stem)))
    net = g.build()
    weights = {"conv1.weight": 2 * np.eye(2)[..., None], "conv2.weight": 3 * np.eye(2)[..., None],
               "conv1.bias": np.array([3.0, 4.0]), "conv2.bias": np.zeros(2)}  # fmt: skip
    problem = Problem(net, weights, (np.ones((1, 2, 3)), [0]))
    graph = scored(problem)
    log_s = {k: math.log(v) for k, v in operator_norms(problem, graph).items()}
    S = sensitivities(graph, log_s)
    B = radii(graph, log_s, {"conv1": math.log(5), "conv2": -math.inf}, 0.5 * math.log(6))
    assert math.exp(S["conv1"]) == pytest.approx(1 + 3, rel=1e-9)
    assert math.exp(S[INPUT]) == pytest.approx(2 * 4, rel=1e-9)
    assert math.exp(B["conv1"]) == pytest.approx(2 * math.sqrt(6) + 5 * math.sqrt(3), rel=1e-9)


def test_operations_without_weights_in_closed_form():
    net = Architecture.sequential(
        [GlobalAvgPool(), Linear(5, bias=False), Activation("sigmoid")], input_shape=(2, 3, 4)
    )
    pool = net.nodes[0]
    A = node_values(net, {"linear1.weight": np.zeros((5, 2))}, np.eye(24).reshape(24, 2, 3, 4))[pool.name]
    assert fixed_lipschitz(pool) == pytest.approx(np.linalg.norm(A, 2), rel=1e-12)
    problem = Problem(net, {"linear1.weight": np.zeros((5, 2))}, (np.ones((3, 2, 3, 4)), [0, 1, 2]))
    B = radii(scored(problem), {"linear1": -math.inf}, {}, log_rms(problem.X))
    assert math.exp(B["globalavgpool1"]) == pytest.approx(math.sqrt(2), rel=1e-12)
    assert math.exp(B["activation1"]) == pytest.approx(0.5 * math.sqrt(5), rel=1e-12)


@given(st.integers(0, 1000), st.floats(1e-2, 1e2))
@settings(max_examples=6, deadline=None)
def test_rescaling_layers_changes_nothing(seed, c):
    net = NETS["convolutional"]
    weights, data = trained(net, seed, n=10)
    scaled = dict(weights)
    scaled["conv1.weight"] = weights["conv1.weight"] * c
    scaled["conv2.weight"] = weights["conv2.weight"] / c
    first, second = (CoveringBound().evaluate(net, w, data) for w in (weights, scaled))
    assert second.log10 == pytest.approx(first.log10, abs=0.03)  # the grids may round to the next point
    assert second.terms["empirical"] == pytest.approx(first.terms["empirical"], abs=0.1)


def test_never_below_the_exact_complexity_of_a_linear_class():
    n, rng = 8, np.random.default_rng(3)
    X = rng.normal(size=(n, 2))
    E = np.array(list(itertools.product([-1.0, 1.0], repeat=n)))
    for t in (0.01, 0.1, 1.0):
        exact = t * np.linalg.norm(E @ X, axis=1).mean() / n  # of f / gamma, before the ramp
        log_K_0 = math.log(math.sqrt(2) * t * np.linalg.norm(X) * math.sqrt(math.log(4)))
        assert exact <= math.exp(log_dudley(log_K_0, n)) / 2


def test_zero_weights_and_large_ones():
    net = NETS["biased"]
    data = trained(net)[1]
    zero = {k: np.zeros(s) for k, s in net.parameters.items()}
    report = CoveringBound().evaluate(net, zero, data)
    assert report.terms["empirical"] == 1.0
    for net in (NETS["dense"], NETS["biased"]):
        zero = {k: np.zeros(s) for k, s in net.parameters.items()}
        problem = Problem(net, zero, data)
        report = CoveringBound().report(problem, 0.1)
        value = float(CoveringBound().symbolic_form(problem).evaluate(report.quantities))
        assert value == pytest.approx(report.value, rel=1e-12)
    net = Architecture.sequential([Linear(3, bias=False)] * 40, input_shape=3)
    weights = {k: 1e9 * np.eye(3) for k in net.parameters}
    data = Sample(X=np.eye(3), y=[0, 1, 2], outputs=np.eye(3))
    report = CoveringBound().evaluate(net, weights, data, margin=1.0)
    assert report.value == math.inf
    assert 360 < report.log10 < 370


def test_refusals():
    reflect = convolutional(padding=1, padding_mode="reflect")
    with pytest.raises(PreconditionError, match="no pixel twice"):
        CoveringBound().symbolic(reflect)
    net = Architecture.sequential([Linear(3), LayerNorm(), Linear(2)], input_shape=3)
    with pytest.raises(PreconditionError, match="Lipschitz"):
        CoveringBound().symbolic(net)
    net = Architecture.sequential([Linear(3), Activation("mine", lipschitz=1.0), Linear(2)], input_shape=3)
    with pytest.raises(PreconditionError, match="zero"):
        CoveringBound().symbolic(net)
