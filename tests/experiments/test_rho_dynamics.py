"""``rho-dynamics``: theory by other formulas, what must hold of every run, the record."""

import json
import time

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.optimize import minimize

from simulations.experiments import _rho_networks as networks
from simulations.experiments import rho_dynamics as experiment
from simulations.experiments._square_loss import plan_of, pull, state, theta_of
from simulations.store import ResultsStore
from theory.square_loss import class_targets, minimum_rho_two_layer

pytestmark = pytest.mark.xdist_group("rho-dynamics")
LAM = 0.03


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    lines = []
    path = tmp_path_factory.mktemp("rho") / "r.sqlite"
    with ResultsStore(path) as store:
        result = experiment.run(quick=True, store=store, callback=lines.append)
    torch.set_num_threads(threads)
    return result, path, lines


def row(result, what, normalisation, lam=LAM):
    rows = [r for r in result.table
            if (r["what"], r["normalisation"], r["weight decay"]) == (what, normalisation, lam)]  # fmt: skip
    assert len(rows) == 1
    return rows[0]


def test_descent_follows_the_flow(done):
    """Smooth parts of this size are certain: the step is small and the start is fixed."""
    for normalisation in ("lagrange", "none"):
        found = row(done[0], "path", normalisation)
        assert found["path deviation"] < 0.01 and found["rho"] == pytest.approx(found["flow"], rel=1e-3)
    found = row(done[0], "path", "lagrange")
    assert found["rho"] == pytest.approx(found["rest point"], rel=1e-4)


def test_nothing_lies_below_the_least_rho(done):
    floors = [c for c in done[0].agreement.checks if c.relation == "at least"]
    assert len(floors) >= 3 and all(check.agrees for check in floors)
    assert all(r["flow excess"] > -1e-4 for r in done[0].table if r["what"] == "least rho" and r["weight decay"] == 0)


@pytest.mark.parametrize("normalisation", ["lagrange", "none"])
def test_best_network_on_orthonormal_inputs(normalisation):
    R = networks.orthogonal_problem()[3]
    assert pytest.approx(2 * np.sqrt(networks.ORTHOGONAL / 2)) == R
    for lam in (0.003, 0.03):

        def cost(a, lam=lam):
            rho = minimum_rho_two_layer(np.eye(8), a * np.resize([1.0, -1.0], 8)).rho
            return ((1 - a) ** 2).mean() + (lam * rho**2 if normalisation == "lagrange" else 2 * lam * rho)

        found = minimize(cost, np.full(8, 0.7), method="Powell", options={"xtol": 1e-9, "ftol": 1e-13})
        least, rho = networks.best(normalisation, lam, R)
        assert least == pytest.approx(found.fun, rel=1e-7)
        assert rho == pytest.approx(found.x.mean() * R, rel=1e-3)


def test_the_trainer_descends_half_of_the_theory():
    import torch

    from simulations.train import train

    data, net, module = networks.data_of(0), networks.network(), networks.module(0)
    theta = theta_of(module)
    outputs = net.output(theta, data.X)
    np.testing.assert_allclose(outputs, module(torch.as_tensor(data.X)).detach().numpy(), atol=1e-14)
    run = train(module, data, plan_of(LAM, 0.05, 1))
    np.testing.assert_allclose(theta_of(run.model), theta - 0.05 * pull(net, theta, data, LAM), atol=1e-14)
    at, y = state(net, theta, data, LAM), class_targets(data.y, 3)
    direct = ((outputs - y) ** 2).sum(axis=1).mean() + LAM * (theta**2).sum()
    assert at.objective == pytest.approx(direct) and at.rho == pytest.approx(np.prod(at.layer_norms))


def test_rest_points_by_hand():
    run = {"mu": 0.2, "M": 0.05, "target_square": 1.0, "fit": 0.3}
    rho, ratio = experiment.rest("lagrange", 0.01, run)
    assert rho == pytest.approx(0.2 / 0.06)
    assert ratio == pytest.approx(0.3 / (1 - 2 * 0.2 * rho + 0.05 * rho**2))
    rho, ratio = experiment.rest("none", 0.01, run)
    assert rho == pytest.approx((0.2 - 0.01) / 0.05)
    assert ratio == pytest.approx(0.3 / (1 - 2 * 0.2 * rho + 0.05 * rho**2))


def test_a_wrong_theory_disagrees(done, monkeypatch):
    result, path, _ = done
    told = experiment.rest
    monkeypatch.setattr(experiment, "rest", lambda *args: (1.03 * told(*args)[0], told(*args)[1]))
    with ResultsStore(path) as store:
        wrong = experiment.run(quick=True, store=store)
    name = f"lagrange, lam {LAM:g}: rho at the end over its rest point"
    assert result.agreement[name].agrees and not wrong.agreement[name].agrees


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
    assert len({tuple(r) for r in result.table}) == 1 and len(result.table) == 9
    assert not result.agreement.not_compared and set(result.settings["tolerances"]) == {
        check.name for check in result.agreement.checks
    }
    assert any("weight normalisation" in note and "residual" in note for note in result.notes)
    assert any("of 11" in line and "left" in line for line in lines)
    figure = Figure()
    experiment.draw(result, figure)
    assert len(figure.axes) == 2 and result.agreement.verdict in figure.get_suptitle()
