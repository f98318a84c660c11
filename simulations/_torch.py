"""PyTorch is optional: imported where it is first needed, one sentence where it is missing."""

from __future__ import annotations

from typing import Any

from theory._errors import InvalidInput, PreconditionError


def import_torch(what: str) -> Any:
    """The module ``torch``; ``what`` begins the sentence where it is missing.

    Raises
    ------
    PreconditionError : PyTorch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise PreconditionError(f"{what} needs PyTorch: pip install 'deep-classifier-theory[torch]'.") from None
    return torch


def as_dtype(value: Any) -> Any:
    """``"float32"`` or ``"float64"`` as torch's type.

    Raises
    ------
    InvalidInput : any other.
    """
    torch = import_torch("a floating-point type of tensors")
    if not isinstance(value, str) or value not in ("float32", "float64"):
        raise InvalidInput(f"dtype must be 'float32' or 'float64', but is {value!r}.")
    return getattr(torch, value)


def as_device(value: Any) -> Any:
    """A device name such as ``"cpu"``, ``"cuda"`` or ``"cuda:1"`` as torch's device.

    Raises
    ------
    InvalidInput : not a device. PreconditionError : a device that this machine, or this build of PyTorch, lacks.
    """
    torch = import_torch("a device")
    try:
        device = torch.device(value)
    except (RuntimeError, TypeError):
        raise InvalidInput(f"device must be 'cpu' or 'cuda', but is {value!r}.") from None
    if device.type not in ("cpu", "cuda"):
        raise InvalidInput(f"device must be 'cpu' or 'cuda', but is {value!r}.")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise PreconditionError(f"device {value!r} was asked for, but PyTorch finds no CUDA device here.")
        if device.index is not None and device.index >= torch.cuda.device_count():
            raise PreconditionError(f"device {value!r} was asked for, but there are {torch.cuda.device_count()}.")
    return device
