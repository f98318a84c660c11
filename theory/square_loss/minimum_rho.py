"""The least rho with which a network interpolates: the largest normalised margin, read backwards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, short_repr
from theory._errors import InvalidInput, PreconditionError
from theory.flow.exact._base import as_problem
from theory.flow.exact.variation_norm import MinimumVariationNorm
from theory.flow.networks import deep_linear, two_layer

RANK_RTOL = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class MinimumRho:
    """The least rho of ``rho f_V(x_n) = y_n`` over unit layers.

    Attributes
    ----------
    rho : the least. For signs, ``margin = 1 / rho`` is the largest margin ``y_n f_V(x_n)`` that all samples can have
        exactly; the least of unequal margins can be larger.
    V : unit layers that reach it, flat, of a network of ``widths`` (without biases).
    widths : (inputs, hidden ..., 1).
    """

    rho: float
    V: np.ndarray
    widths: tuple[int, ...]

    __repr__ = short_repr

    @property
    def margin(self) -> float:
        """``1 / rho``."""
        return 1 / self.rho

    def to_json(self) -> dict[str, object]:
        """Plain numbers and lists."""
        return {"rho": self.rho, "margin": self.margin, "V": self.V.tolist(), "widths": list(self.widths)}


def minimum_rho_linear(X: ArrayLike, y: ArrayLike, depth: int = 2) -> MinimumRho:
    r"""Least rho of an interpolating deep linear network with one output: ``||w||_2``, w the least-norm interpolant.

    *derived*: ``||V_L ... V_1||_2 <= prod ||V_k||_F = 1``, so ``rho >= ||rho V_L ... V_1|| >= ||w||``; a chain of
    aligned rank-one layers has equality. Any depth, any hidden widths.

    Parameters
    ----------
    X : (N, d). y : (N) real targets. depth : number of layers; hidden widths of the chain returned are 1.

    Raises
    ------
    InvalidInput : shapes; targets that are all zero. PreconditionError : no linear function interpolates.

    Examples
    --------
    >>> round(minimum_rho_linear([[3.0, 0.0], [0.0, 4.0]], [1, -1]).rho ** 2, 12)  # 1/9 + 1/16
    0.173611111111
    """
    X, y = as_problem(X, y, signs=False)
    L = as_count("depth", depth)
    w = np.linalg.lstsq(X, y, rcond=RANK_RTOL)[0]
    if np.linalg.norm(X @ w - y) > 1e-9 * np.linalg.norm(y):
        raise PreconditionError("no linear function interpolates these data: rho has no least value.")
    rho = float(np.linalg.norm(w))
    if rho == 0:
        raise InvalidInput("the targets are all zero: there is nothing to interpolate.")
    widths = (X.shape[1], *[1] * L)
    net = deep_linear(widths)
    V = np.ones(net.n_parameters)
    V[: X.shape[1]] = w / rho
    return MinimumRho(rho=rho, V=V, widths=widths)


def minimum_rho_two_layer(X: ArrayLike, y: ArrayLike) -> MinimumRho:
    r"""Least rho of an interpolating two-layer ReLU network, width 2 at least, on orthogonal inputs: variation norm.

    .. math:: \sqrt{\sum_{y_n > 0} y_n^2 / \|x_n\|^2} + \sqrt{\sum_{y_n < 0} y_n^2 / \|x_n\|^2}

    *derived*: moving a factor between the layers leaves the function alone, so the least ``||W_1||_F ||W_2||_F`` is
    the least ``(||W_1||^2 + ||W_2||^2) / 2``, which is ``theory.flow.exact``'s ``MinimumVariationNorm``. For other
    inputs ``1 / variation_margin(X, y).certificate.upper`` is a lower bound (margins of at least 1 are asked for
    there, not of exactly 1).

    Parameters
    ----------
    X : (N, d), orthogonal. y : (N) real targets.

    Raises
    ------
    InvalidInput : shapes; a zero input; targets that are all zero. PreconditionError : inputs not orthogonal.

    Examples
    --------
    >>> found = minimum_rho_two_layer(np.eye(3), [3, 4, -2])
    >>> net = two_layer(3, 2)
    >>> round(found.rho, 12), (found.rho * net.output(found.V, np.eye(3))[:, 0]).round(12).tolist()
    (7.0, [3.0, 4.0, -2.0])
    """
    best = MinimumVariationNorm(X=np.asarray(X), y=np.asarray(y))
    rho = best.value
    if rho == 0:
        raise InvalidInput("the targets are all zero: there is nothing to interpolate.")
    outer, inner = best.limit
    d = inner.shape[1]
    V = two_layer(d, 2).pack(W1=inner / np.linalg.norm(inner), W2=outer[None] / np.linalg.norm(outer))
    return MinimumRho(rho=rho, V=V, widths=(d, 2, 1))
