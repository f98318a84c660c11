"""A trained network prepared once for all bounds: folded weights and its layers in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike

from theory._errors import InvalidInput, PreconditionError
from theory.architecture import Architecture, fold
from theory.bounds._chain import Chain, find_chain

Weights: TypeAlias = Mapping[str, ArrayLike]
T = TypeVar("T")


class Network:
    """An architecture with its weights, as the hypotheses and norms of bounds see it.

    Attributes
    ----------
    architecture, weights : as given, checked.
    graph, named : the folded network (no BatchNorm, Bias or Dropout nodes) and its weights.
    reference : folded reference weights M (the initialisation), or None for zero.
    K : number of classes (2 for a single output).
    """

    def __init__(self, architecture: Architecture, weights: Weights, reference: Weights | None = None) -> None:
        if len(architecture.output_shape) != 1:
            shape = architecture.output_shape
            raise InvalidInput(f"a classifier ends in a vector of scores, but this network ends in shape {shape}.")
        self.architecture = architecture
        self.weights = architecture.check_weights(weights)
        self.graph, self.named = fold(architecture, self.weights)
        self.reference: dict[str, np.ndarray] | None = None
        if reference is not None:
            self.reference = fold(architecture, architecture.check_weights(reference, name="reference"))[1]
        self.n_scores = architecture.output_shape[0]
        self.K = max(2, self.n_scores)
        self._cache: dict[object, object] = {}

    @staticmethod
    def placeholder(architecture: Architecture) -> Network:
        """The structure alone: every parameter is 1, so that every declared bias counts."""
        return Network(architecture, {name: np.ones(shape) for name, shape in architecture.parameters.items()})

    @property
    def binary(self) -> bool:
        """Whether the network has a single output, whose sign is the class (label 1 is positive)."""
        return self.n_scores == 1

    @cached_property
    def _chain(self) -> Chain | str:
        return find_chain(self.graph, self.named, self.reference, self.binary, self.K)

    @property
    def chain(self) -> Chain:
        """The network as one layer after the other; raises PreconditionError where it is not one."""
        if isinstance(self._chain, str):
            raise PreconditionError(f"the network is not one weight layer after the other: {self._chain}.")
        return self._chain

    @property
    def not_a_chain(self) -> str | None:
        """Why the network is not one layer after the other, or None where it is."""
        return self._chain if isinstance(self._chain, str) else None

    def remember(self, key: object, compute: Callable[[], T]) -> T:
        """``compute()``, once for each key: norms are shared by the bounds that need them."""
        if key not in self._cache:
            self._cache[key] = compute()
        return cast(T, self._cache[key])
