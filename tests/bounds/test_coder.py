"""The coder gives back what it was given, in about as many bits as the entropy says; Kraft's sums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from theory._errors import InvalidInput
from theory.bounds._coder import decode, encode, prefix_cost

whole = st.one_of(
    arrays(np.int64, st.integers(0, 60), elements=st.integers(-5, 5)),
    arrays(np.int64, st.integers(0, 60), elements=st.integers(10**15, 10**15 + 999)),
    arrays(np.int8, st.integers(0, 200)),
    arrays(np.uint8, st.integers(0, 200)),
    st.integers(-(2**61), 2**61).flatmap(lambda v: st.integers(1, 40).map(lambda n: np.full(n, v))),
)


def entropy_bits(x):
    counts = np.unique(x, return_counts=True)[1]
    return float(-(counts * np.log2(counts / len(x))).sum())


@given(whole, st.binary(max_size=20))
def test_round_trip_and_the_stream_marks_its_own_end(x, after):
    stream = encode(x)
    found = decode(stream + after)
    assert np.array_equal(found.symbols, x)
    assert found.used == len(stream)


@settings(max_examples=30)
@given(whole)
def test_no_prefix_of_a_stream_is_a_stream(x):
    stream = encode(x)
    for cut in range(len(stream)):
        with pytest.raises(InvalidInput):
            decode(stream[:cut])


@settings(max_examples=30)
@given(st.lists(arrays(np.int64, st.integers(0, 30), elements=st.integers(-4, 4)), min_size=1, max_size=6))
def test_parts_come_back_in_one_stream(parts):
    x, sizes = np.concatenate(parts), [p.size for p in parts]
    stream = encode(x, sizes)
    found = decode(stream + b"after")
    assert np.array_equal(found.symbols, x) and found.used == len(stream)
    assert len(stream) <= len(encode(x)) + 1


@pytest.mark.parametrize("sizes", [(50_000, 50_000), (50_000, 0, 20_000, 1, 29_999)])
def test_parts_that_differ_get_tables_of_their_own(sizes):
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 2 + 40 * (i % 2), size) for i, size in enumerate(sizes)]
    x = np.concatenate(parts)
    stream = encode(x, sizes)
    assert np.array_equal(decode(stream).symbols, x)
    own = sum(entropy_bits(p) for p in parts if p.size)
    assert own - 1000 < 8 * len(stream) < own * 1.001 + 1500
    if len(sizes) == 2:
        assert 8 * len(encode(x)) > 1.1 * own


@pytest.mark.parametrize("n", [32768, 32769, 100_000, 400_003])
def test_several_lanes_and_a_ragged_last_row(n):
    x = np.random.default_rng(n).geometric(0.3, n)
    assert np.array_equal(decode(encode(x)).symbols, x)


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("quantised Gaussian", lambda rng, n: np.rint(3 * rng.standard_normal(n)).astype(int)),
        ("rare ones", lambda rng, n: (rng.random(n) < 0.02).astype(int)),
        ("many levels", lambda rng, n: np.rint(60 * rng.standard_normal(n)).astype(int)),
        ("uniform bytes", lambda rng, n: rng.integers(0, 256, n)),
    ],
)
def test_length_is_within_one_per_cent_of_the_entropy(name, draw):
    n = 300_000
    x = draw(np.random.default_rng(1), n)
    bits, entropy = 8 * len(encode(x)), entropy_bits(x)
    levels, lanes = len(np.unique(x)), -(-n // 32768)
    assert bits <= 1.001 * entropy + 16 * levels + 64 * lanes + 100
    # no coder that sends the counts, or learns them, is below the entropy of the sequence by more than its type count
    assert bits >= entropy - levels * np.log2(n + 1)
    assert bits <= 1.01 * entropy + (0 if entropy > 2e5 else 64 * lanes)


def test_short_and_constant_inputs_cost_next_to_nothing():
    assert len(encode([])) == 1
    assert len(encode(np.zeros(11_000_000, dtype=np.int8))) <= 8
    assert len(encode([0, 1])) <= 12


def test_the_table_is_coded_in_its_best_order():
    """256 symbols once each: 8 bits each, 2 for each entry 1 of the table, the state, and a short head."""
    assert 8 * len(encode(np.arange(256))) <= 256 * (8 + 2) + 64 + 64


def test_the_input_is_untouched_and_types_agree():
    x = np.array([3, -1, 3], dtype=np.int8)
    assert encode(x) == encode([3, -1, 3]) == encode(x.astype(np.int64))
    assert x.tolist() == [3, -1, 3]


def test_krafts_sum_is_one_and_the_printed_form_exceeds_it():
    """``2^l`` strings of length l, each of weight ``2^-cost``: the partial sums are ``1 - 1/(l+1)``."""
    lengths = np.arange(1, 2001)
    shares = np.array([2.0 ** (int(n) - prefix_cost(int(n))) for n in lengths])
    assert np.cumsum(shares) == pytest.approx(1 - 1 / (lengths + 1), rel=1e-10)
    printed = 2.0 ** (-2 * np.log2(lengths))
    assert printed.sum() == pytest.approx(np.pi**2 / 6, abs=6e-4)
    assert printed.sum() > 1.6


def test_streams_satisfy_krafts_inequality():
    """All arrays of at most four symbols from {0, 1, 2}: the sum of 2^-bits is at most 1."""
    total, words = 0.0, [[]]
    for _ in range(5):
        total += sum(2.0 ** (-8 * len(encode(np.array(w, dtype=int)))) for w in words)
        words = [[*w, s] for w in words for s in range(3)]
    assert 0 < total <= 1


@pytest.mark.parametrize(
    "call",
    [
        lambda: encode([0.5, 1.0]),
        lambda: encode([[1, 2]]),
        lambda: encode([1, 2], [1, 2]),
        lambda: encode([1, 2], [3, -1]),
        lambda: encode([0, 2**16]),
        lambda: encode(np.array([2**63], dtype=np.uint64)),
        lambda: decode(b""),
        lambda: decode("text"),
        lambda: decode(b"\x00" * 40),
        lambda: decode(encode([1, 2, 3, 2, 2])[:-9] + b"\xff" * 9),
        lambda: prefix_cost(0),
        lambda: prefix_cost(2.5),
    ],
)
def test_refusals(call):
    with pytest.raises(InvalidInput):
        call()


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_decoded(stream):
    try:
        found = decode(stream)
    except InvalidInput:
        return
    assert found.used <= len(stream)
