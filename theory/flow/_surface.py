r"""Where a flow slides: the tangent projection, and the Clarke weights that hold it on the kinks.

Let S be the sliding (unit, sample) pairs, ``Z`` the gradients of their pre-activations taken with slope ``gamma`` at
every
sliding unit, and ``g`` the gradient with the same slopes. With Clarke weights ``m_s`` in [gamma, 1] the field is
``g + sum_s b_s Z_s``, ``b_s = (m_s - gamma) * signal_s(m)``, and it must keep ``z_S = 0``: ``Z (g + Z^T b) = 0``. So

- the sliding field is the orthogonal projection of g on the tangent space, whatever the layers of S (*derived*: a
unit above
  another sliding unit sees it through ``z = 0``, whose derivative along the field vanishes for every weight); and
- ``m_s`` follows from ``b_s`` from the top layer down, because ``signal_s`` depends on the weights of higher layers
only. The
  multilinear system of several sliding layers is therefore triangular: no Newton iteration is needed.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, cast

import numpy as np

from theory.flow._layers import Dense
from theory.flow._modes import SLIDING, slopes_of

if TYPE_CHECKING:
    from theory.flow.networks import LayeredNetwork, Network

WELL_CONDITIONED = 1e-4  # ratio of the pivots of a Gram matrix
RANK_RTOL = 1e-10  # singular values below this share of the largest count as zero


class UnitGradients:
    """Gradients of the pre-activations of chosen (sample, unit) pairs; what theta does not touch is laid out once."""

    def __init__(
        self, network: LayeredNetwork, X: np.ndarray, slopes: np.ndarray, samples: np.ndarray, units: np.ndarray
    ) -> None:
        self.network, self.shape = network, (len(samples), network.n_parameters)
        self.layers = np.searchsorted(network.starts, units, side="right") - 1
        self._parts = []
        for layer in np.unique(self.layers):
            rows = np.flatnonzero(self.layers == layer)
            below = network.truncated(int(layer))
            distinct, which = np.unique(samples[rows], return_inverse=True)
            G = np.zeros((len(rows), len(distinct), below.n_outputs))
            G[np.arange(len(rows)), which, units[rows] - network.starts[layer]] = 1.0
            self._parts.append((rows, below, X[distinct], slopes[distinct][:, : network.starts[layer]], G))

    def __call__(self, theta: np.ndarray) -> np.ndarray:
        """Z (pairs, P) at theta (P)."""
        Z = np.zeros(self.shape)
        for rows, below, X, slopes, G in self._parts:
            at = below.forward(theta[: below.n_parameters], X, slopes)
            Z[rows, : below.n_parameters] = below.pull(at, G)
        return Z

    def curvature(self, theta: np.ndarray, b: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``sum_s b_s Hess z_s`` (P, P), and the rows ``v^T Hess z_s`` (pairs, P)."""
        P = self.shape[1]
        total, turn = np.zeros((P, P)), np.zeros(self.shape)
        for rows, below, X, slopes, G in self._parts:
            cut = below.n_parameters
            if len(below.layers) > 1:  # the first layer is linear in theta
                total[:cut, :cut] += below.hessian(theta[:cut], X, np.tensordot(b[rows], G, 1), slopes)
                for row, one in zip(rows, G, strict=True):
                    turn[row, :cut] = below.hvp(theta[:cut], X, one, v[:cut], slopes)
        return total, turn


def unit_gradients(
    network: LayeredNetwork,
    theta: np.ndarray,
    X: np.ndarray,
    slopes: np.ndarray,
    samples: np.ndarray,
    units: np.ndarray,
) -> np.ndarray:
    """Gradients (S, P) of the pre-activations of the pairs (samples, units), one row each."""
    return UnitGradients(network, X, slopes, samples, units)(theta)


