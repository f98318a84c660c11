"""Diagonal networks: first integrals along real flows, the hypentropy's minimiser, the jumps from a vanishing start."""

import mpmath
import numpy as np
import pytest
from scipy.optimize import linprog

from tests.flow.exact.oracles import stepped
from theory import InvalidInput, PreconditionError
from theory.flow.exact.diagonal import DiagonalSquare
from theory.flow.exact.diagonal_exponential import DiagonalExponential
from theory.flow.exact.saddle_to_saddle import SaddleToSaddle

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((4, 10)), RNG.standard_normal(4)
LEAST_L1 = linprog(np.ones(20), A_eq=np.hstack([X, -X]), b_eq=Y, method="highs").fun


def square_field(theta):
    u, v = theta.reshape(2, -1)
    g = X.T @ (X @ (u * u - v * v) - Y)
    return 2 * np.concatenate([-u * g, v * g])


@pytest.mark.parametrize(("log_alpha", "late"), [(-1.5, 60.0), (-0.5, 30.0), (0.5, 4.0)])
def test_square_loss_keeps_its_first_integral_and_ends_at_the_minimiser(log_alpha, late):
    form = DiagonalSquare(X=X, y=Y, log_alpha=log_alpha)
    times = [0.01, 0.3, 3.0, late]
    runge = stepped(square_field, form.theta0, times, rtol=1e-13)
    assert max(map(form.residual, runge)) < 1e-11
    assert np.abs(form.solution(times) - runge).max() < 2e-9
    beta = runge[:, :10] ** 2 - runge[:, 10:] ** 2
    assert np.abs(form.product(times) - beta).max() < 2e-9
    assert np.abs(beta[-1] - form.limit.beta).max() < 1e-11
    off = runge[-1].copy()
    off[3] *= 1.01
    assert form.residual(off) > 9e-3
    off[13] /= 1.01  # back on u v = alpha^2, and out of the row space
    assert form.residual(off) > 9e-3


@pytest.mark.parametrize("log_alpha", [3.0, 0.0, -4.0, -100.0, -1600.0, -9999.0])
def test_the_minimiser_satisfies_its_conditions(log_alpha):
    form = DiagonalSquare(X=X, y=Y, log_alpha=log_alpha)
    end = form.limit
    assert np.abs(X @ end.beta - Y).max() < 1e-13 + 2e-15 * abs(log_alpha)
    onto = X.T @ np.linalg.lstsq(X.T, end.z, rcond=None)[0]
    assert np.abs(end.z - onto).max() < 1e-13 * max(1, abs(log_alpha))
    with mpmath.workdps(30):
        back = [2 * mpmath.exp(2 * log_alpha) * mpmath.sinh(mpmath.mpf(float(z))) for z in end.z]
    assert np.abs(np.array(back, float) - end.beta).max() < 1e-15
    assert end.certificate.relative_gap < 1e-11 and end.certificate.upper == form.potential(end.beta)
    null = np.linalg.svd(X)[2][4:]
    for k, direction in enumerate(null):
        step = (1e-3 if k % 2 else -1e-3) * direction
        assert form.potential(end.beta + step) > form.potential(end.beta)


def test_published_l1_limit():
    """The l1 norm falls towards that of the linear program, which the saddles reach."""
    norms = [np.abs(DiagonalSquare(X=X, y=Y, log_alpha=a).limit.beta).sum() for a in (-1, -4, -9, -18, -100)]
    assert (np.diff(norms) < 0).all() and norms[-1] == pytest.approx(LEAST_L1, rel=1e-9, abs=0)
    large = DiagonalSquare(X=X, y=Y, log_alpha=12.0).limit.beta
    assert np.abs(large - np.linalg.pinv(X) @ Y).max() < 1e-9
    assert np.abs(SaddleToSaddle(X=X, y=Y).limit).sum() == pytest.approx(LEAST_L1, rel=1e-12, abs=0)


@pytest.mark.parametrize("log_alpha", [-20.0, -100.0, -1600.0])
def test_a_sparse_teacher_is_found_through_a_singular_hessian(log_alpha):
    A = np.random.default_rng(1).standard_normal((20, 60))
    teacher = np.zeros(60)
    teacher[[3, 7]] = 1, -2
    end = DiagonalSquare(X=A, y=A @ teacher, log_alpha=log_alpha).limit
    assert np.abs(end.beta - teacher).max() < (1e-11 if log_alpha <= -100 else 1e-7)
    assert end.certificate.relative_gap < 1e-12 * max(1, -log_alpha / 100)
    assert np.abs(SaddleToSaddle(X=A, y=A @ teacher).limit - teacher).max() < 1e-14


