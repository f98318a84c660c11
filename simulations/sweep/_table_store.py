"""A results store, read only: its contents by study, and one SELECT of the user's on its rows."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theory._errors import InvalidInput

if TYPE_CHECKING:
    from simulations.store import ResultsStore
    from simulations.sweep.table import Table

PATIENCE = 30.0  # seconds to wait for a sweep that is writing
OWN = ("key", "study", "status", "error", "seconds", "finished", "version", "revision")  # columns of the store itself
OF_STUDY = "(study = :study OR key IN (SELECT key FROM shared WHERE study = :study))"
LONGEST = 10**7  # bytes of one value in a query
MOST_ROWS = 10**6  # that a query may find, or as many as the store has: SQL can ask for rows without end
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyContents:
    """What a store holds of one study (None: rows of no study).

    Attributes
    ----------
    tasks : names. done, failed : rows. seconds : of computing, summed over the done rows.
    versions : of the package and of what it stands on, in words. revisions : of the package's source.
    errors : error texts of the failed rows, each with how often, most frequent first.
    """

    study: str | None
    tasks: tuple[str, ...]
    done: int
    failed: int
    seconds: float
    versions: tuple[str, ...]
    revisions: tuple[str, ...]
    errors: tuple[tuple[str, int], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "errors": [{"error": text, "rows": count} for text, count in self.errors]}

    def summary(self, most: int = 5) -> str:
        """A few lines for people."""
        name = "rows of no study" if self.study is None else self.study
        lines = [
            f"{name}: {self.done} done, {self.failed} failed, {self.seconds:.3g} s of computing",
            f"  task      {', '.join(self.tasks) or '-'}",
            f"  versions  {'; '.join(self.versions) or 'not known'}",
            f"  revision  {', '.join(self.revisions) or 'not known'}",
        ]
        lines += [f"  failed    {count} x {text}" for text, count in self.errors[:most]]
        more = len(self.errors) - most
        return "\n".join([*lines, *([f"  failed    {more} other errors"] if more > 0 else [])])


@contextmanager
def opened(store: str | Path | ResultsStore) -> Iterator[sqlite3.Connection]:
    """A connection that only reads; that of an open store which has no file is lent.

    Raises
    ------
    InvalidInput : no such file, or not a results store.
    """
    from simulations.store import ResultsStore

    if isinstance(store, ResultsStore) and store.path == ":memory:":
        yield store._db
        return
    path = Path(store.path if isinstance(store, ResultsStore) else store)
    if not os.path.isfile(path):  # false also for a name that is too long
        raise InvalidInput(f"no results store {str(path)!r}.")
    try:
        with closing(_connected(path)) as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'records'").fetchone():
                raise InvalidInput(f"{str(path)!r} is not a results store: it has no records.")
            yield db
    except (sqlite3.Error, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())
        raise InvalidInput(f"{str(path)!r} cannot be read as a results store: {said}.") from None


def _connected(path: Path) -> sqlite3.Connection:
    where = path.resolve().as_uri()
    db = sqlite3.connect(f"{where}?mode=ro", uri=True, timeout=PATIENCE, isolation_level=None)
    try:
        db.execute("SELECT COUNT(*) FROM sqlite_master")
    except sqlite3.OperationalError:
        # a sweep that was killed while it wrote left half a transaction, which only a writer may undo
        db.close()
        with closing(sqlite3.connect(f"{where}?mode=rw", uri=True, timeout=PATIENCE)) as writer:
            writer.execute("SELECT COUNT(*) FROM sqlite_master")
        db = sqlite3.connect(f"{where}?mode=ro", uri=True, timeout=PATIENCE, isolation_level=None)
    return db


def parsed(texts: Iterable[str]) -> list[dict[str, Any]]:
    """Objects from their JSON texts, all at once for speed.

    Raises
    ------
    InvalidInput : a text that holds none, as in a damaged store.
    """
    texts = list(texts)
    try:
        found = json.loads(f"[{','.join(texts)}]")
    except (ValueError, TypeError, RecursionError):  # not JSON; no text at all; nested too deep
        found = []
    if len(found) != len(texts) or not all(isinstance(row, dict) for row in found):
        raise InvalidInput("the store holds a row that is not an object in JSON; it is damaged.")
    return found


def provenance_columns(db: sqlite3.Connection) -> dict[str, str]:
    """SQL for the store's own columns; the first stores had only some."""
    there = {row[1] for row in db.execute("PRAGMA table_info(records)")}
    missing = {"status": "'done'"}
    return {name: name if name in there else missing.get(name, "NULL") for name in (*OWN, "versions")}


def of_study(db: sqlite3.Connection, study: str | None) -> tuple[str, dict[str, Any]]:
    """A condition on rows with its values.

    Raises
    ------
    InvalidInput : no row of that study.
    """
    if study is None:
        return "1", {}
    if study not in studies(db):
        known = ", ".join(name for name in studies(db) if name is not None)
        raise InvalidInput(f"the store has no study {study!r}; it has {known or 'none'}.")
    return OF_STUDY, {"study": study}


def studies(db: sqlite3.Connection) -> list[str | None]:
    """Names, and None at the end where rows belong to no study."""
    if provenance_columns(db)["study"] == "NULL":
        return [None]
    names = {name for (name,) in db.execute("SELECT DISTINCT study FROM records UNION SELECT study FROM shared")}
    return [*sorted(names - {None}), *([None] if None in names else [])]


