"""The deep linear unconstrained-features model: several penalised weight layers over free features."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats, as_positive
from theory._errors import InvalidInput
from theory.peeled._partition import Partition, partition
from theory.peeled._specification import as_counts, label_counts

LOSSES = ("mse", "cross_entropy")
MOST_LAYERS = 1000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeepLinearModel:
    r"""L linear layers on top of free features, every factor with its own penalty.

    .. math::

        \min \; \frac1N \sum_{k,i} \ell(W_L \cdots W_1 h_{k,i}, k) + \sum_{l=1}^L \frac{\lambda_l}2 \|W_l\|_F^2
        + \frac{\lambda_H}2 \sum_{k,i} \|h_{k,i}\|^2

    with loss (1/2)||z - e_k||^2 (``mse``) or cross-entropy of natural logarithm; the mean over samples. With
    Y = Z D^(1/2), D = diag(n_k) and Lambda = lam_H lam_1 ... lam_L the least penalty of a product is
    ((L+1)/2) Lambda^(1/(L+1)) sum_i sigma_i(Y)^(2/(L+1)) for widths of at least rank(Y) (*derived*: Horn's inequality
    for singular values of products and the arithmetic-geometric mean), so only the product Lambda matters to Z.
    Models: dang2023linear (squared error), garrod2025persistence (cross-entropy).

    In the solution ``classifier()`` is the last layer W_L, and ``features()`` is what it sees, W_{L-1} ... W_1 H;
    :func:`layer_weights` gives all factors. Balance is lam_l W_l W_l^T = lam_{l+1} W_{l+1}^T W_{l+1}.

    Parameters
    ----------
    counts : (K,) samples per class, positive integers up to 10^12.
    lams : (lam_1, ..., lam_L, lam_H), positive; or
    lam, depth : one penalty for all factors and the number L of weight layers.
    loss : ``"mse"`` or ``"cross_entropy"``.
    dimension : width of every hidden layer; None means "enough" (K always is).

    Raises
    ------
    InvalidInput : bad counts or penalties, an unknown loss, both or neither of ``lams`` and ``lam``.

    Examples
    --------
    >>> DeepLinearModel(counts=[200, 100, 50, 50], lam=5e-4, depth=3)
    DeepLinearModel(counts=200x1,100x1,50x2, depth=3, Lambda=6.25e-14, loss='mse')
    """

    counts: ArrayLike
    lams: ArrayLike | None = None
    lam: float | None = None
    depth: int | None = None
    loss: str = "mse"
    dimension: int | None = None
    _partition: Partition = field(init=False, repr=False)

    def __post_init__(self) -> None:
        counts = as_counts(self.counts)
        if self.loss not in LOSSES:
            raise InvalidInput(f"loss must be one of {', '.join(LOSSES)}, but is {self.loss!r}.")
        lams = _penalties(self.lams, self.lam, self.depth)
        if self.dimension is not None:
            object.__setattr__(self, "dimension", as_count("dimension", self.dimension))
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "lams", lams)
        object.__setattr__(self, "lam", None)
        object.__setattr__(self, "depth", len(lams) - 1)
        object.__setattr__(self, "_partition", partition(counts, None))

    @classmethod
    def from_labels(
        cls,
        y: ArrayLike,
        *,
        lams: ArrayLike | None = None,
        lam: float | None = None,
        depth: int | None = None,
        loss: str = "mse",
        num_classes: int | None = None,
        dimension: int | None = None,
    ) -> DeepLinearModel:
        """The model of a labelled sample; classes in sorted order of their labels.

        Raises
        ------
        InvalidInput : no labels, or fewer distinct labels than ``num_classes`` (an empty class).
        """
        counts = label_counts(y, num_classes)
        return cls(counts=counts, lams=lams, lam=lam, depth=depth, loss=loss, dimension=dimension)

    @property
    def num_classes(self) -> int:
        """K."""
        return len(np.asarray(self.counts))

    @property
    def factors(self) -> int:
        """L + 1, the number of penalised factors."""
        return len(np.asarray(self.lams))

    @property
    def mean_penalty(self) -> float:
        """Lambda^(1/(L+1)), the geometric mean of all penalties."""
        return float(np.exp(np.log(np.asarray(self.lams)).mean()))

    def parameters(self) -> dict[str, object]:
        """What the model was given besides its counts, as plain values."""
        lams = np.asarray(self.lams).tolist()
        return {"lams": lams, "depth": self.depth, "loss": self.loss, "dimension": self.dimension}

    def __repr__(self) -> str:
        extra = "" if self.dimension is None else f", dimension={self.dimension}"
        product = float(np.prod(np.asarray(self.lams)))
        return (
            f"DeepLinearModel(counts={self._partition.shown()}, depth={self.depth}, Lambda={product:g}, "
            f"loss={self.loss!r}{extra})"
        )


def deep_linear_threshold(count: float, total: float, depth: int) -> float:
    r"""Least product of all penalties at which a class vanishes from the deep linear model with the squared error.

    .. math:: \Lambda^* = \frac{n^L (L-1)^{L-1}}{L^{2L} N^{L+1}}, \qquad 0^0 = 1

    *derived*: with z = sigma/sqrt(n) and a = Lambda^(1/(L+1)) N n^(-L/(L+1)) the class costs n/N times
    (z-1)^2/2 + ((L+1)/2) a z^(2/(L+1)); equality with z = 0 on the stationary branch holds at z = (L-1)/L. For L > 1
    the jump from (L-1)/L to 0 is of first order; at the threshold both are optimal. The stationary point lives on
    beyond it, up to a larger Lambda, as a local minimum only: a root of the stationarity equation is no proof.

    Parameters
    ----------
    count, total : n samples of the class, N of all classes.
    depth : L weight layers, at least 1.

    Raises
    ------
    InvalidInput : a count that is not positive, count > total, a depth below 1.

    Examples
    --------
    >>> bool(np.isclose(deep_linear_threshold(50, 400, 1), 50 / 400**2))
    True
    """
    n, N, L = as_positive("count", count), as_positive("total", total), as_count("depth", depth)
    if n > N:
        raise InvalidInput(f"count must be at most total, but {n:g} > {N:g}.")
    log_jump = (L - 1) * np.log(L - 1) if L > 1 else 0.0
    return float(np.exp(L * np.log(n / N) - np.log(N) + log_jump - 2 * L * np.log(L)))


def _penalties(lams: ArrayLike | None, lam: float | None, depth: int | None) -> np.ndarray:
    if (lams is None) == (lam is None):
        raise InvalidInput("give either lams = (lam_1, ..., lam_L, lam_H), or lam and depth.")
    if lams is None:
        L = as_count("depth", 1 if depth is None else depth)
        if L > MOST_LAYERS:
            raise InvalidInput(f"depth must be at most {MOST_LAYERS}, but is {L}.")
        values = np.full(L + 1, as_positive("lam", lam))
    else:
        values = as_floats("lams", lams, ndim=1).copy()
        if not 2 <= len(values) <= MOST_LAYERS + 1:
            raise InvalidInput(f"lams must hold lam_1, ..., lam_L and lam_H, but has {len(values)} entries.")
        if depth is not None and as_count("depth", depth) != len(values) - 1:
            raise InvalidInput(f"depth is {depth}, but lams has {len(values)} entries instead of depth + 1.")
    if not ((values >= 1e-50) & (values <= 1e50)).all():
        raise InvalidInput("every penalty must be positive (between 1e-50 and 1e50).")
    values.flags.writeable = False
    return values
