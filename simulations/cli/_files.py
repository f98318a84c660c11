"""Reading arrays that a user names, and making the folder to write in; every way this can go wrong is one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from theory._errors import InvalidInput


def read_array(path: Path, *, column: str | None = None, text: bool = False) -> np.ndarray:
    """The array in a ``.npy`` file, or a column of a ``.csv`` file (with a header where named).

    ``text`` allows a named column that is not numeric; it is then returned as strings.

    Raises
    ------
    InvalidInput : missing file, another format, a pickled object, an unknown column, a row without a value.
    """
    if not path.is_file():
        raise InvalidInput(f"no file {str(path)!r}.")
    try:
        if path.suffix == ".npy":
            array = np.load(path, allow_pickle=False)
            if not isinstance(array, np.ndarray):
                raise ValueError("it holds an archive, not an array")
            return array
        if path.suffix == ".csv":
            return _read_csv(path, column, text)
    except InvalidInput:
        raise
    except (OSError, ValueError, EOFError, MemoryError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise InvalidInput(f"cannot read {str(path)!r}: {reason}.") from None
    raise InvalidInput(f"{str(path)!r} is neither .npy nor .csv.")


def _read_csv(path: Path, column: str | None, text: bool) -> np.ndarray:
    """All of a headerless numeric file, or one named column of a file with a header."""
    if column is None:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # NumPy only warns of an empty file
            try:
                return np.loadtxt(path, delimiter=",", ndmin=1)
            except UserWarning:
                raise InvalidInput(f"{str(path)!r} holds no numbers.") from None
    import csv

    with path.open(newline="", encoding="utf-8-sig") as stream:
        try:
            rows = csv.DictReader(stream)
            if column not in (rows.fieldnames or []):
                raise InvalidInput(f"{str(path)!r} has no column {column!r}; it has {rows.fieldnames}.")
            cells = [row[column] for row in rows]
        except csv.Error as error:
            raise ValueError(str(error)) from None
    empty = next((i for i, cell in enumerate(cells) if cell is None or not cell.strip()), None)
    if empty is not None:
        raise InvalidInput(f"row {empty + 1} of {str(path)!r} has no value in column {column!r}.")
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:
        if text:
            return np.array(cells, dtype=str)
        raise


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file, by name.

    Raises
    ------
    InvalidInput : missing file, another format, a pickled object.
    """
    import zipfile
    import zlib

    if path.suffix != ".npz":
        raise InvalidInput(f"{str(path)!r} is not .npz.")
    if not path.is_file():
        raise InvalidInput(f"no file {str(path)!r}.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            if isinstance(archive, np.ndarray):
                raise ValueError("it holds a single array, not an archive")
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, MemoryError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise InvalidInput(f"cannot read {str(path)!r}: {reason}.") from None


def make_folder(path: Path) -> Path:
    """``path`` as a folder that can be written to.

    Raises
    ------
    InvalidInput : the folder cannot be made, or not be written to.
    """
    import os

    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(f"cannot make the folder {str(path)!r}: {reason}.") from None
    if not os.access(path, os.W_OK):
        raise InvalidInput(f"cannot write to the folder {str(path)!r}.")
    return path
