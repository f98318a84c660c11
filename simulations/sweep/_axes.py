"""The values of one parameter: listed, spaced evenly or in the logarithm, whole numbers, or drawn from a range.

Computed values are rounded to twelve significant digits: 0.1 and not 0.10000000000000002, whatever the machine's
logarithm, so that a configuration keeps its key.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simulations._output import plain
from theory._arrays import as_count, as_positive, as_real
from theory._errors import InvalidInput

MOST = 10**7  # configurations of a study
_FORMS = "a list of values, {log: [low, high], count: N}, {linear: [low, high], count: N} or {integer: [low, high]}"
_RANGES = "{log: [low, high]}, {linear: [low, high]}, {integer: [low, high]} or a list to choose from"


def axis(name: str, spec: Any) -> tuple[Any, ...]:
    """The values that ``spec`` stands for, in order.

    Examples
    --------
    >>> axis("E_W", {"log": [0.1, 10], "count": 3})
    (0.1, 1.0, 10.0)
    >>> axis("majority", {"integer": [2, 5]})
    (2, 3, 4, 5)

    Raises
    ------
    InvalidInput : another form, no value, a value twice, more than 10^7 values, values that are not plain.
    """
    if isinstance(spec, Mapping):
        values = _spaced(name, spec)
        if any(low >= high for low, high in itertools.pairwise(values)):
            raise InvalidInput(f"the axis {name!r} has more values than twelve digits can tell apart.")
        return values
    spec = spec.tolist() if hasattr(spec, "tolist") else spec
    if not isinstance(spec, list | tuple):
        raise InvalidInput(f"the axis {name!r} must be {_FORMS}, but is {_short(spec)}.")
    values = tuple(plain_value(name, value) for value in spec)
    if not values:
        raise InvalidInput(f"the axis {name!r} is empty.")
    seen: set[str] = set()
    for value in values:
        text = json.dumps(value)
        if text in seen:
            raise InvalidInput(f"the axis {name!r} has {_short(value)} twice.")
        seen.add(text)
    return values


def plain_value(name: str, value: Any) -> Any:
    """``value`` with NumPy scalars as Python's; only what JSON can hold."""
    try:
        value = plain(value, strict=False)
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        raise InvalidInput(f"{name!r} must be numbers, text, true, false or null, but is {_short(value)}.") from None
    return value


def _spaced(name: str, spec: Mapping[str, Any]) -> tuple[Any, ...]:
    kind = next((kind for kind in ("log", "linear", "integer") if kind in spec), None)
    wanted = {kind} if kind == "integer" else {kind, "count"}
    if kind is None or set(spec) != wanted:
        raise InvalidInput(f"the axis {name!r} must be {_FORMS}, but is {_short(dict(spec))}.")
    low, high = _ends(name, kind, spec[kind])
    count = high - low + 1 if kind == "integer" else as_count(f"count of {name!r}", spec["count"], minimum=2)
    if count > MOST:
        raise InvalidInput(f"the axis {name!r} has {int(count)} values, more than {MOST}.")
    if kind == "integer":
        return tuple(range(low, high + 1))
    inner = (_between(kind, low, high, i / (count - 1)) for i in range(1, count - 1))
    return (low, *inner, high)


def draw_from(name: str, spec: Any) -> Callable[[float], Any]:
    """The map from u in [0, 1) to the values of a range to sample from.

    Examples
    --------
    >>> draw_from("width", {"integer": [1, 4]})(0.5), draw_from("E_W", {"log": [0.01, 1]})(0.5)
    (3, 0.1)

    Raises
    ------
    InvalidInput : another form.
    """
    if isinstance(spec, Mapping):
        kind = next(iter(spec), None)
        if len(spec) != 1 or kind not in ("log", "linear", "integer"):
            raise InvalidInput(f"the range of {name!r} must be {_RANGES}, but is {_short(dict(spec))}.")
        low, high = _ends(name, kind, spec[kind])
        if kind == "integer":
            return lambda u: min(low + math.floor(u * (high - low + 1)), high)
        return lambda u: _between(kind, low, high, u)
    if isinstance(spec, str):
        raise InvalidInput(f"the range of {name!r} must be {_RANGES}, but is {_short(spec)}.")
    choices = axis(name, spec)
    return lambda u: choices[min(math.floor(u * len(choices)), len(choices) - 1)]


def _between(kind: str, low: float, high: float, part: float) -> float:
    # in logarithms, and weighted, because the ratio and the difference of two floats can overflow
    if kind == "log":
        value = math.exp((1 - part) * math.log(low) + part * math.log(high))
    else:
        value = (1 - part) * low + part * high
    return min(max(float(f"{value:.12g}"), low), high)


def _ends(name: str, kind: str, pair: Any) -> tuple[Any, Any]:
    if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
        raise InvalidInput(f"the range of {name!r} must be [low, high], but is {_short(pair)}.")
    read = as_positive if kind == "log" else as_real
    low, high = (read(f"an end of {name!r}", end) for end in pair)
    if kind == "integer":
        low, high = (as_count(f"an end of {name!r}", end, minimum=-(2**53)) for end in pair)
    if low >= high:
        raise InvalidInput(f"the range of {name!r} must rise, but is from {low:g} to {high:g}.")
    return low, high


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
