"""What a discrete algorithm is: its step sizes, its batches, its momentum, its decay, its coordinates; checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats, as_positive, as_real
from theory._errors import InvalidInput
from theory.flow._algorithm_coordinates import COORDINATES
from theory.flow.losses import Loss

STEP_RULES = ("constant", "loss-scaled", "normalised")
GEOMETRIC = 1.08  # ratio of recorded steps: 30 a decade
Factor = Callable[[int, float], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """The options of ``descend``, checked.

    Attributes
    ----------
    step : (steps) the numbers that the rule multiplies. rule : a name of ``STEP_RULES`` or ``custom``.
    factor : of a custom rule. batch : samples a step, None for all.
    """

    step: np.ndarray
    rule: str
    factor: Factor | None
    batch: int | None
    replacement: bool
    momentum: float
    nesterov: bool
    weight_decay: float
    decoupled: bool
    normalise: str | None

    @property
    def steps(self) -> int:
        """Number of updates."""
        return len(self.step)

    @property
    def constant(self) -> bool:
        """Whether the step size is given, and not a function of the state."""
        return self.rule == "constant"

    @property
    def name(self) -> str:
        """The algorithm in words."""
        what = "gradient descent" if self.batch is None else f"SGD, {self.batch} samples a step"
        if self.batch is not None:
            what += " with replacement" if self.replacement else " without replacement"
        if self.momentum:
            what += f", {'Nesterov' if self.nesterov else 'heavy-ball'} momentum {self.momentum:g}"
        low, high = float(self.step.min()), float(self.step.max())
        size = f"{low:g}" if low == high else f"from {self.step[0]:g} to {self.step[-1]:g}"
        what += f", {'' if self.constant else self.rule + ' '}steps {size}"
        if self.weight_decay:
            what += f", {'decoupled ' if self.decoupled else ''}weight decay {self.weight_decay:g}"
        return what + ("" if self.normalise is None else f", {self.normalise}")

    def to_json(self) -> dict[str, object]:
        """The options in plain numbers; a schedule by its ends."""
        return {
            "name": self.name, "steps": self.steps, "step": [float(self.step[0]), float(self.step[-1])],
            "rule": self.rule, "batch": self.batch, "replacement": self.replacement, "momentum": self.momentum,
            "nesterov": self.nesterov, "weight_decay": self.weight_decay, "decoupled": self.decoupled,
            "normalise": self.normalise,
        }  # fmt: skip


def as_algorithm(
    loss: Loss,
    N: int,
    *,
    step: ArrayLike,
    steps: int | None,
    step_rule: str | Factor,
    batch: int | None,
    replacement: bool,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    decoupled: bool,
    normalise: str | None,
) -> Algorithm:
    """The options of ``descend``; InvalidInput where one is outside its range, or two exclude each other."""
    if not callable(step_rule) and step_rule not in STEP_RULES:
        raise InvalidInput(f"step_rule must be {', '.join(STEP_RULES)} or a function (k, u), but is {step_rule!r}.")
    if step_rule == "loss-scaled" and not loss.exponential_tail:
        raise InvalidInput(f"loss-scaled steps need a loss with an exponential tail, which {loss.name} has not.")
    beta, lam = as_real("momentum", momentum), as_real("weight_decay", weight_decay)
    if not 0 <= beta < 1:
        raise InvalidInput(f"momentum must be at least 0 and below 1, but is {beta:g}.")
    if nesterov and beta == 0:
        raise InvalidInput("nesterov needs a momentum above 0.")
    if lam < 0:
        raise InvalidInput(f"weight_decay must be at least 0, but is {lam:g}.")
    if decoupled and lam == 0:
        raise InvalidInput("decoupled needs a weight_decay above 0.")
    if normalise is not None and normalise not in COORDINATES:
        raise InvalidInput(f"normalise must be None or one of {', '.join(COORDINATES)}, but is {normalise!r}.")
    if normalise == "lagrange" and beta:
        raise InvalidInput("momentum is not defined on the unit spheres of normalise='lagrange'.")
    size = None if batch is None else as_count("batch", batch)
    if size is not None and size > N:
        raise InvalidInput(f"batch must be at most the number of samples, {N}, but is {size}.")
    if replacement and size is None:
        raise InvalidInput("replacement needs a batch size.")
    return Algorithm(
        step=_schedule(step, steps), rule="custom" if callable(step_rule) else step_rule,
        factor=step_rule if callable(step_rule) else None, batch=size, replacement=bool(replacement), momentum=beta,
        nesterov=bool(nesterov), weight_decay=lam, decoupled=bool(decoupled), normalise=normalise,
    )  # fmt: skip


def _schedule(step: ArrayLike, steps: int | None) -> np.ndarray:
    """One positive number per update (steps)."""
    if np.ndim(step) == 0:
        return np.full(as_count("steps", 1000 if steps is None else steps), as_positive("step", step))
    schedule = as_floats("step", step, ndim=1)
    if not schedule.size or (schedule <= 0).any():
        raise InvalidInput("a schedule of steps must hold at least one number, all positive.")
    if steps is not None and as_count("steps", steps) != len(schedule):
        raise InvalidInput(f"the schedule holds {len(schedule)} steps, but steps is {steps}.")
    return schedule


def recorded_steps(record: str | int | Sequence[int], steps: int) -> list[int]:
    """The numbers of the updates after which the state is kept: always 0 and the last."""
    if isinstance(record, str):
        if record != "geometric":
            raise InvalidInput(f"record must be 'geometric', a number or a list of steps, but is {record!r}.")
        chosen = np.unique(np.geomspace(1, steps, 2 + int(np.log(steps) / np.log(GEOMETRIC))).round().astype(int))
    elif np.ndim(record) == 0:
        chosen = np.arange(0, steps, as_count("record", record))
    else:
        chosen = np.array([as_count("record", k, minimum=0) for k in np.asarray(record).tolist()], dtype=int)
        if chosen.size and chosen.max() > steps:
            raise InvalidInput(f"record asks for step {chosen.max()}, but there are {steps}.")
    return np.unique(np.concatenate([[0], chosen, [steps]])).tolist()
