"""Neighbours on several maps: the union is paid, measures by plain loops, and order what they should order."""

from __future__ import annotations

import json

import numpy as np
import pytest

from theory import InvalidInput, PreconditionError
from theory.bounds.nearest_neighbour import NearestNeighbourBound
from theory.bounds.neighbour_features import compare_maps


def data(n: int = 120):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    good = np.eye(3)[y] * 2 + 0.4 * rng.standard_normal((n, 3))
    raw = np.concatenate([good, 2 * rng.standard_normal((n, 8))], axis=1)
    return {"raw": raw, "good": good, "noise": raw[:, 3:]}, y


def test_reports_are_the_single_bounds_at_their_share_of_delta():
    maps, y = data()
    found = compare_maps(maps, y, ks=[1, 5], classes=3, delta=0.3, independent_features=True, reference="raw")
    assert [(r.name, r.k) for r in found.rows] == [(m, k) for m in maps for k in (1, 5)] and found.delta == 0.3
    for row in found.rows:
        single = NearestNeighbourBound(k=row.k, classes=3, independent_features=True)
        alone = single.evaluate(maps[row.name], y, delta=0.3 / 6)
        assert row.report.value == alone.value > single.evaluate(maps[row.name], y, delta=0.3).value
    assert found.best.name == "good" and found.best.report.value == min(r.report.value for r in found.rows)
    assert json.dumps(found.to_json()) and "good" in found.summary()


def test_all_hold_together_more_often_than_promised():
    rng, delta, bad = np.random.default_rng(1), 0.5, 0
    chance = np.array([0.95, 0.3, 0.6])  # of label 1 at three places; the second map merges two of them
    for _ in range(40):
        at = rng.integers(0, 3, 30)
        y = (rng.random(30) < chance[at]).astype(int)
        maps = {"all": at[:, None] * 1.0, "merged": (at[:, None] > 0) * 1.0}
        found = compare_maps(maps, y, ks=[1, 3], classes=2, delta=delta, independent_features=True)
        for row in found.rows:
            places = np.array([0.0, 1.0, 2.0]) if row.name == "all" else np.array([0.0, 1.0, 1.0])
            u = np.random.default_rng(0).random(30)
            order = [np.lexsort((u, np.abs(maps[row.name][:, 0] - p)))[: row.k] for p in places]
            guess = np.array([y[o].sum() * 2 > row.k for o in order])
            truth = np.where(guess, 1 - chance, chance).mean()
            bad += truth > row.report.value
    assert bad <= 40 * delta


def test_measures_by_plain_loops():
    maps, y = data(40)
    k, F = 3, maps["noise"]
    found = compare_maps(maps, y, ks=[k], classes=3, independent_features=True, reference="raw")
    squares = {}
    for name, G in maps.items():
        D = np.linalg.norm(G[:, None] - G, axis=2)
        np.fill_diagonal(D, np.inf)
        near = np.argsort(D, axis=1)[:, :k]
        P = np.array([[np.mean(y[near[i]] == c) for c in range(3)] for i in range(40)])
        squares[name] = np.mean([((np.arange(3) == y[i]) - P[i]) @ ((np.arange(3) == y[i]) - P[i]) for i in range(40)])
        if name == "noise":
            j = near[:, -1]
            slopes = sorted(np.linalg.norm(P[i] - P[j[i]]) / np.linalg.norm(F[i] - F[j[i]]) for i in range(40))
            spread = np.sqrt(np.mean(np.sum((F - F.mean(0)) ** 2, axis=1)))
            smooth = slopes[int(np.ceil(0.9 * 39))] * spread
    rows = {row.name: row for row in found.rows}
    for name, row in rows.items():
        assert row.mean_square == pytest.approx(squares[name], rel=1e-12)
        assert row.safety == pytest.approx(max(0, squares[name] - squares["raw"]), abs=1e-12)
    assert rows["noise"].smoothness == pytest.approx(smooth, rel=1e-9) and smooth > 0


def test_what_the_measures_tell_apart():
    maps, y = data(400)
    maps["scaled"] = 7 * maps["good"]
    found = compare_maps(maps, y, ks=[5], classes=3, independent_features=True, reference="good")
    rows = {row.name: row for row in found.rows}
    assert rows["good"].safety == 0 and rows["noise"].safety > 0.3 > rows["raw"].safety
    assert rows["scaled"].smoothness == pytest.approx(rows["good"].smoothness, rel=1e-9)
    assert rows["scaled"].mean_square == rows["good"].mean_square
    plain = compare_maps(maps, y, ks=[5], classes=3, independent_features=True)
    assert all(row.safety is None for row in plain.rows)


def test_copies_with_other_labels_have_no_smoothness():
    F, y = np.zeros((6, 1)), np.array([0, 1, 0, 1, 0, 1])
    found = compare_maps({"f": F}, y, ks=[1], classes=2, independent_features=True)
    assert found.best.smoothness in (0.0, float("inf"))


def test_refusals():
    maps, y = data(20)
    with pytest.raises(PreconditionError, match="independent"):
        compare_maps(maps, y, ks=[1], classes=3)
    with pytest.raises(InvalidInput, match="at least one"):
        compare_maps({}, y, ks=[1], classes=3, independent_features=True)
    with pytest.raises(InvalidInput, match="no map is called 'x'"):
        compare_maps(maps, y, ks=[1], classes=3, independent_features=True, reference="x")
    with pytest.raises(InvalidInput, match=r"0\.\.1"):
        compare_maps(maps, y, ks=[1], classes=2, independent_features=True)


@pytest.mark.parametrize(("maps", "ks"), [([np.eye(4)], [1]), ({"a": np.eye(4)}, 3)])
def test_maps_without_names_and_a_single_k_are_refused(maps, ks):
    with pytest.raises(InvalidInput, match="features by name"):
        compare_maps(maps, [0, 1, 0, 1], ks=ks, classes=2, independent_features=True)
