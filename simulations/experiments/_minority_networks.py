"""The networks of ``minority-collapse``: what they see, how they are trained, what is measured on them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations.data import Dataset, digits, imbalanced

if TYPE_CHECKING:
    from simulations.train import TrainingPlan

K, RARE = 10, 5
SCALE = 4.0  # norm of every free input; digits divided by 16 have 3.9 on average


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One kind of network and data.

    Attributes
    ----------
    name : for tables. inputs : ``orthonormal`` (times 4; each sample a direction of its own) or ``digits``.
    activation, width : of the one hidden layer; no biases.
    frequent, rare : samples of a frequent class, and of a rare one along the experiment, falling.
    lam : weight decay. rate, epochs, schedule : full-batch SGD, momentum 0.9.
    tolerance : of cosines and merge ratios.
    """

    name: str
    inputs: str
    activation: str
    width: int
    frequent: int
    rare: tuple[int, ...]
    lam: float
    rate: float
    epochs: int
    schedule: str
    tolerance: float

    @property
    def ratios(self) -> np.ndarray:
        """R at each count of rare samples."""
        return self.frequent / np.array(self.rare)

    @property
    def features(self) -> str:
        """Which unconstrained-features model belongs to the activation."""
        return "free" if self.activation == "identity" else "relu"

    def plan(self, sampling: str, seed: int) -> TrainingPlan:
        """``shuffle`` or ``balanced`` sampling: with whole copies a full batch is the class-weighted loss."""
        from simulations.train import TrainingPlan

        return TrainingPlan(
            epochs=self.epochs, learning_rate=self.rate, momentum=0.9, weight_decay=self.lam, schedule=self.schedule,
            sampling=sampling, evaluate_every=self.epochs, seed=seed,
        )  # fmt: skip


def rare_classes(seed: int) -> np.ndarray:
    """5 to 9 for seed 0, else five drawn by the seed."""
    order = np.arange(K) if seed == 0 else np.random.default_rng(seed).permutation(K)
    return np.sort(order[K - RARE :])


def data_of(setting: Setting, rare: int, seed: int) -> Dataset:
    """The training set with ``rare`` samples in each rare class."""
    counts = np.full(K, setting.frequent)
    counts[rare_classes(seed)] = rare
    if setting.inputs == "digits":
        return imbalanced(digits(flat=True, test_size=0), counts, seed=seed)
    N = int(counts.sum())
    Q = np.linalg.qr(np.random.default_rng([seed, N]).standard_normal((N, N)))[0]
    return Dataset(name="orthonormal inputs", X=SCALE * Q, y=np.repeat(np.arange(K), counts), num_classes=K)


def class_weights(counts: np.ndarray) -> np.ndarray:
    """How often oversampling shows a sample of each class."""
    return counts.max() / counts


def train_one(
    setting: Setting, rare: int, sampling: str, seed: int, *, callback: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Train one network; plain numbers, float64, on the distinct samples.

    ``objective`` is weighted mean loss + lam ||W||^2, that of the unconstrained-features model at the effective
    lam_H; ``residual`` the norm of the gradient in the classifier over lam ||W||; ``balance`` the energy of the first
    layer over that of the classifier, 1 where both are stationary; ``lost`` how many rare classes have no features;
    ``nc1`` tr Sw / tr Sb; ``fails`` the hypotheses of the model that ``simulations.bridge.predict`` finds violated.
    """
    from simulations.bridge import measure, predict
    from simulations.networks import perceptron
    from simulations.train import train

    data, plan = data_of(setting, rare, seed), setting.plan(sampling, seed)
    run = train(
        lambda s: perceptron([data.X.shape[1], setting.width, K], activation=setting.activation, seed=s), data, plan,
        callback=None if callback is None else lambda epoch, *_: callback(epoch),
    )  # fmt: skip
    fails: list[str] = []
    if sampling == "shuffle":  # class weights are outside predict's models
        prediction = predict(run.model, None, setting.lam, loader=data, features=setting.features)
        fails, found = [h.statement for h in prediction.fails()], prediction.measured
        assert found is not None
    else:
        found = measure(run.model, data, weight_decay=setting.lam)
    W, few = found.classifier, rare_classes(seed)
    omega = class_weights(data.counts) if sampling == "balanced" else np.ones(K)
    loss, residual, energies = _gradient(run.model, data, omega, setting.lam)
    norms = np.linalg.norm(W, axis=1)
    rows = W[few] / norms[few, None]
    pairs = np.linalg.norm(W[few][:, None] - W[few][None], axis=-1)
    cos = rows @ rows.T
    metrics = found.metrics
    return {
        "cosine": float((cos.sum() - RARE) / (RARE * (RARE - 1))), "merge_ratio": float(pairs.max() / norms.max()),
        "lam_H": found.feature_penalty(setting.lam, 1), "E_W": found.budgets[0], "E_H": found.budgets[1],
        "loss": loss, "objective": loss + setting.lam * float((W**2).sum()), "error": found.error,
        "residual": residual, "balance": energies[0] / energies[1],
        "lost": int((found.class_energy[few] <= 1e-6 * found.class_energy.max()).sum()),
        "nc1": float("nan") if metrics is None else metrics.nc1_ratio, "fails": fails, "seconds": run.seconds,
    }  # fmt: skip


def _gradient(model: Any, data: Dataset, omega: np.ndarray, lam: float) -> tuple[float, float, list[float]]:
    """Weighted mean loss, relative gradient in the classifier, and squared norms of the layers; a copy in float64."""
    import torch

    net = copy.deepcopy(model).double()
    y = torch.as_tensor(data.y)
    weight = torch.as_tensor(omega)[y]
    each = torch.nn.functional.cross_entropy(net(torch.as_tensor(data.X)), y, reduction="none")
    loss = (weight * each).sum() / weight.sum()
    parameters = list(net.parameters())
    W = parameters[-1]
    slope = torch.autograd.grad(loss, W)[0] + lam * W.detach()
    energies = [float((p.detach() ** 2).sum()) for p in parameters]
    return float(loss.detach()), float(slope.norm()) / (lam * energies[-1] ** 0.5), energies
