"""The same sweep through a Dask cluster of two worker processes: the same rows."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from simulations.store import ResultsStore
from simulations.sweep import Sample, Study, run_study
from theory import PreconditionError

pytest.importorskip("distributed")
HERE = Path(__file__).parent


def start_workers(address, folder, count, *words):
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard",
               "--death-timeout", "30", "--local-directory", str(folder), *words]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return [subprocess.Popen(command, cwd=HERE, start_new_session=True, **quiet) for _ in range(count)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler on a free port and two workers; its address."""
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
               "--no-dashboard", "--idle-timeout", "120"]  # fmt: skip
    # one death is enough to give up on a batch; Dask's own choice is four
    environment = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    scheduler = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    found = None
    while found is None:
        found = re.search(r"Scheduler at:\s+(tcp://\S+)", scheduler.stderr.readline())
    threading.Thread(target=lambda: list(scheduler.stderr), daemon=True).start()  # a full pipe would stop it
    workers = start_workers(found[1], tmp_path_factory.mktemp("dask"), 2)
    yield found[1]
    for process in workers:  # each with the process that it watches
        os.killpg(process.pid, signal.SIGKILL)
    scheduler.kill()
    for process in (*workers, scheduler):
        process.wait()


def test_the_same_rows_as_here(cluster, functions):
    sample = Sample(count=150, ranges={"E_H": {"log": [0.1, 30]}, "majority": {"integer": [2, 20]}})
    certified = Study(name="c", task="threshold", fixed={"minority": 5, "E_W": 1}, sample=sample)
    own = Study(name="o", task="sweep_functions:inverse", grid={"x": list(range(-5, 200))})
    with ResultsStore(":memory:") as here, ResultsStore(":memory:") as there:
        for study in (certified, own):
            run_study(study, here)
            done = run_study(study, there, scheduler=cluster)
            assert done.done + done.failed == len(study) and done.failed == (study is own)
        assert functions.table(here) == functions.table(there) and len(there.rows()) == 355


def test_a_worker_that_dies_is_one_row(cluster, functions):
    study = Study(name="d", task="sweep_functions:deadly", grid={"x": [11, 12, 13]})
    with ResultsStore(":memory:") as store:
        done = run_study(study, store, scheduler=cluster)
        assert (done.done, done.failed) == (2, 1) and done.first_error.startswith("WorkerDied")


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "127.0.0.1:1", "nonsense", "", "foo://a:1", "inproc://a"])
def test_a_scheduler_that_does_not_answer(functions, address):
    study = Study(name="d", task="sweep_functions:deadly", grid={"x": [11]})
    with ResultsStore(":memory:") as store, pytest.raises(PreconditionError, match="no scheduler answers at"):
        run_study(study, store, scheduler=address)
