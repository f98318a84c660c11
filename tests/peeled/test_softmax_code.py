"""Softmax codes: exact hull distance, known optima, spherical codes, a bound that no configuration passes, refusals."""

import json
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ortho_group

from theory import InvalidInput, PreconditionError
from theory.peeled import SoftmaxCodeModel, one_vs_rest_distance, softmax_code_bound, solve, tammes_angle

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "softmax_code.json").read_text())


@cache
def searched(K, d):
    return solve(SoftmaxCodeModel(num_classes=K, dimension=d), method="multistart")


def sphere(seed, K, d):
    W = np.random.default_rng(seed).standard_normal((K, d))
    return W / np.linalg.norm(W, axis=1, keepdims=True)


class TestHullDistance:
    @pytest.mark.parametrize("seed", range(20))
    def test_against_a_conic_program(self, seed):
        import cvxpy as cp

        rng = np.random.default_rng(seed)
        K, d = int(rng.integers(3, 9)), int(rng.integers(1, 6))
        W = rng.uniform(0.1, 10) * rng.standard_normal((K, d))
        found = one_vs_rest_distance(W)
        k = int(rng.integers(K))
        x = cp.Variable(K - 1, nonneg=True)
        nearest = W[k] - np.delete(W, k, axis=0).T @ x
        problem = cp.Problem(cp.Minimize(cp.norm(nearest)), [cp.sum(x) == 1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            value = problem.solve(solver="CLARABEL", tol_gap_abs=1e-13, tol_gap_rel=1e-13, tol_feas=1e-13)
        assert found[k] == pytest.approx(value, abs=1e-9 * np.abs(W).max())

    @given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 10**6))
    def test_the_normal_proves_the_distance(self, K, d, seed):
        from theory.peeled.hull_distance import separators

        W = sphere(seed, K, d)
        distance, H = separators(W)
        scores = H @ W.T
        margins = np.diagonal(scores)[:, None] - scores
        np.fill_diagonal(margins, np.inf)
        least = margins.min(axis=1)
        outside = distance > 1e-9
        np.testing.assert_allclose(
            least[outside], distance[outside], atol=1e-13 / max(distance[outside].min(initial=1), 1e-9)
        )
        np.testing.assert_allclose(np.linalg.norm(H, axis=1), 1, atol=1e-14)

    @given(st.integers(3, 9), st.integers(2, 5), st.integers(0, 10**6), st.floats(1e-6, 1e6))
    def test_rotation_scale_shift_and_removal(self, K, d, seed, scale):
        W = sphere(seed, K, d)
        base = one_vs_rest_distance(W)
        Q = ortho_group.rvs(d, random_state=seed)
        np.testing.assert_allclose(one_vs_rest_distance(scale * W @ Q), scale * base, atol=1e-12 * scale)
        np.testing.assert_allclose(one_vs_rest_distance(W + 1), base, atol=1e-12)
        assert (one_vs_rest_distance(W[:-1]) >= base[:-1] - 1e-12).all()
        nearest = min(np.linalg.norm(W[0] - W[j]) for j in range(1, K))
        assert base[0] <= nearest + 1e-12

    def test_points_inside(self):
        square = [[1, 1], [1, -1], [-1, 1], [-1, -1], [-0.25, -0.1]]
        np.testing.assert_allclose(one_vs_rest_distance(square)[:2], np.sqrt(2), rtol=1e-14)
        assert one_vs_rest_distance(square)[4] < 1e-15
        assert one_vs_rest_distance([[1.0, 2.0], [1.0, 2.0], [0, 0]])[0] == 0


@pytest.mark.parametrize("case", REFERENCE["margins"], ids=lambda c: f"K={c['K']},d={c['d']}")
def test_known_margins(case):
    found = searched(case["K"], case["d"])
    assert -found.objective == pytest.approx(
        case["margin"], abs=0.6 * 10.0 ** -case["digits"] + 5e-5 * (case["K"] == 7)
    )
    assert -found.objective == pytest.approx(one_vs_rest_distance(found.classifier()).min(), abs=1e-13)
    assert found.certificate.lower <= found.objective
    if case["K"] <= 6:
        closed = solve(SoftmaxCodeModel(num_classes=case["K"], dimension=3))
        assert (closed.method, closed.status, found.status) == ("closed-form", "optimal", "optimal")
        assert closed.objective == pytest.approx(found.objective, abs=1e-9)
    else:
        assert "not proved" in found.status and "24 starts" in found.status


@pytest.mark.parametrize("case", REFERENCE["tammes_cosines"], ids=lambda c: f"K={c['K']},d={c['d']}")
def test_tammes(case):
    found = searched(case["K"], case["d"])
    assert np.cos(tammes_angle(found.classifier())) == pytest.approx(case["cosine"], abs=1e-9)
    # in these configurations the margin is one minus the cosine
    assert -found.objective == pytest.approx(1 - case["cosine"], abs=1e-10)


