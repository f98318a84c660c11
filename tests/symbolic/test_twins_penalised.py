"""Numeric twins of the penalised forms against descent on W, H and b, the solvers, and published digits."""

import numpy as np
import pytest

from theory.peeled import UnconstrainedFeaturesModel, solve
from theory.symbolic import get

from .descent import cross_entropy, descend, least_scalar, squared


def twin(name: str, **values):
    return get(name).numeric()(**values)


@pytest.mark.parametrize(("K", "n", "lam_W", "lam_H"), [(3, 4, 0.02, 0.005), (2, 3, 0.05, 0.1), (4, 2, 0.3, 0.4)])
def test_balanced_cross_entropy(K, n, lam_W, lam_H):
    # one column per sample; the last case is in the zero phase
    lam_Z = np.sqrt(lam_W * lam_H)
    targets = np.repeat(np.eye(K), n, axis=1)
    found = descend(cross_entropy(targets), np.ones(K * n), K, lam_W=lam_W, lam_H=lam_H)
    gap = twin("cross_entropy_gap", K=K, n=n, lam_Z=lam_Z)
    assert (gap == 0) == (lam_Z >= 1 / (K * np.sqrt(n)))
    assert twin("cross_entropy_objective", K=K, n=n, lam_Z=lam_Z) == pytest.approx(found.value, abs=1e-10)
    np.testing.assert_allclose(found.Z, np.repeat(gap * (np.eye(K) - 1 / K), n, axis=1), atol=2e-5)


@pytest.mark.parametrize(("alpha", "lam"), [(0.1, 0.02), (0.3, 0.001), (0.5, 0.12)])
def test_label_smoothing(alpha, lam):
    K, n = 4, 2
    targets = np.repeat((1 - alpha) * np.eye(K) + alpha / K, n, axis=1)
    found = descend(cross_entropy(targets), np.ones(K * n), K, lam_W=lam, lam_H=lam)
    gap = twin("label_smoothing_gap", K=K, n=n, lam_Z=lam, alpha=alpha)
    assert (gap == 0) == (lam == 0.12)
    np.testing.assert_allclose(found.Z, np.repeat(gap * (np.eye(K) - 1 / K), n, axis=1), atol=1e-4)


def test_label_smoothing_without_penalty():
    assert twin("label_smoothing_gap", K=10, n=1, lam_Z=1e-300, alpha=0.1) == pytest.approx(np.log(10 / 0.1 - 9))


@pytest.mark.parametrize(("gamma", "lam"), [(0.5, 0.01), (2.0, 0.01), (3.0, 0.002)])
def test_focal_stationarity(gamma, lam):
    K, n = 5, 9

    def value(t: np.ndarray) -> np.ndarray:
        p = 1 / (1 + (K - 1) * np.exp(-t))
        return -((1 - p) ** gamma) * np.log(p) + lam * np.sqrt(n) * (K - 1) * t

    t, _ = least_scalar(value, 30)
    here, after = (twin("focal_stationarity", K=K, n=n, lam_Z=lam, gamma=gamma, t=s) for s in (t, t + 0.01))
    assert abs(here) < 1e-5 < after - here
    step = 1e-5
    slope = (value(np.array([1 + step])) - value(np.array([1 - step])))[0] / (2 * step)
    assert twin("focal_stationarity", K=K, n=n, lam_Z=lam, gamma=gamma, t=1.0) == pytest.approx(slope, rel=1e-7)


MERGING = [((20, 20, 6, 6), None), ((9, 9, 9, 4), None), ((9, 9, 4, 4), (1, 1, 2, 2))]


@pytest.mark.parametrize(("counts", "weights"), MERGING)
def test_merge_threshold(counts, weights):
    n = np.array(counts, dtype=float)
    omega = np.ones(4) if weights is None else np.array(weights, dtype=float)
    pair = (2, 3) if counts[2] == counts[3] else (0, 1)
    threshold = twin("weighted_merge_threshold", n_g=n[pair[0]], omega=omega[pair[0]], N_w=(omega * n).sum())
    if weights is None:
        assert threshold == twin("merge_threshold", n_g=n[pair[0]], N=n.sum())
    apart = []
    for factor in (0.93, 1.07):
        lam = factor * threshold
        found = descend(cross_entropy(np.eye(4)), n, 4, lam_W=lam, lam_H=lam, weights=omega)
        apart.append(np.linalg.norm(found.W[pair[0]] - found.W[pair[1]]))
    assert apart[1] < 1e-3 < 0.03 < apart[0]


