"""Reading arrays that a user names; every way this can go wrong is one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from theory._errors import InvalidInput


def read_array(path: Path, *, column: str | None = None) -> np.ndarray:
    """The array in a ``.npy`` file, or a column of a ``.csv`` file (with a header where named).

    Raises
    ------
    InvalidInput : missing file, another format, a pickled object, an unknown column.
    """
    if not path.is_file():
        raise InvalidInput(f"no file {str(path)!r}.")
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        if path.suffix == ".csv":
            return _read_csv(path, column)
    except InvalidInput:
        raise
    except (OSError, ValueError, EOFError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise InvalidInput(f"cannot read {str(path)!r}: {reason}.") from None
    raise InvalidInput(f"{str(path)!r} is neither .npy nor .csv.")


def _read_csv(path: Path, column: str | None) -> np.ndarray:
    """All of a headerless numeric file, or one named column of a file with a header."""
    if column is None:
        return np.loadtxt(path, delimiter=",", ndmin=1)
    import csv

    with path.open(newline="") as stream:
        rows = csv.DictReader(stream)
        if column not in (rows.fieldnames or []):
            raise InvalidInput(f"{str(path)!r} has no column {column!r}; it has {rows.fieldnames}.")
        return np.array([float(row[column]) for row in rows])
