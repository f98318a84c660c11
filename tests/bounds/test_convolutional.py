"""Convolutional peeling: exact complexities of small shared convolutions, patches and taps by brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from theory.architecture import (
    Activation,
    Architecture,
    AvgPool,
    Conv,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    Linear,
    MaxPool,
    Scale,
    outputs,
)
from theory.bounds._layered import cosh_factor
from theory.bounds._problem import Problem
from theory.bounds.convolutional import (
    Convolutional,
    alternatives,
    kernel_norms,
    patch_root_mean_square,
)
from theory.bounds.frobenius import Frobenius
from theory.norms import toeplitz_matrix

RELU = Activation("relu")
BOUND = Convolutional()
ANGLES = np.linspace(0, 2 * np.pi, 721)[:-1]
UNIT = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
SAFE = 1 / np.cos(np.pi / 720)


def problem(ops, shape, *, bias=True, n=30, seed=0, X=None, **changes):
    net = Architecture.sequential(ops, input_shape=shape)
    rng = np.random.default_rng(seed)
    weights = net.random_weights(rng=rng)
    for key, value in weights.items():
        if value.ndim == 1:
            weights[key] = rng.standard_normal(value.shape) * (bias or not key.endswith(".bias"))
    X = rng.standard_normal((n, *net.input_shape)) if X is None else X
    y = rng.integers(0, max(2, net.output_shape[0]), len(X))
    return Problem(net, weights | changes, (X, y))


def rademacher(p):
    """What the Rademacher complexity of the class is at most, for the norms of p's network."""
    q = {**BOUND.compute(p, 0.1, None).quantities, "gamma": 1.0}
    expression = BOUND.symbolic_form(p).complexity
    return float(expression.subs({s: q[s.name] for s in expression.free_symbols})) / (2 if p.chain.scalar else 4)


def signs(n):
    return np.array(list(itertools.product([-1.0, 1.0], repeat=n)))


# ---- exact complexities of f(x) = sum_t v_t relu(w . patch_t), |w| <= F_1, sum |v_t| <= G_2


def patches(X, k, pad):
    padded = np.pad(X[:, 0], ((0, 0), (pad, pad)))
    return np.stack([padded[:, t : t + k] for t in range(padded.shape[1] - k + 1)], axis=1)  # sample, position, k


@pytest.mark.parametrize("pad", [0, 1])
@pytest.mark.parametrize("head", ["flatten", "average"])
def test_two_layers_exactly(pad, head):
    ops = [Conv(1, 2, padding=pad, bias=False), RELU]
    ops += [Flatten()] if head == "flatten" else [GlobalAvgPool()]
    p = problem([*ops, Linear(1, bias=False)], (1, 4), n=7, bias=False)
    features = np.maximum(np.einsum("ntk,ak->nta", patches(p.X, 2, pad), UNIT), 0)
    if head == "average":
        features = features.mean(axis=1, keepdims=True)
    F, G = np.linalg.norm(p.weights["conv1.weight"]), np.abs(p.weights["linear1.weight"]).sum()
    exact = F * G * np.abs(np.einsum("en,nta->eta", signs(7), features)).max(axis=(1, 2)).mean() / 7
    assert exact * SAFE <= rademacher(p) <= 6 * exact


@pytest.mark.parametrize("head", [[MaxPool(2), Flatten()], [GlobalMaxPool()]])
def test_maxima_exactly(head):
    p = problem([Conv(1, 2, bias=False), RELU, *head, Linear(1, bias=False)], (1, 5), n=7, bias=False)
    features = np.maximum(np.einsum("ntk,ak->nta", patches(p.X, 2, 0), UNIT), 0)
    windows = [(0, 1), (2, 3)] if len(head) == 2 else [(0, 1, 2, 3)]
    features = np.stack([features[:, list(w)].max(axis=1) for w in windows], axis=1)
    F, G = np.linalg.norm(p.weights["conv1.weight"]), np.abs(p.weights["linear1.weight"]).sum()
    exact = F * G * np.abs(np.einsum("en,nta->eta", signs(7), features)).max(axis=(1, 2)).mean() / 7
    assert exact * SAFE <= rademacher(p)


