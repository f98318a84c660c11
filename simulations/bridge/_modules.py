"""A private float64 copy of a user's module, in evaluation mode, that runs none of the user's hooks."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from simulations._torch import check_values, deep_copy
from theory._errors import InvalidInput

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def private_copy(module: nn.Module) -> tuple[nn.Module, list[str]]:
    """A deep copy on the CPU in float64 and evaluation mode, and what was set aside; the module is only read.

    Hooks of ``torch.nn.utils`` (weight and spectral normalisation, pruning) belong to the function and stay; a user's
    own hooks stay behind, since they would run the user's code.

    Raises
    ------
    InvalidInput : not a module; one that is scripted, compiled, wrapped for parallel training, lazy, on the meta
        device, complex or quantised; one that cannot be copied.
    """
    _refuse(module)
    memo: dict[int, Any] = {}
    hooked: list[str] = []
    for path, part in module.named_modules():
        for name in _HOOKS:
            hooks = getattr(part, name)
            kept = OrderedDict((k, h) for k, h in hooks.items() if type(h).__module__.startswith("torch.nn.utils"))
            memo[id(hooks)] = kept
            if name.startswith("_forward") and len(kept) < len(hooks):
                hooked.append(path or "the module itself")
    twin = deep_copy(module, memo)
    twin.eval()
    twin.to(device="cpu", dtype=torch.float64)
    for part in twin.modules():
        for name, value in list(vars(part).items()):
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                setattr(part, name, value.to(device="cpu", dtype=torch.float64))
    places = ", ".join(dict.fromkeys(hooked))
    return twin, [f"hooks were set aside: {places}"] if hooked else []


def fixed_batch(module: nn.Module) -> bool:
    """Whether the module may hold for one number of samples only, as an exported program does."""
    return isinstance(module, torch.fx.GraphModule)


def as_array(given: Any) -> np.ndarray:
    """A tensor on any device, or an array, as an array; every floating-point type as float64."""
    if isinstance(given, torch.Tensor):
        given = given.detach().cpu()
        return (given.double() if given.is_floating_point() else given).numpy()
    return np.asarray(given)


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor of its own."""
    return torch.from_numpy(array.copy())


def state_names(module: nn.Module) -> dict[int, list[str]]:
    """Names of parameters and buffers by the identity of the tensor; a shared one has several."""
    names: dict[int, list[str]] = {}
    pairs = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    for name, tensor in pairs:
        names.setdefault(id(tensor), []).append(name)
    return names


@contextmanager
def undisturbed() -> Iterator[None]:
    """No gradients, and the global random states (PyTorch on the CPU, NumPy, Python) as they were afterwards."""
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)


def _refuse(module: nn.Module) -> None:
    if not isinstance(module, nn.Module):
        raise InvalidInput(f"a torch.nn.Module is wanted, but {type(module).__name__} was given.")
    for path, part in module.named_modules():
        where = f"{path!r} ({type(part).__name__})" if path else f"the module itself ({type(part).__name__})"
        if isinstance(part, torch.jit.ScriptModule):
            raise InvalidInput(f"{where} is TorchScript, whose operations cannot be seen: give the Python module.")
        if hasattr(part, "_orig_mod"):
            raise InvalidInput(f"{where} is compiled: give the module that was compiled, its ._orig_mod.")
        if isinstance(part, nn.DataParallel | nn.parallel.DistributedDataParallel):
            raise InvalidInput(f"{where} is wrapped for parallel training: give the module inside, its .module.")
        replaced = vars(part).get("forward")
        own = getattr(replaced, "__self__", None) is part
        if replaced is not None and not own and not type(part).__module__.startswith(("torch.export", "torch.fx")):
            raise InvalidInput(f"the forward of {where} was replaced by a function, which may not belong to a copy.")
    check_values(module)
