"""The lambda-balanced Riccati flow: all shapes and signs of lam, modes far apart in speed, limits, refusals."""

import mpmath
import numpy as np
import pytest

from tests.flow.exact.oracles import stepped
from theory import InvalidInput, PreconditionError
from theory.flow.exact.factorisation import ScalarFactorisation
from theory.flow.exact.lambda_balanced import LambdaBalanced
from theory.flow.exact.saxe import SaxeModes

TIMES = [1e-8, 0.1, 1.0, 5.0, 30.0]
SHAPES = [
    (3, 3, 3, 0.0),
    (4, 3, 5, 1.3),
    (4, 2, 3, 0.0),
    (3, 3, 4, -0.8),
    (5, 2, 2, -0.8),
    (2, 1, 6, 0.5),
    (2, 4, 3, 0),
]


def orthogonal(rng, n):
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def balanced_start(rng, o, h, d, lam, scale=0.3):
    """W1 = U s V^T and W2 = O (s^2 + lam)^(1/2) U^T, so that W2^T W2 - W1 W1^T = lam I."""
    if lam < 0:
        A, B = balanced_start(rng, d, h, o, -lam, scale)
        return B.T, A.T
    k = min(h, d) if lam else min(h, d, o)
    s = np.zeros(h)
    s[:k] = scale * rng.random(k)
    U, V, O = orthogonal(rng, h), orthogonal(rng, d), orthogonal(rng, o)
    D1, D2 = np.zeros((h, d)), np.zeros((o, h))
    D1[range(k), range(k)] = s[:k]
    m = min(o, h)
    D2[range(m), range(m)] = np.sqrt(s[:m] ** 2 + lam)
    return U @ D1 @ V.T, O @ D2 @ U.T


@pytest.mark.parametrize(("o", "h", "d", "lam"), SHAPES)
def test_balanced_layers_are_the_flow(o, h, d, lam):
    rng = np.random.default_rng(o + 10 * h + 100 * d)
    W1, W2 = balanced_start(rng, o, h, d, lam)
    S = rng.standard_normal((o, d))
    form = LambdaBalanced(S=S, W1=W1, W2=W2)

    def field(theta):
        A, B = theta[: h * d].reshape(h, d), theta[h * d :].reshape(o, h)
        R = S - B @ A
        return np.concatenate([(B.T @ R).ravel(), (R @ A.T).ravel()])

    runge = stepped(field, form.theta0, TIMES)
    A, B = runge[:, : h * d].reshape(-1, h, d), runge[:, h * d :].reshape(-1, o, h)
    Q = np.concatenate([A.transpose(0, 2, 1), B], axis=1)
    assert form.lam == pytest.approx(lam, abs=1e-15)
    assert np.abs(form.gram(TIMES) - Q @ Q.transpose(0, 2, 1)).max() < 2e-13
    assert np.abs(form.solution(TIMES) - B @ A).max() < 1e-13
    assert np.abs(form.loss(TIMES) - ((B @ A - S) ** 2).sum(axis=(1, 2)) / 2).max() < 2e-13
    assert np.abs(form.solution(0.0) - W2 @ W1).max() < 1e-15
    assert np.abs(form.solution(1e300) - form.limit).max() < 1e-13
    assert np.linalg.matrix_rank(form.limit, tol=1e-10) == min(o, h, d)


@pytest.mark.parametrize("t", [0.5, 1.0, 3.0, 10.0])
def test_modes_far_apart_in_speed(t):
    """The formula as printed, in 400 digits; in 16 digits it is wrong by 2e-3 at t = 1 and by 16 at t = 3."""
    rng = np.random.default_rng(1)
    W1, W2 = balanced_start(rng, 5, 3, 4, 0.7)
    S = orthogonal(rng, 5)[:, :4] @ np.diag([20, 5, 1, 0.1]) @ orthogonal(rng, 4)
    form = LambdaBalanced(S=S, W1=W1, W2=W2)
    with mpmath.workdps(400):
        F = mpmath.matrix(np.block([[-0.35 * np.eye(4), S.T], [S, 0.35 * np.eye(5)]]).tolist())
        rates, axes = mpmath.eigsy(F)
        B = axes.T * mpmath.matrix(np.vstack([W1.T, W2]).tolist())
        E = mpmath.diag([mpmath.exp(x * t) for x in rates])
        J = mpmath.diag([mpmath.expm1(2 * x * t) / (2 * x) for x in rates])
        root = axes * E * B
        want = root * (mpmath.eye(3) + B.T * J * B) ** -1 * root.T
    assert np.abs(form.gram(t) - np.array(want.tolist(), float)).max() < 1e-13


def test_special_cases_agree():
    scalar = LambdaBalanced(S=[[-2.0]], W1=[[0.7]], W2=[[0.2]])
    t = np.array([[0.0, 0.1], [1.0, 40.0]])
    factors = ScalarFactorisation(s=-2.0, a0=0.7, b0=0.2)
    assert np.abs(scalar.solution(t)[..., 0, 0] - factors.product(t)).max() < 4e-15
    modes = SaxeModes(S=np.random.default_rng(0).standard_normal((3, 2)), u0=[0.1, 0.3])
    W1, W2 = modes.layers(0.0)
    matrix = LambdaBalanced(S=modes.S, W1=W1, W2=W2)
    assert np.abs(matrix.solution(t) - modes.solution(t)).max() < 1e-14


@pytest.mark.parametrize(
    ("error", "build", "message"),
    [
        (InvalidInput, lambda: LambdaBalanced(S=np.eye(2), W1=np.eye(2), W2=np.eye(3)), "must have shapes"),
        (InvalidInput, lambda: LambdaBalanced(S=np.eye(2), W1=[1.0], W2=np.eye(2)), "2 dimension"),
        (
            PreconditionError,
            lambda: LambdaBalanced(S=np.eye(2), W1=np.diag([1, 2]), W2=np.eye(2)),
            "multiple of the id",
        ),
    ],
)
def test_refusals(error, build, message):
    with pytest.raises(error, match=message):
        build()
