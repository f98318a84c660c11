"""Batches of (inputs, labels) from whatever holds them: a DataLoader, any iterable, a Dataset, a pair of arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from simulations._torch import import_torch
from theory._arrays import as_labels
from theory._errors import InvalidInput

if TYPE_CHECKING:
    from torch import nn

torch = import_torch("simulations.bridge")


class Batches:
    """The batches of a loader, inputs as tensors where the module can read them and labels as integers.

    Parameters
    ----------
    loader : an iterable of batches (inputs, labels, ...), tensors or arrays; or a record with ``X`` and ``y``; or a
        pair (X, y), which are cut into batches of ``batch_size``.
    module : floating-point inputs take the type of its parameters, and all go to their device.
    device : another device for the inputs.

    Raises
    ------
    InvalidInput : not iterable, no device; and, while reading, batches that are no pairs or whose sizes do not meet.
    """

    def __init__(self, loader: Any, module: nn.Module, *, device: Any = None, batch_size: int = 1024) -> None:
        if hasattr(loader, "X") and hasattr(loader, "y") and not isinstance(loader, Iterable):
            loader = (loader.X, loader.y)
        if isinstance(loader, tuple) and len(loader) == 2 and all(hasattr(part, "shape") for part in loader):
            loader = _Cut(*loader, size=batch_size)
        if not isinstance(loader, Iterable):
            raise InvalidInput(
                "loader must be an iterable of (inputs, labels) batches, a Dataset or a pair (X, y), "
                f"but is of type {type(loader).__name__}."
            )
        self._loader = loader
        try:
            wanted = None if device is None else torch.device(device)
        except (RuntimeError, TypeError):
            raise InvalidInput(f"device must be one that PyTorch knows, such as 'cpu', but is {device!r}.") from None
        tensors = [*module.parameters(), *module.buffers()]
        self._device = wanted if wanted is not None else tensors[0].device if tensors else None
        self._dtype = next((p.dtype for p in tensors if p.is_floating_point()), None)

    def __iter__(self) -> Iterator[tuple[Any, np.ndarray]]:
        for batch in self._loader:
            if not isinstance(batch, tuple | list) or len(batch) < 2:
                raise InvalidInput(
                    f"each batch of the loader must be a pair (inputs, labels), but one is a {type(batch).__name__}"
                    f"{f' of length {len(batch)}' if isinstance(batch, tuple | list) else ''}."
                )
            inputs, labels = self._tensor(batch[0]), _labels(batch[1])
            if len(inputs) != len(labels):
                raise InvalidInput(f"a batch of the loader has {len(inputs)} inputs but {len(labels)} labels.")
            yield inputs, labels

    def _tensor(self, inputs: Any) -> Any:
        try:
            # by way of NumPy, since torch reads Python's floats as single precision
            tensor = inputs if isinstance(inputs, torch.Tensor) else torch.as_tensor(np.asarray(inputs))
        except (TypeError, ValueError, RuntimeError):
            kind = type(inputs).__name__
            raise InvalidInput(f"the inputs of a batch must be a tensor or an array, but are a {kind}.") from None
        if tensor.ndim == 0:
            raise InvalidInput("the inputs of a batch must have a first axis of samples, but are a single number.")
        # integers stay: they are tokens, or the module converts them itself
        return tensor.to(device=self._device, dtype=self._dtype if tensor.is_floating_point() else None)


class _Cut:
    """Arrays X and y in slices, as often as asked."""

    def __init__(self, X: Any, y: Any, *, size: int) -> None:
        if not len(X) or len(X) != len(y):
            raise InvalidInput(f"X and y must have as many samples, at least one, but have {len(X)} and {len(y)}.")
        self.X, self.y, self.size = X, y, size

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for start in range(0, len(self.y), self.size):
            yield self.X[start : start + self.size], self.y[start : start + self.size]


def _labels(labels: ArrayLike) -> np.ndarray:
    if isinstance(labels, torch.Tensor):
        labels = labels.detach().cpu().numpy()
    return as_labels("labels of a batch", labels)
