"""How a flow aligns: theta with its velocity, each layer with its top singular pair, each layer with the next."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats, as_positive, short_repr
from theory._errors import InvalidInput, PreconditionError
from theory.flow._layered import LayeredNetwork
from theory.flow._layers import Dense
from theory.flow._point import evaluate, field_of, perpendicular
from theory.flow.losses import Loss
from theory.flow.networks import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    r"""Alignment at one point; layers from the input up, matrices (outputs, inputs), kernels (channels, rest).

    Attributes
    ----------
    beta, one_minus_beta : cosine of theta and its velocity, and 1 minus it without cancellation.
    layer_norms : Frobenius norms of the blocks of theta (blocks), biases included.
    singular_values : of each weight matrix, descending.
    stable_ranks : ``||W||_F^2 / ||W||_2^2``; numerical_ranks : singular values above ``rank_tol`` times the largest.
    excess : ``||W||_F^2 - ||W||_2^2``, zero for rank one.
    excess_bound : its bound from the initial parameters, or ``None`` where none were given.
    consecutive : ``|<v_{l+1}, u_l>|`` for the top right singular vector of a layer and the top left one below
        (layers - 1); NaN where they live in different spaces (kernels).
    product : ``W_L ... W_1`` (K, d) over its Frobenius norm for a deep linear network without biases, else ``None``.
    product_gap : 1 minus its cosine with the given direction, without cancellation, or ``None``.
    """

    beta: float
    one_minus_beta: float
    layer_norms: np.ndarray
    singular_values: tuple[np.ndarray, ...]
    stable_ranks: np.ndarray
    numerical_ranks: np.ndarray
    excess: np.ndarray
    excess_bound: np.ndarray | None
    consecutive: np.ndarray
    product: np.ndarray | None
    product_gap: float | None

    __repr__ = short_repr


def alignment(
    network: Network,
    X: ArrayLike,
    y: ArrayLike,
    loss: str | Loss,
    theta: ArrayLike,
    modes: ArrayLike | None = None,
    *,
    g: ArrayLike | None = None,
    theta0: ArrayLike | None = None,
    direction: ArrayLike | None = None,
    rank_tol: float = 1e-10,
) -> Alignment:
    r"""Measure every alignment of a point of the flow.

    .. math:: \|W_k\|_F^2 - \|W_k\|_2^2 \le D_k + \bigl(\|W_L\|_F^2 - \|W_L\|_2^2\bigr), \qquad
        D_k = \|W_k(0)\|_F^2 - \|W_L(0)\|_F^2 + \sum_{j=k}^{L-1} \lambda_{\max}(B_j), \quad
        B_j = W_{j+1}(0)^T W_{j+1}(0) - W_j(0) W_j(0)^T

    *derived*, for the gradient flow of a deep linear network under any differentiable loss (the statement, with
    norms of all B_j and the largest first layer, is *proved* in ji2019gradient): B_j is conserved. Its trace gives
    ``||W_k||_F^2 = ||W_L||_F^2 + ||W_k(0)||_F^2 - ||W_L(0)||_F^2``, and Weyl's inequality for ``W_j W_j^T =
    W_{j+1}^T W_{j+1} - B_j`` gives ``||W_j||_2^2 >= ||W_{j+1}||_2^2 - lambda_max(B_j)``. With one output the last
    excess is zero and the bound is a constant, so all layers become rank one as they grow. That ``beta -> 1`` and
    that the direction converges is *proved* in ji2020directional.

    Parameters
    ----------
    network, X, y, loss, theta, modes : a network, inputs (N, d), labels, any loss, parameters (P), modes (N, units).
    g : velocity (P) at any positive scale; ``None`` computes it.
    theta0 : initial parameters (P) of the flow, for the bound; deep linear networks without biases only.
    direction : of the predictor, (d) or (K, d), to compare the product of a deep linear network with.
    rank_tol : relative tolerance of the numerical ranks.

    Raises
    ------
    InvalidInput : shapes that do not meet, NaN, a zero direction.
    PreconditionError : theta = 0 or a velocity of zero; ``theta0`` or ``direction`` with a network that is not deep
        linear.

    Examples
    --------
    >>> from theory.flow.networks import fully_connected
    >>> net = fully_connected((2, 2, 1), activation="linear")
    >>> theta = net.pack(W1=[[2, 0], [0, 0]], W2=[[2, 0]])
    >>> found = alignment(net, [[1, 0]], [1], "exponential", theta, theta0=theta, direction=[3, 0])
    >>> found.beta, found.excess.tolist(), found.excess_bound.tolist(), found.consecutive.tolist(), found.product_gap
    (1.0, [0.0, 0.0], [0.0, 0.0], [1.0], 0.0)
    """
    point = evaluate(network, X, y, loss, theta, modes)
    tol = as_positive("rank_tol", rank_tol)
    velocity = field_of(point, g).g
    if not (point.rho > 0 and np.linalg.norm(velocity) > 0):
        raise PreconditionError("theta and its velocity must not vanish: they have no direction.")
    gap = perpendicular(point.theta, velocity)[0]
    layers, matrices = _blocks(network, point.theta)
    svds = [np.linalg.svd(W, full_matrices=False) for W in matrices]
    tops = np.array([s[0] for _, s, _ in svds])
    excess = np.array([np.sum(s[1:] ** 2) for _, s, _ in svds])
    consecutive = [
        abs(float(above[2][0] @ below[0][:, 0])) if len(above[2][0]) == len(below[0]) else np.nan
        for below, above in pairwise(svds)
    ]
    linear = _is_deep_linear(network)
    if not linear and (theta0 is not None or direction is not None):
        raise PreconditionError(
            "theta0 and direction belong to deep linear networks: dense layers, no bias, no activation."
        )
    product = _product(matrices) if linear else None
    return Alignment(
        beta=1 - gap,
        one_minus_beta=gap,
        layer_norms=np.array([np.linalg.norm(w) for w in layers]),
        singular_values=tuple(s for _, s, _ in svds),
        stable_ranks=1 + np.divide(excess, tops**2, out=np.zeros_like(excess), where=tops > 0),
        numerical_ranks=np.array([int((s > tol * s[0]).sum()) for _, s, _ in svds], dtype=np.int64),
        excess=excess,
        excess_bound=None if theta0 is None else _excess_bound(network, theta0) + excess[-1],
        consecutive=np.array(consecutive),
        product=product,
        product_gap=None if direction is None or product is None else _gap(product, direction),
    )


def _blocks(network: Network, theta: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The blocks of theta, and the weight matrices in it; kernels as (channels, rest)."""
    views = network.views(theta)
    if not isinstance(network, LayeredNetwork):
        return list(views.values()), []
    return network.split(theta), [W.reshape(len(W), -1) for name, W in views.items() if name.startswith("W")]


