"""Judge a mutant: a forked process imports the changed module and runs the tests that reach the line."""

from __future__ import annotations

import gc
import importlib
import importlib.machinery
import importlib.util
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec

import pytest

from tests.mutants.operators import Mutant
from tests.mutants.reach import Reach, profile
from tests.mutants.targets import ROOT, path_of

BUDGET = 6.0  # seconds of tests for one mutant
AGAIN = 20.0  # the same when survivors are judged anew
FIRST = 1.0  # seconds of tests before the rest are collected
QUICK = [word for name in ("cacheprovider", "xdist", "unraisableexception") for word in ("-p", f"no:{name}")]
KILLED, SURVIVED, TIMEOUT = "killed", "survived", "timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a mutant; ``by`` is the first test that failed, ``tests`` how many were to run."""

    outcome: str
    by: str
    tests: int
    seconds: float


def warm_up(reach: Reach) -> None:
    """Import what the tests import, except this project, so that a fork starts with it."""
    profile()
    for name in reach.modules:
        if name.split(".")[0] not in {"pytest", "_pytest", "conftest"}:
            with suppress(Exception):
                importlib.import_module(name)
    gc.freeze()


def judge(mutant: Mutant, reach: Reach, budget: float = BUDGET) -> Verdict:
    """Run the tests that reach the mutant until one fails."""
    tests = reach.tests(path_of(mutant.module), mutant.line, budget)
    if not tests and not reach.new:
        return Verdict(outcome=SURVIVED, by="no test reaches the line", tests=0, seconds=0.0)
    allowed = int(10 + 2 * sum(reach.seconds[name] for name in tests))
    start, (read, write) = time.monotonic(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _child(mutant, tests, reach, allowed, write)
    os.close(write)
    status = _wait(pid, start + 6 * allowed)
    with os.fdopen(read) as pipe:
        by = pipe.read()
    seconds = round(time.monotonic() - start, 2)
    if os.WIFSIGNALED(status):
        timed = os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
        return Verdict(outcome=TIMEOUT if timed else KILLED, by=by or f"signal {os.WTERMSIG(status)}",
                       tests=len(tests), seconds=seconds)  # fmt: skip
    outcome = SURVIVED if os.WEXITSTATUS(status) == 0 else KILLED
    return Verdict(outcome=outcome, by=by, tests=len(tests), seconds=seconds)


def _wait(pid: int, until: float) -> int:
    while time.monotonic() < until:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


class _Only:
    """Keeps the chosen tests, in their order, and tells the first that fails."""

    def __init__(self, tests: Sequence[str], write: int) -> None:
        self.rank, self.write = {name: n for n, name in enumerate(tests)}, write

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        ranked = [(self._rank(item), n) for n, item in enumerate(items)]
        items[:] = [items[n] for rank, n in sorted(ranked) if rank >= 0]

    def _rank(self, item: pytest.Item) -> int:
        return self.rank.get(item.nodeid, self.rank.get(item.nodeid.split("::")[0], -1))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            os.write(self.write, report.nodeid.encode()[:300])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            os.write(self.write, f"collection of {report.nodeid}".encode()[:300])


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, text: str) -> None:
        super().__init__(name, path)
        self.text = text

    def get_code(self, fullname: str) -> object:
        return compile(self.text, self.path, "exec", dont_inherit=True)


class _Finder:
    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != self.mutant.module:
            return None
        file = str(path_of(name))
        return importlib.util.spec_from_file_location(name, file, loader=_Loader(name, file, self.mutant.source))


def _child(mutant: Mutant, tests: list[str], reach: Reach, allowed: int, write: int) -> None:
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (allowed, allowed + 5))
        resource.setrlimit(resource.RLIMIT_AS, (2**35, 2**35))
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.chdir(ROOT)
        sys.meta_path.insert(0, _Finder(mutant))  # type: ignore[arg-type]
        try:
            importlib.import_module(mutant.module)
        except Exception:
            os.write(write, b"import")
            os._exit(1)
        spent, first = 0.0, 0
        while first < len(tests) and spent < FIRST:
            spent += reach.seconds[tests[first]]
            first += 1
        for part in (reach.new, tests[:first], tests[first:]):
            if part:
                files = list(dict.fromkeys(name.split("::")[0] for name in part))
                options = ["-q", "-x", "--no-header", "--tb=no", "--assert=plain", *QUICK]
                code = int(pytest.main([*options, *files], plugins=[_Only(part, write)]))
                if code:
                    break
    finally:
        os._exit(code)