class TestClosedForms:
    @pytest.mark.parametrize(("K", "d"), [(2, 1), (2, 5), (4, 3), (10, 9), (10, 30)])
    def test_simplex(self, K, d):
        found = solve(SoftmaxCodeModel(num_classes=K, dimension=d))
        assert found.status == "optimal" and -found.objective == pytest.approx(K / (K - 1), rel=1e-14)
        assert found.groups[0].cos_within == pytest.approx(-1 / (K - 1), abs=1e-14)
        assert found.classifier().shape == (K, d) and found.rank == K - 1

    @pytest.mark.parametrize("K", [4, 5, 9, 100])
    def test_polygon(self, K):
        found = solve(SoftmaxCodeModel(num_classes=K, dimension=2))
        assert found.status == "optimal" and -found.objective == pytest.approx(1 - np.cos(2 * np.pi / K), rel=1e-11)
        np.testing.assert_allclose(one_vs_rest_distance(found.classifier()), -found.objective, rtol=1e-11)
        assert tammes_angle(found.classifier()) == pytest.approx(2 * np.pi / K, rel=1e-12)

    @pytest.mark.parametrize(("K", "d"), [(5, 3), (6, 3), (7, 5), (10, 5), (30, 20)])
    def test_part_of_a_cross_polytope(self, K, d):
        found = solve(SoftmaxCodeModel(num_classes=K, dimension=d))
        assert found.objective == -1 and found.status == "optimal"
        assert one_vs_rest_distance(found.classifier()).min() == pytest.approx(1, abs=1e-14)

    def test_line(self):
        found = solve(SoftmaxCodeModel(num_classes=5, dimension=1))
        assert found.objective == 0 and found.status == "optimal"

    @pytest.mark.parametrize(("K", "d"), [(4, 2), (5, 2), (9, 2), (3, 3)])
    def test_search_finds_them(self, K, d):
        found = searched(K, d)
        assert found.status == "optimal"
        assert -found.objective == pytest.approx(softmax_code_bound(K, d), rel=1e-9)


class TestBound:
    @given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 10**6))
    def test_no_configuration_passes_it(self, K, d, seed):
        W = sphere(seed, K, d)
        assert one_vs_rest_distance(W).min() <= softmax_code_bound(K, d) * (1 + 1e-12)

    @pytest.mark.parametrize(
        ("K", "d", "cosine"),
        [(24, 4, 1 / 2), (240, 8, 1 / 2), (56, 7, 1 / 3), (27, 6, 1 / 4), (16, 5, 1 / 5), (100, 22, 1 / 11),
         (162, 21, 1 / 7), (12, 3, 5**-0.5), (7, 3, 0.21013831), (196560, 24, 1 / 2)],
    )  # fmt: skip
    def test_it_is_above_the_good_spherical_codes(self, K, d, cosine):
        # a spherical code of cosine c has margin at least 1 - c, with h_k = w_k
        assert 1 - cosine <= softmax_code_bound(K, d) <= 1

    def test_it_falls_with_the_number_of_classes(self):
        for d in (2, 3, 4, 7):
            values = [softmax_code_bound(K, d) for K in range(2, 300)]
            assert (np.diff(values) <= 1e-14).all()
        assert softmax_code_bound(12, 3) == pytest.approx(0.589750, abs=1e-6)
        assert softmax_code_bound(7, 3) == pytest.approx(2 * (8**0.5 - 1) / (8**0.5 + 1), rel=1e-13)
        assert softmax_code_bound(10**5, 3) < 0.01

    def test_found_codes_respect_it(self):
        for K, d in ((7, 3), (12, 3), (9, 4)):
            found = searched(K, d)
            assert 0 < found.certificate.gap == pytest.approx(softmax_code_bound(K, d) + found.objective, abs=1e-15)


class TestRefusals:
    @pytest.mark.parametrize(
        ("K", "d", "word"),
        [(1, 3, "num_classes"), (5, 0, "dimension"), (5, 2.5, "whole"), (10**6, 3, "100000"), (True, 3, "num_classes")],
    )
    def test_model(self, K, d, word):
        with pytest.raises(InvalidInput, match=word) as caught:
            SoftmaxCodeModel(num_classes=K, dimension=d)
        assert str(caught.value).endswith(".")

    def test_solve(self):
        with pytest.raises(PreconditionError, match="closed form"):
            solve(SoftmaxCodeModel(num_classes=9, dimension=3), method="closed-form")
        with pytest.raises(PreconditionError, match="400 classes"):
            solve(SoftmaxCodeModel(num_classes=500, dimension=3))
        with pytest.raises(PreconditionError, match="softmax_code_bound"):
            solve(SoftmaxCodeModel(num_classes=10**5, dimension=10**5))
        with pytest.raises(InvalidInput, match="method"):
            solve(SoftmaxCodeModel(num_classes=9, dimension=3), method="sdp")

    def test_functions(self):
        with pytest.raises(InvalidInput, match="two rows"):
            one_vs_rest_distance([[1.0, 2.0]])
        with pytest.raises(InvalidInput, match="NaN"):
            one_vs_rest_distance([[1.0, np.nan], [0, 1]])
        with pytest.raises(InvalidInput, match="zero row"):
            tammes_angle([[1.0, 0], [0, 0]])
        with pytest.raises(InvalidInput, match="dimension"):
            softmax_code_bound(4, 0)
