"""Focal loss: the scalar problem, the convex envelope, full descents that do not use the symmetry, the jump."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax

from tests.peeled.convex_programs import TIGHT, random_counts
from theory import InvalidInput, PreconditionError
from theory.peeled import UnconstrainedFeaturesModel, solve
from theory.peeled._focal import FocalProgram, envelope_end, focal


def model(counts, lam=1e-3, gamma=2.0, **options):
    penalties = {"lam_W": 2 * lam, "lam_H": lam / 2}
    return UnconstrainedFeaturesModel(counts=counts, **penalties, loss="focal", gamma=gamma, **options)


def value_and_gradient(spec, W, H, b):
    """The objective by its definition, every class for itself."""
    n, g = np.asarray(spec.counts), spec.gamma
    w = n if spec.class_weights is None else n * spec.class_weights
    pi, eye = w / w.sum(), np.eye(len(n))
    logp = log_softmax(W @ H + b[:, None], axis=0)
    own = np.diagonal(logp)
    wrong = -np.expm1(own)
    loss = (-(wrong**g) * own) @ pi
    slope = wrong**g - g * own * np.exp(own) * wrong ** (g - 1)
    G = (np.exp(logp) - eye) * (pi * slope)
    value = loss + spec.lam_W / 2 * (W**2).sum() + spec.lam_H / 2 * (H**2).sum(axis=0) @ n
    value += (spec.lam_b or 0) / 2 * b @ b
    db = G.sum(axis=1) + (spec.lam_b or 0) * b if spec.lam_b is not None else np.zeros(len(n))
    return value, G @ H.T + spec.lam_W * W, W.T @ G + spec.lam_H * H * n, db


def best_descent(spec, starts=6, seed=0, size=2.0):
    K = p = spec.num_classes
    rng = np.random.default_rng(seed)

    def flat(x):
        value, *parts = value_and_gradient(
            spec, x[: K * p].reshape(K, p), x[K * p : 2 * K * p].reshape(p, K), x[2 * K * p :]
        )
        return value, np.concatenate([part.ravel() for part in parts])

    options = {"ftol": 1e-16, "gtol": 1e-10, "maxiter": 3000, "maxfun": 6000}
    runs = []
    for _ in range(starts):
        x = size * rng.standard_normal(2 * K * p + K)
        x[2 * K * p :] *= spec.lam_b is not None
        runs.append(minimize(flat, x, jac=True, method="L-BFGS-B", options=options).fun)
    return min(runs)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize(("K", "n", "lam"), [(2, 10, 0.01), (4, 50, 1e-3), (10, 20, 1e-4), (3, 5, 0.1)])
def test_balanced_three_ways(gamma, K, n, lam):
    found = solve(model([n] * K, lam, gamma))

    def height(m):
        p = 1 / (1 + (K - 1) * np.exp(-m))
        return -((1 - p) ** gamma) * np.log(p) + lam * (K - 1) * np.sqrt(n) * m

    grid = np.linspace(0, 40, 4001)
    near = grid[np.argmin(height(grid))]
    bounds = (max(near - 0.02, 0), near + 0.02)
    best = minimize_scalar(height, bounds=bounds, method="bounded", options={"xatol": 1e-12})
    assert found.objective == pytest.approx(min(best.fun, float(height(0.0))), abs=1e-12)
    assert found.method == "closed-form" and found.status == "optimal" and found.relative_gap < 1e-15
    W, H = found.classifier(), found.features()
    assert value_and_gradient(found.model, W, H, np.zeros(K))[0] == pytest.approx(found.objective, rel=1e-12)
    descended = solve(model([n] * K, lam, gamma), method="groups")
    assert descended.objective == pytest.approx(found.objective, rel=1e-10)
    if descended.status == "optimal":
        np.testing.assert_allclose(descended.logits(), found.logits(), atol=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_certified_optimum_equals_full_descents(seed):
    rng = np.random.default_rng(seed)
    counts = random_counts(seed, largest=60)
    lam = float(np.exp(rng.uniform(-4, -1))) * np.sqrt(min(counts)) / sum(counts)
    spec = model(
        counts, lam, [0.5, 1.0, 2.0, 3.0][seed % 4], lam_b=[None, 0.05, 0.0][seed % 3],
        class_weights="balanced" if seed % 5 == 0 else None,
    )  # fmt: skip
    found = solve(spec)
    assert found.status == "optimal" and 0 <= found.relative_gap < 1e-9
    b = np.zeros(len(counts)) if found.bias is None else found.bias[spec._partition.index]
    at = value_and_gradient(spec, found.classifier(), found.features(), b)
    assert at[0] == pytest.approx(found.objective, rel=1e-12)
    assert best_descent(spec, starts=4, size=1.0) == pytest.approx(found.objective, abs=2e-8)


@pytest.mark.parametrize("counts", [[30, 10, 10, 3], [9, 4], [20, 20, 5]])
@pytest.mark.parametrize("bias", [None, 0.0, 0.02])
def test_exponent_zero_is_cross_entropy_in_cvxpy(counts, bias):
    import cvxpy as cp

    n, K, lam = np.array(counts, float), len(counts), 0.3 * np.sqrt(min(counts)) / sum(counts)
    Z, b = cp.Variable((K, K)), cp.Variable(K)
    loss = cp.sum([n[k] / n.sum() * (cp.log_sum_exp(Z[:, k] + b) - Z[k, k] - b[k]) for k in range(K)])
    penalty = lam * cp.normNuc(Z @ np.diag(np.sqrt(n))) + (bias or 0) / 2 * cp.sum_squares(b)
    want = cp.Problem(cp.Minimize(loss + penalty), [b == 0] if bias is None else [cp.sum(b) == 0]).solve(**TIGHT)
    assert solve(model(counts, lam, 0.0, lam_b=bias)).objective == pytest.approx(want, abs=2e-8)


@given(st.floats(0.05, 20))
def test_the_envelope_is_convex_and_below(gamma):
    end = envelope_end(gamma)
    x = np.concatenate([np.linspace(1e-3, end, 200), end + np.linspace(0, 30, 200)])
    F, slope = focal(gamma, x)
    assert focal(gamma, np.array(end))[1] == pytest.approx(1, rel=1e-10)
    assert (np.diff(slope[:200]) > -1e-14).all()  # convex up to the end
    line = focal(gamma, np.array(end))[0] + x[200:] - end
    assert (F[200:] >= line - 1e-12 * x[200:]).all()


def test_known_end_of_the_envelope():
    assert np.exp(-envelope_end(2.0)) == pytest.approx(0.2976366, abs=5e-7)
    assert envelope_end(0.0) == np.inf


def test_gradient_against_differences():
    rng = np.random.default_rng(0)
    program = FocalProgram(
        np.array([9.0, 4, 2]), np.array([9.0, 4, 2]) / 33, np.array([2.0, 3, 1]), 0.05, 0.3, 2.0, envelope_end(2.0)
    )
    x, d = rng.standard_normal(15), rng.standard_normal(15)
    x[2] = d[2] = 0

    def smooth(y):
        e, M, _ = program.split(y)
        norm = program.lam * ((program.classes - 1) @ np.abs(e) + np.linalg.svd(M, compute_uv=False).sum())
        return program.value(y) - norm

    slope = (smooth(x + 1e-5 * d) - smooth(x - 1e-5 * d)) / 2e-5
    assert program.gradient(x, False) @ d == pytest.approx(slope, rel=1e-8)


@settings(max_examples=8)
@given(st.integers(0, 10**6))
def test_no_point_is_below_the_bound(seed):
    rng = np.random.default_rng(seed)
    spec = model([40, 40, 9, 3, 3], float(np.exp(rng.uniform(-7, -3))), 2.0, lam_b=[None, 0.1, 0.0][seed % 3])
    found = solve(spec)
    W, H = found.classifier(5), found.features(5)
    b = np.zeros(5) if found.bias is None else found.bias[spec._partition.index]
    for size in (1e-3, 0.1, 1.0):
        dW, dH, db = rng.standard_normal((5, 5)), rng.standard_normal((5, 5)), rng.standard_normal(5)
        moved = value_and_gradient(spec, W + size * dW, H + size * dH, b + size * db * (spec.lam_b is not None))[0]
        assert moved >= found.certificate.lower - 1e-12


def test_where_the_relaxation_is_not_exact_the_record_says_so():
    found = solve(model([100, 50, 2, 2, 2], 1e-2, 2.0))
    assert found.method == "local" and "local solution" in found.status
    assert 0 < found.relative_gap < 1e-3
    best = best_descent(found.model, starts=5)
    assert best >= found.certificate.lower - 1e-12
    assert best == pytest.approx(found.objective, abs=1e-8)


@pytest.mark.parametrize(("K", "jumps"), [(10, False), (17, False), (18, True), (40, True)])
def test_the_balanced_margin_jumps_to_zero(K, jumps):
    n = 10
    low, high = 0.1 / K / np.sqrt(n), 2 / K / np.sqrt(n)
    for _ in range(60):
        mid = (low + high) / 2
        low, high = (mid, high) if solve(model([n] * K, mid)).rank else (low, mid)
    below, above = solve(model([n] * K, low)), solve(model([n] * K, high))
    assert above.rank == 0 and above.objective == pytest.approx((1 - 1 / K) ** 2 * np.log(K), rel=1e-14)
    z = below.logits()
    assert (z[0, 0] - z[1, 0] > 0.01) == jumps  # with the cross-entropy it never does


def test_just_before_the_jump():
    # the slope at zero margin is already below the cost; the distant minimum is still the lower one
    K, n, lam = 40, 10, 1.145 / 40 / np.sqrt(10)
    found = solve(model([n] * K, lam))
    m = np.linspace(0, 5, 50001)
    p = 1 / (1 + (K - 1) * np.exp(-m))
    want = (-((1 - p) ** 2) * np.log(p) + lam * (K - 1) * np.sqrt(n) * m).min()
    assert found.objective == pytest.approx(want, abs=1e-8) and found.rank == K - 1


def test_bias_does_not_move_the_balanced_optimum():
    plain = solve(model([7] * 5))
    for bias in (0.0, 0.3):
        found = solve(model([7] * 5, lam_b=bias))
        assert found.objective == plain.objective and found.bias == pytest.approx([0.0], abs=0)


def test_refusals():
    with pytest.raises(PreconditionError, match="balanced classes only"):
        solve(model([9, 4]), method="closed-form")
    with pytest.raises(PreconditionError, match="dimension >= 2"):
        solve(model([9, 9, 9], dimension=1))
    with pytest.raises(InvalidInput, match="does not apply"):
        solve(model([9, 4]), method="cvxpy")
    with pytest.raises(PreconditionError, match="distinct counts"):
        solve(model(list(range(1, 400))))


def test_a_million_classes():
    found = solve(model([100] * 500_000 + [10] * 500_000, 1e-8))
    assert found.status == "optimal" and found.relative_gap < 1e-9