@pytest.mark.parametrize(("factor", "phase"), [(0.999, "separated"), (1.001, "merged")])
def test_merge_threshold_to_three_digits(factor, phase):
    lam = factor * float(twin("merge_threshold", n_g=100, N=3000))
    solution = solve(UnconstrainedFeaturesModel(counts=[500] * 5 + [100] * 5, lam_W=4 * lam, lam_H=lam / 4))
    assert [group.phase for group in solution.groups] == ["separated", phase]


@pytest.mark.parametrize(("factor", "rank"), [(0.999, 3), (1.001, 4)])
def test_simplex_to_orthogonal_to_three_digits(factor, rank):
    lam_b = factor * float(twin("simplex_to_orthogonal", K=4, n=9, lam_Z=0.02))
    model = UnconstrainedFeaturesModel(counts=[9] * 4, lam_W=0.02, lam_H=0.02, lam_b=lam_b, loss="mse")
    assert solve(model).rank == rank


RELU = {"counts": [100, 60, 30, 10], "lam_W": 1e-3, "lam_H": 2e-3}


def relu_objective(counts: np.ndarray, lam_W: float, lam_H: float) -> tuple[np.ndarray, float]:
    K, N = len(counts), counts.sum()
    M = twin("relu_margin", K=K, N=N, n_g=counts, lam_W=lam_W, lam_H=lam_H)
    loss = (counts / N * np.log1p((K - 1) * np.exp(-M))).sum()
    h = np.array([twin("relu_feature_square", K=K, M=m, lam_W=lam_W, lam_H=lam_H, n_g=n) if m else 0.0
                  for m, n in zip(M, counts, strict=True)])  # fmt: skip
    alive = M > 0
    w = (M[alive] ** 2 * (1 - 1 / K) / h[alive]).sum()
    return M, float(loss + lam_H / 2 * (counts * h).sum() + lam_W / 2 * w)


def test_relu_margins_to_the_published_digits():
    M, objective = relu_objective(np.array(RELU["counts"], dtype=float), RELU["lam_W"], RELU["lam_H"])
    np.testing.assert_allclose(M, [4.7831, 4.52036, 4.16016, 3.57599], atol=5e-6)
    assert objective == pytest.approx(0.176155693, abs=5e-10)
    assert objective == pytest.approx(solve(UnconstrainedFeaturesModel(features="relu", **RELU)).objective, abs=1e-12)


@pytest.mark.parametrize(("lam_W", "lam_H"), [(0.01, 0.01), (0.001, 0.1), (0.05, 0.03)])
def test_relu_margins_by_descent(lam_W, lam_H):
    counts = np.array([9.0, 5.0, 2.0])
    M, objective = relu_objective(counts, lam_W, lam_H)
    found = descend(cross_entropy(np.eye(3)), counts, 3, lam_W=lam_W, lam_H=lam_H, nonnegative=True, starts=4)
    assert objective == pytest.approx(found.value, abs=1e-9)
    np.testing.assert_allclose(found.Z, (np.eye(3) - 1 / 3) * M, atol=1e-3)
    assert (M[-1] == 0) == (2 <= counts.sum() ** 2 * lam_W * lam_H * 1.5)


def test_orthogonal_frame_to_the_published_digits():
    n = np.array([200.0, 100, 50, 50])
    logits = twin("orthogonal_logit", n_g=n, N=400, lam_Z=5e-4)
    np.testing.assert_allclose(logits, [0.98585786, 0.98, 0.97171573, 0.97171573], atol=5e-9)
    shares = twin("orthogonal_objective_share", n_g=n, N=400, lam_Z=5e-4)
    assert shares.sum() == pytest.approx(0.018942135624, abs=5e-13)
    np.testing.assert_allclose(twin("orthogonal_singular_value", n_g=n, N=400, lam_Z=5e-4), np.sqrt(n) * logits)


