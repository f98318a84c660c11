"""The results store: nothing twice, nothing lost, two writers at once."""

import signal
import subprocess
import sys
import textwrap
import time

import pytest

from simulations.store import ResultsStore, config_key
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
