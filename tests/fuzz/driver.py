"""``python -m tests.fuzz --inputs 100000 --seed 0 [--only NAME,...] [--jobs 2]``: many inputs, and a table.

``python -m tests.fuzz --repeat '["peel", "--counts", "9x2"]'`` runs one input, as a finding is printed, and shows all.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
import traceback
from pathlib import Path
from random import Random
from typing import Any

MEMORY = 6 * 2**30  # bytes of address space of a process that runs inputs
SILENCE = 60.0  # seconds after which an input is taken to hang where no alarm reaches
SLOW = 5.0  # seconds; an input that takes more is printed
PERIOD = 30.0  # seconds between two lines on how far it is
READING = 0.6  # of all inputs go to the readers


def main() -> int:
    """Run what the arguments say; returns 1 where there are findings."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="names of commands or readers, separated by semicolons")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--repeat", help="one input as JSON: [command, word, ...] or [reader, file]")
    parser.add_argument("--out", type=Path, help="a file for the table in Markdown")
    given = parser.parse_args()
    if given.repeat:
        return repeat(json.loads(given.repeat))
    began = time.perf_counter()
    plan = shares(given.inputs, None if given.only is None else given.only.split(";"))
    context = multiprocessing.get_context("spawn")
    rows = {name: [0, 0, 0, 0, 0.0, 0.0] for name in plan}  # inputs, exit codes 0, 1, 2, seconds, slowest
    found: dict[tuple[str, str], list[Any]] = {}
    said = began
    with tempfile.TemporaryDirectory() as folder:
        workers = [Worker(context, plan, given.seed, job, given.jobs, Path(folder)) for job in range(given.jobs)]
        while any([worker.look(rows, found) for worker in workers]):  # a list: each one is looked at
            time.sleep(0.2)
            if time.perf_counter() - said > PERIOD:
                said = time.perf_counter()
                done, spent = (sum(row[k] for row in rows.values()) for k in (0, 4))
                print(f"{done} of {sum(plan.values())} inputs, {spent:.0f} s in them, {said - began:.0f} s", flush=True)
    text, spent = table(rows, found), time.perf_counter() - began
    print(f"\n{text}\n\n{sum(row[0] for row in rows.values())} inputs, {spent:.0f} s, {len(found)} findings")
    for (name, wrong), (times, words, detail) in sorted(found.items()):
        print(f"\n{name}: {wrong} ({times} times)\n  python -m tests.fuzz --repeat {_shell(words)}\n  {_tail(detail)}")
    if given.out is not None:
        given.out.write_text(text + "\n")
    return 1 if found else 0


def shares(inputs: int, only: list[str] | None) -> dict[str, int]:
    """How many inputs each reader and each command gets."""
    from tests.fuzz.generate import commands
    from tests.fuzz.hints import SHARE
    from tests.fuzz.readers import readers

    weights = {
        name: READING * reader.share / sum(r.share for r in readers().values()) for name, reader in readers().items()
    }
    total = sum(SHARE.get(name, 1.0) for name in commands())
    weights |= {name: (1 - READING) * SHARE.get(name, 1.0) / total for name in commands()}
    if only is not None:
        weights = {name: weights[name] for name in only}
    whole = sum(weights.values())
    return {name: max(1, round(inputs * weight / whole)) for name, weight in weights.items()}


class Worker:
    """A process that runs every n-th input; started again behind an input that ends it or that it does not leave."""

    def __init__(self, context: Any, plan: dict[str, int], seed: int, job: int, jobs: int, folder: Path) -> None:
        self.context, self.plan, self.seed, self.job, self.jobs, self.folder = context, plan, seed, job, jobs, folder
        self.place = (0, job)
        self.start()

    def start(self) -> None:
        """From ``self.place`` on."""
        self.pipe, other = self.context.Pipe(duplex=False)
        folder = tempfile.mkdtemp(dir=self.folder)
        given = (other, self.plan, self.seed, self.place, self.jobs, folder)
        self.process = self.context.Process(target=work, args=given)
        self.process.start()
        other.close()
        self.heard, self.done, self.current = time.monotonic(), False, None

    def look(self, rows: dict[str, list[Any]], found: dict[tuple[str, str], list[Any]]) -> bool:
        """Take in what was done; whether there is more to come."""
        ended = False
        try:
            while self.pipe.poll():
                self._take(self.pipe.recv(), rows, found)
        except EOFError:
            ended = True
        if self.done:
            self.process.kill()  # what is left are threads of libraries
            self.process.join()
            return False
        silent = time.monotonic() - self.heard > SILENCE
        if silent:
            self.process.kill()
        if silent or ended:
            self.process.join()
            if self.current is None:
                raise RuntimeError(f"a process of the fuzzer ended before its first input ({self.process.exitcode}).")
            name, words, hung = self.current
            if not hung:
                wrong = "no end" if silent else f"the process ended with {self.process.exitcode}"
                self._find(name, wrong, words, "", found)
            place, number = self.place
            self.place = (place, number + self.jobs)
            self.start()
        return True

    def _take(self, message: Any, rows: dict[str, list[Any]], found: dict[tuple[str, str], list[Any]]) -> None:
        self.heard = time.monotonic()
        if message[0] == "begin":
            _, name, self.place, words = message
            self.current = (name, words, False)
        elif message[0] == "end":
            _, name, code, seconds, wrong, words, detail = message
            row = rows[name]
            row[0] += 1
            if code in (0, 1, 2):
                row[1 + code] += 1
            row[4] += seconds
            row[5] = max(row[5], seconds)
            if seconds > SLOW:
                print(f"{name}: {seconds:.1f} s\n  {_shell(words)[:600]}", flush=True)
            if wrong is not None:
                self._find(name, wrong, words, detail, found)
            self.current = (name, words, True)
        else:
            self.done = True

    def _find(
        self, name: str, wrong: str, words: list[str], detail: str, found: dict[tuple[str, str], list[Any]]
    ) -> None:
        known = found.setdefault((name, wrong), [0, words, detail])
        known[0] += 1
        if known[0] == 1:
            print(f"{name}: {wrong}\n  {_shell(words)[:600]}", flush=True)
        if len(json.dumps(words)) < len(json.dumps(known[1])):
            known[1:] = [words, detail]


