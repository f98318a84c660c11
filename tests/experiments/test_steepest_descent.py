"""``steepest-descent``: convex programs and residuals by other means, what must hold of every run, the record."""

import json
import time

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.optimize import linprog

import theory.flow.steepest as steepest
from simulations.experiments import _steepest_cases as cases
from simulations.experiments import steepest_descent as experiment
from simulations.store import ResultsStore
from theory.flow import linear_max_margin, two_layer

pytestmark = pytest.mark.xdist_group("steepest-descent")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    lines = []
    path = tmp_path_factory.mktemp("sd") / "r.sqlite"
    with ResultsStore(path) as store:
        result = experiment.run(quick=True, store=store, callback=lines.append)
        records = [(config, store.find(config)) for config in store.configs()]
    return result, path, lines, records


def of(done, kind):
    return {str(config[kind]): record for config, record in done[3] if kind in config}


def largest_margin(X, y, norm):
    """By a linear program written out: w = u - v with u, v >= 0 and t the margin."""
    A, (N, d) = y[:, None] * X, X.shape
    rows = np.hstack([-A, A, np.ones((N, 1))])
    if norm == "l1":
        size, bounds = np.r_[np.ones(2 * d), 0][None], [(0, None)] * (2 * d) + [(None, None)]
    else:
        size, bounds = np.zeros((0, 2 * d + 1)), [(0, 1)] * (2 * d) + [(None, None)]
    found = linprog(np.r_[np.zeros(2 * d), -1], A_ub=np.vstack([rows, size]),
                    b_ub=np.r_[np.zeros(N), np.ones(len(size))], bounds=bounds)  # fmt: skip
    return found.x[-1]


def test_limits_are_the_convex_programs(done):
    flows = of(done, "flow")
    assert list(flows) == ["l1", "l2", "linf", "1.5", "3.0"]
    X, y = cases.linear_data("gaussian", 0)
    assert flows["l2"]["best"] == pytest.approx(linear_max_margin(X, y).margin, rel=1e-7)
    for norm in ("l1", "linf"):
        assert flows[norm]["best"] == pytest.approx(largest_margin(X, y, norm), rel=1e-9)
        assert flows[norm]["velocity"] < 1e-8 and flows[norm]["events"] > 0
    for record in flows.values():
        assert record["direction"] < 1e-4 and record["direction"] == pytest.approx(record["along"][-1], rel=1e-9)
        assert 0.999 * record["best"] < record["margin"] <= record["upper"] * (1 + 1e-9)
        assert record["fall"] < 1e-12 and record["u"][-1] == pytest.approx(1e5)
        assert (np.diff(record["smoothed"]) > -1e-9).all() and record["smoothed"][-1] <= 1 + 1e-6
        late = np.array(record["u"]) > 1e3
        if late.sum() > 1:  # the error falls like 1 / log(1/loss)
            fall = np.polyfit(np.log(np.array(record["u"])[late]), np.log(np.array(record["along"])[late]), 1)[0]
            assert fall == pytest.approx(-1, abs=0.05)


def test_wine_is_separable_and_of_one_class_against_the_rest():
    X, y = cases.linear_data("wine", 0)
    assert X.shape == (178, 13) and (y == 1).sum() == 59 and (y == -1).sum() == 119
    assert largest_margin(X, y, "l1") > 0


def test_algorithms_come_near_and_not_above(done):
    for record in of(done, "linear").values():
        assert 0.9 * record["best"] < record["margin"] <= record["upper"] * (1 + 1e-9)
        assert len(record["share"]) == len(record["updates"]) and record["updates"][-1] == 1000


