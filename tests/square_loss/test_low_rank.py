"""Low rank: the bound on networks that SGD trained, the identity, and effective ranks against definitions."""

from __future__ import annotations

import numpy as np
import pytest

from theory import InvalidInput, PreconditionError
from theory.flow import convolutional, fully_connected
from theory.square_loss import effective_ranks, rank_bound, rank_certificate


def train(net, X, y, *, step, lam, batch, updates, rng):
    """Plain SGD on ``mean ||f - y||^2 + lam ||theta||^2``: weights and batch gradients along the way."""
    theta, path, pulls = net.random_parameters(rng=rng), [], []
    for _ in range(updates):
        path.append(theta)
        chosen = rng.choice(len(X), batch, replace=False)
        f = net.output(theta, X[chosen])
        G = net.vjp(theta, X[chosen], 2 / batch * (f - y[chosen]))
        pulls.append(G)
        theta = theta - step * (G + 2 * lam * theta)
    return [*path, theta], pulls


def layers(net, thetas):
    """Per layer: its weights along the path, and how often an example uses them."""
    for index, layer in enumerate(net.layers):
        uses = int(np.prod(getattr(layer, "out_size", (1,))))
        yield [net.views(theta)[f"W{index + 1}"] for theta in thetas], uses


NETS = {
    "dense": lambda: fully_connected((12, 10, 8, 1)),
    "leaky": lambda: fully_connected((12, 16, 1), activation="leaky_relu", slope=0.1),
    "convolution": lambda: convolutional((1, 12), (9,), 9, stride=3),
    "two convolutions": lambda: convolutional((2, 6), (6, 5), 2, stride=2),
    "linear": lambda: fully_connected((12, 12, 3), activation="linear"),
}


@pytest.mark.parametrize("kind", NETS)
def test_bound_is_never_violated(kind):
    net, informative, tightest = NETS[kind](), 0, 0.0
    for seed in range(11):  # 55 networks in all
        rng = np.random.default_rng(seed)
        X = 0.4 * rng.standard_normal((20, net.n_inputs))
        y = np.sign(X[:, : net.n_outputs] + 0.3 * rng.standard_normal((20, net.n_outputs)))
        step, lam, batch = 0.1, [0.2, 0.6, 2.0][seed % 3], 1 + seed % 2
        thetas, pulls = train(net, X, y, step=step, lam=lam, batch=batch, updates=30, rng=rng)
        grads = [
            [W.reshape(W.shape) for W in (net.views(g)[f"W{i + 1}"] for g in pulls)] for i in range(len(net.layers))
        ]
        for (history, uses), G in zip(layers(net, thetas), grads, strict=True):
            found = rank_certificate(history, step=step, lam=lam, batch=batch, uses=uses, gradients=G)
            assert found.holds and found.identity_residual < 1e-12
            assert found.min_dim == min(history[-1].shape[0], history[-1][0].size)
            assert (found.vacuous == (found.rank >= found.min_dim)).all()
            informative += found.informative
            seen = ~found.vacuous & (found.distance < 1)
            if seen.any():
                tightest = max(tightest, float((found.tail[seen] / found.distance[seen]).max()))
    assert informative > 0 and tightest < 1  # it says something somewhere


def test_rank_of_a_gradient_is_at_most_batch_times_uses():
    net = convolutional((1, 12), (9,), 9, stride=3)
    rng = np.random.default_rng(0)
    theta, X = net.random_parameters(rng=rng), rng.standard_normal((2, 12))
    for batch in (1, 2):
        G = net.views(net.vjp(theta, X[:batch], rng.standard_normal((batch, 1))))["W1"]
        assert np.linalg.matrix_rank(G.reshape(9, -1)) == 2 * batch  # two positions each


def test_certificate_finds_a_violation_and_other_updates():
    rng = np.random.default_rng(1)
    history = [rng.standard_normal((8, 8)) for _ in range(30)]
    wrong = rank_certificate(history, step=0.5, lam=0.9, batch=1, gradients=[np.zeros((8, 8))] * 29)
    assert not wrong.holds and wrong.identity_residual > 0.1


def test_a_matrix_of_fewer_updates_has_exact_rank():
    # q^n W_{T-n} = 0 from a start at zero: the tail is rounding beyond n
    rng = np.random.default_rng(2)
    W, path = np.zeros((6, 7)), []
    for _ in range(3):
        path.append(W)
        W = W - 0.3 * (np.outer(rng.standard_normal(6), rng.standard_normal(7)) + 2 * 0.4 * W)
    found = rank_certificate([*path, W], step=0.3, lam=0.4, batch=1)
    assert found.distance[-1] == 0 and found.tail[-1] < 1e-14 and found.rank[-1] == 3 and found.tail[0] > 0.05
    assert effective_ranks(W).numerical == 3


def test_uses_per_example_are_counted():
    # one update from zero kernels by one example that uses them twice: rank two, above a bound for one use
    net, rng = convolutional((1, 12), (9,), 9, stride=3), np.random.default_rng(0)
    theta = net.random_parameters(rng=rng)
    G = net.views(net.vjp(theta, rng.standard_normal((1, 12)), np.ones((1, 1))))["W1"]
    path = [np.zeros_like(G), -0.1 * G]
    assert rank_certificate(path, step=0.1, lam=0.1, batch=1, uses=2).holds
    assert not rank_certificate(path, step=0.1, lam=0.1, batch=1, uses=1).holds
    assert rank_certificate(path, step=0.1, lam=0.1, batch=3, uses=2).rank.tolist() == [6]


