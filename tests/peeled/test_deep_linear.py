"""Deep linear model: published digits, brute-force minima, the first-order jump, honest status without a proof."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from theory import InvalidInput, PreconditionError
from theory.peeled import DeepLinearModel, deep_collapse_map, deep_linear_threshold, layer_weights, solve
from theory.peeled._deep_bound import lower_bound
from theory.peeled._deep_constructions import least

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "deep_linear.json").read_text())


def objective(model, Z):
    """Mean loss plus Schatten quasi-norm, written out."""
    n, M = np.asarray(model.counts), len(model.lams)
    if model.loss == "mse":
        loss = (n / n.sum()) @ ((Z - np.eye(len(n))) ** 2).sum(axis=0) / 2
    else:
        loss = (n / n.sum()) @ (np.log(np.exp(Z).sum(axis=0)) - np.diagonal(Z))
    s = np.linalg.svd(Z * np.sqrt(n), compute_uv=False)
    s = s[s > 1e-10 * max(s[0], 1)]
    return loss + M / 2 * np.prod(model.lams) ** (1 / M) * (s ** (2 / M)).sum()


class TestSquaredError:
    def test_published_digits(self):
        want = REFERENCE["one_layer"]
        found = solve(DeepLinearModel(counts=want["counts"], lam=want["lam"], depth=1))
        np.testing.assert_allclose(np.diagonal(found.logits()), want["diagonal"], atol=6e-9)
        assert found.objective == pytest.approx(want["objective"], abs=6e-13)

    @pytest.mark.parametrize("seed", range(20))
    def test_brute_force_per_class(self, seed):
        rng = np.random.default_rng(seed)
        counts, L = np.floor(10 ** rng.uniform(0, 4, rng.integers(2, 7))), int(rng.integers(1, 8))
        at = deep_linear_threshold(np.median(counts), counts.sum(), L)
        lams = rng.uniform(0.3, 3, L + 1)
        lams *= (at * 10 ** rng.uniform(-2, 1) / np.prod(lams)) ** (1 / (L + 1))
        model = DeepLinearModel(counts=counts, lams=lams)
        found, grid = solve(model), np.linspace(0, 1, 400001)
        value = 0.0
        for k, n in enumerate(counts):
            penalty = (L + 1) / 2 * np.prod(lams) ** (1 / (L + 1)) * (grid * np.sqrt(n)) ** (2 / (L + 1))
            costs = n * (1 - grid) ** 2 / (2 * counts.sum()) + penalty
            value += costs.min()
            assert found.logits()[k, k] == pytest.approx(grid[costs.argmin()], abs=1e-5)
        assert found.objective == pytest.approx(value, rel=1e-9)
        assert found.objective == pytest.approx(objective(model, found.logits()), rel=1e-12)
        assert found.status == "optimal" and 0 <= found.relative_gap < 1e-14

    @pytest.mark.parametrize("seed", range(20))
    def test_descent_on_the_factors_never_gets_below(self, seed):
        rng = np.random.default_rng(100 + seed)
        counts, L = rng.integers(1, 60, 3), int(rng.integers(1, 4))
        root, N = np.sqrt(counts), counts.sum()
        lam = (deep_linear_threshold(counts.mean(), N, L) * 0.2) ** (1 / (L + 1))
        found = solve(DeepLinearModel(counts=counts, lam=lam, depth=L))

        def f(x):
            F = x.reshape(L + 1, 3, 3)
            A = np.linalg.multi_dot(F)
            return ((A - np.diag(root)) ** 2).sum() / (2 * N) + lam / 2 * x @ x

        start = np.stack([np.diag(root ** (1 / (L + 1)))] * (L + 1))
        starts = [(start + 0.1 * rng.standard_normal(start.shape)).ravel() for _ in range(2)]
        options = {"maxiter": 500, "maxfun": 10**5}
        best = min(minimize(f, x, method="L-BFGS-B", options=options).fun for x in starts)
        assert best >= found.certificate.lower - 1e-12
        if found.rank == 3:
            assert best == pytest.approx(found.objective, rel=1e-6)

    def test_one_layer_is_the_soft_threshold(self):
        counts, lam_W, lam_H = np.array([90, 40, 7, 1]), 5e-3, 3e-2
        found = solve(DeepLinearModel(counts=counts, lams=[lam_W, lam_H]))
        N, lam_Z = counts.sum(), np.sqrt(lam_W * lam_H)
        np.testing.assert_allclose(
            np.diagonal(found.logits()), np.maximum(1 - N * lam_Z / np.sqrt(counts), 0), atol=1e-15
        )
        w = np.sqrt(np.sqrt(lam_H / lam_W) * np.maximum(np.sqrt(counts) - N * lam_Z, 0))
        np.testing.assert_allclose([g.norm_w for g in found.groups], w, rtol=1e-14)
        assert found.groups[-1].phase == "vanishing" and found.rank == 3

    @pytest.mark.parametrize("L", [1, 2, 3, 5, 12])
    def test_first_order_jump_at_the_threshold(self, L):
        counts = [30, 20, 10]
        at = deep_linear_threshold(20, 60, L)
        below, above = (
            solve(DeepLinearModel(counts=counts, lam=(at * f) ** (1 / (L + 1)), depth=L)) for f in (1 - 1e-9, 1 + 1e-9)
        )
        assert below.logits()[1, 1] == pytest.approx((L - 1) / L, abs=1e-5)
        assert above.logits()[1, 1] == 0 and above.groups[1].phase == "vanishing"
        assert below.objective == pytest.approx(above.objective, abs=1e-9)
        # the stationary point beyond the threshold exists and loses to zero: what a root alone would return
        if L > 1:
            a = 1.01 * ((L - 1) / L) ** ((L - 1) / (L + 1)) / L
            z = np.linspace(0.01, 1, 100001)
            cost = (1 - z) ** 2 / 2 + (L + 1) / 2 * a * z ** (2 / (L + 1))
            inner = (cost[1:-1] < cost[:-2]) & (cost[1:-1] < cost[2:])
            assert inner.any() and cost[1:-1][inner].min() > 0.5

    def test_binary_threshold(self):
        # n Lambda >= (L-1)^(L-1) / (2^(L+1) L^(2L)) for two classes of n
        n, L = 17, 4
        assert n * deep_linear_threshold(n, 2 * n, L) == pytest.approx(3**3 / (2**5 * 4**8), rel=1e-14)

    def test_equal_counts_give_an_orthogonal_frame_and_many_classes(self):
        found = solve(DeepLinearModel(counts=[5] * 10**6, lam=1e-9, depth=3))
        assert found.groups[0].cos_within == 0 and found.groups[0].cos_within_features == 0 and found.rank == 10**6

    @given(st.lists(st.integers(1, 10**12), min_size=2, max_size=8), st.integers(1, 30), st.floats(-12, 2))
    def test_any_counts(self, counts, L, exponent):
        found = solve(DeepLinearModel(counts=counts, lam=10**exponent, depth=L))
        Z = found.logits()
        assert ((np.diagonal(Z) == 0) | (np.diagonal(Z) >= (L - 1) / L)).all() and (np.diagonal(Z) < 1 + 1e-15).all()
        assert not (Z - np.diag(np.diagonal(Z))).any()
        assert 0 <= found.relative_gap < 1e-13 and found.objective <= 0.5 * (1 + 1e-15)
        np.testing.assert_allclose(found.classifier() @ found.features(), Z, atol=1e-13)


class TestCrossEntropy:
    @pytest.mark.parametrize("case", REFERENCE["constructions"], ids=lambda c: f"K={c['K']},L={c['L']}")
    def test_published_digits(self, case):
        model = DeepLinearModel(counts=[1] * case["K"], lam=1e-3, depth=case["L"], loss="cross_entropy")
        for name in ("collapsed", "pairing"):
            found = solve(model, method=name)
            assert found.objective == pytest.approx(case[name], abs=6e-9) and found.method == name
            assert found.objective == pytest.approx(objective(model, found.logits()), rel=1e-12)
        best = solve(model)
        assert best.method == case["best"] and "not proved optimal" in best.status
        assert 0.5 * best.objective < best.certificate.lower < best.objective

    @pytest.mark.parametrize("seed", range(20))
    def test_bracket_on_random_counts(self, seed):
        rng = np.random.default_rng(seed)
        K, L = int(rng.integers(2, 5)), int(rng.integers(1, 4))
        counts = rng.integers(1, 40, K)
        model = DeepLinearModel(counts=counts, lam=10 ** rng.uniform(-4, -2.5), depth=L, loss="cross_entropy")
        found = solve(model)
        Z = found.logits()
        assert found.objective == pytest.approx(objective(model, Z), rel=1e-9)
        assert found.certificate.lower <= found.objective
        np.testing.assert_allclose(found.classifier() @ found.features(), Z, atol=1e-8)
        for name in ("collapsed", "pairing", "polygon"):
            other = solve(model, method=name)
            assert other.objective >= found.objective * (1 - 1e-12)
            assert other.objective == pytest.approx(objective(model, other.logits()), rel=1e-9)
            for scale in (0.99, 1.01):  # the amplitude is a minimum
                assert objective(model, other.logits() * scale) >= other.objective * (1 - 1e-12)
        for _ in range(5):
            point = Z * rng.uniform(0.5, 1.5) + 0.3 * rng.standard_normal((K, K)) * rng.integers(0, 2)
            assert objective(model, point) >= found.certificate.lower

    @pytest.mark.parametrize("seed", range(20))
    def test_one_layer_is_the_convex_program(self, seed):
        import cvxpy as cp

        rng = np.random.default_rng(seed)
        K = int(rng.integers(2, 5))
        counts = rng.integers(1, 30, K) if seed % 2 else np.full(K, 1 + seed)
        lam, N = 0.3 * np.sqrt(counts.min()) / counts.sum(), counts.sum()
        Z = cp.Variable((K, K))
        loss = cp.sum([counts[k] / N * (cp.log_sum_exp(Z[:, k]) - Z[k, k]) for k in range(K)])
        problem = cp.Problem(cp.Minimize(loss + lam * cp.normNuc(Z @ np.diag(np.sqrt(counts)))))
        value = problem.solve(solver="CLARABEL")
        found = solve(DeepLinearModel(counts=counts, lam=lam, depth=1, loss="cross_entropy"))
        assert found.certificate.lower <= value * (1 + 1e-7)
        assert found.objective == pytest.approx(value, rel=2e-6)
        if not seed % 2:
            assert found.status == "optimal"

    @pytest.mark.parametrize("L", [1, 2, 5])
    def test_two_equal_classes_are_proved(self, L):
        found = solve(DeepLinearModel(counts=[3, 3], lam=1e-3, depth=L, loss="cross_entropy"))
        assert found.status == "optimal" and found.method == "collapsed" and found.relative_gap < 1e-11

    def test_strong_penalty_gives_zero(self):
        found = solve(DeepLinearModel(counts=[5, 5, 5], lam=2.0, depth=3, loss="cross_entropy"))
        assert found.objective == pytest.approx(np.log(3), rel=1e-15) and found.method == "zero" and found.rank == 0
        assert found.status == "optimal" and not found.logits().any()
        with pytest.raises(InvalidInput, match="zero"):
            layer_weights(found)

    def test_an_amplitude_that_does_not_pay_is_exactly_zero(self):
        assert least(lambda t: np.log1p(np.exp(-t)), 5.0, 0.5, np.log(2)) == (0.0, float(np.log(2)))
        counts = [400, 400, 1, 1]
        model = DeepLinearModel(counts=counts, lam=0.01, depth=2, loss="cross_entropy")
        found = solve(model, method="pairing")
        assert found.rank == 1 and not found.logits()[2:].any() and found.groups[1].phase == "vanishing"

    def test_bound_is_the_balanced_optimum_of_one_layer(self):
        K, n, lam = 5, 7, 0.01
        t = np.log(1 / (lam * np.sqrt(n)) - K + 1)
        value = np.log1p((K - 1) * np.exp(-t)) + lam * (K - 1) * t * np.sqrt(n)
        assert lower_bound(np.array([7.0]), np.array([5.0]), lam, 1.0) == pytest.approx(value, rel=3e-12)

    def test_few_dimensions(self):
        model = DeepLinearModel(counts=[1] * 6, lam=1e-3, depth=3, loss="cross_entropy", dimension=2)
        found = solve(model)
        assert found.rank <= 2 and found.classifier().shape == (6, 2)
        with pytest.raises(PreconditionError, match="rank 5"):
            solve(model, method="collapsed")
        with pytest.raises(PreconditionError, match="rank 3"):
            solve(DeepLinearModel(counts=[9, 9, 9], lam=1e-3, depth=2, dimension=2))

    def test_map(self):
        found = deep_collapse_map([2, 3, 4, 5, 6, 8], [1, 2, 3, 4], lam=1e-3)
        want = np.zeros((6, 4), bool)
        want[2:, 2:] = True  # K >= 4, L >= 3
        want[4:, 1] = True  # K >= 6, L = 2
        np.testing.assert_array_equal(found.collapse_is_beaten, want)
        np.testing.assert_array_equal(found.limit_ratio < 1 - 1e-12, want)
        assert found.collapse_is_optimal[:, 0].all() and found.collapse_is_optimal[0].all()
        assert not found.collapse_is_optimal[2:, 1:].any()
        assert (found.lower <= found.collapsed).all() and found.best[3, 2] == "polygon"
        assert (deep_collapse_map([3], [3], lam=1.0).best == "zero").all()
        assert "beaten at 10 of 24" in repr(found) and found.to_json()["K"] == [2, 3, 4, 5, 6, 8]


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_layers_multiply_to_the_logits_at_their_price(loss):
    lams = np.array([1e-3, 4e-3, 2e-4, 7e-3])
    model = DeepLinearModel(counts=[40, 9, 9, 4], lams=lams, loss=loss)
    found = solve(model)
    *layers, H = layer_weights(found)
    Z = H
    for W in layers:
        Z = W @ Z
    np.testing.assert_allclose(Z, found.logits(), atol=1e-12)
    price = sum(lam * (W**2).sum() for lam, W in zip(lams, layers, strict=False)) / 2
    price += lams[-1] * (H**2).sum(axis=0) @ np.asarray(model.counts) / 2
    loss_part = found.objective - price
    assert loss_part == pytest.approx(
        objective(DeepLinearModel(counts=[40, 9, 9, 4], lam=1e-50, depth=1, loss=loss), Z), rel=1e-9
    )
    top = layers[-1]
    np.testing.assert_allclose(top @ top.T, found.gram_classifier(), atol=1e-10)


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "word"),
        [
            ({"counts": [3]}, "classes"), ({"lam": None}, "either"), ({"lams": [1, 2]}, "either"),
            ({"lam": 0}, "positive"), ({"depth": 0}, "depth"), ({"depth": 1.5}, "whole"), ({"depth": 5000}, "1000"),
            ({"lam": None, "lams": [1]}, "entries"), ({"lam": None, "depth": None, "lams": [1, -1]}, "positive"),
            ({"lam": None, "lams": [1, 2, 3], "depth": 5}, "depth"), ({"loss": "hinge"}, "loss"),
            ({"dimension": 0}, "dimension"), ({"lam": 1e60}, "positive"),
        ],
    )  # fmt: skip
    def test_model(self, change, word):
        with pytest.raises(InvalidInput, match=word) as caught:
            DeepLinearModel(**{"counts": [3, 4], "lam": 0.1, "depth": 2, **change})
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)

    def test_solve(self):
        with pytest.raises(InvalidInput, match="loss 'mse'"):
            solve(DeepLinearModel(counts=[3, 4], lam=0.1, depth=2), method="pairing")
        with pytest.raises(PreconditionError, match="deep_collapse_map"):
            solve(DeepLinearModel(counts=[1] * 3000, lam=0.1, depth=2, loss="cross_entropy"))
        with pytest.raises(PreconditionError, match="24 classes"):
            solve(DeepLinearModel(counts=[1] * 25, lam=0.1, depth=2, loss="cross_entropy"), method="local")
        with pytest.raises(InvalidInput, match="at most total"):
            deep_linear_threshold(5, 4, 2)
        with pytest.raises(InvalidInput, match="K_values"):
            deep_collapse_map([1], [2], lam=1e-3)
        with pytest.raises(InvalidInput, match="empty"):
            DeepLinearModel.from_labels([0, 0, 2], lam=0.1, depth=2, num_classes=3)
        with pytest.raises(InvalidInput, match="DeepLinearModel"):
            layer_weights(solve(_peeled()))


def _peeled():
    from theory.peeled import LayerPeeledModel

    return LayerPeeledModel(counts=[3, 2], E_W=1, E_H=1)
