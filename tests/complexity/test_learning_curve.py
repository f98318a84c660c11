"""The curve is the estimate at every checkpoint, and its phases are read off it."""

import numpy as np
import pytest

from theory import InvalidInput
from theory.complexity import estimate, learning_curve

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 3, 400)
LINE = np.where(RNG.random(400) < 0.3, RNG.integers(0, 3, 400), Y)
WIDE = np.where(RNG.random(400) < 0.1, RNG.integers(0, 3, 400), Y)
START = np.where(RNG.random(400) < 0.4, RNG.integers(0, 3, 400), LINE)


@pytest.fixture(scope="module")
def curve():
    return learning_curve([START, LINE, WIDE, Y], Y, {"linear": LINE, "wide": WIDE}, steps=[0, 5, 10, 20])


def test_each_point_is_the_estimate(curve):
    assert curve.references == ("linear", "wide") and curve.n == 400
    assert curve.points["wide"][0] == estimate(START, Y, WIDE)
    assert curve.values("mu", "linear")[2] == estimate(WIDE, Y, LINE).mu


def test_phases(curve):
    given = curve.values("I_FY_given_L", "linear")
    assert given[0] < 0.05 < 0.3 < given[2] < given[3]
    assert curve.explained_until("linear", tolerance=0.05) == 5
    # the start has noise of its own, of which the wide reference knows nothing
    assert curve.explained_until("wide", tolerance=0.05) is None and curve.explained_until("wide", tolerance=0.1) == 0
    assert curve.explained_until("linear", tolerance=2.0) == 20
    assert curve.explained_until("linear", tolerance=-1) is None
    assert curve.lost("linear") == curve.points["linear"][3].I_LY_given_F == pytest.approx(0, abs=1e-12)  # F = Y


def test_intervals_and_text(curve):
    with_intervals = learning_curve([START, Y], Y, {"linear": LINE}, n_bootstrap=20, rng=3)
    again = learning_curve([START, Y], Y, {"linear": LINE}, n_bootstrap=20, rng=3)
    assert with_intervals.points == again.points
    first, second = with_intervals.points["linear"]
    assert first.intervals and first.intervals["mu"] != second.intervals["mu"]
    assert curve.to_json()["points"]["linear"][1]["mu"] == curve.values("mu", "linear")[1]
    assert "at step 20" in curve.summary() and "4 checkpoints against linear, wide" in repr(curve)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: learning_curve(Y, Y, {"l": LINE}), "shape"),
        (lambda: learning_curve([Y], Y, {}), "at least one"),
        (lambda: learning_curve([Y, Y], Y, {"l": LINE}, steps=[1, 1]), "increasing"),
        (lambda: learning_curve([Y], Y, {"l": LINE}).values("MU", "l"), "measure must be"),
        (lambda: learning_curve([Y], Y, {"l": LINE}).lost("x"), "reference must be"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()
