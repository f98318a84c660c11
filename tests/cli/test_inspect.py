"""``theory inspect``: what is in a saved file, whichever way it was saved, and no code of it run unasked."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from simulations.cli import main
from simulations.cli.bounds import chosen_bounds
from theory.architecture import Activation, Architecture, Conv, Flatten, Linear, MaxPool, to_description
from theory.bounds import Sample, compare
from theory.collapse import collapse_metrics
from theory.norms.layers import layer_norms

torch = pytest.importorskip("torch")
nn = torch.nn

DIGITS = Path(__file__).parents[2] / "notebooks" / "data" / "digits"
SHAPE = ["--input-shape", "1,6,6"]
FEW = ["--only", "group-norm,frobenius,vc-dimension"]


def build(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = (nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 3))
        return nn.Sequential(*layers).double()


class Bomb:
    """A pickle that runs code: it makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    net, rng = build(0), np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [9, 8, 7])
    X = rng.standard_normal((24, 1, 6, 6)) + y[:, None, None, None]
    np.savez(folder / "data.npz", X=X, y=y, X_test=X[::3], y_test=y[::3])
    np.savez(folder / "few.npz", X=X[:9], y=y[:9])
    np.savez(folder / "flat.npz", X=X.reshape(24, -1), y=y)
    operations = {"0": Conv(2, 3, padding=1), "1": Activation("relu"), "2": MaxPool(2), "3": Flatten(), "4": Linear(3)}
    graph = Architecture.sequential(operations, input_shape=(1, 6, 6))
    (folder / "net.json").write_text(json.dumps(to_description(graph)))
    state = net.state_dict()
    np.savez(folder / "net.npz", **{k: v.numpy() for k, v in state.items()})
    torch.save(net, folder / "whole.pt")
    torch.save(state, folder / "state.pt")
    torch.save(state, folder / "old.pt", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "model": state}, folder / "checkpoint.pt")
    torch.save({f"module.{k}": v for k, v in state.items()}, folder / "parallel.pt")
    torch.save(build(1).state_dict(), folder / "init.pt")
    torch.export.save(torch.export.export(net.eval(), (torch.zeros(2, 1, 6, 6, dtype=torch.float64),)),
                      folder / "program.pt2")  # fmt: skip
    torch.save({k: v for k, v in state.items() if k != "4.bias"}, folder / "lacking.pt")
    torch.save({**state, "4.weight": torch.zeros(3, 5)}, folder / "misshapen.pt")
    torch.save({**state, "4.bias": torch.full((3,), torch.nan)}, folder / "nan.pt")
    torch.save({**state, "4.bias": torch.zeros(3, dtype=torch.complex64)}, folder / "complex.pt")
    torch.save([1, 2], folder / "list.pt")
    torch.save({"model": Bomb(folder / "ran")}, folder / "bomb.pt")
    (folder / "junk.pt").write_bytes(b"not a network")
    (folder / "empty.pt").write_bytes(b"")
    (folder / "cut.pt").write_bytes((folder / "state.pt").read_bytes()[:700])
    return folder, net, graph, X, y


@pytest.fixture
def call(monkeypatch, capsys, saved):
    def run(*words):
        words = [str(saved[0] / w) if "." in str(w) and (saved[0] / w).exists() else str(w) for w in words]
        monkeypatch.setattr(sys, "argv", ["theory", "inspect", *words])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def record(call):
    def run(*words):
        code, out, err = call(*words, "--json")
        assert (code, err) == (0, "")
        return json.loads(out, parse_constant=lambda name: pytest.fail(name))

    return run


SAFE = ("state.pt", "old.pt", "checkpoint.pt", "parallel.pt", "net.npz")


