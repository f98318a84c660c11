"""``dense-versus-convolutional``: who can represent whom, the predicted ratio by its formula, the record."""

import json
import math
import time

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import binomtest

from simulations.data import compositional
from simulations.experiments import _sparse_networks as networks
from simulations.experiments import dense_versus_convolutional as experiment
from simulations.experiments._sparse_networks import Job
from simulations.store import ResultsStore
from theory.bounds import Sample, get

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.xdist_group("dense-versus-convolutional")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    lines = []
    path = tmp_path_factory.mktemp("sparse") / "r.sqlite"
    with ResultsStore(path) as store:
        result = experiment.run(quick=True, store=store, callback=lines.append)
        records = {Job(**config["job"]): store.find(config) for config in store.configs()}
    return result, path, lines, records


def test_the_bound_of_one_network_shrinks_as_predicted(done):
    """A theorem where no tap leaves the map; equality for weights of each position, whose taps are one."""
    result, _, _, records = done
    assert len(records) == 12
    for job, row in records.items():
        if job.learner in experiment.EXACT:
            assert row["ratio"] < 1.0501 * row["predicted"] < 1
            if job.learner == "local":
                assert row["ratio"] == pytest.approx(row["predicted"], rel=1e-6)
    names = [check.name for check in result.agreement.checks if "of one network" in check.name]
    assert len(names) == 2 and all(result.agreement[name].agrees for name in names)


def test_predicted_ratio_by_its_formula(done):
    def theta(c):
        return min(math.exp(c / 2), math.sqrt(2 * (c + math.log(2))))

    c = 3 * math.log(2)
    logs = theta(c + math.log(4)) / theta(c)
    for job, row in done[3].items():
        if job.learner in experiment.EXACT:
            X = networks.data_of(job.target, job.n, job.seed).X
            energy = (X**2).sum(axis=1).reshape(len(X), 4, 2).sum(axis=2).mean(axis=0)
            share = energy.max() / energy.sum()
            root = math.sqrt(2 * 2 / (4 * 2)) if job.learner == "tree" else 1.0
            assert row["predicted"] == pytest.approx(math.sqrt(share) * root * logs, rel=1e-9)


def test_no_certificate_lies_below_the_error(done):
    result, _, _, records = done
    for row in records.values():
        errors = row["test_errors"] / row["held_out"]
        assert len(row["certificates"]) >= 10 and min(row["certificates"].values()) > math.log10(errors)
    low = {job: binomtest(row["test_errors"], 4000).proportion_ci(0.99, method="exact").low
           for job, row in records.items()}  # fmt: skip
    least = min(10 ** min(row["certificates"].values()) - low[job] for job, row in records.items())
    check = result.agreement["least certificate minus error"]
    assert check.agrees and check.measured == pytest.approx(least, rel=1e-9)


def test_ratio_of_two_trained_networks(done):
    result, _, _, records = done
    for learner in experiment.SPARSE:
        check = result.agreement[f"bound ratio to the dense network, {learner}"]
        pairs = [
            [records[Job(target="aligned", learner=name, n=n, seed=0)]["complexity"] for name in (learner, "dense")]
            for n in experiment.QUICK["aligned"]
        ]
        np.testing.assert_allclose(check.measured, [a["convolutional"] / b["frobenius"] for a, b in pairs], rtol=1e-12)


