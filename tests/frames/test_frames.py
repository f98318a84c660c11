"""Target frames and shape comparisons."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import InvalidInput, PreconditionError
from theory.frames import (
    cosines,
    cosines_from_gram,
    gram_distance,
    orthogonal_frame,
    simplex_etf,
    simplex_etf_gram,
)


@given(K=st.integers(2, 40), extra=st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_simplex_is_unit_centred_equiangular_and_tight(K, extra):
    frame = simplex_etf(K, K - 1 + extra)
    assert frame.shape == (K, K - 1 + extra)
    np.testing.assert_allclose(np.linalg.norm(frame, axis=1), 1, atol=1e-14)
    np.testing.assert_allclose(frame.sum(axis=0), 0, atol=1e-13)
    np.testing.assert_allclose(frame @ frame.T, simplex_etf_gram(K), atol=1e-14)
    np.testing.assert_allclose(
        frame[:, : K - 1].T @ frame[:, : K - 1], K / (K - 1) * np.eye(K - 1), atol=1e-13
    )


def test_simplex_gram_is_the_centring_projector_rescaled():
    K = 6
    projector = np.eye(K) - np.ones((K, K)) / K
    np.testing.assert_allclose(simplex_etf_gram(K), projector * K / (K - 1), atol=1e-15)
    np.testing.assert_allclose(projector / np.linalg.norm(projector), projector / np.sqrt(K - 1), atol=1e-15)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: simplex_etf(5, 3), "dimension at least 4"),
        (lambda: simplex_etf(1), "at least 2"),
        (lambda: simplex_etf_gram(1), "at least 2"),
        (lambda: orthogonal_frame(5, 4), "dimension at least 5"),
        (lambda: gram_distance(np.eye(2), np.eye(3)), "one shape"),
        (lambda: gram_distance(np.ones((2, 3)), np.ones((2, 3))), "square"),
        (lambda: gram_distance([[np.nan]], [[1.0]]), "finite"),
        (lambda: cosines([1.0, 2.0]), "2 dimension"),
        (lambda: cosines_from_gram([[1, 2], [2, 1]]), "positive semidefinite"),
        (lambda: cosines_from_gram([[-1, 0], [0, 1]]), "positive semidefinite"),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(InvalidInput, match=words) as caught:
        call()
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.parametrize("pair", [(np.zeros((3, 3)), np.eye(3)), (np.eye(3), np.zeros((3, 3)))])
def test_zero_matrix_has_no_direction(pair):
    with pytest.raises(PreconditionError, match="is zero"):
        gram_distance(*pair)


def test_gram_distance_closed_form_between_orthogonal_and_simplex_frames():
    # <I/sqrt K, P/sqrt(K-1)> = sqrt((K-1)/K)
    for K in (2, 3, 10):
        expected = np.sqrt(2 - 2 * np.sqrt((K - 1) / K))
        assert gram_distance(np.eye(K), simplex_etf_gram(K)) == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1e200])
def test_scale_does_not_matter(scale):
    rng = np.random.default_rng(0)
    G, V = rng.standard_normal((4, 4)), rng.standard_normal((4, 6))
    assert gram_distance(scale * G, G) < 1e-14
    np.testing.assert_allclose(cosines(scale * V), cosines(V), atol=1e-14)
    np.testing.assert_allclose(cosines_from_gram(scale * (V @ V.T)), cosines(V), atol=1e-13)


def test_cosines_match_their_definition_and_stay_within_one():
    V = np.array([[1.0, 2, 3], [-2, -4, -6], [3, 0, -1]])
    direct = [[v @ w / np.sqrt(v @ v) / np.sqrt(w @ w) for w in V] for v in V]
    np.testing.assert_allclose(cosines(V), direct, atol=1e-15)
    assert np.abs(cosines(V)).max() == 1


@pytest.mark.parametrize("size", [0.0, 1e-18])
def test_zero_vectors_are_nan_not_noise(size):
    V = np.array([[1.0, 0], [0, 2], [size, -size]])
    for values in (cosines(V), cosines_from_gram(V @ V.T)):
        assert np.isnan(values[2]).all() and np.isnan(values[:, 2]).all()
        np.testing.assert_array_equal(values[:2, :2], np.eye(2))


def test_short_but_genuine_vectors_keep_their_angle():
    V = np.array([[1.0, 0], [1e-10, 1e-10]])
    assert cosines(V)[0, 1] == pytest.approx(np.sqrt(0.5), abs=1e-15)
    assert np.isnan(cosines(V, rtol=1e-9)[0, 1])


def test_all_zero_vectors_are_all_nan():
    assert np.isnan(cosines(np.zeros((3, 2)))).all()
    assert np.isnan(cosines_from_gram(np.zeros((3, 3)))).all()


def test_inputs_are_not_changed():
    V = np.ones((3, 2))
    cosines(V)
    gram_distance(np.eye(3), V @ V.T)
    np.testing.assert_array_equal(V, 1)
