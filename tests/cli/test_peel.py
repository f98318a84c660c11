"""``theory peel``: the library's numbers, strict JSON, files whole, one sentence for bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from simulations._progress import Progress
from simulations.cli import main
from simulations.cli._files import read_array
from simulations.cli._groups import parse_counts, parse_weights
from theory import InvalidInput
from theory.peeled import LayerPeeledModel, solve

BUDGETS = ("--E-W", "1", "--E-H", "5")


@pytest.fixture
def run(monkeypatch, capsys):
    """Run ``theory WORDS`` in this process; returns (exit code, stdout, stderr)."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["theory", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        return (stop.value.code or 0, *capsys.readouterr())

    return call


def test_json_is_the_solution_of_the_library(run):
    code, out, err = run("peel", "--counts", "100x5,10x5", *BUDGETS, "--json")
    assert (code, err) == (0, "")
    got = json.loads(out)
    want = solve(LayerPeeledModel(counts=[100] * 5 + [10] * 5, E_W=1, E_H=5)).to_json()
    assert got.keys() == want.keys()
    assert got["objective"] == want["objective"]
    assert got["groups"][1]["cos_within"] == pytest.approx(0.51749628, abs=5e-9)
    assert [g["classes"] for g in got["groups"]] == [5, 5]


def test_published_cosines_to_eight_digits(run):
    """tests/reference values: five and five classes, E_W = 1, E_H = 5, R = 10^0.1 is 12589 : 10000 to four digits."""
    _, out, _ = run("peel", "--counts", "1000000000000x5,794328234724x5", *BUDGETS, "--json")
    assert json.loads(out)["groups"][1]["cos_within"] == pytest.approx(-0.09928492, abs=1e-8)


def test_undefined_numbers_are_null(run):
    _, out, _ = run("peel", "--counts", "20x3,1x3", "--E-W", 1, "--E-H", 0.2, "--json")
    groups = json.loads(out, parse_constant=lambda name: pytest.fail(name))["groups"]
    assert groups[1]["phase"] == "vanishing"
    assert groups[1]["cos_within"] is None and groups[1]["norm_w"] == 0


def test_text_is_the_summary(run):
    code, out, _ = run("peel", "--counts", "100x5,1x5", *BUDGETS)
    assert code == 0
    assert "merged" in out and "cos(w,w)" in out and "relative" in out


@pytest.mark.parametrize("kind", ["npy", "csv", "csv-text", "csv-plain"])
def test_labels(run, tmp_path, kind):
    y = np.repeat([0, 1, 2, 3], (20, 20, 2, 2))
    path = tmp_path / ("y.npy" if kind == "npy" else "y.csv")
    words = []
    if kind == "npy":
        np.save(path, y)
    elif kind == "csv-plain":
        np.savetxt(path, y, fmt="%d")
    else:
        names = y if kind == "csv" else np.array(["ant", "bee", "cat", "dog"])[y]
        path.write_text("id,species\n" + "".join(f"{i},{v}\n" for i, v in enumerate(names)))
        words = ["--column", "species"]
    _, out, _ = run("peel", "--labels", path, *words, *BUDGETS, "--json")
    _, want, _ = run("peel", "--counts", "20x2,2x2", *BUDGETS, "--json")
    got, want = json.loads(out), json.loads(want)
    assert got["groups"] == want["groups"]


def test_weights_undo_the_imbalance(run):
    """LPM(R, w) = LPM(R / w): the weight R restores the simplex frame."""
    _, out, _ = run("peel", "--counts", "100x5,10x5", "--weights", "1x5,10x5", *BUDGETS, "--json")
    assert [g["cos_within"] for g in json.loads(out)["groups"]] == pytest.approx([-1 / 9, -1 / 9], abs=1e-9)
    _, out, _ = run("peel", "--counts", "100x5,10x5", "--weights", "balanced", *BUDGETS, "--json")
    assert json.loads(out)["groups"][0]["cos_within"] == pytest.approx(-1 / 9, abs=1e-9)


def test_out_writes_arrays_record_and_figures(run, tmp_path):
    folder = tmp_path / "new" / "folder"
    code, out, _ = run("peel", "--counts", "1,100x2,1", *BUDGETS, "--dimension", 6, "--out", folder)
    assert code == 0 and str(folder) in out
    names = {"solution.json", "solution.npz", "spectrum.png", "gram_classifier.png", "gram_features.png",
             "classifier_vectors.png"}  # fmt: skip
    assert set(os.listdir(folder)) == names
    with np.load(folder / "solution.npz") as arrays:
        assert arrays["counts"].tolist() == [1, 100, 100, 1]
        W, H, Z = arrays["classifier"], arrays["features"], arrays["logits"]
        assert W.shape == (4, 6) and H.shape == (6, 4)
        np.testing.assert_allclose(W @ H, Z, atol=1e-12)
        assert (W**2).sum() / 4 == pytest.approx(1, abs=1e-9) and (H**2).sum() / 4 == pytest.approx(5, abs=1e-9)
        assert arrays["group_count"].tolist() == [100, 1]
    record = json.loads((folder / "solution.json").read_text())
    assert record["rank"] == np.linalg.matrix_rank(Z) == 2
    assert all((folder / name).read_bytes()[:4] == b"\x89PNG" for name in names if name.endswith("png"))


def test_out_too_large_for_matrices(run, tmp_path):
    code, out, _ = run("peel", "--counts", "100x5000,1x5000", *BUDGETS, "--out", tmp_path)
    assert code == 0 and "holds the groups only" in out
    with np.load(tmp_path / "solution.npz") as arrays:
        assert "logits" not in arrays and arrays["group_classes"].tolist() == [5000, 5000]
    assert "holds the groups only" in json.loads((tmp_path / "solution.json").read_text())["notes"][0]


