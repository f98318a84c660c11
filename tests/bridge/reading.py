"""What a reading test asks: the network and its folded form are the module, in float64."""

from __future__ import annotations

import numpy as np
import torch

from simulations.bridge.architecture import read_architecture
from theory.architecture import fold, outputs

torch.set_num_threads(1)
STRICT = {"rtol": 1e-10, "atol": 1e-10}


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
