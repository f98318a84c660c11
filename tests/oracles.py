"""Independent ways to the same numbers: high precision, finite differences, convex programs. Slow and plain."""

from __future__ import annotations

import mpmath as mp
import numpy as np


def merge_threshold(K_A: int, K_B: int, P: float, guess: tuple[float, float, float, float]) -> float:
    """R0 by Newton in 40 digits on the four KKT equations written out for a collapsed minority (a, q_A, q_B, R)."""
    mp.mp.dps = 40
    K, T = K_A + K_B, (K_A + K_B) * mp.sqrt(mp.mpf(P))

    def equations(a, q_A, q_B, R):
        r = mp.sqrt(q_A**2 + q_B**2)
        z_s = a * (1 - mp.mpf(1) / K_A) + q_A * mp.sqrt(mp.mpf(K_B) / K) / K_A
        z_o = -a / K_A + q_A * mp.sqrt(mp.mpf(K_B) / K) / K_A
        z_b = -q_A / mp.sqrt(K * K_B)
        total = mp.exp(z_s) + (K_A - 1) * mp.exp(z_o) + K_B * mp.exp(z_b)
        p_s, p_o, p_b = mp.exp(z_s) / total, mp.exp(z_o) / total, mp.exp(z_b) / total
        y_own = q_B * mp.sqrt(mp.mpf(K_A) / K) / K_B
        y_a = -q_B / mp.sqrt(K * K_A)
        r_a = mp.exp(y_a) / (K_B * mp.exp(y_own) + K_A * mp.exp(y_a))
        return [
            R * (1 - p_s + p_o) - 1,
            R * K_B * p_b * mp.sqrt(mp.mpf(K) / K_B) - q_A / r,
            K_A * r_a * mp.sqrt(mp.mpf(K) / K_A) - q_B / r,
            (K_A - 1) * a + r - T,
        ]

    return float(mp.findroot(equations, [mp.mpf(g) for g in guess])[3])


def mean_loss(Z: np.ndarray, mass: np.ndarray) -> float:
    """sum_k mass_k cross-entropy of column k, in 40 digits."""
    mp.mp.dps = 40
    total = mp.mpf(0)
    for k in range(len(mass)):
        column = [mp.mpf(float(z)) for z in Z[:, k]]
        total += mp.mpf(float(mass[k])) * (mp.log(mp.fsum(mp.exp(z) for z in column)) - column[k])
    return total


def nuclear_program(mass: np.ndarray, budget: float) -> float:
    """The K x K program with a nuclear-norm ball, by cvxpy and SCS-free interior point (Clarabel)."""
    import cvxpy as cp

    K = len(mass)
    Z = cp.Variable((K, K))
    loss = cp.sum([mass[k] * (cp.log_sum_exp(Z[:, k]) - Z[k, k]) for k in range(K)])
    problem = cp.Problem(cp.Minimize(loss), [cp.normNuc(Z) <= budget])
    return float(problem.solve(solver="CLARABEL", tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11))
