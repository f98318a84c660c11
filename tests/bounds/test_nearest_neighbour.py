"""The leave-one-out bound against enumeration and its symbolic form."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from theory import InvalidInput, PreconditionError
from theory.bounds._neighbours import loo_variance
from theory.bounds.nearest_neighbour import NearestNeighbourBound


def declared(**given):
    return NearestNeighbourBound(independent_features=True, **given)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("k", [1, 2, 3, 7, 10])
@pytest.mark.parametrize("delta", [0.3, 0.01])
def test_symbolic_form_is_the_number(classes, k, delta):
    rng = np.random.default_rng(k)
    bound = declared(k=k, classes=classes)
    report = bound.evaluate(rng.standard_normal((50, 3)), rng.integers(0, classes, 50), delta=delta)
    assert float(bound.symbolic().evaluate(report.quantities)) == pytest.approx(report.value, rel=1e-12)
    assert math.isfinite(report.n_needed)


def test_published_constants_of_two_classes():
    for k, c in [(1, 1.0), (3, 8 / 9), (5, 1.0368)]:
        report = declared(k=k, classes=2).evaluate(np.arange(9.0)[:, None], np.zeros(9), delta=0.25)
        assert report.value == pytest.approx(math.sqrt((1 + 6 * c) / (9 * 0.25)), rel=1e-9)


@pytest.mark.parametrize("classes", [2, 3])
def test_mean_square_of_the_difference_is_below_the_bound_exactly(classes):
    # three equally likely places on a line, all independent samples enumerated; equal distances go by the same u
    places, n = np.array([0.0, 1.0, 2.7]), 3
    chance = np.array([[0.9, 0.1, 0.0], [0.6, 0.2, 0.2], [0.1, 0.1, 0.8]])[:, :classes]
    chance = chance / chance.sum(axis=1, keepdims=True)
    u, total, mass = np.random.default_rng(0).random(n), 0.0, 0.0
    for where in itertools.product(range(3), repeat=n):
        for labels in itertools.product(range(classes), repeat=n):
            p = np.prod([chance[w, c] for w, c in zip(where, labels, strict=True)]) / 3**n
            if p == 0:
                continue
            x, y = places[list(where)], np.array(labels)
            loo = declared(k=1, classes=classes).evaluate(x[:, None], y, delta=0.5).terms["empirical"]
            guess = [y[np.lexsort((u, np.abs(x - place)))[0]] for place in places]
            risk = np.mean([1 - chance[i, g] for i, g in enumerate(guess)])
            total, mass = total + p * (loo - risk) ** 2, mass + p
    assert mass == pytest.approx(1, rel=1e-12)
    assert 0.01 < total / mass <= loo_variance(n, 1, classes)


def test_far_clusters_leave_only_the_confidence():
    X = np.concatenate([np.random.default_rng(0).normal(c, 0.1, (200, 2)) for c in (-5, 5)])
    report = declared(k=3, classes=2).evaluate(X, np.repeat([0, 1], 200), delta=0.1)
    assert report.terms["empirical"] == 0
    assert report.value == pytest.approx(math.sqrt((1 + 6 * 8 / 9) / (400 * 0.1)), rel=1e-9)
    assert report.n_needed == math.ceil((1 + 6 * 8 / 9) / 0.1)


def test_declared_classes_count_not_those_seen():
    X, y = np.arange(20.0)[:, None], np.arange(20) % 2
    assert declared(k=5, classes=3).evaluate(X, y).value > declared(k=5, classes=2).evaluate(X, y).value


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: NearestNeighbourBound(k=1, classes=2).evaluate([[0.0], [1.0]], [0, 1]),
            PreconditionError, "independent of the sample",
        ),
        (lambda: declared(k=0, classes=2), InvalidInput, "k must be at least 1"),
        (lambda: declared(k=1, classes=1), InvalidInput, "at least 2"),
        (lambda: declared(k=2, classes=2).evaluate([[0.0], [1.0]], [0, 1]), InvalidInput, "at most n - 1"),
        (lambda: declared(k=1, classes=2).evaluate([[0.0], [1.0]], [0, 2]), InvalidInput, "0..1"),
        (lambda: declared(k=1, classes=2).evaluate([[0.0], [np.nan]], [0, 1]), InvalidInput, "finite"),
        (lambda: declared(k=1, classes=2).evaluate([[0.0], [1.0]], [0, 1], delta=0.0), InvalidInput, "delta"),
    ],
)
def test_bad_input_is_one_sentence(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
