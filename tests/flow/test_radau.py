"""Radau IIA of five stages: its tables, its observed order, and its steps on stiff problems."""

import numpy as np
import pytest

from theory.flow._radau import EIGENVALUES, NODES, STAGES, A, FullNewton, SimplifiedNewton, radau_step


def rate(x, y):
    """y = (cos x, sin x, e^(sin x)) and a coupling that a wrong table would miss."""
    return np.array([-y[1], y[0], y[0] * y[2] + 0.1 * (y[0] ** 2 + y[1] ** 2 - 1)])


def jacobian(x, y):
    return np.array([[0, -1, 0], [1, 0, 0], [y[2] + 0.2 * y[0], 0.2 * y[1], y[0]]])


def exact(x):
    return np.array([np.cos(x), np.sin(x), np.exp(np.sin(x))])


def go(steps, end=2.0, tight=1e-11, full=False):
    y, h = exact(0.0), end / steps
    for k in range(steps):
        J = jacobian(k * h, y)
        newton = (
            FullNewton(jacobian, k * h, y, h)
            if full
            else SimplifiedNewton(lambda c, J=J: lambda r: np.linalg.solve(c * np.eye(3) - J, r), h)
        )
        step = radau_step(rate, newton, k * h, y, h, rate(k * h, y), np.full(3, tight), None)
        assert step is not None
        y = step.end
    return y, step


def test_collocation_conditions():
    assert STAGES == 5 and NODES[-1] == 1
    for power in range(1, STAGES + 1):
        assert np.abs(A @ NODES ** (power - 1) - NODES**power / power).max() < 1e-14
    for power in range(1, 2 * STAGES):  # quadrature of order 2 s - 1
        assert abs(A[-1] @ NODES ** (power - 1) - 1 / power) < 1e-14
    assert abs(A[-1] @ NODES ** (2 * STAGES - 1) - 1 / (2 * STAGES)) > 1e-8
    assert np.allclose(np.prod([abs(v) ** (1 + isinstance(v, complex)) for v in EIGENVALUES]), 1 / np.linalg.det(A))


def test_observed_order():
    coarse, fine = (np.abs(go(steps)[0] - exact(2.0)).max() for steps in (3, 5))
    order = np.log(coarse / fine) / np.log(5 / 3)
    assert 8.2 < order < 10.5 and fine > 1e-12


def test_error_estimate_bounds_and_the_interpolant_follows():
    errors = []
    for steps in (4, 8):
        _, step = go(steps)
        inside = step.x + step.h * np.array([0.2, 0.5, 0.9])
        errors.append(max(np.abs(step(x) - exact(x)).max() for x in inside))
    assert errors[0] < 1e-5 and 2**4.5 < errors[0] / errors[1] < 2**7  # order s + 1 = 6
    assert np.abs(step(step.x) - step.y).max() < 1e-14 and np.abs(step(step.x + step.h) - step.end).max() < 1e-13
    assert np.abs(step.error).max() > np.abs(step.end - exact(2.0)).max()


def test_a_stiff_decay_is_damped_in_one_step():
    def stiff(x, y):
        return -1e9 * (y - np.cos(x))

    y, newton = np.array([5.0]), SimplifiedNewton(lambda c: lambda r: r / (c + 1e9), 1.0)
    step = radau_step(stiff, newton, 0.0, y, 1.0, stiff(0.0, y), np.array([1e-9]), None)
    assert step.end == pytest.approx(np.cos(1.0), abs=1e-7)


def test_no_contraction_is_reported():
    def wild(x, y):
        return np.exp(30 * y)

    newton = SimplifiedNewton(lambda c: lambda r: r / c, 10.0)
    assert radau_step(wild, newton, 0.0, np.zeros(1), 10.0, np.ones(1), np.array([1e-9]), None) is None


def test_both_newton_iterations_solve_the_same_step():
    (one, step), (other, again) = go(3), go(3, full=True)
    assert np.abs(one - other).max() < 1e-10
    assert np.abs(step.error - again.error).max() < 0.5 * np.abs(step.error).max()


def test_corrections_below_rounding_are_converged():
    def rough(x, y):  # no iteration comes closer than the noise
        return -y + 1e-6 * np.sin(1e12 * y)

    newton = SimplifiedNewton(lambda c: lambda r: r / (c + 1), 0.1)
    arguments = rough, newton, 0.0, np.ones(1), 0.1, -np.ones(1), np.array([1e-12]), None
    assert radau_step(*arguments) is None
    assert abs(radau_step(*arguments, noise=1e6).end[0] - np.exp(-0.1)) < 1e-6