def test_biases_exactly():
    """f(x) = v sum_t relu(w . patch_t + b) + c over |(w, b)| <= F_1, so kernels of size 1: an angle grid again."""
    p = problem([Conv(1, 1), RELU, Flatten(), Linear(1)], (1, 3), n=7)
    pixels = np.stack([p.X[:, 0], np.ones((7, 3))], axis=2)  # sample, position, (pixel, 1)
    features = np.maximum(np.einsum("ntk,ak->nta", pixels, UNIT), 0)
    F, G = kernel_norms(p)
    assert pytest.approx(np.hypot(p.weights["conv1.weight"], p.weights["conv1.bias"]).item()) == F
    assert pytest.approx(np.abs(p.weights["linear1.weight"]).sum() + np.abs(p.weights["linear1.bias"] / F)[0]) == G
    e = signs(7)
    top = np.abs(np.einsum("en,nta->eta", e, features)).max(axis=(1, 2))
    exact = F * G * np.maximum(top, np.abs(e.sum(axis=1))).mean() / 7
    assert exact * SAFE <= rademacher(p)


def test_several_scores_exactly():
    p = problem([Conv(1, 2, bias=False), RELU, Flatten(), Linear(3, bias=False)], (1, 3), n=4, bias=False)
    features = np.maximum(np.einsum("ntk,ak->nta", patches(p.X, 2, 0), UNIT), 0)
    e = signs(12).reshape(-1, 3, 4)
    top = np.abs(np.einsum("ekn,nta->ekta", e, features)).max(axis=(1, 2, 3)).mean() / 4
    F, G = kernel_norms(p)
    assert F * G * top * SAFE <= rademacher(p) <= 6 * F * G * top


