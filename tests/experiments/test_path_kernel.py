"""``path-kernel``: kernels and regression by other means, lazy networks by hand, what must hold, the record."""

import json
import time

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.kernel_ridge import KernelRidge

from simulations.experiments import _path_kernel_networks as networks
from simulations.experiments import _path_kernel_wide as wide
from simulations.experiments import path_kernel as experiment
from simulations.store import ResultsStore
from theory.flow import fully_connected
from theory.kernels import empirical_tangent_kernel, first_layer_kernel

pytestmark = pytest.mark.xdist_group("path-kernel")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    lines = []
    path = tmp_path_factory.mktemp("pk") / "r.sqlite"
    with ResultsStore(path) as store:
        result = experiment.run(quick=True, store=store, callback=lines.append)
        records = [(config, store.find(config)) for config in store.configs()]
    return result, path, lines, records


def trained(done):
    return [record for config, record in done[3] if "task" in config]


def test_paths_give_the_output_and_the_networks_fit(done):
    found = trained(done)
    assert len(found) == 4
    for record in found:
        assert 0 < record["identity"] < 1e-12
        assert record["train_error"] < 0.01 and 0 < record["gates_changed"] < 0.5
        assert all(-1 <= value <= 1 for value in record["alignment"].values())
        assert record["alignment"]["learned paths"] > record["alignment"]["initial paths"]


def test_initial_gates_are_those_of_the_network_before_training(monkeypatch):
    """The record's kernels, from the masks of PyTorch's own activations."""
    import torch

    from simulations.networks import perceptron

    seen = []
    monkeypatch.setattr(networks, "regress", lambda grams, labels, K: seen.append((grams, labels)) or {"test": 0.0})
    networks.train_one(networks.Setting(task="product", width=5, seed=3, epochs=1))
    net = perceptron([20, 5, 5, 5, 2], scale=networks.START, seed=3).double()
    X = networks.task_data("product", 3).train.X
    K, signal = X @ X.T, torch.from_numpy(X)
    for layer in list(net.children())[1:-1]:
        signal = layer(signal)
        if isinstance(layer, torch.nn.ReLU):
            on = (signal > 0).double().numpy()
            K = K * (on @ on.T)
    initial = seen[networks.KERNELS.index("initial paths")][0][0]
    np.testing.assert_allclose(initial, K, rtol=1e-12)
    assert not np.allclose(seen[networks.KERNELS.index("learned paths")][0][0], K)
    assert [len(labels) for labels in seen[0][1]] == [800, 400, 1000]


def test_tangent_kernel_is_the_mean_over_outputs():
    net, rng = fully_connected((4, 6, 5, 3)), np.random.default_rng(0)
    theta, X, Z = net.random_parameters(rng=1), rng.standard_normal((7, 4)), rng.standard_normal((5, 4))
    full = empirical_tangent_kernel(net, theta, X, Z)
    mean = np.einsum("nkmk->nm", full) / 3
    np.testing.assert_allclose(networks.tangent_kernel(list(net.views(theta).values()), X, Z), mean, atol=1e-12)


