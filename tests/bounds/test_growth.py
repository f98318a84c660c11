"""Counts of sign patterns: Cover's count is exact, and no network found at random has more patterns than the bounds."""

from __future__ import annotations

from itertools import product
from math import comb, e, log, log2

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from theory._errors import InvalidInput
from theory.bounds._growth import Stage, first_layer_log, log_growth, vc_dimension_bound, warren_log


def dichotomies(X):
    """Sign vectors of ``w . x + b`` over the rows, each decided by a linear program with margin 1."""
    A = np.column_stack([X, np.ones(len(X))])
    free = [(None, None)] * A.shape[1]
    return sum(
        linprog(np.zeros(A.shape[1]), A_ub=-np.array(s)[:, None] * A, b_ub=-np.ones(len(X)), bounds=free).status == 0
        for s in product([-1, 1], repeat=len(X))
    )


@pytest.mark.parametrize(("N", "m"), [(3, 1), (5, 1), (4, 2), (6, 2), (6, 3)])
def test_covers_count_is_exact_in_general_position(N, m):
    X = np.random.default_rng(N).standard_normal((N, m))
    assert first_layer_log(N, m) == pytest.approx(log(dichotomies(X)), abs=1e-12)
    X[-1] = X[0]  # special position: fewer
    assert log(dichotomies(X)) < first_layer_log(N, m) - 0.01


@given(st.integers(1, 400), st.integers(1, 60))
def test_covers_count_in_whole_numbers(N, m):
    exact = log(2 * sum(comb(N - 1, i) for i in range(m + 1)))
    assert exact <= first_layer_log(N, m) <= exact * (1 + 1e-11)


def test_covers_count_of_millions_of_points():
    N, m = 5_000_000, 27
    with mpmath.workdps(60):
        exact = mpmath.log(2 * sum(mpmath.binomial(N - 1, i) for i in range(m + 1)))
        assert exact <= first_layer_log(N, m) <= exact * (1 + mpmath.mpf("1e-7"))


@given(st.integers(1, 10**6), st.integers(1, 30), st.integers(1, 10**6))
def test_warrens_form_is_rounded_upwards(q, D, W):
    value = warren_log(q, D, W)
    with mpmath.workdps(40):
        exact = mpmath.log(2) * q
        if q >= W:
            exact = min(exact, mpmath.log(2) + W * mpmath.log(2 * mpmath.e * q * D / W))
        assert exact <= value <= exact * (1 + mpmath.mpf("1e-12")) + mpmath.mpf("1e-12")


@given(st.integers(1, 40), st.integers(1, 8))
def test_cells_of_hyperplanes_never_exceed_warrens_count(q, W):
    """Degree 1: q hyperplanes in general position cut R^W into ``sum_{i <= W} C(q, i)`` cells, exactly."""
    assert log(sum(comb(q, i) for i in range(W + 1))) <= warren_log(q, 1, W)


@given(st.integers(1, 60), st.integers(1, 9))
def test_roots_of_one_polynomial_never_exceed_warrens_count(q, D):
    """One variable: q polynomials of degree D with all roots real and distinct leave ``q D + 1`` intervals."""
    assert min(log(q * D + 1), q * log(2)) <= warren_log(q, D, 1)


