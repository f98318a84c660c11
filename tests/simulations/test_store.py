"""The results store: nothing twice, nothing lost, two writers at once."""

import json
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import scipy

import theory
from simulations import _revision
from simulations.store import NewRow, ResultsStore, config_key
from theory import InvalidInput


def test_a_configuration_is_computed_once(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"loss": 0.25, "gap": float("inf")}

    with ResultsStore(tmp_path / "r.sqlite") as store:
        first = store.once({"seed": 1, "lam": 1e-3}, compute)
    with ResultsStore(tmp_path / "r.sqlite") as store:
        second = store.once({"lam": 1e-3, "seed": 1}, compute)
        other = store.once({"lam": 1e-3, "seed": 2}, compute)
        assert store.configs() == [{"lam": 1e-3, "seed": 1}, {"lam": 1e-3, "seed": 2}]
    assert first == second == other == {"loss": 0.25, "gap": None} and len(calls) == 2


def test_a_record_keeps_the_order_of_its_names(tmp_path):
    with ResultsStore(tmp_path / "r.sqlite") as store:
        store.once({"a": 1}, lambda: {"later": 1, "earlier": {"z": 2, "b": 3}})
        found = store.find({"a": 1})
    assert list(found) == ["later", "earlier"] and list(found["earlier"]) == ["z", "b"]


def test_a_failed_computation_is_not_kept(tmp_path):
    with ResultsStore(tmp_path / "r.sqlite") as store:
        with pytest.raises(ZeroDivisionError):
            store.once({"a": 1}, lambda: {"x": 1 / 0})
        assert store.find({"a": 1}) is None


def test_keys_tell_configurations_apart():
    assert config_key({"a": 1, "b": 2}) == config_key({"b": 2, "a": 1}) != config_key({"a": 1, "b": 3})


def test_numbers_come_back_by_step(tmp_path):
    with ResultsStore(tmp_path / "r.sqlite") as store:
        store.add("run", 3, {"nc1": 0.5, "rho": float("nan")})
        store.add("run", 1, {"nc1": 2.0})
        store.add("run", 1, {"nc1": 1.0})
        store.add("other", 1, {"nc1": 9.0})
        rows = store.read("run")
        assert store.runs() == ["other", "run"]
    assert [r["step"] for r in rows] == [1, 3] and [r["nc1"] for r in rows] == [1.0, 0.5]
    assert rows[1]["rho"] != rows[1]["rho"]


def test_a_killed_process_loses_nothing_that_was_finished(tmp_path):
    path = tmp_path / "r.sqlite"
    code = f"""
        import time
        from simulations.store import ResultsStore
        store = ResultsStore({str(path)!r})
        for seed in range(10**6):
            store.once({{"seed": seed}}, lambda: {{"square": seed**2}})
            print(seed, flush=True)
            time.sleep(0.01)
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    for _ in range(5):
        last = int(child.stdout.readline())
    time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    with ResultsStore(path) as store:
        assert all(store.find({"seed": s}) == {"square": s**2} for s in range(last + 1))


def test_two_processes_write_one_store(tmp_path):
    path = tmp_path / "r.sqlite"
    code = """
        import sys
        from simulations.store import ResultsStore
        for seed in range(60):
            with ResultsStore(sys.argv[1]) as store:
                store.once({"seed": seed}, lambda: {"by": sys.argv[2]})
                store.add(sys.argv[2], seed, {"x": seed})
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(path)]
    children = [subprocess.Popen([*command, name]) for name in "abc"]
    assert [child.wait() for child in children] == [0, 0, 0]
    with ResultsStore(path) as store:
        assert len(store.configs()) == 60 and all(len(store.read(name)) == 60 for name in "abc")


@pytest.mark.parametrize("values", [{"x": "many"}, {"x": None}])
def test_only_numbers_are_added(values):
    with ResultsStore(":memory:") as store, pytest.raises(InvalidInput, match="numbers"):
        store.add("run", 0, values)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "text").write_text("no database at all, but a text that is long enough to be read as a header" * 40)
    with pytest.raises(InvalidInput, match="results store"):
        ResultsStore(tmp_path / "text")


def test_configurations_are_plain():
    with ResultsStore(":memory:") as store, pytest.raises(InvalidInput, match="plain values"):
        store.once({"object": object()}, dict)


def test_an_infinite_choice_is_not_none():
    store = ResultsStore(":memory:")
    choices = [None, float("inf"), -float("inf"), float("nan")]
    assert [store.once({"ratio": c}, lambda i=i: {"i": i})["i"] for i, c in enumerate(choices)] == [0, 1, 2, 3]
    assert store.configs()[1] == {"ratio": float("inf")}


@pytest.mark.parametrize(("step", "values"), [(1.5, {"a": 1}), (-1, {"a": 1}), (1, {"step": 5.0})])
def test_steps_are_whole_and_keep_their_name(step, values):
    store = ResultsStore(":memory:")
    with pytest.raises(InvalidInput, match="step"):
        store.add("run", step, values)
    assert store.read("run") == []


OLD = (
    "CREATE TABLE records (key TEXT PRIMARY KEY, config TEXT NOT NULL, record TEXT NOT NULL, "
    "version TEXT NOT NULL, seconds REAL NOT NULL, finished REAL NOT NULL)"
)


