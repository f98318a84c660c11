"""The rows of a results store as a table: one column for each parameter and each number of the records.

>>> from simulations.store import ResultsStore
>>> with ResultsStore(":memory:") as store:
...     for width in (8, 4):
...         _ = store.put({"task": "demo", "width": width}, {"loss": 1 / width})
...     table = read_table(store)
>>> table.names, table["width"].tolist(), table["loss"].tolist()
(('task', 'width', 'loss'), [4, 8], [0.25, 0.125])
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations._output import printable
from simulations.sweep._table_store import of_study, opened, parsed, provenance_columns
from theory._errors import InvalidInput

if TYPE_CHECKING:
    from simulations.store import ResultsStore

STATUSES = ("done", "failed")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Table:
    """Columns of equal length, by name.

    Attributes
    ----------
    columns : NumPy arrays: int64, float64 (NaN where there is no number), bool, text, or objects where these mix.
    parameters : names of those columns that are parameters.
    """

    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, parameters first."""
        return tuple(self.columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name: str) -> np.ndarray:
        """The column of that name; InvalidInput where there is none."""
        if name not in self.columns:
            raise InvalidInput(f"no column is called {name!r}; there are {', '.join(self.columns) or 'none'}.")
        return self.columns[name]

    def where(self, keep: np.ndarray) -> Table:
        """The rows for which ``keep`` holds.

        Examples
        --------
        >>> table = Table(columns={"n": np.array([1, 2, 2])})
        >>> table.where(table["n"] == 2)
        Table(2 rows: n)
        """
        return Table(columns={name: column[keep] for name, column in self.columns.items()}, parameters=self.parameters)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary of plain values for each row; None where there is no number."""
        lists = [_plain_list(column) for column in self.columns.values()]
        return [dict(zip(self.columns, values, strict=True)) for values in zip(*lists, strict=True)]

    def to_json(self) -> dict[str, Any]:
        """Columns as lists of plain values."""
        columns = {name: _plain_list(column) for name, column in self.columns.items()}
        return {"parameters": list(self.parameters), "columns": columns}

    def summary(self, most: int = 40) -> str:
        """The rows as aligned text; of many, the first and the last."""
        cells = [[_shown(value) for value in _plain_list(column)] for column in self.columns.values()]
        lines, names = list(zip(*cells, strict=True)), tuple(map(one_line, self.columns))
        skipped = max(len(lines) - most, 0)
        if skipped:
            lines = [*lines[: most // 2], tuple("..." for _ in cells), *lines[len(lines) - most // 2 :]]
        right = [column.dtype.kind in "if" for column in self.columns.values()]
        widths = [max(len(word) for word in column) for column in zip(names, *lines, strict=True)]
        text = [
            "  ".join(w.rjust(n) if r else w.ljust(n) for w, n, r in zip(line, widths, right, strict=True)).rstrip()
            for line in [names, *lines]
        ]
        return "\n".join([*text, *([f"({len(self)} rows, {skipped} not shown)"] if skipped else [])])

    def __repr__(self) -> str:
        count = len(self)
        return f"Table({count} row{'' if count == 1 else 's'}: {', '.join(self.columns)})"


def read_table(store: str | Path | ResultsStore, study: str | None = None, status: str | None = "done") -> Table:
    """The rows of a store, sorted by their parameters: equal rows give the same table, whatever the order they came in.

    Columns are the parameters (``task`` first, in their order) and what the records hold; a name of both, or one of the
    store's own columns (``key, study, status, error, seconds, finished, version, revision``), is that of the parameter
    as ``parameter_NAME`` or of the record as ``record_NAME``. Lists and dictionaries are their JSON.

    Parameters
    ----------
    store : a file, which is only read, or an open store.
    study : only rows of this study, whoever computed them first.
    status : ``"done"``; ``"failed"``: parameters and ``error``; None: both, with ``status`` and ``error``.

    Raises
    ------
    InvalidInput : no results store there, no such study, an unknown status.
    """
    if status is not None and status not in STATUSES:
        raise InvalidInput(f"status must be done, failed or None, but is {status!r}.")
    with opened(store) as db:
        there = provenance_columns(db)
        where, values = of_study(db, study)
        if status is not None:
            where, values = f"{where} AND {there['status']} = :status", {**values, "status": status}
        wanted = f"config, record, {there['status']}, {there['error']}"
        found = db.execute(f"SELECT {wanted} FROM records WHERE {where} ORDER BY key", values).fetchall()
    configs, records = (parsed(row[i] for row in found) for i in (0, 1))
    named = column_names((_ordered(configs), _ordered(records)))
    columns = {
        name: [c.get(key) for c in (configs if part == 0 else records)] for name, (part, key) in named.items()
    }  # fmt: skip
    parameters = tuple(name for name, (part, _) in named.items() if part == 0)
    if status is None:
        columns["status"] = [row[2] for row in found]
    if status != "done":
        columns["error"] = [row[3] for row in found]
    order = sorted(range(len(found)), key=lambda i: [_rank(columns[name][i]) for name in parameters])
    return Table(
        columns={name: as_column([values[i] for i in order]) for name, values in columns.items()}, parameters=parameters
    )


def column_names(parts: tuple[Iterable[str], Iterable[str]]) -> dict[str, tuple[int, str]]:
    """Names of parameters and of record entries as columns, without two that differ by case only (SQL takes no heed).

    Examples
    --------
    >>> column_names((["seed", "seconds"], ["loss", "seed"]))
    {'seed': (0, 'seed'), 'parameter_seconds': (0, 'seconds'), 'loss': (1, 'loss'), 'record_seed': (1, 'seed')}
    """
    from simulations.sweep._table_store import OWN

    taken, named = {name.casefold() for name in OWN}, {}
    for part, (keys, prefix) in enumerate(zip(parts, ("parameter_", "record_"), strict=True)):
        for key in keys:
            name = key
            while name.casefold() in taken:
                name = prefix + name
            taken.add(name.casefold())
            named[name] = (part, key)
    return named


def as_column(values: list[Any]) -> np.ndarray:
    """Plain values as an array of the narrowest kind that loses nothing; None becomes NaN among numbers."""
    kinds = {type(value) for value in values}
    if kinds <= {int} and kinds and max(map(abs, values)) < 2**63:
        return np.array(values, dtype=np.int64)
    if kinds <= {int, float, type(None)} and max((abs(v) for v in values if type(v) is int), default=0) <= 2**53:
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    if kinds == {bool} or (kinds == {str} and not any(value.endswith("\0") for value in values)):  # NumPy drops these
        return np.array(values)
    column = np.empty(len(values), dtype=object)
    column[:] = [json.dumps(value) if isinstance(value, list | dict) else value for value in values]
    return column


def _ordered(dictionaries: list[dict[str, Any]]) -> list[str]:
    """Keys in the order in which they appear first, ``task`` before all."""
    keys = dict.fromkeys(key for dictionary in dictionaries for key in dictionary)
    return sorted(keys, key=lambda key: key != "task")


def _rank(value: Any) -> tuple[int, Any]:
    """Numbers before text before lists before nothing."""
    if value is None:
        return 3, 0
    if isinstance(value, int | float):
        return 0, value
    return (1, value) if isinstance(value, str) else (2, json.dumps(value))


def _plain_list(column: np.ndarray) -> list[Any]:
    values = column.tolist()
    return [None if value != value else value for value in values] if column.dtype.kind == "f" else values


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.10g}"
    return one_line(value) if isinstance(value, str) else str(value)


def one_line(text: str) -> str:
    """Text on one line, with escapes for what a terminal does not print, or obeys."""
    return printable(" ".join(text.split()))
