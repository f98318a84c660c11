"""Binary relative entropy, its inverse, and its bounds: against 260 digits, exact binomials, other routes."""

from __future__ import annotations

from math import comb, isqrt

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binom, binomtest, norm

from theory._errors import InvalidInput
from theory.bounds._kl import (
    EPS,
    clopper_pearson_upper,
    gaussian_kl,
    kl,
    kl_inverse,
    monte_carlo_upper,
    pac_bayes_kl,
    prior_scale,
)

fractions = st.one_of(
    st.floats(0, 1).map(lambda x: x if x > 1e-100 else 0.0),
    st.floats(-18, 0).map(lambda e: 10.0**e),
    st.floats(-15, 0).map(lambda e: 1 - 10.0**e),
)
budgets = st.one_of(
    st.floats(0, 800).map(lambda x: x if x > 1e-100 else 0.0), st.floats(-100, 2).map(lambda e: 10.0**e)
)


def exact_kl(q, p):
    """The definition, in as many digits as mpmath is set to."""
    q, p = mpmath.mpf(float(q)), mpmath.mpf(float(p))
    return (q * mpmath.log(q / p) if q else 0) + ((1 - q) * mpmath.log((1 - q) / (1 - p)) if q < 1 else 0)


@given(fractions, fractions, st.sampled_from([None, 1e-15, 1e-9, 0.3, 0.31]))
def test_kl_has_full_relative_accuracy(q, p, near):
    if near:
        p = min(q * (1 + near), 1 - 1e-16)
    if p in (0, 1, q):
        return
    with mpmath.workdps(260):
        expected = exact_kl(q, p)
        assert abs(float(kl(q, p) / expected - 1)) < 10 * EPS


@given(fractions, budgets)
def test_inverse_is_never_below_the_root_and_hardly_above(q, c):
    u = float(kl_inverse(q, c))
    assert q <= u <= 1
    with mpmath.workdps(260):
        if u < 1:
            assert exact_kl(q, u) >= c
        below = np.nextafter(u, 0) - 80 * EPS * (u - q)
        if u > q and below > q:
            assert exact_kl(q, below) <= c


@given(st.lists(st.tuples(fractions, budgets), min_size=1, max_size=8))
def test_arrays_are_their_entries(pairs):
    q, c = np.array(pairs).T
    one_by_one = [float(kl_inverse(a, b)) for a, b in pairs]
    assert kl_inverse(q, c) == pytest.approx(one_by_one, rel=64 * EPS, abs=0)


def test_ends_of_the_inverse():
    c = np.array([1e-300, 1e-20, 1e-3, 1, 30])
    assert kl_inverse(0, c) == pytest.approx(-np.expm1(-c), rel=80 * EPS, abs=0)
    assert (kl_inverse(0, c) >= -np.expm1(-c)).all()
    assert (kl_inverse(1, c) == 1).all()
    q = np.array([0, 1e-300, 0.2, 1])
    assert np.array_equal(kl_inverse(q, 0), q)
    assert np.array_equal(kl_inverse(q, 1e6), np.ones(4))
    assert kl_inverse(np.empty(0), 1.0).shape == (0,)
    # a small budget: the parabola's root
    assert float(kl_inverse(0.3, 1e-14)) - 0.3 == pytest.approx(np.sqrt(2e-14 * 0.3 * 0.7), rel=1e-6)


@given(st.floats(1e-4, 0.999), st.floats(1e-6, 5))
def test_inverse_is_the_least_of_catonis_bounds(q, c):
    """``min over C > 0 of (1 - exp(-C q - c)) / (1 - exp(-C))`` is another route to the same number."""
    u = float(kl_inverse(q, c))
    if u > 1 - 1e-9:
        return

    def catoni(log_C):
        C = np.exp(log_C)
        return np.expm1(-C * q - c) / np.expm1(-C)

    best = np.log(np.log(u * (1 - q) / (q * (1 - u))))  # where the derivative vanishes
    assert catoni(best) == pytest.approx(u, rel=1e-9)
    found = minimize_scalar(catoni, bounds=(best - 1, best + 1), method="bounded", options={"xatol": 1e-9})
    assert found.fun == pytest.approx(u, rel=1e-9)


def test_published_value():
    """Dziugaite and Roy's figures: error .289307, KL 1724, n 30000, confidence .95 (reference table 8.2)."""
    assert float(pac_bayes_kl(0.289307, 1724, 30000, 0.05)) == pytest.approx(0.45515771, abs=5e-9)


@given(st.floats(0, 1), st.floats(0, 3000), st.integers(8, 10**6), st.floats(1e-6, 0.5), st.floats(0.01, 1.99))
def test_relaxations_dominate(r, KL, n, delta, lam):
    """Square root, quadratic and lambda forms printed in the literature are all above the inverse."""
    u, B = float(pac_bayes_kl(r, KL, n, delta)), (KL + np.log(2 * np.sqrt(n) / delta)) / n
    assert u <= (r + np.sqrt(B / 2)) * (1 + 1e-12)
    assert u <= (np.sqrt(r + B / 2) + np.sqrt(B / 2)) ** 2 * (1 + 1e-12)
    assert u <= (r / (1 - lam / 2) + B / (lam * (1 - lam / 2))) * (1 + 1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 30, 100, 250])
def test_maurers_sum_is_below_two_root_n_in_whole_numbers(n):
    terms = sum(comb(n, k) * k**k * (n - k) ** (n - k) for k in range(n + 1))  # xi(n) n^n, with 0^0 = 1
    assert terms**2 <= 4 * n * n ** (2 * n)
    assert (terms**2 == 4 * n * n ** (2 * n)) == (n == 1)
    # 1.6 in place of 2 fails for small n, and the sum does grow like sqrt(pi n / 2)
    assert terms >= isqrt(n ** (2 * n + 1)) or n == 0


