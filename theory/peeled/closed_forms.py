"""Closed forms of the layer-peeled model."""

from __future__ import annotations

import numpy as np

from theory._arrays import as_count, as_positive
from theory.peeled._minimise import ReducedOptimum, certify_reduced
from theory.peeled._program import GroupProgram


def balanced_loss(K: int, E_W: float, E_H: float) -> float:
    r"""Least cross-entropy of the balanced layer-peeled model, attained by the simplex equiangular tight frame.

    .. math:: \log\bigl(1 + (K-1)\, e^{-\frac{K}{K-1}\sqrt{E_W E_H}}\bigr)

    Mean over samples, natural logarithm; needs p >= K - 1. *derived*: Z = t (I - 11^T/K) with (K-1) t = T is
    certified by its own dual point (fang2021layerpeeled states the geometry).

    Parameters
    ----------
    K : number of classes, at least 2.
    E_W, E_H : budgets on the mean squared norms.

    Raises
    ------
    InvalidInput : K < 2, or a budget that is not positive and finite.

    Examples
    --------
    >>> from theory.peeled import LayerPeeledModel, solve
    >>> abs(balanced_loss(10, 1, 5) - solve(LayerPeeledModel(counts=[7] * 10, E_W=1, E_H=5)).objective) < 1e-12
    True
    """
    K = as_count("K", K, minimum=2)
    margin = K / (K - 1) * np.sqrt(as_positive("E_W", E_W) * as_positive("E_H", E_H))
    return float(np.log1p((K - 1) * np.exp(-margin)))


def first_group_only(program: GroupProgram) -> ReducedOptimum | None:
    """The simplex frame of the first group alone, all other classes exactly zero; certified, not assumed.

    With one group this is the balanced optimum; with several it is the *vanishing* phase, optimal if and only if
    its certified gap is zero. None where the first group has a single class.
    """
    if not program.has_twins[0]:
        return None
    e = np.zeros(program.size)
    e[0] = program.budget / program.copies[0]
    nothing = np.zeros((program.size, 0))
    return certify_reduced(program, e, nothing, np.zeros(0), nothing, steps=0)
