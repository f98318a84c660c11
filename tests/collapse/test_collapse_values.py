"""The numbers: against plain and exact oracles, at perfect collapse, and where covariance inverses fail."""

from __future__ import annotations

import numpy as np
import pytest

from tests.collapse.oracles import exact, naive, pinv32
from theory.collapse import collapse_metrics
from theory.frames import orthogonal_frame, simplex_etf


def cloud(seed, counts=(30, 12, 7, 20), d=9, noise=0.5):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    X = rng.standard_normal((len(counts), d))[y] + noise * rng.standard_normal((len(y), d))
    return X, y, rng.standard_normal((len(counts), d)), rng.standard_normal(len(counts))


@pytest.mark.parametrize("global_mean", ["class", "sample"])
@pytest.mark.parametrize("counts", [(30, 12, 7, 20), (5, 5, 5), (9, 2), (1, 50, 3, 4, 5, 6)])
@pytest.mark.parametrize("d", [2, 9])
def test_every_metric_equals_its_definition(counts, d, global_mean):
    X, y, W, b = cloud(1, counts, d)
    record = collapse_metrics(X, y, W, b, global_mean=global_mean).to_json()
    expected = naive(X, y, W, b, global_mean=global_mean)
    for name, value in expected.items():
        assert record[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name
    assert record["nc4"] == expected["nc4"] > 0
    assert record["rank"] == min(len(counts) - 1, d)


@pytest.mark.parametrize("global_mean", ["class", "sample"])
def test_nc1_equals_exact_rational_arithmetic(global_mean):
    X, y, _, _ = cloud(2, (5, 3, 2, 1), d=6)
    record = collapse_metrics(X, y, global_mean=global_mean)
    assert record.nc1_papyan == pytest.approx(exact(X, y, global_mean=global_mean), rel=1e-13)
    assert record.nc1_zhu == pytest.approx(exact(X, y, global_mean="sample"), rel=1e-13)


def test_nc1_of_nearly_merged_classes_equals_exact_arithmetic():
    rng = np.random.default_rng(3)
    means = rng.standard_normal((4, 6))
    means[2:] = means[2:].mean(axis=0) + 1e-6 * (means[2:] - means[2:].mean(axis=0))
    y = np.repeat(np.arange(4), 4)
    X = means[y] + 1e-7 * rng.standard_normal((16, 6))
    assert collapse_metrics(X, y).nc1_papyan == pytest.approx(exact(X, y), rel=1e-8)


@pytest.mark.parametrize(
    "frame", [simplex_etf(5, 7), 3 * orthogonal_frame(5, 7), 1e-3 * simplex_etf(5, 7) + 1.0]
)
def test_perfect_collapse_is_zero_everywhere(frame):
    M = frame - frame.mean(axis=0)
    y = np.tile(np.arange(5), 6)
    record = collapse_metrics(frame[y], y, M, -M @ frame.mean(axis=0))
    for name, value in record.to_json().items():
        if name.startswith(("nc", "bias")):
            assert abs(value) < 1e-12, name
    assert record.rank == 4


def test_unequal_counts_tell_the_two_centres_apart():
    M = simplex_etf(3)
    y = np.repeat(np.arange(3), (50, 5, 5))
    by_class, by_sample = collapse_metrics(M[y], y, M), collapse_metrics(M[y], y, M, global_mean="sample")
    assert by_class.nc2_equinorm_means < 1e-15 and by_sample.nc2_equinorm_means > 0.5
    assert by_class.nc3_papyan < 1e-15 and by_sample.nc3_papyan > 0.1
    assert by_class.nc3_zhu == by_sample.nc3_zhu > 0.1
    assert by_class.bias_collapse < 1e-15 and by_sample.bias_collapse > 0.5


def test_zhu_equals_papyan_about_the_sample_mean_and_for_equal_counts():
    X, y, _, _ = cloud(4)
    sample, by_class = collapse_metrics(X, y, global_mean="sample"), collapse_metrics(X, y)
    assert sample.nc1_zhu == sample.nc1_papyan
    assert by_class.nc1_zhu == pytest.approx(sample.nc1_papyan, rel=1e-12)
    assert by_class.nc1_zhu < by_class.nc1_papyan * (1 - 1e-3)
    X, y, _, _ = cloud(4, (8, 8, 8))
    equal = collapse_metrics(X, y)
    assert equal.nc1_zhu == pytest.approx(equal.nc1_papyan, rel=1e-12)


# K=10, n=200, d=512, noise 1e-3, minority means contracted by the factor. The recorded values are of other
# random means of norm about 5, so they are met within a few per cent.
@pytest.mark.parametrize(
    ("factor", "recorded"), [(1e-1, 1.6123e-5), (1e-2, 1.5499e-3), (3e-3, None), (1e-3, None)]
)
def test_nearly_merged_minority_means_are_not_truncated(factor, recorded):
    rng = np.random.default_rng(5)
    means = rng.standard_normal((10, 512))
    means *= 5 / np.linalg.norm(means, axis=1)[:, None]
    centroid = means[5:].mean(axis=0)
    means[5:] = centroid + factor * (means[5:] - centroid)
    y = np.repeat(np.arange(10), 200)
    X = (means[y] + 1e-3 * rng.standard_normal((2000, 512))).astype(np.float32)
    record = collapse_metrics(X, y)
    # The same trace by least squares on contrasts: another factorisation, no inverse of a squared matrix
    doubles = X.astype(np.float64)
    mu = np.array([doubles[y == k].mean(axis=0) for k in range(10)])
    weights = np.linalg.lstsq((mu - mu.mean(axis=0)).T, (doubles - mu[y]).T, rcond=1e-12)[0]
    assert record.nc1_papyan == pytest.approx((weights**2).sum() / len(y), rel=1e-9)
    assert record.rank == 9
    if recorded is not None:
        assert record.nc1_papyan == pytest.approx(recorded, rel=0.1)
        assert pinv32(X, y) == pytest.approx(record.nc1_papyan, rel=1e-3)
    else:
        assert record.nc1_papyan > 1e-2
        assert pinv32(X, y) < 1e-6


@pytest.mark.parametrize("noise", [1e-1, 1e-4, 1e-8])
def test_nc1_is_never_negative_where_an_eps_cutoff_makes_it_so(noise):
    rng = np.random.default_rng(6)
    y = np.repeat(np.arange(10), 20)
    X = (rng.standard_normal((10, 64))[y] + noise * rng.standard_normal((200, 64))).astype(np.float32)
    record = collapse_metrics(X, y)
    assert min(record.nc1_papyan, record.nc1_zhu, record.nc1_ratio, record.nc1_cdnv) >= 0
    assert record.nc1_papyan == pytest.approx(naive(X, y)["nc1_papyan"], rel=1e-6)


def test_large_common_offset_loses_only_the_digits_the_input_lost():
    X, y, _, _ = cloud(7, noise=1e-3)
    X = np.round(X * 2**20) / 2**20  # so that adding the offset is exact
    offset = float(2**30)
    here, there = collapse_metrics(X, y), collapse_metrics(X + offset, y)
    assert there.rank == here.rank
    for name in ("nc1_papyan", "nc1_zhu", "nc1_ratio", "nc1_cdnv", "nc2_equiangular_means", "nc2_etf_means"):
        assert getattr(there, name) == pytest.approx(getattr(here, name), rel=1e-5), name


def test_dependent_means_reduce_the_rank_and_coinciding_ones_make_cdnv_infinite():
    X = np.array([[0.0, 0], [1, 1], [2, 2], [3, 3], [4, 4], [5, 5]])
    assert collapse_metrics(X, [0, 0, 1, 1, 2, 2]).rank == 1
    same = np.array([[0.0, 0], [1, 1], [0, 0], [1, 1], [4, 3], [5, 5]])
    record = collapse_metrics(same, [0, 0, 1, 1, 2, 2])
    assert record.rank == 1 and record.nc1_cdnv == np.inf and np.isfinite(record.nc1_papyan)


def test_bias_takes_part_in_the_decision():
    X, y, _, _ = cloud(8, noise=0.05)
    mu = np.array([X[y == k].mean(axis=0) for k in range(4)])
    nearest = -(mu**2).sum(axis=1) / 2
    assert collapse_metrics(X, y, mu, nearest).nc4 == 0
    assert collapse_metrics(X, y, mu, nearest + np.array([0, 0, 0, 1e6])).nc4 == pytest.approx(49 / 69)


def test_absent_bias_is_zero_and_absent_classifier_leaves_nothing():
    X, y, W, _ = cloud(9)
    assert collapse_metrics(X, y, W) == collapse_metrics(X, y, W, np.zeros(4))
    record = collapse_metrics(X, y)
    assert record.nc4 is None and record.nc2_zhu is None and record.bias_collapse is None


@pytest.mark.parametrize("scale", [1e-250, 1e100])
def test_scale_of_the_classifier_does_not_matter(scale):
    X, y, W, _ = cloud(11)
    here, there = collapse_metrics(X, y, W), collapse_metrics(X, y, scale * W)
    for name in (
        "nc2_zhu",
        "nc2_equinorm_classifier",
        "nc2_equiangular_classifier",
        "nc3_papyan",
        "nc3_zhu",
        "nc4",
    ):
        assert getattr(there, name) == pytest.approx(getattr(here, name), rel=1e-12), name


@pytest.mark.parametrize("scale", [1e-140, 1e139])
def test_extreme_scales_of_features_give_the_same_record(scale):
    X, y, _, _ = cloud(12)
    here, there = collapse_metrics(X, y), collapse_metrics(scale * X, y)
    for name in ("nc1_papyan", "nc1_zhu", "nc1_ratio", "nc1_cdnv", "nc2_etf_means"):
        assert getattr(there, name) == pytest.approx(getattr(here, name), rel=1e-11), name


def test_zero_classifier_rows_are_nan():
    X, y, W, _ = cloud(10)
    record = collapse_metrics(X, y, np.zeros_like(W))
    assert np.isnan([record.nc2_zhu, record.nc3_papyan, record.nc3_zhu, record.nc2_equinorm_classifier]).all()
    W[1] = 0
    record = collapse_metrics(X, y, W)
    assert np.isnan(record.nc2_equiangular_classifier) and np.isfinite(record.nc2_zhu)
    # rows orthogonal to every class mean give no logits but rounding
    mu = np.array([X[y == k].mean(axis=0) for k in range(4)])
    across = np.linalg.svd(mu)[2][4:8]
    assert np.isnan(collapse_metrics(X, y, across).nc3_zhu)
