"""A module read as an architecture: the same function in float64, the module untouched, misreadings refused."""

from __future__ import annotations

import copy
import time
import types

import numpy as np
import pytest
import torch
import torch.nn.utils.prune
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from simulations.bridge.architecture import read_architecture
from tests.bridge.networks import NETWORKS, Calling, ResNet18, build, randomised
from tests.bridge.reading import STRICT, agrees, evaluated, samples, seeded  # noqa: F401
from theory import InvalidInput
from theory.architecture import (
    Activation,
    Add,
    AvgPool,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    GlobalAvgPool,
    LayerNorm,
    Linear,
    MaxPool,
    Scale,
    fold,
    outputs,
)  # fmt: skip
from theory.bounds import compare

F = nn.functional


@pytest.mark.parametrize("name", NETWORKS)
def test_reads_the_same_function(name):
    net, shape = build(name), NETWORKS[name][1]
    X = samples(shape, seed=2)
    single = evaluated(build(name), X, torch.float32)
    read = agrees(net, shape)
    folded = outputs(*fold(read.architecture, read.weights), X)
    np.testing.assert_allclose(folded, single, rtol=1e-5, atol=1e-5)
    assert np.ptp(folded) > 1e-2  # not a constant function


def test_notes_say_what_was_set_aside():
    read = read_architecture(build("mixed activations"), torch.zeros(1, 9))
    assert read.notes == (
        "dropout is the identity at evaluation: 5", "the learned slope of a PReLU is a constant here: 6.1.0",
    )  # fmt: skip
    read = read_architecture(build("mobile"), torch.zeros(1, 3, 15, 15))
    assert read.notes == (
        "batch normalisation stands at its running statistics: 1, 4, 7",
        "normalisations without weights have ones and zeros: 7",
    )
    read = read_architecture(build("normalised input"), torch.zeros(1, 3, 6, 6))
    assert read.notes == ("constants of the forward pass stand as weights: bias1, scale1",)


def test_weights_have_the_names_and_values_of_the_state_dict():
    net = build("resnet18 (narrow)")
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    read = read_architecture(net, torch.zeros(1, 3, 32, 32))
    assert sorted(read.weights) == sorted(state)
    for name, array in read.weights.items():
        assert array.dtype == np.float64
        np.testing.assert_array_equal(array, state[name].numpy())
    kinds = [type(node.operation) for node in read.architecture.nodes]
    assert (kinds.count(Conv), kinds.count(BatchNorm), kinds.count(Add)) == (20, 20, 8)
    assert (kinds.count(MaxPool), kinds.count(GlobalAvgPool), kinds[-1]) == (1, 1, Linear)
    assert read.architecture["layer2.0.downsample.0"].operation.strides(2) == (2, 2)


def test_parametrised_weights_are_what_evaluation_uses():
    for name in ("weight norm", "weight norm, old", "spectral norm", "spectral norm, old", "orthogonal"):
        net, shape = build(name), NETWORKS[name][1]
        read = read_architecture(net, torch.zeros(1, *shape))
        net.eval()
        net(torch.zeros(1, *shape))  # the old forms set their weight in the forward pass
        np.testing.assert_allclose(read.weights["0.weight"], net[0].weight.detach().numpy(), rtol=2e-5, atol=1e-6)
        assert any("0.weight" in note and "computes" in note for note in read.notes)


def test_pruned_weights_are_pruned():
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    nn.utils.prune.l1_unstructured(net[0], "weight", amount=0.5)
    net(torch.randn(2, 6))
    assert (agrees(net, (6,)).weights["0.weight"] == 0).sum() == 15


def test_full_resnet18_on_two_images_in_under_ten_seconds():
    net = randomised(lambda: ResNet18(num_classes=10))
    X = samples((3, 32, 32), n=2)
    start = time.perf_counter()
    read = read_architecture(net, X)
    found = outputs(read.architecture, read.weights, X)
    assert time.perf_counter() - start < 10
    np.testing.assert_allclose(found, evaluated(net, X), rtol=1e-10, atol=1e-10)


def test_torchvisions_resnet18():
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:  # RuntimeError: a build that does not fit this PyTorch
        pytest.skip(f"torchvision does not import: {error}")
    net = models.resnet18(num_classes=10)
    assert {k: v.shape for k, v in net.state_dict().items()} == {
        k: v.shape for k, v in ResNet18(num_classes=10).state_dict().items()
    }
    agrees(net, (3, 32, 32))


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", ["vgg", "pre-activation", "conv1d"])
def test_a_traced_and_an_exported_program_are_the_same_network(name):
    net, shape = build(name).eval(), NETWORKS[name][1]
    X = samples(shape)
    want = read_architecture(net, X)
    exported = torch.export.export(copy.deepcopy(net).double(), (torch.from_numpy(X),)).module()
    for other in (torch.fx.symbolic_trace(copy.deepcopy(net)), exported):
        read = read_architecture(other, X)
        assert sorted(read.weights) == sorted(want.weights)
        np.testing.assert_allclose(
            outputs(read.architecture, read.weights, X), outputs(want.architecture, want.weights, X), **STRICT
        )


