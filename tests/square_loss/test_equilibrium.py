"""Rest points of rho: formula against integration and against minimisation; the path while f_V stands still."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from theory import InvalidInput
from theory.flow import fully_connected
from theory.square_loss import (
    class_targets,
    equilibrium,
    integrate_rho,
    output_moments,
    rho_closed_form,
    zero_crossing_time,
)

from ._oracles import LABELS, X3, unit_layers

LINE = fully_connected((1, 1))  # V = +-1 cannot move: the margins are the inputs, y_n x_n
MARGINS = [[1.0], [0.3, 0.3], [0.5, 0.2, -0.1], [2.0, 0.1, 0.4, 1.5], [0.05, 0.07]]


@pytest.mark.parametrize("lam", [0.0, 1e-3, 1e-2, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("margins", MARGINS, ids=str)
def test_equilibrium_is_where_the_flow_ends(margins, lam):
    y = np.resize([1.0, -1.0], len(margins))
    X = (y * np.array(margins))[:, None]
    moments = output_moments(X[:, 0], y)
    rest = equilibrium(moments.mu, moments.M, lam)
    flow = integrate_rho(LINE, (X, y), lam=lam, rho0=0.3, V0=[1.0], until=25 / (moments.M + lam), rtol=1e-12)
    assert flow.rho[-1] == pytest.approx(rest.rho, abs=1e-8 * max(1.0, rest.rho))
    assert flow.objective[-1] == pytest.approx(rest.objective, abs=1e-8)
    assert flow.fit[-1] == pytest.approx(rest.fit, abs=1e-8)
    residual = np.mean((flow.rho[-1] * X[:, 0] - y) * X[:, 0])
    assert residual == pytest.approx(rest.quasi_interpolation, abs=1e-8) == pytest.approx(-lam * rest.rho, abs=1e-12)
    assert flow.nu[-1] == pytest.approx(lam * rest.rho**2, abs=1e-7)  # the multiplier at rest


@pytest.mark.parametrize("lam", [0.0, 0.07, 2.0])
@pytest.mark.parametrize("centred", [False, True])
def test_several_classes_against_minimisation(lam, centred):
    rng = np.random.default_rng(3)
    f, y = rng.standard_normal((9, 3)) + 2 * np.eye(3)[LABELS], class_targets(LABELS, centred=centred)
    at = output_moments(f, y)
    found = minimize_scalar(
        lambda rho: ((rho * f - y) ** 2).sum() / 9 + lam * rho**2, bracket=(0, 1), options={"xtol": 1e-14}
    )
    rest = equilibrium(at.mu, at.M, lam, target_square=at.target_square)
    assert at.target_square == pytest.approx(2 / 3 if centred else 1.0)
    assert rest.rho == pytest.approx(found.x, rel=1e-6)
    assert rest.objective == pytest.approx(found.fun, abs=1e-13)
    assert rest.fit == pytest.approx(found.fun - lam * rest.rho**2, abs=1e-13)
    assert at.sigma**2 == pytest.approx(((f - at.mu / at.target_square * y) ** 2).sum() / 9, rel=1e-12)
    assert rest.objective == pytest.approx(at.target_square * (at.sigma**2 + lam) / (at.M + lam), rel=1e-12)
    assert rest.objective == pytest.approx(at.target_square - rest.rho * at.mu, rel=1e-12)


def test_larger_common_margin_means_smaller_rho_and_objective_where_mu_squared_exceeds_lam():
    lam = 0.04
    mus = np.linspace(0.21, 1.0, 50)
    rests = [equilibrium(mu, mu**2, lam) for mu in mus]
    assert (np.diff([r.rho for r in rests]) < 0).all() and (np.diff([r.objective for r in rests]) < 0).all()
    assert equilibrium(0.1, 0.01, lam).rho < equilibrium(0.2, 0.04, lam).rho  # below sqrt(lam) it is the other way
    np.testing.assert_allclose([r.objective for r in rests], lam / (mus**2 + lam), rtol=1e-13)


def test_frozen_exponential_against_the_integrator():
    X, y = np.array([[0.5], [-0.2], [0.9]]), np.array([1.0, -1.0, -1.0])
    at = output_moments(X[:, 0], y)
    for lam in (0.0, 0.3):
        flow = integrate_rho(LINE, (X, y), lam=lam, rho0=0.7, V0=[1.0], until=12.0, at_zero="reflect", rtol=1e-13)
        exact = rho_closed_form(flow.t, 0.7, at.mu, at.M, lam)
        np.testing.assert_allclose(flow.rho, abs(exact), atol=1e-12)
        times = np.linspace(0, 12, 41)
        np.testing.assert_allclose(flow.rho_at(times), abs(rho_closed_form(times, 0.7, at.mu, at.M, lam)), atol=1e-9)
        (crossing,) = flow.zero_crossings
        assert crossing.t == pytest.approx(zero_crossing_time(0.7, at.mu, at.M, lam), abs=1e-10)
        assert flow.V[0, 0] == 1 and flow.V[-1, 0] == -1


def test_small_and_large_starts():
    mu, M, lam = 0.4, 0.3, 0.05
    assert rho_closed_form(1e-4, 1e-6, mu, M, lam) == pytest.approx(1e-6 + 2 * mu * 1e-4, rel=1e-4)
    far = rho_closed_form(1.0, 1e6, mu, M, lam)
    assert far / 1e6 == pytest.approx(np.exp(-2 * (M + lam)), rel=1e-5)
    assert zero_crossing_time(1.0, 0.1, 0.3) == np.inf


def test_time_scale_is_that_of_the_flow():
    rest = equilibrium(0.4, 0.3, 0.05)
    two = rho_closed_form([0.0, rest.time_scale], 1.0, 0.4, 0.3, 0.05) - rest.rho
    assert two[1] / two[0] == pytest.approx(np.exp(-1), rel=1e-14) and rest.rate * rest.time_scale == 1


def test_random_layers_give_moments_that_obey_cauchy_schwarz():
    net = fully_connected((4, 6, 3))
    for seed in range(5):
        f = net.output(unit_layers(net, seed), X3)
        at = output_moments(f, class_targets(LABELS))
        assert at.mu**2 <= at.M * at.target_square


@pytest.mark.parametrize(
    "call",
    [
        lambda: equilibrium(1.0, 0.5),
        lambda: equilibrium(0.0, 0.0),
        lambda: equilibrium(0.1, 1.0, -1.0),
        lambda: equilibrium(np.nan, 1.0),
        lambda: rho_closed_form(-1.0, 1.0, 0.1, 1.0),
        lambda: zero_crossing_time(0.0, -1.0, 1.0),
        lambda: output_moments([1.0, 2.0], [1.0]),
        lambda: output_moments([], []),
        lambda: output_moments([1.0], [0.0]),
        lambda: class_targets([0, 3], 2),
    ],
)
def test_refusals(call):
    with pytest.raises(InvalidInput):
        call()
