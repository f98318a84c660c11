"""Features through a module: the same numbers as from arrays, the right layer found."""

from __future__ import annotations

import json
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from simulations.bridge import last_layer_features  # noqa: E402
from simulations.bridge._layers import layer_numbers, weight_matrices  # noqa: E402
from tests.bridge.small import D, K, batches, close, data, perceptron, seeded  # noqa: E402
from theory import InvalidInput, PreconditionError  # noqa: E402
from theory.collapse import collapse_metrics  # noqa: E402

torch.set_num_threads(1)


def through(net, X, cut=-1):
    with torch.no_grad():
        H = net[:cut](torch.as_tensor(X))
        return H.flatten(1).numpy(), net[cut:](H).flatten(1).numpy()


@pytest.mark.parametrize("cache", [0, 2**26])
@pytest.mark.parametrize("mean", ["class", "sample"])
def test_metrics_equal_those_of_the_arrays(cache, mean):
    X, y = data()
    X, y = X[5:], y[5:]  # unequal counts
    net = perceptron()
    record = last_layer_features(net, batches(X, y), cache=cache, global_mean=mean)
    H, Z = through(net, X)
    W, b = (p.detach().numpy() for p in net[2].parameters())
    close(record.metrics, collapse_metrics(H, y, W, b, global_mean=mean))
    np.testing.assert_array_equal(record.class_means.counts, np.bincount(y))
    np.testing.assert_array_equal(record.classifier, W)
    np.testing.assert_array_equal(record.bias, b)
    for k in range(K):
        norms = np.linalg.norm(H[y == k], axis=1)
        assert record.feature_energy[k] == pytest.approx((norms**2).mean(), rel=1e-12)
        assert record.feature_norm[k] == pytest.approx(norms.mean(), rel=1e-12)
        margins = [z[k] - max(np.delete(z, k)) for z in Z[y == k]]
        assert record.class_margins[k] == pytest.approx(min(margins), rel=1e-12)
    margins = [z[k] - max(np.delete(z, k)) for z, k in zip(Z, y, strict=True)]
    assert record.mean_margin == pytest.approx(np.mean(margins), rel=1e-12)
    assert record.min_margin == pytest.approx(min(margins), rel=1e-12)
    assert record.error == np.mean(Z.argmax(axis=1) != y) > 0
    loss = nn.functional.cross_entropy(torch.as_tensor(Z), torch.as_tensor(y))
    assert record.cross_entropy == pytest.approx(loss.item(), rel=1e-12)
    rho = np.prod([np.linalg.norm(net[i].weight.detach().numpy()) for i in (0, 2)])
    assert record.rho == pytest.approx(rho, rel=1e-14)
    assert record.normalised_margin == pytest.approx(min(margins) / rho, rel=1e-12)
    assert record.notes == ()


def test_losses_below_rounding_are_not_zero():
    net = nn.Sequential(nn.Identity(), nn.Linear(2, 2, bias=False).double())
    net[1].weight.data = torch.eye(2, dtype=torch.float64)
    record = last_layer_features(net, (np.array([[50.0, 0], [0, 100]]), np.array([0, 1])))
    assert record.cross_entropy == pytest.approx((np.exp(-50) + np.exp(-100)) / 2, rel=1e-12)


@pytest.mark.parametrize("give", ["pair", "dataset", "tensors", "dataloader", "lists"])
def test_every_form_of_data_gives_the_same(give):
    X, y = data()
    net = perceptron()
    forms = {
        "pair": (X, y),
        "dataset": SimpleNamespace(X=X, y=y),
        "tensors": (torch.as_tensor(X), torch.as_tensor(y)),
        "dataloader": DataLoader(TensorDataset(torch.as_tensor(X), torch.as_tensor(y)), batch_size=7, shuffle=True),
        "lists": [[X[:9].tolist(), y[:9].tolist(), "paths"], [X[9:], y[9:], None]],
    }
    record = last_layer_features(net, forms[give], batch_size=13, cache=0)
    close(record.metrics, last_layer_features(net, batches(X, y)).metrics, rel=1e-11, abs=1e-13)


def test_a_float32_module_reads_float64_arrays():
    X, y = data()
    net = perceptron().float()
    assert last_layer_features(net, (X, y)).metrics.num_samples == len(y)


def test_half_precision_is_summed_in_double():
    X, y = data()
    net = perceptron().to(torch.bfloat16)
    record = last_layer_features(net, (X, y))
    H = net[:2](torch.as_tensor(X).to(torch.bfloat16)).double().detach().numpy()
    W, b = (p.detach().double().numpy() for p in net[2].parameters())
    assert record.metrics.nc1_zhu == pytest.approx(collapse_metrics(H, y, W, b).nc1_zhu, rel=1e-12)


