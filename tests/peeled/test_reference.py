"""Published and independently computed numbers, to all their digits."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.oracles import merge_threshold
from theory.peeled import LayerPeeledModel, balanced_loss, collapse_threshold, phase_curve, solve
from theory.peeled._two_groups import TwoGroups

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "layer_peeled.json").read_text())
FIGURE = REFERENCE["published_figure"]


@pytest.mark.parametrize("case", REFERENCE["thresholds"], ids=lambda c: f"{c['majority']}+{c['minority']},P={c['P']}")
def test_thresholds(case):
    found = collapse_threshold(majority=case["majority"], minority=case["minority"], E_W=1, E_H=case["P"])
    assert found.R0 == pytest.approx(case["R0"], rel=5e-10)
    assert found.R00 == (pytest.approx(case["R00"], rel=5e-10) if case["R00"] else np.inf)
    assert found.residual < 1e-12 and found.residual_R00 < 1e-12


@pytest.mark.parametrize(("K_A", "K_B", "P"), [(2, 2, 1), (2, 2, 4), (2, 3, 1), (5, 5, 5), (3, 7, 5), (1, 9, 5)])
def test_threshold_against_forty_digits(K_A, K_B, P):
    # settles the last digits of three small cases: 3.380488453, 27.73539136, 4.064289440
    found = collapse_threshold(majority=K_A, minority=K_B, E_W=P, E_H=1)
    if K_A == 1:  # the equation for a is void; its multiplier is an identity of the other two
        assert found.residual < 1e-12
        return
    x, _ = TwoGroups(K_A, K_B, (K_A + K_B) * np.sqrt(P)).from_program(found.R0)
    assert found.R0 == pytest.approx(merge_threshold(K_A, K_B, P, (x[0], x[1], x[3], found.R0)), rel=1e-12)


def test_published_figure_to_eight_digits():
    ratios = 10 ** (FIGURE["log10_ratio_step"] * np.arange(12))
    curve = phase_curve(ratios=ratios, **FIGURE["configuration"])
    np.testing.assert_allclose(curve.cos_minority[:11], FIGURE["cos_minority"], rtol=0, atol=5.1e-9)
    np.testing.assert_allclose(curve.cos_minority[:11], FIGURE["authors_script_four_digits"], rtol=0, atol=6e-5)
    assert curve.cos_minority[11] == 1.0 and curve.phase[11] == "merged"


def test_ratio_ten_in_full():
    want = REFERENCE["ratio_10"]
    found = solve(LayerPeeledModel(counts=[10] * 5 + [1] * 5, E_W=1, E_H=5))
    assert found.objective == pytest.approx(want["objective"], abs=5e-13)
    assert found.multiplier == pytest.approx(want["multiplier"], rel=6e-10)
    assert found.cos_between[0, 0] == pytest.approx(want["cos_majority"], abs=5e-11)
    assert found.cos_between[0, 1] == pytest.approx(want["cos_between"], abs=5e-11)
    x, _ = TwoGroups(5, 5, 10 * np.sqrt(5)).from_program(10.0)
    np.testing.assert_allclose(x, [want["a"], want["q_A"], want["e"], want["q_B"]], atol=6e-10)


def test_infinite_ratio():
    want = REFERENCE["infinite_ratio"]
    found = solve(LayerPeeledModel(counts=[10**12] * 5 + [1] * 5, E_W=1, E_H=5))
    assert found.cos_between[0, 0] == pytest.approx(want["cos_majority"], abs=5e-9)
    assert found.cos_between[0, 1] == pytest.approx(want["cos_between"], abs=5e-9)
    assert found.groups[1].norm_w / found.groups[0].norm_w == pytest.approx(want["norm_ratio"], abs=5e-9)
    assert found.groups[1].phase == "merged" and found.groups[1].cos_within == 1.0


def test_vanishing_phase():
    want = REFERENCE["vanishing"]
    counts = [want["ratio"]] * want["majority"] + [1] * want["minority"]
    for method in ("auto", "groups"):
        found = solve(LayerPeeledModel(counts=counts, E_W=1, E_H=want["P"]), method=method)
        assert found.objective == pytest.approx(want["objective"], abs=6e-11)
        assert found.groups[1].phase == "vanishing" and np.isnan(found.groups[1].cos_within)
        assert found.groups[1].merge_ratio == 0 and found.groups[1].norm_w == 0
        assert found.logits()[0, 0] == pytest.approx(want["a"] * (1 - 1 / 7), abs=1e-9)
        assert not found.logits()[:, 7:].any()


@pytest.mark.parametrize("case", REFERENCE["balanced"])
def test_balanced(case):
    assert balanced_loss(case["K"], case["P"], 1) == pytest.approx(case["objective"], abs=6e-13)
    found = solve(LayerPeeledModel(counts=[3] * case["K"], E_W=case["P"], E_H=1))
    assert found.method == "closed-form"
    assert found.objective == pytest.approx(case["objective"], abs=6e-13)
    assert found.groups[0].cos_within == pytest.approx(-1 / (case["K"] - 1), abs=1e-14)
