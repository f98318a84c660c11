"""Normalisations folded into their neighbours: the network that norms and bounds speak of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from theory.architecture.graph import Architecture, GraphBuilder
from theory.architecture.operations import BatchNorm, Bias, Conv, Dropout, Linear, Operation, Scale, Shape

Named = dict[str, np.ndarray]


def fold(architecture: Architecture, weights: Mapping[str, ArrayLike]) -> tuple[Architecture, Named]:
    r"""The same function without BatchNorm, Bias and Dropout nodes: folded exactly, before any norm is taken.

    A normalisation v -> a v + c (a = weight / sqrt(running_var + eps), c = bias - a running_mean) after a linear map
    that nobody else reads becomes W -> a W, b -> a b + c; before a dense map, or a convolution whose zero padding it
    does not reach, it becomes W -> W a, b -> b + W c. Where neither neighbour is linear it stays, as a Scale node.
    Signs are kept: |running_mean| inside the normalisation would let biases cancel (*derived*).

    Which nodes fold depends on the architecture alone, never on the weights.

    Parameters
    ----------
    weights : as ``architecture.parameters``.

    Returns
    -------
    architecture, weights : without the folded nodes; other names are kept.

    Raises
    ------
    InvalidInput : weights that do not fit.

    Examples
    --------
    >>> from theory.architecture import Linear
    >>> net = Architecture.sequential([Linear(1, bias=False), BatchNorm(eps=1e-300)], input_shape=1)
    >>> one = {"weight": [1.0], "bias": [0.0], "running_mean": [1.0], "running_var": [1.0]}
    >>> folded, named = fold(net, {"linear1.weight": [[1.0]], **{f"batchnorm1.{k}": v for k, v in one.items()}})
    >>> named["linear1.weight"], named["linear1.bias"]
    (array([[1.]]), array([-1.]))
    """
    named = architecture.check_weights(weights)
    steps = [_Step(node.name, node.operation, list(node.inputs), node.input_shapes[0]) for node in architecture.nodes]
    for step in steps:
        if isinstance(step.operation, BatchNorm | Bias):
            named.update(_as_scale(step, named))
            step.operation = Scale()
    changed = True
    while changed:
        changed = _fold_once(steps, named)
    builder = GraphBuilder(architecture.input_shape)
    for step in steps:
        builder.add(step.operation, *step.inputs, name=step.name)
    folded = builder.build()
    return folded, {key: named[key] for key in folded.parameters}


class _Step:
    """A node whose operation and inputs may change while the graph is folded."""

    def __init__(self, name: str, operation: Operation, inputs: list[str], input_shape: Shape) -> None:
        self.name, self.operation, self.inputs, self.input_shape = name, operation, inputs, input_shape


def _as_scale(step: _Step, named: Named) -> Named:
    """``weight`` and ``bias`` of the Scale that a BatchNorm or Bias is."""
    get = lambda key: named.pop(f"{step.name}.{key}")  # noqa: E731
    if isinstance(step.operation, BatchNorm):
        mean, var, beta = get("running_mean"), get("running_var"), get("bias")
        scale = get("weight") / np.sqrt(var + step.operation.eps)
        return {f"{step.name}.weight": scale, f"{step.name}.bias": beta - scale * mean}
    shift = get("bias")
    return {f"{step.name}.weight": np.ones_like(shift), f"{step.name}.bias": shift}


def _fold_once(steps: list[_Step], named: Named) -> bool:
    """Fold or drop one node; whether anything changed."""
    by_name = {step.name: step for step in steps}
    readers = {step.name: [r for r in steps for name in r.inputs if name == step.name] for step in steps}
    for step in steps:
        if isinstance(step.operation, Dropout) and len(steps) > 1:
            return _remove(step, steps)
        if not isinstance(step.operation, Scale):
            continue
        before = by_name.get(step.inputs[0])
        linear = before is not None and isinstance(before.operation, Linear | Conv | Scale)
        if before is not None and linear and len(readers[before.name]) == 1:
            if isinstance(before.operation, Linear) and len(before.input_shape) > 1:
                continue  # its channels are the last axis, those of the Scale the first
            _into_producer(step, before, named)
            return _remove(step, steps)
        after = readers[step.name][0] if len(readers[step.name]) == 1 else None
        if after is not None and _can_absorb(after):
            _into_reader(step, after, named)
            return _remove(step, steps)
    return False


def _can_absorb(reader: _Step) -> bool:
    op = reader.operation
    if isinstance(op, Linear):
        return len(reader.input_shape) == 1
    if not isinstance(op, Conv):
        return False
    return op.padding_mode != "zeros" or not any(op.paddings(len(reader.input_shape) - 1))


def _into_producer(step: _Step, before: _Step, named: Named) -> None:
    scale, shift = named.pop(f"{step.name}.weight"), named.pop(f"{step.name}.bias")
    W = named[f"{before.name}.weight"]
    b = named.get(f"{before.name}.bias", np.zeros_like(shift))
    named[f"{before.name}.weight"] = W * scale.reshape(-1, *(1,) * (W.ndim - 1))
    named[f"{before.name}.bias"] = scale * b + shift
    before.operation = _with_bias(before.operation)


def _into_reader(step: _Step, after: _Step, named: Named) -> None:
    scale, shift = named.pop(f"{step.name}.weight"), named.pop(f"{step.name}.bias")
    W = named[f"{after.name}.weight"]
    groups = after.operation.groups if isinstance(after.operation, Conv) else 1
    split = W.reshape(groups, W.shape[0] // groups, W.shape[1], -1)  # (groups, out, in, taps)
    a, c = scale.reshape(groups, 1, -1, 1), shift.reshape(groups, 1, -1, 1)
    b = named.get(f"{after.name}.bias", np.zeros(len(W)))
    named[f"{after.name}.bias"] = b + (split * c).sum(axis=(2, 3)).ravel()
    named[f"{after.name}.weight"] = (split * a).reshape(W.shape)
    after.operation = _with_bias(after.operation)


def _with_bias(operation: Operation) -> Operation:
    return operation if isinstance(operation, Scale) else replace(operation, bias=True)  # type: ignore[type-var]


def _remove(step: _Step, steps: list[_Step]) -> bool:
    steps.remove(step)
    for other in steps:
        other.inputs = [step.inputs[0] if name == step.name else name for name in other.inputs]
    return True

