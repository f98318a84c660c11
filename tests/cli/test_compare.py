"""``theory compare``: the library's comparison at the stated defaults, its files, one sentence for bad input."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from simulations.cli import main
from simulations.cli.compare import between, standard_models
from theory.peeled import deep_linear_threshold, solve
from theory.peeled.compare import compare

COUNTS = ("--counts", "100x3,20x3,3x4")
N = [100] * 3 + [20] * 3 + [3] * 4


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["theory", "compare", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        return (stop.value.code or 0, *capsys.readouterr())

    return call


def test_json_is_the_comparison_of_the_library(run):
    code, out, err = run(*COUNTS, "--json")
    assert (code, err) == (0, "")
    got = json.loads(out, parse_constant=lambda name: pytest.fail(name))
    want = compare(standard_models(N))
    assert list(got) == list(want.names) and len(got) == 8
    for name, solution, distance in zip(want.names, want.solutions, want.etf_distance, strict=True):
        assert got[name]["objective"] == solution.objective
        assert got[name]["etf_distance"] == pytest.approx(distance, abs=1e-12)
        assert got[name]["relative_gap"] < 1e-9 and got[name]["status"] == "optimal"


def test_default_penalties_part_the_rarest_from_the_rest():
    """Section on merge thresholds: sqrt(lam_W lam_H) = sqrt(n)/N, and the deep model's own zero threshold."""
    models = standard_models(N)
    total = sum(N)
    assert models["penalised"].lam_Z == pytest.approx((3 * 20) ** 0.25 / total)
    assert models["penalised"].lam_W / models["penalised"].lam_H == pytest.approx(total)
    Lambda = np.prod(models["squared error, 2 layers"].lams)
    assert deep_linear_threshold(3, total, 2) < Lambda < deep_linear_threshold(20, total, 2)
    phases = {name: [g.phase for g in solve(model).groups] for name, model in models.items()}
    assert phases["penalised"] == phases["penalised, ReLU features"] == ["separated", "separated", "merged"]
    assert phases["squared error"] == phases["squared error, 2 layers"] == ["separated", "separated", "vanishing"]
    assert phases["SELI (penalty → 0)"] == ["separated"] * 3


def test_equal_counts_stay_apart_and_given_numbers_are_taken():
    assert between([0.5, 0.5]) == 0.25
    assert solve(standard_models([9] * 4)["penalised"]).groups[0].phase == "separated"
    models = standard_models(N, E_W=2, E_H=3, lam_W=1e-3, lam_H=1e-5, lam=1e-4)
    assert (models["layer-peeled"].E_W, models["layer-peeled"].E_H) == (2, 3)
    assert (models["squared error"].lam_W, models["squared error"].lam_H) == (1e-3, 1e-5)
    assert list(models["squared error, 2 layers"].lams) == [1e-4] * 3


def test_out_writes_record_and_figure(run, tmp_path):
    code, out, _ = run("--counts", "9x2,2x2", "--out", tmp_path / "a")
    assert code == 0 and "wrote comparison.json and comparison.png" in out and "cos(w,w)" in out
    assert set(json.loads((tmp_path / "a" / "comparison.json").read_text())) == set(standard_models([9, 9, 2, 2]))
    assert (tmp_path / "a" / "comparison.png").read_bytes()[:4] == b"\x89PNG"
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"comparison.json", "comparison.png"}


def test_too_many_classes_have_no_figure(run, tmp_path):
    code, out, _ = run("--counts", "9x600,2x600", "--out", tmp_path)
    assert code == 0 and "no figure: 1200 classes" in out
    assert {path.name for path in tmp_path.iterdir()} == {"comparison.json"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--counts", "9x2,a"], "has the item 'a'"),
        (["--counts", "9"], "between 2 and 1000000 classes"),
        (["--counts", "9x2", "--E-W", "0"], "E_W must be positive"),
        (["--counts", "9x2", "--lambda-W", "1"], "both --lambda-W and --lambda-H"),
        (["--counts", "9x2", "--lambda-W", "1", "--lambda-H", "nan"], "lam_H must be finite"),
        (["--counts", "9x2", "--lambda", "-1"], "lam must be positive"),
    ],
)
def test_bad_input_is_one_sentence(run, words, said):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert said in err and err.startswith("theory: ") and err.count("\n") == 1 and err.endswith(".\n")
