"""Figures of a flow show the numbers of its record: lines and points are compared, not pixels."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from theory import InvalidInput, PreconditionError, plots
from theory.flow import fully_connected, integrate
from theory.flow.exact.saxe import SaxeModes
from theory.flow.kkt import flow_kkt, kkt_certificate
from theory.flow.networks import deep_linear

ANGLES = 2 * np.pi * (np.arange(6) + 0.3 * np.array([0, 1, 0, 2, 1, 0])) / 6
X = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1) * np.array([1, 0.8, 1.2, 0.9, 1.1, 1])[:, None]
Y = np.array([1, 1, -1, -1, -1, 1])


def panel(projection=None):
    return Figure(layout="constrained").add_subplot(projection=projection)


def drawn(ax):
    ax.figure.savefig("/dev/null", format="png", dpi=40)
    return ax


def by_label(ax):
    return {line.get_label(): line for line in ax.get_lines()}


@pytest.fixture(scope="module")
def flow():
    net = fully_connected((2, 4, 1))
    return integrate(net, (X, Y), "exponential", net.random_parameters(rng=2, scale=0.5), until="log-loss:1e4")


@pytest.fixture(scope="module")
def regression():
    net = fully_connected((1, 6, 1), bias="first")
    theta = net.random_parameters(rng=0, scale=0.3)
    return integrate(net, ([[-1.0], [0.2], [1.0]], [0.5, -0.3, 0.7]), "square", theta, until="t:5")


def test_margin(flow):
    ax = drawn(plots.flow_margin(flow, panel(), limit=0.3))
    lines = by_label(ax)
    x, y = lines["normalised margin"].get_data()
    after = (flow.log_inverse_loss > 0) & (flow.log_t > 0)
    np.testing.assert_array_equal(x, flow.log_t[after])
    np.testing.assert_array_equal(y, flow.normalized_margins()[after])
    assert lines["normalised margin"].get_linestyle() == "None"
    np.testing.assert_array_equal(lines["smoothed margin"].get_ydata(), flow.smoothed_margins()[after])
    assert lines["margin of the limit, 0.3"].get_ydata()[0] == 0.3
    (wall,) = [line for line in ax.get_lines() if np.allclose(line.get_xdata(), 709.782712893384)]
    assert wall.get_linestyle() == "-." and ax.get_xscale() == "log" and len(ax.patches) == 1
    assert "still" in ax.get_title("left")


def test_margin_says_when_it_has_converged(flow):
    last = flow.normalized_margins()[-1]
    title = plots.flow_margin(flow, panel(), limit=last).get_title("left")
    far = np.abs(flow.normalized_margins() - last) > 1e-3 * last
    assert f"from log t = {flow.log_t[np.flatnonzero(far)[-1] + 1]:.3g} on" in title and "its limit" in title
    assert "its last value" in plots.flow_margin(flow, panel()).get_title("left")


def test_kkt(flow):
    ax = drawn(plots.flow_kkt(flow, panel(), points=9))
    lines = by_label(ax)
    u, eps = lines[r"$\varepsilon$, certified"].get_data()
    assert len(u) == 9 and u[-1] == flow.log_inverse_loss[-1] and u[0] >= 1
    p = (flow.network, X, Y, "exponential", flow.theta)
    best = kkt_certificate(*p, modes=flow.modes(), slackness=1.0)
    own = flow_kkt(*p, modes=flow.modes())
    assert (eps[-1], lines[r"$\delta$, certified"].get_ydata()[-1]) == (best.eps, best.delta)
    assert lines[r"$\sqrt{2(1-\beta)}\,\bar\gamma^{-1/L}$ of the flow"].get_ydata()[-1] == own.eps_identity
    assert lines[r"bound on $\sum_n \delta_n$ of the flow"].get_ydata()[-1] == own.delta_bound
    guide = lines["slope $-1/2$"].get_ydata()
    assert np.log(guide[-1] / guide[0]) / np.log(u[-1] / u[0]) == pytest.approx(-0.5)
    late = np.log(u) >= 0.5 * (np.log(u[0]) + np.log(u[-1]))
    slope = np.polyfit(np.log(u[late]), np.log(eps[late]), 1)[0]
    assert f"{{{slope:.2f}}}" in ax.get_title("left")


def test_neuron_directions(flow):
    ax = drawn(plots.neuron_directions(flow, panel("polar")))
    W = flow.network.views(flow.theta)["W1"]
    a = flow.network.views(flow.theta)["W2"][0]
    paths = [line for line in ax.get_lines() if len(line.get_xdata()) == flow.steps + 1]
    assert len(paths) == 4
    for line, w, out in zip(paths, W, a, strict=True):
        angle, radius = line.get_data()
        np.testing.assert_allclose([np.cos(angle[-1]), np.sin(angle[-1])], w / np.linalg.norm(w), atol=1e-12)
        assert radius[-1] == 1 and (line.get_linestyle() == "-") == (out > 0)
    lines = by_label(ax)
    for kind, number in flow.event_counts.items():
        marks = lines[f"{number} {kind}"]
        assert len(marks.get_xdata()) == number
        first = next(event for event in flow.events if event.kind == kind)
        w = flow.network.views(flow.thetas[first.step])["W1"][first.unit]
        at = marks.get_xdata()[0]
        assert abs(np.cos(at) * w[1] - np.sin(at) * w[0]) < 1e-12 * np.linalg.norm(w)
        assert abs(w @ X[first.sample]) < 1e-6 * np.linalg.norm(w)  # an event lies on a kink
    assert len(lines["samples of label +"].get_xdata()) == 3
    assert "neurons end in" in ax.get_title("left")


def test_decision_boundary(flow):
    ax = drawn(plots.decision_boundary(flow, panel(), times=3, cells=160))
    vertices = np.concatenate([p.vertices for p in ax.collections[-1].get_paths()])
    f = flow.network.output(flow.theta, vertices)[:, 0]
    assert len(vertices) > 20 and np.abs(f).max() < 0.02 * np.abs(flow.network.output(flow.theta, X)).max()
    assert len(ax.collections) == 3 and "6 of 6" in ax.get_title("left")
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[-1] == f"$\\log t$ = {flow.log_t[-1]:.3g}" and len(labels) == 3


def test_singular_values_lie_on_the_exact_modes():
    form = SaxeModes(S=np.diag([3.0, 2.0]), u0=[1e-2, 1e-2])
    flow = integrate(deep_linear((2, 2, 2)), form.data, "square", form.theta0, until="t:3")
    ax = drawn(plots.singular_values(flow, panel(), exact=form.modes))
    lines = [line for line in ax.get_lines() if line.get_linestyle() == "-"]
    points = [line for line in ax.get_lines() if len(line.get_xdata()) and line.get_linestyle() == "None"]
    assert len(lines) == 2 and len(points) == 4
    for place, line in enumerate(lines):
        np.testing.assert_array_equal(line.get_ydata(), np.sqrt(form.modes(line.get_xdata())[:, place]))
    for place, line in enumerate(points):  # two modes for each of two layers
        want = np.sqrt(form.modes(line.get_xdata())[:, place % 2])
        np.testing.assert_allclose(line.get_ydata(), want, atol=1e-6)
    off = float(ax.get_title("left").split()[-1])
    assert 0 < off < 1e-6


def test_singular_values_of_one_output():
    net = deep_linear((2, 3, 1))
    flow = integrate(net, (X[[0, 3]], [1, -1]), "exponential", net.random_parameters(rng=0), until="log-loss:300")
    ax = drawn(plots.singular_values(flow, panel()))
    assert "one singular value" in ax.get_title("left") and ax.get_xscale() == "log"
    last = [line.get_ydata()[-1] for line in ax.get_lines() if len(line.get_xdata())]
    views = flow.network.views(flow.theta)
    want = [*np.linalg.svd(views["W1"])[1], *np.linalg.svd(views["W2"])[1]]
    np.testing.assert_allclose(last, want, rtol=1e-12)


def test_fit_and_loss(regression):
    ax = drawn(plots.flow_fit(regression, panel()))
    x, y = np.array([-1.0, 0.2, 1.0]), np.array([0.5, -0.3, 0.7])
    line = np.polyfit(x, y, 1)
    lines = by_label(ax)
    at, value = lines["least-squares line"].get_data()
    np.testing.assert_allclose(value, np.polyval(line, at))
    at, value = lines["$t$ = 5"].get_data()
    np.testing.assert_array_equal(value, regression.network.output(regression.theta, at[:, None])[:, 0])
    assert f"{np.square(np.polyval(line, x) - y).mean():.6g}" in ax.get_title("left")
    assert lines["samples"].get_xydata().tolist() == np.stack([x, y], axis=1).tolist()
    ax = drawn(plots.flow_loss(regression, panel()))
    t, loss = by_label(ax)["loss"].get_data()
    f = regression.network.output(regression.theta, regression.X)[:, 0]
    assert t[-1] == pytest.approx(5) and loss[-1] == pytest.approx(0.5 * np.square(f - y).sum())


def test_flows_that_a_figure_cannot_show(flow, regression):
    for draw in (plots.flow_margin, plots.flow_kkt):
        with pytest.raises(PreconditionError, match="exponential tail"):
            draw(regression, panel())
    for draw in (plots.neuron_directions, plots.decision_boundary, plots.singular_values):
        with pytest.raises(PreconditionError):
            draw(regression, panel())
    with pytest.raises(PreconditionError):
        plots.flow_fit(flow, panel())
    with pytest.raises(PreconditionError):
        plots.singular_values(flow, panel())
    with pytest.raises(InvalidInput, match="polar"):
        plots.neuron_directions(flow, panel())
    with pytest.raises(InvalidInput, match="times"):
        plots.decision_boundary(flow, panel(), times=9)
    net = flow.network
    short = integrate(net, (X, Y), "exponential", net.random_parameters(rng=2, scale=0.5), until="t:0.001")
    with pytest.raises(PreconditionError, match="not separated"):
        plots.flow_margin(short, panel())
