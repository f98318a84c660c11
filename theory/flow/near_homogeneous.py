r"""Networks with biases everywhere: how far from homogeneous they are, and the margin that still only rises."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_real, short_repr
from theory._errors import InvalidInput, PreconditionError
from theory.flow._layered import LayeredNetwork
from theory.flow._layers import Dense
from theory.flow._point import evaluate
from theory.flow.losses import Loss
from theory.flow.networks import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class NearHomogeneity:
    """Polynomials in rho = ||theta|| that bound how far a network is from homogeneous of degree M.

    Attributes
    ----------
    degree : M, the number of layers.
    defect : coefficients c_0 .. c_{M-1} of p', the bound of ``|<h, theta> - M s|``.
    remainder : coefficients ``c_i / (M - i)`` of p_a, the bound of ``|s - s_H|`` with the homogeneous part s_H.
    """

    degree: int
    defect: np.ndarray
    remainder: np.ndarray

    __repr__ = short_repr

    def defect_bound(self, norm: float) -> float:
        """``p'(rho)``."""
        return _polynomial(self.defect, norm)

    def remainder_bound(self, norm: float) -> float:
        """``p_a(rho)``."""
        return _polynomial(self.remainder, norm)


def near_homogeneity(network: Network) -> NearHomogeneity:
    r"""The defect polynomials of a fully connected network with biases.

    .. math:: |\langle h, \theta\rangle - M s| \le p'(\rho) = \kappa \sum_{k=1}^{M-1} (M - k)\, k^{-k/2} \rho^k, \qquad
        |s - s_H| \le p_a(\rho) = \kappa \sum_{k=1}^{M-1} k^{-k/2} \rho^k

    for every input x, every h in Clarke's subdifferential, the outputs s = f (kappa = 1) or differences of two of
    several outputs (kappa = sqrt 2), and the homogeneous part s_H: the network without the biases beyond the first
    layer. *derived* (the notion: cai2025implicit): let d_j be the gradient of s at the pre-activations z_j = W_j
    a_{j-1} + b_j. For an activation with ``sigma(z) = m z``, ``<d_j, z_j> = <d_{j+1}, W_{j+1} a_j>``, so
    ``<grad_{W_j} s, W_j> = s - sum_{i >= j} <d_i, b_i>`` and, summed over all parameters, ``<h, theta> = M s -
    sum_{j >= 2} (j - 1) <d_j, b_j>`` exactly. Slopes are at most 1, so ``|<d_j, b_j>| <= kappa ||b_j|| prod_{i > j}
    ||W_i||_F``, a product of k = M - j + 1 norms whose squares add up to at most rho^2: at most ``(rho^2/k)^(k/2)``.
    Layer by layer the same products bound s - s_H. No bound of the inputs enters. Each coefficient is reached.

    Raises
    ------
    PreconditionError : layers that are not dense, or an activation that is not linear on each side of its kink.

    Examples
    --------
    >>> from theory.flow.networks import fully_connected
    >>> near = near_homogeneity(fully_connected((5, 4, 4, 1), bias=True))
    >>> near.degree, near.defect.tolist(), near.remainder.tolist()
    (3, [0.0, 2.0, 0.5], [0.0, 1.0, 0.5])
    """
    dense = isinstance(network, LayeredNetwork) and all(isinstance(layer, Dense) for layer in network.layers)
    if not isinstance(network, LayeredNetwork) or not dense or network.activation.power != 1:
        raise PreconditionError(
            "the defect of homogeneity is known for dense layers with linear, ReLU or leaky ReLU units only."
        )
    M = len(network.layers)
    k = np.arange(M, dtype=np.float64)
    biased = np.array([k_ > 0 and network.layers[M - int(k_)].bias for k_ in k])  # b_j with k = M - j + 1
    contrast = np.sqrt(2.0) if network.n_outputs > 1 else 1.0
    remainder = np.where(biased, contrast * np.maximum(k, 1) ** (-k / 2), 0.0)
    return NearHomogeneity(degree=M, defect=(M - k) * remainder, remainder=remainder)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModifiedMargin:
    """The modified margin of a network with biases, and its parts.

    Attributes
    ----------
    value : ``G = (v - p_a(rho)) / rho^M``.
    numerator : ``v - p_a(rho)``; smoothed : ``v = l^{-1}(Loss)``; remainder : ``p_a(rho)``.
    norm : rho; degree : M.
    """

    value: float
    numerator: float
    smoothed: float
    remainder: float
    norm: float
    degree: int

    @property
    def is_valid(self) -> bool:
        """Whether the numerator is positive, from where on G only rises."""
        return self.numerator > 0


def modified_margin(
    network: Network, X: ArrayLike, y: ArrayLike, loss: str | Loss, theta: ArrayLike, modes: ArrayLike | None = None
) -> ModifiedMargin:
    r"""The margin that never falls along the gradient flow of a network with biases.

    .. math:: G = \frac{\ell^{-1}(\mathrm{Loss}) - p_a(\rho)}{\rho^M}

    *derived* (for the exponential loss after cai2025implicit): write v for ``l^{-1}(Loss)`` and w_r for the weights
    of the constraints s_r. ``d rho/dt = sum_r w_r <h_r, theta> / rho >= sum_r w_r (M s_r - p')/rho >= |l'(v)| (M v -
    p')/rho``: with c = p'/M, the map ``l -> l'(l) (q(l) - c)`` of a sample's loss is a product of falling positive
    functions times l as long as q(l) > c, hence superadditive in the sense needed; for cross-entropy the effective
    margin obeys the same inequality by Gibbs. And ``dv/dt = ||theta'||^2/|l'(v)| >= (d rho/dt)^2/|l'(v)| >= (d
    rho/dt) (M v - p')/rho``. So ``rho^(M+1) dG/dt >= (d rho/dt) (M p_a - rho p_a' - p')``, which p_a makes zero; and
    v > p_a gives M v > p', so rho grows. Without biases beyond the first layer p_a = 0 and G is the smoothed margin.

    Parameters
    ----------
    network, X, y, loss, theta, modes : as for ``margins``; dense layers with linear, ReLU or leaky ReLU units.

    Raises
    ------
    InvalidInput : shapes that do not meet, NaN.
    PreconditionError : another kind of network, a loss without exponential tail, theta = 0.

    Examples
    --------
    >>> from theory.flow.networks import fully_connected
    >>> net = fully_connected((1, 1, 1), bias=True)
    >>> theta = net.pack(W1=[[2]], b1=[0], W2=[[2]], b2=[1])  # f(2) = 9, rho = 3
    >>> modified_margin(net, [[2]], [1], "exponential", theta).numerator
    6.0
    """
    near = near_homogeneity(network)
    point = evaluate(network, X, y, loss, theta, modes)
    if not point.rho > 0:
        raise PreconditionError("theta = 0 has no direction, so no margin.")
    v, remainder = point.loss.smoothed_margin(point.u), near.remainder_bound(point.rho)
    return ModifiedMargin(
        value=(v - remainder) / point.rho**near.degree,
        numerator=v - remainder,
        smoothed=v,
        remainder=remainder,
        norm=point.rho,
        degree=near.degree,
    )


def _polynomial(coefficients: np.ndarray, norm: float) -> float:
    """``sum_i c_i rho^i``."""
    rho = as_real("norm", norm)
    if rho < 0:
        raise InvalidInput(f"norm must be at least 0, but is {rho:g}.")
    return float(np.polynomial.polynomial.polyval(rho, coefficients))
