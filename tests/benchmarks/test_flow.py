"""The flow benchmark: fields and reference by other means, peers that agree, and the bookkeeping of equal errors."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import brentq

from simulations.benchmarks import flow
from simulations.benchmarks._comparison import NOT_INSTALLED, OURS, Entry
from simulations.benchmarks._flow_peers import PEERS, Peer, ours, step_limit
from simulations.benchmarks._flow_problems import Problem, by_samples, by_width, linear, relu
from simulations.benchmarks._flow_reference import independent, reference
from simulations.benchmarks._flow_walk import (
    Attempt,
    OutOfTime,
    attempted,
    entries,
    reached,
    trajectory_error,
    walk_tolerances,
)
from theory._errors import PreconditionError

PROBLEMS = (relu(4, 3, "square", 0, size=4), relu(4, 3, "exponential", 1, size=4), linear(3))
NAMED = {peer.name: peer for peer in PEERS}


@pytest.fixture(scope="module")
def smooth():
    problem = linear(2, T=2.0)
    return problem, reference(problem)


def loss(problem, theta):
    f = problem.network.output(theta, problem.X)[:, 0]
    return 0.5 * np.sum((f - problem.y) ** 2) if problem.loss == "square" else np.sum(np.exp(-problem.y * f))


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: f"{p.loss}-{len(p.widths)}")
def test_the_field_is_minus_the_gradient_and_the_jacobian_its_derivative(problem):
    field, steps = problem.velocity(), 1e-6 * np.eye(len(problem.theta))
    slopes = [(loss(problem, problem.theta - h) - loss(problem, problem.theta + h)) / 2e-6 for h in steps]
    assert np.abs(field(problem.theta) - slopes).max() < 1e-7
    columns = [(field(problem.theta + h) - field(problem.theta - h)) / 2e-6 for h in steps]
    assert np.abs(problem.jacobian(problem.theta) - np.array(columns).T).max() < 1e-7


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: f"{p.loss}-{len(p.widths)}")
def test_the_field_is_the_same_in_every_library(problem):
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    wanted = problem.velocity()(problem.theta)
    assert np.abs(problem.velocity(torch)(torch.asarray(problem.theta)).numpy() - wanted).max() < 1e-14
    with jax.enable_x64(True):
        assert np.abs(np.asarray(problem.velocity(jax.numpy)(jax.numpy.asarray(problem.theta))) - wanted).max() < 1e-14


def test_the_reference_slides_and_is_confirmed_by_a_method_without_events():
    for problem in (by_samples(5), by_width(5)):
        truth = reference(problem)
        gap = [trajectory_error(independent(problem, sharpness=k), truth) for k in (1e7, 1e9)]
        assert gap[1] < 2e-8
        assert gap[1] < 0.1 * gap[0]  # it is the softplus that differs
        assert np.abs(truth[0] - problem.theta).max() == 0


def test_a_flow_that_is_not_unique_has_no_reference():
    with pytest.raises(PreconditionError, match="not unique"):
        reference(relu(5, 10, "exponential", 0, size=5))


@pytest.mark.parametrize("name", [name for name in NAMED if name not in ("diffrax Dopri8", "diffrax Kvaerno5")])
def test_every_peer_agrees_with_ours_on_a_smooth_flow(name, smooth):
    problem, truth = smooth
    peer = NAMED[name]
    if peer.version is None:
        pytest.skip("not installed")
    solve, _ = peer.prepare(problem, 20.0)
    found = solve(1e-7)
    assert found.thetas is not None, found.note
    assert found.thetas.shape == truth.shape
    assert trajectory_error(found.thetas, truth) < 2e-5
    assert trajectory_error(found.thetas, truth[::-1]) > 0.1


@pytest.mark.parametrize("name", ["SciPy RK45", "torchdiffeq dopri5", "diffrax Tsit5"])
def test_a_peer_is_stopped_and_says_so(name):
    if NAMED[name].version is None:
        pytest.skip("not installed")
    solve, _ = NAMED[name].prepare(by_samples(5), 0.02)
    found = solve(1e-9)
    assert found.out_of_time
    assert found.thetas is None
    assert found.note.startswith("stopped after")


def test_steps_that_cannot_be_stopped_are_fewer_where_each_costs_more():
    small, large = by_samples(10), linear(32)
    assert step_limit("Tsit5", small, 2.0) == 2 * step_limit("Tsit5", small, 1.0) == 100_000
    assert step_limit("Tsit5", small, 1.0) == pytest.approx(step_limit("Tsit5", by_samples(80), 1.0) * 8)
    assert step_limit("Kvaerno5", small, 1.0) > 500 * step_limit("Kvaerno5", large, 1.0) > 0


def synthetic(order, limit=np.inf):
    """A method of that order on dx/dt = x to t = 1, whose seconds are its steps."""

    def solve(rtol):
        steps = round(rtol ** (-1 / order))
        if steps > limit:
            return Attempt(rtol=rtol, thetas=None, seconds=limit, note="stopped after too long", out_of_time=True)
        h = 1 / steps
        growth = sum(h**k / np.prod(np.arange(1, k + 1)) for k in range(order + 1))
        return Attempt(rtol=rtol, thetas=np.array([[growth**steps]]), seconds=float(steps))

    return solve


@pytest.mark.parametrize("order", [2, 4])
def test_time_to_a_target_grows_as_the_order_says(order):
    attempts = walk_tolerances(synthetic(order), np.array([[np.e]]))
    coarse, fine = reached(attempts, 1e-3), reached(attempts, 1e-7)
    assert coarse.error <= 1e-3
    assert fine.error <= 1e-7
    assert fine.seconds / coarse.seconds == pytest.approx((coarse.rtol / fine.rtol) ** (1 / order), rel=0.1)
    assert np.log10(coarse.error / fine.error) == pytest.approx(np.log10(coarse.rtol / fine.rtol), abs=0.4)
    assert attempts[-1].error <= 1e-7 < attempts[-2].error  # the walk ends at the goal


def test_a_target_takes_the_fastest_attempt_that_meets_it_not_the_loosest():
    row = [(1e-2, 5.0, 1e-4), (1e-3, 2.0, 5e-4), (1e-4, 3.0, 2e-3), (1e-5, 9.0, 1e-8)]
    attempts = [Attempt(rtol=r, thetas=np.zeros((1, 1)), seconds=s, error=e) for r, s, e in row]
    assert reached(attempts, 1e-3).rtol == 1e-3
    assert reached(attempts, 1e-7).rtol == 1e-5
    assert reached(attempts, 1e-9) is None
    found = entries("peer", "1", 5, attempts)
    assert [(e.seconds, e.error) for e in found] == [(2.0, 5e-4), (9.0, 1e-8)]
    assert "1e-05 and 1e-07" in found[1].note


def test_what_was_not_reached_is_said():
    attempts = walk_tolerances(synthetic(2, limit=100), np.array([[np.e]]))
    assert [attempt.out_of_time for attempt in attempts] == [False] * (len(attempts) - 1) + [True]
    found = entries("peer", "1", 5, attempts)
    assert [e.seconds is None for e in found] == [False, True]
    assert found[0].error <= 1e-3
    assert found[-1].outcome == "did not finish"
    assert "did not reach 1e-05" in found[-1].note
    assert "stopped" in found[-1].note
    nothing = entries("peer", "1", 5, walk_tolerances(synthetic(2, limit=15), np.array([[np.e]])))
    assert [e.error is None for e in nothing] == [False, True]
    assert nothing[0].error > 1e-3
    assert "its best" in nothing[0].note


def test_an_attempt_that_raises_or_is_not_finite_has_no_trajectory():
    def late():
        raise OutOfTime

    def underflow():
        raise AssertionError("underflow in dt 0.0")

    assert attempted(late, 1e-3).out_of_time
    assert attempted(underflow, 1e-3).note == "underflow in dt 0.0"
    assert attempted(lambda: (np.array([[np.inf]]), "", 1), 1e-3).note == "not finite"
    assert attempted(lambda: (np.ones((1, 1)), "", 7), 1e-3).evaluations == 7


def entry(method, size, seconds, error):
    return Entry(method=method, version="1", size=size, seconds=seconds, error=error)


def test_the_verdict_is_read_off_the_entries():
    mine = [entry(OURS, 1, 2.0, 1e-8), entry(OURS, 2, 4.0, 1e-8), entry(OURS, 2, 1.0, 1e-4)]
    assert "fast, 4.00 times faster" in flow.verdict([*mine, entry("fast", 2, 1.0, 1e-7)])
    both = flow.verdict([*mine, entry("same", 1, 1.0, 1e-7), entry("same", 2, 1.0, 1e-7)])
    assert "to error 1e-07 at 2, the fastest" in both  # the larger of the two
    assert "slow, 2.00 times slower" in flow.verdict([*mine, entry("slow", 2, 8.0, 1e-7)])
    assert "at 1, the fastest peer" in flow.verdict([*mine, entry("small", 1, 1.0, 1e-7), entry("small", 2, 1.0, 1e-4)])
    assert "rough came nearest, to 1e-04 at 1" in flow.verdict([*mine, entry("rough", 1, 1.0, 1e-4)])
    assert "none came to an end" in flow.verdict([*mine, entry("lost", 1, None, None)])
    assert "no target at every size" in flow.verdict([entry(OURS, 1, 1.0, 1e-8), entry(OURS, 2, 1.0, 0.1)])


def test_a_comparison_has_positive_floors_and_a_line_for_what_is_missing(monkeypatch):
    missing = Peer("missing", ("no-such-package",), lambda problem, limit: pytest.fail("it is not installed"))
    found = flow._equal_error(
        "tiny", "Tiny", "width", [linear(2, T=1.0), linear(3, T=1.0)], (NAMED["SciPy DOP853"], missing), 1.0, 2, str
    )
    assert sorted(found.floor) == [2, 3]
    assert all(0 < found.floor[e.size] < e.seconds for e in found.entries if e.method == OURS)
    assert all(e.error <= 1e-3 for e in found.entries if e.seconds is not None)
    assert [e.note for e in found.entries if e.method == "missing"] == [NOT_INSTALLED]
    assert "differs by" in found.settings


def test_a_peer_that_reached_nothing_is_not_tried_at_larger_sizes():
    never = Peer("never", ("numpy",), lambda problem, limit: (synthetic(1, limit=0), 0.0))
    failed = {}
    problem = linear(2)
    first = flow._peer(never, problem, np.zeros((17, 1)), 1.0, failed)
    second = flow._peer(never, replace(problem, size=9), np.zeros((17, 1)), 1.0, failed)
    assert first[0].outcome == "did not finish"
    assert second[0].outcome == "not tried"
    assert "at 2 it reached no target" in second[0].note
    assert flow._peer(never, replace(problem, size=10), np.zeros((17, 1)), 1.0, failed) == []


def test_the_late_phase_goes_on_where_t_is_no_float():
    found = flow.late((10.0, 1e4, 1e5), (NAMED["SciPy DOP853"],), 20.0, str)
    by = {(e.method, e.size): e for e in found.entries}
    assert by[OURS, 1e4].error < 1e-8
    assert by["SciPy DOP853", 10.0].error < 1e-7
    assert by["SciPy DOP853", 1e4].seconds is None
    assert "beyond float64" in by["SciPy DOP853", 1e4].note
    assert ("SciPy DOP853", 1e5) not in by
    assert "ours came to log t = 100000," in found.claim
    assert "to 10 (SciPy DOP853)" in found.claim


def test_late_in_closed_form():
    # w' = w exp(-w^2) from w(0) = 1: t = (Ei(w^2) - Ei(1)) / 2, and log Ei(x) = x - log x + log(1 + 1/x + 2/x^2 + ...)
    problem = Problem(
        size=1, widths=(1, 1, 1), kinked=False, X=np.ones((1, 1)), y=np.ones(1), loss="exponential", theta=np.ones(2),
        times=np.array([0.0, 1.0]),
    )  # fmt: skip
    x = brentq(lambda x: x - np.log(x) + np.log1p(1 / x + 2 / x**2) - np.log(2) - 1e6, 1e6, 1.1e6, xtol=1e-9)
    found = ours(problem, np.inf, "log-t:1e6")(1e-8).thetas[-1]
    assert np.abs(found / np.sqrt(x) - 1).max() < 1e-8
