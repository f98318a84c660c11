"""Discrete algorithms: their exact laws, their batches, their record."""

import numpy as np
import pytest

from tests.flow._algorithm_problems import classification, loss_gradient, regression
from theory._errors import InvalidInput, NotConverged, PreconditionError
from theory.flow import (
    conserved_quantities,
    convolutional,
    deep_linear,
    descend,
    descent_limit,
    diagonal_linear,
    fully_connected,
    integrate,
    step_limit,
    two_layer,
)
from theory.flow._algorithm_batches import batches
from theory.flow._algorithm_coordinates import make_coordinates
from theory.flow.losses import as_loss


def test_linear_regression_is_the_power_of_its_matrix():
    network, data, H, best, theta0 = regression()
    values, vectors = np.linalg.eigh(H)
    eta = 1.5 / values[-1]
    run = descend(network, data, "square", theta0, step=eta, steps=300, record=1)
    powers = (1 - eta * values) ** np.arange(301)[:, None]
    exact = best + (powers * (vectors.T @ (theta0 - best))) @ vectors.T
    assert np.abs(run.thetas - exact).max() < 1e-12
    assert np.allclose(run.t, eta * np.arange(301), rtol=1e-14) and run.loss_increases == 0 and run.compared == 300


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_on_a_quadratic_is_a_recursion_of_two_by_two(nesterov):
    network, data, H, best, theta0 = regression(1)
    values, vectors = np.linalg.eigh(H)
    eta, beta = 1.0 / values[-1], 0.8
    run = descend(
        network, data, "square", theta0, step=eta, steps=120, momentum=beta, nesterov=nesterov, record=1, limits=False
    )
    for value, vector in zip(values, vectors.T, strict=True):
        h = eta * value
        # (error, eta v) -> after one update, written out
        M = np.array([[1 - h, -beta], [h, beta]])
        if nesterov:
            M[0] = [1 - h - beta * h, -(beta**2)]
        error, states = np.array([vector @ (theta0 - best), 0.0]), []
        for _ in range(121):
            states.append(error[0])
            error = M @ error
        assert np.abs((run.thetas - best) @ vector - states).max() < 1e-12
    assert np.isclose(run.t[-1], 120 * eta / (1 - beta), rtol=1e-14)


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("network", [fully_connected((3, 6, 5, 1)), deep_linear((3, 4, 4, 1)), diagonal_linear(3)])
def test_the_conserved_quantities_move_by_eta_squared_times_those_of_the_gradient(network, decay):
    _, data, _ = classification()
    theta0, eta = network.random_parameters(rng=5), 0.05
    run = descend(network, data, "logistic", theta0, step=eta, steps=40, weight_decay=decay, record=1, limits=False)
    moved = 0.0
    for before, after in zip(run.thetas[:-1], run.thetas[1:], strict=True):
        g = loss_gradient(network, data, "logistic", before)
        for name, Q in conserved_quantities(network, after).items():
            old, square = conserved_quantities(network, before)[name], conserved_quantities(network, g)[name]
            expected = (1 - eta * decay) ** 2 * old + eta**2 * square
            assert np.abs(Q - expected).max() < 1e-13
            moved = max(moved, float(np.abs(Q - old).max()))
    assert moved > 1e-4


def test_weight_norm_lets_each_direction_grow_by_pythagoras():
    network, data, theta0 = classification(2)
    run = descend(network, data, "logistic", theta0, step=0.2, steps=30, normalise="weight-norm", record=1)
    blocks = 11  # ten hidden units, one output
    s, v = run.coordinates[:, :blocks], network.views(run.coordinates[:, blocks:])["W1"]
    effective = network.views(run.thetas)["W1"]
    length = np.linalg.norm(v, axis=2)
    assert np.abs(np.linalg.norm(effective, axis=2) - np.abs(s[:, :10])).max() < 1e-13
    grown = 0.0
    for k in range(30):
        g = network.views(loss_gradient(network, data, "logistic", run.thetas[k]))["W1"]
        unit = v[k] / length[k][:, None]
        across = (s[k, :10] / length[k])[:, None] * (g - (g * unit).sum(axis=1)[:, None] * unit)
        exact = np.sqrt(length[k] ** 2 + 0.2**2 * (across**2).sum(axis=1))
        assert np.abs(length[k + 1] - exact).max() < 1e-14
        grown = max(grown, float((length[k + 1] - length[k]).max()))
    assert grown > 1e-3 and not len(run.limit_rows) and "no step limit" in run.summary()


