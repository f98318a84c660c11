"""Leaky ReLU layers and ReLU networks on orthogonal inputs: flows, KKT points, least norms, refusals."""

import mpmath
import numpy as np
import pytest
from scipy.optimize import minimize

from tests.flow.exact.oracles import stepped
from theory import InvalidInput, PreconditionError
from theory.flow.exact.leaky_relu import LeakyReluOrthogonal
from theory.flow.exact.variation_norm import MinimumVariationNorm, OneActiveNeuron

RNG = np.random.default_rng(11)
ROTATION = np.linalg.qr(RNG.standard_normal((5, 5)))[0]
X = np.array([1.0, 2.0, 0.5, 3.0])[:, None] * ROTATION[:4]
Y = np.array([1.0, -1.0, 1.0, -1.0])
CASES = [(2, 1, 0.5, 0.1), (1, 3, 1.0, 0.9), (2, 0, 2.0, 0.3), (1, 1, 1.0, 0.0), (2, 2, 0.7, 1.0)]


def leaky(m_plus, m_minus, a, slope, **extra):
    return LeakyReluOrthogonal(X=X, y=Y, a=a, m_plus=m_plus, m_minus=m_minus, slope=slope, **extra)


def margins_and_gradients(form, W):
    z = W @ X.T
    phi, slopes = np.where(z > 0, z, form.slope * z), np.where(z > 1e-13, 1.0, form.slope)  # kinks are off
    s = form.a * form.signs[:, None]
    return Y * (s * phi).sum(axis=0), (Y * s * slopes).T[..., None] * X[:, None, :]  # (n,), (n, m, d)


def aligned_start(form, scale):
    """Random weights whose pre-activations have the sign s_j y_n."""
    random = np.random.default_rng(1).uniform(0.2, 1, (len(form.signs), 4)) * form.signs[:, None] * Y
    rest = np.random.default_rng(2).standard_normal((len(form.signs), 1)) * ROTATION[4]
    return scale * (random / (X**2).sum(axis=1) @ X + rest)


@pytest.mark.parametrize("case", CASES)
def test_the_kkt_point_is_stationary_and_tight(case):
    form = leaky(*case)
    q, gradients = margins_and_gradients(form, form.weights)
    assert np.abs(q - 1).max() < 1e-14 and np.abs(form.margins_of(form.weights) - q).max() < 1e-15
    combined = np.einsum("n,nmd->md", form.multipliers, gradients)
    assert np.abs(form.weights - combined).max() < 1e-14 and (form.multipliers > 0).all()
    assert np.linalg.matrix_rank(form.weights, tol=1e-12) <= 2
    assert form.limit.margin == pytest.approx(form.margins_of(form.limit.direction).min(), rel=1e-14, abs=0)


@pytest.mark.parametrize("case", CASES[:3])
def test_a_solver_finds_the_same_point(case):
    form = leaky(*case)
    shape = form.weights.shape
    found = minimize(
        lambda w: w @ w / 2, np.random.default_rng(4).standard_normal(form.weights.size) * 3, jac=lambda w: w,
        method="SLSQP", options={"ftol": 1e-14, "maxiter": 500},
        constraints={
            "type": "ineq",
            "fun": lambda w: margins_and_gradients(form, w.reshape(shape))[0] - 1,
            "jac": lambda w: margins_and_gradients(form, w.reshape(shape))[1].reshape(4, -1),
        },
    )  # fmt: skip
    assert np.abs(found.x - form.weights.ravel()).max() < 1e-6


@pytest.mark.parametrize("case", CASES)
def test_the_aligned_flow(case):
    start = aligned_start(leaky(*case), 0.3)
    form = leaky(*case, W0=start)
    times = [1e-8, 0.1, 3.0, 300.0]

    def field(W):
        q, gradients = margins_and_gradients(form, W)
        return np.einsum("n,nmd->md", np.exp(-q), gradients)

    runge = stepped(field, start, times)
    assert np.abs(form.solution(times) - runge).max() < 4e-14
    loss = [np.exp(-margins_and_gradients(form, W)[0]).sum() for W in runge]
    assert np.abs(form.log_inverse_loss(times) + np.log(loss)).max() < 4e-14
    assert np.abs(form.solution(0.0) - start).max() < 1e-15
    for log_t in (1e3, 1e6):
        W = form.solution(log_t=log_t)
        assert 0 < 1 - np.vdot(W, form.limit.direction) / np.linalg.norm(W) < 20 / log_t**2 + 1e-15
        assert np.abs(form.margins_of(W) - form.margins(log_t=log_t)).max() < 1e-14 * log_t


