"""How fast loss and norm move along a flow, against their sharp constants, and what makes the smoothed margin rise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import xlogy

from theory._arrays import as_count, as_floats, as_positive, short_repr
from theory._errors import InvalidInput, PreconditionError
from theory.flow._point import evaluate, field_of, perpendicular, require_margin
from theory.flow.losses import Loss
from theory.flow.networks import Network

TAIL = 30.0  # log(1/Loss) from which logistic and cross-entropy weights are softmin weights to 1e-13


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthConstants:
    """Measured constants along a flow (T); both tend to 1.

    Attributes
    ----------
    loss : ``t Loss (log t)^(2 - 2/L) L^2 g^(2/L)``.
    norm : ``rho g^(1/L) / (log t)^(1/L)``.
    """

    loss: np.ndarray
    norm: np.ndarray

    __repr__ = short_repr


def growth_constants(
    log_t: ArrayLike, log_inverse_loss: ArrayLike, norm: ArrayLike, *, margin: float, degree: int
) -> GrowthConstants:
    r"""The loss and the norm over their growth laws; 1 in the limit.

    .. math:: t\,\mathrm{Loss}\,(\log t)^{2-2/L} \to \frac{1}{L^2 g^{2/L}}, \qquad
        \frac{\rho}{(\log t)^{1/L}} \to g^{-1/L}

    *derived* (rates *proved*: lyu2020gradient): once the direction has converged to one of margin g, theta' is
    parallel to theta and Euler gives ``||theta'|| = L q Loss/rho`` with q = g rho^L = u + O(1), so ``du/dt =
    ||theta'||^2/Loss = e^-u L^2 q^2/rho^2``, that is ``e^u du = L^2 g^(2/L) u^(2-2/L) (1 + O(1/u)) dt``. Hence ``t
    L^2 g^(2/L) u^(2-2/L) = e^u (1 + O(1/u))`` and u = log t + O(log log t): the first constant nears 1 like log log
    t/log t. The same for logistic and cross-entropy, whose tails are exponential. A flow whose direction still turns
    shows that too: a measure, then.

    Parameters
    ----------
    log_t, log_inverse_loss, norm : natural logarithm of the time, ``u = log(1/Loss)`` and rho = ||theta|| (T) along
        a flow.
    margin : g, the normalised margin ``q_min/rho^L`` of the limit.
    degree : L.

    Raises
    ------
    InvalidInput : arrays of different lengths, times up to 1 (log t must be positive), a norm or a margin that is
        not positive.

    Examples
    --------
    >>> found = growth_constants([100.0], [100.0], [20.0], margin=0.25, degree=2)
    >>> bool(np.isclose(found.loss[0], 100)), bool(np.isclose(found.norm[0], 1))
    (True, True)
    """
    T, u, rho = (as_floats(name, a, ndim=1) for name, a in (("log_t", log_t), ("u", log_inverse_loss), ("norm", norm)))
    if not len(T) == len(u) == len(rho):
        raise InvalidInput(f"log_t, u and norm must have one length, but have {len(T)}, {len(u)} and {len(rho)}.")
    if (T <= 0).any() or (rho <= 0).any():
        raise InvalidInput("log_t and the norm must be positive: the laws are for t > 1.")
    g, L = as_positive("margin", margin), as_count("degree", degree)
    loss = np.exp(T - u + (2 - 2 / L) * np.log(T)) * L**2 * g ** (2 / L)
    return GrowthConstants(loss=loss, norm=rho * (g / T) ** (1 / L))


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginEvolution:
    """``d log gtil / d log rho`` along the flow at one point, as a sum of two terms that are not negative.

    Attributes
    ----------
    weights_term : from the spread of the margins: zero where one sample carries all the weight.
    direction_term : ``L tan^2(angle(theta, theta')) = L ||d(theta/rho)/d log rho||^2``, from the turning.
    rate : their sum.
    """

    weights_term: float
    direction_term: float

    @property
    def rate(self) -> float:
        """``d log gtil / d log rho``."""
        return self.weights_term + self.direction_term


def evolution_identities(
    network: Network,
    X: ArrayLike,
    y: ArrayLike,
    loss: str | Loss,
    theta: ArrayLike,
    modes: ArrayLike | None = None,
    *,
    g: ArrayLike | None = None,
) -> MarginEvolution:
    r"""Why the smoothed margin rises: the two parts of its logarithmic growth against the norm.

    .. math:: \frac{d \log\tilde\gamma}{d \log\rho} =
        \frac{L}{\beta^2}\left(\frac{\sum_r w_r s_r}{v\,|\ell'(v)|} - 1\right) + L\left(\beta^{-2} - 1\right)

    with ``v = l^{-1}(Loss)``, the weights ``w_r = -dLoss/ds_r`` of the constraints s_r, and beta = cos(theta,
    theta'). *derived* (the inequality that follows, ``>= L ||d(theta/rho)/d log rho||^2``, *proved*:
    lyu2020gradient): ``dv/dt = ||theta'||^2/|l'(v)|``, ``d log rho/dt = L sum w s/rho^2`` by Euler, and ``beta = L
    sum w s/(rho ||theta'||)``. For the exponential loss the bracket is ``H(p)/u`` with the entropy H of the softmin
    weights p, and is computed as such; for all three losses it is not negative once v > 0, because l'(q) q is
    superadditive in l below the threshold.

    Parameters
    ----------
    network, X, y, loss, theta, modes, g : as for ``flow_kkt``.

    Raises
    ------
    InvalidInput : shapes that do not meet, NaN.
    PreconditionError : not homogeneous, no exponential tail, a sample not classified, Loss above its threshold.

    Examples
    --------
    >>> from theory.flow.networks import fully_connected
    >>> net = fully_connected((2, 1), activation="linear")
    >>> at = evolution_identities(net, np.eye(2), [1, 1], "exponential", [5.0, 5.0])
    >>> bool(np.isclose(at.weights_term, np.log(2) / (5 - np.log(2)))), at.direction_term < 1e-30
    (True, True)
    """
    point = evaluate(network, X, y, loss, theta, modes)
    _, L = require_margin(point, "The evolution of the smoothed margin")
    v = point.loss.smoothed_margin(point.u)
    if v <= 0:
        raise PreconditionError(
            f"the smoothed margin rises only below the threshold of the loss, but log(1/Loss) is {point.u:.3g}."
        )
    tangent = perpendicular(point.theta, field_of(point, g).g)[1]
    w, s = point.weights(), point.constraints()[2]
    if point.loss.name == "exponential" or point.u > TAIL:
        spread = _entropy(w) / v
    else:
        total = np.exp(-point.u)
        steepness = -np.expm1(-total) / total  # |l'(v)| / Loss
        spread = float(w @ s) / (v * steepness) - 1
    return MarginEvolution(weights_term=L * (1 + tangent**2) * spread, direction_term=L * tangent**2)


def _entropy(w: np.ndarray) -> float:
    """``-sum p log p`` of the shares of w; the largest from the others, so that one near 1 keeps its digits."""
    p = w / w.sum()  # the sum is 1, up to the rounding of u
    others = np.delete(p, p.argmax())
    rest = float(others.sum())
    return -float(xlogy(others, others).sum()) - float((1 - rest) * np.log1p(-rest))
