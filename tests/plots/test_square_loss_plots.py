"""Figures of rho show the numbers of their records."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from theory import InvalidInput, PreconditionError, plots
from theory.flow import fully_connected
from theory.square_loss import BalancedRho, bounds_along, decay_thresholds, integrate_rho, rank_certificate


def panel():
    return Figure(layout="constrained").add_subplot()


def drawn(ax):
    ax.figure.savefig("/dev/null", format="png", dpi=40)
    return ax


def by_label(ax):
    return {line.get_label(): line for line in ax.get_lines()}


@pytest.mark.parametrize("normalisation", ["lagrange", "none"])
def test_dynamics(normalisation):
    net = fully_connected((1, 1))
    flow = integrate_rho(net, ([[-1.0]], [1.0]), lam=0.1, rho0=0.5, V0=[1.0], until=9.0, at_zero="reflect",
                         normalisation=normalisation)  # fmt: skip
    ax = drawn(plots.rho_dynamics(flow, panel()))
    lines = by_label(ax)
    np.testing.assert_array_equal(lines[r"$\rho$"].get_ydata(), flow.rho[1:])
    np.testing.assert_array_equal(lines["rest point for this V"].get_ydata(), flow.rho_eq[1:])
    marks = [line.get_xdata()[0] for line in ax.get_lines() if line.get_linestyle() == ":"]
    assert marks == [crossing.t for crossing in flow.zero_crossings]
    assert f"{flow.rho[-1]:.4g}" in ax.get_title("left") and ax.get_xscale() == "log"


@pytest.mark.parametrize("L", [2, 3, 5])
def test_equilibria(L):
    ax = drawn(plots.rho_equilibria(L, 0.7, 0.6, panel()))
    lines, limits = by_label(ax), decay_thresholds(L, 0.7, 0.6)
    lams, rho = lines["stable"].get_data()
    for i in (0, 40, 100):
        law = BalancedRho(depth=L, mu=0.7, M=0.6, lam=float(lams[i]), rho0=1.0)
        assert rho[i] == max(rest.rho for rest in law.equilibria if rest.stable or rest.rho > 0)
    assert lams[-1] == pytest.approx(limits.collapse) and rho[0] == pytest.approx(0.7 / 0.6)
    assert rho[-1] == pytest.approx(limits.rho_collapse, abs=2e-3)
    assert "unstable" in lines and f"{limits.collapse:.4g}" in ax.get_title("left")
    with pytest.raises(InvalidInput):
        plots.rho_equilibria(1, 0.7, 0.6, panel())


def test_rank_profile():
    rng, path = np.random.default_rng(2), []
    W = rng.standard_normal((9, 9))
    for _ in range(12):
        path.append(W)
        W = W - 0.3 * (np.outer(rng.standard_normal(9), rng.standard_normal(9)) + 0.8 * W)
    found = rank_certificate(path, step=0.3, lam=0.4, batch=1)
    lines = by_label(drawn(plots.rank_profile(found, panel())))
    k, bound = lines["bound $q^n$"].get_data()
    np.testing.assert_array_equal(k, np.arange(1, 9))
    np.testing.assert_array_equal(bound, found.distance[:8])
    measured = lines["distance of the weight"].get_ydata()
    np.testing.assert_allclose(measured[1:], found.tail[:8], rtol=1e-12)
    assert measured[0] == pytest.approx(1)
    with pytest.raises(PreconditionError):
        plots.rank_profile(rank_certificate(path, step=0.3, lam=0.4, batch=9), panel())


def test_bounds_along():
    X = np.random.default_rng(0).standard_normal((30, 2))
    net = fully_connected((2, 3, 1))
    flow = integrate_rho(net, (X, np.sign(X[:, 0])), theta0=net.random_parameters(rng=0), until=1.0)
    found = bounds_along(flow, [0.0, 0.3, 1.0])
    ax = drawn(plots.bounds_along(found, panel()))
    lines = by_label(ax)
    for name, value in zip(found.names, found.value, strict=True):
        np.testing.assert_array_equal(lines[name].get_xydata(), np.transpose([found.t[1:], value[1:]]))
    (other,) = [twin for twin in ax.figure.axes if twin is not ax]
    np.testing.assert_array_equal(by_label(other)[r"$\rho$"].get_ydata(), found.rho[1:])
    assert f"{found.value[:, -1].min():.3g}" in ax.get_title("left")
    with pytest.raises(PreconditionError, match="two moments"):
        plots.bounds_along(bounds_along(flow, [0.0, 1.0]), panel())
