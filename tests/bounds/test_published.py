import json
import math
from pathlib import Path

import numpy as np
import pytest

from theory import PreconditionError
from theory.architecture import Activation, Architecture, Conv, Flatten, Linear, MaxPool, outputs
from theory.bounds._frame import Margins
from theory.bounds._problem import Problem
from theory.bounds.published import (
    BartlettFixed,
    BartlettPostHoc,
    Galanti,
    GolowichFrobenius,
    GolowichRows,
    GoukFrobenius,
    GoukRows,
    GrafNorms,
    GrafParameters,
    Ledent,
    LinZhang,
    Xu,
    bartlett,
    galanti,
    golowich,
    gouk,
    graf,
    ledent,
    lin_zhang,
)  # fmt: skip
from theory.bounds.published._form import default_margin, replaced_logs
from theory.norms import toeplitz_matrix

MATRIX = [BartlettFixed(), BartlettPostHoc(), GolowichFrobenius(), GolowichRows()]
KERNEL = [Galanti(), GrafNorms(), GrafParameters(), Ledent(), LinZhang(), GoukRows(), GoukFrobenius()]
n, gamma = 10_000, 1.0
S, T = (2, 1.5, 1.2), (20, 12, 5)


def dense(K=3, bias=False, depth=2):
    ops = [op for _ in range(depth) for op in (Linear(5, bias=bias), Activation("relu"))]
    return Architecture.sequential([*ops, Linear(K, bias=bias)], input_shape=4)


def conv(K=3, mode="zeros"):
    first = Conv(3, 3, padding=1, padding_mode=mode, bias=False)
    second = Conv(4, 3, stride=2, bias=False)
    body = [first, Activation("relu"), second, Activation("relu"), Flatten()]
    return Architecture.sequential([*body, Linear(K, bias=False)], input_shape=(2, 6, 6))


NETS = {
    "dense": dense(), "binary": dense(1), "two classes": dense(2), "linear": dense(3, depth=0), "conv": conv(),
    "conv, two classes": conv(2), "circular": conv(3, "circular"),
    "1-D": Architecture.sequential([Conv(2, 2, bias=False), Activation("leaky_relu"), Flatten(), Linear(3, bias=False)],
                                   input_shape=(1, 7)),
}  # fmt: skip


def problem(net, around=False, size=40):
    weights = {k: v + (0.1 if k.endswith("bias") else 0) for k, v in net.random_weights(rng=1).items()}
    X = np.random.default_rng(2).standard_normal((size, *net.input_shape))
    scores = outputs(net, weights, X)
    y = (scores[:, 0] > 0).astype(int) if scores.shape[1] == 1 else scores.argmax(axis=1)
    return Problem(net, weights, (X, y), net.random_weights(rng=3) if around else None)


CASES = {name: problem(net) for name, net in NETS.items()}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("bound", MATRIX + KERNEL, ids=lambda b: b.name)
def test_symbolic_form_is_the_number(name, bound):
    case = CASES[name]
    found = bound.compute(case, 0.05, None)
    value = sum(found.terms.values())
    assert float(bound.symbolic_form(case).evaluate(found.quantities)) == pytest.approx(value, rel=1e-12)
    assert found.log10 == pytest.approx(math.log10(value), rel=1e-12)
    assert bound.status == "published form" and "no union" in found.notes[1]


@pytest.mark.parametrize("bound", MATRIX + KERNEL, ids=lambda b: b.name)
def test_around_a_reference(bound):
    case = problem(NETS["conv"], True)
    report = bound.report(case, 0.05, 0.3)
    symbolic = bound.symbolic_form(case)
    assert float(symbolic.evaluate(report.quantities)) == pytest.approx(report.value, rel=1e-12)
    inside = symbolic.complexity.subs({s: report.quantities[s.name] for s in symbolic.complexity.free_symbols})
    assert float(inside) == pytest.approx(report.terms["complexity"], rel=1e-9)


@pytest.mark.parametrize("bound", MATRIX, ids=lambda b: b.name)
def test_biases_of_dense_networks_are_a_unit_of_value_one(bound):
    case = problem(dense(3, bias=True))
    report = bound.report(case, 0.05, 0.3)
    assert float(bound.symbolic_form(case).evaluate(report.quantities)) == pytest.approx(report.value, rel=1e-12)
    if isinstance(bound, GolowichFrobenius):
        W, b = case.chain.layers[0].weight, case.chain.layers[0].bias
        assert report.quantities["F_1"] == pytest.approx(math.sqrt((W**2).sum() + (b**2).sum() + 1), rel=1e-12)
        assert report.quantities["x_rms"] == pytest.approx(math.sqrt((case.X**2).sum() / 40 + 1), rel=1e-12)