@pytest.mark.parametrize("normalise", ["weight-norm", "weight-norm-layer", "lagrange"])
@pytest.mark.parametrize(
    "network",
    [fully_connected((3, 4, 2, 1), bias="first"), convolutional((1, 3), (2,), 2), two_layer(3, 3, activation="relu^2")],
)
def test_gradients_in_coordinates_are_those_of_the_composed_loss(network, normalise):
    _, (X, y), _ = classification(3)
    law, frame = as_loss("logistic"), make_coordinates(network, normalise)
    theta0 = network.random_parameters(rng=0) + 0.1
    x = frame.enter(theta0)
    start = network.output(theta0, X)
    assert np.abs(network.output(frame.theta(x), X) - start).max() < 1e-14 * max(1, np.abs(start).max()) * 10

    def value(z):
        return np.exp(-law.log_inverse(network.output(frame.theta(z), X), y))

    h = 1e-6
    numeric = np.array([(value(x + h * e) - value(x - h * e)) / (2 * h) for e in np.eye(len(x))])
    exact = frame.pull(x, loss_gradient(network, (X, y), "logistic", frame.theta(x)))
    if normalise == "lagrange":  # the tangential part of each layer
        V = x[1:].copy()
        for layer, piece in zip(network.split(V), network.split(numeric[1:]), strict=True):
            piece -= (piece @ layer) * layer
    assert np.abs(numeric - exact).max() < 1e-7 and np.abs(exact).max() > 0.1


def test_unit_layers_keep_their_length_and_rho_ends_at_its_equilibrium():
    # (1/N) sum (rho f - y)^2 + lam rho^2 has rho' = 2 (mu - rho (M + lam)); here Loss = 1/2 sum, decay = N lam
    _, (X, y), _ = classification(4, N=12)
    network, lam, N, eta = deep_linear((3, 4, 1)), 0.02, 12, 0.02
    theta0 = network.random_parameters(rng=1)
    run = descend(
        network, (X, y), "square", theta0, step=eta, steps=4000, normalise="lagrange", weight_decay=N * lam, record=4
    )
    V = run.coordinates[:, 1:]
    for layer in network.split(V):
        assert np.abs(np.linalg.norm(layer, axis=1) - 1).max() < 1e-15 * 4
    rho = run.coordinates[:, 0]
    f = network.output(V[0], X)[:, 0]
    first = descend(
        network, (X, y), "square", theta0, step=eta, steps=1, normalise="lagrange", weight_decay=N * lam, record=1
    )
    assert np.isclose(first.coordinates[1, 0], rho[0] - eta * (((rho[0] * f - y) * f).sum() + N * lam * rho[0]))
    f = network.output(V[-1], X)[:, 0]
    assert np.isclose(rho[-1], (y * f).mean() / ((f**2).mean() + lam), rtol=1e-9)


def test_an_epoch_without_replacement_sees_each_sample_once():
    draws = batches(10, 4, replacement=False, rng=np.random.default_rng(0))
    epochs = [[next(draws) for _ in range(3)] for _ in range(5)]
    for epoch in epochs:
        assert [len(b) for b in epoch] == [4, 4, 2]
        assert sorted(np.concatenate(epoch).tolist()) == list(range(10))
    assert not np.array_equal(np.concatenate(epochs[0]), np.concatenate(epochs[1]))
    drawn = batches(10, 4, replacement=True, rng=np.random.default_rng(0))
    indices = np.concatenate([next(drawn) for _ in range(5000)])
    assert np.abs(np.bincount(indices, minlength=10) / 2000 - 1).max() < 0.1  # four deviations
    assert any(len(set(b.tolist())) < 4 for b in (next(drawn) for _ in range(50)))


def test_sgd_repeats_by_seed_and_is_unbiased():
    network, data, theta0 = classification(1, N=4)
    options = {"step": 0.01, "steps": 40, "batch": 2, "replacement": True}
    one, two, other = (descend(network, data, "logistic", theta0, rng=s, **options) for s in (3, 3, 4))
    np.testing.assert_array_equal(one.thetas, two.thetas)
    assert np.abs(one.theta - other.theta).max() > 1e-6
    generator = descend(network, data, "logistic", theta0, rng=np.random.default_rng(3), **options)
    np.testing.assert_array_equal(one.thetas, generator.thetas)
    # the four batches of one sample, weighted N / 1, average to the full gradient
    ends = np.unique(
        [descend(network, data, "logistic", theta0, step=0.01, steps=1, batch=1, rng=s).theta for s in range(40)],
        axis=0,
    )
    full = descend(network, data, "logistic", theta0, step=0.01, steps=1)
    assert len(ends) == 4 and np.abs(ends.mean(axis=0) - full.theta).max() < 1e-15
    whole = descend(network, data, "logistic", theta0, step=0.01, steps=40, batch=4, rng=0)
    assert np.abs(whole.theta - descend(network, data, "logistic", theta0, step=0.01, steps=40).theta).max() < 1e-13


