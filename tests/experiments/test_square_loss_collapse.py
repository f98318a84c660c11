"""``square-loss-collapse``: targets and rates by other formulas, what must hold, the record."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.optimize import minimize_scalar

from simulations.experiments import _square_collapse_networks as networks
from simulations.experiments import square_loss_collapse as experiment
from simulations.store import ResultsStore
from theory.square_loss import class_targets

pytestmark = pytest.mark.xdist_group("square-loss-collapse")
LINEAR, UNIT, RELU, LAM = experiment.LINEAR, experiment.UNIT, experiment.RELU, 0.03


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    lines = []
    path = tmp_path_factory.mktemp("slc") / "r.sqlite"
    with ResultsStore(path) as store:
        result = experiment.run(quick=True, store=store, callback=lines.append)
    torch.set_num_threads(threads)
    return result, path, lines


@pytest.mark.parametrize("setting", [LINEAR, UNIT])
def test_a_collapsed_network_has_the_predicted_numbers(setting):
    """Built by hand: hidden unit k sees class k. Its objective is least in rho at the predicted rest point."""
    data, net, K, told = setting.data(0), setting.network(), setting.classes, networks.predictions(setting, LAM)
    Y = class_targets(data.y, K)
    W1 = np.zeros((setting.width, data.X.shape[1]))
    W1[:K] = Y.T @ data.X
    W2 = np.zeros((K, setting.width))
    W2[:, :K] = np.eye(K)
    f = net.output(net.pack(W1=W1 / np.linalg.norm(W1), W2=W2 / np.linalg.norm(W2)), data.X)
    assert (f * Y).sum() / len(f) == pytest.approx(told["mu"]) and (f**2).sum() / len(f) == pytest.approx(told["M"])
    shape = (lambda rho: rho**2) if setting is UNIT else (lambda rho: 2 * rho)

    def objective(rho):
        return ((rho * f - Y) ** 2).sum() / len(f) + LAM * shape(rho)

    best = minimize_scalar(objective, bounds=(0, 20), options={"xatol": 1e-10})
    assert told["rho"] == pytest.approx(best.x, rel=1e-6) and told["least"] == pytest.approx(best.fun, rel=1e-9)
    assert told["fit"] == pytest.approx(best.fun - LAM * shape(best.x), rel=1e-6)


def test_linear_networks_on_free_inputs_collapse_at_the_predicted_rate(done):
    """Exact for a linear layer on orthonormal inputs, so that agreement is no luck."""
    rows = {row["network"]: row for row in done[0].table}
    for setting in (LINEAR, UNIT):
        row = rows[setting.name]
        assert row["rate"] == pytest.approx(row["predicted rate"], rel=0.02) and row["NC1"] < 1e-3
        assert row["rho"] == pytest.approx(row["predicted"], rel=1e-3) and row["sigma / mu"] < 1e-5


def test_nothing_lies_below_the_least_objective(done):
    floors = [check for check in done[0].agreement.checks if check.relation == "at least"]
    assert len(floors) == 3 and all(check.agrees for check in floors)


def test_rates():
    told = networks.predictions(LINEAR, LAM)
    assert told["flow_rate"] == 4 * LAM
    # k steps shrink the hidden weights by (1 - 2 step lam)^k, and the square twice
    assert np.exp(-told["rate"] * 10 * LINEAR.step) == pytest.approx((1 - 2 * LINEAR.step * LAM) ** 20)
    unit = networks.predictions(UNIT, LAM)
    assert unit["flow_rate"] == pytest.approx(4 * unit["rho"] * (unit["mu"] - unit["M"] * unit["rho"]))
    t = np.linspace(1, 20, 40)
    assert networks.fitted_rate(t, 3 * np.exp(-0.7 * t)) == pytest.approx(0.7)


def test_scatter_by_hand():
    H, y = np.array([[0.0], [2.0], [10.0], [12.0]]), np.array([0, 0, 1, 1])
    assert networks._scatter(H, y, 2) == (1.0, 25.0)


def test_mixed_pairs_by_hand():
    # unit 0: on for all of class 0, off for class 1; unit 1: mixed in class 0, on in class 1
    features = np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 3.0], [0.0, 1.0]])
    assert networks.mixed(features, np.array([0, 0, 1, 1])) == pytest.approx(1 / 3)


def test_a_wrong_theory_disagrees(done, monkeypatch):
    result, path, _ = done
    told = experiment.predictions

    def shifted(*args):
        return {k: v * (1.1 if k in ("rho", "rate") else 1.0) for k, v in told(*args).items()}

    monkeypatch.setattr(experiment, "predictions", shifted)
    with ResultsStore(path) as store:
        wrong = experiment.run(quick=True, store=store)
    for quantity in ("rho, measured / predicted", "rate of NC1, measured / predicted"):
        name = f"{LINEAR.name}, lam {LAM:g}: {quantity}"
        assert result.agreement[name].agrees and not wrong.agreement[name].agrees
    assert wrong.agreement[f"{LINEAR.name}, lam {LAM:g}: loss, measured / predicted"].agrees


def test_digits_are_measured_with_their_own_energy():
    small = replace(experiment.DIGITS, per_class=3, width=12, horizon=0.05)
    record = networks.train_one(small, 0.02, 0)
    told = experiment.told(small, 0.02, record)
    assert told["E"] == record["E"] and told["mu"] == pytest.approx(np.sqrt(record["E"] / 10))
    assert record["M"] <= record["E"]  # |V_2 h| <= |h|


def test_the_store_makes_a_second_run_equal_and_quick(done):
    result, path, _ = done
    began = time.process_time()
    with ResultsStore(path) as store:
        again = experiment.run(quick=True, store=store)
    assert time.process_time() - began < 1
    assert json.dumps(again.to_json()) == json.dumps(result.to_json())


def test_record_and_figure(done):
    result, _, lines = done
    assert (result.name, result.claim) == (experiment.NAME, experiment.CLAIM)
    assert len(result.table) == 3 and len({tuple(r) for r in result.table}) == 1
    assert len(result.agreement.checks) == 33 and any("above its least" in note for note in result.notes)
    assert any("3 of 3" in line and "left" in line for line in lines)
    figure = Figure()
    experiment.draw(result, figure)
    assert len(figure.axes) == 2 and result.agreement.verdict in figure.get_suptitle()
