"""The options of ``theory flow`` that replace the flow by a discrete algorithm."""

from __future__ import annotations

from typing import Any

from theory._errors import InvalidInput

ALGORITHMS: dict[str, dict[str, Any]] = {
    "gd": {},
    "sgd": {},
    "heavy-ball": {},
    "nesterov": {"nesterov": True},
    "loss-scaled": {"step_rule": "loss-scaled"},
    "normalised": {"step_rule": "normalised"},
}
MOMENTUM = 0.9  # of heavy-ball and nesterov


def algorithm_options(
    name: str | None, given: dict[str, float | int | None], flow_only: dict[str, bool], seed: int
) -> dict[str, Any] | None:
    """The keywords of ``descend`` from the options ``given``; None where the flow is asked for.

    Raises
    ------
    InvalidInput : an unknown algorithm; options of an algorithm without one, or of the flow with one.
    """
    words = {key: value for key, value in given.items() if value is not None}
    if name is None:
        if words:
            raise InvalidInput(f"--{next(iter(words))} belongs to a discrete algorithm: give --algorithm.")
        return None
    if name not in ALGORITHMS:
        raise InvalidInput(f"--algorithm must be one of {', '.join(ALGORITHMS)}, but is {name!r}.")
    for key, used in flow_only.items():
        if used:
            raise InvalidInput(f"--{key} belongs to the flow; an algorithm makes --steps updates.")
    if name in ("heavy-ball", "nesterov"):
        words.setdefault("momentum", MOMENTUM)
    elif "momentum" in words:
        raise InvalidInput("--momentum belongs to heavy-ball and nesterov.")
    if (name == "sgd") != ("batch" in words):
        raise InvalidInput("--batch, the samples a step, belongs to sgd, which needs it.")
    return {**ALGORITHMS[name], **words, "rng": seed}
