"""Collapse from the square loss: the stationary margins, and the optimum of free features by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from theory import InvalidInput, PreconditionError
from theory.collapse import collapse_metrics
from theory.frames import simplex_etf_gram
from theory.square_loss import collapse_targets, equilibrium, output_moments, stationary_margins


@pytest.mark.parametrize("lam", [0.0, 0.01, 0.09, 0.3])
@pytest.mark.parametrize("mu", [0.1, 0.3, 0.9])
def test_stationary_margins_solve_the_quadratic_and_hold_the_common_margin(mu, lam):
    rho = mu / (mu**2 + lam)
    found = stationary_margins(rho, lam)
    for b in (found.lower, found.upper):
        assert rho * b**2 - b + lam * rho == pytest.approx(0, abs=1e-14)
    assert (found.upper if mu**2 >= lam else found.lower) == pytest.approx(mu, rel=1e-7)
    assert found.lower <= np.sqrt(lam) * (1 + 1e-7) and found.upper >= np.sqrt(lam) * (1 - 1e-7)


def test_per_sample_stationarity_of_several_classes_is_impossible():
    # (y_n - rho f_n) h_n^T = lam rho V_L for all n: least residual over everything, with ||V_L|| = 1, stays positive
    lam, K, p = 0.1, 3, 3
    Y = np.eye(K)

    def residual(v, signs):
        rho, V, H = v[0], v[1 : 1 + len(signs[0]) * p].reshape(-1, p), v[1 + len(signs[0]) * p :].reshape(-1, p)
        V = V / np.linalg.norm(V)
        f = H @ V.T
        return sum(np.sum((np.outer(y - rho * g, h) - lam * rho * V) ** 2) for y, g, h in zip(signs, f, H, strict=True))

    rng = np.random.default_rng(0)
    least = {}
    for name, targets in (("classes", Y), ("signs", np.array([[1.0], [-1.0]]))):
        sizes = 1 + targets.shape[1] * p + len(targets) * p
        runs = []
        for _ in range(6):
            start = rng.standard_normal(sizes)
            start[0] = 1.0
            bounds = [(0.5, 2.0)] + [(None, None)] * (sizes - 1)  # rho away from 0, where all is stationary
            runs.append(minimize(residual, start, args=(targets,), bounds=bounds, options={"maxiter": 2000}).fun)
        least[name] = min(runs)
    assert least["signs"] < 1e-8 < 1e-3 < least["classes"]


def free_features(K, n, p, lam, E, targets, seed):
    """The least objective over rho, V_L / ||V_L|| and H with mean square at most E (at it, as scaling shows)."""
    if targets == "signs":
        Y = np.repeat([[1.0, -1.0]], n, axis=0).T.reshape(1, -1)
    else:
        Y = np.repeat(np.eye(K) - (1 / K if targets == "centred" else 0), n, axis=1)
    out, N = Y.shape

    def parts(v):
        V, H = v[: out * p].reshape(out, p), v[out * p :].reshape(p, N)
        return V / np.linalg.norm(V), H * np.sqrt(N * E) / np.linalg.norm(H)

    def objective(v):
        V, H = parts(v)
        F = V @ H
        mu, M = (F * Y).sum() / N, (F * F).sum() / N
        return (Y * Y).sum() / N - mu**2 / (M + lam)

    rng = np.random.default_rng(seed)
    runs = [
        minimize(objective, rng.standard_normal(out * p + p * N), options={"gtol": 1e-9, "maxiter": 3000})
        for _ in range(3)
    ]
    best = min(runs, key=lambda run: run.fun)
    return best.fun, *parts(best.x), Y


@pytest.mark.parametrize(("K", "targets"), [(2, "signs"), (2, "one-hot"), (3, "one-hot"), (3, "centred")])
def test_targets_are_the_optimum_of_free_features(K, targets):
    n, p, lam, E = 2, K + 1, 0.07, 0.8
    predicted = collapse_targets(K, lam=lam, feature_square=E, targets=targets)
    value, V, H, Y = free_features(K, n, p, lam, E, targets, 1)
    assert value == pytest.approx(predicted.rest.objective, abs=1e-9)
    F = V @ H
    sign = np.sign((F * Y).sum())  # rho < 0 with -V is the same
    labels = np.repeat(np.arange(K), n)
    np.testing.assert_allclose(sign * F.T, predicted.output[labels], atol=2e-4)
    np.testing.assert_allclose(V @ V.T, predicted.classifier_square, atol=2e-4)
    means = H.reshape(p, K, n).mean(axis=2)
    np.testing.assert_allclose(H, np.repeat(means, n, axis=1), atol=2e-4)  # NC1
    unit = means / np.linalg.norm(means, axis=0)
    np.testing.assert_allclose(unit.T @ unit, predicted.mean_cosines, atol=5e-4)  # NC2
    dual = V.T @ Y
    np.testing.assert_allclose(sign * H / np.linalg.norm(H), dual / np.linalg.norm(dual), atol=5e-4)  # NC3
    at = output_moments(sign * F.T, Y.T)
    assert (at.mu, at.M) == (pytest.approx(predicted.mu, abs=1e-5), pytest.approx(predicted.M, abs=1e-5))


@pytest.mark.parametrize("targets", ["one-hot", "centred"])
def test_predicted_geometry_passes_the_collapse_metrics(targets):
    K, p = 4, 6
    predicted = collapse_targets(K, lam=0.1, feature_square=2.0, targets=targets)
    # a classifier with the predicted square, in a random frame; features along V^T y
    rng = np.random.default_rng(0)
    w, Q = np.linalg.eigh(predicted.classifier_square)
    frame = np.linalg.qr(rng.standard_normal((p, K)))[0]
    V = Q @ np.diag(np.sqrt(np.maximum(w, 0))) @ frame.T
    Y = np.eye(K) - (1 / K if targets == "centred" else 0)
    H = Y @ V
    H *= np.sqrt(2.0 / (H**2).sum(axis=1).mean())
    np.testing.assert_allclose(H @ V.T, predicted.output, atol=1e-12)
    metrics = collapse_metrics(np.repeat(H, 3, axis=0), np.repeat(np.arange(K), 3), V, np.zeros(K))
    record = metrics.to_json()
    for name in ("nc1_papyan", "nc2_equinorm_means", "nc2_equiangular_means", "nc2_etf_means", "nc4"):
        assert abs(record[name]) < 1e-12, name
    centred = H - H.mean(axis=0)
    gram = centred @ centred.T / (centred**2).sum(axis=1).mean()
    np.testing.assert_allclose(gram, simplex_etf_gram(K) * gram[0, 0] / simplex_etf_gram(K)[0, 0], atol=1e-12)
    assert gram[0, 1] / gram[0, 0] == pytest.approx(predicted.centred_cosine)
    fitted = predicted.fitted
    assert fitted[0, 0] - fitted[0, 1] == pytest.approx(predicted.rest.rho * predicted.margin)


def test_decay_changes_the_scale_and_not_the_geometry():
    a, b = (collapse_targets(3, lam=lam, feature_square=1.0) for lam in (0.0, 0.5))
    np.testing.assert_array_equal(a.mean_cosines, b.mean_cosines)
    np.testing.assert_array_equal(a.output, b.output)
    assert a.rest.fit == pytest.approx(0, abs=1e-15) and b.rest.fit > 0
    shrink = b.mu**2 / (b.mu**2 + 0.5)
    np.testing.assert_allclose(b.fitted, shrink * np.eye(3), atol=1e-15)
    assert equilibrium(b.mu, b.M, 0.5).rho == b.rest.rho


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: stationary_margins(2.0, 0.1), PreconditionError),
        (lambda: stationary_margins(-1.0, 0.1), InvalidInput),
        (lambda: stationary_margins(1.0, -0.1), InvalidInput),
        (lambda: collapse_targets(1, lam=0.1, feature_square=1.0), InvalidInput),
        (lambda: collapse_targets(3, lam=0.1, feature_square=1.0, targets="signs"), InvalidInput),
        (lambda: collapse_targets(3, lam=-0.1, feature_square=1.0), InvalidInput),
        (lambda: collapse_targets(3, lam=0.1, feature_square=0.0), InvalidInput),
    ],
)
def test_refusals(call, error):
    with pytest.raises(error):
        call()


def test_without_decay_interpolation_need_not_collapse():
    K, n, E = 3, 4, 1.7
    rng = np.random.default_rng(0)
    Y = np.repeat(np.eye(K), n, axis=1)
    V = np.linalg.qr(rng.standard_normal((K + 2, K + 2)))[0]
    seen, unseen = V[:K] / np.sqrt(K), V[K:]
    H = seen.T @ Y + 0.3 * unseen.T @ rng.standard_normal((2, K * n))  # what the classifier does not see varies
    H *= np.sqrt(E * K * n) / np.linalg.norm(H)
    at = output_moments((seen @ H).T, Y.T)
    for lam, gap in ((0.0, 0.0), (0.05, 0.01)):
        told = collapse_targets(K, lam=lam, feature_square=E)
        assert equilibrium(at.mu, at.M, lam).objective - told.rest.objective >= gap - 1e-12
    assert equilibrium(at.mu, at.M, 0.0).objective == pytest.approx(0, abs=1e-12)
    assert equilibrium(at.mu, at.M, 0.0).rho > collapse_targets(K, lam=0.0, feature_square=E).rest.rho
