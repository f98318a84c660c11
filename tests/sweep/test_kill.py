"""A sweep that is killed goes on, computes nothing twice, and ends with the table of one that was left alone."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simulations.store import ResultsStore
from simulations.sweep import read_study, run_study

HERE = Path(__file__).parent
STUDY = """
name: killed
task: sweep_functions:inverse
fixed: {delay: 0.004}
grid: {x: {integer: [0, 199]}}
seeds: 2
"""
CALL = [sys.executable, "-c", "from simulations.cli import main; main()", "sweep"]


def start(study, store, *words):
    return subprocess.Popen(
        [*CALL, str(study), "--store", str(store), "--jobs", "2", *words], cwd=HERE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def stored(path):
    """What the rows are, whenever and however long they were computed."""
    if not path.exists():
        return {}
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        columns = "key, config, record, status, error, study, seed, version, versions"
        return {row[0]: row for row in database.execute(f"SELECT {columns} FROM records")}
    except sqlite3.OperationalError:  # not made yet, or left in the middle of a transaction
        return {}
    finally:
        database.close()


def wait_for(path, count):
    ends = time.monotonic() + 60
    while len(stored(path)) < count:
        assert time.monotonic() < ends
        time.sleep(0.02)


def finished(path):
    with ResultsStore(path) as store:
        return {row.key: row.finished for row in store.rows()}


def test_killed_twice_and_resumed(tmp_path, functions):
    """All its processes the first time, the second time only the one that writes."""
    study, path = tmp_path / "killed.yaml", tmp_path / "killed.sqlite"
    study.write_text(STUDY)
    before: dict[str, float] = {}
    for k, kill in enumerate((os.killpg, os.kill)):
        child = start(study, path, *(["--resume"] if k else []))
        wait_for(path, 60 * (k + 1))
        kill(child.pid, signal.SIGKILL)
        child.communicate(timeout=30)  # its workers hold the pipes, and end when it has ended
        assert child.returncode == -signal.SIGKILL
        then = finished(path)
        assert 60 * (k + 1) <= len(then) < 400 and before.items() <= then.items()
        before = then
    last = start(study, path, "--resume", "--json")
    out, err = last.communicate(timeout=60)
    summary = json.loads(out)
    assert last.returncode == 1 and err == ""
    assert summary["skipped"] == len(before) and summary["done"] + summary["failed"] == 400 - len(before)
    assert summary["failed"] + summary["failed_before"] == 2
    assert before.items() <= finished(path).items()
    with ResultsStore(tmp_path / "undisturbed.sqlite") as calm:
        run_study(read_study(study), calm)
    assert stored(path) == stored(tmp_path / "undisturbed.sqlite") and len(stored(path)) == 400


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_interrupt_is_one_sentence(tmp_path, jobs):
    (tmp_path / "slow.yaml").write_text(STUDY.replace("0.004", "0.05"))
    path = tmp_path / "s.sqlite"
    child = start(tmp_path / "slow.yaml", path, "--jobs", jobs)
    wait_for(path, 5)
    os.killpg(child.pid, signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert child.returncode == 130 and out == ""
    assert err == f"theory: interrupted; what is stored in {path} stays, and --resume goes on from it.\n"
    assert 5 <= len(stored(path)) < 400
