"""Reading the data of ``theory flow``: inputs and labels from one .csv or .npz file."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from simulations.cli._files import LONGEST_REASON, read_archive, reading, short
from theory._errors import InvalidInput

MOST_CLASSES = 10_000


def read_points(path: Path, labels_column: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Inputs X (N, d) and labels y (N) of a file.

    A ``.csv`` with a header: the column ``labels_column`` (default ``y``) holds the labels, all others the inputs in
    their order. Without a header the last column holds the labels. A ``.npz`` holds ``X`` and ``y``, or what
    ``labels_column`` names.

    Raises
    ------
    InvalidInput : missing file, another format, a missing column, rows of unequal length, what is not a number.
    """
    with reading(path):
        if path.suffix == ".npz":
            return _read_npz(path, labels_column or "y")
        if path.suffix == ".csv":
            return _read_csv(path, labels_column)
        raise InvalidInput(f"{short(path)} is neither .csv nor .npz.")


def _read_npz(path: Path, column: str) -> tuple[np.ndarray, np.ndarray]:
    arrays = read_archive(path)
    missing = [name for name in ("X", column) if name not in arrays]
    if missing:
        has = ", ".join(arrays)[:LONGEST_REASON] or "none"
        raise InvalidInput(f"{short(path)} has no array {missing[0][:40]!r}; it has {has!r}.")
    return arrays["X"], arrays[column]


def _read_csv(path: Path, column: str | None) -> tuple[np.ndarray, np.ndarray]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = [[cell.strip() for cell in row] for row in csv.reader(stream) if any(cell.strip() for cell in row)]
    if not rows:
        raise InvalidInput(f"{short(path)} holds no rows.")
    header = None if _is_number(rows[0]) else rows.pop(0)
    if header is None and column is not None:
        raise InvalidInput(f"--labels-column names {column[:40]!r}, but {short(path)} has no header.")
    width = len(rows[0] if header is None else header)
    if width < 2 or not rows:
        raise InvalidInput(f"{short(path)} must hold rows of at least one input and a label.")
    for number, row in enumerate(rows, start=1):
        if len(row) != width:
            raise InvalidInput(f"row {number} of {short(path)} has {len(row)} cells, but {width} are wanted.")
    try:
        table = np.array([[float(cell) for cell in row] for row in rows])
    except ValueError as error:
        raise InvalidInput(f"{short(path)} holds what is not a number: {error}.") from None
    place = width - 1
    if header is not None:
        name = column or "y"
        if header.count(name) != 1:
            raise InvalidInput(
                f"{short(path)} must have one column {name[:40]!r} of labels (--labels-column), "
                f"but has {', '.join(header)[:LONGEST_REASON]!r}."
            )
        place = header.index(name)
    return np.delete(table, place, axis=1), table[:, place]


def _is_number(row: list[str]) -> bool:
    """Whether every cell is a number, so that the row is no header."""
    try:
        [float(cell) for cell in row]
    except ValueError:
        return False
    return True


def prepared_labels(y: np.ndarray, loss: str) -> tuple[np.ndarray, int]:
    """Labels as ``integrate`` takes them, and the number of outputs that they ask for.

    Raises
    ------
    InvalidInput : labels that are not numbers, or for cross-entropy not 0, 1, 2, ...
    """
    y = np.asarray(y)
    if y.dtype.kind not in "biuf":
        raise InvalidInput(f"labels must be numbers, but are of type {y.dtype}.")
    if loss != "cross_entropy":
        return y.astype(float), y.shape[1] if y.ndim == 2 else 1
    if y.ndim != 1 or not np.isfinite(y).all() or (y != np.floor(y)).any() or (y < 0).any() or y.size == 0:
        raise InvalidInput("the cross_entropy loss takes labels 0, 1, 2, ..., one per sample.")
    if y.max() >= MOST_CLASSES:
        raise InvalidInput(f"a label is {y.max():g}, but at most {MOST_CLASSES} classes are taken.")
    return y.astype(np.int64), max(2, int(y.max()) + 1)
