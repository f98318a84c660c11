"""One point, orthogonal points, mirrored points: formulas against Runge-Kutta and mpmath, limits, refusals."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.flow.exact.oracles import linear_field, stepped
from theory import InvalidInput, PreconditionError
from theory.flow.exact.mirrored import MirroredPoints
from theory.flow.exact.one_point import OnePointExponential, OnePointLogistic
from theory.flow.exact.orthogonal import OrthogonalExponential, OrthogonalLogistic

TIMES = [1e-8, 0.1, 10.0, 1e4]
ROTATION = np.linalg.qr(np.random.default_rng(3).standard_normal((4, 4)))[0]
X = (ROTATION * np.array([[1.0], [2.0], [0.5], [3.0]]))[:3]
Y = np.array([1.0, -1.0, 1.0])


@pytest.mark.parametrize(("kind", "form"), [("exponential", OnePointExponential), ("logistic", OnePointLogistic)])
@pytest.mark.parametrize(("w0", "x", "y"), [(0.0, 1.0, 1), (-3.0, 0.7, 1), (2.0, -1.5, 1), (1.0, 2.0, -1)])
def test_one_point_is_the_flow(kind, form, w0, x, y):
    exact = form(w0=w0, x=x, y=y)
    field = linear_field(np.array([[x]]), np.array([y]), kind)
    assert np.abs(exact.solution(TIMES) - stepped(field, np.array([w0]), TIMES)).max() < 2e-14


@given(z0=st.floats(-60, 60), log_t=st.floats(-20, 200))
def test_logistic_margin_solves_its_implicit_law(z0, log_t):
    z = OnePointLogistic(w0=z0).solution(log_t=log_t)[0]
    with mpmath.workdps(120):
        v = mpmath.mpf(float(z))
        gap = v + mpmath.exp(v) - z0 - mpmath.exp(z0) - mpmath.exp(mpmath.mpf(log_t))
        assert abs(gap / (1 + mpmath.exp(v))) <= 4e-15 * max(1, abs(v), abs(z0), abs(log_t) / 10)


@pytest.mark.parametrize("log_t", [1e3, 1e6, 1e15])
def test_one_point_at_times_beyond_float64(log_t):
    assert OnePointExponential(w0=-50.0).log_inverse_loss(log_t=log_t) == log_t
    assert OnePointLogistic(w0=-50.0).log_inverse_loss(log_t=log_t) == log_t
    assert OnePointLogistic(w0=2e3).log_inverse_loss(log_t=1e3) == 2e3


@pytest.mark.parametrize(
    "form",
    [
        OnePointExponential(w0=0.0, x=-1.5, y=1),
        OnePointLogistic(w0=0.0, x=3.0, y=-1),
        OrthogonalLogistic(X=X, y=Y, w0=np.zeros(4)),
        MirroredPoints(a=0.7, b=2.0, w0=[1.0, 1.0]),
    ],
)
def test_limits_are_directions_with_their_margin(form):
    X, y = form.data
    assert (y * (X @ form.limit.direction)).min() == pytest.approx(form.limit.margin, rel=1e-14, abs=0)
    w = form.solution(log_t=1e8)
    assert w / np.linalg.norm(w) == pytest.approx(form.limit.direction, abs=1e-7)


def test_logistic_loss_in_logarithms():
    form = OnePointLogistic(w0=0.0)
    t = np.array([0.0, 1.0, 1e3, 1e13, 1.2e13, 1e14, 1e200])
    with mpmath.workdps(60):
        want = [-mpmath.log(mpmath.log1p(mpmath.exp(-mpmath.mpf(float(z))))) for z in form.solution(t)[:, 0]]
    assert form.log_inverse_loss(t) == pytest.approx(np.array(want, float), rel=4e-16, abs=0)
    far = OnePointLogistic(w0=-800.0).log_inverse_loss(0.0)
    assert far == pytest.approx(-np.log(800), rel=1e-15, abs=0)


@pytest.mark.parametrize(("kind", "form"), [("exponential", OrthogonalExponential), ("logistic", OrthogonalLogistic)])
def test_orthogonal_points_are_the_flow(kind, form):
    exact = form(X=X, y=Y, w0=[0.5, -1.0, 2.0, 0.3])
    runge = stepped(linear_field(X, Y, kind), exact.theta0, TIMES)
    assert np.abs(exact.solution(TIMES) - runge).max() < 3e-14
    assert np.abs(exact.solution(0.0) - exact.theta0).max() < 1e-15
    z = Y * (runge @ X.T)
    loss = np.exp(-z).sum(axis=1) if kind == "exponential" else np.log1p(np.exp(-z)).sum(axis=1)
    assert np.abs(exact.log_inverse_loss(TIMES) + np.log(loss)).max() < 3e-14


@pytest.mark.parametrize("form", [OrthogonalExponential, OrthogonalLogistic])
def test_orthogonal_limit_is_the_maximum_margin(form):
    from scipy.optimize import minimize

    exact = form(X=X, y=Y, w0=np.ones(4))
    svm = minimize(
        lambda w: w @ w / 2, np.ones(4), jac=lambda w: w, method="SLSQP", options={"ftol": 1e-15},
        constraints={"type": "ineq", "fun": lambda w: Y * (X @ w) - 1, "jac": lambda w: Y[:, None] * X},
    )  # fmt: skip
    assert exact.limit.margin == pytest.approx(1 / np.linalg.norm(svm.x), rel=1e-9, abs=0)
    assert (Y * (X @ exact.limit.direction)).min() == pytest.approx(exact.limit.margin, rel=1e-14, abs=0)
    for log_t in (1e3, 1e6):
        w = exact.solution(log_t=log_t)
        assert np.linalg.norm(w / np.linalg.norm(w) - exact.limit.direction) < 20 / log_t


def test_normalised_margin_by_hand():
    """Lengths 1, 2 and 3 from zero: the limit is 1/sqrt(1 + 1/4 + 1/9)."""
    exact = OrthogonalExponential(X=np.diag([1.0, 2.0, 3.0]), y=[1, 1, 1], w0=np.zeros(3))
    z = np.log1p(np.array([1.0, 4.0, 9.0]) * 1e4)
    assert exact.limit.margin == pytest.approx(6 / 7, rel=1e-15, abs=0)
    assert exact.normalised_margin(1e4) == pytest.approx(z.min() / np.linalg.norm(z / [1, 2, 3]), rel=1e-14, abs=0)
    assert np.isnan(exact.normalised_margin(0.0))


@pytest.mark.parametrize(
    ("a", "b", "w0"), [(1, 0.5, [0.3, -0.7]), (1, 3.0, [-1, 2.0]), (2.0, 0.1, [0, 5.0]), (1, 1, [0, 0])]
)
def test_mirrored_points_are_the_flow(a, b, w0):
    exact = MirroredPoints(a=a, b=b, w0=w0)
    found = exact.solution(TIMES)
    assert np.abs(found - stepped(linear_field(*exact.data, "exponential"), exact.theta0, TIMES)).max() < 2e-14
    if w0[1]:
        drift = np.sinh(b * found[:, 1]) * np.exp(exact.power * a * found[:, 0]) / np.sinh(b * w0[1])
        assert np.abs(drift / np.exp(exact.power * a * w0[0]) - 1).max() < 1e-11
    z = (exact.data.X @ found.T).T
    assert np.abs(exact.log_inverse_loss(TIMES) + np.log(np.exp(-z).sum(axis=1))).max() < 1e-14


def test_mirrored_direction_converges_like_a_power():
    exact = MirroredPoints(a=1.0, b=0.5, w0=[0.0, 1.0])
    w = exact.solution(log_t=np.array([100.0, 200.0]))
    assert np.log(w[0, 1] / w[1, 1]) / 100 == pytest.approx(exact.power, rel=1e-12, abs=0)
    assert exact.log_inverse_loss(log_t=1e6) == pytest.approx(1e6, rel=1e-15, abs=0)
    assert exact.solution(log_t=1e6)[0] == pytest.approx(1e6 + np.log(2), rel=1e-15, abs=0)


@pytest.mark.parametrize(
    ("b", "w0"), [(10.0, [0, 3.0]), (0.1, [1.0, -400.0]), (30.0, [0.0, 50.0]), (0.7, [-20.0, 5.0])]
)
@pytest.mark.parametrize("log_t", [-30.0, 0.0, 30.0, 300.0])
def test_mirrored_points_against_the_hypergeometric_function(b, w0, log_t):
    exact = MirroredPoints(a=1.0, b=b, w0=w0)
    w = exact.solution(log_t=log_t)
    start = exact.invariant(exact.theta0)
    assert w[1] == 0 or abs(exact.invariant(w) - start) < 1e-13 * max(1, abs(start))
    with mpmath.workdps(60):
        p = mpmath.mpf(b) ** 2
        C = mpmath.sinh(b * mpmath.mpf(abs(w0[1]))) * mpmath.exp(p * w0[0])
        q = (p + 1) / (2 * p)

        def time(s):
            return (
                mpmath.exp((p + 1) * s)
                / (2 * C * (p + 1))
                * mpmath.hyp2f1(0.5, q, q + 1, -mpmath.exp(2 * p * s) / C**2)
            )

        s0, s1, t = mpmath.mpf(w0[0]), mpmath.mpf(float(w[0])), mpmath.exp(log_t)
        rate = (time(s1 * (1 + mpmath.mpf(10) ** -30)) - time(s1)) * mpmath.mpf(10) ** 30 / s1 if s1 else time(s1)
        assert abs((time(s1) - time(s0) - t) / rate) < 2e-14 * max(1, abs(s1))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: OnePointExponential(w0=0.0, x=0.0), "x must not be zero"),
        (lambda: OnePointLogistic(w0=0.0, y=2), "y must be -1 or 1"),
        (lambda: OnePointLogistic(w0=np.nan), "w0 must be finite"),
        (lambda: OnePointExponential(w0=0.0).solution(-1.0), "t must be nonnegative"),
        (lambda: OnePointExponential(w0=0.0).solution(1.0, log_t=0.0), "exactly one of t and log_t"),
        (lambda: OnePointExponential(w0=0.0).solution(np.inf), "t must be finite"),
        (lambda: OrthogonalExponential(X=[[1, 0]], y=[0], w0=[0, 0]), "labels -1 and 1"),
        (lambda: OrthogonalExponential(X=[[1, 0]], y=[1, 1], w0=[0, 0]), "one per row of X"),
        (lambda: OrthogonalExponential(X=[[1, 0]], y=[1], w0=[0]), "w0 must have shape"),
        (lambda: OrthogonalLogistic(X=[[0, 0]], y=[1], w0=[0, 0]), "must be nonzero"),
        (lambda: OrthogonalLogistic(X=[1.0], y=[1], w0=[0]), "2 dimension"),
        (lambda: MirroredPoints(a=0, b=1, w0=[0, 0]), "a must be positive"),
        (lambda: MirroredPoints(a=1, b=1, w0=[0, 0, 0]), "w0 must have shape"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(InvalidInput, match=message):
        build()


def test_inputs_must_be_orthogonal():
    with pytest.raises(PreconditionError, match="rows 0 and 1 have cosine"):
        OrthogonalExponential(X=[[1, 0], [1, 1]], y=[1, 1], w0=[0, 0])


def test_inputs_are_copied():
    w0 = np.zeros(2)
    form = OrthogonalExponential(X=np.eye(2), y=[1, 1], w0=w0)
    w0[0] = 5
    assert form.theta0[0] == 0 and form.solution(np.ones((3, 2))).shape == (3, 2, 2)
