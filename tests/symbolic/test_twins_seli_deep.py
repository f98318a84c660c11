"""Numeric twins of the support-vector and deep forms against eigen-decompositions, grids and published digits."""

import numpy as np
import pytest
from scipy.optimize import brentq, minimize

from theory.peeled import DeepLinearModel, SELIModel, solve
from theory.symbolic import get

from .descent import least_scalar

TWO_GROUPS = [(5, 5, 10, 1), (3, 7, 200, 3), (1, 4, 9, 2), (6, 1, 5, 2), (2, 2, 4, 4), (4, 3, 1, 50)]


def twin(name: str, **values):
    return get(name).numeric()(**values)


def roots(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(P D P)^(1/2), its pseudo-inverse, and its singular values, by eigen-decomposition."""
    P = np.eye(len(counts)) - 1 / len(counts)
    values, vectors = np.linalg.eigh(P @ np.diag(counts) @ P)
    keep = values > 1e-9 * values.max()
    s, V = np.sqrt(values[keep]), vectors[:, keep]
    return (V * s) @ V.T, (V / s) @ V.T, s


def entries(G: np.ndarray, K_A: int) -> np.ndarray:
    """Squares A and B, inner products AA, BB and AB; NaN where a group has one class."""
    K_B, nan = len(G) - K_A, np.nan
    inner_A, inner_B = G[0, 1] if K_A > 1 else nan, G[-1, -2] if K_B > 1 else nan
    return np.array([G[0, 0], G[-1, -1], inner_A, inner_B, G[0, -1]])


def assert_same(found: np.ndarray, wanted: np.ndarray) -> None:
    known = ~np.isnan(wanted)
    assert known.sum() >= len(wanted) - 1
    np.testing.assert_allclose(found[known], wanted[known], atol=1e-9)


@pytest.mark.parametrize(("K_A", "K_B", "n_A", "n_B"), TWO_GROUPS)
def test_seli(K_A, K_B, n_A, n_B):
    at = {"K_A": K_A, "K_B": K_B, "n_A": n_A, "n_B": n_B}
    counts = np.repeat([n_A, n_B], [K_A, K_B])
    S, inverse, s = roots(counts.astype(float))
    found = twin("seli_singular_values", **at)
    np.testing.assert_allclose(np.sort([*[found[0]] * (K_A - 1), *[found[1]] * (K_B - 1), found[2]]), s, rtol=1e-10)
    assert_same(twin("seli_classifiers", **at), entries(S, K_A))
    assert_same(twin("seli_features", **at), entries(inverse, K_A))
    for name, G in (("seli_classifier_cosines", S), ("seli_feature_cosines", inverse)):
        length = np.sqrt(np.diag(G))
        assert_same(twin(name, **at), entries(G / np.outer(length, length), K_A)[2:])
    assert_same(twin("seli_sign_condition", **at), entries(inverse, K_A)[2:])
    Z = S @ inverse
    aligned = np.diag(Z) / np.sqrt(np.diag(S) * np.diag(inverse))
    np.testing.assert_allclose(twin("seli_alignment", **at), [aligned[0], aligned[-1]], rtol=1e-10)
    objective = twin("seli_objective", **at)
    assert objective == pytest.approx(np.trace(S), rel=1e-12)
    assert objective == pytest.approx(solve(SELIModel(counts=counts)).objective, rel=1e-9)


def test_seli_to_the_published_digits():
    at = {"K_A": 5, "K_B": 5, "n_A": 10, "n_B": 1}
    np.testing.assert_allclose(twin("seli_classifier_cosines", **at), [-0.143953, 0.033369, -0.138681], atol=6e-7)
    np.testing.assert_allclose(twin("seli_feature_cosines", **at), [-0.069702, -0.186746, -0.085434], atol=6e-7)
    w, h = twin("seli_classifiers", **at), twin("seli_features", **at)
    assert np.sqrt(w[0] / w[1]) == pytest.approx(1.634656, abs=6e-7)
    assert np.sqrt(h[0] / h[1]) == pytest.approx(0.592308, abs=6e-7)
    assert twin("seli_objective", K_A=3, K_B=3, n_A=10, n_B=1) == pytest.approx(10.669763, abs=6e-7)


def test_sign_condition_for_any_counts_by_the_resolvent():
    rng = np.random.default_rng(7)
    for _ in range(40):
        K = int(rng.integers(2, 9))
        counts = 10 ** rng.uniform(0, 5, K)
        off = ~np.eye(K, dtype=bool)
        P, x = np.eye(K) - 1 / K, 10 ** rng.uniform(-2, 5)
        f = 1 / (counts + x)
        closed = np.diag(f) - np.outer(f, f) / f.sum()
        dense = np.linalg.pinv(P @ np.diag(counts + x) @ P, rcond=1e-13)
        np.testing.assert_allclose(dense, closed, atol=1e-8 * f.max())
        assert (closed[off] < 0).all()
        inverse = roots(counts)[1]
        assert (inverse[off] < 1e-9 * np.abs(inverse).max()).all()


def test_ldam_margins():
    counts = np.array([100.0, 30.0, 7.0, 7.0])
    m = twin("ldam_simplex_margin", n=counts)
    P = np.eye(4) - 1 / 4
    S = roots(m**2 * counts)[0]
    np.testing.assert_allclose(S, P, atol=1e-12)
    W = solve(SELIModel(counts=counts.astype(int), margins=m)).classifier()
    np.testing.assert_allclose(W @ W.T, P, atol=1e-7)


DEEP = {"n_g": 30.0, "N": 70.0}


def objective(L: int, Lam: float):
    return lambda sigma: get("deep_class_objective").numeric()(L=L, Lam=Lam, sigma=np.maximum(sigma, 1e-300), **DEEP)


@pytest.mark.parametrize("L", [1, 2, 4])
def test_deep_penalty_is_the_least_over_factors(L):
    lams, sigma = np.geomspace(0.01, 0.2, L + 1), 2.3

    def penalty(y: np.ndarray) -> float:
        x = np.exp([*y, np.log(sigma) - y.sum()])
        return float(lams @ x**2) / 2

    least = minimize(penalty, np.zeros(L), method="BFGS", options={"gtol": 1e-10}).fun
    fit = (sigma - np.sqrt(DEEP["n_g"])) ** 2 / (2 * DEEP["N"])
    found = twin("deep_class_objective", L=L, Lam=lams.prod(), sigma=sigma, **DEEP)
    assert found == pytest.approx(fit + least, rel=1e-10)


@pytest.mark.parametrize("L", [1, 2, 3, 6])
def test_deep_threshold_is_where_the_grid_minimum_jumps(L):
    top = np.sqrt(DEEP["n_g"])
    threshold = float(twin("deep_threshold", L=L, **DEEP))
    below, above = (least_scalar(objective(L, factor * threshold), top)[0] / top for factor in (1 - 1e-6, 1 + 1e-6))
    assert above == pytest.approx(0, abs=1e-9)
    assert below == pytest.approx(twin("deep_jump", L=L), abs=1e-4)


@pytest.mark.parametrize("L", [2, 3, 6])
def test_deep_stationary_point_is_the_grid_minimum(L):
    top = np.sqrt(DEEP["n_g"])
    Lam = 0.3 * float(twin("deep_threshold", L=L, **DEEP))
    best, _ = least_scalar(objective(L, Lam), top)
    larger = brentq(lambda v: float(twin("deep_stationarity", L=L, Lam=Lam, sigma=v, **DEEP)), top * (L - 1) / L, top)
    assert best == pytest.approx(larger, rel=1e-6)
    solution = solve(DeepLinearModel(counts=[30, 40], lam=Lam ** (1 / (L + 1)), depth=L))
    assert solution.logits()[0, 0] * top == pytest.approx(larger, rel=1e-9)


@pytest.mark.parametrize("L", [2, 3, 6])
def test_deep_local_threshold_is_where_stationary_points_end(L):
    sigma = np.linspace(1e-3, np.sqrt(DEEP["n_g"]), 20001)
    local = float(twin("deep_local_threshold", L=L, **DEEP))
    assert local > twin("deep_threshold", L=L, **DEEP)
    for factor, exists in ((1 - 1e-4, True), (1 + 1e-4, False)):
        slope = twin("deep_stationarity", L=L, Lam=factor * local, sigma=sigma, **DEEP)
        assert bool((slope < 0).any()) is exists


PUBLISHED = [(2, 0.5, 0.6495), (3, 0.5291, 0.8399), (4, 0.5699, 1.0652), (6, 0.6373, 1.5425)]


@pytest.mark.parametrize(("L", "zero", "local"), PUBLISHED)
def test_deep_thresholds_in_the_published_variable(L, zero, local):
    # b/n = L N (N Lam)^(1/L) / n
    for name, value in (("deep_threshold", zero), ("deep_local_threshold", local)):
        Lam = float(twin(name, L=L, **DEEP))
        assert L * DEEP["N"] * (DEEP["N"] * Lam) ** (1 / L) / DEEP["n_g"] == pytest.approx(value, abs=6e-5)


def test_one_layer_is_the_orthogonal_frame():
    lam_Z = 0.03
    root = twin("orthogonal_singular_value", n_g=30, N=70, lam_Z=lam_Z)
    assert twin("deep_stationarity", L=1, Lam=lam_Z**2, sigma=root, **DEEP) == pytest.approx(0, abs=1e-15)
    assert np.sqrt(twin("deep_threshold", L=1, **DEEP)) == pytest.approx(twin("merge_threshold", n_g=30, N=70))


CONSTRUCTIONS = [(4, 3, 0.01797485, 0.01659518), (4, 2, 0.01889487, 0.01924146)]


@pytest.mark.parametrize(("K", "L", "simplex", "pairing"), CONSTRUCTIONS)
def test_deep_cross_entropy_constructions(K, L, simplex, pairing):
    lam = 1e-3
    for name, published in (("deep_cross_entropy_simplex", simplex), ("deep_cross_entropy_pairing", pairing)):
        form = get(name).numeric()

        def value(t: np.ndarray, form=form) -> np.ndarray:
            return form(K=K, L=L, n=1, Lam=lam ** (L + 1), t=np.maximum(t, 1e-300))

        assert least_scalar(value, 60)[1] == pytest.approx(published, abs=6e-9)
        # the same at one point from the matrix
        t = 3.0
        Z = t * (np.eye(K) - 1 / K)
        if name.endswith("pairing"):
            Z = t / 2 * np.kron(np.eye(K // 2), [[1, -1], [-1, 1]])
        s = np.linalg.svd(Z, compute_uv=False)
        loss = np.log(np.exp(Z).sum(axis=0))[0] - Z[0, 0]
        penalty = (L + 1) / 2 * lam * (s[s > 1e-9] ** (2 / (L + 1))).sum()
        assert value(np.array([t]))[0] == pytest.approx(loss + penalty, rel=1e-12)