def test_potential_against_many_digits():
    beta = np.array([0.0, 1e-12, -0.3, 5.0])
    for log_alpha in (-300.0, -5.0, 0.0, 5.0):
        with mpmath.workdps(60):
            a2, b = mpmath.exp(2 * mpmath.mpf(log_alpha)), [mpmath.mpf(float(x)) for x in beta]
            want = sum(x * mpmath.asinh(x / 2 / a2) - mpmath.sqrt(x**2 + 4 * a2**2) + 2 * a2 for x in b)
        form = DiagonalSquare(X=np.ones((1, 4)), y=[1.0], log_alpha=log_alpha)
        assert form.potential(beta) == pytest.approx(float(want), rel=4e-15, abs=0)


def test_inconsistent_and_dependent_rows_end_at_least_squares():
    rows = RNG.standard_normal((7, 3))
    y = RNG.standard_normal(7)
    want = np.linalg.lstsq(rows, y, rcond=None)[0]
    assert np.abs(DiagonalSquare(X=rows, y=y, log_alpha=-3.0).limit.beta - want).max() < 1e-13
    twice = DiagonalSquare(X=np.vstack([X, X]), y=np.append(Y, Y + 1), log_alpha=-2.0).limit.beta
    assert np.abs(X @ twice - Y - 0.5).max() < 1e-13
    assert (DiagonalSquare(X=X, y=np.zeros(4), log_alpha=-5.0).limit.beta == 0).all()
    assert (DiagonalSquare(X=np.zeros((2, 3)), y=[1, 1], log_alpha=-5.0).limit.beta == 0).all()
    assert (DiagonalSquare(X=np.zeros((2, 3)), y=[1, 1], log_alpha=-5.0).product(2.0) == 0).all()


def test_exponential_loss_stays_in_the_cone():
    Z, labels = X[:, :6], np.sign(Y)
    form = DiagonalExponential(X=Z, y=labels, log_alpha=-1.5)

    def field(state):  # (u, v) and the integrals nu of the weights
        u, v = state[:12].reshape(2, -1)
        weight = np.exp(-labels * (Z @ (u * u - v * v)))
        g = (labels * weight) @ Z
        return np.concatenate([2 * u * g, -2 * v * g, weight])

    times = [0.1, 3.0, 100.0, 1e4]
    runge = stepped(field, np.append(form.theta0, np.zeros(4)), times, rtol=1e-13)
    assert max(form.residual(row[:12]) for row in runge) < 1e-10
    for row in runge:
        assert np.abs(form.multipliers(row[:12]) - row[12:]).max() < 1e-9
    bad = runge[-1][:12].copy()
    bad[[0, 6]] *= [1.1, 1 / 1.1]
    assert form.residual(bad) > 1e-3
    ends = [(labels * (Z @ (r[:6] ** 2 - r[6:12] ** 2))).min() / (r[:12] @ r[:12]) for r in runge]
    assert (np.diff(ends) > 0).all() and ends[-1] < form.limit.margin < 1.5 * ends[-1]


def test_exponential_limit_is_the_l1_margin():
    Z, labels = X[:, :6], np.sign(Y)
    end = DiagonalExponential(X=Z, y=labels, log_alpha=0.0).limit
    u, v = end.direction.reshape(2, -1)
    assert end.direction @ end.direction == pytest.approx(1, rel=1e-14, abs=0)
    assert (labels * (Z @ (u * u - v * v))).min() == pytest.approx(end.margin, rel=1e-13, abs=0)
    least = linprog(np.ones(12), A_ub=-labels[:, None] * np.hstack([Z, -Z]), b_ub=-np.ones(4), method="highs").fun
    assert end.margin == pytest.approx(1 / least, rel=1e-9, abs=0)
    with pytest.raises(PreconditionError, match="linearly separable"):
        _ = DiagonalExponential(X=[[1.0], [1.0]], y=[1, -1], log_alpha=0.0).limit


