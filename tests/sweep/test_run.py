"""A sweep computes every configuration once, whatever fails, and its rows do not depend on how it was run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from simulations._progress import Count, duration
from simulations.store import NewRow, ResultsStore
from simulations.sweep import Sample, Study, run_study
from simulations.sweep import _batches as batches
from simulations.sweep import _work as work
from theory import InvalidInput, PreconditionError

HERE = Path(__file__).parent


def inverse(name="inverse", values=range(-3, 60), **more):
    return Study(name=name, task="sweep_functions:inverse", grid={"x": list(values)}, **more)


@pytest.fixture
def store():
    with ResultsStore(":memory:") as opened:
        yield opened


def test_rows_are_what_a_loop_computes(functions, store):
    study = inverse(seeds=2)
    done = run_study(study, store)
    assert (done.total, done.done, done.failed, done.skipped, done.failed_before) == (126, 124, 2, 0, 0)
    assert done.first_error == "ZeroDivisionError: division by zero" and not done.complete
    assert "2 failed, such as: ZeroDivisionError" in done.summary() and done.to_json()["complete"] is False
    rows = {(row.config["x"], row.config["seed"]): row for row in store.rows("inverse")}
    assert len(rows) == 126
    for (x, seed), row in rows.items():
        assert row.config == {"task": study.task, "x": x, "seed": seed} and row.seed == seed
        if x:
            expected = functions.inverse(x, seed)
            assert row.status == "done" and row.error is None and row.record == expected and row.seconds >= 0
        else:
            assert row.status == "failed" and row.record == {} and row.error == done.first_error


@pytest.mark.parametrize(("jobs", "seconds", "limit"), [(2, 0.5, 2.0), (1, 1e-6, 2.0), (1, 30.0, 0.0)])
def test_rows_do_not_depend_on_how_they_were_computed(functions, store, monkeypatch, jobs, seconds, limit):
    """Other numbers of processes, sizes of batches and limits of time."""
    study = Study(name="m", task="sweep_functions:matrix", grid={"x": [0.1, 1, 3]}, seeds=8)
    run_study(study, store)
    monkeypatch.setattr(batches, "SECONDS", seconds)
    monkeypatch.setattr(work, "LIMIT", limit)
    with ResultsStore(":memory:") as other:
        assert run_study(study, other, jobs=jobs).complete
        assert functions.table(other) == functions.table(store) and len(store.rows()) == 24


def test_bits_of_a_registered_task_with_a_vectorised_form(functions, store, monkeypatch):
    study = Study(name="t", task="threshold", fixed={"majority": 5, "minority": 5, "E_W": 1},
                  sample=Sample(count=60, ranges={"E_H": {"log": [0.1, 30]}}))  # fmt: skip
    run_study(study, store)
    for most in (1, 7):
        monkeypatch.setattr(batches, "MOST", most)
        with ResultsStore(":memory:") as other:
            assert run_study(study, other).complete
            assert functions.table(other) == functions.table(store)


def test_a_study_with_rows_is_refused_and_resumed(functions, store):
    study = inverse()
    run_study(study, store)
    with pytest.raises(InvalidInput, match="has 63 rows of study 'inverse': resume it"):
        run_study(study, store)
    functions.CALLS.clear()
    again = run_study(study, store, resume=True)
    assert (again.done, again.failed, again.skipped, again.failed_before) == (0, 0, 63, 1)
    assert functions.CALLS == [] and not again.complete and "--retry" in again.summary()
    longer = run_study(inverse(values=range(-3, 70)), store, resume=True)
    assert (longer.done, longer.skipped, len(functions.CALLS)) == (10, 63, 10)


def test_failed_rows_are_tried_again(functions, store, monkeypatch):
    study = inverse()
    run_study(study, store)
    monkeypatch.setattr(functions, "inverse", lambda x: {"y": 0 if x == 0 else "computed twice"})
    again = run_study(study, store, retry=True)
    assert (again.done, again.failed, again.skipped, again.complete) == (1, 0, 62, True)
    records = {row.config["x"]: row for row in store.rows("inverse")}
    assert records[0].record == {"y": 0} and records[0].status == "done" and records[0].error is None
    assert records[1].record["y"] == 1 and len(records) == 63


def test_a_failure_of_now_is_not_tried_twice(functions, store):
    """The same configuration many times in a sample, under retry."""
    sample = Sample(count=200, ranges={"x": {"integer": [0, 1]}})
    study = Study(name="s", task="sweep_functions:inverse", sample=sample)
    done = run_study(study, store, retry=True)
    assert (done.done, done.failed, done.skipped) == (1, 1, 198) and sorted(functions.CALLS) == [(0, 0), (1, 0)]
    assert store.counts() == {"done": 1, "failed": 1}


def test_two_studies_share_rows(functions, store):
    run_study(inverse("first", range(1, 20)), store)
    functions.CALLS.clear()
    done = run_study(inverse("second", range(10, 30)), store)
    assert (done.done, done.skipped, len(functions.CALLS)) == (10, 10, 10)
    assert [len(store.rows(name)) for name in ("first", "second", None, "third")] == [19, 20, 29, 0]
    assert {row.config["x"] for row in store.rows("second")} == set(range(10, 30))
    assert store.counts("second") == {"done": 20, "failed": 0}


def test_a_vectorised_form_gets_batches_and_its_errors_are_single(functions, store):
    study = Study(name="s", task="sweep_functions:square", grid={"x": {"integer": [0, 99]}})
    done = run_study(study, store)
    assert (done.done, done.failed) == (98, 2) and max(functions.CALLS) > 8
    rows = {row.config["x"]: row for row in store.rows()}
    assert rows[3].error == "ValueError: three" and rows[7].error == "RuntimeError: seven"
    assert all(row.record == {"y": x**2} for x, row in rows.items() if x not in (3, 7))


def test_a_vectorised_form_that_loses_records_fails(functions, store):
    study = Study(name="s", task="sweep_functions:short", grid={"x": {"integer": [0, 9]}})
    assert run_study(study, store).failed == 10
    assert "one record or error per configuration" in store.rows()[0].error


@pytest.mark.parametrize(
    ("x", "error"),
    [("list", "TypeError: a task must return names"), ("set", "TypeError"), ("none", "TypeError"),
     ("exit", "SystemExit: 3"), ("missing", "KeyError: 'missing'"), ("base", "GeneratorExit: not an Exception"),
     ("half", "ValueError: half a character: \\ud800"), ("mute", "Mute"), ("broken", "RuntimeError: broken"),
     ("long", "ValueError: a record has at most 1000000 characters as JSON, but this one has 1000009")],
)  # fmt: skip
def test_what_cannot_be_stored_is_a_failed_row(functions, store, x, error):
    done = run_study(Study(name="s", task="sweep_functions:odd_values", fixed={"x": x}), store)
    assert done.failed == 1 and store.rows()[0].error.startswith(error)


def test_numbers_that_are_not_finite_are_none(functions, store):
    assert run_study(Study(name="s", task="sweep_functions:odd_values", fixed={"x": "nan"}), store).complete
    assert store.rows()[0].record == {"a": None}


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_thread_each_and_afterwards_as_before(functions, store, monkeypatch, jobs):
    from threadpoolctl import threadpool_info, threadpool_limits

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with threadpool_limits(2):
        before = [pool["num_threads"] for pool in threadpool_info()]
        run_study(Study(name="s", task="sweep_functions:threads", grid={"x": [1, 2]}), store, jobs=jobs)
        assert [pool["num_threads"] for pool in threadpool_info()] == before and max(before) == 2
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert [row.record for row in store.rows()] == [{"most": 1, "variable": "1", "thread": True}] * 2


def test_pytorch_has_one_thread_and_then_as_many_as_before(functions, store):
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        run_study(Study(name="s", task="sweep_functions:torch_threads", fixed={"x": 1}), store)
        assert torch.get_num_threads() == 2 and store.rows()[0].record == {"threads": 1}
    finally:
        torch.set_num_threads(before)


def test_threads_that_a_task_finds_are_one(functions, monkeypatch):
    """In a worker that nobody has prepared, and in each of its threads."""
    from threadpoolctl import threadpool_limits

    def compute():
        with threadpool_limits(2):
            found.append(work.compute_batch("sweep_functions:threads", 0, [{"x": 1}]).outcomes[0].record)

    found = []
    with work.threads_restored():
        for _ in range(2):
            thread = threading.Thread(target=compute)
            thread.start()
            thread.join()
    assert [record["most"] for record in found] == [1, 1]


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_task_does_to_its_process_stays_there(functions, store, jobs, tmp_path, capfd):
    """Its words are none of the results, its folder is left again, and the child that it forks does not go on."""
    study = Study(name="s", task="sweep_functions:rude", grid={"x": ["fork", "print", "chdir", "plain"]})
    here, process = os.getcwd(), os.getpid()
    done = run_study(study, store, jobs=jobs)
    assert os.getpid() == process and os.getcwd() == here
    assert done.complete and len(store.rows()) == 4
    assert {row.config["x"]: row.record["folder"] for row in store.rows()} == {
        "fork": here, "print": here, "plain": here, "chdir": "/"
    }  # fmt: skip
    out, err = capfd.readouterr()
    assert out == "" and err.count("a task's words") == 1


def test_a_task_that_interrupts_itself_is_a_failed_row(functions, store):
    """In a worker; in this process nothing tells it from Ctrl-C."""
    study = Study(name="s", task="sweep_functions:rude", grid={"x": ["interrupt", "plain"]})
    done = run_study(study, store, jobs=2)
    assert (done.done, done.failed, done.first_error) == (1, 1, "KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt), ResultsStore(":memory:") as other:
        run_study(study, other)


def test_a_folder_that_is_gone(functions, store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert run_study(inverse(values=[1, 2]), store).complete


def test_rows_of_an_earlier_form_of_the_study_are_told(functions, store):
    assert run_study(inverse(values=range(1, 10)), store).others == 0
    changed = run_study(inverse(values=range(5, 12)), store, resume=True)
    assert (changed.done, changed.skipped, changed.others) == (2, 5, 4)
    assert changed.summary().splitlines()[-1] == (
        "4 more rows are stored under this name, of configurations that it has no more"
    )


def test_two_sweeps_of_a_study_do_not_go_in_step(store, monkeypatch):
    """Each draws in an order of its own: batches that are under way at once rarely overlap."""
    study = inverse(values=range(1, 1001))
    sweeps = [batches.Batches(study, store, retry=False, workers=1) for _ in range(2)]
    computed = 0
    while True:
        drawn = [next(sweep, None) for sweep in sweeps]
        if drawn == [None, None]:
            break
        for sweep, (number, batch) in ((s, d) for s, d in zip(sweeps, drawn, strict=True) if d is not None):
            computed += len(batch)
            store.put_many([NewRow(config={"task": study.task, **c}, record={}) for _, c in batch], study="inverse")
            outcomes = [work.Outcome({}, None, 0.0)] * len(batch)
            sweep.back(work.Returned(number, outcomes, len(batch) * batches.SECONDS / 10, None))
    assert store.counts("inverse")["done"] == 1000 <= computed < 1200


def test_an_interrupt_is_left_to_the_parent(functions, store):
    """Ctrl-C reaches the workers too."""
    study = Study(name="s", task="sweep_functions:interrupted", grid={"x": [1, 2, 3]})
    assert run_study(study, store, jobs=2).complete and len(store.rows()) == 3


def test_a_full_disk_is_one_sentence(functions, tmp_path):
    with ResultsStore(tmp_path / "s.sqlite") as store:
        store._db.execute("PRAGMA max_page_count = 20")
        with pytest.raises(PreconditionError, match=r"cannot be used: database or disk is full; what is stored stays"):
            run_study(inverse(values=range(1, 2000)), store)
        count = len(store.rows())
        store._db.execute("PRAGMA max_page_count = 100000")
        done = run_study(inverse(values=range(1, 2000)), store, resume=True)
        assert count > 0 and (done.done, done.skipped) == (1999 - count, count)


@pytest.mark.parametrize(("jobs", "said"), [(0, "at least 1"), (1.5, "whole"), (10**6, "per core"), (None, "real")])
def test_numbers_of_jobs(functions, store, jobs, said):
    with pytest.raises(InvalidInput, match=said):
        run_study(inverse(), store, jobs=jobs)


@pytest.mark.parametrize("missing", ["joblib", "threadpoolctl", "dask.distributed"])
def test_what_is_not_installed_is_named(functions, store, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    extra = "cluster" if missing.startswith("dask") else "sweep"
    with pytest.raises(PreconditionError, match=rf"pip install 'deep-classifier-theory\[{extra}\]'"):
        run_study(inverse(), store, scheduler="tcp://127.0.0.1:1")


def test_a_configuration_that_kills_its_process_is_found(functions, store):
    study = Study(name="s", task="sweep_functions:deadly", grid={"x": {"integer": [3, 19]}})
    done = run_study(study, store, jobs=2)
    assert (done.done, done.failed) == (16, 1)
    failed = [row for row in store.rows() if row.status == "failed"]
    assert [row.config["x"] for row in failed] == [13] and failed[0].error.startswith("WorkerDied")
    assert all(row.record == {"double": 2 * row.config["x"]} for row in store.rows() if row.status == "done")


def test_a_batch_ends_when_its_time_is_over(functions):
    """What it did not come to is drawn again, so that a kill loses seconds, not hours."""
    configs = [{"x": x, "delay": 0.03} for x in range(1, 20)]
    before, work.LIMIT = work.LIMIT, 0.05
    try:
        returned = work.compute_batch("sweep_functions:inverse", 5, configs)
    finally:
        work.LIMIT = before
    assert returned.number == 5 and 1 <= len(returned.outcomes) <= 3
    assert all(0.02 < outcome.seconds < 1 for outcome in returned.outcomes)


def test_batches_are_sized_by_their_cost(functions, store):
    drawn = batches.Batches(inverse(values=range(1, 5000)), store, retry=False, workers=2)
    sizes = []
    for seconds in (1e-3, 1e-3, 1e-3, 60, 1e-3):
        number, batch = next(drawn)
        sizes.append(len(batch))
        drawn.back(work.Returned(number, [work.Outcome({}, None, 0.0)] * len(batch), seconds, None))
    assert sizes == [1, 8, 64, 512, 4]
    assert len(next(drawn)[1]) == 32


def test_the_last_batches_are_smaller(functions, store):
    """So that no worker waits for another."""
    drawn = batches.Batches(inverse(values=range(1, 101)), store, retry=False, workers=2)
    sizes = []
    for number, batch in drawn:
        sizes.append(len(batch))
        drawn.back(work.Returned(number, [work.Outcome({}, None, 0.0)] * len(batch), 1e-3, None))
    assert sizes == [1, 8, 23, 17, 13, 10, 7, 6, 4, 3, 2, 2, 1, 1, 1, 1]


def test_what_is_under_way_is_not_sent_again(functions, store):
    sample = Sample(count=500, ranges={"x": {"integer": [1, 3]}})
    study = Study(name="s", task="sweep_functions:inverse", sample=sample)
    drawn = batches.Batches(study, store, retry=False, workers=2)
    assert sorted(batch[0][1]["x"] for _, batch in [next(drawn), next(drawn), next(drawn)]) == [1, 2, 3]
    assert next(drawn, None) is None and drawn.skipped == 497


def test_progress_counts_this_run_only(functions, store):
    run_study(inverse(values=range(1, 40)), store)
    seen = []
    run_study(inverse(values=range(0, 60)), store, resume=True, callback=seen.append)
    last = seen[-1]
    assert (last.total, last.done, last.failed, last.skipped, last.before) == (60, 20, 1, 39, 39)
    assert last.left == 0 and last.rate == 21 / last.seconds
    assert [count.done + count.failed for count in seen] == sorted({count.done + count.failed for count in seen})


def test_the_time_left_after_a_resume():
    count = Count(total=1000, done=90, failed=10, skipped=5, before=400, seconds=50.0)
    assert count.rate == 2 and count.left == 250
    assert str(count) == "105 of 1000, 10 failed, 2 per s, about 4 min left"
    assert str(Count(total=9, done=0, failed=0, skipped=9, before=9, seconds=0.0)) == "9 of 9, 0 per s"
    assert [duration(s) for s in (8, 700, 20_000)] == ["8 s", "12 min", "5.6 h"]


def sweep_in_a_process(path, name, low, high):
    code = """
