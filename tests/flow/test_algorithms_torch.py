"""Trajectories of PyTorch's optimisers in float64."""

import numpy as np
import pytest
import torch

from tests.flow._algorithm_problems import classification, loss_gradient
from theory.flow import descend, fully_connected
from theory.flow._algorithm_batches import batches
from theory.flow.losses import as_loss

torch.set_num_threads(1)


def torch_model(network, theta):
    layers, views = [], network.views(theta)
    count = len(network.layers)
    for k, layer in enumerate(network.layers, start=1):
        linear = torch.nn.Linear(layer.n_in, layer.n_out, bias=layer.bias, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(views[f"W{k}"].copy()))
            if layer.bias:
                linear.bias.copy_(torch.from_numpy(views[f"b{k}"].copy()))
        layers += [linear] + ([torch.nn.ReLU()] if k < count else [])
    return torch.nn.Sequential(*layers)


def torch_loss(name, f, y):
    if name == "cross_entropy":
        return torch.nn.functional.cross_entropy(f, y, reduction="sum")
    if name == "square":
        return 0.5 * (f - y).square().sum()
    q = y * f[:, 0]
    return torch.exp(-q).sum() if name == "exponential" else torch.nn.functional.softplus(-q).sum()


def flat(model):
    return torch.cat([p.detach().ravel() for p in model.parameters()]).numpy()


def torch_run(network, data, loss, theta0, steps, batch=None, normalised=False, **options):
    X, y = data
    law = as_loss(loss)
    inputs, labels = torch.from_numpy(X), torch.from_numpy(law.labels(y, len(X), network.n_outputs))
    model = torch_model(network, theta0)
    linears = [layer for layer in model if isinstance(layer, torch.nn.Linear)]
    if normalised:
        for layer in linears:
            torch.nn.utils.parametrizations.weight_norm(layer)
    optimiser = torch.optim.SGD(model.parameters(), **options)
    draws = None if batch is None else batches(len(X), batch, replacement=False, rng=np.random.default_rng(5))
    for _ in range(steps):
        chosen = np.arange(len(X)) if draws is None else next(draws)
        optimiser.zero_grad()
        (len(X) / len(chosen) * torch_loss(loss, model(inputs[chosen]), labels[chosen])).backward()
        optimiser.step()
    if normalised:
        return torch.cat([layer.weight.detach().ravel() for layer in linears]).numpy()
    return flat(model)


OPTIONS = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "decay": {"weight_decay": 0.1},
    "all": {"momentum": 0.7, "nesterov": True, "weight_decay": 0.05},
}


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("loss", ["exponential", "logistic", "cross_entropy", "square"])
def test_trajectories_of_torch_optim_sgd(loss, name, batch):
    K = 3 if loss in ("cross_entropy", "square") else 1
    network = fully_connected((3, 6, 5, K), bias=True)
    rng = np.random.default_rng(7)
    X = rng.standard_normal((8, 3))
    y = {"cross_entropy": np.arange(8) % 3, "square": rng.standard_normal((8, 3))}.get(loss, rng.choice([-1.0, 1.0], 8))
    theta0 = network.random_parameters(rng=8)
    run = descend(network, (X, y), loss, theta0, step=0.005, steps=60, batch=batch, rng=5, **OPTIONS[name])
    other = torch_run(network, (X, y), loss, theta0, 60, batch, lr=0.005, **OPTIONS[name])
    assert np.abs(run.theta - other).max() < 1e-12 < np.abs(run.theta - theta0).max()


@pytest.mark.parametrize("name", OPTIONS)
def test_trajectories_of_torch_weight_norm(name):
    network, data, theta0 = classification(6)
    run = descend(network, data, "logistic", theta0, step=0.02, steps=60, normalise="weight-norm", **OPTIONS[name])
    other = torch_run(network, data, "logistic", theta0, 60, normalised=True, lr=0.02, **OPTIONS[name])
    assert np.abs(run.theta - other).max() < 1e-12 < np.abs(run.theta - theta0).max()


def test_decoupled_decay_shrinks_beside_the_momentum():
    network, data, theta0 = classification(8)
    plain = {"step": 0.02, "steps": 25, "weight_decay": 0.3}
    coupled, decoupled = (descend(network, data, "logistic", theta0, decoupled=d, **plain) for d in (False, True))
    assert np.abs(coupled.theta - decoupled.theta).max() < 1e-14
    run = descend(network, data, "logistic", theta0, decoupled=True, momentum=0.9, **plain)
    theta, v = theta0, np.zeros_like(theta0)
    for _ in range(25):
        v = 0.9 * v + loss_gradient(network, data, "logistic", theta)
        theta = (1 - 0.02 * 0.3) * theta - 0.02 * v
    assert np.abs(run.theta - theta).max() < 1e-13
