"""When to stop."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from theory._errors import InvalidInput

LARGEST = 1e12  # log(1/loss) past which the softmin weights have no digits left in float64
PATIENCE = 1e9  # log(1/loss) at which waiting for the margin ends
MARGIN_RTOL = 1e-6  # margin-converged: relative change while log(1/loss) doubles
KINDS = ("t", "log-t", "log-loss", "margin-converged", "stationary")


class FlowStatus(StrEnum):
    """How an integration ended."""

    REACHED = "The requested end was reached."
    MARGIN = "The normalised margin changed by less than 1e-6 while log(1/loss) doubled."
    STATIONARY = "The gradient vanished: a stationary point."
    SLOW = "log(1/loss) reached 1e9 and the normalised margin still moves: it converges too slowly to be awaited."
    PRECISION = "log(1/loss) reached 1e12, past which float64 loses the softmin weights."
    STEPS = "max_steps was reached before the requested end."
    STOPPED = "The integration could not be continued."


@dataclass(frozen=True, slots=True)
class Until:
    """An end: ``t``, ``log-t`` or ``log-loss`` with a value, ``margin-converged`` or ``stationary``."""

    kind: str
    value: float = np.inf


def as_until(until: str | float | Until, *, exponential_tail: bool) -> Until:
    """``"log-loss:1e4"``, ``"t:10"``, ``"log-t:1e6"``, ``"margin-converged"``, ``"stationary"``; a number is a time t.

    Raises
    ------
    InvalidInput : another word, a value that is not a positive number, log-loss past 1e12, a margin of the square loss.
    """
    if isinstance(until, int | float) and not isinstance(until, bool):
        until = Until("t", float(until))
    elif isinstance(until, str):
        kind, _, value = until.partition(":")
        try:
            until = Until(kind, float(value)) if value else Until(kind)
        except ValueError:
            raise InvalidInput(f"the value of until must be a number, but is {value!r}.") from None
    if not isinstance(until, Until) or until.kind not in KINDS:
        raise InvalidInput(
            f"until must be one of t:..., log-t:..., log-loss:..., margin-converged, stationary, but is {until!r}."
        )
    needs = until.kind in ("t", "log-t", "log-loss")
    if needs != np.isfinite(until.value) or np.isnan(until.value):
        raise InvalidInput(
            f"until={until.kind!r} takes {'a finite value, such as ' + until.kind + ':100' if needs else 'no value'}."
        )
    if until.kind == "t" and until.value <= 0:
        raise InvalidInput(f"the time t must be positive, but is {until.value:g}.")
    if until.kind == "log-loss" and until.value > LARGEST:
        raise InvalidInput(
            f"log(1/loss) can be followed to 1e12, past which float64 loses the weights; asked is {until.value:g}."
        )
    if not exponential_tail and until.kind in ("log-loss", "log-t", "margin-converged"):
        raise InvalidInput(
            f"until={until.kind!r} needs a loss with an exponential tail; the square loss takes t:... or stationary."
        )
    return until
