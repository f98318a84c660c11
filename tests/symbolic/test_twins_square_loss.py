"""Numeric twins of the forms of rho against theory.square_loss, which does not use them."""

import numpy as np
import pytest

from theory import InvalidInput
from theory.square_loss import BalancedRho, decay_thresholds, equilibrium, rho_closed_form, stationary_margins
from theory.symbolic import get


def twin(name, **values):
    return get(name).numeric()(**values)


@pytest.mark.parametrize(("mu", "M", "lam"), [(0.4, 0.3, 0.05), (0.9, 0.81, 2.0), (0.1, 0.5, 1e-6)])
def test_one_scale(mu, M, lam):
    rest = equilibrium(mu, M, lam)
    assert twin("rho_equilibrium", mu_V=mu, M_V=M, lam=lam) == pytest.approx(rest.rho, rel=1e-14)
    if rest.sigma > 1e-6:
        found = twin("rho_objective", mu_V=mu, sigma_V=rest.sigma, lam=lam)
        assert found == pytest.approx(rest.objective, rel=1e-13)
    t = np.array([1e-3, 0.5, 4.0])
    found = twin("rho_frozen", mu_V=mu, M_V=M, lam=lam, rho_0=0.7, t=t)
    np.testing.assert_allclose(found, rho_closed_form(t, 0.7, mu, M, lam), rtol=1e-13)


@pytest.mark.parametrize("lam", [0.05, 0.39, 0.9])
def test_two_layers(lam):
    law, t = BalancedRho(depth=2, mu=0.4, M=0.3, lam=lam, rho0=0.2), np.array([1e-3, 0.5, 4.0])
    found = twin("rho_two_layers", mu_V=0.4, M_V=0.3, lam=lam, rho_0=0.2, t=t)
    np.testing.assert_allclose(found, law.solution(t), rtol=1e-12)


@pytest.mark.parametrize("L", [3, 4, 7])
def test_thresholds_and_balance(L):
    mu, M = 0.7, 0.6
    known = decay_thresholds(L, mu, M)
    assert twin("decay_collapse", L=L, mu_V=mu, M_V=M) == pytest.approx(known.collapse, rel=1e-14)
    assert twin("decay_preference", L=L, mu_V=mu, M_V=M) == pytest.approx(known.preference, rel=1e-14)
    assert twin("rho_fold", L=L, mu_V=mu, M_V=M) == pytest.approx(known.rho_collapse, rel=1e-14)
    lam = known.collapse / 2
    for rest in BalancedRho(depth=L, mu=mu, M=M, lam=lam, rho0=1.0).equilibria[1:]:
        assert twin("rho_balance", L=L, mu_V=mu, M_V=M, lam=lam, rho=rest.rho) == pytest.approx(0, abs=1e-13)
    with pytest.raises(InvalidInput):
        twin("decay_collapse", L=2, mu_V=mu, M_V=M)


def test_plateau_and_margin():
    law = BalancedRho(depth=3, mu=0.5, M=0.4, rho0=1e-12)
    assert twin("plateau_three_layers", mu_V=0.5, rho_0=1e-12) == pytest.approx(law.plateau_time, rel=1e-3)
    assert twin("stationary_margin", lam=0.04, rho=1.7) == pytest.approx(stationary_margins(1.7, 0.04).upper, rel=1e-14)