@pytest.mark.parametrize("words", [
    *([name, "--architecture", "net.json"] for name in SAFE), ["whole.pt", "--trust", *SHAPE],
    ["whole.pt", "--trust", "--architecture", "net.json"], ["program.pt2", "--trust"],
], ids=lambda words: " ".join(words))  # fmt: skip
def test_every_way_of_saving_gives_the_same_network(record, saved, words):
    _, net, graph, _, _ = saved
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # one would stand beside the output
        found = record(*words)
    weights = {k: v.numpy() for k, v in net.state_dict().items()}
    wanted = [layer.to_json() for layer in layer_norms(graph, weights)]
    assert [layer["name"] for layer in found["norms"]] == ["0", "4"]
    for layer, other in zip(found["norms"], wanted, strict=True):
        for key in ("frobenius", "norm_2_1", "norm_1_inf"):
            assert layer[key] == pytest.approx(other[key], rel=1e-14)
        assert layer["spectral"] == other["spectral"]
    assert found["norms"][1]["spectral"]["upper"] == pytest.approx(np.linalg.norm(weights["4.weight"], 2), rel=1e-9)
    assert [node["op"] for node in found["architecture"]["nodes"]] == ["conv", "relu", "maxpool", "flatten", "linear"]
    assert found["n_parameters"] == 20 + 57 and "bounds" not in found


def test_metrics_are_those_of_the_features_in_torch(record, saved):
    _, net, _, X, y = saved
    with torch.no_grad():
        features = net[:4](torch.tensor(X)).numpy()
    wanted = collapse_metrics(features, y, net[4].weight.detach().numpy(), net[4].bias.detach().numpy()).to_json()
    for words in (["state.pt", "--architecture", "net.json"], ["whole.pt", "--trust"]):
        found = record(*words, "--data", "data.npz", *FEW)["collapse"]
        assert found.pop("layer") == "4" and found.keys() == wanted.keys()
        for key, value in wanted.items():
            same = value if isinstance(value, str) else pytest.approx(value, rel=1e-12, abs=1e-13)
            assert found[key] == same, key


def test_bounds_are_those_of_the_library(record, saved):
    _, net, graph, X, y = saved
    weights, start = ({k: v.numpy() for k, v in m.state_dict().items()} for m in (net, build(1)))
    names = "pac-bayes-kl,growth-function,frobenius,bartlett"
    words = ["state.pt", "--architecture", "net.json", "--data", "data.npz", "--delta", "0.1", "--only", names]
    sample, chosen = Sample(X=X, y=y, X_test=X[::3], y_test=y[::3]), chosen_bounds(names, None)
    values = {}
    for reference in (None, start):
        found = record(*words, *([] if reference is None else ["--reference", "init.pt"]))["bounds"]
        wanted = compare(graph, weights, sample, 0.1, reference=reference, bounds=chosen).to_json()
        assert found["delta"] == 0.1 and found["holdout"]["n"] == 8
        assert {"pac-bayes-kl", "growth-function"} <= {bound["name"] for bound in found["bounds"]}
        for one, other in zip(found["bounds"], wanted["bounds"], strict=True):
            assert one["name"] == other["name"] and one["log10"] == pytest.approx(other["log10"], rel=1e-12)
        values[reference is None] = {b["name"]: b["log10"] for b in found["bounds"]}
    assert values[True] != values[False]


def test_flat_data_and_a_shape(record):
    flat = record("whole.pt", "--trust", *SHAPE, "--data", "flat.npz", *FEW)
    assert flat["collapse"] == record("whole.pt", "--trust", "--data", "data.npz", *FEW)["collapse"]


def test_text_and_files(call, tmp_path):
    code, out, err = call("state.pt", "--architecture", "net.json", "--data", "data.npz", "--out", tmp_path, *FEW)
    assert (code, err) == (0, "")
    for words in ("maxpool", "operator <=", "group-norm", "nc1_papyan", "features: what '4' reads", "inspect.json and"):
        assert words in out
    assert json.loads((tmp_path / "inspect.json").read_text())["collapse"]["num_samples"] == 24
    assert (tmp_path / "bounds.png").stat().st_size > 5_000
    assert "batch normalization" not in out


