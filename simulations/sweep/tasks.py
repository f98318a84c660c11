"""What a sweep can compute by name: one task is one function from plain parameters to a flat record.

=============  =====================================================================================================
``threshold``  imbalance at which minority classes merge and vanish (``theory.peeled.collapse_thresholds``)
``peel``       an optimum of the layer-peeled or the unconstrained-features model, with its gap
``flow``       the gradient flow of a network on points: margin, log-loss, KKT residual
``rho``        the norm rho under the square loss, and where it rests
``bounds``     generalization bounds of a perceptron or a convolutional network on digits, trained or random
``training``   a network trained on digits with stated class counts: errors, loss, NC1-NC4
=============  =====================================================================================================

A task's parameters are the keyword arguments of its ``compute``; those without a default must be given. A record holds
plain values only (numbers, text, booleans, None), each task's with what certifies it. NumPy and PyTorch load when a
task runs, not when it is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from simulations.sweep._task_flows import flow, rho
from simulations.sweep._task_networks import bounds, training
from simulations.sweep._task_peeled import peel, threshold, thresholds

Record: TypeAlias = Mapping[str, float | int | str | bool | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One kind of computation.

    Attributes
    ----------
    name : as a study calls it.
    compute : ``compute(**parameters)`` returns the record, or raises a TheoryError that says why there is none.
    batch : the same for a list of parameters at once where that is faster: records and errors in their order, equal
        to the bits of ``compute``. None where there is no such form.
    summary : one line in words.

    Examples
    --------
    >>> TASKS["threshold"].compute(majority=5, minority=5, E_W=1, E_H=1)["vanishes"]
    True
    """

    name: str
    compute: Callable[..., Record]
    batch: Callable[[Sequence[Mapping[str, Any]]], list[Record | Exception]] | None = None
    summary: str


TASKS = {
    task.name: task
    for task in (
        Task(name="threshold", compute=threshold, batch=thresholds,
             summary="imbalance at which minority classes merge (R0) and vanish (R00)"),
        Task(name="peel", compute=peel, summary="certified optimum of a model of the last layer"),
        Task(name="flow", compute=flow, summary="gradient flow of a network: margin, log-loss, KKT residual"),
        Task(name="rho", compute=rho, summary="norm rho of a network under the square loss and weight decay"),
        Task(name="bounds", compute=bounds, summary="generalization bounds against depth, width and sample size"),
        Task(name="training", compute=training, summary="a trained network: errors, loss, collapse metrics"),
    )
}  # fmt: skip