def test_rows_and_the_polygon_between_them():
    network, data, theta0 = classification(9)
    options = {"step": 0.01, "steps": 1000}
    every = descend(network, data, "logistic", theta0, record=1, **options)
    some = descend(network, data, "logistic", theta0, record=[3, 500], **options)
    tenth = descend(network, data, "logistic", theta0, record=300, **options)
    geometric = descend(network, data, "logistic", theta0, **options)
    assert some.updates.tolist() == [0, 3, 500, 1000] and tenth.updates.tolist() == [0, 300, 600, 900, 1000]
    assert 60 < len(geometric.updates) < 110
    for run in (some, tenth, geometric):
        np.testing.assert_array_equal(run.thetas, every.thetas[run.updates])
        assert np.allclose(run.log_t[1:], every.log_t[run.updates[1:]], rtol=0, atol=1e-14)
    middle = every(0.125)
    assert np.abs(middle - (every.thetas[12] + every.thetas[13]) / 2).max() < 1e-14
    assert np.abs(every(0.005) - (every.thetas[0] + every.thetas[1]) / 2).max() < 1e-15
    u = (every.log_inverse_loss[40] + every.log_inverse_loss[41]) / 2
    there = every.at(log_inverse_loss=u)
    assert abs(as_loss("logistic").log_inverse(network.output(there, data[0]), data[1]) - u) < 1e-12
    np.testing.assert_array_equal(geometric.at(log_t=geometric.log_t[-2]), geometric.thetas[-2])
    with pytest.raises(InvalidInput, match="none between"):
        geometric(9.9)
    with pytest.raises(InvalidInput, match="log_t must be between"):
        every(10.1)


def test_runs_go_on_from_states_and_report():
    network, data, theta0 = classification(10)
    seen = []
    first = descend(network, data, "logistic", theta0, step=0.01, steps=100, callback=lambda k, u: seen.append((k, u)))
    assert [k for k, _ in seen] == first.updates.tolist() and seen[-1][1] == first.log_inverse_loss[-1]
    second = descend(network, data, "logistic", first.state, step=0.01, steps=100)
    whole = descend(network, data, "logistic", theta0, step=0.01, steps=200)
    np.testing.assert_array_equal(second.theta, whole.theta)
    assert np.isclose(second.log_t[-1], whole.log_t[-1]) and second.log_t[0] == first.log_t[-1]
    flow = integrate(network, data, "logistic", first.state, until=3.0)
    np.testing.assert_array_equal(flow.thetas[0], first.theta)
    assert np.isclose(flow.log_t[-1], np.log(3.0))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"step": 0.0}, "step must be positive"),
        ({"step": [0.1, -0.1]}, "all positive"),
        ({"step": [0.1, 0.1], "steps": 3}, "holds 2 steps, but steps is 3"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"step_rule": "armijo"}, "step_rule must be constant"),
        ({"step_rule": lambda k, u: -1.0}, "must return a positive number"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1"),
        ({"nesterov": True}, "nesterov needs a momentum"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
        ({"decoupled": True}, "decoupled needs a weight_decay"),
        ({"normalise": "batch-norm"}, "normalise must be None or one of weight-norm"),
        ({"normalise": "lagrange", "momentum": 0.5}, "momentum is not defined"),
        ({"batch": 9}, "at most the number of samples, 8"),
        ({"replacement": True}, "replacement needs a batch size"),
        ({"record": "all"}, "record must be 'geometric'"),
        ({"record": [2000]}, "record asks for step 2000"),
        ({"rng": "seed"}, "rng must be"),
        ({"rng": -1}, "rng must be"),
    ],
)
def test_options_that_do_not_fit(options, sentence):
    network, data, theta0 = classification(0)
    with pytest.raises(InvalidInput, match=sentence):
        descend(network, data, "logistic", theta0, **options)


def test_problems_that_do_not_fit():
    network, data, theta0 = classification(0)
    with pytest.raises(InvalidInput, match="exponential tail, which square has not"):
        descend(network, data, "square", theta0, step_rule="loss-scaled")
    with pytest.raises(InvalidInput, match="theta0 must have shape"):
        descend(network, data, "logistic", theta0[1:])
    with pytest.raises(InvalidInput, match="made of layers"):
        descend(diagonal_linear(3), data, "logistic", np.ones(6), normalise="weight-norm")
    with pytest.raises(PreconditionError, match="positive length"):
        descend(network, data, "logistic", 0 * theta0, normalise="weight-norm")
    biased = fully_connected((3, 2, 1), bias=True)
    with pytest.raises(PreconditionError, match="homogeneous"):
        descend(biased, data, "logistic", np.ones(biased.n_parameters), normalise="lagrange")
    with pytest.raises(PreconditionError, match="deep linear networks"):
        descent_limit(network, data, "logistic", theta0)
    with pytest.raises(PreconditionError, match="exponential tail"):
        _ = step_limit(network, data, "square", theta0).loss_scaled_limit


def test_a_callback_can_end_the_run():
    network, data, theta0 = classification(0)

    def stop(k, u):
        if k >= 50:
            raise NotConverged("enough")

    with pytest.raises(NotConverged, match="enough") as caught:
        descend(network, data, "logistic", theta0, step=0.01, steps=100, record=10, callback=stop)
    assert caught.value.partial.updates.tolist() == [0, 10, 20, 30, 40, 50]
