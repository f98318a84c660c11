"""MNIST, Fashion-MNIST and CIFAR from a folder of their standard files; torchvision fetches them where asked to."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from simulations._torch import first_line
from simulations.data.dataset import Dataset
from theory._errors import InvalidInput, PreconditionError

# name: (torchvision's class, its folder below root)
SETS = {
    "mnist": ("MNIST", "MNIST/raw"),
    "fashion-mnist": ("FashionMNIST", "FashionMNIST/raw"),
    "cifar10": ("CIFAR10", "cifar-10-batches-py"),
    "cifar100": ("CIFAR100", "cifar-100-python"),
}
IDX = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
       "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}  # fmt: skip
BATCHES = {
    "cifar10": {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]},
    "cifar100": {"train": ["train"], "test": ["test"]},
}


def images(name: str, root: str | Path | None = None, download: bool = False) -> Dataset:
    """A data set of images by name, from its standard files, pixels divided by 255.

    The files are looked for in ``root`` and where torchvision keeps them below it (``MNIST/raw``,
    ``FashionMNIST/raw``, ``cifar-10-batches-py``, ``cifar-100-python``); MNIST's also as ``.gz``. CIFAR's files are
    pickles: nothing but arrays, lists and numbers is let through, so that reading them runs no code of theirs.

    Parameters
    ----------
    name : "mnist", "fashion-mnist" (n, 1, 28, 28); "cifar10", "cifar100" (n, 3, 32, 32; 100 fine labels).
    root : folder; ``data`` in the working directory where None.
    download : let torchvision download what is missing.

    Raises
    ------
    InvalidInput : an unknown name, a file that is not what its name says.
    PreconditionError : no such files, and no download asked for, or no torchvision that could, or no network.

    Notes
    -----
    Memory: float64, 0.4 GB for MNIST and 1.5 GB for CIFAR.

    Examples
    --------
    >>> images("mnist", "no/such/folder")
    Traceback (most recent call last):
    theory._errors.PreconditionError: no files of mnist in 'no/such/folder' ...
    """
    if name not in SETS:
        raise InvalidInput(f"name must be one of {', '.join(SETS)}, but is {name!r}.")
    folder = Path("data" if root is None else root)
    if not isinstance(download, bool):
        raise InvalidInput(f"download must be True or False, but is {download!r}.")
    place = _find(name, folder)
    if place is None and download:
        _download(name, folder)
        place = _find(name, folder)
    if place is None:
        wanted = IDX["train"][0] if name in ("mnist", "fashion-mnist") else BATCHES[name]["train"][0]
        raise PreconditionError(
            f"no files of {name} in {str(folder)!r} ({wanted!r} and its companions, there or in {SETS[name][1]!r}); "
            "put them there, or pass download=True with torchvision installed."
        )
    read = _read_idx_pair if name in ("mnist", "fashion-mnist") else _read_cifar
    (X, y), (X_test, y_test) = read(name, place, "train"), read(name, place, "test")
    return Dataset(
        name=name, X=X / 255, y=y, X_test=X_test / 255, y_test=y_test, notes=f"{name}, pixels divided by 255."
    )


def _find(name: str, folder: Path) -> Path | None:
    """The folder that holds all files of this set, or None."""
    for place in (folder, folder / SETS[name][1]):
        if name in BATCHES:
            there = all(os.path.isfile(place / file) for part in BATCHES[name].values() for file in part)
        else:
            there = all(_packed(place / file) is not None for part in IDX.values() for file in part)
        if there:
            return place
    return None


def _packed(path: Path) -> Path | None:
    """The file, or the file with .gz."""
    return next((p for p in (path, path.with_name(path.name + ".gz")) if os.path.isfile(p)), None)


def _download(name: str, folder: Path) -> None:
    try:
        import torchvision.datasets  # a build that does not fit torch raises RuntimeError
    except (ImportError, RuntimeError, OSError):
        raise PreconditionError(
            f"downloading {name} needs torchvision, which does not import here: pip install torchvision, "
            f"or put its files into {str(folder)!r}."
        ) from None
    try:
        for train in (True, False):
            getattr(torchvision.datasets, SETS[name][0])(str(folder), train=train, download=True)
    except (OSError, RuntimeError) as error:
        raise PreconditionError(
            f"torchvision could not download {name}: {first_line(error)}; put its files into {str(folder)!r}."
        ) from None


def _bytes(path: Path) -> bytes:
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as stream:
                return stream.read()
        return path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"cannot read {str(path)!r}: {str(error).rstrip('.')}.") from None


def _read_idx(path: Path) -> np.ndarray:
    """An array of bytes in the idx format: two zeros, type 8, the number of axes, their lengths (big-endian), data."""
    content = _bytes(path)
    axes = content[3] if len(content) > 3 and content[:3] == b"\0\0\x08" else 0
    start = 4 + 4 * axes
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], ">u4")) if len(content) >= start else ()
    if not axes or len(shape) != axes or len(content) - start != np.prod(shape, dtype=object):
        raise InvalidInput(f"{str(path)!r} is not a whole idx file of bytes.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _read_idx_pair(name: str, place: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    paths = [_packed(place / file) or place / file for file in IDX[part]]
    X, y = (_read_idx(path) for path in paths)
    if X.ndim != 3 or y.ndim != 1 or len(X) != len(y):
        raise InvalidInput(f"{str(paths[0])!r} does not hold one image for each label beside it.")
    return X[:, None], y


class _ArraysOnly(pickle.Unpickler):
    """Reads pickled arrays, lists, strings and numbers; whatever else a pickle could call is refused."""

    ALLOWED = frozenset({("_reconstruct", "multiarray"), ("ndarray", "numpy"), ("dtype", "numpy"),
                         ("encode", "_codecs")})  # fmt: skip

    def find_class(self, module: str, name: str) -> Any:
        """One of NumPy's own array makers."""
        if (name, module.split(".")[-1]) not in self.ALLOWED or module.split(".")[0] not in ("numpy", "_codecs"):
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _read_cifar(name: str, place: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    pixels, labels = [], []
    for file in BATCHES[name][part]:
        path = place / file
        try:
            content = _ArraysOnly(io.BytesIO(_bytes(path)), encoding="latin1").load()
            X = np.asarray(content["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
            y = np.asarray(content["labels" if name == "cifar10" else "fine_labels"], dtype=np.int64)
        except InvalidInput:
            raise
        except Exception as error:  # a broken pickle can raise almost anything
            raise InvalidInput(f"{str(path)!r} is not a batch of {name}: {first_line(error)}.") from None
        if y.shape != (len(X),):
            raise InvalidInput(f"{str(path)!r} does not hold one image for each label.")
        pixels.append(X)
        labels.append(y)
    return np.concatenate(pixels), np.concatenate(labels)
