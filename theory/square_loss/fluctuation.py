"""How much SGD keeps moving at the end of training: the linear response to the noise of mini-batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats, as_positive, short_repr
from theory._errors import InvalidInput, PreconditionError
from theory.flow.networks import Network
from theory.square_loss._per_sample import per_sample
from theory.square_loss.moments import as_decay

NEAR = 1e-2  # of the noise of a single sample: a larger mean gradient is no minimum
FLAT = 1e-9  # of the largest curvature
QUIET = 1e-6  # of the noise: what may fall on flat directions
KINK = 1e-9  # of the largest pre-activation: a unit that near to its kink is not smooth


def stationary_covariance(H: ArrayLike, noise: ArrayLike, step: float, *, continuous: bool = False) -> np.ndarray:
    r"""Covariance S at which ``theta <- theta - eta (H theta + xi)``, Cov xi = noise, is stationary.

    .. math:: (I - \eta H) S (I - \eta H) + \eta^2 \Xi = S, \qquad
        S_{ij} = \frac{\eta\, \Xi_{ij}}{h_i + h_j - \eta h_i h_j}

    on the eigenvectors of H; exact for noise that does not depend on theta (*derived*; mandt2017stochastic has the
    continuous limit ``H S + S H = eta Xi``, which drops the last term of the denominator). Flat directions,
    ``h_i <= 1e-9 h_max``, are left out where the noise does not reach them.

    Parameters
    ----------
    H : (P, P), symmetric. noise : (P, P), of one update's gradient. step : eta. continuous : the limit instead.

    Raises
    ------
    InvalidInput : shapes, not symmetric. PreconditionError : a negative curvature, ``eta h_max >= 2``, noise along
        flat directions.

    Examples
    --------
    >>> stationary_covariance(np.diag([1.0, 2.0]), np.eye(2), 0.5).round(12).diagonal().tolist()  # 0.5/1.5, 0.5/2
    [0.333333333333, 0.25]
    """
    A, C, eta = as_floats("H", H, ndim=2), as_floats("noise", noise, ndim=2), as_positive("step", step)
    if A.shape != C.shape or A.shape[0] != A.shape[1] or not len(A):
        raise InvalidInput(f"H and noise must be square of one size, but have shapes {A.shape} and {C.shape}.")
    if abs(A - A.T).max() > 1e-8 * abs(A).max() or abs(C - C.T).max() > 1e-8 * max(abs(C).max(), 1e-300):
        raise InvalidInput("H and noise must be symmetric.")
    h, Q = np.linalg.eigh((A + A.T) / 2)
    if h[0] < -FLAT * max(h[-1], 0.0) or h[-1] <= 0:
        raise PreconditionError(f"no minimum: the least curvature is {h[0]:.3g}, the largest {h[-1]:.3g}.")
    if not continuous and eta * h[-1] >= 2:
        raise PreconditionError(f"the step must be below 2 / h_max = {2 / h[-1]:.4g}, but is {eta:g}: SGD diverges.")
    flat, rotated = h <= FLAT * h[-1], Q.T @ C @ Q
    if np.trace(rotated[flat][:, flat]) > QUIET * np.trace(C):
        raise PreconditionError("the noise reaches directions without curvature: the weights diffuse without end.")
    denominator = h[:, None] + h - (0.0 if continuous else eta * np.outer(h, h))
    rotated[flat], rotated[:, flat], denominator[flat], denominator[:, flat] = 0.0, 0.0, 1.0, 1.0
    return Q @ (eta * rotated / denominator) @ Q.T


@dataclass(frozen=True, slots=True, kw_only=True)
class SgdFluctuation:
    """Predicted spread of SGD's iterates around a minimum.

    Attributes
    ----------
    covariance : of theta (P, P), discrete steps. continuous_trace : trace of its limit for small steps.
    weight_std : root of its trace. output_std : of each output (N, K), to first order.
    excess : mean of the objective above its minimum, ``tr(H S) / 2``.
    gradient_noise : root of the trace of the covariance of one batch's gradient. factor : its share ``1/B`` or
        ``(N - B) / (B (N - 1))`` of that of one sample.
    gradient_norm : of the full objective at theta, ideally 0. flat : directions without curvature (left out).
    step_limit : ``2 / h_max``. step, batch, replacement, lam : as given.
    """

    covariance: np.ndarray
    continuous_trace: float
    weight_std: float
    output_std: np.ndarray
    excess: float
    gradient_noise: float
    factor: float
    gradient_norm: float
    flat: int
    step_limit: float
    step: float
    batch: int
    replacement: bool
    lam: float

    __repr__ = short_repr

    def to_json(self) -> dict[str, object]:
        """Plain numbers."""
        arrays = ("covariance", "output_std")
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in arrays}
        return plain | {"output_std": self.output_std.tolist()}


def sgd_fluctuation(
    network: Network,
    data: tuple[ArrayLike, ArrayLike],
    theta: ArrayLike,
    *,
    lam: float,
    step: float,
    batch: int,
    replacement: bool = True,
) -> SgdFluctuation:
    r"""Stationary fluctuation of SGD near a minimum of ``(1/N) sum ||f_n - y_n||^2 + lam ||theta||^2``.

    ``H`` is the Hessian there, ``C = (1/N) sum (g_n - g)(g_n - g)^T`` the covariance of per-sample gradients; the
    noise of an update is ``C / B``, without replacement ``C (N - B) / (B (N - 1))`` (sampling from a finite
    population), and its stationary covariance that of ``stationary_covariance``: *derived*. Linear
    response: it takes H and C at the minimum, so it is exact only for a quadratic objective whose gradients differ
    between samples by constants, and good to relative order ``step``. At lam = 0 interpolation makes C = 0: no noise.
    Full batch without replacement: none either.

    When not to trust: ``replacement=False`` draws each batch afresh; epochs of a shuffled order have successive
    batches that compensate each other, and fluctuate less than this says. Large steps; a minimum with flat
    directions, along which SGD drifts; ReLU units near their kinks.

    Parameters
    ----------
    network, data, lam : as in ``common_fixed_point`` (any network of ``theory.flow``). theta : at the minimum.
    step, batch, replacement : eta, B, and whether a batch may hold a sample twice.

    Raises
    ------
    InvalidInput : shapes; a batch above N without replacement.
    PreconditionError : theta is no minimum (gradient, or curvature), a pre-activation sits on its kink, a step beyond
        ``2 / h_max``.

    Cost: the P x P Hessian and its eigenvectors.

    Examples
    --------
    >>> from theory.flow import fully_connected
    >>> net, X, y = fully_connected((1, 1)), np.array([[1.0], [1.0]]), [1.0, -1.0]  # H = 2, g_n = -+2
    >>> found = sgd_fluctuation(net, (X, y), [0.0], lam=0.0, step=0.1, batch=1)
    >>> round(found.covariance.item(), 12), round(0.1 * 4 / (4 - 0.1 * 4), 12)
    (0.111111111111, 0.111111111111)
    """
    lam, eta, B = as_decay(lam), as_positive("step", step), as_count("batch", batch)
    at = per_sample(network, data, theta)
    N = len(at.X)
    if not replacement and B > N:
        raise InvalidInput(f"a batch without replacement has at most N = {N} samples, but {B} were asked for.")
    z = network.preactivations(at.theta, at.X)
    if network.activation.slides and z.size and (abs(z) <= KINK * abs(z).max()).any():
        raise PreconditionError("a unit sits on its kink at theta: the loss has no Hessian there.")
    mean = at.gradients.mean(axis=0)
    rest = float(np.linalg.norm(mean + 2 * lam * at.theta))
    centred = at.gradients - mean
    C = centred.T @ centred / N
    if rest > NEAR * np.sqrt(np.trace(C)) and rest > 1e-9 * (1 + np.linalg.norm(at.gradients, axis=1).max()):
        raise PreconditionError(f"theta is no minimum: the gradient of the full objective has norm {rest:.3g}.")
    J = at.jacobian.reshape(-1, at.jacobian.shape[-1])
    H = 2 / N * (J.T @ J + network.hessian(at.theta, at.X, at.outputs - at.y)) + 2 * lam * np.eye(J.shape[1])
    factor = 1 / B if replacement or N == 1 else (N - B) / (B * (N - 1))
    S = stationary_covariance(H, factor * C, eta)
    h = np.linalg.eigvalsh(H)
    variance = np.einsum("nkp,pq,nkq->nk", at.jacobian, S, at.jacobian)
    return SgdFluctuation(
        covariance=S, continuous_trace=float(np.trace(stationary_covariance(H, factor * C, eta, continuous=True))),
        weight_std=float(np.sqrt(max(np.trace(S), 0.0))), output_std=np.sqrt(np.maximum(variance, 0.0)),
        excess=float(np.trace(H @ S) / 2), gradient_noise=float(np.sqrt(factor * np.trace(C))), factor=factor,
        gradient_norm=rest, flat=int((h <= FLAT * h[-1]).sum()), step_limit=float(2 / h[-1]), step=eta, batch=B,
        replacement=replacement, lam=lam,
    )  # fmt: skip
