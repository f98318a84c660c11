"""What a reading test asks: the network and its folded form are the module, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simulations.bridge.architecture import read_architecture
from theory.architecture import fold, outputs

torch.set_num_threads(1)
STRICT = {"rtol": 1e-10, "atol": 1e-10}


@pytest.fixture(autouse=True)
def seeded():
    """The networks of a test module that imports this are the same in every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def evaluated(net, X, dtype=torch.float64):
    with torch.no_grad():
        return net.to(dtype).eval()(torch.from_numpy(X).to(dtype)).double().numpy()


def samples(shape, n=4, seed=1):
    return np.random.default_rng(seed).standard_normal((n, *shape))


def agrees(net, shape, read=None, **how):
    """The read network and its folded form are the module in float64; spends the module. Returns what was read."""
    X = samples(shape)
    read = read_architecture(net, torch.zeros(1, *shape), **how) if read is None else read
    want = evaluated(net, X)
    np.testing.assert_allclose(outputs(read.architecture, read.weights, X), want, **STRICT)
    np.testing.assert_allclose(outputs(*fold(read.architecture, read.weights), X), want, **STRICT)
    return read
