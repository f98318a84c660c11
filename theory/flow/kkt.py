r"""How nearly a point is optimal for the margin problem: the best multipliers, and those of the flow.

The problem is (P): ``min 1/2 ||theta||^2`` subject to ``q_n(theta) >= 1`` for every sample. A feasible point is
(eps, delta)-KKT if there are multipliers ``lam_n >= 0`` and ``h_n`` in Clarke's subdifferential of q_n with
``||theta - sum_n lam_n h_n|| <= eps`` and ``lam_n (q_n - 1) <= delta`` (*proved* to appear along the flow:
lyu2020gradient). Points are scaled to ``theta / q_min^(1/L)``. For cross-entropy there is one constraint for each
sample and wrong class k: ``f_y - f_k >= 1``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_real, short_repr
from theory._certificate import Certificate
from theory._errors import InvalidInput
from theory.flow._clarke import clarke_cone
from theory.flow._cone import Cone, Nearest, nearest
from theory.flow._point import Point, evaluate, field_of, perpendicular, require_margin
from theory.flow.losses import CrossEntropyLoss, Loss
from theory.flow.networks import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class KKTCertificate:
    """The multipliers that bring a point nearest to stationarity, found anew and not taken from the flow.

    Attributes
    ----------
    eps : ``||theta - sum lam h||`` at the scaled point, recomputed.
    delta, delta_sum : largest, and sum, of ``lam_n (q_n - 1)``.
    multipliers : lam (N), or (N, K) with zeros at the labels for cross-entropy.
    kinks : pairs (sample, unit) on a kink (M, 2).
    clarke : how far each kink is on (M), between 0 and 1.
    feasibility : how much the least margin of the scaled point falls short of 1.
    certificate : bracket of the minimised number: eps, or with ``slackness`` w > 0, ``eps^2/2 + w delta_sum``.
    """

    eps: float
    delta: float
    delta_sum: float
    multipliers: np.ndarray
    kinks: np.ndarray
    clarke: np.ndarray
    feasibility: float
    certificate: Certificate

    __repr__ = short_repr

    def to_json(self) -> dict[str, object]:
        """A dictionary of plain numbers and lists."""
        return {
            "eps": self.eps,
            "delta": self.delta,
            "delta_sum": self.delta_sum,
            "multipliers": self.multipliers.tolist(),
            "kinks": self.kinks.tolist(),
            "clarke": self.clarke.tolist(),
            "feasibility": self.feasibility,
            "certificate": self.certificate.to_json(),
        }


def kkt_certificate(
    network: Network,
    X: ArrayLike,
    y: ArrayLike,
    loss: str | Loss,
    theta: ArrayLike,
    modes: ArrayLike | None = None,
    *,
    slackness: float = 0.0,
) -> KKTCertificate:
    r"""Least eps over all multipliers and elements of Clarke's subdifferential: a convex program and its dual bound.

    .. math:: \min_{\lambda \ge 0,\ 0 \le \mu_{nj} \le \lambda_n}
        \tfrac12 \Bigl\| \theta - \sum_n \bigl(\lambda_n h_n + \sum_j \mu_{nj} d_{nj}\bigr) \Bigr\|^2
        + w \sum_n \lambda_n (q_n(\theta) - 1)

    where h_n is the gradient with the kinks off, ``d_nj`` what kink j adds, and w is ``slackness``. Kinks are the
    units that ``modes`` calls sliding, and those within rounding of zero; those of several layers at once are
    handled by listing patterns. *derived*: at w = 1 the minimum is the duality gap of (P) where the network is
    linear, so eps and delta go to zero together; at w = 0, the default, least eps alone may put weight on samples
    far above the margin (any theta in the cone of the data has eps = 0): read delta beside it. The lower bound is
    weak duality, ``<theta, v>/||v||`` for v with ``<v, h> <= 0`` on every ray, which Euler's identity ``<theta, h_n>
    = L q_n`` makes from the residual.

    Parameters
    ----------
    network, X, y, loss, theta, modes : a homogeneous network, inputs (N, d), labels (N), exponential, logistic or
        cross-entropy loss, parameters (P), and the flow's modes (N, units), without which the signs decide.
    slackness : w >= 0.

    Raises
    ------
    InvalidInput : shapes that do not meet, NaN, a negative ``slackness``.
    PreconditionError : not homogeneous, no exponential tail, a sample not classified, too many kinks in several layers.

    Cost: one gradient for each sample and kink, then an active-set method on them.

    Examples
    --------
    >>> from theory.flow.networks import fully_connected
    >>> net, X = fully_connected((2, 1), activation="linear"), np.array([[2.0, 0.0], [0.0, 1.0]])
    >>> found = kkt_certificate(net, X, [1, -1], "exponential", [0.5, -1.0])  # the optimum of orthogonal data
    >>> found.multipliers, round(found.eps, 12), found.delta
    (array([0.25, 1.  ]), 0.0, 0.0)
    """
    weight = as_real("slackness", slackness)
    if weight < 0:
        raise InvalidInput(f"slackness must be at least 0, but is {weight:g}.")
    point = evaluate(network, X, y, loss, theta, modes)
    q_min, L = require_margin(point, "The KKT certificate")
    samples, G, s = point.constraints()
    scaled, slack = point.theta / q_min ** (1 / L), (s - q_min) / q_min
    built = clarke_cone(point, scaled, weight * slack)
    best = nearest(built.cone, scaled)
    lam = np.bincount(built.rows, weights=best.lam, minlength=len(s))
    eps, kinks = float(np.linalg.norm(best.residual)), np.argwhere(point.kinks)
    f = network.forward(scaled, point.X, point.slopes).outputs
    least = float(np.einsum("rk,rk->r", G, f[samples]).min())
    return KKTCertificate(
        eps=eps,
        delta=float((lam * slack).max()),
        delta_sum=float(lam @ slack),
        multipliers=_by_sample(point, lam),
        kinks=kinks,
        clarke=built.shares(best.lam, best.mu, kinks, samples),
        feasibility=max(0.0, 1 - least),
        certificate=_bracket(built.cone, scaled, best, point.contradiction, weight > 0),
    )


def _by_sample(point: Point, lam: np.ndarray) -> np.ndarray:
    """Multipliers (R) as (N), or as (N, K) with zeros at the labels."""
    if not isinstance(point.loss, CrossEntropyLoss):
        return lam
    table = np.zeros_like(point.at.outputs)
    table[np.arange(table.shape[1]) != point.y[:, None]] = lam
    return table


def _bracket(cone: Cone, target: np.ndarray, best: Nearest, contradiction: float, priced: bool) -> Certificate:
    """Weak duality at the residual, moved along -target until no ray has a positive price."""
    r = best.residual
    size, cost = float(np.linalg.norm(r)), float(cone.cost @ best.lam)
    upper = 0.5 * size**2 + cost if priced else size
    over = cone.prices(r)[0].max()
    v, shift = r, max(0.0, float((cone.prices(r)[0] / (cone.base @ target)).max()))
    for _ in range(8):
        v = r - shift * target
        if cone.prices(v)[0].max() <= 0:
            break
        shift = 2 * shift
    lower, length = 0.0, float(np.linalg.norm(v))
    if cone.prices(v)[0].max() <= 0 and length > 0:
        pull = float(target @ v)
        lower = max(0.0, pull - 0.5 * length**2 if priced else pull / length)
    scale = float(np.linalg.norm(target) * np.linalg.norm(cone.base, axis=1).max())
    return Certificate(
        lower=lower,
        upper=upper,
        gap=upper - lower,
        residuals={"price": max(0.0, float(over)) / scale, "modes": contradiction},
        method="weak duality at the residual, made feasible along theta by Euler's identity",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowKKT:
    """The optimality residual with the flow's own multipliers, against the identity that it must satisfy.

    Attributes
    ----------
    eps, eps_identity, difference : the residual as computed from the multipliers, ``sqrt(2 (1 - beta))
        gbar^(-1/L)``, eps minus that.
    beta, one_minus_beta : cosine of theta and the flow's direction, and 1 minus it without cancellation.
    delta, delta_sum, delta_bound : largest and sum of ``lam_n (q_n - 1)``, and the bound of the sum.
    multipliers : lam (N), or (N, K) with zeros at the labels for cross-entropy.
    field_residual : how far, relatively, the direction is from all that Clarke's subdifferential allows at these
        weights.
    """

    eps: float
    eps_identity: float
    difference: float
    beta: float
    one_minus_beta: float
    delta: float
    delta_sum: float
    delta_bound: float
    multipliers: np.ndarray
    field_residual: float

    __repr__ = short_repr


def flow_kkt(
    network: Network,
    X: ArrayLike,
    y: ArrayLike,
    loss: str | Loss,
    theta: ArrayLike,
    g: ArrayLike | None = None,
    modes: ArrayLike | None = None,
) -> FlowKKT:
    r"""The (eps, delta) of the multipliers that the flow itself carries.

    .. math:: \lambda_r = q_{\min}^{1-2/L}\, \rho\, \frac{-\partial \mathrm{Loss}/\partial s_r}{\|\theta'\|}, \qquad
        \varepsilon = \sqrt{2(1-\beta)}\ \bar\gamma^{-1/L}, \qquad
        \sum_r \lambda_r (s_r - 1) \le (R-1)\, \frac{1 + (K'-1) e^{-q_{\min}}}{e L\, q_{\min}}\, \bar\gamma^{-2/L}

    for the constraints s_r (R of them: N, or N (K - 1)), with gbar = q_min / rho^L. *derived* (constants of
    lyu2020gradient made explicit): by homogeneity ``sum lam_r h_r`` at the scaled point is ``q_min^(-1/L) rho
    theta'/||theta'||``, for any loss of the margins, hence the identity; and ``||theta'|| >= L q_min sum_r w_r /
    rho`` by Euler, ``x e^-x <= 1/e``, and a weight relative to that of the least margin is at most ``e^-(s_r -
    q_min)`` times 1 (exponential), ``1 + e^-q_min`` (logistic, K' = 2), ``1 + (K-1) e^-q_min`` (cross-entropy, K' =
    K). The term of the least margin itself vanishes: R - 1.

    Parameters
    ----------
    network, X, y, loss, theta, modes : as for ``kkt_certificate``.
    g : direction of the flow (P) at any positive scale; ``None`` projects the gradient onto the kinks' common tangent.

    Raises
    ------
    InvalidInput : shapes that do not meet, NaN, a g against the field.
    PreconditionError : not homogeneous, no exponential tail, a sample not classified.

    Examples
    --------
    >>> from theory.flow.networks import fully_connected
    >>> net, X = fully_connected((2, 3, 1), activation="linear"), np.array([[2.0, 0.0], [0.0, 1.0]])
    >>> theta = net.pack(W1=[[1, -2], [0, 1], [1, 0]], W2=[[1, -0.5, 1]])
    >>> abs(flow_kkt(net, X, [1, -1], "logistic", theta).difference) < 1e-14
    True
    """
    point = evaluate(network, X, y, loss, theta, modes)
    q_min, L = require_margin(point, "The KKT residual of the flow")
    field = field_of(point, g)
    samples, G, s = point.constraints()
    speed = float(np.linalg.norm(field.g))
    if not speed > 0:
        raise InvalidInput("the field vanishes at theta, so the flow has no direction there.")
    lam = q_min ** (1 - 2 / L) * point.rho * point.weights() / speed
    scaled = point.theta / q_min ** (1 / L)
    pulls = np.zeros_like(point.at.outputs)
    np.add.at(pulls, samples, lam[:, None] * G)
    smooth = network.vjp(scaled, point.X, pulls, point.slopes)
    residual = scaled - smooth - q_min ** (-1 / L) * point.rho * field.kink_part / speed
    eps, excess = float(np.linalg.norm(residual)), perpendicular(point.theta, field.g)[0]
    ratio = float(np.linalg.norm(scaled))  # gbar^(-1/L)
    identity, slack = float(np.sqrt(2 * excess)) * ratio, (s - q_min) / q_min
    others = {"exponential": 0, "logistic": 1}.get(point.loss.name, point.at.outputs.shape[1] - 1)
    tail = 1 + others * np.exp(-q_min)
    return FlowKKT(
        eps=eps,
        eps_identity=identity,
        difference=eps - identity,
        beta=1 - excess,
        one_minus_beta=excess,
        delta=float((lam * slack).max()),
        delta_sum=float(lam @ slack),
        delta_bound=float((len(s) - 1) * tail * ratio**2 / (math.e * L * q_min)),
        multipliers=_by_sample(point, lam),
        field_residual=field.residual,
    )
