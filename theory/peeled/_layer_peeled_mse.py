"""The layer-peeled model with the squared error: an orthogonal frame whose lengths fill the budget like water."""

from __future__ import annotations

import numpy as np

from theory._certificate import Certificate
from theory._errors import NotConverged, PreconditionError
from theory.peeled._factors import SymmetricFactors
from theory.peeled._options import Options
from theory.peeled.model import LayerPeeledModel
from theory.peeled.solution import PeeledSolution, build_solution

METHODS = ("auto", "closed-form")


def solve_model(model: LayerPeeledModel, options: Options) -> PeeledSolution:
    r"""Least mean squared error under budgets, without bias.

    .. math::

        \min_Z \tfrac12 \sum_k \pi_k \|z_k - e_k\|^2 \;\text{s.t.}\; \|Z\|_* \le T
        \qquad Z^* = \operatorname{diag}\bigl((1 - \mu/\pi_k)_+\bigr), \quad \sum_k (1 - \mu/\pi_k)_+ = \min(T, K)

    with :math:`T = K\sqrt{E_W E_H}`. *derived*: for every U,
    :math:`\tfrac12\sum_k \pi_k\|z_k - e_k\|^2 \ge \sum_k (u_{kk} - \|u_k\|^2/2\pi_k) - \langle U, Z\rangle` and
    :math:`\langle U, Z\rangle \le T\|U\|_2`; both are equalities at U = diag(min(pi_k, mu)). Balanced, Z is
    min(1, sqrt(E_W E_H)) I. Class k vanishes if and only if pi_k <= mu.

    Raises
    ------
    PreconditionError : fewer dimensions than classes that do not vanish (their orthogonal frame needs as many).
    """
    parts, T = model._partition, model.budget
    mass, classes = parts.mass, parts.mass_classes
    z, mu = water_level(mass, classes, T)
    dual = np.minimum(mass, mu)
    used = float(classes @ z)
    value = 0.5 * float(classes @ (mass * (1 - z) ** 2)) if mu else 0.0
    # Fenchel's gap at the norm that Z has; what that norm misses of the budget is the residual.
    gap = 0.5 * float(classes @ (mass * (z - 1 + dual / mass) ** 2)) + float(classes @ (z * (mu - dual)))
    budget = used / T - 1 if mu else min(used / T - 1, 0.0)
    certificate = Certificate(
        lower=value - gap, upper=value, gap=gap, method="Fenchel dual of the squared error on the nuclear-norm ball",
        residuals={"stationarity": gap / value if value else 0.0, "budget_W": budget, "budget_H": budget},
    )  # fmt: skip
    if not gap <= options.rtol * max(value, np.finfo(float).eps):
        raise NotConverged(f"the closed form keeps a gap of {gap:.1e} in float64; {options.rtol:.1e} was wanted.")
    on = z > 0
    frame = np.eye(len(z))[:, on]
    factors = SymmetricFactors(
        classes, z, frame, z[on], frame, parts.class_mass_group, float(np.sqrt(model.E_W) / np.sqrt(model.E_H))
    )
    if model.dimension is not None and model.dimension < factors.rank:
        raise PreconditionError(
            f"the orthogonal frame of the squared error needs dimension >= {factors.rank} (one per class that does "
            f"not vanish), but it is {model.dimension}; loss='cross_entropy' has a descent for fewer."
        )
    return build_solution(
        model, factors, certificate, method="closed-form", status="optimal", multiplier=mu, began=options.began
    )


def water_level(mass: np.ndarray, classes: np.ndarray, T: float) -> tuple[np.ndarray, float]:
    """z_g = (1 - mu / mass_g)_+ with sum classes z = min(T, K), and mu; masses fall.

    Groups 1..j are active for the largest j whose own mass, taken as level, leaves less than T.
    """
    if classes.sum() <= T:
        return np.ones(len(mass)), 0.0
    total, inverse = np.cumsum(classes), np.cumsum(classes / mass)
    j = int(np.flatnonzero(total - mass * inverse < T)[-1])
    head, n = mass[: j + 1], classes[: j + 1]
    # 1 - mu/mass without cancellation: the difference of masses enters, not of sums
    drift = ((head[:, None] - head[None, :]) / head[None, :]) @ n if j < 2000 else head * inverse[j] - total[j]
    z = np.zeros(len(mass))
    z[: j + 1] = np.maximum((drift + T) / (head * inverse[j]), 0.0)
    return z, float((total[j] - T) / inverse[j])
