"""Small data and modules that the tests of features share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

K, D = 4, 6


def data(n=60, seed=0, shape=(5,)):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % K)
    return rng.standard_normal((n, *shape)) + y.reshape(-1, *[1] * len(shape)), y


def seeded(build):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return build().double()


def perceptron(bias=True):
    return seeded(lambda: nn.Sequential(nn.Linear(5, D, bias=bias), nn.ReLU(), nn.Linear(D, K, bias=bias)))


def close(record, expected, rel=1e-12, abs=1e-14):
    first, second = record.to_json(), expected.to_json()
    assert first.pop("global_mean") == second.pop("global_mean")
    assert [name for name in first if first[name] is None] == [name for name in second if second[name] is None]
    first, second = ({k: v for k, v in values.items() if v is not None} for values in (first, second))
    assert first == pytest.approx(second, rel=rel, abs=abs)


def batches(X, y, size=16):
    return [(torch.as_tensor(X[i : i + size]), torch.as_tensor(y[i : i + size])) for i in range(0, len(y), size)]
