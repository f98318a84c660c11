"""Quantised networks: the decoded weights are what the bytes say, near the given ones, in the bits that are paid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory._errors import InvalidInput
from theory.bounds._quantise import (
    Quantised,
    codebook,
    decode_weights,
    finite_precision,
    sparse,
    uniform_quantise,
)


def network(seed=0, sizes=((20, 30), (20,), (3, 20), (2, 3, 3, 3), ())):
    rng = np.random.default_rng(seed)
    return {f"w{i}": rng.standard_normal(s) * 10.0 ** rng.uniform(-3, 2) for i, s in enumerate(sizes)}


def shapes(weights):
    return {name: w.shape for name, w in weights.items()}


ALL = [
    lambda w: uniform_quantise(w, 5),
    lambda w: uniform_quantise(w, 513),
    lambda w: sparse(w, 0.1, 9),
    lambda w: sparse(w, 1, 3),
    lambda w: codebook(w, 2),
    lambda w: codebook(w, 60),
    lambda w: finite_precision(w, 0),
    lambda w: finite_precision(w, 5),
    lambda w: finite_precision(w, 23),
]


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_bytes_say_the_weights_and_where_they_end(make, seed):
    weights = network(seed)
    before = {name: w.copy() for name, w in weights.items()}
    found = make(weights)
    again = decode_weights(found.stream + b"more", shapes(weights))
    assert list(again) == list(weights) == list(found.weights)
    for name, w in found.weights.items():
        assert np.array_equal(w, again[name]) and w.shape == weights[name].shape and w.dtype == np.float64
        assert np.array_equal(weights[name], before[name])
    assert found.bits == 8 * len(found.stream) == found.to_json()["bits"]
    for cut in (0, 2, 5, len(found.stream) // 2, len(found.stream) - 1):
        with pytest.raises(InvalidInput):
            decode_weights(found.stream[:cut], shapes(weights))


@pytest.mark.parametrize("make", ALL)
def test_zero_arrays_and_single_numbers(make):
    weights = {"zeros": np.zeros(4), "one": np.array([-2.0]), "none": np.zeros((0, 3))}
    found = make(weights)
    assert np.array_equal(found.weights["zeros"], np.zeros(4))
    assert found.weights["one"] == pytest.approx([-2.0], rel=1e-6)
    assert found.weights["none"].shape == (0, 3)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 256))
def test_uniform_error_is_half_a_step(seed, m):
    weights = network(seed, ((7, 5), (4,)))
    found = uniform_quantise(weights, 2 * m + 1)
    for name, w in weights.items():
        scale = float(np.float32(np.abs(w).max()))
        assert np.abs(found.weights[name] - w).max() <= scale / m * (0.5 + 1e-4)
        steps = found.weights[name] * m / scale
        assert steps == pytest.approx(np.rint(steps), abs=1e-9)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(0, 23))
def test_precision_is_relative_and_idempotent(seed, b):
    weights = network(seed, ((7, 5), (4,)))
    found = finite_precision(weights, b)
    for name, w in weights.items():
        assert (np.abs(found.weights[name] - w) <= np.abs(w) * (2.0 ** -(b + 1) + 2.0**-24) * (1 + 1e-9)).all()
        mantissa = np.frexp(found.weights[name])[0] * 2.0 ** (b + 1)
        assert np.array_equal(mantissa, np.rint(mantissa))
    twice = finite_precision(found.weights, b)
    assert twice.stream == found.stream


def test_all_bits_kept_are_the_float32_weights():
    weights = network(5)
    found = finite_precision(weights, 23)
    for name, w in weights.items():
        assert np.array_equal(found.weights[name], w.astype(np.float32).astype(np.float64))
    big = {"W": np.random.default_rng(0).standard_normal(50_000)}
    bits = finite_precision(big, 23).bits / 50_000
    assert 26 < bits < 27.6  # not 32: the exponents of a Gaussian are far from uniform


def test_length_is_the_entropy_of_the_levels():
    w = np.random.default_rng(2).standard_normal(200_000)
    found = uniform_quantise({"W": w}, 33)
    counts = np.unique(found.weights["W"], return_counts=True)[1]
    entropy = -(counts * np.log2(counts / w.size)).sum()
    assert entropy < found.bits < 1.005 * entropy + 500


def test_sparse_keeps_the_largest_and_pays_for_their_positions():
    w = np.random.default_rng(3).standard_normal(100_000)
    found = sparse({"W": w}, 1 / 16, 17)
    kept = found.weights["W"] != 0
    assert kept.sum() == round(100_000 / 16)
    assert np.abs(w[kept]).min() > np.abs(w[~kept]).max()
    p = 1 / 16
    positions = -(p * np.log2(p) + (1 - p) * np.log2(1 - p)) * w.size
    assert positions < found.bits < positions + kept.sum() * 3.6 + 1000
    assert "2^(-32/8)" in found.setting


def test_sparse_prunes_each_array_on_its_own_scale():
    w = np.random.default_rng(7).standard_normal(4000)
    found = sparse({"small": 1e-3 * w, "large": 1e3 * w}, 0.25, 257)
    assert np.array_equal(found.weights["small"] != 0, found.weights["large"] != 0)
    assert (found.weights["large"] != 0).sum() == 1000


def test_sparse_at_full_density_is_uniform_but_for_the_method():
    weights = network(1)
    a, b = sparse(weights, 1, 9), uniform_quantise(weights, 9)
    assert a.stream[1:] == b.stream[1:] and a.method == "sparse"


def test_codebook_is_a_fixed_point_of_lloyd_and_beats_uniform_levels():
    w = np.random.default_rng(4).standard_normal(20_000)
    found = codebook({"W": w}, 3)
    values = np.unique(found.weights["W"])
    assert len(values) == 3
    # the three-level quantiser of the standard normal of least squared error: 0 and +-1.2240
    assert values == pytest.approx([-1.2240, 0, 1.2240], abs=0.04)
    for v in values:
        assert w[found.weights["W"] == v].mean() == pytest.approx(v, abs=2e-3)

    def error(x):
        return np.mean((x.weights["W"] - w) ** 2)

    assert error(found) == pytest.approx(0.1902, abs=0.005)
    assert error(found) < 0.8 * error(uniform_quantise({"W": w}, 3))


def test_a_stream_for_each_array_where_their_levels_differ():
    rng = np.random.default_rng(6)
    mixed = {"a": rng.choice([-1.0, 1.0], 20_000), "b": rng.uniform(-1, 1, 20_000)}
    found = uniform_quantise(mixed, 129)
    assert found.bits < 20_000 * (1 + np.log2(129)) * 1.02 + 2000
    assert np.array_equal(found.weights["a"], mixed["a"])


@settings(max_examples=30)
@given(st.permutations(range(4)))
def test_order_of_equal_shapes_is_kept(order):
    weights = {f"w{i}": np.full(3, float(i + 1)) for i in order}
    found = uniform_quantise(weights, 3)
    assert all(np.array_equal(found.weights[name], w) for name, w in weights.items())


def test_prints_itself():
    assert repr(uniform_quantise({"W": [1.0, 0.5]}, 3)).startswith("Quantised(uniform, 3 levels, ")
    assert isinstance(codebook({"W": [1.0, 2.0]}, 2), Quantised)


@pytest.mark.parametrize(
    "call",
    [
        lambda: uniform_quantise({}, 3),
        lambda: uniform_quantise({"W": []}, 3),
        lambda: uniform_quantise({"W": [np.nan]}, 3),
        lambda: uniform_quantise({"W": [1e39]}, 3),
        lambda: uniform_quantise({"W": [1.0]}, 4),
        lambda: uniform_quantise({"W": [1.0]}, 515),
        lambda: sparse({"W": [1.0]}, 0, 3),
        lambda: sparse({"W": [1.0]}, 1.5, 3),
        lambda: codebook({"W": [1.0]}, 1),
        lambda: codebook({"W": [1.0]}, 258),
        lambda: finite_precision({"W": [1.0]}, 24),
        lambda: finite_precision({"W": [3.4e38]}, 0),
        lambda: decode_weights(b"\x09\x00\x00", {"W": (1,)}),
        lambda: decode_weights(uniform_quantise({"W": [1.0, 2.0]}, 3).stream, {"W": (3,)}),
        lambda: decode_weights(b"\x00\x00" + uniform_quantise({"W": [1.0, 0.5]}, 5).stream[2:], {"W": (2,)}),
    ],
)
def test_refusals(call):
    with pytest.raises(InvalidInput):
        call()
