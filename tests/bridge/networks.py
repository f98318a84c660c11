"""Networks that the bridge reads, in the styles that people write, and a ResNet-18 with torchvision's names.

Each builder takes no arguments and gives a module; ``NETWORKS`` has them with their input shapes.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn
from torch.nn.utils import parametrizations

F = nn.functional


class Calling(nn.Module):
    """A network from a function of itself and the input."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self._call = forward

    def forward(self, x):
        return self._call(self, x)


class BasicBlock(nn.Module):
    def __init__(self, inplanes, planes, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or inplanes != planes:
            short = nn.Conv2d(inplanes, planes, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(short, nn.BatchNorm2d(planes))

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class ResNet18(nn.Module):
    """The layout and the state_dict names of ``torchvision.models.resnet18``."""

    def __init__(self, num_classes=1000, width=64):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        sizes = [width, width, 2 * width, 4 * width, 8 * width]
        for i in range(1, 5):
            first = BasicBlock(sizes[i - 1], sizes[i], 1 if i == 1 else 2)
            stage = nn.Sequential(first, BasicBlock(sizes[i], sizes[i]))
            setattr(self, f"layer{i}", stage)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8 * width, num_classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        return self.fc(x)


class FunctionalMLP(nn.Module):
    """Everything by functions and methods, with the checks on shapes that people write."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(48, 20), nn.Linear(20, 16)
        self.kernel, self.shift = nn.Parameter(torch.randn(16, 16)), nn.Parameter(torch.randn(16))
        self.fc3 = nn.Linear(16, 5, bias=False)

    def forward(self, x):
        if x.ndim != 2:
            x = x.view(x.size(0), -1)
        assert x.shape[1] == 48, "48 features"
        x = F.relu(self.fc1(x))
        x = F.dropout(x, 0.3, training=self.training)
        x = torch.tanh(self.fc2(x)) * 0.5 + 0.25
        x = x + x.relu() - F.linear(x, self.kernel).sigmoid().neg() / 2
        x = F.silu(1.5 - x @ self.kernel + self.shift)
        return self.fc3(x.reshape(-1, 16)).contiguous()


class PreActivation(nn.Module):
    """A pre-activation block whose in-place ReLU also changes the skip connection."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.bn1, self.conv1 = nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(6, 4)

    def forward(self, x):
        x = self.bn1(self.stem(x))
        out = self.conv1(self.relu(x))
        out = self.conv2(self.relu(self.bn2(out)))
        return self.head(torch.add(x, out).mean((2, 3)))


class Conv1dNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.ModuleList(
            [nn.Conv1d(2, 4, 5, stride=2, padding=2),
             nn.Conv1d(4, 4, 3, padding="same", dilation=2, padding_mode="reflect"),
             nn.Conv1d(4, 6, 3, padding="valid", bias=False)]
        )  # fmt: skip
        self.norm, self.fc = nn.BatchNorm1d(6), nn.Linear(6, 3)

    def forward(self, x):
        for conv in self.body:
            x = F.leaky_relu(conv(x), 0.2)
        x = F.max_pool1d(self.norm(x), 2)
        return self.fc(F.adaptive_max_pool1d(x, 1).squeeze(-1))


def mlp():
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(),
                         nn.Linear(16, 4))  # fmt: skip


def vgg():
    def stage(a, b):
        return [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(True), nn.MaxPool2d(2)]

    net = nn.Sequential()
    net.features = nn.Sequential(*stage(3, 8), *stage(8, 8), nn.AvgPool2d(2, padding=1, count_include_pad=False))
    net.avgpool = nn.AdaptiveAvgPool2d((1, 3))
    net.classifier = nn.Sequential(nn.Flatten(), nn.Linear(24, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, 5))
    return net


def old_weight_norm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = [nn.utils.weight_norm(nn.Conv2d(2, 4, 3)), nn.utils.weight_norm(nn.Linear(64, 3))]
    return nn.Sequential(old[0], nn.ELU(0.7), nn.Flatten(), old[1])


def weight_norm():
    new = [parametrizations.weight_norm(nn.Conv2d(2, 4, 3)), parametrizations.weight_norm(nn.Linear(64, 3))]
    return nn.Sequential(new[0], nn.ELU(0.7), nn.Flatten(), new[1])


def spectral_norm(wrap):
    net = nn.Sequential(wrap(nn.Conv2d(2, 4, 3)), nn.SELU(), nn.Flatten(1), wrap(nn.Linear(64, 3)))
    net(torch.randn(2, 2, 6, 6))  # one power iteration in training mode
    return net


def orthogonal():
    return nn.Sequential(parametrizations.orthogonal(nn.Linear(10, 8)), nn.Tanh(), nn.Linear(8, 3))


def mobile():
    """Depthwise, grouped and dilated convolutions under ReLU6."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(inplace=True),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6(inplace=True),
        nn.Conv2d(8, 12, 1, bias=False), nn.BatchNorm2d(12, affine=False),
        nn.Conv2d(12, 12, (3, 2), dilation=(2, 1), groups=4, padding=(2, 0)), nn.Hardtanh(),
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(12, 5, 1), nn.Flatten(),
    )  # fmt: skip


def circular():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular"), nn.Mish(), nn.ReplicationPad2d(1),
        nn.Conv2d(4, 4, 3, stride=2), nn.Softplus(), nn.ZeroPad2d((1, 1, 2, 2)), nn.Conv2d(4, 4, 3, padding=1),
        nn.Sigmoid(), nn.AvgPool2d(2), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


def mixed():
    return nn.Sequential(
        nn.Linear(9, 12), nn.LeakyReLU(0.3), nn.Identity(), nn.Linear(12, 12), nn.GELU(), nn.AlphaDropout(0.2),
        nn.Sequential(nn.Linear(12, 10), nn.Sequential(nn.PReLU(), nn.Linear(10, 6))), nn.RReLU(), nn.Linear(6, 4),
    )  # fmt: skip


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(3, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, dim_feedforward=12, batch_first=True, activation="gelu")
        self.norm, self.head = nn.LayerNorm(8, elementwise_affine=False), nn.Linear(40, 4)

    def forward(self, x):
        return self.head(self.norm(self.block(self.embed(x))).flatten(1))


class Normalised(nn.Module):
    """The input's normalisation inside the network, by buffers."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.2, 0.25, 0.3]).view(1, 3, 1, 1))
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv((x - self.mean) / self.std)
        return self.fc(torch.relu_(x).amax(dim=(-2, -1)))


def small_resnet():
    return ResNet18(num_classes=7, width=4)


NETWORKS = {
    "resnet18 (narrow)": (small_resnet, (3, 32, 32)), "vgg": (vgg, (3, 20, 20)), "mlp": (mlp, (12,)),
    "functional mlp": (FunctionalMLP, (3, 4, 4)), "pre-activation": (PreActivation, (2, 7, 7)),
    "conv1d": (Conv1dNet, (2, 21)), "weight norm, old": (old_weight_norm, (2, 6, 6)),
    "weight norm": (weight_norm, (2, 6, 6)),
    "spectral norm, old": (lambda: spectral_norm(nn.utils.spectral_norm), (2, 6, 6)),
    "spectral norm": (lambda: spectral_norm(parametrizations.spectral_norm), (2, 6, 6)),
    "orthogonal": (orthogonal, (10,)), "mobile": (mobile, (3, 15, 15)), "circular": (circular, (2, 12, 12)),
    "mixed activations": (mixed, (9,)), "transformer": (Transformer, (5, 3)),
    "normalised input": (Normalised, (3, 6, 6)),
}  # fmt: skip


def build(name, seed=0):
    """A network of the table with random weights, normalisations away from the identity included, in training mode."""
    return randomised(NETWORKS[name][0], seed)


def randomised(builder, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = builder()
        for part in net.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
                if part.affine:
                    nn.init.uniform_(part.weight, -1.5, 1.5)
                    nn.init.normal_(part.bias)
    return net