def test_missed_tolerance_is_exit_code_1_and_loses_nothing(run, tmp_path):
    code, out, err = run("peel", "--counts", "100x5,10x5", *BUDGETS, "--rtol", "1e-300", "--out", tmp_path, "--json")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1 and "1.0e-300 wanted" in err
    record = json.loads((tmp_path / "solution.json").read_text())
    assert record["status"] == "tolerance not reached"
    assert 0 < record["gap"] < 1e-9


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "exactly one of --counts and --labels"),
        (["--counts", "5x2", "--labels", "y.npy"], "exactly one of --counts and --labels"),
        (["--counts", "5x2", "--column", "y"], "--column goes with --labels"),
        (["--counts", ""], "has the item ''"),
        (["--counts", "100x5;10x5"], "has the item '100x5;10x5'"),
        (["--counts", "100x5,"], "has the item ''"),
        (["--counts", "-3x5"], "has the item '-3x5'"),
        (["--counts", "1.5x5"], "has the item '1.5x5'"),
        (["--counts", "9" * 5000], "has the item '999"),
        (["--counts", "10x999999999999"], "between 1 and 1000000 classes"),
        (["--counts", "10x0,5x3"], "between 1 and 1000000 classes"),
        (["--counts", "0x5"], "no class may be empty"),
        (["--counts", "5"], "between 2 and 1000000 classes"),
        (["--counts", "5x2,1x2", "--weights", "1x3"], "one entry per class (4)"),
        (["--counts", "5x2,1x2", "--weights", "fair"], "'balanced' or WEIGHTxCLASSES"),
        (["--counts", "5x2,1x2", "--weights", "0x4"], "must be positive"),
        (["--counts", "5x2,1x2", "--dimension", "0"], "dimension must be at least 1"),
        (["--counts", "5x2,1x2", "--rtol", "0"], "rtol must be positive"),
        (["--counts", "5x2,1x2", "--method", "magic"], "method must be one of"),
        (["--counts", "5x2,1x2", "--method", "closed-form"], "no closed form applies"),
        (["--labels", "nowhere.npy"], "no file 'nowhere.npy'"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(run, words, said):
    code, out, err = run("peel", *words, *BUDGETS)
    assert (code, out) == (2, "")
    assert said in err and err.startswith("theory: ") and err.count("\n") == 1 and err.endswith(".\n")


@pytest.mark.parametrize("budget", ["nan", "inf", "0", "-1", "1e9"])
def test_bad_budget(run, budget):
    code, _, err = run("peel", "--counts", "5x2,1x2", "--E-W", budget, "--E-H", 1)
    assert code == 2 and err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no column 'y'"),
        ("x\n1\n", "no column 'y'"),
        ("y,z\na,1\n,2\n", "row 2 of"),
        ("z,y\n1,a\n2\n", "row 2 of"),
        ("y\na\na\n", "between 2 and 1000000 classes"),
        ("y\n1\nnan\n", "NaN"),
    ],
)
def test_bad_label_files(run, tmp_path, content, said):
    (tmp_path / "y.csv").write_text(content)
    code, _, err = run("peel", "--labels", tmp_path / "y.csv", "--column", "y", *BUDGETS)
    assert code == 2 and said in err and err.count("\n") == 1


@pytest.mark.parametrize(("content", "said"), [("", "holds no numbers"), ("y\na\nb\n", "cannot read")])
def test_text_labels_need_a_named_column(run, tmp_path, content, said):
    """Without a header line to name, the header would count as a class of its own."""
    (tmp_path / "y.csv").write_text(content)
    code, _, err = run("peel", "--labels", tmp_path / "y.csv", *BUDGETS)
    assert code == 2 and said in err and err.count("\n") == 1


def test_text_is_refused_where_numbers_are_wanted(tmp_path):
    (tmp_path / "y.csv").write_text("y\na\nb\n")
    assert read_array(tmp_path / "y.csv", column="y", text=True).tolist() == ["a", "b"]
    with pytest.raises(InvalidInput, match="cannot read"):
        read_array(tmp_path / "y.csv", column="y")


def test_out_that_cannot_be_a_folder(run, tmp_path):
    (tmp_path / "file").write_text("")
    code, out, err = run("peel", "--counts", "5x2", *BUDGETS, "--out", tmp_path / "file" / "deeper")
    assert (code, out) == (2, "") and "cannot make the folder" in err and err.count("\n") == 1


def test_parse_counts_and_weights():
    assert parse_counts("3, 2x2") == [3, 2, 2]
    assert parse_weights("0.5x2,1e-3") == [0.5, 0.5, 1e-3]
    assert parse_weights("balanced") == "balanced" and parse_weights(None) is None
    with pytest.raises(InvalidInput, match="SAMPLESxCLASSES"):
        parse_counts("3x2x2")


@pytest.mark.parametrize(("terminal", "late", "drawn"), [(1, 1, True), (1, 0, False), (0, 1, False)])
def test_progress_line(monkeypatch, capsys, terminal, late, drawn):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: bool(terminal))
    with Progress("work") as progress:
        progress._began -= 2.5 if late else 0
        progress(7, 1e-3)
    err = capsys.readouterr().err
    assert ("work: step 7, relative gap 1.0e-03" in err) is drawn
    assert err == "" or err.endswith("\r\x1b[K")


def test_the_module_runs_as_a_script():
    code = "from simulations.cli import main; main()"
    words = [sys.executable, "-c", code, "peel", "--counts", "5x2", *BUDGETS, "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["method"] == "closed-form"