@pytest.mark.parametrize("seed", range(4))
def test_saddles_minimise_under_their_signs_and_lower_the_loss(seed):
    rng = np.random.default_rng(seed)
    A, y = rng.standard_normal((5, 9)), rng.standard_normal(5)
    form = SaddleToSaddle(X=A, y=y)
    assert (np.diff(form.losses) < 0).all() and form.losses[-1] < 1e-25 and (np.diff(form.times) > 0).all()
    assert np.abs(form.duals).max() == 1
    for beta, S in zip(form.saddles[1:], form.duals[1:], strict=True):
        force = -A.T @ (A @ beta - y)
        assert ((beta == 0) | (beta * S > 0)).all() and (np.abs(S[beta != 0]) == 1).all()
        assert np.abs(force[beta != 0]).max() < 1e-12
        assert (force * S)[(np.abs(S) == 1) & (beta == 0)].max(initial=0) < 1e-12
    least = linprog(np.ones(18), A_eq=np.hstack([A, -A]), b_eq=y, method="highs").fun
    assert np.abs(form.limit).sum() == pytest.approx(least, rel=1e-11, abs=0)
    middle = (form.times[:-1] + form.times[1:]) / 2
    assert np.abs(form.dual(middle) - (form.duals[1:-1] + form.duals[2:]) / 2).max() < 1e-14
    assert (form.solution(middle) == form.saddles[1:-1]).all() and (form.solution(0.0) == 0).all()
    assert (form.solution(form.times) == form.saddles[1:]).all()


@pytest.mark.parametrize(("log_alpha", "bound"), [(-100.0, 0.05), (-400.0, 0.0125), (-1600.0, 0.0032)])
def test_jumps_of_the_integrated_dual_variable(log_alpha, bound):
    """The dual variable integrated in logarithms, down to alpha = e^-1600: times agree to 5 / log(1/alpha)."""
    form = SaddleToSaddle(X=X, y=Y)
    flow = DiagonalSquare(X=X, y=Y, log_alpha=log_alpha)
    times = np.linspace(0, 1.1 * form.times[-1], 4001)
    beta = flow.product(times * (-log_alpha / 2), rtol=1e-6)
    losses = ((beta @ X.T - Y) ** 2).sum(axis=1) / 2
    middles = (form.losses[:-1] + form.losses[1:]) / 2
    measured = np.array([times[np.argmax(losses < level)] for level in middles])
    assert np.abs(measured - form.times).max() < bound
    assert form.jump_times(log_alpha) == pytest.approx(form.times * -log_alpha / 2, rel=1e-15, abs=0)
    between = (form.times[1:] + form.times[:-1]) / 2
    S = flow.dual(between * (-log_alpha / 2), rtol=1e-6) / (-2 * log_alpha)
    assert np.abs(S - form.dual(between)).max() < 2 * bound


@pytest.mark.parametrize(
    ("error", "build", "message"),
    [
        (InvalidInput, lambda: DiagonalSquare(X=X, y=Y, log_alpha=1e6), "log_alpha must lie in"),
        (InvalidInput, lambda: DiagonalSquare(X=X, y=Y[:2], log_alpha=0), "one per row of X"),
        (InvalidInput, lambda: DiagonalSquare(X=X, y=Y, log_alpha=-500).solution(1.0), "use dual or product"),
        (InvalidInput, lambda: DiagonalSquare(X=X, y=Y, log_alpha=0).residual(np.ones(3)), "of shape \\(20,\\)"),
        (InvalidInput, lambda: DiagonalSquare(X=X, y=Y, log_alpha=0).residual(np.zeros(20)), "must be positive"),
        (InvalidInput, lambda: DiagonalExponential(X=X, y=Y, log_alpha=0), "labels -1 and 1"),
        (InvalidInput, lambda: DiagonalExponential(X=X, y=np.sign(Y), log_alpha=999), "log_alpha must lie in"),
        (InvalidInput, lambda: SaddleToSaddle(X=X, y=Y).jump_times(0.0), "log_alpha must be negative"),
        (InvalidInput, lambda: SaddleToSaddle(X=X, y=[1, 2]), "one per row of X"),
        (PreconditionError, lambda: SaddleToSaddle(X=[[1.0, 1.0]], y=[1.0]), "general position"),
    ],
)
def test_refusals(error, build, message):
    with pytest.raises(error, match=message):
        build()
