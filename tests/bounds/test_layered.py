"""Peeling bounds of chains: published numbers, exact complexities of tiny classes, symbolic against numeric."""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from theory._errors import InvalidInput, PreconditionError
from theory.architecture import (
    Activation,
    Add,
    Architecture,
    AvgPool,
    BatchNorm,
    Conv,
    Flatten,
    GlobalAvgPool,
    GraphBuilder,
    Linear,
    MaxPool,
    Scale,
    outputs,
)  # fmt: skip
from theory.bounds._layered import cosh_factor, exponential_factor, map_spectral, pool_norm
from theory.bounds._problem import Problem, Sample
from theory.bounds.convolutional import Convolutional, kernel_norms
from theory.bounds.frobenius import Frobenius, frobenius_rademacher, frobenius_rademacher_multiclass
from theory.bounds.group_norm import GroupNorm, group_norm_rademacher
from theory.bounds.operator_frobenius import (
    RATIO,
    OperatorFrobenius,
    grid_sizes,
    operator_frobenius_rademacher,
    operator_frobenius_rademacher_multiclass,
    peeled_moment,
)
from theory.bounds.row_norm import RowNorm, row_norm_rademacher, row_norms
from theory.norms import toeplitz_matrix

RELU = Activation("relu")
DENSE = (GroupNorm(), Frobenius(), RowNorm(), OperatorFrobenius())
ALL = (*DENSE, Convolutional())
NETS = {
    "dense": ([Linear(8), RELU, Linear(6), RELU, Linear(5)], 4),
    "linear": ([Linear(3)], 4),
    "one score": ([Linear(8), RELU, Linear(5), RELU, Linear(7), RELU, Linear(1)], 4),
    "two classes": ([Linear(8), Activation("leaky_relu", 0.2), Linear(2)], 4),
    "scales": ([Scale(), RELU, Linear(5), RELU, Linear(3)], 4),
    "folded": ([Conv(3, 3), BatchNorm(), RELU, Flatten(), Linear(4)], (2, 6)),
    "conv": ([Conv(4, 3, padding=1), RELU, AvgPool(2), Conv(3, 2, stride=2), RELU, Flatten(), Linear(3)], (2, 8, 8)),
    "global": ([Conv(4, 3, groups=2, padding=1, padding_mode="circular"), RELU, GlobalAvgPool(), Linear(1)], (2, 5, 5)),
    "scaled map": ([Scale(), RELU, Conv(4, 3, dilation=2), RELU, Flatten(), Linear(2)], (2, 9)),
}


def problem(ops, shape, *, bias=True, n=40, seed=0, **changes):
    net = Architecture.sequential(ops, input_shape=shape)
    rng = np.random.default_rng(seed)
    weights = net.random_weights(rng=rng)
    for key, value in weights.items():
        if value.ndim == 1 and ".running" not in key:
            weights[key] = rng.standard_normal(value.shape) * (bias or not key.endswith(".bias"))
    X = rng.standard_normal((n, *net.input_shape))
    y = rng.integers(0, max(2, net.output_shape[0]), n)
    return Problem(net, weights | changes, (X, y))


def explicit(matrices, X, y):
    """Dense layers without biases."""
    ops, weights = [], {}
    for l, W in enumerate(matrices, start=1):
        ops += [Linear(len(W), bias=False), RELU]
        weights[f"linear{l}.weight"] = W
    return Problem(Architecture.sequential(ops[:-1], input_shape=X.shape[1]), weights, (X, y))


def rademacher(bound, p):
    """The complexity term in named norms at gamma = 1: 2 or 4 times what the Rademacher complexity is at most."""
    report = bound.report(p, 0.1)
    values = {**report.quantities, "gamma": 1.0}
    expression = bound.symbolic_form(p).complexity
    return float(expression.subs({s: values[s.name] for s in expression.free_symbols}))


# ---- the two derivations agree


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", NETS)
def test_symbolic_is_numeric(name, bias):
    p = problem(*NETS[name], bias=bias)
    for bound in ALL:
        if not all(a.holds for a in bound.hypotheses(p)):
            assert isinstance(bound, Convolutional) and not any(layer.is_conv for layer in p.chain.layers)
            continue
        form = bound.symbolic_form(p)
        for margin in ("best", 0.7) if bias else ("best",):
            report = bound.report(p, 0.03, margin)
            value = form.evaluate(report.quantities)
            assert abs(float(value) / report.value - 1) < 1e-12
            assert abs(float(mpmath.log10(value)) - report.log10) < 1e-12
            assert report.status == "certificate" and report.n_needed > p.n
        assert form.latex() and {s.name for s in form.expression.free_symbols} <= {*form.meaning}


