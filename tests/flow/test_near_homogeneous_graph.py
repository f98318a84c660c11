"""Graphs with skips: the defect polynomials against derivatives, chains, and the homogenised network."""

import numpy as np
import pytest

from theory import InvalidInput, PreconditionError
from theory.architecture import Activation, Add, Architecture, BatchNorm, Conv, Flatten, GraphBuilder, Linear, outputs
from theory.flow import fully_connected, near_homogeneity
from theory.flow.near_homogeneous_graph import graph_near_homogeneity


def residual(bias=True, blocks=2, width=3, classes=1):
    g = GraphBuilder(width)
    at = g.input
    for _ in range(blocks):
        inner = g.add(Activation("relu"), g.add(Linear(width, bias=bias), at))
        at = g.add(Add(), at, g.add(Linear(width, bias=bias), inner))
    g.add(Linear(classes, bias=bias), at)
    return g.build()


def convolutional():
    g = GraphBuilder((2, 4, 4))
    first = g.add(Activation("leaky_relu", slope=0.3), g.add(Conv(3, 3, padding=1), g.input))
    at = g.add(Add(), first, g.add(Conv(3, 3, padding=1), first))
    g.add(Linear(2), g.add(Flatten(), at))
    return g.build()


def value(net, weights, X, c=1.0):
    """s: the output, or the difference of the first two."""
    f = outputs(net, {name: c * array for name, array in weights.items()}, X)
    return f[:, 0] if f.shape[1] == 1 else f[:, 0] - f[:, 1]


@pytest.mark.parametrize("net", [residual(), residual(False), residual(classes=3, blocks=1), convolutional()])
@pytest.mark.parametrize("scale", [0.1, 0.5, 2.0])
def test_defect_is_bounded(net, scale):
    rng, radius = np.random.default_rng(0), 1.7
    near = graph_near_homogeneity(net, radius=radius)
    found = []
    for _ in range(20):
        weights = {name: scale * rng.standard_normal(shape) for name, shape in net.parameters.items()}
        X = rng.standard_normal((4, *net.input_shape))
        X *= radius / np.linalg.norm(X.reshape(4, -1), axis=1).reshape(-1, *[1] * (X.ndim - 1))
        rho, h = np.sqrt(sum((array**2).sum() for array in weights.values())), 1e-5
        pull = (value(net, weights, X, 1 + h) - value(net, weights, X, 1 - h)) / (2 * h)   # <h, theta>, by Euler
        gap = np.abs(pull - near.degree * value(net, weights, X))
        assert (gap <= near.defect_bound(rho) * (1 + 1e-6)).all()
        found.append(gap.max() / near.defect_bound(rho))
    assert max(found) > 1e-4                                       # and it is not zero


def test_the_skip_alone_attains_its_coefficient():
    net = residual(False, blocks=1)
    near = graph_near_homogeneity(net, radius=2.0)
    weights = {name: np.zeros(shape) for name, shape in net.parameters.items()}
    last = net.output + ".weight"
    weights[last] = np.array([[1.5, 0.0, 0.0]])
    s = value(net, weights, np.array([[2.0, 0.0, 0.0]]))[0]
    assert near.degree == 3 and np.allclose(near.defect, [0, 4, 0], rtol=1e-12)
    assert abs(abs(1 * s - 3 * s) - near.defect_bound(1.5)) < 1e-12


@pytest.mark.parametrize("widths", [(2, 3, 1), (3, 4, 4, 2)])
def test_a_chain_is_the_network_with_biases(widths):
    layers = []
    for width in widths[1:-1]:
        layers += [Linear(width), Activation("relu")]
    net = Architecture.sequential([*layers, Linear(widths[-1])], input_shape=widths[0])
    ours, theirs = graph_near_homogeneity(net, radius=3.0), near_homogeneity(fully_connected(widths, bias=True))
    assert ours.degree == theirs.degree
    assert np.allclose(ours.defect, theirs.defect, rtol=1e-12)
    assert np.allclose(ours.remainder, theirs.remainder, rtol=1e-12)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_remainder_is_the_distance_to_the_homogenised_network(scale):
    rng, net = np.random.default_rng(1), residual(True, blocks=2)
    near = graph_near_homogeneity(net, radius=1.0)
    first = [n.name for n in net.nodes if isinstance(n.operation, Linear)]
    for _ in range(30):
        w = {name: scale * rng.standard_normal(shape) for name, shape in net.parameters.items()}
        X = rng.standard_normal((5, 3))
        X /= np.linalg.norm(X, axis=1, keepdims=True)
        rho = np.sqrt(sum((array**2).sum() for array in w.values()))
        W = [w[f"{name}.weight"] for name in first]
        b0 = w[f"{first[0]}.bias"]
        a = np.maximum(X @ W[0].T + b0, 0) @ W[1].T                # skips and later biases are of lower degree
        a = np.maximum(a @ W[2].T, 0) @ W[3].T
        top = (a @ W[4].T)[:, 0]
        assert (np.abs(value(net, w, X) - top) <= near.remainder_bound(rho) * (1 + 1e-12)).all()


def test_refusals():
    with pytest.raises(PreconditionError, match="batch"):
        graph_near_homogeneity(Architecture.sequential([Linear(2), BatchNorm()], input_shape=3), radius=1.0)
    with pytest.raises(PreconditionError, match="activation"):
        graph_near_homogeneity(Architecture.sequential([Linear(2), Activation("tanh")], input_shape=3), radius=1.0)
    mirrored = [Conv(2, 3, padding=1, padding_mode="reflect"), Flatten(), Linear(1)]
    with pytest.raises(PreconditionError, match="reflect"):
        graph_near_homogeneity(Architecture.sequential(mirrored, input_shape=(1, 4, 4)), radius=1.0)
    with pytest.raises(InvalidInput, match="radius"):
        graph_near_homogeneity(residual(), radius=-1.0)


def test_a_convolution_on_the_skip_attains_its_coefficient():
    g = GraphBuilder((1, 6))
    conv = {"kernel_size": 3, "padding": 1, "padding_mode": "circular", "bias": False}
    short = g.add(Conv(1, **conv), g.input, name="short")
    long = g.add(Conv(1, **conv), g.add(Conv(1, **conv), g.input))
    g.add(Linear(1, bias=False), g.add(Flatten(), g.add(Add(), short, long)))
    net = g.build()
    near = graph_near_homogeneity(net, radius=1.0)
    weights = {name: np.zeros(shape) for name, shape in net.parameters.items()}
    weights["short.weight"] = np.full((1, 1, 3), 1 / np.sqrt(6))
    weights[net.output + ".weight"] = np.full((1, 6), 1 / np.sqrt(12))
    s = value(net, weights, np.full((1, 1, 6), 1 / np.sqrt(6)))[0]
    assert near.degree == 3 and abs(s - np.sqrt(3) / 2) < 1e-12
    assert abs(abs(2 * s - 3 * s) - near.defect_bound(1.0)) < 1e-12     # two tensors, one less than the deepest path