def test_least_norm_by_hand_and_by_its_dual():
    y = np.array([3.0, 0.0, -2.0, 4.0])
    form = MinimumVariationNorm(X=X, y=y)
    assert form.value == pytest.approx(np.hypot(3 / 1, 4 / 3) + 2 / 0.5, rel=1e-15, abs=0)
    outer, inner = form.limit
    assert np.abs(outer @ np.maximum(inner @ X.T, 0) - y).max() < 1e-14
    assert (outer @ outer + (inner**2).sum()) / 2 == pytest.approx(form.value, rel=1e-14, abs=0)
    assert form.dual @ y == pytest.approx(form.value, rel=1e-14, abs=0)
    W = np.random.default_rng(0).standard_normal((2000, 4))  # in coordinates of the unit inputs
    W = np.vstack(
        [W, (form.dual * np.linalg.norm(X, axis=1)) * (y > 0), -(form.dual * np.linalg.norm(X, axis=1)) * (y < 0)]
    )
    seen = np.maximum(W, 0) @ (form.dual * np.linalg.norm(X, axis=1)) / np.linalg.norm(W, axis=1)
    assert np.abs(seen).max() == pytest.approx(1, rel=1e-14, abs=0)


def test_least_norm_of_one_sign_or_none():
    assert MinimumVariationNorm(X=X, y=np.zeros(4)).value == 0
    one = MinimumVariationNorm(X=X, y=[-1.0, 0, 0, 0])
    assert one.value == 1 and one.limit[0][0] == 0 and one.dual @ [-1.0, 0, 0, 0] == 1


@pytest.mark.parametrize(("a0", "scale"), [(0.8, 0.4), (0.01, 1.5), (1e-6, 1e-6), (3.0, 1e-3)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_one_neuron_ends_where_the_quadratic_says(a0, scale, sign):
    w0 = scale * (np.array([0.5, 0.7, -0.4, 0.2]) @ X + 0.3 * ROTATION[4])
    y = sign * np.array([1.0, 0.5, -7.0, 2.0])  # the third sample is never seen
    form = OneActiveNeuron(X=X, y=y, a0=sign * a0, w0=w0)

    def field(theta):
        z = X @ theta[1:]
        r = y - theta[0] * np.maximum(z, 0)
        return np.append(r @ np.maximum(z, 0), theta[0] * (r * (z > 0)) @ X)

    runge = stepped(field, form.theta0, [60.0], rtol=1e-13)[-1]
    a, w = form.limit
    assert np.abs(runge - np.append(a, w)).max() < 3e-12
    assert list(form.active) == [True, True, False, True]


def test_one_neuron_from_a_long_start():
    """c very negative: the root of the quadratic loses its digits unless written without cancellation."""
    form = OneActiveNeuron(X=np.eye(2), y=[1.0, 2.0], a0=1e-3, w0=[1e5, 1e5])
    a, w = form.limit
    with mpmath.workdps(40):
        c = mpmath.mpf(1e-3) ** 2 - 2 * mpmath.mpf(10) ** 10
        want = mpmath.sqrt((c + mpmath.sqrt(c**2 + 20)) / 2)
    assert a == pytest.approx(float(want), rel=1e-15, abs=0)
    assert a * w == pytest.approx([1.0, 2.0], rel=1e-15, abs=0)


def test_one_small_neuron_approaches_the_least_norm():
    """From a start of size eps its half norm exceeds the least one by O(eps^4), w_perp and c being O(eps^2)."""
    y = np.array([1.0, 2.0, 3.0, 0.5])
    least = MinimumVariationNorm(X=X, y=y).value
    for eps in (1e-1, 1e-2):
        a, w = OneActiveNeuron(X=X, y=y, a0=eps, w0=0.5 * eps * X.sum(axis=0)).limit
        assert 0 < (a**2 + w @ w) / 2 - least < eps**4 * 100
    assert (a**2 + w @ w) / 2 - least > 1e-10


@pytest.mark.parametrize(
    ("error", "build", "message"),
    [
        (InvalidInput, lambda: leaky(1, 1, 0.0, 0.1), "a must be positive"),
        (InvalidInput, lambda: leaky(1, 1, 1.0, 1.1), "slope must lie in"),
        (InvalidInput, lambda: leaky(0, 0, 1.0, 0.1), "at least one unit"),
        (InvalidInput, lambda: leaky(1, 1, 1.0, 0.1, W0=np.ones((3, 5))), "W0 must have shape"),
        (InvalidInput, lambda: leaky(1, 1, 1.0, 0.1).solution(1.0), "needs an initial W0"),
        (PreconditionError, lambda: leaky(1, 0, 1.0, 0.0), "a unit of its own sign"),
        (PreconditionError, lambda: leaky(1, 1, 1.0, 0.1, W0=np.ones((2, 5))), "must be positive at the start"),
        (PreconditionError, lambda: MinimumVariationNorm(X=np.ones((2, 2)), y=[1, 1]), "mutually orthogonal"),
        (InvalidInput, lambda: MinimumVariationNorm(X=np.eye(2), y=[1, np.nan]), "y must be finite"),
        (InvalidInput, lambda: OneActiveNeuron(X=np.eye(2), y=[1, 1], a0=0.0, w0=[1, 1]), "a0 must not be zero"),
        (PreconditionError, lambda: OneActiveNeuron(X=np.eye(2), y=[1, 1], a0=1.0, w0=[-1, -1]), "active on at least"),
        (PreconditionError, lambda: OneActiveNeuron(X=np.eye(2), y=[1, -1], a0=1.0, w0=[1, 1]), "the sign of a0"),
    ],
)
def test_refusals(error, build, message):
    with pytest.raises(error, match=message):
        build()
