"""Dense networks without biases: the same function of the inputs and a constant 1."""

from __future__ import annotations

import numpy as np

from theory.bounds._chain import Chain
from theory.bounds._network import Network
from theory.bounds._report import Assumption


def homogenised(chain: Chain, *, centre: bool = True, reference: bool = False) -> tuple[np.ndarray, ...]:
    r"""Matrices of the same function of [x; 1] without biases; of x where no layer has one.

    ``[[W, b], [0, 1]]`` before the last layer and ``[W, b]`` there, *derived*: an activation with sigma(1) = 1 carries
    the 1. Scores may all be shifted together, so the mean row of a last layer with more than one row is taken off.

    Parameters
    ----------
    chain : of dense layers.
    centre : whether to take the mean row off.
    reference : the matrices of the reference in place of the trained ones; zero where there is none.
    """
    found = []
    for index, layer in enumerate(chain.layers):
        W, b = (layer.reference, layer.reference_bias) if reference else (layer.weight, layer.bias)
        W, last = np.zeros_like(layer.weight) if W is None else W, index == len(chain) - 1
        if chain.has_bias:
            b = np.zeros(len(W)) if b is None else b
            W = np.column_stack([W, b])
            if not last:
                W = np.vstack([W, np.eye(1, W.shape[1], W.shape[1] - 1)])
        found.append(W - W.mean(axis=0) if centre and last and len(W) > 1 else W)
    return tuple(found)


def dense(network: Network) -> Assumption:
    """Every layer is a full matrix."""
    holds = network.not_a_chain is None and network.chain.dense
    reason = "all are" if holds else "a layer is a kernel or diagonal"
    return Assumption(name="dense layers", holds=holds, reason=reason)
