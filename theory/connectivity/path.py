r"""Low-loss paths between two networks: the constructed one, the straight one, the straight one after alignment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_real
from theory._errors import InvalidInput
from theory.connectivity._construct import hand_over, retreat
from theory.connectivity._segments import CONSTANT, CONVEX, GENERAL, kind_of, largest, upper_bound
from theory.connectivity._task import Task
from theory.connectivity.alignment import Alignment, align
from theory.connectivity.condition import Condition, check_condition
from theory.connectivity.network import DenseNetwork, between, check_pair


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segment:
    """A straight piece of a path, with weights (1 - t) start + t end for 0 <= t <= 1.

    Attributes
    ----------
    kind : ``convex`` (only the output moves), ``constant`` (the function does not change), ``general``.
    t, losses : the grid, both ends included. maximum, at : largest loss found, and its t.
    upper : the loss nowhere exceeds it, up to rounding: the larger end where the kind proves that, else by intervals.
    """

    kind: str
    t: np.ndarray
    losses: np.ndarray
    maximum: float
    at: float
    upper: float

    def __repr__(self) -> str:
        return f"Segment({self.kind}, maximum={self.maximum:.4g}, upper={self.upper:.4g})"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ConnectedPath:
    """A piecewise linear path in the space of weights, with the loss along it.

    Attributes
    ----------
    construction : ``half``, ``linear`` or ``aligned``.
    vertices : networks from the first given one; the last is the second given one, but for ``aligned`` a copy of it
        with its neurons in another order, which is the same function.
    segments : one less. occupied : for each hidden layer, the most neurons in use at once, after the first step of
        each network has given up half of its last hidden layer (``half`` only).
    conditions : of both networks (``half`` only). alignment : of the second network (``aligned`` only).
    """

    construction: str
    vertices: tuple[DenseNetwork, ...]
    segments: tuple[Segment, ...]
    occupied: tuple[int, ...] = ()
    conditions: tuple[Condition, ...] = ()
    alignment: Alignment | None = None

    @property
    def ends(self) -> tuple[float, float]:
        """Losses of the two networks."""
        return float(self.segments[0].losses[0]), float(self.segments[-1].losses[-1])

    @property
    def maximum(self) -> float:
        """The largest loss found on the path."""
        return max(segment.maximum for segment in self.segments)

    @property
    def upper(self) -> float:
        """The loss nowhere exceeds it, up to rounding."""
        return max(segment.upper for segment in self.segments)

    @property
    def barrier(self) -> float:
        """``maximum`` above the larger end; 0 where the path never rises above both networks."""
        return max(0.0, self.maximum - max(self.ends))

    @property
    def barrier_upper(self) -> float:
        """``upper`` above the larger end."""
        return max(0.0, self.upper - max(self.ends))

    @property
    def points(self) -> int:
        """Networks whose loss was evaluated on the grid."""
        return sum(len(segment.t) for segment in self.segments)

    def at(self, s: float) -> DenseNetwork:
        """The network at 0 <= s <= 1, every segment taking the same share of s.

        Raises
        ------
        InvalidInput : s outside [0, 1].
        """
        place = as_real("s", s)
        if not 0 <= place <= 1:
            raise InvalidInput(f"s must lie in [0, 1], but is {place:g}.")
        place *= len(self.segments)
        k = min(int(place), len(self.segments) - 1)
        return between(self.vertices[k], self.vertices[k + 1], place - k)

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """(s, losses) of all grid points, for a plot."""
        count = len(self.segments)
        s = np.concatenate([(k + segment.t) / count for k, segment in enumerate(self.segments)])
        return s, np.concatenate([segment.losses for segment in self.segments])

    def to_json(self) -> dict[str, object]:
        """Plain numbers, without the weights."""
        segments = [{"kind": g.kind, "maximum": g.maximum, "at": g.at, "upper": g.upper} for g in self.segments]
        return {"construction": self.construction, "ends": list(self.ends), "maximum": self.maximum,
                "upper": self.upper, "barrier": self.barrier, "barrier_upper": self.barrier_upper,
                "points": self.points, "segments": segments, "occupied": list(self.occupied),
                "conditions": [c.to_json() for c in self.conditions],
                "alignment": None if self.alignment is None else self.alignment.to_json()}  # fmt: skip

    def summary(self) -> str:
        """The barrier, and what the segments prove."""
        kinds = {kind: sum(g.kind == kind for g in self.segments) for kind in (CONVEX, CONSTANT, GENERAL)}
        return (
            f"{self.construction} path, {len(self.segments)} segments "
            f"({', '.join(f'{count} {kind}' for kind, count in kinds.items() if count)}), {self.points} points\n"
            f"losses of the ends {self.ends[0]:.6g} and {self.ends[1]:.6g}; largest {self.maximum:.6g} "
            f"(at most {self.upper:.6g}); barrier {self.barrier:.6g} (at most {self.barrier_upper:.6g})"
        )

    def __repr__(self) -> str:
        return f"ConnectedPath({self.construction}, {len(self.segments)} segments, barrier={self.barrier:.4g})"


def connect(
    first: DenseNetwork,
    second: DenseNetwork,
    X: ArrayLike,
    y: ArrayLike,
    *,
    loss: str = "cross_entropy",
    method: str = "auto",
    points: int = 1000,
    starts: int = 3,
    max_steps: int = 2000,
    rng: np.random.Generator | int | None = 0,
    callback: Callable[[str], None] | None = None,
) -> ConnectedPath:
    r"""The explicit path through networks that use half of their neurons.

    *derived* (in the manner of nguyen2021connected): with the conditions of ``check_condition`` the loss never exceeds
    :math:`\max(\Phi(\theta_0), \Phi(\theta_1), \epsilon^0_l, \epsilon^1_l)`. Each network retreats to half of its
    neurons from the last hidden layer down, building the network found on top of F_l into spare neurons, passing the
    output to it (convex) and clearing the others (not seen by the output); the first then hands over to the second in
    spare neurons, and exact copies carry it to its own places. Every segment is ``convex`` or ``constant``, which is
    read off the weights again, so ``upper`` is the largest loss of a vertex.

    Parameters
    ----------
    first, second : networks of one kind, with two neurons or more in each hidden layer.
    X, y, loss, method, starts, max_steps, rng : as in ``check_condition``; the target is the larger loss of the two.
    points : of the grid over the whole path, at least. callback : called with a line of text per step.

    Raises
    ------
    InvalidInput : networks of different kinds, data that do not fit.
    PreconditionError : a hidden layer of a single neuron.

    A barrier above 0 means that the networks on top were not found, not that there is no path.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> a, b = (DenseNetwork.of([rng.standard_normal((6, 2)), rng.standard_normal((2, 6))]) for _ in range(2))
    >>> path = connect(a, b, [[1.0, 0.0], [0.0, 1.0]], [0, 1])
    >>> path.barrier < 1e-12, path.at(0) is a, path.at(1) is b
    (True, True, True)
    """
    check_pair(first, second)
    task = Task.of(first, X, y, loss)
    target = max(task.of_network(first), task.of_network(second))
    generator = np.random.default_rng(rng)
    found = [
        check_condition(network, X, y, loss=loss, target=target, method=method, starts=starts, max_steps=max_steps,
                        rng=generator, callback=callback)
        for network in (first, second)
    ]  # fmt: skip
    out, used = retreat(first.layers, found[0].layers)
    back, wanted = retreat(second.layers, found[1].layers)
    joined = hand_over(out[-1], used, back[-1], wanted)
    middle = [*out[1:], *joined[:-1], *back[:0:-1]]
    vertices = [first, *(first.with_layers(layers) for layers in middle), second]
    occupied = tuple(
        max(len(a) + len(b), *(_most(c, k) for c in found))
        for k, (a, b) in enumerate(zip(used, wanted, strict=True))
    )  # fmt: skip
    segments = _measure(vertices, task, points, pieces=512, callback=callback)
    return ConnectedPath(
        construction="half", vertices=tuple(vertices), segments=segments, occupied=occupied, conditions=tuple(found)
    )


def linear_path(
    first: DenseNetwork, second: DenseNetwork, X: ArrayLike, y: ArrayLike, *, loss: str = "cross_entropy",
    points: int = 1000, pieces: int = 512,
) -> ConnectedPath:  # fmt: skip
    """The straight line between two networks, for comparison; ``upper`` by intervals on at most ``pieces`` pieces.

    Raises
    ------
    InvalidInput : networks of different kinds, data that do not fit.
    """
    check_pair(first, second)
    task = Task.of(first, X, y, loss)
    segments = _measure([first, second], task, points, as_count("pieces", pieces, minimum=16))
    return ConnectedPath(construction="linear", vertices=(first, second), segments=segments)


def aligned_path(
    first: DenseNetwork, second: DenseNetwork, X: ArrayLike, y: ArrayLike, *, loss: str = "cross_entropy",
    points: int = 1000, pieces: int = 512, starts: int = 3, rng: np.random.Generator | int | None = 0,
) -> ConnectedPath:  # fmt: skip
    """The straight line to the second network with its hidden neurons reordered to lie close (``align``).

    Raises
    ------
    InvalidInput : networks of different kinds, data that do not fit.
    """
    alignment = align(first, second, starts=starts, rng=rng)
    task = Task.of(first, X, y, loss)
    vertices = (first, alignment.network)
    segments = _measure(vertices, task, points, as_count("pieces", pieces, minimum=16))
    return ConnectedPath(construction="aligned", vertices=vertices, segments=segments, alignment=alignment)


def _most(condition: Condition, k: int) -> int:
    """Neurons of hidden layer k + 1 in use while two networks on top stand side by side."""
    own = len(condition.layers[k].neurons)
    units = [condition.layers[j].units[k - j - 1] for j in range(k - 1, -1, -1)]
    sizes = [own, *units]
    return max((a + b for a, b in pairwise(sizes)), default=own)


def _measure(
    vertices: Sequence[DenseNetwork], task: Task, points: int, pieces: int,
    callback: Callable[[str], None] | None = None,
) -> tuple[Segment, ...]:  # fmt: skip
    count = len(vertices) - 1
    each = max(3, -(-as_count("points", points) // count))
    segments = []
    for k, (start, end) in enumerate(pairwise(vertices)):
        kind = kind_of(start, end)
        t, losses, maximum, at = largest(start, end, task, each)
        if kind == GENERAL:
            upper = upper_bound(start, end, task, measured=maximum, pieces=pieces)
        else:
            upper = max(float(losses[0]), float(losses[-1]), maximum)  # inner points differ by rounding
        segments.append(Segment(kind=kind, t=t, losses=losses, maximum=maximum, at=at, upper=upper))
        if callback is not None:
            callback(f"segment {k + 1} of {count}: {kind}, largest loss {maximum:.4g}")
    return tuple(segments)
