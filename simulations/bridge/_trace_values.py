"""What a tape knows and keeps: values of the network, steps, what the notes will tell, and constants per channel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from theory.architecture import Operation


class Unreadable(Exception):
    """Why an operation cannot be read; the tape says where."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value of the network: the step that gives it, and its shape per sample."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pending(Value):
    """A value that only some readers can take up; for the others, why not."""

    source: Value
    why: str


@dataclass(frozen=True, slots=True)
class Padded(Pending):
    """A padded map, which a convolution can take up."""

    pads: tuple[int, ...]
    mode: str


@dataclass(slots=True)
class Step:
    """One operation as it was seen, with its weights by short name and, where asked for, its value."""

    name: str
    operation: Operation
    inputs: tuple[str, ...]
    input_shapes: tuple[tuple[int, ...], ...]
    weights: dict[str, np.ndarray]
    where: str
    value: np.ndarray | None = None
    declared: bool = False


@dataclass(slots=True)
class Seen:
    """What the notes will tell, by topic."""

    casts: dict[str, None] = field(default_factory=dict)
    slopes: dict[str, None] = field(default_factory=dict)
    computed: dict[str, None] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    filled: dict[str, None] = field(default_factory=dict)
    constants: dict[str, None] = field(default_factory=dict)
    again: dict[str, str] = field(default_factory=dict)
    declared: dict[str, Operation] = field(default_factory=dict)
    reshaped: str = ""


def tensors_in(given: Any) -> Iterator[torch.Tensor]:
    """All tensors in nested arguments."""
    if isinstance(given, torch.Tensor):
        yield given
    elif isinstance(given, dict):
        for item in given.values():
            yield from tensors_in(item)
    elif isinstance(given, list | tuple):
        for item in given:
            yield from tensors_in(item)


def per_channel(constant: Any, shape: tuple[int, ...]) -> torch.Tensor:
    """One entry per channel, from a number or from a tensor that broadcasts and varies over channels only."""
    if isinstance(constant, torch.Tensor) and tuple(constant.shape) == shape[:1] == shape:
        return constant  # a parameter keeps its identity, hence its name
    try:
        full = torch.as_tensor(constant, dtype=torch.float64).broadcast_to((1, *shape)).reshape(shape[0], -1)
    except (RuntimeError, TypeError):
        raise Unreadable("a constant that does not fit one sample cannot be read") from None
    if not (full == full[:, :1]).all():
        raise Unreadable("a constant that varies within a channel cannot be read; one number per channel can")
    return full[:, 0]


def affine(size: int, weight: Any, bias: Any) -> dict[str, Any]:
    """Weight and bias of a normalisation, ones and zeros where it has none."""
    return {"weight": np.ones(size) if weight is None else weight, "bias": np.zeros(size) if bias is None else bias}


def given(**tensors: Any) -> dict[str, Any]:
    """The tensors that are there."""
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def row(number: Any, axes: int, default: int | None = 0) -> Any:
    """One entry per axis; PyTorch also takes a row of one, and an empty row for the default."""
    if number is None or (not isinstance(number, int) and len(number) == 0):
        return default if default is None else (default,) * axes
    row = (number,) if isinstance(number, int) else tuple(number)
    return row * axes if len(row) == 1 else row


def independent(what: str, *tensors: Any) -> None:
    """Refuse weights that are values of the network."""
    if any(isinstance(tensor, Value) for tensor in tensors):
        raise Unreadable(f"{what} has weights that depend on the network's input")


def evaluates(what: str, training: bool) -> None:
    """Refuse what is random."""
    if training:
        raise Unreadable(f"{what} is applied with training=True, so that the module is random in evaluation too; "
                         "training=self.training is wanted")  # fmt: skip
