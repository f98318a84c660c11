r"""The merging threshold as the root of one increasing function of one variable.

With the minority's gap held at zero and the multiplier equal to the minority's mass (:mod:`theory.peeled.thresholds`),
the optimality conditions in (a, q_A, q_B, R) are those of ``theory.symbolic``'s ``minority_collapse_system``. Take as
unknown the margin x > 0 of a minority sample over a majority class, and write
:math:`q_A = r \cos\theta, q_B = r \sin\theta`. The third condition gives theta and r at once,

.. math::

    \sin\theta = \frac{\sqrt{K K_A}\, e^{-x}}{K_B + K_A e^{-x}}, \qquad r = \frac{K_B}{K}\, x\, (K_A + K_B e^x),

the budget gives :math:`a = (T - r)/(K_A - 1)`, and dividing the first condition by the second

.. math::

    h(x) = (K_A - 1)\Bigl[\sqrt{K/K_B}\; r \cos\theta
           - K_A \log\Bigl(\tfrac{K_B}{K_A}\bigl(\sqrt{K/K_B}/\cos\theta - 1\bigr)\Bigr)\Bigr] - (T - r) = 0.

r and cos(theta) rise with x, so h does; h(0) = -T < 0 and h >= 0 where r = T: there is one root. At R = 1 the
minority's mass exceeds the multiplier, for R -> inf it vanishes and the multiplier does not: with one equality in
between, the merged point is optimal exactly from R0 on. *derived*.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize.elementwise import find_root
from scipy.special import lambertw

TIGHT = {"xatol": 0.0, "xrtol": 2.0**-51, "fatol": 0.0, "frtol": 0.0}


def merged(x: np.ndarray, K_A: np.ndarray, K_B: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """r, cos(theta), and the logarithm in h, at the margin x; nothing cancels for small x."""
    K, E = K_A + K_B, np.exp(-x)
    r = K_B / K * x * (K_A + K_B * np.exp(x))
    excess = -K_A * np.expm1(-x) * (K_B * (1 + E) + 2 * K_A * E) / (K_B + K_A * E) ** 2  # K/K_B cos^2 - 1
    log = np.log1p(K / K_A * np.expm1(-np.log1p(excess) / 2))
    return r, np.sqrt(K_B / K * (1 + excess)), log


def merging_point(
    K_A: np.ndarray, K_B: np.ndarray, T: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """a, q_A, q_B and log R0 for arrays (n,) of class numbers and budgets T = K sqrt(E_W E_H).

    Ten or so evaluations of h; log R0 is right to about 1e-15 absolutely, where R0 itself may overflow.
    """

    def h(x: np.ndarray, K_A: np.ndarray, K_B: np.ndarray, T: np.ndarray) -> np.ndarray:
        r, cos, log = merged(x, K_A, K_B)
        return (K_A - 1) * (np.sqrt((K_A + K_B) / K_B) * r * cos - K_A * log) - (T - r)

    K = K_A + K_B
    # r >= K_B x and r >= (K_B^2 / K) x e^x
    high = np.minimum(T / K_B, lambertw(T * K / K_B**2).real) * (1 + 1e-12)
    x = find_root(h, (np.zeros_like(high), high), args=(K_A, K_B, T), tolerances=TIGHT).x
    r, cos, _ = merged(x, K_A, K_B)
    sin = np.sqrt(K * K_A) / (K_B * np.exp(x) + K_A)
    a = np.where(K_A > 1, (T - r) / np.maximum(K_A - 1, 1), 0.0)
    # the second condition: R K_B p sqrt(K / K_B) = cos(theta), p the odds against one minority class over their total
    odds = -a * (1 - 1 / K_A) - np.sqrt(K / K_B) / K_A * r * cos
    log_R0 = np.log(cos) - np.log(K * K_B) / 2 - odds + np.log(1 + (K_A - 1) * np.exp(-a) + K_B * np.exp(odds))
    return a, r * cos, r * sin, log_R0


def merging_residual(
    K_A: np.ndarray, K_B: np.ndarray, T: np.ndarray, point: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray:
    """Largest relative violation of the four conditions as they stand, before anything was eliminated."""
    a, q_A, q_B, log_R0 = point
    K, r = K_A + K_B, np.hypot(q_A, q_B)
    twin, odds_A = np.exp(-a), -a * (1 - 1 / K_A) - np.sqrt(K / K_B) / K_A * q_A
    odds_B = np.exp(-np.sqrt(K / K_A) / K_B * q_B)
    R_over_total = np.exp(log_R0 + odds_A) / (1 + (K_A - 1) * twin + K_B * np.exp(odds_A))
    # a twin's odds over those of a minority class; a single majority class has no twin
    ratio = np.exp(np.where(K_A > 1, -a / K_A + np.sqrt(K / K_B) / K_A * q_A, 0.0))
    first = R_over_total * (K_A * ratio + K_B) - 1
    second = R_over_total * np.sqrt(K * K_B) - q_A / r
    third = np.sqrt(K * K_A) * odds_B / (K_B + K_A * odds_B) - q_B / r
    budget = ((K_A - 1) * a + r) / T - 1
    return np.max(np.abs([np.where(K_A > 1, first, 0.0), second, third, budget]), axis=0)
