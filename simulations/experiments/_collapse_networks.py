"""The networks of ``neural-collapse``: what they see, how they are trained, what is measured on them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations.data import Dataset, digits

if TYPE_CHECKING:
    import torch

K = 10
SCALE = 4.0  # norm of an orthonormal input
RADIUS = 3.0  # norm of a feature on the sphere


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One kind of network and data; cross-entropy, momentum 0.9, no biases but those of batch normalisation.

    Attributes
    ----------
    name : for tables.
    inputs : ``orthonormal`` (times 4; each sample a direction of its own) or ``digits`` (centred).
    network : ``perceptron``, ``sphere`` (features scaled to norm 3) or ``convolutions`` (batch normalisation, mean over
        positions).
    widths : of the hidden layers, or channels. per_class : samples.
    lam : weight decay of all parameters. rate, epochs, batch_size, schedule : of SGD; a full batch where None.
    """

    name: str
    inputs: str
    network: str
    widths: tuple[int, ...]
    per_class: int
    lam: float
    rate: float
    epochs: int
    batch_size: int | None = None
    schedule: str = "constant"

    @property
    def known_penalty(self) -> float | None:
        """lam_H = lam / c^2 on orthonormal inputs under one hidden layer, before any training; else None."""
        return self.lam / SCALE**2 if self.inputs == "orthonormal" else None

    @property
    def looks(self) -> tuple[int, ...]:
        """About 20 epochs, 0 and the last among them, growing geometrically."""
        between = np.unique(np.geomspace(1, self.epochs, 20).round().astype(int))
        return (0, *(int(epoch) for epoch in between))

    def key(self, seed: int) -> dict[str, Any]:
        """All that a record depends on."""
        return {name: value for name, value in asdict(self).items() if name != "name"} | {"seed": seed}


def centred_digits(
    per_class: int, seed: int, *, classes: Sequence[int] = tuple(range(K)), flat: bool = True
) -> Dataset:
    """Digits of some classes, less the mean image, times one factor: mean squared norm 64, one for each pixel."""
    every = digits(flat=flat, test_size=0)
    at = {int(c): i for i, c in enumerate(classes)}
    kept = np.isin(every.y, list(at))
    labels = np.array([at[int(c)] for c in every.y[kept]])
    part = Dataset(name="digits", X=every.X[kept], y=labels, num_classes=len(at)).subset(counts=per_class, seed=seed)
    X = part.X - part.X.mean(axis=0)
    return Dataset(name="centred digits", X=X * math.sqrt(64 * len(X) / (X**2).sum()), y=part.y, num_classes=len(at))


def data_of(setting: Setting, seed: int) -> Dataset:
    """The training set; the seed draws the directions, or which digits."""
    if setting.inputs == "digits":
        return centred_digits(setting.per_class, seed, flat=setting.network != "convolutions")
    N = K * setting.per_class
    Q = np.linalg.qr(np.random.default_rng([seed, N]).standard_normal((N, N)))[0]
    return Dataset(name="orthonormal inputs", X=SCALE * Q, y=np.repeat(np.arange(K), setting.per_class), num_classes=K)


def network(setting: Setting, inputs: int, seed: int) -> torch.nn.Module:
    """The untrained network."""
    import torch

    from simulations.networks import convnet, perceptron

    if setting.network == "convolutions":
        return convnet((1, 8, 8), setting.widths, K, stride=2, batch_norm=True, average=True, seed=seed)
    net = perceptron([inputs, *setting.widths, K], seed=seed)
    if setting.network == "sphere":
        classifier = net.get_submodule("classifier")
        del net.classifier

        class Sphere(torch.nn.Module):
            def forward(self, h: torch.Tensor) -> torch.Tensor:
                return RADIUS * torch.nn.functional.normalize(h, dim=1)

        net.add_module("sphere", Sphere())
        net.add_module("classifier", classifier)
    return net


def train_one(setting: Setting, seed: int, *, callback: Callable[[int], None] | None = None) -> dict[str, Any]:
    """Train one network; plain numbers.

    ``epoch`` and ``nc1`` ... ``nc4``, ``error``, ``loss`` along training; ``first_zero_error``; at the end
    ``quantities`` (those of ``simulations.bridge.measure`` with lam, and NC3, NC4), ``lam_H`` and ``stationarity``,
    |1 + mean <l', W h> / (lam ||W||^2)| in training mode; ``training_loss``, the loss there (batch normalisation makes
    it another one); ``fails``, the hypotheses of the prediction that do not hold in evaluation.
    """
    from simulations.bridge import CollapseMonitor, predict
    from simulations.bridge._quantities import listed
    from simulations.train import TrainingPlan, train

    data = data_of(setting, seed)
    plan = TrainingPlan(
        epochs=setting.epochs, batch_size=setting.batch_size, learning_rate=setting.rate, momentum=0.9,
        weight_decay=setting.lam, schedule=setting.schedule, seed=seed,
        evaluate_every=10 if setting.batch_size is None else 1,
    )  # fmt: skip
    monitor = CollapseMonitor((data.X, data.y), every=setting.looks, ranks=False)

    def look(epoch: int, model: Any, row: Any) -> None:
        monitor.update(model, epoch)
        if callback is not None:
            callback(epoch)

    run = train(lambda s: network(setting, data.X[0].size, s), data, plan, callback=look)
    prediction = predict(run.model, None, setting.lam, loader=(data.X, data.y))
    found = prediction.measured
    assert found is not None and found.metrics is not None
    records = [record for record in monitor.records if record.metrics is not None]
    slope, training_loss = in_training(run.model, data, setting.batch_size or len(data.X))
    return {
        "epoch": [r.epoch for r in records], "error": [r.error for r in records],
        "loss": [r.cross_entropy for r in records],
        **{
            short: [getattr(r.metrics, name) for r in records]
            for short, name in (
                ("nc1", "nc1_papyan"), ("nc2", "nc2_zhu"), ("nc2 means", "nc2_etf_means"), ("nc3", "nc3_papyan"),
                ("nc4", "nc4"),
            )
        },
        "first_zero_error": run.first_zero_error, "final_error": found.error,
        "lam_H": found.feature_penalty(setting.lam),
        "quantities": listed(found.quantities) | {"nc3": found.metrics.nc3_papyan, "nc4": found.metrics.nc4},
        "stationarity": abs(1 - slope / (setting.lam * found.weight_energy)), "training_loss": training_loss,
        "model": prediction.name,
        "fails": [h.statement for h in prediction.fails()], "seconds": run.seconds,
    }  # fmt: skip


def in_training(model: torch.nn.Module, data: Dataset, batch_size: int) -> tuple[float, float]:
    """- mean <l'(z_i), z_i> and mean loss over batches in the mode and at the batch size of training, on a copy."""
    import torch

    net, y = copy.deepcopy(model).train(), torch.as_tensor(data.y)
    X = torch.as_tensor(data.X, dtype=next(net.parameters()).dtype)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    slope = loss = 0.0
    with torch.no_grad():
        for batch in order.split(batch_size):
            logits = net(X[batch]).double()
            wrong = torch.softmax(logits, dim=1) - torch.nn.functional.one_hot(y[batch], logits.shape[1])
            slope -= float((wrong * logits).sum()) / len(y)
            loss += float(torch.nn.functional.cross_entropy(logits, y[batch], reduction="sum")) / len(y)
    return slope, loss