def test_no_code_is_run_unasked(call, saved):
    ran = saved[0] / "ran"
    for name in ("whole.pt", "bomb.pt"):
        code, out, err = call(name, *SHAPE)
        assert (code, out) == (2, "") and "loading runs code: pass --trust" in err and err.count("\n") == 1
    assert not ran.exists()
    code, _, err = call("program.pt2", *SHAPE)
    assert code == 2 and "is an exported program" in err and "--trust" in err
    code, _, err = call("bomb.pt", "--trust", *SHAPE)
    assert code == 2 and "holds no state_dict" in err and ran.exists()  # the fuse was real


def test_what_has_no_metrics_is_told(record, tmp_path):
    found = record("state.pt", "--architecture", "net.json", "--data", "few.npz", *FEW)["collapse"]
    assert "every class needs a sample" in found["refused"]
    torch.save(nn.Sequential(nn.Flatten(), nn.Linear(36, 3), nn.Tanh()), tmp_path / "tanh.pt")
    found = record(tmp_path / "tanh.pt", "--trust", "--data", "data.npz", *FEW)["collapse"]
    assert "not of a linear classifier" in found["refused"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.pt"], "no file"),
        (["state.pt"], "say with --architecture"),
        (["net.npz"], "say with --architecture"),
        (["whole.pt", "--trust"], "give the shape of one sample"),
        (["whole.pt", "--trust", "--input-shape", "1,5,6"], "cannot be evaluated"),
        (["whole.pt", "--trust", "--input-shape", "1x6"], "--input-shape must be"),
        (["whole.pt", "--trust", "--input-shape", "1,0,6"], "--input-shape must be"),
        (["state.pt", "--architecture", "net.json", "--input-shape", "36"], "takes inputs of shape (1, 6, 6)"),
        (["net.npz", "--architecture", "net.json", "--input-shape", "36"], "takes inputs of shape (1, 6, 6)"),
        (["program.pt2", "--trust", "--input-shape", "36"], "takes inputs of shape (1, 6, 6)"),
        (["lacking.pt", "--architecture", "net.json"], "weights lack '4.bias'"),
        (["misshapen.pt", "--architecture", "net.json"], "must have shape (3, 18)"),
        (["nan.pt", "--architecture", "net.json"], "NaN"),
        (["complex.pt", "--architecture", "net.json"], "'4.bias', which is no dense array of real numbers"),
        (["list.pt", "--architecture", "net.json"], "holds no state_dict"),
        (["junk.pt", "--architecture", "net.json"], "was not written by torch.save"),
        (["empty.pt", "--architecture", "net.json"], "cannot read"),
        (["cut.pt", "--architecture", "net.json"], "cannot read"),
        (["junk.pt", "--trust", *SHAPE], "cannot read"),
        (["state.pt", "--architecture", "none.json"], "cannot read"),
        (["state.pt", "--architecture", "net.json", "--data", "none.npz"], "no file"),
        (["state.pt", "--architecture", "net.json", "--data", "data.npz", "--delta", "2"], "delta"),
        (["state.pt", "--architecture", "net.json", "--data", "data.npz", "--only", "x"], "no bound is called"),
        (["state.pt", "--architecture", "net.json", "--data", "data.npz", "--reference", "lacking.pt"], "lack"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_refusals(call, words, said):
    code, out, err = call(*words)
    assert (code, out) == (2, "") and said in err and err.startswith("theory: ") and err.count("\n") == 1


def test_scripted_modules_are_refused(call, tmp_path):
    with pytest.warns(DeprecationWarning, match="jit"):
        torch.jit.save(torch.jit.script(build(0)), tmp_path / "script.pt")
    for more in ([], ["--trust"]):
        code, _, err = call(tmp_path / "script.pt", *SHAPE, *more)
        assert code == 2 and "is TorchScript" in err and err.count("\n") == 1


def test_the_shipped_network(record):
    words = ["--architecture", str(DIGITS / "net.json"), str(DIGITS / "net.npz")]
    assert [layer["name"] for layer in record(*words)["norms"]] == ["conv1", "conv2", "dense"]
