r"""Norms in which a descent can be steepest: l_p of all parameters, and the largest singular value of any layer.

For a norm and g != 0 the steepest unit direction is ``v in argmax {<v, g> : ||v|| <= 1}``, where ``<v, g> = ||g||_*``:

- l_p, 1 < p < inf, q = p / (p - 1): ``v_j = sign(g_j) (|g_j| / ||g||_q)^{q-1}``;
- l_1: a coordinate of largest |g_j|, with its sign; l_inf: ``sign(g)``;
- spectral, ``max_l ||W_l||_2`` over the layers: ``U_l V_l^T`` of ``G_l = U_l S_l V_l^T``, with ``sum_l sum_i s_i(G_l)``
  as dual norm.

Where v is not unique (ties of |g_j|, zeros of g_j, zero singular values) one is taken: the first coordinate; 0 there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from theory._arrays import as_real
from theory._errors import InvalidInput

NAMES = {"l1": 1.0, "l2": 2.0, "linf": np.inf}
RANK = 1e-12  # singular values below this share of the largest have no direction


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """A norm on flat parameters. ``p`` is None for the spectral norm, whose ``blocks`` are the layers' indices."""

    name: str
    p: float | None
    blocks: tuple[np.ndarray, ...] = field(default=(), repr=False)

    @property
    def polyhedral(self) -> bool:
        """Whether the unit ball has corners and flat faces: l_1 and l_inf."""
        return self.p == 1 or self.p == np.inf

    @property
    def dual_exponent(self) -> float:
        """``q = p / (p - 1)``."""
        assert self.p is not None
        return np.inf if self.p == 1 else 1.0 if self.p == np.inf else self.p / (self.p - 1)

    def norm(self, v: np.ndarray) -> float:
        """``||v||`` of v (P)."""
        if self.p is None:
            return max(float(np.linalg.norm(v[block], 2)) for block in self.blocks)
        return _lp(v, self.p)

    def dual(self, g: np.ndarray) -> float:
        """``||g||_* = max {<v, g> : ||v|| <= 1}``."""
        if self.p is None:
            return sum(float(np.linalg.norm(g[block], "nuc")) for block in self.blocks)
        return _lp(g, self.dual_exponent)

    def direction(self, g: np.ndarray) -> np.ndarray:
        """A steepest unit direction v (P) for g (P), not zero."""
        if self.p == np.inf:
            return np.sign(g)
        v = np.zeros_like(g)
        if self.p == 1:
            j = int(np.abs(g).argmax())
            v[j] = np.sign(g[j])
        elif self.p is None:
            for block in self.blocks:
                U, s, Vt = np.linalg.svd(g[block], full_matrices=False)
                kept = s > RANK * s[0]
                v[block] = U[:, kept] @ Vt[kept]
        else:
            v = np.sign(g) * (np.abs(g) / self.dual(g)) ** (self.dual_exponent - 1)
        return v


def _lp(v: np.ndarray, p: float) -> float:
    """The l_p norm, scaled so that no power over- or underflows."""
    top = float(np.abs(v).max())
    if top == 0 or p == np.inf:
        return top
    with np.errstate(under="ignore"):
        return top * float(((np.abs(v) / top) ** p).sum()) ** (1 / p)


def as_geometry(norm: Any, network: Any) -> Geometry:
    """The norm of that name, or l_p for a number p >= 1, on the parameters of a network.

    Raises
    ------
    InvalidInput : another name, p below 1; ``spectral`` for a network without named layers.
    """
    if isinstance(norm, Geometry):
        return norm
    if norm == "spectral":
        views = getattr(network, "views", None)
        if views is None:
            raise InvalidInput("the spectral norm needs a network whose layers have names.")
        blocks = []
        for array in views(np.arange(network.n_parameters)).values():
            blocks.append(array.reshape(len(array), -1) if array.ndim > 1 else array[None, :])
        return Geometry(name="spectral", p=None, blocks=tuple(blocks))
    if isinstance(norm, str):
        if norm not in NAMES:
            raise InvalidInput(f"norm must be {', '.join(NAMES)}, spectral or a number p >= 1, but is {norm!r}.")
        return Geometry(name=norm, p=NAMES[norm])
    p = np.inf if isinstance(norm, float) and norm == np.inf else as_real("norm", norm)
    if p < 1:
        raise InvalidInput(f"l_p is a norm for p >= 1, but p is {p:g}.")
    names = {value: name for name, value in NAMES.items()}
    return Geometry(name=names.get(p, f"l{p:g}"), p=p)
