"""Published numbers that experiments and the command line are compared with."""

from __future__ import annotations

import numpy as np


def published_minority_cosines() -> np.ndarray:
    """The cosines that the script of fang2021layerpeeled prints: five and five classes, E_W = 1, E_H = 5.

    Returns
    -------
    (12, 2) pairs (R, cosine between two minority classifiers) for R = 10^0, 10^0.1, ..., 10^1.1, to four digits;
    the first eleven lie below the threshold R0 = 12.19, the last above it.

    Examples
    --------
    >>> published_minority_cosines()[10]
    array([10.    ,  0.5175])
    """
    cosines = [-0.1111, -0.0993, -0.085, -0.0675, -0.0455, -0.0172, 0.0206, 0.0732, 0.1511, 0.2776, 0.5175, 1.0]
    return np.column_stack([10 ** (np.arange(12) / 10), cosines])
