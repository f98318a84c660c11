"""What every subcommand prints: strict JSON for scripts, or text for people."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


def plain(value: Any) -> Any:
    """``value`` with infinities and NaN as null and NumPy scalars as Python's, so that JSON is strict."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def json_text(value: Any) -> str:
    """``value`` as indented strict JSON."""
    return json.dumps(plain(value), indent=2, allow_nan=False)


def write_json(value: Any, path: Path) -> None:
    """Write ``value`` to ``path``, whole or not at all (a killed run leaves no half file)."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json_text(value) + "\n")
    partial.replace(path)