import json, sys
from simulations.store import ResultsStore
from simulations.sweep import Study, run_study
path, name, low, high = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
study = Study(name=name, task="sweep_functions:inverse", fixed={"delay": 0.002}, grid={"x": {"integer": [low, high]}})
with ResultsStore(path) as store:
    print(json.dumps(run_study(study, store, resume=True).to_json()))
"""
    words = [sys.executable, "-c", code, str(path), name, str(low), str(high)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=HERE)


def test_two_sweeps_on_one_store(functions, tmp_path):
    """The same study twice and another that overlaps it, at once: the union, nothing twice, nobody fails."""
    asked = [("same", 1, 300), ("same", 1, 300), ("other", 200, 500)]
    children = [sweep_in_a_process(tmp_path / "s.sqlite", *study) for study in asked]
    summaries = [json.loads(child.communicate()[0]) for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert all(s["done"] + s["skipped"] == s["total"] and s["failed"] == 0 for s in summaries)
    with ResultsStore(tmp_path / "s.sqlite") as store:
        assert sorted(row.config["x"] for row in store.rows()) == list(range(1, 501))
        assert [len(store.rows(name)) for name in ("same", "other")] == [300, 301]
        assert all(row.record["y"] == 1 / row.config["x"] for row in store.rows())


def test_what_another_sweep_stores_meanwhile_is_skipped(functions, store, monkeypatch):
    """Another sweep of the study runs inside the first batch of this one."""
    study, inner = inverse(values=range(1, 30)), []

    def nested(x):
        if not inner:
            inner.append(None)
            inner[0] = run_study(study, store, resume=True)
        return {"y": 1 / x}

    monkeypatch.setattr(functions, "inverse", nested)
    outer = run_study(study, store)
    assert inner[0].done == 29 and (outer.done, outer.skipped) == (1, 28)
    assert len(store.rows()) == 29