def test_dense_networks_hold_local_ones_and_those_hold_trees():
    """The same function, its weights laid out position by position, then as whole matrices."""
    tree, local, dense = (networks.learner_of(name, 3) for name in ("tree", "local", "dense"))
    data = networks.data_of("aligned", 64, 0)
    as_local = networks.seen_by("local", data)
    with torch.no_grad():
        for l in range(1, networks.DEPTH + 1):
            P, kernel = networks.D // 2**l, getattr(tree, f"conv{l}").weight  # (w, c, 2)
            block = kernel.permute(0, 2, 1).reshape(len(kernel), -1)  # a position's channels stand together
            getattr(local, f"conv{l}").weight.copy_(block.repeat(P, 1)[:, :, None])
        local.classifier.weight.copy_(tree.classifier.weight)
        for l in range(1, networks.DEPTH + 1):
            w = getattr(local, f"conv{l}").weight[:, :, 0]
            P = networks.D // 2**l
            getattr(dense, f"linear{l}").weight.copy_(torch.block_diag(*w.reshape(P, -1, w.shape[1])))
        dense.classifier.weight.copy_(tree.classifier.weight)
        order = np.arange(2 * networks.D).reshape(2, networks.D).T.ravel()  # dense reads variables, then ones
        dense.linear1.weight.copy_(dense.linear1.weight[:, np.argsort(order)])
        X, X_local = (torch.as_tensor(d.X, dtype=torch.float32) for d in (data, as_local))
        expected = tree(X)
        torch.testing.assert_close(local(X_local), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(dense(X), expected, rtol=1e-5, atol=1e-6)


def test_scattered_leaves_keep_the_function_and_part_all_siblings():
    order = networks.bit_reversed()
    at = np.argsort(order)
    for i in range(0, networks.D, 2):  # siblings i, i + 1 stand in different halves
        assert (at[i] < networks.D // 2) != (at[i + 1] < networks.D // 2)
    plain, scattered = (networks.data_of(target, 50, 1) for target in ("aligned", "misaligned"))
    np.testing.assert_array_equal(plain.y, scattered.y)
    np.testing.assert_array_equal(plain.X[:, 0, order], scattered.X[:, 0])
    np.testing.assert_array_equal(plain.X[:, 0], compositional(3, 50, 1).X[:, 0])
    assert (plain.X[:, 1] == 1).all() and np.linalg.norm(plain.X.reshape(50, -1), axis=1).max() <= 4


def test_measured_numbers_of_a_network_by_the_public_functions(monkeypatch):
    import simulations.train as trainer

    kept = []
    train = trainer.train
    monkeypatch.setattr(trainer, "train", lambda *a, **k: kept.append(train(*a, **k)) or kept[-1])
    monkeypatch.setattr(networks, "STEPS", 40)
    job = Job(target="aligned", learner="tree", n=128, seed=1)
    row, data = networks.train_one(job), networks.data_of("aligned", 128, 1)
    with torch.no_grad():
        net = kept[0].model.double()
        Z, Z_test = (net(torch.as_tensor(X)).numpy() for X in (data.X, data.X_test))
    assert row["test_errors"] == (Z_test.argmax(axis=1) != data.y_test).sum()
    own = np.where(data.y == 1, 1, -1) * (Z[:, 1] - Z[:, 0])
    assert row["median_margin"] == pytest.approx(np.median(own), rel=1e-9)
    from simulations.bridge import read_architecture

    read = read_architecture(net, data.X[:2])
    asked = sum(name not in networks.SLOW for name in _certificates())
    sample = Sample(X=data.X, y=data.y)
    for name in ("convolutional", "frobenius", "path-norm"):
        report = get(name).evaluate(read.architecture, read.weights, sample, 0.01 / asked)
        assert row["certificates"][name] == pytest.approx(report.log10, abs=1e-9)
    both = [get(name).evaluate(read.architecture, read.weights, sample, 0.01 / asked, margin=row["median_margin"])
            for name in ("convolutional", "frobenius")]  # fmt: skip
    assert row["ratio"] == pytest.approx(both[0].terms["complexity"] / both[1].terms["complexity"], rel=1e-9)


def _certificates():
    from theory.bounds import certificates

    return [bound.name for bound in certificates()]


def test_a_wrong_theory_disagrees(done, monkeypatch):
    result, path, _, _ = done
    ratios = experiment._ratios

    def shrunk(all_seeds):
        return {key: value * (0.9 if "predicted" in key else 1.0) for key, value in ratios(all_seeds).items()}

    monkeypatch.setattr(experiment, "_ratios", shrunk)
    with ResultsStore(path) as store:
        wrong = experiment.run(quick=True, store=store)
    name = "bound ratio of one network, local"
    assert result.agreement[name].agrees and not wrong.agreement[name].agrees
    same = "misaligned: error of tree"
    assert result.agreement[same].deviation == wrong.agreement[same].deviation


def test_checks_hold_errors_against_the_dense_network(done):
    result, _, _, records = done
    for target, sign in (("aligned", 1), ("misaligned", -1)):
        for learner in experiment.SPARSE:
            check = result.agreement[f"{target}: error of {learner}"]
            sizes = experiment.QUICK[target]
            found, dense = (
                np.array([records[Job(target=target, learner=name, n=n, seed=0)]["test_errors"] / 4000 for n in sizes])
                for name in (learner, "dense")
            )
            np.testing.assert_array_equal(check.measured, found)
            assert check.deviation == pytest.approx(max(sign * (found - dense)), abs=1e-12)
            assert check.agrees is bool(max(sign * (found - dense)) <= experiment.ERROR)


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
    assert len({tuple(row) for row in result.table}) == 1 and len(result.table) == 12
    assert len(result.agreement.checks) == 12 and not result.agreement.not_compared
    row = result.table[0]
    job = Job(target=row["target"], learner=row["learner"], n=row["n"], seed=0)
    assert row["frobenius"] == pytest.approx(10 ** records[job]["certificates"]["frobenius"])
    assert any("network 7 of 12" in line for line in lines)
    figure = Figure()
    experiment.draw(result, figure)
    assert len(figure.axes) == 3 and result.agreement.verdict in figure.get_suptitle()
