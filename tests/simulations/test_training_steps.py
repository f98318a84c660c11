"""Parts of an epoch: which samples, which labels, whose random numbers."""

import math

import numpy as np
import pytest
import torch

from simulations._training_steps import Stream, batches, noisy_labels, steps_per_epoch
from simulations.data import Dataset, digits
from simulations.networks import perceptron
from simulations.train import train
from tests.simulations.training import plan_of
from theory import InvalidInput


def draws(plan, y, seed=0):
    return batches(plan, y, torch.device("cpu"))(torch.Generator().manual_seed(seed))


def test_each_way_of_sampling():
    y = np.array([0] * 7 + [1] * 3 + [2])
    shuffled = draws(plan_of(batch_size=4), y)
    assert [len(b) for b in shuffled] == [4, 4, 3] and sorted(torch.cat(shuffled).tolist()) == list(range(11))
    assert torch.cat(shuffled).tolist() != torch.cat(draws(plan_of(batch_size=4), y, seed=1)).tolist()
    assert draws(plan_of(), y) == [None]
    drawn = torch.cat([torch.cat(draws(plan_of(batch_size=4, sampling="replacement"), y, s)) for s in range(400)])
    frequency = np.bincount(drawn.numpy(), minlength=11) / 400
    assert abs(frequency - 1).max() < 5 / math.sqrt(400) and len(drawn) == 4400
    for size in (None, 4):
        plan = plan_of(batch_size=size, sampling="balanced")
        index = torch.cat(draws(plan, y)).numpy()
        assert np.bincount(y[index]).tolist() == [7, 7, 7]
        assert sorted(np.bincount(index, minlength=11)) == [1] * 7 + [2, 2, 3, 7]
        assert len(draws(plan, y)) == steps_per_epoch(plan, y) == (1 if size is None else 6)
    # which of the three is taken once more changes from epoch to epoch
    third = {int(np.bincount(torch.cat(draws(plan, y, s)).numpy(), minlength=11)[7:10].argmax()) for s in range(20)}
    assert third == {0, 1, 2}


def test_label_noise():
    data = digits()
    clean, noisy, other = (noisy_labels(data, plan_of(label_noise=p, seed=s)) for p, s in ((0, 0), (0.3, 0), (0.3, 1)))
    assert np.array_equal(clean, data.y)
    changed = noisy != data.y
    assert changed.sum() == round(0.3 * len(data.y)) and (noisy != other).any()
    moved = np.bincount((noisy - data.y)[changed] % 10, minlength=10)
    assert moved[0] == 0 and abs(moved[1:] - changed.sum() / 9).max() < 5 * np.sqrt(changed.sum() / 9)
    assert (noisy_labels(data, plan_of(label_noise=1.0)) != data.y).all()
    run = train(lambda s: perceptron([64, 10], seed=s), data, plan_of(epochs=1, label_noise=0.3))
    assert np.array_equal(run.labels, noisy) and run.noisy == changed.sum() == run.to_json()["noisy_labels"]
    assert run.error[0] == (run_outputs(perceptron([64, 10]), data).argmax(axis=1) != noisy).mean()


def run_outputs(net, data):
    return net(torch.tensor(data.X, dtype=torch.float32)).detach().numpy()


def test_stream_goes_on_where_it_stopped():
    stream, device = Stream(3, torch.device("cpu")), torch.device("cpu")
    with stream.drawn():
        first = torch.rand(3)
        second = torch.rand(3)
    again = Stream(3, device)
    with again.drawn():
        assert torch.equal(torch.rand(3), first)
    torch.rand(5)
    with again.drawn():
        assert torch.equal(torch.rand(3), second)


def test_label_noise_that_empties_a_class_cannot_be_balanced():
    data = Dataset(name="pair", X=[[0.0], [1.0], [2.0]], y=[0, 0, 1])
    plans = [plan_of(label_noise=0.34, sampling="balanced", seed=seed) for seed in range(20)]
    with pytest.raises(InvalidInput, match="left a class empty"):
        [noisy_labels(data, plan) for plan in plans]
