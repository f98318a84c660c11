"""Regression: closed form = cvxpy = descent on W, H, b; bias, few features, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from tests.peeled.convex_programs import TIGHT
from theory import InvalidInput, PreconditionError
from theory.peeled.regression import RegressionModel, solve_regression


def random_model(seed, **options):
    rng = np.random.default_rng(seed)
    q, M = int(rng.integers(1, 5)), int(rng.integers(2, 9))
    Y = rng.standard_normal((q, q)) @ rng.standard_normal((q, M)) + 2 * rng.standard_normal((q, 1))
    lam_W, lam_H = np.exp(rng.uniform(-4, 0, 2))
    return RegressionModel(targets=Y, lam_W=float(lam_W), lam_H=float(lam_H), **options)


def objective(model, W, H, b):
    Y = model.targets
    fit = ((W @ H + b[:, None] - Y) ** 2).sum() / (2 * Y.shape[1])
    return fit + model.lam_H / (2 * Y.shape[1]) * (H**2).sum() + model.lam_W / 2 * (W**2).sum()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_three_ways_agree(seed, bias):
    import cvxpy as cp

    model = random_model(seed, bias=bias)
    found = solve_regression(model)
    Y, M = model.targets, model.targets.shape[1]
    A, b = cp.Variable(Y.shape), cp.Variable((Y.shape[0], 1))
    fit = cp.sum_squares(A + b @ np.ones((1, M)) - Y) / (2 * M)
    norm = np.sqrt(model.lam_W * model.lam_H / M) * cp.normNuc(A)
    want = cp.Problem(cp.Minimize(fit + norm), [] if bias else [b == 0]).solve(**TIGHT)
    assert found.objective == pytest.approx(want, rel=2e-8, abs=2e-8)
    zero = np.zeros(len(Y))
    assert objective(model, found.classifier(), found.features(), found.bias if bias else zero) == pytest.approx(
        found.objective, rel=1e-12
    )
    assert 0 <= found.certificate.relative_gap < 1e-12 and found.status == "optimal"
    np.testing.assert_allclose(found.gram_features(), found.features().T @ found.features(), atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_gram_matrix_of_the_classifier(seed):
    model = random_model(seed, bias=True)
    found = solve_regression(model)
    centred = model.targets - model.targets.mean(axis=1, keepdims=True)
    w, V = np.linalg.eigh(centred @ centred.T / centred.shape[1])
    root = np.sqrt(np.maximum(w, 0))
    c = np.sqrt(model.lam_W * model.lam_H)
    want = np.sqrt(model.lam_H / model.lam_W) * (V * np.maximum(root - c, 0)) @ V.T
    np.testing.assert_allclose(found.gram_classifier(), want, atol=1e-7)
    np.testing.assert_allclose(found.bias, model.targets.mean(axis=1), atol=1e-14)
    H = found.features()
    assert model.lam_W * (found.classifier() ** 2).sum() == pytest.approx(
        model.lam_H * (H**2).sum() / H.shape[1], rel=1e-12
    )


@pytest.mark.parametrize("seed", range(4))
def test_few_features(seed):
    rng = np.random.default_rng(seed)
    Y = rng.standard_normal((4, 7))
    model = RegressionModel(targets=Y, lam_W=0.05, lam_H=0.1, dimension=2, bias=True)
    found = solve_regression(model)
    assert found.rank == 2 and found.classifier().shape == (4, 2)

    def flat(x):
        return objective(model, x[:8].reshape(4, 2), x[8:22].reshape(2, 7), x[22:])

    best = min(minimize(flat, rng.standard_normal(26), options={"gtol": 1e-8}).fun for _ in range(5))
    assert best == pytest.approx(found.objective, abs=1e-9)
    assert flat(np.concatenate([found.classifier().ravel(), found.features().ravel(), found.bias])) == pytest.approx(
        found.objective, rel=1e-12
    )


@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_only_the_product_of_the_penalties_matters(seed, tilt):
    base = random_model(seed)
    tilted = RegressionModel(targets=base.targets, lam_W=base.lam_W * tilt, lam_H=base.lam_H / tilt)
    a, b = solve_regression(base), solve_regression(tilted)
    assert a.objective == pytest.approx(b.objective, rel=1e-12)
    np.testing.assert_allclose(a.predictions(), b.predictions(), atol=1e-10)


def test_limits():
    Y = np.array([[1.0, 2, 4], [0, 1, -1]])
    small = solve_regression(RegressionModel(targets=Y, lam_W=1e-9, lam_H=1e-9))
    np.testing.assert_allclose(small.predictions(), Y, atol=1e-7)
    none = solve_regression(RegressionModel(targets=Y, lam_W=10, lam_H=10, bias=True))
    assert none.rank == 0 and none.classifier().shape == (2, 0)
    np.testing.assert_allclose(none.predictions(), np.repeat(Y.mean(axis=1)[:, None], 3, 1), atol=1e-14)
    edge = np.linalg.svd(Y / np.sqrt(3), compute_uv=False)[1]
    around = [RegressionModel(targets=Y, lam_W=edge * f, lam_H=edge) for f in (1 - 1e-9, 1 + 1e-9)]
    ranks = [solve_regression(model).rank for model in around]
    assert ranks == [2, 1]
    assert solve_regression(RegressionModel(targets=np.zeros((2, 3)), lam_W=1, lam_H=1)).objective == 0


def test_one_hot_targets_are_the_squared_error_model():
    from theory.peeled import UnconstrainedFeaturesModel, solve

    counts, N = [5, 3, 2], 10
    Y = np.repeat(np.eye(3), counts, axis=1)
    for bias, lam_b in ((False, None), (True, 0)):
        model = UnconstrainedFeaturesModel(counts=counts, lam_W=0.02, lam_H=0.03, loss="mse", lam_b=lam_b)
        found = solve_regression(RegressionModel(targets=Y, lam_W=0.02, lam_H=0.03 * N, bias=bias))
        assert found.objective == pytest.approx(solve(model).objective, rel=1e-13)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"targets": [1.0, 2.0]}, "dimension"), ({"targets": [[np.nan]]}, "finite"),
        ({"targets": [[]]}, "at least one"),
        ({"targets": [["a"]]}, "numbers"), ({"lam_W": 0}, "lam_W"), ({"lam_H": np.inf}, "lam_H"),
        ({"bias": 0.5}, "bias"), ({"dimension": 0}, "dimension"), ({"targets": [[1e200]]}, "1e100"),
        ({"lam_W": 1e200, "lam_H": 1e200}, "range"),
    ],
)  # fmt: skip
def test_refusals(change, word):
    with pytest.raises(InvalidInput, match=word) as caught:
        RegressionModel(**{"targets": [[1.0, 2.0]], "lam_W": 1, "lam_H": 1, **change})
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_more_refusals_and_the_record():
    with pytest.raises(InvalidInput, match="RegressionModel"):
        solve_regression("model")
    found = solve_regression(RegressionModel(targets=np.ones((1, 20000)), lam_W=0.1, lam_H=0.1))
    with pytest.raises(PreconditionError, match="2 GiB"):
        found.gram_features()
    assert "rank 1" in found.summary() and found.to_json()["rank"] == 1 and "RegressionSolution" in repr(found)
