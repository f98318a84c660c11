"""The scalar homogeneous model and the product of two factors: Runge-Kutta, exponential integral, incomplete gamma."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.flow.exact.oracles import stepped
from theory import InvalidInput
from theory.flow.exact.scalar import ScalarHomogeneous
from theory.flow.exact.two_factors import TwoFactors

TIMES = [1e-8, 0.1, 10.0, 1e4]
DEGREES = [1, 1.5, 2, 2.0001, 3, 4, 7]


@pytest.mark.parametrize("L", DEGREES)
@pytest.mark.parametrize("start", [0.05, 0.5, 1.0, 2.0])
def test_scalar_is_the_flow(L, start):
    form = ScalarHomogeneous(L=L, theta0_value=start, x=1.3)
    runge = stepped(lambda w: L * 1.3 * w ** (L - 1) * np.exp(-1.3 * w**L), form.theta0, TIMES)
    assert np.abs(form.solution(TIMES) - runge).max() < 5e-14
    assert np.abs(form.log_inverse_loss(TIMES) - 1.3 * runge[:, 0] ** L).max() < 2e-13
    assert form.solution(0.0) == pytest.approx(form.theta0, rel=1e-15, abs=0)


@given(
    L=st.sampled_from(DEGREES), log_q=st.floats(-8, 5), log_t=st.floats(-10, 600), x=st.sampled_from([0.2, 1.0, 5.0])
)
def test_scalar_law_by_incomplete_gamma(L, log_q, log_t, x):
    """L^2 x^(2/L) t = integral of e^s s^-a from q0 to q = Re of (-1)^a Gamma(1 - a, -s), as mpmath knows it."""
    start = float((np.exp(log_q) / x) ** (1 / L))
    q = float(ScalarHomogeneous(L=L, theta0_value=start, x=x).log_inverse_loss(log_t=log_t))
    with mpmath.workdps(50):
        a, q0, q1 = 2 - 2 / mpmath.mpf(L), x * mpmath.mpf(start) ** L, mpmath.mpf(q)
        if L == 2:
            grown = mpmath.ei(q1) - mpmath.ei(q0)
        else:
            law = lambda s: s ** (1 - a) / (1 - a) * mpmath.hyp1f1(1 - a, 2 - a, s)  # noqa: E731
            grown = law(q1) - law(q0)
        want = mpmath.mpf(L) ** 2 * mpmath.mpf(x) ** (2 / mpmath.mpf(L)) * mpmath.exp(log_t)
        rate = mpmath.exp(q1) * q1**-a
        error = abs(float((grown - want) / rate))
    # rounding of q itself, of q0 and of t
    assert error <= 4e-15 * max(1, q) + 4e-14 * float(want / rate) * max(1, abs(log_t) / 100)


def test_the_law_at_degree_two_is_the_exponential_integral():
    form = ScalarHomogeneous(L=2, theta0_value=0.5)
    q = form.log_inverse_loss(1e5)
    with mpmath.workdps(30):
        want = mpmath.findroot(lambda s: mpmath.log(mpmath.ei(s)) - mpmath.log(mpmath.ei(0.25) + 4e5), float(q))
    assert abs(q - want) < 1e-14


@pytest.mark.parametrize("L", DEGREES)
@pytest.mark.parametrize("log_t", [1e3, 1e6])
def test_scalar_at_times_beyond_float64(L, log_t):
    """Integration by parts in mpmath: log t + log L^2 = q - a log q + log(1 + a/q + a(a+1)/q^2 + ...)."""
    q = ScalarHomogeneous(L=L, theta0_value=0.5).log_inverse_loss(log_t=log_t)
    with mpmath.workdps(40):
        a, s = 2 - 2 / mpmath.mpf(L), mpmath.mpf(float(q))
        series = sum(mpmath.rf(a, k) / s**k for k in range(30))
        gap = s - a * mpmath.log(s) + mpmath.log(series) - log_t - 2 * mpmath.log(L)
    assert abs(gap) < 4e-16 * log_t


def test_scalar_from_far_away_rests():
    form = ScalarHomogeneous(L=3, theta0_value=10.0)
    assert form.log_inverse_loss([0.0, 1e100]) == pytest.approx([1000, 1000], rel=1e-15, abs=0)
    assert form.log_inverse_loss(log_t=2000.0) > 1990


def test_limits_are_directions_with_their_margin():
    factors = TwoFactors(u0=-3.0, v0=1.0)
    w = factors.solution(log_t=1e8)
    assert w / np.linalg.norm(w) == pytest.approx(factors.limit.direction, abs=1e-7)
    assert factors.limit.direction.prod() == pytest.approx(factors.limit.margin, rel=1e-15, abs=0)
    scalar = ScalarHomogeneous(L=3, theta0_value=1.0, x=2.5)
    assert scalar.log_inverse_loss(9.0) / scalar.solution(9.0) ** 3 == pytest.approx(
        scalar.limit.margin, rel=1e-14, abs=0
    )
    assert scalar.limit.direction == 1


@pytest.mark.parametrize("start", [(1.2, -0.4), (1.0, 1.0), (1e-3, 2e-3), (1.0, -0.9), (-5.0, 1.0), (4.0, 4.0)])
def test_two_factors_are_the_flow(start):
    form = TwoFactors(u0=start[0], v0=start[1])
    runge = stepped(lambda w: w[::-1] * np.exp(-w[0] * w[1]), form.theta0, TIMES)
    found = form.solution(TIMES)
    assert np.abs(found - runge).max() < 3e-14
    assert np.abs(found[:, 0] ** 2 - found[:, 1] ** 2 - start[0] ** 2 + start[1] ** 2).max() < 1e-13
    assert form.solution(0.0) == pytest.approx(form.theta0, rel=1e-15, abs=0)


@settings(max_examples=40)
@given(u0=st.floats(0.01, 20), v0=st.floats(-0.5, 3), log_t=st.floats(-10, 300))
def test_two_factors_against_the_law_in_the_product(u0, v0, log_t):
    """dt = e^q dq / sqrt(c^2 + 4 q^2), integrated by mpmath in q."""
    form = TwoFactors(u0=u0, v0=v0)
    u, v = form.solution(log_t=log_t)
    with mpmath.workdps(30):
        c, q0, q1 = mpmath.mpf(u0) ** 2 - mpmath.mpf(v0) ** 2, mpmath.mpf(u0) * v0, mpmath.mpf(float(u)) * float(v)
        # dq / sqrt(c^2 + 4 q^2) = d asinh(2 q / |c|) / 2 resolves the passage through zero
        if abs(c) < 1e-3:
            return
        t0, t1 = mpmath.asinh(2 * q0 / abs(c)), mpmath.asinh(2 * q1 / abs(c))
        low = max(t0, mpmath.asinh(2 * (q1 - 60) / abs(c)))
        cuts = [mpmath.asinh(2 * (q1 - k) / abs(c)) for k in (60, 40, 20, 10, 5, 2, 1, 0.3) if q1 - k > q0]
        f = lambda th: mpmath.exp(abs(c) / 2 * mpmath.sinh(th) - q1) / 2  # noqa: E731
        grown = mpmath.quad(f, sorted({low, *cuts, t1})) if t1 > low else mpmath.mpf(0)
        want = mpmath.exp(log_t - q1)
        rate = 1 / mpmath.sqrt(c**2 + 4 * q1**2)
        assert abs((grown - want) / rate) < 1e-14 * (abs(q1) + 1 + abs(c)) + 1e-13 * want / rate


def test_two_factors_end_in_the_scalar_law():
    scalar = ScalarHomogeneous(L=2, theta0_value=1.0).log_inverse_loss(log_t=1e6 - np.log(2))
    # u = v is the model theta^2 / 2 of theta = (u, v); its law is Ei(q) = Ei(q_0) + 2 t
    for start in ((1.0, 1.0), (1e-8, 1e-8), (-5.0, 1.0), (1.0, -1 + 1e-9)):
        q = TwoFactors(u0=start[0], v0=start[1]).log_inverse_loss(log_t=1e6)
        assert q == pytest.approx(scalar, rel=1e-14, abs=0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ScalarHomogeneous(L=0.5, theta0_value=1.0), "L must be at least 1"),
        (lambda: ScalarHomogeneous(L=2, theta0_value=0.0), "theta0_value must be positive"),
        (lambda: ScalarHomogeneous(L=4, theta0_value=1e-100), "between 1e-290 and 1e290"),
        (lambda: ScalarHomogeneous(L=4, theta0_value=1e300), "between 1e-290 and 1e290"),
        (lambda: ScalarHomogeneous(L=2, theta0_value=1.0, x=-1), "x must be positive"),
        (lambda: TwoFactors(u0=1.0, v0=-1.0), "must not vanish"),
        (lambda: TwoFactors(u0=1e200, v0=1.0), "at most 1e150"),
        (lambda: TwoFactors(u0=np.nan, v0=1.0), "u0 must be finite"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(InvalidInput, match=message):
        build()
