r"""ReLU's Gaussian moments as functions of an angle, without cancellation for nearly parallel or opposite inputs.

For ``(u, v)`` Gaussian with variances p, q and correlation cos t (cho2009kernel, *proved* there):

- ``E[1(u>0) 1(v>0)] = (pi - t) / (2 pi)``;
- ``E[relu(u) relu(v)] = sqrt(pq) (sin t + (pi - t) cos t) / (2 pi) = sqrt(pq) (1 - g(t)) / 2``,
  ``g(t) = 1 - cos t - (sin t - t cos t) / pi``.

An angle near 0 cannot be read from its cosine (half the digits are lost, and the first moment has a square-root edge
there). So what is carried from layer to layer is ``1 - cos t`` and ``1 + cos t``, each as a sum of positive terms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

SERIES = 0.02  # below this angle sin t - t cos t is taken from its series: t^8 / 362880 * 8 is then below 1e-18


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Covariances of a layer's pre-activations: variances p (n, 1) and q (1, m), ``minus`` and ``plus`` = 1 -+ cos t.

    A pair one of whose variances is 0 has t = pi / 2.
    """

    p: np.ndarray
    q: np.ndarray
    minus: np.ndarray
    plus: np.ndarray

    @property
    def root(self) -> np.ndarray:
        """``sqrt(p q)`` (n, m)."""
        return np.sqrt(self.p) * np.sqrt(self.q)

    @property
    def angle(self) -> np.ndarray:
        """The angle t (n, m)."""
        return 2 * np.arctan2(np.sqrt(self.minus), np.sqrt(self.plus))

    @property
    def covariance(self) -> np.ndarray:
        """``sqrt(p q) cos t`` (n, m)."""
        return self.root * (self.plus - self.minus) / 2

    @property
    def both_on(self) -> np.ndarray:
        """``E[1(u>0) 1(v>0)]`` (n, m)."""
        return (np.pi - self.angle) / (2 * np.pi)

    def affine(self, weight_variance: float, bias_variance: float) -> Pair:
        r"""The pair of ``w u + b``: covariances ``s_w c + s_b``.

        With P = s_w p, Q = s_w q, S = sqrt((P + s_b)(Q + s_b)), R = sqrt(PQ): ``S - (R cos t + s_b) = R (1 - cos t)
        + s_b (sqrt P - sqrt Q)^2 / (S + R + s_b)`` and ``S + R cos t + s_b = R (1 + cos t) + (S - R) + s_b`` with
        ``S - R = s_b (P + Q + s_b) / (S + R)``: nothing is subtracted.
        """
        P, Q, b = weight_variance * self.p, weight_variance * self.q, bias_variance
        R, S = np.sqrt(P) * np.sqrt(Q), np.sqrt(P + b) * np.sqrt(Q + b)
        minus, plus = R * self.minus, R * self.plus
        if b:
            minus = minus + b * (np.sqrt(P) - np.sqrt(Q)) ** 2 / (S + R + b)
            plus = plus + b * (P + Q + b) / (S + R) + b
        safe = np.where(S > 0, S, 1.0)
        return Pair(p=P + b, q=Q + b, minus=np.where(S > 0, minus / safe, 1.0), plus=np.where(S > 0, plus / safe, 1.0))

    def relu(self) -> Pair:
        """The pair with ``E[relu(u) relu(v)]`` as covariances."""
        g = self.minus - _sine_less(self.angle) / np.pi
        return Pair(p=self.p / 2, q=self.q / 2, minus=g, plus=2 - g)


def _sine_less(t: np.ndarray) -> np.ndarray:
    """``sin t - t cos t``."""
    series = t**3 * (1 / 3 - t**2 * (1 / 30 - t**2 / 840))
    return np.where(t < SERIES, series, np.sin(t) - t * np.cos(t))


def inputs(X: np.ndarray, Z: np.ndarray) -> Pair:
    """The pair with ``<x, z> / d`` as covariances, for rows of X (n, d) and Z (m, d)."""
    sizes = [np.linalg.norm(A, axis=1) for A in (X, Z)]
    U, V = (A / np.where(size > 0, size, 1.0)[:, None] for A, size in zip((X, Z), sizes, strict=True))
    some = (sizes[0] > 0)[:, None] & (sizes[1] > 0)
    p, q = (size**2 / X.shape[1] for size in sizes)
    minus, plus = cdist(U, V, "sqeuclidean") / 2, cdist(U, -V, "sqeuclidean") / 2
    return Pair(p=p[:, None], q=q[None, :], minus=np.where(some, minus, 1.0), plus=np.where(some, plus, 1.0))