def test_numbers_of_the_reference():
    ref = json.loads((Path(__file__).parents[1] / "reference" / "published_norm_bounds.json").read_text())
    size = {"x_rms": ref["x_rms"], "n": ref["n"]}
    frobenius = math.exp(golowich.frobenius_complexity(ref["F"], **size))
    assert frobenius == pytest.approx(ref["golowich_frobenius"], abs=5e-11)
    rows = golowich.row_complexity(ref["m"], column_rms=math.sqrt(ref["V"] / ref["n"]), d=ref["d"], n=ref["n"])
    assert math.exp(rows) == pytest.approx(ref["golowich_rows"], abs=5e-10)
    assert bartlett.spectral_complexity(ref["s"], ref["t"]) == pytest.approx(ref["spectral_complexity"], abs=5e-8)
    fixed = math.exp(bartlett.fixed_complexity(ref["s"], ref["t"], W=ref["W"], gamma=ref["gamma"], **size))
    confidence, _ = BartlettFixed().confidence({}, ref["n"], ref["delta"], ref["gamma"])
    assert fixed + confidence == pytest.approx(ref["bartlett_a8_total"], abs=5e-7)


def test_post_hoc_spectral_bound_term_by_term():
    L, XF = 3, 100.0
    spread = sum(((1 / L + T[i]) * math.prod(1 / L + S[j] for j in range(3) if j != i)) ** (2 / 3) for i in range(3))
    by_hand = 8 / n + 144 * math.log(n) * math.log(200) / n * (1 + XF) * spread**1.5
    found = bartlett.post_hoc_complexity(S, T, x_rms=1, W=100, n=n, gamma=gamma)
    assert math.exp(found) == pytest.approx(by_hand, rel=1e-12)
    cost = math.log(100) + math.log(2 * n) + 2 * math.log(102)
    cost += 2 * sum(math.log(2 + 3 * v) for v in (*S, *T))
    norms = {**{f"s_{i + 1}": v for i, v in enumerate(S)}, **{f"t_{i + 1}": v for i, v in enumerate(T)}, "x_rms": 1.0}
    total = sum(BartlettPostHoc().confidence(norms, n, 0.01, gamma))
    assert total == pytest.approx(math.sqrt(4.5 * cost / n), rel=1e-12)


def test_convolutions_enter_by_their_toeplitz_matrices():
    case = problem(conv())
    q = BartlettFixed().report(case, 0.05, 0.3).quantities
    A = toeplitz_matrix(case.chain.layers[1].weight, (6, 6), stride=2).toarray()
    assert np.linalg.norm(A, 2) * (1 - 1e-12) <= q["s_2"] <= 1.2 * np.linalg.norm(A, 2)
    assert q["t_2"] == pytest.approx(np.linalg.norm(A, axis=1).sum(), rel=1e-9)
    assert q["W"] == 3 * 36
    assert GolowichFrobenius().norms(case)["F_2"] == pytest.approx(np.linalg.norm(A), rel=1e-9)
    assert GolowichRows().norms(case)["m_2"] == pytest.approx(np.abs(A).sum(axis=1).max(), rel=1e-9)


def test_norms_of_dense_layers_and_kernels():
    case = problem(dense(3), True)
    moved = case.chain.layers[0].weight - case.chain.layers[0].reference
    q = BartlettFixed().norms(case)
    assert q["s_1"] == pytest.approx(np.linalg.norm(case.chain.layers[0].weight, 2), rel=1e-10)
    assert q["t_1"] == pytest.approx(np.linalg.norm(moved, axis=1).sum(), rel=1e-12)
    assert GoukRows().norms(case)["D_1"] == pytest.approx(np.abs(moved).sum(axis=1).max(), rel=1e-12)
    case = problem(conv(), True)
    moved = case.chain.layers[1].weight - case.chain.layers[1].reference
    assert GrafNorms().norms(case)["b_2"] == pytest.approx(np.linalg.norm(moved, axis=1).sum(), rel=1e-12)
    filters = np.linalg.norm(moved.reshape(len(moved), -1), axis=1).sum()
    assert Ledent().norms(case)["a_2"] == pytest.approx(filters, rel=1e-12)
    assert GoukFrobenius().norms(case)["D_2"] == pytest.approx(np.linalg.norm(moved), rel=1e-12)


