"""A trained network from a file, as an architecture with its weights; no code of the file is run unless trusted."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from simulations._output import printable
from simulations._torch import import_torch
from simulations.bridge.architecture import ReadNetwork, read_architecture
from theory._errors import InvalidInput
from theory.architecture import Architecture

HOLDERS = ("state_dict", "model_state_dict", "model", "weights")  # where checkpoints keep the weights
PREFIXES = ("module.", "_orig_mod.")  # of modules wrapped for parallel training, or compiled


def read_saved(
    path: Path | str,
    *,
    architecture: Architecture | None = None,
    input_shape: tuple[int, ...] | None = None,
    trust: bool = False,
) -> ReadNetwork:
    """The network in a file that ``torch.save`` or ``torch.export.save`` wrote.

    Read without running anything of the file (``weights_only``): a ``state_dict``, alone or in a checkpoint under
    ``state_dict``, ``model_state_dict``, ``model`` or ``weights``. It says nothing of the operations, so
    ``architecture`` is needed. Only with ``trust``: a whole module, whose pickle runs code, and an exported program
    (``.pt2``), whose loader in PyTorch falls back to pickle.

    Parameters
    ----------
    path : the file.
    architecture : the operations, with nodes named as the modules; of a whole module it replaces what would be read.
    input_shape : of one sample, for a module that is read.
    trust : whether code that the file holds may run.

    Raises
    ------
    InvalidInput : no file; a file that holds no weights, or code without ``trust``; no architecture or input shape
        where one is needed; a TorchScript archive; weights that do not fit the architecture.
    PreconditionError : PyTorch is not installed.
    """
    path = Path(path)
    if not os.path.isfile(path):  # False also for a name that no file can have, unlike Path's
        raise InvalidInput(f"no file {str(path)[-300:]!r}.")
    check_shape(architecture, input_shape)
    torch = import_torch("reading a saved module")
    with _quiet():
        found, example = _loaded(torch, path, trust)
        if not isinstance(found, torch.nn.Module):
            return with_architecture(_state(torch, found, path), architecture, path)
        if architecture is not None:
            return with_architecture(_state(torch, found.state_dict(), path), architecture, path)
        if example is None:
            if input_shape is None:
                raise InvalidInput(f"{str(path)!r} holds a module: give the shape of one sample, such as 1,8,8.")
            example = np.zeros((2, *input_shape))
        elif input_shape is not None and example.shape[1:] != input_shape:
            raise InvalidInput(f"{str(path)!r} takes inputs of shape {example.shape[1:]}, not {input_shape}.")
        return read_architecture(found, example)


def check_shape(architecture: Architecture | None, input_shape: tuple[int, ...] | None) -> None:
    """Refuse a shape of one sample that is not the architecture's.

    Raises
    ------
    InvalidInput : they differ.
    """
    if architecture is not None and input_shape not in (None, architecture.input_shape):
        raise InvalidInput(f"the architecture takes inputs of shape {architecture.input_shape}, not {input_shape}.")


def _loaded(torch: Any, path: Path, trust: bool) -> tuple[Any, np.ndarray | None]:
    """What the file holds, and the inputs that an exported program was made with."""
    kind = _kind(path)
    if kind == "script":
        raise InvalidInput(
            f"{str(path)!r} is TorchScript, whose operations cannot be read: save a state_dict and give the "
            "architecture."
        )
    if kind == "program" and not trust:
        raise InvalidInput(
            f"{str(path)!r} is an exported program, and PyTorch's loader may run code that it holds: pass --trust if "
            "you trust its source, or save a state_dict and give --architecture."
        )
    import pickle

    with path.open("rb") as stream:
        if stream.read(2)[:1] not in (b"P", b"\x80"):  # of a zip archive, and of a pickle
            raise InvalidInput(f"cannot read {str(path)!r}: it was not written by torch.save.")
    try:
        if kind == "program":
            with path.open("rb") as stream:
                program = torch.export.load(stream)
            inputs = program.example_inputs
            return program.module(), None if not inputs or not inputs[0] else inputs[0][0].double().numpy()
        return torch.load(path, map_location="cpu", weights_only=not trust), None
    except pickle.UnpicklingError:
        if trust:
            raise InvalidInput(f"cannot read {str(path)!r}: it was not written by torch.save.") from None
        raise InvalidInput(
            f"{str(path)!r} holds a pickled module, or other objects, and loading runs code: pass --trust if you trust "
            "its source, or save a state_dict and give --architecture."
        ) from None
    except Exception as error:  # a damaged file can raise anything, and so can the code of a trusted one
        raise InvalidInput(f"cannot read {str(path)!r}: {_reason(error)}.") from None


def _kind(path: Path) -> str:
    """``script``, ``program`` or ``other``, from the names inside a zip archive."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError):
        return "other"
    if any(name.endswith("archive_format") for name in names):
        return "program"
    return "script" if any("/code/" in name or name.endswith("/constants.pkl") for name in names) else "other"


def _state(torch: Any, found: Any, path: Path) -> dict[str, np.ndarray]:
    """The weights by name of a state_dict or a checkpoint that holds one."""
    for holder in ("", *HOLDERS):
        named = found if not holder else found.get(holder) if isinstance(found, Mapping) else None
        if isinstance(named, Mapping) and named and all(isinstance(v, torch.Tensor) for v in named.values()):
            break
    else:
        raise InvalidInput(
            f"{str(path)!r} holds no state_dict, neither alone nor under {', '.join(map(repr, HOLDERS))}."
        )
    arrays = {}
    for name, tensor in named.items():
        if tensor.is_complex() or tensor.is_quantized or tensor.is_meta or tensor.layout != torch.strided:
            raise InvalidInput(f"{str(path)!r} holds {str(name)!r}, which is no dense array of real numbers.")
        arrays[str(name)] = tensor.detach().double().numpy()
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in arrays):
            arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
    return arrays


def with_architecture(weights: dict[str, np.ndarray], architecture: Architecture | None, path: Path) -> ReadNetwork:
    """The weights that ``path`` holds on the architecture, checked.

    Raises
    ------
    InvalidInput : no architecture; weights that do not fit it.
    """
    if architecture is None:
        raise InvalidInput(
            f"{str(path)!r} holds weights by name and no operations: say with --architecture what they belong to."
        )
    return ReadNetwork(architecture=architecture, weights=architecture.check_weights(weights), notes=())


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    said = lines[0].split(". ")[0].rstrip(".") if lines else ""
    return f"{type(error).__name__}{': ' if said else ''}{printable(said)}"


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings and no log of PyTorch's loaders, which would stand beside the one sentence."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