def _projection(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal rows spanning those of A (S, d), and the matrix (S, d) that gives the coefficients ``pinv(A^T)``."""
    if not np.isfinite(A).all():  # a trial step that went too far, to be refused by its error
        return np.full_like(A, np.nan), np.full_like(A, np.nan)
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    rank = int((s > RANK_RTOL * s[0]).sum()) if s.size and s[0] > 0 else 0
    return Vt[:rank], (U[:, :rank] / s[:rank]) @ Vt[:rank]


class Surface:
    """The modes of a flow as data, with the projection that they imply. Immutable; one per smooth piece."""

    def __init__(self, network: Network, X: np.ndarray, modes: np.ndarray) -> None:
        self.network, self.X, self.modes = network, X, modes
        self.slopes = slopes_of(modes, network.activation) if modes.size else modes.astype(float)
        self.samples, self.units = np.nonzero(modes == SLIDING)

    def __len__(self) -> int:
        return len(self.samples)

    def project(self, theta: np.ndarray, g: np.ndarray) -> np.ndarray:
        """The tangential part of g (..., P)."""
        return g

    def coefficients(self, theta: np.ndarray, g: np.ndarray) -> np.ndarray:
        """B (S) with ``g + Z^T b`` tangential."""
        return np.zeros(0)

    def retract(self, theta: np.ndarray) -> np.ndarray:
        """The nearest theta with ``z_S = 0``, to first order."""
        return theta


class FirstLayerSurface(Surface):
    """Sliding in the first hidden layer, dense: ``z = w_j . x_n``, so each unit's weights stay in a fixed subspace."""

    def __init__(
        self,
        network: LayeredNetwork,
        X: np.ndarray,
        modes: np.ndarray,
        cache: dict[bytes, tuple[np.ndarray, np.ndarray]],
    ) -> None:
        super().__init__(network, X, modes)
        layer = network.layers[0]
        augmented = np.hstack([X, np.ones((len(X), 1))]) if layer.bias else X
        rows = np.arange(layer.n_out * layer.n_in).reshape(layer.n_out, layer.n_in)
        if layer.bias:
            rows = np.hstack([rows, layer.n_out * layer.n_in + np.arange(layer.n_out)[:, None]])
        self.sliding_units, self._which = np.unique(self.units, return_inverse=True)
        order = np.argsort(self.units, kind="stable")
        cuts = np.searchsorted(self.units[order], [*self.sliding_units, network.n_units])
        projectors = []
        self._solve = np.zeros((len(self.units), rows.shape[1]))
        for a, b in pairwise(cuts.tolist()):
            pairs = order[a:b]
            key = self.samples[pairs].tobytes()
            if key not in cache:
                basis, solve = _projection(augmented[self.samples[pairs]])
                cache[key] = basis.T @ basis, solve
            projector, self._solve[pairs] = cache[key]
            projectors.append(projector)
        self.projectors, self.index = np.array(projectors), rows[self.sliding_units]

    def project(self, theta: np.ndarray, g: np.ndarray) -> np.ndarray:
        g = g.copy()
        normal = (self.projectors @ g[..., self.index][..., None])[..., 0]
        g[..., self.index] -= normal
        return g

    def coefficients(self, theta: np.ndarray, g: np.ndarray) -> np.ndarray:
        return -(self._solve * g[self.index][self._which]).sum(axis=1)

    def retract(self, theta: np.ndarray) -> np.ndarray:
        return self.project(theta, theta)


class CurvedSurface(Surface):
    """Sliding in any layers: the surface ``z_S(theta) = 0`` bends with theta."""

    def __init__(self, network: LayeredNetwork, X: np.ndarray, modes: np.ndarray) -> None:
        super().__init__(network, X, modes)
        self.normals = UnitGradients(network, X, self.slopes, self.samples, self.units)

    def project(self, theta: np.ndarray, g: np.ndarray) -> np.ndarray:
        Z = self.normals(theta)
        return g - _coefficients(Z, g) @ Z

    def coefficients(self, theta: np.ndarray, g: np.ndarray) -> np.ndarray:
        return -_coefficients(self.normals(theta), g)

    def retract(self, theta: np.ndarray) -> np.ndarray:
        z = self.network.preactivations(theta, self.X, self.slopes)[self.samples, self.units]
        return theta - z @ _projection(self.normals(theta))[1]


def _coefficients(Z: np.ndarray, g: np.ndarray) -> np.ndarray:
    """C (..., S) of the least ``||g - c Z||``: normal equations where Z is well conditioned, else the SVD."""
    gram = Z @ Z.T
    try:
        pivots = np.diagonal(np.linalg.cholesky(gram))
        if pivots.min() > WELL_CONDITIONED * pivots.max():
            return np.linalg.solve(gram, (g @ Z.T).T).T
    except np.linalg.LinAlgError:
        pass
    return g @ _projection(Z)[1].T


def make_surface(
    network: Network,
    X: np.ndarray,
    modes: np.ndarray,
    cache: dict[bytes, tuple[np.ndarray, np.ndarray]],
) -> Surface:
    """The surface of these modes (N, units); ``cache`` keeps factors of sets of samples between events."""
    sliding = modes == SLIDING
    if not sliding.any():
        return Surface(network, X, modes)
    network = cast("LayeredNetwork", network)  # only such networks have units
    if isinstance(network.layers[0], Dense) and not sliding[:, network.starts[1] :].any():
        return FirstLayerSurface(network, X, modes, cache)
    return CurvedSurface(network, X, modes)
