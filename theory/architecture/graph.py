"""A feed-forward network as a directed acyclic graph of operations, without its weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats
from theory._errors import InvalidInput
from theory.architecture.operations import Operation, Shape

INPUT = "input"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operation of the graph.

    Attributes
    ----------
    name : unique; parameters are called ``name.weight`` and so on.
    operation : what it does.
    inputs : names of the nodes it reads; ``input`` is the network's input.
    input_shapes, shape : per sample.
    """

    name: str
    operation: Operation
    inputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    shape: Shape

    @property
    def parameters(self) -> dict[str, Shape]:
        """Full names and shapes of the parameters."""
        own = self.operation.parameters(self.input_shapes[0])
        return {f"{self.name}.{key}": shape for key, shape in own.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A network without its weights: nodes in topological order, every shape inferred.

    Attributes
    ----------
    input_shape : of one sample: (d,), (C, L) or (C, H, W).
    nodes : each reads the input or earlier nodes; every node but the last is read by another.

    Examples
    --------
    >>> from theory.architecture import Activation, Conv, Flatten, Linear
    >>> net = Architecture.sequential(
    ...     [Conv(8, 3, padding=1), Activation("relu"), Flatten(), Linear(10)], input_shape=(1, 8, 8))
    >>> net.output_shape, net.n_parameters
    ((10,), 5210)
    """

    input_shape: Shape
    nodes: tuple[Node, ...]
    _by_name: dict[str, Node] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.nodes:
            raise InvalidInput("an architecture needs at least one operation.")
        object.__setattr__(self, "_by_name", {node.name: node for node in self.nodes})
        read = {name for node in self.nodes for name in node.inputs}
        unread = [node.name for node in self.nodes[:-1] if node.name not in read]
        if unread:
            raise InvalidInput(f"the output of {unread[0]!r} is not used; the last operation is the network's output.")

    @staticmethod
    def sequential(
        operations: Iterable[Operation] | Mapping[str, Operation], *, input_shape: Sequence[int] | int
    ) -> Architecture:
        """One operation after the other; names are kind and number unless a mapping gives them.

        Raises
        ------
        InvalidInput : an operation that does not fit its input; an addition, which needs the graph builder.
        """
        builder = GraphBuilder(input_shape)
        pairs = operations.items() if isinstance(operations, Mapping) else ((None, op) for op in operations)
        at = INPUT
        for name, operation in pairs:
            at = builder.add(operation, at, name=name)
        return builder.build()

    def __getitem__(self, name: str) -> Node:
        return self._by_name[name]

    @property
    def output(self) -> str:
        """Name of the node whose output is the network's."""
        return self.nodes[-1].name

    @property
    def output_shape(self) -> Shape:
        """Shape of the network's output per sample."""
        return self.nodes[-1].shape

    @property
    def parameters(self) -> dict[str, Shape]:
        """Names and shapes of all parameters, running statistics included."""
        return {name: shape for node in self.nodes for name, shape in node.parameters.items()}

    @property
    def n_parameters(self) -> int:
        """Number of entries of all parameters but the running statistics."""
        return sum(int(np.prod(s)) for name, s in self.parameters.items() if ".running_" not in name)

    def check_weights(self, weights: Mapping[str, ArrayLike], *, name: str = "weights") -> dict[str, np.ndarray]:
        """The parameters as finite float64 arrays, in the order of the architecture.

        Raises
        ------
        InvalidInput : a missing or unknown parameter, a wrong shape, NaN or infinity, a negative running variance.
        """
        if not isinstance(weights, Mapping):
            raise InvalidInput(f"{name} must be a mapping from parameter names to arrays.")
        wanted = self.parameters
        unknown = [key for key in weights if key not in wanted and not key.endswith(".num_batches_tracked")]
        missing = [key for key in wanted if key not in weights]
        if missing or unknown:
            what = f"lack {missing[0]!r}" if missing else f"hold {unknown[0]!r}, which the architecture does not have"
            raise InvalidInput(f"{name} {what}; wanted are {_listed(wanted)}.")
        checked = {}
        for key, shape in wanted.items():
            array = as_floats(f"{name}[{key!r}]", weights[key])
            if array.shape != shape:
                raise InvalidInput(f"{name}[{key!r}] must have shape {shape}, but has {array.shape}.")
            if key.endswith(".running_var") and (array < 0).any():
                raise InvalidInput(f"{name}[{key!r}] must not be negative: it is a variance.")
            checked[key] = array
        return checked

    def check_inputs(self, X: ArrayLike, *, name: str = "X") -> np.ndarray:
        """Inputs (n, *input_shape) as finite float64; flattened samples are given their shape.

        Raises
        ------
        InvalidInput : no samples, another shape, NaN or infinity.
        """
        array = as_floats(name, X)
        size = int(np.prod(self.input_shape))
        if array.ndim == 2 and array.shape[1] == size:
            array = array.reshape(len(array), *self.input_shape)
        if array.ndim < 1 or array.shape[1:] != self.input_shape:
            raise InvalidInput(f"{name} must have shape (n, {_inside(self.input_shape)}), but has {array.shape}.")
        if len(array) == 0:
            raise InvalidInput(f"{name} must hold at least one sample.")
        return array

    def random_weights(
        self, *, rng: np.random.Generator | int | None = None, gain: float = 2.0
    ) -> dict[str, np.ndarray]:
        """Gaussian weights of variance ``gain`` / fan-in, zero biases, normalisations at the identity."""
        generator = np.random.default_rng(rng)
        named = {}
        for key, shape in self.parameters.items():
            if len(shape) > 1:
                named[key] = generator.standard_normal(shape) * np.sqrt(gain / np.prod(shape[1:]))
            else:
                ones = key.endswith((".weight", ".running_var"))
                named[key] = np.ones(shape) if ones else np.zeros(shape)
        return named

    def summary(self) -> str:
        """One line per node: name, kind, output shape, parameters."""
        lines = [f"{'input':<20} {'':<14} {self.input_shape!s:<18}"]
        for node in self.nodes:
            count = sum(int(np.prod(s)) for s in node.parameters.values())
            lines.append(f"{node.name:<20} {node.operation.kind:<14} {node.shape!s:<18} {count or ''}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Architecture({self.input_shape} -> {self.output_shape}, {len(self.nodes)} nodes)"


class GraphBuilder:
    """Builds an architecture node by node: ``add`` returns the name by which later nodes read the output.

    Examples
    --------
    >>> from theory.architecture import Activation, Add, Linear
    >>> g = GraphBuilder(4)
    >>> a = g.add(Activation("relu"), g.add(Linear(4)))
    >>> g.add(Linear(2), g.add(Add(), g.input, a))
    'linear2'
    >>> g.build().output_shape
    (2,)
    """

    def __init__(self, input_shape: Sequence[int] | int) -> None:
        shape = (input_shape,) if isinstance(input_shape, int) else tuple(input_shape)
        self.input_shape = tuple(as_count("input_shape", n) for n in shape)
        if not 1 <= len(self.input_shape) <= 3:
            raise InvalidInput(f"input_shape must have one to three entries, but is {self.input_shape}.")
        self._shapes: dict[str, Shape] = {INPUT: self.input_shape}
        self._nodes: list[Node] = []
        self._counts: Counter[str] = Counter()

    @property
    def input(self) -> str:
        """The name of the network's input."""
        return INPUT

    def add(self, operation: Operation, *inputs: str, name: str | None = None) -> str:
        """Add a node that reads ``inputs`` (the last node where none is given); returns its name.

        Raises
        ------
        InvalidInput : an unknown input, a name in use, shapes that do not fit.
        """
        if not isinstance(operation, Operation):
            raise InvalidInput(f"an operation is wanted, such as Linear(10), but {operation!r} was given.")
        inputs = inputs or ((self._nodes[-1].name if self._nodes else INPUT),)
        self._counts[operation.kind] += 1
        name = f"{operation.kind}{self._counts[operation.kind]}" if name is None else str(name)
        if name in self._shapes:
            raise InvalidInput(f"two nodes are called {name!r}.")
        for read in inputs:
            if read not in self._shapes:
                raise InvalidInput(f"{name!r} reads {read!r}, which is not an earlier node.")
        wanted = operation.arity
        if len(inputs) != wanted if wanted else len(inputs) < 2:
            raise InvalidInput(f"{name!r} takes {wanted or 'two or more'} input(s), but was given {len(inputs)}.")
        shapes = tuple(self._shapes[read] for read in inputs)
        try:
            shape = operation.output_shape(*shapes)
            operation.parameters(shapes[0])
        except InvalidInput as error:
            raise InvalidInput(f"{name!r} does not fit: {error}") from None
        self._shapes[name] = shape
        self._nodes.append(Node(name=name, operation=operation, inputs=inputs, input_shapes=shapes, shape=shape))
        return name

    def build(self) -> Architecture:
        """The architecture; its output is that of the node added last."""
        return Architecture(input_shape=self.input_shape, nodes=tuple(self._nodes))


def _inside(shape: Shape) -> str:
    return ", ".join(map(str, shape))


def _listed(names: Iterable[str], most: int = 6) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
