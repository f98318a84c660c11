"""Verdicts: computed from the data, never from what was not measured."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulations.bridge.agreement import Agreement, Check, Relative, compare
from theory._errors import InvalidInput

NAN, INF = float("nan"), float("inf")


def test_mean_spread_and_deviation_over_seeds():
    check = compare({"cosine": -0.1}, {"cosine": [-0.09, -0.13, -0.14]}, tolerance=0.03)["cosine"]
    assert check.seeds == 3
    assert check.measured == pytest.approx(-0.12, abs=1e-15)
    assert check.spread == pytest.approx(np.sqrt((0.03**2 + 0.01**2 + 0.02**2) / 2), abs=1e-15)
    assert check.deviation == pytest.approx(0.02, abs=1e-15)
    assert check.agrees


def test_one_run_has_no_spread():
    check = compare({"rank": 9}, {"rank": 9}, tolerance=0)["rank"]
    assert check.spread is None and check.seeds == 1 and check.agrees


@pytest.mark.parametrize(
    "measured",
    [
        {"s": [[3.0, 2.0, 1.0], [3.0, 2.4, 1.0]]},
        [{"s": [3.0, 2.0, 1.0]}, {"s": [3.0, 2.4, 1.0]}],
    ],
)
def test_arrays_over_seeds_in_both_forms(measured):
    check = compare({"s": [3.0, 2.0, 1.0]}, measured, tolerance=0.1)["s"]
    assert check.seeds == 2
    assert np.allclose(check.measured, [3, 2.2, 1], atol=1e-15)
    assert np.allclose(check.spread, [0, np.std([2, 2.4], ddof=1), 0], atol=1e-15)
    assert check.worst == 1 and check.deviation == pytest.approx(0.2, abs=1e-12) and not check.agrees


def test_a_single_array_is_one_run():
    check = compare({"s": [3.0, 2.0]}, {"s": [3.0, 2.5]}, tolerance=1)["s"]
    assert check.seeds == 1 and check.spread is None and check.deviation == 0.5


@pytest.mark.parametrize(
    ("relation", "measured", "deviation", "agrees"),
    [
        ("equal", 1.2, 0.2, False),
        ("equal", 0.8, 0.2, False),
        ("at most", 1.2, 0.2, False),
        ("at most", 0.8, -0.2, True),
        ("at least", 0.8, 0.2, False),
        ("at least", 1.2, -0.2, True),
    ],
)
def test_relations(relation, measured, deviation, agrees):
    check = compare({"x": 1.0}, {"x": measured}, tolerance=0.1, relation=relation)["x"]
    assert check.deviation == pytest.approx(deviation, abs=1e-12) and check.agrees is agrees


def test_a_relation_per_name_is_equal_elsewhere():
    agreement = compare({"a": 1, "b": 1}, {"a": 0, "b": 0}, tolerance=0.1, relation={"a": "at most"})
    assert agreement["a"].agrees and not agreement["b"].agrees and agreement.verdict == "partly"


@pytest.mark.parametrize("relation", ["equal", "at most", "at least"])
@pytest.mark.parametrize(
    ("predicted", "measured"),
    [(1.0, NAN), (NAN, 1.0), (NAN, NAN), ([1.0, 2.0], [1.0, NAN]), ([NAN, 2.0], [1.0, 2.0])],
)
def test_nan_never_agrees(relation, predicted, measured):
    agreement = compare({"x": predicted}, {"x": measured}, tolerance=1e300, relation=relation)
    assert not agreement.agrees and agreement.verdict == "disagrees" and np.isnan(agreement["x"].deviation)
    assert "undefined" in agreement.summary()


def test_one_nan_among_seeds_is_enough():
    assert not compare({"x": 1.0}, {"x": [1.0, NAN]}, tolerance=10).agrees


def test_infinities():
    assert compare({"x": INF}, {"x": INF}, tolerance=0).agrees
    assert not compare({"x": 1.0}, {"x": INF}, tolerance=1e300).agrees
    far = compare({"x": INF}, {"x": 1.0}, tolerance=Relative(0.1))
    assert not far.agrees and far["x"].tolerance == 0 and far["x"].deviation == INF


@pytest.mark.parametrize(("values", "verdict"), [((1, 2), "agrees"), ((1, 5), "partly"), ((5, 5), "disagrees")])
def test_verdict_and_counts(values, verdict):
    agreement = compare({"a": 1, "b": 2}, dict(zip("ab", values, strict=True)), tolerance=0.5)
    assert agreement.verdict == verdict and agreement.agrees is (verdict == "agrees")
    assert agreement.agreeing == {"agrees": 2, "partly": 1, "disagrees": 0}[verdict]
    assert agreement.summary().startswith(f"{verdict}: {agreement.agreeing} of 2")
    assert agreement.to_json()["verdict"] == verdict


def test_what_is_missing_is_listed_and_not_dropped():
    agreement = compare(
        {"a": 1, "only_predicted": 2, "untested": 3}, {"a": 1, "untested": 4, "only_measured": 5}, tolerance={"a": 0.1}
    )
    assert dict(agreement.not_compared) == {
        "only_predicted": "predicted, not measured",
        "untested": "no tolerance stated",
        "only_measured": "measured, not predicted",
    }
    assert all(name in agreement.summary() for name in ("only_predicted", "untested", "only_measured"))
    assert len(agreement.to_json()["not_compared"]) == 3


def test_relative_tolerance_is_a_share_of_the_largest_entry():
    agreement = compare({"a": [-10.0, 1.0], "b": 0.0}, {"a": [-9.5, 1.0], "b": 0.0}, tolerance=Relative(0.1))
    assert agreement["a"].tolerance == 1.0 and agreement["b"].tolerance == 0.0 and agreement.agrees


def test_records_with_quantities_and_source():
    record = SimpleNamespace(quantities={"x": 1.0}, source="a model")
    agreement = compare(record, [record, record], tolerance=0)
    assert agreement["x"].source == "a model" and agreement["x"].seeds == 2
    assert compare(record, record, tolerance=0, source={"x": "mine"})["x"].source == "mine"


def test_a_prediction_per_run_is_averaged_like_the_measurements():
    predictions = [{"x": 1.0, "s": [0.0, 1.0], "y": 1}, {"x": 3.0, "s": [2.0, 1.0]}]
    runs = [{"x": 1.5, "s": [0.0, 1.0], "y": 1}, {"x": 3.5, "s": [2.0, 1.0], "y": 1}]
    agreement = compare(predictions, runs, tolerance=0.6)
    assert agreement["x"].predicted == 2 and agreement["x"].measured == 2.5 and agreement["x"].seeds == 2
    assert agreement["s"].deviation == 0 and np.allclose(agreement["s"].predicted, [1, 1])
    assert agreement.not_compared == (("y", "not predicted for every run"),)
    with pytest.raises(InvalidInput, match="as many"):
        compare(predictions, runs[:1], tolerance=1)
    with pytest.raises(InvalidInput, match="as many"):
        compare(predictions, {"x": [1.5, 3.5]}, tolerance=1)
    with pytest.raises(InvalidInput, match="one shape"):
        compare([{"x": 1}, {"x": [1, 2]}], [{"x": 1}, {"x": 1}], tolerance=1)


def test_json_is_plain():
    agreement = compare({"s": [1.0, 2.0], "x": 1}, {"s": [[1.0, 2.0], [1.5, 2.0]], "x": [1, 2]}, tolerance=0.1)
    text = json.loads(json.dumps(agreement.to_json()))
    assert text["checks"][0]["measured"] == [1.25, 2.0] and text["checks"][1]["deviation"] == 0.5
    assert text["agreeing"] == 0 and text["total"] == 2


def test_summary_shows_the_worst_entry_of_an_array():
    table = compare({"s": [1.0, 2.0, 7.25]}, {"s": [1.0, 2.0, 9.5]}, tolerance=0.1).summary()
    assert "s[2]" in table and "7.25" in table and "9.5" in table and "DISAGREES" in table
    matrix = compare({"G": np.eye(2)}, {"G": [[1.0, 0.5], [0.0, 1.0]]}, tolerance=0.1).summary()
    assert "G[0,1]" in matrix


@given(st.floats(-1e6, 1e6), st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5), st.floats(0, 1e6))
def test_equal_is_both_inequalities(predicted, values, tolerance):
    def agrees(relation):
        return compare({"x": predicted}, {"x": values}, tolerance=tolerance, relation=relation).agrees

    assert agrees("equal") == (agrees("at most") and agrees("at least"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (({"x": 1}, {"y": 1}, {"tolerance": 1}), "both predicted and measured"),
        (({"x": 1}, {"x": 1}, {"tolerance": {}}), "both predicted and measured"),
        (({"x": 1}, {"x": [[1, 2], [3, 4]]}, {"tolerance": 1}), "shape"),
        (({"x": [1, 2, 3]}, {"x": [1, 2]}, {"tolerance": 1}), "shape"),
        (({"x": 1}, {"x": "one"}, {"tolerance": 1}), "real number"),
        (({"x": 1}, {"x": []}, {"tolerance": 1}), "real number"),
        (({"x": 1 + 1j}, {"x": 1}, {"tolerance": 1}), "real number"),
        (({"x": 1}, [], {"tolerance": 1}), "at least one run"),
        (({"x": 1}, [{"x": 1}, {"y": 1}], {"tolerance": 1}), "same quantities"),
        (([1], [{"x": 1}], {"tolerance": 1}), "mapping"),
        ((1, {"x": 1}, {"tolerance": 1}), "mapping"),
        (([], [], {"tolerance": 1}), "at least one run"),
        (({"x": 1}, 3.0, {"tolerance": 1}), "mapping"),
        (({"x": 1}, {"x": 1}, {"tolerance": -1}), "negative"),
        (({"x": 1}, {"x": 1}, {"tolerance": NAN}), "finite"),
        (({"x": 1}, {"x": 1}, {"tolerance": {"x": 1, "typo": 1}}), "typo"),
        (({"x": 1}, {"x": 1}, {"tolerance": 1, "relation": {"typo": "equal"}}), "typo"),
        (({"x": 1}, {"x": 1}, {"tolerance": 1, "relation": "about"}), "relation"),
    ],
)
def test_refusals_are_one_sentence(arguments, words):
    prediction, measured, options = arguments
    with pytest.raises(InvalidInput, match=words) as caught:
        compare(prediction, measured, **options)
    assert "\n" not in str(caught.value)


def test_records_refuse_too():
    with pytest.raises(InvalidInput, match="shape"):
        Check(name="x", predicted=1.0, measured=[1.0], tolerance=1.0)
    with pytest.raises(InvalidInput, match="at least one"):
        Agreement(checks=())
    with pytest.raises(InvalidInput, match="negative"):
        Relative(-0.1)
    with pytest.raises(KeyError):
        compare({"x": 1}, {"x": 1}, tolerance=1)["y"]


def test_a_check_is_what_compare_makes_of_it():
    check = Check(name="x", predicted=[1, 2], measured=[1, 3], tolerance=0.5, seeds=4, relation="at least")
    assert check.agrees and check.predicted.dtype == np.float64 and "agrees" in repr(check)
