"""A sweep: every configuration of a study computed once, stored as it comes, and gone on with after any end."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from simulations._progress import Count, duration
from simulations._revision import provenance
from simulations.store import NewRow, ResultsStore
from simulations.sweep._batches import Batches, Config
from simulations.sweep._load import check_parameters, load_task
from simulations.sweep._pool import Pool, open_pool
from simulations.sweep._work import Outcome, Returned
from simulations.sweep.study import Study
from theory._arrays import as_count
from theory._errors import InvalidInput, PreconditionError

DIED = "WorkerDied: the process ended while it computed this alone (a crash, or not enough memory)"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSummary:
    """What a sweep did.

    ``done`` and ``failed`` were computed now; ``skipped`` were in the store, ``failed_before`` of them as failures.
    ``first_error`` is one of the failures of now. ``seconds`` is the time that passed. ``others``: rows that the store
    has under this name beyond the configurations of the study, at least; an earlier form of the study had them.
    """

    study: str
    total: int
    done: int
    failed: int
    skipped: int
    failed_before: int
    others: int
    seconds: float
    first_error: str | None = None

    @property
    def complete(self) -> bool:
        """Every configuration has its record."""
        return not self.failed and not self.failed_before

    def summary(self) -> str:
        """One or two lines."""
        skipped = f", {self.skipped} were in the store" if self.skipped else ""
        lines = [f"{self.study}: {self.done} of {self.total} computed in {duration(self.seconds)}{skipped}"]
        if self.failed:
            lines.append(f"{self.failed} failed, such as: {self.first_error}")
        if self.failed_before:
            lines.append(f"{self.failed_before} had failed before; --retry computes them again")
        if self.others:
            lines.append(f"{self.others} more rows are stored under this name, of configurations that it has no more")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "complete": self.complete}


def run_study(
    study: Study, store: ResultsStore, *, jobs: int = 1, scheduler: str | None = None, resume: bool = False,
    retry: bool = False, callback: Callable[[Count], Any] | None = None,
) -> SweepSummary:  # fmt: skip
    """Compute every configuration of a study that the store does not have, and store each.

    A configuration that fails is a row with its error, and the sweep goes on. Work goes out in batches of about half a
    second, and each is stored in one transaction when it comes: whatever ends the sweep, what was stored stays. The
    key of a row is the task with the parameters, so that studies share what they have in common, and the store's record
    is taken whichever revision of the package computed it. Several sweeps may write one store at once; each draws
    configurations in an order of its own, so that those of one study compute little twice, and the first record stays.

    Records do not depend on ``jobs``, on the batches or on the cluster: BLAS, OpenMP and PyTorch have one thread, and
    seeds are parameters. (Other processors, and other versions of NumPy or SciPy, can differ in last bits.)

    Parameters
    ----------
    study : which task, over which configurations.
    store : where the rows go; this process alone writes it.
    jobs : processes of this machine. With 1 the work is done in this process, and a crash of the task is its end;
        with more, a configuration whose process dies is found out and is a failed row.
    scheduler : address of a Dask scheduler such as ``"tcp://10.0.0.1:8786"``, instead of ``jobs``. Its workers need
        this package and, for ``module:function``, that module; one thread each is best (``dask worker --nthreads 1``),
        as batches wait for each other within a process.
    resume : go on with a study that has rows in the store.
    retry : the same, and compute failed rows again.
    callback : called with a :class:`simulations._progress.Count` after every batch.

    Raises
    ------
    InvalidInput : the store has rows of this study and neither ``resume`` nor ``retry`` is given; an unknown task or
        parameter. PreconditionError : joblib or Dask is missing, the cluster does not answer, the store cannot be
        written.

    Examples
    --------
    >>> from simulations.sweep import Study
    >>> fixed = {"majority": 5, "minority": 5, "E_W": 1}
    >>> study = Study(name="gaps", task="threshold", fixed=fixed, grid={"E_H": [1, 2]})
    >>> with ResultsStore(":memory:") as store:
    ...     summary = run_study(study, store)
    ...     again = run_study(study, store, resume=True)
    >>> summary.done, again.done, again.skipped
    (2, 0, 2)
    """
    jobs = as_count("jobs", jobs)
    check_parameters(load_task(study.task), study)
    before = store.counts(study.name)
    if sum(before.values()) and not (resume or retry):
        raise InvalidInput(
            f"{store.path!r} has {sum(before.values())} rows of study {study.name!r}: resume it (--resume, in Python "
            "resume=True), or use another store."
        )
    there = before["done"] + (0 if retry else before["failed"])
    began, done, failed, first_error = time.monotonic(), 0, 0, None
    try:
        with open_pool(jobs, scheduler, len(study)) as pool:
            batches = Batches(study, store, retry=retry, workers=pool.workers)
            for returned in _computed(pool, batches, study.task):
                if returned.problem is not None:
                    raise InvalidInput(f"a worker cannot start: {returned.problem}")
                store.put_many(_rows(study, batches.sent[returned.number], returned), study=study.name)
                batches.back(returned)
                errors = [outcome.error for outcome in returned.outcomes if outcome.error is not None]
                done, failed = done + len(returned.outcomes) - len(errors), failed + len(errors)
                first_error = first_error or next(iter(errors), None)
                if callback is not None:
                    seconds = time.monotonic() - began
                    callback(Count(total=len(study), done=done, failed=failed, skipped=batches.skipped, before=there,
                                   seconds=seconds))  # fmt: skip
    except sqlite3.Error as error:
        raise PreconditionError(f"{store.path!r} cannot be used: {error}; what is stored stays.") from None
    return SweepSummary(
        study=study.name, total=len(study), done=done, failed=failed, skipped=batches.skipped,
        failed_before=batches.failed_before, others=max(0, sum(store.counts(study.name).values()) - len(study)),
        seconds=time.monotonic() - began, first_error=first_error,
    )  # fmt: skip


def _rows(study: Study, batch: list[Config], returned: Returned) -> Iterator[NewRow]:
    for (_, config), found in zip(batch, returned.outcomes, strict=False):
        yield NewRow(
            config={"task": study.task, **config}, record=found.record, error=found.error, seconds=found.seconds,
            made_by=returned.made_by,
        )  # fmt: skip


def _computed(pool: Pool, batches: Batches, name: str) -> Iterator[Returned]:
    """Results as they come; again and again, as what a worker did not come to is drawn again."""
    came = True
    while came:
        came = False
        try:
            for returned in pool.run(name, ((number, _plain(batch)) for number, batch in batches)):
                came = True
                yield returned
        except pool.deaths:
            came = True
            for batch in batches.lost():
                yield from _suspected(pool, batches, name, batch)


def _suspected(pool: Pool, batches: Batches, name: str, batch: list[Config]) -> Iterator[Returned]:
    """A batch alone, and where its worker dies its halves, down to the configuration that does it."""
    number = batches.send(batch)
    try:
        yield from pool.run(name, [(number, _plain(batch))], ahead="1")
    except pool.deaths:
        if len(batch) == 1:
            yield Returned(number, [Outcome(None, DIED, 0.0)], 0.0, provenance())
            return
        del batches.sent[number]
        yield from _suspected(pool, batches, name, batch[: len(batch) // 2])
        yield from _suspected(pool, batches, name, batch[len(batch) // 2 :])


def _plain(batch: list[Config]) -> list[dict[str, Any]]:
    return [config for _, config in batch]
