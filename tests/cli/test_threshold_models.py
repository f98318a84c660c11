"""``theory threshold --model``: penalties per group, checked by the solver on both sides; options refused by name."""

from __future__ import annotations

import json
import sys

import pytest

from simulations.cli import main
from theory.peeled import DeepLinearModel, UnconstrainedFeaturesModel, solve

COUNTS = ("--counts", "500x5,100x5")
N = [500] * 5 + [100] * 5


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["theory", "threshold", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        return (stop.value.code or 0, *capsys.readouterr())

    return call


def test_published_penalties(run):
    """sqrt(n_B)/N = 10/3000 for n_A = 500, n_B = 100, five and five classes; full collapse at sqrt(500)/3000."""
    code, out, err = run(*COUNTS, "--json")
    got = json.loads(out)
    assert (code, err, got["model"]) == (0, "", "ufm")
    assert got["lam_Z"] == pytest.approx([500**0.5 / 3000, 10 / 3000], rel=1e-12)
    assert (got["count"], got["classes"], got["effect"]) == ([500, 100], [5, 5], "merge")


@pytest.mark.parametrize(
    ("words", "options", "phase"),
    [
        ([], {}, "merged"),
        (["--label-smoothing", 0.2], {"label_smoothing": 0.2}, "merged"),
        (["--loss", "mse"], {"loss": "mse"}, "vanishing"),
        (["--loss", "mse", "--lambda-b", 0], {"loss": "mse", "lam_b": 0}, "merged"),
        (["--features", "relu"], {"features": "relu"}, "merged"),
        (["--weights", "1x5,0.5x5"], {"class_weights": [1] * 5 + [0.5] * 5}, "merged"),
    ],
)
def test_the_solver_changes_phase_at_the_threshold(run, words, options, phase):
    lam = json.loads(run(*COUNTS, *words, "--json")[1])["lam_Z"][1]
    for factor, want in ((1 - 1e-6, "separated"), (1 + 1e-6, phase)):
        model = UnconstrainedFeaturesModel(counts=N, lam_W=lam * factor, lam_H=lam * factor, **options)
        assert solve(model).groups[1].phase == want


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_deep_linear_classes_vanish_at_the_common_penalty(run, depth):
    got = json.loads(run(*COUNTS, "--model", "deep-linear", "--depth", depth, "--json")[1])
    assert got["depth"] == depth and got["count"] == [500, 100]
    for group, (lam, product) in enumerate(zip(got["lam"], got["Lambda"], strict=True)):
        assert lam ** (depth + 1) == pytest.approx(product, rel=1e-9)
        for factor, vanishes in ((1 - 1e-6, False), (1 + 1e-6, True)):
            found = solve(DeepLinearModel(counts=N, lam=lam * factor, depth=depth))
            assert (found.groups[group].phase == "vanishing") == vanishes


def test_text(run):
    out = run(*COUNTS)[1]
    assert "merge from lam_Z" in out and "0.003333333333" in out
    out = run(*COUNTS, "--model", "deep-linear", "--depth", 2)[1]
    assert "vanish from Lambda" in out and len(out.strip().splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--model lpm needs --majority and --minority and --E-W and --E-H"),
        (["--majority", 5, "--minority", 5, "--E-W", 1], "--model lpm needs --E-H"),
        (["--model", "seli", *COUNTS], "--model must be one of lpm, ufm, deep-linear, but is 'seli'"),
        (["--model", "lpm", *COUNTS], "--counts does not belong to --model lpm; it goes with --model ufm or deep"),
        ([*COUNTS, "--majority", 5], "--majority does not belong to --model ufm; it goes with --model lpm"),
        ([*COUNTS, "--depth", 2], "--depth does not belong to --model ufm; it goes with --model deep-linear"),
        ([*COUNTS, "--model", "deep-linear", "--loss", "mse"], "--loss does not belong to --model deep-linear"),
        (["--model", "deep-linear"], "--model deep-linear needs --counts"),
        ([*COUNTS, "--loss", "focal"], "focal"),
        ([*COUNTS, "--loss", "hinge"], "loss must be one of"),
        ([*COUNTS, "--features", "relu", "--lambda-b", 0], "without bias"),
        ([*COUNTS, "--weights", "1x3"], "one entry per class"),
        ([*COUNTS, "--model", "deep-linear", "--depth", 0], "depth must be at least 1"),
        ([*COUNTS, "--model", "deep-linear", "--depth", 200], "below what float64 can hold"),
        (["--counts", "5,a"], "has the item 'a'"),
    ],
)
def test_bad_input_is_one_sentence(run, words, said):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert said in err and err.startswith("theory: ") and err.count("\n") == 1 and err.endswith(".\n")
