"""Norms of every layer of a network against its explicit linear maps."""

import numpy as np
import pytest

from theory._errors import InvalidInput
from theory.architecture import Activation, Architecture, BatchNorm, Conv, Flatten, Linear, fold, node_values
from theory.norms.layers import layer_norms

NET = Architecture.sequential(
    [Conv(4, 3, padding=1, stride=2, groups=2), BatchNorm(), Activation("relu"), BatchNorm(), Flatten(), Linear(3)],
    input_shape=(2, 6, 6),
)


def test_every_layer_against_its_matrix():
    rng = np.random.default_rng(0)
    weights = {k: np.abs(rng.normal(size=s)) + 0.1 for k, s in NET.parameters.items()}
    graph, named = fold(NET, weights)
    found = layer_norms(NET, weights)
    assert [layer.name for layer in found] == ["conv1", "batchnorm2", "linear1"]
    assert [layer.kind for layer in found] == ["conv", "scale", "linear"]
    for layer in found:
        node = graph[layer.name]
        d = int(np.prod(node.input_shapes[0]))
        alone = Architecture.sequential({node.name: node.operation}, input_shape=node.input_shapes[0])
        free = {k: np.zeros_like(v) if k.endswith("bias") else v for k, v in named.items()}
        inputs = np.eye(d).reshape(d, *node.input_shapes[0])
        A = node_values(alone, free, inputs)[node.name].reshape(d, -1).T
        sigma = np.linalg.norm(A, 2)
        assert layer.spectral.lower <= sigma * (1 + 1e-12)
        assert sigma <= layer.spectral.upper <= 1.01 * sigma
        W = named[f"{layer.name}.weight"]
        assert layer.shape == W.shape
        assert layer.frobenius == pytest.approx(np.sqrt((W**2).sum()), rel=1e-12)
        assert layer.norm_1_inf == pytest.approx(np.abs(A).sum(axis=1).max(), rel=1e-12)
        rows = np.linalg.norm(W.reshape(len(W), -1), axis=1) if W.ndim < 3 else np.linalg.norm(W, axis=1)
        assert layer.norm_2_1 == pytest.approx(rows.sum(), rel=1e-12)
        assert layer.to_json()["spectral"]["upper"] == layer.spectral.upper


def test_no_layers():
    with pytest.raises(InvalidInput, match="no layer with weights"):
        layer_norms(Architecture.sequential([Flatten()], input_shape=(2, 2)), {})
