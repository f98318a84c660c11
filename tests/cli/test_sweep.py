"""``theory sweep``: exit codes, sentences, and the line that is redrawn."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from unittest import mock

import pytest

from simulations.cli import main
from simulations.store import ResultsStore

TASKS = """
def inverse(x, seed=0):
    return {"y": 1 / x}
"""
STUDY = """
name: inverses
task: own_tasks_of_this_test:inverse
grid: {x: [1, 2, 4]}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a user's module and a study of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_tasks_of_this_test", raising=False)
    (tmp_path / "own_tasks_of_this_test.py").write_text(TASKS)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


@pytest.fixture
def run(capsys):
    def call(*words):
        code = 0
        with mock.patch.object(sys, "argv", ["theory", "sweep", *(str(word) for word in words)]):
            try:
                main()
            except SystemExit as stop:
                code = stop.code or 0
        return (code, *capsys.readouterr())

    return call


def test_a_sweep_and_its_resume(folder, run):
    code, out, err = run("study.yaml", "--jobs", "1")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"inverses: 3 of 3 computed in \d+ s\nrows in inverses.sqlite\n", out)
    code, out, err = run("study.yaml", "--jobs", "1")
    assert (code, out) == (2, "") and err.count("\n") == 1 and "--resume" in err
    code, out, err = run("study.yaml", "--jobs", "1", "--resume", "--json")
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert (record["done"], record["skipped"], record["complete"], record["store"]) == (0, 3, True, "inverses.sqlite")
    with ResultsStore(folder / "inverses.sqlite") as store:
        assert sorted(row.record["y"] for row in store.rows("inverses")) == [0.25, 0.5, 1]


def test_processes_find_the_module_of_this_folder(folder, run):
    code, out, err = run("study.yaml", "--store", "other.sqlite", "--jobs", "2")
    assert (code, err) == (0, "") and "rows in other.sqlite" in out
    assert not Path("inverses.sqlite").exists()


def test_failures_are_exit_code_1_until_they_are_retried(folder, run):
    Path("study.yaml").write_text(STUDY.replace("[1,", "[0,"))
    code, out, err = run("study.yaml", "--jobs", "1")
    assert (code, err) == (1, "") and "1 failed, such as: ZeroDivisionError: division by zero\n" in out
    code, out, err = run("study.yaml", "--jobs", "1", "--resume")
    assert (code, err) == (1, "") and "1 had failed before; --retry computes them again" in out
    Path("own_tasks_of_this_test.py").write_text(TASKS.replace("1 / x", "1 / (x + 8)"))
    del sys.modules["own_tasks_of_this_test"]
    code, out, err = run("study.yaml", "--jobs", "1", "--retry")
    assert (code, err) == (0, "") and "1 of 3 computed" in out and "2 were in the store" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.yaml"], "no file 'none.yaml'"),
        (["no-such-study"], "no shipped study"),
        (["study.yaml", "--jobs", "0"], "jobs must be at least 1"),
        (["study.yaml", "--jobs", "-1"], "jobs must be at least 1"),
        (["study.yaml", "--jobs", "1000000"], "per core"),
        (["x" * 5000], "no shipped study"),
        (["x" * 5000 + ".yaml"], "no file"),
        (["study.yaml", "--store", "x" * 5000], "cannot be used as a results store"),
        (["study.yaml", "--store", "x" * 5000 + "/x"], "no folder"),
        (["study.yaml", "--jobs", "1", "--scheduler", "tcp://127.0.0.1:1"], "not both"),
        (["study.yaml", "--scheduler", "tcp://127.0.0.1:1"], "no scheduler answers"),
        (["study.yaml", "--store", "none/s.sqlite"], "no folder 'none'"),
        (["study.yaml", "--store", "study.yaml"], "cannot be used as a results store"),
        (["study.yaml", "--store", "."], "cannot be used as a results store"),
        (["task.yaml"], "no task is called 'magic'"),
        (["module.yaml"], "cannot be imported"),
        (["unknown.yaml"], "no parameter 'z'"),
        (["missing.yaml"], "needs x"),
    ],
)
def test_bad_input_is_one_sentence(folder, run, words, said):
    for name, text in {
        "task": STUDY.replace("own_tasks_of_this_test:inverse", "magic"),
        "module": STUDY.replace("own_tasks", "no_tasks"),
        "unknown": STUDY.replace("x:", "z:"),
        "missing": STUDY.replace("x:", "seed:"),
    }.items():
        Path(f"{name}.yaml").write_text(text)
    code, out, err = run(*words)
    if words[0] != "study.yaml":
        assert not list(folder.glob("*.sqlite"))
    assert (code, out) == (2, "") and said in err and err.startswith("theory: ") and err.count("\n") == 1


def test_without_a_study_the_shipped_ones_are_listed(run):
    from simulations.sweep import shipped_studies

    code, out, _ = run()
    assert code == 0 and all(name in out for name in shipped_studies())
    assert json.loads(run("--json")[1]).keys() == shipped_studies().keys()


@pytest.mark.parametrize("terminal", [True, False])
def test_the_line_is_for_people(folder, monkeypatch, run, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setattr("simulations._progress.PATIENCE", -1.0)
    monkeypatch.setattr("simulations._progress.PERIOD", -1.0)
    code, _, err = run("study.yaml", "--jobs", "1")
    assert code == 0
    assert ("\rinverses: 3 of 3, " in err and err.endswith("\r\x1b[K")) if terminal else err == ""
