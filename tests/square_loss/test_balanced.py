"""Equal layers with weight decay: closed forms against the flow of weights, against each other, and thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from scipy.optimize import minimize_scalar

from theory import InvalidInput, NotConverged, PreconditionError
from theory.flow import deep_linear
from theory.flow.exact.balanced_depth import BalancedDepth
from theory.square_loss import BalancedRho, decay_thresholds, integrate_rho, output_moments
from theory.square_loss._balanced_time import elapsed

X, Y = np.array([[0.9], [0.4], [-1.1]]), np.array([1.0, 1.0, -1.0])
AT = output_moments(X[:, 0], Y)


def by_quadrature(L, mu, M, lam, start, end):
    value, _ = quad(
        lambda x: 0.5 / (mu * np.exp((L - 2) * x) - M * np.exp((2 * L - 2) * x) - lam), np.log(start), np.log(end),
        epsabs=0, epsrel=1e-12, limit=500,
    )  # fmt: skip
    return value


def cases(L):
    """lam from none to beyond collapse; rho0 small, and large."""
    top = AT.mu if L < 3 else decay_thresholds(L, AT.mu, AT.M).collapse
    return [(share * top, rho0) for share in (0.0, 0.4, 1.2) for rho0 in (0.02, 3.0)]


@pytest.mark.parametrize("L", [1, 2, 3, 5])
def test_solution_is_the_flow_of_the_weights(L):
    # a chain of scalar layers on one input: V = 1 everywhere and the flow of W is the balanced law
    net = deep_linear((1, *[1] * L))
    for lam, rho0 in cases(L):
        law = BalancedRho(depth=L, mu=AT.mu, M=AT.M, lam=lam, rho0=rho0)
        flow = integrate_rho(
            net, (X, Y), lam=lam, rho0=rho0, V0=np.ones(L), normalisation="none", until=6.0, rtol=1e-12
        )
        steps = slice(None, None, max(1, flow.steps // 6))
        np.testing.assert_allclose(law.solution(flow.t[steps]), flow.rho[steps], rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(flow.rho_eq, law.limit, atol=1e-12)


@pytest.mark.parametrize("L", [2, 3, 4, 6])
def test_weight_normalisation_has_the_same_law_where_v_stands_still(L):
    lam, net = 0.03, deep_linear((1, *[1] * L))
    law = BalancedRho(depth=L, mu=AT.mu, M=AT.M, lam=lam, rho0=0.6)
    flow = integrate_rho(
        net, (X, Y), lam=lam, rho0=0.6, V0=np.ones(L), normalisation="weight-norm", until=4.0, rtol=1e-12
    )
    np.testing.assert_allclose(flow.rho, law.solution(flow.t), rtol=1e-10)
    np.testing.assert_allclose(flow.layer_norms, (flow.rho ** (1 / L))[:, None] * np.ones(L), rtol=1e-10)


@pytest.mark.parametrize("L", [2, 3, 4, 5, 7])
def test_rest_points_are_where_the_integration_ends(L):
    for share in (0.1, 0.5, 0.9):
        lam = share * (AT.mu if L == 2 else decay_thresholds(L, AT.mu, AT.M).collapse)
        law = BalancedRho(depth=L, mu=AT.mu, M=AT.M, lam=lam, rho0=2.0)
        stable = [rest for rest in law.equilibria if rest.stable]

        def rate(_, r, L=L, lam=lam):
            return 2 * r ** (L - 1) * (AT.mu - AT.M * r**L) - 2 * lam * r

        ends = [solve_ivp(rate, (0, 4000), [2.0 ** (1 / L)], method="LSODA", rtol=1e-12, atol=1e-14).y[0, -1]]
        if L > 2:
            low = law.equilibria[1].layer_norm * 0.98
            ends.insert(0, solve_ivp(rate, (0, 4000), [low], method="LSODA", rtol=1e-12, atol=1e-14).y[0, -1])
        np.testing.assert_allclose([rest.layer_norm for rest in stable], ends, atol=1e-8)
        for rest in law.equilibria:
            assert rate(0, rest.layer_norm) == pytest.approx(0, abs=1e-13)
            h = 1e-6
            slope = (rate(0, rest.layer_norm + h) - rate(0, max(rest.layer_norm - h, 0))) / (
                h + min(rest.layer_norm, h)
            )
            assert slope == pytest.approx(rest.rate, abs=1e-4) and rest.stable == (rest.rate < 0)


@pytest.mark.parametrize("L", [3, 4, 5, 10])
def test_thresholds_against_brute_force(L):
    mu, M = 0.7, 0.6
    found = decay_thresholds(L, mu, M)
    best = minimize_scalar(
        lambda x: -(x ** (1 - 2 / L)) * (mu - M * x), bounds=(1e-9, mu / M), method="bounded", options={"xatol": 1e-12}
    )
    assert found.collapse == pytest.approx(-best.fun, rel=1e-12)
    assert found.rho_collapse == pytest.approx(best.x, rel=1e-5)
    counts = [
        len(BalancedRho(depth=L, mu=mu, M=M, lam=found.collapse * c, rho0=1.0).equilibria) for c in (0.9999, 1, 1.0001)
    ]
    assert counts == [3, 2, 1]
    # the nonzero minimum is the better one exactly below ``preference``
    signs = []
    for share in (0.999, 1.001):
        law = BalancedRho(depth=L, mu=mu, M=M, lam=found.preference * share, rho0=1.0)
        signs.append(np.sign(law.equilibria[-1].gain))
    assert signs == [-1, 1]
    assert BalancedRho(depth=L, mu=mu, M=M, lam=found.preference, rho0=1.0).equilibria[-1].gain == pytest.approx(
        0, abs=1e-13
    )


def test_two_layers_have_a_pitchfork():
    assert decay_thresholds(2, 0.7, 0.6) == decay_thresholds(2, 0.7, 5.0)  # mu alone decides
    for lam, rests in ((0.69, [0.0, 0.01 / 0.6]), (0.7, [0.0]), (0.71, [0.0])):
        law = BalancedRho(depth=2, mu=0.7, M=0.6, lam=lam, rho0=1.0)
        np.testing.assert_allclose([r.rho for r in law.equilibria], rests, atol=1e-12)
        assert law.equilibria[0].stable == (lam >= 0.7) and law.limit == pytest.approx(rests[-1])


@pytest.mark.parametrize("L", [3, 4, 5])
@pytest.mark.parametrize(("start", "end"), [(0.9, 0.6), (0.3, 0.31), (1.4, 1.2)])
def test_time_by_partial_fractions_is_the_integral(L, start, end):
    mu, M, lam = 0.5, 0.8, 0.9  # far above collapse: everything falls
    assert elapsed(L, mu, M, lam, start, end, 0.0) == pytest.approx(by_quadrature(L, mu, M, lam, start, end), rel=1e-10)
    for sign in (0.5, -0.5):
        start, end = (1.4, 1.2) if sign > 0 else (start, end)
        assert elapsed(L, sign, M, 0.0, start, end, 0.0) == pytest.approx(
            by_quadrature(L, sign, M, 0.0, start, end), rel=1e-10
        )


def test_time_at_the_fold_does_not_lose_its_digits():
    # two roots coalesce: partial fractions would cancel
    fold = decay_thresholds(4, 0.7, 0.6)
    for lam in (fold.collapse * (1 + 1e-13), fold.collapse * (1 + 1e-9)):
        law = BalancedRho(depth=4, mu=0.7, M=0.6, lam=lam, rho0=1.1)
        path = solve_ivp(lambda _, x, law=law: law.velocity(x), (0, 3), [1.1], rtol=1e-12, atol=1e-14)
        assert law.solution(3.0) == pytest.approx(path.y[0, -1], rel=1e-9)


def test_no_decay_is_the_exact_chain():
    s, M = AT.mu / AT.M, AT.M
    law = BalancedRho(depth=3, mu=AT.mu, M=M, rho0=0.1)
    t = np.array([0.0, 0.7, 2.0, 9.0])
    np.testing.assert_allclose(law.solution(t), BalancedDepth(depth=3, s=s, w0=0.1 ** (1 / 3)).product(2 * M * t))
    # its time, by another closed form
    assert law.time_to(float(law.solution(2.0))) == pytest.approx(2.0, rel=1e-11)
    assert BalancedRho(depth=3, mu=AT.mu, M=M, rho0=3.0).time_to(2.0) == pytest.approx(
        by_quadrature(3, AT.mu, M, 0.0, 3.0 ** (1 / 3), 2.0 ** (1 / 3)), rel=1e-11
    )


@pytest.mark.parametrize(("L", "order"), [(3, 2 / 3), (4, 0.5), (6, 1 / 3)])
def test_plateau_asymptotics_have_the_stated_order(L, order):
    errors = []
    for rho0 in (1e-4, 1e-6):
        law = BalancedRho(depth=L, mu=0.5, M=0.4, rho0=rho0)
        errors.append(law.plateau_time - law.plateau_asymptotics)
    assert np.log(errors[0] / errors[1]) / np.log(1e2) == pytest.approx(order, rel=0.03)


def test_plateau_of_one_and_two_layers():
    two = BalancedRho(depth=2, mu=0.5, M=0.4, lam=0.1, rho0=1e-9)
    assert two.plateau_time == pytest.approx(two.plateau_asymptotics, rel=1e-9)
    assert two.plateau_time == pytest.approx(np.log(1.0 / 1e-9) / (4 * 0.4), rel=1e-9)  # rho_inf = 1
    one = BalancedRho(depth=1, mu=0.5, M=0.4, lam=0.1, rho0=1e-9)
    assert one.plateau_time == pytest.approx(np.log(2), rel=1e-8) and one.plateau_asymptotics == np.log(2)


def test_small_start_never_leaves_zero_with_decay_and_three_layers():
    law = BalancedRho(depth=3, mu=0.5, M=0.4, lam=0.05, rho0=1e-3)  # just below the unstable rest point
    assert law.limit == 0 and law.time_to(0.5) == np.inf and law.equilibria[1].rho == pytest.approx(1e-3, rel=0.01)
    path = solve_ivp(lambda _, x: law.velocity(x), (0, 90), [1e-3], rtol=1e-12, atol=1e-30, t_eval=[30.0, 90.0])
    np.testing.assert_allclose(law.solution([30.0, 90.0]), path.y[0], rtol=1e-7)
    for quantity in ("plateau_time", "plateau_asymptotics"):
        with pytest.raises(PreconditionError):
            getattr(law, quantity)


@pytest.mark.parametrize("bad", [{"depth": 0}, {"rho0": 0.0}, {"M": 0.0}, {"lam": -1.0}, {"mu": np.inf}])
def test_refusals(bad):
    with pytest.raises(InvalidInput):
        BalancedRho(**({"depth": 2, "mu": 0.5, "M": 0.4, "rho0": 0.1} | bad))


@pytest.mark.parametrize(
    ("depth", "mu", "M", "lam", "rho0"),
    [
        (3, 1.7, 0.56, 1e-5, 9.7),  # roots of very different size
        (5, 1.1, 0.22, 1.6e-6, 0.035),
        (20, 1.0, 1.0, 0.1, 0.9),
        (7, -1.4, 1.5, 0.21, 0.12),  # rho falls through 18 orders of magnitude
        (3, -0.1, 1.0, 0.0, 0.1),
        (4, 0.42, 0.18, 0.25, 0.017),
        (3, 1.0, 1.0, "1e-7 below", 1.0),
        (3, 1.0, 1.0, "1e-7 above", 1.0),
    ],
)
def test_paths_far_from_the_easy_ones(depth, mu, M, lam, rho0):
    if isinstance(lam, str):
        sign = -1 if "below" in lam else 1
        lam = decay_thresholds(depth, mu, M).collapse * (1 + sign * 1e-7)
    times = np.array([0.0, 0.1, 1.0, 5.0, 20.0])
    exact = solve_ivp(
        lambda _, x: 2 * np.exp((depth - 2) * x) * (mu - M * np.exp(depth * x)) - 2 * lam, (0, 20),
        [np.log(rho0) / depth], method="DOP853", rtol=1e-12, atol=1e-13, t_eval=times,
    )  # fmt: skip
    flow = BalancedRho(depth=depth, mu=mu, M=M, lam=lam, rho0=rho0)
    np.testing.assert_allclose(flow.solution(times), np.exp(depth * exact.y[0]), rtol=1e-8)


def test_small_rho_is_reached_where_zero_is_the_limit():
    # rho' = 6 mu rho^(4/3): rho^(-1/3) grows like 2 |mu| t
    flow = BalancedRho(depth=3, mu=-0.1, M=1e-9, rho0=0.1)
    assert flow.time_to(1e-24) == pytest.approx((1e8 - 0.1 ** (-1 / 3)) / 0.2, rel=1e-9)
    assert BalancedRho(depth=3, mu=0.1, M=1.0, lam=1.0, rho0=0.1).solution([1e3, 1e5]).tolist() == [0.0, 0.0]


def test_a_start_on_an_unstable_rest_point_stays():
    law = BalancedRho(depth=3, mu=1.0, M=1.0, lam=0.1, rho0=1.0)
    middle = law.equilibria[1].rho
    still = BalancedRho(depth=3, mu=1.0, M=1.0, lam=0.1, rho0=middle)
    assert still.limit == middle and still.solution([1.0, 1e5]).tolist() == [middle, middle]


def test_at_the_fold_says_so_or_is_right():
    fold = decay_thresholds(3, 1.0, 1.0).collapse
    at = BalancedRho(depth=3, mu=1.0, M=1.0, lam=fold, rho0=1.0)
    assert at.limit == 0.25 and at.solution([1e5])[0] == pytest.approx(0.25, abs=1e-5)
    with pytest.raises(NotConverged, match="fold"):
        BalancedRho(depth=3, mu=1.0, M=1.0, lam=fold * (1 + 1e-11), rho0=1.0).solution([1e7])


def test_the_rest_point_of_a_small_rho_is_zero():
    # three layers, decay: rho falls to 0 from below the unstable rest point, and goes to 0.95 from above
    for rho0, end in ((1e-5, 0.0), (0.1, 0.949122)):
        flow = integrate_rho(
            deep_linear((1, 1, 1, 1)), ([[1.0]], [1.0]), lam=0.05, rho0=rho0, V0=np.ones(3), normalisation="none",
            until=60.0,
        )  # fmt: skip
        np.testing.assert_allclose(flow.rho_eq, end, atol=1e-6)
        assert flow.rho[-1] == pytest.approx(end, abs=1e-6)
