"""Results on disk: one SQLite file that holds what was computed, so that a killed run loses nothing.

``once`` keeps one record per configuration; ``add`` and ``read`` keep numbers against steps, as a monitor logs them.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from simulations._output import plain
from theory._arrays import as_count
from theory._errors import InvalidInput

PATIENCE = 30.0  # seconds to wait for another process that is writing
_TABLES = (
    "CREATE TABLE IF NOT EXISTS records (key TEXT PRIMARY KEY, config TEXT NOT NULL, record TEXT NOT NULL, "
    "version TEXT NOT NULL, seconds REAL NOT NULL, finished REAL NOT NULL)",
    "CREATE TABLE IF NOT EXISTS numbers (run TEXT NOT NULL, step INTEGER NOT NULL, name TEXT NOT NULL, value REAL, "
    "PRIMARY KEY (run, step, name)) WITHOUT ROWID",
)


class ResultsStore:
    """An SQLite file of results; several processes may use it at once.

    Parameters
    ----------
    path : the file, made where it is missing; its folder must exist. ``":memory:"`` keeps nothing.

    Raises
    ------
    InvalidInput : the file is not a database, or cannot be written.

    Examples
    --------
    >>> with ResultsStore(":memory:") as store:
    ...     first = store.once({"seed": 0}, lambda: {"loss": 0.5})
    ...     again = store.once({"seed": 0}, lambda: {"loss": 0.7})    # not computed: the configuration is there
    >>> first, again
    ({'loss': 0.5}, {'loss': 0.5})
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        try:
            self._db = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
            self._db.execute(f"PRAGMA busy_timeout = {int(1000 * PATIENCE)}")
            with self._transaction():
                for table in _TABLES:
                    self._db.execute(table)
        except sqlite3.Error as error:
            raise InvalidInput(f"{self.path!r} cannot be used as a results store: {error}.") from None

    def once(self, config: Mapping[str, Any], compute: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The record of a configuration: the stored one, or ``compute()``, stored before it is returned.

        Parameters
        ----------
        config : plain values that say all that the record depends on, the seed included.
        compute : returns plain values; numbers that are not finite come back as None.
        """
        found = self.find(config)
        if found is not None:
            return found
        began = time.perf_counter()
        record = plain(dict(compute()))
        return self.put(config, record, seconds=time.perf_counter() - began)

    def find(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """The stored record of a configuration, or None."""
        row = self._db.execute("SELECT record FROM records WHERE key = ?", (config_key(config),)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, config: Mapping[str, Any], record: Mapping[str, Any], *, seconds: float = 0.0) -> dict[str, Any]:
        """Store a record; where another process was first, its record stays and is returned."""
        from theory import __version__

        values = (config_key(config), _text(config, strict=False), _text(record), __version__, seconds, time.time())
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?, ?, ?)", values)
        found = self.find(config)
        assert found is not None
        return found

    def configs(self) -> list[dict[str, Any]]:
        """The configurations that are stored, oldest first."""
        return [json.loads(c) for (c,) in self._db.execute("SELECT config FROM records ORDER BY finished, key")]

    def add(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Keep numbers of one step of a run; a later value of the same name replaces the earlier.

        Raises
        ------
        InvalidInput : a step that is not a whole number from 0 on; a value that is not a number, or is called ``step``.
        """
        step = as_count("step", step, minimum=0)
        if "step" in values:
            raise InvalidInput("a number cannot be called 'step', which is what it is kept under.")
        try:
            rows = [(run, step, str(name), float(value)) for name, value in values.items()]
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"a results store keeps numbers by name, but: {error}.") from None
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO numbers VALUES (?, ?, ?, ?)", rows)

    def read(self, run: str) -> list[dict[str, float]]:
        """One dictionary per step, ``step`` first, steps rising; NaN is None in SQLite and NaN here."""
        rows: dict[int, dict[str, float]] = {}
        query = "SELECT step, name, value FROM numbers WHERE run = ? ORDER BY step, name"
        for step, name, value in self._db.execute(query, (run,)):
            rows.setdefault(step, {"step": step})[name] = float("nan") if value is None else value
        return list(rows.values())

    def runs(self) -> list[str]:
        """Names of the runs that have numbers."""
        return [name for (name,) in self._db.execute("SELECT DISTINCT run FROM numbers ORDER BY run")]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # IMMEDIATE: a transaction that reads first and then wants to write may be refused without waiting
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> ResultsStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        count = self._db.execute("SELECT COUNT(*) FROM records").fetchone()[0]
        return f"ResultsStore({self.path!r}, {count} records)"


def config_key(config: Mapping[str, Any]) -> str:
    """SHA-256 of a configuration, the same for any order of its keys.

    Raises
    ------
    InvalidInput : a value that JSON cannot hold.
    """
    # not strict: an infinite number is not the same choice as None
    return hashlib.sha256(_text(config, strict=False, ordered=False).encode()).hexdigest()


def _text(value: Mapping[str, Any], *, strict: bool = True, ordered: bool = True) -> str:
    """As JSON; a record keeps the order of its keys, which tables print, a key does not depend on it."""
    try:
        content = plain(dict(value), strict=strict)
        return json.dumps(content, sort_keys=not ordered, separators=(",", ":"), allow_nan=not strict)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"a results store keeps plain values only: {error}.") from None
