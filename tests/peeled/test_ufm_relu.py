"""Nonnegative features: published margins, bounded descents, the copositive dual point, the threshold."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax

from tests.peeled.convex_programs import random_counts
from theory import InvalidInput, PreconditionError
from theory.peeled import UnconstrainedFeaturesModel, solve

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "unconstrained.json").read_text())


def model(counts, lam_W=1e-3, lam_H=2e-3, **options):
    return UnconstrainedFeaturesModel(counts=counts, lam_W=lam_W, lam_H=lam_H, features="relu", **options)


def value_and_gradient(spec, W, H):
    """The objective by its definition."""
    n = np.asarray(spec.counts)
    w = n if spec.class_weights is None else n * spec.class_weights
    Z, pi, eye = W @ H, w / w.sum(), np.eye(len(n))
    if spec.loss == "mse":
        loss, G = ((Z - eye) ** 2).sum(axis=0) @ pi / 2, (Z - eye) * pi
    else:
        logp = log_softmax(Z, axis=0)
        loss, G = -np.diagonal(logp) @ pi, (np.exp(logp) - eye) * pi
    value = loss + spec.lam_W / 2 * (W**2).sum() + spec.lam_H / 2 * (H**2).sum(axis=0) @ n
    return value, G @ H.T + spec.lam_W * W, W.T @ G + spec.lam_H * H * n


def best_descent(spec, p, starts=6, seed=0):
    """The lowest of several quasi-Newton descents with the features bounded below by zero."""
    K, rng = spec.num_classes, np.random.default_rng(seed)

    def flat(x):
        value, dW, dH = value_and_gradient(spec, x[: K * p].reshape(K, p), x[K * p :].reshape(p, K))
        return value, np.concatenate([dW.ravel(), dH.ravel()])

    bounds = [(None, None)] * (K * p) + [(0, None)] * (K * p)
    options = {"ftol": 1e-16, "gtol": 1e-10, "maxiter": 5000, "maxfun": 10000}
    return min(
        minimize(flat, np.abs(rng.standard_normal(2 * K * p)), jac=True, method="L-BFGS-B", bounds=bounds,
                 options=options).fun
        for _ in range(starts)
    )  # fmt: skip


def test_published_margins():
    want = REFERENCE["relu_cross_entropy"]
    found = solve(UnconstrainedFeaturesModel(**want["model"], features="relu"))
    K = 4
    np.testing.assert_allclose(np.diag(found.logits()) * K / (K - 1), want["margins"], atol=6e-6)
    assert found.objective == pytest.approx(want["objective"], abs=6e-10)
    assert found.relative_gap < 1e-14 and found.status == "optimal" and found.method == "closed-form"


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("seed", range(20))
def test_no_bounded_descent_does_better(seed, loss):
    rng = np.random.default_rng(seed)
    counts = random_counts(seed, largest=60)
    lam = float(np.exp(rng.uniform(-3, -0.3))) * np.sqrt(max(counts)) / sum(counts)
    weights = None if seed % 2 else np.exp(rng.uniform(-0.7, 0.7, len(counts)))
    spec = model(counts, 3 * lam, lam / 3, loss=loss, class_weights=weights)
    found = solve(spec)
    W, H = found.classifier(), found.features()
    assert (H >= 0).all()
    np.testing.assert_allclose(W @ H, found.logits(), atol=1e-13)
    assert value_and_gradient(spec, W, H)[0] == pytest.approx(found.objective, rel=1e-13)
    assert best_descent(spec, len(counts) + 1, starts=8) == pytest.approx(found.objective, abs=1e-9)
    assert 0 <= found.relative_gap < 1e-13


@given(st.integers(0, 10**6))
def test_the_dual_point_is_copositive(seed):
    rng = np.random.default_rng(seed)
    K = int(rng.integers(2, 8))
    c = np.exp(rng.uniform(-3, 3, K))
    U = (np.eye(K) - 1 / K) * c
    h = np.maximum(rng.standard_normal((K, 200)), 0)
    assert (np.linalg.norm(U @ h, axis=0) <= np.sqrt((K - 1) / K) * c.max() * np.linalg.norm(h, axis=0) + 1e-12).all()
    unit = np.eye(K)[np.argmax(c)]
    assert np.linalg.norm(U @ unit) == pytest.approx(np.sqrt((K - 1) / K) * c.max(), rel=1e-12)


def test_geometry():
    found = solve(model([100, 60, 30, 10, 10], 1e-3, 5e-3))
    W, H, n = found.classifier(), found.features(), np.array([100, 60, 30, 10, 10])
    gram = H.T @ H
    np.testing.assert_allclose(gram - np.diag(np.diag(gram)), 0, atol=1e-14)
    toward = 5 * np.sqrt(n)[:, None] * H.T - (np.sqrt(n) * H).sum(axis=1)
    cos = (W * toward).sum(axis=1) / np.linalg.norm(W, axis=1) / np.linalg.norm(toward, axis=1)
    np.testing.assert_allclose(cos, 1, atol=1e-13)  # w_k along K sqrt(n_k) h_k - sum sqrt(n_m) h_m
    assert 1e-3 * (W**2).sum() == pytest.approx(5e-3 * (H**2).sum(axis=0) @ n, rel=1e-13)
    for k, g in ((0, found.groups[0]), (3, found.groups[3])):
        assert g.norm_w == pytest.approx(np.linalg.norm(W[k]), rel=1e-13)
        assert g.norm_h == pytest.approx(np.linalg.norm(H[:, k]), rel=1e-13)
    assert found.groups[3].cos_within == pytest.approx(W[3] @ W[4] / (W[3] @ W[3]), rel=1e-12)
    assert found.cos_between[0, 1] == pytest.approx(
        W[0] @ W[1] / np.linalg.norm(W[0]) / np.linalg.norm(W[1]), rel=1e-12
    )


def test_a_class_loses_its_feature_at_the_threshold():
    counts, K, N = [50, 20, 8, 8], 4, 86
    for loss, edge in (("cross_entropy", np.sqrt(8 * (K - 1) / K) / N), ("mse", np.sqrt(8) / N)):
        below, above = (solve(model(counts, edge * f, edge * f, loss=loss)) for f in (1 - 1e-9, 1 + 1e-9))
        assert below.groups[2].norm_h > 0 and below.groups[2].phase == "separated"
        assert above.groups[2].norm_h == 0 and above.rank == 2
        assert above.groups[2].phase == ("merged" if loss == "cross_entropy" else "vanishing")
        assert not above.logits()[:, 2:].any()
        assert np.isnan(above.groups[2].cos_within_features)


def test_relu_costs_something_with_cross_entropy_and_nothing_with_squared_error():
    free = solve(UnconstrainedFeaturesModel(counts=[50, 20, 8], lam_W=1e-3, lam_H=2e-3, loss="mse"))
    assert solve(model([50, 20, 8], loss="mse")).objective == pytest.approx(free.objective, rel=1e-14)


@given(st.lists(st.integers(1, 10**12), min_size=2, max_size=8), st.floats(1e-9, 3), st.floats(1e-3, 1e3))
def test_only_the_product_of_the_penalties_matters(counts, size, tilt):
    lam = size * np.sqrt(max(counts)) / sum(counts)
    for loss in ("cross_entropy", "mse"):
        base, tilted = (solve(model(counts, lam * t, lam / t, loss=loss)) for t in (1, tilt))
        assert tilted.objective == pytest.approx(base.objective, rel=1e-12)
        np.testing.assert_allclose(tilted.logits(), base.logits(), rtol=1e-9, atol=1e-9)
        assert base.relative_gap < 1e-12


def test_fewer_dimensions():
    found = solve(model([50, 20, 20, 8], loss="mse", dimension=2))
    assert found.rank == 2 and (np.diag(found.logits()) > 0).tolist() == [True, True, False, False]
    assert best_descent(found.model, 2, starts=12) == pytest.approx(found.objective, abs=1e-9)
    with pytest.raises(PreconditionError, match="dimension >= 4"):
        solve(model([50, 20, 20, 8], dimension=3))
    with pytest.raises(PreconditionError, match="class weights"):
        solve(model([50, 20, 20, 8], loss="mse", dimension=3, class_weights="balanced"))


def test_a_million_classes_and_refusals():
    found = solve(model([100] * 500_000 + [10] * 500_000, 1e-9, 1e-9))
    assert found.relative_gap < 1e-14 and found.rank == 10**6
    with pytest.raises(PreconditionError, match="2 GiB"):
        found.logits()
    with pytest.raises(InvalidInput, match="does not apply"):
        solve(model([3, 2]), method="groups")
