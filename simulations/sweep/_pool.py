"""Where batches are computed: processes of this machine, or the workers of a Dask cluster; both through joblib."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sqlite3
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from simulations.sweep._load import error_text
from simulations.sweep._work import Returned, compute_batch, threads_restored
from theory._errors import InvalidInput, PreconditionError, TheoryError

MOST_PER_CORE = 8  # processes
PATIENCE = 10  # seconds for a scheduler to answer, and for its first worker to join


@dataclass(frozen=True, slots=True)
class Pool:
    """``workers`` of joblib's ``backend``; ``deaths`` are the errors that say that one of them ended."""

    workers: int
    backend: Any
    deaths: tuple[type[BaseException], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def run(
        self, name: str, batches: Iterable[tuple[int, Sequence[Mapping[str, Any]]]], *, ahead: str = "2 * n_jobs"
    ) -> Iterator[Returned]:
        """What the batches of task ``name`` give, as it comes."""
        from joblib import Parallel, delayed, parallel_config  # type: ignore[import-untyped]

        calls = (delayed(compute_batch)(name, number, batch) for number, batch in batches)
        threads = {"inner_max_num_threads": 1} if self.backend == "loky" else {}
        with parallel_config(self.backend, **threads):
            parallel = Parallel(
                n_jobs=self.workers, return_as="generator_unordered", batch_size=1, pre_dispatch=ahead, **self.options
            )
        found = parallel(calls)
        try:
            for returned in found:  # noqa: UP028 - "yield from" would close it before what follows
                yield returned
        finally:
            with warnings.catch_warnings():
                # joblib warns of what it cancels, which is what an interrupted sweep wants
                warnings.simplefilter("ignore", UserWarning)
                found.close()


@contextmanager
def open_pool(jobs: int, scheduler: str | None, configurations: int) -> Iterator[Pool]:
    """Workers for as long as the block lasts, not many more than there are configurations.

    Raises
    ------
    InvalidInput : more than eight jobs per core. PreconditionError : joblib or Dask is missing, the scheduler does
        not answer, or the cluster is lost.
    """
    most = MOST_PER_CORE * cores()
    if jobs > most:
        raise InvalidInput(f"jobs must be at most {most} on this machine, {MOST_PER_CORE} per core, but is {jobs}.")
    import joblib.externals.loky.process_executor as loky  # type: ignore[import-untyped]

    if scheduler is not None:
        with _cluster(scheduler) as pool:
            yield pool
    elif jobs == 1:
        with threads_restored():
            yield Pool(1, "sequential")
    else:
        # joblib keeps its workers for the next call with equal options, but they know the modules of before
        options = {"initializer": _belong_to_parent, "initargs": (os.getpid(), time.monotonic())}
        wanted = min(jobs, max(2, configurations))  # with 1, joblib would compute in this process
        yield Pool(wanted, "loky", (loky.TerminatedWorkerError, loky.BrokenProcessPool), options)


def cores() -> int:
    """Cores that this process may use.

    Raises
    ------
    PreconditionError : joblib, or threadpoolctl, is missing.
    """
    try:
        import joblib
        import threadpoolctl  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        raise PreconditionError("a sweep needs joblib: pip install 'deep-classifier-theory[sweep]'.") from None
    return joblib.cpu_count()


def _belong_to_parent(parent: int, _began: float) -> None:
    """Leave Ctrl-C, which reaches every process of a terminal, to the parent; and end when it has been killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _cluster(address: str) -> Iterator[Pool]:
    try:
        from dask.distributed import Client, KilledWorker
        from distributed.comm import get_address_host_port
    except ImportError:
        raise PreconditionError("--scheduler needs Dask: pip install 'deep-classifier-theory[cluster]'.") from None
    with _silent_log():
        try:
            # a client that finds nobody leaves threads behind, which then complain
            socket.create_connection(get_address_host_port(address), timeout=PATIENCE).close()
            client = Client(address, timeout=f"{PATIENCE}s", set_as_default=False)
        except (OSError, ValueError, TypeError, ImportError, OverflowError, NotImplementedError) as error:
            raise PreconditionError(f"no scheduler answers at {address!r}: {error_text(error)}.") from None
        try:
            with client:
                client.wait_for_workers(1, timeout=PATIENCE)
                backend = _backend(client)
                yield Pool(backend.effective_n_jobs(), backend, (KilledWorker,))
        except (KeyboardInterrupt, TheoryError, sqlite3.Error):
            raise
        except Exception as error:  # whatever a lost connection raises here and there
            raise PreconditionError(
                f"the cluster at {address!r} has no workers or is lost ({error_text(error)}); what is stored stays."
            ) from None


@contextmanager
def _silent_log() -> Iterator[None]:
    """Dask's log has a handler per module; what matters in it becomes one sentence."""
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    levels = [log.level for log in loggers]
    for log in loggers:
        log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.setLevel(level)


def _backend(client: Any) -> Any:
    """Joblib's Dask backend.

    By itself it waits for ever for a batch whose worker ended, and with one worker computes in the calling process.
    """
    from joblib._dask import DaskDistributedBackend  # type: ignore[import-untyped]

    class Backend(DaskDistributedBackend):
        def effective_n_jobs(self, n_jobs: int = 1) -> int:
            return max(2, super().effective_n_jobs(n_jobs))

        def submit(self, func: Any, callback: Any = None) -> Any:
            future = super().submit(func, callback)
            future.add_done_callback(lambda done: callback(done.exception()) if done.exception() else None)
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, BaseException):
                raise out
            return super().retrieve_result_callback(out)

    return Backend(client=client)
