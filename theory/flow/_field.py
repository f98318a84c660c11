"""The piecewise-smooth field of a gradient flow: gradients, Jacobians and Clarke weights on one smooth piece."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lu_factor, lu_solve

from theory.flow._layers import Dense
from theory.flow._surface import CurvedSurface, FirstLayerSurface, Surface, _projection, make_surface
from theory.flow.conservation import conservation_drift
from theory.flow.losses import Loss
from theory.flow.networks import Forward, LayeredNetwork, Network


@dataclass(frozen=True, slots=True)
class Weights:
    """Per sliding pair: the coefficient b, its bound ``(1 - gamma) signal``, the Clarke weight in [gamma, 1]."""

    b: np.ndarray
    bound: np.ndarray
    clarke: np.ndarray


Solver = Callable[[np.ndarray], np.ndarray]


class Field:
    """``-grad Loss`` and ``grad u``, u = log(1/Loss), for a network on data; counts its evaluations.

    ``weight_decay`` adds ``(weight_decay / 2) ||theta||^2`` to the loss; only the field in t knows it.
    """

    def __init__(
        self, network: Network, X: np.ndarray, y: np.ndarray, loss: Loss, *, weight_decay: float = 0.0
    ) -> None:
        self.network, self.X, self.y, self.loss = network, X, y, loss
        self.weight_decay = weight_decay
        self.evaluations = self.jacobians = 0
        self._cache: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
        self._blocks = _block_index(network)

    @property
    def layered(self) -> LayeredNetwork:
        """The network, where it has units that switch."""
        assert isinstance(self.network, LayeredNetwork)
        return self.network

    def surface(self, modes: np.ndarray) -> Surface:
        """The sliding surface of these modes."""
        return make_surface(self.network, self.X, modes, self._cache)

    def forward(self, theta: np.ndarray, surface: Surface) -> Forward:
        """The network at theta with the slopes of the surface's modes."""
        return self.network.forward(theta, self.X, surface.slopes)

    def log_inverse(self, theta: np.ndarray, surface: Surface) -> float:
        """U = log(1/Loss), the penalty of weight decay included."""
        u = self.loss.log_inverse(self.forward(theta, surface).outputs, self.y)
        return u if self.weight_decay == 0 else penalised(u, self.weight_decay / 2 * float(theta @ theta))

    def raw(self, theta: np.ndarray, surface: Surface, *, log: bool) -> tuple[np.ndarray, np.ndarray]:
        """``grad u`` (``log``) or ``-grad Loss`` before projection, and the signals at the units (N, units)."""
        return self.raw_from(self.forward(theta, surface), theta, log=log)

    def raw_from(self, at: Forward, theta: np.ndarray, *, log: bool) -> tuple[np.ndarray, np.ndarray]:
        """The same from an evaluation of the network at theta."""
        self.evaluations += 1
        G = self.loss.log_slope(at.outputs, self.y) if log else self.loss.slope(at.outputs, self.y)
        g, signals = self.network.gradient(at, G)
        return (g if self.weight_decay == 0 else g - self.weight_decay * theta), signals

    def drift(self, theta0: np.ndarray, theta: np.ndarray, elapsed: float) -> float:
        """Change of what the flow conserves, an error: with weight decay every law shrinks like ``e^(-2 decay t)``."""
        return conservation_drift(self.network, np.exp(-self.weight_decay * elapsed) * theta0, theta)

    def velocity(self, theta: np.ndarray, surface: Surface, *, log: bool) -> np.ndarray:
        """The field in the loss-normalised clock (``log``) or in t; tangential where the flow slides."""
        g, _ = self.raw(theta, surface, log=log)
        return surface.project(theta, g) if len(surface) else g

    def weights(self, theta: np.ndarray, surface: Surface, g: np.ndarray, signals: np.ndarray, *, log: bool) -> Weights:
        """What holds the flow on its kinks, from the top layer down (see ``_surface``)."""
        gamma, n, u = self.network.activation.slope, surface.samples, surface.units
        b = surface.coefficients(theta, g)
        layers = np.searchsorted(self.network.starts, u, side="right") - 1
        slopes = surface.slopes.copy()
        bound = (1 - gamma) * signals[n, u]
        for layer in sorted(set(layers.tolist()), reverse=True)[1:] if len(b) else ():
            above = layers > layer
            slopes[n[above], u[above]] = np.clip(_ratio(b[above], bound[above], gamma), gamma, 1)
            at = self.forward(theta, surface)
            G = self.loss.log_slope(at.outputs, self.y) if log else self.loss.slope(at.outputs, self.y)
            soft = Forward(at.outputs, at.preactivations, slopes, at.inputs, at.weights)
            signals = self.network.gradient(soft, G)[1]
            bound = np.where(layers == layer, (1 - gamma) * signals[n, u], bound)
        return Weights(b, bound, _ratio(b, bound, gamma))

    def linearise(self, theta: np.ndarray, surface: Surface, *, dense: bool = False) -> Linearisation:
        """The derivative of the projected ``grad u`` at theta, ready for shifted solves."""
        self.jacobians += 1
        network, X = self.network, self.X
        at = self.forward(theta, surface)
        G, D = self.loss.log_slope(at.outputs, self.y), self.loss.log_curvature(at.outputs, self.y)
        g, _ = network.gradient(at, G)
        J = network.jacobian(theta, X, surface.slopes)
        N, K, P = J.shape
        tangent = surface.project(theta, g) if len(surface) else g
        if not dense and self._blocks is not None and not isinstance(surface, CurvedSurface) and (N * K + 2) * 2 < P:
            blocks = _two_layer_blocks(network, at, G, self._blocks)
            if isinstance(surface, FirstLayerSurface):
                J = surface.project(theta, J.reshape(N * K, P)).reshape(N, K, P)
                blocks = _project_blocks(blocks, surface)
            return Linearisation(tangent, J.reshape(N * K, P), D, blocks, self._blocks, None)
        flat = J.reshape(N * K, P)
        DJ = np.einsum("nkl,nlp->nkp", D, J).reshape(N * K, P)
        A = network.hessian(theta, X, G, surface.slopes) - flat.T @ DJ + np.outer(g, g)
        if isinstance(surface, CurvedSurface):
            A = _curved_jacobian(theta, surface, A, tangent, surface.coefficients(theta, g))
        elif len(surface):
            A = surface.project(theta, surface.project(theta, A).T).T
        return Linearisation(tangent, None, None, None, None, A)


