"""A training run on disk: written whole or not at all, read without running any code."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simulations._training_record import TrainingPlan
from simulations.data.dataset import Dataset
from theory._errors import InvalidInput

FORMAT = "training run 1"


def identity(plan: TrainingPlan, data: Dataset, model: torch.nn.Module) -> str:
    """Hash of all that decides a run: plan, samples, labels, the network's layers and its initial weights."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(plan.to_json(), sort_keys=True).encode())
    digest.update(repr(model).encode())
    for array in (data.X, data.y, data.X_test, data.y_test):
        if array is not None:
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    for name, value in model.state_dict().items():
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def write(path: Path, content: dict[str, Any]) -> None:
    """Replace ``path`` by ``content`` at once, so that a kill at any moment leaves the old file or the new one.

    Raises
    ------
    InvalidInput : the file cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as stream:
            torch.save({"format": FORMAT, **content}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        raise InvalidInput(f"cannot write the checkpoint {str(path)!r}: {error.strerror or error}.") from None


def read(path: Path, mark: str) -> dict[str, Any] | None:
    """What ``write`` put there for the run of this ``identity``; None where there is no file yet.

    Raises
    ------
    InvalidInput : not a checkpoint of this trainer, or one of another plan, network or data set.
    """
    if not os.path.exists(path):
        if not path.parent.is_dir():
            raise InvalidInput(f"the checkpoint's folder {str(path.parent)!r} does not exist.")
        return None
    try:
        if not path.is_file():  # a pipe would be waited for
            raise OSError
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch.load does not look at the checksums
        content = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # of a file that is something else torch may raise almost anything
        content = None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InvalidInput(f"{str(path)!r} is not a checkpoint of a training run; name another file or remove it.")
    if content.get("identity") != mark:
        raise InvalidInput(
            f"the checkpoint {str(path)!r} belongs to another plan, network or data set; remove it or name another."
        )
    return content
