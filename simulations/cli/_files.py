"""Reading arrays that a user names, and making the folder to write in; every way this can go wrong is one sentence."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from theory._errors import InvalidInput, TheoryError

LONGEST_REASON = 300  # characters of another library's sentence


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever is raised while ``path`` is read, as one sentence.

    Raises
    ------
    InvalidInput : no such file, or not an ordinary one; an exception of whoever reads it.
    """
    if not os.path.isfile(path):  # False also for a name that no file can have, unlike Path's
        raise InvalidInput(f"no file {short(path)}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's and Python's, beside the one sentence
            yield
    except TheoryError:
        raise
    except Exception as error:  # the libraries that read a damaged file let almost anything through
        reason = " ".join(str(error).split())[:LONGEST_REASON].rstrip(".") or type(error).__name__
        raise InvalidInput(f"cannot read {short(path)}: {reason}.") from None


def short(path: Path) -> str:
    """The name of a file in quotes, its beginning left out where it is long."""
    text = str(path)
    return repr(text if len(text) <= LONGEST_REASON else "..." + text[-LONGEST_REASON:])


def read_array(path: Path, *, column: str | None = None, text: bool = False) -> np.ndarray:
    """The array in a ``.npy`` file, or a column of a ``.csv`` file (with a header where named).

    ``text`` allows a named column that is not numeric; it is then returned as strings.

    Raises
    ------
    InvalidInput : missing file, another format, a pickled object, an unknown column, a row without a value.
    """
    with reading(path):
        if path.suffix == ".npy":
            array = np.load(path, allow_pickle=False)
            if not isinstance(array, np.ndarray):
                raise ValueError("it holds an archive, not an array")
            return array
        if path.suffix == ".csv":
            return _read_csv(path, column, text)
        raise InvalidInput(f"{short(path)} is neither .npy nor .csv.")


def _read_csv(path: Path, column: str | None, text: bool) -> np.ndarray:
    """All of a headerless numeric file, or one named column of a file with a header."""
    if column is None:
        table = np.loadtxt(path, delimiter=",", ndmin=1, encoding="utf-8-sig")
        if not table.size:
            raise InvalidInput(f"{short(path)} holds no numbers.")
        return table
    import csv

    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = csv.DictReader(stream)
        names = rows.fieldnames or []
        if column not in names:
            has = ", ".join(names)[:LONGEST_REASON]
            raise InvalidInput(f"{short(path)} has no column {column[:40]!r}; it has {has!r}.")
        cells = [row[column] for row in rows]
    empty = next((i for i, cell in enumerate(cells) if cell is None or not cell.strip()), None)
    if empty is not None:
        raise InvalidInput(f"row {empty + 1} of {short(path)} has no value in column {column!r}.")
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
    InvalidInput : missing file, another format, a pickled object, arrays that this machine's memory cannot hold.
    """
    if path.suffix != ".npz":
        raise InvalidInput(f"{short(path)} is not .npz.")
    with reading(path):
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ValueError("it holds a single array, not an archive")
        with archive:
            size, memory = sum(part.file_size for part in archive.zip.infolist()), _memory()
            if size > memory:  # a small file can say so, and filling it would end the process
                raise ValueError(f"its arrays take {size / 2**30:.0f} GiB, and this machine has {memory / 2**30:.0f}")
            return {name: archive[name] for name in archive.files}


def _memory() -> float:
    """Bytes of this machine; infinite where it does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


def make_folder(path: Path) -> Path:
    """``path`` as a folder that can be written to.

    Raises
    ------
    InvalidInput : the folder cannot be made, or not be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(f"cannot make the folder {short(path)}: {reason}.") from None
    if not os.access(path, os.W_OK):
        raise InvalidInput(f"cannot write to the folder {short(path)}.")
    return path
