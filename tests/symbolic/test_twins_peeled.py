"""Numeric twins of the layer-peeled forms against the certified solver, dense softmax losses and published digits."""

import numpy as np
import pytest
from scipy.optimize import root

from theory.peeled import LayerPeeledModel, collapse_threshold, solve
from theory.peeled._merging import merging_point
from theory.peeled._two_groups import TwoGroups
from theory.symbolic import get


def twin(name: str, **values):
    return get(name).numeric()(**values)


@pytest.mark.parametrize(("K", "E_W", "E_H"), [(2, 1.0, 1.0), (4, 0.3, 2.0), (10, 1.0, 5.0), (25, 2.0, 0.7)])
def test_balanced_model(K, E_W, E_H):
    solution = solve(LayerPeeledModel(counts=[7] * K, E_W=E_W, E_H=E_H))
    Z, W, H = solution.logits(), solution.classifier(), solution.features()
    assert twin("balanced_loss", K=K, E_W=E_W, E_H=E_H) == pytest.approx(solution.objective, abs=1e-12)
    assert twin("balanced_multiplier", K=K, E_W=E_W, E_H=E_H) == pytest.approx(solution.multiplier, rel=1e-8)
    assert twin("etf_gap", K=K, E_W=E_W, E_H=E_H) == pytest.approx(Z[0, 0] - Z[1, 0], rel=1e-9)
    assert twin("etf_cosine", K=K) == pytest.approx(W[0] @ W[1] / (W[0] @ W[0]), abs=1e-9)
    np.testing.assert_allclose(W, twin("self_duality", E_W=E_W, E_H=E_H) * H.T, atol=1e-8)


def test_balanced_loss_to_the_published_digits():
    assert twin("balanced_loss", K=10, E_W=1, E_H=5) == pytest.approx(0.559781524010, abs=1e-12)
    assert twin("balanced_loss", K=4, E_W=1, E_H=1) == pytest.approx(0.582657653062, abs=1e-12)


@pytest.mark.parametrize(("E_W", "E_H"), [(0.3, 1.1), (2.0, 3.0)])
def test_balanced_squared_error(E_W, E_H):
    solution = solve(LayerPeeledModel(counts=[3] * 5, E_W=E_W, E_H=E_H, loss="mse"))
    logit = twin("squared_error_balanced_logit", E_W=E_W, E_H=E_H)
    np.testing.assert_allclose(solution.logits(), logit * np.eye(5), atol=1e-9)


def test_imbalanced_squared_error():
    counts = np.array([50, 20, 20, 3])
    solution = solve(LayerPeeledModel(counts=counts, E_W=0.2, E_H=0.5, loss="mse"))
    logits = twin("squared_error_logit", pi_k=counts / counts.sum(), mu=solution.multiplier)
    assert logits.sum() == pytest.approx(4 * np.sqrt(0.1), rel=1e-9)
    assert logits[-1] == 0
    np.testing.assert_allclose(np.diag(solution.logits()), logits, atol=1e-9)


def logit_matrix(K_A: int, K_B: int, a: float, e: float, q_A: float, q_B: float) -> np.ndarray:
    """Z from the entries as the four scalars define them, written out."""
    K = K_A + K_B
    Z = np.zeros((K, K))
    A, B = np.arange(K_A), np.arange(K_A, K)
    Z[np.ix_(A, A)] = a * (np.eye(K_A) - 1 / K_A) + q_A * np.sqrt(K_B / K) / K_A
    Z[np.ix_(B, A)] = -q_A / np.sqrt(K * K_B)
    Z[np.ix_(B, B)] = e * (np.eye(K_B) - 1 / K_B) + q_B * np.sqrt(K_A / K) / K_B
    Z[np.ix_(A, B)] = -q_B / np.sqrt(K * K_A)
    return Z


@pytest.mark.parametrize(("K_A", "K_B", "R"), [(5, 5, 10.0), (1, 4, 3.0), (4, 1, 2.0), (3, 7, 50.0)])
def test_two_group_loss(K_A, K_B, R):
    a, e, q_A, q_B = 1.3, 0.7, 2.1, 0.9
    Z = logit_matrix(K_A, K_B, a, e, q_A, q_B)
    mass = np.repeat([R, 1.0], [K_A, K_B]) / (K_A * R + K_B)
    loss = mass @ (np.log(np.exp(Z).sum(axis=0)) - np.diag(Z))
    found = twin("two_group_loss", K_A=K_A, K_B=K_B, R=R, a=a, e=e, q_A=q_A, q_B=q_B)
    assert found == pytest.approx(loss, rel=1e-13)
    assert TwoGroups(K_A, K_B, 1.0).parts(np.array([[a, q_A, e, q_B]]), np.array([R]))[0][0] == pytest.approx(loss)
    singular = np.sort([*[a] * (K_A - 1), *[e] * (K_B - 1), np.hypot(q_A, q_B), 0])
    np.testing.assert_allclose(np.sort(np.linalg.svd(Z, compute_uv=False)), singular, atol=1e-12)


