"""``increasing-complexity``: the tasks' laws, the exact lines by other formulas, the measures by hand, the record."""

import json
import math
import time
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

from simulations.experiments import _complexity_tasks as tasks
from simulations.experiments import increasing_complexity as experiment
from simulations.store import ResultsStore
from theory.complexity import RetentionModel, exact, joint_counts

pytestmark = pytest.mark.xdist_group("increasing-complexity")
h = -(0.1 * math.log2(0.1) + 0.9 * math.log2(0.9))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    lines = []
    path = tmp_path_factory.mktemp("ic") / "r.sqlite"
    with ResultsStore(path) as store:
        result = experiment.run(quick=True, store=store, callback=lines.append)
        records = {(c["task"], tuple(c["hidden"])): store.find(c) for c in store.configs()}
    return result, path, lines, records


def test_shortcut_follows_its_law():
    data = tasks.shortcut(20_000, 100, 0.1, seed=3)
    s, q, r = (np.sign(data.X[:, k]) for k in range(3))
    turned = q * r > 0
    np.testing.assert_array_equal(2 * data.y - 1, np.where(turned, -s, s))
    assert abs(turned.mean() - 0.1) < 0.008
    for other in (q, r):  # alone they tell nothing: four standard errors
        assert abs((other * (2 * data.y - 1)).mean()) < 4 / math.sqrt(20_000)
    table = joint_counts(data.y, data.y, (s > 0).astype(int)) / 20_000
    assert exact(table).I_LY == pytest.approx(1 - h, abs=0.02)
    assert np.abs(data.X[:, 3:].std(axis=0) - 0.3).max() < 0.01 and data.X_test.shape == (100, 10)


def test_exact_values_are_those_of_the_binary_entropy():
    end = experiment.exact_end()
    assert (end.I_FY, end.I_LY, end.mu) == pytest.approx((1, 1 - h, 1 - h), abs=1e-12)
    assert end.I_LY_given_F == pytest.approx(0, abs=1e-12) and end.I_FY_given_L == pytest.approx(h, abs=1e-12)


def test_memory_data_are_those_of_the_model():
    model = RetentionModel(n=20, flipped=4, a=0.7, b=1.3)
    data, s, s_new = tasks.memory_data(model, fresh=10, seed=1)
    sign = 2 * s - 1
    np.testing.assert_allclose(data.X @ data.X.T, 0.49 * np.outer(sign, sign) + 1.69 * np.eye(20), atol=1e-14)
    np.testing.assert_allclose(data.X_test @ data.X.T, 0.49 * np.outer(2 * s_new - 1, sign), atol=1e-14)
    assert (s != data.y).sum() == 4 and (s_new != data.y_test).sum() == 2
    assert s.sum() == 10 and (s != data.y)[s == 1].sum() == 2


def test_scores_are_those_of_the_iterated_kernel(done):
    """Descent by powers of I - step K / n on the residual, without weights or closed forms."""
    found = done[3]["memory", ()]
    data, s, _ = tasks.memory_data(RetentionModel(n=100, flipped=10), experiment.FRESH, 0)
    sign, y = 2.0 * s - 1, 2.0 * data.y - 1
    values, vectors = np.linalg.eigh(data.X @ data.X.T / 100)
    for at in (0, 30, 99):
        updates = round(found["t"][at] / experiment.STEP)
        scores = sign * (y - vectors @ ((1 - experiment.STEP * values) ** updates * (vectors.T @ y)))
        assert found["clean"][at] == pytest.approx(scores[y == sign].mean(), abs=1e-5)
        assert found["flipped"][at] == pytest.approx(scores[y != sign].mean(), abs=1e-5)
    assert len(found["t"]) == 100 and found["t"][-1] == pytest.approx(100)


def test_time_of_memorising_is_the_logarithm(done):
    """Long after the feature is learned: (1 + m) exp(-lambda_2 t) = 1."""
    check = done[0].agreement["memory: time at which flipped labels are learned"]
    assert check.predicted == pytest.approx(100 * math.log(1.8), rel=1e-6)


def test_measures_are_those_of_the_predictions(monkeypatch):
    """mu from the three tables of frequencies with Miller and Madow's term, on predictions that were overheard."""
    heard = []
    told = tasks.predictions
    monkeypatch.setattr(tasks, "predictions", lambda net, X: heard.append(told(net, X)) or heard[-1])
    setting = tasks.Setting(task="shortcut", seed=5, hidden=(8,), learning_rate=0.1, epochs=4, references=((), (4,)),
                            reference_epochs=3, tolerance=0.05)  # fmt: skip
    found = tasks.train_one(setting, 200, 500, 0.1)
    y, line, last = tasks.shortcut(200, 500, 0.1, 5).y_test, heard[0], heard[-1]

    def H(*columns):
        _, counts = np.unique(np.stack(columns), axis=1, return_counts=True)
        return (-sum(c / 500 * math.log(c / 500) for c in counts) + (len(counts) - 1) / 1000) / math.log(2)

    I_FY, I_LY = H(last) + H(y) - H(last, y), H(line) + H(y) - H(line, y)
    mu = I_FY + I_LY - (H(last, line) + H(y) - H(last, line, y))
    against = found["against"]["linear"]
    assert found["steps"] == [0, 1, 2, 3, 4] and len(heard) == 2 + 5
    assert found["I_FY"][-1] == pytest.approx(I_FY, abs=1e-10) and against["I_LY"] == pytest.approx(I_LY, abs=1e-10)
    assert against["mu"][-1] == pytest.approx(mu, abs=1e-10)
    assert against["error"] == (line != y).mean() and found["test_error"][-1] == (last != y).mean()


