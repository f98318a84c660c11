"""The parts of a training epoch: label noise, batches, losses, and a random stream that leaves the global one alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from simulations._training_record import TrainingPlan
from simulations.data.dataset import Dataset
from theory._errors import InvalidInput

EVALUATED_AT_ONCE = 4096  # samples


class Stream:
    """torch's global generators (CPU, and the device's) seeded apart; as the caller left them outside the ``with``."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self._device = device if device.type == "cuda" else None
        with self._kept():
            torch.default_generator.manual_seed(seed)
            if self._device is not None:
                with torch.cuda.device(self._device):
                    torch.cuda.manual_seed(seed)
            self.states = self._read()

    def _read(self) -> list[Tensor]:
        on_device = [] if self._device is None else [torch.cuda.get_rng_state(self._device)]
        return [torch.get_rng_state(), *on_device]

    def _write(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        if self._device is not None:
            torch.cuda.set_rng_state(states[1], self._device)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        outside = self._read()
        try:
            yield
        finally:
            self._write(outside)

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Draws inside come from this stream."""
        with self._kept():
            self._write(self.states)
            yield
            self.states = self._read()


def stream_seed(seed: int, tag: int) -> int:
    """A 63-bit seed for one purpose, independent of the other purposes' and of NumPy's streams of ``seed``."""
    return int(np.random.SeedSequence([seed, tag]).generate_state(1, np.uint64)[0] >> 1)


def noisy_labels(data: Dataset, plan: TrainingPlan) -> np.ndarray:
    """Training labels of which a stated fraction is replaced by another class, uniformly.

    Raises
    ------
    InvalidInput : label noise with one class only; balanced sampling where the noise left a class empty.
    """
    y, K = data.y.copy(), data.num_classes
    count = round(plan.label_noise * len(y))
    if count and K < 2:
        raise InvalidInput("label noise needs two classes or more.")
    rng = np.random.default_rng([plan.seed, 3])
    index = rng.permutation(len(y))[:count]
    y[index] = (y[index] + rng.integers(1, max(K, 2), size=count)) % K
    if plan.sampling == "balanced" and (np.bincount(y, minlength=K) == 0).any():
        raise InvalidInput("label noise left a class empty, so that its classes cannot be sampled equally often.")
    return y


def batches(plan: TrainingPlan, y: np.ndarray, device: torch.device) -> Callable[[torch.Generator], list[Any]]:
    """Indices of an epoch's batches from a generator; ``[None]`` where one step takes all samples as they are."""
    n = len(y)
    counts = np.bincount(y)
    top = int(counts.max())
    members = [torch.from_numpy(np.flatnonzero(y == k)) for k in range(len(counts))]

    def oversampled(generator: torch.Generator) -> Tensor:
        parts = []
        for part in members:
            whole, rest = divmod(top, len(part))
            parts += [part] * whole
            if rest:
                parts.append(part[torch.randperm(len(part), generator=generator)[:rest]])
        return torch.cat(parts)

    def draw(generator: torch.Generator) -> list[Any]:
        if plan.sampling == "shuffle":
            if plan.batch_size is None:
                return [None]
            index = torch.randperm(n, generator=generator)
        elif plan.sampling == "replacement":
            index = torch.randint(n, (n,), generator=generator)
        else:
            index = oversampled(generator)
            if plan.batch_size is not None:
                index = index[torch.randperm(len(index), generator=generator)]
        index = index.to(device)
        return [index] if plan.batch_size is None else list(index.split(plan.batch_size))

    return draw


def steps_per_epoch(plan: TrainingPlan, y: np.ndarray) -> int:
    """Gradient steps in one epoch."""
    if plan.batch_size is None:
        return 1
    counts = np.bincount(y)
    return -(-(len(counts) * int(counts.max()) if plan.sampling == "balanced" else len(y)) // plan.batch_size)


def loss_of(plan: TrainingPlan, num_classes: int) -> tuple[Callable[..., Tensor], Callable[[Tensor], Tensor]]:
    """``loss(outputs, targets, reduction=...)`` with "mean" or "none", and what makes targets of labels."""
    s = plan.label_smoothing
    if plan.loss == "cross_entropy":

        def cross_entropy(outputs: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
            return functional.cross_entropy(outputs, targets, reduction=reduction, label_smoothing=s)

        return cross_entropy, lambda labels: labels

    def square(outputs: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        if reduction == "mean":
            return functional.mse_loss(outputs, targets, reduction="sum") / (2 * len(outputs))
        return ((outputs - targets) ** 2).sum(dim=1) / 2

    dtype = getattr(torch, plan.dtype)
    return square, lambda labels: (1 - s) * functional.one_hot(labels, num_classes).to(dtype) + s / num_classes


@torch.no_grad()
def measured(
    model: torch.nn.Module, X: Tensor, y: Tensor, targets: Tensor | None, loss: Callable[..., Tensor], weights: Tensor
) -> tuple[float, float]:
    """Weighted mean loss (NaN without targets) and misclassified fraction, by parts that fit in memory."""
    total = torch.zeros((), dtype=torch.float64, device=X.device)
    wrong = torch.zeros((), dtype=torch.int64, device=X.device)
    for part in torch.arange(len(X), device=X.device).split(EVALUATED_AT_ONCE) if len(X) > EVALUATED_AT_ONCE else [...]:
        outputs = model(X[part])
        wrong += (outputs.argmax(dim=1) != y[part]).sum()
        if targets is not None:
            total += loss(outputs, targets[part], reduction="none").double() @ weights[part]
    return (float(total) if targets is not None else float("nan")), int(wrong) / len(X)
