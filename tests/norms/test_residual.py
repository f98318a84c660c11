"""Residual networks keep distances within the certified factors: sampled pairs, exact Jacobians, attained cases."""

from __future__ import annotations

import json

import numpy as np
import pytest

from theory import InvalidInput, PreconditionError
from theory.architecture import Activation, Add, Architecture, Conv, Flatten, GraphBuilder, LayerNorm, Linear, outputs
from theory.norms.residual import bi_lipschitz
from theory.norms.smallest import smallest_gain


def residual(blocks: int, width: int = 3, activation: str = "relu") -> Architecture:
    g = GraphBuilder(width)
    x = g.input
    for _ in range(blocks):
        a = g.add(Linear(width), g.add(Activation(activation), g.add(Linear(width), x)))
        x = g.add(Add(), x, a)
    return g.build()


def constrained(net: Architecture, c: float, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights, every matrix scaled to operator norm sqrt(c), so that two layers have Lip <= c."""
    rng, W = np.random.default_rng(seed), {}
    for key, shape in net.parameters.items():
        M = rng.standard_normal(shape)
        W[key] = M * np.sqrt(c) / np.linalg.norm(M, 2) if len(shape) == 2 else M
    return W


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_sampled_pairs_stay_between(activation):
    net = residual(3, activation=activation)
    W = constrained(net, 0.6)
    found = bi_lipschitz(net, W)
    rng = np.random.default_rng(1)
    X = rng.standard_normal((2000, 3)) * 2
    d = rng.standard_normal((2000, 3)) * rng.choice([1e-4, 1.0, 10.0], (2000, 1))
    ratio = np.linalg.norm(outputs(net, W, X + d) - outputs(net, W, X), axis=1) / np.linalg.norm(d, axis=1)
    assert 0 < found.lower <= ratio.min() and ratio.max() <= found.upper
    slope = 1.13 if activation == "gelu" else 1.0
    assert found.lower == pytest.approx((1 - 0.6 * slope) ** 3, rel=0.05 if slope > 1 else 1e-9)
    json.dumps(found.to_json())


def test_exact_jacobians_of_a_relu_network():
    net = residual(2)
    W = constrained(net, 0.7, seed=3)
    found = bi_lipschitz(net, W)
    for x in np.random.default_rng(2).standard_normal((200, 3)) * 3:
        J = np.eye(3)
        for l in (1, 3):
            A, B = W[f"linear{l}.weight"], W[f"linear{l + 1}.weight"]
            z = A @ x + W[f"linear{l}.bias"]
            J = (np.eye(3) + B @ np.diag((z > 0).astype(float)) @ A) @ J
            x = x + B @ np.maximum(z, 0) + W[f"linear{l + 1}.bias"]
        sizes = np.linalg.svd(J)[1]
        assert found.lower <= sizes[-1] and sizes[0] <= found.upper


@pytest.mark.parametrize("c", [0.2, 0.9])
def test_attained_where_the_branch_turns_back(c):
    g = GraphBuilder(4)
    g.add(Add(), g.input, g.add(Linear(4, bias=False)))
    net = g.build()
    for sign, end in ((-1, "lower"), (1, "upper")):
        found = bi_lipschitz(net, {"linear1.weight": sign * c * np.eye(4)})
        assert getattr(found, end) == pytest.approx(1 + sign * c, rel=1e-12)
        exact = np.linalg.svd(np.eye(4) + sign * c * np.eye(4))[1]
        assert found.lower <= exact[-1] and exact[0] <= found.upper


def test_blocks_multiply_and_are_reported():
    net = residual(4)
    W = constrained(net, 0.5)
    found = bi_lipschitz(net, W)
    assert len(found.blocks) == 4 and found.blocks[1].reads == "add1" and found.blocks[0].reads == "input"
    assert found.lower == pytest.approx(np.prod([b.lower for b in found.blocks]), rel=1e-12)
    assert found.upper == pytest.approx(np.prod([b.upper for b in found.blocks]), rel=1e-12)
    assert all(b.branch == pytest.approx(0.5, rel=1e-9) and b.lower == pytest.approx(0.5) for b in found.blocks)
    # an affine map of the features, and the features in its midst
    part = bi_lipschitz(net, W, node="add2")
    assert part.lower == pytest.approx(found.blocks[0].lower * found.blocks[1].lower) and len(part.blocks) == 2


def test_projection_skip_and_convolution():
    g = GraphBuilder((1, 4))
    up = g.add(Conv(2, 1, bias=False), g.input, name="skip")
    branch = g.add(Conv(2, 3, padding=1, bias=False), g.add(Activation("relu"), g.input), name="branch")
    g.add(Flatten(), g.add(Add(), up, branch))
    net = g.build()
    rng = np.random.default_rng(5)
    W = {"skip.weight": np.array([2.0, 1.0]).reshape(2, 1, 1), "branch.weight": 0.2 * rng.standard_normal((2, 1, 3))}
    found = bi_lipschitz(net, W)
    assert found.blocks[0].lower == pytest.approx(np.sqrt(5) - found.blocks[0].branch, rel=1e-9)
    X, d = rng.standard_normal((500, 1, 4)), rng.standard_normal((500, 1, 4))
    ratio = np.linalg.norm(outputs(net, W, X + d) - outputs(net, W, X), axis=1) / np.linalg.norm(d[:, 0], axis=1)
    assert 0 < found.lower <= ratio.min() and ratio.max() <= found.upper


def test_nothing_is_claimed_where_distances_may_be_lost():
    net = residual(2)
    found = bi_lipschitz(net, constrained(net, 1.01))
    assert found.lower == 0 and not found.injective and found.reason == "add1"
    plain = Architecture.sequential([Linear(3), Activation("relu")], input_shape=3)
    found = bi_lipschitz(plain, {"linear1.weight": np.eye(3), "linear1.bias": np.zeros(3)})
    assert found.lower == 0 and found.reason == "activation1"
    leaky = Architecture.sequential([Linear(3), Activation("leaky_relu", slope=0.25)], input_shape=3)
    found = bi_lipschitz(leaky, {"linear1.weight": 2 * np.eye(3), "linear1.bias": np.zeros(3)})
    assert found.lower == pytest.approx(0.5) and found.upper == pytest.approx(2)
    with pytest.raises(InvalidInput, match="no node"):
        bi_lipschitz(net, constrained(net, 0.5), node="there")
    bad = Architecture.sequential([LayerNorm()], input_shape=3)
    with pytest.raises(PreconditionError):
        bi_lipschitz(bad, bad.random_weights(rng=0))


def test_many_blocks():
    net = residual(400, width=1)
    found = bi_lipschitz(net, constrained(net, 0.001))
    assert found.lower == pytest.approx(0.999**400, rel=1e-9)


@pytest.mark.parametrize("shape", [(3, 3), (6, 4), (40, 30)])
@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_smallest_gain_brackets_the_singular_value(shape, scale):
    W = np.random.default_rng(0).standard_normal(shape)
    exact = np.linalg.svd(W)[1][-1]
    found = smallest_gain(W * scale)
    assert found.lower <= exact * scale <= found.upper and found.ratio < 1 + 1e-10


def test_smallest_gain_of_hard_matrices():
    hilbert = 1 / (np.arange(6)[:, None] + np.arange(6) + 1.0)
    found = smallest_gain(hilbert)
    assert found.lower <= 1.0827994845655496e-07 <= found.upper and found.lower > 1e-7  # published value
    assert smallest_gain(np.ones((3, 3))).lower == 0 and smallest_gain(np.zeros((3, 2))).upper == 0
    assert smallest_gain(np.ones((2, 3))).upper == 0
