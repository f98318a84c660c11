"""What a float64 result can be off by, and a scale at which squares neither overflow nor vanish."""

from __future__ import annotations

import math

import numpy as np

from theory._errors import InvalidInput

UNIT = 2.0**-53


def gamma(n: float) -> float:
    """``n u / (1 - n u)``: relative error of n roundings in a row, whatever the order of a sum (higham2002accuracy)."""
    return n * UNIT / (1 - n * UNIT)


def exponent(A: np.ndarray) -> int:
    """The e for which the largest ``|entry| * 2^-e`` lies in [1/2, 1); 0 for a zero array."""
    return math.frexp(max(float(A.max(initial=0.0)), -float(A.min(initial=0.0))))[1]


def scaled_back(value: float, e: int, *, up: bool) -> float:
    """``value * 2^e``, away from the norm where that rounds (subnormal); refuses what no float64 can hold."""
    try:
        back = math.ldexp(value, e)
    except OverflowError:
        raise InvalidInput("the entries are so large that the norm exceeds float64; rescale them.") from None
    exact = math.ldexp(back, -e) == value
    if exact:
        return back
    return math.nextafter(back, math.inf) if up else max(0.0, math.nextafter(back, 0.0))
