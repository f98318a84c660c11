"""Data sets and samplers: validation, stated laws, files of images read without running them."""

import doctest
import importlib
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from simulations.data import (
    Dataset,
    binary_tree,
    bundled,
    compositional,
    digits,
    gaussians,
    imbalanced,
    long_tail_counts,
    long_tailed_digits_counts,
    random_labels,
    step_counts,
    teacher,
)  # fmt: skip
from simulations.experiments import digits_network
from theory import InvalidInput, PreconditionError

MODULES = ("bundled", "compositional", "counts", "dataset", "images", "published", "synthetic")


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testmod(importlib.import_module(f"simulations.data.{name}"), optionflags=flags)
    assert result.attempted > 0 and result.failed == 0


def points(n=6, K=2, **other):
    return Dataset(name="points", X=np.arange(2.0 * n).reshape(n, 2), y=np.arange(n) % K, **other)


def test_record():
    data = points(X_test=[[1, 2]], y_test=[1], notes="Two classes.")
    assert data.X.dtype == np.float64 and data.y.dtype == np.int64 and data.input_shape == (2,)
    assert data.counts.tolist() == [3, 3] and data.num_classes == 2
    assert data.to_json() == {
        "name": "points", "samples": 6, "held_out": 1, "input_shape": [2], "num_classes": 2, "counts": [3, 3],
        "notes": "Two classes.",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"X": [[np.nan], [1]], "y": [0, 1]}, "X must be finite"),
        ({"X": [1, 2], "y": [0, 1]}, "X must be a non-empty array"),
        ({"X": [[1], [2]], "y": [0]}, "X holds 2 samples, but y 1"),
        ({"X": [[1], [2]], "y": [0, 2]}, "class 1 has none"),
        ({"X": [[1], [2]], "y": [0, 1], "num_classes": 3}, "class 2 has none"),
        ({"X": [[1], [2]], "y": [0, 1], "num_classes": 1}, "labels must lie in 0..0"),
        ({"X": [[1], [2]], "y": [0.5, 1]}, "y must be whole"),
        ({"X": [[1], [2]], "y": [0, 1], "X_test": [[1]]}, "given together"),
        ({"X": [[1], [2]], "y": [0, 1], "X_test": [[1, 2]], "y_test": [0]}, "shape (2,)"),
        ({"X": [[1], [2]], "y": [0, 1], "X_test": [[1]], "y_test": [2]}, "but y_test holds 2"),
    ],
)
def test_bad_records(fields, said):
    with pytest.raises(InvalidInput) as error:
        Dataset(name="bad", **fields)
    assert said in str(error.value) and str(error.value).endswith(".")


def test_digits_are_the_split_beside_the_notebooks():
    ours, theirs = digits(), digits_network.digits()
    for field in ("X", "y", "X_test", "y_test"):
        np.testing.assert_array_equal(getattr(ours, field), theirs[field])
    assert ours.X.min() == 0 and ours.X.max() == 1
    np.testing.assert_array_equal(digits(flat=True).X, ours.X.reshape(-1, 64))
    assert digits(test_size=0).X_test is None and len(digits(test_size=0).y) == 1797
    assert (digits(seed=1).y != ours.y).any()


