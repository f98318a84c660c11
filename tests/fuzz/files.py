"""Recipes for files: a word that begins with ``@`` becomes the path of a file that is made for it.

``@H.npy``                      a valid file of the corpus
``@cut 0.3 H.npy``              its first 30 %
``@flip 0.3 ff01 H.npy``        the bytes from 30 % on changed (exclusive or)
``@splice 0.3 ff01 H.npy``      the bytes put in there
``@drop 0.3 8 H.npy``           eight bytes left out there
``@as .npz H.npy``              under another ending
``@edit X=f8:2,3:nan data.npz`` an archive with arrays replaced or added (``-X`` takes one away)
``@arrays X=f8:2,3:normal``     an archive of such arrays
``@array f8:2,3:normal``        one such array
``@header TEXT``                a ``.npy`` with this text as its header
``@text .csv TEXT``             a file of this text
``@bytes .pt HEX``              a file of these bytes
``@row 0.5 COLUMN VALUE NAME``  a store in which a cell is replaced
``@odd KIND .npz``              missing, folder, empty, loop, fifo, endless, unreadable, long, bomb
``@out KIND``                   a folder to write in: new, there, file, below (a file), dirty (holds a damaged store)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np

from tests.fuzz.corpus import bomb, npy_text, write_corpus

ODD = ("missing", "folder", "empty", "loop", "fifo", "endless", "unreadable", "long", "nul-name")
OUT = ("new", "there", "file", "below", "dirty")


class Files:
    """Makes the files of one input after another in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.corpus, self.made, self.odd = folder / "corpus", folder / "made", folder / "odd"
        write_corpus(self.corpus)
        self.odd.mkdir()
        self.made.mkdir()
        self._count = 0

    def names(self) -> list[str]:
        """Of the valid files."""
        return sorted(path.name for path in self.corpus.iterdir() if path.is_file())

    def clear(self) -> None:
        """Forget what was made for the last input."""
        if self._count:
            shutil.rmtree(self.made)
            self.made.mkdir()
        self._count = 0

    def words(self, words: list[str]) -> list[str]:
        """The words with paths in the place of recipes."""
        return [str(self.path(word)) if word.startswith("@") else word for word in words]

    def path(self, recipe: str) -> Path:
        """The file of a recipe."""
        kind, space, rest = recipe[1:].partition(" ")
        if not space:
            # a copy, since a store is changed by reading it
            return self._keep(Path(kind).suffix, (self.corpus / kind).read_bytes())
        return getattr(self, f"_{kind}")(rest)

    def _keep(self, suffix: str, content: bytes) -> Path:
        self._count += 1
        path = self.made / f"{self._count}{suffix}"
        path.write_bytes(content)
        return path

    def _read(self, name: str) -> bytes:
        return (self.corpus / name).read_bytes()

    def _cut(self, rest: str) -> Path:
        where, name = rest.split(" ")
        content = self._read(name)
        return self._keep(Path(name).suffix, content[: int(float(where) * len(content))])

    def _flip(self, rest: str) -> Path:
        where, change, name = rest.split(" ")
        content, change = bytearray(self._read(name)), bytes.fromhex(change)
        start = int(float(where) * len(content))
        for k, byte in enumerate(change[: len(content) - start], start):
            content[k] ^= byte
        return self._keep(Path(name).suffix, bytes(content))

    def _splice(self, rest: str) -> Path:
        where, added, name = rest.split(" ")
        content = self._read(name)
        start = int(float(where) * len(content))
        return self._keep(Path(name).suffix, content[:start] + bytes.fromhex(added) + content[start:])

    def _drop(self, rest: str) -> Path:
        where, size, name = rest.split(" ")
        content = self._read(name)
        start = int(float(where) * len(content))
        return self._keep(Path(name).suffix, content[:start] + content[start + int(size) :])

    def _as(self, rest: str) -> Path:
        suffix, name = rest.split(" ")
        return self._keep(suffix, self._read(name))

    def _arrays(self, rest: str) -> Path:
        return self._archive({}, rest.split(" "))

    def _edit(self, rest: str) -> Path:
        *changes, name = rest.split(" ")
        with np.load(self.corpus / name) as archive:
            arrays = {key: archive[key] for key in archive.files}
        return self._archive(arrays, changes)

    def _archive(self, arrays: dict[str, np.ndarray], changes: list[str]) -> Path:
        for change in changes:
            name, _, said = change.partition("=")
            if said:
                arrays[name] = make_array(said)
            else:
                arrays.pop(name.removeprefix("-"), None)
        path = self._keep(".npz", b"")
        with path.open("wb") as stream:
            np.savez(stream, **arrays)
        return path

    def _array(self, rest: str) -> Path:
        path = self._keep(".npy", b"")
        np.save(path, make_array(rest), allow_pickle=True)
        return path

    def _header(self, rest: str) -> Path:
        return self._keep(".npy", npy_text(rest) + bytes(64))

    def _text(self, rest: str) -> Path:
        suffix, _, text = rest.partition(" ")
        return self._keep(suffix, text.encode("utf-8", "surrogateescape"))

    def _bytes(self, rest: str) -> Path:
        suffix, _, content = rest.partition(" ")
        return self._keep(suffix, bytes.fromhex(content))

    def _row(self, rest: str) -> Path:
        where, column, said = rest.split(" ", 2)
        value, name = said.rsplit(" ", 1)
        path = self._keep(".sqlite", self._read(name))
        store = sqlite3.connect(path)
        with contextlib.suppress(sqlite3.Error):  # a column that this store lacks, or that takes no such value
            rows = store.execute("SELECT COUNT(*) FROM records").fetchone()[0]
            at = int(float(where) * rows)
            store.execute(
                f'UPDATE records SET "{column}" = CAST(? AS {"TEXT" if value[:1] != "b" else "BLOB"}) '
                f"WHERE rowid = (SELECT rowid FROM records LIMIT 1 OFFSET {at})", (value,)
            )  # fmt: skip
            store.commit()
        store.close()
        return path

    def _odd(self, rest: str) -> Path:
        kind, _, suffix = rest.partition(" ")
        path = self.odd / f"{kind}{suffix}"
        if kind == "long":
            return self.odd / ("x" * 300 + suffix)
        if kind == "nul-name":
            return self.odd / f"a\0b{suffix}"
        if not os.path.lexists(path):
            if kind == "folder":
                path.mkdir()
            elif kind == "empty":
                path.touch()
            elif kind == "loop":
                path.symlink_to(path)
            elif kind == "fifo":
                os.mkfifo(path)
            elif kind == "endless":
                path.symlink_to("/dev/zero")
            elif kind == "unreadable":  # not for root, which reads everything
                path.touch(mode=0)
            elif kind == "bomb":
                path.write_bytes(bomb())
        return path

    def _out(self, rest: str) -> Path:
        self._count += 1
        path = self.made / f"out{self._count}"
        if rest in ("there", "dirty"):
            path.mkdir()
        if rest == "dirty":
            (path / "results.sqlite").write_bytes(b"SQLite format 3\0" + bytes(range(256)))
        if rest in ("file", "below"):
            path.touch()
        return path / "sub" if rest == "below" else path


def make_array(said: str) -> np.ndarray:
    """``f8:2,3:nan`` as an array: type, shape, and what is in it."""
    dtype, shape, fill = said.split(":")
    size = tuple(int(n) for n in shape.split(",") if n)
    index = np.arange(int(np.prod(size)))
    values = {
        "zeros": 0.0 * index, "ones": 1.0 + 0 * index, "normal": np.random.default_rng(0).standard_normal(len(index)),
        "classes": index % 3, "signs": 1 - 2 * (index % 2), "rising": index, "negative": -1 - index,
        "half": index + 0.5, "nan": np.where(index == 0, np.nan, 1.0), "inf": np.where(index == 0, np.inf, 1.0),
        "big": 1e300 + 0.0 * index, "tiny": 1e-310 + 0.0 * index, "million": 10.0**6 * index,
    }[fill].reshape(size)  # fmt: skip
    with np.errstate(all="ignore"):
        return values.astype(dtype)
