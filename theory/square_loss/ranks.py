"""Effective ranks of a matrix: how many directions carry it, under four usual counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats, as_positive, as_real, short_repr
from theory._errors import InvalidInput, PreconditionError


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveRanks:
    """Ranks of one matrix; ``min_dim`` beside them shows what full would be.

    Attributes
    ----------
    stable : ``||W||_F^2 / ||W||_2^2``.
    srank : least k with ``sum_{i<=k} s_i >= (1 - delta) sum_i s_i``.
    entropy : ``exp H(s / sum s)``, H in nats.
    numerical : singular values above ``rtol`` times the largest.
    delta, rtol : the tolerances. min_dim : ``min(rows, columns)``. singular_values : descending.
    """

    stable: float
    srank: int
    entropy: float
    numerical: int
    delta: float
    rtol: float
    min_dim: int
    singular_values: np.ndarray

    __repr__ = short_repr

    def to_json(self) -> dict[str, object]:
        """Plain numbers."""
        return {
            "stable": self.stable, "srank": self.srank, "entropy": self.entropy, "numerical": self.numerical,
            "delta": self.delta, "rtol": self.rtol, "min_dim": self.min_dim,
        }  # fmt: skip


def effective_ranks(W: ArrayLike, *, delta: float = 0.01, rtol: float | None = None) -> EffectiveRanks:
    r"""Stable, srank, entropy and numerical rank, a *measure* each.

    All are 1 for rank one and at most the rank (the numerical one: at rtol = 0 it is the rank). srank_delta is
    that of kumar2021implicit, which sums singular values and not their squares.

    Parameters
    ----------
    W : (m, n), or a convolution's kernels (out, in, ...), read as a matrix (out, in * ...).
    delta : share of the sum that srank may leave, in (0, 1).
    rtol : of the numerical rank; None: ``max(m, n)`` times the spacing of float64 at 1, as numpy does.

    Raises
    ------
    InvalidInput : fewer than two dimensions, NaN, tolerances out of range. PreconditionError : the zero matrix.

    Examples
    --------
    >>> found = effective_ranks(np.diag([2.0, 1.0, 1.0, 0.0]), delta=0.3)
    >>> found.stable, found.srank, round(found.entropy, 12), found.numerical, found.min_dim
    (1.5, 2, 2.828427124746, 3, 4)
    """
    matrix = as_matrix("W", W)
    share = as_positive("delta", delta)
    tolerance = max(matrix.shape) * np.finfo(float).eps if rtol is None else as_real("rtol", rtol)
    if not share < 1 or not 0 <= tolerance < 1:
        raise InvalidInput(f"delta must lie in (0, 1) and rtol in [0, 1), but are {share:g} and {tolerance:g}.")
    s = np.linalg.svd(matrix, compute_uv=False)
    if s[0] == 0:
        raise PreconditionError("the zero matrix has no effective rank.")
    p = s / s.sum()
    entropy = -float((p[p > 0] * np.log(p[p > 0])).sum())
    reached = np.cumsum(p) >= (1 - share) * (1 - 1e-14)  # a share met exactly counts
    return EffectiveRanks(
        stable=float(((s / s[0]) ** 2).sum()), srank=int(np.argmax(reached)) + 1, entropy=float(np.exp(entropy)),
        numerical=int((s > tolerance * s[0]).sum()), delta=share, rtol=float(tolerance), min_dim=len(s),
        singular_values=s,
    )  # fmt: skip


def as_matrix(name: str, W: ArrayLike) -> np.ndarray:
    """A weight as the matrix (out, everything else) whose gradient has rank (examples x uses)."""
    array = as_floats(name, W)
    if array.ndim < 2 or array.size == 0:
        raise InvalidInput(f"{name} must have at least two dimensions and one entry, but has shape {array.shape}.")
    return array.reshape(len(array), -1)
