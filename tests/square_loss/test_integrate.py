"""The coupled flow of rho and V against a second integrator, its invariants, sliding, rho = 0, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from theory import InvalidInput, NotConverged, PreconditionError
from theory.flow import convolutional, diagonal_linear, fully_connected, two_layer
from theory.square_loss import RhoStatus, class_targets, equilibrium, integrate_rho
from theory.square_loss._scaled import ScaledNetwork

from ._oracles import LABELS, X3, X, Y, rho_flow, unit_layers

NORMALISATIONS = ("lagrange", "weight-norm", "none")


def scales(normalisation, norms, degrees):
    return np.array([np.prod(norms**degrees)]) if normalisation == "lagrange" else norms


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize(("kind", "degrees"), [("linear", (1, 1, 1)), ("relu^2", (4, 2, 1))])
def test_smooth_networks_against_a_second_integrator(kind, degrees, normalisation):
    widths = (4, 3, 3, 2)
    net = fully_connected(widths, activation=kind)
    y = class_targets(LABELS)[:, :2]
    theta, lam = net.random_parameters(rng=2, scale=1.3), 0.05
    flow = integrate_rho(net, (X3, y), lam=lam, theta0=theta, normalisation=normalisation, until=1.5, rtol=1e-12)
    norms = np.array([np.linalg.norm(w) for w in net.split(theta)])
    V = np.concatenate([w / n for w, n in zip(net.split(theta), norms, strict=True)])
    start = np.concatenate([V, scales(normalisation, norms, np.array(degrees))])
    end = rho_flow(kind, widths, X3, y, lam, start, 1.5, normalisation, degrees=degrees)
    P = net.n_parameters
    np.testing.assert_allclose(flow.V[-1], end[:P], atol=1e-9)
    rho = end[P] if normalisation == "lagrange" else np.prod(end[P:] ** np.array(degrees))
    assert flow.rho[-1] == pytest.approx(rho, abs=1e-9)
    if normalisation != "lagrange":
        np.testing.assert_allclose(flow.layer_norms[-1], end[P:], atol=1e-9)
        square = flow.layer_norms**2 / np.array(degrees)
        gap = (square - square[:, :1])[[0, -1]]  # imbalances shrink like e^(-4 lam t)
        np.testing.assert_allclose(gap[1], gap[0] * np.exp(-4 * lam * 1.5), atol=1e-8)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("widths", [(4, 5, 1), (4, 3, 3, 1)])
def test_relu_with_sliding_against_softplus_of_great_slope(widths, normalisation):
    net = fully_connected(widths)
    for seed in range(10):  # the first start that slides and keeps rho > 0
        V = unit_layers(net, seed)
        flow = integrate_rho(net, (X, Y), lam=0.05, rho0=1.5, V0=V, normalisation=normalisation, until=2.0, rtol=1e-10)
        kinds = {(event.kind, event.layer) for event in flow.events}
        if ("sliding", len(widths) - 3) in kinds and flow.status is RhoStatus.REACHED:
            break
    else:
        pytest.fail("no start slides in the last hidden layer")
    L = len(widths) - 1
    start = np.concatenate([V, [1.5] if normalisation == "lagrange" else np.full(L, 1.5 ** (1 / L))])
    end = rho_flow("soft", widths, X, Y[:, None], 0.05, start, 2.0, normalisation, method="Radau", rtol=1e-9)
    np.testing.assert_allclose(flow.V[-1], end[: net.n_parameters], atol=5e-6)
    scale = end[net.n_parameters :]
    assert flow.rho[-1] == pytest.approx(np.prod(scale), abs=5e-6)


@pytest.mark.parametrize("normalisation", ["lagrange", "weight-norm"])
@pytest.mark.parametrize(
    "net",
    [
        fully_connected((4, 5, 1)),
        fully_connected((4, 4, 3, 1), activation="leaky_relu", slope=0.2),
        fully_connected((4, 4, 1), activation="relu^2"),
        fully_connected((4, 5, 1), bias="first"),
        convolutional((1, 4), (2,), 2),
        diagonal_linear(4),
        fully_connected((4, 1)),
    ],
    ids=lambda n: f"{n.name} {n.n_parameters}",
)
def test_norms_energy_and_identities_along_the_flow(net, normalisation):
    flow = integrate_rho(
        net, (X, Y), lam=0.02, theta0=net.random_parameters(rng=1), normalisation=normalisation, until=6.0,
        at_zero="reflect",
    )  # fmt: skip
    assert flow.norm_drift < 1e-10
    blocks = net.split(flow.V[-1]) if hasattr(net, "split") else [flow.V[-1]]
    np.testing.assert_allclose([np.linalg.norm(v) for v in blocks], 1, atol=1e-14)
    assert (np.diff(flow.objective) < 1e-12).all()
    f = np.array([net.output(v, X)[:, 0] for v in flow.V])
    np.testing.assert_allclose(flow.mu, (f * Y).mean(axis=1), atol=1e-13)
    np.testing.assert_allclose(flow.M, (f**2).mean(axis=1), atol=1e-13)
    np.testing.assert_allclose(flow.margins, f * Y, atol=1e-13)
    weights, state = flow.weights(3.3), flow.at(3.3)
    np.testing.assert_allclose(net.output(weights, X), state.rho * state.outputs, atol=1e-12)
    penalty = flow.rho**2 if normalisation == "lagrange" else (flow.layer_norms**2).sum(axis=1)
    fit = ((flow.rho[:, None] * f - Y) ** 2).mean(axis=1)
    np.testing.assert_allclose(flow.objective, fit + 0.02 * penalty, atol=1e-12)
    np.testing.assert_allclose(flow.flow.log_inverse_loss, -np.log(flow.objective), atol=1e-10)  # what tells rest


def test_errors_of_the_norm_do_not_reach_rho_and_v():
    # the field at c_k V_k is c_k times that at V_k: the directions and rho move alike, and no norm changes
    net = fully_connected((4, 3, 3, 1))
    scaled = ScaledNetwork(net, per_layer=True)
    V, s, G = unit_layers(net, 0), np.array([0.7, 1.1, 1.3]), np.random.default_rng(0).standard_normal((12, 1))
    c = scaled.spread(np.array([2.0, 0.3, 5.0]))
    plain, _ = scaled.gradient(scaled.forward(np.append(V, s), X), G)
    blown, _ = scaled.gradient(scaled.forward(np.append(c * V, s), X), G)
    np.testing.assert_allclose(blown, np.append(c, np.ones(3)) * plain, atol=1e-13)
    np.testing.assert_allclose([v @ d for v, d in zip(net.split(V), net.split(plain[:-3]), strict=True)], 0, atol=1e-14)


def test_norm_drift_is_not_amplified_and_falls_with_the_tolerance():
    net = fully_connected((4, 5, 1))
    theta = net.random_parameters(rng=3)
    drifts = {}
    for rtol in (1e-6, 1e-8, 1e-10):
        long, short = (
            integrate_rho(net, (X, Y), lam=0.1, theta0=theta, until=T, rtol=rtol, atol=rtol * 1e-3, at_zero="reflect")
            for T in (20.0, 2.0)
        )
        assert long.norm_drift < 10 * short.norm_drift + 1e-14  # a passive error: no exponential growth
        drifts[rtol] = long.norm_drift
    assert drifts[1e-6] > 10 * drifts[1e-8] > 100 * drifts[1e-10]
    assert drifts[1e-10] < 1e-10


def test_relu_network_of_the_reference_reaches_its_equilibrium():
    # 4-5-1, twelve samples of a linear teacher: rho -> mu/(M + lam), objective -> (sigma^2 + lam)/(M + lam)
    rng, lam = np.random.default_rng(0), 0.1
    inputs = rng.standard_normal((12, 4))
    y = np.sign(inputs @ rng.standard_normal(4))
    net = fully_connected((4, 5, 1))
    flow = integrate_rho(net, (inputs, y), lam=lam, theta0=net.random_parameters(rng=1), until=300.0)
    rest = equilibrium(flow.mu[-1], flow.M[-1], lam)
    assert flow.rho[-1] == pytest.approx(rest.rho, rel=1e-7) == pytest.approx(flow.rho_eq[-1], rel=1e-12)
    assert flow.objective[-1] == pytest.approx((flow.sigma[-1] ** 2 + lam) / (flow.M[-1] + lam), rel=1e-12)
    # what decay leaves of the first layer depends on the data; here two directions of four
    assert (np.linalg.svd(net.views(flow.V[-1])["W1"], compute_uv=False) > 1e-3).sum() == 2


def test_lagrange_and_weight_normalisation_differ_in_rho_alone_while_rho_agrees():
    # dV/dt is the same function of (rho, V): one layer, where the scale of both is rho, has one flow
    net = fully_connected((4, 1))
    theta = net.random_parameters(rng=0)
    a, b = (
        integrate_rho(net, (X, Y), lam=0.1, theta0=theta, normalisation=n, until=5.0, rtol=1e-12)
        for n in ("lagrange", "weight-norm")
    )
    np.testing.assert_allclose(a.V[-1], b.V[-1], atol=1e-11)
    assert a.rho[-1] == pytest.approx(b.rho[-1], abs=1e-11)


@pytest.mark.parametrize("widths", [(4, 5, 1), (4, 5, 3)])
def test_crossing_zero_is_reported_and_reflected(widths):
    net = fully_connected(widths)
    inputs, y = (X, Y[:, None]) if widths[-1] == 1 else (X3, class_targets(LABELS))
    V = next(
        v for v in (unit_layers(net, seed) for seed in range(50)) if (net.output(v, inputs) * y).sum() < -0.3
    )  # mu < 0
    options = {"lam": 0.05, "rho0": 0.1, "V0": V, "until": 3.0, "rtol": 1e-11}
    stopped = integrate_rho(net, (inputs, y), **options)
    assert stopped.status is RhoStatus.ZERO and stopped.rho[-1] == pytest.approx(0, abs=1e-12)
    (crossing,) = stopped.zero_crossings
    assert not crossing.reflected and crossing.t == pytest.approx(stopped.t[-1], abs=1e-12) and crossing.layer == -1
    went_on = integrate_rho(net, (inputs, y), at_zero="reflect", **options)
    assert went_on.zero_crossings[0].reflected and went_on.zero_crossings[0].t == pytest.approx(crossing.t, rel=1e-9)
    assert went_on.status is RhoStatus.REACHED and (went_on.rho >= 0).all() and went_on.mu[-1] > 0
    # the function rho f_V is that of the flow of (rho, V) which passes through zero
    start = np.append(V, 0.1)
    end = rho_flow("soft", widths, inputs, y, 0.05, start, 3.0, "lagrange", method="Radau", rtol=1e-9)
    assert end[-1] < 0 and went_on.rho[-1] == pytest.approx(-end[-1], abs=5e-6)
    last = net.views(went_on.V[-1])["W2"].ravel()
    np.testing.assert_allclose(last, -end[-1 - last.size : -1], atol=5e-6)
    before, after = (went_on.at(crossing.t + h) for h in (-1e-7, 1e-7))
    np.testing.assert_allclose(before.rho * before.outputs, after.rho * after.outputs, atol=1e-5)
    np.testing.assert_allclose(before.outputs, -after.outputs, atol=1e-5)


def test_a_layer_norm_at_zero_stops_weight_normalisation():
    # unequal scales of one sign: the small one passes zero because mu < 0
    net = fully_connected((1, 1, 1), activation="linear")
    flow = integrate_rho(
        net, ([[1.0]], [-1.0]), theta0=[0.1, 1.0], normalisation="weight-norm", until=5.0, at_zero="reflect"
    )
    assert flow.status is RhoStatus.ZERO and flow.zero_crossings[0].layer == 0
    np.testing.assert_allclose(flow.layer_norms[-1] ** 2 @ [-1, 1], 1 - 0.01, atol=1e-9)


def test_one_weight_passes_zero_in_every_form():
    # w from 0.5 to -1: the weight itself, and rho reflected, give the same rho and the same V
    flows = [
        integrate_rho(fully_connected((1, 1)), ([[-1.0]], [1.0]), rho0=0.5, V0=[1.0], normalisation=name, until=4.0,
                      at_zero="reflect", rtol=1e-12)
        for name in NORMALISATIONS
    ]  # fmt: skip
    for flow in flows:
        np.testing.assert_allclose(flow.rho, abs(0.5 * np.exp(-2 * flow.t) + np.expm1(-2 * flow.t)), atol=1e-11)
        assert flow.V[0, 0] == 1 and flow.V[-1, 0] == -1
        assert flow.layer_norms is None or (flow.layer_norms[:, 0] == flow.rho).all()
    assert [len(flow.zero_crossings) for flow in flows] == [1, 1, 0]  # a weight may pass zero: nothing to reflect


def test_stationary_end_and_dense_evaluation():
    net = fully_connected((4, 5, 1), activation="linear")
    flow = integrate_rho(net, (X, Y), lam=0.1, rho0=0.3, V0=unit_layers(net, 4), at_zero="reflect")
    assert flow.status is RhoStatus.STATIONARY and flow.rho[-1] == pytest.approx(flow.rho_eq[-1], rel=1e-7)
    state = flow.at(0.37)
    again = integrate_rho(net, (X, Y), lam=0.1, rho0=0.3, V0=unit_layers(net, 4), at_zero="reflect", until=0.37)
    np.testing.assert_allclose(state.V, again.V[-1], atol=1e-8)
    assert state.nu == pytest.approx(state.rho * (state.moments.mu - state.rho * state.moments.M))
    text = flow.summary()
    assert "rho = " in text and "stationary" in text
    assert flow.to_json()["normalisation"] == "lagrange" and len(repr(flow)) < 200
    with pytest.raises(InvalidInput):
        flow.at(flow.t[-1] * 1.01)


def test_minimum_of_a_deep_linear_network_with_decay_is_ridge_regression():
    # J(rho, V) = mean (rho w_V x - y)^2 + lam rho^2 with ||w_V|| <= 1, equal at rest: ridge regression
    net = fully_connected((4, 3, 1), activation="linear")
    flow = integrate_rho(
        net, (X, Y), lam=0.2, rho0=0.5, V0=unit_layers(net, 1), until=300.0, at_zero="reflect", rtol=1e-11
    )
    w = np.linalg.solve(X.T @ X / 12 + 0.2 * np.eye(4), X.T @ Y / 12)
    views = net.views(flow.V[-1])
    np.testing.assert_allclose(flow.rho[-1] * (views["W2"] @ views["W1"])[0], w, atol=1e-8)
    assert flow.rho[-1] == pytest.approx(np.linalg.norm(w), abs=1e-8)


@pytest.mark.parametrize(
    "change",
    [
        {"lam": -0.1},
        {"normalisation": "batch"},
        {"at_zero": "ignore"},
        {"until": "log-loss:3"},
        {"rho0": None},
        {"rho0": -1.0},
        {"V0": np.ones(25)},
        {"V0": np.zeros(25)},
        {"V0": np.ones(3)},
        {"theta0": np.ones(25)},
        {"ambiguous": "maybe"},
        {"rtol": 0.0},
    ],
    ids=str,
)
def test_refusals(change):
    net = two_layer(4, 5)
    with pytest.raises(InvalidInput):
        integrate_rho(net, (X, Y), **({"rho0": 1.0, "V0": unit_layers(net, 0), "until": 1.0} | change))


def test_targets_and_degenerate_outputs():
    net = two_layer(4, 5)
    with pytest.raises(InvalidInput, match="zero"):
        integrate_rho(net, (X, 0 * Y), rho0=1.0, V0=unit_layers(net, 0), until=1.0)
    # a network that is off on every sample has no outputs: rho only decays
    dead = net.pack(W1=np.tile([-1.0, 0, 0, 0], (5, 1)) / 5**0.5, W2=np.ones((1, 5)) / 5**0.5)
    flow = integrate_rho(net, ([[1.0, 0, 0, 0]], [1.0]), lam=0.1, rho0=1.0, V0=dead, until=2.0, rtol=1e-12)
    assert flow.rho[-1] == pytest.approx(np.exp(-0.4), abs=1e-11) and flow.mu[-1] == flow.M[-1] == 0
    free = integrate_rho(net, ([[1.0, 0, 0, 0]], [1.0]), rho0=1.0, V0=dead, until=2.0)
    assert free.rho[-1] == 1 and np.isnan(free.rho_eq).all() and free.to_json()["rho_eq"] is None


def test_biases_beyond_the_first_layer_are_refused():
    net = two_layer(4, 2, bias=True)
    with pytest.raises(PreconditionError, match="homogeneous"):
        integrate_rho(net, (X, Y), theta0=net.random_parameters(rng=0), until=1.0)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_too_few_steps_keep_what_was_reached(normalisation):
    net = two_layer(4, 5)
    with pytest.raises(NotConverged) as caught:
        integrate_rho(
            net, (X, Y), rho0=1.0, V0=unit_layers(net, 0), normalisation=normalisation, max_steps=3, until=9.0
        )
    assert caught.value.partial.steps >= 3 and caught.value.partial.status is RhoStatus.STOPPED


def test_a_start_whose_norms_overflow_is_refused():
    net = two_layer(2, 3)
    theta = 1e200 * net.random_parameters(rng=0)
    for normalisation in NORMALISATIONS:
        with pytest.raises(InvalidInput, match="theta0 is too large"):
            integrate_rho(net, ([[1.0, 0.5]], [1.0]), theta0=theta, normalisation=normalisation, until=1.0)


def test_a_unit_that_slides_where_rho_crosses_zero_may_leave_to_either_side():
    net = fully_connected((4, 5, 1))
    V = unit_layers(net, 18)
    options = {"lam": 0.05, "rho0": 0.4, "V0": V, "at_zero": "reflect", "until": 3.5, "rtol": 1e-10}
    off, on = (integrate_rho(net, (X, Y), ambiguous=choice, **options) for choice in ("off", "on"))
    for flow in (off, on):
        assert [event.kind for event in flow.events] == ["sliding", "ambiguous"] and flow.zero_crossings[0].reflected
        assert np.exp(flow.events[1].log_t) == pytest.approx(flow.zero_crossings[0].t, rel=1e-9)
    assert abs(off.V[-1] - on.V[-1]).max() > 1e-3
    # a softplus sits a little to the right of the kink and leaves to that side
    end = rho_flow(
        "soft", (4, 5, 1), X, Y[:, None], 0.05, np.append(V, 0.4), 3.5, "lagrange", method="Radau", rtol=1e-9
    )
    V_end, rho = end[:-1], end[-1]
    V_end[net.layers[0].n_weights :] *= -1
    np.testing.assert_allclose(on.V[-1], V_end, atol=5e-6)
    assert rho < 0 and on.rho[-1] == pytest.approx(-rho, abs=1e-6)


@pytest.mark.parametrize("until", [0.3, 1.7, 5.0, 20.0, 50.0])
def test_the_end_that_was_asked_for_can_be_asked_again(until):
    net = fully_connected((2, 1))
    flow = integrate_rho(net, ([[1.0, 1.0]], [1.0]), theta0=[0.1, 0.3], until=until)
    assert flow.at(until).rho == flow.rho[-1] and flow.weights(until).shape == (2,)
    with pytest.raises(InvalidInput, match="t must be between"):
        flow.at(until * (1 + 1e-12))
