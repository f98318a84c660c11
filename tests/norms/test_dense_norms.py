"""Norms of matrices and kernels; what is refused, in one sentence; text forms."""

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from theory import InvalidInput, PreconditionError
from theory.norms import (
    NormBracket,
    average_pool_norm,
    conv_spectral_norm,
    filter_norm_2_1,
    frobenius_norm,
    max_pool_lipschitz,
    norm_1_inf,
    norm_2_1,
    output_size,
    self_correlation_norm,
    spectral_norm,
    tap_norms,
    toeplitz_norm,
)

RNG = np.random.default_rng(0)
matrices = hnp.arrays(
    float, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-1e3, 1e3, width=32)
)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (30, 26), (7, 3), (60, 200), (200, 60)])
def test_spectral_norm_is_the_largest_singular_value(shape):
    W = RNG.standard_normal(shape)
    truth, found = np.linalg.svd(W, compute_uv=False)[0], spectral_norm(W)
    assert found.lower <= truth * (1 + 1e-14) and truth * (1 - 1e-14) <= found.upper
    assert found.ratio < 1 + 1e-9


@given(matrices)
def test_bracket_of_any_matrix(W):
    truth, found = np.linalg.norm(W, 2), spectral_norm(W)
    assert found.lower <= truth * (1 + 1e-13) and truth * (1 - 1e-13) <= found.upper
    assert found.upper <= truth * (1 + 1e-11)


@given(matrices)
def test_sums_are_never_below_the_exact_number(W):
    exact = [[Fraction(float(x)) for x in row] for row in W]
    assert Fraction(frobenius_norm(W)) ** 2 >= sum(x * x for row in exact for x in row)
    assert Fraction(norm_1_inf(W)) >= max(sum(abs(x) for x in row) for row in exact)
    assert norm_2_1(W) == pytest.approx(np.linalg.norm(W, axis=1).sum(), rel=1e-13)
    assert norm_2_1(W) >= np.linalg.norm(W, axis=1).sum() * (1 - 1e-15)
    assert frobenius_norm(W) == pytest.approx(np.linalg.norm(W), rel=1e-13)
    assert norm_1_inf(W) == pytest.approx(np.abs(W).sum(axis=1).max(), rel=1e-13)


def test_equal_and_nearly_equal_singular_values():
    assert spectral_norm(np.eye(60)).upper == pytest.approx(1, abs=1e-9)
    assert spectral_norm(np.zeros((3, 2))).to_json() == {"upper": 0, "lower": 0, "method": "the matrix is zero"}
    assert spectral_norm(np.zeros((3, 2))).ratio == 1
    for c in (1e-300, 1e150, 1e300):
        assert spectral_norm(c * np.diag([3.0, 4.0])).upper == pytest.approx(4 * c, rel=1e-12)
    assert spectral_norm([[5e-324]]).lower <= 5e-324 <= spectral_norm([[5e-324]]).upper


def test_kernels():
    K = RNG.standard_normal((4, 3, 2, 2))
    want = np.linalg.norm(K, axis=1).reshape(4, 4)
    np.testing.assert_allclose(tap_norms(K), want, rtol=1e-13)
    assert filter_norm_2_1(K) == pytest.approx(want.sum(), rel=1e-13) and (tap_norms(K) >= want).all()
    assert frobenius_norm(K) == pytest.approx(np.linalg.norm(K), rel=1e-13)


def test_an_input_is_left_alone_and_json_is_plain():
    K = RNG.standard_normal((2, 2, 3, 3))
    kept = K.copy()
    found = conv_spectral_norm(K, 4, padding=1)
    assert (K == kept).all()
    assert set(json.loads(json.dumps(found.to_json()))) == {"upper", "lower", "method"}
    assert repr(found).startswith("NormBracket(upper=")
    assert NormBracket(upper=1.0, lower=0.0, method="").ratio == np.inf


K = np.ones((4, 2, 3, 3))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: spectral_norm([1, 2]), "dimension"),
        (lambda: spectral_norm([[np.nan]]), "finite"),
        (lambda: spectral_norm(np.zeros((0, 3))), "at least one row"),
        (lambda: spectral_norm(1.7e308 * np.ones((3, 3))), "rescale"),
        (lambda: frobenius_norm([]), "entries"),
        (lambda: norm_2_1("ab"), "real numbers"),
        (lambda: norm_1_inf([[1j]]), "real numbers"),
        (lambda: tap_norms(np.ones((2, 2))), "kernel must be"),
        (lambda: tap_norms(1.7e308 * np.ones((1, 4, 1))), "rescale"),
        (lambda: filter_norm_2_1(np.ones((2, 0, 3))), "without an empty axis"),
        (lambda: conv_spectral_norm(np.ones((2, 2, 3, 3, 3)), 4), "kernel must be"),
        (lambda: conv_spectral_norm(K, 0), "size must be at least 1"),
        (lambda: conv_spectral_norm(K, (4, 4, 4)), "one number or 2"),
        (lambda: conv_spectral_norm(K, 2), "spans 3 on axis 0, but the padded input is only 2"),
        (lambda: conv_spectral_norm(K, 4, stride=0), "stride must be at least 1"),
        (lambda: conv_spectral_norm(K, 4, stride=1.5), "whole number"),
        (lambda: conv_spectral_norm(K, 4, padding=-1), "padding must be at least 0"),
        (lambda: conv_spectral_norm(K, 4, dilation=None), "real number"),
        (lambda: conv_spectral_norm(K, 4, groups=3), "multiple of groups"),
        (lambda: conv_spectral_norm(K, 4, padding_mode="same"), "padding_mode must be one of"),
        (lambda: conv_spectral_norm(K, 4, padding=5, padding_mode="circular"), "at most 4"),
        (lambda: conv_spectral_norm(K, 4, padding=4, padding_mode="reflect"), "at most 3"),
        (lambda: conv_spectral_norm(K, 4, method="power"), "method must be one of"),
        (lambda: conv_spectral_norm(K, 4, rtol=0), "rtol must be positive"),
        (lambda: conv_spectral_norm(K * np.nan, 4), "finite"),
        (lambda: self_correlation_norm(K, steps=0), "at least 1"),
        (lambda: self_correlation_norm(K, steps=7), "at most 6"),
        (lambda: output_size(3, 5), "spans 5"),
        (lambda: max_pool_lipschitz(0), "at least 1"),
        (lambda: average_pool_norm(4, 2, 2, 2), "half of the kernel"),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(InvalidInput, match=words) as caught:
        call()
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_method_that_does_not_apply_says_why():
    with pytest.raises(PreconditionError, match="not circular"):
        conv_spectral_norm(K, 4, padding=1, padding_mode="circular", method="factor")
    with pytest.raises(PreconditionError, match="2\\^26"):
        toeplitz_norm(np.ones((64, 64, 3, 3)), 64, padding=1)


def test_output_size_is_pytorchs():
    assert output_size((7, 9), (3, 2), stride=2, padding=(1, 0), dilation=(2, 3)) == (3, 3)
    assert output_size(5, 5) == (1,)
