"""What is refused, in one sentence, and the text forms of the record."""

from __future__ import annotations

import json

import numpy as np
import pytest

from theory import InvalidInput, PreconditionError
from theory.collapse import ClassMeans, MeansAccumulator, ScatterAccumulator, collapse_metrics

RNG = np.random.default_rng(0)
X, Y, W, B = (
    RNG.standard_normal((12, 5)),
    np.arange(12) % 3,
    RNG.standard_normal((3, 5)),
    RNG.standard_normal(3),
)


def spoiled(value, row=7):
    copy = X.copy()
    copy[row, 2] = value
    return copy


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: collapse_metrics(X, Y * 2), "class 1 first"),
        (lambda: collapse_metrics(X, Y, num_classes=5), "2 of 5 have none, class 3 first"),
        (lambda: collapse_metrics(X, Y, num_classes=2), "below the number of classes 2"),
        (lambda: collapse_metrics(X, np.full(12, 10**15)), "have none, class 0 first"),
        (lambda: collapse_metrics(X, Y * 0), "at least two"),
        (lambda: collapse_metrics(spoiled(np.nan), Y), "finite"),
        (lambda: collapse_metrics(spoiled(-np.inf), Y), "finite"),
        (lambda: collapse_metrics(spoiled(-1e200), Y), "rescale"),
        (lambda: collapse_metrics(X[:11], Y), "11 feature rows but 12 labels"),
        (lambda: collapse_metrics(X[0], Y), "shape"),
        (lambda: collapse_metrics(X[:, :0], Y), "dimension must be at least 1"),
        (lambda: collapse_metrics(X.astype(complex), Y), "real numbers"),
        (lambda: collapse_metrics(X.astype(str), Y), "real numbers"),
        (lambda: collapse_metrics(X, Y - 1), "counted from 0"),
        (lambda: collapse_metrics(X, Y + 0.5), "counted from 0"),
        (lambda: collapse_metrics(X[:0], Y[:0]), "non-empty"),
        (lambda: collapse_metrics(X, Y, W[:2]), r"classifier must have shape \(3, 5\)"),
        (lambda: collapse_metrics(X, Y, W.T), "classifier must have shape"),
        (lambda: collapse_metrics(X, Y, W, B[:2]), r"bias must have shape \(3,\)"),
        (lambda: collapse_metrics(X, Y, W, B * np.nan), "bias must be finite"),
        (lambda: collapse_metrics(X, Y, 1e200 * W), "rescale"),
        (lambda: collapse_metrics(X, Y, None, B), "a bias needs a classifier"),
        (lambda: collapse_metrics(X, Y, global_mean="median"), "'class' or 'sample'"),
        (lambda: MeansAccumulator(1, 5), "at least 2"),
        (lambda: MeansAccumulator(3, 5).add(X, Y % 2).finish(), "class 2 first"),
        (lambda: MeansAccumulator(3, 4).add(X, Y), r"shape \(samples, 4\)"),
        (lambda: MeansAccumulator(3, 4) + MeansAccumulator(3, 5), "one .classes, dimension"),
        (lambda: MeansAccumulator.combine([]), "at least one"),
        (lambda: ScatterAccumulator.combine([]), "at least one"),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(InvalidInput, match=words) as caught:
        call()
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9])
def test_coinciding_class_means_are_a_failed_precondition(constant):
    twins = np.repeat(X[:4], 3, axis=0) + constant  # each sample once in each class
    with pytest.raises(PreconditionError, match="Sb = 0"):
        collapse_metrics(twins, Y)


def test_means_that_differ_by_rounding_of_a_large_offset_coincide():
    means = np.array([np.full(5, 1e9), np.nextafter(np.full(5, 1e9), 2e9)])
    assert (means[0] != means[1]).all()
    with pytest.raises(PreconditionError, match="Sb = 0"):
        ScatterAccumulator(ClassMeans(counts=np.array([3, 3]), means=means))
    means[1] += 1e-3
    assert "N=0" in repr(ScatterAccumulator(ClassMeans(counts=np.array([3, 3]), means=means)))


def test_both_passes_must_see_the_same_samples():
    means = MeansAccumulator(3, 5).add(X, Y).finish()
    scatter = ScatterAccumulator(means).add(X[:11], Y[:11])
    with pytest.raises(InvalidInput, match="of class 2 the first saw 4 and the second 3"):
        scatter.finish()
    scatter.add(X[11:], Y[11:])
    assert scatter.finish().num_samples == 12


def test_a_refused_batch_leaves_the_accumulators_as_they_were():
    big = np.tile(X, (20000, 1))  # several pieces; only the last holds the NaN
    labels = np.tile(Y, 20000)
    big[-1, 0] = np.nan
    first = MeansAccumulator(3, 5).add(X, Y)
    with pytest.raises(InvalidInput, match="finite"):
        first.add(big, labels)
    means = first.finish()
    assert means.counts.sum() == 12
    second = ScatterAccumulator(means).add(X, Y)
    with pytest.raises(InvalidInput, match="finite"):
        second.add(big, labels)
    assert second.finish() == collapse_metrics(X, Y)


@pytest.mark.parametrize(
    "other",
    [
        {"global_mean": "sample"},
        {"classifier": W},
        {"classifier": W, "bias": B},
    ],
)
def test_scatter_about_different_settings_does_not_merge(other):
    means = MeansAccumulator(3, 5).add(X, Y).finish()
    with pytest.raises(InvalidInput, match="but differ"):
        ScatterAccumulator(means) + ScatterAccumulator(means, **other)
    moved = MeansAccumulator(3, 5).add(X + 1, Y).finish()
    with pytest.raises(InvalidInput, match="but differ"):
        ScatterAccumulator(means) + ScatterAccumulator(moved)
    with pytest.raises(TypeError):
        ScatterAccumulator(means) + 1


def test_record_texts():
    record = collapse_metrics(X, Y, W, B)
    assert json.loads(json.dumps(record.to_json()))["nc1_papyan"] == record.nc1_papyan
    table = record.summary()
    numbers = [line for line in table.splitlines() if line.startswith(("nc", "bias"))]
    assert len(numbers) == 16 and all(
        f"{record.nc4:.6g}" in line for line in numbers if line.startswith("nc4")
    )
    assert len(collapse_metrics(X, Y).summary().splitlines()) == 9
    assert len(repr(record)) < 80 and "12" in repr(record)
    means = MeansAccumulator(3, 5).add(X, Y)
    assert repr(means) == "MeansAccumulator(K=3, d=5, N=12)"
    assert means.finish().to_json()["counts"] == [4, 4, 4]
    assert "3 class means in dimension 5" in means.finish().summary()
