"""One point of a flow, evaluated once for the diagnostics: margins, weights of the samples, kinks, and the field."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import lsq_linear

from theory._arrays import as_floats
from theory._errors import InvalidInput, PreconditionError
from theory.flow._layered import Forward
from theory.flow._modes import OFF, ON, SLIDING, slopes_of
from theory.flow.losses import CrossEntropyLoss, Loss, as_loss
from theory.flow.networks import LayeredNetwork, Network

KINK = 1e-12  # |z| below this share of the norms of weights and inputs is rounding: the unit sits on its kink


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """theta (P) on inputs X (N, d) with labels y.

    ``kinks`` (N, units) are off in ``slopes`` and ``at`` and wait for their weight. ``contradiction`` is how far,
    relative to the norms of its weights and inputs, a pre-activation lies on the wrong side of the given modes.
    """

    network: Network
    X: np.ndarray
    y: np.ndarray
    loss: Loss
    theta: np.ndarray
    slopes: np.ndarray | None
    at: Forward
    kinks: np.ndarray
    contradiction: float
    u: float

    @property
    def rho(self) -> float:
        """The norm of theta."""
        return float(np.linalg.norm(self.theta))

    def constraints(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Samples (R), cotangents (R, K), values (R) of the constraints: one a sample, or a sample and wrong class."""
        f = self.at.outputs
        N, K = f.shape
        if not isinstance(self.loss, CrossEntropyLoss):
            return np.arange(N), self.y[:, None], self.loss.margins(f, self.y)
        samples, wrong = np.nonzero(np.arange(K) != self.y[:, None])
        G = np.eye(K)[self.y[samples]] - np.eye(K)[wrong]
        return samples, G, f[samples, self.y[samples]] - f[samples, wrong]

    def weights(self) -> np.ndarray:
        """``-dLoss/ds_r / Loss`` (R) at the constraints' values s: what each pulls with, in the log domain."""
        slope = self.loss.log_slope(self.at.outputs, self.y)
        if not isinstance(self.loss, CrossEntropyLoss):
            return self.y * slope[:, 0]
        return -slope[np.arange(slope.shape[1]) != self.y[:, None]]


def evaluate(
    network: Network, X: ArrayLike, y: ArrayLike, loss: str | Loss, theta: ArrayLike, modes: ArrayLike | None = None
) -> Point:
    """Check the arguments and evaluate the network once.

    Raises
    ------
    InvalidInput : shapes that do not meet, NaN, labels outside the loss's set, modes other than 0, 1, 2.
    """
    loss = as_loss(loss)
    theta = as_floats("theta", theta, ndim=1)
    X = as_floats("X", X, ndim=2)
    if theta.shape != (network.n_parameters,):
        raise InvalidInput(f"theta must have {network.n_parameters} entries, but has {len(theta)}.")
    if X.shape[1] != network.n_inputs or not len(X):
        raise InvalidInput(f"X must have shape (samples, {network.n_inputs}), but has {X.shape}.")
    labels = loss.labels(np.asarray(y), len(X), network.n_outputs)
    shape = (len(X), network.n_units)
    slopes, at, kinks, wrong = None, network.forward(theta, X), np.zeros(shape, dtype=bool), 0.0
    if isinstance(network, LayeredNetwork) and network.n_units and network.activation.has_kink:
        if modes is not None:
            modes = np.asarray(modes)
            if modes.shape != shape or not np.isin(modes, (OFF, ON, SLIDING)).all():
                raise InvalidInput(f"modes must be 0, 1 or 2 and have shape {shape}, but have shape {modes.shape}.")
            at = network.forward(theta, X, slopes_of(modes, network.activation))
        z, reached = _relative(network, at)
        if modes is not None:
            wrong = float(
                np.select([modes == ON, modes == OFF], [np.maximum(-z, 0), np.maximum(z, 0)], np.abs(z)).max()
            )
        if network.activation.slides:
            kinks = (np.abs(z) <= KINK) & reached | (modes == SLIDING if modes is not None else False)
        slopes = np.where(kinks, network.activation.slope, at.slopes)
        at = network.forward(theta, X, slopes)
    return Point(
        network=network, X=X, y=labels, loss=loss, theta=theta, slopes=slopes, at=at, kinks=kinks,
        contradiction=wrong, u=loss.log_inverse(at.outputs, labels),
    )  # fmt: skip


def _relative(network: LayeredNetwork, at: Forward) -> tuple[np.ndarray, np.ndarray]:
    """The pre-activations (N, units) over the norms of their weights and inputs, and where anything arrives."""
    layers = list(zip(network.layers[:-1], at.weights, at.inputs, strict=False))
    squares = [a.apply(w**2, np.ones_like(x)) * a.apply(np.ones_like(w), x**2) for a, w, x in layers]
    size = np.sqrt(np.concatenate(squares, axis=1))
    return np.divide(at.preactivations, size, out=np.zeros_like(size), where=size > 0), size > 0


