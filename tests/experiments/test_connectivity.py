"""``connectivity``: barriers by brute force, what must hold of every pair, the neurons counted, the record."""

import copy
import json
import math
import time
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.special import logsumexp

from simulations.experiments import _connectivity_networks as networks
from simulations.experiments import connectivity as experiment
from simulations.store import ResultsStore

pytestmark = pytest.mark.xdist_group("connectivity")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    lines = []
    path = tmp_path_factory.mktemp("cn") / "r.sqlite"
    with ResultsStore(path) as store:
        result = experiment.run(quick=True, store=store, callback=lines.append)
        records = {c["width"]: store.find(c) for c in store.configs()}
    return result, path, lines, records


def test_barrier_of_the_straight_line_by_brute_force(done):
    """The two networks trained again, and the loss at 1,000 points in plain NumPy."""
    record = done[3][24]
    setting = networks.Setting(width=24, pair=0, samples=100, epochs=100, points=1000, max_steps=300)
    data = networks.data_of(setting)
    assert data.counts.tolist() == [10] * 10
    a, b = (networks.trained(setting, data, seed) for seed in (0, 1))

    def loss(t):
        x = data.X
        for k, (A, B) in enumerate(zip(a.layers, b.layers, strict=True)):
            M = (1 - t) * A + t * B
            x = x @ M[:, :-1].T + M[:, -1]
            x = np.maximum(x, 0) if k < 2 else x
        return float((logsumexp(x, axis=1) - x[np.arange(100), data.y]).mean())

    losses = [loss(t) for t in np.linspace(0, 1, 1000)]
    assert [losses[0], losses[-1]] == pytest.approx(record["ends"], rel=1e-6)
    barrier = max(losses) - max(losses[0], losses[-1])
    # a line search goes on from the best of the points
    assert barrier - 1e-9 <= record["paths"]["linear"]["barrier"] == pytest.approx(barrier, rel=1e-4)


def test_each_pair_has_digits_of_its_own():
    from simulations.data import digits

    first, other = (
        networks.data_of(networks.Setting(width=6, pair=pair, samples=50, epochs=1, points=9, max_steps=1))
        for pair in (0, 3)
    )
    np.testing.assert_array_equal(other.X, digits(flat=True).subset(counts=[5] * 10, seed=3).X)
    assert not np.array_equal(first.X, other.X)


def test_a_thinned_curve_keeps_its_peaks():
    losses = np.zeros(2000)
    losses[[7, 1234, 1999]] = 3.0, 5.0, 4.0
    path = SimpleNamespace(curve=lambda: (np.linspace(0, 1, 2000), losses), barrier=1.0, barrier_upper=2.0,
                           maximum=5.0, segments=[0, 0], points=2000)  # fmt: skip
    found = networks._measured(path)
    s = np.array(found["s"])[np.array(found["losses"]) > 0]
    np.testing.assert_allclose(s, np.array([7, 1234, 1999]) / 1999)
    assert len(found["s"]) == networks.KEPT and found["segments"] == 2


def test_what_must_hold_of_every_pair(done):
    for record in done[3].values():
        half = record["paths"]["half"]
        assert set(record["kinds"]) <= {"convex", "constant"} and len(record["kinds"]) == half["segments"]
        assert half["maximum"] <= max(*record["ends"], record["eps"]) + 1e-9
        for path in record["paths"].values():
            assert path["points"] >= 1000 and path["barrier"] <= path["barrier_upper"] + 1e-12
            assert len(path["s"]) == networks.KEPT and max(path["losses"]) <= path["maximum"] + 1e-12
        if record["holds"]:
            assert half["barrier"] <= 1e-9


def test_neurons_that_are_needed(done):
    """Layer 1 keeps both sets of separable neurons; above it twelve or twice ten units that pass classes on."""
    for width, record in done[3].items():
        first, second = record["counts"]
        assert (first["generic"], first["wide"]) == (10, 101)
        assert first["needed"] == sum(first["separable"])
        assert second["needed"] == max(max(second["separable"]) + 10, 20)
        assert record["occupied"][0] <= width and record["occupied"][1] <= width
        assert experiment.suffices(record) == (max(first["needed"], second["needed"]) <= width)


def test_first_width_counts_from_the_widest():
    runs = {4: [{"x": True}], 8: [{"x": False}, {"x": True}], 16: [{"x": True}], 32: [{"x": True}, {"x": True}]}
    assert experiment.first_width(runs, lambda run: run["x"]) == 16
    assert experiment.first_width(runs, lambda run: True) == 4
    assert experiment.first_width(runs, lambda run: False) == math.inf


def confronted(records):
    checks = experiment.Checks()
    experiment.confront(checks, {width: [record] for width, record in records.items()})
    return checks.agreement()


def test_wrong_theories_disagree(done):
    records = done[3]
    honest = confronted(records)
    assert honest["largest loss on the path above max(ends, eps)"].agrees
    assert honest["segments that are neither convex nor constant"].agrees
    assert len(honest.checks) == 5

    low = copy.deepcopy(records)
    low[6]["eps"] = low[6]["ends"][0] / 2
    assert not confronted(low)["largest loss on the path above max(ends, eps)"].agrees
    bent = copy.deepcopy(records)
    bent[6]["kinds"][3] = "general"
    assert not confronted(bent)["segments that are neither convex nor constant"].agrees
    # the narrow pair has a barrier: told that its neurons suffice, the theory is wrong
    hopeful = copy.deepcopy(records)
    for count in hopeful[6]["counts"]:
        count["enough"] = True
    told = confronted(hopeful)
    assert records[6]["paths"]["half"]["barrier"] > 0.01
    assert not told["constructed path: largest barrier where the counts suffice"].agrees
    assert not told["least width from which no pair has a barrier"].agrees
    flat = copy.deepcopy(records)
    flat[24]["paths"]["linear"]["barrier"] = 0.0
    assert not confronted(flat)["straight line: least barrier / loss of the networks, there"].agrees


def test_too_few_neurons_leave_only_what_is_proved(done):
    few = copy.deepcopy(done[3])
    for record in few.values():
        record["counts"][0]["enough"] = False
    assert len(confronted(few).checks) == 2


def test_the_store_makes_a_second_run_equal_and_quick(done):
    result, path, _, _ = done
    began = time.process_time()
    with ResultsStore(path) as store:
        again = experiment.run(quick=True, store=store)
    assert time.process_time() - began < 1
    assert json.dumps(again.to_json()) == json.dumps(result.to_json())


def test_record_and_figure(done):
    result, _, lines, records = done
    assert (result.name, result.claim) == (experiment.NAME, experiment.CLAIM)
    assert [row["width"] for row in result.table] == [6, 24]
    assert result.table[0]["barrier, half"] == records[6]["paths"]["half"]["barrier"]
    assert any("2 of 2" in line and "left" in line for line in lines) and "2 pairs" in result.notes[0]
    figure = Figure()
    experiment.draw(result, figure)
    assert len(figure.axes) == 3 and result.agreement.verdict in figure.get_suptitle()
