"""Certificates along a flow: the networks as graphs, rho and V apart, margins, labels, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest

from theory import InvalidInput, PreconditionError
from theory.architecture import outputs
from theory.bounds import get
from theory.flow import convolutional, deep_linear, diagonal_linear, fully_connected, two_layer
from theory.square_loss import BoundsAlong, bounds_along, class_targets, integrate_rho
from theory.square_loss.bounds_along import PRODUCTS, architecture_of, class_labels, named_weights

RNG = np.random.default_rng(3)
X, LABELS = RNG.standard_normal((40, 6)), np.arange(40) % 3
SIGNS = np.sign(RNG.standard_normal(40))
NETWORKS = [
    fully_connected((6, 5, 4, 3)),
    fully_connected((6, 5, 3), bias="first"),
    fully_connected((6, 5, 3), activation="leaky_relu", slope=0.2),
    deep_linear((6, 4, 3)),
    fully_connected((6, 3)),
    convolutional((1, 6), (3, 2), 3, padding=1, n_outputs=3),
    convolutional((1, 2, 3), (2,), (2, 2), stride=(1, 1), n_outputs=3),
]


def flow_of(net, y=None, *, rho0=2.0, seed=1, until=0.5, **options):
    theta = net.random_parameters(rng=seed)
    V = np.concatenate([w / np.linalg.norm(w) for w in net.split(theta)])
    data = (X, class_targets(LABELS) if y is None else y)
    return integrate_rho(net, data, rho0=rho0, V0=V, until=until, rtol=1e-8, **options)


@pytest.mark.parametrize("net", NETWORKS, ids=lambda net: f"{net.name} {net.n_parameters}")
def test_the_graph_is_the_network(net):
    theta = net.random_parameters(rng=0) + 0.1
    inputs = np.hstack([X, np.ones((len(X), 1))]) if net.layers[0].bias else X
    graph = architecture_of(net)
    np.testing.assert_allclose(outputs(graph, named_weights(net, theta), inputs), net.output(theta, X), atol=1e-13)
    assert graph.n_parameters == net.n_parameters


@pytest.mark.parametrize("normalisation", ["lagrange", "none"])
@pytest.mark.parametrize("net", NETWORKS, ids=lambda net: f"{net.name} {net.n_parameters}")
def test_the_best_margin_takes_rho_out_and_a_fixed_one_leaves_it_in(net, normalisation):
    # the same V with rho and with rho 1.05^9: a move along the grid of the bounds, so that rounding is the same
    ratio = 1.05**9
    chosen = [get(name) for name in PRODUCTS]
    found, larger = (
        {
            margin: bounds_along(
                flow_of(net, rho0=rho, normalisation=normalisation, until=1e-3), 0.0, bounds=chosen, margin=margin
            )
            for margin in ("best", 0.7)
        }
        for rho in (2.0, 2.0 * ratio)
    )
    best, more = found["best"], larger["best"]
    assert best.names == more.names and set(best.names) | set(best.refused) == set(PRODUCTS)
    assert len(best.names) >= 4
    for one, other in (
        (best.empirical, more.empirical),
        (best.per_rho, more.per_rho),
        (best.complexity, more.complexity),
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9)
    np.testing.assert_allclose(more.margin, ratio * best.margin, rtol=1e-9)
    fixed, scaled = found[0.7], larger[0.7]
    np.testing.assert_allclose(scaled.complexity, ratio * fixed.complexity, rtol=1e-9)
    np.testing.assert_allclose(scaled.per_rho, fixed.per_rho, rtol=1e-9)
    assert ((best.per_rho <= fixed.per_rho * (1 + 1e-9)) & (fixed.per_rho < 1.05 * best.per_rho)).all()
    assert (scaled.empirical <= fixed.empirical).all()


def test_per_rho_by_the_formula_of_two_layers():
    # one output, two layers of Frobenius norm 1: complexity = 2 sqrt(2) x_rms / sqrt(n) rho / gamma
    flow = flow_of(two_layer(6, 5), SIGNS, lam=0.05, until=2.0)
    found = bounds_along(flow, bounds=[get("frobenius")])
    rms = np.sqrt((X**2).sum() / len(X))
    np.testing.assert_allclose(found.per_rho, 2 * np.sqrt(2) * rms / np.sqrt(len(X)), rtol=1e-9)
    np.testing.assert_allclose(found.rho, flow.rho_at(found.t), rtol=1e-12)
    assert len(found.t) == min(12, flow.steps + 1) and found.t[0] == 0 and found.t[-1] == flow.t[-1]


@pytest.mark.parametrize("y", [None, class_targets(LABELS, centred=True), SIGNS], ids=["one-hot", "centred", "signs"])
def test_margins_are_rho_times_the_normalised_ones(y):
    net = fully_connected((6, 5, 1 if y is SIGNS else 3))
    flow = flow_of(net, y)
    found = bounds_along(flow, flow.t, margin=0.3, bounds=[get("frobenius"), get("path-norm")])
    ramp = np.clip(1 - flow.rho[:, None] * flow.margins / 0.3, 0, 1).mean(axis=1)
    for row in found.empirical:
        np.testing.assert_allclose(row, ramp, rtol=1e-9)
    np.testing.assert_array_equal(found.mistakes, (flow.margins <= 0).mean(axis=1))


def test_value_is_the_report_at_the_share_of_delta():
    flow = flow_of(NETWORKS[0])
    found = bounds_along(flow, [0.2], delta=0.05)
    named, sample = named_weights(flow.network, flow.weights(0.2)), (X, LABELS)
    for name, value in zip(found.names, found.value[:, 0], strict=True):
        report = get(name).evaluate(found.architecture, named, sample, delta=0.05 / len(PRODUCTS))
        assert value == report.value and report.delta == found.level
    # layers of other norms with the same product say the same
    theta = flow.weights(0.2)
    first = slice(0, flow.network.layers[0].n_weights)
    theta[first] *= 8
    theta[first.stop :][: flow.network.layers[1].n_weights] /= 8
    other = get("frobenius").evaluate(found.architecture, named_weights(flow.network, theta), sample, found.level)
    assert other.value == pytest.approx(found.value[found.names.index("frobenius"), 0], rel=1e-12)


def test_bounds_that_refuse_or_have_no_margin():
    flow = flow_of(NETWORKS[0])
    found = bounds_along(flow, [0.0, 0.1], bounds=[get("vc-dimension"), get("parameter-net"), get("frobenius")])
    assert isinstance(found, BoundsAlong) and list(found.refused) == ["parameter-net"]
    assert "radius" in found.refused["parameter-net"] and "parameter-net" in found.summary()
    assert np.isnan(found.margin[0]).all() and np.isnan(found.per_rho[0]).all() and np.isfinite(found.per_rho[1]).all()
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["bounds"]["vc-dimension"]["margin"] == [None, None]
    nothing = bounds_along(flow, [0.0], bounds=[get("parameter-net")])
    assert nothing.names == () and nothing.value.shape == (0, 1)


def test_classes_of_targets():
    assert class_labels(np.array([[1.0], [-1.0]])).tolist() == [1, 0]
    assert class_labels(class_targets([2, 0, 1], centred=True)).tolist() == [2, 0, 1]
    for targets in ([[0.5], [1.0]], [[1.0, 1.0, 0.0]], [[1.0, 0.5, 0.0]]):
        with pytest.raises(PreconditionError, match="classes"):
            class_labels(np.array(targets))


def crossing():
    net = fully_connected((6, 1))
    return integrate_rho(net, (X, -X[:, 0]), rho0=0.1, V0=np.eye(6)[0], lam=0.1, until=5.0)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: bounds_along(flow_of(NETWORKS[0]), 9.0), InvalidInput, "t must be between"),
        (lambda: bounds_along(flow_of(NETWORKS[0]), []), InvalidInput, "at least one time"),
        (lambda: bounds_along(flow_of(NETWORKS[0]), np.nan), InvalidInput, "finite"),
        (lambda: bounds_along(flow_of(NETWORKS[0]), bounds=[]), InvalidInput, "at least one bound"),
        (lambda: bounds_along(flow_of(NETWORKS[0]), delta=0.0), InvalidInput, "delta"),
        (lambda: bounds_along(flow_of(NETWORKS[0]), margin=-1.0), InvalidInput, "margin"),
        (lambda: bounds_along(crossing()), PreconditionError, "targets -1 and"),
        (lambda: architecture_of(fully_connected((2, 3, 1), activation="relu^2")), PreconditionError, "relu"),
        (lambda: architecture_of(two_layer(2, 3, bias=True)), PreconditionError, "biases"),
        (lambda: architecture_of(diagonal_linear(3)), PreconditionError, "diagonal"),
    ],
)
def test_refusals(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


def test_where_rho_is_zero_there_is_no_margin():
    y = -np.sign(X[:, 0])
    flow = integrate_rho(fully_connected((6, 1)), (X, y), rho0=0.1, V0=np.eye(6)[0], lam=0.1, until=5.0)
    assert flow.status.name == "ZERO" and flow.rho[-1] == 0
    with pytest.raises(InvalidInput, match="rho is 0 at t"):
        bounds_along(flow, flow.t[-1])
    assert bounds_along(flow).t[-1] == flow.t[-2]