def test_symbolic_is_numeric_where_rows_decide():
    """One long row among twenty: the sum of lengths is hardly above the Frobenius norm."""
    last = np.random.default_rng(0).standard_normal((20, 6)) * np.geomspace(1, 1e-6, 20)[:, None]
    p = problem([*NETS["dense"][0][:-1], Linear(20, bias=False)], 4, **{"linear3.weight": last})
    for bound in (Frobenius(), OperatorFrobenius()):
        report = bound.report(p, 0.03)
        form = bound.symbolic_form(p)
        assert abs(float(form.evaluate(report.quantities)) / report.value - 1) < 1e-12
        (rows,) = [e for e in form.expression.args if "j_rows" in {s.name for s in e.free_symbols}]
        value = rows.subs({s: report.quantities[s.name] for s in rows.free_symbols})
        assert float(value) == pytest.approx(report.value, rel=1e-12)


@pytest.mark.parametrize("name", ["dense", "one score", "conv", "global"])
def test_grid_points_are_not_below_what_they_stand_for(name):
    p = problem(*NETS[name])
    for bound in ALL:
        if not all(a.holds for a in bound.hypotheses(p)):
            continue
        q = bound.report(p, 0.03).quantities
        form = bound.symbolic_form(p)
        letter = {"row-norm": "m_", "convolutional": "G_"}.get(bound.name, "F_")
        norms = [v for k, v in q.items() if k.startswith(letter)] + ([q["F_1"]] if letter == "G_" else [])
        products = {"j": math.prod(norms), "j_all": math.prod(norms)}
        if "t" in q:
            products["j_rows"] = math.prod(norms[:-1]) * q["t"]
        if "j" in q or q["j_rows"] == q["j_all"]:
            for key in products.keys() & q.keys():
                assert 1 <= 1.05 ** q[key] * q["gamma"] / products[key] < 1 + 1e-9
        for key in [k for k in q if k.startswith("i_")]:
            ratio = q["s" + key[1:]] / q["F" + key[1:]]
            assert ratio <= RATIO ** -q[key] * (1 + 1e-12) and ratio * RATIO > RATIO ** -q[key]
        assert {s.name for s in form.expression.free_symbols} <= q.keys()


def test_grids_of_ratios_reach_the_least_ratio():
    """s / F is at least rank^(-1/2); the grid is the shortest whose next point lies below."""
    p = problem([Linear(70, bias=False), RELU, Linear(9), RELU, Linear(30), RELU, Linear(3)], 40)
    assert grid_sizes(p) == [
        next(N for N in itertools.count(1) if RATIO**-N < r**-0.5) for r in (40 + 1, 9 + 1, 9 + 1)
    ]  # fmt: skip


# ---- published numbers


F, S, T, M, N = (4, 3, 2), (2, 1.5, 1.2), 5, (6, 5, 4), 10_000


def test_fixture_of_the_survey():
    assert group_norm_rademacher(F, 100, N, moment=1) == pytest.approx(0.96, rel=1e-14)
    assert frobenius_rademacher(F, 100, N, exponential=True) == pytest.approx(0.6396262134, abs=5e-11)
    assert operator_frobenius_rademacher(F, S, 100, N, first=True) == pytest.approx(0.6, rel=1e-14)
    rows, whole = frobenius_rademacher_multiclass(F, T, 10, 100, N, exponential=True)
    assert (rows, whole) == pytest.approx((2.229722, 2.160374), abs=5e-7)
    rows, whole = operator_frobenius_rademacher_multiclass(F, S, T, 10, 100, N, first=True)
    assert (rows, whole) == pytest.approx((1.821895, 1.906830), abs=5e-7)


