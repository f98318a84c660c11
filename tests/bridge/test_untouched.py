"""Nothing of the user's is changed: module, gradients, hooks, loader and random states, also where a forward raises."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from simulations.bridge import CollapseMonitor, last_layer_features, measure, predict  # noqa: E402
from tests.bridge.small import D, K, batches, close, data, perceptron, seeded  # noqa: E402
from theory import InvalidInput  # noqa: E402
from theory.collapse import collapse_metrics  # noqa: E402

torch.set_num_threads(1)


class Awkward(nn.Module):
    """Batch norm, old and new weight norm, dropout, an attribute and a buffer that the forward changes."""

    def __init__(self):
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Linear(5, 8))
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.5)
        self.second = nn.utils.spectral_norm(nn.Linear(8, D))
        self.head = nn.Linear(D, K)
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("rebound", torch.zeros(1))
        self.last = None
        self.fails_at = np.inf
        self.count = 0

    def forward(self, x):
        self.calls += 1
        self.rebound = self.rebound + 1
        self.count += 1
        self.last = x
        if self.count == 1:  # counted anew before the look
            self.fresh = x
        torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002
        if self.count >= self.fails_at:
            raise ZeroDivisionError
        return self.head(input=torch.relu(self.second(self.drop(torch.relu(self.norm(self.first(x)))))))


def snapshot(net):
    return {
        "state": {name: value.clone() for name, value in net.state_dict().items()},
        "identity": {name: id(value) for name, value in (*net.named_parameters(), *net.named_buffers())},
        "modes": [part.training for part in net.modules()],
        "hooks": [
            [(list(part.__dict__[name].items())) for name in sorted(part.__dict__) if "hooks" in name]
            for part in net.modules()
        ],
        "attributes": [
            {k: id(v) for k, v in part.__dict__.items() if not isinstance(v, bool | int)} for part in net.modules()
        ],
        "plain": [{k: v for k, v in part.__dict__.items() if isinstance(v, bool | int)} for part in net.modules()],
        "grads": [(id(p.grad), None if p.grad is None else p.grad.clone(), p.requires_grad) for p in net.parameters()],
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1:],  # noqa: NPY002
        "python": random.getstate(),
    }


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0, msg=name) if name in (
            "state",
            "torch",
        ) else None
    for name in ("identity", "modes", "hooks", "attributes", "plain", "python"):
        assert first[name] == second[name], name
    for (i, g, r), (j, h, s) in zip(first["grads"], second["grads"], strict=True):
        assert (i, r) == (j, s)
        assert g is h is None or torch.equal(g, h)
    assert all(np.array_equal(a, b) for a, b in zip(first["numpy"], second["numpy"], strict=True))


def awkward():
    net = seeded(Awkward)
    X, y = data()
    nn.functional.cross_entropy(net(torch.as_tensor(X)), torch.as_tensor(y)).backward()  # grads, running statistics
    net.norm.eval()  # a frozen layer in a net that trains
    net.head.bias.requires_grad_(False)
    net.first.register_forward_hook(lambda *_: None)
    net.head.register_forward_pre_hook(lambda *_: None)
    net.count = 0
    del net.fresh
    return net, X, y


# forward 1 finds the classifier, 2-5 are the first pass, 6-9 the second
@pytest.mark.parametrize("fails_at", [np.inf, 1, 3, 7])
def test_the_module_is_left_as_it_was(fails_at):
    net, X, y = awkward()
    net.fails_at = fails_at
    loader = DataLoader(
        TensorDataset(torch.as_tensor(X), torch.as_tensor(y)),
        batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    before, order = snapshot(net), loader.generator.get_state()
    if fails_at == np.inf:
        last_layer_features(net, loader, cache=0)
    else:
        with pytest.raises(ZeroDivisionError):
            last_layer_features(net, loader, cache=0)
    assert_same(before, snapshot(net))
    assert torch.equal(order, loader.generator.get_state())


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_scripted_parts_keep_their_mode_and_are_read():
    body = torch.jit.script(nn.Sequential(nn.Linear(5, D), nn.Dropout(0.5)))
    net, (X, y) = nn.Sequential(body, nn.Linear(D, K)).double(), data()
    first, second = (last_layer_features(net, (X, y)) for _ in range(2))
    assert all(part.training for part in net.modules())
    H = nn.functional.linear(torch.as_tensor(X), *(p.detach() for p in body.parameters())).numpy()
    close(first.metrics, collapse_metrics(H, y, first.classifier, first.bias))  # no dropout
    assert [row.name for row in second.layers] == ["0.0.weight", "1.weight"]


@pytest.mark.parametrize("loader", ["bad label", "bad second batch", "nothing"])
def test_the_module_is_left_as_it_was_by_a_loader_that_is_refused(loader):
    net, X, y = awkward()
    before = snapshot(net)
    bad = {"bad label": batches(X, y + 1), "bad second batch": [(X[:9], y[:9]), X[9:]], "nothing": []}[loader]
    with pytest.raises(InvalidInput):
        last_layer_features(net, bad)
    assert_same(before, snapshot(net))


def test_a_training_run_is_the_same_with_and_without_a_look():
    X, y = data()
    ends = []
    for look in (False, True):
        torch.manual_seed(0)
        net = seeded(Awkward)
        loader = DataLoader(TensorDataset(torch.as_tensor(X), torch.as_tensor(y)), batch_size=16, shuffle=True)
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            for inputs, labels in loader:
                optimiser.zero_grad()
                nn.functional.cross_entropy(net(inputs), labels).backward()
                optimiser.step()
                if look:
                    last_layer_features(net, loader)
        net.calls.zero_(), net.rebound.zero_()
        ends.append(copy.deepcopy(net.state_dict()))
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=0)


class Augmented(TensorDataset):
    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x + torch.randn(x.shape, dtype=x.dtype), y


def test_both_passes_see_the_same_augmentations_and_order():
    X, y = (torch.as_tensor(part) for part in data())
    loader = DataLoader(Augmented(X, y), batch_size=16, shuffle=True)
    net = perceptron()
    once, twice = (last_layer_features(net, loader, cache=cache) for cache in (2**26, 0))
    close(twice.metrics, once.metrics)
    assert not twice.notes


LOOKS = {
    "features": last_layer_features,
    "measure": measure,
    "predict": lambda net, data: predict(net, None, 1e-3, loader=data),
    "monitor": lambda net, data: CollapseMonitor(data, every=1).update(net, 0),
}


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(5, D), nn.Linear(D, K)

    def forward(self, x):
        x *= 2
        return self.head(torch.tanh(self.body(x)))


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("arrays", [False, True])
def test_data_stay_as_they_were_where_the_forward_works_in_place(look, arrays):
    net, (X, y) = seeded(InPlace), data()
    given = (X, y) if arrays else (torch.as_tensor(X), torch.as_tensor(y))
    held = X.copy()
    LOOKS[look](net, given)
    assert np.array_equal(X, held)
    H = np.tanh(nn.functional.linear(torch.as_tensor(2 * X), net.body.weight, net.body.bias).detach().numpy())
    W, b = (p.detach().numpy() for p in (net.head.weight, net.head.bias))
    for found in (last_layer_features(net, given), last_layer_features(net, given, cache=0), measure(net, given)):
        close(found.metrics, collapse_metrics(H, y, W, b))


@pytest.mark.parametrize("look", LOOKS)
def test_a_normalisation_that_iterates_in_training_mode_stands_still(look):
    net, (X, y) = seeded(lambda: nn.Sequential(nn.Linear(5, D), nn.ReLU(), nn.Linear(D, K))), data()
    for part in (net[0], net[2]):
        nn.utils.parametrizations.spectral_norm(part)
    net.train()
    before = snapshot(net)
    LOOKS[look](net, (X, y))
    assert_same(before, snapshot(net))


class Stubborn(nn.Module):
    """Goes back to training mode by itself, where batch normalisation writes its statistics."""

    def __init__(self):
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(5, D), nn.BatchNorm1d(D), nn.Linear(D, K)

    def forward(self, x):
        self.norm.train()
        return self.head(self.norm(self.body(x)))


@pytest.mark.parametrize("look", LOOKS)
def test_statistics_that_are_written_all_the_same_are_put_back(look):
    net, (X, y) = seeded(Stubborn), data()
    before = snapshot(net)
    LOOKS[look](net, (X, y))
    assert_same(before, snapshot(net))


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: nn.Sequential(nn.LazyLinear(D), nn.Linear(D, K)), "'0.weight' has no values yet"),
        (lambda: nn.Linear(5, K, device="meta"), "'weight' has no values yet"),
        (lambda: nn.Linear(5, K, dtype=torch.complex64), "'weight' is torch.complex64"),
        (lambda: nn.Linear(7, K), "does not run on inputs of shape .16, 5., float32: mat1 and mat2"),
    ],
)
def test_modules_that_cannot_run_are_refused(look, build, said):
    net = build()
    lazy = torch.nn.parameter.is_lazy(next(net.parameters()))
    with pytest.raises(InvalidInput, match=said):
        LOOKS[look](net, data())
    assert torch.nn.parameter.is_lazy(next(net.parameters())) is lazy


def test_wrapped_modules_are_measured_inside():
    net, (X, y) = perceptron(), data()
    alone, wrapped = measure(net, (X, y)), measure(nn.DataParallel(net), (X, y))
    assert wrapped.layer == alone.layer == "2" and wrapped.to_json() == alone.to_json()


@pytest.mark.parametrize("look", LOOKS)
def test_sparse_buffers_are_no_hindrance(look):
    class Graph(nn.Linear):
        def __init__(self):
            super().__init__(5, K)
            self.register_buffer("A", torch.eye(5).to_sparse())

    net = seeded(Graph)
    LOOKS[look](net, data())
    assert torch.equal(net.A.to_dense(), torch.eye(5, dtype=torch.float64))
