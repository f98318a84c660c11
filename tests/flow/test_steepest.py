"""Steepest flows against closed forms, linear programs, other integrators, and descent in small steps."""

import numpy as np
import pytest
from scipy.optimize import linprog

from theory._errors import InvalidInput, NotConverged, PreconditionError
from theory.flow import fully_connected, integrate, linear_max_margin, two_layer
from theory.flow.steepest import norm_max_margin, steepest_descend, steepest_flow

LINEAR = fully_connected((5, 1), activation="linear")


def separable(seed, N=12, d=5):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, d))
    return X, np.where(X @ rng.standard_normal(d) > 0, 1.0, -1.0)


def program(X, y, norm):
    """Direction and margin of the linear program, written out."""
    A, (N, d) = y[:, None] * X, X.shape
    if norm == "linf":
        found = linprog(np.r_[np.zeros(d), -1], A_ub=np.c_[-A, np.ones(N)], b_ub=np.zeros(N),
                        bounds=[(-1, 1)] * d + [(None, None)])  # fmt: skip
        return found.x[:d], found.x[-1]
    found = linprog(np.r_[np.zeros(2 * d), -1], A_ub=np.vstack([np.c_[-A, A, np.ones(N)], np.r_[np.ones(2 * d), 0]]),
                    b_ub=np.r_[np.zeros(N), 1], bounds=[(0, None)] * (2 * d) + [(None, None)])  # fmt: skip
    return found.x[:d] - found.x[d : 2 * d], found.x[-1]


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize(("seed", "loss"), [(0, "exponential"), (3, "logistic")])
def test_limit_is_the_convex_program(norm, seed, loss):
    X, y = separable(seed)
    flow, best = steepest_flow((X, y), loss, norm), norm_max_margin(X, y, norm)
    assert np.abs(flow.direction - best.direction).max() < 1e-4
    assert np.abs(flow.velocity - best.direction).max() < 1e-7
    assert flow.certificate.relative_gap < 1e-7 and flow.certificate.upper >= best.certificate.lower - 1e-9
    assert flow.certificate.lower <= best.certificate.upper + 1e-9
    assert flow.normalized_margins[-1] == pytest.approx(best.margin, rel=1e-4)
    assert flow.monotonicity_violation < 1e-12 and flow.separated > 0
    assert flow.log_inverse_loss[-1] == pytest.approx(1e5, rel=1e-12)
    assert flow.geometry.norm(flow.velocity) == pytest.approx(1.0, abs=1e-12)
    if norm == "l2":
        other = linear_max_margin(X, y)
        assert best.margin == pytest.approx(other.margin, rel=1e-7)
        assert np.abs(flow.velocity - other.direction).max() < 1e-7
    else:
        w, margin = program(X, y, norm)
        assert np.abs(best.direction - w).max() < 1e-9 and best.margin == pytest.approx(margin, rel=1e-10)
        assert flow.events and {e.kind for e in flow.events} <= {"tie", "release", "crossing", "exchange"}


@pytest.mark.parametrize("norm", [1.5, 3])
def test_smooth_norms_reach_their_margin(norm):
    X, y = separable(1)
    flow, best = steepest_flow((X, y), "exponential", norm), norm_max_margin(X, y, norm)
    assert flow.certificate.relative_gap < 1e-7 and not flow.events
    assert flow.certificate.lower <= best.certificate.upper and best.certificate.lower <= flow.certificate.upper
    assert np.abs(flow.direction - best.direction).max() < 1e-4
    assert flow.monotonicity_violation < 1e-12


def test_l1_fills_the_lowest_coordinates_like_water():
    flow = steepest_flow((np.eye(3), np.ones(3)), "exponential", "l1", [0.0, 1.0, 3.0], until=10.0)
    assert [e.kind for e in flow.events] == ["tie", "tie"]
    assert [e.coordinates for e in flow.events] == [(1,), (2,)]
    assert np.allclose([e.arc_length for e in flow.events], [1.0, 5.0], rtol=0, atol=1e-7)
    assert np.allclose(flow.theta, flow.theta.mean(), atol=1e-7) and np.allclose(flow.velocity, 1 / 3, atol=1e-9)
    assert flow.theta.sum() == pytest.approx(4 + flow.arc_length[-1], rel=1e-12)
    assert flow.theta.mean() == pytest.approx(10 + np.log(3), rel=1e-8)


