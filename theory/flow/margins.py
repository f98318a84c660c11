"""Margins along a flow: per sample, smoothed by the loss, over the norm of theta or over the norms of the layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats, short_repr
from theory._errors import InvalidInput, PreconditionError
from theory.flow._layered import LayeredNetwork
from theory.flow._point import evaluate
from theory.flow.losses import CrossEntropyLoss, Loss
from theory.flow.networks import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    r"""Margins of one point; the normalised ones are refused where the network is not homogeneous.

    Attributes
    ----------
    q : margin of each sample (N): ``y f``, or the label's output minus the largest other one.
    q_min : the least.
    log_inverse_loss : ``u = log(1/Loss)``, the loss summed over samples.
    smoothed : ``l^{-1}(Loss)``: u for the exponential loss, ``-log(expm1(Loss))`` for logistic and cross-entropy.
    smoothed_lower : lower bound of ``smoothed`` from q_min alone; ``q_min`` is the upper one.
    norm : rho, the norm of theta.
    degree : L, or ``None`` where the network is not homogeneous.
    layer_norms, layer_degrees : of the blocks in which the network is homogeneous separately.
    """

    q: np.ndarray
    q_min: float
    log_inverse_loss: float
    smoothed: float
    smoothed_lower: float
    norm: float
    degree: int | None
    layer_norms: np.ndarray
    layer_degrees: tuple[int, ...]

    __repr__ = short_repr

    def _over_norm(self, value: float) -> float:
        if self.degree is None:
            raise PreconditionError(
                "a normalised margin needs a homogeneous network, but this one has biases beyond the first layer."
            )
        return _scaled(value, np.array([self.norm]), (self.degree,))

    def _over_layers(self, value: float) -> float:
        self._over_norm(value)
        return _scaled(value, self.layer_norms, self.layer_degrees)

    @property
    def smoothed_margin_valid(self) -> bool:
        """Whether the loss is below the threshold from which the smoothed margin only rises: 1, or log 2."""
        return self.smoothed > 0

    @property
    def normalized_margin(self) -> float:
        """``gbar = q_min / rho^L``."""
        return self._over_norm(self.q_min)

    @property
    def smoothed_margin(self) -> float:
        """``gtil = l^{-1}(Loss) / rho^L``."""
        return self._over_norm(self.smoothed)

    @property
    def sandwich(self) -> tuple[float, float]:
        """Bounds of ``gtil`` from q_min alone: for the exponential loss ``gbar - log N / rho^L`` and ``gbar``."""
        return self._over_norm(self.smoothed_lower), self.normalized_margin

    @property
    def layer_normalized_margin(self) -> float:
        """``q_min / prod_i ||W_i||^k_i``: rescaling one layer leaves it alone."""
        return self._over_layers(self.q_min)

    @property
    def layer_smoothed_margin(self) -> float:
        """``l^{-1}(Loss) / prod_i ||W_i||^k_i``."""
        return self._over_layers(self.smoothed)


def margins(
    network: Network, X: ArrayLike, y: ArrayLike, loss: str | Loss, theta: ArrayLike, modes: ArrayLike | None = None
) -> Margins:
    r"""The margins of a network on data, and its smoothed margin.

    .. math:: \bar\gamma = \frac{q_{\min}}{\rho^L}, \qquad
        \tilde\gamma = \frac{\ell^{-1}(\mathrm{Loss})}{\rho^L}, \qquad
        \ell^{-1}(N \ell(q_{\min} - \log K')) \le \ell^{-1}(\mathrm{Loss}) \le q_{\min}

    with the loss summed over samples, l(q) = e^-q or log(1 + e^-q), and K' = K - 1 for cross-entropy, else 1. Once
    Loss is below l(0) (1, or log 2), gtil never decreases along the gradient flow (*proved*: lyu2020gradient for the
    binary losses; *derived* for cross-entropy, see ``CrossEntropyLoss``). The bounds are *derived*: the loss is at
    least the term of the least margin and at most N times it. With ``prod_i ||W_i||^k_i`` in place of rho^L the
    smoothed margin rises too (*proved*: lyu2020gradient; ``||theta'||^2 >= sum_i <w_i, theta'>^2/||w_i||^2`` block by
    block); layer i of L has degree ``k_i = k^(L-i)`` for an activation of power k
    (*derived*: it passes through the L - i activations above it), a bias of the first layer belongs to its block,
    and a network that is not made of layers is one block.

    Parameters
    ----------
    network, X, y, loss, theta : a network, inputs (N, d), labels (N), exponential, logistic or cross-entropy loss,
        parameters (P).
    modes : the flow's modes (N, units); without them the signs of the pre-activations decide.

    Raises
    ------
    InvalidInput : shapes that do not meet, NaN, labels outside the loss's set.
    PreconditionError : a loss without margins; theta = 0; for the normalised margins, biases beyond the first layer.

    Examples
    --------
    >>> from theory.flow.networks import fully_connected
    >>> found = margins(fully_connected((2, 1), activation="linear"), np.eye(2), [1, 1], "exponential", [3.0, 4.0])
    >>> found.q_min, found.normalized_margin, found.smoothed == -np.logaddexp(-3, -4)
    (3.0, 0.6, np.True_)
    """
    point = evaluate(network, X, y, loss, theta, modes)
    q = point.loss.margins(point.at.outputs, point.y)
    if not point.rho > 0:
        raise PreconditionError("theta = 0 is a stationary point with zero margins: it has no direction.")
    q_min, K = float(q.min()), point.at.outputs.shape[1]
    wrong = K - 1 if isinstance(point.loss, CrossEntropyLoss) else 1
    alone = _log_inverse(point.loss, q_min - np.log(wrong))
    norms = np.array([point.rho])
    degrees: tuple[int, ...] = (network.degree,)
    if isinstance(network, LayeredNetwork):
        norms = np.array([np.linalg.norm(w) for w in network.split(point.theta)])
        degrees = tuple(network.activation.power**i for i in reversed(range(len(norms))))
    return Margins(
        q=q,
        q_min=q_min,
        log_inverse_loss=point.u,
        smoothed=point.loss.smoothed_margin(point.u),
        smoothed_lower=point.loss.smoothed_margin(alone - np.log(len(q))),
        norm=point.rho,
        degree=network.degree if network.homogeneous else None,
        layer_norms=norms,
        layer_degrees=degrees,
    )


def _log_inverse(loss: Loss, q: float) -> float:
    """``log(1/l(q))`` of one sample with the margin q against one other output."""
    if isinstance(loss, CrossEntropyLoss):
        return loss.log_inverse(np.array([[q, 0.0]]), np.array([0]))
    return loss.log_inverse(np.array([[q]]), np.array([1.0]))


def _scaled(value: float, norms: np.ndarray, degrees: tuple[int, ...]) -> float:
    """``value / prod_i norms_i^degrees_i``, one factor at a time, so that only the result can leave the range."""
    for norm, degree in zip(norms, degrees, strict=True):
        for _ in range(degree):
            value = value / float(norm) if norm > 0 else np.inf * np.sign(value)
    if not np.isfinite(value):
        raise InvalidInput("the norms of the layers are too small for a normalised margin in float64.")
    return value


def monotonicity_violation(values: ArrayLike) -> float:
    """Largest relative fall below an earlier value: ``max_{i<j} (v_i - v_j)/|v_i|``; 0 where it never falls.

    Parameters
    ----------
    values : a sequence (T), such as smoothed margins along a flow, positive once they are valid.

    Raises
    ------
    InvalidInput : empty, not one-dimensional, NaN.

    Examples
    --------
    >>> monotonicity_violation([1.0, 2.0, 1.5, 3.0])
    0.25
    """
    v = as_floats("values", values, ndim=1)
    if not v.size:
        raise InvalidInput("values must not be empty.")
    highest = np.maximum.accumulate(v)
    fall = highest - v
    return float(np.divide(fall, np.abs(highest), out=np.where(fall > 0, np.inf, 0.0), where=highest != 0).max())
