"""From recorded steps to an architecture: global pools, the comparison of every value, and the notes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from theory._errors import InvalidInput
from theory.architecture import (
    INPUT,
    Activation,
    Architecture,
    AvgPool,
    BatchNorm,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GraphBuilder,
    MaxPool,
    Operation,
)  # fmt: skip
from theory.architecture.forward import apply

if TYPE_CHECKING:
    from simulations.bridge._trace_values import Seen, Step

RTOL, ATOL = 1e-7, 1e-12  # of the largest entry of a value, and of what it is computed from


def simplified(steps: list[Step]) -> list[Step]:
    """A pool over the whole map whose only reader flattens it is a global pool."""
    by_name = {step.name: step for step in steps}
    read = [name for step in steps for name in step.inputs]
    gone: dict[str, str] = {}
    kept = []
    for step in steps:
        step.inputs = tuple(gone.get(name, name) for name in step.inputs)
        pool = by_name.get(step.inputs[0])
        if isinstance(step.operation, Flatten) and pool and _whole_map(pool) and read.count(pool.name) == 1:
            pool.operation = GlobalAvgPool() if isinstance(pool.operation, AvgPool) else GlobalMaxPool()
            pool.value = step.value
            gone[step.name] = pool.name
        else:
            kept.append(step)
    return kept


def _whole_map(step: Step) -> bool:
    if not isinstance(step.operation, AvgPool | MaxPool):
        return False
    size = step.input_shapes[0][1:]
    kernel, _, padding = step.operation.window(len(size))
    return kernel == size and not any(padding)


def built(input_shape: tuple[int, ...], steps: Iterable[Step]) -> Architecture:
    """The architecture of the steps."""
    builder = GraphBuilder(input_shape)
    for step in steps:
        builder.add(step.operation, *step.inputs, name=step.name)
    return builder.build()


def compare_values(architecture: Architecture, first: list[Step], second: list[Step], X: np.ndarray) -> None:
    """Hold every value of the second evaluation against ``theory.architecture`` with the weights of the first.

    Raises
    ------
    InvalidInput : other operations or weights than in the first evaluation; a value that differs.
    """
    if [(s.name, s.operation, s.inputs) for s in first] != [(s.name, s.operation, s.inputs) for s in second]:
        raise InvalidInput("the module's operations depend on the values or the number of its inputs.")
    values = {INPUT: X}
    for step, seen in zip(first, second, strict=True):
        if any(not np.array_equal(step.weights[short], seen.weights[short]) for short in step.weights):
            raise InvalidInput(f"in {step.where}, weights of {step.name!r} depend on the values of the input.")
        inputs = [values[name] for name in step.inputs]
        if isinstance(step.operation, Activation) and step.operation.lipschitz is not None and seen.value is not None:
            values[step.name] = seen.value
            continue
        found = apply(architecture[step.name], step.weights, *inputs)
        wanted = found if seen.value is None else seen.value
        with np.errstate(invalid="ignore"):
            gap = np.abs(found - wanted).max()
        if not gap <= RTOL * np.abs(wanted).max() + ATOL * max(np.abs(x).max() for x in inputs):
            what = "was declared" if step.declared else "was read"
            raise InvalidInput(
                f"{step.where} computes something else than the {_kind(step.operation)} that it {what} as: "
                f"a value differs by {gap:.3g}."
            )
        values[step.name] = wanted


def notes(seen: Seen, steps: list[Step]) -> list[str]:
    """What was set aside, and what was read in a particular way."""
    names = {step.name for step in steps}
    dropped = [step.name for step in steps if isinstance(step.operation, Dropout)]
    normed = [step.name for step in steps if isinstance(step.operation, BatchNorm)]
    told = []
    if seen.reshaped:
        told.append(seen.reshaped)
    if dropped:
        told.append(f"dropout is the identity at evaluation: {_listed(dropped)}")
    if normed:
        told.append(f"batch normalisation stands at its running statistics: {_listed(normed)}")
    computed = [name for name in seen.computed if name.rpartition(".")[0] in names or name.split(".")[0] in names]
    if computed:
        told.append(f"weights that the module computes stand at their value in evaluation: {_listed(computed)}")
    for name, used in seen.again.items():
        if name in names:
            told.append(
                f"{name!r} uses the weights of {used!r} again: they stand under both names, and norms and bounds count "
                "them as independent"
            )
    for name, original in seen.renamed.items():
        if name.rpartition(".")[0] in names and name.rpartition(".")[0] not in seen.again:
            told.append(f"{name!r} is the module's {original!r}")
    filled = [name for name in seen.filled if name in names]
    if filled:
        told.append(f"normalisations without weights have ones and zeros: {_listed(filled)}")
    constants = [name for name in seen.constants if name in names]
    if constants:
        told.append(f"constants of the forward pass stand as weights: {_listed(constants)}")
    if seen.slopes:
        told.append(f"the learned slope of a PReLU is a constant here: {_listed(seen.slopes)}")
    if seen.casts:
        told.append(f"casts to other types are set aside, everything is float64: {_listed(seen.casts)}")
    for path, operation in seen.declared.items():
        told.append(f"{path!r} is declared as {_kind(operation)}, not read")
    return told


def _kind(operation: Operation) -> str:
    if not isinstance(operation, Activation):
        return operation.kind
    if operation.lipschitz is None:
        return operation.name
    degree = "" if operation.degree is None else f", homogeneous of degree {operation.degree}"
    return f"{operation.name} (Lipschitz constant {operation.lipschitz:g}{degree})"


def _listed(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
