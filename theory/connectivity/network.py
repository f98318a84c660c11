"""Fully connected networks as plain matrices: what a path moves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats
from theory._errors import InvalidInput, PreconditionError
from theory.architecture import Activation, Architecture, Dropout, Flatten, Linear


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DenseNetwork:
    """A perceptron ``W_L s(... s(W_1 x + b_1) ...) + b_L`` with one activation s and L >= 2.

    Attributes
    ----------
    layers : L matrices (n_k, n_{k-1} + 1); the last column is the bias, zero where there is none.
    biased : for each layer, whether it has a bias that may move.
    activation : element-wise, the same after every hidden layer.

    Build one by ``DenseNetwork.of(weights, biases)`` or ``DenseNetwork.read(architecture, weights)``.

    Examples
    --------
    >>> net = DenseNetwork.of([[[1.0], [-1.0]], [[1.0, 1.0]]])
    >>> net.outputs(np.array([[-3.0], [2.0]])).ravel()
    array([3., 2.])
    """

    layers: tuple[np.ndarray, ...]
    biased: tuple[bool, ...]
    activation: Activation

    @staticmethod
    def of(
        weights: Sequence[ArrayLike],
        biases: Sequence[ArrayLike | None] | None = None,
        activation: str | Activation = "relu",
    ) -> DenseNetwork:
        """A network from its matrices (n_k, n_{k-1}) and biases (n_k,); copies are kept.

        Raises
        ------
        InvalidInput : fewer than two layers, shapes that do not chain, NaN, an unknown activation.
        """
        if not isinstance(weights, Iterable):
            raise InvalidInput(f"weights must be a sequence of matrices, but are {weights!r:.60}.")
        matrices = [as_floats(f"weights[{k}]", W, ndim=2) for k, W in enumerate(weights)]
        if len(matrices) < 2:
            raise InvalidInput(f"a network needs one hidden layer at least, but has {len(matrices)} matrices.")
        offsets = [None] * len(matrices) if biases is None else list(biases)
        if len(offsets) != len(matrices):
            raise InvalidInput(f"biases must hold {len(matrices)} entries, None where absent, but hold {len(offsets)}.")
        layers = []
        for k, (W, b) in enumerate(zip(matrices, offsets, strict=True)):
            if 0 in W.shape or (k and W.shape[1] != len(matrices[k - 1])):
                raise InvalidInput(f"weights[{k}] of shape {W.shape} does not follow {matrices[k - 1].shape}.")
            column = np.zeros(len(W)) if b is None else as_floats(f"biases[{k}]", b, ndim=1)
            if len(column) != len(W):
                raise InvalidInput(f"biases[{k}] must have {len(W)} entries, but has {len(column)}.")
            layers.append(np.column_stack([W, column]))
        kind = activation if isinstance(activation, Activation) else Activation(activation)
        kind.facts.function(np.zeros(1))  # refuses an activation that is only declared
        return DenseNetwork(layers=tuple(layers), biased=tuple(b is not None for b in offsets), activation=kind)

    @staticmethod
    def read(architecture: Architecture, weights: Mapping[str, ArrayLike]) -> DenseNetwork:
        """The network of an ``Architecture`` with its weights.

        Raises
        ------
        PreconditionError : other than dense layers in a row, with the same activation between them.
        InvalidInput : weights that do not fit.
        """
        checked = architecture.check_weights(weights)
        matrices: list[np.ndarray] = []
        offsets: list[np.ndarray | None] = []
        kinds: set[Activation] = set()
        open_layer = False
        for node in architecture.nodes:
            match node.operation:
                case Linear(bias=bias) if len(node.shape) == 1 and not open_layer:
                    matrices.append(checked[f"{node.name}.weight"])
                    offsets.append(checked[f"{node.name}.bias"] if bias else None)
                    open_layer = True
                case Activation() if open_layer:
                    kinds.add(node.operation)
                    open_layer = False
                case Dropout():
                    pass
                case Flatten() if not matrices:
                    pass
                case _:
                    raise PreconditionError(
                        f"paths are built for dense layers with one activation between them; {node.name!r} is not."
                    )
        if len(kinds) != 1 or not open_layer:
            raise PreconditionError("paths are built for networks with one kind of activation and a dense last layer.")
        return DenseNetwork.of(matrices, offsets, kinds.pop())

    @property
    def widths(self) -> tuple[int, ...]:
        """Inputs, hidden widths, outputs."""
        return (self.layers[0].shape[1] - 1, *(len(A) for A in self.layers))

    @property
    def weights(self) -> tuple[np.ndarray, ...]:
        """The matrices (n_k, n_{k-1})."""
        return tuple(A[:, :-1] for A in self.layers)

    @property
    def biases(self) -> tuple[np.ndarray | None, ...]:
        """The biases (n_k,), None where absent."""
        return tuple(A[:, -1] if biased else None for A, biased in zip(self.layers, self.biased, strict=True))

    def features(self, X: np.ndarray) -> list[np.ndarray]:
        """Inputs (n, n_0), then the values (n, n_k) of every hidden layer."""
        s = self.activation.facts.function
        values = [X]
        for A in self.layers[:-1]:
            values.append(s(values[-1] @ A[:, :-1].T + A[:, -1]))
        return values

    def outputs(self, X: np.ndarray) -> np.ndarray:
        """Outputs (n, n_L)."""
        last = self.layers[-1]
        return self.features(X)[-1] @ last[:, :-1].T + last[:, -1]

    def with_layers(self, layers: Sequence[np.ndarray]) -> DenseNetwork:
        """The same kind of network with other matrices."""
        return DenseNetwork(layers=tuple(layers), biased=self.biased, activation=self.activation)

    def permuted(self, orders: Sequence[ArrayLike]) -> DenseNetwork:
        """The same function with hidden neuron ``orders[k][i]`` of layer k + 1 at place i.

        Raises
        ------
        InvalidInput : orders that are not permutations of the hidden layers.
        """
        hidden = self.widths[1:-1]
        checked = [np.asarray(order) for order in orders]
        if [sorted(o.tolist()) for o in checked] != [list(range(n)) for n in hidden]:
            raise InvalidInput(f"orders must be permutations of hidden layers of {hidden} neurons.")
        layers = [A.copy() for A in self.layers]
        for k, order in enumerate(checked):
            layers[k] = layers[k][order]
            layers[k + 1][:, :-1] = layers[k + 1][:, order]
        return self.with_layers(layers)

    def __repr__(self) -> str:
        return f"DenseNetwork({' - '.join(map(str, self.widths))}, {self.activation.name})"


def between(start: DenseNetwork, end: DenseNetwork, t: float) -> DenseNetwork:
    """(1 - t) start + t end, entry by entry; exactly the ends at 0 and 1."""
    if t in (0.0, 1.0):
        return end if t else start
    return start.with_layers([(1 - t) * A + t * B for A, B in zip(start.layers, end.layers, strict=True)])


def check_pair(first: DenseNetwork, second: DenseNetwork) -> None:
    """Refuse two networks that do not live in one space of parameters."""
    same = (first.widths, first.biased, first.activation) == (second.widths, second.biased, second.activation)
    if not same:
        raise InvalidInput(f"the two networks must be of one kind, but are {first!r} and {second!r}.")
