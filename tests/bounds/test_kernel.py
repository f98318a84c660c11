"""The kernel form: the identity of arora2019fine, exact complexities of tiny samples, norms in exact arithmetic."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hilbert

from theory import InvalidInput, PreconditionError
from theory.bounds.kernel import KernelBound, kernel_predictor, relu_tangent_kernel


def sphere(n, d, seed=0):
    X = np.random.default_rng(seed).standard_normal((n, d))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


@given(st.integers(2, 30), st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_identity_of_the_interpolant(n, seed):
    # 8.9: with trace n/2, twice the complexity is sqrt(2 y' H^-1 y / n)
    H = relu_tangent_kernel(sphere(n, 6, seed))
    y = np.random.default_rng(seed).choice([-1.0, 1.0], n)
    B = kernel_predictor(H, np.linalg.solve(H, y)).norm
    assert math.sqrt(np.trace(H)) == pytest.approx(math.sqrt(n / 2), rel=1e-14)
    twice = 2 * B * math.sqrt(np.trace(H)) / n
    assert twice == pytest.approx(math.sqrt(2 * y @ np.linalg.solve(H, y) / n), rel=1e-12)


def test_complexity_term_is_the_identity_but_for_the_grid():
    H, y = relu_tangent_kernel(sphere(60, 8)), np.random.default_rng(1).integers(0, 2, 60)
    report = KernelBound(diagonal=0.5).evaluate(H, y, margin=1.0)
    signs = np.where(y == 1, 1.0, -1.0)
    exact = math.sqrt(2 * signs @ np.linalg.solve(H, signs) / 60)
    assert exact <= report.terms["complexity"] <= 1.05 * exact * (1 + 1e-12)
    assert report.quantities["B"] / 1.0 <= 1.05 ** report.quantities["j"] * (1 + 1e-12)
    assert report.terms["empirical"] < 1e-10


def test_relu_tangent_kernel_is_the_expectation_over_neurons():
    X = np.array([[1.0, 0.0, 0.5], [0.3, -1.0, 0.2], [1.0, 0.0, 0.5001]])
    w = np.random.default_rng(0).standard_normal((400_000, 3))
    active = (w @ X.T > 0).astype(float)
    np.testing.assert_allclose(relu_tangent_kernel(X), X @ X.T * (active.T @ active) / len(w), atol=4e-3)


def test_nearly_parallel_inputs_keep_their_angle():
    for angle in (1e-3, 1e-6, 1e-9):
        x = np.array([[1.0, 0.0], [math.cos(angle), math.sin(angle)]])
        H = relu_tangent_kernel(x)
        assert (0.5 * math.cos(angle) - H[0, 1]) == pytest.approx(angle * math.cos(angle) / (2 * math.pi), rel=1e-6)
    assert relu_tangent_kernel([[0.0, 0.0], [1.0, 2.0]])[0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("n", [4, 8, 12])
def test_norm_is_above_the_exact_one_where_the_matrix_is_ill_conditioned(n):
    K = hilbert(n)
    alpha = np.linalg.solve(K, np.ones(n)) if n < 12 else np.random.default_rng(0).standard_normal(n) * 1e8
    exact = sum(
        Fraction(a) * Fraction(b) * Fraction(float(k))
        for (a, row) in zip(alpha, K, strict=True)
        for (b, k) in zip(alpha, row, strict=True)
    )
    found = kernel_predictor(K, alpha)
    assert Fraction(found.norm) ** 2 >= exact
    scores = [sum(Fraction(float(k)) * Fraction(a) for k, a in zip(row, alpha, strict=True)) for row in K]
    off = [abs(Fraction(s) - e) for s, e in zip(found.scores[:, 0].tolist(), scores, strict=True)]
    assert all(o <= Fraction(s) for o, s in zip(off, found.scores_slack[:, 0].tolist(), strict=True))


def exact_complexity(K):
    """(1/n) E sup over the unit ball of sum e_i f(x_i), over all signs."""
    n = len(K)
    return np.mean([math.sqrt(max(0, np.array(e) @ K @ np.array(e))) for e in itertools.product((-1, 1), repeat=n)]) / n


@given(st.integers(1, 8), st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_exact_complexity_of_the_ball_never_exceeds_the_bound(n, seed):
    K = np.cov(np.random.default_rng(seed).standard_normal((n, 3))).reshape(n, n)
    assert exact_complexity(K) <= math.sqrt(np.trace(K)) / n * (1 + 1e-12)
    assert exact_complexity(K) >= 0.7 * math.sqrt(np.trace(K)) / n  # Khintchine: not below 1/sqrt(2)


def test_vector_complexity_of_three_outputs():
    K = np.array([[2.0, 0.5], [0.5, 1.0]])
    total = [
        math.sqrt(sum(np.array(e[2 * k : 2 * k + 2]) @ K @ np.array(e[2 * k : 2 * k + 2]) for k in range(3)))
        for e in itertools.product((-1, 1), repeat=6)
    ]
    assert 0.95 * math.sqrt(3 * 3.0) / 2 <= np.mean(total) / 2 <= math.sqrt(3 * 3.0) / 2


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("diagonal", [None, 0.5])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_symbolic_form_is_the_number(classes, diagonal, ridge):
    X = sphere(40, 5)
    y = np.random.default_rng(2).integers(0, classes, 40)
    bound = KernelBound(classes=classes, diagonal=diagonal)
    report = bound.evaluate(relu_tangent_kernel(X), y, delta=0.03, ridge=ridge)
    assert float(bound.symbolic().evaluate(report.quantities)) == pytest.approx(report.value, rel=1e-12)
    assert report.status == "certificate" and all(a.holds for a in report.assumptions)


def test_easy_data_get_a_number_below_one():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(s, 0.1, (1000, 2)) for s in (-1, 1)])
    y = np.repeat([0, 1], 1000)
    report = KernelBound().evaluate(X @ X.T, y, delta=0.05, ridge=100.0)
    assert report.value < 0.35
    assert report.n_needed is not None and report.n_needed < 2000


def test_scaling_the_predictor_moves_only_the_rounding_of_the_grid():
    K, y = relu_tangent_kernel(sphere(30, 4)), np.random.default_rng(3).integers(0, 2, 30)
    alpha = np.linalg.solve(K + 0.1 * np.eye(30), np.where(y == 1, 1.0, -1.0))
    values = [KernelBound().evaluate(K, y, alpha=c * alpha).value for c in (1.0, 1e-6, 137.0)]
    np.testing.assert_allclose(values, values[0], rtol=1e-9)


def test_zero_predictor_and_single_sample():
    K = np.eye(3)
    zero = KernelBound().evaluate(K, [0, 1, 1], alpha=np.zeros(3))
    assert zero.terms["empirical"] == 1 and zero.terms["complexity"] < 1e-300 and zero.value > 1
    assert KernelBound().evaluate([[0.0]], [1]).terms["complexity"] == 0


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: KernelBound(classes=1), InvalidInput, "at least 2"),
        (lambda: KernelBound(diagonal=-1.0), InvalidInput, "positive"),
        (lambda: KernelBound().evaluate(np.ones((2, 3)), [0, 1]), InvalidInput, "square"),
        (lambda: KernelBound().evaluate([[1.0, 0.5], [0.2, 1.0]], [0, 1]), InvalidInput, "symmetric"),
        (lambda: KernelBound().evaluate([[1.0, 2.0], [2.0, 1.0]], [0, 1]), PreconditionError, "semidefinite"),
        (lambda: KernelBound(diagonal=0.9).evaluate(np.eye(2), [0, 1]), PreconditionError, "as declared"),
        (lambda: KernelBound().evaluate(np.eye(2), [0, 2]), InvalidInput, "labels in 0..1"),
        (lambda: KernelBound().evaluate(np.eye(2), [0]), InvalidInput, "2 labels"),
        (lambda: KernelBound().evaluate(np.eye(2), [0, 1], delta=1.0), InvalidInput, "delta"),
        (lambda: KernelBound().evaluate(np.eye(2), [0, 1], ridge=-1.0), InvalidInput, "ridge"),
        (lambda: KernelBound().evaluate(np.eye(2), [0, 1], alpha=np.ones(3)), InvalidInput, "2 rows"),
        (lambda: KernelBound(classes=3).evaluate(np.eye(2), [0, 1], alpha=np.ones(2)), InvalidInput, "3 column"),
        (lambda: relu_tangent_kernel([1.0]), InvalidInput, "2 dimension"),
    ],
)
def test_bad_input_is_one_sentence(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
