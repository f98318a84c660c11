"""PyTorch, imported where it is first needed, with one sentence where it is missing; modules checked and copied."""

from __future__ import annotations

import copy
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


def first_line(error: BaseException) -> str:
    """The message of an error up to its first line break."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def check_values(module: Any) -> None:
    """Refuse a module whose parameters or buffers are not arrays of real numbers.

    Raises
    ------
    InvalidInput : lazy, on the meta device, complex or quantised.
    """
    torch = import_torch("a network")
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if torch.nn.parameter.is_lazy(tensor) or tensor.is_meta:
            raise InvalidInput(f"{name!r} has no values yet (lazy or on the meta device): initialise the module first.")
        if tensor.is_complex() or tensor.is_quantized:
            raise InvalidInput(f"{name!r} is {tensor.dtype}, but real floating-point parameters are wanted.")


def deep_copy(module: Any, memo: dict[int, Any] | None = None) -> Any:
    """A deep copy of a module; ``memo`` as in ``copy.deepcopy``.

    Raises
    ------
    InvalidInput : it cannot be copied.
    """
    torch = import_torch("a network")
    memo = {} if memo is None else memo
    for part in module.modules():
        for value in vars(part).values():
            # the weight that an old-style normalisation left behind has a graph, which deepcopy refuses
            if isinstance(value, torch.Tensor) and value.grad_fn is not None:
                memo[id(value)] = value.detach().clone()
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:  # a module's own code runs here
        raise InvalidInput(f"the module cannot be copied: {first_line(error)}.") from error


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
