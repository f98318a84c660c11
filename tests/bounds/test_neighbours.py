"""Nearest neighbours left one out: against plain loops; instability of the vote against its brute-force maximum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf
from scipy.optimize import minimize_scalar
from scipy.spatial import cKDTree
from scipy.stats import binom

import theory.bounds._neighbours as module
from theory._errors import InvalidInput, PreconditionError
from theory.bounds._neighbours import LeaveOneOut, leave_one_out, loo_variance, neighbours_upper, vote_instability


def plain(X, y, k, seed):
    """Loops: order the others by (squared distance, u), vote, the lowest label wins ties."""
    u, out = np.random.default_rng(seed).random(len(X)), []
    for i in range(len(X)):
        others = [j for j in range(len(X)) if j != i]
        others.sort(key=lambda j: (float(((X[i] - X[j]) ** 2).sum()), u[j]))
        votes = [int(y[j]) for j in others[:k]]
        out.append(min(set(votes), key=lambda c: (-votes.count(c), c)))
    return np.array(out)


clouds = st.tuples(st.integers(2, 25), st.integers(1, 4), st.integers(1, 4), st.integers(0, 10**6), st.booleans())


@given(clouds, st.integers(1, 24))
def test_equals_plain_loops_with_and_without_ties(cloud, k):
    n, d, K, seed, grid = cloud
    rng, k = np.random.default_rng(seed), min(k, n - 1)
    X = rng.integers(-1, 2, (n, d)).astype(float) if grid else rng.standard_normal((n, d))
    y = rng.integers(0, K, n)
    found = leave_one_out(X, y, k=k, rng=seed)
    expected = plain(X, y, k, seed)
    assert np.array_equal(found.predictions, expected)
    assert found.errors == (expected != y).sum() and found.risk == found.errors / n


def test_blocks_do_not_matter(monkeypatch):
    rng = np.random.default_rng(3)
    X, y = rng.integers(0, 3, (60, 3)).astype(float), rng.integers(0, 3, 60)
    whole = leave_one_out(X, y, k=4, rng=1).predictions
    monkeypatch.setattr(module, "BLOCK", 130)
    assert np.array_equal(leave_one_out(X, y, k=4, rng=1).predictions, whole)


def test_equals_a_tree_on_a_larger_cloud_far_from_the_origin():
    """Far away the matrix product loses all its digits; the differences must decide."""
    rng = np.random.default_rng(4)
    X, y = rng.standard_normal((600, 5)) + 3e7, rng.integers(0, 3, 600)
    nearest = cKDTree(X).query(X, k=8)[1][:, 1:]
    expected = [np.bincount(y[row], minlength=3).argmax() for row in nearest]
    assert np.array_equal(leave_one_out(X, y, k=7).predictions, expected)


def test_distance_ties_are_broken_by_the_generator():
    X, y = np.zeros((40, 2)), np.arange(40) % 2
    guesses = {tuple(leave_one_out(X, y, k=1, rng=seed).predictions) for seed in range(20)}
    assert len(guesses) > 1
    assert leave_one_out(X, y, k=1, rng=5).predictions.tolist() == leave_one_out(X, y, k=1, rng=5).predictions.tolist()


@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_scale_and_rotation_change_nothing(seed, scale):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((30, 3)), rng.integers(0, 3, 30)
    Q = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    a, b = leave_one_out(X, y, k=5, rng=0), leave_one_out(scale * X @ Q, y, k=5, rng=0)
    assert np.array_equal(a.predictions, b.predictions)


@pytest.mark.parametrize(("k", "value"), [(1, 1.0), (3, 0.889), (5, 1.037), (15, 1.624), (101, 4.039)])
def test_instability_of_the_reference(k, value):
    assert vote_instability(k) == pytest.approx(value, abs=6e-4)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 8, 15, 40, 101])
def test_instability_is_the_brute_force_maximum(k):
    """Maximise over p and q the chance that the heir's vote changes the outcome, summed over all vote counts."""
    t = k // 2 + 1

    def change(p, q):
        S = np.arange(k + 1)
        one = S / k  # chance that the sample left out voted 1
        after = lambda gone, heir: (S - gone + heir >= t) != (S >= t)  # noqa: E731
        lost = one * ((1 - q) * after(1, 0)) + (1 - one) * (q * after(0, 1))
        return k * float(binom.pmf(S, k, p) @ lost)

    best = max(
        -minimize_scalar(lambda p, q: -change(p, q), args=(q,), bounds=(lo, lo + 0.5), method="bounded").fun
        for q in (0, 0.3, 1) for lo in (0, 0.5)
    )  # fmt: skip
    best = max(best, change(1.0, 0.0))
    assert best == pytest.approx(vote_instability(k), rel=1e-8)
    assert best <= vote_instability(k)