def test_new_constants_on_the_fixture():
    # 24 XF/n = .24 times 2, 2, sqrt(2 + sqrt 2); rows 60 XF/n, theta of 40 alternatives
    assert group_norm_rademacher(F, 100, N) == pytest.approx(0.48, rel=1e-14)
    assert frobenius_rademacher(F, 100, N) == pytest.approx(0.48, rel=1e-14)
    assert operator_frobenius_rademacher(F, S, 100, N) == pytest.approx(0.24 * math.sqrt(2 + math.sqrt(2)), rel=1e-14)
    assert frobenius_rademacher_multiclass(F, T, 10, 100, N) == pytest.approx(
        (0.6 * math.sqrt(2 * math.log(80)), 0.48 * math.sqrt(10)), rel=1e-14
    )
    b = math.sqrt(2 + math.sqrt(2))
    assert operator_frobenius_rademacher_multiclass(F, S, T, 10, 100, N) == pytest.approx(
        (0.6 * (b + math.sqrt(2 * math.log(10)) / 4), 0.24 * math.sqrt(10) * b), rel=1e-14
    )
    assert row_norm_rademacher(M, 2000, 20, N) == pytest.approx(120 / N * math.sqrt(4000 * math.log(160)), rel=1e-14)


def test_row_norm_below_the_published_one():
    L, d, V = 3, 20, 2000
    published = 2 / N * math.prod(M) * math.sqrt((L + 1 + math.log(d)) * V)
    assert published == pytest.approx(2.838852511, abs=5e-10)
    assert row_norm_rademacher(M, V, d, N) < published


@given(st.floats(0, 60))
def test_cosh_factor_is_the_closed_form_of_a_minimum(c):
    def at(lam):
        return float(mpmath.acosh(1 + mpmath.exp(c) * mpmath.expm1(lam * lam / 2))) / lam

    best = minimize_scalar(at, bounds=(1e-3, 15), method="bounded").fun
    assert best * (1 - 1e-6) <= cosh_factor(c) <= 1.042 * best  # 1.0415 at c = 1.46
    assert cosh_factor(c) <= exponential_factor(c)


@given(st.lists(st.floats(0.01, 1), max_size=8))
@settings(max_examples=40)
def test_moment_recursion(ratios):
    """The expanded square, and its two limits."""
    b, rho = mpmath.sqrt(2), mpmath.mpf(1)
    for r in ratios:
        rho *= r
        b = mpmath.sqrt((b + rho) ** 2 - rho**2)
    assert peeled_moment(ratios) == pytest.approx(float(b), rel=1e-13)
    assert math.sqrt(2) <= peeled_moment(ratios) <= peeled_moment(ratios, first=True)


# ---- exact Rademacher complexities


ANGLES = np.linspace(0, 2 * np.pi, 721)[:-1]
UNIT = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
SAFE = 1 / np.cos(np.pi / 720)  # a maximum over the grid of directions is below the true one by at most this


def signs(n):
    return np.array(list(itertools.product([-1.0, 1.0], repeat=n)))


def test_linear_class_is_met_where_it_is_an_equality():
    x = np.array([[3.0, 4.0]])
    assert frobenius_rademacher([2.0], 5.0, 1) == 2.0 * 5.0  # one sample: E sup = F ||x||
    X = np.eye(6)  # orthogonal inputs: ||sum e x|| is constant
    exact = np.linalg.norm(signs(6) @ X, axis=1).mean() / 6
    assert exact == pytest.approx(group_norm_rademacher([1.0], np.linalg.norm(X), 6), rel=1e-14)
    p = explicit([np.array([[2.0, 0.0]])], x, np.array([1]))
    for bound in (GroupNorm(), Frobenius(), OperatorFrobenius()):
        assert rademacher(bound, p) == pytest.approx(2 * 2.0 * 5.0, rel=1e-13)


@pytest.mark.parametrize("seed", range(4))
def test_two_layers_exactly(seed):
    """sup over W = best row: E sup_w |sum e_i relu(w . x_i)| over all signs and a fine grid of directions."""
    X = np.random.default_rng(seed).standard_normal((9, 2)) + (seed % 2) * 2
    e, features = signs(9), np.maximum(UNIT @ X.T, 0)
    Z = np.abs(e @ features.T).max(axis=1)
    XF = np.linalg.norm(X)
    # the step behind each constant: moments and cosh moments at most double
    bottom = np.linalg.norm(e @ X, axis=1)
    assert (Z**2).mean() <= 2 * (bottom**2).mean() and (bottom**2).mean() == pytest.approx(XF**2)
    for lam in (0.1, 0.5, 2.0):
        middle = (np.cosh(lam * bottom / XF) - 1).mean()
        assert (np.cosh(lam * Z / XF) - 1).mean() <= 2 * middle
        assert middle <= math.expm1(lam**2 / 2)
    exact = Z.mean() / 9
    for value in (
        group_norm_rademacher([1, 1], XF, 9), frobenius_rademacher([1, 1], XF, 9),
        operator_frobenius_rademacher([1, 1], [1, 1], XF, 9),
    ):  # fmt: skip
        assert exact * SAFE <= value <= 2 * exact
    # and with row sums: w in the l1 ball, whose corners are not enough for relu
    l1 = UNIT / np.abs(UNIT).sum(axis=1, keepdims=True)
    exact = np.abs(e @ np.maximum(l1 @ X.T, 0).T).max(axis=1).mean() / 9
    assert exact <= row_norm_rademacher([1, 1], float((X**2).sum(axis=0).max()), 2, 9)


