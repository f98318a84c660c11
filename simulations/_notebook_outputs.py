"""Printed text of two runs of one notebook cell, number by number."""

from __future__ import annotations

import math
import re
from typing import Any

ROUNDING = 1e-9  # numbers below it are rounding errors, whatever their digits
NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?(?!\w)|(?<!\w)-?(?:nan|inf)(?!\w)")


def compare_outputs(was: Any, now: Any, rtol: float) -> list[str]:
    """Sentences on what differs between the outputs of two runs of one cell; none where they agree."""
    tags = was.metadata.get("tags", [])
    rtol = next((float(tag.removeprefix("rtol=")) for tag in tags if tag.startswith("rtol=")), rtol)
    found = []
    figures = [sum("image/png" in output.get("data", {}) for output in cell.outputs) for cell in (was, now)]
    if figures[0] != figures[1]:
        found.append(f"{figures[0]} figures are stored, but {figures[1]} were drawn.")
    if "machine" in tags:
        return found
    return found + compare_text(printed(was), printed(now), rtol)


def printed(cell: Any) -> str:
    """All that a cell printed, and the text of its value; warnings and log lines included."""
    return "".join(
        output["text"] if output.output_type == "stream" else output.get("data", {}).get("text/plain", "") + "\n"
        for output in cell.outputs if "image/png" not in output.get("data", {})
    )  # fmt: skip


def compare_text(was: str, now: str, rtol: float) -> list[str]:
    """One sentence for each number that differs, or one for the words around them.

    >>> compare_text("margin 0.25, gap 3e-15", "margin 0.26, gap 2e-16", 1e-6)
    ['0.25 was stored, but 0.26 was found (margin 0.26).']
    """
    words = [" ".join(NUMBER.sub(" # ", text).split()) for text in (was, now)]
    if words[0] != words[1]:
        place = next((i for i, (a, b) in enumerate(zip(*words, strict=False)) if a != b), min(map(len, words)))
        old, new = (text[max(0, place - 20) : place + 40] for text in words)
        return [f"the words differ: '{old}' was stored, but '{new}' was found."]
    pairs = zip(NUMBER.finditer(was), NUMBER.finditer(now), strict=True)
    return [
        f"{a[0]} was stored, but {b[0]} was found ({_before(now, b)})."
        for a, b in pairs
        if not close(_value(a[0]), _value(b[0]), rtol)
    ]


def close(a: float, b: float, rtol: float) -> bool:
    """Whether two printed numbers are one: relative to the larger, or both rounding errors, or both undefined."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return a == b or (math.isnan(a) and math.isnan(b))
    return abs(a - b) <= rtol * max(abs(a), abs(b)) or max(abs(a), abs(b)) < ROUNDING


def _value(text: str) -> float:
    return float(text.replace("−", "-"))


def _before(text: str, match: re.Match[str]) -> str:
    """The last words before a number, with it."""
    return " ".join(text[max(0, match.start() - 30) : match.end()].split()[-4:])