@pytest.mark.parametrize("delta", [0.3, 0.05, 1e-4])
@pytest.mark.parametrize("n", [1, 2, 10, 57, 300])
def test_one_sided_chernoff_fails_with_probability_at_most_delta(n, delta):
    """Exact: the limit fails for p just above the limit of k iff at most k errors occur."""
    k = np.arange(n)
    limits = monte_carlo_upper(k / n, n, delta)
    failure = binom.cdf(k, n, limits) * (limits < 1)
    assert failure.max() <= delta * (1 + 1e-12)
    assert failure[0] == pytest.approx(delta, rel=1e-10)  # no error seen: exactly delta, so no smaller budget will do
    exact = np.array([clopper_pearson_upper(int(j), n, delta) for j in k])
    assert (exact <= limits * (1 + 1e-14)).all()
    assert binom.cdf(k, n, exact) == pytest.approx(np.full(n, delta), rel=1e-8)
    assert (binom.cdf(k, n, exact) <= delta * (1 + 1e-12)).all()


@given(st.integers(1, 500), st.floats(0, 1), st.floats(1e-6, 0.9))
def test_clopper_pearson_equals_scipys_interval(n, share, delta):
    errors = int(share * n)
    limit = clopper_pearson_upper(errors, n, delta)
    high = binomtest(errors, n, alternative="less").proportion_ci(1 - delta, method="exact").high
    assert limit == pytest.approx(high, rel=1e-7, abs=1e-10)


def test_clopper_pearson_ends():
    assert clopper_pearson_upper(7, 7, 0.05) == 1.0
    assert clopper_pearson_upper(0, 10**9, 1e-12) == pytest.approx(-np.log(1e-12) / 1e9, rel=1e-7)


def test_gaussian_divergence_is_the_integral():
    (m, m0, s, s0), grid = (0.7, -0.4, 0.8, 1.3), np.linspace(-12, 12, 40_001)
    density = norm.pdf(grid, m, s)
    integral = np.trapezoid(density * (norm.logpdf(grid, m, s) - norm.logpdf(grid, m0, s0)), grid)
    assert gaussian_kl(m, m0, s, s0) == pytest.approx(integral, rel=1e-10)
    assert gaussian_kl([m] * 5, [m0] * 5, s, s0) == pytest.approx(5 * integral, rel=1e-10)


@given(st.floats(-1e-6, 1e-6))
def test_gaussian_divergence_of_nearly_equal_deviations(x):
    x = (1 + x) - 1  # what the sum keeps of it
    assert gaussian_kl(0, 0, 1 + x, 1) == pytest.approx(x * x - 2 / 3 * x**3 * 0.5, rel=1e-5, abs=1e-30)


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=6), st.floats(0.1, 3), st.floats(0.1, 3), st.floats(0.1, 9))
def test_gaussian_divergence_depends_on_ratios_and_adds_up(mean, s, s0, scale):
    mean = np.array(mean)
    whole = gaussian_kl(mean, 0, s, s0)
    assert gaussian_kl(scale * mean, 0, scale * s, scale * s0) == pytest.approx(whole, rel=1e-12, abs=1e-14)
    assert sum(gaussian_kl(m, 0, s, s0) for m in mean) == pytest.approx(whole, rel=1e-12, abs=1e-14)


def test_prior_scales_share_one_delta_and_are_near_what_was_wanted():
    costs = [prior_scale(0.1 * np.exp(-j / 100), largest=0.1, per_e=100).cost for j in range(1, 2000)]
    share = np.exp(-np.array(costs)).sum()
    assert share <= 1 and share == pytest.approx(1 - 6 / np.pi**2 / 2000, abs=1e-6)
    for wanted in (1e-9, 3.3e-4, 0.0987):
        scale = prior_scale(wanted, largest=0.1, per_e=100)
        assert abs(np.log(scale.variance / wanted)) <= 0.5 / 100 + 1e-12
        assert scale.variance == pytest.approx(0.1 * np.exp(-scale.index / 100), rel=1e-15)
    assert prior_scale(5.0, largest=0.1, per_e=100).index == 1  # above the grid: its largest member
    assert prior_scale(5.0, largest=0.1, per_e=100).to_json()["variance"] == pytest.approx(0.1 * np.exp(-0.01))


@pytest.mark.parametrize(
    "call",
    [
        lambda: kl(1.2, 0.5),
        lambda: kl(np.nan, 0.5),
        lambda: kl_inverse(0.5, -1e-9),
        lambda: kl_inverse(0.5, np.inf),
        lambda: kl_inverse(-0.1, 1),
        lambda: monte_carlo_upper(0.5, 0, 0.1),
        lambda: monte_carlo_upper(0.5, 10, 1.0),
        lambda: pac_bayes_kl(0.5, -1, 10, 0.1),
        lambda: pac_bayes_kl(0.5, 1, 10, 0),
        lambda: clopper_pearson_upper(11, 10, 0.1),
        lambda: clopper_pearson_upper(-1, 10, 0.1),
        lambda: clopper_pearson_upper(1, 10, 2),
        lambda: gaussian_kl([1, 2], [1, 2, 3], 1, 1),
        lambda: gaussian_kl([1, 2], 0, [1, 0], 1),
        lambda: gaussian_kl(1, 0, 1, 1e-200),
        lambda: prior_scale(-1, largest=0.1, per_e=100),
        lambda: prior_scale(1, largest=0.1, per_e=0),
    ],
)
def test_refusals(call):
    with pytest.raises(InvalidInput):
        call()
