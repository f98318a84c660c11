r"""The coordinates in which an algorithm steps: theta, lengths and directions, or unit layers with one scale rho.

Each maps its coordinates x (Q) to theta (P) and pulls a gradient in theta back to x. *derived*, block by block:

- weight normalisation (salimans2016weight) ``theta_b = s_b v_b / ||v_b||``: with ``e = v_b / ||v_b||`` and g the
  gradient in theta_b, ``dF/ds_b = <g, e>`` and ``dF/dv_b = (s_b / ||v_b||) (g - <g, e> e)``. The latter is
  orthogonal to v_b, so a step of gradient descent gives ``||v_b^+||^2 = ||v_b||^2 + eta^2 ||dF/dv_b||^2`` exactly;
- unit layers ``theta = (V_1, ..., V_{L-1}, rho V_L)``, ``||V_k||_F = 1``, of a homogeneous network, so that
  ``f = rho f_V``: ``dF/drho = <g_L, V_L>``, and V_k moves by its tangential gradient and is divided by its length:
  to first order in the step the flow of xu2023dynamics with its Lagrange multiplier.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from theory._errors import InvalidInput, PreconditionError
from theory.flow._layered import LayeredNetwork
from theory.flow.networks import Network

COORDINATES = ("weight-norm", "weight-norm-layer", "lagrange")


class Coordinates(Protocol):
    """A parametrisation of theta."""

    decays: np.ndarray

    def enter(self, theta: np.ndarray) -> np.ndarray:
        """The coordinates x (Q) of theta (P)."""

    def theta(self, x: np.ndarray) -> np.ndarray:
        """Theta (P)."""

    def pull(self, x: np.ndarray, g: np.ndarray) -> np.ndarray:
        """The gradient in x (Q) from the gradient g (P) in theta."""

    def settle(self, x: np.ndarray) -> np.ndarray:
        """What a step does after moving: back to unit length where that is asked."""


class Plain:
    """Theta itself."""

    decays = np.array(1.0)

    def enter(self, theta: np.ndarray) -> np.ndarray:
        return theta

    def theta(self, x: np.ndarray) -> np.ndarray:
        return x

    def pull(self, x: np.ndarray, g: np.ndarray) -> np.ndarray:
        return g

    def settle(self, x: np.ndarray) -> np.ndarray:
        return x


class WeightNorm:
    """Lengths s (B) and directions v (P), side by side; one block per unit (kernel) or per layer; biases are left."""

    def __init__(self, network: LayeredNetwork, *, by_layer: bool) -> None:
        views = network.views(np.arange(network.n_parameters))
        starts, normal = [], []
        for name, index in views.items():
            rows = index.reshape(1 if by_layer or name[0] == "b" else len(index), -1)
            starts += rows[:, 0].tolist()
            normal += [name[0] == "W"] * len(rows)
        order = np.argsort(starts)
        self.starts, self.normal = np.array(starts)[order], np.array(normal)[order]
        self.sizes = np.diff([*self.starts, network.n_parameters])
        self.blocks, self.decays = int(self.normal.sum()), np.array(1.0)

    def _lengths(self, v: np.ndarray) -> np.ndarray:
        """Of each block; 1 at biases."""
        return np.where(self.normal, np.sqrt(np.add.reduceat(v * v, self.starts)), 1.0)

    def _unit(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unit directions (P) and lengths (blocks); biases as they are."""
        length = self._lengths(v)
        return v / np.repeat(length, self.sizes), length

    def _spread(self, s: np.ndarray) -> np.ndarray:
        """One factor a block, 1 at biases."""
        full = np.ones(len(self.starts))
        full[self.normal] = s
        return full

    def enter(self, theta: np.ndarray) -> np.ndarray:
        length = self._lengths(theta)
        if not length.all():
            raise PreconditionError(
                "weight normalisation needs weights of positive length in every block at the start."
            )
        return np.concatenate([length[self.normal], theta])

    def theta(self, x: np.ndarray) -> np.ndarray:
        e, _ = self._unit(x[self.blocks :])
        return e * np.repeat(self._spread(x[: self.blocks]), self.sizes)

    def pull(self, x: np.ndarray, g: np.ndarray) -> np.ndarray:
        e, length = self._unit(x[self.blocks :])
        along = np.where(self.normal, np.add.reduceat(g * e, self.starts), 0.0)
        scale = self._spread(x[: self.blocks]) / length
        return np.concatenate([
            along[self.normal], np.repeat(scale, self.sizes) * (g - np.repeat(along, self.sizes) * e)
        ])  # fmt: skip

    def settle(self, x: np.ndarray) -> np.ndarray:
        return x


class UnitLayers:
    """Rho and the layers V_k of unit Frobenius norm (a bias belongs to its layer), side by side."""

    def __init__(self, network: LayeredNetwork) -> None:
        self.degrees = [network.activation.power**i for i in reversed(range(len(network.layers)))]
        cuts = np.cumsum([0] + [layer.n_weights for layer in network.layers])
        self.starts, self.sizes, self.last = cuts[:-1], np.diff(cuts), int(cuts[-2])
        self.decays = np.zeros(1 + network.n_parameters)
        self.decays[0] = 1.0

    def _lengths(self, v: np.ndarray) -> np.ndarray:
        return np.sqrt(np.add.reduceat(v * v, self.starts))

    def enter(self, theta: np.ndarray) -> np.ndarray:
        lengths = self._lengths(theta)
        if not lengths.all():
            raise PreconditionError("normalise='lagrange' needs layers of positive length at the start.")
        return np.concatenate([[np.prod(lengths**self.degrees)], theta / np.repeat(lengths, self.sizes)])

    def theta(self, x: np.ndarray) -> np.ndarray:
        theta = x[1:].copy()
        theta[self.last :] *= x[0]
        return theta

    def pull(self, x: np.ndarray, g: np.ndarray) -> np.ndarray:
        V, g = x[1:], g.copy()
        along = g[self.last :] @ V[self.last :]
        g[self.last :] *= x[0]
        normal = np.add.reduceat(g * V, self.starts)
        return np.concatenate([[along], g - np.repeat(normal, self.sizes) * V])

    def settle(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([x[:1], x[1:] / np.repeat(self._lengths(x[1:]), self.sizes)])


def make_coordinates(network: Network, normalise: str | None) -> Coordinates:
    """The coordinates of that name; InvalidInput and PreconditionError where the network has none."""
    if normalise is None:
        return Plain()
    if not isinstance(network, LayeredNetwork):
        raise InvalidInput(f"normalise={normalise!r} needs a network made of layers, not {network.name}.")
    if normalise == "lagrange":
        if not network.homogeneous:
            raise PreconditionError("normalise='lagrange' needs a homogeneous network, but this one has biases.")
        return UnitLayers(network)
    return WeightNorm(network, by_layer=normalise == "weight-norm-layer")