# ---- norms and patches by definition


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect", "replicate"])
@pytest.mark.parametrize("extra", [{}, {"stride": 2}, {"dilation": 2}, {"groups": 2}])
def test_largest_patch(mode, extra):
    """A kernel that is 1 at one tap of one channel reads one pixel: squares of those reads, summed."""
    conv = Conv(2, 3, padding=2, padding_mode=mode, bias=False, **extra)
    p = problem([conv, RELU, Flatten(), Linear(1, bias=False)], (2, 5), bias=False)
    groups = extra.get("groups", 1)
    reads = []
    for c, t in itertools.product(range(2 // groups), range(3)):
        kernel = np.zeros((groups, 2 // groups, 3))
        kernel[:, c, t] = 1
        A = toeplitz_matrix(
            kernel, 5, stride=conv.stride, padding=2, padding_mode=mode, dilation=conv.dilation, groups=groups
        )
        reads.append((A @ p.X.reshape(p.n, -1).T) ** 2)  # (groups x positions, n)
    energy = np.sum(reads, axis=(0, 2))
    assert patch_root_mean_square(p) == pytest.approx(math.sqrt(energy.max() / p.n), rel=1e-12)
    assert math.prod(alternatives(p).nodes) == len(energy)


def test_kernel_norms_by_definition():
    ops = [Conv(4, 3), RELU, Conv(3, 2, groups=1), RELU, AvgPool(2), Flatten(), Linear(5)]
    p = problem(ops, (2, 6, 6))
    w, F = p.weights, kernel_norms(p)
    assert F[0] == pytest.approx(math.sqrt((w["conv1.weight"] ** 2).sum() + (w["conv1.bias"] ** 2).sum()), rel=1e-13)
    total = 0.0
    for o in range(3):
        row = sum(np.linalg.norm(w["conv2.weight"][o, :, i, j]) for i in range(2) for j in range(2))
        total += (row + abs(w["conv2.bias"][o]) / F[0]) ** 2
    assert F[1] == pytest.approx(math.sqrt(total), rel=1e-13)
    W, b = w["linear1.weight"], w["linear1.bias"]
    least = math.inf
    for V, c in ((W, b), (W - W.mean(0), b - b.mean()), (W - np.median(W, 0), b - np.median(b))):
        lengths = np.linalg.norm(V.reshape(5, 3, 1), axis=1).sum() + np.abs(c).sum() / (F[0] * F[1])
        least = min(least, lengths)
    assert F[2] == pytest.approx(least, rel=1e-12)
    assert math.prod(alternatives(p).nodes) == 4 * 4 + 1


def test_ways_to_pick_with_maxima():
    ops = [Conv(4, 3, padding=1, groups=2), RELU, MaxPool(2), Conv(3, 2), RELU, AvgPool(3), Flatten(), Linear(5)]
    p = problem(ops, (2, 8, 8))
    found = alternatives(p)
    # a group, then a tap or the constant in each of two layers, and a pixel of the average (its map is 3 x 3)
    assert math.prod(found.nodes) == 2 * (4 + 1) * (1 + 1) * 9 and found.windows == (4,)
    q = problem([op if not isinstance(op, MaxPool) else AvgPool(2) for op in ops], (2, 8, 8))
    c = 2 * math.log(2) + math.log(5)
    ratio = rademacher(p) / rademacher(q)
    assert ratio == pytest.approx(
        math.sqrt(8) * cosh_factor(c + math.log(180)) / cosh_factor(c + math.log(8 * 8 * 2 + 1)), rel=1e-12
    )


@pytest.mark.parametrize(
    ("inner", "nodes"), [([Flatten(), Scale(), RELU], (1, 5, 2)), ([Scale(), RELU, Flatten()], (1, 2, 5))]
)
def test_ways_to_pick_through_a_scale(inner, nodes):
    """Each row of a Scale on a flattened map of 4 pixels reads its own: a pixel or the constant, as the dense layer."""
    p = problem([Conv(3, 3, padding=1), RELU, MaxPool(2), *inner, Linear(1)], (1, 8))
    assert alternatives(p).nodes == nodes


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("head", [[MaxPool(2), AvgPool(2), Flatten()], [GlobalMaxPool()]])
def test_symbolic_is_numeric_with_maxima(head, bias):
    conv = [Conv(4, 3, padding=1, groups=2), RELU, MaxPool(3, 2), Conv(3, 2), RELU]
    p = problem([*conv, *head, Linear(3)], (2, 16), bias=bias)
    report = BOUND.report(p, 0.1)
    value = BOUND.symbolic_form(p).evaluate(report.quantities)
    assert abs(float(value) / report.value - 1) < 1e-12


def test_the_constant_is_one_more_entry_of_a_patch():
    ops = [Conv(4, 3), RELU, Flatten(), Linear(3)]
    p, q = problem(ops, (2, 6)), problem([Conv(4, 3, bias=False), *ops[1:3], Linear(3, bias=False)], (2, 6))
    q = Problem(q.architecture, {k: p.weights[k] for k in q.weights}, (p.X, p.y))
    assert patch_root_mean_square(p) ** 2 == pytest.approx(patch_root_mean_square(q) ** 2 + 1, rel=1e-12)


# ---- one number by two routes


def test_one_position_is_the_dense_bound():
    ops = [Conv(5, 1, bias=False), RELU, Conv(4, 1, bias=False), RELU, Flatten(), Linear(1, bias=False)]
    p = problem(ops, (3, 1, 1), bias=False)
    assert BOUND.report(p, 0.1).value == pytest.approx(Frobenius().report(p, 0.1).value, rel=1e-12)


def test_scale_is_a_convolution():
    p = problem([Scale(), RELU, Conv(4, 3), RELU, Flatten(), Linear(3)], (2, 6))
    w = p.weights
    q = problem(
        [Conv(2, 1, groups=2), RELU, Conv(4, 3), RELU, Flatten(), Linear(3)], (2, 6), X=p.X,
        **{f"conv1.{k}": w[f"scale1.{k}"].reshape((2, 1, 1) if k == "weight" else 2) for k in ("weight", "bias")},
        **{f"conv2.{k}": w[f"conv1.{k}"] for k in ("weight", "bias")},
        **{f"linear1.{k}": w[f"linear1.{k}"] for k in ("weight", "bias")},
    )  # fmt: skip
    q = Problem(q.architecture, q.weights, (p.X, p.y))
    assert np.allclose(p.outputs, q.outputs)
    assert BOUND.report(p, 0.1).value == pytest.approx(BOUND.report(q, 0.1).value, rel=1e-12)


def test_the_constant_is_free_of_scale():
    """Scaling a layer with its bias, and undoing it above: the same function, and the same bound where it is kept."""
    p = problem([Conv(4, 3), RELU, Conv(3, 2), RELU, Flatten(), Linear(3)], (2, 6))
    w = dict(p.weights)
    for key, factor in (("conv2.weight", 7), ("conv2.bias", 7), ("linear1.weight", 1 / 7)):
        w[key] = factor * w[key]
    assert np.allclose(outputs(p.architecture, w, p.X), p.outputs)
    q = Problem(p.architecture, w, (p.X, p.y))
    assert BOUND.report(p, 0.1).value == pytest.approx(BOUND.report(q, 0.1).value, rel=1e-9)


def test_neither_form_is_always_smaller():
    """A long map with a small kernel is for the kernel's norm, a short one for the explicit matrix's."""
    def ratio(size):
        ops = [Conv(4, 2, bias=False), RELU, GlobalAvgPool(), Linear(1, bias=False)]
        p = problem(ops, (1, size), bias=False, n=200)
        return BOUND.report(p, 0.1).terms["complexity"] / Frobenius().report(p, 0.1).terms["complexity"]

    assert ratio(64) < 0.6 and ratio(3) > 1
