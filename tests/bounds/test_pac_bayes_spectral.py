import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import InvalidInput, PreconditionError
from theory.architecture import Activation, Architecture, Conv, Flatten, Linear, outputs
from theory.bounds._frame import index_cost, margins
from theory.bounds._homogenised import homogenised
from theory.bounds._kl import kl_inverse
from theory.bounds._problem import Problem
from theory.bounds.pac_bayes_spectral import PacBayesSpectral, deviation_index, divergence, sized

BALL = 3.0


def setting(widths=(6, 5), K=3, bias=False, n=300, d=4, scale=1.0, act="relu"):
    ops = [op for h in widths for op in (Linear(h, bias=bias), Activation(act))]
    net = Architecture.sequential([*ops, Linear(K, bias=bias)], input_shape=d)
    rng = np.random.default_rng(3)
    weights = {k: v * scale + (0.1 if k.endswith("bias") else 0) for k, v in net.random_weights(rng=4).items()}
    X = rng.standard_normal((n, d))
    X *= BALL * rng.random((n, 1)) / np.linalg.norm(X, axis=1, keepdims=True)
    scores = outputs(net, weights, X)
    y = (scores[:, 0] > 0).astype(int) if K == 1 else scores.argmax(axis=1)
    return net, weights, X, y


EASY = {"K": 1, "widths": (1,), "d": 1, "n": 40000}
CASES = [
    {"K": 1}, {"K": 2}, {"K": 4}, {"K": 3, "bias": True}, {"widths": (), "K": 3},
    {"widths": (5, 5, 5), "K": 2, "bias": True},
    {"scale": 0.01}, {"scale": 100.0}, {"act": "leaky_relu", "K": 2},
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("n", [30, 300])
def test_symbolic_form_is_the_number(case, n):
    net, weights, X, y = setting(**case, n=n)
    bound = PacBayesSpectral(radius=BALL)
    for margin in ("best", 0.3):
        report = bound.evaluate(net, weights, (X, y), margin=margin)
        value = float(bound.symbolic_form(Problem(net, weights, (X, y))).evaluate(report.quantities))
        assert value == pytest.approx(report.value, rel=1e-12)
        assert sum(report.terms.values()) == report.value <= 1 + 1e-12


def test_a_large_sample_gives_a_number_below_one():
    net, weights, X, y = setting(**EASY)
    report = PacBayesSpectral(radius=BALL).evaluate(net, weights, (X, y))
    symbolic = PacBayesSpectral(radius=BALL).symbolic_form(Problem(net, weights, (X, y)))
    assert report.value < 1
    assert float(symbolic.evaluate(report.quantities)) == pytest.approx(report.value, rel=1e-12)
    fixed = PacBayesSpectral(radius=BALL).evaluate(net, weights, (X, y), margin=report.margin)
    assert fixed.value == pytest.approx(report.value, rel=1e-9)


@pytest.mark.parametrize("K", [1, 2, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_perturbations_of_the_proof_move_no_margin_by_half(K, bias):
    # the worst case is met by scalars: layers 1 x 1 and x = B reach exactly gamma / 2 with a single score
    net, weights, X, y = setting(K=K, bias=bias, n=100)
    problem = Problem(net, weights, (X, y))
    chain, B = problem.chain, BALL if not bias else math.hypot(BALL, 1)
    matrices = homogenised(chain)
    inputs = np.column_stack([X, np.ones(len(X))]) if bias else X
    S = [np.linalg.norm(W, 2) for W in matrices]
    gamma, L, c = 0.7, len(matrices), 1.0 if chain.scalar else math.sqrt(2)
    beta = (math.prod(S) / gamma) ** (1 / L)
    u = (1 + 1 / (2 * c * B * beta**L)) ** (1 / L) - 1
    balanced = [W * beta / s for W, s in zip(matrices, S, strict=True)]

    def run(layers):
        z = inputs
        for W in layers[:-1]:
            z = np.maximum(z @ W.T, 0)
        return margins(z @ layers[-1].T, y)

    assert np.allclose(np.sort(run(balanced)) * gamma, problem.margins.values)
    rng, worst = np.random.default_rng(0), 0.0
    for trial in range(60):
        noise = [rng.standard_normal(W.shape) for W in balanced]
        if trial % 2:  # along the layers themselves: larger moves
            noise = [np.sign(rng.standard_normal()) * W for W in balanced]
        moved = [W + beta * u * N / np.linalg.norm(N, 2) for W, N in zip(balanced, noise, strict=True)]
        worst = max(worst, np.abs(run(moved) - run(balanced)).max())
    assert 0 < worst <= 0.5


def test_half_a_margin_is_attained_by_scalars():
    B, P, L = 2.0, 5.0, 3
    u = (1 + 1 / (2 * B * P)) ** (1 / L) - 1
    beta = P ** (1 / L)
    assert B * ((beta * (1 + u)) ** L - beta**L) == pytest.approx(0.5, rel=1e-12)
    tau = sized([(1, 1)] * L)
    # unit ratios: KL is sum W_l^2 / (2 sigma_l^2) with sigma_l = beta u / tau_l
    expected = sum(beta**2 / (2 * (beta * u / t) ** 2) for t in tau)
    assert divergence(math.log(P), [1.0] * L, tau, B, True) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shapes", [[(6, 4), (3, 6)], [(1, 1)], [(2, 9), (9, 9), (1, 9)]])
def test_gaussian_matrices_seldom_exceed_tau(shapes):
    rng, tau, trials = np.random.default_rng(1), sized(shapes), 4000
    exceed = np.zeros(trials, bool)
    for shape, t in zip(shapes, tau, strict=True):
        exceed |= np.linalg.norm(rng.standard_normal((trials, *shape)), 2, axis=(1, 2)) > t
    assert exceed.mean() <= 0.5
    # the median of |N(0, 1)| on a single entry: tau without its root of ln 2L would be exceeded half of the time
    assert exceed.mean() < 0.2


def test_far_below_the_printed_constant():
    # 42^2 e^2 / 2 L^2 B^2 h ln(4 L h) prod s^2 sum F^2/s^2 / gamma^2, neyshabur2018pac in the reference's explicit form
    h, L, B, P, ratios = 50, 3, 1.0, 20.0, [3.0, 3.0, 2.0]
    printed = 42**2 * math.e**2 / 2 * L**2 * B**2 * h * math.log(4 * L * h) * P**2 * sum(r * r for r in ratios)
    ours = divergence(math.log(P), ratios, sized([(h, h)] * L), B, False)
    single = divergence(math.log(P), ratios, sized([(h, h)] * L), math.sqrt(2) * B, True)
    assert ours == pytest.approx(single, rel=1e-12)
    assert 1900 < printed / ours < 2100
    asymptotic = 4 * L**2 * B**2 * P**2 * sum((t * r) ** 2 for t, r in zip(sized([(h, h)] * L), ratios, strict=True))
    assert ours == pytest.approx(asymptotic, rel=0.02)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.1, 10), st.floats(0.1, 10))
def test_rescaling_layers_changes_nothing(a, b):
    net, weights, X, y = setting(**EASY)
    bound = PacBayesSpectral(radius=BALL)
    first = bound.evaluate(net, weights, (X, y), margin=0.4)
    scaled = {"linear1.weight": weights["linear1.weight"] * a, "linear2.weight": weights["linear2.weight"] * b}
    again = bound.evaluate(net, scaled, (X, y), margin=0.4 * a * b)
    assert first.value < 1 and again.value == pytest.approx(first.value, rel=1e-9)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("margin", ["best", 0.3])
def test_symbolic_form_around_a_reference(case, margin):
    net, weights, X, y = setting(**case)
    start = {k: v * 0.999 for k, v in weights.items()}
    problem = Problem(net, weights, (X, y), start)
    report = PacBayesSpectral(radius=BALL).report(problem, 0.05, margin)
    symbolic = PacBayesSpectral(radius=BALL).symbolic_form(problem)
    assert float(symbolic.evaluate(report.quantities)) == pytest.approx(report.value, rel=1e-12)
    assert sum(report.terms.values()) == pytest.approx(report.value, rel=1e-12)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_frozen_network_costs_its_grids_only(case):
    net, weights, X, y = setting(**case)
    report = PacBayesSpectral(radius=BALL).evaluate(net, weights, (X, y), 0.05, 0.2, reference=weights)
    cost = math.log(4) + math.log(2 * math.sqrt(len(X)) / 0.05) + index_cost(0) + index_cost(report.quantities["j"])
    share = Problem(net, weights, (X, y)).margins.share(0.2)
    assert report.value == pytest.approx(float(kl_inverse(share, cost / len(X))), rel=1e-12)
    assert report.terms["complexity"] < 1e-12


@pytest.mark.parametrize(("K", "c"), [(1, 1.0), (2, 1.0), (4, math.sqrt(2))])
def test_noise_around_a_reference_is_the_largest_of_its_grid(K, c):
    net, weights, X, y = setting(K=K)
    report = PacBayesSpectral(radius=BALL).evaluate(net, weights, (X, y), 0.05, 0.2, reference=weights)
    S = [np.linalg.norm(W, 2) for W in homogenised(Problem(net, weights, (X, y)).chain)]
    moved = [BALL * (math.prod(s + report.quantities["sigma"] * a for s in S) - math.prod(S)) for a in (1, 1.05)]
    assert moved[0] <= 0.2 / (2 * c) < moved[1]


@pytest.mark.parametrize("s", [[2.0, 3.0], [0.5], [1e-3, 7.0, 40.0], [0.0, 1.0], [1e90, 1e90]])
@pytest.mark.parametrize("move", [1e-3, 1.0, 50.0])
def test_deviations_are_the_largest_of_their_grid(s, move):
    j = deviation_index(s, 1.7, math.log(move))

    def moved(sigma):
        with mpmath.workdps(300):
            raised = [mpmath.mpf(max(v, 1e-30)) for v in s]
            return 1.7 * (mpmath.fprod(v + sigma for v in raised) - mpmath.fprod(raised))

    base = mpmath.mpf(21) / 20
    assert moved(base ** -j) <= move < moved(base ** -(j - 1))


def test_noise_around_the_trained_layers_moves_no_margin_by_half():
    net, weights, X, y = setting(K=4, bias=True, n=100)
    problem = Problem(net, weights, (X, y))
    layers, gamma = homogenised(problem.chain), 0.5
    S = [np.linalg.norm(W, 2) for W in layers]
    sigma = 1.05 ** -deviation_index(S, math.hypot(BALL, 1), math.log(gamma / (2 * math.sqrt(2))))
    rng, inputs, worst = np.random.default_rng(0), np.column_stack([X, np.ones(len(X))]), 0.0

    def run(matrices):
        z = inputs
        for W in matrices[:-1]:
            z = np.maximum(z @ W.T, 0)
        return margins(z @ matrices[-1].T, y)

    for trial in range(40):
        noise = [rng.standard_normal(W.shape) if trial % 2 else W for W in layers]
        moved = [W + sigma * N / np.linalg.norm(N, 2) for W, N in zip(layers, noise, strict=True)]
        worst = max(worst, np.abs(run(moved) - run(layers)).max())
    assert 0 < worst <= gamma / 2


def test_a_common_shift_of_the_last_rows_changes_nothing():
    net, weights, X, y = setting(K=4)
    shifted = {**weights, "linear3.weight": weights["linear3.weight"] + np.linspace(-1, 1, 5)}
    one, two = (homogenised(Problem(net, w, (X, y)).chain)[-1] for w in (weights, shifted))
    assert np.allclose(one, two)


def test_zero_networks_and_large_weights():
    net, weights, X, y = setting(K=3)
    zero = {k: v * 0 for k, v in weights.items()}
    bound = PacBayesSpectral(radius=BALL)
    report = bound.evaluate(net, zero, (X, y))
    assert report.value == 1
    assert float(bound.symbolic_form(Problem(net, zero, (X, y))).evaluate(report.quantities)) == 1
    assert bound.evaluate(net, {k: v * 1e50 for k, v in weights.items()}, (X, y)).value <= 1 + 1e-12


def test_refusals():
    net, weights, X, y = setting()
    with pytest.raises(PreconditionError, match=r"none is given: PacBayesSpectral\(radius"):
        PacBayesSpectral().evaluate(net, weights, (X, y))
    with pytest.raises(PreconditionError, match="an input has norm"):
        PacBayesSpectral(radius=BALL / 2).evaluate(net, weights, (X, y))
    with pytest.raises(InvalidInput, match="radius must be positive"):
        PacBayesSpectral(radius=-1.0)
    conv = Architecture.sequential([Conv(2, 3), Activation("relu"), Flatten(), Linear(2)], input_shape=(1, 5, 5))
    with pytest.raises(PreconditionError, match="needs dense layers"):
        PacBayesSpectral(radius=1.0).symbolic(conv)
    with pytest.raises(PreconditionError, match="gelu is not"):
        PacBayesSpectral(radius=1.0).symbolic(
            Architecture.sequential([Linear(2), Activation("gelu"), Linear(2)], input_shape=2)
        )
    assert "kl" in PacBayesSpectral(radius=1.0).symbolic(net).latex()