def test_memory_does_not_grow_with_the_samples():
    net = nn.Sequential(nn.Identity(), nn.Linear(64, K).double())

    class Stream:
        def __init__(self, n):
            self.n = n

        def __iter__(self):
            rng = np.random.default_rng(0)
            for _ in range(self.n):
                yield rng.standard_normal((1000, 64)), np.arange(1000) % K

    def peak(n):
        tracemalloc.start()
        last_layer_features(net, Stream(n), cache=0)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(12)
    assert peak(48) < 1.1 * peak(12)


class Changing:
    """Batches that are others each time."""

    def __init__(self, X, y, change):
        self.X, self.y, self.change, self.times = X, y, change, 0

    def __iter__(self):
        self.times += 1
        return iter(batches(*self.change(self.X, self.y, self.times)))


def test_passes_that_differ_are_seen():
    X, y = data()
    net = perceptron()
    record = last_layer_features(net, Changing(X, y, lambda X, y, t: (X + t, y)), cache=0)
    assert "different inputs" in record.notes[0]
    with pytest.raises(InvalidInput, match="same samples, but saw 60 and 59"):
        last_layer_features(net, Changing(X, y, lambda X, y, t: (X[t - 1 :], y[t - 1 :])), cache=0)
    with pytest.raises(InvalidInput, match="both passes must see the same samples, but of class"):
        last_layer_features(net, Changing(X, y, lambda X, y, t: (X, (y + t * (np.arange(60) == 0)) % K)), cache=0)


def test_a_generator_is_enough_where_the_features_fit_the_cache():
    X, y = data()
    net = perceptron()
    assert last_layer_features(net, iter(batches(X, y))).metrics.num_samples == 60
    with pytest.raises(InvalidInput, match=r"the second time it yields none \(a generator\?\)"):
        last_layer_features(net, iter(batches(X, y)), cache=0)


class Returns(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.body, self.fc, self.form = nn.Linear(5, D), nn.Linear(D, K), form

    def forward(self, x):
        return self.form(self, torch.tanh(self.body(x)))


IMAGES = {"shape": (3, 8, 8)}
FOUND = {
    "perceptron": (perceptron, {}, "2", "its output is"),
    "identity after": (lambda: nn.Sequential(nn.Linear(5, K), nn.Identity()), {}, "0", "its output is"),
    "dropout after": (lambda: nn.Sequential(nn.Linear(5, K), nn.Dropout()), {}, "0", "its output is"),
    "log-softmax": (lambda: nn.Sequential(nn.Linear(5, K), nn.LogSoftmax(1)), {}, "0", "the log-softmax of"),
    "softmax": (lambda: nn.Sequential(nn.Linear(5, K), nn.Softmax(1)), {}, "0", "the softmax of"),
    "functional": (lambda: Returns(lambda m, h: m.fc(input=h).log_softmax(1)), {}, "fc", "the log-softmax of"),
    "logits field": (lambda: Returns(lambda m, h: SimpleNamespace(logits=m.fc(h))), {}, "fc", "its output is"),
    "weight norm": (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(5, K))), {}, "0", "its output is",
    ),
    "orthogonal": (
        lambda: nn.Sequential(nn.utils.parametrizations.orthogonal(nn.Linear(5, K))), {}, "0", "its output is",
    ),
    "old spectral norm": (lambda: nn.Sequential(nn.utils.spectral_norm(nn.Linear(5, K))), {}, "0", "its output is"),
    "bare layer": (lambda: nn.Linear(5, K), {}, "", "its output is"),
    "one-pixel convolution": (
        lambda: nn.Sequential(nn.Conv2d(3, D, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(D, K, 1), nn.Flatten()),
        IMAGES, "3", "its output is",
    ),
    "lazy": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, K)), IMAGES, "1", "its output is"),
    "compiled": (lambda: torch.compile(perceptron()), {}, "2", "its output is"),
    "parallel": (lambda: nn.DataParallel(perceptron()), {}, "2", "its output is"),
}  # fmt: skip


@pytest.mark.parametrize("case", FOUND)
def test_the_classifier_is_found(case):
    build, shape, name, reason = FOUND[case]
    net = seeded(build)
    X, y = data(**shape)
    record = last_layer_features(net, (X, y))
    assert record.layer == name
    assert reason in record.reason
    assert record.classifier.shape == (K, record.metrics.dimension)
    inner = getattr(net, "_orig_mod", getattr(net, "module", net)).eval()
    output = inner(torch.as_tensor(X))
    p = torch.softmax(getattr(output, "logits", output), 1) if "oftmax" not in case else output.exp()
    if case == "softmax":
        p = output
    if case == "functional":
        p = output.exp()
    loss = -torch.log(p[torch.arange(len(y)), torch.as_tensor(y)]).mean()
    assert record.cross_entropy == pytest.approx(loss.item(), rel=1e-9)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(5, K)

    def forward(self, x):
        self.fc(x + 1)
        return self.fc(x)


