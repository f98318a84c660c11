"""Oversampling and class weights in the layer-peeled model: what they repair, and what too much of them does."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats, as_positive
from theory._errors import InvalidInput
from theory.peeled.model import LayerPeeledModel
from theory.peeled.thresholds import collapse_threshold


def restoring_weights(counts: ArrayLike) -> np.ndarray:
    r"""Class weights that give the simplex frame back: omega_k proportional to 1/n_k, the largest class at 1.

    The constraints do not depend on the counts, so only the products omega_k n_k enter the program (*derived*).
    The same numbers are the oversampling factors. In penalised models (unconstrained features) weighting is not
    equal to resampling; this identity belongs to the constrained model.

    Parameters
    ----------
    counts : (K,) positive.

    Examples
    --------
    >>> restoring_weights([100, 100, 10])
    array([ 1.,  1., 10.])
    """
    n = as_floats("counts", counts, ndim=1)
    if len(n) == 0 or (n <= 0).any():
        raise InvalidInput("counts must be positive.")
    return n.max() / n


def oversampled(model: LayerPeeledModel, factor: ArrayLike) -> LayerPeeledModel:
    """The model after every class is repeated ``factor`` times in the loss: LPM(R, w) = LPM(R / w).

    *derived*: identical to class weights in this model; the counts stay what they are.

    Parameters
    ----------
    factor : (K,) or scalar, positive; multiplies the class weights the model has.
    """
    size = model.num_classes
    factor = np.broadcast_to(as_floats("factor", factor), (size,))
    old = np.ones(size) if model.class_weights is None else np.asarray(model.class_weights)
    return LayerPeeledModel(
        counts=model.counts, E_W=model.E_W, E_H=model.E_H, dimension=model.dimension,
        loss=model.loss, class_weights=old * factor,
    )  # fmt: skip


def largest_safe_weight(*, majority: int, minority: int, E_W: float, E_H: float, ratio: float) -> float:
    """The minority weight at which over-correction starts to merge the *majority* classes: R * R0(K_B, K_A).

    At weight w the program is that of the ratio R/w; below 1 the roles are exchanged, so the majority collapses
    once w / R reaches the threshold with the two groups swapped (*derived*). Needs at least two majority classes.

    Examples
    --------
    >>> w = largest_safe_weight(majority=5, minority=5, E_W=1, E_H=5, ratio=100)
    >>> round(w, 5)
    1219.24471
    """
    ratio = as_positive("ratio", ratio)
    swapped = collapse_threshold(majority=minority, minority=majority, E_W=E_W, E_H=E_H)
    return ratio * swapped.R0
