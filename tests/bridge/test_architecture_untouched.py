"""Reading leaves the user's module, its hooks and gradients, and the global random states as they were."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

from simulations.bridge.architecture import read_architecture
from tests.bridge.networks import NETWORKS, Calling, build
from tests.bridge.reading import agrees, seeded  # noqa: F401
from theory import InvalidInput


def generators():
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002


def portrait(net):
    """Everything that a reading could change, with the identity of every object."""
    tensors = {k: (id(v), v._version, v.dtype, v.requires_grad, v.tolist())
               for k, v in net.state_dict(keep_vars=True).items()}  # fmt: skip
    grads = {k: (id(v.grad), v.grad.tolist()) for k, v in net.named_parameters() if v.grad is not None}
    parts = {k: (id(m), m.training, sorted(vars(m))) for k, m in net.named_modules()}
    hooks = {k: {name: dict(value) for name, value in vars(m).items() if name.endswith("hooks")}
             for k, m in net.named_modules()}  # fmt: skip
    return tensors, grads, parts, hooks, generators(), torch.is_grad_enabled()


@pytest.mark.parametrize("name", ["resnet18 (narrow)", "vgg", "spectral norm, old", "weight norm", "functional mlp"])
@pytest.mark.parametrize("failing", [False, True])
def test_the_module_is_untouched(name, failing):
    net, shape = build(name), NETWORKS[name][1]
    net(torch.randn(3, *shape)).sum().backward()
    for i, part in enumerate(net.modules()):
        part.training = i % 2 == 0
    for i, parameter in enumerate(net.parameters()):
        parameter.requires_grad_(i % 3 != 0)
    calls = []
    next(net.children()).register_forward_hook(lambda *given: calls.append(given))
    net.register_forward_pre_hook(lambda *given: calls.append(given))
    before = portrait(net)
    if failing:
        with pytest.raises(InvalidInput, match="cannot be evaluated"):
            read_architecture(net, torch.zeros(1, 1))
    else:
        read = read_architecture(net, torch.zeros(1, *shape))
        assert any(note.startswith("hooks were set aside: the module itself, ") for note in read.notes)
        for array in read.weights.values():
            array += 1  # the arrays are nobody else's
    assert portrait(net) == before
    assert calls == []


def test_random_states_survive_a_module_that_draws():
    def forward(self, x):
        torch.randn(3), np.random.random(), random.random()  # noqa: NPY002
        return self.fc(x)

    net = Calling(forward, fc=nn.Linear(3, 2))
    before = generators()
    read_architecture(net, torch.zeros(1, 3))
    assert generators() == before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_are_read_exactly(dtype):
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).to(dtype)
    read = agrees(copy.deepcopy(net), (4,))
    np.testing.assert_array_equal(read.weights["0.weight"], net[0].weight.detach().double().numpy())
    assert net[0].weight.dtype == dtype