def test_instability_is_rounded_upwards_and_grows_like_the_root_of_k():
    with mp.workdps(50):
        for k in (1, 2, 7, 100, 1001, 20_000):
            t = k // 2 + 1
            exact = t * mp.binomial(k, t) * (mpf(t) / k) ** t * (1 - mpf(t) / k) ** (k - t)
            assert exact <= vote_instability(k) <= exact * (1 + mpf("1e-11"))
    assert vote_instability(100_001) / np.sqrt(100_001 / (2 * np.pi)) == pytest.approx(1, rel=1e-4)
    assert all(vote_instability(k) <= 4 * np.sqrt(k / (2 * np.pi)) for k in range(1, 300))  # the printed constant


def test_variance_of_two_and_of_many_classes():
    assert loo_variance(500, 15, 2) == pytest.approx((1 + 6 * vote_instability(15)) / 500, rel=1e-12)
    assert loo_variance(500, 2, 2) == pytest.approx(13 / 500, rel=1e-11)
    assert loo_variance(500, 15, 3) == 91 / 500


@pytest.mark.parametrize(("k", "K"), [(1, 2), (5, 2), (2, 3)])
def test_simulated_squared_difference_stays_below_the_variance(k, K):
    """Uniform points on [0, 1], noisy labels by thirds; the true error of each rule from its cells."""
    rng, n, squares, fresh = np.random.default_rng(k), 40, [], (np.arange(2000) + 0.5) / 2000
    truth = lambda x: np.minimum((x * K).astype(int), K - 1)  # noqa: E731
    for _ in range(150):
        x = rng.random(n)
        y = np.where(rng.random(n) < 0.3, rng.integers(0, K, n), truth(x))
        votes = y[np.argsort(np.abs(fresh[:, None] - x), axis=1)[:, :k]]
        guess = np.array([np.bincount(v, minlength=K).argmax() for v in votes])
        R = np.mean(np.where(guess == truth(fresh), 0.3 * (1 - 1 / K), 1 - 0.3 / K))
        squares.append((leave_one_out(x[:, None], y, k=k).risk - R) ** 2)
    assert 1e-4 < np.mean(squares) < loo_variance(n, k, K)


def test_upper_limit():
    found = LeaveOneOut(predictions=np.zeros(1000, dtype=int), errors=30, n=1000, k=1)
    assert neighbours_upper(found, 2, 0.05) == pytest.approx(0.03 + np.sqrt(0.007 / 0.05), rel=1e-10)
    assert found.to_json()["risk"] == 0.03


@pytest.mark.parametrize(
    "call",
    [
        lambda: leave_one_out([[0.0], [1.0]], [0, 1], k=2),
        lambda: leave_one_out([[0.0], [1.0]], [0, 1], k=0),
        lambda: leave_one_out([[0.0], [np.nan]], [0, 1], k=1),
        lambda: leave_one_out([[0.0], [1.0]], [0, 1, 1], k=1),
        lambda: leave_one_out([0.0, 1.0], [0, 1], k=1),
        lambda: leave_one_out(np.zeros((3, 0)), [0, 1, 1], k=1),
        lambda: leave_one_out([[0.0], [1e200]], [0, 1], k=1),
        lambda: leave_one_out([[0.0], [1.0]], [0, -1], k=1),
        lambda: vote_instability(0),
        lambda: loo_variance(10, 1, 1),
    ],
)
def test_refusals(call):
    with pytest.raises(InvalidInput):
        call()


def test_too_few_samples_is_a_failed_hypothesis():
    with pytest.raises(PreconditionError, match="n > k"):
        loo_variance(5, 5, 2)
