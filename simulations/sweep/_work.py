"""What a worker does: the records of one batch of configurations, errors included, in one thread."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from typing import Any

from simulations._output import plain
from simulations._revision import Provenance, provenance
from simulations.sweep._load import current_folder, error_text, load_task
from theory._errors import InvalidInput

LIMIT = 2.0  # seconds after which a worker hands back what it has, so that a kill loses little
LONGEST = 10**6  # characters of a record as JSON
_ALONE = threading.RLock()  # a Dask worker may have several threads, and what they compute shares global state
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_here = threading.local()  # of each thread, as OpenMP's number of threads is: the modules when it was last set


@dataclass(frozen=True, slots=True)
class Outcome:
    """A record, or an error text."""

    record: dict[str, Any] | None
    error: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Returned:
    """The outcomes of the first configurations of batch ``number``; ``problem`` where not even one could be tried."""

    number: int
    outcomes: list[Outcome]
    seconds: float
    made_by: Provenance
    problem: str | None = None


def compute_batch(name: str, number: int, configs: Sequence[Mapping[str, Any]]) -> Returned:
    """Compute until all are done or ``LIMIT`` seconds are over; never raises for what a task raises.

    What a task prints goes to stderr: on stdout it would stand among the JSON of ``--json``.
    """
    with _ALONE, redirect_stdout(sys.stderr):
        began = time.perf_counter()
        one_thread()
        try:
            task = load_task(name)
        except InvalidInput as error:
            return Returned(number, [], 0.0, provenance(), str(error))
        if task.batch is None:
            outcomes = list(_one_by_one(task.compute, configs, began))
        else:
            outcomes = _vectorised(task.batch, configs)
        return Returned(number, outcomes, time.perf_counter() - began, provenance())


def _one_by_one(compute: Callable[..., Any], configs: Sequence[Mapping[str, Any]], began: float) -> Iterator[Outcome]:
    then = began
    for config in configs:
        found = _tried(compute, **config)
        now = time.perf_counter()
        yield _outcome(found, now - then)
        if now - began > LIMIT:
            return
        then = now


def _vectorised(batch: Callable[..., Any], configs: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    began = time.perf_counter()
    found = _tried(batch, [dict(config) for config in configs])
    if isinstance(found, BaseException) and len(configs) > 1:  # one configuration must not fail the others
        return [outcome for config in configs for outcome in _vectorised(batch, [config])]
    seconds = (time.perf_counter() - began) / len(configs)
    if not isinstance(found, BaseException) and (not isinstance(found, list | tuple) or len(found) != len(configs)):
        found = TypeError("the vectorised form returned something else than one record or error per configuration")
    if isinstance(found, BaseException):
        found = [found] * len(configs)
    return [_outcome(one, seconds) for one in found]


def _tried(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    folder, process = current_folder(), os.getpid()
    try:
        return call(*args, **kwargs)
    except KeyboardInterrupt as error:
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            raise  # a person's; a worker gets none, so there it is the task's own
        return error
    except BaseException as error:
        return error
    finally:
        if os.getpid() != process:  # the task forked: its child must not go on with this sweep, and its store
            os._exit(1)
        if folder is not None and current_folder() != folder:
            with suppress(OSError):  # it may be gone
                os.chdir(folder)


def _outcome(found: Any, seconds: float) -> Outcome:
    if isinstance(found, BaseException):
        return Outcome(None, error_text(found), seconds)
    try:
        if not isinstance(found, Mapping):
            raise TypeError(f"a task must return names with values, but returned {type(found).__name__}")
        record = plain(dict(found))
        length = len(json.dumps(record, allow_nan=False))
        if length > LONGEST:
            raise ValueError(f"a record has at most {LONGEST} characters as JSON, but this one has {length}")
    except Exception as error:  # a value's own methods run here
        return Outcome(None, error_text(error), seconds)
    return Outcome(record, None, seconds)


def one_thread() -> None:
    """One thread of BLAS and OpenMP, and so of PyTorch, in what this process has loaded and in what it will.

    The order of a sum depends on the number of threads, and so do the last bits of a record.
    """
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    if getattr(_here, "modules", 0) != len(sys.modules):
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        threadpool_limits(1)
        _here.modules = len(sys.modules)


@contextmanager
def threads_restored() -> Iterator[None]:
    """Afterwards as many threads as before, in what was loaded before."""
    from threadpoolctl import threadpool_limits

    before = {name: os.environ.get(name) for name in _THREADS}
    try:
        with threadpool_limits(1):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _here.modules = 0