@pytest.mark.parametrize("K", [2, 3])
def test_two_layers_of_several_scores_exactly(K):
    X = np.random.default_rng(K).standard_normal((4, 2))
    features = np.maximum(UNIT @ X.T, 0)
    e = signs(4 * K).reshape(-1, K, 4)
    inner = e @ features.T  # sign, class, direction
    rows = np.abs(inner).max(axis=(1, 2)).mean() / 4
    whole = np.sqrt((inner**2).sum(axis=1)).max(axis=1).mean() / 4
    XF = float(np.linalg.norm(X))
    for bounds in (
        frobenius_rademacher_multiclass([1, 1], 1, K, XF, 4),
        operator_frobenius_rademacher_multiclass([1, 1], [1, 1], 1, K, XF, 4),
    ):
        assert rows <= bounds[0] and whole <= bounds[1]
        assert whole > bounds[1] / 2
    assert whole <= group_norm_rademacher([1, 1], XF, 4, K=K)


def test_three_layers_with_an_operator_norm():
    """W_1 a rotation or reflection, s/F = 1/sqrt 2: every one of them, and all rows above."""
    X = np.random.default_rng(3).standard_normal((6, 2))
    e, best = signs(6), np.zeros(64)
    for angle in np.linspace(0, 2 * np.pi, 60):
        for flip in (1.0, -1.0):
            W = np.array([[np.cos(angle), -np.sin(angle)], [flip * np.sin(angle), flip * np.cos(angle)]])
            features = np.maximum(UNIT @ np.maximum(W @ X.T, 0), 0)
            best = np.maximum(best, np.abs(e @ features.T).max(axis=1))
    XF, F1 = float(np.linalg.norm(X)), math.sqrt(2)
    assert best.mean() / 6 <= operator_frobenius_rademacher([F1, 1, 1], [1, 1, 1], XF, 6)
    assert operator_frobenius_rademacher([F1, 1, 1], [1, 1, 1], XF, 6) == pytest.approx(F1 * 2 * XF / 6)


# ---- one number by two routes


@pytest.mark.parametrize("name", ["dense", "one score", "two classes"])
def test_biases_are_a_network_without_them(name):
    p = problem([op if isinstance(op, Linear) else RELU for op in NETS[name][0]], NETS[name][1])
    layers = p.chain.layers
    ones = np.column_stack([p.X, np.ones(p.n)])
    for bound in (GroupNorm(), Frobenius(), OperatorFrobenius(), RowNorm()):
        constants = [1.0] * len(layers)
        if isinstance(bound, RowNorm):
            constants = [1.0, *np.cumprod(row_norms(p)[:-1])]
        matrices = []
        for l, layer in enumerate(layers):
            W = np.column_stack([layer.weight, layer.bias / constants[l]])
            if l < len(layers) - 1:
                W = np.vstack([W, [0.0] * layer.weight.shape[1] + [constants[l + 1] / constants[l]]])
            matrices.append(W)
        q = explicit(matrices, ones, p.y)
        assert np.allclose(q.outputs[:, -1] - q.outputs[:, 0] * (q.n_scores > 1),
                           p.outputs[:, -1] - p.outputs[:, 0] * (p.n_scores > 1))  # fmt: skip
        assert bound.report(p, 0.1).value == pytest.approx(bound.report(q, 0.1).value, rel=1e-9)


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect"])
def test_convolutions_are_their_matrices(mode):
    ops = [Conv(3, 3, padding=1, padding_mode=mode, stride=2, bias=False), RELU, Flatten(), Linear(3, bias=False)]
    p = problem(ops, (2, 6, 6))
    first, last = p.chain.layers
    A = toeplitz_matrix(first.weight, (6, 6), padding=1, padding_mode=mode, stride=2).toarray()
    q = explicit([A, last.weight], p.X.reshape(p.n, -1), p.y)
    assert np.allclose(p.outputs, q.outputs)
    for bound in (GroupNorm(), Frobenius()):
        assert bound.report(p, 0.1).value == pytest.approx(bound.report(q, 0.1).value, rel=1e-9)
    assert RowNorm().report(p, 0.1).value >= RowNorm().report(q, 0.1).value * (1 - 1e-9)
    if mode == "zeros":
        assert row_norms(p) == pytest.approx(row_norms(q), rel=1e-9)
    true = np.linalg.norm(A, 2)
    assert true * (1 - 1e-12) <= map_spectral(p, 0) <= 1.02 * true


