"""Published and closed-form values, what fails, and how a convolution's norm must move with its kernel."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.norms import (
    average_pool_norm,
    circular_norm,
    conv_spectral_norm,
    max_pool_lipschitz,
    padded_norm,
    self_correlation_norm,
    size_free_norm,
    spectral_norm,
    toeplitz_matrix,
    unfolding_norm,
)
from theory.norms.pooling import average_pool_norm as average

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "operator_norms.json").read_text())
ONES = np.ones((1, 1, 3, 3))


def test_the_mean_of_nine():
    want = REFERENCE["ones_3x3_n8"]
    for method in ("auto", "grid", "toeplitz"):
        assert conv_spectral_norm(ONES, 8, padding=1, method=method).upper == pytest.approx(want["zeros"], rel=1e-9)
    assert want["zeros"] == pytest.approx((1 + 2 * np.cos(np.pi / 9)) ** 2, rel=1e-9)
    assert circular_norm(ONES, 8, padding=1).upper == pytest.approx(want["circular"], rel=1e-11)
    assert spectral_norm(ONES.reshape(1, 9)).upper == pytest.approx(want["reshaped"], rel=1e-11)
    assert unfolding_norm(ONES) == pytest.approx(want["unfoldings"], rel=1e-11)


@pytest.mark.parametrize("n", [2, 5, 9, 30])
def test_one_dimension_in_closed_form(n):
    # symmetric tridiagonal Toeplitz: a + 2 b cos(pi/(n+1))
    assert padded_norm([[[0.5, 2.0, 0.5]]], n, padding=1).upper == pytest.approx(2 + np.cos(np.pi / (n + 1)), rel=1e-11)
    assert circular_norm([[[-0.5, 2.0, -0.5]]], 2 * n, padding=1).upper == pytest.approx(3, rel=1e-11)


def test_a_grid_of_the_images_size_is_no_bound_for_zero_padding():
    # the usual recipe takes N = n; two pixels, each sees the other: [[0, 1], [-1, 0]] against a symbol that cancels
    K = np.array([[[1.0, 0.0, -1.0]]])
    truth = np.linalg.norm(toeplitz_matrix(K, 2, padding=1).toarray(), 2)
    naive = np.abs(np.fft.fft([0.0, -1.0 + 1.0])).max()
    assert truth == pytest.approx(1) and naive < 1e-12
    assert padded_norm(K, 2, padding=1).upper >= 1


def test_power_iteration_and_the_reshaped_kernel_fall_short():
    assert spectral_norm(ONES.reshape(1, 9)).upper < 0.4 * conv_spectral_norm(ONES, 8, padding=1).lower


def test_without_its_stride_a_convolution_can_look_much_larger():
    K = np.zeros((1, 1, 2))
    K[0, 0] = 1, 1
    # stride 2 reads disjoint pairs: sqrt(2); stride 1 comes near 2
    assert conv_spectral_norm(K, 64, stride=2).upper == pytest.approx(np.sqrt(2), rel=1e-12)
    assert 1.99 < conv_spectral_norm(K, 64).upper < 2


def test_plain_row_sums_of_the_kernel_are_no_bound():
    K = np.zeros((2, 1, 1))
    K[:, 0, 0] = 1
    assert self_correlation_norm(K, steps=1) >= np.sqrt(2) * (1 - 1e-14) > np.abs(K).sum(axis=(1, 2)).max()


def test_size_free_bounds_come_down_to_the_supremum():
    rng = np.random.default_rng(0)
    K = rng.standard_normal((3, 2, 3, 3))
    above = [size_free_norm(K, points=N) for N in (3, 8, 64)]
    supremum = circular_norm(K, 200, padding=1).lower
    assert above[0] > above[1] > above[2] > supremum > 0.999 * above[2] * (1 - 2 / 64)
    tight = [self_correlation_norm(K, steps=t) for t in (1, 3, 5)]
    assert tight[0] > tight[1] > tight[2] > supremum
    assert unfolding_norm(K) > supremum


def test_a_coarse_grid_pays_for_what_it_misses():
    # symbol (1 - 4 cos w)/3: 1 in size at all three frequencies, 5/3 between them
    K = np.array([[[-2.0, 1.0, -2.0]]]) / 3
    assert circular_norm(K, 3, padding=1).upper == pytest.approx(1, rel=1e-11)
    assert circular_norm(K, 8, padding=1).upper == pytest.approx(5 / 3, rel=1e-11)
    assert size_free_norm(K, points=3) == pytest.approx(np.sqrt(3), rel=1e-11)


def test_half_a_step_straddles_a_peak():
    rng = np.random.default_rng(0)
    K = np.abs(rng.standard_normal((24, 24, 3, 3)))  # peak at frequency zero, 576 rows and more
    truth = np.linalg.norm(toeplitz_matrix(K, 5, padding=1).toarray(), 2)
    found = padded_norm(K, 5, padding=1)
    assert "half a step" in found.method
    assert truth <= found.upper < 1.01 * truth
    on_peak = np.linalg.norm(K.sum(axis=(2, 3)), 2)
    assert on_peak > 1.05 * truth


@pytest.mark.parametrize(("n", "p"), [(8, 1), (6, 2), (9, 3)])
def test_large_channels_within_one_percent_by_factorisation(n, p):
    rng = np.random.default_rng(n)
    K = rng.standard_normal((12, 12, 3, 3))
    truth = np.linalg.norm(toeplitz_matrix(K, n, padding=p).toarray(), 2)
    found = conv_spectral_norm(K, n, padding=p)
    assert truth * (1 - 1e-13) <= found.upper <= 1.01 * truth and found.lower <= truth


kernels = st.integers(0, 10**6).map(lambda seed: np.random.default_rng(seed).standard_normal((3, 2, 3, 3)))
modes = st.sampled_from(["zeros", "circular"])


@given(kernels, modes, st.floats(1e-200, 1e200))
def test_scale(K, mode, c):
    kw = {"padding": 1, "padding_mode": mode, "method": "grid"}
    plain = conv_spectral_norm(K, 5, **kw).upper
    assert conv_spectral_norm(c * K, 5, **kw).upper == pytest.approx(c * plain, rel=1e-10)


@given(kernels, modes)
def test_the_transposed_layer_has_the_same_norm(K, mode):
    kw = {"padding": 1, "padding_mode": mode, "method": "grid"}
    there, back = conv_spectral_norm(K, 5, **kw), conv_spectral_norm(np.flip(K.swapaxes(0, 1), (2, 3)), 5, **kw)
    assert there.upper == pytest.approx(back.upper, rel=1e-10)


@given(kernels, st.permutations(range(3)), st.permutations(range(2)))
def test_channels_in_any_order(K, outs, ins):
    kw = {"padding": 1, "method": "grid"}
    mixed = conv_spectral_norm(K[outs][:, ins], 5, **kw)
    assert mixed.upper == pytest.approx(conv_spectral_norm(K, 5, **kw).upper, rel=1e-10)


@given(kernels)
def test_a_border_of_zero_taps_adds_nothing(K):
    wide = np.pad(K, ((0, 0), (0, 0), (1, 1), (1, 1)))
    for method in ("toeplitz", "unfoldings"):
        narrow = conv_spectral_norm(K, 4, padding=1, method=method).upper
        ours = conv_spectral_norm(wide, 4, padding=2, method=method).upper
        assert ours == pytest.approx(narrow * (5 / 3 if method == "unfoldings" else 1), rel=1e-9)


@given(kernels)
def test_groups_are_the_largest_of_their_parts(K):
    other = 0.5 * K[::-1]
    both = conv_spectral_norm(np.concatenate([K, other]), 4, padding=1, groups=2).upper
    parts = [conv_spectral_norm(part, 4, padding=1).upper for part in (K, other)]
    assert both == pytest.approx(max(parts), rel=1e-10)


@given(kernels)
def test_dilation_inserts_zeros(K):
    wide = np.zeros((3, 2, 5, 5))
    wide[:, :, ::2, ::2] = K
    kw = {"padding": 2, "method": "grid"}
    assert conv_spectral_norm(K, 6, dilation=2, **kw).upper == pytest.approx(
        conv_spectral_norm(wide, 6, **kw).upper, rel=1e-10
    )


@pytest.mark.parametrize(("k", "s", "want"), [(2, 2, 1), (3, 2, 2), (3, 1, 3), (2, 3, 1), ((3, 2), (2, 2), 2**0.5)])
def test_max_pooling(k, s, want):
    assert max_pool_lipschitz(k, s) == pytest.approx(want, rel=1e-15) and max_pool_lipschitz(k, s) >= want
    pair = [(v, v) if np.ndim(v) == 0 else v for v in (k, s)]
    x = np.zeros((12, 12))
    x[6, 6] = 1  # seen by the most windows at some shift
    seen = max(
        _pooled(np.roll(x, (a, b), (0, 1)), *pair).sum() for a in range(3) for b in range(3)
    )  # squares of zeros and ones
    assert seen == pytest.approx(want**2)


def _pooled(x, k, s):
    view = np.lib.stride_tricks.sliding_window_view(x, k)[:: s[0], :: s[1]]
    return view.max(axis=(2, 3))


@pytest.mark.parametrize("include", [True, False])
def test_average_pooling_is_a_convolution(include):
    for n, k, s, p in ((8, 2, 2, 0), (7, 3, 2, 1), (6, 3, 1, 1), (5, 4, 3, 2), (6, 6, 6, 0)):
        A = toeplitz_matrix(np.full((1, 1, k, k), 1 / k**2), n, stride=s, padding=p).toarray()
        if not include:
            A = A / A.sum(axis=1, keepdims=True)
        truth, found = np.linalg.norm(A, 2), average_pool_norm((n, n), k, s, p, count_include_pad=include)
        assert truth * (1 - 1e-13) <= found <= truth * (1 + 1e-9)
    assert average((8, 8), 2) == pytest.approx(0.5, rel=1e-11)
