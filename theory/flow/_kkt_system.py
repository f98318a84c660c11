"""The KKT system of the margin problem for fixed slopes, active constraints and sliding units.

In units in which the direction has length about one, the problem is ``min 1/2 ||theta||^2`` subject to
``q_c(theta)/level >= 1`` and ``z_s(theta) = 0`` for the sliding units; its stationarity is ``theta = sum_c lam_c grad
q_c / level + sum_s beta_s grad z_s``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """The constraints ``q_c = sum_k mix_ck f(x_{sample_c})_k``: one a sample, or one a sample and wrong class.

    Attributes
    ----------
    sample : (M) the sample of each constraint.
    mix : (M, K) +-1 in the binary case; +1 at the label and -1 at the wrong class in the multi-class case.
    wrong : (M) the wrong class, or None in the binary case.
    """

    sample: np.ndarray
    mix: np.ndarray
    wrong: np.ndarray | None

    def values(self, outputs: np.ndarray) -> np.ndarray:
        """The margins q (M) of outputs f (N, K)."""
        return np.einsum("ck,ck->c", self.mix, outputs[self.sample])

    def cotangent(self, lam: np.ndarray, N: int) -> np.ndarray:
        """G (N, K) with ``sum_nk G_nk f_nk = sum_c lam_c q_c``."""
        G = np.zeros((N, self.mix.shape[1]))
        np.add.at(G, self.sample, lam[:, None] * self.mix)
        return G

    def table(self, lam: np.ndarray, N: int) -> np.ndarray:
        """Numbers of the constraints (M) as (N), or as (N, K) with zeros at the labels."""
        if self.wrong is None:
            return lam.copy()
        out = np.zeros((N, self.mix.shape[1]), dtype=lam.dtype)
        out[self.sample, self.wrong] = lam
        return out


def margins_of(y: np.ndarray, K: int) -> Margins:
    """Margins of checked labels: signs (N) where K = 1, else classes (N) below K."""
    if K == 1:
        return Margins(sample=np.arange(len(y)), mix=np.asarray(y, dtype=float)[:, None], wrong=None)
    sample, wrong = np.nonzero(np.arange(K) != y[:, None])
    return Margins(sample=sample, mix=np.eye(K)[y[sample]] - np.eye(K)[wrong], wrong=wrong)


@dataclass(frozen=True, kw_only=True)
class KktSystem:
    """The system for one choice of slopes (N, units), active constraints (A) and sliding pairs (S, 2): sample, unit."""

    network: Any
    X: np.ndarray
    margins: Margins
    level: float
    slopes: np.ndarray | None
    active: np.ndarray
    sliding: np.ndarray

    @cached_property
    def by_layer(self) -> list[tuple[int, Any, np.ndarray]]:
        """Each hidden layer with sliding units: its index, the network that ends there, its rows of ``sliding``."""
        if not len(self.sliding):
            return []
        layers = np.searchsorted(self.network.starts, self.sliding[:, 1], side="right") - 1
        return [(int(i), self.network.truncated(int(i)), np.nonzero(layers == i)[0]) for i in np.unique(layers)]

    def rows(self, theta: np.ndarray) -> np.ndarray:
        """Gradients of the constraints (A + S, P): of ``q_c / level``, then of ``z_s``."""
        J = self.network.jacobian(theta, self.X, self.slopes)
        rows = np.zeros((len(self.active) + len(self.sliding), len(theta)))
        chosen = self.margins.sample[self.active]
        rows[: len(self.active)] = np.einsum("ck,ckp->cp", self.margins.mix[self.active], J[chosen]) / self.level
        for index, below, places in self.by_layer:
            samples, units = self.sliding[places].T
            for n in np.unique(samples):  # sample by sample: the whole Jacobian of a wide layer would not fit in memory
                here = places[samples == n]
                J_n = below.jacobian(theta[: below.n_parameters], self.X[[n]], self._slopes(n))[0]
                columns = units[samples == n] - self.network.starts[index]
                rows[len(self.active) + here, : below.n_parameters] = J_n[columns]
        return rows

    def _slopes(self, n: int) -> np.ndarray | None:
        return None if self.slopes is None else self.slopes[[n]]

    def values(self, at: Any) -> np.ndarray:
        """``q_A / level - 1`` and ``z_S`` (A + S) of a forward pass."""
        gaps = self.margins.values(at.outputs)[self.active] / self.level - 1
        return np.concatenate([gaps, at.preactivations[self.sliding[:, 0], self.sliding[:, 1]]])

    def all_multipliers(self, lam: np.ndarray) -> np.ndarray:
        """Multipliers of the active constraints as (M), zero elsewhere."""
        full = np.zeros(len(self.margins.sample))
        full[self.active] = lam
        return full

    def _cotangents(self, lam: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, list[tuple[int, Any, np.ndarray]]]:
        """The Lagrangian's weights on the outputs, and on the pre-activations of each layer that slides."""
        G = self.margins.cotangent(self.all_multipliers(lam), len(self.X)) / self.level
        pulls = []
        for index, below, places in self.by_layer:
            B = np.zeros((len(self.X), below.n_outputs))
            B[self.sliding[places, 0], self.sliding[places, 1] - self.network.starts[index]] = beta[places]
            pulls.append((index, below, B))
        return G, pulls

    def signals(self, theta: np.ndarray, lam: np.ndarray, beta: np.ndarray) -> np.ndarray:
        """What arrives at each hidden activation, ``d(sum lam q / level + sum beta z)/da`` (N, units)."""
        G, pulls = self._cotangents(lam, beta)
        total = self.network.gradient(self.network.forward(theta, self.X, self.slopes), G)[1].copy()
        for index, below, B in pulls:
            if index > 0:
                at = below.forward(theta[: below.n_parameters], self.X, self.slopes)
                total[:, : self.network.starts[index]] += below.gradient(at, B)[1][:, : self.network.starts[index]]
        return total

    def lagrangian_hessian(self, theta: np.ndarray, lam: np.ndarray, beta: np.ndarray) -> np.ndarray:
        """``I - sum lam_c Hess q_c / level - sum beta_s Hess z_s`` (P, P), symmetric."""
        G, pulls = self._cotangents(lam, beta)
        H = np.eye(len(theta)) - self._hessian(self.network, theta, G)
        for index, below, B in pulls:
            if index > 0:  # the first layer is linear in its weights
                p = below.n_parameters
                H[:p, :p] -= self._hessian(below, theta[:p], B)
        return (H + H.T) / 2

    def _hessian(self, network: Any, theta: np.ndarray, G: np.ndarray) -> np.ndarray:
        """Hessian of ``sum G f``, a block of directions at a time so that a wide layer fits in memory."""
        P = len(theta)
        step = max(1, int(2e6) // max(1, len(self.X) * max(1, network.n_units)))
        eye = np.eye(P)
        blocks = [network.hvp(theta, self.X, G, eye[i : i + step], self.slopes) for i in range(0, P, step)]
        return np.concatenate(blocks)