@pytest.mark.parametrize(("K_A", "K_B", "R", "E_H"), [(5, 5, 10.0, 5.0), (3, 7, 2.0, 2.0), (2, 2, 3.0, 1.0)])
def test_two_group_optimum_solves_the_system(K_A, K_B, R, E_H):
    solution = solve(LayerPeeledModel(counts=[int(10 * R)] * K_A + [10] * K_B, E_W=1, E_H=E_H))
    Z, K = solution.logits(), K_A + K_B
    scalars = {"a": Z[0, 0] - Z[1, 0], "e": Z[-1, -1] - Z[-2, -1],
               "q_A": -Z[-1, 0] * np.sqrt(K * K_B), "q_B": -Z[0, -1] * np.sqrt(K * K_A)}  # fmt: skip
    residual = twin("two_group_kkt", K_A=K_A, K_B=K_B, R=R, E_W=1, E_H=E_H, mu=solution.multiplier, **scalars)
    np.testing.assert_allclose(residual[:4] / solution.multiplier, 0, atol=1e-7)
    assert residual[4] == pytest.approx(0, abs=1e-10)
    W = solution.classifier()
    unit = W / np.linalg.norm(W, axis=1, keepdims=True)
    gram = unit @ unit.T
    cosines = twin("two_group_cosines", K_A=K_A, K_B=K_B, **scalars)
    np.testing.assert_allclose(cosines, [gram[0, 1], gram[-1, -2], gram[0, -1]], atol=1e-8)


def test_published_optimum():
    values = {"a": 4.714356317, "e": 0.209459286, "q_A": 2.187546647, "q_B": 1.522855664}
    loss = twin("two_group_loss", K_A=5, K_B=5, R=10, **values)
    assert loss == pytest.approx(0.261677038637, abs=1e-10)  # four rounded scalars
    cosines = twin("two_group_cosines", K_A=5, K_B=5, **values)
    np.testing.assert_allclose(cosines, [-0.1674901041, 0.51749628, -0.2013173227], atol=2e-8)
    residual = twin("two_group_kkt", K_A=5, K_B=5, R=10, E_W=1, E_H=5, mu=0.01769046445, **values)
    np.testing.assert_allclose(residual, 0, atol=5e-9)


PUBLISHED_R0 = [(3, 7, 1, 4.135908369), (3, 7, 5, 245.4969306), (5, 5, 2, 2.894566582), (5, 5, 5, 12.19244708),
                (7, 3, 5, 4.000466710), (2, 2, 4, 27.73539133), (2, 3, 1, 4.064289436)]  # fmt: skip


@pytest.mark.parametrize(("K_A", "K_B", "P", "published"), PUBLISHED_R0)
def test_collapse_system(K_A, K_B, P, published):
    equations = get("minority_collapse_system").numeric()
    T = (K_A + K_B) * np.sqrt(P)

    def residual(y: np.ndarray) -> np.ndarray:
        a, q_A, q_B, R = np.exp(y)
        return equations(K_A=K_A, K_B=K_B, E_W=1, E_H=P, a=a, q_A=q_A, q_B=q_B, R=R)

    found = root(residual, np.log([0.7 * T / (K_A - 1), 0.3 * T, 0.2 * T, published * 1.2]), tol=1e-13)
    assert np.abs(residual(found.x)).max() < 1e-9
    R0 = float(np.exp(found.x[3]))
    assert R0 == pytest.approx(published, rel=1e-8)
    assert R0 == pytest.approx(collapse_threshold(majority=K_A, minority=K_B, E_W=1, E_H=P).R0, rel=1e-8)


PUBLISHED_R00 = [(3, 7, 1, np.inf), (5, 5, 1, 2.748881185), (5, 5, 2, 7.056553435), (5, 5, 5, np.inf),
                 (7, 3, 1, 1.526739228), (7, 3, 2, 2.127835467), (7, 3, 5, 5.705330171)]  # fmt: skip


@pytest.mark.parametrize(("K_A", "K_B", "P", "published"), PUBLISHED_R00)
def test_vanishing_ratio(K_A, K_B, P, published):
    R00 = twin("vanishing_ratio", K_A=K_A, K_B=K_B, E_W=0.5, E_H=2 * P)
    assert R00 == pytest.approx(published, rel=1e-9)
    assert R00 == pytest.approx(collapse_threshold(majority=K_A, minority=K_B, E_W=1, E_H=P).R00, rel=1e-12)


def test_vanishing_ratio_is_where_the_minority_vanishes():
    R00 = twin("vanishing_ratio", K_A=7, K_B=3, E_W=1, E_H=5)
    for factor, phase in ((0.99, "merged"), (1.01, "vanishing")):
        counts = [round(factor * R00 * 10**6)] * 7 + [10**6] * 3
        assert solve(LayerPeeledModel(counts=counts, E_W=1, E_H=5)).groups[1].phase == phase


def test_vanishing_loss():
    solution = solve(LayerPeeledModel(counts=[100] * 7 + [10] * 3, E_W=1, E_H=5))
    loss = twin("vanishing_loss", K_A=7, K_B=3, R=10, E_W=1, E_H=5)
    assert loss == pytest.approx(0.3218534978, abs=1e-10)
    assert loss == pytest.approx(solution.objective, abs=1e-12)


@pytest.mark.parametrize(("K_A", "K_B", "P"), [(1, 4, 1), (5, 5, 5), (30, 2, 0.1), (2, 30, 1)])
def test_collapse_equation_has_its_root_at_the_threshold(K_A, K_B, P):
    function = get("minority_collapse_equation").numeric()
    K = K_A + K_B
    q_B = merging_point(*np.array([[K_A], [K_B], [K * np.sqrt(P)]], float))[2]
    x = np.sqrt(K / K_A) / K_B * q_B[0]
    below, at, above = function(K_A=K_A, K_B=K_B, E_W=P, E_H=1, x=x * np.array([1 - 1e-6, 1, 1 + 1e-6]))
    assert below < 0 < above and abs(at) < 1e-4 * above
