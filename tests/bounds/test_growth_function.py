import math

import numpy as np
import pytest

from theory import PreconditionError
from theory.architecture import (
    Activation,
    Add,
    Architecture,
    AvgPool,
    BatchNorm,
    Conv,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GraphBuilder,
    LayerNorm,
    Linear,
    MaxPool,
    outputs,
)  # fmt: skip
from theory.bounds._growth import log_growth
from theory.bounds._network import Network
from theory.bounds._problem import Problem
from theory.bounds.growth_function import GrowthFunction, log_patterns, stages
from theory.bounds.vc_dimension import VCDimension


def dense(d=2, h=2, K=2, bias=True, act="relu"):
    return Architecture.sequential([Linear(h, bias=bias), Activation(act), Linear(K, bias=bias)], input_shape=d)


def conv(pool=None, act="relu"):
    pools = [] if pool is None else [pool]
    body = [Conv(3, 3, padding=1), Activation(act), *pools, Conv(2, 2, bias=False), Activation("relu"), GlobalAvgPool()]
    return Architecture.sequential([*body, Linear(4)], input_shape=(1, 6, 6))


def residual():
    g = GraphBuilder(3)
    a = g.add(Linear(3))
    b = g.add(Linear(3), g.add(Activation("relu"), a))
    g.add(Linear(2), g.add(Activation("relu"), g.add(Add(), a, b)))
    return g.build()


NETS = {
    "dense": dense(5, 4, 3), "binary": dense(5, 4, 1), "no bias": dense(3, 2, 2, bias=False),
    "hardtanh": dense(act="hardtanh"),
    "linear": Architecture.sequential([Linear(3)], input_shape=4), "conv": conv(), "pool": conv(MaxPool(2)),
    "abs pool": conv(MaxPool(2), "abs"), "average": conv(AvgPool(2)), "residual": residual(),
    "normalised": Architecture.sequential([Linear(3), BatchNorm(), Activation("relu"), Linear(2)], input_shape=2),
    "data pooled": Architecture.sequential([MaxPool(2), Flatten(), Linear(2), Activation("relu"), Linear(2)],
                                           input_shape=(1, 4, 4)),
}  # fmt: skip


def sample(net, n, seed=0):
    rng = np.random.default_rng(seed)
    weights = net.random_weights(rng=seed)
    return weights, rng.standard_normal((n, *net.input_shape)), rng.integers(0, max(2, net.output_shape[0]), n)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("bound", [GrowthFunction(), VCDimension()], ids=lambda b: b.name)
@pytest.mark.parametrize("n", [5, 400, 200_000])
def test_symbolic_form_is_the_number(name, bound, n):
    net = NETS[name]
    weights, X, y = sample(net, min(n, 50))
    report = bound.evaluate(net, weights, (X, y))
    problem = Problem(net, weights, (X, y))
    problem.n = n  # the same errors on a larger sample
    found = bound.compute(problem, 0.05, None)
    symbolic = bound.symbolic_form(problem)
    assert float(symbolic.evaluate(found.quantities)) == pytest.approx(sum(found.terms.values()), rel=1e-12)
    assert math.isfinite(report.n_needed) == (report.terms["empirical"] < 1) and report.margin is None


def test_stages_of_a_convolutional_network_by_hand():
    first, second, last = stages(Network.placeholder(conv(MaxPool(2))))
    assert (first.units, first.pool, first.parameters, first.degree) == (3 * 36, 3 * 9 * 6, 30, 1)
    assert (second.units, second.pool, second.parameters, second.degree) == (2 * 4, 0, 30 + 24, 2)
    assert (last.units, last.parameters, last.degree) == (3, 54 + 12, 3)
    assert first.fan_in is None  # its comparisons are of two kinds
    plain = stages(Network.placeholder(conv()))[0]
    assert (plain.fan_in, plain.filters) == (9, 3)
    twice = Architecture.sequential([Conv(2, 1), Activation(), MaxPool(2), MaxPool(2), Flatten(), Linear(2)],
                                    input_shape=(1, 4, 4))  # fmt: skip
    assert [(s.units, s.pool) for s in stages(Network.placeholder(twice))] == [(32, 48), (0, 12), (1, 0)]
    apart = stages(Network.placeholder(conv(MaxPool(2), "abs")))  # the maximum of |u| is not decided by u_a < u_b
    assert len(apart) == 4 and (apart[1].units, apart[1].pool) == (0, 162)


def test_stages_of_a_residual_network_by_hand():
    found = stages(Network.placeholder(residual()))
    assert [(s.units, s.parameters, s.degree) for s in found] == [(3, 12, 1), (3, 24, 2), (1, 32, 3)]
    pooled = stages(Network.placeholder(NETS["data pooled"]))  # a maximum over data compares no weights
    assert [(s.units, s.pool, s.parameters) for s in pooled] == [(2, 0, 10), (1, 0, 16)]
    assert [s.units for s in stages(Network.placeholder(NETS["normalised"]))] == [3, 1]


