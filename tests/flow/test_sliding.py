"""Sliding, crossing, sticking, ambiguous: against two oracles that know no events, and by what each event claims."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.flow.oracles import deep_problem, proximal_flow, random_problem, softplus_flow
from theory._errors import NotConverged
from theory.flow import integrate
from theory.flow._field import Field
from theory.flow._modes import SLIDING
from theory.flow.networks import fully_connected

MAKE = {"two-layer": random_problem, "deep": deep_problem}
STORED = json.loads((Path(__file__).parents[1] / "reference" / "flow_oracles.json").read_text())


def network_of(problem):
    return fully_connected(
        problem.widths, activation="leaky_relu" if problem.slope else "relu", slope=problem.slope or None
    )


def flow_of(problem, rtol=1e-10, **options):
    data = problem.X, problem.y
    return integrate(network_of(problem), data, problem.loss, problem.theta0, until=problem.T, rtol=rtol, **options)


@pytest.mark.parametrize("row", STORED, ids=lambda row: f"{row['kind']}-{row['seed']}")
def test_stored_oracles(row):
    flow = flow_of(MAKE[row["kind"]](row["seed"]))
    assert np.abs(flow.theta - row["softplus"]).max() < 1e-6
    assert np.abs(flow.theta - row["proximal"]).max() < 1e-6
    slid = {event.layer for event in flow.events if event.kind in ("sliding", "sticking")}
    assert slid == set(row["layers"])


def test_the_stored_problems_are_enough():
    assert sum(row["kind"] == "two-layer" for row in STORED) >= 20
    assert sum(row["kind"] == "deep" and 1 in row["layers"] for row in STORED) >= 3
    assert any(row["layers"] == [0, 1] for row in STORED)
    assert {MAKE[row["kind"]](row["seed"]).loss for row in STORED} == {"square", "exponential", "logistic"}


@pytest.mark.parametrize("seed", [3])
def test_live_softplus(seed):
    problem = random_problem(seed)
    flow = flow_of(problem)
    assert flow.event_counts["sliding"] >= 1
    assert np.abs(softplus_flow(problem) - flow.theta).max() < 1e-6


def test_live_proximal_steps():
    problem = replace(random_problem(5), T=0.8)
    near, slid = proximal_flow(problem, tol=1e-7)
    flow = flow_of(problem)
    assert np.abs(near - flow.theta).max() < 1e-4
    pairs = {(event.sample, event.unit) for event in flow.events if event.after == SLIDING}
    assert pairs == {(int(n), int(u)) for n, u in np.argwhere(slid > 2)}


def check_record(flow):
    """What a record of events claims, against the network itself."""
    network, X = flow.network, flow.X
    together = Counter(event.step for event in flow.events)
    assert all(a.log_t <= b.log_t and a.step <= b.step for a, b in zip(flow.events, flow.events[1:], strict=False))
    for event in flow.events:
        off, on = event.velocity_off, event.velocity_on
        size = 1e-6 * (abs(off) + abs(on))
        if event.kind == "sliding":
            assert event.after == SLIDING
        if event.kind == "crossing":
            assert {event.before, event.after} == {0, 1}
            if together[event.step] == 1:  # the velocities of one pair say it all only where no other pair moves
                assert min(off, on) > -size if event.after == 1 else max(off, on) < size
        if event.kind == "release":
            assert event.before == SLIDING and event.after in (0, 1)
        if event.kind == "ambiguous":
            assert off <= size and on >= -size
    field = Field(network, X, flow.y, flow.loss)
    low = network.activation.slope
    for step in range(1, flow.steps + 1):
        theta, modes = flow.thetas[step], flow.modes(step)
        z = network.preactivations(theta, X)
        sliding = modes == SLIDING
        size = np.abs(z).max(axis=0) + 1e-300
        if sliding.any():
            assert (np.abs(z) / size)[sliding].max() < 1e-9
            surface = field.surface(modes)
            g, signals = field.raw(theta, surface, log=False)
            weights = field.weights(theta, surface, g, signals, log=False)
            assert weights.clarke.min() > low - 1e-6 and weights.clarke.max() < 1 + 1e-6
        free = ~sliding
        assert (np.where(modes == 1, z, -z) / size)[free].min(initial=0) > -1e-9


@pytest.mark.parametrize("seed", [0, 1, 4, 7])
def test_every_event_does_what_it_says(seed):
    flow = flow_of(random_problem(seed), rtol=1e-8)
    assert flow.event_counts["sliding"] >= 1
    check_record(flow)
    single = [e for e in flow.events if e.kind == "sliding" and sum(o.step == e.step for o in flow.events) == 1]
    assert single
    alone = [e for e in single if not (flow.modes(e.step - 1)[:, e.unit] == SLIDING).any()]
    assert all(e.velocity_off > 0 > e.velocity_on for e in alone)


@pytest.mark.parametrize("seed", [0, 2])
def test_every_event_of_three_layers_does_what_it_says(seed):
    flow = flow_of(deep_problem(seed), rtol=1e-8)
    assert {event.layer for event in flow.events if event.kind == "sliding"} == {0, 1}
    check_record(flow)


def test_the_sliding_velocity_is_the_tangent_of_the_path():
    problem = random_problem(0)
    flow = flow_of(problem)
    event = next(e for e in flow.events if e.kind == "sliding")
    t = np.exp(event.log_t)
    h = 1e-5
    moved = [
        network_of(problem).preactivations(flow(t + k * h), problem.X)[event.sample, event.unit] for k in (1, 2, 3)
    ]
    assert np.abs(moved).max() < 1e-13


def test_permuted_samples_and_units_give_the_same_flow():
    problem = random_problem(1)
    flow = flow_of(problem)
    m, rng = problem.widths[1], np.random.default_rng(0)
    order, units = rng.permutation(len(problem.X)), rng.permutation(m)
    views = flow.network.views(problem.theta0)
    start = flow.network.pack(W1=views["W1"][units], W2=views["W2"][:, units])
    other = integrate(
        flow.network, (problem.X[order], problem.y[order]), problem.loss, start, until=problem.T, rtol=1e-10
    )
    back = flow.network.views(other.theta)
    assert np.abs(back["W1"] - flow.network.views(flow.theta)["W1"][units]).max() < 1e-8
    assert other.event_counts == flow.event_counts
    assert [(units[e.unit], order[e.sample], e.kind) for e in other.events] == [
        (e.unit, e.sample, e.kind) for e in flow.events
    ]


ONE_UNIT = fully_connected((2, 1, 1))


def test_a_unit_sticks_on_orthogonal_data():
    # w moves along x_1 by -r_1 only while it is on: it stops at zero, where v- = 0
    flow = integrate(ONE_UNIT, (np.eye(2), [-1.0, 1.0]), "exponential", [0.5, 1.0, 1.0], until=10.0)
    assert [event.kind for event in flow.events] == ["sticking"]
    event = flow.events[0]
    assert event.velocity_off == pytest.approx(0, abs=1e-12) and event.velocity_on < -0.1
    assert flow.theta[0] == 0
    assert abs(flow.theta[2] ** 2 - flow.theta[1] ** 2 - (1 - 1.25)) < 1e-8


@pytest.mark.parametrize(("policy", "after"), [("off", 0), ("on", 1)])
def test_an_ambiguous_start_follows_the_policy(policy, after):
    # z_1 = 0 with v- = 0 < v+: both theta_1 = 0 for ever and theta_1 growing are Clarke flows
    flow = integrate(ONE_UNIT, (np.eye(2), [1.0, 1.0]), "exponential", [0.0, 1.0, 1.0], until=1.0, ambiguous=policy)
    (event,) = [e for e in flow.events if e.kind == "ambiguous"]
    assert (event.after, event.velocity_off, event.velocity_on) == (after, 0.0, pytest.approx(1.0))
    assert (flow.theta[0] > 0.1) == (policy == "on")


def test_an_ambiguous_start_raises_where_wanted():
    with pytest.raises(NotConverged, match="not unique"):
        integrate(ONE_UNIT, (np.eye(2), [1.0, 1.0]), "exponential", [0.0, 1.0, 1.0], until=1.0, ambiguous="raise")


def test_an_outer_weight_through_zero_ends_a_slide_ambiguously():
    problem = random_problem(2)
    flow = flow_of(problem)
    assert [event.kind for event in flow.events] == ["sliding", "ambiguous"]
    (event,) = [e for e in flow.events if e.kind == "ambiguous"]
    outer = flow.at(log_t=event.log_t)[-problem.widths[1] :]
    assert abs(outer[event.unit]) < 1e-9
    with pytest.raises(NotConverged, match="not unique"):
        flow_of(problem, ambiguous="raise")


def test_leaky_units_slide_between_their_slopes():
    for seed in (3, 7):
        problem = random_problem(seed)
        assert problem.slope == 0.2
        check_record(flow_of(problem, rtol=1e-8))
