"""Results on disk: one SQLite file that holds what was computed, so that a killed run loses nothing.

``once`` keeps one record per configuration, ``put_many`` a batch of them, failures included; ``add`` and ``read`` keep
numbers against steps, as a monitor logs them.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from simulations._output import plain
from simulations._revision import Provenance, provenance
from theory._arrays import as_count
from theory._errors import InvalidInput

PATIENCE = 30.0  # seconds to wait for another process that is writing
_TABLES = (
    "CREATE TABLE IF NOT EXISTS records (key TEXT PRIMARY KEY, config TEXT NOT NULL, record TEXT NOT NULL, "
    "version TEXT NOT NULL, seconds REAL NOT NULL, finished REAL NOT NULL)",
    "CREATE TABLE IF NOT EXISTS numbers (run TEXT NOT NULL, step INTEGER NOT NULL, name TEXT NOT NULL, value REAL, "
    "PRIMARY KEY (run, step, name)) WITHOUT ROWID",
    # rows of a study that another study, or none, had computed before
    "CREATE TABLE IF NOT EXISTS shared (study TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (study, key)) "
    "WITHOUT ROWID",
)
_ADDED = {  # columns that the first stores did not have
    "status": "TEXT NOT NULL DEFAULT 'done'", "error": "TEXT", "study": "TEXT", "seed": "INTEGER", "revision": "TEXT",
    "versions": "TEXT",
}  # fmt: skip
_COLUMNS = (
    "key", "config", "record", "version", "seconds", "finished", "status", "error", "study", "seed", "revision",
    "versions",
)  # fmt: skip
# a row that is done stays; one that failed gives way, and stays in the study that asked for it first
_UPSERT = (
    f"INSERT INTO records ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) ON CONFLICT (key) "
    f"DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in _COLUMNS if c not in ('key', 'config', 'study'))} "
    "WHERE records.status = 'failed'"
)
_SHARE = "INSERT OR IGNORE INTO shared SELECT :study, key FROM records WHERE key = :key AND study IS NOT :study"
_OF_STUDY = "(study = :study OR key IN (SELECT key FROM shared WHERE study = :study))"
_CHUNK = 500  # values in one statement
_ENCODERS = {  # made once: json.dumps would make one per row
    (strict, ordered): json.JSONEncoder(sort_keys=not ordered, separators=(",", ":"), allow_nan=not strict)
    for strict in (True, False)
    for ordered in (True, False)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRow:
    """What was found for a configuration: a record or, where it failed, an error text.

    ``made_by`` says which code computed it (default: this process).
    """

    config: Mapping[str, Any]
    record: Mapping[str, Any] | None = None
    error: str | None = None
    seconds: float = 0.0
    made_by: Provenance | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRow:
    """A row of the store.

    ``status`` is ``"done"`` or ``"failed"`` (then ``error`` says why, and the record is empty); ``study`` is the study
    that computed it first; ``seed`` is the configuration's, where it has one; ``revision`` is the commit of the
    package's source, where known; ``seconds`` is what it cost, ``finished`` when it was stored (Unix time).
    """

    key: str
    config: dict[str, Any]
    record: dict[str, Any]
    version: str
    seconds: float
    finished: float
    status: str
    error: str | None
    study: str | None
    seed: int | None
    revision: str | None
    versions: dict[str, str]

    def __repr__(self) -> str:
        return f"StoredRow({self.key[:8]}, {self.status}, {len(self.config)} parameters, study={self.study!r})"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class ResultsStore:
    """An SQLite file of results; several processes, and several threads of each, may use it at once.

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
        self._lock = threading.RLock()
        if os.path.exists(self.path) and not os.path.isfile(self.path):  # SQLite waits for a pipe for ever
            raise InvalidInput(f"{self.path!r} cannot be used as a results store: it is not a file.")
        try:
            self._db = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
            self._db.execute(f"PRAGMA busy_timeout = {int(1000 * PATIENCE)}")
            with self._transaction():
                for table in _TABLES:
                    self._db.execute(table)
                there = {row[1] for row in self._db.execute("PRAGMA table_info(records)")}
                for name, kind in _ADDED.items():
                    if name not in there:
                        self._db.execute(f"ALTER TABLE records ADD COLUMN {name} {kind}")
        except (sqlite3.Error, ValueError) as error:  # a path can hold what no file name may
            raise InvalidInput(f"{self.path!r} cannot be used as a results store: {_said(error)}.") from None

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
        """The stored record of a configuration, or None where it is not there or failed."""
        found = self._read("SELECT record FROM records WHERE key = ? AND status = 'done'", (config_key(config),))
        return _parsed(found[0][0]) if found else None

    def put(self, config: Mapping[str, Any], record: Mapping[str, Any], *, seconds: float = 0.0) -> dict[str, Any]:
        """Store a record; where another process was first, its record stays and is returned."""
        self.put_many([NewRow(config=config, record=record, seconds=seconds)])
        found = self.find(config)
        assert found is not None
        return found

    def put_many(self, rows: Iterable[NewRow], *, study: str | None = None) -> None:
        """Store rows in one transaction, all or none.

        A record that is there stays as it is; a failed row gives way to what is new.

        Examples
        --------
        >>> with ResultsStore(":memory:") as store:
        ...     store.put_many([NewRow(config={"x": 0}, error="ZeroDivisionError: division by zero")], study="inverses")
        ...     store.put_many([NewRow(config={"x": x}, record={"y": 1 / x}) for x in (1, 2)], study="inverses")
        ...     [(row.config["x"], row.status, row.record) for row in store.rows("inverses")]
        [(0, 'failed', {}), (1, 'done', {'y': 1.0}), (2, 'done', {'y': 0.5})]

        Raises
        ------
        InvalidInput : a row with both a record and an error, or neither; values that JSON cannot hold.
        """
        now = time.time()
        values = [self._values(row, study, now) for row in rows]
        with self._transaction():
            self._db.executemany(_UPSERT, values)
            if study is not None:
                self._db.executemany(_SHARE, ({"study": study, "key": row[0]} for row in values))

    @staticmethod
    def _values(row: NewRow, study: str | None, now: float) -> tuple[Any, ...]:
        if (row.record is None) == (row.error is None):
            raise InvalidInput("a row has either a record or an error.")
        made_by = provenance() if row.made_by is None else row.made_by
        seed = row.config.get("seed")
        seed = seed if isinstance(seed, int) and not isinstance(seed, bool) and abs(seed) < 2**63 else None
        return (
            config_key(row.config), _text(row.config, strict=False), _text(row.record or {}), made_by.version,
            row.seconds, now, "done" if row.error is None else "failed", row.error, study, seed, made_by.revision,
            made_by.versions,
        )  # fmt: skip

    def statuses(self, keys: Sequence[str], *, study: str | None = None) -> dict[str, str]:
        """``"done"`` or ``"failed"`` for those keys (of :func:`config_key`) that are stored.

        With ``study``, they count as rows of that study from now on, whoever computed them.
        """
        found: dict[str, str] = {}
        others: list[tuple[str, str]] = []
        for start in range(0, len(keys), _CHUNK):
            part = tuple(keys[start : start + _CHUNK])
            query = f"SELECT key, status, study FROM records WHERE key IN ({', '.join('?' * len(part))})"
            for key, status, owner in self._read(query, part):
                found[key] = status
                if study is not None and owner != study:
                    others.append((study, key))
        if others:
            with self._transaction():
                self._db.executemany("INSERT OR IGNORE INTO shared VALUES (?, ?)", others)
        return found

    def counts(self, study: str | None = None) -> dict[str, int]:
        """How many rows are done and how many failed, of one study or of all."""
        where, values = ("", {}) if study is None else (f"WHERE {_OF_STUDY}", {"study": study})
        found = dict(self._read(f"SELECT status, COUNT(*) FROM records {where} GROUP BY status", values))
        return {"done": found.get("done", 0), "failed": found.get("failed", 0)}

    def rows(self, study: str | None = None) -> list[StoredRow]:
        """The rows of one study, or all of them, oldest first."""
        where, values = ("", {}) if study is None else (f"WHERE {_OF_STUDY}", {"study": study})
        query = f"SELECT {', '.join(_COLUMNS)} FROM records {where} ORDER BY finished, rowid"
        return [_stored(row) for row in self._read(query, values)]

    def configs(self) -> list[dict[str, Any]]:
        """The configurations whose records are stored, oldest first."""
        return [
            _parsed(config)
            for (config,) in self._read("SELECT config FROM records WHERE status = 'done' ORDER BY finished, key")
        ]

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
        for step, name, value in self._read(query, (run,)):
            rows.setdefault(step, {"step": step})[name] = float("nan") if value is None else value
        return list(rows.values())

    def runs(self) -> list[str]:
        """Names of the runs that have numbers."""
        return [name for (name,) in self._read("SELECT DISTINCT run FROM numbers ORDER BY run")]

    def _read(self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        with self._lock:
            try:
                return self._db.execute(query, values).fetchall()
            except (sqlite3.Error, UnicodeDecodeError) as error:  # a damaged page is found when it is read
                raise InvalidInput(f"{self.path!r} cannot be read: {_said(error)}.") from None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            # IMMEDIATE: a transaction that reads first and then wants to write may be refused without waiting
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk may have ended it already
                    self._db.execute("ROLLBACK")
                raise

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
        return f"ResultsStore({self.path!r}, {self._read('SELECT COUNT(*) FROM records')[0][0]} records)"


def _stored(row: tuple[Any, ...]) -> StoredRow:
    known = dict(zip(_COLUMNS, row, strict=True))
    versions = known["versions"]
    known |= {"config": _parsed(known["config"]), "record": _parsed(known["record"]),
              "versions": {} if versions is None else _parsed(versions)}  # fmt: skip
    return StoredRow(**known)


def _said(error: Exception) -> str:
    """Of a damaged file SQLite repeats whatever bytes it finds."""
    return "".join(c if c.isprintable() else " " for c in str(error))[:300]


def _parsed(text: Any) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidInput("the store holds a row that is not JSON; it is damaged.")
    return found


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
        return _ENCODERS[strict, ordered].encode(plain(dict(value), strict=strict))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"a results store keeps plain values only: {error}.") from None