@pytest.mark.parametrize(
    ("name", "n", "d", "K"), [("iris", 150, 4, 3), ("wine", 178, 13, 3), ("breast_cancer", 569, 30, 2)]
)
def test_bundled_tables_are_standardised_by_the_training_part(name, n, d, K):
    data, raw = bundled(name), bundled(name, standardise=False)
    assert (len(data.y) + len(data.y_test), data.input_shape, data.num_classes) == (n, (d,), K)
    np.testing.assert_allclose(data.X.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(data.X.std(axis=0), 1, atol=1e-12)
    scale = (raw.X[1] - raw.X[0])[0] / (data.X[1] - data.X[0])[0]
    np.testing.assert_allclose((raw.X_test[0] - raw.X[0])[0] / (data.X_test[0] - data.X[0])[0], scale)


def test_bundled_refusals():
    with pytest.raises(InvalidInput, match="name must be one of iris"):
        bundled("mnist")
    with pytest.raises(InvalidInput, match="test_size must be below the 178"):
        bundled("wine", test_size=178)
    assert bundled("digits").input_shape == (64,)


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    for call in (digits, lambda: bundled("wine"), long_tailed_digits_counts):
        with pytest.raises(PreconditionError, match=r"scikit-learn: pip install 'deep-classifier-theory\[demo\]'"):
            call()


@given(st.integers(2, 30), st.integers(1, 500), st.floats(1, 50), st.data())
def test_step_counts(K, n, R, data):
    m = data.draw(st.integers(0, K))
    if n < R * (1 - 1e-12):
        with pytest.raises(InvalidInput, match="empty"):
            step_counts(K, n, R, m)
        return
    counts = step_counts(K, n, R, m)
    assert counts.shape == (K,) and (counts[: K - m] == n).all()
    rare = counts[K - m :]
    assert ((rare >= n / R * (1 - 1e-9) - 1) & (rare <= n / R * (1 + 1e-9))).all()


def test_counts_at_whole_quotients_do_not_lose_one_to_round_off():
    for R in range(1, 400):
        assert step_counts(2, 3 * R, R)[1] == 3 and step_counts(2, 300, 300 / R)[1] == R if R <= 300 else True
    assert long_tail_counts(3, 1000, 100).tolist() == [1000, 100, 10]
    assert long_tail_counts(4, 1000, 1000).tolist() == [1000, 100, 10, 1]
    assert step_counts(5, 10, 2).tolist() == [10, 10, 10, 5, 5]


@given(st.integers(2, 50), st.integers(1, 10_000), st.floats(1, 1e6))
def test_long_tail_counts(K, n, R):
    counts = long_tail_counts(K, n, R)
    assert counts[0] == n and counts.min() >= 1 and (np.diff(counts) <= 0).all()
    assert counts[-1] == max(1, np.floor(n / R * (1 + 1e-12)))


def test_long_tail_of_digits_is_the_rule_at_its_own_counts():
    full = digits(test_size=0).counts
    wanted = [long_tail_counts(10, int(n), 37.0)[k] for k, n in enumerate(full)]
    assert long_tailed_digits_counts(37.0).tolist() == wanted


@pytest.mark.parametrize(
    "call",
    [
        lambda: step_counts(1, 5, 1),
        lambda: step_counts(4, 5, 0.5),
        lambda: step_counts(4, 5, 1, 5),
        lambda: long_tail_counts(4, 0, 2),
        lambda: long_tail_counts(4, 5, np.inf),
        lambda: long_tailed_digits_counts(0.1),
    ],
)
def test_bad_counts(call):
    with pytest.raises(InvalidInput):
        call()


@given(st.lists(st.integers(1, 8), min_size=2, max_size=5), st.integers(0, 100), st.data())
def test_imbalanced_keeps_what_it_says(there, seed, draw):
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(there)), there))
    data = Dataset(name="any", X=np.arange(len(y), dtype=float)[:, None], y=y)
    many = [draw.draw(st.integers(1, n)) for n in there]
    few = [draw.draw(st.integers(1, n)) for n in many]
    larger, smaller = imbalanced(data, many, seed), imbalanced(data, few, seed)
    assert larger.counts.tolist() == many and smaller.counts.tolist() == few
    assert set(smaller.X[:, 0]) <= set(larger.X[:, 0])  # nested
    index = larger.X[:, 0].astype(int)
    assert (np.diff(index) > 0).all() and (data.y[index] == larger.y).all()  # order and labels kept


def test_imbalanced_refusals_and_seed():
    data = digits()
    for counts, said in [([200] * 10, "class 0 of 'digits' has"), ([5] * 9, "one entry for each of 10"),
                         ([0] + [5] * 9, "counts[0] must be at least 1"), ([1.5] * 10, "whole")]:  # fmt: skip
        with pytest.raises(InvalidInput) as error:
            imbalanced(data, counts)
        assert said in str(error.value)
    one, two = (imbalanced(data, [50] * 10, seed) for seed in (0, 1))
    assert not np.array_equal(one.X, two.X)
    assert "50 samples per class (seed 1)" in two.notes and np.array_equal(one.X_test, data.X_test)
    assert data.subset(counts=7).counts.tolist() == [7] * 10


def test_random_labels_are_a_permutation():
    data = digits()
    one, two = random_labels(data, 0), random_labels(data, 1)
    for shuffled in (one, two):
        assert np.array_equal(shuffled.X, data.X) and np.array_equal(shuffled.counts, data.counts)
        assert np.array_equal(np.bincount(shuffled.y_test), np.bincount(data.y_test))
        for mine, theirs in ((shuffled.y, data.y), (shuffled.y_test, data.y_test)):
            n = len(mine)
            assert abs((mine == theirs).mean() - 0.1) < 5 * np.sqrt(0.09 / n)
    assert (one.y != two.y).any() and random_labels(points(), 3).y_test is None


@pytest.mark.parametrize("K", [2, 5])
def test_gaussian_means_and_noise(K):
    data = gaussians(K, 4000, 6, 3.0, seed=1, noise=0.5)
    means = np.array([data.X[data.y == k].mean(axis=0) for k in range(K)])
    gaps = np.linalg.norm(means[:, None] - means[None], axis=2)[~np.eye(K, dtype=bool)]
    assert abs(gaps - 3).max() < 5 * 0.5 * np.sqrt(2 / 4000)
    assert abs(means.sum(axis=0)).max() < 5 * 0.5 * np.sqrt(K / 4000)
    assert abs((data.X - means[data.y]).std() - 0.5) < 5 * 0.5 / np.sqrt(2 * data.X.size)
    assert gaussians(K, 2, 6, 3.0, noise=0).X[0].tolist() == gaussians(K, 2, 6, 3.0, noise=0).X[1].tolist()