@pytest.mark.parametrize(("lam_W", "lam_H"), [(0.01, 0.02), (0.1, 0.06)])
def test_orthogonal_frame_by_descent(lam_W, lam_H):
    n = np.array([16.0, 9.0, 2.0])
    N, lam_Z = n.sum(), np.sqrt(lam_W * lam_H)
    found = descend(squared(np.eye(3)), n, 3, lam_W=lam_W, lam_H=lam_H)
    logits = twin("orthogonal_logit", n_g=n, N=N, lam_Z=lam_Z)
    assert (logits[-1] == 0) == (lam_Z >= np.sqrt(2) / N)
    np.testing.assert_allclose(found.Z, np.diag(logits), atol=1e-6)
    square = twin("orthogonal_classifier_square", n_g=n, N=N, lam_W=lam_W, lam_H=lam_H)
    np.testing.assert_allclose(found.W @ found.W.T, np.diag(square), atol=1e-6)
    assert twin("orthogonal_objective_share", n_g=n, N=N, lam_Z=lam_Z).sum() == pytest.approx(found.value, abs=1e-12)
    solution = solve(UnconstrainedFeaturesModel(counts=n.astype(int), lam_W=lam_W, lam_H=lam_H, loss="mse"))
    np.testing.assert_allclose(solution.logits(), np.diag(logits), atol=1e-9)


@pytest.mark.parametrize("lam", [0.01, 0.07])
def test_free_bias(lam):
    # a free bias: no penalty, two groups; singular values of Z D^(1/2) from the descent
    n = np.array([16.0, 16.0, 16.0, 5.0, 5.0])
    found = descend(squared(np.eye(5)), n, 5, lam_W=lam, lam_H=lam, lam_b=0.0)
    np.testing.assert_allclose(found.b, twin("free_bias", n_g=n, N=n.sum()), atol=1e-7)
    between = twin("free_bias_between", K_A=3, K_B=2, n_A=16, n_B=5, lam_Z=lam)
    within = [twin("orthogonal_singular_value", n_g=m, N=n.sum(), lam_Z=lam) for m in (16, 16, 5)]
    singular = np.linalg.svd(found.Z * np.sqrt(n), compute_uv=False)
    np.testing.assert_allclose(singular, np.sort([0, *within, between])[::-1], atol=1e-5)
    assert (within[2] == 0) == (lam == 0.07)


@pytest.mark.parametrize("factor", [0.5, 1.5, 20.0])
def test_penalised_bias(factor):
    K, n, lam = 4, 9.0, 0.02
    switch = float(twin("simplex_to_orthogonal", K=K, n=n, lam_Z=lam))
    lam_b = factor * switch
    found = descend(squared(np.eye(K)), np.full(K, n), K, lam_W=lam, lam_H=lam, lam_b=lam_b)
    along = twin("ones_singular_value", K=K, n=n, lam_Z=lam, lam_b=lam_b)
    assert (along == 0) == (factor < 1)
    others = np.sqrt(n) - K * n * lam
    expected = others * (np.eye(K) - 1 / K) + along / K
    np.testing.assert_allclose(found.Z * np.sqrt(n), expected, atol=1e-5)
    np.testing.assert_allclose(found.b, twin("penalised_bias", K=K, n=n, lam_Z=lam, lam_b=lam_b), atol=1e-6)


def test_regression():
    rng = np.random.default_rng(5)
    M, lam_W, lam_H = 12, 0.3, 0.8
    Y = np.diag([3.0, 1.0, 0.4]) @ rng.standard_normal((3, M))
    # (1/2M) ||WH - Y||^2 + (lam_H/2M) ||H||^2: the features' penalty is a mean as well
    found = descend(squared(Y), np.ones(M), 3, lam_W=lam_W, lam_H=lam_H / M)
    s = np.linalg.svd(Y / np.sqrt(M), compute_uv=False)
    values = twin("regression_singular_value", s=s, lam_W=lam_W, lam_H=lam_H)
    assert values[-1] == 0 < values[1]
    np.testing.assert_allclose(np.linalg.eigvalsh(found.W @ found.W.T)[::-1], values, atol=1e-5)
