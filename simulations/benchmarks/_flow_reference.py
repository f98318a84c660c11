"""The trusted trajectory of a flow, and a second one by a method that shares no code with ours and knows no events."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from simulations.benchmarks._flow_problems import Problem
from theory._errors import PreconditionError

Map: TypeAlias = Callable[[np.ndarray], np.ndarray]
SHARPNESS = 1e10  # of the softplus that replaces the ReLU: log(1 + e^(k z)) / k differs from it by at most log(2) / k


def reference(problem: Problem) -> np.ndarray:
    """Ours at rtol 1e-12, at the problem's times (times, P).

    Raises
    ------
    PreconditionError : the flow meets a kink that it may leave on either side, so that there is no one trajectory.
    """
    from theory.flow import integrate

    flow = integrate(
        problem.network, (problem.X, problem.y), problem.loss, problem.theta, until=problem.times[-1], rtol=1e-12,
        atol=1e-14,
    )  # fmt: skip
    if flow.event_counts.get("ambiguous", 0):
        raise PreconditionError("the flow is not unique: a unit can leave its kink on either side.")
    return np.asarray(flow(problem.times))


def independent(problem: Problem, *, rtol: float = 1e-11, sharpness: float = SHARPNESS) -> np.ndarray:
    """SciPy's Radau with an exact Jacobian at the same times: on softplus units, or on the smooth network itself."""
    from scipy.integrate import solve_ivp

    exact = problem.velocity(), problem.jacobian
    field, jacobian = _softplus(problem, sharpness) if problem.kinked else exact
    found = solve_ivp(
        lambda t, theta: field(theta), (0.0, problem.times[-1]), problem.theta, "Radau", t_eval=problem.times,
        rtol=rtol, atol=1e-2 * rtol, jac=lambda t, theta: jacobian(theta),
    )  # fmt: skip
    return np.asarray(found.y.T)


def _softplus(problem: Problem, k: float) -> tuple[Map, Map]:
    """Field and Jacobian (P, P) of a two-layer network with softplus units."""
    from scipy.special import expit

    X, y, (d, width, _) = problem.X, problem.y, problem.widths
    square, cut = problem.loss == "square", d * width
    unit = np.arange(width)

    def forward(theta: np.ndarray) -> tuple[np.ndarray, ...]:
        a, z = theta[cut:], X @ theta[:cut].reshape(width, d).T
        slopes, values = expit(k * z), np.logaddexp(0.0, k * z) / k
        f = values @ a
        pull, curvature = (y - f, np.ones(len(y))) if square else (y * np.exp(-y * f), np.exp(-y * f))
        return a, z, slopes, values, pull, curvature

    def field(theta: np.ndarray) -> np.ndarray:
        a, _, slopes, values, pull, _ = forward(theta)
        return np.concatenate([((pull[:, None] * slopes * a).T @ X).ravel(), values.T @ pull])

    def jacobian(theta: np.ndarray) -> np.ndarray:
        a, _, slopes, values, pull, curvature = forward(theta)
        rows = np.concatenate([((slopes * a)[:, :, None] * X[:, None, :]).reshape(len(X), -1), values], axis=1)
        J = -(rows.T * curvature) @ rows
        bend = np.einsum("nj,ni,nl->jil", pull[:, None] * a * k * slopes * (1 - slopes), X, X)
        mixed = (pull[:, None] * slopes).T @ X  # (width, d): derivative of the pull on W_j by a_j
        blocks = J[:cut, :cut].reshape(width, d, width, d)
        blocks[unit, :, unit, :] += bend
        J[:cut, :cut] = blocks.reshape(cut, cut)
        for j in unit:
            J[j * d : j * d + d, cut + j] += mixed[j]
            J[cut + j, j * d : j * d + d] += mixed[j]
        return J

    return field, jacobian
