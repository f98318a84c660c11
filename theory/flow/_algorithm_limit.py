"""How large a step may be: the local limit 2 / lambda_max, and a sufficient one for homogeneous networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from theory._arrays import as_floats, as_real
from theory._errors import InvalidInput, NotConverged, PreconditionError
from theory.flow._layered import LayeredNetwork
from theory.flow._layers import Dense
from theory.flow._modes import slopes_of
from theory.flow.integrate import _problem
from theory.flow.losses import CrossEntropyLoss, Loss, as_loss
from theory.flow.networks import Network

DENSE = 128  # parameters up to which the whole Hessian is formed
LANCZOS_RTOL = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLimit:
    r"""The largest step at one point: ``limit = factor / lambda_max``, on the current piece.

    Attributes
    ----------
    curvature : lambda_max of the Hessian of the objective; of the Hessian over Loss where ``scaled``.
    scaled : whether the loss has an exponential tail, so that the numbers are kept over Loss.
    log_inverse_loss : ``u = log(1/Loss)``. factor : 2, more or less with momentum (see ``step_limit``).
    exact : whether the objective is quadratic: the algorithm converges below the limit and diverges above it.
    """

    curvature: float
    scaled: bool
    log_inverse_loss: float
    factor: float
    exact: bool

    @property
    def log_limit(self) -> float:
        """Logarithm of the largest step size; infinite where no direction curves upwards."""
        if self.curvature <= 0:
            return np.inf
        return float(np.log(self.factor / self.curvature) + (self.log_inverse_loss if self.scaled else 0.0))

    @property
    def limit(self) -> float:
        """The largest step size; infinite past the range of float64."""
        return float(np.exp(self.log_limit)) if self.log_limit < 709 else np.inf

    @property
    def loss_scaled_limit(self) -> float:
        """The largest ``step`` of the rule ``loss-scaled``, which steps by ``step / Loss``."""
        if not self.scaled:
            raise PreconditionError("loss-scaled steps need a loss with an exponential tail.")
        return self.factor / self.curvature if self.curvature > 0 else np.inf

    def to_json(self) -> dict[str, object]:
        """The numbers; an infinite limit is None."""
        log_limit = self.log_limit
        return {
            "log_limit": log_limit if np.isfinite(log_limit) else None, "curvature": self.curvature,
            "scaled": self.scaled, "factor": self.factor, "exact": self.exact,
        }  # fmt: skip


def step_limit(
    network: Network,
    data: tuple[ArrayLike, ArrayLike],
    loss: str | Loss,
    theta: ArrayLike,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    modes: np.ndarray | None = None,
) -> StepLimit:
    r"""The step size above which gradient descent with this momentum is unstable at a point, in a quadratic model.

    .. math:: \eta < \frac{c}{\lambda_{\max}(\nabla^2 \mathrm{Loss}) + \lambda}, \qquad c = 2, \quad
        2(1 + \beta) \text{ (heavy ball)}, \quad \frac{2(1 + \beta)}{1 + 2\beta} \text{ (Nesterov)}

    with the loss summed over samples. *derived*: on a quadratic of curvature h / eta the heavy ball has the
    characteristic polynomial ``z^2 - (1 + beta - h) z + beta``, PyTorch's Nesterov
    ``z^2 - (1 + beta)(1 - h) z + beta (1 - h)``; both roots are in the unit disc if and only if h is below c.

    ``exact`` where the network is linear in theta and the loss is square: the objective is that quadratic. Elsewhere
    the limit is local: the descent lemma needs the largest curvature on the whole segment, and for a kinked network
    the Hessian is that of the current piece, blind to the jump of the gradient at the next kink. A step above it need
    not raise the loss (along one coordinate an exponential loss falls under every step), nor must one below it lower
    the loss.

    Parameters
    ----------
    theta : (P). momentum, nesterov, weight_decay : as in ``descend`` (coupled decay).
    modes : the flow's modes (N, units); without them the signs of the pre-activations decide.

    Returns
    -------
    StepLimit

    Raises
    ------
    InvalidInput : shapes or labels that do not fit. NotConverged : Lanczos found no largest eigenvalue.

    Cost: the Hessian up to 128 parameters, above some tens of products with it.

    Examples
    --------
    >>> from theory.flow.networks import fully_connected
    >>> step_limit(fully_connected((1, 1), activation="linear"), ([[2.0], [1.0]], [1.0, 0.0]), "square", [0.0]).limit
    0.4
    """
    loss = as_loss(loss)
    X, y = _problem(network, data, loss)
    at = as_floats("theta", theta, ndim=1)
    if at.shape != (network.n_parameters,):
        raise InvalidInput(f"theta must have shape ({network.n_parameters},), but has {at.shape}.")
    beta, lam = as_real("momentum", momentum), as_real("weight_decay", weight_decay)
    if not (0 <= beta < 1 and lam >= 0):
        raise InvalidInput("momentum must be at least 0 and below 1, weight_decay at least 0.")
    return _limit(network, X, y, loss, at, beta, nesterov, lam, modes)


def _limit(
    network: Network, X: np.ndarray, y: np.ndarray, loss: Loss, theta: np.ndarray, momentum: float, nesterov: bool,
    weight_decay: float, modes: np.ndarray | None,
) -> StepLimit:  # fmt: skip
    """The same from checked arrays."""
    slopes = slopes_of(modes, network.activation) if modes is not None and modes.size else None
    f = network.forward(theta, X, slopes).outputs
    u = loss.log_inverse(f, y)
    largest = _largest(network, X, y, loss, theta, slopes, f)
    scaled = loss.exponential_tail
    if weight_decay:
        largest += weight_decay * (float(np.exp(u)) if scaled else 1.0)
    linear = isinstance(network, LayeredNetwork) and len(network.layers) == 1
    return StepLimit(
        curvature=largest, scaled=scaled, log_inverse_loss=u, exact=linear and loss.name == "square",
        factor=2 * (1 + momentum) / ((1 + 2 * momentum) if nesterov else 1),
    )  # fmt: skip


def _largest(
    network: Network, X: np.ndarray, y: np.ndarray, loss: Loss, theta: np.ndarray, slopes: np.ndarray | None,
    f: np.ndarray,
) -> float:  # fmt: skip
    """The largest eigenvalue of ``J^T D J - sum G Hess f``, over Loss where the loss has an exponential tail."""
    if loss.exponential_tail:
        G, D = loss.log_slope(f, y), loss.log_curvature(f, y)
    else:
        G, D = loss.slope(f, y), loss.curvature(f, y)
    P = network.n_parameters
    if P <= DENSE:
        J = network.jacobian(theta, X, slopes)
        DJ = np.einsum("nkl,nlp->nkp", D, J).reshape(-1, P)
        H = J.reshape(-1, P).T @ DJ - network.hessian(theta, X, G, slopes)
        return float(np.linalg.eigvalsh((H + H.T) / 2)[-1])

    def product(v: np.ndarray) -> np.ndarray:
        v = v.ravel()
        pushed = np.einsum("nkl,nl->nk", D, network.jvp(theta, X, v, slopes))
        return network.vjp(theta, X, pushed, slopes) - network.hvp(theta, X, G, v, slopes)

    start = np.random.default_rng(0).standard_normal(P)
    try:
        found = eigsh(
            LinearOperator((P, P), matvec=product, dtype=np.float64), k=1, which="LA", v0=start, tol=LANCZOS_RTOL,
            return_eigenvectors=False,
        )  # fmt: skip
    except ArpackNoConvergence:
        raise NotConverged("the Lanczos iteration found no largest eigenvalue of the Hessian.") from None
    return float(found[0])


def descent_limit(network: Network, data: tuple[ArrayLike, ArrayLike], loss: str | Loss, theta: ArrayLike) -> float:
    r"""Logarithm of a step that cannot raise an exponential-tailed loss of a deep linear network, wherever it leads.

    The largest eta = c / Loss with

    .. math:: c\,\bigl(a B_1^2 R^2 \rho_+^{2L-2} + b B_2 R \rho_+^{L-2}\bigr) \le 2, \qquad
        \rho_+ = \|\theta\| + c\,\|\nabla \mathrm{Loss}\| / \mathrm{Loss}, \quad R = \max_n \|x_n\|,

    B_1 = L^{1-L/2}, B_2 = (L-1) L^{1-L/2}, (a, b) = (1, 1), for cross-entropy (2, sqrt 2). Since rho^L grows like
    log(1/Loss), this is ``eta = O(1 / (Loss log(1/Loss)^(2-2/L)))``, the schedule for which lyu2020gradient proves
    that gradient descent behaves like the flow; the constants are *derived*:

    ``|d^k f| <= k-th derivative of prod ||W_l|| R``, a polynomial of degree L whose supremum on the unit sphere is
    ``L^(-L/2)``, so that its derivatives are bounded by L and L (L - 1) times that (Banach); ``l'' <= |l'| <= l``; and
    along the segment the loss stays below its first value up to the length c, by continuity.

    Raises
    ------
    InvalidInput : shapes or labels that do not fit.
    PreconditionError : a kink (the gradient jumps: no such bound), convolutions, biases, a loss without a tail.

    Examples
    --------
    >>> from theory.flow.networks import deep_linear
    >>> bool(descent_limit(deep_linear((1, 1)), ([[1.0]], [1.0]), "exponential", [5.0]) >= 5)  # 2 e^5 at least
    True
    """
    loss = as_loss(loss)
    X, y = _problem(network, data, loss)
    at = as_floats("theta", theta, ndim=1)
    dense = isinstance(network, LayeredNetwork) and all(
        isinstance(layer, Dense) and not layer.bias for layer in network.layers
    )
    if not dense or network.activation.has_kink or network.activation.power > 1 or not loss.exponential_tail:
        raise PreconditionError(
            "the descent limit is derived for deep linear networks without biases and losses with an exponential tail."
        )
    forward = network.forward(at, X)
    g, _ = network.gradient(forward, loss.log_slope(forward.outputs, y))
    L, R = network.degree, float(np.linalg.norm(X, axis=1).max())
    a, b = (2.0, np.sqrt(2.0)) if isinstance(loss, CrossEntropyLoss) else (1.0, 1.0)
    first = a * (L ** (1 - L / 2) * R) ** 2
    second = b * (L - 1) * L ** (1 - L / 2) * R
    rho, speed = float(np.linalg.norm(at)), float(np.linalg.norm(g))

    def excess(c: float) -> float:
        far = rho + c * speed
        return c * (first * far ** (2 * L - 2) + second * far ** max(L - 2, 0)) - 2

    top = 2 / first if L == 1 else 1.0
    while excess(top) < 0:
        top *= 2
    c = top if L == 1 else float(brentq(excess, 0.0, top, rtol=1e-12))
    return float(np.log(c) + loss.log_inverse(forward.outputs, y))
