"""Streams, shards and invariances: how, and in which frame, samples are read must not matter."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import InvalidInput
from theory.collapse import MeansAccumulator, ScatterAccumulator, collapse_metrics

FREE_OF_SCALE = tuple(
    [
        "nc1_papyan",
        "nc1_zhu",
        "nc1_ratio",
        "nc1_cdnv",
        "nc2_equinorm_means",
        "nc2_equiangular_means",
        "nc2_maximal_angle_means",
        "nc2_etf_means",
        "nc3_papyan",
        "nc3_zhu",
    ]
)
EVERY = (*FREE_OF_SCALE, "nc2_zhu", "nc2_equinorm_classifier", "bias_collapse", "nc4")
some = settings(max_examples=25, deadline=None)


@st.composite
def problems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    K, d = draw(st.integers(2, 6)), draw(st.integers(6, 12))
    counts = rng.integers(1, 15, size=K)
    counts[0] += 1
    y = rng.permutation(np.repeat(np.arange(K), counts))
    X = rng.standard_normal((K, d))[y] + 0.3 * rng.standard_normal((len(y), d))
    mean = draw(st.sampled_from(["class", "sample"]))
    return rng, X, y, rng.standard_normal((K, d)), rng.standard_normal(K), mean


def same(first, second, names=EVERY, rel=1e-9):
    for name in names:
        assert getattr(first, name) == pytest.approx(getattr(second, name), rel=rel, abs=1e-11), name


def streamed(X, y, W, b, mean, cuts, *, shards=1):
    """Both passes over batches cut at ``cuts``, dealt to ``shards`` workers and merged."""
    batches = list(zip(np.split(X, cuts), np.split(y, cuts), strict=True))
    batches = [batch for batch in batches if len(batch[1])]
    first = [MeansAccumulator(len(W), X.shape[1]) for _ in range(shards)]
    for i, batch in enumerate(batches):
        first[i % shards].add(*batch)
    means = MeansAccumulator.combine(pickle.loads(pickle.dumps(first))).finish()
    second = [ScatterAccumulator(means, classifier=W, bias=b, global_mean=mean) for _ in range(shards)]
    for i, batch in enumerate(batches):
        second[i % shards].add(*batch)
    return ScatterAccumulator.combine(pickle.loads(pickle.dumps(second))).finish()


@given(problem=problems(), shards=st.integers(1, 5), pieces=st.integers(1, 9))
@some
def test_cut_and_shards_do_not_matter(problem, shards, pieces):
    rng, X, y, W, b, mean = problem
    cuts = np.sort(rng.integers(0, len(y) + 1, size=pieces))
    same(streamed(X, y, W, b, mean, cuts, shards=shards), collapse_metrics(X, y, W, b, global_mean=mean))


@given(problem=problems())
@some
def test_order_of_samples_does_not_matter(problem):
    rng, X, y, W, b, mean = problem
    order = rng.permutation(len(y))
    same(
        collapse_metrics(X[order], y[order], W, b, global_mean=mean),
        collapse_metrics(X, y, W, b, global_mean=mean),
    )


@given(problem=problems())
@some
def test_rotation_does_not_matter(problem):
    rng, X, y, W, b, mean = problem
    Q = np.linalg.qr(rng.standard_normal((X.shape[1],) * 2))[0]
    same(
        collapse_metrics(X @ Q, y, W @ Q, b, global_mean=mean),
        collapse_metrics(X, y, W, b, global_mean=mean),
    )


@given(problem=problems(), exponent=st.integers(-60, 60))
@some
def test_common_scale_does_not_matter_except_for_the_bias(problem, exponent):
    _, X, y, W, b, mean = problem
    t = 10.0**exponent
    same(
        collapse_metrics(t * X, y, W, b, global_mean=mean),
        collapse_metrics(X, y, W, b, global_mean=mean),
        FREE_OF_SCALE,
    )
    same(
        collapse_metrics(t * X, y, W / t, b, global_mean=mean),
        collapse_metrics(X, y, W, b, global_mean=mean),
        ("nc4", "bias_collapse"),
    )


@given(problem=problems())
@some
def test_shift_moves_only_what_sees_the_bias(problem):
    rng, X, y, W, b, mean = problem
    shift = 10 * rng.standard_normal(X.shape[1])
    here, there = (collapse_metrics(Z, y, W, b, global_mean=mean) for Z in (X, X + shift))
    same(there, here, FREE_OF_SCALE)
    same(collapse_metrics(X + shift, y, W, b - W @ shift, global_mean=mean), here)
    assert there.bias_collapse != pytest.approx(here.bias_collapse, rel=1e-6)


@given(problem=problems())
@some
def test_nc1_ignores_linear_maps_that_ratio_does_not(problem):
    rng, X, y, *_ = problem
    d = X.shape[1]
    # in full span of the means NC1 is a trace of Sw Sb^-1, blind to every invertible map
    X = X[:, : y.max()]
    A = np.eye(y.max()) + np.diag(np.linspace(0, 3, y.max())) + 0.1 * rng.standard_normal((y.max(),) * 2)
    here, there = collapse_metrics(X, y), collapse_metrics(X @ A, y)
    assert there.nc1_papyan == pytest.approx(here.nc1_papyan, rel=1e-8)
    assert d > y.max()


@given(problem=problems())
@some
def test_nothing_is_negative(problem):
    _, X, y, W, b, mean = problem
    record = collapse_metrics(X, y, W, b, global_mean=mean)
    assert min(getattr(record, name) for name in EVERY) >= 0
    assert record.nc1_zhu <= record.nc1_papyan * (1 + 1e-12)


@pytest.mark.parametrize("batch", [7, 3000])
def test_means_keep_their_digits_under_a_large_offset(batch):
    rng = np.random.default_rng(0)
    y = np.arange(3000) % 3
    X = np.round(rng.standard_normal((3000, 2)) * 2**20) / 2**20
    stream = MeansAccumulator(3, 2)
    for part in range(0, 3000, batch):
        stream.add(X[part : part + batch] + 2.0**32, y[part : part + batch])
    exact = np.array([X[y == k].mean(axis=0) for k in range(3)])
    # spacing of numbers near 2^32 is 9.5e-7; sums of raw values are off by more than 1e-5
    assert np.abs((stream.finish().means - 2.0**32) - exact).max() < 1.5e-6


def test_merge_with_an_empty_shard_is_exact():
    full = MeansAccumulator(2, 3).add(np.arange(12.0).reshape(4, 3) / 7, [0, 1, 1, 0])
    for merged in (full + MeansAccumulator(2, 3), MeansAccumulator(2, 3) + full):
        np.testing.assert_array_equal(merged.finish().means, full.finish().means)


def test_means_of_one_pass_equal_numpy_means():
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((5000, 300)), rng.integers(0, 4, 5000)
    means = MeansAccumulator(4, 300).add(X, y).finish()
    np.testing.assert_allclose(means.means, [X[y == k].mean(axis=0) for k in range(4)], atol=1e-14)
    np.testing.assert_array_equal(means.counts, np.bincount(y))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int16, ">f8"])
def test_any_real_type_is_read_in_double(dtype):
    rng = np.random.default_rng(2)
    X = (10 * rng.standard_normal((60, 5))).astype(dtype)
    y = np.arange(60) % 3
    assert collapse_metrics(X, y) == collapse_metrics(X.astype(np.float64), y)
    assert collapse_metrics(X.tolist(), y.tolist()) == collapse_metrics(X, y.astype(np.float32))


def test_inputs_are_not_changed_and_means_are_read_only():
    rng = np.random.default_rng(3)
    X, y, W = rng.standard_normal((20, 4)), np.arange(20) % 2, rng.standard_normal((2, 4))
    copies = X.copy(), y.copy(), W.copy()
    collapse_metrics(X, y, W)
    for before, after in zip(copies, (X, y, W), strict=True):
        np.testing.assert_array_equal(before, after)
    with pytest.raises(ValueError, match="read-only"):
        MeansAccumulator(2, 4).add(X, y).finish().means[0] = 0


def test_a_memory_map_is_not_read_whole(tmp_path):
    N, d = 150_000, 64
    features = np.lib.format.open_memmap(tmp_path / "h.npy", mode="w+", dtype=np.float32, shape=(N, d))
    features[:] = np.random.default_rng(4).standard_normal((N, d), dtype=np.float32)
    y = np.arange(N) % 5
    collapse_metrics(features[:50], y[:50])  # imports
    tracemalloc.start()
    collapse_metrics(features, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.5 * N * d * 8


@given(problem=problems())
@some
def test_decisions_that_are_known_spare_the_classifier(problem):
    _, X, y, W, b, mean = problem
    means = MeansAccumulator(len(W), X.shape[1]).add(X, y).finish()
    scatter = ScatterAccumulator(means, classifier=W, bias=b, global_mean=mean)
    known = scatter.add(X, y, (X @ W.T + b).argmax(axis=1)).finish()
    assert known == collapse_metrics(X, y, W, b, global_mean=mean)
    nearest = ((X[:, None] - means.means) ** 2).sum(axis=2).argmin(axis=1)
    told = ScatterAccumulator(means, classifier=W, bias=b).add(X, y, (nearest + (y == 0)) % len(W)).finish()
    assert told.nc4 == (y == 0).mean()
    with pytest.raises(InvalidInput, match="decisions but"):
        scatter.add(X, y, y[1:])


def test_decisions_are_cut_with_their_batch():
    rng = np.random.default_rng(0)
    y = np.arange(3_000) % 2
    X, W = rng.standard_normal((3_000, 500)) + y[:, None], rng.standard_normal((2, 500))  # pieces of 1,048 samples
    means = MeansAccumulator(2, 500).add(X, y).finish()
    told = ScatterAccumulator(means, classifier=W).add(X, y, (X @ W.T).argmax(axis=1)).finish()
    assert told == collapse_metrics(X, y, W)
