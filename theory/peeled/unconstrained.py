"""The unconstrained-features model as a specification: penalties instead of budgets."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_positive, as_real
from theory._errors import InvalidInput
from theory.peeled._partition import Partition, partition
from theory.peeled._specification import as_class_weights, as_counts, label_counts

LOSSES = ("cross_entropy", "mse", "focal")
FEATURES = ("free", "relu")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnconstrainedFeaturesModel:
    r"""The last layer with weight decay, its features free but penalised.

    .. math::

        \min_{W, H, b} \; \frac1N \sum_k \sum_{i=1}^{n_k} \mathcal L(W h_{k,i} + b, k)
        + \frac{\lambda_W}2 \|W\|_F^2 + \frac{\lambda_H}2 \sum_k \sum_i \|h_{k,i}\|^2
        + \frac{\lambda_b}2 \|b\|^2

    Cross-entropy with natural logarithm; the squared error as :math:`\frac1{2N}\|WH + b1^T - Y\|_F^2` with one-hot
    targets. With class weights omega the mean is sum omega_k loss / sum omega_k n_k (PyTorch's convention); the
    penalties are not weighted. Only :math:`\lambda_Z = \sqrt{\lambda_W\lambda_H}` enters the logits. Source:
    zhu2021geometric.

    Other conventions: penalties without the 1/2 double both lam; a penalty on the mean of ||h||^2 over samples is
    lam_H / N here; weight decay in PyTorch's SGD is lam_W with the 1/2.

    Parameters
    ----------
    counts : (K,) samples per class, positive integers up to 10^12.
    lam_W, lam_H : positive penalties.
    lam_b : None for a model without bias, 0 for a free bias, 1e-16 to 1e16 for a penalised one.
    loss : ``cross_entropy``, ``mse``, or ``focal`` (with ``gamma``).
    features : ``free``, or ``relu`` for features with nonnegative entries.
    label_smoothing : alpha in [0, 1), targets (1 - alpha) e_k + alpha / K; cross-entropy only.
    gamma : exponent of the focal loss -(1 - p)^gamma log p: 0, or 1e-6 to 100.
    dimension : p; None means "enough".
    class_weights : (K,) positive, or ``"balanced"``.

    Raises
    ------
    InvalidInput : numbers out of range, or options that do not belong together (named in the message).

    Examples
    --------
    >>> UnconstrainedFeaturesModel(counts=[500] * 5 + [100] * 5, lam_W=1e-3, lam_H=1e-5)
    UnconstrainedFeaturesModel(counts=500x5,100x5, lam_W=0.001, lam_H=1e-05)
    """

    counts: ArrayLike
    lam_W: float
    lam_H: float
    lam_b: float | None = None
    loss: str = "cross_entropy"
    features: str = "free"
    label_smoothing: float = 0.0
    gamma: float | None = None
    dimension: int | None = None
    class_weights: ArrayLike | str | None = None
    _partition: Partition = field(init=False, repr=False)

    def __post_init__(self) -> None:
        counts = as_counts(self.counts)
        weights = as_class_weights(self.class_weights, counts)
        checked: dict[str, object] = {
            "counts": counts,
            "lam_W": as_positive("lam_W", self.lam_W),
            "lam_H": as_positive("lam_H", self.lam_H),
            "label_smoothing": as_real("label_smoothing", self.label_smoothing),
            "class_weights": weights,
            "_partition": partition(counts, weights, by_mass=False),
        }
        if not 1e-140 < np.sqrt(self.lam_W) * np.sqrt(self.lam_H) < 1e140:
            raise InvalidInput("lam_W * lam_H is outside the range float64 can hold.")
        if self.lam_b is not None:
            checked["lam_b"] = as_real("lam_b", self.lam_b)
            if self.lam_b < 0:
                raise InvalidInput(f"lam_b must not be negative, but is {self.lam_b:g}; None means no bias.")
            if self.lam_b and not 1e-16 <= self.lam_b <= 1e16:  # beyond, its curvature is lost in rounding
                raise InvalidInput(f"lam_b must be 0 (a free bias) or between 1e-16 and 1e16, but is {self.lam_b:g}.")
        if self.loss not in LOSSES:
            raise InvalidInput(f"loss must be one of {', '.join(LOSSES)}, but is {self.loss!r}.")
        if self.features not in FEATURES:
            raise InvalidInput(f"features must be one of {', '.join(FEATURES)}, but is {self.features!r}.")
        if not 0 <= self.label_smoothing < 1:
            raise InvalidInput(f"label_smoothing must lie in [0, 1), but is {self.label_smoothing:g}.")
        if self.label_smoothing and self.loss != "cross_entropy":
            raise InvalidInput("label_smoothing belongs to the cross-entropy loss.")
        if (self.loss == "focal") != (self.gamma is not None):
            raise InvalidInput("gamma is given exactly when the loss is 'focal'.")
        if self.gamma is not None:
            checked["gamma"] = as_real("gamma", self.gamma)
            if self.gamma < 0:
                raise InvalidInput(f"gamma must not be negative, but is {self.gamma:g}.")
            if self.gamma and not 1e-6 <= self.gamma <= 100:  # beyond, the loss or its envelope leaves float64
                raise InvalidInput(f"gamma must be 0 or between 1e-6 and 100, but is {self.gamma:g}.")
        if self.features == "relu" and (self.loss == "focal" or self.label_smoothing or self.lam_b is not None):
            raise InvalidInput("features='relu' goes with the plain cross-entropy or mse and without bias.")
        if self.dimension is not None:
            checked["dimension"] = as_count("dimension", self.dimension)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_labels(
        cls, y: ArrayLike, *, num_classes: int | None = None, **options: object
    ) -> UnconstrainedFeaturesModel:
        """The model of a labelled sample; ``options`` are those of the class.

        Raises
        ------
        InvalidInput : no labels, or fewer distinct labels than ``num_classes`` (an empty class).
        """
        return cls(counts=label_counts(y, num_classes), **options)  # type: ignore[arg-type]

    @property
    def num_classes(self) -> int:
        """K."""
        return len(np.asarray(self.counts))

    @property
    def lam_Z(self) -> float:
        """sqrt(lam_W lam_H), the weight of the nuclear norm of Z D^(1/2)."""
        return float(np.sqrt(self.lam_W) * np.sqrt(self.lam_H))

    def parameters(self) -> dict[str, object]:
        """What the model was given besides its counts, as plain values."""
        return {
            "lam_W": self.lam_W,
            "lam_H": self.lam_H,
            "lam_b": self.lam_b,
            "loss": self.loss,
            "features": self.features,
            "label_smoothing": self.label_smoothing,
            "gamma": self.gamma,
            "dimension": self.dimension,
        }

    def __repr__(self) -> str:
        extra = "" if self.lam_b is None else f", lam_b={self.lam_b:g}"
        extra += "" if self.loss == "cross_entropy" else f", loss={self.loss!r}"
        extra += "" if self.features == "free" else f", features={self.features!r}"
        extra += f", label_smoothing={self.label_smoothing:g}" if self.label_smoothing else ""
        extra += "" if self.dimension is None else f", dimension={self.dimension}"
        extra += "" if self.class_weights is None else ", class_weights=..."
        return (
            f"UnconstrainedFeaturesModel(counts={self._partition.shown()}, lam_W={self.lam_W:g}, "
            f"lam_H={self.lam_H:g}{extra})"
        )
