"""KKT residuals against closed forms, convex programs, and the identity of the flow."""

from functools import cache

import cvxpy as cp
import numpy as np
import pytest
from scipy.optimize import nnls

from tests.flow._flows import separable, sliding_pair, smooth_flow
from theory import InvalidInput, PreconditionError
from theory.flow.integrate import integrate
from theory.flow.kkt import flow_kkt, kkt_certificate
from theory.flow.losses import as_loss
from theory.flow.margins import margins, monotonicity_violation
from theory.flow.networks import deep_linear, diagonal_linear, fully_connected

CASES = [(L, loss) for L in (1, 2, 3) for loss in ("exponential", "logistic", "cross_entropy")]


@cache
def linear_flow(L, loss, until=1e6, seed=1):
    K = 3 if loss == "cross_entropy" else None
    X, y = separable(N=7, d=3, seed=seed, K=K)
    network = fully_connected((3, *[4] * (L - 1), K or 1), activation="linear")
    theta0 = network.random_parameters(rng=seed, scale=0.6)
    return network, X, y, smooth_flow(network, X, y, loss, theta0, until=until, rtol=1e-7)


@pytest.mark.parametrize("loss", ["exponential", "logistic"])
@pytest.mark.parametrize("L", [1, 2, 3])
def test_orthogonal_data_have_their_closed_form(L, loss):
    # w = sum y x / |x|^2 is the max-margin vector, multipliers 1/|x|^2; a balanced chain scales them by |w|^(2/L - 2)
    rng = np.random.default_rng(L)
    norms = np.array([0.5, 1.0, 3.0])
    X = norms[:, None] * np.linalg.qr(rng.standard_normal((4, 4)))[0][:3]
    y = np.array([1.0, -1.0, 1.0])
    w = (y / norms**2) @ X
    units = [w / np.linalg.norm(w), *[q / np.linalg.norm(q) for q in rng.standard_normal((L - 1, 4))], np.ones(1)]
    network = fully_connected((4, *[4] * (L - 1), 1), activation="linear")
    side = np.linalg.norm(w) ** (1 / L)
    theta = network.pack(**{f"W{i + 1}": side * np.outer(units[i + 1], units[i]) for i in range(L)})
    found = kkt_certificate(network, X, y, loss, 5.0 * theta)
    assert np.allclose(found.multipliers, np.linalg.norm(w) ** (2 / L - 2) / norms**2, rtol=1e-13)
    assert found.eps < 1e-14 and found.delta < 1e-13 and found.feasibility < 1e-14 and not len(found.kinks)
    assert found.certificate.lower <= found.eps + 1e-15


def test_diagonal_network_puts_its_weight_on_the_largest_coordinate():
    network = diagonal_linear(2)  # q = 2 u_1^2 = 1 and u = lam 2 u x: lam = 1/4
    found = kkt_certificate(network, [[2.0, 1.0]], [1], "exponential", network.pack(u=[3, 0], v=[0, 0]))
    assert found.multipliers == pytest.approx([0.25], rel=1e-14) and found.eps < 1e-15
    stray = kkt_certificate(network, [[2.0, 1.0]], [1], "exponential", network.pack(u=[0, 3], v=[0, 0]))
    assert stray.multipliers == pytest.approx([0.5], rel=1e-14)  # the other coordinate alone is a KKT point too


@pytest.mark.parametrize(("L", "loss"), CASES)
def test_identity_bound_and_certificate_along_a_flow(L, loss):
    network, X, y, flow = linear_flow(L, loss, 1e6 if loss == "exponential" else 1e3)
    for u in (3.0, 30.0, 1e3):
        theta = flow.theta(u)
        own = flow_kkt(network, X, y, loss, theta)
        best = kkt_certificate(network, X, y, loss, theta)
        scale = np.linalg.norm(theta) * best.multipliers.size
        assert abs(own.difference) < 1e-14 * scale and own.field_residual == 0
        assert own.eps_identity == pytest.approx(own.eps, rel=1e-6)
        assert 0 <= own.delta_sum <= own.delta_bound
        assert best.eps <= own.eps * (1 + 1e-12)
        assert best.certificate.lower <= best.eps * (1 + 1e-9) <= best.certificate.lower + 1e-9