def work(pipe: Any, plan: dict[str, int], seed: int, place: tuple[int, int], jobs: int, folder: str) -> None:
    """Run the inputs from ``place`` on; each is told before and after. One that hangs is the last of its process."""
    _guard()
    from tests.fuzz.check import Outcome
    from tests.fuzz.files import Files

    os.mkdir(here := Path(folder) / "here")
    os.chdir(here)
    files, noise, names = Files(Path(folder)), _noise(Path(folder)), list(plan)
    for k in range(place[0], len(names)):
        name = names[k]
        for number in range(place[1] if k == place[0] else place[1] % jobs, plan[name], jobs):
            words = make(name, Random(f"{seed} {name} {number}"))
            pipe.send(("begin", name, (k, number), words))
            began = time.perf_counter()
            try:
                outcome = run(files, words)
            except Exception as error:  # the fuzzer's own mistake, which is not to end the run
                outcome = Outcome(3, wrong=f"the fuzzer: {type(error).__name__}", detail=traceback.format_exc())
            seconds, wrong = time.perf_counter() - began, outcome.wrong
            if os.fstat(noise).st_size:
                wrong = wrong or "words on the process's own stderr or stdout"
                os.ftruncate(noise, 0)
            pipe.send(("end", name, outcome.code, seconds, wrong, words, outcome.detail if wrong else ""))
            if wrong is not None and wrong.startswith("Hangs"):
                os._exit(0)  # where it was stopped, locks may be held
    pipe.send(("done",))


def _guard() -> None:
    """Little memory and one thread."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _noise(folder: Path) -> int:
    """A file in the place of this process's stdout and stderr: what libraries write past Python is a finding."""
    noise = os.open(folder / "noise", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(noise, stream)
    return noise


def make(name: str, rng: Random) -> list[str]:
    """One input of a command or a reader."""
    from tests.fuzz.generate import command_line
    from tests.fuzz.readers import readers

    return [name, readers()[name].recipe(rng)] if name in readers() else command_line(rng, name)


def run(files: Any, words: list[str]) -> Any:
    """The outcome of one input."""
    from tests.fuzz.check import run_command, run_reader
    from tests.fuzz.readers import readers

    known = readers().get(words[0])
    return run_command(files, words) if known is None else run_reader(files, known.read, words[1])


def repeat(words: list[str]) -> int:
    """Run one input and print all that is known of it."""
    _guard()
    from tests.fuzz.check import inside
    from tests.fuzz.files import Files

    with tempfile.TemporaryDirectory() as folder, inside(Path(folder) / "here"):
        began = time.perf_counter()
        outcome = run(Files(Path(folder)), words)
    print(f"exit code {outcome.code}, {time.perf_counter() - began:.2f} s\n{outcome.out}{outcome.err}")
    if outcome.wrong is not None:
        print(f"wrong: {outcome.wrong}\n{outcome.detail}")
    return 0 if outcome.wrong is None else 1


def table(rows: dict[str, list[Any]], found: dict[tuple[str, str], list[Any]]) -> str:
    """In Markdown: one line for each reader and each command."""
    lines = [
        "| what | inputs | exit 0 | exit 1 | exit 2 | seconds | slowest | findings |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, (inputs, zero, one, two, seconds, slowest) in rows.items():
        findings = sum(known == name for known, _ in found)
        lines.append(f"| {name} | {inputs} | {zero} | {one} | {two} | {seconds:.1f} | {slowest:.2f} | {findings} |")
    sums = [sum(row[k] for row in rows.values()) for k in range(5)]
    slowest = max(row[5] for row in rows.values())
    lines.append(
        f"| all | {sums[0]} | {sums[1]} | {sums[2]} | {sums[3]} | {sums[4]:.1f} | {slowest:.2f} | {len(found)} |"
    )
    return "\n".join(lines)


def _shell(words: list[str]) -> str:
    import shlex

    return shlex.quote(json.dumps(words))


def _tail(detail: str) -> str:
    lines = [line for line in detail.strip().splitlines() if line.strip()]
    return "\n  ".join(line[:300] for line in lines[-6:])
