"""Networks by seed: the same weights, the global random state as it was, shapes and names."""

import doctest
import random

import numpy as np
import pytest
import torch

from simulations import networks
from simulations.networks import convnet, perceptron, resnet18, tree_network
from theory import InvalidInput

BUILDERS = {
    "perceptron": lambda **kw: perceptron([64, 20, 10], **kw),
    "convnet": lambda **kw: convnet((1, 8, 8), (4, 8), 10, batch_norm=True, pool=2, **kw),
    "convnet 1d": lambda **kw: convnet((2, 16), (4,), 3, average=True, bias=True, **kw),
    "tree": lambda **kw: tree_network(3, 5, 2, **kw),
    "resnet": lambda **kw: resnet18(width=4, **kw),
}
SHAPES = {"perceptron": (1, 8, 8), "convnet": (1, 8, 8), "convnet 1d": (2, 16), "tree": (1, 8), "resnet": (3, 32, 32)}


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_examples():
    assert doctest.testmod(networks).failed == 0


@pytest.mark.parametrize("name", BUILDERS)
def test_seed_decides_and_global_state_stays(name):
    torch.manual_seed(1)
    before, python, numpy = torch.get_rng_state(), random.getstate(), str(np.random.get_state())  # noqa: NPY002
    first, again, other = (BUILDERS[name](seed=s) for s in (3, 3, 4))
    assert equal(first, again) and not equal(first, other)
    assert torch.equal(before, torch.get_rng_state())
    assert random.getstate() == python and str(np.random.get_state()) == numpy  # noqa: NPY002


@pytest.mark.parametrize("name", BUILDERS)
def test_outputs_and_types(name):
    X = torch.randn(2, *SHAPES[name], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    double, single = BUILDERS[name](dtype="float64").eval(), BUILDERS[name]().eval()
    assert double(X).shape[0] == 2 and double(X).dtype == torch.float64
    # the same weights in both types
    assert equal(double.to(torch.float32), single)
    assert torch.allclose(BUILDERS[name](dtype="float64").eval()(X).float(), single(X.float()), rtol=1e-3, atol=1e-4)


def test_default_type_of_torch_does_not_matter():
    wanted = perceptron([4, 3, 2])
    torch.set_default_dtype(torch.float64)
    try:
        assert equal(perceptron([4, 3, 2]), wanted) and torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_perceptron_is_the_formula():
    net, rng = perceptron([6, 5, 4, 3], bias=True, seed=2, dtype="float64"), np.random.default_rng(0)
    w = {name: value.numpy() for name, value in net.state_dict().items()}
    X = rng.standard_normal((7, 2, 3))
    h = X.reshape(7, 6)
    for layer in ("linear1", "linear2"):
        h = np.maximum(h @ w[f"{layer}.weight"].T + w[f"{layer}.bias"], 0)
    wanted = h @ w["classifier.weight"].T + w["classifier.bias"]
    np.testing.assert_allclose(net(torch.tensor(X)).detach().numpy(), wanted, rtol=1e-13, atol=1e-13)


def test_initial_weights_are_uniform_up_to_one_over_root_fan_in():
    W = perceptron([100, 1000, 2], seed=0)[1].weight.detach().numpy()
    assert 0.0999 < abs(W).max() <= 0.1
    assert abs(W.var() / (0.01 / 3) - 1) < 0.02


def test_scale_multiplies_every_layer():
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    one, four = (perceptron([8, 7, 6, 5], scale=s, dtype="float64")(x) for s in (1.0, 4.0))
    assert torch.allclose(64 * one, four, rtol=1e-12, atol=0)  # three bias-free layers
    net = convnet((1, 8, 8), (4,), 3, batch_norm=True, scale=4.0)
    assert bool((net.norm1.weight == 1).all()) and 0.8 < float(net.conv1.weight.detach().abs().max()) * 0.75 <= 1


def test_names_read_well():
    assert list(convnet((1, 8, 8), (4,), 3, batch_norm=True, bias=True).state_dict()) == [
        "conv1.weight", "norm1.weight", "norm1.bias", "norm1.running_mean", "norm1.running_var",
        "norm1.num_batches_tracked", "classifier.weight", "classifier.bias",
    ]  # fmt: skip
    assert list(dict(perceptron([4, 3, 2], activation="tanh").named_children())) == [
        "flatten", "linear1", "tanh1", "classifier",
    ]  # fmt: skip


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_unit_of_the_tree_network_sees_its_own_subtree(layers):
    net = tree_network(3, 4, 2, activation="tanh", seed=1, dtype="float64")
    x = torch.randn(1, 1, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    h = net[: 2 * layers](x)
    assert h.shape == (1, 4, 8 // 2**layers)
    for unit in range(h.shape[2]):
        (grad,) = torch.autograd.grad(h[0, :, unit].sum(), x, retain_graph=True)
        seen = np.flatnonzero(grad[0, 0].numpy())
        assert seen.tolist() == list(range(unit * 2**layers, (unit + 1) * 2**layers))


def test_resnet18_has_the_published_size_and_torchvisions_names():
    net = resnet18(1000, small=False)
    assert sum(p.numel() for p in net.parameters()) == 11_689_512  # torchvision's table of models
    names = set(net.state_dict())
    assert len(names) == 122
    assert {"conv1.weight", "bn1.running_var", "layer1.1.bn2.weight", "layer2.0.downsample.0.weight",
            "layer4.1.conv2.weight", "fc.bias"} <= names  # fmt: skip
    small = resnet18(width=2).eval()
    shapes = {}
    for name in ("maxpool", "layer1", "layer2", "layer3", "layer4"):
        getattr(small, name).register_forward_hook(lambda m, i, o, name=name: shapes.update({name: tuple(o.shape[1:])}))
    small(torch.zeros(1, 3, 32, 32))
    assert shapes == {"maxpool": (2, 32, 32), "layer1": (2, 32, 32), "layer2": (4, 16, 16), "layer3": (8, 8, 8),
                      "layer4": (16, 4, 4)}  # fmt: skip


def test_resnet_starts_with_variance_two_over_fan_out():
    W = resnet18(seed=0).layer4[0].conv1.weight.detach()  # 256 channels to 512
    assert abs(float(W.var()) * 512 * 9 / 2 - 1) < 0.01


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: perceptron([5]), "widths must hold at least"),
        (lambda: perceptron([5, 0, 2]), "widths[1] must be at least 1"),
        (lambda: perceptron([5, 2], activation="step"), "activation must be one of relu"),
        (lambda: perceptron([5, 2], dtype="float16"), "dtype must be 'float32' or 'float64'"),
        (lambda: perceptron([5, 2], seed=-1), "seed must be at least 0"),
        (lambda: perceptron([5, 2], seed=2**63), "seed must be below 2^63"),
        (lambda: perceptron([5, 2], scale=0), "scale must be positive"),
        (lambda: convnet((8,), (4,), 2), "input_shape must be (c, length)"),
        (lambda: convnet((1, 8, 8), (4,), 2, kernel=2), "kernel must be odd"),
        (lambda: convnet((1, 8, 8), (), 2), "at least one block"),
        (lambda: convnet((1, 8, 8), (4,) * 4, 2, pool=2), "no position after block 4"),
        (lambda: tree_network(0, 4, 2), "depth must be at least 1"),
        (lambda: resnet18(0), "num_classes must be at least 1"),
    ],
)
def test_bad_input_is_one_sentence(call, said):
    with pytest.raises(InvalidInput) as error:
        call()
    assert said in str(error.value) and str(error.value).endswith(".")