def test_the_bound_of_delta_would_not_survive_a_smaller_constant():
    # two samples, q_2 = q_1 + 1 maximises x e^-x; at large q the bound of the sum is sharp up to the alignment
    network = fully_connected((2, 1), activation="linear")
    q = 1e3
    own = flow_kkt(network, np.eye(2), [1, 1], "exponential", [q, q + 1])
    assert 0.5 < own.delta_sum / own.delta_bound <= 1


@pytest.mark.parametrize("L", [1, 2, 3])
def test_one_minus_beta_falls_like_the_inverse_square_of_the_norm(L):
    network, X, y, flow = linear_flow(L, "exponential", 1e6)
    gaps = [flow_kkt(network, X, y, "exponential", flow.theta(u)).one_minus_beta for u in (1e4, 1e6)]
    assert np.log(gaps[0] / gaps[1]) / np.log(1e2) == pytest.approx(2 / L, abs=0.12)
    assert gaps[1] > 0  # also at L = 1, where beta rounds to 1


def test_one_minus_beta_does_not_cancel():
    network = fully_connected((2, 1), activation="linear")
    own = flow_kkt(network, [[1.0, 0.0]], [1], "exponential", [1.0, 1e-12])
    assert own.one_minus_beta == pytest.approx(5e-25, rel=1e-12, abs=0) and own.beta == 1


@pytest.mark.parametrize("phi", [0.4, 1.0, 1.5])
def test_sliding_units_have_their_closed_form(phi):
    # stationarity along x_2 gives the share cos(phi), along the unit lam = 1/sin(phi)
    side = 1 / np.sqrt(np.sin(phi))
    network, X, y, theta, modes = sliding_pair(phi, side, side, side, side)
    found = kkt_certificate(network, X, y, "exponential", 30 * theta, modes)
    assert found.multipliers == pytest.approx([1 / np.sin(phi)] * 2, rel=1e-12)
    assert found.kinks.tolist() == [[0, 1], [1, 0]] and found.clarke == pytest.approx([np.cos(phi)] * 2, rel=1e-12)
    assert found.eps < 1e-14 and found.delta < 1e-13
    own = flow_kkt(network, X, y, "exponential", 30 * theta, modes=modes)
    assert own.one_minus_beta < 1e-24 and abs(own.difference) < 1e-14 and own.field_residual < 1e-14


def test_masks_of_float_signs_are_wrong_on_a_kink():
    phi = 0.7
    network, X, y, theta, modes = sliding_pair(phi, 2.0, 1.9, 2.1, 2.0)
    still = kkt_certificate(network, X, y, "exponential", theta)  # on the surface the kinks are seen without modes
    assert still.eps == pytest.approx(kkt_certificate(network, X, y, "exponential", theta, modes).eps, rel=1e-12)
    theta[:4] -= 1e-10 * X[::-1].ravel()  # an integrator's drift off the surfaces
    right = kkt_certificate(network, X, y, "exponential", theta, modes)
    naive = kkt_certificate(network, X, y, "exponential", theta)
    own = flow_kkt(network, X, y, "exponential", theta, modes=modes)
    assert right.eps <= own.eps * (1 + 1e-9) and own.eps == pytest.approx(own.eps_identity, abs=1e-9)
    assert naive.eps > 3 * own.eps
    assert right.certificate.residuals["modes"] == pytest.approx(1e-10 / 1.9, rel=1e-3, abs=0)