def test_galanti_by_hand():
    case = problem(conv(4))
    report = Galanti().report(case, 0.05, 0.3)
    rho = math.prod(np.linalg.norm(layer.weight) for layer in case.chain.layers)
    assert galanti.degrees(case) == [9, 9, 4]
    nodes = (case.X**2).sum(axis=1).sum(axis=0).max()
    depth = 1 + math.sqrt(2 * (3 * math.log(2) + math.log(9 * 9 * 4) + math.log(4)))
    by_hand = 2**1.5 * (rho + 1) / (0.3 * 40) * depth * math.sqrt(9 * 9 * 4 * nodes)
    assert report.terms["complexity"] == pytest.approx(by_hand, rel=1e-12)
    confidence = 3 * math.sqrt(math.log(2 * (rho + 2) ** 2 / 0.05) / 80)
    assert report.terms["confidence"] + report.terms["union"] == pytest.approx(confidence, rel=1e-12)
    assert report.terms["empirical"] == case.margins.share(0.3)


@pytest.mark.parametrize("x", [1, 2, 3, 10, 100, 10_000])
def test_psi_is_above_the_entropy_integral(x):
    # integral over e in (0, 1) of ln(1 + ceil(x / e^2)), by its jumps at e = sqrt(x / k), less ln(1 + x)
    k = np.arange(x, 4_000_000)
    tail = (np.sqrt(x / k) * np.log1p(1 / (k + 1))).sum()
    rest = 2 * math.sqrt(x / k[-1])  # the terms left out add less than this
    assert tail + rest <= graf.psi(x) < 2.7
    assert graf.psi(1) == pytest.approx(1.8933, abs=5e-4)


def test_graf_by_hand():
    s, b = (2.0, 1.5), (3.0, 4.0)
    C = [4 / 0.5 * 0.7 * 3 * 1.5, 4 / 0.5 * 0.7 * 4 * 2]
    log_C = graf.capacities(s, b, x_rms=0.7, gamma=0.5)
    assert np.exp(log_C) == pytest.approx(C, rel=1e-12)
    harmonic = sum(1 / k for k in range(1, 50))
    total = sum(math.ceil(c ** (2 / 3)) for c in C) ** 1.5
    by_hand = 4 / 50 + 12 * harmonic / math.sqrt(50) * math.sqrt(math.log(60)) * total
    assert math.exp(graf.norm_complexity(log_C, W=30, n=50)) == pytest.approx(by_hand, rel=1e-12)
    x = [math.ceil(4 * c * c) for c in C]
    total = 2 * 10 * (math.log(1 + x[0]) + graf.psi(x[0])) + 2 * 30 * (math.log(1 + x[1]) + graf.psi(x[1]))
    found = graf.parameter_complexity(log_C, counts=(10, 30), n=50)
    assert math.exp(found) == pytest.approx(12 / math.sqrt(50) * math.sqrt(total), rel=1e-12)


def test_ledent_by_hand():
    a, s, B, O, m = (1.0, 2.0, 3.0), (9.0, 1.5, 0.5), (2.0, 3.0, 4.0), (16, 4, 1), (3, 4, 5)
    g = 0.5
    rho = [4 * max(1.5 / 4.0, 1.5 * 0.5 / g), 2 * 0.5 / g, 1 / g]
    r = [B[i] * rho[i] * a[i] for i in range(3)]
    Gamma = max(r[i] * O[i] * m[i] for i in range(3))
    R = sum(v ** (2 / 3) for v in r) ** 1.5
    by_hand = 8 / 90 + 1536 * math.log(90) / math.sqrt(90) * R * math.sqrt(math.log2(32 * Gamma * 90**2 + 7 * 48 * 90))
    assert math.exp(ledent.patch_complexity(a, s, B, O, m, n=90, gamma=g)) == pytest.approx(by_hand, rel=1e-12)


def test_largest_patches_one_by_one():
    case = problem(conv())
    q = Ledent().report(case, 0.05, 0.3).quantities
    padded = np.pad(case.X, ((0, 0), (0, 0), (1, 1), (1, 1)))
    first = max(np.linalg.norm(z[:, r : r + 3, c : c + 3]) for z in padded for r in range(6) for c in range(6))
    assert q["B_1"] == pytest.approx(first, rel=1e-12)
    K = case.chain.layers[0].weight
    z = np.zeros((40, 3, 6, 6))
    for r in range(6):
        for c in range(6):
            z[:, :, r, c] = np.maximum(np.einsum("nchw,ochw->no", padded[:, :, r : r + 3, c : c + 3], K), 0)
    second = max(np.linalg.norm(z[i, :, r : r + 3, c : c + 3]) for i in range(40) for r in (0, 2) for c in (0, 2))
    assert q["B_2"] == pytest.approx(second, rel=1e-12)
    assert q["s_3"] == pytest.approx(np.linalg.norm(case.chain.layers[2].weight, axis=1).max(), rel=1e-12)