def test_operator_norm_of_a_convolution_with_its_bias():
    p = problem([Conv(3, 3, padding=1), RELU, Conv(2, 3), RELU, Flatten(), Linear(1)], (2, 5))
    first = p.chain.layers[0]
    T = toeplitz_matrix(first.weight, 5, padding=1).toarray()
    bias = np.repeat(first.bias, 5)
    true = np.linalg.norm(np.block([[T, bias[:, None]], [np.zeros(10), 1.0]]), 2)
    blocks = np.linalg.norm([[np.linalg.norm(T, 2), np.linalg.norm(bias)], [0, 1]], 2)
    assert true <= blocks <= map_spectral(p, 0) <= 1.02 * blocks


@pytest.mark.parametrize("pool", [AvgPool(2), AvgPool(3, 2, 1, count_include_pad=False), GlobalAvgPool()])
def test_average_pools_belong_to_the_next_map(pool):
    flat = [pool] if isinstance(pool, GlobalAvgPool) else [pool, Flatten()]
    p = problem([Conv(2, 1, bias=False), RELU, *flat, Linear(3, bias=False)], (1, 6, 6))
    pooled = Architecture.sequential(flat, input_shape=(2, 6, 6))
    P = outputs(pooled, {}, np.eye(72).reshape(72, 2, 6, 6)).T
    assert np.linalg.norm(P, 2) * (1 - 1e-12) <= pool_norm(p, 1) <= 1.3 * np.linalg.norm(P, 2)
    A = toeplitz_matrix(p.chain.layers[0].weight, (6, 6)).toarray()
    q = explicit([A, p.chain.layers[1].weight @ P], p.X.reshape(p.n, -1), p.y)
    assert np.allclose(p.outputs, q.outputs)
    for bound in DENSE:
        assert bound.report(p, 0.1).value >= bound.report(q, 0.1).value * (1 - 1e-9)


# ---- invariances


@given(st.integers(0, 10**6), st.floats(-3, 3), st.floats(-3, 3))
@settings(max_examples=12, deadline=None)
def test_rescaling_layers_changes_nothing(seed, a, b):
    ops = [Linear(5, bias=False), RELU, Linear(4, bias=False), RELU, Linear(3, bias=False)]
    p = problem(ops, 3, seed=seed, n=20)
    w = p.weights
    scaled = {"linear1.weight": w["linear1.weight"] * 10**a, "linear2.weight": w["linear2.weight"] * 10**b,
              "linear3.weight": w["linear3.weight"] * 10 ** (-a - b)}  # fmt: skip
    louder = {**w, "linear3.weight": 10**a * w["linear3.weight"]}
    order = np.random.default_rng(seed).permutation(5)
    permuted = {**w, "linear1.weight": w["linear1.weight"][order], "linear2.weight": w["linear2.weight"][:, order]}
    for bound in DENSE:
        value = bound.compute(p, 0.1, None).log10
        for other in (scaled, louder, permuted):
            q = Problem(p.architecture, other, (p.X, p.y))
            assert bound.compute(q, 0.1, None).log10 == pytest.approx(value, abs=1e-9)


def test_a_common_row_changes_nothing():
    p = problem(*NETS["dense"])
    W, b = p.weights["linear3.weight"], p.weights["linear3.bias"]
    q = problem(*NETS["dense"], **{"linear3.weight": W + np.arange(6.0), "linear3.bias": b + 7})
    assert GroupNorm().report(p, 0.1).value == pytest.approx(GroupNorm().report(q, 0.1).value, rel=1e-9)
    assert row_norms(q) == pytest.approx(row_norms(p), rel=0.5)
    assert np.abs(W + np.arange(6.0)).sum() > 2 * np.abs(W).sum()


