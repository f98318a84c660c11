"""How many neurons the path asks for, against what the given networks need."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._errors import PreconditionError
from theory.connectivity._task import Task
from theory.connectivity.condition import importance, passing_units
from theory.connectivity.network import DenseNetwork, check_pair
from theory.connectivity.separability import separate


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuronCount:
    """What a path needs of one hidden layer: neurons counted here, and two published orders.

    Attributes
    ----------
    layer : 1..L-1. width : of the networks.
    separable : for each network, how many of its most important neurons have linearly separable features (the fewest
        along that order; other sets may need fewer), None where all together do not.
    needed : width with which the path through separable features would do: both sets, or a set beside the passing
        units, or those twice, whichever is most; None where a layer is not separable.
    generic : ceil(sqrt(N)), the order (constant not stated) in the last two hidden layers for generic features
        (*published form*, nguyen2021connected, abstract); None in other layers.
    wide : N + 1, the width of one layer from which all sublevel sets are connected (*published form*, nguyen2021note).
    """

    layer: int
    width: int
    separable: tuple[int | None, int | None]
    needed: int | None
    generic: int | None
    wide: int

    @property
    def enough(self) -> bool:
        """Whether the width covers what is needed."""
        return self.needed is not None and self.needed <= self.width

    def to_json(self) -> dict[str, object]:
        """Plain numbers."""
        return asdict(self)


def neuron_counts(
    first: DenseNetwork, second: DenseNetwork, X: ArrayLike, y: ArrayLike, *, loss: str = "cross_entropy",
    callback: Callable[[str], None] | None = None,
) -> tuple[NeuronCount, ...]:  # fmt: skip
    """The neurons that the construction needs in each hidden layer, by bisection over linear programs.

    *derived*: a set that contains separable features is separable, so bisection along a fixed order is exact.

    Raises
    ------
    InvalidInput : networks of different kinds, data that do not fit.
    PreconditionError : the squared loss, whose targets are no classes.

    Cost: 2 (L - 1) log2(width) linear programs, see ``separate``.
    """
    check_pair(first, second)
    task = Task.of(first, X, y, loss)
    if task.classes is None:
        raise PreconditionError("linear separability needs classes, and the squared loss has targets.")
    hidden, N, units = first.widths[1:-1], len(task.X), passing_units(first)
    fewest: list[list[int | None]] = []
    for network in (first, second):
        features = network.features(task.X)
        fewest.append([_fewest(network, features[k + 1], k + 1, task.classes) for k in range(len(hidden))])
        if callback is not None:
            callback(f"separable neurons per layer: {fewest[-1]}")
    counts = []
    for k, width in enumerate(hidden):
        a, b = fewest[0][k], fewest[1][k]
        needed = None
        if a is not None and b is not None:
            # layer 1 keeps both sets; above it the passing units stand beside a set, and beside each other
            needed = a + b if k == 0 else max(a + units, b + units, 2 * units)
        last_two = k >= len(hidden) - 2
        counts.append(
            NeuronCount(layer=k + 1, width=width, separable=(a, b), needed=needed,
                        generic=math.isqrt(N - 1) + 1 if last_two else None, wide=N + 1)
        )  # fmt: skip
    return tuple(counts)


def _fewest(network: DenseNetwork, F: np.ndarray, layer: int, classes: np.ndarray) -> int | None:
    order, bias = importance(network, F, layer), network.biased[layer]
    K = passing_units(network)
    if not separate(F, classes, n_classes=K, bias=bias).separable:
        return None
    low, high = 0, len(order)
    while high - low > 1:
        middle = (low + high) // 2
        if separate(F[:, order[:middle]], classes, n_classes=K, bias=bias).separable:
            high = middle
        else:
            low = middle
    return high
