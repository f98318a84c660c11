"""Every reader of files, called as the commands and the library call it, with the valid files that it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.generate import damaged


@dataclass(frozen=True, slots=True)
class Reader:
    """What reads, the names of valid files, and how often it is called (1 where nothing is said)."""

    read: Callable[[Path], Any]
    names: tuple[str, ...]
    share: float = 1.0

    def recipe(self, rng: Random) -> str:
        """A file for it, damaged most of the time."""
        name = rng.choice(self.names)
        return f"@{name}" if rng.random() < 0.05 else damaged(rng, name)


def _array(path: Path) -> None:
    from simulations.cli._files import read_array

    read_array(path)


def _column(path: Path) -> None:
    from simulations.cli._files import read_array

    read_array(path, column="kind", text=True)


def _archive(path: Path) -> None:
    from simulations.cli._files import read_archive

    read_archive(path)


def _features(path: Path) -> None:
    from simulations.cli.collapse_metrics import _read_features

    _read_features(path)


def _points(path: Path) -> None:
    from simulations.cli._flow_data import prepared_labels, read_points

    _, y = read_points(path)
    prepared_labels(y, "cross_entropy")


def _sample(path: Path) -> None:
    from simulations.cli.bounds import read_sample

    read_sample(path)


def _start(path: Path) -> None:
    from simulations.cli._flow_networks import make_network
    from simulations.cli._flow_write import read_start

    read_start(path, make_network("two-layer-relu", 2, 1, {"width": 3}))


def _architecture(path: Path) -> None:
    from theory.architecture import read_architecture, to_description

    to_description(read_architecture(path))


def _weights(path: Path) -> None:
    from simulations.cli._files import read_archive
    from tests.fuzz.corpus import DENSE
    from theory.architecture import from_description

    from_description(DENSE).check_weights(read_archive(path))


def _saved(path: Path) -> None:
    from simulations.bridge.saved import read_saved
    from tests.fuzz.corpus import DENSE
    from theory.architecture import from_description

    read_saved(path, architecture=from_description(DENSE))


def _checkpoint(path: Path) -> None:
    from simulations._checkpoint import read

    read(path, "mark")


def _store(path: Path) -> None:
    from simulations.store import ResultsStore

    with ResultsStore(path) as store:
        store.configs()
        store.find({"task": "threshold", "seed": 0})
        for run in store.runs():
            store.read(run)
        if hasattr(store, "rows"):
            store.rows()


def _study(path: Path) -> None:
    from simulations.sweep.study import read_study

    study = read_study(path)
    for _, _ in zip(range(20), study.configurations(), strict=False):
        pass


def _table(path: Path) -> None:
    from simulations.store import ResultsStore
    from simulations.sweep.table import read_table

    with ResultsStore(path) as store:
        read_table(store)


def _images(path: Path) -> None:
    """The file in the place of one of MNIST's, or of CIFAR's."""
    from simulations.data.images import images

    if "\0" in str(path):
        return
    folder = path.parent.parent / "corpus" / "images"
    cifar, plain = path.suffix == ".batch", folder / "train-images-idx3-ubyte"
    plain.unlink(missing_ok=True)
    place = folder / "data_batch_1" if cifar else plain.with_name(f"{plain.name}{path.suffix.replace('.idx', '')}")
    place.unlink(missing_ok=True)
    place.symlink_to(path)
    images("cifar10" if cifar else "mnist", folder)


@cache
def readers() -> dict[str, Reader]:
    """All readers by name; those of sweeps and of PyTorch where they can be imported."""
    arrays = ("H.npy", "y.npy", "words.npy", "F.npy", "scalar.npy")
    archives = ("points.npz", "packed.npz", "net.npz", "data.npz")
    found = {
        "array, .npy": Reader(_array, arrays, 3),
        "array, .csv": Reader(_array, ("H.csv", "column.csv", "bare.csv"), 3),
        "column, .csv": Reader(_column, ("labels.csv",), 3),
        "archive, .npz": Reader(_archive, archives, 3),
        "features, .npy": Reader(_features, ("H.npy", "H32.npy", "H.csv"), 2),
        "points, .csv": Reader(_points, ("points.csv", "bare.csv", "classes.csv"), 3),
        "points, .npz": Reader(_points, ("points.npz", "packed.npz"), 2),
        "sample, .npz": Reader(_sample, ("data.npz", "blobs.npz"), 2),
        "start, .npy, .npz": Reader(_start, ("theta.npy", "trajectory.npz"), 2),
        "architecture, .json": Reader(_architecture, ("net.json", "dense.json"), 4),
        "architecture, .yaml": Reader(_architecture, ("dense.yaml",), 1.5),
        "weights, .npz": Reader(_weights, ("A.npz", "B.npz"), 2),
        "images, idx": Reader(_images, ("images.idx", "images.gz"), 0.5),
        "images, pickle": Reader(_images, ("images.batch",), 0.5),
        "store, .sqlite": Reader(_store, ("results.sqlite", "old.sqlite"), 1),
    }
    if find_spec("torch"):
        saved = ("A.pt", "legacy.pt", "B.pt", "odd-half.pt", "module.pt")
        found |= {
            "network, .pt": Reader(_saved, saved, 2),
            "network, .pt2": Reader(_saved, ("program.pt2",), 0.5),
            "training run, .pt": Reader(_checkpoint, ("training.pt",), 1),
        }
    if find_spec("simulations.sweep.study"):
        found["study, .yaml"] = Reader(_study, ("study.yaml", "sampled.yaml"), 1)
    if find_spec("simulations.sweep.table"):
        found["table, .sqlite"] = Reader(_table, ("results.sqlite", "old.sqlite"), 1)
    return found
