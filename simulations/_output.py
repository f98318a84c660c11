"""What subcommands and experiments write: strict JSON, arrays and figures, each whole or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


def plain(value: Any, *, strict: bool = True) -> Any:
    """``value`` with NumPy scalars as Python's and, where ``strict``, infinities and NaN as null, as JSON wants it."""
    if isinstance(value, dict):
        return {key: plain(item, strict=strict) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, strict=strict) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist(), strict=strict)
    if strict and isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def printable(text: str) -> str:
    """``text`` with escapes for what a terminal does not print, or obeys."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def json_text(value: Any) -> str:
    """``value`` as indented strict JSON."""
    return json.dumps(plain(value), indent=2, allow_nan=False)


def write_json(value: Any, path: Path) -> None:
    """Write ``value`` to ``path``, whole or not at all (a killed run leaves no half file)."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json_text(value) + "\n")
    partial.replace(path)


def write_arrays(arrays: dict[str, Any], path: Path) -> None:
    """A ``.npz`` archive."""
    import numpy as np

    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    partial.replace(path)


def save_figure(figure: object, path: Path) -> None:
    """A PNG at 160 dots per inch."""
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, dpi=160, format="png")  # type: ignore[attr-defined]
    partial.replace(path)
