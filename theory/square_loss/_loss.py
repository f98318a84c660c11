"""The square loss as a mean over samples, for the machinery of ``theory.flow``, whose losses are sums."""

from __future__ import annotations

import numpy as np

from theory.flow.losses import SquareLoss


class MeanSquareLoss(SquareLoss):
    """``Loss = (1/N) sum_n ||f(x_n) - y_n||^2``, of whole samples: on batches ``descend`` would multiply by N/|S|."""

    name = "mean_square"

    def log_inverse(self, f: np.ndarray, y: np.ndarray) -> float:
        """``u = log(1/Loss)``."""
        return super().log_inverse(f, y) - float(np.log(2 / len(f)))

    def slope(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``-dLoss/df`` (N, K)."""
        return 2 / len(f) * (y - f)

    def curvature(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``d^2Loss/df^2``, sample by sample (N, K, K)."""
        return 2 / len(f) * super().curvature(f, y)
