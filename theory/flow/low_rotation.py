r"""Low-rotation regimes: the tangent margin, how far and how much a flow turns the weights, and the bound between them.

At each theta the tangent features of constraint c are ``h_c = grad q_c(theta)``. Their widest margin ``gamma(theta)``
says how fast the loss must fall with the distance travelled: see ``low_rotation``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, short_repr
from theory._certificate import Certificate
from theory._errors import NotConverged, PreconditionError
from theory.flow._algorithm_record import AlgorithmSolution
from theory.flow._kkt_system import margins_of
from theory.flow._layered import LayeredNetwork
from theory.flow._point import evaluate
from theory.flow._steepest_margin import norm_max_margin
from theory.flow.losses import Loss
from theory.flow.max_margin import MaxMargin, linear_max_margin
from theory.flow.networks import Network
from theory.flow.solution import FlowSolution

PATTERNS = 8  # sliding units of one sample whose 2^s slopes are listed
ROOM = 1e-6  # relative; what an integrator may miss before a bound counts as broken


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRotation:
    """How a flow moves and turns the weights, beside what its tangent margin allows; rows are recorded steps.

    Attributes
    ----------
    steps : (rows) which rows of the solution. log_inverse_loss : (rows).
    smoothed : (rows) ``v = l^{-1}(Loss)``, not normalised.
    margin : certified bracket of the tangent margin at the start.
    tangent_margins : (rows) margins reached, a lower bound of ``gamma(theta)`` at each row; 0 where none separates.
    feature_change : (rows) ``max_c ||h_c(theta) - h_c(theta_0)||``.
    movement : (rows) ``||theta - theta_0||``. path : (rows) length of the polygon through the rows.
    bound : (rows) ``sum (v_{k+1} - v_k) / min(gamma_k, gamma_{k+1})``, infinite after a row with gamma = 0.
    lazy_bound : (rows) ``2 (v - v_0) / gamma(theta_0)``, for the lazy rows.
    lazy : number of leading rows with ``feature_change <= gamma(theta_0) / 2``.
    rotation : (rows) angle of theta to theta_0, in radians.
    neuron_rotation : (rows, units) angle of each hidden unit's incoming weights to their start; NaN where they vanish.
        Without units for networks that are not layered.
    exact_flow : whether the rows are of a flow, for which the bounds are derived; else they are measures.
    """

    steps: np.ndarray
    log_inverse_loss: np.ndarray
    smoothed: np.ndarray
    margin: Certificate
    tangent_margins: np.ndarray
    feature_change: np.ndarray
    movement: np.ndarray
    path: np.ndarray
    bound: np.ndarray
    lazy_bound: np.ndarray
    lazy: int
    rotation: np.ndarray
    neuron_rotation: np.ndarray
    exact_flow: bool

    __repr__ = short_repr

    @property
    def tightness(self) -> float:
        """Largest ``path / bound`` over the rows, at most 1 where the bound holds; 0 where nothing moved."""
        moved = self.path > 0
        if not moved.any():
            return 0.0
        with np.errstate(divide="ignore"):
            ratio = self.path[moved] / np.maximum(self.bound[moved], 0.0)
        return float(ratio.max())

    @property
    def holds(self) -> bool:
        """Whether every row is within ``bound``, and every lazy row within ``lazy_bound`` (up to 1e-6)."""
        first = slice(0, self.lazy)
        inside = (self.path[first] <= self.lazy_bound[first] * (1 + ROOM)).all()
        return bool(self.tightness <= 1 + ROOM and inside)

    @property
    def largest_neuron_rotation(self) -> float | None:
        """Largest angle of a hidden unit at the last row; ``None`` where there is none."""
        angles = self.neuron_rotation[-1][~np.isnan(self.neuron_rotation[-1])]
        return float(angles.max()) if angles.size else None

    def summary(self) -> str:
        """A few lines for people."""
        turned = self.largest_neuron_rotation
        units = "no hidden units" if turned is None else f"the unit that turned most by {turned:.4g}"
        kind = "derived for this flow" if self.exact_flow else "a measure: the steps are discrete"
        return "\n".join([
            f"low rotation: tangent margin {self.margin.lower:.6g} at the start, {self.tangent_margins[-1]:.6g} at the "
            f"end, log(1/loss) = {self.log_inverse_loss[-1]:.6g}",
            f"  theta turned by {self.rotation[-1]:.4g} rad, {units}",
            f"  moved {self.movement[-1]:.4g} on a path of {self.path[-1]:.4g}, allowed {self.bound[-1]:.4g} ({kind})",
            f"  lazy for the first {self.lazy} of {len(self.steps)} rows; the bounds "
            f"{'hold' if self.holds else 'DO NOT hold'}, path over bound at most {self.tightness:.4g}",
        ])  # fmt: skip

    def to_json(self) -> dict[str, object]:
        """Plain numbers and lists; None where a number is infinite or an angle has no meaning."""
        return {
            "margin": self.margin.to_json(), "exact_flow": self.exact_flow, "lazy": self.lazy,
            "tightness": _plain(self.tightness), "holds": self.holds, "steps": self.steps.tolist(),
            "log_inverse_loss": self.log_inverse_loss.tolist(), "smoothed": self.smoothed.tolist(),
            "tangent_margins": self.tangent_margins.tolist(), "feature_change": self.feature_change.tolist(),
            "movement": self.movement.tolist(), "path": self.path.tolist(),
            "bound": [_plain(value) for value in self.bound], "lazy_bound": self.lazy_bound.tolist(),
            "rotation": self.rotation.tolist(), "largest_neuron_rotation": self.largest_neuron_rotation,
        }  # fmt: skip


def tangent_margin(
    network: Network, X: ArrayLike, y: ArrayLike, loss: str | Loss, theta: ArrayLike, modes: ArrayLike | None = None
) -> MaxMargin:
    r"""The NTK margin at this theta: the widest margin that a small move of the parameters gives all samples at once.

    .. math:: \gamma(\theta) = \max_{\|v\| = 1} \min_c\, \langle v, \nabla q_c(\theta) \rangle
        = \min_{p \in \Delta} \Bigl\| \sum_c p_c \nabla q_c(\theta) \Bigr\|

    a convex program with a certified bracket (``linear_max_margin`` of the tangent features); telgarsky2023feature
    states its results with the same number for infinite width, in its own normalisation. *derived*, for a network of
    degree L and rho = ||theta||: ``gamma >= L q_min / rho`` with ``v = theta / rho`` (Euler's identity ``<theta, grad
    q_c> = L q_c``), and equality holds just at the KKT points of the margin problem: there theta is ``sum lam_c grad
    q_c`` with ``sum lam_c = rho^2 / L`` at q_min = 1, a hull point at distance ``L / rho``.

    Parameters
    ----------
    network, X, y, loss, theta, modes : as for ``kkt_certificate``; the network need not be homogeneous nor the samples
        classified. The features of a unit on its kink are those of both sides.

    Returns
    -------
    MaxMargin : direction (P); weights (R), one for each constraint, or for each pattern of slopes at kinks.

    Raises
    ------
    InvalidInput : shapes that do not meet, NaN. PreconditionError : no exponential tail; the tangent features of the
        samples cannot be separated; more than 8 units on a kink for one sample.
    NotConverged : the bracket is wider than 1e-6 (1e-9 is reached but for nearly equal features); ``partial`` has it.

    Cost: the Jacobian (N, K, P) and one nonnegative least-squares problem.

    Examples
    --------
    >>> from theory.flow.networks import fully_connected
    >>> net = fully_connected((2, 1), activation="linear")  # its tangent features are the inputs, whatever theta
    >>> round(tangent_margin(net, np.eye(2), [1, -1], "exponential", [5.0, 7.0]).margin, 12) == round(0.5**0.5, 12)
    True
    """
    return _widest(_features(network, X, y, loss, theta, modes)[0])


def low_rotation(solution: FlowSolution, *, rows: int = 60) -> LowRotation:
    r"""Measure movement, rotation and tangent margins along a flow, and the bound that ties them.

    .. math:: \int \gamma(\theta)\, ds \le v(t) - v(0), \qquad v = \ell^{-1}(\mathrm{Loss}), \qquad
        \|\theta(t) - \theta(0)\| \le \frac{2\,(v(t) - v(0))}{\gamma(\theta_0)}
        \text{ while } \max_c \|h_c(\theta) - h_c(\theta_0)\| \le \tfrac12 \gamma(\theta_0)

    with s the length of the path; Loss the sum over samples; for the exponential loss ``v = log(1/Loss)``. *derived*:
    ``dv/ds = ||grad Loss|| / |l'(v)|``, and ``-grad Loss = sum_c w_c h_c`` is a point of the hull of the h_c times
    ``sum_c w_c``, so no shorter than ``gamma sum_c w_c``. The map ``Loss -> |l'|`` (``z`` for the exponential loss,
    ``1 - e^-z`` for logistic and cross-entropy) is subadditive, so ``sum_c w_c >= |l'(v)|``; hence ``dv/ds >= gamma``.
    The second line: ``<v0, h_c> >= gamma(theta_0) - ||h_c - h_c(theta_0)||`` for the best direction v0 at the start.
    It is the shape of the near-initialisation results of telgarsky2023feature, with constants of this network instead
    of its width; homogeneity is not used. How the units turn is a *measure*.

    Parameters
    ----------
    solution : of ``integrate`` or ``descend``, under a loss with an exponential tail and without weight decay.
    rows : at most so many rows, evenly among the steps, the first and last among them.

    Raises
    ------
    InvalidInput : ``rows`` below 2 or not whole. PreconditionError : weight decay, a loss without exponential tail,
        tangent features at the start that no direction separates.

    Cost: a Jacobian and a nonnegative least-squares problem for each row.

    When not to trust it: between two rows the smaller tangent margin of the two stands for all points between, and
    ``lazy`` sees the rows only; take more ``rows``. For ``descend`` everything is a measure: a large step can move
    farther than the flow.

    Examples
    --------
    >>> from theory.flow import fully_connected, integrate
    >>> flow = integrate(fully_connected((2, 1), activation="linear"), (np.eye(2), [1, 1]), "exponential", [0.0, 0.0],
    ...                  until="log-loss:10")
    >>> found = low_rotation(flow)  # theta moves along (1, 1), and the bound is attained
    >>> found.holds, round(found.tightness, 6)
    (True, 1.0)
    """
    count = as_count("rows", rows, minimum=2)
    if solution.weight_decay > 0:
        raise PreconditionError("the bound of the movement belongs to a flow without weight decay.")
    network, law = solution.network, solution.loss
    steps = np.unique(np.linspace(0, len(solution.thetas) - 1, count).round().astype(int))
    thetas = solution.thetas[steps]
    at = [_features(network, solution.X, solution.y, law, solution.thetas[k], solution.modes(int(k))) for k in steps]
    V0, owner0 = at[0]
    start = _widest(V0)
    base = V0[np.searchsorted(owner0, np.arange(owner0[-1] + 1))]
    gammas = np.array([start.margin, *(_reached(V) for V, _ in at[1:])])
    u = solution.log_inverse_loss[steps]
    v = np.array([law.smoothed_margin(float(value)) for value in u])
    least = np.minimum(gammas[1:], gammas[:-1])
    with np.errstate(divide="ignore"):
        allowed = np.where(least > 0, np.diff(v) / np.where(least > 0, least, 1.0), np.inf)
    change = np.array([np.linalg.norm(V - base[owner], axis=1).max() for V, owner in at])
    beyond = np.flatnonzero(change > start.margin / 2)
    length = np.linalg.norm(np.diff(thetas, axis=0), axis=1)
    return LowRotation(
        steps=steps, log_inverse_loss=u, smoothed=v, margin=start.certificate, tangent_margins=gammas,
        feature_change=change, movement=np.linalg.norm(thetas - thetas[0], axis=1),
        path=np.append(0.0, np.cumsum(length)), bound=np.append(0.0, np.cumsum(allowed)),
        lazy_bound=2 * (v - v[0]) / start.margin, lazy=int(beyond[0]) if beyond.size else len(steps),
        rotation=angles(thetas, thetas[0]), neuron_rotation=_unit_angles(network, thetas),
        exact_flow=not isinstance(solution, AlgorithmSolution),
    )  # fmt: skip


def angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles between vectors along the last axis, without cancellation; NaN where one of them vanishes."""
    size_a, size_b = np.linalg.norm(a, axis=-1, keepdims=True), np.linalg.norm(b, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit_a, unit_b = a / size_a, b / size_b
    return 2 * np.arctan2(np.linalg.norm(unit_a - unit_b, axis=-1), np.linalg.norm(unit_a + unit_b, axis=-1))


def _unit_angles(network: Network, thetas: np.ndarray) -> np.ndarray:
    """Angles (rows, units) of the incoming weights of hidden units (kernels for channels), biases left out."""
    if not isinstance(network, LayeredNetwork):
        return np.zeros((len(thetas), 0))
    views = network.views(thetas)
    hidden = [views[f"W{k}"] for k in range(1, len(network.layers))]
    turned = [angles(W := w.reshape(*w.shape[:2], -1), W[0]) for w in hidden]
    return np.concatenate(turned, axis=1) if turned else np.zeros((len(thetas), 0))


def _features(
    network: Network, X: ArrayLike, y: ArrayLike, loss: str | Loss, theta: ArrayLike, modes: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of the constraints (R, P), and the constraint of each row: both slopes for each unit on its kink."""
    kinked = isinstance(network, LayeredNetwork) and network.n_units and network.activation.has_kink
    point = evaluate(network, X, y, loss, theta, modes if kinked else None)
    if not point.loss.exponential_tail:
        raise PreconditionError(f"the tangent margin needs a loss with an exponential tail, not {point.loss.name}.")
    margins = margins_of(point.y, network.n_outputs)
    slopes, sample = point.slopes, np.arange(len(point.X))
    if slopes is not None and point.kinks.any():
        most = int(point.kinks.sum(axis=1).max())
        if most > PATTERNS:
            raise PreconditionError(f"a sample has {most} units on their kinks; at most {PATTERNS} can be listed.")
        sample = np.repeat(sample, 2 ** point.kinks.sum(axis=1))
        slopes = slopes[sample].copy()
        for n in np.flatnonzero(point.kinks.any(axis=1)):
            units = np.flatnonzero(point.kinks[n])
            patterns = list(product((network.activation.slope, 1.0), repeat=len(units)))
            slopes[np.ix_(sample == n, units)] = patterns
    J = network.jacobian(point.theta, point.X[sample], slopes)
    owner, row = np.nonzero(margins.sample[:, None] == sample)
    return np.einsum("rk,rkp->rp", margins.mix[owner], J[row]), owner


def _widest(V: np.ndarray) -> MaxMargin:
    """The widest margin on rows V: by active sets, and by an interior point where nearly equal rows defeat those."""
    ones = np.ones(len(V))
    try:
        return linear_max_margin(V, ones)
    except NotConverged:
        return norm_max_margin(V, ones, "l2")


def _reached(V: np.ndarray) -> float:
    """The margin that is proved to be reached on rows V; 0 where none is."""
    try:
        return _widest(V).margin
    except NotConverged as error:
        return max(error.partial.lower, 0.0) if isinstance(error.partial, Certificate) else 0.0
    except PreconditionError:
        return 0.0


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