def penalised(u: float, penalty: float) -> float:
    """``log(1/(Loss + penalty))`` from ``u = log(1/Loss)``."""
    with np.errstate(divide="ignore"):
        return -float(np.logaddexp(-u, np.log(penalty)))


def _ratio(b: np.ndarray, bound: np.ndarray, gamma: float) -> np.ndarray:
    """The Clarke weight ``gamma + (1 - gamma) b / bound``; gamma where nothing arrives at the unit."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        share = np.where(bound != 0, b / np.where(bound != 0, bound, 1.0), 0.0)
    return gamma + (1 - gamma) * share


def _curved_jacobian(
    theta: np.ndarray, surface: CurvedSurface, A: np.ndarray, v: np.ndarray, b: np.ndarray
) -> np.ndarray:
    """``dv = P (A + sum_s b_s Hess z_s) - pinv(Z) [v^T Hess z_s]``: the surface turns with theta (*derived*)."""
    basis, solve = _projection(surface.normals(theta))
    bend, turn = surface.normals.curvature(theta, b, v)
    total = A + bend
    return total - basis.T @ (basis @ total) - solve.T @ turn


@dataclass(frozen=True, slots=True)
class Linearisation:
    """``A = T - J^T D J + g g^T``, the derivative of ``g = grad u``; dense, or blocks T and thin J."""

    g: np.ndarray
    J: np.ndarray | None
    D: np.ndarray | None
    blocks: np.ndarray | None
    index: np.ndarray | None
    dense: np.ndarray | None

    def _pull(self, x: np.ndarray) -> np.ndarray:
        """``J^T D x`` for x (N K)."""
        assert self.J is not None and self.D is not None
        N, K, _ = self.D.shape
        return np.einsum("nkl,nl->nk", self.D, x.reshape(N, K)).reshape(-1) @ self.J

    def _smooth(self, v: np.ndarray) -> np.ndarray:
        """``(T - J^T D J) v``."""
        assert self.J is not None and self.blocks is not None and self.index is not None
        out = np.empty_like(v)
        out[self.index] = (self.blocks @ v[self.index][..., None])[..., 0]
        return out - self._pull(self.J @ v)

    def turned(self) -> np.ndarray:
        """``(I - 2 e e^T) A`` (P, P), where A is dense."""
        assert self.dense is not None
        e = self.g / np.linalg.norm(self.g)
        return self.dense - 2 * np.outer(e, e @ self.dense)

    def factor(self, alpha: complex, kappa: float) -> Solver:
        """The solver of ``alpha x - kappa (I - 2 e e^T) A x = r``, ``e = g / ||g||``."""
        e = self.g / np.linalg.norm(self.g)
        if self.dense is not None:
            W = (-kappa * self.turned()).astype(type(alpha))
            W[np.diag_indices_from(W)] += alpha
            factors = lu_factor(W, check_finite=False)
            return lambda r: lu_solve(factors, r, check_finite=False)
        return self._woodbury(alpha, kappa, e)

    def _woodbury(self, alpha: complex, kappa: float, e: np.ndarray) -> Solver:
        """Blocks plus a matrix of rank N K + 2: cost P (N K)^2 instead of P^3."""
        assert self.J is not None and self.D is not None and self.blocks is not None and self.index is not None
        N, K, _ = self.D.shape
        DJ = np.einsum("nkl,nlp->nkp", self.D, self.J.reshape(N, K, -1)).reshape(N * K, -1)
        U = np.vstack([kappa * DJ, kappa * self.g[None], 2 * kappa * e[None]])
        V = np.vstack([self.J, self.g[None], self._smooth(e)[None]])
        index, inverse = self.index, np.linalg.inv(alpha * np.eye(self.blocks.shape[-1]) - kappa * self.blocks)

        def base(r: np.ndarray) -> np.ndarray:
            rows = np.atleast_2d(r)
            solved = inverse @ np.ascontiguousarray(rows[:, index].transpose(1, 2, 0))  # one product per unit
            out = np.empty(rows.shape, dtype=solved.dtype)
            out[:, index] = solved.transpose(2, 0, 1)
            return out.reshape(r.shape)

        BU = base(U)
        small = lu_factor(np.eye(len(U)) + V @ BU.T, check_finite=False)

        def solve(r: np.ndarray) -> np.ndarray:
            x = base(r)
            return x - lu_solve(small, V @ x, check_finite=False) @ BU

        return solve


def _block_index(network: Network) -> np.ndarray | None:
    """Positions in theta (m, d' + K) of the weights into and out of each unit of two layers without output bias."""
    layers = network.layers if isinstance(network, LayeredNetwork) else ()
    if len(layers) != 2:
        return None
    first, second = layers
    if not isinstance(first, Dense) or not isinstance(second, Dense) or second.bias:
        return None
    m, d, K = first.n_out, first.n_in, second.n_out
    rows = np.arange(m * d).reshape(m, d)
    if first.bias:
        rows = np.hstack([rows, m * d + np.arange(m)[:, None]])
    out = first.n_weights + np.arange(K * m).reshape(K, m).T
    return np.hstack([rows, out])


def _two_layer_blocks(network: Network, at: Forward, G: np.ndarray, index: np.ndarray) -> np.ndarray:
    """``sum G Hess f`` of a two-layer network: one block (d' + K) per unit, which couples only its own weights."""
    sigma, z, m = network.activation, at.preactivations, at.slopes
    X = at.inputs[0]
    if index.shape[1] > X.shape[1] + G.shape[1]:  # a bias in the first layer
        X = np.hstack([X, np.ones((len(X), 1))])
    d, K = X.shape[1], G.shape[1]
    out = np.zeros((len(index), d + K, d + K))
    cross = np.einsum("nk,nj,nd->jdk", G, sigma.derivative(z, m), X, optimize=True)
    out[:, :d, d:], out[:, d:, :d] = cross, cross.swapaxes(1, 2)
    if sigma.power > 1:
        A = at.weights[1].reshape(K, -1)
        out[:, :d, :d] = np.einsum("nj,nd,ne->jde", (G @ A) * sigma.second(z, m), X, X, optimize=True)
    return out


def _project_blocks(blocks: np.ndarray, surface: FirstLayerSurface) -> np.ndarray:
    """``P T P`` for the units that slide."""
    d = surface.index.shape[1]
    blocks = blocks.copy()
    for k, unit in enumerate(surface.sliding_units):
        tangent = np.eye(blocks.shape[-1])
        tangent[:d, :d] -= surface.projectors[k]
        blocks[unit] = tangent @ blocks[unit] @ tangent
    return blocks
