"""A table as a file: .csv, or .parquet with what computed it in its metadata."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theory._errors import InvalidInput, PreconditionError, TheoryError

if TYPE_CHECKING:
    from simulations.sweep._table_store import StudyContents
    from simulations.sweep.table import Table

FORMATS = ("csv", "parquet")
METADATA = b"deep-classifier-theory"
STORED = (Path(__file__).parent / "records", Path(__file__).parents[2] / "docs" / "studies")  # installed, checkout


def export(
    table: Table, path: Path, form: str, contents: Sequence[StudyContents] = (), query: str | None = None
) -> None:
    """Write the table, whole or not at all.

    A .csv holds numbers to the last bit, and nothing where there is no number; a .parquet is compressed without loss
    and carries ``contents`` (versions, revisions, counts) and the ``query`` that found the rows as JSON under the
    metadata key ``deep-classifier-theory``.

    Raises
    ------
    InvalidInput : an unknown format, a path that cannot be written. PreconditionError : pyarrow is missing.
    """
    if form not in FORMATS:
        raise InvalidInput(f"--export must be csv or parquet, but is {form[:40]!r}.")
    about = {"parameters": table.parameters, "query": query, "contents": [one.to_json() for one in contents]}
    write_whole(path, lambda partial: _csv(table, partial) if form == "csv" else _parquet(table, partial, about))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file beside ``path``, and put it there; on failure nothing is left.

    Raises
    ------
    InvalidInput : it cannot be written there.
    """
    try:
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            write(partial)
            partial.replace(path)
        finally:
            with suppress(OSError):
                partial.unlink()
    except TheoryError:  # a ValueError too
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(f"cannot write {str(path)!r}: {reason}.") from None


def read_export(path: Path) -> Table:
    """The table in a .parquet that ``export`` wrote.

    Raises
    ------
    InvalidInput : no such file, or not one of these. PreconditionError : pyarrow is missing.
    """
    from simulations.sweep.table import Table, as_column

    _, reader = _arrow()
    try:
        found = reader.read_table(path)
        about = json.loads(found.schema.metadata[METADATA])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InvalidInput(f"cannot read {str(path)!r} as an exported table: {reason}.") from None
    columns = {name: as_column(found.column(name).to_pylist()) for name in found.column_names}
    return Table(columns=columns, parameters=tuple(about["parameters"]))


def stored_table(name: str) -> Table:
    """The table of a shipped study as it was computed once, with the columns that ``docs/studies/README.md`` lists.

    Examples
    --------
    >>> len(stored_table("bounds-scaling"))
    400

    Raises
    ------
    InvalidInput : no shipped study has this name. PreconditionError : its table was not installed, or pyarrow is
        missing.
    """
    from simulations.sweep.study import shipped_studies

    known = shipped_studies()
    if name not in known:
        raise InvalidInput(f"no shipped study is called {str(name)[:60]!r}; there are {', '.join(known)}.")
    path = next((folder / f"{name}.parquet" for folder in STORED if (folder / f"{name}.parquet").is_file()), None)
    if path is None:
        raise PreconditionError(f"the table of {name} is not here: `theory sweep {name}` computes its rows.")
    return read_export(path)


def _csv(table: Table, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(table.names)
        writer.writerows(row.values() for row in table.rows())


def _parquet(table: Table, path: Path, about: dict[str, Any]) -> None:
    arrow, writer = _arrow()
    columns = {
        # numbers that are not there are null, as in the store
        name: arrow.array(column, from_pandas=True) if column.dtype.kind in "ifb" else arrow.array(_texts(column))
        for name, column in table.columns.items()
    }
    made = arrow.table(columns).replace_schema_metadata({METADATA: json.dumps(about)})
    floats = [name for name, column in table.columns.items() if column.dtype.kind == "f"]
    others = [name for name in table.names if name not in floats]
    writer.write_table(made, path, compression="zstd", compression_level=19, use_dictionary=others or False,
                       use_byte_stream_split=floats or False)  # fmt: skip


def _texts(column: Any) -> list[Any]:
    """A column of one type for Arrow: where values mix, or are whole numbers beyond 64 bits, all as text."""
    values = column.tolist()
    kinds = {type(value) for value in values if value is not None}
    whole = kinds == {int} and max(abs(value) for value in values if value is not None) >= 2**63
    return values if len(kinds) < 2 and not whole else [None if value is None else str(value) for value in values]


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ImportError:
        raise PreconditionError("parquet needs pyarrow: pip install 'deep-classifier-theory[sweep]'.") from None
    return pyarrow, parquet
