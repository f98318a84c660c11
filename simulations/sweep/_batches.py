"""The batches of a sweep: sized by what the last ones cost, without what the store has by then.

Configurations are drawn in random order, each sweep in its own: two sweeps of one study at once would else go in step
and compute nearly everything twice. The time left is better known, too, where the cost varies along the axes.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, TypeAlias

from simulations.store import ResultsStore, config_key
from simulations.sweep._work import Returned
from simulations.sweep.study import Study

SECONDS = 0.5  # wanted per batch
MOST = 4096  # configurations of a batch
MIXED = 8 * MOST  # configurations that are in memory, in random order
GROWTH = 8  # between a batch and the next, at most: the first ones measure little else than the start of a worker
Config: TypeAlias = tuple[str, dict[str, Any]]  # with its key in the store


class Batches(Iterator[tuple[int, list[Config]]]):
    """Numbered batches, until nothing is left that is neither stored nor under way.

    The backend may draw from another thread than the one that calls ``back``.
    """

    def __init__(self, study: Study, store: ResultsStore, *, retry: bool, workers: int) -> None:
        self._study, self._store, self._retry, self._workers = study, store, retry, workers
        self._configs = study.configurations()
        self._mixed: list[dict[str, Any]] = []
        self._order = random.Random()  # records do not depend on it
        self._again: deque[Config] = deque()
        self._numbers = itertools.count()
        self._lock = threading.RLock()
        self._flying: set[str] = set()
        self._failed: set[str] = set()
        self._taken, self._size = 0, 1
        self.sent: dict[int, list[Config]] = {}
        self.skipped = self.failed_before = 0

    def __next__(self) -> tuple[int, list[Config]]:
        with self._lock:
            batch = self._take(self._wanted())
            if not batch:
                raise StopIteration
            return self.send(batch), batch

    def send(self, batch: list[Config]) -> int:
        """Count a batch as under way; its number."""
        with self._lock:
            number = next(self._numbers)
            self._flying.update(key for key, _ in batch)
            self.sent[number] = batch
            return number

    def back(self, returned: Returned) -> None:
        """Count a batch as stored; what its worker did not come to is drawn again."""
        with self._lock:
            batch = self.sent.pop(returned.number)
            tried = list(zip(batch, returned.outcomes, strict=False))
            self._flying.difference_update(key for key, _ in batch)
            self._again.extend(batch[len(tried) :])
            self._failed.update(key for (key, _), outcome in tried if outcome.error is not None)
            each = max(returned.seconds / max(len(tried), 1), 1e-9)
            self._size = max(1, min(int(SECONDS / each), GROWTH * len(batch), MOST))

    def lost(self) -> list[list[Config]]:
        """The batches that were under way when their workers ended; they are under way no more."""
        with self._lock:
            batches, self.sent = list(self.sent.values()), {}
            self._flying.clear()
            return batches

    def _wanted(self) -> int:
        # towards the end smaller ones, so that no worker waits for another
        left = len(self._study) - self._taken + len(self._again)
        return max(1, min(self._size, -(-left // (2 * self._workers))))

    def _take(self, wanted: int) -> list[Config]:
        batch: dict[str, dict[str, Any]] = {}
        while len(batch) < wanted:
            missing = wanted - len(batch)
            drawn = [self._again.popleft() for _ in range(min(missing, len(self._again)))]
            drawn += [(key_of(self._study, config), config) for config in self._fresh(missing - len(drawn))]
            if not drawn:
                break
            there = self._store.statuses([key for key, _ in drawn], study=self._study.name)
            for key, config in drawn:
                status = there.get(key)
                if key in batch or key in self._flying or key in self._failed or status == "done":
                    self.skipped += 1
                elif status == "failed" and not self._retry:
                    self.skipped += 1
                    self.failed_before += 1
                else:
                    batch[key] = config
        return list(batch.items())

    def _fresh(self, most: int) -> list[dict[str, Any]]:
        if not self._mixed:
            self._mixed = list(itertools.islice(self._configs, MIXED))
            self._order.shuffle(self._mixed)
        fresh = self._mixed[-most:] if most else []
        del self._mixed[len(self._mixed) - len(fresh) :]
        self._taken += len(fresh)
        return fresh


def key_of(study: Study, config: dict[str, Any]) -> str:
    """The key of a row does not depend on the study, so that two studies share what they have in common."""
    return config_key({"task": study.task, **config})
