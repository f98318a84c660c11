"""Features and logits of each batch, by a hook on the classifier, and the running sums over them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from simulations._torch import import_torch
from simulations.bridge._classifier import Found, as_rows, first_input
from theory._errors import InvalidInput, PreconditionError

if TYPE_CHECKING:
    from torch import nn

torch = import_torch("simulations.bridge")

_JOINED = 2**19  # numbers, after which batches go to the accumulators


def _numpy(tensor: Any) -> np.ndarray:
    """A float32 or float64 array; half precisions become float64."""
    tensor = tensor.cpu()
    return (tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.double()).numpy()


class Seen(NamedTuple):
    """Float arrays (n, d) and (n, K) and labels (n,) of some samples."""

    features: np.ndarray
    logits: np.ndarray
    labels: np.ndarray


@contextmanager
def listening(found: Found) -> Iterator[list[Any]]:
    """Copies of what goes into the classifier and what comes out, one pair for each time it runs."""
    heard: list[Any] = []

    def note(layer: Any, args: Any, kwargs: Any, output: Any) -> None:
        heard.append((as_rows(first_input(args, kwargs)).detach().clone(), as_rows(output).detach().clone()))

    handle = found.layer.register_forward_hook(note, with_kwargs=True)
    try:
        yield heard
    finally:
        handle.remove()


def outputs(module: nn.Module, heard: list[Any], batches: Any) -> Iterator[Seen]:
    """Run the module on each batch."""
    for inputs, labels in batches:
        heard.clear()
        module(inputs.clone())  # it may work in place, and the batch may be the user's own array
        if len(heard) != 1 or heard[0][0].ndim != 2 or len(heard[0][0]) != len(labels):
            raise InvalidInput(
                "the classifier must run once on each batch, with one vector per sample, but for a batch of "
                f"{len(labels)} it ran {len(heard)} times, on {[tuple(h.shape) for h, _ in heard]}."
            )
        features, logits = (_numpy(part) for part in heard[0])
        if not (np.isfinite(features).all() and np.isfinite(logits).all()):
            raise PreconditionError("features and logits must be finite, but contain NaN or infinity.")
        yield Seen(features, logits, labels)


def together(stream: Iterable[Seen]) -> Iterator[Seen]:
    """Small batches joined to some megabytes, which the accumulators take in faster."""
    waiting: list[Seen] = []
    for seen in stream:
        waiting.append(seen)
        if sum(part.features.size for part in waiting) >= _JOINED:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[Seen]) -> Seen:
    return parts[0] if len(parts) == 1 else Seen(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))


class Sums:
    """Running energies, margins, errors and losses."""

    def __init__(self, K: int, has_logits: bool) -> None:
        self._has_logits = has_logits
        self._counts, self._squares, self._norms = np.zeros(K), np.zeros(K), np.zeros(K)
        self._least = np.full(K, np.inf)
        self._margins = self._errors = self._losses = 0.0

    def add(self, seen: Seen) -> None:
        """Take in some samples."""
        features, logits, labels = seen
        K = len(self._counts)
        squares = np.einsum("ij,ij->i", features, features, dtype=np.float64)
        self._counts += np.bincount(labels, minlength=K)
        self._squares += np.bincount(labels, squares, minlength=K)
        self._norms += np.bincount(labels, np.sqrt(squares), minlength=K)
        if not self._has_logits:
            return
        rows = np.arange(len(labels))
        z = logits.astype(np.float64)
        own = z[rows, labels]
        self._errors += float((z.argmax(axis=1) != labels).sum())
        z[rows, labels] = -np.inf
        runner_up = z.max(axis=1)
        margins = own - runner_up
        others = np.log(np.exp(z - runner_up[:, None]).sum(axis=1))
        # log(1 + exp(.)), so that losses far below the rounding of the logits are not zero
        self._losses += float(np.logaddexp(0, others - margins).sum())
        np.minimum.at(self._least, labels, margins)
        self._margins += float(margins.sum())

    def energy(self) -> np.ndarray:
        """(K,) mean squared norms."""
        return self._squares / self._counts

    def finish(self, rho: float) -> dict[str, Any]:
        """Fields of ``LastLayer``."""
        N = self._counts.sum()
        energies = {"feature_energy": self.energy(), "feature_norm": self._norms / self._counts}
        for array in (*energies.values(), self._least):
            array.setflags(write=False)
        if not self._has_logits:
            names = ("class_margins", "mean_margin", "error", "cross_entropy", "normalised_margin")
            return energies | dict.fromkeys(names)
        return energies | {
            "class_margins": self._least,
            "mean_margin": self._margins / N,
            "error": self._errors / N,
            "cross_entropy": self._losses / N,
            "normalised_margin": float(self._least.min()) / rho if rho > 0 else math.nan,
        }
