"""Norms and their duals, the rules of descent against each other's code, and the generalised KKT residual."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from theory._errors import InvalidInput, PreconditionError
from theory.flow import descend, flow_kkt, fully_connected, kkt_certificate, two_layer
from theory.flow._geometry import as_geometry
from theory.flow.steepest import norm_max_margin, steepest_descend, steepest_flow, steepest_kkt

NET = two_layer(3, 4)
NORMS = ["l1", "l2", "linf", 1.3, 4, "spectral"]


@given(st.integers(0, 10**6), st.sampled_from(NORMS), st.floats(1e-3, 1e3))
@settings(max_examples=60, deadline=None)
def test_steepest_direction_attains_the_dual_norm(seed, norm, c):
    rng, geometry = np.random.default_rng(seed), as_geometry(norm, NET)
    g, other = rng.standard_normal((2, NET.n_parameters))
    v = geometry.direction(g)
    assert geometry.norm(v) == pytest.approx(1.0, rel=1e-12)
    assert v @ g == pytest.approx(geometry.dual(g), rel=1e-12)
    assert other @ g <= geometry.norm(other) * geometry.dual(g) * (1 + 1e-12)
    assert geometry.norm(c * other) == pytest.approx(c * geometry.norm(other), rel=1e-12)
    assert geometry.dual(c * g) == pytest.approx(c * geometry.dual(g), rel=1e-12)
    assert np.allclose(geometry.direction(c * g), v, rtol=1e-9, atol=1e-12)


def test_norms_are_what_their_names_say():
    v = np.random.default_rng(0).standard_normal(NET.n_parameters)
    views = NET.views(v)
    for norm, ord_ in (("l1", 1), ("l2", 2), ("linf", np.inf), (1.3, 1.3)):
        assert as_geometry(norm, NET).norm(v) == pytest.approx(np.linalg.norm(v, ord_), rel=1e-13)
    spectral = as_geometry("spectral", NET)
    assert spectral.norm(v) == max(np.linalg.norm(W, 2) for W in views.values())
    U, _, Vt = np.linalg.svd(views["W1"], full_matrices=False)
    assert np.allclose(NET.views(spectral.direction(v))["W1"], U @ Vt)
    assert as_geometry(1, NET).name == "l1" and as_geometry(float("inf"), NET).name == "linf"
    tiny = as_geometry(4, NET).dual(1e-200 * v)
    assert tiny == pytest.approx(1e-200 * as_geometry(4, NET).dual(v), rel=1e-12)
    for wrong in ("l7", 0.9, True, None, np.nan):
        with pytest.raises(InvalidInput):
            as_geometry(wrong, NET)


def problem(seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((6, 3)), rng.choice([-1.0, 1.0], 6)), NET.random_parameters(rng=seed)


@pytest.mark.parametrize("rule", ["constant", "loss-scaled", "normalised"])
def test_l2_is_gradient_descent(rule):
    data, theta = problem()
    run = steepest_descend(NET, data, "logistic", theta, "l2", step=0.05, steps=60, step_rule=rule, record=1)
    other = descend(NET, data, "logistic", theta, step=0.05, steps=60, step_rule=rule, record=1)
    assert np.allclose(run.thetas, other.thetas, rtol=1e-10, atol=1e-12)
    assert np.allclose(run.log_inverse_loss, other.log_inverse_loss, rtol=1e-10)
    assert run.loss_increases == other.loss_increases and list(run.updates) == list(range(61))


def test_sign_and_coordinate_descent_written_out():
    (X, y), theta = problem(1)
    for norm in ("linf", "l1"):
        run = steepest_descend(NET, (X, y), "exponential", theta, norm, step=0.03, steps=20, step_rule="constant")
        at = theta.copy()
        for _ in range(20):
            q = y * NET.output(at, X)[:, 0]
            g = NET.vjp(at, X, (y * np.exp(-q))[:, None])
            if norm == "linf":
                at = at + 0.03 * np.abs(g).sum() * np.sign(g)
            else:
                j = np.abs(g).argmax()
                at[j] += 0.03 * g[j]
        assert np.allclose(run.theta, at, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("norm", NORMS)
def test_margin_of_a_network_rises_from_the_first_separation(norm):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((5, 3))
    y = np.where(X @ [1.0, -0.5, 0.3] > 0, 1.0, -1.0)
    theta = NET.random_parameters(rng=1)
    step = 2e-3 * as_geometry(norm, NET).norm(theta)
    run = steepest_descend(NET, (X, y), "exponential", theta, norm, step=step, steps=1500, record=5)
    assert run.separated is not None and run.separated < len(run.updates) - 50
    assert run.monotonicity_violation < 1e-5
    last = run.smoothed_margins[run.separated + 5 :]
    assert last[-1] > 1.2 * last[0] > 0
    least = (y * NET.output(run.theta, X)[:, 0]).min() / as_geometry(norm, NET).norm(run.theta) ** 2
    assert run.normalized_margins[-1] == pytest.approx(least, rel=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_residual_is_the_least_gap_over_scales(norm):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((5, 3))
    y = np.where(X @ [1.0, -0.5, 0.3] > 0, 1.0, -1.0)
    theta = steepest_descend(NET, (X, y), "logistic", NET.random_parameters(rng=1), "l2", step=0.05, steps=300).theta
    found, geometry = steepest_kkt(NET, X, y, "logistic", theta, norm), as_geometry(norm, NET)
    q = y * NET.output(theta, X)[:, 0]
    scaled = theta / np.sqrt(q.min())
    lam = found.multipliers
    s = NET.vjp(scaled, X, (lam * y)[:, None])

    def gap(c):
        return 0.5 * geometry.norm(scaled) ** 2 + 0.5 * (c * geometry.dual(s)) ** 2 - c * (scaled @ s)

    assert found.residual == pytest.approx(gap(1.0), rel=1e-10)
    assert minimize_scalar(gap).x == pytest.approx(1.0, abs=1e-6)
    assert found.relative_residual == pytest.approx(1 - found.alignment**2, rel=1e-12)
    assert found.slackness == pytest.approx(lam @ (q / q.min() - 1), rel=1e-10)
    assert found.normalized_margin == pytest.approx(q.min() / geometry.norm(theta) ** 2, rel=1e-12)
    assert 0 < found.alignment < 1 and found.residual > 0
    if norm == "l2":
        assert found.alignment == pytest.approx(flow_kkt(NET, X, y, "logistic", theta).beta, rel=1e-12)
        best = kkt_certificate(NET, X, y, "logistic", theta).eps
        assert 0.5 * best**2 <= found.residual * (1 + 1e-9)


@pytest.mark.parametrize("norm", ["l1", "linf", 1.5])
def test_residual_and_slackness_are_the_duality_gap_and_vanish(norm):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((8, 3))
    y = np.where(X @ [1.0, -0.5, 0.3] > 0, 1.0, -1.0)
    net = fully_connected((3, 1), activation="linear")
    sums = []
    for until in (10.0, 100.0, 1e4):
        flow = steepest_flow((X, y), "exponential", norm, until=until)
        found = steepest_kkt(net, X, y, "exponential", flow.theta, norm)
        lam, q = found.multipliers, y * (X @ flow.theta)
        primal = 0.5 * (flow.norms[-1] / q.min()) ** 2
        dual = lam.sum() - 0.5 * flow.geometry.dual((lam * y) @ X) ** 2
        assert found.residual + found.slackness == pytest.approx(primal - dual, rel=1e-6, abs=1e-12)
        best = norm_max_margin(X, y, norm).margin
        assert dual <= 0.5 / best**2 * (1 + 1e-9) and primal >= 0.5 / best**2 * (1 - 1e-9)
        sums.append((found.residual + found.slackness) / primal)
    assert sums[0] > 5 * sums[1] > 100 * sums[2] and sums[2] < 1e-3


def test_kkt_of_several_classes_and_refusals():
    X, y, W = np.eye(3), np.arange(3), 2 * np.eye(3).ravel()
    net = fully_connected((3, 3), activation="linear")
    found = steepest_kkt(net, X, y, "cross_entropy", W, "spectral")  # <I, I - J/3> = 2, as are the singular values
    assert found.alignment == pytest.approx(1.0, rel=1e-14) and found.normalized_margin == pytest.approx(1.0)
    off = steepest_kkt(net, X, y, "cross_entropy", W, "l2").alignment  # W has a common part: cos = sqrt(2/3)
    assert off == pytest.approx(np.sqrt(2 / 3), rel=1e-12)
    assert found.multipliers.shape == (3, 3) and np.allclose(found.multipliers.diagonal(), 0)
    assert found.to_json()["slackness"] == pytest.approx(0.0)
    centred = (np.eye(3) - 1 / 3).ravel()
    assert steepest_kkt(net, X, y, "cross_entropy", centred, "l2").relative_residual < 1e-14
    with pytest.raises(PreconditionError, match="classified"):
        steepest_kkt(net, X, y, "cross_entropy", -W, "l2")
    with pytest.raises(InvalidInput):
        steepest_kkt(net, X, y, "cross_entropy", W, "l9")