# what a symbolic reading would get wrong


def test_an_in_place_activation_changes_the_skip_connection_too():
    conv = nn.Conv2d(2, 2, 1)
    for inplace in (True, False):
        net = Calling(lambda self, x: (y := self.stem(x)) + self.conv(self.act(y)), stem=nn.Conv2d(2, 2, 1), conv=conv,
                      act=nn.ReLU(inplace))  # fmt: skip
        read = agrees(net, (2, 3, 3))
        skip = read.architecture.nodes[-1].inputs[0]
        assert skip == ("act" if inplace else "stem")


def test_a_value_changed_through_a_view_is_refused():
    def forward(self, x):
        y = self.fc(x)
        y.view(-1).relu_()
        return y * 2

    with pytest.raises(InvalidInput, match=r"changed in place|first axis"):
        read_architecture(Calling(forward, fc=nn.Linear(3, 2)), torch.zeros(1, 3))

    def other(self, x):
        y = self.fc(x)
        z = y.flatten(1)
        z.detach().relu_()
        return y * 2

    with pytest.raises(InvalidInput, match="changed in place"):
        read_architecture(Calling(other, fc=nn.Linear(3, 2)), torch.zeros(1, 3))


# modules used twice, functions, shapes


def test_shared_weights_stand_under_both_names_with_a_note():
    fc = nn.Linear(5, 5)
    read = agrees(nn.Sequential(fc, nn.Tanh(), fc, nn.Linear(5, 2)), (5,))
    np.testing.assert_array_equal(read.weights["0.weight"], read.weights["0@2.weight"])
    assert any("'0@2' uses the weights of '0' again" in note and "independent" in note for note in read.notes)
    tied = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5))
    tied[2].weight = tied[0].weight
    read = agrees(tied, (5,))
    assert any("'2' uses the weights of '0'" in note for note in read.notes)


def test_one_relu_module_may_be_used_often():
    act = nn.ReLU()
    read = agrees(nn.Sequential(nn.Linear(4, 4), act, nn.Linear(4, 4), act), (4,))
    assert [node.name for node in read.architecture.nodes] == ["0", "1", "2", "1@2"]
    assert read.notes == ()


def test_flat_inputs_may_be_given_their_shape():
    net = Calling(lambda self, x: self.fc(self.conv(x.view(-1, 2, 3, 4)).flatten(1)), conv=nn.Conv2d(2, 3, 3),
                  fc=nn.Linear(6, 2))  # fmt: skip
    read = agrees(net, (24,))
    assert read.architecture.input_shape == (2, 3, 4)
    assert any("its input (24,) the shape (2, 3, 4)" in note for note in read.notes)


@pytest.mark.parametrize(
    ("forward", "shape", "kinds"),
    [
        (lambda x: x.add_(1.5).mul_(2).sub_(0.5).div_(4), (3, 4), [Scale, Scale]),
        (lambda x: 3 - torch.sub(x, x.relu(), alpha=2), (5,), [Add]),
        (lambda x: sum([x, x, x]), (5,), [Add, Add]),
        (lambda x: x.clamp(min=0) + x.clip(0, 6) + torch.clamp(x, -1, 1) + F.hardtanh(x), (5,), [Activation]),
        (lambda x: F.avg_pool2d(F.max_pool2d(x, 3, 2, 1, ceil_mode=True), 2, ceil_mode=True), (2, 7, 7), [MaxPool]),
        (lambda x: F.adaptive_avg_pool2d(F.adaptive_max_pool2d(x, (4, 3)), 1).flatten(1), (2, 8, 6), [GlobalAvgPool]),
        (lambda x: F.avg_pool2d(x, 4).view(-1, 2), (2, 4, 4), [GlobalAvgPool]),
        (lambda x: F.avg_pool2d(x, 4, padding=1).flatten(1), (2, 4, 4), [AvgPool, Flatten]),
        (lambda x: (y := F.adaptive_avg_pool2d(x, 1)).flatten(1) + (y * 2).flatten(1), (2, 3, 3), [Flatten, Flatten]),
        (lambda x: x.mean(dim=[-1, -2], keepdim=True).squeeze(-1).squeeze(-1), (2, 4, 3), []),
        (lambda x: x.abs().sigmoid().tanh().double().to(torch.float64).detach().clone(), (4,), [Activation]),
        (lambda x: F.dropout(F.dropout2d(x, 0.2, False), p=1.0, training=False), (2, 4, 3), [Dropout]),
        (lambda x: F.layer_norm(F.gelu(x), (3,)), (4, 3), [LayerNorm]),
    ],
)
def test_functions_and_methods(forward, shape, kinds):
    read = agrees(Calling(lambda self, x: forward(x + 0.25)), shape)
    found = [type(node.operation) for node in read.architecture.nodes]
    assert all(found.count(kind) >= kinds.count(kind) for kind in kinds)


