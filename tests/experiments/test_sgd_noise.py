"""``sgd-noise``: gradients and moments by other formulas, what must hold, the record."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.linalg import solve_discrete_lyapunov

from simulations.experiments import _sgd_replicas as replicas
from simulations.experiments import sgd_noise as experiment
from simulations.store import ResultsStore

pytestmark = pytest.mark.xdist_group("sgd-noise")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    lines = []
    path = tmp_path_factory.mktemp("sgd") / "r.sqlite"
    with ResultsStore(path) as store:
        result = experiment.run(quick=True, store=store, callback=lines.append)
        records = {replicas.Setting(**{k: v for k, v in config.items() if k in replicas.Setting.__dataclass_fields__}):
                   store.find(config) for config in store.configs()}  # fmt: skip
    return result, path, lines, records


@pytest.mark.parametrize("kind", ["linear", "relu^2", "relu"])
def test_gradients_are_those_of_the_theory(kind):
    net, (X, y) = replicas.network(kind), replicas.data_of(kind, 0)
    rng = np.random.default_rng(0)
    theta = rng.standard_normal((3, net.n_parameters))
    chosen = rng.integers(len(X), size=(3, 4))
    f, g = replicas.gradients(kind, theta, X[chosen], y[chosen])
    for r in range(3):
        x, t = X[chosen[r]], y[chosen[r]][:, None]
        out = net.output(theta[r], x)
        np.testing.assert_allclose(f[r], out[:, 0], atol=1e-13)
        np.testing.assert_allclose(g[r], net.vjp(theta[r], x, 2 / 4 * (out - t)), atol=1e-12)


def test_batches_are_drawn_as_they_say():
    rng, N = np.random.default_rng(0), 20
    base = replace(experiment.SMOOTH, batch=5, replicas=50)
    order = np.zeros((50, N), dtype=int)
    epoch = np.concatenate(
        [replicas.draw(replace(base, sampling="shuffle"), N, rng, k, order) for k in range(4)], axis=1
    )
    assert (np.sort(epoch, axis=1) == np.arange(N)).all()
    afresh = replicas.draw(replace(base, sampling="afresh"), N, rng, 0, order)
    assert all(len(set(row)) == 5 for row in afresh.tolist()) and set(afresh.ravel()) == set(range(N))
    repeated = replicas.draw(base, N, rng, 0, order)
    assert any(len(set(row)) < 5 for row in repeated.tolist())


def test_prediction_solves_the_lyapunov_equation(done):
    """The record's numbers again from finite differences of the objective and scipy's solver."""
    setting = next(s for s in done[3] if s.kind == "relu^2" and s.batch == 8)
    record = done[3][setting]
    net, (X, y) = replicas.network("relu^2"), replicas.data_of("relu^2", 0)
    theta, lam = replicas.minimum("relu^2", setting.lam, 0), setting.lam

    def slope(at):
        return net.vjp(at, X, 2 / len(X) * (net.output(at, X) - y[:, None])) + 2 * lam * at

    h, P = 1e-5, len(theta)
    H = np.array([(slope(theta + h * e) - slope(theta - h * e)) / (2 * h) for e in np.eye(P)])
    g = np.array([net.vjp(theta, X[[n]], 2 * (net.output(theta, X[[n]]) - y[n])) for n in range(len(X))])
    C = np.cov(g.T, bias=True) / setting.batch
    S = solve_discrete_lyapunov(np.eye(P) - setting.step * H, setting.step**2 * C)
    J = net.jacobian(theta, X)[:, 0]
    assert abs(slope(theta)).max() < 1e-6
    assert record["predicted"]["weights"] == pytest.approx(np.sqrt(np.trace(S)), rel=1e-3)
    assert record["predicted"]["outputs"] == pytest.approx(np.sqrt(np.trace(J @ S @ J.T) / len(X)), rel=1e-3)
    assert record["slowest"] == pytest.approx(np.linalg.eigvalsh((H + H.T) / 2)[0], rel=1e-3)


def test_what_must_hold(done):
    """Proved or derived: a full batch comes to rest, no common fixed point with decay, the floor."""
    for setting, record in done[3].items():
        if setting.lam > 0:
            assert not record["is_fixed"] and not record["possible"]
            assert record["noise"] >= record["first_layer_noise"] >= record["floor"] > 0
            assert record["mean_gradient"] < 1e-6
        else:
            assert record["noise"] < 1e-12 and record["possible"] and record["outputs"] < 1e-5
    full = [record for setting, record in done[3].items() if setting.batch == 20]
    assert len(full) == 1 and full[0]["outputs"] < 1e-9


def test_a_wrong_theory_disagrees(done, monkeypatch):
    result, path, _, _ = done
    told = experiment.confront

    def shifted(checks, setting, runs):
        wrong = [{**r, "predicted": r["predicted"] and {k: 1.3 * v for k, v in r["predicted"].items()}} for r in runs]
        told(checks, setting, wrong)

    monkeypatch.setattr(experiment, "confront", shifted)
    with ResultsStore(path) as store:
        wrong = experiment.run(quick=True, store=store)
    names = [c.name for c in result.agreement.checks if "predicted" in c.name and c.relation == "equal"]
    assert len(names) == 6
    for name in names:
        assert wrong.agreement[name].measured == pytest.approx(result.agreement[name].measured / 1.3)
        assert not wrong.agreement[name].agrees


def test_relu_minima_have_no_prediction():
    record = replicas.run_one(replace(experiment.RELU, seed=1, replicas=2, relaxations=0.05))
    assert record["predicted"] is None and "kink" in record["reason"]


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
    assert len(result.table) == len(records) == 6 and len({tuple(r) for r in result.table}) == 1
    assert any("Witness" in note for note in result.notes) and any("Full batch" in note for note in result.notes)
    assert any("6 of 6" in line and "left" in line for line in lines)
    figure = Figure()
    experiment.draw(result, figure)
    assert len(figure.axes) == 3 and result.agreement.verdict in figure.get_suptitle()
