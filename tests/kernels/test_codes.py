"""The Hamming kernel by counting, its determinant in exact fractions, and singular codes."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory._errors import InvalidInput
from theory.kernels import codes as module
from theory.kernels.codes import activation_code_score, hamming_kernel


def determinant(K):
    """Gaussian elimination in fractions, with pivoting."""
    A, sign, det = [[Fraction(int(a)) for a in row] for row in K], 1, Fraction(1)
    for k in range(len(A)):
        pivot = next((i for i in range(k, len(A)) if A[i][k]), None)
        if pivot is None:
            return 0
        if pivot != k:
            A[k], A[pivot], sign = A[pivot], A[k], -sign
        det *= A[k][k]
        for i in range(k + 1, len(A)):
            ratio = A[i][k] / A[k][k]
            A[i] = [a - ratio * b for a, b in zip(A[i], A[k], strict=True)]
    return sign * det


@given(st.integers(0, 10**6), st.integers(1, 7), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_score_is_the_exact_determinant(seed, n, M):
    C = np.random.default_rng(seed).integers(0, 2, (n, M))
    K = hamming_kernel(C)
    assert all(K[i, j] == sum(a == b for a, b in zip(C[i], C[j], strict=True)) for i in range(n) for j in range(n))
    det, found = determinant(K), activation_code_score(C)
    assert found == -math.inf if det == 0 else found == pytest.approx(math.log(det), rel=1e-12, abs=1e-12)
    assert module._determinant(K) == det
    assert activation_code_score(1 - C) == found or found == pytest.approx(activation_code_score(1 - C), abs=1e-9)


def test_in_doubt_the_determinant_is_computed_in_whole_numbers(monkeypatch):
    C = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1]])  # complements: c1 + c2 = c3 + c4
    assert determinant(hamming_kernel(C)) == 0 and activation_code_score(C) == -math.inf
    good = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [1, 1, 0, 1]])
    direct = activation_code_score(good)
    monkeypatch.setattr(module, "eigvalsh", lambda K: np.zeros(len(K)))
    assert activation_code_score(good) == pytest.approx(direct, rel=1e-13)
    monkeypatch.setattr(module, "EXACT", 2)
    with pytest.raises(InvalidInput, match="in doubt"):
        activation_code_score(good)
    assert activation_code_score(np.array([[1, 0], [0, 1], [1, 1], [0, 0]])) == -math.inf  # 4 > 2 + 1: no doubt


def test_order_and_size():
    C = np.random.default_rng(0).integers(0, 2, (40, 300))
    found = activation_code_score(C)
    assert found == pytest.approx(np.linalg.slogdet(hamming_kernel(C))[1], rel=1e-13)
    assert activation_code_score(C[::-1, ::-1]) == pytest.approx(found, rel=1e-13)
    assert activation_code_score(np.vstack([C, C[:1]])) == -math.inf
    assert activation_code_score(C[:, :30]) == -math.inf  # 40 samples, 30 units


def test_refusals():
    for wrong in ([[0, 2]], [0, 1], np.zeros((0, 3)), [["a"]], [[np.nan, 1.0]]):
        with pytest.raises(InvalidInput):
            hamming_kernel(wrong)
