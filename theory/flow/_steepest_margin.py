"""The margin problem in another norm: its solution for linear models, and how nearly a point is stationary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import short_repr
from theory._certificate import Certificate
from theory._errors import InvalidInput, NotConverged, PreconditionError
from theory.flow._geometry import Geometry, as_geometry
from theory.flow._kkt_system import margins_of
from theory.flow._point import evaluate, require_margin
from theory.flow.losses import Loss
from theory.flow.max_margin import MaxMargin, labelled
from theory.flow.networks import Network, fully_connected

GAP = 1e-6  # relative; a solution with a wider bracket is not returned


def norm_max_margin(X: ArrayLike, y: ArrayLike, norm: str | float | Geometry) -> MaxMargin:
    r"""The widest margin of linear classifiers without bias, lengths measured in a norm.

    .. math:: \max_{\|w\| \le 1} \min_n y_n w^\top x_n = \min_{c \in \Delta} \Bigl\| \sum_n c_n y_n x_n \Bigr\|_*

    *proved* (duality); the limit of steepest descent in that norm (gunasekar2018characterizing). Solved by cvxpy as
    ``min ||w||`` with all margins at least 1: HiGHS (through SciPy) for l_1 and l_inf, Clarabel else. Both sides are
    recomputed here. Several classes: ``W (K, d)``, margins ``(w_y - w_j) . x``, norm of all entries or the largest
    singular value.

    Parameters
    ----------
    X, y : (N, d); labels -1 and +1, or classes 0..K-1.
    norm : ``l1``, ``l2``, ``linf``, ``spectral`` or p: 1, inf, or from 1.001 to 1000.

    Returns
    -------
    MaxMargin, whose ``direction`` has length one in the norm. For l_1, l_inf and the spectral norm it need not be the
    only one.

    Raises
    ------
    InvalidInput : NaN, shapes that do not meet, an unknown norm. PreconditionError : data not separable.
    NotConverged : the bracket is wider than 1e-6.

    Examples
    --------
    >>> found = norm_max_margin([[1.0, 0.0], [0.0, 2.0]], [1, -1], "linf")
    >>> round(found.margin, 12), found.direction.round(12)[0]
    (1.0, np.float64(1.0))
    """
    import cvxpy as cp

    inputs, labels, K = labelled(X, y)
    network = fully_connected((inputs.shape[1], K), activation="linear")
    geometry, margins = as_geometry(norm, network), margins_of(labels, K)
    if not geometry.polyhedral and geometry.p is not None and not 1.001 <= geometry.p <= 1000:
        raise InvalidInput(f"l_p is solved for p = 1, inf and 1.001 to 1000, but p is {geometry.p:g}.")
    J = network.jacobian(np.zeros(network.n_parameters), inputs)
    V = np.einsum("ck,ckp->cp", margins.mix, J[margins.sample])
    scale = float(np.abs(V).max()) or 1.0
    w = cp.Variable(V.shape[1])
    size: Any
    if geometry.p is None:
        size = cp.sigma_max(cp.reshape(w, (K, inputs.shape[1]), order="C"))
    else:
        p: Any = geometry.p
        size = cp.norm_inf(w) if p == np.inf else cp.pnorm(w, p)
    constraint = V / scale @ w >= 1
    problem = cp.Problem(cp.Minimize(size), [constraint])
    try:
        if geometry.polyhedral:
            problem.solve(solver=cp.SCIPY, scipy_options={"method": "highs"})
        else:
            problem.solve(solver=cp.CLARABEL)
    except cp.SolverError as error:
        raise NotConverged(f"the solver of the margin problem gave up: {error}") from None
    if problem.status in (cp.INFEASIBLE, cp.INFEASIBLE_INACCURATE):
        raise PreconditionError("no linear classifier separates the data.")
    if w.value is None or constraint.dual_value is None:
        raise NotConverged(f"the solver of the margin problem ended with {problem.status}.")
    length = geometry.norm(w.value)
    c = np.maximum(np.ravel(constraint.dual_value), 0.0)
    if not (length > 0 and c.sum() > 0):
        raise NotConverged("the solver of the margin problem returned zeros.")
    c = c / c.sum()
    certificate = margin_certificate(geometry, V, w.value, c)
    if not certificate.relative_gap < GAP:
        raise NotConverged(f"the margin is known to {certificate.relative_gap:.1e} only.", certificate)
    direction = w.value / length
    return MaxMargin(
        margin=certificate.lower, direction=direction if K == 1 else direction.reshape(K, -1),
        weights=margins.table(c, len(inputs)), certificate=certificate,
    )  # fmt: skip


def margin_certificate(geometry: Geometry, V: np.ndarray, w: np.ndarray, c: np.ndarray) -> Certificate:
    """The margin of w over rows V (M, P), and the dual norm of their mean with weights c (M, adding up to one)."""
    lower, upper = float((V @ w).min()) / geometry.norm(w), geometry.dual(V.T @ c)
    return Certificate(
        lower=lower, upper=upper, gap=max(upper - lower, 0.0), method="dual norm of a point of the samples' hull"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SteepestKKT:
    """How nearly a point is stationary for ``min 1/2 ||theta||^2`` subject to all margins at least 1.

    Attributes
    ----------
    alignment : beta = ``<theta, g> / (||theta|| ||g||_*)``, at most 1, for ``g = -grad Loss``.
    residual : ``D = 1/2 ||theta||^2 + 1/2 ||s||_*^2 - <theta, s>`` at the scaled point, zero only at stationarity.
    relative_residual : ``D / (1/2 ||theta||^2) = 1 - beta^2``.
    slackness : ``sum_n lam_n (q_n - 1)``.
    multipliers : lam (N), or (N, K) with zeros at the labels, of the constraints.
    normalized_margin : ``min q / ||theta||^L``.
    """

    alignment: float
    residual: float
    relative_residual: float
    slackness: float
    multipliers: np.ndarray
    normalized_margin: float

    __repr__ = short_repr

    def to_json(self) -> dict[str, object]:
        """Plain numbers and lists."""
        return {
            "alignment": self.alignment, "residual": self.residual, "relative_residual": self.relative_residual,
            "slackness": self.slackness, "multipliers": self.multipliers.tolist(),
            "normalized_margin": self.normalized_margin,
        }  # fmt: skip


def steepest_kkt(
    network: Network, X: ArrayLike, y: ArrayLike, loss: str | Loss, theta: ArrayLike, norm: Any,
    modes: ArrayLike | None = None,
) -> SteepestKKT:  # fmt: skip
    r"""Generalised stationarity of the margin problem, with the multipliers that the loss itself carries.

    .. math:: \min_c\ \tfrac12 \|\theta\|^2 + \tfrac12 \|c\,g\|_*^2 - \langle \theta, c\,g \rangle
        = \tfrac12 \|\theta\|^2 (1 - \beta^2), \qquad \beta = \frac{\langle \theta, g \rangle}{\|\theta\|\,\|g\|_*}

    at theta scaled to least margin 1, with ``g = sum_n lam_n grad q_n``, lam the loss's weights. *derived*: the left
    side is the Fenchel-Young gap of ``1/2 ||.||^2`` and its conjugate ``1/2 ||.||_*^2``, so never negative, and zero
    just when ``c g`` is a subgradient of ``1/2 ||.||^2`` at theta, which is stationarity; it is quadratic in c. For
    linear models ``residual + slackness`` is the duality gap. tsilivis2025flavors prove that a Bregman divergence of
    this kind becomes small along steepest flows; their normalisation may differ.

    Parameters
    ----------
    network, X, y, loss, theta, modes : as for ``kkt_certificate``. norm : as for ``norm_max_margin``.

    Raises
    ------
    InvalidInput : shapes that do not meet, NaN, an unknown norm.
    PreconditionError : not homogeneous, no exponential tail, a sample not classified.

    When not to trust it: at kinks the gradient is that of the side where the unit is off, or what ``modes`` says; a
    better element of Clarke's subdifferential is not looked for (for l_2, ``kkt_certificate`` does).

    Examples
    --------
    >>> net = fully_connected((2, 1), activation="linear")
    >>> found = steepest_kkt(net, np.eye(2), [1, 1], "exponential", [3.0, 3.0], "linf")
    >>> found.alignment, found.residual, found.normalized_margin
    (1.0, 0.0, 1.0)
    """
    point = evaluate(network, X, y, loss, theta, modes)
    q_min, L = require_margin(point, "The generalised KKT residual")
    geometry = as_geometry(norm, network)
    samples, G, s = point.constraints()
    weights = point.weights()
    scaled = point.theta / q_min ** (1 / L)
    pulls = np.zeros_like(point.at.outputs)
    np.add.at(pulls, samples, weights[:, None] * G)
    g = network.vjp(scaled, point.X, pulls, point.slopes)
    size, dual = geometry.norm(scaled), geometry.dual(g)
    if not dual > 0:
        raise InvalidInput("the gradient vanishes at theta, so it has no direction to compare with.")
    beta = float(scaled @ g) / (size * dual)
    lam = weights * (beta * size / dual)
    short = max(1 - beta**2, 0.0)
    table = lam
    if point.at.outputs.shape[1] > 1:
        table = np.zeros_like(point.at.outputs)
        table[np.arange(table.shape[1]) != point.y[:, None]] = lam
    return SteepestKKT(
        alignment=beta, residual=0.5 * size**2 * short, relative_residual=short,
        slackness=float(lam @ ((s - q_min) / q_min)), multipliers=table,
        normalized_margin=q_min / geometry.norm(point.theta) ** L,
    )  # fmt: skip
