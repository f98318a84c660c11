"""Small valid files of every kind that a command or a reader takes; the fuzzer damages copies of them."""

from __future__ import annotations

import gzip
import json
import pickle
import sqlite3
import zipfile
import zlib
from pathlib import Path

import numpy as np

CONV = {
    "input_shape": [1, 4, 4],
    "nodes": [
        {"op": "conv", "out_channels": 2, "kernel_size": 3, "padding": 1, "name": "c"},
        {"op": "relu"},
        {"op": "maxpool", "kernel_size": 2},
        {"op": "flatten"},
        {"op": "linear", "out_features": 3, "name": "head"},
    ],
}
DENSE = {
    "input_shape": [2],
    "nodes": [
        {"op": "linear", "out_features": 4, "name": "0"},
        {"op": "relu"},
        {"op": "linear", "out_features": 2, "name": "2"},
    ],
}
YAML = """input_shape: [2]
nodes:
  - {op: linear, out_features: 4, name: "0"}
  - op: relu
  - {op: linear, out_features: 2, name: "2", bias: true}
"""
STUDY = """name: small
task: threshold
fixed: {minority: 5}
grid: {majority: [1, 2], E_W: {log: [0.1, 10], count: 2}, E_H: {linear: [1, 5], count: 2}}
"""
SAMPLED = """name: sampled
task: threshold
fixed: {minority: 5, E_H: 5}
sample: {count: 4, seed: 0, method: sobol, ranges: {E_W: {log: [0.1, 10]}, majority: {integer: [1, 20]}}}
"""


def write_corpus(folder: Path) -> None:
    """Write all files; those of PyTorch only where it is installed."""
    folder.mkdir(parents=True)
    _tables(folder)
    _arrays(folder)
    _networks(folder)
    _stores(folder)
    _images(folder / "images")
    try:
        import torch
    except ImportError:
        return
    _saved(torch, folder)


def _tables(folder: Path) -> None:
    for name, text in {
        "points.csv": "x1,x2,y\n1,2,1\n-1,1,-1\n2,-0.5,1\n-1,-1,-1\n",
        "bare.csv": "1,2,1\n-1,1,-1\n",
        "line.csv": "x,y\n-1,0.5\n0.3,1\n1,-1\n",
        "classes.csv": "a,b,label\n1,0,0\n0,1,1\n1,1,2\n-1,0,0\n",
        "labels.csv": "id,kind\n1,cat\n2,dog\n3,cat\n4,eel\n",
        "column.csv": "0\n1\n2\n0\n1\n2\n0\n1\n2\n0\n1\n2\n",
        "net.json": json.dumps(CONV),
        "dense.json": json.dumps(DENSE),
        "dense.yaml": YAML,
        "study.yaml": STUDY,
        "sampled.yaml": SAMPLED,
    }.items():
        (folder / name).write_text(text)


def _arrays(folder: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(12) % 3
    points = np.array([[1, 2], [-1, 1], [2, -0.5], [-1, -1]], float)
    H = rng.standard_normal((12, 4)) + np.eye(4)[y]
    for name, array in {
        "H.npy": H, "H32.npy": H.astype(np.float32), "y.npy": y, "W.npy": rng.standard_normal((3, 4)),
        "b.npy": np.zeros(3),
        "F.npy": rng.permutation(y), "T.npy": np.stack([rng.permutation(y) for _ in range(3)]),
        "linear.npy": np.where(rng.random(12) < 0.7, y, 0), "steps.npy": np.array([0.0, 1, 5]),
        "words.npy": np.array(["cat", "dog", "cat"]), "kernel.npy": rng.standard_normal((2, 1, 3, 3)),
        "kernel1.npy": rng.standard_normal((2, 2, 3)), "theta.npy": rng.standard_normal(9),
        "scalar.npy": np.array(1.0), "none.npy": np.zeros((0, 3)),
    }.items():  # fmt: skip
        np.save(folder / name, array)
    np.savetxt(folder / "H.csv", H, delimiter=",")
    np.savez(folder / "points.npz", X=points, y=np.array([1.0, -1, 1, -1]))
    np.savez_compressed(folder / "packed.npz", X=points, y=np.array([0, 1, 0, 1]))
    np.savez(
        folder / "trajectory.npz",
        thetas=rng.standard_normal((3, 9)), modes=np.ones((4, 3), np.int8), log_t=np.array([0.0, 1, 2]),
        log_inverse_loss=np.array([0.0, 1, 2]), clock=np.array("t"), clock_value=np.array(2.0), X=points,
    )  # fmt: skip


def _networks(folder: Path) -> None:
    from theory.architecture import from_description

    rng = np.random.default_rng(1)
    for name, description in (("net", CONV), ("start", CONV), ("A", DENSE), ("B", DENSE)):
        shapes = from_description(description).parameters
        np.savez(folder / f"{name}.npz", **{key: rng.standard_normal(shape) for key, shape in shapes.items()})
    np.savez(folder / "data.npz", X=rng.standard_normal((6, 1, 4, 4)), y=np.arange(6) % 3)
    np.savez(folder / "blobs.npz", X=rng.standard_normal((8, 2)), y=np.arange(8) % 2)


def _stores(folder: Path) -> None:
    from simulations.store import ResultsStore

    with ResultsStore(folder / "results.sqlite") as store:
        for seed in range(3):
            store.put({"task": "threshold", "seed": seed}, {"R0": 1.5 + seed, "name": "a", "none": None})
        store.add("run", 0, {"loss": 1.0})
        store.add("run", 1, {"loss": 0.5})
    with ResultsStore(folder / "threshold-map.sqlite") as store:
        for majority in (1, 2):
            for E_H in (1.0, 5.0):
                store.put({"task": "threshold", "majority": majority, "E_H": E_H}, {"R0": majority / E_H, "R00": None})
    old = sqlite3.connect(folder / "old.sqlite")  # as the first version wrote it
    old.execute(
        "CREATE TABLE records (key TEXT PRIMARY KEY, config TEXT NOT NULL, record TEXT NOT NULL, version TEXT NOT NULL,"
        " seconds REAL NOT NULL, finished REAL NOT NULL)"
    )
    old.execute("""INSERT INTO records VALUES ('a', '{"seed": 0}', '{"loss": 0.5}', '0.1.0', 0.1, 1.0)""")
    old.commit()
    old.close()


def _images(folder: Path) -> None:
    """Two images of MNIST's and one of CIFAR's form."""
    folder.mkdir()
    for part in ("t10k", "train"):
        pixels = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (2, 28, 28)) + bytes(2 * 28 * 28)
        labels = bytes([0, 0, 8, 1]) + (2).to_bytes(4, "big") + bytes([3, 7])
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(pixels))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    (folder.parent / "images.idx").write_bytes(pixels)
    (folder.parent / "images.gz").write_bytes(gzip.compress(pixels))
    batch = pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [1]}, protocol=2)
    (folder.parent / "images.batch").write_bytes(batch)
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(batch)


