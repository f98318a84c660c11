"""The unconstrained-features support vector machine as a specification: the end of the vanishing-ridge path."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats
from theory._errors import InvalidInput
from theory.peeled._partition import Partition, partition
from theory.peeled._specification import as_class_weights, as_counts, label_counts

RANGE = 1e9  # margins and temperatures lie within this factor of 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SELIModel:
    r"""Least-norm classifier and features that separate every sample by its margin: simplex-encoded labels.

    .. math::

        \min_{W, H} \; \tfrac12 \|W\|_F^2 + \tfrac12 \sum_{k=1}^K \sum_{i=1}^{n_k} \|h_{k,i}\|^2 \quad\text{s.t.}\quad
        (\Delta_k w_k - \Delta_c w_c)^\top h_{k,i} \ge m_k \quad (c \ne k)

    Sums, not means. With all Delta = m = 1 this is the program that thrampoulidis2022imbalance obtain as the limit
    of ridge-regularised cross-entropy for lam -> 0. Additive margins m are those of cao2019ldam, multiplicative
    temperatures Delta those of kini2021vs (logit c is Delta_c w_c^T h). Class weights and additive logit
    adjustment change the loss at every lam > 0 and, since the limit only knows the constraints, nothing here
    (*derived*: a constant factor or shift is beaten by margins that grow like log(1/lam)); they are accepted so that
    a comparison can say so, and are listed in ``without_effect``.

    Do not check this model by cross-entropy at a small ridge: the path approaches it only like 1/log(1/lam).

    Parameters
    ----------
    counts : (K,) samples per class, positive integers up to 10^12; K from 2 to 10^6.
    margins : (K,) m_k, positive; None means 1. m_k proportional to n_k^(-1/2) restores the simplex frame of W.
    temperatures : (K,) Delta_k, positive; None means 1.
    class_weights : (K,) positive, or ``"balanced"``; without effect.
    logit_adjustment : (K,) real; without effect.
    dimension : p, the number of features; None means "enough". The solution has rank K - 1 and needs p >= K - 1.

    Raises
    ------
    InvalidInput : bad counts; margins or temperatures outside [1e-9, 1e9] or not one per class.

    Examples
    --------
    >>> SELIModel(counts=[10] * 5 + [1] * 5)
    SELIModel(counts=10x5,1x5)
    """

    counts: ArrayLike
    margins: ArrayLike | None = None
    temperatures: ArrayLike | None = None
    class_weights: ArrayLike | str | None = None
    logit_adjustment: ArrayLike | None = None
    dimension: int | None = None
    _partition: Partition = field(init=False, repr=False)

    def __post_init__(self) -> None:
        counts = as_counts(self.counts)
        margins = _per_class("margins", self.margins, counts)
        temperatures = _per_class("temperatures", self.temperatures, counts)
        weights = as_class_weights(self.class_weights, counts)
        adjustment = None
        if self.logit_adjustment is not None:
            adjustment = _one_each("logit_adjustment", self.logit_adjustment, counts)
        if self.dimension is not None:
            object.__setattr__(self, "dimension", as_count("dimension", self.dimension))
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "margins", margins)
        object.__setattr__(self, "temperatures", temperatures)
        object.__setattr__(self, "class_weights", weights)
        object.__setattr__(self, "logit_adjustment", adjustment)
        object.__setattr__(self, "_partition", _partition(counts, weights, margins, temperatures))

    @classmethod
    def from_labels(
        cls,
        y: ArrayLike,
        *,
        num_classes: int | None = None,
        margins: ArrayLike | None = None,
        temperatures: ArrayLike | None = None,
        class_weights: ArrayLike | str | None = None,
        logit_adjustment: ArrayLike | None = None,
        dimension: int | None = None,
    ) -> SELIModel:
        """The model of a labelled sample; classes in sorted order of their labels.

        Raises
        ------
        InvalidInput : no labels, or fewer distinct labels than ``num_classes`` (an empty class).
        """
        return cls(
            counts=label_counts(y, num_classes), margins=margins, temperatures=temperatures,
            class_weights=class_weights, logit_adjustment=logit_adjustment, dimension=dimension,
        )  # fmt: skip

    @property
    def num_classes(self) -> int:
        """K."""
        return len(np.asarray(self.counts))

    @property
    def without_effect(self) -> list[str]:
        """What was given and does not change the vanishing-ridge limit."""
        return [name for name in ("class_weights", "logit_adjustment") if getattr(self, name) is not None]

    def parameters(self) -> dict[str, object]:
        """What the model was given besides its counts, as plain values; long vectors per class are named only."""
        given = [name for name in ("margins", "temperatures") if getattr(self, name) is not None]
        return {"per_class": given, "without_effect": self.without_effect, "dimension": self.dimension}

    def __repr__(self) -> str:
        names = ("margins", "temperatures", "class_weights", "logit_adjustment")
        extra = "".join(f", {name}=..." for name in names if getattr(self, name) is not None)
        extra += "" if self.dimension is None else f", dimension={self.dimension}"
        return f"SELIModel(counts={self._partition.shown()}{extra})"


def _one_each(name: str, value: ArrayLike, counts: np.ndarray) -> np.ndarray:
    array = as_floats(name, value, ndim=1).copy()
    if array.shape != counts.shape:
        raise InvalidInput(f"{name} must have one entry per class ({len(counts)}), but has {len(array)}.")
    array.flags.writeable = False
    return array


def _per_class(name: str, value: ArrayLike | None, counts: np.ndarray) -> np.ndarray | None:
    if value is None:
        return None
    array = _one_each(name, value, counts)
    if not ((array >= 1 / RANGE) & (array <= RANGE)).all():
        raise InvalidInput(f"{name} must be positive (between {1 / RANGE:g} and {RANGE:g}).")
    return array


def _partition(
    counts: np.ndarray, weights: np.ndarray | None, margins: np.ndarray | None, temperatures: np.ndarray | None
) -> Partition:
    """Report groups by (count, weight, margin, temperature); solver groups by all but the weight.

    Within a solver group all classes are exchangeable. The ``mass`` of a group is its share of the effective counts
    m_k^2 n_k / Delta_k^2.
    """
    if weights is None and margins is None and temperatures is None:
        return partition(counts, None)
    ones = np.ones(len(counts))
    margins, temperatures = (ones if v is None else v for v in (margins, temperatures))
    solver_first, solver_index, solver_classes = _distinct(-counts, -margins, temperatures)
    solver = np.stack([counts, margins, temperatures], axis=1)[solver_first]
    weights = ones if weights is None else weights
    first, index, classes = _distinct(-counts, -weights, solver_index)
    effective = solver[:, 0] * (solver[:, 1] / solver[:, 2]) ** 2
    return Partition(
        count=counts[first], weight=weights[first], classes=classes, index=index, mass_group=solver_index[first],
        mass=effective / (effective @ solver_classes), mass_classes=solver_classes.astype(float),
    )  # fmt: skip


def _distinct(*columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct rows in lexicographic order: first occurrence, inverse, number of each."""
    code = np.zeros(len(columns[0]), np.intp)
    for column in columns:
        values, inverse = np.unique(column, return_inverse=True)
        code = np.unique(code * len(values) + inverse, return_inverse=True)[1]
    _, first, inverse, number = np.unique(code, return_index=True, return_inverse=True, return_counts=True)
    return first, inverse, number
