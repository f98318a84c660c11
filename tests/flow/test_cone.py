"""The nearest point of a cone: two algorithms of ours against each other and against a convex program."""

import cvxpy as cp
import numpy as np
import pytest

from theory.flow._cone import Cone, by_pivoting, by_rays, nearest


def random_cone(seed, B, P, M, priced):
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((B, P))
    cost = 0.3 * rng.random(B) * priced
    target = rng.standard_normal(P) + base.sum(axis=0) * (seed % 2)
    return Cone(base=base, cost=cost, directions=rng.standard_normal((M, P)), owner=rng.integers(0, B, M)), target


def value(cone, found):
    return 0.5 * found.residual @ found.residual + cone.cost @ found.lam


def is_in_cone(cone, target, found):
    inside = (found.lam >= 0).all() and (found.mu >= 0).all() and (found.mu <= found.lam[cone.owner] + 1e-14).all()
    point = found.lam @ cone.base + found.mu @ cone.directions
    return inside and np.allclose(target - point, found.residual, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("B", "P", "M"), [(5, 30, 10), (12, 40, 25), (3, 25, 20), (8, 60, 1)])
@pytest.mark.parametrize("priced", [0, 1])
def test_pivoting_and_rays_agree(B, P, M, priced):
    for seed in range(25):
        cone, target = random_cone(seed, B, P, M, priced)
        one, other = by_pivoting(cone, target), by_rays(cone, target)
        assert one is not None and is_in_cone(cone, target, one) and is_in_cone(cone, target, other)
        assert value(cone, one) == pytest.approx(value(cone, other), rel=1e-13)
        assert np.allclose(one.lam, other.lam, atol=1e-9) and np.allclose(one.mu, other.mu, atol=1e-9)


@pytest.mark.parametrize(("B", "P", "M"), [(30, 10, 0), (20, 12, 15), (6, 20, 9), (4, 3, 6)])
@pytest.mark.parametrize("priced", [0, 1])
def test_nearest_against_a_convex_program(B, P, M, priced):
    cone, target = random_cone(7, B, P, M, priced)  # more rays than dimensions as well
    lam, mu = cp.Variable(B, nonneg=True), cp.Variable(max(M, 1), nonneg=True)
    boxes = [mu[m] <= lam[cone.owner[m]] for m in range(M)]
    gap = target - cone.base.T @ lam - (cone.directions.T @ mu if M else 0)
    program = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(gap) + cone.cost @ lam), boxes)
    program.solve(solver=cp.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    found = nearest(cone, target)
    assert is_in_cone(cone, target, found)
    assert value(cone, found) == pytest.approx(program.value, rel=1e-8, abs=1e-10)


def test_dependent_and_zero_columns_leave_pivoting_for_rays():
    cone, target = random_cone(1, 4, 12, 5, 0)
    cone.directions[1] = cone.directions[0]
    cone.directions[2] = 0
    cone.base[3] = 0
    found = nearest(cone, target)
    assert is_in_cone(cone, target, found) and max(cone.prices(found.residual)[0]) < 1e-12


def test_many_boxes_take_seconds_not_minutes():
    cone, target = random_cone(3, 60, 700, 370, 0)
    found = by_pivoting(cone, target)
    assert found is not None and max(cone.prices(found.residual)[0]) < 1e-9


@pytest.mark.parametrize("seed", [1243, 1458, 3737])
def test_exchanges_that_would_cycle_end(seed):
    # nearly opposite columns: exchanging all that disagrees goes round in circles here, one at a time ends
    rng = np.random.default_rng(seed)
    common, mix = rng.standard_normal(12), rng.choice([0.3, 1, 3])
    base = rng.standard_normal((3, 12)) + mix * common
    directions = rng.standard_normal((7, 12)) - mix * common
    cone = Cone(base=base, cost=np.zeros(3), directions=directions, owner=rng.integers(0, 3, 7))
    target = rng.standard_normal(12) + common
    found = by_pivoting(cone, target)
    assert found is not None and is_in_cone(cone, target, found)
    assert value(cone, found) == pytest.approx(value(cone, by_rays(cone, target)), rel=1e-12)
