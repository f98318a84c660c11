"""``compare``: the numbers of ``solve`` side by side, at one set of counts."""

from __future__ import annotations

import numpy as np
import pytest

from theory import InvalidInput
from theory.frames import gram_distance, simplex_etf_gram
from theory.peeled import DeepLinearModel, LayerPeeledModel, SELIModel, UnconstrainedFeaturesModel, solve
from theory.peeled.compare import compare

N = [50, 50, 8, 8, 1, 1]


def models(counts=N):
    return {
        "budget": LayerPeeledModel(counts=counts, E_W=1, E_H=5),
        "svm": SELIModel(counts=counts),
        "deep": DeepLinearModel(counts=counts, lam=1e-3, depth=2),
        "mse": UnconstrainedFeaturesModel(counts=counts, lam_W=1e-2, lam_H=1e-2, loss="mse"),
    }


def test_numbers_are_those_of_solve():
    seen = []
    result = compare(models(), callback=lambda done, name: seen.append((done, name)))
    assert result.names == tuple(models()) == tuple(name for _, name in seen)
    assert [done for done, _ in seen] == [1, 2, 3, 4]
    for name, solution, distance in zip(result.names, result.solutions, result.etf_distance, strict=True):
        want = solve(models()[name])
        assert solution.objective == want.objective
        assert [g.phase for g in solution.groups] == [g.phase for g in want.groups]
        assert distance == pytest.approx(gram_distance(want.gram_classifier(), simplex_etf_gram(6)), abs=1e-12)
        got = result.to_json()[name]
        assert got["objective"] == want.objective and got["etf_distance"] == distance


def test_equal_counts_give_the_simplex_to_all_but_the_squared_error():
    result = compare(models([7] * 5) | {"bias": UnconstrainedFeaturesModel(
        counts=[7] * 5, lam_W=1e-2, lam_H=1e-2, lam_b=0, loss="mse")})  # fmt: skip
    distance = dict(zip(result.names, result.etf_distance, strict=True))
    assert max(distance["budget"], distance["svm"], distance["bias"]) < 1e-7
    frame = float(gram_distance(np.eye(5), simplex_etf_gram(5)))
    assert distance["mse"] == pytest.approx(frame, abs=1e-9) and frame > 0.1


def test_summary_has_a_row_per_group_and_the_status():
    lines = compare(models()).summary().splitlines()
    assert len(lines) == 1 + 4 * 3
    assert lines[1].startswith("budget") and lines[4].startswith("svm") and "optimal" in lines[1]


def test_zero_classifier_has_no_distance():
    result = compare({"zero": DeepLinearModel(counts=[3, 2], lam=5.0)})
    assert np.isnan(result.etf_distance[0]) and "vanishing" in result.summary()


@pytest.mark.parametrize("other", [[50, 50, 8, 8, 1], [50, 50, 8, 8, 1, 2], [1, 1, 8, 8, 50, 50]])
def test_different_counts_are_refused(other):
    with pytest.raises(InvalidInput, match="same class counts"):
        compare({"one": SELIModel(counts=N), "two": SELIModel(counts=other)})


def test_nothing_to_compare_is_refused():
    with pytest.raises(InvalidInput, match="at least one model"):
        compare({})
