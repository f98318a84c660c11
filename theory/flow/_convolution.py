"""Convolutions without bias as layers on flattened inputs: patches by one precomputed index array."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from theory._errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class Convolution:
    r"""Cross-correlation ``z[o, p] = sum_{c, t} W[o, c, t] a[c, stride p + t - padding]``, zeros outside.

    Inputs are flattened (in_channels, \*size), outputs (out_channels, \*out_size), both in C order; ``size``,
    ``kernel_size``, ``stride`` and ``padding`` have one entry per dimension. The flat weights are
    W (out_channels, in_channels, \*kernel_size).

    Raises
    ------
    InvalidInput : the kernel is larger than the padded input.
    """

    in_channels: int
    out_channels: int
    size: tuple[int, ...]
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]

    def __post_init__(self) -> None:
        if any(kernel > n + 2 * pad for n, kernel, pad in zip(self.size, self.kernel_size, self.padding, strict=True)):
            padded = tuple(n + 2 * pad for n, pad in zip(self.size, self.padding, strict=True))
            raise InvalidInput(f"the kernel {self.kernel_size} is larger than the padded input {padded}.")

    @cached_property
    def out_size(self) -> tuple[int, ...]:
        """Positions of the kernel in each dimension."""
        sizes = zip(self.size, self.kernel_size, self.stride, self.padding, strict=True)
        return tuple((n + 2 * pad - kernel) // step + 1 for n, kernel, step, pad in sizes)

    @property
    def bias(self) -> bool:
        """Convolutions here have no bias."""
        return False

    @cached_property
    def n_in(self) -> int:
        """Entries of a flattened input."""
        return self.in_channels * prod(self.size)

    @cached_property
    def n_out(self) -> int:
        """Entries of a flattened output."""
        return self.out_channels * prod(self.out_size)

    @cached_property
    def n_weights(self) -> int:
        """Entries of the kernels."""
        return self.out_channels * self.in_channels * prod(self.kernel_size)

    @cached_property
    def _index(self) -> np.ndarray:
        """Where tap t of channel c lies for position p (positions, channels, taps); ``n_in`` points at a zero."""
        index, inside = np.zeros((1, 1), dtype=np.intp), np.ones((1, 1), dtype=bool)
        dimensions = zip(self.size, self.kernel_size, self.stride, self.padding, self.out_size, strict=True)
        for n, kernel, step, pad, out in dimensions:
            at = step * np.arange(out)[:, None] + np.arange(kernel) - pad  # (positions, taps) along this dimension
            index = (index[:, None, :, None] * n + at[None, :, None, :]).reshape(len(index) * out, -1)
            inside = (inside[:, None, :, None] & ((at >= 0) & (at < n))[None, :, None, :]).reshape(index.shape)
        channels = prod(self.size) * np.arange(self.in_channels)[:, None]
        return np.where(inside[:, None, :], index[:, None, :] + channels, self.n_in)

    def _patches(self, a: np.ndarray) -> np.ndarray:
        """The inputs under the kernel (..., N, positions, in_channels taps)."""
        extended = np.concatenate([a, np.zeros((*a.shape[:-1], 1))], axis=-1)
        return extended[..., self._index.reshape(len(self._index), -1)]

    def _matrix(self, w: np.ndarray) -> np.ndarray:
        return w.reshape((*w.shape[:-1], self.out_channels, -1))

    def _by_position(self, dz: np.ndarray) -> np.ndarray:
        """Outputs as (..., N, positions, out_channels)."""
        return dz.reshape((*dz.shape[:-1], self.out_channels, -1)).swapaxes(-1, -2)

    def views(self, w: np.ndarray) -> dict[str, np.ndarray]:
        r"""W (..., out_channels, in_channels, \*kernel_size)."""
        return {"W": w.reshape((*w.shape[:-1], self.out_channels, self.in_channels, *self.kernel_size))}

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """Gaussian weights of variance 1 / (in_channels taps)."""
        return rng.standard_normal(self.n_weights) / np.sqrt(self.n_weights / self.out_channels)

    def apply_linear(self, w: np.ndarray, a: np.ndarray) -> np.ndarray:
        """The convolution itself: there is no bias."""
        z = self._patches(a) @ self._matrix(w).swapaxes(-1, -2)[..., None, :, :]
        return z.swapaxes(-1, -2).reshape((*z.shape[:-2], -1))

    apply = apply_linear

    def pull_input(self, w: np.ndarray, dz: np.ndarray) -> np.ndarray:
        """``A(w)^T dz``: each tap in turn, whose inputs are all different."""
        under = self._by_position(dz) @ self._matrix(w)[..., None, :, :]
        under = under.reshape((*under.shape[:-1], self.in_channels, -1))
        da = np.zeros((*under.shape[:-3], self.n_in + 1))
        for tap in range(under.shape[-1]):
            da[..., self._index[:, :, tap]] += under[..., tap]
        return da[..., :-1]

    def pull_weights(self, a: np.ndarray, dz: np.ndarray) -> np.ndarray:
        """``sum_n`` of the terms below."""
        dz, patches = self._by_position(dz), self._patches(a)
        dz, patches = (x.reshape((*x.shape[:-3], -1, x.shape[-1])) for x in (dz, patches))  # samples x positions
        W = dz.swapaxes(-1, -2) @ patches
        return W.reshape((*W.shape[:-2], -1))

    pull_weights_linear = pull_weights

    def pull_weights_each(self, a: np.ndarray, dz: np.ndarray) -> np.ndarray:
        """Per sample ``sum_p dz[o, p] a[c, stride p + t - padding]`` (..., N, n_weights)."""
        W = self._by_position(dz).swapaxes(-1, -2) @ self._patches(a)
        return W.reshape((*W.shape[:-2], -1))

    def to_json(self) -> dict[str, object]:
        """Kind and sizes."""
        return {
            "kind": f"convolution {len(self.size)}-D",
            "channels": [self.in_channels, self.out_channels],
            "size": list(self.size),
            "kernel_size": list(self.kernel_size),
            "stride": list(self.stride),
            "padding": list(self.padding),
            "bias": False,
        }