@pytest.mark.parametrize("loss", ["exponential", "logistic"])
def test_a_given_direction_is_held_against_what_clarke_allows(loss):
    phi, a, w, b, v = 0.6, 3.0, 2.5, 2.3, 3.2  # nearly equal weights: both units do slide
    network, X, y, theta, modes = sliding_pair(phi, a, w, b, v)
    q = np.array([a * w, b * v]) * np.sin(phi)
    log_pull = -q if loss == "exponential" else -np.log1p(np.exp(q))
    p = np.exp(log_pull - log_pull.max())
    units = network.views(theta)["W1"] / np.array([[w], [v]])  # da/dt = p w sin, dw/dt = p a sin along the unit
    lengths = np.sin(phi) * np.array([p[0] * a, p[1] * b])
    g = network.pack(W1=lengths[:, None] * units, W2=np.sin(phi) * np.array([[p[0] * w, -p[1] * v]]))
    own = flow_kkt(network, X, y, loss, theta, 7.0 * g, modes)
    mine = flow_kkt(network, X, y, loss, theta, modes=modes)
    assert own.eps == pytest.approx(mine.eps, rel=1e-12) and abs(own.difference) < 1e-14 and own.field_residual < 1e-14
    bent = flow_kkt(network, X, y, loss, theta, g + np.array([0.2, 0, 0, 0, 0, 0]), modes)
    assert bent.field_residual > 1e-2
    with pytest.raises(InvalidInput, match="direction of the flow"):
        flow_kkt(network, X, y, loss, theta, -g, modes)


def on_kinks(network, X, theta, pairs):
    """theta with the pre-activations of (layer, unit, sample) put on zero, lower layers first."""
    theta = theta.copy()
    for layer in range(len(network.units)):
        inputs = network.forward(theta, X).inputs[layer]
        W = network.views(theta)[f"W{layer + 1}"]
        for unit in range(len(W)):
            A = np.array([inputs[n] for at, j, n in pairs if (at, j) == (layer, unit)])
            if len(A):
                for _ in range(2):
                    W[unit] -= np.linalg.lstsq(A, A @ W[unit], rcond=None)[0]
    return theta


def all_vertices(network, X, y, loss, theta, kinks, off):
    """Every gradient of every constraint: all on-off patterns of the kinks of its sample."""
    z = network.preactivations(theta, X)
    rays = []
    for n in range(len(X)):
        mine = [unit for sample, unit in kinks if sample == n]
        for code in range(2 ** len(mine)):
            slopes = np.where(z[n : n + 1] > 0, 1.0, off)
            for bit, unit in enumerate(mine):
                slopes[0, unit] = 1.0 if code >> bit & 1 else off
            J = network.jacobian(theta, X[n : n + 1], slopes)[0]
            rays += [y[n] * J[0]] if loss != "cross_entropy" else [J[y[n]] - J[k] for k in range(len(J)) if k != y[n]]
    return np.array(rays).T


KINKED = [
    ((3, 6, 1), "relu", None, [(0, 0, 0), (0, 1, 0), (0, 2, 1), (0, 3, 0), (0, 3, 2)], "exponential"),
    ((3, 5, 1), "leaky_relu", 0.2, [(0, 0, 0), (0, 1, 1), (0, 2, 1)], "logistic"),
    ((3, 6, 3), "relu", None, [(0, 0, 0), (0, 1, 0), (0, 2, 1), (0, 4, 3)], "cross_entropy"),
    ((3, 5, 4, 1), "relu", None, [(0, 0, 0), (1, 1, 0), (1, 2, 0), (0, 3, 1), (1, 0, 2)], "exponential"),
    ((3, 5, 4, 1), "leaky_relu", 0.3, [(0, 0, 0), (0, 1, 0), (1, 2, 0), (1, 3, 0), (1, 0, 2)], "exponential"),
]