def _saved(torch, folder: Path) -> None:
    from simulations._checkpoint import FORMAT

    state = {name: torch.tensor(array) for name, array in np.load(folder / "A.npz").items()}
    torch.save(state, folder / "A.pt")
    torch.save(state, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}, folder / "B.pt")
    odd = {
        "complex": torch.zeros(2, dtype=torch.complex64), "sparse": torch.eye(2).to_sparse(),
        "meta": torch.zeros(2, device="meta"), "half": torch.zeros((4, 2), dtype=torch.float16),
        "bool": torch.ones(4, 2, dtype=torch.bool), "nan": torch.full((4, 2), torch.nan), "scalar": torch.tensor(1.0),
    }  # fmt: skip
    for name, value in odd.items():
        torch.save({**state, "0.weight": value}, folder / f"odd-{name}.pt")
    torch.save({1: state["0.weight"]}, folder / "odd-keys.pt")
    torch.save([1, 2], folder / "odd-list.pt")
    torch.save({"model": {"model": state}}, folder / "odd-nested.pt")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    torch.save(module, folder / "module.pt")
    torch.save({"format": FORMAT, "identity": "mark", "step": 1}, folder / "training.pt")
    program = torch.export.export(module, (torch.zeros(2, 2),))
    with (folder / "program.pt2").open("wb") as stream:
        torch.export.save(program, stream)


def bomb() -> bytes:
    """An ``.npz`` of 8 MB that says it holds, and inflates to, 8 GB of zeros."""
    block, chunks = 2**20, 8 * 2**10
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = deflate.compress(bytes(block)) + deflate.flush(zlib.Z_FULL_FLUSH)
    head = deflate.compress(npy_header("<f8", (block * chunks // 8,))) + deflate.flush(zlib.Z_FULL_FLUSH)
    body = head + packed * chunks + zlib.compressobj(9, zlib.DEFLATED, -15).flush()
    size = block * chunks + len(npy_header("<f8", (block * chunks // 8,)))
    name = b"X.npy"
    sizes = len(body).to_bytes(4, "little") + min(size, 2**32 - 1).to_bytes(4, "little")
    common = b"\x14\0\0\0\x08\0" + bytes(4) + bytes(4) + sizes + len(name).to_bytes(2, "little")
    local = b"PK\x03\x04" + common + bytes(2) + name + body
    central = b"PK\x01\x02\x14\0" + common + bytes(2 + 2 + 2 + 2 + 4 + 4) + name
    ends = len(central).to_bytes(4, "little") + len(local).to_bytes(4, "little")
    return local + central + b"PK\x05\x06" + bytes(4) + b"\x01\0\x01\0" + ends + bytes(2)


def npy_header(descr: str, shape: tuple[int, ...]) -> bytes:
    """The first bytes of a ``.npy`` file with an array of that type and shape."""
    return npy_text(f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}")


def npy_text(text: str) -> bytes:
    """A ``.npy`` header of any text."""
    body = text.encode("latin1", "replace") + b"\n"
    return b"\x93NUMPY\x02\0" + len(body).to_bytes(4, "little") + body


def is_archive(path: Path) -> bool:
    """Whether the file is a zip archive, which keeps its parts under checksums."""
    return zipfile.is_zipfile(path)