def small_regression():
    """Kernels and noisy labels of 40, 40 and 600 samples, on which the ridge matters."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((680, 3))
    y = (X + 0.7 * rng.standard_normal(X.shape)).argmax(axis=1)
    parts = [slice(0, 40), slice(40, 80), slice(80, 680)]
    return [(1 + X[part] @ X[parts[0]].T) ** 3 for part in parts], [y[part] for part in parts]


def test_regression_is_that_of_scikit_learn(monkeypatch):
    grams, labels = small_regression()
    seen = set()
    for ridge in (0.01, 0.1, 1.0):
        monkeypatch.setattr(networks, "RIDGES", (ridge,))
        scale = np.trace(grams[0]) / 40
        other = KernelRidge(alpha=ridge * scale, kernel="precomputed").fit(grams[0], np.eye(3)[labels[0]] - 1 / 3)
        wrong = [np.mean(other.predict(grams[k]).argmax(axis=1) != labels[k]) for k in (1, 2)]
        assert networks.regress(grams, labels, 3) == {"choice": wrong[0], "test": wrong[1], "ridge": ridge}
        seen.add(wrong[1])
    assert len(seen) == 3


def test_the_ridge_is_chosen_without_the_test_samples(monkeypatch):
    grams, labels = small_regression()
    best = networks.regress(grams, labels, 3)
    choices = []
    for ridge in networks.RIDGES:
        monkeypatch.setattr(networks, "RIDGES", (ridge,))
        choices.append(networks.regress(grams, labels, 3))
    least = min(one["choice"] for one in choices)
    assert best == [one for one in choices if one["choice"] == least][-1]


def test_alignment_is_one_for_the_labels_themselves():
    y = np.array([0, 1, 2, 1, 0, 2, 2])
    labels = np.eye(3)[y]
    assert networks.alignment(7 * labels @ labels.T, y, 3) == pytest.approx(1, abs=1e-12)
    K = np.random.default_rng(0).standard_normal((7, 4))
    assert networks.alignment(K @ K.T + 5, y, 3) == pytest.approx(networks.alignment(3 * K @ K.T, y, 3), abs=1e-12)


def test_first_layer_network_by_differences():
    X, y = wide.task(0)
    W, a = wide.start(8, 0)
    net = wide.FirstLayer(a, wide.D)
    np.testing.assert_allclose(net.output(W.ravel(), X), 0, atol=1e-15)
    theta = W.ravel() + 0.1 * np.random.default_rng(2).standard_normal(W.size)
    J, h = net.jacobian(theta, X), 1e-6
    for k in (0, 17, 101):
        e = h * np.eye(len(theta))[k]
        np.testing.assert_allclose((net.output(theta + e, X) - net.output(theta - e, X)) / (2 * h), J[:, :, k],
                                   atol=1e-9)  # fmt: skip
    slope, size = wide.gradient(theta.reshape(W.shape), a, X, y)
    residual = net.output(theta, X)[:, 0] - y
    np.testing.assert_allclose(slope.ravel(), J[:, 0].T @ residual, atol=1e-12)
    assert size == pytest.approx(np.linalg.norm(residual))


def test_movement_of_the_linear_model_by_descent():
    X, y = wide.task(1)
    H = first_layer_kernel(X)
    root = np.linalg.cholesky(H)
    eta, updates = wide.schedule(np.linalg.eigvalsh(H))
    theta = np.zeros(len(y))
    for _ in range(updates):
        theta = theta - eta * root.T @ (root @ theta - y)
    assert wide.descent_gone(H, y, eta, updates) == pytest.approx(np.linalg.norm(theta), rel=1e-10)


def test_what_is_derived_holds(done):
    lazy = [record for config, record in done[3] if "lazy" in config]
    assert len(lazy) == 8
    for record in lazy:
        assert record["rate"] <= 1 and record["bound"] <= 1
        assert record["residual"][0] == pytest.approx(1) and record["residual"][-1] < 0.01
    proofs = [record for config, record in done[3] if "certified" in config]
    held = [record for record in proofs if record["holds"]]
    assert [record["holds"] for record in proofs] == [False, True]
    assert 0 < held[0]["rate"] < held[0]["least_eigenvalue"] and 0.5 < held[0]["excess"] < 1
    assert 0 < held[0]["moved"] < held[0]["radius"]


def test_slope_of_a_power_law():
    layers = {(m,): [{"neuron": 3 * m**-0.5}, {"neuron": m**-0.25}] for m in (10, 100, 1000)}
    assert experiment.slopes(layers) == pytest.approx([-0.5, -0.25])


def test_worse_kernels_disagree(done, monkeypatch):
    result, path, _, _ = done
    told = experiment.errors_of
    monkeypatch.setattr(experiment, "errors_of", lambda runs, task, kernel:
                        told(runs, task, kernel) + 0.3 * (kernel == "learned paths"))  # fmt: skip
    with ResultsStore(path) as store:
        wrong = experiment.run(quick=True, store=store)
    name = "product: test error, learned gates less network"
    assert wrong.agreement.verdict != "agrees" and not wrong.agreement[name].agrees
    assert wrong.agreement[name].measured == pytest.approx(result.agreement[name].measured + 0.3)
    assert wrong.agreement["<features, value> less the output, largest"].agrees


def test_the_gap_is_shared_out_only_where_there_is_one():
    def record(network, learned, initial):
        kernels = {"learned paths": {"test": learned}, "initial paths": {"test": initial}}
        return {"identity": 1e-15, "network": network, "kernels": kernels}

    runs = {("product", 8): [record(0.1, 0.15, 0.3)], ("digits", 8): [record(0.02, 0.03, 0.03)]}
    checks = experiment.Checks()
    experiment.confront(checks, runs)
    name = "share of the gap that learned gates close"
    assert checks.measured[f"product: {name}"] == pytest.approx(0.75) and f"digits: {name}" not in checks.measured
    agreement = checks.agreement()
    assert not agreement["product: test error, learned gates less network"].agrees
    assert agreement["digits: test error, learned less initial gates"].agrees


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
    assert [row["task"] for row in result.table] == ["product", "digits"]
    found = trained(done)
    assert result.table[0]["network"] == pytest.approx(np.mean([record["network"] for record in found[:2]]))
    assert result.table[1]["tangent, limit"] == pytest.approx(
        np.mean([record["kernels"]["tangent, limit"]["test"] for record in found[2:]])
    )
    assert any("14 of 14" in line and "left" in line for line in lines)
    figure = Figure()
    experiment.draw(result, figure)
    assert len(figure.axes) == 3 and result.agreement.verdict in figure.get_suptitle()