def classified(widths, activation, slope, pairs, loss):
    """A network on the given kinks that classifies its samples: labels are taken from it, or its scale from trying."""
    network = fully_connected(widths, activation=activation, slope=slope)
    for seed in range(2000):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((4, widths[0]))
        theta = on_kinks(network, X, rng.standard_normal(network.n_parameters), pairs)
        f = network.output(theta, X)
        y = f.argmax(axis=1) if loss == "cross_entropy" else np.where(f[:, 0] > 0, 1.0, -1.0)
        q = np.sort(f, axis=1)[:, -1] - np.sort(f, axis=1)[:, -2] if loss == "cross_entropy" else np.abs(f[:, 0])
        if q.min() > 0.2:
            return network, X, y, theta
    raise AssertionError


@pytest.mark.parametrize(("widths", "activation", "slope", "pairs", "loss"), KINKED)
def test_certificate_is_the_distance_to_the_hull_of_all_patterns(widths, activation, slope, pairs, loss):
    network, X, y, theta = classified(widths, activation, slope, pairs, loss)
    found = kkt_certificate(network, X, y, loss, theta)
    kinks = {(n, network.starts[layer] + unit) for layer, unit, n in pairs}
    assert {tuple(pair) for pair in found.kinks.tolist()} == kinks
    f = network.output(theta, X)
    q = np.sort(f, axis=1)[:, -1] - np.sort(f, axis=1)[:, -2] if loss == "cross_entropy" else np.abs(f[:, 0])
    scaled = theta / q.min() ** (1 / network.degree)
    vertices = all_vertices(network, X, y, loss, scaled, kinks, network.activation.slope)
    assert found.eps == pytest.approx(nnls(vertices, scaled)[1], rel=1e-9)
    assert found.certificate.lower == pytest.approx(found.eps, rel=1e-9)
    assert ((found.clarke >= 0) & (found.clarke <= 1)).all() and found.clarke.max() > 0
    blind = kkt_certificate(network, X, y, loss, theta * (1 + 1e-9 * np.sin(np.arange(len(theta)))))
    assert blind.eps > found.eps * (1 + 1e-3) or not len(blind.kinks)


@pytest.mark.parametrize("seed", range(3))
def test_boxes_against_a_convex_program(seed):
    # the published two-layer form: mu_jn between 0 and lam_n in front of the kink's own gradient
    widths, pairs = (3, 6, 1), KINKED[0][3]
    network, X, y, theta = classified(widths, "relu", None, pairs, "exponential")
    theta = theta * np.exp(0.1 * seed)
    scaled = theta / np.abs(network.output(theta, X)).min() ** 0.5
    W, a = network.views(scaled)["W1"], network.views(scaled)["W2"][0]
    z = X @ W.T
    lam, mu = cp.Variable(len(X), nonneg=True), cp.Variable(z.shape, nonneg=True)
    kink = np.abs(z) < 1e-12
    rows = [cp.hstack([cp.multiply(a[j] * y, mu[:, j]) @ X for j in range(6)]), cp.multiply(y, lam) @ np.maximum(z, 0)]
    box = [
        mu[n, j] <= lam[n] if kink[n, j] else mu[n, j] == (lam[n] if z[n, j] > 0 else 0) for n, j in np.ndindex(z.shape)
    ]
    program = cp.Problem(cp.Minimize(cp.sum_squares(scaled - cp.hstack(rows))), box)
    program.solve(solver=cp.CLARABEL, tol_gap_abs=1e-13, tol_gap_rel=1e-13, tol_feas=1e-13)
    found = kkt_certificate(network, X, y, "exponential", theta)
    assert found.eps**2 == pytest.approx(program.value, rel=1e-8)


