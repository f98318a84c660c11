"""Layers that are linear in their weights and affine in their input, with the two adjoints that gradients need.

Arrays: inputs ``a (..., N, n_in)``, outputs ``z (..., N, n_out)``, flat weights ``w (..., n_weights)``; leading axes
broadcast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Layer(Protocol):
    """``z = A(w) a (+ b)``."""

    @property
    def n_in(self) -> int: ...
    @property
    def n_out(self) -> int: ...
    @property
    def n_weights(self) -> int: ...
    @property
    def bias(self) -> bool: ...
    def views(self, w: np.ndarray) -> dict[str, np.ndarray]: ...
    def random(self, rng: np.random.Generator) -> np.ndarray: ...
    def apply(self, w: np.ndarray, a: np.ndarray) -> np.ndarray: ...
    def apply_linear(self, w: np.ndarray, a: np.ndarray) -> np.ndarray: ...
    def pull_input(self, w: np.ndarray, dz: np.ndarray) -> np.ndarray: ...
    def pull_weights(self, a: np.ndarray, dz: np.ndarray) -> np.ndarray: ...
    def pull_weights_linear(self, a: np.ndarray, dz: np.ndarray) -> np.ndarray: ...
    def pull_weights_each(self, a: np.ndarray, dz: np.ndarray) -> np.ndarray: ...
    def to_json(self) -> dict[str, object]: ...


@dataclass(frozen=True, kw_only=True)
class Dense:
    """``z = W a + b``; flat weights are W (n_out, n_in) row by row, then b (n_out) where ``bias``."""

    n_in: int
    n_out: int
    bias: bool = False

    @property
    def n_weights(self) -> int:
        """``n_out (n_in + 1)`` with biases, else ``n_out n_in``."""
        return self.n_out * (self.n_in + self.bias)

    def _matrix(self, w: np.ndarray) -> np.ndarray:
        if self.bias:
            w = w[..., : self.n_out * self.n_in]
        return w.reshape((*w.shape[:-1], self.n_out, self.n_in))

    def views(self, w: np.ndarray) -> dict[str, np.ndarray]:
        """W (..., n_out, n_in) and, where there is one, b (..., n_out)."""
        views = {"W": self._matrix(w)}
        return views | {"b": w[..., self.n_out * self.n_in :]} if self.bias else views

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """Gaussian weights of variance 1 / n_in, biases 0."""
        W = rng.standard_normal(self.n_out * self.n_in) / np.sqrt(self.n_in)
        return np.concatenate([W, np.zeros(self.n_out * self.bias)])

    def apply_linear(self, w: np.ndarray, a: np.ndarray) -> np.ndarray:
        """``W a``, without the bias: what a change of the input does."""
        return a @ self._matrix(w).swapaxes(-1, -2)

    def apply(self, w: np.ndarray, a: np.ndarray) -> np.ndarray:
        """``W a + b``."""
        z = self.apply_linear(w, a)
        return z + w[..., None, self.n_out * self.n_in :] if self.bias else z

    def pull_input(self, w: np.ndarray, dz: np.ndarray) -> np.ndarray:
        """``W^T dz``."""
        return dz @ self._matrix(w)

    def pull_weights_linear(self, a: np.ndarray, dz: np.ndarray) -> np.ndarray:
        """``sum_n dz_n a_n^T``, flat, with zeros for the bias."""
        W = dz.swapaxes(-1, -2) @ a
        flat = W.reshape((*W.shape[:-2], -1))
        if not self.bias:
            return flat
        return np.concatenate([flat, np.zeros((*flat.shape[:-1], self.n_out))], axis=-1)

    def pull_weights(self, a: np.ndarray, dz: np.ndarray) -> np.ndarray:
        """``sum_n dz_n (a_n, 1)^T``, flat."""
        flat = self.pull_weights_linear(a, dz)
        if self.bias:
            flat[..., self.n_out * self.n_in :] = dz.sum(axis=-2)
        return flat

    def pull_weights_each(self, a: np.ndarray, dz: np.ndarray) -> np.ndarray:
        """The terms of ``pull_weights`` sample by sample (..., N, n_weights)."""
        W = dz[..., :, None] * a[..., None, :]
        flat = W.reshape((*W.shape[:-2], -1))
        if not self.bias:
            return flat
        return np.concatenate([flat, np.broadcast_to(dz, (*flat.shape[:-1], self.n_out))], axis=-1)

    def to_json(self) -> dict[str, object]:
        """Kind and sizes."""
        return {"kind": "dense", "inputs": self.n_in, "outputs": self.n_out, "bias": self.bias}
