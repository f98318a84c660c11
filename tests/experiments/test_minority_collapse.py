"""``minority-collapse``: what must hold of every run, the theory beside it, the record."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from simulations.experiments import _minority_networks as networks
from simulations.experiments import _minority_theory as theory
from simulations.experiments import minority_collapse as experiment
from simulations.store import ResultsStore
from theory.peeled import merge_threshold, solve

pytestmark = pytest.mark.xdist_group("minority-collapse")
LINEAR, RELU, DIGITS = experiment.QUICK


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    lines = []
    path = tmp_path_factory.mktemp("mc") / "r.sqlite"
    with ResultsStore(path) as store:
        result = experiment.run(quick=True, store=store, callback=lines.append)
        records = [(config, store.find(config)) for config in store.configs()]
    return result, path, lines, records


def test_no_network_lies_below_the_certified_optimum_of_its_model(done):
    """At lam_H = lam ||W||^2 / sum ||h||^2 every network is a point of the unconstrained-features model."""
    rows = done[0].table
    assert len(rows) == 18 and min(row["excess objective"] for row in rows) > -1e-5
    assert all(check.agrees for check in done[0].agreement.checks if "certified" in check.name)


def test_a_linear_layer_on_orthonormal_inputs_is_the_model(done):
    """Exact, so that agreement is no luck: the penalty lam / c^2, the cosines, oversampling."""
    result, _, _, records = done
    free = [record for config, record in records if config.get("activation") == "identity"]
    assert len(free) == 6
    for record in free:
        assert record["lam_H"] == pytest.approx(LINEAR.lam / 16, rel=1e-3)
        assert record["balance"] == pytest.approx(1, abs=1e-3) and record["residual"] < 1e-3
    for name in ("cosine", "oversampled cosine", "oversampled merge ratio"):
        assert result.agreement[f"{LINEAR.name}: {name}"].agrees


def test_a_wrong_theory_disagrees(done, monkeypatch):
    result, path, _, _ = done
    told = theory.predictions

    def shifted(*args):
        return {key: value + 0.03 if key == "cosine" else value for key, value in told(*args).items()}

    monkeypatch.setattr(theory, "predictions", shifted)
    with ResultsStore(path) as store:
        wrong = experiment.run(quick=True, store=store)
    name = f"{LINEAR.name}: cosine"
    assert result.agreement[name].agrees and not wrong.agreement[name].agrees
    assert wrong.agreement[f"{LINEAR.name}: merge ratio"].agrees


def test_the_store_makes_a_second_run_equal_and_quick(done):
    result, path, _, _ = done
    began = time.process_time()  # not wall time: other tests run beside this one
    with ResultsStore(path) as store:
        again = experiment.run(quick=True, store=store)
    assert time.process_time() - began < 1
    assert json.dumps(again.to_json()) == json.dumps(result.to_json())


def test_record_and_figure(done):
    result, _, lines, _ = done
    assert (result.name, result.claim) == (experiment.NAME, experiment.CLAIM)
    assert len({tuple(row) for row in result.table}) == 1
    assert len(result.agreement.checks) == 27 and not result.agreement.not_compared
    assert sum("hypotheses that predict" in note for note in result.notes) == 3
    R0 = {row["R"]: row["layer-peeled R0"] for row in result.table if row["setting"] == LINEAR.name}
    assert all(value is None or value > 1 for value in R0.values())
    assert sum("merge from" in note or "merge at no R" in note for note in result.notes) == 3
    assert any("network 15 of 18" in line and "left" in line for line in lines)
    figure = Figure()
    experiment.draw(result, figure)
    assert len(figure.axes) == 6 and result.agreement.verdict in figure.get_suptitle()


@pytest.mark.parametrize("setting", [LINEAR, RELU])
def test_threshold_along_R_is_that_of_the_program(setting):
    """R* against the general formula and against solutions on either side of it."""
    ratios = np.array([1.0, 20.0])
    lam_H = np.full(2, theory.known_penalty(setting))
    R = theory.merging_ratio(setting, ratios, lam_H)
    top = 10**6
    counts = theory.counts_at(top, round(top / R))
    lam_Z = np.sqrt(setting.lam * lam_H[0] * setting.frequent / top)
    assert merge_threshold(counts, features=setting.features).lam_Z[-1] == pytest.approx(lam_Z, rel=1e-5)
    for factor, merged in ((0.98, False), (1.02, True)):
        counts = theory.counts_at(top, round(top / (R * factor)))
        model = theory.penalties(setting, counts, lam_H[0], "shuffle", copies=top // setting.frequent)
        assert (solve(model).groups[-1].merge_ratio < 1e-8) is merged


@pytest.mark.parametrize("sampling", experiment.SAMPLINGS)
@pytest.mark.parametrize("setting", [LINEAR, RELU])
def test_copies_of_all_samples_change_nothing(setting, sampling):
    one = solve(theory.penalties(setting, theory.counts_at(20, 4), 2e-3, sampling))
    many = solve(theory.penalties(setting, theory.counts_at(2000, 400), 2e-3, sampling, copies=100))
    assert theory.rarest(many) == pytest.approx(theory.rarest(one), rel=1e-7)


def test_oversampling_restores_the_simplex_under_budgets_only():
    counts = theory.counts_at(20, 2)
    cosine, _ = theory.rarest(solve(theory.budgets(counts, 2.0, 3.0, "balanced")))
    assert cosine == pytest.approx(-1 / 9, abs=1e-9)
    assert theory.rarest(solve(theory.budgets(counts, 2.0, 3.0, "shuffle")))[0] > -0.1
    assert theory.rarest(solve(theory.penalties(LINEAR, counts, 2.5e-3, "balanced")))[0] > -0.1


def test_budgets_of_a_run_give_a_threshold():
    """R0 is where the layer-peeled solutions at these budgets merge, and not before."""
    R0 = theory.peeled_threshold(2.0, 1.5)
    for factor, merged in ((0.99, False), (1.01, True)):
        counts = theory.counts_at(10**5, round(10**5 / (R0 * factor)))
        assert (solve(theory.budgets(counts, 2.0, 1.5, "shuffle")).groups[-1].merge_ratio < 1e-8) is merged
    assert 1e6 < theory.peeled_threshold(50.0, 50.0) < np.inf
    assert np.isnan(theory.peeled_threshold(5e3, 5e3))


def test_inputs_are_orthonormal_and_rare_classes_drawn_by_the_seed():
    data = networks.data_of(LINEAR, 2, 0)
    np.testing.assert_allclose(data.X @ data.X.T, 16 * np.eye(len(data.X)), atol=1e-12)
    assert data.counts.tolist() == [20] * 5 + [2] * 5
    assert networks.rare_classes(0).tolist() == [5, 6, 7, 8, 9]
    few = networks.rare_classes(3)
    assert len(set(few.tolist())) == 5 and few.tolist() != [5, 6, 7, 8, 9]
    assert np.flatnonzero(networks.data_of(DIGITS, 10, 3).counts == 10).tolist() == few.tolist()


def test_penalty_on_free_inputs_is_known():
    assert theory.known_penalty(RELU) == pytest.approx(RELU.lam / 16) and theory.known_penalty(DIGITS) is None


def test_relu_features_cost_what_their_pre_activations_cost():
    """The least ||W_1||^2 for given features on orthonormal inputs is ||H||^2 / c^2, for nonnegative ones too."""
    rng = np.random.default_rng(0)
    X = networks.data_of(LINEAR, 1, 0).X  # (N, N), rows
    H = np.maximum(rng.standard_normal((len(X), 7)), 0)
    W1 = np.linalg.lstsq(X, H, rcond=None)[0].T
    assert (W1**2).sum() == pytest.approx((H**2).sum() / 16, rel=1e-12)
    other = np.linalg.lstsq(X, np.where(H > 0, H, -rng.random(H.shape)), rcond=None)[0].T
    np.testing.assert_allclose(np.maximum(X @ other.T, 0), H, atol=1e-12)
    assert (other**2).sum() > (W1**2).sum()


def test_measured_numbers_of_a_network_by_numpy(monkeypatch):
    """Cosine, merge ratio, weighted loss, residual and effective penalty of a short run, written out again."""
    import simulations.train as trainer

    kept = []
    train = trainer.train
    monkeypatch.setattr(trainer, "train", lambda *a, **k: kept.append(train(*a, **k)) or kept[-1])
    setting = replace(RELU, epochs=15)
    record = networks.train_one(setting, 2, "balanced", 1)
    data = networks.data_of(setting, 2, 1)
    V, W = (p.detach().double().numpy() for p in kept[0].model.parameters())
    H = np.maximum(data.X @ V.T, 0)
    Z = H @ W.T
    P = np.exp(Z - Z.max(1, keepdims=True))
    P /= P.sum(1, keepdims=True)
    omega = (20 / data.counts)[data.y]
    omega /= omega.sum()
    assert record["loss"] == pytest.approx(-omega @ np.log(P[np.arange(len(Z)), data.y]), rel=1e-9)
    G = (omega[:, None] * (P - np.eye(10)[data.y])).T @ H + setting.lam * W
    assert record["residual"] == pytest.approx(np.linalg.norm(G) / (setting.lam * np.linalg.norm(W)), rel=1e-6)
    assert record["lam_H"] == pytest.approx(setting.lam * (W**2).sum() / (H**2).sum(), rel=1e-5)
    few = W[networks.rare_classes(1)]
    unit = few / np.linalg.norm(few, axis=1, keepdims=True)
    assert record["cosine"] == pytest.approx((unit @ unit.T)[np.triu_indices(5, 1)].mean(), rel=1e-6)
    far = max(np.linalg.norm(a - b) for a in few for b in few)
    assert record["merge_ratio"] == pytest.approx(far / np.linalg.norm(W, axis=1).max(), rel=1e-6)
    assert record["balance"] == pytest.approx((V**2).sum() / (W**2).sum(), rel=1e-6)
