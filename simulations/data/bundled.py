"""Data sets that come with scikit-learn, so that nothing is downloaded."""

from __future__ import annotations

from typing import Any

import numpy as np

from simulations.data.dataset import Dataset
from theory._arrays import as_count
from theory._errors import InvalidInput, PreconditionError

TABLES = ("iris", "wine", "breast_cancer")


def digits(*, test_size: int = 500, seed: int = 0, flat: bool = False) -> Dataset:
    """Handwritten digits, 1,797 images of 8 x 8 pixels in ten classes, from scikit-learn.

    Pixels are divided by 16, a constant known before the data. Images are shuffled by ``seed`` and the last
    ``test_size`` held out; seed 0 with 500 is the split of the repository's ``notebooks/data/digits``.

    Parameters
    ----------
    test_size : images held out; 0 for none. flat : vectors (n, 64) and not images (n, 1, 8, 8).

    Raises
    ------
    InvalidInput : a split that leaves a class empty. PreconditionError : scikit-learn is not installed.

    Examples
    --------
    >>> digits()
    Dataset('digits': 1297 samples of shape (1, 8, 8), 10 classes, 500 held out)
    """
    bunch = _loaders().load_digits()
    X = bunch.data / 16 if flat else bunch.images[:, None] / 16
    words = "scikit-learn's digits (UCI optical recognition of handwritten digits, test part), pixels divided by 16."
    return _split("digits", X, bunch.target, test_size, seed, words)


def bundled(name: str, *, test_size: int | None = None, seed: int = 0, standardise: bool = True) -> Dataset:
    """A small table from scikit-learn: "iris", "wine" or "breast_cancer"; "digits" gives ``digits(flat=True)``.

    Parameters
    ----------
    test_size : samples held out after a seeded shuffle; 0 for none, a quarter (rounded down) where None; for digits
        500 where None.
    standardise : shift and scale each column by mean and standard deviation (1/n) of the samples that are not held
        out; digits keep their own scale.

    Raises
    ------
    InvalidInput : an unknown name, a split that leaves a class empty. PreconditionError : no scikit-learn.

    Examples
    --------
    >>> bundled("wine")
    Dataset('wine': 134 samples of shape (13,), 3 classes, 44 held out)
    """
    if name == "digits":
        return digits(test_size=500 if test_size is None else test_size, seed=seed, flat=True)
    if name not in TABLES:
        raise InvalidInput(f"name must be one of {', '.join((*TABLES, 'digits'))}, but is {name!r}.")
    X, y = getattr(_loaders(), f"load_{name}")(return_X_y=True)
    held = len(y) // 4 if test_size is None else test_size
    data = _split(name, X, y, held, seed, f"scikit-learn's {name}.")
    if not standardise:
        return data
    mean, scale = data.X.mean(axis=0), data.X.std(axis=0)
    X_test = None if data.X_test is None else (data.X_test - mean) / scale
    return Dataset(
        name=name, X=(data.X - mean) / scale, y=data.y, X_test=X_test, y_test=data.y_test,
        notes=f"{data.notes} Columns standardised by the samples that are not held out.",
    )  # fmt: skip


def _split(name: str, X: np.ndarray, y: np.ndarray, test_size: int, seed: int, notes: str) -> Dataset:
    held = as_count("test_size", test_size, minimum=0)
    if held >= len(y):
        raise InvalidInput(f"test_size must be below the {len(y)} samples of {name}, but is {held}.")
    order, n = np.random.default_rng(as_count("seed", seed, minimum=0)).permutation(len(y)), len(y) - held
    X, y = X[order], y[order]
    return Dataset(
        name=name, X=X[:n], y=y[:n], X_test=X[n:] if held else None, y_test=y[n:] if held else None,
        num_classes=int(y.max()) + 1, notes=f"{notes} Split by seed {seed}.",
    )  # fmt: skip


def _loaders() -> Any:
    try:
        import sklearn.datasets
    except ImportError:
        raise PreconditionError(
            "this data set comes with scikit-learn: pip install 'deep-classifier-theory[demo]'."
        ) from None
    return sklearn.datasets