def require_margin(point: Point, what: str) -> tuple[float, int]:
    """The least margin and the degree, where the margin problem (P) has a meaning.

    Raises
    ------
    PreconditionError : a network that is not homogeneous, a loss without exponential tail, a sample that is not
        classified.
    """
    if not point.network.homogeneous:
        raise PreconditionError(f"{what} needs a homogeneous network, but this one has biases beyond the first layer.")
    if not point.loss.exponential_tail:
        raise PreconditionError(
            f"{what} needs a loss with an exponential tail, but was given the {point.loss.name} loss."
        )
    q_min = float(point.constraints()[2].min())
    if q_min <= 0:
        raise PreconditionError(f"{what} needs every sample classified correctly, but the least margin is {q_min:.3g}.")
    return q_min, point.network.degree


def kink_gradients(point: Point) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (sample, unit) on a kink (M, 2), and the gradients of their pre-activations (M, P)."""
    network, pairs = point.network, np.argwhere(point.kinks)
    gradients = np.zeros((len(pairs), len(point.theta)))
    if not isinstance(network, LayeredNetwork):
        return pairs, gradients
    for layer, (a, b) in enumerate(pairwise(network.starts)):
        below = network.truncated(layer)
        theta = point.theta[: below.n_parameters]
        for n in np.unique(pairs[(pairs[:, 1] >= a) & (pairs[:, 1] < b), 0]):
            rows = np.flatnonzero((pairs[:, 0] == n) & (pairs[:, 1] >= a) & (pairs[:, 1] < b))
            J = below.jacobian(theta, point.X[n : n + 1], point.at.slopes[n : n + 1, :a])[0]
            gradients[rows, : J.shape[1]] = J[pairs[rows, 1] - a]
    return pairs, gradients


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """``g = du/dtheta`` (P) along the flow, and its parts from the network with the kinks off and from the kinks.

    ``residual`` is the least ``||g - smooth - sum_m c_m grad z_m|| / ||g||`` over the c_m that Clarke's
    subdifferential allows.
    """

    g: np.ndarray
    smooth: np.ndarray
    kink_part: np.ndarray
    residual: float


def field_of(point: Point, g: ArrayLike | None = None) -> Field:
    r"""The direction of the flow: ``-grad Loss / Loss``, tangent to the kinks that it slides along.

    *derived*: sliding keeps ``<grad z_m, theta'> = 0`` on every kink m of the point, and the elements of the
    subdifferential differ by multiples of these gradients (a slope of a lower layer only adds, to a gradient further
    up, a multiple of its own), so theta' is the orthogonal projection of the gradient with the kinks off, for any
    number of layers. A given ``g`` fixes the direction instead; its length follows from Euler's identity ``<theta,
    g> = L sum_r w_r s_r``.
    """
    network, loss = point.network, point.loss
    G = loss.log_slope(point.at.outputs, point.y) if loss.exponential_tail else loss.slope(point.at.outputs, point.y)
    smooth, signals = network.gradient(point.at, G)
    if g is not None:
        direction = as_floats("g", g, ndim=1)
        if direction.shape != smooth.shape:
            raise InvalidInput(f"g must have {len(smooth)} entries, one per parameter, but has {len(direction)}.")
        pull, along = float(point.theta @ smooth), float(point.theta @ direction)
        if pull * along <= 0:
            raise InvalidInput("g must be the direction of the flow, but it does not agree with the field along theta.")
        direction = direction * (pull / along)
    if not point.kinks.any():
        direction = smooth if g is None else direction
        left = float(np.linalg.norm(direction - smooth) / (np.linalg.norm(direction) or 1.0))
        return Field(g=direction, smooth=smooth, kink_part=np.zeros_like(smooth), residual=left)
    pairs, Z = kink_gradients(point)
    if g is None:
        direction = smooth - Z.T @ np.linalg.lstsq(Z.T, smooth, rcond=None)[0]
    jump = (1 - network.activation.slope) * signals[pairs[:, 0], pairs[:, 1]]
    layer = np.searchsorted(network.starts, pairs[:, 1], side="right")
    alone = [len({*layer[pairs[:, 0] == n]}) == 1 for n in pairs[:, 0]]  # kinks in several layers multiply: no box
    low = np.where(alone, np.minimum(jump, 0.0), -np.inf)
    high = np.where(alone, np.maximum(jump, 0.0), np.inf)
    live = low < high
    part = np.zeros_like(smooth)
    if live.any():
        fit = lsq_linear(Z[live].T, direction - smooth, (low[live], high[live]), method="bvls", tol=1e-15)
        part = Z[live].T @ fit.x
    left = float(np.linalg.norm(direction - smooth - part) / (np.linalg.norm(direction) or 1.0))
    return Field(g=direction, smooth=smooth, kink_part=part, residual=left)


def perpendicular(theta: np.ndarray, g: np.ndarray) -> tuple[float, float]:
    r"""``1 - beta`` and ``tan(angle)`` for beta = cos(theta, g), without cancellation.

    ``1 - beta = 2 sin(angle/2)^2`` with the angle from the component of g across theta (orthogonalised twice), so
    the absolute error is the angle times 1e-16 where g is exact.
    """
    unit = theta / np.linalg.norm(theta)
    along = unit @ g
    across = g - along * unit
    across = across - (unit @ across) * unit
    angle = np.arctan2(np.linalg.norm(across), along)
    return float(2 * np.sin(angle / 2) ** 2), float(np.tan(angle))
