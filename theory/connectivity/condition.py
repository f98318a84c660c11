r"""The condition under which a network keeps its loss on half of its neurons, layer by layer.

For every hidden layer l: a set I_l of at most half of its neurons, and a network on top of the features F_l restricted
to I_l, with at most half of the neurons of each layer above, whose loss is at most eps_l. nguyen2021connected (read in
its abstract; the constructive form is *derived* in ``_construct``): then the network is joined to one that uses half of
its neurons by a path on which the loss stays below max(loss, eps_1, ..., eps_{L-1}). Dropout stability
(kuditipudi2019explaining) is the case where those networks are taken from the given one. Where the features F_l on I_l
are linearly separable, as many units above as there are classes are enough (two for one output).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_real
from theory._errors import InvalidInput, PreconditionError
from theory.connectivity._subnetwork import evaluate, passing, trained
from theory.connectivity._task import Task
from theory.connectivity.network import DenseNetwork
from theory.connectivity.separability import Separation, separate

METHODS = ("auto", "separable", "trained", "dropout")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerCondition:
    """One hidden layer: which neurons are kept, and the network on top of them.

    Attributes
    ----------
    layer : 1..L-1. neurons : the kept ones, at most half.
    method : ``convex`` (the output alone, layer L-1), ``separable`` (units that pass a linear classifier on),
        ``trained`` (L-BFGS on the layers above) or ``dropout`` (the given weights, enlarged).
    separation : of the kept features, None where it was not asked or the targets are no classes.
    layers : matrices of the network on top, its hidden widths at most half of the layers above.
    eps : its loss, measured.
    """

    layer: int
    neurons: tuple[int, ...]
    method: str
    separation: Separation | None
    layers: tuple[np.ndarray, ...]
    eps: float

    @property
    def units(self) -> tuple[int, ...]:
        """Hidden units of the network on top, in layers ``layer + 1``, ..., L-1."""
        return tuple(len(A) for A in self.layers[:-1])

    def to_json(self) -> dict[str, object]:
        """Plain numbers, without the matrices."""
        separation = None if self.separation is None else self.separation.to_json()
        return {"layer": self.layer, "neurons": list(self.neurons), "units": list(self.units), "method": self.method,
                "eps": self.eps, "separation": separation}  # fmt: skip

    def __repr__(self) -> str:
        return f"LayerCondition(layer={self.layer}, {len(self.neurons)} neurons, {self.method}, eps={self.eps:.4g})"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Condition:
    """The condition of one network at every hidden layer.

    Attributes
    ----------
    loss : of the network. target : the level that the networks on top were to reach.
    layers : one record for each hidden layer, from the first.
    """

    loss: float
    target: float
    layers: tuple[LayerCondition, ...]

    @property
    def eps(self) -> float:
        """The largest loss of the networks on top: the path from here stays below max(loss, eps)."""
        return max(layer.eps for layer in self.layers)

    @property
    def holds(self) -> bool:
        """Whether eps <= target, so that the path has no barrier above it. False is no proof that none exists."""
        return self.eps <= self.target

    def to_json(self) -> dict[str, object]:
        """Plain numbers."""
        return {"loss": self.loss, "target": self.target, "eps": self.eps, "holds": self.holds,
                "layers": [layer.to_json() for layer in self.layers]}  # fmt: skip

    def summary(self) -> str:
        """One line per layer."""
        verdict = "holds" if self.holds else "not met"
        lines = [f"loss {self.loss:.6g}, target {self.target:.6g}: {verdict}"]
        for c in self.layers:
            margin = "" if c.separation is None else f"  margin {c.separation.margin:.3g}"
            lines.append(f"layer {c.layer}: {len(c.neurons)} neurons, {c.method}, eps {c.eps:.6g}{margin}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Condition(loss={self.loss:.4g}, eps={self.eps:.4g}, holds={self.holds})"


def check_condition(
    network: DenseNetwork,
    X: ArrayLike,
    y: ArrayLike,
    *,
    loss: str = "cross_entropy",
    target: float | None = None,
    method: str = "auto",
    starts: int = 3,
    max_steps: int = 2000,
    rng: np.random.Generator | int | None = 0,
    callback: Callable[[str], None] | None = None,
) -> Condition:
    """Look for half of the neurons of every layer, and a network of half the width on top, with loss below a target.

    Parameters
    ----------
    X, y, loss : data and convex loss: ``cross_entropy``, ``logistic`` or ``squared`` (means over the samples).
    target : the level to reach; default the network's own loss.
    method : ``separable`` (linear program, then passing units; L-BFGS only where the features are not separable),
        ``trained`` (L-BFGS of at most ``max_steps`` steps), ``auto`` (the first, then the second where it misses the
        target); in these three the last hidden layer is fitted by the convex problem of the output. ``dropout`` (the
        given weights on halves, enlarged by width / half, nothing fitted: dropout stability).
    starts : halves tried, until one reaches the target: first the neurons of largest (norm of outgoing weights) x (rms
        of the feature), with L-BFGS from the given weights on such halves; then random ones, from random weights.
    callback : called with a line of text per layer.

    A few halves among many are tried, so ``holds`` being False refutes nothing.

    Raises
    ------
    InvalidInput : data or options that do not fit.
    PreconditionError : a hidden layer of a single neuron, which has no half.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> net = DenseNetwork.of([rng.standard_normal((8, 2)), rng.standard_normal((8, 8)), rng.standard_normal((2, 8))])
    >>> check_condition(net, [[1.0, 0.0], [0.0, 1.0]], [0, 1], target=0.1).holds
    True
    """
    task = Task.of(network, X, y, loss)
    if method not in METHODS:
        raise InvalidInput(f"method must be one of {', '.join(METHODS)}, but is {method!r}.")
    if method == "separable" and task.classes is None:
        raise PreconditionError("linear separability needs classes, and the squared loss has targets: use 'trained'.")
    options = (method, as_count("starts", starts), as_count("max_steps", max_steps), np.random.default_rng(rng))
    hidden = network.widths[1:-1]
    for k, n in enumerate(hidden):
        if n < 2:
            raise PreconditionError(f"hidden layer {k + 1} has a single neuron, and the construction needs two halves.")
    own = task.of_network(network)
    goal = own if target is None else as_real("target", target)
    features = network.features(task.X)
    orders = [importance(network, features[layer], layer) for layer in range(1, len(hidden) + 1)]
    layers = []
    for layer in range(1, len(hidden) + 1):
        found = _layer(network, features[layer], orders, layer, task, goal, *options)
        layers.append(found)
        if callback is not None:
            callback(f"layer {layer} of {len(hidden)}: {found.method}, eps {found.eps:.4g}")
    return Condition(loss=own, target=goal, layers=tuple(layers))


def importance(network: DenseNetwork, F: np.ndarray, layer: int) -> np.ndarray:
    """Neurons of a hidden layer by norm of outgoing weights times rms of the feature, largest first."""
    outgoing = np.sqrt((network.layers[layer][:, :-1] ** 2).sum(axis=0))
    return np.argsort(-outgoing * np.sqrt((F**2).mean(axis=0)), kind="stable")


def passing_units(network: DenseNetwork) -> int:
    """Units per layer that carry a linear classifier: classes, two for a single output."""
    return max(2, network.widths[-1])


def _layer(
    network: DenseNetwork, F: np.ndarray, orders: list[np.ndarray], layer: int, task: Task, target: float, method: str,
    starts: int, max_steps: int, rng: np.random.Generator,
) -> LayerCondition:  # fmt: skip
    halves = [np.sort(order[: len(order) // 2]) for order in orders[layer - 1 :]]
    best: LayerCondition | None = None
    for attempt in range(starts):
        if attempt:
            halves[0] = np.sort(rng.permutation(orders[layer - 1])[: len(halves[0])])
        start = _restricted(network, halves, layer) if attempt == 0 or method == "dropout" else None
        found = _on_top(network, F[:, halves[0]], halves[0], layer, task, target, method, max_steps, rng, start)
        if best is None or found.eps < best.eps:
            best = found
        if best.eps <= target:
            break
    assert best is not None
    return best


def _restricted(network: DenseNetwork, halves: list[np.ndarray], layer: int) -> list[np.ndarray]:
    """The layers above on halves of their neurons, weights enlarged for the missing ones, as under dropout."""
    layers = []
    for k, columns in enumerate(halves):
        M = network.layers[layer + k]
        rows = np.arange(len(M)) if k == len(halves) - 1 else halves[k + 1]
        part = M[rows][:, [*columns, -1]]
        part[:, :-1] *= (M.shape[1] - 1) / len(columns)
        layers.append(part)
    return layers


def _on_top(
    network: DenseNetwork, part: np.ndarray, kept: np.ndarray, layer: int, task: Task, target: float, method: str,
    max_steps: int, rng: np.random.Generator, start: list[np.ndarray] | None,
) -> LayerCondition:  # fmt: skip
    """The best network found on top of one set of neurons."""
    activation, biased = network.activation, network.biased[layer:]
    neurons = tuple(int(i) for i in kept)
    if method == "dropout" and start is not None:
        eps = task.value(evaluate(start, part, activation))
        return LayerCondition(
            layer=layer, neurons=neurons, method=method, separation=None, layers=tuple(start), eps=eps
        )
    halves = [n // 2 for n in network.widths[layer + 1 : -1]]
    separation, best, how = None, None, ""
    if halves and method != "trained" and task.classes is not None:
        separation = separate(part, task.classes, n_classes=passing_units(network), bias=biased[0])
        if separation.separable and min(halves) >= passing_units(network):
            best, how = passing(part, separation, task, activation, biased, target), "separable"
    eps = np.inf if best is None else task.value(evaluate(best, part, activation))
    if best is None or (method == "auto" and eps > target):
        widths = [*halves, network.widths[-1]]
        other = trained(
            part, widths, task, activation, biased, target=target, max_steps=max_steps, rng=rng, start=start
        )
        reached = task.value(evaluate(other, part, activation))
        if reached < eps:
            best, eps, how = other, reached, "trained" if halves else "convex"
    assert best is not None
    return LayerCondition(
        layer=layer, neurons=neurons, method=how, separation=separation, layers=tuple(best), eps=eps
    )