def test_casts_are_set_aside_with_a_note():
    net = Calling(lambda self, x: self.fc(x.half().to(torch.float32)), fc=nn.Linear(3, 2))
    read = read_architecture(net, torch.zeros(1, 3))
    X = samples((3,))
    np.testing.assert_allclose(outputs(read.architecture, read.weights, X), evaluated(net.fc, X), **STRICT)
    assert read.notes == ("casts to other types are set aside, everything is float64: the module itself",)


def test_names_of_functions_leave_those_of_modules_free():
    net = Calling(lambda self, x: self.linear1(self.relu1(torch.relu(F.linear(x, self.linear1.weight + 1)))),
                  relu1=nn.ReLU(), linear1=nn.Linear(3, 3))  # fmt: skip
    read = agrees(net, (3,))
    assert [node.name for node in read.architecture.nodes] == ["linear2", "relu2", "relu1", "linear1"]


def test_functions_of_a_modules_parameters_have_its_name():
    net = Calling(lambda self, x: F.linear(x, self.fc.weight, self.fc.bias), fc=nn.Linear(3, 2))
    assert [node.name for node in agrees(net, (3,)).architecture.nodes] == ["fc"]


def test_a_forward_of_the_modules_own_is_kept():
    net = nn.Sequential(nn.Linear(3, 3))
    net.forward = types.MethodType(lambda self, x: self[0](x).relu(), net)
    assert len(agrees(net, (3,)).architecture.nodes) == 2


def test_a_network_without_operations_is_the_identity():
    read = agrees(nn.Sequential(nn.Identity()), (3,))
    assert read.architecture.nodes[0].operation == Activation("identity")


def test_a_bare_layer_has_a_name_and_a_note():
    read = agrees(nn.Linear(3, 2), (3,))
    assert sorted(read.weights) == ["linear1.bias", "linear1.weight"]
    assert "'linear1.weight' is the module's 'weight'" in read.notes


def test_a_module_called_input_is_renamed():
    net = nn.Sequential()
    net.add_module("input", nn.Linear(3, 2))
    read = agrees(net, (3,))
    assert "'input@2.weight' is the module's 'input.weight'" in read.notes


# whole and part


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_random_graphs(data):
    """Chains of blocks, plain or residual, in modules or functions, over maps and then vectors."""
    seed = data.draw(st.integers(0, 10**6))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        channels, blocks = 2, []
        for _ in range(data.draw(st.integers(1, 5))):
            width = data.draw(st.integers(1, 3)) * 2
            kernel = data.draw(st.sampled_from([1, 3]))
            groups = data.draw(st.sampled_from([1, 2]))
            mode = data.draw(st.sampled_from(["zeros", "circular", "reflect", "replicate"]))
            residual, inplace = data.draw(st.booleans()), data.draw(st.booleans())
            conv = nn.Conv2d(channels, channels if residual else width, kernel, padding=kernel // 2, groups=groups,
                             bias=data.draw(st.booleans()), padding_mode=mode)  # fmt: skip
            norm = nn.BatchNorm2d(conv.out_channels) if data.draw(st.booleans()) else nn.Identity()
            act = data.draw(st.sampled_from([nn.ReLU(inplace), nn.SiLU(inplace), nn.LeakyReLU(0.2), nn.Dropout()]))
            body = nn.Sequential(*data.draw(st.permutations([act, nn.Sequential(conv, norm)])))
            blocks.append(Calling(lambda self, x: self.body(x) + x, body=body) if residual else body)
            channels = conv.out_channels
        net = randomised(lambda: nn.Sequential(*blocks, nn.Flatten(), nn.Linear(channels * 25, 3)), seed)
    agrees(net, (2, 5, 5))


def test_goes_into_the_bounds():
    net = nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 2, bias=False))
    read = read_architecture(net, torch.zeros(1, 4))
    X = samples((4,), n=30)
    y = evaluated(net, X).argmax(axis=1)
    found = compare(read.architecture, read.weights, (X, y), 0.05)
    assert len(found.reports) > 10 and found.best is not None


def test_the_record():
    net = build("vgg")
    read = read_architecture(net, torch.zeros(1, 3, 20, 20))
    told = read.to_json()
    assert told["parameters"]["features.0.weight"] == [8, 3, 3, 3]
    assert "note: dropout is the identity at evaluation: classifier.3" in read.summary()
    assert repr(read).startswith("ReadNetwork(Architecture((3, 20, 20) -> (5,)")
