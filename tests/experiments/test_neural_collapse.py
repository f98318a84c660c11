"""``neural-collapse``: theory by other formulas, what must hold of every run, and how the verdict comes about."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from simulations.experiments import _collapse_networks as networks
from simulations.experiments import neural_collapse as experiment
from simulations.store import ResultsStore

pytestmark = pytest.mark.xdist_group("neural-collapse")
FREE = "free inputs"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    lines = []
    path = tmp_path_factory.mktemp("nc") / "r.sqlite"
    with ResultsStore(path) as store:
        result = experiment.run(quick=True, store=store, callback=lines.append)
    return result, path, lines


def test_prediction_on_free_inputs_is_the_closed_form(done):
    """Features a e_k, classifier b (I - 11^T/K), t = a b: log(1 + (K-1) e^-t) + lam_Z sqrt(n K (K-1)) t is least."""
    s = experiment.QUICK[0]
    K, n, lam_Z = 10, s.per_class, s.lam / 4
    q = lam_Z * np.sqrt(n * K * (K - 1))
    t = np.log((K - 1) * (1 - q) / q)
    agreement = done[0].agreement
    assert agreement[f"{FREE}: mean_margin"].predicted == pytest.approx(t, rel=1e-9)
    assert agreement[f"{FREE}: loss"].predicted == pytest.approx(np.log1p((K - 1) * np.exp(-t)), rel=1e-9)
    energy = lam_Z * np.sqrt(n * K * (K - 1)) * t / s.lam  # both penalties cost the same
    assert agreement[f"{FREE}: classifier_norm"].predicted == pytest.approx(np.sqrt(energy), rel=1e-9)
    frame = np.append(np.full(K - 1, 1 / np.sqrt(K - 1)), 0)
    np.testing.assert_allclose(agreement[f"{FREE}: classifier_singular_values"].predicted, frame, atol=1e-12)


def test_free_inputs_collapse(done):
    """The correspondence with the model is exact there, and descent is stationary."""
    row = done[0].table[0]
    assert row["setting"] == FREE and row["error"] == 0 and row["stationarity"] < 1e-3
    assert row["NC1"] < 1e-6 and row["NC2"] < 1e-3 and row["NC3"] < 1e-3 and row["NC4"] == 0
    assert row["margin"] == pytest.approx(row["its theory"], rel=1e-3)


def test_no_run_lies_below_the_certified_optimum(done):
    result = done[0]
    for row in result.table:
        assert row["excess"] > -1e-6
        assert result.agreement[f"{row['setting']}: excess"].agrees


def test_collapse_goes_on_past_zero_training_error(done):
    curves, names = done[0].curves, [s.name for s in experiment.QUICK]
    for name in names:
        epoch, nc1, error = (curves[f"{name} | {key}"] for key in ("epoch", "nc1", "error"))
        assert epoch[0] == 0 and nc1.shape == error.shape == (1, len(epoch))
        assert np.isfinite(nc1).all() and error[0, -1] == 0
        zero = curves[f"{name} | zero error"][0]
        assert 0 < zero < epoch[-1]
        assert nc1[0, -1] < nc1[0, np.searchsorted(epoch, zero)]


def test_the_spread_of_the_spectrum_is_what_the_check_says(done):
    result = done[0]
    check = result.agreement["digits, 64 units: classifier_singular_values"]
    values = result.curves["digits, 64 units | singular values"][0]
    assert check.deviation == pytest.approx(max(values[0] - 1 / 3, 1 / 3 - values[8]), abs=1e-9)
    assert (values**2).sum() == pytest.approx(1)
    assert check.tolerance == experiment.LIMITS["classifier_singular_values"][2]
    assert check.agrees == (check.deviation <= 0.05)


def test_a_shifted_theory_disagrees(done, monkeypatch):
    before = done[0].agreement[f"{FREE}: mean_margin"]
    assert before.agrees
    monkeypatch.setattr(networks, "SCALE", 4.4)  # the penalty on free inputs is lam / c^2
    with ResultsStore(done[1]) as store:
        after = experiment.run(quick=True, store=store).agreement
    assert after[f"{FREE}: mean_margin"].measured == before.measured
    assert not after[f"{FREE}: mean_margin"].agrees
    digits = "digits, 64 units: mean_margin"
    assert after[digits].predicted == done[0].agreement[digits].predicted


def test_a_finished_store_computes_nothing(done):
    result, path, lines = done
    began = time.perf_counter()
    with ResultsStore(path) as store:
        again = experiment.run(quick=True, store=store)
    assert time.perf_counter() - began < 1
    assert json.dumps(again.to_json()) == json.dumps(result.to_json())
    assert any("network 1 of 3, epoch 20 of" in line for line in lines)


def test_record_and_figure(done):
    result = done[0]
    json.dumps(result.to_json(), allow_nan=False)
    assert len(result.agreement.checks) == len(experiment.LIMITS) * len(experiment.QUICK)
    assert len({tuple(row) for row in result.table}) == 1
    assert any("From the least to the largest excess" in note for note in result.notes)
    figure = Figure(layout="constrained")
    experiment.draw(result, figure)
    assert len(figure.axes) == 4
    assert result.agreement.verdict in figure.get_suptitle()
    figure.draw_without_rendering()


def test_settings_are_in_the_key_of_a_record():
    s = experiment.DEFAULT[0]
    assert s.key(0) == replace(s, name="other").key(0)
    assert s.key(0) != s.key(1) and s.key(0) != replace(s, lam=0.02).key(0)
    assert s.looks[0] == 0 and s.looks[-1] == s.epochs and len(s.looks) <= 21


def test_centred_digits():
    data = networks.centred_digits(20, 3, classes=(2, 5, 9))
    assert data.counts.tolist() == [20, 20, 20]
    np.testing.assert_allclose(data.X.mean(axis=0), 0, atol=1e-12)
    assert (data.X**2).sum(axis=1).mean() == pytest.approx(64)
    images = networks.centred_digits(20, 3, classes=(2, 5, 9), flat=False)
    np.testing.assert_allclose(images.X.reshape(60, 64), data.X, atol=1e-12)
    np.testing.assert_array_equal(images.y, data.y)


def test_features_on_the_sphere_ignore_the_size_of_the_layers_below():
    torch = pytest.importorskip("torch")
    s = next(s for s in experiment.DEFAULT if s.network == "sphere")
    net = networks.network(replace(s, widths=(20, 12)), 64, 0)
    x = torch.randn(7, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(net[:-1](x).norm(dim=1), torch.full((7,), 3.0))
        before = net(x)
        net[1].weight.mul_(2)
        torch.testing.assert_close(net(x), before)


def test_slope_in_training_mode():
    """A linear layer: the loss and - <l', z> by hand, and the network's own mode and buffers untouched."""
    torch = pytest.importorskip("torch")
    data = networks.centred_digits(5, 0)
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(64), torch.nn.Linear(64, 10, bias=False)).eval()
    state = {k: v.clone() for k, v in net.state_dict().items()}
    slope, loss = networks.in_training(net, data, 50)
    X = (data.X - data.X.mean(axis=0)) / np.sqrt(data.X.var(axis=0) + 1e-5)
    Z = X @ net[1].weight.detach().numpy().T
    P = np.exp(Z - Z.max(axis=1, keepdims=True))
    P /= P.sum(axis=1, keepdims=True)
    assert loss == pytest.approx(-np.log(P[np.arange(50), data.y]).mean(), rel=1e-4)
    assert slope == pytest.approx(-((P - np.eye(10)[data.y]) * Z).sum() / 50, rel=1e-4)
    assert not net.training and all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