# ---- edges


@pytest.mark.parametrize("name", NETS)
def test_zero_networks(name):
    p = problem(*NETS[name])
    zero = {k: np.ones_like(v) * k.endswith("running_var") for k, v in p.weights.items()}
    dead = {k: v * (k != next(iter(p.weights))) for k, v in p.weights.items()}
    zero, dead = (Problem(p.architecture, w, (p.X, p.y)) for w in (zero, dead))
    for bound in ALL:
        if all(a.holds for a in bound.hypotheses(p)):
            report = bound.report(zero, 0.1)
            assert report.terms["empirical"] == 1 and report.terms["complexity"] == 0
            assert math.isfinite(report.value)
            report = bound.report(dead, 0.1)
            assert math.isfinite(report.value) and report.terms["complexity"] > 0


def test_products_beyond_float64():
    ops = [Linear(3, bias=False), RELU] * 5 + [Linear(3, bias=False)]
    p = problem(ops, 3)
    huge = {k: v * 1e100 for k, v in p.weights.items()}
    q = Problem(p.architecture, huge, Sample(X=p.X, y=p.y, outputs=p.outputs))
    for bound in DENSE:
        report = bound.report(q, 0.1)
        assert report.value == math.inf and 590 < report.log10 < 620
        exact = mpmath.log10(bound.symbolic_form(q).evaluate(report.quantities))
        assert abs(float(exact) / report.log10 - 1) < 1e-12


@pytest.mark.parametrize("norms", [row_norms, kernel_norms])
@pytest.mark.parametrize("size", [1e-5, 1e5])
def test_the_constant_of_the_biases_neither_vanishes_nor_overflows(norms, size):
    """Scores (0, 0, 2) whatever the input, after layers whose norms multiply to 1e-400 or 1e400."""
    net = Architecture.sequential([Conv(1, 1), RELU] * 80 + [Flatten(), Linear(3)], input_shape=(1, 2))
    weights = {key: np.full(v.shape, size) * key.endswith("weight") for key, v in net.random_weights(rng=0).items()}
    weights |= {"linear1.weight": np.zeros((3, 2)), "linear1.bias": np.array([0.0, 0.0, 2.0])}
    p = Problem(net, weights, (np.ones((4, 1, 2)), np.arange(4) % 3))
    log_norm = sum(map(math.log, norms(p)))
    assert log_norm >= math.log(2) - 1e-12 and (size > 1 or log_norm < math.log(2) + 1e-9)


def refused(bound, ops, shape, match):
    with pytest.raises(PreconditionError, match=match):
        bound.symbolic(Architecture.sequential(ops, input_shape=shape))


@pytest.mark.parametrize("bound", ALL, ids=lambda b: b.name)
def test_refusals(bound):
    conv = [Conv(2, 3), RELU]
    refused(bound, [Conv(2, 3), Activation("tanh"), Flatten(), Linear(2)], (1, 5), "homogeneous: tanh")
    mine = Activation("mine", lipschitz=1.0, degree=1)
    refused(bound, [Conv(2, 3), mine, Flatten(), Linear(2)], (1, 5), "map 1 to 1")
    builder = GraphBuilder(4)
    a = builder.add(Linear(4))
    builder.add(Linear(2), builder.add(Add(), builder.input, a))
    with pytest.raises(PreconditionError, match="one weight layer after the other"):
        bound.symbolic(builder.build())
    if bound.name == "convolutional":
        refused(bound, [Linear(3), RELU, Linear(2)], 4, "a convolution")
        refused(bound, [*conv, AvgPool(2), MaxPool(2), Flatten(), Linear(2)], (1, 12), "averages")
    else:
        refused(bound, [*conv, MaxPool(2), Flatten(), Linear(2)], (1, 5), "no max-pooling")
    if bound.name not in ("convolutional", "row-norm"):
        refused(bound, [Conv(2, 3), AvgPool(2), RELU, Flatten(), Linear(2)], (1, 6), "after the activation")


def test_bad_input_is_one_sentence():
    p = problem(*NETS["dense"])
    for change, match in ((dict(delta=1.0), "delta"), (dict(margin=-1.0), "margin")):
        with pytest.raises(InvalidInput, match=match):
            Frobenius().evaluate(p.architecture, p.weights, (p.X, p.y), **change)
