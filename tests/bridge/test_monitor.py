"""The monitor in loops of every kind: what it looks at and when, what it costs, what it must not change."""

from __future__ import annotations

import json
import math
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from simulations._output import json_text  # noqa: E402
from simulations.bridge import (  # noqa: E402
    CollapseMonitor,
    last_layer_features,
    lightning_callback,
    measure,
    tensorboard_writer,
)
from simulations.store import ResultsStore  # noqa: E402
from theory import InvalidInput, PreconditionError  # noqa: E402

torch.set_num_threads(1)
K = 4


def data(counts=(10, 10, 10, 10)):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(len(counts)), counts)
    return rng.standard_normal((len(y), 5)) + y[:, None], y


def network(K=K):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 6, bias=False), nn.ReLU(), nn.Linear(6, K, bias=False)).double()


class Clock:
    """Time that passes only when told, and by ``cost`` at each look, which reads it at its start and end."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def costly(monitor, clock, cost):
    """The monitor, with looks that take ``cost`` on the clock."""
    measured = monitor._measured

    def slow(model):
        clock.now += cost
        return measured(model)

    monitor._measured = slow
    return monitor


def epochs(monitor):
    return [record.epoch for record in monitor.records]


def test_epochs_that_are_named_are_looked_at():
    net = network()
    for every, expected in ((3, [0, 3, 6, 7]), ([5, 2], [2, 5, 7]), (np.int64(7), [0, 7]), ((), [7])):
        monitor = CollapseMonitor(data(), every=every, ranks=False)
        with monitor.watch(net) as same:
            assert same is monitor
            for epoch in range(1, 8):
                record = monitor.step()
                assert (record is None) == (epoch not in expected or (epoch == 7 and record is None))
        assert epochs(monitor) == expected


def test_spacing_is_geometric_where_looks_cost_nothing():
    clock = Clock()
    monitor = CollapseMonitor(data(), ranks=False, clock=clock)
    net = network()
    for epoch in range(70):
        clock.now += 1
        monitor.update(net, epoch)
    assert epochs(monitor) == [0, 1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64]


SEEN = {
    0.25: [0, 19, 25, 32, 45, 64, 91, 128, 181, 256, 362, 400],
    1.0: [0, 75, 100, 128, 181, 256, 362, 400],
    7.0: [0, 400],
}


@pytest.mark.parametrize("cost", SEEN)
def test_looks_stay_below_five_percent_of_the_training(cost):
    clock = Clock()
    monitor = costly(CollapseMonitor(data(), ranks=False, clock=clock), clock, cost)
    with monitor.watch(network()):
        for _ in range(400):
            clock.now += 1.0
            monitor.step()
    assert epochs(monitor) == SEEN[cost]
    assert monitor.training_seconds == pytest.approx(400)
    assert monitor.seconds == pytest.approx(cost * len(monitor.records))
    assert monitor.seconds < 0.05 * monitor.training_seconds


def test_a_look_that_is_put_off_comes_as_soon_as_it_is_paid():
    clock = Clock()
    monitor = costly(CollapseMonitor(data(), ranks=False, clock=clock, budget=0.1), clock, 1.0)
    net = network()
    for epoch in range(41):
        monitor.update(net, epoch)
        clock.now += 1.0
    assert epochs(monitor) == [0, 30, 40]  # 1 + 2 <= 0.1 * 30, then 2 + 2 <= 0.1 * 40
    assert [record.training_seconds for record in monitor.records] == [0, 30, 40]
    assert [record.seconds for record in monitor.records] == [1, 1, 1]


def test_numbers_are_those_of_the_features():
    net = network()
    monitor = CollapseMonitor(data(), every=1)
    record = monitor.look(net, 3)
    last = last_layer_features(net, data(), ranks=True)
    numbers = record.numbers()
    assert record.metrics == last.metrics
    for name, value in last.metrics.to_json().items():
        if name.startswith("nc") or name == "bias_collapse":
            assert numbers[name] == value
    for name in ("error", "cross_entropy", "min_margin", "mean_margin", "normalised_margin", "rho"):
        assert numbers[name] == getattr(last, name)
    first, second = (net[i].weight.detach().numpy() for i in (0, 2))
    assert numbers["rho"] == pytest.approx(np.linalg.norm(first) * np.linalg.norm(second), rel=1e-12)
    assert numbers["0.weight/spectral"] == pytest.approx(np.linalg.norm(first, 2), rel=1e-12)
    assert numbers["0.weight/balance"] == pytest.approx((second**2).sum() - (first**2).sum(), rel=1e-12)
    assert numbers["0.weight/gram_defect"] == pytest.approx(np.linalg.norm(second.T @ second - first @ first.T))
    assert numbers["2.weight/rank"] == 4
    assert record.homogeneous is True
    assert all(isinstance(value, float) for value in numbers.values())


def groups(counts, W):
    net = nn.Sequential(nn.Identity(), nn.Linear(5, len(counts), bias=False).double())
    net[1].weight.data = torch.as_tensor(np.asarray(W, dtype=float))
    return CollapseMonitor(data(counts), every=1).look(net, 0)


def test_minority_cosine_and_merging():
    rng = np.random.default_rng(1)
    W = rng.standard_normal((5, 5))

    def cosine(group):
        pairs = [(i, j) for i in group for j in group if i < j]
        return np.mean([W[i] @ W[j] / np.linalg.norm(W[i]) / np.linalg.norm(W[j]) for i, j in pairs])

    def merging(group):
        return max(np.linalg.norm(W[i] - W[j]) for i in group for j in group) / max(np.linalg.norm(w) for w in W)

    for counts, rare, frequent in (
        ((9, 3, 9, 3, 3), (1, 3, 4), (0, 2)),  # two groups
        ((9, 3, 6, 3, 5), (1, 3), (0, 2)),  # one class is most frequent: those above the median
        ((20, 8, 4, 12, 6), (2, 4), (0, 3)),  # a long tail: halves
    ):
        record = groups(counts, W)
        assert record.minority == rare
        assert record.minority_cosine == pytest.approx(cosine(rare), rel=1e-12)
        assert record.majority_cosine == pytest.approx(cosine(frequent), rel=1e-12)
        assert record.minority_merge_ratio == pytest.approx(merging(rare), rel=1e-12)
    alone = groups((9, 9, 1, 9, 9), W)  # one rare class, none below the median beside it
    assert alone.minority == (2,) and math.isnan(alone.minority_cosine) and math.isnan(alone.minority_merge_ratio)
    assert alone.majority_cosine == pytest.approx(cosine((0, 1, 3, 4)), rel=1e-12)
    W[[1, 3, 4]] = W[1]
    merged = groups((9, 3, 9, 3, 3), W)
    assert merged.minority_merge_ratio == 0 and merged.minority_cosine == pytest.approx(1)
    W[[1, 3, 4]] *= 1e-30  # vanished: its angles are rounding noise
    vanished = groups((9, 3, 9, 3, 3), W)
    assert math.isnan(vanished.minority_cosine) and vanished.minority_merge_ratio == 0
    equal = groups((4, 4, 4, 4, 4), W)
    assert equal.minority == () and math.isnan(equal.minority_cosine)


@pytest.mark.parametrize("counts", [(9, 3, 9, 3, 3), (20, 8, 4, 12, 6), (9, 9, 1, 9, 9), (7, 7, 5, 7, 2)])
def test_a_number_is_the_same_under_one_name(counts):
    net = network(K=5)
    seen, measured = (
        CollapseMonitor(data(counts), every=1).look(net, 0).numbers(),
        measure(net, data(counts)).quantities,
    )
    for name in ("minority_cosine", "majority_cosine", "minority_merge_ratio"):
        assert seen[name] == pytest.approx(measured[name], rel=1e-12, nan_ok=True)
    assert seen["mean_margin"] == pytest.approx(measured["mean_margin"], rel=1e-12)
    assert seen["cross_entropy"] == pytest.approx(measured["loss"], rel=1e-12)


def train(net, epochs, monitor=None, lr=0.1):
    X, y = (torch.as_tensor(part) for part in data())
    optimiser = torch.optim.SGD(net.parameters(), lr=lr)
    for epoch in range(1, epochs + 1):
        for i in torch.randperm(len(y)).split(8):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(X[i]), y[i]).backward()
            optimiser.step()
        if monitor is not None:
            monitor.update(net, epoch)
    return [p.detach().clone() for p in net.parameters()]


def test_training_is_the_same_with_a_monitor():
    torch.manual_seed(0)
    plain = train(network(), 5)
    torch.manual_seed(0)
    monitor = CollapseMonitor(data(), every=1)
    watched = train(network(), 5, monitor)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert epochs(monitor) == [1, 2, 3, 4, 5]
    assert monitor.records[-1].cross_entropy < monitor.records[0].cross_entropy


def test_a_training_that_diverges_goes_on_and_is_noted():
    net = network()
    monitor = CollapseMonitor(data(), every=1)
    monitor.look(net, 0)
    net[0].weight.data.fill_(math.nan)
    record = monitor.update(net, 1)
    assert record.metrics is None and math.isnan(record.error) and "finite" in record.notes[0]
    net[0].weight.data.zero_()
    assert "coincide" in monitor.update(net, 2).notes[0]
    table = monitor.table()
    assert np.isnan(table["nc1_zhu"]).tolist() == [False, True, True]
    json_text(monitor.to_json())
    with pytest.raises(InvalidInput, match="labels must be below"):  # a mistake, and no matter of the training
        CollapseMonitor((data()[0], data()[1] + 1)).update(net, 0)


def test_tables_stores_and_json():
    with ResultsStore(":memory:") as store:
        monitor = CollapseMonitor(data(), every=1, store=store, run="first")
        train(network(), 3, monitor)
        rows = store.read("first")
    assert [row["step"] for row in rows] == [1, 2, 3]
    table = monitor.table(["nc1_zhu", "0.weight/rank"])
    assert list(table) == ["epoch", "nc1_zhu", "0.weight/rank"]
    assert table["epoch"].tolist() == [1, 2, 3]
    assert [row["nc1_zhu"] for row in rows] == table["nc1_zhu"].tolist()
    assert [record.metrics.nc1_zhu for record in monitor.records] == table["nc1_zhu"].tolist()
    assert rows[2].keys() - {"step"} == monitor.records[2].numbers().keys()
    loaded = json.loads(json_text(monitor.to_json()))
    assert loaded["run"] == "first" and [row["epoch"] for row in loaded["records"]] == [1, 2, 3]
    assert len(loaded["records"][0]["layers"][1]["singular_values"]) == K
    assert "3 records" in repr(monitor) and "epoch=2" in repr(monitor.records[1])
    with pytest.raises(InvalidInput, match="no number 'nc9'; they have error"):
        monitor.table(["nc9"])


def test_ranks_are_left_out_where_they_are_not_asked():
    names = CollapseMonitor(data(), ranks=False).look(network(), 0).numbers()
    assert "0.weight/frobenius" in names and "0.weight/spectral" not in names and "0.weight/gram_defect" not in names


def test_as_a_training_callback():
    monitor = CollapseMonitor(data(), every=2)
    for epoch in range(4):
        monitor(epoch, network(), SimpleNamespace(loss=0.0))
    assert epochs(monitor) == [0, 2]


def test_watching_goes_on_from_an_epoch_and_ends_without_a_look_at_an_error():
    monitor = CollapseMonitor(data(), every=10)
    with monitor.watch(network(), epoch=20):
        monitor.step()
    assert epochs(monitor) == [20, 21]

    def interrupted():
        with monitor.watch(network(), epoch=30):
            monitor.step()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert epochs(monitor) == [20, 21, 30]
    with pytest.raises(PreconditionError, match="step needs a watched model"):
        monitor.step()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"every": 0}, "every must be at least 1"),
        ({"every": 1.5}, "whole number"),
        ({"every": True}, "real number"),
        ({"every": "all"}, "but is 'all'"),
        ({"every": [-1]}, "an epoch of every must be at least 0"),
        ({"budget": 0}, "budget must be positive"),
    ],
)
def test_schedules_that_are_none_are_refused(wrong, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        CollapseMonitor(data(), **wrong)


def test_epochs_are_whole_numbers():
    with pytest.raises(InvalidInput, match="epoch must be at least 0"):
        CollapseMonitor(data()).update(network(), -1)


class Writer:
    def __init__(self):
        self.scalars = []

    def add_scalar(self, tag, value, step):
        self.scalars.append((tag, value, step))


def test_tensorboard_gets_past_and_future_records():
    writer, net = Writer(), network()
    monitor = CollapseMonitor(data(), every=1)
    monitor.update(net, 0)
    assert tensorboard_writer(monitor, writer) is monitor
    monitor.update(net, 1)
    expected = [
        (f"collapse/{name}", value, record.epoch)
        for record in monitor.records
        for name, value in record.numbers().items()
    ]
    assert str(writer.scalars) == str(expected)  # as text, since NaN differs from itself


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_lightning_hooks_are_called_in_its_order(monkeypatch, package):
    """Lightning is not installed where this was written: a stub of its ``Callback`` and trainer stands for it."""
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PreconditionError, match="needs Lightning"):
        lightning_callback(CollapseMonitor(data()))
    stub = ModuleType(package)
    stub.Callback = type("Callback", (), {})
    monkeypatch.setitem(sys.modules, package.split(".")[0], ModuleType(package.split(".")[0]))
    monkeypatch.setitem(sys.modules, package, stub)

    logged = []
    logger = SimpleNamespace(log_metrics=lambda values, step: logged.append((step, values)))
    trainer = SimpleNamespace(current_epoch=0, is_global_zero=True, loggers=[logger])
    monitor, net = CollapseMonitor(data(), every=2), network()
    callback = lightning_callback(monitor)
    assert isinstance(callback, stub.Callback)
    callback.on_train_start(trainer, net)
    for trainer.current_epoch in range(3):
        callback.on_train_epoch_end(trainer, net)
    callback.on_train_end(trainer, net)
    assert epochs(monitor) == [step for step, _ in logged] == [0, 2, 3]
    assert logged[1][1]["collapse/nc1_zhu"] == monitor.records[1].metrics.nc1_zhu
    trainer.is_global_zero, trainer.current_epoch = False, 3
    callback.on_train_epoch_end(trainer, net)
    assert len(monitor.records) == 3
