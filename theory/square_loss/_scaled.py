r"""The network ``f(x) = rho f_V(x)`` with layers of unit norm, in the form that ``theory.flow`` integrates.

State ``(U, s)``: directions ``V_k = U_k / ||U_k||`` and positive scales s, one (rho itself) or one per layer
(``rho = prod s_k^{d_k}``). With ``T_k = rho P_k sum_n G_n df_n/dV_k``, ``P_k = I - V_k V_k^T``, the field is

    ``U_k' = ||U_k|| T_k,  s' = (d rho / d s) sum_n <G_n, f_n>``.

- ``V_k' = T_k`` depends on (V, s) only, and ``d||U_k||/dt = 0``: errors of the norm neither grow nor feed back, so
  nothing has to be projected back (*derived*: the field is homogeneous of degree 1 in each U_k).
- Kinks: z depends on V alone and is homogeneous in each layer, so the gradients Z of sliding pre-activations are
  tangent to the spheres, ``<Z_k, V_k> = 0`` where z = 0. Filippov's field on the spheres is therefore the sphere part
  of g projected on z = 0 as in weight space, with the same Clarke weights (*derived*): surfaces, events and switches
  are reused as they are.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from theory._errors import PreconditionError
from theory.flow._activation import Activation
from theory.flow._layered import Forward, LayeredNetwork
from theory.flow._layers import Layer
from theory.flow.networks import Network


def blocks(network: Network) -> tuple[tuple[slice, ...], tuple[int, ...]]:
    """Where each block that is normalised by itself lies in theta, and its degree; a diagonal network is one block.

    Raises
    ------
    PreconditionError : a network that is not homogeneous.
    """
    if not network.homogeneous:
        raise PreconditionError("rho f_V needs a homogeneous network, but this one has biases beyond the first layer.")
    if not isinstance(network, LayeredNetwork):
        return (slice(0, network.n_parameters),), (network.degree,)
    sizes = [layer.n_weights for layer in network.layers]
    ends = np.cumsum([0, *sizes]).tolist()
    power = network.activation.power
    degrees = tuple(power**i for i in reversed(range(len(sizes))))
    return tuple(slice(a, b) for a, b in pairwise(ends)), degrees


class ScaledNetwork:
    """``rho f_V`` of a homogeneous network, theta = (U, s); only what an explicit integration asks for."""

    def __init__(self, base: Network, *, per_layer: bool) -> None:
        self.base, self.per_layer = base, per_layer
        self.cuts, self.degrees = blocks(base)
        self.P, self.last = base.n_parameters, len(self.cuts) - 1
        self.powers = np.array(self.degrees if per_layer else (1,))
        self.n_parameters = self.P + len(self.powers)
        self.n_inputs, self.n_outputs, self.name, self.degree = base.n_inputs, base.n_outputs, base.name, base.degree
        self.units, self.n_units, self.starts = base.units, base.n_units, base.starts
        self.homogeneous = False  # in (U, s) it is not, and no margin is to be read off theta
        self._starts, self._sizes = [cut.start for cut in self.cuts], [cut.stop - cut.start for cut in self.cuts]

    @property
    def activation(self) -> Activation:
        """That of the network."""
        return self.base.activation

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Those of the network."""
        return self.base.layers if isinstance(self.base, LayeredNetwork) else ()

    def truncated(self, layer: int) -> LayeredNetwork:
        """The network that ends with the pre-activations of a hidden layer, at U."""
        assert isinstance(self.base, LayeredNetwork)
        return self.base.truncated(layer)

    def rho(self, s: np.ndarray) -> float:
        """The product of the scales."""
        return float(np.prod(s**self.powers)) if self.per_layer else float(s[0])

    def balanced(self, rho: float) -> np.ndarray:
        """Layer norms with the product rho and all ``rho_k^2 / d_k`` equal."""
        d = np.array(self.degrees, dtype=float)
        common = (np.log(rho) - 0.5 * float(d @ np.log(d))) / d.sum()
        return np.exp(common) * np.sqrt(d)

    def norms(self, U: np.ndarray) -> np.ndarray:
        """Frobenius norms of the blocks."""
        return np.sqrt(np.add.reduceat(U * U, self._starts))

    def spread(self, per_block: np.ndarray) -> np.ndarray:
        """One number per block, repeated over its entries (P)."""
        return np.repeat(per_block, self._sizes)

    def forward(self, theta: np.ndarray, X: np.ndarray, slopes: np.ndarray | None = None) -> Forward:
        """Outputs ``rho f_V`` and pre-activations of f_V; V, norms and s travel behind the weights."""
        U, s = theta[: self.P], theta[self.P :]
        norms = self.norms(U)
        V = U / self.spread(norms)
        at = self.base.forward(V, X, slopes)
        carried = [*at.weights, V, norms, s]
        return Forward(self.rho(s) * at.outputs, at.preactivations, at.slopes, at.inputs, carried)

    def preactivations(self, theta: np.ndarray, X: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
        """The switching functions (N, units)."""
        return self.forward(theta, X, slopes).preactivations

    def output(self, theta: np.ndarray, X: np.ndarray) -> np.ndarray:
        """``rho f_V`` (N, K)."""
        return self.forward(theta, X).outputs

    def gradient(self, at: Forward, G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The field of the file's head for cotangents G (N, K), and the signals at the hidden activations."""
        V, norms, s = at.weights[-3:]
        g, signals = self.base.gradient(at, G)
        along = np.add.reduceat(V * g, self._starts)
        rho = self.rho(s)
        tangent = rho * (g - self.spread(along) * V) * self.spread(norms)
        agreement = along[-1] / self.degrees[-1]  # sum <G_n, f_n>, by Euler in the last block
        slopes = np.array([self._slope(s, j) for j in range(len(s))]) if self.per_layer else 1.0
        return np.append(tangent, slopes * agreement), rho * signals

    def _slope(self, s: np.ndarray, j: int) -> float:
        """``d rho / d s_j``, without dividing by s_j."""
        powers = self.powers.copy()
        powers[j] -= 1
        return float(self.powers[j] * np.prod(s**powers))

    def to_json(self) -> dict[str, object]:
        """The description of the network."""
        return self.base.to_json()
