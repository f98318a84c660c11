"""Where batches are computed: processes of this machine, or the workers of a Dask cluster; both through joblib."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from simulations.sweep._load import error_text
from simulations.sweep._work import Returned, compute_batch, threads_restored
from theory._errors import PreconditionError, TheoryError

PATIENCE = 10  # seconds for a scheduler to answer, and for its first worker to join


@dataclass(frozen=True, slots=True)
class Pool:
    """``workers`` of joblib's ``backend``; ``deaths`` are the errors that say that one of them ended."""

    workers: int
    backend: Any
    deaths: tuple[type[BaseException], ...]
    own_process: bool

    def run(
        self, name: str, batches: Iterable[tuple[int, Sequence[Mapping[str, Any]]]], *, ahead: str = "2 * n_jobs"
    ) -> Iterator[Returned]:
        """What the batches of task ``name`` give, as it comes."""
        from joblib import Parallel, delayed, parallel_config  # type: ignore[import-untyped]

        calls = (delayed(compute_batch)(name, number, batch, self.own_process) for number, batch in batches)
        with parallel_config(**self.backend):
            parallel = Parallel(
                n_jobs=self.workers, return_as="generator_unordered", batch_size=1, pre_dispatch=ahead
            )
        found = parallel(calls)
        try:
            yield from found
        finally:
            with warnings.catch_warnings():
                # joblib warns of what it cancels, which is what an interrupted sweep wants
                warnings.simplefilter("ignore", UserWarning)
                found.close()


@contextmanager
def open_pool(jobs: int, scheduler: str | None) -> Iterator[Pool]:
    """Workers for as long as the block lasts.

    Raises
    ------
    PreconditionError : joblib or Dask is missing, the scheduler does not answer, or the cluster is lost.
    """
    try:
        import joblib.externals.loky.process_executor as loky  # type: ignore[import-untyped]
        import threadpoolctl  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        raise PreconditionError("a sweep needs joblib: pip install 'deep-classifier-theory[sweep]'.") from None
    if scheduler is not None:
        with _cluster(scheduler) as pool:
            yield pool
    elif jobs == 1:
        with threads_restored():
            yield Pool(1, {"backend": "sequential"}, (), own_process=False)
    else:
        backend = {"backend": "loky", "inner_max_num_threads": 1}
        yield Pool(jobs, backend, (loky.TerminatedWorkerError, loky.BrokenProcessPool), own_process=True)


@contextmanager
def _cluster(address: str) -> Iterator[Pool]:
    try:
        from dask.distributed import Client, KilledWorker
    except ImportError:
        raise PreconditionError("--scheduler needs Dask: pip install 'deep-classifier-theory[cluster]'.") from None
    log = logging.getLogger("distributed")
    level = log.level
    log.setLevel(logging.CRITICAL)  # one sentence says it
    try:
        try:
            client = Client(address, timeout=f"{PATIENCE}s", set_as_default=False)
        except (OSError, ValueError, TypeError, ImportError) as error:
            raise PreconditionError(f"no scheduler answers at {address!r}: {error_text(error)}.") from None
        with client:
            try:
                client.wait_for_workers(1, timeout=PATIENCE)
            except TimeoutError:
                raise PreconditionError(f"no worker has joined the scheduler at {address!r}.") from None
            backend = {"backend": _backend(client)}
            yield Pool(sum(client.ncores().values()), backend, (KilledWorker,), own_process=False)
    except (KeyboardInterrupt, TheoryError):
        raise
    except Exception as error:  # whatever a lost connection raises here and there
        raise PreconditionError(
            f"the cluster at {address!r} is lost ({error_text(error)}); what is stored stays, and --resume goes on."
        ) from None
    finally:
        log.setLevel(level)


def _backend(client: Any) -> Any:
    """Joblib's Dask backend, which by itself waits for ever for a batch whose worker ended."""
    from joblib._dask import DaskDistributedBackend  # type: ignore[import-untyped]

    class Backend(DaskDistributedBackend):
        def submit(self, func: Any, callback: Any = None) -> Any:
            future = super().submit(func, callback)
            future.add_done_callback(lambda done: callback(done.exception()) if done.exception() else None)
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, BaseException):
                raise out
            return super().retrieve_result_callback(out)

    return Backend(client=client)
