"""Squared error with penalties: closed form = descent = cvxpy, the phases, the bias, fewer dimensions."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peeled.convex_programs import random_counts, squared_error
from theory import NotConverged, PreconditionError
from theory.peeled import UnconstrainedFeaturesModel, solve

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "unconstrained.json").read_text())


def model(counts, lam=1e-3, **options):
    return UnconstrainedFeaturesModel(counts=counts, lam_W=2 * lam, lam_H=lam / 2, loss="mse", **options)


def objective_of(found):
    """Value of W, H, b put into the definition, sample by sample weights included."""
    m, W, H, Z = found.model, found.classifier(), found.features(), found.logits()
    n = np.asarray(m.counts)
    w = np.ones(len(n)) if m.class_weights is None else m.class_weights
    b = np.zeros(len(n)) if found.bias is None else found.bias[m._partition.index]
    np.testing.assert_allclose(W @ H, Z, atol=1e-12)
    loss = ((Z + b[:, None] - np.eye(len(n))) ** 2).sum(axis=0) @ (w * n) / (w @ n) / 2
    penalty = m.lam_W / 2 * (W**2).sum() + m.lam_H / 2 * ((H**2).sum(axis=0) @ n) + (m.lam_b or 0) / 2 * b @ b
    return loss + penalty


def test_published_diagonal():
    want = REFERENCE["mse_without_bias"]
    found = solve(UnconstrainedFeaturesModel(**want["model"], loss="mse"))
    np.testing.assert_allclose(np.diag(found.logits()), want["diagonal"], atol=6e-9)
    assert found.objective == pytest.approx(want["objective"], abs=6e-13)
    assert found.method == "closed-form" and found.status == "optimal" and found.relative_gap < 1e-14


def test_free_bias_is_the_class_frequency():
    want = REFERENCE["mse_free_bias"]
    for method in ("closed-form", "groups"):
        found = solve(UnconstrainedFeaturesModel(**want["model"], loss="mse"), method=method)
        np.testing.assert_allclose(found.bias, want["bias"], atol=1e-13)
        assert found.rank == 3


@pytest.mark.parametrize("bias", [None, 0.0, 0.03])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(7))
def test_three_ways_agree(bias, weighted, seed):
    rng = np.random.default_rng(seed)
    counts = random_counts(seed, largest=60)
    weights = np.exp(rng.uniform(-1, 1, len(counts))) if weighted else None
    lam = float(np.exp(rng.uniform(-1, 0.2))) * np.sqrt(max(counts)) / sum(counts)
    spec = model(counts, lam, lam_b=bias, class_weights=weights)
    auto, descent = solve(spec), solve(spec, method="groups")
    assert auto.objective == pytest.approx(squared_error(counts, lam, bias, weights), abs=2e-8)
    assert descent.objective == pytest.approx(auto.objective, rel=1e-12)
    np.testing.assert_allclose(descent.logits(), auto.logits(), atol=1e-6)
    for found in (auto, descent):
        assert objective_of(found) == pytest.approx(found.objective, rel=1e-12)
        assert 0 <= found.relative_gap < 1e-11 and found.status == "optimal"


@pytest.mark.parametrize("lam_b", [0.01, 0.2, 3.0])
def test_balanced_with_penalised_bias(lam_b):
    K, n, lam = 5, 40, 0.002
    N, rho = K * n, K * n * lam / np.sqrt(n)
    found = solve(model([n] * K, lam, lam_b=lam_b))
    s = np.linalg.svd(found.logits() * np.sqrt(n), compute_uv=False)
    along_ones = max(np.sqrt(n) - N * lam * (1 + lam_b) / lam_b, 0)
    np.testing.assert_allclose(s, [np.sqrt(n) - N * lam] * (K - 1) + [along_ones], atol=1e-12)
    assert (found.rank == K - 1) == (lam_b <= rho / (1 - rho))
    assert objective_of(found) == pytest.approx(found.objective, rel=1e-13)
    assert found.relative_gap < 1e-14


def test_bias_limits():
    counts = [30, 30, 12, 5]
    free, none = solve(model(counts, lam_b=0)), solve(model(counts))
    assert solve(model(counts, lam_b=1e-9)).objective == pytest.approx(free.objective, abs=1e-9)
    assert solve(model(counts, lam_b=1e9)).objective == pytest.approx(none.objective, abs=1e-9)
    small = solve(model(counts, 1e-9))
    np.testing.assert_allclose(small.logits(), np.eye(4), atol=1e-6)  # lam -> 0 interpolates
    assert small.relative_gap < 1e-14 and small.objective > 0


def test_classes_vanish_or_merge_at_the_threshold():
    counts = [50] * 3 + [8] * 2
    edge = np.sqrt(8) / 166
    for bias, phase in ((None, "vanishing"), (0.0, "merged"), (0.1, "merged")):
        below, above = (solve(model(counts, edge * f, lam_b=bias)).groups[1] for f in (1 - 1e-9, 1 + 1e-9))
        assert below.phase == "separated" and above.phase == phase
    everything = solve(model(counts, 1.0001 * np.sqrt(50) / 166))
    assert everything.rank == 0 and everything.objective == pytest.approx(0.5, rel=1e-15)


class TestFewDimensions:
    @pytest.mark.parametrize("bias", [None, 0.0])
    @pytest.mark.parametrize(("counts", "p"), [([50, 20, 7, 3], 2), ([9] * 5, 2), ([30, 30, 30, 4], 2)])
    def test_no_descent_beats_the_truncation(self, bias, counts, p):
        from scipy.optimize import minimize

        found = solve(model(counts, 0.01, lam_b=bias, dimension=p))
        assert found.rank == p and found.status == "optimal"
        assert objective_of(found) == pytest.approx(found.objective, rel=1e-12)
        K, n, lam = len(counts), np.array(counts, float), 0.01
        pi = n / n.sum()

        def value(x):
            W, H = x[: K * p].reshape(K, p), x[K * p : 2 * K * p].reshape(p, K)
            b = x[2 * K * p :] if bias is not None else np.zeros(K)
            R = W @ H + b[:, None] - np.eye(K)
            G = R * pi
            f = (R**2).sum(axis=0) @ pi / 2 + lam / 2 * ((W**2).sum() + (H**2).sum(axis=0) @ n)
            parts = [(G @ H.T + lam * W).ravel(), (W.T @ G + lam * H * n).ravel()]
            return f, np.concatenate([*parts, G.sum(axis=1)] if bias is not None else parts)

        rng = np.random.default_rng(1)
        size = 2 * K * p + (K if bias is not None else 0)
        options = {"ftol": 1e-16, "gtol": 1e-11, "maxiter": 5000}
        best = min(
            minimize(value, rng.standard_normal(size), jac=True, method="L-BFGS-B", options=options).fun
            for _ in range(8)
        )
        assert best == pytest.approx(found.objective, abs=1e-9)

    def test_large_balanced_model(self):
        found = solve(model([10] * 50 + [2] * 100000, 1e-9, dimension=50))
        assert found.rank == 50 and found.groups[1].phase == "vanishing"

    def test_refused_where_nothing_is_known(self):
        for options in ({"lam_b": 0.1}, {"class_weights": [1, 2, 3]}):
            with pytest.raises(PreconditionError, match="below the rank"):
                solve(model([30, 20, 10], dimension=1, **options))


def test_a_million_classes():
    found = solve(model([1000] * 500_000 + [10] * 500_000, 8e-9, lam_b=0))
    assert found.relative_gap < 1e-14 and found.groups[1].phase == "merged" and found.rank == 500_000
    assert found.bias == pytest.approx([1000 / 5.05e8, 10 / 5.05e8], rel=1e-12)


@settings(max_examples=40)
@given(
    st.lists(st.integers(1, 10**9), min_size=2, max_size=6),
    st.floats(1e-7, 2),
    st.floats(1e-3, 1e3),
    st.sampled_from([None, 0.0, 0.3]),
)
def test_only_the_product_of_the_penalties_matters(counts, size, tilt, bias):
    lam = size * np.sqrt(max(counts)) / sum(counts)
    base = solve(model(counts, lam, lam_b=bias))
    penalties = {"lam_W": lam * tilt, "lam_H": lam / tilt, "lam_b": bias}
    tilted = solve(UnconstrainedFeaturesModel(counts=counts, loss="mse", **penalties))
    assert tilted.objective == pytest.approx(base.objective, rel=1e-9)
    np.testing.assert_allclose(tilted.logits(), base.logits(), atol=1e-5)
    assert base.objective <= 0.5 * (1 + 1e-12)


def test_refusals():
    with pytest.raises(PreconditionError, match="no closed form"):
        solve(model([30, 20, 10], lam_b=0.1), method="closed-form")
    with pytest.raises(NotConverged, match="max_steps") as caught:
        solve(model([3000, 20, 1], lam_b=0.1, class_weights=[1, 1e-3, 1e4]), max_steps=1, rtol=1e-15)
    assert caught.value.partial.certificate.gap > 0
    with pytest.raises(PreconditionError, match="distinct counts"):
        solve(model(list(range(1, 3003))))
