"""Unconstrained features with cross-entropy: recorded numbers, closed forms, cvxpy, thresholds, path."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import InvalidInput, NotConverged, PreconditionError
from theory.peeled import LayerPeeledModel, UnconstrainedFeaturesModel, penalised_loss, regularization_path, solve
from theory.peeled._penalised import PenalisedProgram
from theory.peeled._ufm_cross_entropy import PenalisedSearch


def cvxpy_value(n, lam, lam_b=None, weights=None, smoothing=0.0):
    import cvxpy as cp

    K, n = len(n), np.asarray(n, float)
    mass = n * (np.ones(K) if weights is None else np.asarray(weights))
    mass /= mass.sum()
    Z, b = cp.Variable((K, K)), cp.Variable(K)
    T = (1 - smoothing) * np.eye(K) + smoothing / K
    logits = [Z[:, k] + (b if lam_b is not None else 0) for k in range(K)]
    loss = cp.sum([mass[k] * (cp.log_sum_exp(logits[k]) - T[:, k] @ logits[k]) for k in range(K)])
    loss += lam * cp.normNuc(Z @ np.diag(np.sqrt(n))) + (lam_b / 2 * cp.sum_squares(b) if lam_b else 0)
    return cp.Problem(cp.Minimize(loss)).solve(
        solver="CLARABEL", tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10
    )


@pytest.mark.parametrize(("lam", "want"), [(0.0027, 1.44764877), (0.0030, 1.54051179), (0.0033, 1.62046727)])
def test_recorded_objectives(lam, want):
    model = UnconstrainedFeaturesModel(counts=[500] * 5 + [100] * 5, lam_W=lam / 3, lam_H=lam * 3, lam_b=0.02)
    assert solve(model).objective == pytest.approx(want, abs=6e-9)


def test_public_example_is_trivial():
    # clusters 3, 3, 4 of 5000, 4000, 3000 samples at lam_Z = .005: the logits are zero, the bias is not
    counts = [5000] * 3 + [4000] * 3 + [3000] * 4
    found = solve(UnconstrainedFeaturesModel(counts=counts, lam_W=0.005, lam_H=0.005, lam_b=0.02))
    # the recorded value is 2.283748793; a scalar minimisation over the bias alone gives its last digits as ...788
    from scipy.optimize import minimize

    n = np.array(counts, float)
    best = minimize(
        lambda b: np.log(np.exp(b).sum()) - n @ b / n.sum() + 0.01 * b @ b, np.zeros(10), method="BFGS", tol=1e-10
    )
    assert found.objective == pytest.approx(best.fun, abs=1e-12)
    assert found.objective == pytest.approx(2.283748793, abs=6e-9)
    np.testing.assert_allclose(found.bias, best.x[[0, 3, 6]], atol=1e-6)
    np.testing.assert_allclose(found.bias, [0.22800, 0.03433, -0.19675], atol=2e-5)  # as recorded
    assert found.rank == 0 and {g.phase for g in found.groups} == {"vanishing"} and not found.logits().any()


@pytest.mark.parametrize(("K", "n", "lam"), [(2, 30, 0.01), (4, 50, 1e-3), (10, 7, 5e-3), (100, 3, 1e-4)])
def test_balanced_amplitude(K, n, lam):
    found = solve(UnconstrainedFeaturesModel(counts=[n] * K, lam_W=lam, lam_H=lam))
    t = np.log(1 / (lam * np.sqrt(n)) - K + 1)
    np.testing.assert_allclose(found.logits(), t * (np.eye(K) - 1 / K), atol=1e-10)
    edge = 1 / (K * np.sqrt(n))
    zero = solve(UnconstrainedFeaturesModel(counts=[n] * K, lam_W=1.0001 * edge, lam_H=edge))
    assert zero.rank == 0 and zero.objective == pytest.approx(np.log(K), rel=1e-14)


def test_smoothed_labels_in_the_balanced_model():
    K, n, lam, alpha = 5, 20, 1e-4, 0.1
    found = solve(UnconstrainedFeaturesModel(counts=[n] * K, lam_W=lam, lam_H=lam, label_smoothing=alpha))
    p = alpha * (K - 1) / K + lam * np.sqrt(n) * (K - 1)
    assert found.logits()[0, 0] - found.logits()[1, 0] == pytest.approx(np.log((K - 1) * (1 - p) / p), abs=1e-9)


CASES = [
    {}, {"lam_b": 0.0}, {"lam_b": 0.05}, {"smoothing": 0.1}, {"lam_b": 0.01, "smoothing": 0.05}, {"weighted": True},
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_cvxpy(case):
    rng = np.random.default_rng(len(str(case)))
    for _ in range(4):
        n = np.round(10 ** rng.uniform(0, 3, rng.integers(2, 5)))
        n = np.repeat(n, rng.integers(1, 3, len(n)))
        if len(n) < 2:
            n = np.append(n, 3.0)
        lam = float(np.sqrt(n.min()) / n.sum() * 10 ** rng.uniform(-1.5, 0.5))
        weights = rng.uniform(0.5, 2, len(n)) if case.get("weighted") else None
        model = UnconstrainedFeaturesModel(
            counts=n, lam_W=lam, lam_H=lam, lam_b=case.get("lam_b"), class_weights=weights,
            label_smoothing=case.get("smoothing", 0.0),
        )  # fmt: skip
        found = solve(model)
        want = cvxpy_value(n, lam, case.get("lam_b"), weights, case.get("smoothing", 0.0))
        assert found.objective == pytest.approx(want, abs=2e-7)
        assert found.objective <= want + 1e-9 and found.certificate.lower <= want + 1e-9
        assert found.relative_gap < 1e-10


def test_factors_pay_the_penalty():
    model = UnconstrainedFeaturesModel(counts=[50, 50, 8, 8, 3], lam_W=3e-3, lam_H=1e-3)
    found = solve(model)
    W, H, n = found.classifier(), found.features(), np.array([50, 50, 8, 8, 3.0])
    np.testing.assert_allclose(W @ H, found.logits(), atol=1e-11)
    half_W, half_H = 3e-3 / 2 * (W**2).sum(), 1e-3 / 2 * (n * (H**2).sum(axis=0)).sum()
    assert half_W == pytest.approx(half_H, rel=1e-11)  # the balanced split of the nuclear norm
    loss = (n / n.sum()) @ (np.log(np.exp(W @ H).sum(axis=0)) - np.diagonal(W @ H))
    assert loss + half_W + half_H == pytest.approx(found.objective, rel=1e-12)
    lengths = [found.groups[0].norm_h, found.groups[1].norm_h, found.groups[2].norm_h]
    np.testing.assert_allclose(np.linalg.norm(H, axis=0)[[0, 2, 4]], lengths, atol=1e-11)


@pytest.mark.parametrize("lam_b", [None, 0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [1, 1, 1, 3, 3, 3]])
def test_merge_threshold(lam_b, weights):
    counts = [100] * 3 + [10] * 3
    omega = np.ones(6) if weights is None else np.array(weights, float)
    threshold = omega[3] * np.sqrt(10) / (omega * counts).sum()

    def phase(lam):
        model = UnconstrainedFeaturesModel(counts=counts, lam_W=lam, lam_H=lam, lam_b=lam_b, class_weights=weights)
        return solve(model).groups[1].phase

    assert phase(threshold * (1 - 1e-4)) == "separated" and phase(threshold * (1 + 1e-4)) in ("merged", "vanishing")


def test_path_equals_single_solves_and_brackets_the_thresholds():
    model = UnconstrainedFeaturesModel(counts=[200] * 2 + [40] * 3 + [9] * 2, lam_W=2, lam_H=1)
    lams = np.geomspace(1e-4, 3e-2, 15)
    path = regularization_path(model, lam_Z=lams[::-1])
    for i, lam in enumerate(path.lam_Z):
        single = solve(
            UnconstrainedFeaturesModel(counts=model.counts, lam_W=lam * np.sqrt(2), lam_H=lam / np.sqrt(2))
        )
        assert path.objective[i] == pytest.approx(single.objective, rel=1e-10)
        np.testing.assert_allclose(path.norm_w[i], [g.norm_w for g in single.groups], atol=1e-7)
        for g in range(3):
            assert (path.phase[i, g] == "separated") == (lam < path.merge_threshold[g])
    assert path.merge_threshold == pytest.approx(np.sqrt([200, 40, 9]) / 538, rel=1e-12)


def test_the_gap_of_a_path_bounds_what_a_better_point_saves(monkeypatch):
    lams = np.geomspace(1e-3, 1e-2, 4)
    even = regularization_path(UnconstrainedFeaturesModel(counts=[30] * 6, lam_W=1, lam_H=1), lam_Z=lams)
    exact = [penalised_loss(6, 30, lam_Z=lam) for lam in lams]
    assert (np.abs(even.objective - exact) <= even.gap).all() and (even.gap < 1e-11 * even.objective).all()

    model = UnconstrainedFeaturesModel(counts=[200] * 2 + [40] * 3 + [9] * 2, lam_W=2, lam_H=1)
    best, optimum = regularization_path(model, lam_Z=lams), PenalisedSearch.optimum

    def longer_by(off):
        def longer(self, lam):
            e, left, s, right = optimum(self, lam)
            return e * (1 + off), left, s * (1 + off), right

        monkeypatch.setattr(PenalisedSearch, "optimum", longer)

    longer_by(1e-10)
    near = regularization_path(model, lam_Z=lams)  # logits too long by 1e-10 cost 1e-20: the gap is of first order
    assert (near.gap > 100 * best.gap).all() and (near.objective - best.objective <= near.gap).all()
    for off in (1e-3, 0.1):
        longer_by(off)
        for lam, least in zip(lams, best.objective, strict=True):
            certificate = PenalisedSearch(model).certified(lam)[1]
            assert 1e-9 < certificate.upper - least <= certificate.gap
        with pytest.raises(NotConverged, match="relative gap"):
            regularization_path(model, lam_Z=lams)


def test_smoothing_lowers_the_thresholds():
    model = UnconstrainedFeaturesModel(counts=[50, 50, 5, 5], lam_W=1, lam_H=1, label_smoothing=0.2)
    edge = 0.8 * np.sqrt(5) / 110
    path = regularization_path(model, lam_Z=[edge * (1 - 1e-4), edge * (1 + 1e-4)])
    assert path.merge_threshold[1] == pytest.approx(edge, rel=1e-14)
    assert path.phase[:, 1].tolist() == ["separated", "merged"]


@settings(max_examples=20)
@given(st.lists(st.integers(1, 10**5), min_size=2, max_size=6), st.floats(-4, 1), st.sampled_from([None, 0.0, 0.1]))
def test_only_the_product_of_penalties_enters_the_logits(counts, exponent, lam_b):
    lam = 10**exponent * np.sqrt(min(counts)) / sum(counts)
    one = solve(UnconstrainedFeaturesModel(counts=counts, lam_W=lam, lam_H=lam, lam_b=lam_b))
    two = solve(UnconstrainedFeaturesModel(counts=counts, lam_W=9 * lam, lam_H=lam / 9, lam_b=lam_b))
    np.testing.assert_allclose(two.logits(), one.logits(), atol=1e-6 * max(1, np.abs(one.logits()).max()))
    assert one.relative_gap < 1e-9


def test_constrained_model_at_the_measured_budget_is_the_balanced_penalised_one():
    found = solve(UnconstrainedFeaturesModel(counts=[12] * 6, lam_W=1e-3, lam_H=1e-3))
    E_W, E_H = (found.classifier() ** 2).sum() / 6, (found.features() ** 2).sum() / 6
    np.testing.assert_allclose(
        solve(LayerPeeledModel(counts=[12] * 6, E_W=E_W, E_H=E_H)).logits(), found.logits(), atol=1e-9
    )


@given(st.integers(0, 10**6), st.sampled_from([None, 0.0, 0.2]), st.sampled_from([0.0, 0.1]))
def test_derivatives_with_the_bias_eliminated(seed, lam_b, smoothing):
    rng = np.random.default_rng(seed)
    n, K = rng.uniform(1, 400, 3), np.array([3.0, 1.0, 2.0])
    program = PenalisedProgram(n / (n @ K), K, np.sqrt(n), budget=1.0, lam_b=lam_b, smoothing=smoothing)
    e, M = 5 * rng.standard_normal(3) * program.has_twins, 5 * rng.standard_normal((3, 3))
    de, dM = rng.standard_normal(3) * program.has_twins, rng.standard_normal((3, 3))
    h = 1e-4
    up, down = program.value(e + h * de, M + h * dM), program.value(e - h * de, M - h * dM)
    _, grad_e, grad_M, softmax = program.value(e, M)
    assert grad_e @ de + np.vdot(grad_M, dM) == pytest.approx((up[0] - down[0]) / (2 * h), rel=1e-5, abs=1e-9)
    he, hM = program.curvature(softmax, de, dM)
    np.testing.assert_allclose(he, (up[1] - down[1]) / (2 * h), rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(hM, (up[2] - down[2]) / (2 * h), rtol=1e-4, atol=1e-8)


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "word"),
        [
            ({"lam_W": 0}, "lam_W"), ({"lam_H": np.nan}, "lam_H"), ({"lam_b": -1}, "lam_b"),
            ({"loss": "hinge"}, "loss"),
            ({"features": "tanh"}, "features"), ({"label_smoothing": 1.0}, "label_smoothing"), ({"gamma": 2}, "gamma"),
            ({"loss": "focal"}, "gamma"), ({"loss": "focal", "gamma": -1}, "gamma"),
            ({"features": "relu", "lam_b": 0}, "relu"), ({"loss": "mse", "label_smoothing": 0.1}, "cross-entropy"),
            ({"dimension": 0}, "dimension"),
        ],
    )  # fmt: skip
    def test_model(self, change, word):
        with pytest.raises(InvalidInput, match=word):
            UnconstrainedFeaturesModel(**{"counts": [3, 4], "lam_W": 0.1, "lam_H": 0.1, **change})

    def test_rank_and_path(self):
        with pytest.raises(PreconditionError, match="rank"):
            solve(UnconstrainedFeaturesModel(counts=[30, 20, 10], lam_W=1e-3, lam_H=1e-3, dimension=1))
        with pytest.raises(InvalidInput, match="positive"):
            regularization_path(UnconstrainedFeaturesModel(counts=[3, 4], lam_W=1, lam_H=1), lam_Z=[0.0])
        with pytest.raises(InvalidInput, match="cross-entropy"):
            regularization_path(UnconstrainedFeaturesModel(counts=[3, 4], lam_W=1, lam_H=1, loss="mse"), lam_Z=[1.0])
        with pytest.raises(InvalidInput, match="method"):
            solve(UnconstrainedFeaturesModel(counts=[3, 4], lam_W=1, lam_H=1), method="sdp")
