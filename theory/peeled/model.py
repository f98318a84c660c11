"""The Layer-Peeled Model as a specification."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_positive
from theory._errors import InvalidInput
from theory.peeled._partition import Partition, partition
from theory.peeled._specification import as_class_weights, as_counts, label_counts

LOSSES = ("cross_entropy", "mse")
LARGEST_MARGIN = 300.0  # the least loss is about exp(-margin); float64 needs room below it


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerPeeledModel:
    r"""The last layer of a well-trained classifier, its features free up to a norm budget.

    .. math::

        \min_{W, H} \; \frac1N \sum_{k=1}^K \sum_{i=1}^{n_k} \mathcal L(W h_{k,i}, k) \quad\text{s.t.}\quad
        \frac1K \sum_k \|w_k\|^2 \le E_W, \quad \frac1K \sum_k \frac1{n_k} \sum_i \|h_{k,i}\|^2 \le E_H

    with the cross-entropy of natural logarithm, or the squared error ||z - e_k||^2 / 2 (its optimum is an orthogonal
    frame, not a simplex: there is no bias). With class weights omega the sum becomes
    sum omega_k loss / sum omega_k n_k, PyTorch's convention for a weighted mean. Source: fang2021layerpeeled.

    Parameters
    ----------
    counts : (K,) samples per class, positive integers up to 10^12; K from 2 to 10^6.
    E_W, E_H : budgets on the mean squared norm of the classifier rows and of the features.
    dimension : p, the number of features; None means "enough" (p >= K - 1 always is).
    loss : ``"cross_entropy"`` or ``"mse"``.
    class_weights : (K,) positive, or ``"balanced"`` for N / (K n_k), scikit-learn's convention.

    Raises
    ------
    InvalidInput : fewer than two classes, counts that are not positive integers, a budget that is not positive,
        or budgets so large that the optimal cross-entropy underflows (K/(K-1) sqrt(E_W E_H) > 300).

    Examples
    --------
    >>> LayerPeeledModel(counts=[100] * 5 + [10] * 5, E_W=1, E_H=5)
    LayerPeeledModel(counts=100x5,10x5, E_W=1, E_H=5)
    """

    counts: ArrayLike
    E_W: float
    E_H: float
    dimension: int | None = None
    loss: str = "cross_entropy"
    class_weights: ArrayLike | str | None = None
    _partition: Partition = field(init=False, repr=False)

    def __post_init__(self) -> None:
        counts = as_counts(self.counts)
        if self.loss not in LOSSES:
            raise InvalidInput(f"loss must be one of {', '.join(LOSSES)}, but is {self.loss!r}.")
        E_W, E_H = as_positive("E_W", self.E_W), as_positive("E_H", self.E_H)
        K = len(counts)
        margin = K / (K - 1) * np.sqrt(E_W) * np.sqrt(E_H)
        if margin > LARGEST_MARGIN and self.loss == "cross_entropy":
            raise InvalidInput(
                f"E_W * E_H = {E_W * E_H:g} lets the loss fall below e^-{LARGEST_MARGIN:g}, "
                "which float64 cannot hold; take smaller budgets."
            )
        if margin < 1e-150:
            raise InvalidInput(f"E_W * E_H = {E_W * E_H:g} is too small for float64; take larger budgets.")
        weights = as_class_weights(self.class_weights, counts)
        if self.dimension is not None:
            object.__setattr__(self, "dimension", as_count("dimension", self.dimension))
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "E_W", E_W)
        object.__setattr__(self, "E_H", E_H)
        object.__setattr__(self, "class_weights", weights)
        object.__setattr__(self, "_partition", partition(counts, weights))

    @classmethod
    def from_labels(
        cls,
        y: ArrayLike,
        *,
        E_W: float,
        E_H: float,
        num_classes: int | None = None,
        dimension: int | None = None,
        loss: str = "cross_entropy",
        class_weights: ArrayLike | str | None = None,
    ) -> LayerPeeledModel:
        """The model of a labelled sample; classes in sorted order of their labels (as in scikit-learn).

        Raises
        ------
        InvalidInput : no labels, or fewer distinct labels than ``num_classes`` (an empty class).
        """
        counts = label_counts(y, num_classes)
        return cls(
            counts=counts, E_W=E_W, E_H=E_H, dimension=dimension, loss=loss, class_weights=class_weights
        )

    @property
    def num_classes(self) -> int:
        """K."""
        return len(np.asarray(self.counts))

    @property
    def budget(self) -> float:
        """T = K sqrt(E_W E_H), the nuclear-norm budget of the logit matrix."""
        return self.num_classes * float(np.sqrt(self.E_W) * np.sqrt(self.E_H))

    def parameters(self) -> dict[str, object]:
        """What the model was given besides its counts, as plain values."""
        return {"E_W": self.E_W, "E_H": self.E_H, "dimension": self.dimension, "loss": self.loss}

    def __repr__(self) -> str:
        extra = "" if self.loss == "cross_entropy" else f", loss={self.loss!r}"
        extra += "" if self.dimension is None else f", dimension={self.dimension}"
        extra += "" if self.class_weights is None else ", class_weights=..."
        return f"LayerPeeledModel(counts={self._partition.shown()}, E_W={self.E_W:g}, E_H={self.E_H:g}{extra})"
