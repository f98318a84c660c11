"""Files of images read without running them, and what is said where there are none."""

import gzip
import pickle
import struct
import sys
import types

import numpy as np
import pytest

from simulations.data import images
from theory import InvalidInput, PreconditionError


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_mnist(folder, *, zipped):
    folder.mkdir(parents=True, exist_ok=True)
    rng, content = np.random.default_rng(0), {}
    for part, n in (("train", 20), ("t10k", 10)):
        content[part] = (rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), (np.arange(n) % 10).astype(np.uint8))
        for array, ending in zip(content[part], ("images-idx3-ubyte", "labels-idx1-ubyte"), strict=True):
            path = folder / f"{part}-{ending}"
            if zipped:
                with gzip.open(f"{path}.gz", "wb") as stream:
                    stream.write(idx(array))
            else:
                path.write_bytes(idx(array))
    return content


@pytest.mark.parametrize(("name", "below", "zipped"), [("mnist", "", False), ("mnist", "MNIST/raw", True),
                                                       ("fashion-mnist", "FashionMNIST/raw", False)])  # fmt: skip
def test_idx_files(tmp_path, name, below, zipped):
    content = write_mnist(tmp_path / below, zipped=zipped)
    data = images(name, tmp_path)
    np.testing.assert_array_equal(data.X[:, 0] * 255, content["train"][0])
    np.testing.assert_array_equal(data.y_test, content["t10k"][1])
    assert data.input_shape == (1, 28, 28) and data.num_classes == 10


@pytest.mark.parametrize("spoil", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b"\0\0\x0d" + b[3:], lambda b: b"",
                                   lambda b: b[:6], lambda b: idx(np.zeros(3, np.uint8))])  # fmt: skip
def test_broken_idx_files(tmp_path, spoil):
    write_mnist(tmp_path, zipped=False)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InvalidInput, match="train-images-idx3-ubyte"):
        images("mnist", tmp_path)


def test_a_file_that_is_not_zipped(tmp_path):
    write_mnist(tmp_path, zipped=True)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"not zipped")
    with pytest.raises(InvalidInput, match="cannot read"):
        images("mnist", tmp_path)


def python2_pickle(data, labels, key):
    """The bytes that Python 2 wrote for {'data': uint8 array, key: list}, as in the published CIFAR archives."""

    def text(s):
        return b"U" + bytes([len(s)]) + s

    def integer(i):
        return b"J" + struct.pack("<i", i)

    raw = data.tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0t" + text(b"b") + b"tR(K\x01("
        + integer(data.shape[0]) + integer(data.shape[1]) + b"tcnumpy\ndtype\n(" + text(b"u1") + b"K\0K\x01tR(K\x03"
        + text(b"|") + b"NNN" + integer(-1) * 2 + b"K\0tb\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"
    )  # fmt: skip
    return b"\x80\x02}(" + text(b"data") + array + text(key) + b"](" + b"".join(map(integer, labels)) + b"eu."


def write_cifar(folder, name, pack):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    files = ["train", "test"] if name == "cifar100" else [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    K, key, content = (100, b"fine_labels", {}) if name == "cifar100" else (10, b"labels", {})
    for file in files:
        X, y = rng.integers(0, 256, (K, 3072), dtype=np.uint8), rng.permutation(K)
        content[file] = (X, y)
        (folder / file).write_bytes(pack(X, y.tolist(), key))
    return content


def python3_pickle(data, labels, key):
    return pickle.dumps({"data": data, key.decode(): labels}, protocol=2)


@pytest.mark.parametrize("pack", [python2_pickle, python3_pickle])
@pytest.mark.parametrize(("name", "below"), [("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python")])
def test_cifar_files(tmp_path, name, below, pack):
    content = write_cifar(tmp_path / below, name, pack)
    data = images(name, tmp_path)
    first = next(iter(content))
    np.testing.assert_array_equal(data.X[:5] * 255, content[first][0][:5].reshape(5, 3, 32, 32))
    np.testing.assert_array_equal(data.y[: len(content[first][1])], content[first][1])
    assert len(data.y) == (50 if name == "cifar10" else 100) and len(data.y_test) == data.num_classes


class Touch:
    """Unpickled, it makes a file, by a function of Python's or of NumPy's."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("call", [open, np.save])
def test_a_pickle_that_calls_something_is_refused(tmp_path, call):
    write_cifar(tmp_path, "cifar10", python3_pickle)
    touched, second = str(tmp_path / "touched.npy"), "w" if call is open else [1]
    (tmp_path / "data_batch_2").write_bytes(pickle.dumps(Touch(call, touched, second)))
    with pytest.raises(InvalidInput, match=rf"data_batch_2' is not a batch of cifar10: it asks for .*{call.__name__}"):
        images("cifar10", tmp_path)
    assert not (tmp_path / "touched.npy").exists()


@pytest.mark.parametrize("content", [b"", b"junk", pickle.dumps([1]), pickle.dumps({"data": [1, 2]})])
def test_broken_cifar_files(tmp_path, content):
    write_cifar(tmp_path, "cifar10", python3_pickle)
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(InvalidInput, match="test_batch"):
        images("cifar10", tmp_path)


def test_download_goes_through_torchvision(tmp_path, monkeypatch):
    """A stand-in for torchvision, which is not among the tests' packages, that writes the files where it keeps them."""
    stub, sets = types.ModuleType("torchvision"), types.ModuleType("torchvision.datasets")
    asked = []

    def mnist(root, train, download):
        asked.append((root, train, download))
        write_mnist(tmp_path / "MNIST/raw", zipped=False)

    def offline(root, train, download):
        raise RuntimeError("Error downloading x:\nmany lines")

    sets.MNIST, sets.CIFAR10, stub.datasets = mnist, offline, sets
    monkeypatch.setitem(sys.modules, "torchvision", stub)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", sets)
    with pytest.raises(PreconditionError, match="no files of mnist"):
        images("mnist", tmp_path)
    assert not asked
    assert len(images("mnist", tmp_path, download=True).y) == 20
    assert asked == [(str(tmp_path), True, True), (str(tmp_path), False, True)]
    with pytest.raises(PreconditionError, match=r"could not download cifar10: Error downloading x:; put"):
        images("cifar10", tmp_path, download=True)


def test_torchvision_that_does_not_import(tmp_path, monkeypatch):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('operator does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PreconditionError, match="needs torchvision, which does not import here"):
        images("mnist", tmp_path, download=True)


def test_images_refusals():
    with pytest.raises(InvalidInput, match="name must be one of mnist"):
        images("imagenet")
