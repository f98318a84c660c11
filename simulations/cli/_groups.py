"""Reading ``--counts`` and ``--weights``: lists such as ``100x5,10x5``, each item VALUExREPEATS."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from theory._errors import InvalidInput

MOST = 10**6  # classes
Number = TypeVar("Number", int, float)


def parse_counts(text: str) -> list[int]:
    """``"100x5,10x5"`` as five times 100, then five times 10; a lone ``100`` stands for one class.

    Raises
    ------
    InvalidInput : an item of another form, no item, more than 10^6 classes.
    """
    return _parse("--counts", text, _count, "SAMPLESxCLASSES such as 100x5,10x5")


def parse_weights(text: str | None) -> list[float] | str | None:
    """Class weights in the order of the classes: ``"balanced"``, ``"1x5,10x5"`` or None."""
    if text is None or text == "balanced":
        return text
    return _parse("--weights", text, _weight, "'balanced' or WEIGHTxCLASSES such as 1x5,2.5x5")


def parse_numbers(option: str, text: str) -> list[float]:
    """Positive numbers in the order of the classes, for ``option``: ``"1x5,2.5x5"``."""
    return _parse(option, text, _weight, "VALUExCLASSES such as 1x5,2.5x5")


def _parse(option: str, text: str, read: Callable[[str], Number], form: str) -> list[Number]:
    out: list[Number] = []
    for item in text.split(","):
        value, cross, times = item.strip().partition("x")
        try:
            number, repeats = read(value), _count(times) if cross else 1
        except ValueError:
            raise InvalidInput(f"{option} must be {form}, but has the item {_short(item)}.") from None
        if repeats < 1 or len(out) + repeats > MOST:
            raise InvalidInput(f"{option} must name between 1 and {MOST} classes per item and in all.")
        out += [number] * repeats
    return out


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise ValueError
    return int(text)


def _weight(text: str) -> float:
    if not re.fullmatch(r"[0-9.]+(e[-+]?[0-9]+)?", text):
        raise ValueError
    return float(text)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