def test_lin_zhang_and_gouk_by_hand():
    inside = 2 / 0.5 * 0.7 * 4 * (9.0 * 3.0 * 1.5 + 25.0 * 4.0 * 2.0)
    found = lin_zhang.root_complexity((2.0, 1.5), (3.0, 4.0), (9.0, 25.0), x_rms=0.7, n=50, gamma=0.5)
    assert math.exp(found) == pytest.approx(16 / math.sqrt(50) * inside**0.25, rel=1e-12)
    rows = gouk.row_complexity((2.0, 3.0), (0.5, 0.7), x_max=1.5, d=20, n=50)
    by_hand = 2**3 * 6 * math.log(20) * (0.5 / 2 + 0.7 / 3) * 1.5 / math.sqrt(50)
    assert math.exp(rows) == pytest.approx(by_hand, rel=1e-12)
    frobenius = gouk.frobenius_complexity((2.0, 3.0), (0.5, 0.7), ((6, 1, 2), (6, 2, 3)), x_rms=1.5, n=50)
    product = (36 * math.sqrt(2) * 2) * (36 / 2 * math.sqrt(3) * 3)
    below = [6 * math.sqrt(2), 6 * math.sqrt(2) * 6 * math.sqrt(3)]
    by_hand = 2**2.5 * 1.5 / math.sqrt(50) * product * (0.5 / 2 / below[0] + 0.7 / 3 / below[1])
    assert math.exp(frobenius) == pytest.approx(by_hand, rel=1e-12)


def test_distances_vanish_at_the_reference():
    net = conv()
    weights = net.random_weights(rng=1)
    case = problem(net)
    moved = Problem(net, weights, (case.X, case.y), weights)
    for bound, least in ((BartlettFixed(), 8 / 40), (GrafNorms(), 8 / 40), (Ledent(), 8 / 40)):
        assert bound.compute(moved, 0.05, 0.3).terms["complexity"] == pytest.approx(least, rel=1e-9)
    for bound in (GoukRows(), GoukFrobenius(), GrafParameters()):
        assert bound.compute(moved, 0.05, 0.3).terms["complexity"] == 0


def test_dense_forms_are_invariant_under_rescaling():
    net = dense(3)
    case = problem(net)
    scaled = {**case.weights, "linear1.weight": 4 * case.weights["linear1.weight"],
              "linear2.weight": case.weights["linear2.weight"] / 4}  # fmt: skip
    again = Problem(net, scaled, (case.X, case.y))
    for bound in [*MATRIX, Galanti(), GrafNorms(), Ledent(), LinZhang()]:
        same = isinstance(bound, BartlettPostHoc)  # its union adds 1/L to each norm: not invariant
        first, second = (sum(bound.compute(p, 0.05, 0.3).terms.values()) for p in (case, again))
        assert (second == pytest.approx(first, rel=1e-9)) != same


def test_default_margin():
    assert default_margin(Margins(np.linspace(1, 11, 11))) == pytest.approx(2)
    assert default_margin(Margins(np.array([-1.0, -1, 0.5, 2]))) == 0.5
    assert default_margin(Margins(np.array([-1.0, -2]))) == 1
    report = Galanti().report(problem(conv()), 0.05, "best")
    assert "10th percentile" in report.notes[0] and report.margin > 0


def test_zero_and_huge_weights():
    assert replaced_logs([1.0, 2.0], [0.0, 3.0]) == [math.log(3), -math.inf]
    net = conv()
    case = problem(net)
    zero = Problem(net, {k: v * 0 for k, v in case.weights.items()}, (case.X, case.y))
    for bound in (*MATRIX, *KERNEL):
        if isinstance(bound, Ledent):
            with pytest.raises(PreconditionError, match="do not vanish"):
                bound.report(zero, 0.05)
            continue
        report = bound.report(zero, 0.05)
        assert float(bound.symbolic_form(zero).evaluate(report.quantities)) == pytest.approx(report.value, rel=1e-12)
    huge = Problem(net, {k: v * 1e90 for k, v in case.weights.items()}, (case.X, case.y))
    for bound in (*MATRIX, *KERNEL):
        assert math.isfinite(bound.compute(huge, 0.05, 1e-60).log10)


def test_refusals():
    body = [Conv(2, 3, bias=False), Activation(), MaxPool(2), Flatten()]
    pooled = Architecture.sequential([*body, Linear(2, bias=False)], input_shape=(1, 6, 6))
    for bound in (*MATRIX, *KERNEL):
        with pytest.raises(PreconditionError, match="no pooling between the layers: one follows 'conv1'"):
            bound.symbolic(pooled)
    for bound in KERNEL:
        with pytest.raises(PreconditionError, match="needs no biases"):
            bound.symbolic(dense(bias=True))
    case = problem(conv())
    with pytest.raises(PreconditionError, match=r"universal constants .* 'galanti' supersedes"):
        Xu().report(case, 0.05)
    with pytest.raises(PreconditionError, match="universal constants"):
        Xu().symbolic(conv())
