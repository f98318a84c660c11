"""Two algorithms for one number, invariances, limits, and what a certificate promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import InvalidInput, NotConverged, PreconditionError, TheoryError
from theory.peeled import (
    LayerPeeledModel,
    balanced_loss,
    collapse_threshold,
    largest_safe_weight,
    oversampled,
    phase_curve,
    restoring_weights,
    solve,
    vanishing_product,
)

TEN = [10] * 5 + [1] * 5


def test_auto_dense_and_sdp_agree():
    model = LayerPeeledModel(counts=TEN, E_W=1, E_H=5)
    auto, dense, sdp = (solve(model, method=m, rtol=1e-8) for m in ("auto", "dense", "sdp"))
    assert (auto.method, dense.method, sdp.method) == ("groups", "dense", "sdp")
    for other, tol in ((dense, 1e-11), (sdp, 1e-6)):
        assert other.objective == pytest.approx(auto.objective, abs=tol)
        np.testing.assert_allclose(other.cos_between, auto.cos_between, atol=tol)
        np.testing.assert_allclose(other.cos_between_features, auto.cos_between_features, atol=tol)
    assert sdp.certificate.gap > auto.certificate.gap


def test_sdp_sees_the_vanishing_phase():
    found = solve(LayerPeeledModel(counts=[10] * 4 + [1] * 2, E_W=1, E_H=1), method="sdp")
    assert found.groups[1].phase == "vanishing" and np.isnan(found.groups[1].cos_within)


@pytest.mark.parametrize("counts", [TEN, [7, 5, 3], [100] * 3 + [10] * 2 + [1], [10] * 7 + [1] * 3])
@pytest.mark.parametrize("P", [0.3, 5.0, 40.0])
def test_factors_meet_the_budgets_and_the_certificate(counts, P):
    found = solve(LayerPeeledModel(counts=counts, E_W=2, E_H=P / 2))
    W, H, Z, K = found.classifier(), found.features(), found.logits(), len(counts)
    assert W.shape == (K, found.rank) and H.shape == (found.rank, K)
    np.testing.assert_allclose(W @ H, Z, atol=1e-12)
    assert (W**2).sum() / K == pytest.approx(2, rel=1e-12)
    assert (H**2).sum() / K == pytest.approx(P / 2, rel=1e-12)
    assert np.linalg.matrix_rank(Z, tol=1e-9) == found.rank
    np.testing.assert_allclose(Z.sum(axis=0), 0, atol=1e-11)
    for r, group in enumerate(found.groups):
        rows = np.flatnonzero(np.array(counts) == group.count)
        assert np.linalg.norm(W[rows], axis=1) == pytest.approx(np.full(len(rows), group.norm_w), abs=1e-12)
        assert np.linalg.norm(H[:, rows], axis=0) == pytest.approx(np.full(len(rows), group.norm_h), abs=1e-12)
        if group.classes > 1 and group.norm_w > 0:
            gram = found.gram_classifier()[np.ix_(rows[:2], rows[:2])]
            assert gram[0, 1] / group.norm_w**2 == pytest.approx(group.cos_within, abs=1e-12)
            longest = max(g.norm_w for g in found.groups)
            assert np.linalg.norm(W[rows[0]] - W[rows[1]]) / longest == pytest.approx(group.merge_ratio, abs=1e-8)
        for q, other in enumerate(found.groups[:r]):
            j = counts.index(int(other.count))
            if group.norm_w > 0:
                cos = W[rows[0]] @ W[j] / (group.norm_w * other.norm_w)
                assert cos == pytest.approx(found.cos_between[r, q], abs=1e-11)
    assert found.certificate.residuals["stationarity"] < 1e-10
    assert found.certificate.residuals["gap_of_decrease"] < 1e-9
    assert all(abs(found.certificate.residuals[f"budget_{x}"]) < 1e-13 for x in "WH")


@settings(max_examples=30)
@given(
    st.lists(st.integers(1, 10**6), min_size=2, max_size=7),
    st.floats(1e-3, 60),
    st.floats(0.01, 100),
    st.randoms(use_true_random=False),
)
def test_invariances(counts, P, tilt, random):
    base = solve(LayerPeeledModel(counts=counts, E_W=1, E_H=P))
    tilted = solve(LayerPeeledModel(counts=[7 * n for n in counts], E_W=tilt, E_H=P / tilt))
    assert tilted.objective == pytest.approx(base.objective, rel=1e-9)
    np.testing.assert_allclose(tilted.cos_between, base.cos_between, atol=1e-6)
    order = random.sample(range(len(counts)), len(counts))
    shuffled = solve(LayerPeeledModel(counts=[counts[i] for i in order], E_W=1, E_H=P))
    np.testing.assert_allclose(shuffled.logits(), base.logits()[np.ix_(order, order)], atol=1e-6)
    assert solve(LayerPeeledModel(counts=counts, E_W=1, E_H=1.1 * P)).objective < base.objective
    # the geometry of the balanced model is the worst case for no count vector, the loss of the uniform guess for all
    assert base.objective < np.log(len(counts)) * (1 + 1e-12)


@settings(max_examples=60)
@given(st.lists(st.integers(1, 10**5), min_size=2, max_size=6), st.floats(1e-2, 30), st.integers(0, 10**6))
def test_no_feasible_point_beats_the_lower_bound(counts, P, seed):
    found = solve(LayerPeeledModel(counts=counts, E_W=1, E_H=P))
    from theory.peeled._dense import class_mass, loss_and_gradient

    rng = np.random.default_rng(seed)
    Z0, mass, T = found.logits(), class_mass(found.model), found.model.budget
    for size in (1e-4, 1e-2, 1.0):
        Z = Z0 + size * np.abs(Z0).max() * rng.standard_normal(Z0.shape)
        Z *= T / np.linalg.svd(Z, compute_uv=False).sum()
        assert loss_and_gradient(Z, mass)[0] >= found.certificate.lower


def test_multiplier_is_the_sensitivity():
    def objective(P):
        return solve(LayerPeeledModel(counts=[30, 30, 5, 5, 1], E_W=1, E_H=P))

    h, at = 1e-5, objective(4.0)
    dT = 5 * (np.sqrt(4 + h) - np.sqrt(4 - h))
    slope = (objective(4 + h).objective - objective(4 - h).objective) / dT
    assert at.multiplier == pytest.approx(-slope, rel=1e-7)


@pytest.mark.parametrize(("K_A", "K_B", "P"), [(5, 5, 5), (7, 3, 5), (2, 3, 1), (1, 4, 2), (30, 70, 3)])
def test_thresholds_are_where_the_solver_changes_phase(K_A, K_B, P):
    at = collapse_threshold(majority=K_A, minority=K_B, E_W=1, E_H=P)

    def phase(R):
        weights = [R] * K_A + [1.0] * K_B
        return solve(LayerPeeledModel(counts=[1] * (K_A + K_B), E_W=P, E_H=1, class_weights=weights)).groups[1].phase

    assert phase(at.R0 * (1 - 1e-6)) == "separated" and phase(at.R0 * (1 + 1e-6)) == "merged"
    if np.isfinite(at.R00):
        assert phase(at.R00 * (1 - 1e-6)) == "merged" and phase(at.R00 * (1 + 1e-6)) == "vanishing"


@pytest.mark.parametrize(("K_A", "K_B"), [(2, 2), (7, 3), (3, 40)])
def test_thresholds_beside_the_budget_where_vanishing_ends(K_A, K_B):
    edge = vanishing_product(majority=K_A, minority=K_B)
    below, above = (collapse_threshold(majority=K_A, minority=K_B, E_W=1, E_H=edge * c) for c in (1 - 1e-7, 1 + 1e-7))
    assert np.isfinite(below.R00) and np.isinf(above.R00)
    assert below.R0 == pytest.approx(above.R0, rel=1e-5) and max(below.residual, above.residual) < 1e-10


@pytest.mark.parametrize(("K_A", "K_B", "P"), [(5, 5, 5), (7, 3, 5), (1, 3, 2), (4, 9, 30)])
def test_phase_curve_equals_solve(K_A, K_B, P):
    ratios = [1, 2, 5, 17, 400]
    curve = phase_curve(majority=K_A, minority=K_B, E_W=0.5, E_H=2 * P, ratios=ratios)
    for i, R in enumerate(ratios):
        model = LayerPeeledModel(counts=[R] * K_A + [1] * K_B, E_W=0.5, E_H=2 * P)
        if R == 1:
            assert curve.objective[0] == pytest.approx(balanced_loss(K_A + K_B, 0.5, 2 * P), rel=1e-12)
            continue
        found = solve(model)
        assert curve.objective[i] == pytest.approx(found.objective, rel=1e-12)
        assert curve.phase[i] == found.groups[1].phase
        np.testing.assert_allclose(
            [curve.norm_majority[i], curve.norm_minority[i]], [g.norm_w for g in found.groups], atol=1e-9
        )
        np.testing.assert_allclose(
            [curve.cos_majority[i], curve.cos_between[i], curve.cos_minority[i]],
            found.cos_between[[0, 0, 1], [0, 1, 1]], atol=1e-9,
        )  # fmt: skip
        assert curve.merge_ratio[i] == pytest.approx(found.groups[1].merge_ratio, abs=1e-9)


def test_large_budgets_restore_the_frame():
    cos = [solve(LayerPeeledModel(counts=TEN, E_W=1, E_H=P)).cos_between for P in (10, 100, 1000, 10000)]
    distance = [np.nanmax(np.abs(c + 1 / 9)) for c in cos]
    assert all(np.diff(distance) < 0) and distance[-1] < 0.01


@pytest.mark.parametrize(("counts", "P"), [(TEN, 7e4), ([1, 1, 2], 37500), ([10**12, 3, 1], 3e4), ([5, 4, 3, 2], 4e4)])
def test_budgets_at_the_edge_of_float64(counts, P):
    found = solve(LayerPeeledModel(counts=counts, E_W=1, E_H=P))
    assert 0 < found.objective < 1e-100 and found.relative_gap < 1e-9


def test_nearly_equal_counts_at_a_tiny_budget():
    counts = [2] + [999_999_999_773] * 2 + [1, 1, 4, 999_999_673_638]
    found = solve(LayerPeeledModel(counts=counts, E_W=1e-12, E_H=1.0))
    assert found.relative_gap < 1e-11 and found.certificate.residuals["gap_of_decrease"] < 1e-5


def test_small_budgets_are_linear():
    found = solve(LayerPeeledModel(counts=[10] * 3 + [1] * 2, E_W=1e-8, E_H=1e-8))
    assert found.groups[1].phase == "vanishing"
    # grad at 0 has norm pi_A; the value falls by T pi_A
    assert np.log(5) - found.objective == pytest.approx(5e-8 * 10 / 32, rel=1e-5)


class TestWeights:
    def test_weights_divide_the_ratio(self):
        weighted = LayerPeeledModel(counts=[100] * 5 + [1] * 5, E_W=1, E_H=5, class_weights=[1] * 5 + [10] * 5)
        found, plain = solve(weighted), solve(LayerPeeledModel(counts=TEN, E_W=1, E_H=5))
        assert found.objective == pytest.approx(plain.objective, abs=1e-14)
        assert found.groups[1].cos_within == pytest.approx(0.51749628, abs=5e-9)
        over = oversampled(LayerPeeledModel(counts=[100] * 5 + [1] * 5, E_W=1, E_H=5), [1] * 5 + [10] * 5)
        assert solve(over).objective == pytest.approx(plain.objective, abs=1e-14)

    def test_balanced_weights_restore_the_frame(self):
        for weights in ("balanced", restoring_weights([100] * 5 + [3] * 5)):
            model = LayerPeeledModel(counts=[100] * 5 + [3] * 5, E_W=1, E_H=5, class_weights=weights)
            found = solve(model)
            assert found.method == "closed-form"
            assert found.objective == pytest.approx(balanced_loss(10, 1, 5), abs=1e-14)
            np.testing.assert_allclose(found.cos_between, -1 / 9, atol=1e-13)

    def test_over_correction_merges_the_majority(self):
        limit = largest_safe_weight(majority=4, minority=6, E_W=1, E_H=5, ratio=20)

        def majority_phase(w):
            model = LayerPeeledModel(counts=[20] * 4 + [1] * 6, E_W=1, E_H=5, class_weights=[1.0] * 4 + [w] * 6)
            return solve(model).groups[0].phase

        assert majority_phase(limit * (1 - 1e-6)) == "separated"
        assert majority_phase(limit * (1 + 1e-6)) == "merged"

    def test_classes_of_one_mass_and_two_counts_are_reported_apart(self):
        model = LayerPeeledModel(counts=[20, 20, 10, 5, 5], E_W=1, E_H=4, class_weights=[1, 1, 2, 1, 1])
        found = solve(model)
        assert [(g.count, g.classes) for g in found.groups] == [(20, 2), (10, 1), (5, 2)]
        dense = solve(model, method="dense")
        np.testing.assert_allclose(found.cos_between, dense.cos_between, atol=1e-9)


class TestFewDimensions:
    def test_enough_dimensions_change_nothing(self):
        free, tight = (solve(LayerPeeledModel(counts=TEN, E_W=1, E_H=5, dimension=p)) for p in (None, 9))
        assert tight.method == "groups" and tight.objective == free.objective

    def test_descent_reaches_the_relaxation_at_its_rank(self):
        model = LayerPeeledModel(counts=TEN, E_W=1, E_H=5, dimension=9)
        found = solve(model, method="factored", rtol=1e-8)
        assert found.objective == pytest.approx(solve(model).objective, abs=1e-9)
        assert found.status == "optimal" and found.relative_gap < 1e-8

    def test_too_few_dimensions_give_an_honest_gap(self):
        relaxed = solve(LayerPeeledModel(counts=TEN, E_W=1, E_H=5))
        found = solve(LayerPeeledModel(counts=TEN, E_W=1, E_H=5, dimension=3))
        assert found.method == "factored" and "local solution" in found.status
        assert found.certificate.lower == pytest.approx(relaxed.certificate.lower, rel=1e-12)
        assert 0.0219 < found.certificate.gap < 0.02199
        assert found.rank == 3 and found.classifier().shape == (10, 3)

    def test_merged_minority_needs_fewer_dimensions(self):
        found = solve(LayerPeeledModel(counts=[100, 100, 1, 1, 1], E_W=1, E_H=3, dimension=2))
        assert found.method == "groups" and found.rank == 2

    def test_one_dimension_on_a_line(self):
        found = solve(LayerPeeledModel(counts=[1] * 6, E_W=1, E_H=400, dimension=1))
        # two classes at the ends of the line, the others at zero, is one candidate
        assert found.objective < 4 / 6 * np.log(6)
        assert found.certificate.lower == pytest.approx(balanced_loss(6, 1, 400), rel=1e-6)
        assert (found.classifier() ** 2).sum() <= 6 * (1 + 1e-12)


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "word"),
        [
            ({"counts": [5]}, "classes"), ({"counts": []}, "classes"), ({"counts": [3, 0]}, "positive"),
            ({"counts": [3, -1]}, "positive"), ({"counts": [3, 1.5]}, "integers"), ({"counts": [3, np.nan]}, "finite"),
            ({"counts": [[3, 4]]}, "dimension"), ({"counts": ["a", "b"]}, "numbers"),
            ({"counts": [10**13, 1]}, "10^12"),
            ({"E_W": 0}, "E_W"), ({"E_W": -1}, "E_W"), ({"E_H": np.inf}, "E_H"), ({"E_H": "x"}, "E_H"),
            ({"E_H": 1e9}, "smaller"), ({"dimension": 0}, "dimension"), ({"dimension": 2.5}, "dimension"),
            ({"loss": "hinge"}, "loss"), ({"class_weights": [1]}, "per class"),
            ({"class_weights": [1, -1]}, "positive"),
            ({"class_weights": "even"}, "balanced"), ({"E_W": True}, "E_W"),
        ],
    )  # fmt: skip
    def test_model(self, change, word):
        with pytest.raises(InvalidInput, match=word.replace("^", r"\^")) as caught:
            LayerPeeledModel(**{"counts": [3, 4], "E_W": 1, "E_H": 5, **change})
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)

    def test_labels(self):
        model = LayerPeeledModel.from_labels(["b", "a", "b", "c"], E_W=1, E_H=5)
        assert list(model.counts) == [1, 2, 1]
        with pytest.raises(InvalidInput, match="empty"):
            LayerPeeledModel.from_labels([0, 2, 2], num_classes=3, E_W=1, E_H=5)
        with pytest.raises(InvalidInput, match="NaN"):
            LayerPeeledModel.from_labels([0.0, np.nan], E_W=1, E_H=5)

    def test_solve(self):
        model = LayerPeeledModel(counts=[30, 20, 10], E_W=1, E_H=5)
        with pytest.raises(InvalidInput, match="method"):
            solve(model, method="magic")
        with pytest.raises(InvalidInput, match="rtol"):
            solve(model, rtol=0)
        with pytest.raises(PreconditionError, match="closed form"):
            solve(model, method="closed-form")
        with pytest.raises(InvalidInput, match="LayerPeeledModel"):
            solve([1, 2, 3])
        with pytest.raises(NotConverged, match="reached") as caught:
            solve(model, max_steps=2)
        assert caught.value.partial.certificate.gap > 0 and caught.value.partial.status == "tolerance not reached"

    def test_matrices_that_do_not_fit(self):
        found = solve(LayerPeeledModel(counts=[100] * 50000 + [1] * 50000, E_W=5, E_H=20))
        assert found.relative_gap < 1e-10
        with pytest.raises(PreconditionError, match="2 GiB"):
            found.logits()

    def test_dimension_below_rank(self):
        found = solve(LayerPeeledModel(counts=[30, 20, 10], E_W=1, E_H=5))
        with pytest.raises(InvalidInput, match="rank 2"):
            found.classifier(1)
        assert found.classifier(7).shape == (3, 7)

    def test_thresholds(self):
        with pytest.raises(InvalidInput, match="minority"):
            collapse_threshold(majority=5, minority=1, E_W=1, E_H=5)
        with pytest.raises(InvalidInput, match="1e\\+300"):
            collapse_threshold(majority=1, minority=9, E_W=1, E_H=9000)
        with pytest.raises(InvalidInput, match="ratios"):
            phase_curve(majority=5, minority=5, E_W=1, E_H=5, ratios=[0.5])


@given(
    st.lists(st.integers(1, 10**12), min_size=1, max_size=12),
    st.lists(st.integers(1, 6), min_size=12, max_size=12),
    st.floats(1e-12, 1e6),
    st.floats(1e-6, 1e6),
    st.one_of(st.none(), st.lists(st.floats(1e-6, 1e6), min_size=72, max_size=72)),
    st.booleans(),
)
def test_any_input_gives_a_certified_answer_or_a_sentence(counts, copies, E_W, E_H, weights, equal):
    counts = [n for n, k in zip(counts, copies, strict=False) for _ in range(k)]
    try:
        w = None if weights is None else (weights[0] if equal else 1) * np.array(weights[: len(counts)])
        found = solve(LayerPeeledModel(counts=counts, E_W=E_W, E_H=E_H, class_weights=w))
    except TheoryError as error:
        assert str(error).strip() and "\n" not in str(error)
        if not isinstance(error, NotConverged):  # only an impossible question may be refused, never a solvable one
            assert len(counts) < 2 or "E_W * E_H" in str(error), f"{type(error).__name__}: {error}"
            return
        # masses over tens of decades, or equal to twelve digits: the partial solution is feasible and says its gap
        found = error.partial
        assert weights is not None or max(counts) > 10**9
    else:
        assert found.relative_gap <= 1e-9
    K = len(counts)
    assert found.certificate.gap >= 0
    assert (found.classifier() ** 2).sum() / K <= E_W * (1 + 1e-9)
    assert (found.features() ** 2).sum() / K <= E_H * (1 + 1e-9)