def test_first_phase_ends_where_the_linear_classifier_is_passed():
    against = {"linear": {"I_LY": 0.5, "I_FY_given_L": [0.0, 0.01, 0.02, 0.4]}}
    assert experiment._phase({"I_FY": [0.0, 0.3, 0.45, 0.46], "against": against}) == [0.0, 0.01, 0.02]
    assert experiment._phase({"I_FY": [0.9, 0.3, 0.4, 0.4], "against": against}) == [0.0]
    assert experiment._phase({"I_FY": [0.0, 0.3, 0.4, 0.4], "against": against}) == [0.0, 0.01, 0.02, 0.4]


def test_crossing_is_interpolated():
    assert experiment._crossing({"t": [1, 2, 3], "flipped": [-1, 0.5, -1.5]}) == 2.25
    assert experiment._crossing({"t": [1, 2, 3], "flipped": [1, 0.5, 0.1]}) == math.inf


def test_checkpoints_are_spaced_by_their_logarithm():
    found = tasks.checkpoints(100)
    assert found[:4] == [0, 1, 2, 3] and found[-1] == 100 and found == sorted(set(found))
    late = [epoch for epoch in found if epoch >= 20]  # spaced by exp(0.1), then rounded
    assert max(b - a * math.exp(0.1) for a, b in pairwise(late)) <= 1.1 and len(late) == 17 + 1  # and the last


def test_wrong_theories_disagree(done, monkeypatch):
    result, path, _, _ = done
    monkeypatch.setattr(experiment, "confront_memory", lambda checks, model, memory, told=experiment.confront_memory:
                        told(checks, RetentionModel(n=100, flipped=20), memory))  # fmt: skip
    turned = np.zeros((2, 2, 2))
    turned[[0, 1], [0, 1], [0, 1]], turned[[0, 1], [0, 1], [1, 0]] = 0.4, 0.1
    monkeypatch.setattr(experiment, "exact_end", lambda: exact(turned))
    with ResultsStore(path) as store:
        wrong = experiment.run(quick=True, store=store)
    names = ["memory: time at which flipped labels are learned", "memory: flipped score, largest deviation over time",
             "memory: I_FY, largest deviation from exact", "memory, linear predictor: error on new samples at the end",
             "shortcut: I(L;Y) of the linear classifier", "shortcut: mu(F;L) at the end"]  # fmt: skip
    assert [wrong.agreement[name].agrees for name in names] == [False] * 6
    assert all(result.agreement[name].agrees for name in names[:4])  # exact dynamics: a certainty


def test_a_forgetful_network_disagrees(done, monkeypatch):
    """The claims are read off the right curves: with F and L exchanged the network would have forgotten."""
    result, path, _, _ = done
    told = experiment.confront

    def exchanged(checks, task, found):
        linear = {**found[0]["against"]["linear"]}
        linear["I_LY_given_F"] = linear["I_FY_given_L"]
        told(checks, task, [{**found[0], "against": {**found[0]["against"], "linear": linear}}])

    monkeypatch.setattr(experiment, "confront", exchanged)
    with ResultsStore(path) as store:
        wrong = experiment.run(quick=True, store=store)
    name = "shortcut: I(L;Y|F) at the end"
    assert result.agreement[name].measured < 0.1 < wrong.agreement[name].measured


def test_the_store_makes_a_second_run_equal_and_quick(done):
    result, path, _, _ = done
    began = time.process_time()
    with ResultsStore(path) as store:
        again = experiment.run(quick=True, store=store)
    assert time.process_time() - began < 1
    assert json.dumps(again.to_json()) == json.dumps(result.to_json())


def test_record_and_figure(done):
    result, _, lines, _ = done
    assert (result.name, result.claim) == (experiment.NAME, experiment.CLAIM)
    # from the simplest on, although a store sorts the names
    assert [(row["task"], row["reference L"]) for row in result.table] == [
        (task, name) for task in ("shortcut", "digits") for name in ("linear", "8")
    ]
    assert len(result.agreement.checks) == 20 and any("4 of 4" in line and "left" in line for line in lines)
    for row in result.table:
        assert row["mu end"] + row["I(F;Y|L) end"] == pytest.approx(row["I(F;Y) end"], abs=1e-9)
    figure = Figure()
    experiment.draw(result, figure)
    assert len(figure.axes) == 3 and result.agreement.verdict in figure.get_suptitle()