def patterns(net, X, y, trials, seed=0):
    """Loss vectors met by random weights of several sizes."""
    rng, seen = np.random.default_rng(seed), set()
    for _ in range(trials):
        weights = {k: rng.standard_normal(s) * rng.choice([0.3, 1, 3]) for k, s in net.parameters.items()}
        scores = outputs(net, weights, X)
        if net.output_shape[0] == 1:
            right = np.where(y == 1, scores[:, 0], -scores[:, 0]) > 0
        else:
            others = scores.copy()
            others[np.arange(len(y)), y] = -np.inf
            right = scores[np.arange(len(y)), y] > others.max(axis=1)
        seen.add(right.tobytes())
    return len(seen)


@pytest.mark.parametrize(
    "net", [Architecture.sequential([Linear(1)], input_shape=1),
            Architecture.sequential([Linear(1, bias=False)], input_shape=2), dense(1, 1, 1), dense(1, 2, 2),
            Architecture.sequential([Conv(1, 2, bias=False), Activation("relu"), GlobalMaxPool(), Linear(1)],
                                    input_shape=(1, 4))],
)  # fmt: skip
def test_patterns_found_never_exceed_the_count(net):
    n = 14
    _, X, y = sample(net, n, seed=1)
    found, counted = patterns(net, X, y, 3000), log_patterns(stages(Network.placeholder(net)), n)
    assert math.log(found) <= counted
    assert found > n  # the search meets many


def test_closed_form_is_above_the_exact_sum_and_close():
    for net, n in ((dense(5, 4, 3), 4000), (conv(), 3000)):
        found = stages(Network.placeholder(net))
        exact, ours = log_growth(found, n), log_patterns(found, n)
        assert exact <= ours * (1 + 1e-12) <= 1.2 * exact
        # the count by filters helps: without it Warren's is larger
        assert ours < log_patterns([s.__class__(**{**{f: getattr(s, f) for f in s.__slots__}, "fan_in": None,
                                                   "filters": None}) for s in found], n)  # fmt: skip


def test_a_linear_rule_on_many_samples():
    net = Architecture.sequential([Linear(1)], input_shape=2)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20000, 2))
    y = (X[:, 0] > 0).astype(int)
    weights = {"linear1.weight": [[1.0, 0.0]], "linear1.bias": [0.0]}
    report = GrowthFunction().evaluate(net, weights, (X, y), delta=0.05)
    growth = math.log(2) + 3 * math.log(2 * math.e * 20000 / 3)
    assert report.value == pytest.approx(math.sqrt(2 * growth / 20000) + math.sqrt(math.log(20) / 40000), rel=1e-12)
    vc = VCDimension().evaluate(net, weights, (X, y), delta=0.05)
    assert report.value < vc.value < 1
    # independent of the margin: scaling the network changes nothing
    scaled = {k: np.array(v) * 9 for k, v in weights.items()}
    assert GrowthFunction().evaluate(net, scaled, (X, y), 0.05).value == report.value


def test_violations_stay_below_delta():
    # thresholds chosen by the sample: exact risk of sign(x - t) is |t| under the uniform law on [-1, 1] / 2 each side
    net, rng, bad = Architecture.sequential([Linear(1)], input_shape=1), np.random.default_rng(0), 0
    for _ in range(100):
        X = rng.uniform(-1, 1, (600, 1))
        y = (X[:, 0] > 0).astype(int)
        t = X[X > 0].min() * (1 - 1e-9)  # the right-most threshold without an error
        report = GrowthFunction().evaluate(net, {"linear1.weight": [[1.0]], "linear1.bias": [-t]}, (X, y), 0.1)
        bad += t / 2 > report.value
        assert report.value < 1
    assert bad <= 10


def test_refusals():
    smooth = dense(act="tanh")
    with pytest.raises(PreconditionError, match="growth-function needs piecewise-linear activations: tanh is not"):
        GrowthFunction().symbolic(smooth)
    normed = Architecture.sequential([Linear(3), LayerNorm(), Linear(2)], input_shape=2)
    with pytest.raises(PreconditionError, match="piecewise polynomial"):
        VCDimension().symbolic(normed)
    assert "n" in GrowthFunction().symbolic(dense()).latex()


@pytest.mark.parametrize("bound", [GrowthFunction(), VCDimension()], ids=lambda bound: bound.name)
def test_scores_of_the_data_alone_are_refused_by_name(bound):
    net = Architecture.sequential([GlobalAvgPool()], input_shape=(3, 4))
    with pytest.raises(PreconditionError, match="scores that depend on weights: they read 0 of them"):
        bound.evaluate(net, {}, (np.ones((2, 3, 4)), [0, 1]))
