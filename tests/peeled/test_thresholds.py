"""The merging threshold as one root: against the general solver, the four conditions, the symbolic form, and limits."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from theory import InvalidInput, symbolic
from theory.peeled import collapse_threshold, collapse_thresholds
from theory.peeled._merging import merged, merging_point, merging_residual
from theory.peeled._minimise import minimise
from theory.peeled._program import GroupProgram

CASES = [(5, 5, 5.0), (3, 7, 1.0), (7, 3, 2.0), (1, 4, 1.0), (1, 2, 0.01), (20, 3, 0.3), (2, 2, 1e-6), (100, 5, 9.0)]


def by_the_general_solver(K_A: int, K_B: int, product: float) -> float:
    """R0 where the multiplier of the program with the minority's gap held at zero equals pi_B."""
    K, budget = K_A + K_B, (K_A + K_B) * np.sqrt(product)

    def excess(log_R: float) -> float:
        R = np.exp(log_R)
        program = GroupProgram(np.array([R, 1.0]) / (K_A * R + K_B), np.array([K_A, K_B]), budget)
        program.has_twins[1] = False
        found = minimise(program, rtol=1e-12)
        assert found.stationarity < 1e-8, K
        return float(np.log(found.multiplier / program.mass[1]))

    low, high = 1e-9, 0.5
    while excess(high) < 0:
        low, high = high, 2 * high
    return float(np.exp(brentq(excess, low, high, xtol=1e-15, rtol=1e-14)))


@pytest.mark.parametrize(("K_A", "K_B", "product"), CASES)
def test_is_where_the_multiplier_equals_the_minority_mass(K_A, K_B, product):
    found = collapse_threshold(majority=K_A, minority=K_B, E_W=2 * product, E_H=0.5)
    assert found.R0 - 1 == pytest.approx(by_the_general_solver(K_A, K_B, product) - 1, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(2, 60), st.floats(-8, 3))
def test_four_conditions_hold_where_nothing_was_eliminated(K_A, K_B, log_product):
    K = K_A + K_B
    product = min(10**log_product, (250 * (K - 1) / K) ** 2)
    found = collapse_thresholds(majority=K_A, minority=K_B, E_W=1, E_H=product)
    assert found.residual < 1e-11
    assert found.log_R0 > 0 and found.R00 > found.R0
    if K_A > 1 and found.log_R0 < 600:
        T = np.array([K * np.sqrt(product)])
        a, q_A, q_B, log_R0 = merging_point(np.array([float(K_A)]), np.array([float(K_B)]), T)
        system = symbolic.get("minority_collapse_system").numeric()
        values = system(K_A=K_A, K_B=K_B, E_W=1, E_H=product, a=a[0], q_A=q_A[0], q_B=q_B[0], R=np.exp(log_R0[0]))
        assert np.abs(values / [1, 1, 1, T[0]]).max() < 1e-10


def test_residual_sees_each_coordinate():
    K_A, K_B, T = np.array([3.0]), np.array([4.0]), np.array([9.0])
    point = merging_point(K_A, K_B, T)
    assert merging_residual(K_A, K_B, T, point) < 1e-14
    for i in range(4):
        moved = tuple(x + 1e-6 * (i == j) for j, x in enumerate(point))
        assert 1e-8 < merging_residual(K_A, K_B, T, moved) < 1e-4


def test_the_function_rises():
    x = np.geomspace(1e-6, 20, 300)
    for K_A, K_B in ((1, 2), (2, 2), (5, 5), (300, 2), (2, 300)):
        r, cos, log = merged(x, float(K_A), float(K_B))
        assert (np.diff(r) > 0).all() and (np.diff(cos) >= 0).all() and (np.diff(log) <= 0).all()


