"""The discrete state of a flow: each hidden unit on each sample is off, on, or sliding along its kink."""

from __future__ import annotations

import numpy as np

from theory.flow._activation import Activation

OFF, ON, SLIDING = 0, 1, 2


def modes_of(preactivations: np.ndarray) -> np.ndarray:
    """On where z > 0, else off; (N, units) int8. Only for a first look: a flow carries its modes as data."""
    return (preactivations > 0).astype(np.int8)


def slopes_of(modes: np.ndarray, activation: Activation) -> np.ndarray:
    """The slope of each unit: 1 where on, the activation's slope where off or sliding (the rest is added later)."""
    return np.where(modes == ON, 1.0, activation.slope)
