"""Runs one input in this process and says what is wrong with the answer, if anything."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import typer.main

import simulations.cli
from tests.fuzz.files import Files
from theory._errors import NotConverged, TheoryError

LONGEST = 1200  # characters of a sentence on stderr
SECONDS = 6.0  # of the processor; an input that takes more hangs
ROOT = str(Path(__file__).parents[2])


@dataclass(frozen=True, slots=True)
class Outcome:
    """Exit code 0, 1 or 2 (of a reader: 0 read, 2 refused), and what is wrong: a short name for it, and the whole."""

    code: int
    out: str = ""
    err: str = ""
    wrong: str | None = None
    detail: str = ""


class Hangs(BaseException):
    """Raised by the alarm; no handler of ordinary exceptions catches it."""


def run_command(files: Files, words: list[str], seconds: float = SECONDS) -> Outcome:
    """``theory WORDS`` in this process, with its recipes made."""
    argv = ["theory", *files.words(words)]
    # as a terminal's: what cannot be encoded is an error on stdout
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace", write_through=True)
    code, wrong, detail = 0, None, ""
    with mock.patch.object(sys, "argv", argv), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            with _quick(), _alarm(seconds), _warnings():
                simulations.cli.main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 3
        except (Exception, Hangs) as error:
            code, wrong, detail = 3, name_of(error), traceback.format_exc()
    said, told = (stream.buffer.getvalue().decode("utf-8") for stream in (out, err))
    files.clear()
    if wrong is None:
        wrong = _wrong(words, code, said, told)
    return Outcome(code, said, told, wrong, detail or told[:2000])


def run_reader(files: Files, read: Callable[[Path], Any], recipe: str, seconds: float = SECONDS) -> Outcome:
    """A reader on the file of a recipe."""
    path = files.path(recipe)
    try:
        with _alarm(seconds), _warnings():
            read(path)
        return Outcome(0)
    except TheoryError as error:
        told = str(error)
        return Outcome(1 if isinstance(error, NotConverged) else 2, "", told, sentence_is_wrong(told), told)
    except (Exception, Hangs) as error:
        return Outcome(3, "", "", name_of(error), traceback.format_exc())
    finally:
        files.clear()


def _wrong(words: list[str], code: int, out: str, err: str) -> str | None:
    """What an answer of the command line lacks."""
    if code not in (0, 1, 2):
        return f"exit code {code}"
    if code == 0:
        if err:
            return "exit code 0 with words on stderr"
        if not out:
            return "exit code 0 without an answer"
        if "--json" in words and out.startswith(("{", "[")):
            try:
                json.loads(out, parse_constant=_refuse)
            except ValueError as error:
                return f"JSON that is not strict: {error}"
        return None
    if code == 1 and out and not err:
        return None  # an answer that says what failed
    if out:
        return f"exit code {code} with an answer"
    if err.startswith(("Usage: ", "Error: ")):  # of typer
        return None if code == 2 else f"exit code {code} for a wrong call"
    if not err.startswith("theory: ") or not err.endswith("\n"):
        return "stderr is not a sentence of theory's"
    return sentence_is_wrong(err.removeprefix("theory: ")[:-1])


def sentence_is_wrong(told: str) -> str | None:
    """What is wrong with a sentence that refuses."""
    if len(told.splitlines()) != 1 or "\x1b" in told or "\0" in told:
        return "a refusal of several lines, or with control characters"
    if len(told) > LONGEST:
        return f"a refusal of more than {LONGEST} characters"
    if not told.endswith((".", ". ]")) or "Traceback" in told:
        return "a refusal that is no sentence"
    return None


def _refuse(name: str) -> None:
    raise ValueError(name)


def name_of(error: BaseException) -> str:
    """The kind of an exception and the last line of this project that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.filename.startswith((f"{ROOT}/theory", f"{ROOT}/simulations"))]
    if not own:
        return f"{type(error).__name__} outside the project"
    return f"{type(error).__name__} at {own[-1].filename.removeprefix(ROOT + '/')}:{own[-1].lineno}"


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise ``Hangs`` after so much time of the processor, which a busy machine does not shorten."""

    def stop(number: int, frame: object) -> None:
        raise Hangs

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def _warnings() -> Iterator[None]:
    """Numerical warnings are errors; others are shown where a user would see them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


build = typer.main.get_command  # before it is replaced


@cache
def _built() -> Any:
    return build(simulations.cli.app)


@contextlib.contextmanager
def _quick() -> Iterator[None]:
    """The command line with the parts that take seconds for every input replaced.

    Parsing is built once; an experiment of ``theory validate`` reads its store and returns; figures are made but not
    drawn; ``theory sweep`` computes in this process, and the first batches only.
    """
    from matplotlib.figure import Figure

    import simulations.experiments.registry as registry
    import simulations.sweep._pool as pool
    import simulations.sweep.run as sweep

    real, computed = registry.experiment, sweep._computed

    def experiment(name: str) -> Any:
        return registry.Experiment(name, _stand_in(real(name).name), _draw)

    with (
        mock.patch("typer.main.get_command", return_value=_built()),
        mock.patch.object(registry, "experiment", experiment),
        mock.patch.object(pool, "cores", return_value=1),
        mock.patch.object(sweep, "_computed", lambda *given: itertools.islice(computed(*given), 3)),
        mock.patch.object(Figure, "savefig", lambda figure, path, **options: Path(path).touch()),
    ):
        yield


def _stand_in(name: str) -> Callable[..., Any]:
    def run(*, quick: bool, seeds: int | None, store: Any, callback: Any) -> Any:
        from simulations.bridge.agreement import compare
        from simulations.experiments.result import ExperimentResult

        record = store.once({"name": name, "quick": quick, "seeds": seeds}, lambda: {"value": float("nan")})
        agreement = compare({"a": 1.0}, {"a": 1.5}, tolerance=1.0)
        return ExperimentResult(name=name, claim="none", settings=record, agreement=agreement)

    return run


def _draw(result: Any, figure: Any) -> None:
    figure.add_subplot().plot([0, 1])


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder, so that what a command writes beside itself is thrown away with it."""
    before = Path.cwd()
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
