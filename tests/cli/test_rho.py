"""``theory rho``: the library's numbers, every file whole, one sentence for bad input."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from simulations.cli import main
from theory.flow import fully_connected
from theory.square_loss import class_targets, equilibrium, integrate_rho

POINTS = Path(__file__).parents[2] / "notebooks" / "data" / "three_points.csv"
SMALL = ["--data", POINTS, "--width", 4, "--weight-decay", 0.02]


@pytest.fixture
def run(monkeypatch, capsys):
    """Run ``theory rho WORDS`` in this process; returns (exit code, stdout, stderr)."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["theory", "rho", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        return (stop.value.code or 0, *capsys.readouterr())

    return call


def strict(text):
    return json.loads(text, parse_constant=lambda name: pytest.fail(name))


def the_points():
    table = np.loadtxt(POINTS, delimiter=",", skiprows=1)
    return table[:, :-1], table[:, -1]


@pytest.mark.parametrize("normalisation", ["lagrange", "weight-norm", "none"])
def test_json_is_the_flow_of_the_library(run, normalisation):
    words = ["--normalisation", normalisation, "--until", "t:20", "--seed", 3, "--scale", 0.7]
    code, out, err = run(*SMALL, *words, "--json")
    assert (code, err) == (0, "")
    got, net, (X, y) = strict(out), fully_connected((1, 4, 1)), the_points()
    want = integrate_rho(net, (X, y), lam=0.02, theta0=net.random_parameters(rng=3, scale=0.7),
                         normalisation=normalisation, until=20.0)  # fmt: skip
    for key in ("rho", "mu", "M", "fit", "objective", "t", "least_margin", "norm_drift", "layer_norms"):
        told = want.to_json()[key]
        # equal but for the order of sums: the file's columns lie differently in memory
        assert got[key] is None if told is None else got[key] == pytest.approx(told, rel=1e-9, abs=1e-11)
    assert got["normalisation"] == normalisation and got["status"] == want.status.value
    assert (got["rest"] is None) == (normalisation != "lagrange")


def test_rest_point_is_reached_and_printed(run):
    code, out, _ = run(*SMALL, "--json")
    got = strict(out)
    assert code == 0 and got["rest"]["rho"] == pytest.approx(got["mu"] / (got["M"] + 0.02), rel=1e-12)
    assert got["rho"] == pytest.approx(got["rest"]["rho"], rel=1e-6)
    Y = float((the_points()[1] ** 2).mean())
    rest = equilibrium(got["mu"], got["M"], 0.02, target_square=Y)
    assert got["objective"] == pytest.approx(rest.objective, rel=1e-9)
    code, text, _ = run(*SMALL)
    assert code == 0 and f"rho rests at {got['rest']['rho']:.9g}" in text and "stationary" in text


def test_files_hold_the_path(run, tmp_path):
    code, out, _ = run(*SMALL, "--until", "t:5", "--normalisation", "none", "--out", tmp_path / "new", "--json")
    assert code == 0
    folder = tmp_path / "new"
    assert sorted(p.name for p in folder.iterdir()) == ["rho.json", "rho.npz", "rho.png"]
    assert strict((folder / "rho.json").read_text()) == strict(out)
    with np.load(folder / "rho.npz") as arrays:
        assert arrays["t"][-1] == pytest.approx(5.0) and arrays["rho"][-1] == strict(out)["rho"]
        np.testing.assert_allclose(arrays["layer_norms"].prod(axis=1), arrays["rho"], rtol=1e-12)
        assert arrays["V"].shape == (len(arrays["t"]), 8) and arrays["margins"].shape == (len(arrays["t"]), 3)


def test_labels_become_targets(run, tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((6, 3)), np.arange(6) % 3
    np.savez(tmp_path / "p.npz", X=X, y=y)
    words = ["--data", tmp_path / "p.npz", "--network", "deep-relu", "--widths", "5", "--weight-decay", 0.01,
             "--until", "t:3"]  # fmt: skip
    net = fully_connected((3, 5, 3))
    for kind in ("one-hot", "centred"):
        code, out, _ = run(*words, "--targets", kind, "--json")
        want = integrate_rho(net, (X, class_targets(y, centred=kind == "centred")), lam=0.01,
                             theta0=net.random_parameters(rng=0), until=3.0)  # fmt: skip
        assert code == 0 and strict(out)["rho"] == pytest.approx(want.rho[-1], rel=1e-9)
        assert strict(out)["rest"]["objective"] == pytest.approx(
            equilibrium(want.mu[-1], want.M[-1], 0.01, target_square=2 / 3 if kind == "centred" else 1.0).objective
        )


def test_an_end_that_is_not_reached_leaves_what_was(run, tmp_path):
    code, out, err = run(*SMALL, "--max-steps", 3, "--out", tmp_path)
    assert code == 1 and out == "" and err.count("\n") == 1 and str(tmp_path) in err
    assert strict((tmp_path / "rho.json").read_text())["steps"] == 3


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--weight-decay", -1], "lam must be at least 0"),
        (["--normalisation", "batch"], "normalisation must be one of lagrange, weight-norm, none"),
        (["--targets", "sign"], "--targets must be one of"),
        (["--targets", "one-hot"], "labels 0, 1, 2"),
        (["--at-zero", "x"], "at_zero must be one of"),
        (["--until", "margin-converged"], "until"),
        (["--network", "x"], "--network must be one of"),
        (["--bias", "all"], "homogeneous"),
        (["--seed", -1], "--seed"),
        (["--data", "nowhere.csv"], "no file 'nowhere.csv'"),
    ],
)
def test_bad_input_is_one_sentence(run, words, what):
    code, out, err = run(*SMALL, *words)
    assert (code, out) == (2, "") and err.startswith("theory: ") and err.count("\n") == 1 and what in err