def test_rank_bound_is_the_least_number_of_updates():
    for eps, lam, step, ratio in ((0.1, 0.05, 0.5, 1.0), (0.01, 0.1, 0.2, 3.0), (0.25, 0.25, 1.0, 1.0)):
        q = 1 - 2 * lam * step
        found = rank_bound(eps, lam=lam, step=step, batch=3, uses=2, shape=(500, 20, 5, 5), norm_ratio=ratio)
        assert ratio * q**found.updates <= eps * (1 + 1e-12) < ratio * q ** (found.updates - 1)
        assert found.rank == 6 * found.updates and found.min_dim == 500 and found.vacuous == (found.rank >= 500)
    assert rank_bound(0.25, lam=0.25, step=1.0, batch=1, shape=(3, 3)).updates == 2  # 0.5^2 exactly


def test_rank_bound_of_a_decay_below_rounding():
    found = rank_bound(0.1, lam=1e-20, step=1e-3, batch=2, shape=(3, 4))  # 1 - 2 step lam is 1 in float64
    assert found.updates == pytest.approx(np.log(10) / 2e-23, rel=1e-12) and found.vacuous


def test_effective_ranks_against_definitions_and_invariances():
    rng = np.random.default_rng(3)
    U, V = np.linalg.qr(rng.standard_normal((7, 5)))[0], np.linalg.qr(rng.standard_normal((5, 5)))[0]
    s = np.array([5.0, 3.0, 1.0, 0.05, 1e-9])
    found = effective_ranks(U @ np.diag(s) @ V, rtol=1e-6)
    assert found.stable == pytest.approx((s**2).sum() / 25)
    assert found.srank == 3 and effective_ranks(U @ np.diag(s) @ V, delta=1e-3).srank == 4  # 9/9.05 = 0.9945
    p = s / s.sum()
    assert found.entropy == pytest.approx(np.exp(-(p * np.log(p)).sum()))
    assert found.numerical == 4 and found.min_dim == 5
    scaled = effective_ranks(-7 * (U @ np.diag(s) @ V).T, rtol=1e-6)
    assert (scaled.stable, scaled.srank, scaled.numerical) == (pytest.approx(found.stable), 3, 4)
    one = effective_ranks(np.outer([1.0, 2.0], [1.0, 1.0, 1.0]))
    assert (one.stable, one.srank, one.numerical) == (pytest.approx(1), 1, 1) and one.entropy == pytest.approx(1)
    assert effective_ranks(np.eye(10), delta=0.1).srank == 9  # a share met exactly, but for rounding
    equal = effective_ranks(np.eye(4), delta=0.5)
    assert (equal.stable, equal.srank, equal.entropy) == (4, 2, pytest.approx(4))
    kernels = rng.standard_normal((4, 2, 3, 3))
    assert effective_ranks(kernels).stable == effective_ranks(kernels.reshape(4, 18)).stable


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: effective_ranks(np.zeros((2, 2))), PreconditionError),
        (lambda: effective_ranks(np.ones(3)), InvalidInput),
        (lambda: effective_ranks(np.eye(2), delta=1.0), InvalidInput),
        (lambda: effective_ranks(np.eye(2), rtol=-1.0), InvalidInput),
        (lambda: rank_certificate([np.eye(2)], step=0.1, lam=0.1, batch=1), InvalidInput),
        (lambda: rank_certificate([np.eye(2), np.eye(3)], step=0.1, lam=0.1, batch=1), InvalidInput),
        (lambda: rank_certificate([np.eye(2), np.zeros((2, 2))], step=0.1, lam=0.1, batch=1), PreconditionError),
        (lambda: rank_certificate([np.eye(2)] * 3, step=5.0, lam=0.1, batch=1), PreconditionError),
        (lambda: rank_certificate([np.eye(2)] * 3, step=0.1, lam=0.1, batch=1, gradients=[np.eye(2)]), InvalidInput),
        (lambda: rank_certificate([np.eye(2)] * 2, step=0.1, lam=0.1, batch=1, gradients=[np.ones(3)]), InvalidInput),
        (
            lambda: rank_certificate([np.eye(2)] * 2, step=0.1, lam=0.1, batch=1, gradients=[np.ones((4, 1))]),
            InvalidInput,
        ),
        (lambda: rank_certificate(5, step=0.1, lam=0.1, batch=1), InvalidInput),
        (lambda: rank_bound(0.1, lam=0.1, step=0.1, batch=1, shape=5), InvalidInput),
        (lambda: rank_bound(2.0, lam=0.1, step=0.1, batch=1, shape=(2, 2)), InvalidInput),
        (lambda: rank_bound(0.1, lam=0.0, step=0.1, batch=1, shape=(2, 2)), InvalidInput),
        (lambda: rank_bound(0.1, lam=0.1, step=0.1, batch=1, shape=(2,)), InvalidInput),
    ],
)
def test_refusals(call, error):
    with pytest.raises(error):
        call()
