"""``bounds-along-training``: what every certificate must satisfy, the numbers by other routes, the record."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import binomtest

from simulations.experiments import _bounds_networks as networks
from simulations.experiments import _bounds_ranking as rank
from simulations.experiments import bounds_along_training as experiment
from simulations.experiments._bounds_networks import Setting
from simulations.store import ResultsStore
from theory.bounds import Sample, get
from theory.bounds.measures import measures

pytestmark = pytest.mark.xdist_group("bounds-along-training")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    lines = []
    path = tmp_path_factory.mktemp("bounds") / "r.sqlite"
    with ResultsStore(path) as store:
        result = experiment.run(quick=True, store=store, callback=lines.append)
        records = {json.dumps(c["setting"]): store.find(c) for c in store.configs() if "setting" in c}
    return result, path, lines, {Setting(**json.loads(key)): record for key, record in records.items()}


@pytest.fixture(scope="module")
def trained():
    """A short run of one network, with the network itself."""
    import simulations.train as trainer

    kept, train, setting = [], trainer.train, Setting(n=80, width=16, depth=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "train", lambda *a, **k: kept.append(train(*a, **k)) or kept[-1])
        record = networks.train_one(setting, (0, 20), 1)
    weights = {name: p.detach().double().numpy() for name, p in kept[0].model.named_parameters()}
    return setting, record, weights


def test_no_certificate_lies_below_the_error(done):
    result, _, _, records = done
    labels = [setting.labels for setting in records]
    assert labels.count("true") == 4 and labels.count("random") == 2
    assert all(check.agrees for check in result.agreement.checks if check.name.startswith("certificate minus error"))
    for setting, record in records.items():
        assert [row["epoch"] for row in record["rows"]] == list(experiment.QUICK_EPOCHS)
        for row in record["rows"]:
            assert len(row["certificates"]) == 12 + (setting.depth == 2) + (row["epoch"] in (0, 64))
            for found in row["certificates"].values():
                error = 0.9 if setting.labels == "random" else found["test_errors"] / row["held_out"]
                assert 10 ** found["log10"] > error - 0.05  # no certificate needs the whole of its lower limit


def test_networks_learn_and_random_labels_stay_at_chance(done):
    for setting, record in done[3].items():
        first, last = record["rows"][0], record["rows"][-1]
        assert last["error"] < 0.5 * first["error"]
        low, high = rank.binomial_limits(last["test_errors"], last["held_out"])
        assert (low <= 0.9 <= high) is np.bool_(setting.labels == "random")


def test_rows_by_the_public_functions(trained):
    """Errors by a forward pass written out, certificates and measures by their own evaluation."""
    setting, record, weights = trained
    data, row = networks.data_of(setting, 1), record["rows"][-1]

    def scores(X):
        for W in list(weights.values())[:-1]:
            X = np.maximum(X @ W.T, 0)
        return X @ weights["classifier.weight"].T

    def margins(X, y):
        Z = scores(X)
        own = Z[np.arange(len(y)), y]
        Z[np.arange(len(y)), y] = -np.inf
        return own - Z.max(axis=1)

    assert row["test_errors"] == (margins(data.X_test, data.y_test) <= 0).sum() and row["held_out"] == 1797 - 80
    assert row["error"] == (margins(data.X, data.y) <= 0).mean()
    assert row["median_margin"] == pytest.approx(np.median(margins(data.X, data.y)), rel=1e-9)
    from theory.architecture import Activation, Architecture, Linear

    layers = [Linear(16, bias=False), Activation("relu"), Linear(10, bias=False)]
    net = Architecture.sequential(layers, input_shape=64)
    named = dict(zip(net.parameters, weights.values(), strict=True))
    asked = len(networks.certificates_of(setting))
    assert asked == 15
    sample = Sample(X=data.X, y=data.y)
    for name in ("frobenius", "path-norm", "two-layer", "vc-dimension", "parameter-net"):
        report = get(name, radius=8.0).evaluate(net, named, sample, 0.01 / asked, reference=_start(setting, net))
        assert row["certificates"][name]["log10"] == pytest.approx(report.log10, abs=1e-9)
    fixed = get("frobenius").evaluate(net, named, sample, 0.01 / asked, margin=row["median_margin"])
    assert row["complexity"]["frobenius"] == pytest.approx(np.log10(fixed.terms["complexity"]), abs=1e-9)
    told = {m.name: m.value for m in measures(net, named, sample, names=["norms"])}
    assert row["measures"]["parameter-norm"] == pytest.approx(told["parameter-norm"] / 80, rel=1e-9)
    name = "log-product-frobenius-over-margin"
    assert row["measures"][name] == pytest.approx(told[name] - np.log(80), rel=1e-9)


def _start(setting, net):
    from simulations.networks import perceptron

    values = [v.double().numpy() for v in perceptron(setting.widths(), seed=1).state_dict().values()]
    return dict(zip(net.parameters, values, strict=True))


def test_certificates_of_other_networks_are_held_against_those(trained):
    """At the start all certificates speak of one network, but noise on the weights makes another."""
    rows = trained[1]["rows"]
    found = rows[-1]["certificates"]
    assert found["frobenius"]["test_errors"] == rows[-1]["test_errors"]
    assert found["pac-bayes-kl"]["test_errors"] > rows[-1]["test_errors"]


def test_random_labels_are_independent_and_uniform():
    true, random = (networks.data_of(Setting(n=1280, labels=labels), 0) for labels in ("true", "random"))
    np.testing.assert_array_equal(true.X, random.X)
    same = np.concatenate([true.y == random.y, true.y_test == random.y_test])
    assert binomtest(int(same.sum()), len(same), 0.1).pvalue > 0.001
    assert Setting(data="teacher").chance == pytest.approx(2 / 3) and Setting().chance == pytest.approx(0.9)
    assert (
        "parameter-net"
        not in networks.train_one(Setting(data="teacher", n=80, width=4), (0, 1), 0)["rows"][0]["certificates"]
    )


def test_slopes_by_hand(done):
    """Two sizes: the slope is a quotient; at fixed norms the exponent in n is -1/2."""
    result, _, _, records = done
    low, high = (records[Setting(n=n)]["rows"][-1]["complexity"]["frobenius"] for n in (80, 320))
    check = result.agreement["frobenius: exponent in n"]
    assert check.measured == pytest.approx((high - low) / np.log10(4), rel=1e-9)
    assert check.predicted == pytest.approx(-0.5, abs=1e-9)
    two, three = (records[Setting(depth=L)]["rows"][-1]["complexity"]["covering"] for L in (2, 3))
    assert result.agreement["covering: log10 per layer"].measured == pytest.approx(three - two, rel=1e-9)
    assert rank.slope("width", [16, 32, 64], [1.0, 1.5, 2.0]) == pytest.approx(0.5 / np.log10(2))


def test_a_wrong_theory_disagrees(done, monkeypatch):
    """A shifted exponent, and certificates that are too small by two."""
    result, path, _, _ = done
    once, slacks = ResultsStore.once, rank.slacks

    def shifted(self, config, compute):
        found = once(self, config, compute)
        return {v: {k: x + 0.6 for k, x in told.items()} for v, told in found.items()} if "theory" in config else found

    monkeypatch.setattr(ResultsStore, "once", shifted)
    monkeypatch.setattr(rank, "slacks", lambda s, row: {name: value - 2 for name, value in slacks(s, row).items()})
    with ResultsStore(path) as store:
        wrong = experiment.run(quick=True, store=store)
    name = "parameter-dudley: exponent in n"
    assert result.agreement[name].agrees and not wrong.agreement[name].agrees
    assert not any(check.agrees for check in wrong.agreement.checks if check.name.startswith("certificate minus"))


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
    assert len({tuple(row) for row in result.table}) == 1 and len(result.agreement.checks) == 2 + 3 * len(
        networks.SCALED
    )
    assert [row["kind"] for row in result.table] == ["certificate"] * 14 + ["measure"] * len(networks.MEASURES)
    row = next(row for row in result.table if row["quantity"] == "frobenius")
    end = records[Setting()]["rows"][-1]["certificates"]["frobenius"]["log10"]
    assert row["at the end"] == pytest.approx(10**end)
    assert row["random above true"] == 1.0  # a network that memorises noise has larger norms
    assert any("network 4 of 6" in line for line in lines)
    figure = Figure()
    experiment.draw(result, figure)
    assert len(figure.axes) == 4 and result.agreement.verdict in figure.get_suptitle()


def test_binomial_limits_are_exact():
    for k, n in ((0, 50), (3, 50), (50, 50)):
        exact = binomtest(k, n).proportion_ci(0.99, method="exact")
        assert tuple(map(float, rank.binomial_limits(k, n))) == pytest.approx((exact.low, exact.high), rel=1e-9)


def test_tau_by_counting_pairs():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(7).tolist(), rng.standard_normal(7).tolist()
    signs = [np.sign((x[i] - x[j]) * (y[i] - y[j])) for i in range(7) for j in range(i)]
    assert rank.tau(x, y) == pytest.approx(np.mean(signs))
    assert np.isnan(rank.tau([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])) and np.isnan(rank.tau([1.0, 2.0], [1.0, 2.0]))
    assert rank.tau([1.0, 2.0, np.inf], [1.0, 2.0, 3.0]) == 1.0


def test_ranking_of_made_up_records():
    """Taus over settings and epochs, and the share above true labels, on numbers chosen by hand."""

    def row(bound, measure, gap, error=0.2):
        return {"certificates": {"a": {"log10": bound}}, "measures": {"m": measure},
                "test_errors": 100 * (gap + error), "held_out": 100, "error": error}  # fmt: skip

    assert rank.gap(row(1.0, 1, 0.3)) == pytest.approx(0.3)
    sizes = [Setting(n=n) for n in (1, 2, 3)]
    records = {(s, 0): {"rows": [row(3 - i, i, 0.1), row(2 - i, None, 0.3 - 0.1 * i)]} for i, s in enumerate(sizes)}
    assert rank.taus_along(records, sizes, 0)["a"] == pytest.approx(1.0)
    assert np.isnan(rank.taus_along(records, sizes, 0)["m"])  # infinite in all of them
    records[sizes[0], 0]["rows"].append(row(9, 2, 0.9))
    assert rank.taus_in_training(records, sizes[:1], 0)["a"] == pytest.approx(1 / 3)
    twin = replace(sizes[1], labels="random")
    records[twin, 0] = {"rows": [row(1.0, 1, 0.9)]}
    assert rank.random_above_true(records, [(sizes[1], twin)], 0) == {"a": 0.0, "m": 0.0}  # equal is not above
    records[twin, 0] = {"rows": [row(1.5, 1, 0.9)]}
    assert rank.random_above_true(records, [(sizes[1], twin)], 0) == {"a": 1.0, "m": 0.0}
    records[twin, 0] = {"rows": [row(1.5, 1, 0.0, error=0.9)]}
    assert rank.random_above_true(records, [(sizes[1], twin)], 0) == {}  # random labels that were not learnt


def test_least_slacks_are_those_of_the_rows(done):
    result, _, _, records = done
    for name in ("frobenius", "pac-bayes-kl"):
        row = next(row for row in result.table if row["quantity"] == name)
        told = {"true": [], "random": []}
        for setting, record in records.items():
            for one in record["rows"]:
                found = one["certificates"][name]
                low = binomtest(found["test_errors"], one["held_out"]).proportion_ci(0.99, method="exact").low
                told[setting.labels].append(10 ** found["log10"] - (0.9 if setting.labels == "random" else low))
        for labels, values in told.items():
            assert row[f"least slack, {labels}"] == pytest.approx(min(values), rel=1e-9)
