"""What cannot be read, and declarations that a module refutes: one sentence that names the module."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
import torch
from torch import nn

from simulations.bridge.architecture import read_architecture
from tests.bridge.networks import Calling
from tests.bridge.reading import agrees, seeded  # noqa: F401
from theory import InvalidInput, PreconditionError
from theory.architecture import Activation, Add, BatchNorm, Linear, outputs

F = nn.functional


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x: self.fc(x) if x.sum() > 0 else self.fc(-x),
        lambda self, x: self.fc(x) * float(x.abs().max()),
        lambda self, x: self.fc(x) + torch.tensor(x.tolist()).sum(),
        lambda self, x: self.fc(x) + torch.from_numpy(x.numpy().max(axis=0)).sum(),
        lambda self, x: self.fc(x) * x.softmax(1)[:1, :2],
        lambda self, x: self.fc(x) / x.shape[0],
        lambda self, x: self.fc(x) if len(x) == 2 else self.fc(x).relu(),
        lambda self, x: F.linear(x, self.fc.weight * x.mean()),
        lambda self, x: torch.cat([self.fc(x), x], 1),
        lambda self, x: self.fc(x) * self.fc(x),
        lambda self, x: self.fc(x) - self.fc(x).mean(0),
        lambda self, x: self.fc(x)[:, :1],
        lambda self, x: (self.fc(x), x),
        lambda self, x: torch.ones(len(x), 3),
        lambda self, x: self.fc(x[0]),
        lambda self, x: F.dropout(self.fc(x)),
        lambda self, x: self.fc(x) + torch.randn(2),
        lambda self, x: self.fc(x).add_(1, alpha=x.size(0)),
        lambda self, x: self.fc(x.to(torch.int64).to(x.dtype)),
        lambda self, x: self.fc(x.round()),
        lambda self, x: self.fc(x) + x.double().relu_()[:, :2],
        lambda self, x: x + x.float().relu_(),
        lambda self, x: x.data.relu_() + self.fc(x)[:, :1],
    ],
)
def test_what_depends_on_values_batch_or_chance_is_refused(forward):
    with pytest.raises(InvalidInput):
        read_architecture(Calling(forward, fc=nn.Linear(3, 2)), torch.ones(1, 3))


def largest(x: torch.Tensor) -> torch.Tensor:
    return x.abs().max()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_value_taken_out_of_sight_is_found_out():
    """TorchScript is not seen: for the first input its result looks like a constant, for the second it is another."""
    unseen = torch.jit.script(largest)
    net = Calling(lambda self, x: self.fc(x) * unseen(x), fc=nn.Linear(3, 2))
    with pytest.raises(InvalidInput, match="depend on the values of the input"):
        read_architecture(net, torch.ones(1, 3))


@pytest.mark.parametrize("constant", [torch.arange(12.0).view(1, 3, 2, 2), torch.arange(2.0), torch.ones(2, 3, 2, 2)])
def test_constants_that_are_not_one_number_per_channel(constant):
    with pytest.raises(InvalidInput, match=r"varies within a channel|fit one sample"):
        read_architecture(Calling(lambda self, x: x * constant), torch.ones(1, 3, 2, 2))


def test_dropout_that_evaluation_does_not_switch_off():
    with pytest.raises(InvalidInput, match="dropout is applied with training=True"):
        read_architecture(Calling(lambda self, x: F.dropout(x)), torch.ones(1, 3))


def test_a_map_padded_twice():
    net = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(2, 2, 3, padding=1))
    with pytest.raises(InvalidInput, match="padded again"):
        read_architecture(net, torch.ones(1, 2, 5, 5))


def test_a_constant_that_changes_between_evaluations_is_found_out():
    store = {}

    def forward(self, x):
        level = store.setdefault("level", 2.0)
        store["level"] = level + 1
        return self.fc(x) * level

    with pytest.raises(InvalidInput, match="depend"):
        read_architecture(Calling(forward, fc=nn.Linear(3, 2)), torch.zeros(1, 3))


class Snake(nn.Module):
    def forward(self, x):
        return x + torch.sin(x) ** 2


class Cube(nn.Module):
    def forward(self, x):
        return x**3


class Mixing(nn.Module):
    def forward(self, x):
        return x.flip(1)


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.randn(4))

    def forward(self, x):
        return torch.einsum("ni,oi->no", x, self.weight) + self.bias


def with_part(part):
    return nn.Sequential(nn.Linear(4, 4), nn.Sequential(part), nn.Linear(4, 2))


def test_an_unknown_module_is_named_with_the_way_out():
    with pytest.raises(InvalidInput) as refused:
        read_architecture(with_part(Snake()), torch.zeros(1, 4))
    said = str(refused.value)
    assert "'1.0' (Snake)" in said and "sin" in said and "Lipschitz constant and homogeneity" in said
    assert "declared={'Snake': Activation('snake', lipschitz=1.0, degree=1)}" in said and "\n" not in said


@pytest.mark.parametrize("key", ["Snake", "1.0"])
def test_declared_by_class_or_path(key):
    net = with_part(Snake())
    read = read_architecture(net, torch.zeros(1, 4), declared={key: Activation("snake", lipschitz=2.0)})
    assert read.architecture["1.0"].operation.facts.lipschitz == 2.0
    assert any("'1.0' is declared as snake (Lipschitz constant 2)" in note for note in read.notes)
    with pytest.raises(InvalidInput, match="only declared"):
        outputs(read.architecture, read.weights, np.ones((1, 4)))


def test_a_declared_operation_takes_the_modules_parameters():
    net = with_part(Gate())
    with pytest.raises(InvalidInput, match=r"'1\.0' \(Gate\): einsum"):
        read_architecture(net, torch.zeros(1, 4))
    read = agrees(net, (4,), declared={"Gate": Linear(4)})
    np.testing.assert_array_equal(read.weights["1.0.weight"], net[1][0].weight.detach().numpy())


@pytest.mark.parametrize(
    ("part", "operation", "reason"),
    [
        (Snake(), Activation("snake", lipschitz=1.1), "stretches"),
        (Snake(), Activation("snake", lipschitz=2.0, degree=1), "homogeneous"),
        (Cube(), Activation("cube", lipschitz=1e9, degree=2), "homogeneous"),
        (Mixing(), Activation("mixing", lipschitz=1.0), "act on one another"),
        (Snake(), Activation("relu"), "declared as"),
        (Gate(), Linear(4, bias=False), "something else"),
        (Gate(), Linear(3), "shape"),
        (Gate(), BatchNorm(), "running_mean"),
        (Gate(), Add(), "reads 1 value"),
        (nn.Unflatten(1, (2, 2)), Activation("fold", lipschitz=1.0), "should give"),
    ],
)
def test_a_declaration_that_the_module_refutes(part, operation, reason):
    with pytest.raises(InvalidInput, match=reason):
        read_architecture(with_part(part), torch.zeros(1, 4), declared={"1.0": operation})


def test_true_declarations_pass():
    read_architecture(with_part(Cube()), torch.zeros(1, 4), declared={"1.0": Activation("c", lipschitz=1e9, degree=3)})


@pytest.mark.parametrize(
    ("declared", "reason"),
    [({"Nothing": Activation()}, "neither the path nor the class"), ({"0": 1.0}, "declared maps"),
     ({3: Linear(2)}, "maps")],
)  # fmt: skip
def test_declarations_that_fit_nothing(declared, reason):
    with pytest.raises(InvalidInput, match=reason):
        read_architecture(with_part(nn.ReLU()), torch.zeros(1, 4), declared=declared)


@pytest.mark.parametrize("first", [True, False])
def test_an_input_read_in_two_shapes(first):
    def forward(self, x):
        fresh = self.fc(x) if first else 0
        return fresh + self.conv(x.view(-1, 1, 4)).flatten(1) + (0 if first else self.fc(x))

    with pytest.raises(InvalidInput, match="given the shape" if first else "two shapes"):
        read_architecture(Calling(forward, fc=nn.Linear(4, 3), conv=nn.Conv1d(1, 1, 2)), torch.zeros(1, 4))


def scripted():
    return torch.jit.script(nn.Sequential(nn.Linear(4, 2)))


def replaced():
    net = nn.Sequential(nn.Linear(4, 2))
    net[0].forward = lambda x: x
    return net


def compiled():
    return torch.compile(nn.Linear(4, 2))


def meta():
    return nn.Linear(4, 2, device="meta")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("builder", "shape", "reason"),
    [
        (lambda: nn.BatchNorm1d(4, track_running_stats=False), (4,), "running statistics"),
        (lambda: nn.PReLU(4), (4,), "PReLU"), (lambda: nn.GELU("tanh"), (4,), "approximate"),
        (lambda: nn.Softplus(beta=2), (4,), "softplus"), (lambda: nn.Hardtanh(-2, 2), (4,), "clipping"),
        (lambda: nn.LeakyReLU(-0.1), (4,), "negative"), (nn.Softmax, (4,), "logits"), (nn.GLU, (4,), "GLU"),
        (lambda: nn.GroupNorm(2, 4), (4, 3), "GroupNorm"),
        (lambda: nn.MaxPool2d(2, ceil_mode=True), (2, 5, 5), "ceil_mode"),
        (lambda: nn.MaxPool2d(2, dilation=2), (2, 5, 5), "dilated"), (nn.Dropout, (4,), None),
        (lambda: nn.AvgPool2d(2, divisor_override=3), (2, 5, 5), "divisor"),
        (lambda: nn.LPPool2d(2, 2), (2, 5, 5), "LPPool"),
        (lambda: nn.AdaptiveAvgPool2d(3), (2, 5, 5), "several sizes"),
        (lambda: nn.ZeroPad2d(1), (2, 5, 5), "output cannot be read: a padded map"),
        (lambda: nn.Sequential(nn.ZeroPad2d(1), nn.ReLU()), (2, 5, 5), "something else than a convolution"),
        (lambda: nn.Sequential(nn.ConstantPad2d(1, 2.0), nn.Conv2d(2, 2, 3)), (2, 5, 5), "by zeros"),
        (lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(2, 2, 3)), (2, 5, 5), "both sides"),
        (lambda: nn.Conv2d(2, 2, 2, padding="same"), (2, 5, 5), "odd extent"),
        (lambda: nn.ConvTranspose2d(2, 2, 2), (2, 5, 5), "conv_transpose2d"), (lambda: nn.LSTM(4, 4), (3, 4), "LSTM"),
        (lambda: nn.LayerNorm((3, 4)), (3, 4), "layer normalisation"),
        (lambda: nn.DataParallel(nn.Linear(4, 2)), (4,), "module inside"), (scripted, (4,), "TorchScript"),
        (compiled, (4,), "_orig_mod"),
        (lambda: nn.LazyLinear(2), (4,), "initialise"), (meta, (4,), "initialise"), (replaced, (4,), "replaced"),
        (lambda: nn.Linear(4, 2, dtype=torch.complex64), (4,), "complex"),
        (lambda: nn.Linear(5, 2), (4,), "first axis is the batch"),
        (lambda: Calling(lambda self, x: x, lock=threading.Lock()), (4,), "cannot be copied"),
    ],
)  # fmt: skip
def test_refusals_are_one_sentence(builder, shape, reason):
    if reason is None:
        agrees(builder(), shape)
        return
    with pytest.raises(InvalidInput, match=reason) as refused:
        read_architecture(builder(), torch.zeros(1, *shape))
    said = str(refused.value)
    assert said.endswith(".") and "\n" not in said and not said.endswith("..")


@pytest.mark.parametrize(
    ("example", "reason"),
    [(torch.zeros(4), "batch"), (torch.zeros(1, 4, dtype=torch.long), "floating"), (torch.zeros(0, 4), "batch"),
     (np.full((1, 4), np.nan), "finite"), ("digits", "batch"), (torch.zeros(1, 1, 1, 1, 4), "batch")],
)  # fmt: skip
def test_bad_examples(example, reason):
    with pytest.raises(InvalidInput, match=reason):
        read_architecture(nn.Linear(4, 2), example)


def attention(**given):
    part = nn.MultiheadAttention(4, 2, **{"batch_first": True, **given})
    return Calling(lambda self, x: self.part(x, x, x, need_weights=False)[0], part=part)


def masked():
    net = attention()
    net._call = lambda self, x: self.part(x, x, x, attn_mask=torch.eye(3).bool().logical_not())[0]
    return net


def crossed():
    net = attention()
    net._call = lambda self, x: self.part(x, x.relu(), x)[0]
    return net


@pytest.mark.parametrize(
    ("builder", "reason"),
    [(lambda: attention(batch_first=False), "batch-first"), (lambda: attention(bias=False), "with biases"),
     (lambda: attention(kdim=4, vdim=3), "cannot be evaluated|one width"), (masked, "mask"), (crossed, "to another"),
     (lambda: attention(add_zero_attn=True), "batch-first"), (lambda: attention(add_bias_kv=True), "batch-first")],
)  # fmt: skip
def test_attention_is_read_where_it_has_a_counterpart(builder, reason):
    agrees(attention(), (3, 4))
    with pytest.raises(InvalidInput, match=reason):
        read_architecture(builder(), torch.zeros(1, 3, 4))


def test_without_pytorch(monkeypatch):
    net = nn.Linear(4, 2)
    read_architecture(net, np.zeros((1, 4)))
    monkeypatch.delitem(sys.modules, "simulations.bridge._modules")
    monkeypatch.delattr("simulations.bridge._modules")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(PreconditionError, match=r"needs PyTorch: pip install 'deep-classifier-theory\[torch\]'"):
        read_architecture(net, np.zeros((1, 4)))


def test_not_a_module():
    with pytest.raises(InvalidInput, match=r"torch\.nn\.Module"):
        read_architecture("net.pt", torch.zeros(1, 4))


def test_weights_that_are_not_finite():
    net = nn.Linear(2, 2)
    nn.init.constant_(net.weight, float("nan"))
    with pytest.raises(InvalidInput, match="finite"):
        read_architecture(net, torch.zeros(1, 2))