def test_a_store_of_an_earlier_version_opens(tmp_path):
    config = {"experiment": "e", "seed": 3}
    database = sqlite3.connect(tmp_path / "old.sqlite")
    with database:
        database.execute(OLD)
        values = (config_key(config), json.dumps(config), '{"loss": 0.5}', "0.0.9", 1.5, 100.0)
        database.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", values)
    database.close()
    for _ in range(2):
        with ResultsStore(tmp_path / "old.sqlite") as store:
            assert store.find(config) == {"loss": 0.5} and store.configs() == [config]
            row = store.rows()[0]
            assert (row.status, row.version, row.seconds, row.finished) == ("done", "0.0.9", 1.5, 100.0)
            assert (row.error, row.study, row.seed, row.revision, row.versions) == (None, None, None, None, {})
    with ResultsStore(tmp_path / "old.sqlite") as store:
        store.put({"seed": 4}, {"loss": 1})
        assert len(store.rows()) == 2 and store.rows()[1].seed == 4


def test_a_row_says_what_computed_it():
    with ResultsStore(":memory:") as store:
        store.put({"seed": 7, "lam": 0.5}, {"loss": 1.5}, seconds=2.5)
        store.put({"seed": "seven"}, {"loss": 1.5})
        row, other = store.rows()
    assert row.versions == {
        "deep-classifier-theory": theory.__version__, "numpy": np.__version__, "scipy": scipy.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
    }  # fmt: skip
    assert (row.config, row.record, row.seed, row.seconds) == ({"seed": 7, "lam": 0.5}, {"loss": 1.5}, 7, 2.5)
    assert row.key == config_key({"lam": 0.5, "seed": 7}) and abs(row.finished - time.time()) < 60
    assert other.seed is None and row.revision == _revision.provenance().revision
    assert "done" in repr(row) and row.to_json()["seed"] == 7


def test_a_failed_row_is_no_record_and_gives_way():
    config = {"a": 1}
    with ResultsStore(":memory:") as store:
        store.put_many([NewRow(config=config, error="E: first")], study="s")
        assert store.find(config) is None and store.configs() == [] and store.counts() == {"done": 0, "failed": 1}
        store.put_many([NewRow(config=config, error="E: second")], study="t")
        assert [(row.error, row.study) for row in store.rows()] == [("E: second", "s")]
        assert store.once(config, lambda: {"x": 1}) == {"x": 1}
        assert [(row.status, row.error, row.study) for row in store.rows("t")] == [("done", None, "s")]
        store.put_many([NewRow(config=config, error="E: third"), NewRow(config={"a": 2}, record={"x": 2})])
        assert store.put(config, {"x": 9}) == {"x": 1}
        assert store.counts() == {"done": 2, "failed": 0} and store.counts("s") == {"done": 1, "failed": 0}


def test_a_batch_is_stored_whole_or_not_at_all():
    with ResultsStore(":memory:") as store:
        with pytest.raises(InvalidInput, match="plain values"):
            store.put_many([NewRow(config={"a": 1}, record={}), NewRow(config={"a": 2}, record={"x": object()})])
        for both in ({}, {"record": {}, "error": "E"}):
            with pytest.raises(InvalidInput, match="either a record or an error"):
                store.put_many([NewRow(config={"a": 1}, **both)])
        assert store.rows() == []


def test_statuses_of_many_keys_and_who_shares_them():
    with ResultsStore(":memory:") as store:
        store.put_many([NewRow(config={"a": a}, record={"x": a}) for a in range(1200)], study="first")
        store.put_many([NewRow(config={"a": -1}, error="E")], study="first")
        keys = [config_key({"a": a}) for a in range(-2, 1300)]
        found = store.statuses(keys)
        assert len(found) == 1201 and found[keys[1]] == "failed" and keys[0] not in found
        assert set(store.statuses(keys[1:]).values()) == {"done", "failed"} and store.rows("second") == []
        store.statuses(keys[:5], study="second")
        store.statuses(keys[:5], study="first")
        assert [row.config["a"] for row in store.rows("second")] == [0, 1, 2, -1] and len(store.rows("first")) == 1201


def test_a_store_is_shared_by_threads(tmp_path):
    """Reads in the middle of another thread's transactions."""
    with ResultsStore(tmp_path / "r.sqlite") as store:
        seen, problems = [], []

        def read():
            try:
                while not seen or seen[-1] < 2000:
                    seen.append(sum(store.counts().values()))
            except Exception as error:
                problems.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        for start in range(0, 2000, 50):
            store.put_many([NewRow(config={"a": a}, record={}) for a in range(start, start + 50)])
        thread.join(timeout=30)
    assert problems == [] and seen == sorted(seen) and all(count % 50 == 0 for count in seen)


def repository(folder, *names):
    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            ["git", "-C", str(folder), *who, *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("first")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    return git


def test_the_revision_of_the_source(tmp_path):
    git = repository(tmp_path, "simulations/_revision.py", "theory/a.py", "README.md")
    commit = git("rev-parse", "HEAD")
    assert _revision._revision(tmp_path) == commit and len(commit) == 40
    (tmp_path / "README.md").write_text("changed")
    assert _revision._revision(tmp_path) == commit
    (tmp_path / "theory" / "a.py").write_text("changed")
    assert _revision._revision(tmp_path) == commit + "+changes"


def test_another_repository_is_not_the_source(tmp_path):
    """An installed package inside somebody's own repository, or in none."""
    assert _revision._revision(tmp_path) is None
    repository(tmp_path, "their.py")
    (tmp_path / "simulations").mkdir()
    (tmp_path / "simulations" / "_revision.py").write_text("installed")
    assert _revision._revision(tmp_path) is None