def contents(store: str | Path | ResultsStore) -> tuple[StudyContents, ...]:
    """What the store holds, study by study; a row that two studies share counts in both."""
    with opened(store) as db:
        there = provenance_columns(db)
        return tuple(_contents(db, there, study) for study in studies(db))


def _contents(db: sqlite3.Connection, there: dict[str, str], study: str | None) -> StudyContents:
    where = f"{there['study']} IS NULL" if study is None else OF_STUDY
    values = {} if study is None else {"study": study}

    def distinct(column: str) -> list[Any]:
        found = db.execute(f"SELECT DISTINCT {column} FROM records WHERE {where} ORDER BY 1", values)
        return [value for (value,) in found if value is not None]

    done, failed, seconds = db.execute(
        f"SELECT TOTAL({there['status']} = 'done'), TOTAL({there['status']} = 'failed'), "
        f"TOTAL(CASE {there['status']} WHEN 'done' THEN seconds END) FROM records WHERE {where}", values
    ).fetchone()  # fmt: skip
    errors = Counter(dict(db.execute(
        f"SELECT {there['error']}, COUNT(*) FROM records WHERE {where} AND {there['status']} = 'failed' GROUP BY 1",
        values,
    )))  # fmt: skip
    tasks = distinct("json_extract(config, '$.task')")
    known = parsed(distinct(there["versions"]))
    words = [", ".join(f"{name} {number}" for name, number in found.items()) for found in known]
    return StudyContents(
        study=study, tasks=tuple(str(task) for task in tasks), done=int(done), failed=int(failed), seconds=seconds,
        versions=tuple(words or (f"deep-classifier-theory {version}" for version in distinct("version"))),
        revisions=tuple(distinct(there["revision"])),
        errors=tuple(sorted(errors.items(), key=lambda item: (-item[1], str(item[0])))),
    )  # fmt: skip


def query(store: str | Path | ResultsStore, sql: str, study: str | None = None) -> Table:
    """The result of one SELECT on a view called ``rows``: the columns of ``read_table`` and the store's own.

    Nothing else is allowed, and nothing can be written: the file is open for reading, and SQLite refuses whatever is
    not a SELECT. Names with double quotes or null characters in them are left out of the view.

    Examples
    --------
    >>> from simulations.store import ResultsStore
    >>> with ResultsStore(":memory:") as store:
    ...     _ = store.put({"width": 8}, {"loss": 0.5})
    ...     query(store, "SELECT width, 2 * loss AS double FROM rows").rows()
    [{'width': 8, 'double': 1.0}]

    Raises
    ------
    InvalidInput : not one SELECT, or one that SQLite refuses, in its words; more rows than a million and than the
        store has; no such study.
    """
    from simulations.sweep.table import Table, as_column

    with opened(store) as db:
        _make_view(db, study)
        most = max(MOST_ROWS, db.execute("SELECT COUNT(*) FROM records").fetchone()[0])
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
        db.set_progress_handler(lambda: 0, 100_000)  # lets Ctrl-C through
        db.execute("PRAGMA query_only = 1")
        db.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY)
        try:
            cursor = db.execute(sql)
            if cursor.description is None:
                raise InvalidInput("a query must be one SELECT, such as SELECT * FROM rows LIMIT 5.")
            found, given = cursor.fetchmany(most + 1), [column[0] for column in cursor.description]
            if len(found) > most:
                raise InvalidInput(f"the query finds more than {most} rows: give it a LIMIT.")
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError) as error:
            if isinstance(error, InvalidInput):
                raise
            hint = "; only SELECT is allowed" if "not authorized" in str(error) or "prohibited" in str(error) else ""
            raise InvalidInput(f"the query cannot be run: {str(error).rstrip('.')}{hint}.") from None
        finally:
            db.set_authorizer(None)
            db.execute("PRAGMA query_only = 0")
            db.execute("DROP VIEW temp.rows")
    names: list[str] = []
    for name in given:
        while name in names:
            name += "_"
        names.append(name)
    values = [[cell.hex() if isinstance(cell, bytes) else cell for cell in row] for row in found]
    return Table(columns={name: as_column([row[i] for row in values]) for i, name in enumerate(names)})


def _make_view(db: sqlite3.Connection, study: str | None) -> None:
    """``temp.rows``: it lives beside the file, which stays as it is."""
    from simulations.sweep.table import column_names

    there = provenance_columns(db)
    where, values = of_study(db, study)
    first = "GROUP BY each.key ORDER BY MIN(records.rowid), MIN(each.id)"
    keys = [
        [key for (key,) in db.execute(f"SELECT each.key FROM records, json_each({part}) AS each {first}")]
        for part in ("config", "record")
    ]
    if not all(isinstance(key, str) for part in keys for key in part):
        raise InvalidInput("the store holds a row that is not an object in JSON; it is damaged.")
    chosen = [f"{there[name]} AS {name}" for name in OWN]
    for name, (part, key) in column_names((keys[0], keys[1])).items():
        if '"' in name or "\0" in name:
            continue
        path = _literal(f"$.{json.dumps(key)}")
        chosen.append(f'json_extract({("config", "record")[part]}, {path}) AS "{name}"')
    where = where.replace(":study", _literal(values.get("study", "")))  # a view takes no parameters
    db.execute(f"CREATE TEMP VIEW rows AS SELECT {', '.join(chosen)} FROM main.records WHERE {where}")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