def test_linf_slides_where_a_gradient_vanishes():
    a, b, c = 1.0, 2.0, 0.5  # g_2 = 0 where b p_1 = c p_2: w_2 = log(b / c) / (b + c), and there it stays
    flow = steepest_flow(([[a, b], [a, -c]], [1, 1]), "exponential", "linf", [0.0, 2.0], until=20.0)
    rest = np.log(b / c) / (b + c)
    assert [(e.kind, e.coordinates) for e in flow.events] == [("tie", (1,))]
    assert flow.events[0].arc_length == pytest.approx(2 - rest, abs=1e-7)
    assert flow.theta[1] == pytest.approx(rest, abs=1e-9) and flow.theta[0] == pytest.approx(flow.arc_length[-1])
    assert np.allclose(flow.velocity, [1.0, 0.0], atol=1e-9)


def test_release_and_a_tie_far_out():
    rng = np.random.default_rng(0)
    rng.integers(1, 15), rng.integers(1, 9)
    X = rng.standard_normal((12, 6))
    y = np.where(X @ rng.standard_normal(6) > 0, 1.0, -1.0)
    flow = steepest_flow((X, y), "exponential", "l1", rng.integers(-2, 3, 6).astype(float), until=1e4)
    assert [e.kind for e in flow.events] == ["tie", "tie", "tie", "release", "tie", "tie"]
    released = flow.events[3]
    assert flow.steps < 400  # a tie met inaccurately is met again and again
    assert released.coordinates == (5,) == flow.events[5].coordinates
    assert flow.certificate.relative_gap < 1e-8 and flow.monotonicity_violation < 1e-6
    w, margin = program(X, y, "l1")
    assert flow.certificate.lower == pytest.approx(margin, rel=1e-8) and np.abs(flow.velocity - w).max() < 1e-6


def test_equal_columns_have_one_velocity_together():
    A = np.array([[1.0, 1, 1, 1, -1, -1, -1], [-1, 1, -1, 1, -1, -1, 1], [-1, 1, -1, 1, 1, -1, -1]])
    flow = steepest_flow((A, np.ones(3)), "exponential", "linf", until=1e4)
    assert flow.certificate.lower == pytest.approx(4.0, rel=1e-9) and flow.monotonicity_violation < 1e-12
    assert [(e.kind, set(e.coordinates) <= {0, 2}) for e in flow.events] == [("tie", True)]
    assert flow.velocity[[0, 2]].sum() == pytest.approx(-1.0, abs=1e-9)


def test_l2_is_the_gradient_flow():
    X, y = separable(2)
    other = integrate(LINEAR, (X, y), "logistic", np.zeros(5), until="log-loss:20", rtol=1e-9)
    flow = steepest_flow((X, y), "logistic", "l2", until=20.0, rtol=1e-9)
    assert np.allclose(flow.theta, other.theta, rtol=1e-5)
    w0 = np.array([1.0, -2.0, 0.5, 0.0, 3.0])
    other = integrate(LINEAR, (X, y), "exponential", w0, until="log-loss:8", rtol=1e-9)
    assert np.allclose(steepest_flow((X, y), "exponential", 2, w0, until=8.0).theta, other.theta, rtol=1e-5)


@pytest.mark.parametrize("norm", ["l1", "linf", 1.5, 3])
def test_descent_in_small_steps_follows_the_flow(norm):
    X, y = separable(4)
    start, end = np.array([0.5, -0.3, 0.2, 0.8, -0.6]), 3.0
    gaps = []
    for eta in (0.02, 0.005):
        run = steepest_descend(LINEAR, (X, y), "exponential", start, norm, step=eta, steps=round(end / eta))
        flow = steepest_flow((X, y), "exponential", norm, start, until=run.log_inverse_loss[-1])
        gaps.append((abs(flow.arc_length[-1] - end), np.abs(flow.theta - run.theta).max()))
        assert gaps[-1][1] < 3 * eta and gaps[-1][0] < 3 * eta
    assert gaps[1][1] < 0.6 * gaps[0][1]
    assert run.arc_length[-1] == pytest.approx(end, rel=1e-12)


@pytest.mark.parametrize("norm", ["l1", "linf", 1.5])
def test_loss_falls_by_the_dual_norm_along_the_arc(norm):
    X, y = separable(5)
    flow = steepest_flow((X, y), "exponential", norm, until=6.0)
    A = y[:, None] * X
    p = np.exp(-flow.thetas @ A.T)
    dual = np.array([flow.geometry.dual(g) for g in (p / p.sum(axis=1, keepdims=True)) @ A])
    keep = np.flatnonzero(np.diff(flow.arc_length) > 1e-9)
    ds, du = np.diff(flow.arc_length)[keep], np.diff(flow.log_inverse_loss)[keep]
    assert np.abs(du - ds * (dual[keep] + dual[keep + 1]) / 2).sum() < 1e-3 * du.sum()
    chord = [flow.geometry.norm(v) for v in np.diff(flow.thetas, axis=0)[keep]]
    assert np.allclose(chord, ds, rtol=1e-3)  # unit speed, also where it slides