REFUSED = {
    "two heads": (lambda: Returns(lambda m, h: (m.fc(h), m.fc(h))), "auto", "a tuple and no tensor"),
    "scaled": (lambda: Returns(lambda m, h: 2 * m.fc(h)), "auto", "no layer with a weight matrix puts out.*'fc'"),
    "twice": (Twice, "auto", "'fc' runs 2 times in one forward"),
    "no matrix": (lambda: nn.Sequential(nn.Flatten()), "auto", "no layer with a weight matrix"),
    "no such path": (perceptron, "head", "but is 'head'; paths of layers with a weight matrix: '0', '2'"),
    "a number": (perceptron, 3, "dotted path, but is 3"),
    "an activation": (perceptron, "1", "'1' has no weight matrix or did not run"),
    "never runs": (lambda: Returns(lambda m, h: h), "fc", "did not run"),
    "not of the module": (perceptron, nn.Linear(2, 2), "this Linear is not"),
    "no vector": (lambda: nn.Sequential(nn.Unflatten(1, (5, 1)), nn.Linear(1, K), nn.Flatten()), "1", "one vector of"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_layers_that_cannot_be_told_are_refused(case):
    build, layer, sentence = REFUSED[case]
    with pytest.raises(InvalidInput, match=sentence):
        last_layer_features(seeded(build), data(), layer)


class Cosine(nn.Linear):
    def forward(self, x):
        return super().forward(nn.functional.normalize(x))


def test_a_layer_that_is_not_affine_is_refused():
    with pytest.raises(InvalidInput, match="must put out W h"):
        last_layer_features(seeded(lambda: nn.Sequential(Cosine(5, K))), data())


def test_a_layer_that_is_named():
    X, y = data()
    net = seeded(lambda: Returns(lambda m, h: 2 * m.fc(h)))
    for layer in ("fc", net.fc):
        record = last_layer_features(net, (X, y), layer)
        assert (record.layer, record.reason) == ("fc", "named by the caller")
        H = torch.tanh(net.body(torch.as_tensor(X)))
        loss = nn.functional.cross_entropy(net.fc(H), torch.as_tensor(y))
        assert record.cross_entropy == pytest.approx(loss.item(), rel=1e-12)
        assert record.notes == ("margins, errors and losses are those of 'fc', whose outputs are not the module's.",)
    assert not last_layer_features(perceptron(), (X, y), "2").notes
    hidden = last_layer_features(net, (X, y), "body", num_classes=K)
    close(hidden.metrics, collapse_metrics(X, y))
    assert hidden.classifier is hidden.error is hidden.min_margin is None
    assert "6 rows for 4 classes" in hidden.notes[0]
    assert "6 rows" in hidden.summary()


@pytest.mark.parametrize(("option", "value"), [("device", "nowhere"), ("device", 1.5), ("cache", -1), ("cache", "all")])
def test_bad_options(option, value):
    with pytest.raises(InvalidInput, match=option):
        last_layer_features(perceptron(), data(), **{option: value})


def test_sentences_about_the_data():
    X, y = data()
    net = perceptron()
    for loader, sentence in {
        "number": (3, "must be an iterable"),
        "empty": ([], "at least one batch"),
        "dict": ([{"x": X}], "must be a pair .inputs, labels., but one is a dict"),
        "short": ([(X,)], "of length 1"),
        "mismatch": ([(X, y[1:])], "60 inputs but 59 labels"),
        "pair": ((X, y[1:]), "have 60 and 59"),
        "words": ([("words", y)], "inputs of a batch must be a tensor or an array, but are a str"),
        "one-hot": ([(X, np.eye(K)[y])], "labels of a batch must be a non-empty one-dimensional"),
        "label": ((X, y + 1), "labels must be below the number of classes 4"),
        "class": ((X, y % 3), "1 of 4 classes have none, class 3 first"),
    }.values():
        with pytest.raises(InvalidInput, match=sentence):
            last_layer_features(net, loader)
    with pytest.raises(InvalidInput, match="Module, but is of type function"):
        last_layer_features(perceptron, (X, y))
    with pytest.raises(PreconditionError, match="finite"):
        last_layer_features(net, (X * np.inf, y))
    with pytest.raises(PreconditionError, match="finite"):
        last_layer_features(net, [*batches(X, y), (X * np.nan, y)])
    net[0].weight.data.zero_()
    with pytest.raises(PreconditionError, match="coincide"):
        last_layer_features(net, (X, y))


def homogeneous(*layers):
    X, y = data()
    return last_layer_features(seeded(lambda: nn.Sequential(*layers)), (X, y)).homogeneous


def test_homogeneity_is_measured():
    first, second = nn.Linear(5, D), nn.Linear(D, K, bias=False)
    assert homogeneous(nn.Linear(5, D, bias=False), nn.ReLU(), second) is True
    assert homogeneous(nn.Linear(5, D, bias=False), nn.LeakyReLU(0.1), nn.Linear(D, D, bias=False), second) is True
    assert homogeneous(first, nn.ReLU(), second) is True  # a bias in the first layer only
    assert homogeneous(nn.Linear(5, D, bias=False), nn.Tanh(), second) is False
    assert homogeneous(nn.Linear(5, D, bias=False), nn.BatchNorm1d(D), nn.ReLU(), second) is False
    head = nn.Linear(D, K)
    nn.init.zeros_(head.bias)  # scaling cannot be told from its present value
    assert homogeneous(nn.Linear(5, D, bias=False), nn.ReLU(), head) is False


def test_records_are_strict_json_and_readable():
    X, y = data()
    record = last_layer_features(perceptron(), (X, y))
    loaded = json.loads(json.dumps(record.to_json(), allow_nan=False))
    assert loaded["metrics"]["nc1_zhu"] == record.metrics.nc1_zhu
    assert loaded["min_margin"] == record.min_margin
    assert "classifier '2': the last layer" in record.summary()
    assert "not homogeneous" in record.summary()
    assert repr(record).startswith("LastLayer('2', K=4, d=6")
    assert not record.feature_energy.flags.writeable and not record.classifier.flags.writeable


def test_numbers_of_layers():
    net = seeded(
        lambda: nn.Sequential(
            nn.Linear(5, D, bias=False), nn.Linear(D, 7), nn.Linear(7, 3), nn.Unflatten(1, (3, 1)),
            nn.ConvTranspose1d(3, 2, 4), nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(8, K)),
        )
    )  # fmt: skip
    net[1].weight.data[:, 2:] = 1e-9  # a matrix of rank 2 or 3 to the tolerance
    rows = layer_numbers(weight_matrices(net))
    assert [row.name for row in rows] == ["0.weight", "1.weight", "2.weight", "4.weight", "6.weight"]
    matrices = [net[i].weight.detach().numpy() for i in (0, 1, 2, 4, 6)]
    matrices[3] = matrices[3].transpose(1, 0, 2).reshape(2, -1)
    for row, W in zip(rows, matrices, strict=True):
        values = np.linalg.svd(W, compute_uv=False)
        np.testing.assert_allclose(row.singular_values, values, atol=1e-7 * values[0])
        assert row.shape == W.shape
        assert row.frobenius == pytest.approx(np.linalg.norm(W), rel=1e-12)
        assert row.spectral == pytest.approx(values[0], rel=1e-12)
        assert row.stable_rank == pytest.approx((values**2).sum() / values[0] ** 2, rel=1e-12)
        assert row.rank == (values > 1e-3 * values[0]).sum()
    assert rows[1].rank == 2
    A, B = matrices[:2]
    assert rows[0].balance == pytest.approx((B**2).sum() - (A**2).sum(), rel=1e-12)
    assert rows[0].gram_defect == pytest.approx(np.linalg.norm(B.T @ B - A @ A.T), rel=1e-12)
    assert [row.gram_defect is None for row in rows] == [False, True, True, True, True]  # the second has a bias
    assert rows[-1].balance is None
    short = layer_numbers(weight_matrices(net), ranks=False)
    assert short[0].numbers() == {"0.weight/frobenius": rows[0].frobenius, "0.weight/balance": rows[0].balance}


def test_weights_stand_in_running_order_and_as_the_forward_uses_them():
    class Swapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.body = nn.Linear(D, K), nn.utils.spectral_norm(nn.Linear(5, D))

        def forward(self, x):
            return self.head(self.body(x))

    net = seeded(Swapped).eval()
    net(torch.as_tensor(data()[0]))
    weights = weight_matrices(net, ["body", "head", ""])
    assert [w.name for w in weights] == ["body.weight", "head.weight"]
    assert torch.equal(weights[0].matrix, net.body.weight)
    assert last_layer_features(net, data()).rho == pytest.approx(
        net.body.weight.norm().item() * net.head.weight.norm().item(), rel=1e-12
    )
