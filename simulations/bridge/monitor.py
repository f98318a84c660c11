"""Collapse, margins, norms and ranks along a training run, at epochs that cost little."""

from __future__ import annotations

import functools
import math
import numbers
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from simulations._torch import import_torch
from simulations.bridge._monitor_record import MonitorRecord, group_numbers
from simulations.bridge.features import last_layer_features
from theory._arrays import as_count, as_positive
from theory._errors import InvalidInput, PreconditionError

if TYPE_CHECKING:
    from torch import nn

torch = import_torch("CollapseMonitor")
__all__ = ["CollapseMonitor", "MonitorRecord", "Store"]

BUDGET = 0.04  # of the training time; the rest up to 5 % is for what a measurement costs more than the last one did


class Store(Protocol):
    """What a monitor needs of a results store."""

    def add(self, run: str, step: int, values: dict[str, float]) -> None:
        """Keep the numbers of one step of a run."""


class CollapseMonitor:
    """Looks at a model while it is trained, in any loop, and leaves it and all random states as they were.

    ``monitor.update(model, epoch)`` after each epoch is all that a loop needs; so is::

        with monitor.watch(model):
            for epoch in range(epochs):
                ...                       # one epoch of training
                monitor.step()

    As a callback ``monitor(epoch, model, ...)`` it fits ``simulations.train``; adapters for Lightning and
    TensorBoard are in ``simulations.bridge.adapters``.

    Parameters
    ----------
    loader : the samples to look at, as for ``last_layer_features``: read twice at each look, or once if they fit its
        cache.
    layer : the classifier, as there.
    every : None takes epochs 0, 1, 2, 3, 4, 6, 8, 11, 16, ... (powers of sqrt 2), each put off until the looks and a
        last one cost less than ``budget`` of the training time so far; the first and the last look are always taken.
        A whole number m takes the epochs that m divides, an iterable of epochs those: as asked, whatever they cost.
    store : has ``add(run, step, values)``, such as ``simulations.store.ResultsStore``.
    run : the name of this run in the store.
    ranks : also spectral norms, ranks and Gram defects, which need an eigenvalue problem for each weight matrix.
    budget : share of the training time, for ``every=None``.
    num_classes, device, batch_size, cache : as for ``last_layer_features``.
    clock : seconds, for tests.

    Attributes
    ----------
    records : the looks so far, a tuple.
    listeners : functions that are called with each new ``MonitorRecord``.
    seconds, training_seconds : time that the looks took, and the time since the first less that.

    Raises
    ------
    InvalidInput : a schedule or budget that is none; when it looks, the errors of ``last_layer_features`` about the
        loader or layer. Weights that diverged or features that coincide do not stop a training: the record says so.

    Notes
    -----
    The budget cannot hold in a training shorter than the first and last look divided by it.

    Examples
    --------
    >>> import torch
    >>> X, y = np.eye(4)[[0, 1, 2, 3, 0]], np.array([0, 1, 0, 1, 0])
    >>> model, monitor = torch.nn.Linear(4, 2), CollapseMonitor((X, y), every=1)
    >>> with monitor.watch(model):
    ...     records = [monitor.step() for epoch in range(2)]
    >>> [record.epoch for record in monitor.records], round(monitor.records[0].metrics.nc1_ratio, 12)
    ([0, 1, 2], 1.768421052632)
    """

    def __init__(
        self,
        loader: Any,
        *,
        layer: str | nn.Module = "auto",
        every: int | Iterable[int] | None = None,
        store: Store | None = None,
        run: str = "run",
        ranks: bool = True,
        budget: float = BUDGET,
        num_classes: int | None = None,
        device: Any = None,
        batch_size: int = 1024,
        cache: int = 2**26,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._loader, self._layer, self._store, self._run, self._ranks = loader, layer, store, run, bool(ranks)
        self._options = {"num_classes": num_classes, "device": device, "batch_size": batch_size, "cache": cache}
        self._every: int | frozenset[int] | None
        if every is None or isinstance(every, numbers.Real):
            self._every = None if every is None else as_count("every", every)
        elif isinstance(every, Iterable) and not isinstance(every, str):
            self._every = frozenset(as_count("an epoch of every", epoch, minimum=0) for epoch in every)
        else:
            raise InvalidInput(f"every must be None, a whole number or epochs, but is {every!r}.")
        self._budget = as_positive("budget", budget)
        _warm_up()
        self._clock = clock
        self._began: float | None = None
        self._next = 0
        self._watched: nn.Module | None = None
        self._epoch = 0
        self.seconds = 0.0
        self.records: tuple[MonitorRecord, ...] = ()
        self.listeners: list[Callable[[MonitorRecord], None]] = []

    @property
    def training_seconds(self) -> float:
        """Time since the first look began, less the looks."""
        return 0.0 if self._began is None else self._clock() - self._began - self.seconds

    def update(self, model: nn.Module, epoch: int) -> MonitorRecord | None:
        """Look at ``model`` if ``epoch`` is due (epochs done so far, 0 before the first); the record, or None.

        Raises
        ------
        InvalidInput : ``epoch`` is not a whole number from 0 on; errors about the loader or layer.
        """
        self._epoch = as_count("epoch", epoch, minimum=0)
        return self.look(model, self._epoch) if self._is_due(self._epoch) else None

    def look(self, model: nn.Module, epoch: int) -> MonitorRecord:
        """Look at ``model`` whether or not the epoch is due."""
        self._epoch = as_count("epoch", epoch, minimum=0)
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()  # so that training that is still running is not counted as ours
        start = self._clock()
        if self._began is None:
            self._began = start
        fields = self._measured(model)
        end = self._clock()
        trained = start - self._began - self.seconds
        record = MonitorRecord(epoch=self._epoch, seconds=end - start, training_seconds=trained, **fields)
        self.records = (*self.records, record)
        self._next = _after(self._epoch)
        if self._store is not None:
            self._store.add(self._run, self._epoch, record.numbers())
        for listener in self.listeners:
            listener(record)
        self.seconds += self._clock() - start
        return record

    def finish(self, model: nn.Module) -> MonitorRecord | None:
        """Look at the last epoch that was reported, unless it was looked at already."""
        done = self.records and self.records[-1].epoch == self._epoch
        return None if done else self.look(model, self._epoch)

    @contextmanager
    def watch(self, model: nn.Module, *, epoch: int = 0) -> Iterator[CollapseMonitor]:
        """A context in which ``step()`` ends an epoch; ``epoch`` is how many were done before.

        The last epoch is looked at on the way out, unless by an error.
        """
        self._watched = model
        try:
            self.update(model, epoch)
            yield self
            self.finish(model)
        finally:
            self._watched = None

    def step(self) -> MonitorRecord | None:
        """End an epoch of the watched model; the record, or None where the epoch is not due.

        Raises
        ------
        PreconditionError : outside ``watch``.
        """
        if self._watched is None:
            raise PreconditionError("step needs a watched model: call it inside `with monitor.watch(model):`.")
        return self.update(self._watched, self._epoch + 1)

    def __call__(self, epoch: int, model: nn.Module, *_: object) -> None:
        """``update`` with the arguments of a training callback."""
        self.update(model, epoch)

    def table(self, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Arrays over the looks: ``epoch`` and the named numbers, or all; NaN where a look has none.

        Raises
        ------
        InvalidInput : a name that no record has.
        """
        rows = [record.numbers() for record in self.records]
        known = list(dict.fromkeys(name for row in rows for name in row))
        wrong = [name for name in names or () if name not in known]
        if wrong:
            raise InvalidInput(f"the records have no number {wrong[0]!r}; they have {', '.join(known) or 'none'}.")
        epochs = np.array([record.epoch for record in self.records], dtype=np.int64)
        columns = {name: np.array([row.get(name, math.nan) for row in rows]) for name in names or known}
        return {"epoch": epochs, **columns}

    def to_json(self) -> dict[str, object]:
        """Return the records and times as plain numbers, strings and lists."""
        return {
            "run": self._run,
            "seconds": self.seconds,
            "training_seconds": self.training_seconds,
            "records": [record.to_json() for record in self.records],
        }

    def __repr__(self) -> str:
        return f"CollapseMonitor({len(self.records)} records, {self.seconds:.3g} s of {self.training_seconds:.3g} s)"

    def _is_due(self, epoch: int) -> bool:
        if isinstance(self._every, int):
            return epoch % self._every == 0
        if self._every is not None:
            return epoch in self._every
        if not self.records:
            return True
        # this look and the last one, which is taken anyway
        ahead = 2 * self.records[-1].seconds
        return epoch >= self._next and self.seconds + ahead <= self._budget * self.training_seconds

    def _measured(self, model: nn.Module) -> dict[str, Any]:
        """Fields of the record; a model that cannot be measured is noted, since its training goes on."""
        try:
            last = last_layer_features(model, self._loader, self._layer, ranks=self._ranks, **self._options)
            notes = last.notes
        except PreconditionError as error:
            last, notes = None, (str(error),)
        names = ("error", "cross_entropy", "min_margin", "mean_margin", "normalised_margin", "rho")
        values = {name: getattr(last, name, None) for name in names}
        return {
            "layer": None if last is None else last.layer,
            "metrics": None if last is None else last.metrics,
            **{name: math.nan if value is None else value for name, value in values.items()},
            "homogeneous": None if last is None else last.homogeneous,
            **group_numbers(last),
            "layers": () if last is None else last.layers,
            "notes": notes,
        }


@functools.cache
def _warm_up() -> None:
    """A look at a toy, once per process: libraries that load on first use are not billed to the first look."""
    layers = (torch.nn.utils.skip_init(torch.nn.Linear, 2, 2, bias=False) for _ in range(2))
    toy = torch.nn.Sequential(*layers)
    with torch.no_grad():
        for layer in toy:
            layer.weight.copy_(torch.eye(2))
    last_layer_features(toy, (np.eye(2), np.arange(2)), ranks=True)


def _after(epoch: int) -> int:
    """The first of 0, 1, 2, 3, 4, 6, 8, 11, 16, ..., the rounded powers of sqrt 2, beyond ``epoch``."""
    if epoch < 1:
        return epoch + 1
    power = math.floor(2 * math.log2(epoch))
    return next(n for j in range(power, power + 4) if (n := round(2 ** (j / 2))) > epoch)
