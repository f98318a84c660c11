"""What ``flow_of`` refuses, and in which words."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

from simulations.bridge import flow_of  # noqa: E402
from tests.bridge.test_flow import Square, X, Y, made, tanh_net  # noqa: E402
from theory import InvalidInput, PreconditionError  # noqa: E402


class Centred(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 1)

    def forward(self, x):
        return self.inner(x - x.mean(0))


class Noisy(Centred):
    def forward(self, x):
        return self.inner(x + torch.randn_like(x))


class Two(Centred):
    def forward(self, x):
        return self.inner(x), x


class Hidden(Centred):
    """A kink that no module shows."""

    def forward(self, x):
        return self.inner(x).clamp(min=0)


def frozen():
    return nn.Linear(3, 1).requires_grad_(False)


def broken():
    module = nn.Linear(3, 1)
    with torch.no_grad():
        module.weight[0, 0] = float("nan")
    return module


def mixed(*parts):
    return lambda: nn.Sequential(nn.Linear(3, 4), *parts, nn.Linear(4, 1))


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (Hidden, PreconditionError, r"kinks \(clamp; "),
        (mixed(nn.ReLU(), nn.Linear(4, 4), nn.Tanh()), PreconditionError, r"kinks \(relu"),
        (mixed(nn.ReLU(), nn.Linear(4, 4)), PreconditionError, r"kinks \(relu"),
        (mixed(nn.ReLU(), nn.ReLU()), PreconditionError, r"kinks \(relu"),
        (mixed(nn.ReLU(), nn.Linear(4, 4), nn.LeakyReLU()), PreconditionError, r"kinks \(leaky_relu, relu"),
        (mixed(nn.SELU()), PreconditionError, r"kinks \(elu"),
        (mixed(nn.Hardtanh()), PreconditionError, r"kinks \(hardtanh"),
        (mixed(nn.PReLU()), PreconditionError, r"kinks \(prelu"),
        (mixed(nn.BatchNorm1d(4)), PreconditionError, r"batch normalisation '1' .* call .eval\(\)"),
        (lambda: mixed(nn.BatchNorm1d(4, track_running_stats=False))().eval(), PreconditionError, "normalisation '1'"),
        (Centred, PreconditionError, "couples the samples"),
        (Noisy, PreconditionError, "draws random numbers"),
        (Two, InvalidInput, "returns tuple"),
        (frozen, InvalidInput, "no trainable parameters"),
        (broken, InvalidInput, "'weight' must be finite"),
        (Square, InvalidInput, "no trainable parameters"),
        (lambda: nn.Sequential(nn.LazyLinear(1)), InvalidInput, "has no values yet"),
        (lambda: nn.Linear(4, 1), InvalidInput, "cannot be evaluated on inputs of shape"),
        (lambda: nn.Linear(3, 2), InvalidInput, "needs a network with one output"),
    ],
)
def test_refusals(build, error, words):
    with pytest.raises(error, match=words) as caught:
        flow_of(made(build), (X, Y), "logistic")
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((object(), (X, Y), "logistic"), {}, "torch.nn.Module is wanted"),
        ((None, X, "logistic"), {}, "data must be a pair"),
        ((None, (X[:, 0], Y), "logistic"), {}, "inputs must have shape"),
        ((None, (X * np.nan, Y), "logistic"), {}, "finite"),
        ((None, (X, Y[:3]), "logistic"), {}, "labels must have shape"),
        ((None, (X, Y), "hinge"), {}, "loss must be one of"),
        ((None, (X, Y), "logistic"), {"kinks": "no"}, "kinks must be"),
        ((None, (X, Y), "logistic"), {"degree": 0}, "degree must be at least 1"),
    ],
)
def test_bad_arguments(arguments, options, words):
    module, *rest = arguments
    with pytest.raises(InvalidInput, match=words):
        flow_of(made(tanh_net) if module is None else module, *rest, **options)


def test_smooth_elu_is_no_kink():
    assert not flow_of(made(mixed(nn.ELU(), nn.Linear(4, 4), nn.CELU(0.5))), (X, Y), "logistic").notes