@pytest.mark.parametrize(("K_A", "K_B", "product"), [(5, 5, "5"), (2, 9, "1e-6"), (40, 3, "7")])
def test_to_thirty_digits(K_A, K_B, product):
    """The same four conditions by mpmath's multidimensional Newton, in 40 digits."""
    K = K_A + K_B
    with mpmath.workdps(40):
        T = K * mpmath.sqrt(mpmath.mpf(product))

        def system(a, q_A, q_B, log_R):
            R, r = mpmath.exp(log_R), mpmath.sqrt(q_A**2 + q_B**2)
            twin = mpmath.exp(-a)
            odds_A = mpmath.exp(-a * (1 - mpmath.mpf(1) / K_A) - mpmath.sqrt(mpmath.mpf(K) / K_B) / K_A * q_A)
            odds_B = mpmath.exp(-mpmath.sqrt(mpmath.mpf(K) / K_A) / K_B * q_B)
            all_A, all_B = 1 + (K_A - 1) * twin + K_B * odds_A, K_B + K_A * odds_B
            return [
                R * (K_A * twin + K_B * odds_A) / all_A - 1,
                R * K_B * odds_A / all_A * mpmath.sqrt(mpmath.mpf(K) / K_B) - q_A / r,
                K_A * odds_B / all_B * mpmath.sqrt(mpmath.mpf(K) / K_A) - q_B / r,
                ((K_A - 1) * a + r) / T - 1,
            ]

        sizes = np.array([[K_A], [K_B], [float(T)]], float)
        start = [mpmath.mpf(float(x[0])) for x in merging_point(*sizes)]
        exact = mpmath.findroot(system, start, tol=1e-60)
        assert abs(exact[3] / start[3] - 1) < 1e-9  # relative in log R0: also where R0 is next to 1
        assert abs(exact[3] - start[3]) < 1e-15 * max(1, exact[3])


def test_small_budgets_merge_at_once():
    """R0 - 1 is proportional to the margin as budgets vanish, and R0 depends on the product only."""
    R0 = collapse_thresholds(majority=4, minority=6, E_W=1, E_H=np.array([1e-8, 1e-10])).log_R0
    assert R0[0] / R0[1] == pytest.approx(10, rel=1e-3)
    a, b = (collapse_threshold(majority=4, minority=6, E_W=w, E_H=h) for w, h in ((2, 3), (0.5, 12)))
    assert a.R0 == pytest.approx(b.R0, rel=1e-14)


def test_arrays_broadcast_and_equal_the_single_call():
    found = collapse_thresholds(majority=[[2], [9]], minority=4, E_W=[0.5, 1, 3], E_H=2)
    assert found.R0.shape == found.residual.shape == found.majority.shape == (2, 3)
    for index in np.ndindex(2, 3):
        one = collapse_threshold(majority=[2, 9][index[0]], minority=4, E_W=[0.5, 1, 3][index[1]], E_H=2)
        assert (found.R0[index], found.R00[index]) == (one.R0, one.R00)
    assert found.to_json()["majority"] == [[2, 2, 2], [9, 9, 9]] and "(2, 3)" in repr(found)
    assert collapse_thresholds(majority=[], minority=[], E_W=[], E_H=[]).R0.shape == (0,)


def test_beyond_float64_the_logarithm_stays():
    found = collapse_thresholds(majority=2, minority=999_998, E_W=1, E_H=3)
    assert np.isinf(found.R0) and found.log_R0 == pytest.approx(866012, rel=1e-5) and found.residual < 1e-10
    with pytest.raises(InvalidInput, match="R = e\\^866012"):
        collapse_threshold(majority=2, minority=999_998, E_W=1, E_H=3)


@pytest.mark.parametrize(
    ("change", "word"),
    [({"majority": 0}, "majority"), ({"majority": 1.5}, "majority"), ({"minority": 1}, "minority"), ({"E_W": 0}, "E_W"),
     ({"E_H": -1}, "E_H"), ({"E_H": [1, np.nan]}, "E_H"), ({"E_W": 1e-40}, "range"),
     ({"E_W": 1e300, "E_H": 1e300}, "range"),
     ({"majority": 10**6}, "1000000"), ({"E_W": [1, 2], "E_H": [1, 2, 3]}, "broadcast"), ({"E_W": "x"}, "E_W")],
)  # fmt: skip
def test_arrays_refuse(change, word):
    given = {"majority": 5, "minority": 5, "E_W": 1, "E_H": 5} | change
    with pytest.raises(InvalidInput, match=word):
        collapse_thresholds(**given)


def test_vanishing_beyond_float64_is_not_never():
    found = collapse_thresholds(majority=300_000, minority=700_000, E_W=1, E_H=5e4)
    assert np.isinf(found.R00) and found.log_R0 < found.log_R00 < np.inf and found.residual_R00 < 1e-10
    with pytest.raises(InvalidInput, match=r"(merges|vanishes) only above R = 1e\+300"):
        collapse_threshold(majority=300_000, minority=700_000, E_W=1, E_H=5e4)
    assert np.isinf(collapse_thresholds(majority=5, minority=5, E_W=1, E_H=5).log_R00)
