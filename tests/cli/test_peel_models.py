"""``theory peel --model``: each model's own numbers, and an option of another model refused by its name."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from simulations.cli import main
from simulations.cli._models import FLAGS, MODELS, chosen
from theory import InvalidInput
from theory.peeled import DeepLinearModel, LayerPeeledModel, SELIModel, UnconstrainedFeaturesModel, solve

COUNTS = ("--counts", "100x3,20x3,3x4")
N = [100] * 3 + [20] * 3 + [3] * 4
NEEDED = {"lpm": ("--E-W", "1", "--E-H", "5"), "ufm": ("--lambda-W", "0.1", "--lambda-H", "0.001"), "seli": (),
          "deep-linear": ("--lambda", "0.002")}  # fmt: skip


@pytest.fixture
def run(monkeypatch, capsys):
    """Run ``theory peel WORDS`` in this process; returns (exit code, stdout, stderr)."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["theory", "peel", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        return (stop.value.code or 0, *capsys.readouterr())

    return call


CASES = {
    "lpm-mse": (
        ["--E-W", 1, "--E-H", 5, "--loss", "mse"],
        lambda: LayerPeeledModel(counts=N, E_W=1, E_H=5, loss="mse"),
    ),
    "ufm-mse-bias": (
        ["--lambda-W", 0.01, "--lambda-H", 1e-3, "--lambda-b", 0, "--loss", "mse", "--dimension", 9],
        lambda: UnconstrainedFeaturesModel(counts=N, lam_W=0.01, lam_H=1e-3, lam_b=0, loss="mse", dimension=9),
    ),
    "ufm-relu": (
        ["--model", "ufm", "--lambda-W", 0.01, "--lambda-H", 1e-3, "--features", "relu"],
        lambda: UnconstrainedFeaturesModel(counts=N, lam_W=0.01, lam_H=1e-3, features="relu"),
    ),
    "ufm-smoothed": (
        ["--lambda-W", 0.01, "--lambda-H", 1e-3, "--label-smoothing", 0.1],
        lambda: UnconstrainedFeaturesModel(counts=N, lam_W=0.01, lam_H=1e-3, label_smoothing=0.1),
    ),
    "seli": (
        ["--model", "seli", "--margins", "1x6,2x4", "--temperatures", "2x3,1x7"],
        lambda: SELIModel(counts=N, margins=[1] * 6 + [2] * 4, temperatures=[2] * 3 + [1] * 7),
    ),
    "deep-linear": (
        ["--model", "deep-linear", "--lambda", 0.002, "--depth", 3],
        lambda: DeepLinearModel(counts=N, lam=0.002, depth=3),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_json_is_the_solution_of_the_library(run, case):
    words, model = CASES[case]
    code, out, err = run(*COUNTS, *words, "--json")
    assert (code, err) == (0, "")
    got, want = json.loads(out), solve(model()).to_json()
    assert got.keys() == want.keys()
    assert got["model"] == type(model()).__name__
    assert got["objective"] == want["objective"]
    assert [g["phase"] for g in got["groups"]] == [g["phase"] for g in want["groups"]]


def test_every_model_prints_the_same_keys(run):
    """Beside the parameters of the model itself."""
    keys = []
    for model, words in NEEDED.items():
        record = json.loads(run(*COUNTS, "--model", model, *words, "--json")[1])
        builder = CASES[{"lpm": "lpm-mse", "ufm": "ufm-relu"}.get(model, model)][1]()
        keys.append(set(record) - set(builder.parameters()))
        assert {"objective", "gap", "status", "groups"} <= keys[-1]
    assert all(one == keys[0] for one in keys)


@pytest.mark.parametrize(
    ("model", "option"),
    [(model, flag) for model, kind in MODELS.items() for name, flag in FLAGS.items()
     if name not in (*kind.needs, *kind.takes, "counts", "majority", "minority")],
)  # fmt: skip
def test_an_option_of_another_model_is_refused_by_name(run, model, option):
    value = {"--loss": "mse", "--features": "relu", "--depth": 2, "--margins": "1x10", "--temperatures": "1x10"}
    code, out, err = run(*COUNTS, "--model", model, *NEEDED[model], option, value.get(option, 0.5))
    assert (code, out) == (2, "")
    assert err.startswith(f"theory: {option} does not belong to --model {model}; it goes with --model ")
    assert err.count("\n") == 1 and err.endswith(".\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "etf"], "--model must be one of lpm, ufm, seli, deep-linear, but is 'etf'"),
        ([], "--model lpm needs --E-W and --E-H"),
        (["--E-W", 1], "--model lpm needs --E-H"),
        (["--lambda-W", 1], "--model ufm needs --lambda-H"),
        (["--lambda-b", 0], "--model ufm needs --lambda-W and --lambda-H"),
        (["--lambda-W", 1, "--E-H", 5], "--E-H does not belong to --model ufm; it goes with --model lpm"),
        (["--model", "deep-linear"], "--model deep-linear needs --lambda"),
        (["--lambda-W", 1, "--lambda-H", 1, "--loss", "hinge"], "loss must be one of"),
        (["--lambda-W", 1, "--lambda-H", -1], "lam_H must be positive"),
        (["--lambda-W", 1, "--lambda-H", 1, "--loss", "focal"], "gamma is given exactly when"),
        (["--model", "seli", "--margins", "1,a"], "--margins must be VALUExCLASSES such as 1x5,2.5x5"),
        (["--model", "seli", "--margins", "1x3"], "one entry per class (10)"),
        (["--model", "deep-linear", "--lambda", 1, "--depth", 0], "depth must be at least 1"),
        (["--model", "seli", "--method", "groups"], "method must be one of"),
    ],
)
def test_bad_input_is_one_sentence(run, words, said):
    code, out, err = run(*COUNTS, *words)
    assert (code, out) == (2, "")
    assert said in err and err.startswith("theory: ") and err.count("\n") == 1 and err.endswith(".\n")


def test_the_penalties_alone_imply_the_model():
    assert chosen(None, {"lam_W": 1.0, "lam_H": 1.0, "E_W": None})[0] == "ufm"
    assert chosen(None, {"E_W": 1.0, "E_H": 1.0})[0] == "lpm"
    with pytest.raises(InvalidInput, match="--lambda does not belong to --model lpm"):
        chosen(None, {"E_W": 1.0, "E_H": 1.0, "lam": 1.0})


def test_labels(run, tmp_path):
    np.save(tmp_path / "y.npy", np.repeat(np.arange(10), N))
    for model, words in NEEDED.items():
        got = json.loads(run("--labels", tmp_path / "y.npy", "--model", model, *words, "--json")[1])
        want = json.loads(run(*COUNTS, "--model", model, *words, "--json")[1])
        assert got["objective"] == want["objective"]


def test_out_of_another_model(run, tmp_path):
    words = ("--model", "deep-linear", "--lambda", 0.002, "--depth", 2)
    assert run(*COUNTS, *words, "--out", tmp_path)[0] == 0
    assert json.loads((tmp_path / "solution.json").read_text())["depth"] == 2
    with np.load(tmp_path / "solution.npz") as arrays:
        np.testing.assert_allclose(arrays["classifier"] @ arrays["features"], arrays["logits"], atol=1e-12)


def test_a_zero_classifier_has_no_figures(run, tmp_path):
    code, out, _ = run(*COUNTS, "--model", "deep-linear", "--lambda", 1, "--out", tmp_path)
    assert code == 0 and "the classifier is zero" in out
    assert {path.name for path in tmp_path.iterdir()} == {"solution.json", "solution.npz"}