def patterns(rng, X, y, h, K, draws):
    """Distinct 0/1 loss vectors of random two-layer ReLU networks with biases."""
    d, found = X.shape[1], set()
    for _ in range(10):
        W = rng.standard_normal((draws // 10, h, d))
        b = rng.standard_normal((draws // 10, h, 1)) * rng.choice([0.1, 1, 3])
        V, c = rng.standard_normal((draws // 10, K, h)), rng.standard_normal((draws // 10, K, 1))
        f = V @ np.maximum(W @ X.T + b, 0) + c
        right = f[:, y, np.arange(len(y))]
        f[:, y, np.arange(len(y))] = -np.inf
        found |= {row.tobytes() for row in right <= f.max(axis=1)}
    return len(found)


@pytest.mark.parametrize(("d", "h", "K", "n"), [(1, 1, 2, 12), (2, 1, 2, 10), (1, 2, 3, 12), (2, 2, 2, 30)])
def test_random_networks_never_exceed_the_growth_function(d, h, K, n):
    rng = np.random.default_rng(d + 10 * h)
    found = patterns(rng, rng.standard_normal((n, d)), rng.integers(0, K, n), h, K, 20_000)
    first = h * (d + 1)
    last = Stage(units=K - 1, parameters=first + K * (h + 1), degree=2)
    plain = log_growth([Stage(units=h, parameters=first, degree=1), last], n)
    sharp = log_growth([Stage(units=h, parameters=first, degree=1, fan_in=d, filters=h), last], n)
    assert log(found) <= sharp <= plain <= n * log(2) + 1e-12
    assert found > n  # the search does find many


def test_growth_of_a_linear_unit_is_covers_count_and_of_two_layers_the_sum():
    linear = Stage(units=1, parameters=4, degree=1, fan_in=3, filters=1)
    assert log_growth([linear], 50) == pytest.approx(first_layer_log(50, 3), rel=1e-13)
    hidden, n = Stage(units=3, parameters=9, degree=1, fan_in=2, filters=3), 5000
    last = Stage(units=2, parameters=20, degree=2)
    by_hand = 3 * first_layer_log(n, 2) + log(2) + 20 * log(2 * e * n * 2 * 2 / 20)
    assert log_growth([hidden, last], n) == pytest.approx(by_hand, rel=1e-13)
    pooled = Stage(units=8, pool=2 * 6, parameters=9, degree=1, breakpoints=2)
    by_hand = log(2) + 9 * log(2 * e * n * (8 * 2 + 12) / 9)
    assert log_growth([pooled], n) == pytest.approx(by_hand, rel=1e-13)


def test_a_convolution_counts_all_its_positions_for_each_filter():
    n, stage = 200, Stage(units=6 * 25, parameters=6 * 10, degree=1, fan_in=9, filters=6)
    assert log_growth([stage], n) == pytest.approx(n * log(2), rel=1e-12)
    assert log_growth([stage], 10**5) == pytest.approx(6 * first_layer_log(25 * 10**5, 9), rel=1e-12)


def test_never_more_than_all_patterns():
    big = [Stage(units=1000, parameters=10**6, degree=1), Stage(units=9, parameters=2 * 10**6, degree=2)]
    assert log_growth(big, 100) == pytest.approx(100 * log(2), rel=1e-12)


def test_vc_dimension_of_the_reference_table():
    """Reference 8.3: D = 3072, H = 1024, C = 10; two breakpoints as printed."""
    P, first = 3157002, 3073 * 1024
    assert first + 1025 * 10 == P

    def stages(r):
        return [
            Stage(units=1024, parameters=first, degree=1, breakpoints=r),
            Stage(units=10, parameters=P, degree=2, breakpoints=r),
        ]

    assert vc_dimension_bound(stages(2)) == pytest.approx(114869171.816, abs=6e-4)
    R, s = 1024 + 20, 2 * e * (1024 + 20)
    assert vc_dimension_bound(stages(2)) == pytest.approx(
        2 + (first + P) * log2(8 * e * R * log2(4 * e * R)), rel=1e-13
    )
    assert vc_dimension_bound(stages(1)) == pytest.approx(2 + (first + P) * log2(2 * s * log2(s)), rel=1e-13)


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 200)), min_size=1, max_size=4))
def test_beyond_the_vc_bound_the_growth_function_is_below_all_patterns(layers):
    """The point of the inversion: at any m above the bound, the product of Warren's counts is below 2^m."""
    totals = np.cumsum([W for _, W in layers])
    stages = [
        Stage(units=k, parameters=int(W), degree=i + 1)
        for i, ((k, _), W) in enumerate(zip(layers, totals, strict=True))
    ]
    m = int(vc_dimension_bound(stages)) + 1
    product = sum(warren_log(m * s.comparisons, s.degree, s.parameters) for s in stages)
    assert product < m * log(2)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_the_vc_bound_is_above_the_truth_for_linear_units(d):
    assert vc_dimension_bound([Stage(units=1, parameters=d + 1, degree=1)]) >= d + 1


@pytest.mark.parametrize(
    "call",
    [
        lambda: warren_log(-1, 1, 1),
        lambda: warren_log(1, 0, 1),
        lambda: warren_log(1, 1, 1.5),
        lambda: first_layer_log(0, 1),
        lambda: first_layer_log(5, 0),
        lambda: log_growth([], 5),
        lambda: log_growth([Stage(units=1, parameters=1, degree=1)], 0),
        lambda: Stage(units=1, parameters=1, degree=0),
        lambda: Stage(units=5, parameters=1, degree=1, fan_in=2, filters=2),
        lambda: Stage(units=5, parameters=1, degree=1, fan_in=2),
        lambda: log_growth([Stage(units=4, pool=1, parameters=1, degree=1, fan_in=2, filters=2)], 5),
        lambda: vc_dimension_bound([]),
        lambda: vc_dimension_bound([Stage(units=1, parameters=0, degree=1)]),
    ],
)
def test_refusals(call):
    with pytest.raises(InvalidInput):
        call()