def test_with_slackness_the_linear_certificate_is_the_duality_gap():
    X, y = separable(N=8, d=3, seed=4)
    w = cp.Variable(3)
    primal = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(w)), [cp.multiply(y, X @ w) >= 1])
    primal.solve(solver=cp.CLARABEL, tol_gap_abs=1e-13, tol_gap_rel=1e-13, tol_feas=1e-13)
    theta = w.value + np.array([0.3, -0.1, 0.2])
    network = fully_connected((3, 1), activation="linear")
    found = kkt_certificate(network, X, y, "exponential", theta, slackness=1.0)
    gap = 0.5 * np.sum((theta / (y * (X @ theta)).min()) ** 2) - primal.value
    assert 0.5 * found.eps**2 + found.delta_sum == pytest.approx(gap, rel=1e-7)
    assert found.certificate.upper == pytest.approx(found.certificate.lower, rel=1e-12)
    least = kkt_certificate(network, X, y, "exponential", theta)
    assert least.eps < found.eps and least.delta_sum > found.delta_sum


@pytest.mark.parametrize(("widths", "K", "seed"), [((3, 10, 1), None, 1), ((3, 8, 6, 1), None, 1), ((3, 8, 3), 3, 2)])
def test_relu_flows_that_slide(widths, K, seed):
    rng = np.random.default_rng(seed)
    X, loss = rng.standard_normal((8, 3)), "exponential" if K is None else "cross_entropy"
    y = np.sign(rng.standard_normal(8)) if K is None else rng.integers(0, K, 8)
    network = fully_connected(widths)
    flow = integrate(network, (X, y), loss, network.random_parameters(rng=seed), until="log-loss:300")
    table = [np.asarray(flow.mode_table[i]) for i in flow.mode_index]
    late = [i for i in range(len(table)) if flow.log_inverse_loss[i] > 5]
    smoothed = [margins(network, X, y, loss, flow.thetas[i], table[i]).smoothed_margin for i in late]
    assert monotonicity_violation(smoothed) < 1e-8
    for i in (late[0], late[-1]):
        theta, modes = flow.thetas[i], table[i]
        assert (modes == 2).sum() > 1
        own = flow_kkt(network, X, y, loss, theta, modes=modes)
        best = kkt_certificate(network, X, y, loss, theta, modes)
        assert abs(own.difference) < 1e-12 and own.field_residual < 1e-12  # Clarke's weights lie between the sides
        assert own.delta_sum <= own.delta_bound and best.eps <= own.eps
        assert best.certificate.lower == pytest.approx(best.eps, rel=1e-9)
        assert best.certificate.residuals["modes"] < 1e-9
        lifted = flow_direction(network, X, y, loss, theta, np.where(modes == 2, 1, modes))
        assert flow_kkt(network, X, y, loss, theta, lifted, modes).one_minus_beta > 1.1 * own.one_minus_beta


def flow_direction(network, X, y, loss, theta, modes):
    """The gradient of log(1/Loss) for the given masks."""
    loss, slopes = as_loss(loss), (modes == 1).astype(float)
    f = network.forward(theta, X, slopes).outputs
    return network.vjp(theta, X, loss.log_slope(f, loss.labels(y, *f.shape)), slopes)


def test_refusals():
    X, y = np.eye(2), [1, 1]
    network = fully_connected((2, 3, 1), bias=True)
    with pytest.raises(PreconditionError, match="homogeneous"):
        kkt_certificate(network, X, y, "exponential", np.ones(network.n_parameters))
    network = deep_linear((2, 2, 1))
    theta = np.ones(6)
    with pytest.raises(PreconditionError, match="exponential tail"):
        flow_kkt(network, X, y, "square", theta)
    with pytest.raises(PreconditionError, match="classified correctly"):
        kkt_certificate(network, X, [1, -1], "exponential", theta)
    with pytest.raises(InvalidInput, match="slackness"):
        kkt_certificate(network, X, y, "exponential", theta, slackness=-1)
    with pytest.raises(InvalidInput, match="6 entries"):
        kkt_certificate(network, X, y, "exponential", np.ones(5))
    relu = fully_connected((2, 2, 1))
    with pytest.raises(InvalidInput, match="modes"):
        kkt_certificate(relu, X, y, "exponential", theta, modes=np.full((2, 2), 3))
