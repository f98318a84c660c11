"""Damped Newton on the KKT system of the margin problem; symmetries, which make its matrix singular, are filtered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lstsq
from scipy.optimize import nnls

from theory.flow._kkt_system import KktSystem

MOST_NEWTON = 60  # steps in one solve


@dataclass(frozen=True, slots=True, kw_only=True)
class KktPoint:
    """A point of Newton's path: theta (P), multipliers lam (A) and beta (S), relative residual, steps so far."""

    theta: np.ndarray
    lam: np.ndarray
    beta: np.ndarray
    residual: float
    steps: int


def _scales(rows: np.ndarray, A: int) -> np.ndarray:
    """One for the margins, the gradient's length for the kinks: a row of a kink gets length one."""
    lengths = np.linalg.norm(rows[A:], axis=1)
    return np.concatenate([np.ones(A), np.where(lengths > 0, lengths, 1.0)])


def newton(system: KktSystem, theta: np.ndarray, *, rtol: float, max_steps: int = MOST_NEWTON) -> KktPoint:
    r"""Solve ``theta = sum lam grad q / level + sum beta grad z, q_A = level, z_S = 0`` from theta (P).

    The step solves ``K d = -F`` with the symmetric matrix ``K = [[H, B^T], [B, 0]]`` through ``Re (K + i mu)^{-1}``,
    whose eigenvalues are ``s / (s^2 + mu^2)``: the Levenberg-Marquardt filter without squaring K. With mu^2 in
    proportion to the residual it converges quadratically also to a manifold of solutions (rotations of a linear chain,
    a neuron split in two), *derived*: on the directions that the filter holds back F has only components of second
    order. Each step is halved until the residual falls.

    Returns the last point; the caller compares ``residual`` with its tolerance: the largest of
    ``||F_theta|| / ||theta||``, ``|q_A/level - 1|`` and ``|z_S| / ||grad z||``, where theta has length about one.
    """
    A = len(system.active)

    def look(theta: np.ndarray, nu: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        rows = system.rows(theta)
        scale = _scales(rows, A)
        rows = rows / scale[:, None]
        if nu is None:  # the multipliers that fit best
            nu = lstsq(rows.T, theta, cond=1e-10, check_finite=False)[0]
        at = system.network.forward(theta, system.X, system.slopes)
        F = np.concatenate([theta - nu @ rows, system.values(at) / scale])
        return F, rows, scale, nu

    P = len(theta)
    F, rows, scale, nu = look(theta, None)
    residual = _size(F, theta)
    steps, bonus = 0, False
    while steps < max_steps and not bonus:
        bonus = residual <= rtol  # one step more than needed: it is cheap and reaches rounding
        H = system.lagrangian_hessian(theta, nu[:A], nu[A:] / scale[A:])
        K = np.block([[H, rows.T], [rows, np.zeros((len(rows), len(rows)))]]).astype(complex)
        K[np.diag_indices(len(K))] += 1j * np.clip(0.03 * np.sqrt(residual), 1e-8, 1e-2)
        try:
            step = np.linalg.solve(K, -F).real
        except np.linalg.LinAlgError:  # multipliers so large that the filter is lost beside them
            break
        length = 1.0
        while length > 1e-4:
            moved, nu_moved = theta + length * step[:P], nu - length * step[P:]
            trial = look(moved, nu_moved)
            size = _size(trial[0], moved)
            if size < residual * (1 - 1e-4 * length):
                break
            length /= 2
        else:
            break
        theta, (F, rows, scale, nu), residual, steps = moved, trial, size, steps + 1
    return KktPoint(theta=theta, lam=nu[:A], beta=nu[A:] / scale[A:], residual=residual, steps=steps)


def _size(F: np.ndarray, theta: np.ndarray) -> float:
    """The largest relative part of F; infinite where F is not finite."""
    norm = np.linalg.norm(theta)
    if not (np.isfinite(F).all() and norm > 0):
        return np.inf
    parts = [np.linalg.norm(F[: len(theta)]) / norm, np.abs(F[len(theta) :]).max(initial=0.0)]
    return float(max(parts))


def tangent_support(system: KktSystem, theta: np.ndarray) -> np.ndarray | None:
    """Which constraints of ``system`` (A) carry the convex problem tangent at theta (P); None without a solution.

    ``min 1/2 ||x||^2`` subject to ``J (x - theta) >= 1 - q/level``, on the null space of the kinks' gradients: Lawson
    and Hanson's least-distance program. At a KKT point theta it is solved by theta, with its multipliers (*derived*).
    """
    rows = system.rows(theta)
    A = len(system.active)
    J, Z = rows[:A], rows[A:]
    at = system.network.forward(theta, system.X, system.slopes)
    least = J @ theta - system.values(at)[:A]
    if len(Z):
        _, s, Vt = np.linalg.svd(Z / _scales(rows, A)[A:, None], full_matrices=False)
        span = Vt[s > 1e-10 * s.max(initial=0.0)]
        J = J - (J @ span.T) @ span
    E = np.vstack([J.T, least])
    try:
        u, misfit = nnls(E, np.append(np.zeros(len(theta)), 1.0), maxiter=30 * max(E.shape) + 1000)
    except RuntimeError:
        return None
    return u > 1e-10 * u.max() if misfit > 1e-8 and u.any() else None
