"""Limits that are kept where they are said to be, and certificates against the dense definition."""

from fractions import Fraction

import numpy as np
import pytest

from theory import InvalidInput, NotConverged, PreconditionError
from theory.peeled import (
    DeepLinearModel,
    LayerPeeledModel,
    SELIModel,
    SoftmaxCodeModel,
    UnconstrainedFeaturesModel,
    collapse_threshold,
    solve,
)
from theory.peeled._deep_linear_ce import _status
from theory.peeled._layer_peeled_mse import water_level
from theory.peeled._minimise import ReducedOptimum
from theory.peeled._two_groups import TwoGroups


def test_budgets_up_to_a_margin_of_300():
    LayerPeeledModel(counts=[1, 1], E_W=149, E_H=149)
    with pytest.raises(InvalidInput):
        LayerPeeledModel(counts=[1, 1], E_W=151, E_H=151)


@pytest.mark.parametrize("name", ["margins", "temperatures"])
def test_margins_and_temperatures_within_a_factor_of_a_milliard(name):
    for value in (1e-9, 1e9):
        SELIModel(counts=[2, 1], **{name: [value, 1.0]})
    for value in (0.9e-9, 1.1e9):
        with pytest.raises(InvalidInput, match="between"):
            SELIModel(counts=[2, 1], **{name: [value, 1.0]})
    assert SELIModel(counts=[2, 1], **{name: [2.0, 1.0]}).parameters()["per_class"] == [name]


def test_penalties_between_their_ends():
    for value in (1e-50, 1e50):
        DeepLinearModel(counts=[2, 1], lams=[value, 1.0])
    for value in (0.9e-50, 1.1e50):
        with pytest.raises(InvalidInput, match="between"):
            DeepLinearModel(counts=[2, 1], lams=[value, 1.0])


@pytest.mark.parametrize(
    ("model", "method"),
    [
        (DeepLinearModel(counts=np.arange(1, 3002), lam=1e-9, depth=2, loss="mse"), "auto"),
        (LayerPeeledModel(counts=np.arange(1, 3002), E_W=1, E_H=1), "auto"),
        (LayerPeeledModel(counts=[1] * 3001, E_W=1, E_H=1), "dense"),
        (LayerPeeledModel(counts=[1] * 1001, E_W=1, E_H=1), "factored"),
        (LayerPeeledModel(counts=[1] * 201, E_W=1, E_H=1), "sdp"),
        (UnconstrainedFeaturesModel(counts=np.arange(1, 1002), lam_W=1e-3, lam_H=1e-3), "auto"),
        (DeepLinearModel(counts=[1] * 2001, lam=1e-9, depth=2, loss="cross_entropy"), "auto"),
    ],
)
def test_one_more_than_a_method_takes_is_refused(model, method):
    with pytest.raises(PreconditionError, match=r"at most \d+"):
        solve(model, method=method)


def test_the_residual_of_the_deep_model_is_that_of_its_worst_class(monkeypatch):
    slopes = np.array([1e-9, -3e-9])
    monkeypatch.setattr("theory.peeled._deep_linear_mse.largest_root", lambda a, L: (np.array([0.9, 0.8]), slopes))
    found = solve(DeepLinearModel(counts=[4, 2], lam=1e-3, depth=2, loss="mse"))
    assert found.certificate.residuals["stationarity"] == 3e-9


def test_a_status_says_what_was_tried():
    assert "constructions and local search" in _status("polygon", proved=False, searched=True)
    assert "constructions only" in _status("polygon", proved=False, searched=False)
    assert _status("polygon", proved=True, searched=True) == "optimal"


def test_water_level_of_nearly_equal_masses():
    mass, classes, T = (1 + np.array([7e-11, 1e-11, -6e-11])) / 3, np.array([3.0, 1.0, 2.0]), 1e-9
    z, mu = water_level(mass, classes, T)
    m, n = [Fraction(x) for x in mass], [Fraction(x) for x in classes]
    level = (sum(n) - Fraction(T)) / sum(c / x for c, x in zip(n, m, strict=True))
    np.testing.assert_allclose(z, [float(1 - level / x) for x in m], rtol=1e-12)
    assert mu == pytest.approx(float(level), rel=1e-15)


def test_a_gap_must_be_small_against_the_decrease_too():
    found = ReducedOptimum(e=np.zeros(1), left=np.zeros((1, 0)), s=np.zeros(0), right=np.zeros((1, 0)), value=1.0,
                           gap=1e-3, multiplier=1e-4, stationarity=0.0, steps=1)  # fmt: skip
    assert not found.reached(0.1, budget=1.0)
    assert found.reached(0.1, budget=1e3)


