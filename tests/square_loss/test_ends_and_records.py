"""The law of rho between growth and collapse, the shortest plateau, and what the records report."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from theory import PreconditionError
from theory.square_loss import BalancedRho, collapse_targets, rank_certificate


def test_two_layers_with_a_decay_of_exactly_mu_fall_like_one_over_time():
    law, t = BalancedRho(depth=2, mu=0.5, M=0.3, lam=0.5, rho0=0.8), np.array([0.1, 1.0, 20.0])
    path = solve_ivp(
        lambda _, rho: law.velocity(rho), (0, 20), [0.8], t_eval=t, rtol=1e-11, atol=1e-14, method="DOP853"
    )
    np.testing.assert_allclose(law.solution(t), path.y[0], rtol=1e-8)
    np.testing.assert_allclose([law.time_to(float(rho)) for rho in law.solution(t)], t, rtol=1e-12)
    assert law.limit == 0


def test_a_plateau_ends_at_half_the_limit_where_that_is_just_above_the_start():
    law = BalancedRho(depth=2, mu=0.5, M=0.4, rho0=0.5)  # limit 1.25
    assert law.plateau_time == pytest.approx(law.time_to(0.625), rel=1e-14) and law.plateau_time > 0
    with pytest.raises(PreconditionError, match="plateau"):
        _ = BalancedRho(depth=2, mu=0.5, M=0.4, rho0=0.625).plateau_time


def test_collapse_is_collapse():
    found = collapse_targets(4, lam=0.1, feature_square=1.0)
    assert (found.within_class_variability, found.self_duality, found.nearest_mean_disagreement) == (0, 0, 0)


def test_a_rank_certificate_says_whether_it_says_something():
    small, large = np.diag([1.0, 1e-3, 1e-3]), np.diag([10.0, 5.0, 5.0])
    given = {"step": 0.5, "lam": 0.5, "batch": 1}
    assert rank_certificate([small, small], **given).informative  # distance 1/2 at rank 1 of 3
    assert not rank_certificate([large, small], **given).informative  # distance 6 at rank 1
    flat = rank_certificate([small[:1], small[:1]], **given)
    assert flat.vacuous.all() and not flat.informative


def test_the_residual_of_the_identity_is_relative_to_the_last_weight():
    first, last, G = np.eye(2), 3 * np.eye(2), np.array([[0.0, 1.0], [0.0, 0.0]])
    found = rank_certificate([first, last], step=0.5, lam=0.5, batch=1, gradients=[G])
    wanted = np.linalg.norm(last - 0.5 * first + 0.5 * G) / np.linalg.norm(last)
    assert found.identity_residual == pytest.approx(wanted, rel=1e-14)
