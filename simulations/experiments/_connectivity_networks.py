"""The pairs of networks of ``connectivity``: trained on digits, joined in three ways, and their neurons counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations.experiments._one_thread import one_thread

if TYPE_CHECKING:
    from simulations.data.dataset import Dataset
    from theory.connectivity import ConnectedPath, DenseNetwork

WAYS = ("half", "linear", "aligned")
BATCH, RATE, MOMENTUM, KEPT = 50, 0.05, 0.9, 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Two networks 64 - w - w - 10 on the same digits, from two seeds."""

    width: int
    pair: int
    samples: int
    epochs: int
    points: int
    max_steps: int

    def key(self) -> dict[str, Any]:
        """All that the record depends on."""
        return asdict(self)


def join_pair(setting: Setting, say: Callable[[str], Any] | None = None) -> dict[str, Any]:
    """Train both, and measure the three paths and the neurons that they ask for."""
    from theory.connectivity import aligned_path, connect, linear_path, neuron_counts

    data = data_of(setting)
    with one_thread():
        first, second = (trained(setting, data, 2 * setting.pair + k) for k in (0, 1))
    X, y, points = data.X, data.y, setting.points
    paths = {
        "half": connect(first, second, X, y, points=points, max_steps=setting.max_steps, callback=say),
        "linear": linear_path(first, second, X, y, points=points, pieces=32),
        "aligned": aligned_path(first, second, X, y, points=points, pieces=32),
    }
    half = paths["half"]
    if say is not None:
        say("counting neurons")
    return {
        "errors": [float((net.outputs(X).argmax(axis=1) != y).mean()) for net in (first, second)],
        "ends": half.ends, "eps": max(condition.eps for condition in half.conditions),
        "holds": all(condition.holds for condition in half.conditions),
        "methods": [[layer.method for layer in condition.layers] for condition in half.conditions],
        "kinds": [segment.kind for segment in half.segments], "occupied": half.occupied,
        "counts": [count.to_json() | {"enough": count.enough} for count in neuron_counts(first, second, X, y)],
        "paths": {way: _measured(path) for way, path in paths.items()},
    }  # fmt: skip


def data_of(setting: Setting) -> Dataset:
    """As many digits of each class, other ones for each pair."""
    from simulations.data import digits

    return digits(flat=True).subset(counts=setting.samples // 10, seed=setting.pair)


def trained(setting: Setting, data: Dataset, seed: int) -> DenseNetwork:
    """A ReLU perceptron with biases after SGD, in float32, read into float64."""
    from simulations.networks import perceptron
    from simulations.train import TrainingPlan, train
    from theory.connectivity import DenseNetwork

    plan = TrainingPlan(epochs=setting.epochs, learning_rate=RATE, momentum=MOMENTUM, batch_size=BATCH, seed=seed,
                        evaluate_every=setting.epochs)  # fmt: skip
    widths = (data.X.shape[1], setting.width, setting.width, data.num_classes)
    net = train(lambda seed: perceptron(widths, bias=True, seed=seed), data, plan).model
    arrays = [parameter.detach().double().numpy() for parameter in net.parameters()]
    return DenseNetwork.of(arrays[::2], arrays[1::2])


def _measured(path: ConnectedPath) -> dict[str, Any]:
    s, losses = path.curve()
    # the largest of every stretch, so that a thinned curve hides no peak
    parts = np.array_split(np.arange(len(s)), min(KEPT, len(s)))
    at = [int(part[np.argmax(losses[part])]) for part in parts]
    return {"barrier": path.barrier, "barrier_upper": path.barrier_upper, "maximum": path.maximum,
            "segments": len(path.segments), "points": path.points, "s": s[at], "losses": losses[at]}  # fmt: skip
