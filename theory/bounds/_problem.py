"""A trained network on its sample: outputs, margins, and the fresh sample beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats, as_labels
from theory._errors import InvalidInput
from theory.architecture import Architecture, outputs
from theory.bounds._frame import Margins, margins
from theory.bounds._kl import clopper_pearson_upper
from theory.bounds._network import Network, Weights
from theory.bounds._report import HoldOut


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


class Problem(Network):
    """One network on one sample.

    Attributes
    ----------
    X, y, n : inputs (n, *input_shape), labels (n), sample size.
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
        super().__init__(architecture, weights, reference)
        self.sample, self._callback = as_sample(data), callback
        self.X = architecture.check_inputs(self.sample.X)
        self.n = len(self.X)
        self.y = self._labels("y", self.sample.y, self.n)

    @cached_property
    def outputs(self) -> np.ndarray:
        """Scores (n, K), or (n, 1)."""
        return self._scores("outputs", self.sample.outputs, self.X)

    @cached_property
    def margins(self) -> Margins:
        """Margins of the sample."""
        return Margins(margins(self.outputs, self.y))

    @cached_property
    def inputs(self) -> np.ndarray:
        """What the first weight layer of the chain reads: X after the flattening and pooling that precede it."""
        return self.chain.read_input(self.X)

    @cached_property
    def test_errors(self) -> tuple[int, int] | None:
        """Mistakes on the fresh sample (ties count) and its size, or None where there is none."""
        sample = self.sample
        if sample.y_test is None:
            if sample.X_test is not None or sample.outputs_test is not None:
                raise InvalidInput("test inputs or outputs need their labels y_test.")
            return None
        if sample.outputs_test is None and sample.X_test is None:
            raise InvalidInput("y_test needs X_test or outputs_test.")
        X = None if sample.X_test is None else self.architecture.check_inputs(sample.X_test, name="X_test")
        y = self._labels("y_test", sample.y_test, None if X is None else len(X))
        scores = self._scores("outputs_test", sample.outputs_test, X, len(y))
        return int((margins(scores, y) <= 0).sum()), len(y)

    def holdout(self, delta: float) -> HoldOut | None:
        """Clopper-Pearson limit from the fresh sample, or None where there is none."""
        if self.test_errors is None:
            return None
        errors, n = self.test_errors
        return HoldOut(errors=errors, n=n, delta=delta, upper=float(clopper_pearson_upper(errors, n, delta)))

    def _scores(self, name: str, given: ArrayLike | None, X: np.ndarray | None, n: int | None = None) -> np.ndarray:
        if given is None:
            assert X is not None
            with np.errstate(over="ignore", invalid="ignore"):
                found = outputs(self.architecture, self.weights, X, callback=self._callback)
            if not np.isfinite(found).all():
                raise InvalidInput("the network's outputs are not finite: its weights overflow on this sample.")
        else:
            found = as_floats(name, given)
            found = found[:, None] if found.ndim == 1 and self.binary else found
        wanted = (len(X) if X is not None else n, self.n_scores)
        if found.shape != wanted:
            raise InvalidInput(f"{name} must have shape {wanted}, but has {found.shape}.")
        return found

    def _labels(self, name: str, value: ArrayLike, n: int | None) -> np.ndarray:
        y = as_labels(name, value)
        if n is not None and len(y) != n:
            raise InvalidInput(f"{name} must have {n} entries, one per sample, but has {len(y)}.")
        if y.max() >= self.K:
            raise InvalidInput(f"{name} must lie in 0..{self.K - 1} for {self.K} classes, but holds {y.max()}.")
        return y


def as_sample(data: Data) -> Sample:
    """``data`` as a Sample; a pair is taken as (X, y)."""
    if isinstance(data, Sample):
        return data
    if isinstance(data, tuple | list) and len(data) == 2:
        return Sample(X=data[0], y=data[1])
    raise InvalidInput("data must be a Sample or a pair (X, y).")