def test_several_classes():
    rng = np.random.default_rng(2)
    X = rng.standard_normal((12, 3))
    y = np.argmax(X @ rng.standard_normal((3, 3)), axis=1)
    for norm in ("l1", "l2", "linf"):
        flow, best = steepest_flow((X, y), "cross_entropy", norm, until=3e4), norm_max_margin(X, y, norm)
        assert flow.certificate.relative_gap < 1e-7
        assert flow.certificate.lower == pytest.approx(best.margin, rel=1e-6)
        if norm != "linf":  # there the best direction is not unique
            assert np.abs(flow.direction - best.direction.ravel()).max() < 1e-4
        assert best.weights.shape == (12, 3) and (best.weights[np.arange(12), y] == 0).all()
    spectral = norm_max_margin(X, y, "spectral")
    assert np.linalg.norm(spectral.direction, 2) == pytest.approx(1.0, rel=1e-9)
    assert best.margin < 3 * spectral.margin and spectral.margin >= norm_max_margin(X, y, "l2").margin
    run = steepest_descend(
        fully_connected((3, 3), activation="linear"), (X, y), "cross_entropy", np.zeros(9), "spectral",
        step=2 / np.sqrt(np.arange(1, 2001)),
    )  # fmt: skip
    assert 0.97 * spectral.margin < run.normalized_margins[-1] <= spectral.certificate.upper
    assert run.summary().startswith("spectral")


def test_record_refuses_and_prints():
    X, y = separable(0)
    flow = steepest_flow((X, y), "exponential", "l1", until=2.0)
    assert "largest margin between" in flow.summary() and flow.to_json()["norm"] == "l1"
    assert np.isnan(flow.normalized_margins[0])  # w = 0
    assert "events" in flow.to_json() and flow.seconds > 0
    biased = two_layer(5, 3, bias=True)
    run = steepest_descend(biased, (X, y), "logistic", biased.random_parameters(rng=0), "linf", steps=3)
    assert run.to_json()["normalized_margin"] is None and run.separated is None
    with pytest.raises(PreconditionError, match="homogeneous"):
        run.normalized_margins  # noqa: B018
    with pytest.raises(PreconditionError, match="no row"):
        run.monotonicity_violation  # noqa: B018


def test_refusals():
    X, y = separable(0)
    for call in (
        lambda: steepest_flow(X, "exponential", "l1"),
        lambda: steepest_flow((X, y), "exponential", "l3x"), lambda: steepest_flow((X, y), "exponential", 0.5),
        lambda: steepest_flow((X, y), "exponential", "spectral"), lambda: steepest_flow((X, y[:3]), "exponential", 2),
        lambda: steepest_flow((X, y), "exponential", "l1", [1.0]),
        lambda: steepest_flow((X, y), "exponential", "l1", until=1e13),
        lambda: steepest_flow((X, y), "exponential", "l1", rtol=0.0),
        lambda: steepest_flow(([[1.0], [2.0]], [1, -1]), "exponential", "l1"),
        lambda: steepest_descend(LINEAR, (X, y), "exponential", np.zeros(4), "l1"),
        lambda: steepest_descend(LINEAR, (X, y), "exponential", np.zeros(5), "l1", step_rule="adam"),
        lambda: steepest_descend(LINEAR, (X, y), "exponential", np.zeros(5), "l1", step=-1),
        lambda: norm_max_margin(X, y, "l0"),
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            call()
    with pytest.raises(PreconditionError, match="exponential tail"):
        steepest_flow((X, y), "square", "l1")
    with pytest.raises(PreconditionError, match="exponential tail"):
        steepest_descend(LINEAR, (X, y), "square", np.zeros(5), "l1")
    for norm in ("l1", "l2", "linf"):
        with pytest.raises(PreconditionError, match="separates"):
            norm_max_margin([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], [1, 1, -1], norm)
    with pytest.raises(NotConverged, match="max_steps") as stopped:
        steepest_flow((X, y), "exponential", "linf", max_steps=5)
    assert len(stopped.value.partial.thetas) == 6
    with pytest.raises(NotConverged, match="overflow"):
        steepest_descend(LINEAR, (X, y), "exponential", np.zeros(5), "l2", step=1e300, steps=9, step_rule="constant")


@pytest.mark.parametrize("p", [1.0001, 1e6])
def test_exponents_that_the_solver_cannot_pose_are_refused(p):
    with pytest.raises(InvalidInput, match="solved for p"):
        norm_max_margin([[1.0, 0.0], [0.0, 2.0]], [1, -1], p)
