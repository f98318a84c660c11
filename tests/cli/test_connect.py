"""``theory connect``: paths between saved networks, as the library builds them; one sentence for bad input."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from scipy.special import logsumexp

from simulations.cli import main
from theory.architecture import Activation, Architecture, Conv, Flatten, Linear, to_description
from theory.connectivity import DenseNetwork, aligned_path, connect, linear_path, neuron_counts

MATRICES = {"0.weight": (8, 6), "0.bias": (8,), "2.weight": (8, 8), "2.bias": (8,), "4.weight": (3, 8), "4.bias": (3,)}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("connect"), np.random.default_rng(0)
    relu = Activation("relu")
    operations = {"flat": Flatten(), "0": Linear(8), "1": relu, "2": Linear(8), "3": relu, "4": Linear(3)}
    graph = Architecture.sequential(operations, input_shape=(1, 2, 3))
    (folder / "net.json").write_text(json.dumps(to_description(graph)))
    conv = Architecture.sequential({"c": Conv(2, 3), "f": Flatten(), "d": Linear(3)}, input_shape=(1, 3, 3))
    (folder / "conv.json").write_text(json.dumps(to_description(conv)))
    weights = {n: {k: rng.standard_normal(s) for k, s in MATRICES.items()} for n in "AB"}
    for name, arrays in weights.items():
        np.savez(folder / f"{name}.npz", **arrays)
    np.savez(folder / "cut.npz", **{k: v for k, v in weights["A"].items() if k != "4.bias"})
    np.savez(folder / "conv.npz", **{"c.weight": np.ones((2, 1, 3, 3)), "c.bias": np.ones(2),
                                     "d.weight": np.ones((3, 2)), "d.bias": np.ones(3)})  # fmt: skip
    y = np.repeat([0, 1, 2], 3)
    X = rng.standard_normal((9, 1, 2, 3))
    np.savez(folder / "data.npz", X=X, y=y, X_test=X, y_test=y)
    np.savez(folder / "flat.npz", X=X.reshape(9, 6)[:, :5], y=y)
    np.savez(folder / "nolabels.npz", X=X)
    np.savez(folder / "four.npz", X=X, y=y + 1)
    np.savez(folder / "small.npz", X=np.ones((4, 1, 3, 3)), y=[0, 1, 2, 0])
    nets = [DenseNetwork.of([w["0.weight"], w["2.weight"], w["4.weight"]], [w["0.bias"], w["2.bias"], w["4.bias"]])
            for w in weights.values()]  # fmt: skip
    return folder, nets, X.reshape(9, 6), y, weights


@pytest.fixture
def call(monkeypatch, capsys, files):
    def run(*words):
        words = [str(files[0] / w) if "." in str(w) else str(w) for w in words]
        monkeypatch.setattr(sys, "argv", ["theory", "connect", *words])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        return (code, *capsys.readouterr())

    return run


PAIR = ["A.npz", "B.npz", "--architecture", "net.json", "--data", "data.npz"]
FEW = ["--points", 60, "--max-steps", 200]


def strict(text):
    return json.loads(text, parse_constant=lambda name: pytest.fail(name))


def test_json_is_the_library(call, files):
    code, out, err = call(*PAIR, *FEW, "--seed", 1, "--neurons", "--json")
    assert (code, err) == (0, "")
    got, (a, b), X, y = strict(out), *files[1:4]
    want = {
        "half": connect(a, b, X, y, points=60, max_steps=200, rng=1), "linear": linear_path(a, b, X, y, points=60),
        "aligned": aligned_path(a, b, X, y, points=60, rng=1),
    }  # fmt: skip
    assert got["paths"] == json.loads(json.dumps({way: path.to_json() for way, path in want.items()}))
    counts = neuron_counts(a, b, X, y)
    assert [c["needed"] for c in got["neurons"]] == [c.needed for c in counts]
    assert [c["enough"] for c in got["neurons"]] == [c.enough for c in counts]
    assert (got["widths"], got["samples"], got["activation"]) == ([6, 8, 8, 3], 9, "relu")


def test_seed_and_loss_reach_the_construction(call, files, tmp_path):
    """So few steps that other halves are tried; one-hot targets for the squared loss."""
    (a, b), X, y = files[1:4]
    few = ["--points", 60, "--max-steps", 1, "--method", "trained", "--json"]
    found = [strict(call(*PAIR, *few, "--seed", seed)[1])["paths"]["half"] for seed in (0, 1)]
    want = connect(a, b, X, y, points=60, max_steps=1, method="trained", rng=1)
    assert found[1] == json.loads(json.dumps(want.to_json())) and found[0] != found[1]

    np.savez(tmp_path / "squared.npz", X=X.reshape(9, 1, 2, 3), y=np.eye(3)[y])
    code, out, _ = call(*PAIR[:4], "--data", str(tmp_path / "squared.npz"), *FEW, "--loss", "squared", "--json")
    targets = np.eye(3)[y]
    want = {
        "half": connect(a, b, X, targets, loss="squared", points=60, max_steps=200),
        "linear": linear_path(a, b, X, targets, loss="squared", points=60),
        "aligned": aligned_path(a, b, X, targets, loss="squared", points=60),
    }  # fmt: skip
    assert code == 0
    assert strict(out)["paths"] == json.loads(json.dumps({way: path.to_json() for way, path in want.items()}))


def test_losses_by_hand(call, files, tmp_path):
    """The written path: ends are the networks, and the loss of every vertex and of a point between, by plain NumPy."""
    code, out, _ = call(*PAIR, *FEW, "--out", tmp_path / "r", "--json")
    assert code == 0
    _, nets, X, y, _ = files
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["connect.json", "connect.npz", "connect.png"]
    assert strict((tmp_path / "r" / "connect.json").read_text()) == strict(out)
    arrays = np.load(tmp_path / "r" / "connect.npz")
    layers = [arrays[f"half_layer{k}"] for k in (1, 2, 3)]

    def loss(matrices):
        h = X
        for k, A in enumerate(matrices):
            h = h @ A[:, :-1].T + A[:, -1]
            h = np.maximum(h, 0) if k < 2 else h
        return float((logsumexp(h, axis=1) - h[np.arange(9), y]).mean())

    for end, net in ((0, nets[0]), (-1, nets[1])):
        for stack, A in zip(layers, net.layers, strict=True):
            np.testing.assert_array_equal(stack[end], A)
    paths = strict(out)["paths"]
    vertices = [loss([stack[k] for stack in layers]) for k in range(len(layers[0]))]
    assert max(vertices) == pytest.approx(paths["half"]["maximum"], rel=1e-12)
    middle = loss([(A + B) / 2 for A, B in zip(nets[0].layers, nets[1].layers, strict=True)])
    assert middle <= paths["linear"]["upper"] + 1e-12
    assert np.interp(0.5, arrays["linear_s"], arrays["linear_loss"]) == pytest.approx(middle, rel=0.01)
    assert arrays["half_loss"].max() <= paths["half"]["upper"] + 1e-12 and len(arrays["half_s"]) >= 60


def test_text_names_the_condition_and_the_barriers(call):
    code, out, err = call(*PAIR, *FEW, "--neurons")
    assert (code, err) == (0, "")
    for part in ("condition of A", "condition of B", "half path", "linear path", "aligned path", "in use at once"):
        assert part in out
    assert out.count("barrier") == 3


def test_files_of_torch_give_the_same(call, files):
    torch = pytest.importorskip("torch")
    for name, arrays in files[4].items():
        torch.save({k: torch.tensor(v) for k, v in arrays.items()}, files[0] / f"{name}.pt")
    same = ["A.pt", "B.pt", *PAIR[2:]]
    first, second = (strict(call(*words, *FEW, "--json")[1]) for words in (PAIR, same))
    assert first["paths"] == second["paths"]


def test_a_whole_module_takes_its_shape_from_the_data(call, files):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    for name, arrays in files[4].items():
        net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).double()
        net.load_state_dict({k: torch.tensor(v) for k, v in arrays.items()})
        torch.save(nn.Sequential(nn.Flatten(), *net), files[0] / f"{name}whole.pt")
    code, out, _ = call("Awhole.pt", "Bwhole.pt", "--trust", "--data", "data.npz", *FEW, "--json")
    assert code == 0 and strict(out)["paths"] == strict(call(*PAIR, *FEW, "--json")[1])["paths"]
    code, out, err = call("Awhole.pt", "Bwhole.pt", "--data", "data.npz")
    assert code == 2 and out == "" and "--trust" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.npz", *PAIR[1:]], "no file"),
        (["A.npz", "cut.npz", *PAIR[2:]], "weights lack '4.bias'"),
        (["A.npz", "B.npz", "--data", "data.npz"], "say with --architecture"),
        ([*PAIR[:4], "--data", "none.npz"], "no file"),
        ([*PAIR[:4], "--data", "nolabels.npz"], "has no 'y'"),
        ([*PAIR[:4], "--data", "flat.npz"], "must have shape (n, 1, 2, 3)"),
        ([*PAIR[:4], "--data", "four.npz"], "labels below the number of outputs"),
        (["conv.npz", "conv.npz", "--architecture", "conv.json", "--data", "small.npz"], "dense layers"),
        ([*PAIR, "--loss", "hinge"], "loss must be one of"),
        ([*PAIR, "--loss", "logistic"], "labels +-1 and one output"),
        ([*PAIR, "--method", "magic"], "method must be one of"),
        ([*PAIR, "--points", "0"], "points"),
        ([*PAIR, "--points", "9" * 9], "at most 1000000"),
        ([*PAIR, "--starts", "0"], "starts"),
        ([*PAIR, "--seed", "-1"], "seed"),
    ],
    ids=lambda value: " ".join(map(str, value[-2:])) if isinstance(value, list) else "",
)
def test_refusals(call, words, said):
    code, out, err = call(*words)
    assert (code, out) == (2, "") and said in err and err.startswith("theory: ") and err.count("\n") == 1
