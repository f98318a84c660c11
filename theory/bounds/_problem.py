"""A trained network and its sample, prepared once for all bounds: folded weights, outputs, margins, norms on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats, as_labels
from theory._errors import InvalidInput, PreconditionError
from theory.architecture import Architecture, fold, outputs
from theory.bounds._chain import Chain, find_chain
from theory.bounds._frame import Margins, margins
from theory.bounds._kl import clopper_pearson_upper
from theory.bounds._report import HoldOut

Weights: TypeAlias = Mapping[str, ArrayLike]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """The n independent samples that a bound speaks of, and optionally fresh ones for the hold-out comparator.

    Parameters
    ----------
    X : inputs (n, *input_shape), not augmented and not normalised by their own statistics.
    y : labels 0..K-1 (n).
    outputs : scores (n, K) of the network, where they are known; computed from the weights otherwise.
    X_test, y_test, outputs_test : samples that training and selection never saw.
    """

    X: ArrayLike
    y: ArrayLike
    outputs: ArrayLike | None = None
    X_test: ArrayLike | None = None
    y_test: ArrayLike | None = None
    outputs_test: ArrayLike | None = None

    def __repr__(self) -> str:
        return f"Sample(n={len(np.asarray(self.y))})"


Data: TypeAlias = Sample | tuple[ArrayLike, ArrayLike]


class Problem:
    """One network on one sample.

    Attributes
    ----------
    architecture, weights : as given, checked.
    graph, named : the folded network (no BatchNorm, Bias or Dropout nodes) and its weights.
    reference : folded reference weights M (the initialisation), or None for zero.
    X, y, n, K : inputs (n, *input_shape), labels (n), sample size, number of classes (2 for one output).
    """

    def __init__(
        self,
        architecture: Architecture,
        weights: Weights,
        data: Data,
        reference: Weights | None = None,
        *,
        callback: Callable[[int, int], None] | None = None,
    ) -> None:
        self.architecture, self._callback = architecture, callback
        self.weights = architecture.check_weights(weights)
        self.sample = as_sample(data)
        self.X = architecture.check_inputs(self.sample.X)
        self.y = _labels(architecture, "y", self.sample.y, len(self.X))
        self.n, self.K = len(self.X), max(2, _scores(architecture))
        self.graph, self.named = fold(architecture, self.weights)
        self.reference = None if reference is None else fold(architecture, _checked(architecture, reference))[1]
        self.cache: dict[object, object] = {}  # norms and other costly quantities, by whoever computes them

    @property
    def binary(self) -> bool:
        """Whether the network has a single output, whose sign is the class."""
        return _scores(self.architecture) == 1

    @cached_property
    def outputs(self) -> np.ndarray:
        """Scores (n, K), or (n, 1)."""
        return self._scores_of("outputs", self.sample.outputs, self.X)

    @cached_property
    def margins(self) -> Margins:
        """Margins of the sample."""
        return Margins(margins(self.outputs, self.y))

    def holdout(self, delta: float) -> HoldOut | None:
        """Clopper-Pearson limit from the fresh samples, or None where there are none."""
        sample = self.sample
        if sample.y_test is None:
            return None
        if sample.outputs_test is None and sample.X_test is None:
            raise InvalidInput("y_test needs X_test or outputs_test.")
        if "holdout" not in self.cache:
            X = None if sample.X_test is None else self.architecture.check_inputs(sample.X_test, name="X_test")
            y = _labels(self.architecture, "y_test", sample.y_test, None if X is None else len(X))
            scores = self._scores_of("outputs_test", sample.outputs_test, X, len(y))
            self.cache["holdout"] = int((margins(scores, y) <= 0).sum()), len(y)
        errors, n = self.cache["holdout"]  # type: ignore[misc]
        return HoldOut(errors=errors, n=n, delta=delta, upper=float(clopper_pearson_upper(errors, n, delta)))

    @cached_property
    def _chain(self) -> Chain | str:
        return find_chain(self.graph, self.named, self.reference, self.binary, self.K)

    @property
    def chain(self) -> Chain:
        """The network as one layer after the other; raises PreconditionError where it is not one."""
        found = self._chain
        if isinstance(found, str):
            raise PreconditionError(f"this bound needs one layer after the other: {found}.")
        return found

    @property
    def not_a_chain(self) -> str | None:
        """Why the network is not one layer after the other, or None where it is."""
        return self._chain if isinstance(self._chain, str) else None

    @cached_property
    def inputs(self) -> np.ndarray:
        """What the first weight layer of the chain reads: X after flattening and pooling that precede it."""
        return self.chain.read_input(self.X)

    def remember(self, key: object, compute: Callable[[], object]) -> object:
        """``compute()``, once for each key."""
        if key not in self.cache:
            self.cache[key] = compute()
        return self.cache[key]

    def _scores_of(self, name: str, given: ArrayLike | None, X: np.ndarray | None, n: int | None = None) -> np.ndarray:
        if given is None:
            assert X is not None
            found = outputs(self.architecture, self.weights, X, callback=self._callback)
        else:
            found = as_floats(name, given)
            found = found[:, None] if found.ndim == 1 and self.binary else found
        wanted = (len(X) if X is not None else n, _scores(self.architecture))
        if found.shape != wanted:
            raise InvalidInput(f"{name} must have shape {wanted}, but has {found.shape}.")
        if not np.isfinite(found).all():
            raise InvalidInput("the network's outputs are not finite: its weights overflow on this sample.")
        return found


def as_sample(data: Data) -> Sample:
    """``data`` as a Sample; a pair is taken as (X, y)."""
    if isinstance(data, Sample):
        return data
    if isinstance(data, tuple | list) and len(data) == 2:
        return Sample(X=data[0], y=data[1])
    raise InvalidInput("data must be a Sample or a pair (X, y).")


def _scores(architecture: Architecture) -> int:
    if len(architecture.output_shape) != 1:
        raise InvalidInput(f"a classifier ends in a vector of scores, but this network in {architecture.output_shape}.")
    return architecture.output_shape[0]


def _checked(architecture: Architecture, reference: Weights) -> dict[str, np.ndarray]:
    return architecture.check_weights(reference, name="reference")


def _labels(architecture: Architecture, name: str, value: ArrayLike, n: int | None) -> np.ndarray:
    y = as_labels(name, value)
    K = max(2, _scores(architecture))
    if n is not None and len(y) != n:
        raise InvalidInput(f"{name} must have {n} entries, one per sample, but has {len(y)}.")
    if y.max() >= K:
        raise InvalidInput(f"{name} must lie in 0..{K - 1} for {K} classes, but holds {y.max()}.")
    return y