def _is_deep_linear(network: Network) -> bool:
    if not isinstance(network, LayeredNetwork):
        return False
    identity = network.activation.power == 1 and not network.activation.has_kink
    return (identity or not network.n_units) and all(isinstance(a, Dense) and not a.bias for a in network.layers)


def _product(matrices: list[np.ndarray]) -> np.ndarray:
    """``W_L ... W_1`` over its norm, with normalised factors on the way."""
    product = np.eye(matrices[0].shape[1])
    for W in matrices:
        product = W @ product
        product = product / (np.linalg.norm(product) or 1.0)
    return product


def _gap(product: np.ndarray, direction: ArrayLike) -> float:
    """1 minus the cosine of the product and a direction."""
    target = np.atleast_2d(as_floats("direction", direction))
    if target.shape != product.shape:
        raise InvalidInput(f"direction must have shape {product.shape} of the predictor, but has {target.shape}.")
    if not (np.linalg.norm(target) > 0 and np.linalg.norm(product) > 0):
        raise InvalidInput("direction and the product of the layers must not be zero.")
    return perpendicular(target.ravel(), product.ravel())[0]


def _excess_bound(network: Network, theta0: ArrayLike) -> np.ndarray:
    """D_k (L) of the initial layers."""
    start = as_floats("theta0", theta0, ndim=1)
    if start.shape != (network.n_parameters,):
        raise InvalidInput(f"theta0 must have {network.n_parameters} entries, but has {len(start)}.")
    W = _blocks(network, start)[1]
    squares = np.array([np.sum(w**2) for w in W])
    tops = [np.linalg.eigvalsh(above.T @ above - below @ below.T)[-1] for below, above in pairwise(W)]
    return squares - squares[-1] + np.append(np.cumsum(tops[::-1])[::-1], 0.0)
