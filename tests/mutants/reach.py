"""Which tests reach which lines: one run of the tests of theory/ under coverage, a context for each test."""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import coverage
import pytest
from coverage import CoverageData

from tests.mutants.targets import ROOT, apart, path_of, targets

FILE = "file::"  # context of what a test file sets up for all its tests
EXAMPLES = 25
TWINS = ("peeled", "square_loss")  # rooms that tests/symbolic compares with


def profile() -> None:
    """Hypothesis: few examples, no shrinking, the same ones every time."""
    from hypothesis import Phase, settings

    phases = (Phase.explicit, Phase.generate)
    settings.register_profile(
        "mutants", deadline=None, max_examples=EXAMPLES, derandomize=True, database=None, phases=phases
    )
    os.environ["HYPOTHESIS_PROFILE"] = "mutants"


def suite(room: str) -> list[str]:
    """Tests of a room (symbolic: also of its twins' rooms) that name a target module or what it defines; doctests."""
    words = set()
    for module in targets():
        if module.split(".")[1] == room:
            tree = ast.parse(path_of(module).read_text())
            shared = module.count(".") == 1
            parts = ast.walk(tree) if shared else tree.body
            words |= {part.name for part in parts if isinstance(part, ast.FunctionDef | ast.ClassDef)}
            words |= set() if shared else {module.split(".")[-1]}
    named = re.compile(rf"\b(?:{'|'.join(sorted(words))})\b")
    if (ROOT / "theory" / f"{room}.py").exists():  # a record that all rooms share
        users = [ROOT / "tests" / f"test_{room.strip('_')}.py", *sorted((ROOT / "tests").glob("*/test_*.py"))]
        return [str(path.relative_to(ROOT)) for path in users if path.exists() and named.search(path.read_text())][:4]
    folders = [ROOT / "tests" / room] + [ROOT / "tests" / "symbolic"] * (room in TWINS)
    files = [path for folder in folders for path in sorted(folder.rglob("test_*.py")) if named.search(path.read_text())]
    return [str(path.relative_to(ROOT)) for path in files] + [f"theory/{room}"]


class Recorder:
    """A pytest plugin that names the context after the running test, and after the file for shared fixtures."""

    def __init__(self, cov: coverage.Coverage) -> None:
        self.cov, self.current = cov, ""
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    def _switch(self, context: str) -> str:
        before, self.current = self.current, context
        self.cov.switch_context(context)
        return before

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[None]:
        before = self._switch(FILE + collector.nodeid.split("::")[0])
        try:
            return (yield)
        finally:
            self._switch(before)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        _forget()
        self._switch(item.nodeid)
        start = time.process_time()  # of the processor, whatever else the machine does
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.process_time() - start

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef, request: pytest.FixtureRequest) -> Iterator[None]:
        shared = fixturedef.scope != "function"
        before = self._switch(FILE + self.current.split("::")[0]) if shared else self.current
        try:
            return (yield)
        finally:
            if shared:
                self._switch(before)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)


def _forget() -> None:
    """Empty the caches of theory/, so that a test is credited with what an earlier one computed."""
    for name, module in list(sys.modules.items()):
        if name.startswith("theory"):
            for value in list(vars(module).values()):
                if isinstance(value, functools._lru_cache_wrapper):
                    value.cache_clear()


def record(folder: Path, room: str) -> None:
    """Run the tests of a room and leave ``room.coverage`` and ``room.json`` in ``folder``."""
    profile()
    chosen = suite(room)
    source = [str(ROOT / "theory" / room) if (ROOT / "theory" / room).is_dir() else str(ROOT / "theory")]
    cov = coverage.Coverage(data_file=str(folder / f"{room}.coverage"), source=source, config_file=False)
    cov.erase()
    recorder = Recorder(cov)
    for name in [name for name in sys.modules if name.split(".")[0] == "theory"]:
        del sys.modules[name]  # so that import is seen
    cov.start()
    pytest.main(
        ["-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", *chosen], plugins=[recorder]
    )
    cov.stop()
    cov.save()
    kept = {name: round(seconds, 4) for name, seconds in recorder.seconds.items() if name not in recorder.failed}
    others = sorted(n for n in sys.modules if n.split(".")[0] not in {"theory", "tests", "simulations", "__main__"})
    text = json.dumps({"seconds": kept, "failed": sorted(recorder.failed), "modules": others}, indent=0)
    (folder / f"{room}.json").write_text(text)


@dataclass
class Reach:
    """What ``record`` found."""

    data: CoverageData
    seconds: dict[str, float]
    modules: list[str]
    new: list[str]  # test files written since, which may reach anything

    @classmethod
    def read(cls, folder: Path, room: str) -> Reach:
        """From the folder that ``record`` wrote."""
        known = json.loads((folder / f"{room}.json").read_text())
        data = CoverageData(str(folder / f"{room}.coverage"))
        data.read()
        seen = {name.split("::")[0] for name in known["seconds"]}
        new = [path for path in apart(suite, room) if path.endswith(".py") and path not in seen]
        return cls(data=data, seconds=known["seconds"], modules=known["modules"], new=new)

    def tests(self, path: Path, line: int, budget: float) -> list[str]:
        """Tests that reach a line, nearest relatives first and quick before slow, for at most ``budget`` seconds.

        A line that ran at import, or in a fixture, stands for all tests that reach the module, or of the file.
        """
        lines = self.data.contexts_by_lineno(str(path))
        at = next((lines[n] for n in range(line, max(line - 12, 0), -1) if lines.get(n)), [])
        found = {context for context in at if context in self.seconds}
        files = {context.removeprefix(FILE) for context in at if context.startswith(FILE)}
        if files or "" in at:
            found |= {context for contexts in lines.values() for context in contexts if context in self.seconds}
            found |= {name for name in self.seconds if name.split("::")[0] in files}
        stem, room = path.stem.strip("_"), path.parent.name

        def order(name: str) -> tuple[bool, bool, float]:
            file = name.split("::")[0]
            return stem not in file, f"/{room}/" not in file, self.seconds[name]

        chosen, spent = [], 0.0
        for name in sorted(found, key=order):
            if spent + self.seconds[name] <= budget or not chosen:
                chosen.append(name)
                spent += self.seconds[name]
        return chosen


if __name__ == "__main__":
    record(Path(sys.argv[1]), sys.argv[2])