def test_gaussian_bayes_error():
    data = gaussians(2, 1, 4, 2.0, test_size=20_000)
    clean = gaussians(2, 1, 4, 2.0, noise=0).X
    nearest = ((data.X_test[:, None] - clean[None]) ** 2).sum(axis=2).argmin(axis=1)
    p = norm.cdf(-1)
    assert abs((nearest != data.y_test).mean() - p) < 4 * np.sqrt(p * (1 - p) / 20_000)


def test_gaussian_refusals():
    for call in (lambda: gaussians(5, 3, 3, 1.0), lambda: gaussians(2, 3, 3, -1.0), lambda: gaussians(1, 3, 3, 1.0)):
        with pytest.raises(InvalidInput):
            call()


@pytest.mark.parametrize(
    "make", [lambda n, **kw: teacher([4, 30, 3], n, **kw), lambda n, **kw: compositional(3, n, num_classes=3, **kw)]
)
def test_samples_are_nested_and_the_function_has_a_seed_of_its_own(make):
    small, large = make(100, seed=5), make(400, seed=5)
    np.testing.assert_array_equal(small.X, large.X[:100])
    np.testing.assert_array_equal(small.y, large.y[:100])
    np.testing.assert_array_equal(small.X_test, large.X_test)
    assert (make(100, seed=6).X != small.X).any() and (make(100, seed=6, function_seed=5).X != small.X).any()
    other = make(100, seed=5, function_seed=6)
    assert (other.X == small.X).all() and (other.y != small.y).any()
    assert make(100, test_size=0).X_test is None


def test_teacher_is_one_function_for_every_seed_of_inputs():
    """In two dimensions the nearest of 3,000 labelled samples almost always knows the label; of another teacher not."""
    known, fresh, other = (teacher([2, 10, 3], 3000, s, function_seed=f) for s, f in ((0, 7), (1, 7), (1, 8)))
    nearest = ((fresh.X[:500, None] - known.X[None]) ** 2).sum(axis=2).argmin(axis=1)
    assert (known.y[nearest] == fresh.y[:500]).mean() > 0.95
    assert (known.y[nearest] == other.y[:500]).mean() < 0.9


def test_teacher_refusals():
    for widths in ([3], [3, 1], [0, 2]):
        with pytest.raises(InvalidInput):
            teacher(widths, 10)
    with pytest.raises(InvalidInput, match="class"):
        teacher([3, 10], 5)


def by_recursion(tree, x, level, node):
    if level == 0:
        return x[node]
    rows = tree.levels[level - 1]
    p, q, r, m, s = rows[0 if len(rows) == 1 else node]
    a, b = by_recursion(tree, x, level - 1, 2 * node), by_recursion(tree, x, level - 1, 2 * node + 1)
    return (np.tanh(p * a + q * b + r * a * b) - m) / s


@pytest.mark.parametrize("shared", [True, False])
def test_tree_equals_its_recursion(shared):
    tree = binary_tree(4, 3, shared=shared)
    X = np.random.default_rng(0).uniform(-1, 1, (9, 16))
    np.testing.assert_allclose(tree.value(X), [by_recursion(tree, x, 4, 0) for x in X], rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(tree.value(X), tree.value(X[:, None]))
    assert tree.shared is shared and [len(level) for level in tree.levels] == ([1] * 4 if shared else [8, 4, 2, 1])
    fresh = tree.value(np.random.default_rng(1).uniform(-1, 1, (20_000, 16)))
    assert abs(fresh.mean()) < 0.1 and abs(fresh.std() - 1) < 0.1
    assert tree.describe().count("tanh") == sum(map(len, tree.levels))
    # the words, read back, are the function
    words = tree.describe().splitlines()[0].split("h(a, b) = ")[1].split("; ")[0]
    a, b = 0.3, -0.7
    read = eval(words.replace(" ab", "*a*b").replace(" a", "*a").replace(" b", "*b"), {"tanh": np.tanh, "a": a, "b": b})
    p, q, r, m, s = tree.levels[0][0]
    assert read == pytest.approx((np.tanh(p * a + q * b + r * a * b) - m) / s, abs=0.02)
    with pytest.raises(InvalidInput, match="16 variables"):
        tree.value(X[:, :15])


def test_compositional_labels_come_from_the_stated_tree():
    data = compositional(3, 3000, seed=2, num_classes=3)
    tree = binary_tree(3, 2)
    assert data.X.shape == (3000, 1, 8) and tree.describe() in data.notes and abs(data.X).max() <= 1
    value = tree.value(data.X)
    tops, bottoms = ([f(value[data.y == k]) for k in range(3)] for f in (np.max, np.min))
    assert tops[0] < bottoms[1] and tops[1] < bottoms[2]
    assert abs(data.counts / 3000 - 1 / 3).max() < 5 * np.sqrt(2 / 9 / 3000) + 5 * np.sqrt(2 / 9 / 4096)
    for bad in (0, 13):
        with pytest.raises(InvalidInput, match="depth"):
            compositional(bad, 10)
