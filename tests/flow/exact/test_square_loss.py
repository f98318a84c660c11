"""Squared-loss flows: scalar factors, chains of layers, balanced matrices, modes, kernels."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.flow.exact.oracles import stepped
from theory import InvalidInput, PreconditionError
from theory.flow.exact.balanced_depth import BalancedDepth
from theory.flow.exact.factorisation import ScalarFactorisation
from theory.flow.exact.kernel import KernelFlow
from theory.flow.exact.saxe import SaxeModes

TIMES = [1e-8, 0.1, 1.0, 5.0]
STARTS = [(2, 0.1, 0.1), (2, 1, -0.5), (-1.5, 0.3, 2), (0, 1, 1), (0, 2, 1), (1, 1, -1), (3, 1e-3, -2e-3), (1, 0, 0)]


@pytest.mark.parametrize(("s", "a0", "b0"), STARTS)
def test_two_scalars_are_the_flow(s, a0, b0):
    form = ScalarFactorisation(s=s, a0=a0, b0=b0)
    runge = stepped(lambda w: (s - w[0] * w[1]) * w[::-1], form.theta0, TIMES)
    assert np.abs(form.solution(TIMES) - runge).max() < 3e-14
    assert np.abs(form.residual(TIMES) - (s - runge.prod(axis=1))).max() < 5e-14
    assert np.abs(form.product(TIMES) - runge.prod(axis=1)).max() < 5e-14
    assert form.solution(0.0) == pytest.approx(form.theta0, abs=1e-15)
    assert form.solution(1e300) == pytest.approx(form.limit, abs=1e-14)


@pytest.mark.parametrize(("s", "a0", "b0"), [(1, 1, -1), (2, 0.3, -0.3), (-1, 0.7, 0.7), (0.4, 0.1, -0.1)])
def test_the_stable_manifold_of_the_saddle(s, a0, b0):
    form = ScalarFactorisation(s=s, a0=a0, b0=b0)
    assert (form.limit == 0).all() and (form.solution(1e4) == 0).all()
    assert form.residual(1e4) == pytest.approx(s, rel=1e-15, abs=0)


def test_depth_from_far_above():
    """u much above s: u^-(2 - 2/N) grows by (2 N - 2) t, before s is felt."""
    u0 = np.exp(60.0)
    form = BalancedDepth(depth=3, s=1.0, w0=np.exp(20.0))
    t = u0 ** (-4 / 3)
    assert form.product([0.0, t]) == pytest.approx([u0, u0 * 5**-0.75], rel=1e-12, abs=0)


@pytest.mark.parametrize(("s", "u0"), [(2.0, 0.01), (0.3, 0.9), (1.0, 1.0)])
def test_balanced_scalars_are_the_sigmoid(s, u0):
    t = np.array([0.0, 0.3, 2.0, 7.0])
    form = ScalarFactorisation(s=s, a0=np.sqrt(u0), b0=np.sqrt(u0))
    want = s * np.exp(2 * s * t) / (np.exp(2 * s * t) - 1 + s / u0)
    assert np.abs(form.product(t) - want).max() < 2e-15
    assert np.abs(form.residual(t) / s - (1 - want / s)).max() < 3e-15


@given(s=st.floats(0.1, 3), a0=st.floats(-2, 2), b0=st.floats(-2, 2), t=st.floats(0.01, 4))
def test_unbalanced_scalars_satisfy_the_implicit_law(s, a0, b0, t):
    """With ab = (c/2) sinh theta: t = ln[(D+c+2s tanh(theta/2)) / (D-c-2s tanh(theta/2))] / D from 0, c > 0."""
    c = abs(a0**2 - b0**2)
    form = ScalarFactorisation(s=s, a0=a0, b0=b0)
    if abs(c) < 1e-2 or abs(form.residual(t)) < 1e-4 or abs(form.residual(0.0)) < 1e-4:
        return
    D = np.hypot(c, 2 * s)

    def clock(u):
        x = 2 * s * np.tanh(np.arcsinh(2 * u / c) / 2)
        return np.log(abs((D + c + x) / (D - c - x))) / D

    assert clock(form.product(t)) - clock(a0 * b0) == pytest.approx(t, abs=1e-9)


def test_the_residual_keeps_its_digits():
    form = ScalarFactorisation(s=2.0, a0=0.5, b0=-0.1)
    with mpmath.workdps(400):
        s, a0, b0, t = mpmath.mpf(2), mpmath.mpf(0.5), mpmath.mpf(-0.1), 20
        F = mpmath.matrix([[(a0**2 - b0**2) / 2, s], [s, -(a0**2 - b0**2) / 2]])
        D = mpmath.sqrt((a0**2 - b0**2) ** 2 + 4 * s**2)
        q0 = mpmath.matrix([a0, b0])
        E = mpmath.cosh(D * t / 2) * mpmath.eye(2) + 2 / D * mpmath.sinh(D * t / 2) * F
        J = mpmath.sinh(D * t) / D * mpmath.eye(2) + 2 * (mpmath.cosh(D * t) - 1) / D**2 * F
        q = E * q0 / mpmath.sqrt(1 + (q0.T * J * q0)[0])
        want = s - q[0] * q[1]
    assert float(form.residual(20.0) / want) == pytest.approx(1, rel=1e-12, abs=0)
    assert form.loss(20.0) == form.residual(20.0) ** 2 / 2 > 0


@pytest.mark.parametrize("depth", [2, 3, 4, 5, 9])
@pytest.mark.parametrize(("s", "w0"), [(2.0, 0.05), (2.0, 0.9), (0.3, 0.9), (0.3, 1.2), (1.0, 1.0)])
def test_depth_is_the_flow(depth, s, w0):
    form = BalancedDepth(depth=depth, s=s, w0=w0)
    runge = stepped(lambda w: (s - w.prod()) * w.prod() / w, form.theta0, TIMES)
    assert np.abs(form.solution(TIMES) / runge - 1).max() < 6e-14
    assert np.abs(form.residual(TIMES) - (s - runge.prod(axis=1))).max() < 1e-12
    assert form.product(0.0) == pytest.approx(w0**depth, rel=1e-14, abs=0)
    assert form.solution(1e300) == pytest.approx(form.limit, rel=1e-15, abs=0)


@given(depth=st.integers(2, 12), log_s=st.floats(-3, 3), log_ratio=st.floats(-40, 4), log_t=st.floats(-5, 20))
@settings(max_examples=60)
def test_depth_against_the_hypergeometric_function(depth, log_s, log_ratio, log_t):
    """The law of time, int u^-a / (1 - u) du with a = 2 - 2/N and u the output over the target."""
    s, a = float(np.exp(log_s)), 2 - mpmath.mpf(2) / depth
    w0, t = float(np.exp((log_s + log_ratio) / depth)), float(np.exp(log_t)) / s
    with mpmath.workdps(80):
        start = mpmath.mpf(w0) ** depth / mpmath.mpf(s)
        gap = mpmath.mpf(float(BalancedDepth(depth=depth, s=s, w0=w0).residual(t))) / s
        if abs(1 - start) < 1e-3 or abs(gap) < 1e-40:
            return

        def law(u):
            if depth == 2:
                return mpmath.log(abs(u / (1 - u)))
            if u > 1:
                return u**-a / a * mpmath.hyp2f1(1, a, 1 + a, 1 / u)
            return u ** (1 - a) / (1 - a) * mpmath.hyp2f1(1, 1 - a, 2 - a, u)

        clock = depth * mpmath.mpf(s) ** a * t
        error = abs((law(1 - gap) - law(start) - clock) * (1 - gap) ** a * gap)  # in u
        # a relative rounding of t, and of the start, moves u by its speed times as much
        speed = (1 - gap) ** a * abs(gap) * (clock + abs(1 / (start ** (a - 1) * (1 - start))))
    assert error < 4e-15 * (1 + (1 - gap)) * max(abs(gap), 1e-3) + 1e-14 * speed


def test_depth_four_in_closed_form():
    form = BalancedDepth(depth=4, s=2.0, w0=0.3)
    t = np.array([0.5, 2.0, 3.0])

    def clock(z):
        return (-1 / z + np.arctanh(z / np.sqrt(2)) / np.sqrt(2)) / 4

    assert np.abs(clock(np.sqrt(form.product(t))) - clock(0.09) - t).max() < 3e-14


def test_modes_are_the_flow_of_the_layers():
    rng = np.random.default_rng(5)
    S = rng.standard_normal((3, 4))
    form = SaxeModes(S=S, u0=[0.2, 0.05, 3.0])

    def field(theta):
        W1, W2 = theta[:12].reshape(3, 4), theta[12:].reshape(3, 3)
        R = S - W2 @ W1
        return np.concatenate([(W2.T @ R).ravel(), (R @ W1.T).ravel()])

    runge = stepped(field, form.theta0, TIMES)
    W1, W2 = form.layers(TIMES)
    assert np.abs(np.hstack([W1.reshape(4, -1), W2.reshape(4, -1)]) - runge).max() < 3e-14
    assert np.abs(form.solution(TIMES) - W2 @ W1).max() < 1e-14
    assert np.abs(form.loss(TIMES) - ((form.solution(TIMES) - S) ** 2).sum(axis=(1, 2)) / 2).max() < 1e-13
    assert np.abs(form.solution(1e300) - S).max() < 1e-14


def test_modes_that_never_start_or_have_no_target():
    form = SaxeModes(S=np.diag([2.0, 0.0]), u0=[0.0, 0.5])
    assert form.modes(3.0) == pytest.approx([0.0, 0.5 / 4], rel=1e-15, abs=0)
    assert (form.limit == 0).all()
    assert list(SaxeModes(S=np.diag([2.0, 1.0]), u0=[0.0, 5.0]).half_times) == [np.inf, 0.0]
    timed = SaxeModes(S=np.diag([2.0, 1.0]), u0=[1e-3, 1e-9])
    assert np.diag(timed.modes(timed.half_times)) == pytest.approx([1.0, 0.5], rel=1e-13, abs=0)


def test_kernel_flow_is_the_flow_of_its_parameters():
    rng = np.random.default_rng(2)
    J = rng.standard_normal((5, 3)) @ rng.standard_normal((3, 8))  # rank 3: two directions never move
    y, f0 = rng.standard_normal((5, 2)), rng.standard_normal((5, 2))
    form = KernelFlow(K=J @ J.T, y=y, f0=f0)
    times = [1e-8, 1e-3, 0.05, 0.3]
    runge = stepped(lambda th: J.T @ (y - f0 - J @ th), np.zeros((8, 2)), times)
    assert np.abs(form.dual(times).transpose(0, 2, 1) @ J - runge.transpose(0, 2, 1)).max() < 3e-14
    assert np.abs(form.solution(times) - f0 - J @ runge).max() < 3e-13
    assert np.abs(form.loss(times) - ((form.solution(times) - y) ** 2).sum(axis=(1, 2)) / 2).max() < 1e-12
    assert np.abs(form.solution(1e300) - form.limit).max() < 1e-13
    assert np.abs(J.T @ (form.limit - y)).max() < 1e-12
    single = KernelFlow(K=J @ J.T, y=y[:, 0], f0=f0[:, 0])
    assert np.abs(single.solution(times) - form.solution(times)[..., 0]).max() < 1e-14
    assert np.abs(single.dual(times) - form.dual(times)[..., 0]).max() < 1e-14


def test_kernel_flow_at_tiny_times_keeps_its_digits():
    form = KernelFlow(K=np.diag([1.0, 2.0]), y=[1.0, 1.0], f0=[0.0, 0.0])
    assert form.solution(1e-20) == pytest.approx([1e-20, 2e-20], rel=1e-15, abs=0)


@pytest.mark.parametrize(
    ("error", "build", "message"),
    [
        (InvalidInput, lambda: ScalarFactorisation(s=np.inf, a0=1, b0=1), "s must be finite"),
        (InvalidInput, lambda: ScalarFactorisation(s=1, a0=1e100, b0=1), "at most 1e75"),
        (InvalidInput, lambda: ScalarFactorisation(s=1, a0=1, b0=1).solution([-1.0]), "t must be nonnegative"),
        (InvalidInput, lambda: BalancedDepth(depth=1, s=1, w0=1), "depth must be at least 2"),
        (InvalidInput, lambda: BalancedDepth(depth=2.5, s=1, w0=1), "depth must be a whole number"),
        (InvalidInput, lambda: BalancedDepth(depth=3, s=-1, w0=1), "s must be positive"),
        (InvalidInput, lambda: BalancedDepth(depth=3, s=1, w0=1e-100), "between e\\^-600 and e\\^600"),
        (InvalidInput, lambda: SaxeModes(S=np.eye(2), u0=[1.0]), "u0 must have shape"),
        (InvalidInput, lambda: SaxeModes(S=np.eye(2), u0=[1.0, -1.0]), "u0 must be nonnegative"),
        (InvalidInput, lambda: SaxeModes(S=np.zeros((0, 2)), u0=[]), "S must not be empty"),
        (InvalidInput, lambda: KernelFlow(K=np.ones((2, 3)), y=[1, 1], f0=[0, 0]), "K must be square"),
        (InvalidInput, lambda: KernelFlow(K=np.eye(2), y=[1, 1], f0=[0]), "y and f0 must have shape"),
        (PreconditionError, lambda: KernelFlow(K=[[1, 2], [0, 1]], y=[1, 1], f0=[0, 0]), "K must be symmetric"),
        (PreconditionError, lambda: KernelFlow(K=[[1, 2], [2, 1]], y=[1, 1], f0=[0, 0]), "positive semidefinite"),
    ],
)
def test_refusals(error, build, message):
    with pytest.raises(error, match=message):
        build()
