"""Small networks on top of some features: units that pass a linear classifier on, or trained ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from theory.architecture import Activation
from theory.connectivity._task import Task
from theory.connectivity.separability import Separation

_INCREASING = ("identity", "hardtanh", "tanh", "sigmoid", "softplus", "selu", "leaky_relu", "elu")  # on [-1, 1]
_STEP = 1e-6  # of the central difference of an activation
_LARGEST = 2.0**60  # scale of the output of a classifier that is passed on


def passing(
    F: np.ndarray, found: Separation, task: Task, activation: Activation, biased: Sequence[bool], target: float
) -> list[np.ndarray] | None:
    """Layers that carry the scores of a linear classifier upwards in as many units as it has classes.

    *derived*: one increasing map for all scores keeps their order, so the classes stay separated behind every layer,
    and the loss goes to 0 as the last matrix grows. With a bias the scores are brought into [0, 1], where every
    activation known here increases; without one they are only scaled, where the activation increases on both sides of 0
    or where nonnegative features allow a common shift of the rows. None where neither is at hand.
    """
    s = activation.facts.function
    K = len(found.weights)
    V, c = found.weights, found.bias
    layers = []
    h = F
    for has_bias in biased[:-1]:
        if has_bias:
            z = h @ V.T + c
            low, high = z.min(), z.max()
            V, c = V / (high - low), (c - low) / (high - low)
        elif activation.name in _INCREASING and not c.any():
            V = V / np.abs(h @ V.T).max()
        elif h.min() >= 0 and not c.any():
            V = V - V.min()
            V = V / (h @ V.T).max()
        else:
            return None
        layers.append(np.column_stack([V, c]))
        h = s(h @ V.T + c)
        V, c = np.eye(K), np.zeros(K)
    # the difference of both scores is the output where there is only one
    head = V if task.loss == "cross_entropy" else V[1:] - V[:1]
    offset = c if task.loss == "cross_entropy" else c[1:] - c[:1]
    if offset.any() and not biased[-1]:
        return None
    scale = 1.0
    while task.value(scale * (h @ head.T + offset)) > target and scale < _LARGEST:
        scale *= 2
    return [*layers, scale * np.column_stack([head, offset])]


def evaluate(layers: Sequence[np.ndarray], F: np.ndarray, activation: Activation) -> np.ndarray:
    """Outputs of layers on features."""
    h = F
    for k, A in enumerate(layers):
        h = h @ A[:, :-1].T + A[:, -1]
        if k < len(layers) - 1:
            h = activation.facts.function(h)
    return h


def trained(
    F: np.ndarray, widths: Sequence[int], task: Task, activation: Activation, biased: Sequence[bool], *,
    target: float, max_steps: int, rng: np.random.Generator, start: list[np.ndarray] | None = None,
) -> list[np.ndarray]:  # fmt: skip
    """Layers of the given widths (hidden, then outputs) by L-BFGS; stops below ``target``.

    Starts from the layers given, else at random, and at 0 without hidden layers: there the problem is convex. The
    caller measures the loss: nothing is claimed of the least one.
    """
    shapes = [(m, n + 1) for n, m in pairwise([F.shape[1], *widths])]
    first = [np.zeros(shape) for shape in shapes]
    if start is not None:
        first = start
    elif len(widths) > 1:
        size = float(np.sqrt((F**2).mean())) or 1.0
        for k, (m, n) in enumerate(shapes):
            first[k][:, :-1] = rng.standard_normal((m, n - 1)) * np.sqrt(2 / (n - 1)) / (1 if k else size)
    return _descend(first, F, task, activation, biased, target, max_steps)


def _descend(
    first: list[np.ndarray], F: np.ndarray, task: Task, activation: Activation, biased: Sequence[bool], target: float,
    max_steps: int,
) -> list[np.ndarray]:  # fmt: skip
    s = activation.facts.function
    shapes = [A.shape for A in first]

    def fun(flat: np.ndarray) -> tuple[float, np.ndarray]:
        layers = _split(flat, shapes)
        values, slopes = [F], []
        for A in layers[:-1]:
            z = values[-1] @ A[:, :-1].T + A[:, -1]
            slopes.append((s(z + _STEP) - s(z - _STEP)) / (2 * _STEP))
            values.append(s(z))
        outputs = values[-1] @ layers[-1][:, :-1].T + layers[-1][:, -1]
        delta = task.gradient(outputs)
        parts = []
        for k in range(len(layers) - 1, -1, -1):
            bias = delta.sum(axis=0) if biased[k] else np.zeros(delta.shape[1])
            parts.append(np.column_stack([delta.T @ values[k], bias]).ravel())
            if k:
                delta = (delta @ layers[k][:, :-1]) * slopes[k - 1]
        return task.value(outputs), np.concatenate(parts[::-1])

    def stop(intermediate_result: OptimizeResult) -> None:
        if intermediate_result.fun <= target:
            raise StopIteration

    start = np.concatenate([A.ravel() for A in first])
    options = {"maxiter": max_steps, "maxfun": 2 * max_steps, "ftol": 0.0, "gtol": 1e-12}
    found = minimize(fun, start, jac=True, method="L-BFGS-B", callback=stop, options=options)
    return _split(found.x, shapes)


def _split(flat: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    ends = np.cumsum([m * n for m, n in shapes])
    return [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]