def test_margins_lie_in_the_order_of_the_norms(done):
    """Max entry <= singular value <= l_2 <= l_1, and at most sqrt(P) between neighbours of l_1 and l_2."""
    found = of(done, "network")
    P = 4 * experiment.WIDTH
    for norm, record in found.items():
        m = record["margins"]
        assert record["separated"] and m["linf"] >= m["spectral"] >= m["l2"] >= m["l1"] >= m["l2"] / P**1.5 > 0
        assert m[norm] == pytest.approx(record["own"][-1], rel=1e-12)
        assert (np.array(record["residual"]) >= 0).all() and (np.array(record["residual"]) <= 1).all()
        assert record["residual"][-1] < record["residual"][0] and record["fall"] < 1e-6
        assert record["u"][0] > 0 and (np.diff(record["own"])[len(record["own"]) // 2 :] > -1e-3).all()


@pytest.mark.parametrize("norm", cases.NORMS)
def test_residual_by_differences_of_the_loss(norm, monkeypatch):
    seen, true = [], steepest.steepest_kkt

    def caught(*args):
        seen.append((args[4], true(*args).relative_residual))
        return true(*args)

    monkeypatch.setattr(steepest, "steepest_kkt", caught)
    record = cases.descend_network(0, norm, 12, 20, 4000)
    theta, residual = seen[-1]
    assert residual == record["residual"][-1]
    X, y = cases.network_data(0, 12)

    def log_inverse(theta):
        W, a = theta[:60].reshape(20, 3), theta[60:]
        return -np.log(np.exp(-y * (np.maximum(X @ W.T, 0) ** 2 @ a)).sum())

    h = 1e-6
    g = np.array([(log_inverse(theta + h * e) - log_inverse(theta - h * e)) / (2 * h) for e in np.eye(len(theta))])
    G = [g[:60].reshape(20, 3), g[60:][None]]
    W = [theta[:60].reshape(20, 3), theta[60:][None]]
    size, dual = {
        "l1": (np.abs(theta).sum(), np.abs(g).max()), "l2": (np.linalg.norm(theta), np.linalg.norm(g)),
        "linf": (np.abs(theta).max(), np.abs(g).sum()),
        "spectral": (max(np.linalg.norm(w, 2) for w in W), sum(np.linalg.norm(v, "nuc") for v in G)),
    }[norm]  # fmt: skip
    assert residual == pytest.approx(1 - (theta @ g / (size * dual)) ** 2, abs=1e-7)
    margin = (y * (np.maximum(X @ W[0].T, 0) ** 2 @ W[1][0])).min()
    assert record["margins"][norm] == pytest.approx(margin / size**3, rel=1e-10)


def test_algorithms_of_a_seed_start_at_one_point(monkeypatch):
    starts = []

    class Enough(Exception):
        pass

    def stop(network, data, loss, theta0, norm, **_):
        starts.append(theta0)
        raise Enough

    monkeypatch.setattr(steepest, "steepest_descend", stop)
    for norm in cases.NORMS:
        with pytest.raises(Enough):
            cases.descend_network(1, norm, 12, 6, 10)
    assert all(np.array_equal(starts[0], other) for other in starts[1:])
    assert len(starts[0]) == two_layer(3, 6).n_parameters


def test_network_samples_keep_away_from_the_axes():
    X, y = cases.network_data(2, 50)
    assert (np.abs(X[:, :2]) >= 0.3).all() and (X[:, 2] == 1).all() and (y == np.sign(X[:, 0] * X[:, 1])).all()


def test_winners_leave_out_what_is_not_separated():
    def record(separated, **margins):
        return {"separated": separated, "margins": margins}

    networks = {
        "l1": [record(True, l1=2.0, l2=1.0), record(False), record(True, l1=1.0, l2=3.0)],
        "l2": [record(True, l1=1.0, l2=4.0), record(True, l1=1.0, l2=1.0), record(True, l1=0.5, l2=2.0)],
    }
    assert experiment.compared(networks) == [0, 2]
    assert experiment.winners(networks) == [{"l1": "l1", "l2": "l2"}, {"l1": "l1", "l2": "l1"}]


def test_a_wrong_limit_disagrees(done, monkeypatch):
    result, path, _, _ = done
    told = experiment.confront_linear

    def shifted(checks, flows, linear, steps):
        moved = {norm: [{**r, "direction": r["direction"] + 2e-4} for r in found] for norm, found in flows.items()}
        told(checks, moved, linear, steps)

    monkeypatch.setattr(experiment, "confront_linear", shifted)
    with ResultsStore(path) as store:
        wrong = experiment.run(quick=True, store=store)
    assert wrong.agreement.verdict != "agrees"
    for norm in cases.LINEAR_NORMS:
        name = f"flow in {norm}: direction less the convex program's"
        assert result.agreement[name].agrees and not wrong.agreement[name].agrees
        assert wrong.agreement[name].measured == pytest.approx(result.agreement[name].measured + 2e-4)


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
    assert len(result.table) == 13 and len({tuple(row) for row in result.table}) == 1
    assert any("13 of 13" in line and "left" in line for line in lines)
    own = result.agreement["networks: share of norms whose largest margin is their own algorithm's"]
    networks = of(done, "network")
    best = [max(networks, key=lambda own: networks[own]["margins"][norm]) for norm in cases.NORMS]
    assert own.measured == np.mean([a == b for a, b in zip(best, cases.NORMS, strict=True)])
    figure = Figure()
    experiment.draw(result, figure)
    assert len(figure.axes) == 3 and result.agreement.verdict in figure.get_suptitle()
    shares = result.curves["margins over the largest"]
    assert shares.shape == (4, 4) and (shares.max(axis=0) == 1).all()
