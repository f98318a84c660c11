r"""The deep linear model with the squared error: one scalar problem per class, globally.

With A = Z D^(1/2) and q = 2/(L+1) the program is

.. math:: \min_A \frac1{2N}\|A - D^{1/2}\|_F^2 + \frac{L+1}2 \Lambda^{1/(L+1)} \sum_i \sigma_i(A)^q .

By von Neumann's trace inequality ||A - B||^2 >= sum_i (sigma_i(A) - sigma_i(B))^2, so the value is at least the sum
over classes of min_{sigma >= 0} (sigma - sqrt n_k)^2/(2N) + ((L+1)/2) Lambda^(1/(L+1)) sigma^q, and a diagonal A
attains it (*derived*). In units of z = sigma/sqrt(n_k) and n_k/N, with a = Lambda^(1/(L+1)) N n_k^(-L/(L+1)) and
b = (L-1)/(L+1), the scalar problem is g(z) = (z-1)^2/2 + ((L+1)/2) a z^q, g'(z) = z - 1 + a z^(-b). The function g' is
convex, so Newton from z = 1 falls monotonically onto its larger root; that root beats z = 0 iff a is below
(1/L) ((L-1)/L)^b, and then lies in [(L-1)/L, 1], where g'' >= L/(L+1): hence g - g'^2 (L+1)/(2L) bounds the minimum.
"""

from __future__ import annotations

import numpy as np

from theory._certificate import Certificate
from theory._errors import PreconditionError
from theory.peeled._deep_factors import orthogonal
from theory.peeled._options import Options
from theory.peeled.deep_linear import DeepLinearModel
from theory.peeled.solution import PeeledSolution, build_solution

METHODS = ("auto", "closed-form")
MOST_GROUPS = 3000
EPS = float(np.finfo(float).eps)


def solve_model(model: DeepLinearModel, options: Options) -> PeeledSolution:
    """See :func:`theory.peeled.solve`."""
    parts, L = model._partition, model.factors - 1
    if len(parts.count) > MOST_GROUPS:
        raise PreconditionError(
            f"{len(parts.count)} distinct counts; at most {MOST_GROUPS} are taken. Round the counts to fewer values."
        )
    n, classes = parts.count, parts.classes.astype(float)
    share = n / (n @ classes)  # n_k / N
    a = model.mean_penalty * (n @ classes) * n ** (-L / (L + 1))
    z, slope = largest_root(a, L)
    cost = (1 - z) ** 2 / 2 + (L + 1) / 2 * np.where(z > 0, a, 0.0) * z ** (2 / (L + 1))
    slack = slope**2 * (L + 1) / (2 * L)
    value = float((classes * share) @ cost)
    gap = float((classes * share) @ slack) + 8 * EPS * value
    certificate = Certificate(
        lower=value - gap, upper=value, gap=gap, residuals={"stationarity": float(np.abs(slope).max())},
        method="von Neumann's trace inequality: the bound per singular value is attained",
    )  # fmt: skip
    factors = orthogonal(z, n, np.asarray(model.lams), parts.index)
    if model.dimension is not None and model.dimension < factors.rank:
        raise PreconditionError(
            f"the optimum has rank {factors.rank} (classes above the threshold), but dimension is {model.dimension}."
        )
    return build_solution(
        model, factors, certificate, method="closed-form", status="optimal",
        multiplier=model.mean_penalty, began=options.began,
    )  # fmt: skip


def largest_root(a: np.ndarray, L: int) -> tuple[np.ndarray, np.ndarray]:
    """Global minimiser z of g for each a > 0 (0 at and beyond the threshold), and g'(z) (0 where z = 0)."""
    b = (L - 1) / (L + 1)
    threshold = ((L - 1) / L) ** b / L  # 0^0 = 1
    z = np.ones_like(a)
    alive = a < threshold
    weight = np.where(alive, a, 0.0)
    for _ in range(60):
        power = weight * z**-b
        step = (z - 1 + power) / (1 - b * power / z)
        z = np.maximum(z - step, (L - 1) / L)
        if not (step > 2 * EPS).any():
            break
    slope = z - 1 + weight * (np.where(z > 0, z, 1.0) ** -b)
    return np.where(alive, z, 0.0), np.where(alive, slope, 0.0)
