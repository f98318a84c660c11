"""The reduced program is the K x K program: values, derivatives, norms, certificate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import mean_loss, nuclear_program
from theory.peeled import LayerPeeledModel, solve
from theory.peeled._dense import loss_and_gradient
from theory.peeled._factors import SymmetricFactors
from theory.peeled._program import GroupProgram
from theory.peeled._two_groups import TwoGroups


def random_program(seed, sizes=(3, 1, 2)):
    rng = np.random.default_rng(seed)
    mass = np.sort(rng.uniform(0.1, 2, len(sizes)))[::-1]
    program = GroupProgram(mass / (mass @ sizes), np.array(sizes, float), 7.0)
    e, M = rng.standard_normal(len(sizes)), rng.standard_normal((len(sizes), len(sizes)))
    return program, e * program.has_twins, M, rng


def expanded(program, e, M):
    U, s, Vt = np.linalg.svd(M)
    index = np.repeat(np.arange(program.size), program.classes.astype(int))
    return SymmetricFactors(program.classes, e, U, s, Vt.T, index, 1.0).logits(), program.mass[index]


def test_value_norm_and_gap_match_the_dense_program():
    program, e, M, _ = random_program(1)
    Z, mass = expanded(program, e, M)
    value, grad_e, grad_M, _ = program.value(e, M)
    assert value == pytest.approx(float(mean_loss(Z, mass)), rel=1e-14)
    dense_value, G = loss_and_gradient(Z, mass)
    assert dense_value == pytest.approx(value, rel=1e-14)
    nuclear = np.linalg.svd(Z, compute_uv=False).sum()
    assert program.copies @ abs(e) + np.linalg.svd(M, compute_uv=False).sum() == pytest.approx(nuclear, rel=1e-13)
    assert program.dual_norm(grad_e, grad_M) == pytest.approx(np.linalg.norm(G, 2), rel=1e-13)
    assert grad_e @ e + np.vdot(grad_M, M) == pytest.approx(np.vdot(G, Z), rel=1e-12)


@given(st.integers(0, 10**6))
def test_derivatives_against_differences(seed):
    program, e, M, rng = random_program(seed)
    de, dM = rng.standard_normal(e.shape) * program.has_twins, rng.standard_normal(M.shape)
    h = 1e-5
    up, down = program.value(e + h * de, M + h * dM), program.value(e - h * de, M - h * dM)
    _, grad_e, grad_M, softmax = program.value(e, M)
    assert grad_e @ de + np.vdot(grad_M, dM) == pytest.approx((up[0] - down[0]) / (2 * h), rel=1e-6, abs=1e-8)
    he, hM = program.curvature(softmax, de, dM)
    np.testing.assert_allclose(he, (up[1] - down[1]) / (2 * h), rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(hM, (up[2] - down[2]) / (2 * h), rtol=1e-5, atol=1e-8)
    diag_e, diag_M = program.curvature_diagonal(softmax)
    for g in range(program.size):
        unit = np.eye(program.size)[g]
        assert program.curvature(softmax, unit, 0 * M)[0][g] == pytest.approx(diag_e[g], abs=1e-13)
        cell = np.outer(np.eye(program.size)[(g + 1) % 3], unit)
        assert program.curvature(softmax, 0 * e, cell)[1][(g + 1) % 3, g] == pytest.approx(
            diag_M[(g + 1) % 3, g], abs=1e-13
        )


def test_two_group_scalars_are_the_same_program():
    rng = np.random.default_rng(5)
    groups, R = TwoGroups(4, 3, 9.0), 6.5
    x = rng.uniform(0.5, 2, (1, 4))
    value, gradient, hessian = groups.parts(x, np.array([R]))
    along = np.sqrt(np.array([3, 4]) / 7) * (1, -1)
    M = np.outer(along, [x[0, 1], -x[0, 3]])
    program = GroupProgram(np.array([R, 1]) / (4 * R + 3), np.array([4.0, 3.0]), 9.0)
    e = x[0, [0, 2]]
    want, grad_e, grad_M, softmax = program.value(e, M)
    assert value[0] == pytest.approx(want, rel=1e-14)
    np.testing.assert_allclose(gradient[0, [0, 2]], grad_e, rtol=1e-13)
    np.testing.assert_allclose(gradient[0, [1, 3]], along @ grad_M * (1, -1), rtol=1e-13)
    he, _ = program.curvature(softmax, np.array([1.0, 0]), 0 * M)
    assert hessian[0, 0, 0] == pytest.approx(he[0], rel=1e-12)


@pytest.mark.parametrize("counts", [[100, 50, 20, 10], [100, 100, 1, 1, 1], [30, 20, 10, 5, 2, 1], [9, 9, 9, 2]])
def test_objective_equals_the_nuclear_norm_program_in_cvxpy(counts):
    found = solve(LayerPeeledModel(counts=counts, E_W=1, E_H=3))
    n = np.array(counts, float)
    assert found.objective == pytest.approx(nuclear_program(n / n.sum(), len(n) * np.sqrt(3)), abs=1e-8)
    assert found.relative_gap < 1e-12