@pytest.mark.parametrize(("K_A", "K_B", "R"), [(3, 4, 2.0), (1, 3, 5.0), (4, 1, 3.0), (2, 2, 1.0)])
def test_gap_of_two_groups_is_the_dense_frank_wolfe_gap(K_A, K_B, R):
    K, rng = K_A + K_B, np.random.default_rng(K_A)
    T, groups = 3.0 * K, TwoGroups(K_A, K_B, 3.0 * K)
    mass = np.repeat([R, 1.0], [K_A, K_B]) / (K_A * R + K_B)
    for _ in range(6):
        x = groups.on_budget(rng.random((1, 4)) * [K_A > 1, 1, K_B > 1, 1] * 10.0 ** rng.uniform(-2, 1, 4))
        a, q_A, e, q_B = x[0]
        A, B = np.arange(K) < K_A, np.arange(K) >= K_A
        u = np.where(A, np.sqrt(K_B / K / K_A), -np.sqrt(K_A / K / K_B))  # unit, constant on each group
        v = np.where(A, q_A / np.sqrt(K_A), -q_B / np.sqrt(K_B))
        within = np.zeros((K, K))
        within[np.ix_(A, A)], within[np.ix_(B, B)] = a * (np.eye(K_A) - 1 / K_A), e * (np.eye(K_B) - 1 / K_B)
        Z = within + np.outer(u, v)
        P = np.exp(Z - Z.max(axis=0))
        G = (P / P.sum(axis=0) - np.eye(K)) * mass
        dense = (G * Z).sum() + T * np.linalg.norm(G, 2)
        value, gap = groups.gap(x, np.array([R]))
        assert value[0] == pytest.approx(-(mass * np.log(np.diag(P / P.sum(axis=0)))).sum(), rel=1e-12)
        assert gap[0] == pytest.approx(dense, rel=1e-9)


def test_just_below_the_threshold_the_minority_is_not_yet_called_merged():
    R0 = collapse_threshold(majority=3, minority=3, E_W=1, E_H=1).R0
    n = 10**11
    for shift, phase in ((-1e-8, "separated"), (1e-8, "merged")):
        counts = [round(R0 * n * (1 + shift))] * 3 + [n] * 3
        assert solve(LayerPeeledModel(counts=counts, E_W=1, E_H=1)).groups[1].phase == phase


def test_the_length_of_every_row_of_a_code_is_in_the_residual(monkeypatch):
    W = np.random.default_rng(0).standard_normal((9, 3))
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    W[4] *= 1.001
    monkeypatch.setattr("theory.peeled._softmax_code.multistart", lambda K, d, **_: W)
    found = solve(SoftmaxCodeModel(num_classes=9, dimension=3))
    assert found.certificate.residuals["unit_norm"] == pytest.approx(1e-3, rel=1e-9)


def test_as_many_dimensions_as_the_rank_are_enough():
    given = {"counts": [5, 4, 3], "lam_W": 1e-3, "lam_H": 1e-3}
    rank = solve(UnconstrainedFeaturesModel(**given)).rank
    assert solve(UnconstrainedFeaturesModel(**given, dimension=rank)).rank == rank == 2
    with pytest.raises(PreconditionError, match="below the rank"):
        solve(UnconstrainedFeaturesModel(**given, dimension=rank - 1))


def test_a_local_search_that_reaches_the_bound_is_optimal():
    found = solve(
        UnconstrainedFeaturesModel(counts=[20, 10], lam_W=2e-3, lam_H=5e-4, loss="focal", gamma=1.0), method="local"
    )
    assert found.method == "local" and found.status == "optimal"


def test_what_did_not_converge_shows_its_residual():
    given = UnconstrainedFeaturesModel(counts=[20, 10, 5], lam_W=1e-5, lam_H=1e-5, lam_b=1e-2, loss="focal", gamma=0.5)
    with pytest.raises(NotConverged) as stopped:
        solve(given, max_steps=1)
    assert stopped.value.partial.certificate.residuals["stationarity"] > 1e-4


def test_a_single_class_without_a_feature_is_merged():
    edge = np.sqrt(8 * 2 / 3) / 78 * (1 + 1e-6)
    given = UnconstrainedFeaturesModel(counts=[50, 20, 8], lam_W=edge, lam_H=edge, features="relu")
    group = solve(given).groups[2]
    assert group.norm_h == 0 and group.phase == "merged"
