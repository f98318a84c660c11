"""Simplex-encoded labels: published digits, sign condition, dual bound, convex programs, limits, refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import InvalidInput, NotConverged, PreconditionError
from theory.peeled import SELIModel, seli_two_groups, solve
from theory.peeled._seli import GroupProgram, dual_bound

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "seli.json").read_text())
counts_of = st.lists(st.integers(1, 10**6), min_size=2, max_size=12)


def test_two_groups_to_six_digits():
    want = REFERENCE["two_groups"]
    closed = seli_two_groups(want["K_A"], want["K_B"], want["n_A"], want["n_B"])
    found = solve(SELIModel(counts=[10] * 5 + [1] * 5))
    for side, cos, norm in (
        ("classifiers", found.cos_between, [g.norm_w for g in found.groups]),
        ("features", found.cos_between_features, [g.norm_h for g in found.groups]),
    ):
        for name, number in want[side].items():
            assert getattr(getattr(closed, side), name) == pytest.approx(number, abs=6e-7)
        assert cos[0, 0] == pytest.approx(want[side]["cos_AA"], abs=6e-7)
        assert cos[1, 1] == pytest.approx(want[side]["cos_BB"], abs=6e-7)
        assert cos[0, 1] == pytest.approx(want[side]["cos_AB"], abs=6e-7)
        assert norm[0] / norm[1] == pytest.approx(want[side]["norm_ratio"], abs=6e-7)


@pytest.mark.parametrize("case", REFERENCE["nuclear_values"])
def test_nuclear_values(case):
    assert solve(SELIModel(counts=case["counts"])).objective == pytest.approx(case["objective"], abs=6e-7)


@pytest.mark.parametrize(("K_A", "K_B", "n_A", "n_B"), [(5, 5, 10, 1), (1, 4, 300, 7), (6, 1, 90, 2), (2, 3, 5, 4)])
def test_two_groups_in_full(K_A, K_B, n_A, n_B):
    closed, found = seli_two_groups(K_A, K_B, n_A, n_B), solve(SELIModel(counts=[n_A] * K_A + [n_B] * K_B))
    assert found.objective == pytest.approx(closed.objective, rel=1e-14)
    for side, cos in (("classifiers", found.cos_between), ("features", found.cos_between_features)):
        geometry = getattr(closed, side)
        want = np.array([[geometry.cos_AA, geometry.cos_AB], [geometry.cos_AB, geometry.cos_BB]])
        np.testing.assert_allclose(cos, want, rtol=0, atol=1e-13)
    np.testing.assert_allclose(
        [g.norm_w**2 for g in found.groups], [closed.classifiers.square_A, closed.classifiers.square_B], rtol=1e-13
    )
    np.testing.assert_allclose(
        [g.norm_h**2 for g in found.groups], [closed.features.square_A, closed.features.square_B], rtol=1e-13
    )
    W, H = found.classifier(), found.features()
    cos = (W * H.T).sum(axis=1) / (np.linalg.norm(W, axis=1) * np.linalg.norm(H, axis=0))
    np.testing.assert_allclose([cos[0], cos[-1]], [closed.cos_wh_A, closed.cos_wh_B], atol=1e-13)


def test_a_thousand_count_vectors_keep_the_certificate():
    rng = np.random.default_rng(2022)
    for _ in range(1000):
        counts = np.floor(10 ** rng.uniform(0, 6, rng.integers(2, 13)))
        found = solve(SELIModel(counts=counts))
        assert found.status == "optimal" and found.certificate.residuals["sign"] == 0
        assert 0 <= found.relative_gap < 2e-13


@pytest.mark.parametrize("seed", range(20))
def test_conic_program_and_dense_formula_agree(seed):
    rng = np.random.default_rng(seed)
    K = int(rng.integers(2, 7))
    counts = np.floor(10 ** rng.uniform(0, 2, K))
    kind = {} if seed < 8 else {"margins": rng.uniform(0.5, 2, K)}
    if seed >= 14:
        kind["temperatures"] = rng.uniform(0.5, 2, K)
    model = SELIModel(counts=counts, **kind)
    found, conic = solve(model), solve(model, method="sdp", rtol=1e-6)
    m, w = kind.get("margins", np.ones(K)), 1 / kind.get("temperatures", np.ones(K))
    Z = np.diag(w * m) - np.outer(w, w) @ np.diag(w * m) / (w @ w)  # written out, not from the package
    Y = Z * np.sqrt(counts)
    assert found.objective == pytest.approx(np.linalg.svd(Y, compute_uv=False).sum(), rel=1e-13)
    np.testing.assert_allclose(found.logits(), Z, atol=1e-12)
    values, vectors = np.linalg.eigh(Y @ Y.T)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    np.testing.assert_allclose(found.gram_classifier(), root, atol=1e-6)
    assert conic.certificate.lower <= found.certificate.upper * (1 + 1e-13)
    assert found.certificate.lower <= conic.certificate.upper * (1 + 1e-13)
    assert conic.relative_gap < 1e-6 and conic.objective == pytest.approx(found.objective, rel=1e-6)
    np.testing.assert_allclose(conic.logits(), found.logits(), atol=1e-5 * np.abs(Z).max())


@given(counts_of, st.data())
def test_every_margin_is_met_with_equality(counts, data):
    K = len(counts)
    positive = st.lists(st.floats(0.1, 10), min_size=K, max_size=K)
    m, delta = np.array(data.draw(positive)), np.array(data.draw(positive))
    found = solve(SELIModel(counts=counts, margins=m, temperatures=delta))
    Z = found.logits()
    margins = delta * np.diagonal(Z) - delta[:, None] * Z
    off = ~np.eye(K, dtype=bool)
    np.testing.assert_allclose(margins[off], np.broadcast_to(m, (K, K))[off], rtol=1e-9)
    np.testing.assert_allclose((1 / delta) @ Z, 0, atol=1e-9 * np.abs(Z).max() / delta.min())
    np.testing.assert_allclose(found.classifier() @ found.features(), Z, atol=1e-9 * np.abs(Z).max())
    half = ((found.classifier() ** 2).sum() + np.array(counts) @ (found.features() ** 2).sum(axis=0)) / 2
    assert half == pytest.approx(found.objective, rel=1e-9)
    assert found.rank == K - 1 and found.certificate.residuals["sign"] == 0


@given(counts_of, st.integers(0, 10**6))
def test_no_separating_point_beats_the_lower_bound(counts, seed):
    found, K = solve(SELIModel(counts=counts)), len(counts)
    rng = np.random.default_rng(seed)
    for size in (1e-6, 1e-3, 1.0):
        Z = found.logits() + size * rng.standard_normal((K, K))
        margins = np.diagonal(Z) - Z
        np.fill_diagonal(margins, np.inf)
        least = margins.min(axis=0)
        if (least > 0).all():
            value = np.linalg.svd(Z / least * np.sqrt(counts), compute_uv=False).sum()
            assert value >= found.certificate.lower


@given(counts_of, st.integers(0, 10**6))
def test_any_matrix_gives_a_lower_bound(counts, seed):
    c = np.ones(len(counts))
    program = GroupProgram(c, np.array(counts, float), c, c)
    polar = np.random.default_rng(seed).standard_normal((len(counts), len(counts)))
    M = np.minimum(polar - np.diag(np.diag(polar)), 0.0)
    if not M.any():
        return
    M -= np.diag(M.sum(axis=0))  # nonpositive off the diagonal, columns of sum zero: a dual point, written out
    value = np.trace(M * np.sqrt(counts)) / np.linalg.norm(M, 2)
    found, sign = dual_bound(program, polar)
    assert found == pytest.approx(value, rel=1e-12) and found < solve(SELIModel(counts=counts)).objective
    assert (sign > 0) == (polar[~np.eye(len(counts), dtype=bool)] > 0).any()


class TestLimits:
    @pytest.mark.parametrize("K", [2, 3, 10])
    def test_equal_counts_give_the_simplex_frame(self, K):
        found = solve(SELIModel(counts=[7] * K))
        assert found.groups[0].cos_within == pytest.approx(-1 / (K - 1), abs=1e-14)
        assert found.objective == pytest.approx((K - 1) * np.sqrt(7), rel=1e-14)

    def test_margins_of_the_inverse_root_restore_the_frame(self):
        counts = np.array([1000, 300, 70, 9, 1])
        found = solve(SELIModel(counts=counts, margins=counts**-0.5))
        np.testing.assert_allclose(found.cos_between[~np.eye(5, dtype=bool)], -1 / 4, atol=1e-13)
        np.testing.assert_allclose([g.norm_w for g in found.groups], found.groups[0].norm_w, rtol=1e-13)
        plain = solve(SELIModel(counts=counts))
        assert np.nanmax(np.abs(plain.cos_between + 1 / 4)) > 0.1

    def test_two_classes_are_opposite(self):
        found = solve(SELIModel(counts=[1000, 3]))
        assert found.cos_between[0, 1] == -1 and found.objective == pytest.approx(np.sqrt(1003 / 2), rel=1e-14)

    def test_margins_act_through_effective_counts(self):
        weighted = solve(SELIModel(counts=[40, 10, 10, 3], margins=[1, 2, 1, 1]))
        plain = solve(SELIModel(counts=[40, 40, 10, 3]))
        assert weighted.objective == pytest.approx(plain.objective, rel=1e-14)
        np.testing.assert_allclose(weighted.gram_classifier(), plain.gram_classifier(), atol=1e-12)

    def test_groups_share_the_effective_counts(self):
        model = SELIModel(counts=[9, 1, 1, 1], margins=[1, 3, 1, 1], temperatures=[1, 1, 0.5, 0.5])
        np.testing.assert_allclose(
            model._partition.mass[model._partition.class_mass_group], [9 / 26, 9 / 26, 4 / 26, 4 / 26]
        )

    def test_weights_and_additive_adjustment_do_nothing_and_the_record_says_so(self):
        plain = solve(SELIModel(counts=[30, 9, 9, 2]))
        other = solve(SELIModel(counts=[30, 9, 9, 2], class_weights=[1, 2, 3, 4], logit_adjustment=[0, 1, -1, 2]))
        np.testing.assert_array_equal(other.logits(), plain.logits())
        assert "do not enter" in other.certificate.method and "do not enter" not in plain.certificate.method
        assert other.to_json()["without_effect"] == ["class_weights", "logit_adjustment"]
        assert [g.weight for g in other.groups] == [1, 3, 2, 4] and len(plain.groups) == 3

    def test_a_million_classes(self):
        found = solve(SELIModel(counts=[10**6] * 500000 + [3] * 500000))
        assert found.rank == 999999 and found.relative_gap < 1e-13
        assert found.objective == pytest.approx(seli_two_groups(500000, 500000, 10**6, 3).objective, rel=1e-14)


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "word"),
        [
            ({"counts": [3]}, "classes"), ({"counts": [3, 0]}, "positive"), ({"counts": [3, np.nan]}, "finite"),
            ({"margins": [1]}, "per class"), ({"margins": [1, 0]}, "positive"), ({"margins": [1, 1e12]}, "positive"),
            ({"temperatures": [1, -1]}, "positive"), ({"temperatures": "x"}, "numbers"),
            ({"logit_adjustment": [1, np.inf]}, "finite"), ({"logit_adjustment": [1, 2, 3]}, "per class"),
            ({"class_weights": "even"}, "balanced"), ({"dimension": 0}, "dimension"),
        ],
    )  # fmt: skip
    def test_model(self, change, word):
        with pytest.raises(InvalidInput, match=word) as caught:
            SELIModel(**{"counts": [3, 4], **change})
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)

    def test_too_few_dimensions(self):
        with pytest.raises(PreconditionError, match="rank K - 1 = 3"):
            solve(SELIModel(counts=[4, 3, 2, 1], dimension=2))
        assert solve(SELIModel(counts=[4, 3, 2, 1], dimension=3)).classifier().shape == (4, 3)

    def test_method_and_labels(self):
        with pytest.raises(InvalidInput, match="method"):
            solve(SELIModel(counts=[4, 3]), method="groups")
        with pytest.raises(PreconditionError, match="30 classes"):
            solve(SELIModel(counts=[4] * 31), method="sdp")
        with pytest.raises(NotConverged, match="attached"):
            solve(SELIModel(counts=[4, 3, 1]), rtol=1e-17)
        with pytest.raises(InvalidInput, match="empty"):
            SELIModel.from_labels([0, 0, 2], num_classes=3)
        assert repr(SELIModel.from_labels(list("aab"), margins=[1, 2])) == "SELIModel(counts=2x1,1x1, margins=...)"

    def test_closed_form(self):
        with pytest.raises(InvalidInput, match="K_A"):
            seli_two_groups(0, 3, 1, 1)
        with pytest.raises(InvalidInput, match="n_B"):
            seli_two_groups(2, 3, 1, -1)
