"""Growth constants against the table of the exact scalar model; imbalance laws against real steps and flows."""

import numpy as np
import pytest

from tests.flow.exact.oracles import stepped
from theory import InvalidInput
from theory.flow.exact.growth import growth_constant_loss, growth_constant_norm, normalised_loss_constant
from theory.flow.exact.imbalance import decayed_imbalance, descent_imbalance_change
from theory.flow.exact.orthogonal import OrthogonalExponential
from theory.flow.exact.scalar import ScalarHomogeneous

TABLE = {  # L: normalised constant at log t = 1e2, 1e3, 1e4, 1e6
    2: [0.95210, 0.99275, 0.99904, 0.99999],
    3: [0.90896, 0.98627, 0.99821, 0.99997],
    4: [0.88122, 0.98205, 0.99767, 0.99997],
}


@pytest.mark.parametrize("L", TABLE)
def test_the_table_of_constants(L):
    assert normalised_loss_constant(L, [1e2, 1e3, 1e4, 1e6]) == pytest.approx(TABLE[L], abs=5.1e-6)


@pytest.mark.parametrize("L", [1, 2, 3, 4.5])
@pytest.mark.parametrize("margin", [0.3, 1.0, 4.0])
def test_constants_are_the_limits(L, margin):
    form = ScalarHomogeneous(L=L, theta0_value=1.0, x=margin)
    log_t = 1e9
    u = form.log_inverse_loss(log_t=log_t)
    scaled = np.exp(log_t - u) * log_t ** (2 - 2 / L)
    assert scaled == pytest.approx(growth_constant_loss(L, margin), rel=1e-5, abs=0)
    assert form.solution(log_t=log_t)[0] / log_t ** (1 / L) == pytest.approx(
        growth_constant_norm(L, margin), rel=1e-6, abs=0
    )
    assert normalised_loss_constant(L, log_t, margin=margin) == pytest.approx(1, rel=1e-5, abs=0)


def test_constants_on_more_than_one_sample():
    form = OrthogonalExponential(X=[[2.0, 0, 0], [0, 1.0, 0.5]], y=[1, -1], w0=[1.0, 1, 1])
    u = form.log_inverse_loss(log_t=1e3)
    assert np.exp(1e3 - u) == pytest.approx(growth_constant_loss(1, form.limit.margin), rel=1e-12, abs=0)
    norm = np.linalg.norm(form.solution(log_t=1e6)) / 1e6
    assert norm == pytest.approx(growth_constant_norm(1, form.limit.margin), rel=1e-5, abs=0)


def test_one_step_of_descent_by_the_square_of_the_step():
    """A chain 2-3-1 of linear layers under the exponential loss, and a block of degree 2."""
    rng = np.random.default_rng(0)
    A, b, x = rng.standard_normal((3, 2)), rng.standard_normal(3), rng.standard_normal(2)
    q = b @ A @ x
    gA, gb = -np.exp(-q) * np.outer(b, x), -np.exp(-q) * A @ x
    for eta in (0.1, 1.0):
        before, after = (A**2).sum() - b @ b, ((A - eta * gA) ** 2).sum() - (b - eta * gb) @ (b - eta * gb)
        assert after - before == pytest.approx(descent_imbalance_change(eta, gA, gb), rel=1e-12, abs=0)
    u, v = 0.7, -0.4  # f = u^2 v
    gu, gv = -2 * u * v * np.exp(-(u**2) * v), -(u**2) * np.exp(-(u**2) * v)
    before, after = u**2 / 2 - v**2, (u - 0.3 * gu) ** 2 / 2 - (v - 0.3 * gv) ** 2
    assert after - before == pytest.approx(descent_imbalance_change(0.3, [gu], [gv], k_i=2), rel=1e-12, abs=0)


def test_imbalance_decays_under_weight_decay():
    rng = np.random.default_rng(1)
    S, lam, times = rng.standard_normal((2, 4)), 0.3, [1e-6, 0.2, 1.0, 4.0]
    W1, W2 = rng.standard_normal((3, 4)), rng.standard_normal((2, 3))

    def field(theta):
        A, B = theta[:12].reshape(3, 4), theta[12:].reshape(2, 3)
        R = S - B @ A
        return np.concatenate([(B.T @ R).ravel(), (R @ A.T).ravel()]) - 2 * lam * theta

    runge = stepped(field, np.concatenate([W1.ravel(), W2.ravel()]), times)
    A, B = runge[:, :12].reshape(-1, 3, 4), runge[:, 12:].reshape(-1, 2, 3)
    found = B.transpose(0, 2, 1) @ B - A @ A.transpose(0, 2, 1)
    assert np.abs(found - decayed_imbalance(W2.T @ W2 - W1 @ W1.T, lam, times)).max() < 4e-14


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: growth_constant_loss(0.5, 1), "L must be at least 1"),
        (lambda: growth_constant_norm(2, 0), "margin must be positive"),
        (lambda: normalised_loss_constant(2, [0.0]), "log_t must be positive"),
        (lambda: descent_imbalance_change(0.0, [1], [1]), "eta must be positive"),
        (lambda: descent_imbalance_change(0.1, [np.nan], [1]), "gradient_i must be finite"),
        (lambda: decayed_imbalance(1.0, -1.0, 0.0), "lam must be nonnegative"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(InvalidInput, match=message):
        build()
