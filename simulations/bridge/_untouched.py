"""Running a user's module at evaluation and leaving everything as it was, also where its forward raises."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from simulations._torch import check_values, import_torch
from theory._errors import InvalidInput

if TYPE_CHECKING:
    from torch import nn

torch = import_torch("simulations.bridge")


def bare(module: nn.Module) -> nn.Module:
    """The module inside wrappers that compile or distribute it.

    Raises
    ------
    InvalidInput : no module, or one that a forward would first give its values.
    """
    if not isinstance(module, torch.nn.Module):
        raise InvalidInput(f"module must be a torch.nn.Module, but is of type {type(module).__name__}.")
    parallel = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
    inner: Any = module
    while isinstance(inner, parallel) or hasattr(inner, "_orig_mod"):
        inner = inner.module if isinstance(inner, parallel) else inner._orig_mod
    check_values(inner)
    return inner


@contextmanager
def untouched(module: nn.Module, loader: object = None) -> Iterator[Callable[[], None]]:
    """Put ``module`` in evaluation mode without gradients; afterwards module, generators and loader are as before.

    A guard and no deep copy, since a monitor that doubles the memory of a model at every epoch would not be used.
    Put back are: the mode of every submodule (each its own), every attribute that the forward rebinds (such as the
    weight that the older ``weight_norm`` sets), every buffer that it writes, and the states of the random generators
    of torch (CPU, and the module's CUDA devices), NumPy, Python and the loader. Out of reach are parameters that a
    forward overwrites at evaluation, gradients that it computes itself and objects that it changes in place, such as
    a list it appends to.

    Yields
    ------
    ``rewind()`` : sets all random generators to their states at the start, so that a second pass over a loader
        that shuffles or augments sees what the first one saw.
    """
    parts = list(module.modules())
    modes = [part.training for part in parts]
    attributes = [dict(part.__dict__) for part in parts]
    buffers = [dict(part._buffers) for part in parts]
    written = [(b, b._version, b.clone()) for part in buffers for b in part.values() if b is not None]
    rewind = _generators(module, loader)
    try:
        for part in parts:
            part.training = False
        with torch.no_grad():
            yield rewind
    finally:
        for part, mode, kept, held in zip(parts, modes, attributes, buffers, strict=True):
            for name in part.__dict__.keys() - kept.keys():
                del part.__dict__[name]
            part.__dict__.update(kept)
            if part.training != mode:  # scripted modules keep it elsewhere
                part.training = mode
            if isinstance(part._buffers, dict):
                part._buffers.clear()
                part._buffers.update(held)
        with torch.no_grad():
            for buffer, version, values in written:
                # batch normalisation in training mode writes its statistics without counting a version
                unseen = buffer.layout == torch.strided and not torch.equal(buffer, values)
                if unseen or buffer._version != version:
                    buffer.copy_(values)
        rewind()


def _generators(module: nn.Module, loader: object) -> Callable[[], None]:
    """A function that puts every random generator back to its present state."""
    devices = {tensor.device for tensor in (*module.parameters(), *module.buffers()) if tensor.device.type == "cuda"}
    on_devices = {device: torch.cuda.get_rng_state(device) for device in devices}
    on_cpu, of_numpy, of_python = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    own = [(generator, generator.get_state()) for generator in _own_generators(loader)]

    def rewind() -> None:
        torch.set_rng_state(on_cpu)
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)
        for device, state in on_devices.items():
            torch.cuda.set_rng_state(state, device)
        for generator, state in own:
            generator.set_state(state)

    return rewind


def _own_generators(loader: object) -> list[Any]:
    """The generators of a DataLoader and its samplers: reading it must not change the order of later epochs."""
    batches = getattr(loader, "batch_sampler", None)
    holders = (loader, getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None))
    found = [getattr(holder, "generator", None) for holder in holders]
    return [generator for generator in found if isinstance(generator, torch.Generator)]
