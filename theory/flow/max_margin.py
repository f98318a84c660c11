"""Maximum margins of linear classifiers and deep linear networks, from the nearest point of a convex hull."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import lstsq
from scipy.optimize import nnls

from theory._arrays import as_count, as_floats, short_repr
from theory._certificate import Certificate
from theory._errors import InvalidInput, NotConverged, PreconditionError
from theory.flow._kkt_system import margins_of
from theory.flow.losses import as_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxMargin:
    """The widest margin of a linear classifier without bias.

    Attributes
    ----------
    margin : ``max_{||w|| = 1} min_n q_n``; the value that ``direction`` reaches, ``certificate.lower``.
    direction : (d) of unit length, or (K, d) of unit Frobenius norm.
    weights : (N), or (N, K) with the wrong class as second index: a probability vector whose hull point proves the
        bound.
    certificate : margin reached, and the distance of the hull from 0, which no margin exceeds.
    """

    margin: float
    direction: np.ndarray
    weights: np.ndarray
    certificate: Certificate

    __repr__ = short_repr

    def to_json(self) -> dict[str, object]:
        """Plain numbers and lists."""
        return {
            "margin": self.margin,
            "direction": self.direction.tolist(),
            "weights": self.weights.tolist(),
            "certificate": self.certificate.to_json(),
        }


def linear_max_margin(X: ArrayLike, y: ArrayLike) -> MaxMargin:
    r"""The l2 maximum margin of linear classifiers without bias, to machine precision.

    .. math:: \max_{\|w\| = 1} \min_n y_n w^\top x_n = \min_{c \in \Delta} \Bigl\| \sum_n c_n y_n x_n \Bigr\|

    *proved* (duality; the limit of gradient flow on w: soudry2018implicit). Labels -1 and +1; other labels are
    classes 0..K-1, with ``W (K, d)``, ``min_j (w_y - w_j) . x`` as the margin and the Frobenius norm. The hull's
    nearest point is a nonnegative least-squares problem; its support then solves ``V_A w = 1`` of least norm.

    Raises
    ------
    PreconditionError : the hull touches 0 to rounding: no linear classifier separates the data.
    InvalidInput : NaN, shapes that do not meet, other labels.

    Examples
    --------
    >>> found = linear_max_margin([[1.0, 0.0], [0.0, 2.0]], [1, -1])
    >>> bool(np.isclose(found.margin, (1 + 1 / 4) ** -0.5))
    True
    """
    inputs, labels, K = labelled(X, y)
    margins = margins_of(labels, K)
    V = (margins.mix[:, :, None] * inputs[margins.sample][:, None, :]).reshape(len(margins.sample), -1)
    scale = float(np.linalg.norm(V, axis=1).max())
    if scale == 0:
        raise PreconditionError("every input is zero: no linear classifier separates the data.")
    c, w = nearest_in_hull(V / scale)
    hull = float(np.linalg.norm(c @ V))
    length = float(np.linalg.norm(w))
    reached = float((V @ w).min() / length) if length > 0 else 0.0
    if not reached > 1e-13 * scale:
        raise PreconditionError(
            f"no linear classifier separates the data: the hull of y_n x_n comes within {hull / scale:.1e} of 0."
        )
    certificate = Certificate(
        lower=reached, upper=hull, gap=max(hull - reached, 0.0), method="distance of a convex hull from 0"
    )
    if certificate.relative_gap > 1e-9:
        raise NotConverged(f"the margin is known to {certificate.relative_gap:.1e} only.", certificate)
    direction = w / length if K == 1 else (w / length).reshape(K, -1)
    return MaxMargin(
        margin=reached, direction=direction, weights=margins.table(c, len(inputs)), certificate=certificate
    )


def labelled(X: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray, int]:
    """Inputs (N, d), labels (N) and outputs K: one for labels -1 and +1, else the number of classes."""
    inputs = as_floats("X", X, ndim=2)
    if 0 in inputs.shape:
        raise InvalidInput(f"X must have at least one sample and one input, but has shape {inputs.shape}.")
    values = as_floats("labels", y, ndim=1)
    if np.isin(values, (-1.0, 1.0)).all():
        return inputs, as_loss("exponential").labels(values, len(inputs), 1), 1
    K = int(values.max()) + 1
    return inputs, as_loss("cross_entropy").labels(values, len(inputs), max(K, 2)), max(K, 2)


def nearest_in_hull(V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The point of the hull of rows V (M, p) next to 0: its weights c (M), and w (p) with ``V_A w = 1``; V of size one.

    ``min ||V^T c||^2 + (sum c - 1)^2`` over c >= 0 has the weights of the nearest point, times a factor. On its support
    w is the least-norm solution, which makes both numbers right to rounding; the caller compares them.
    """
    A = np.vstack([V.T, np.ones(len(V))])
    target = np.append(np.zeros(V.shape[1]), 1.0)
    try:
        c, _ = nnls(A, target, maxiter=30 * max(A.shape) + 1000)
    except RuntimeError:
        raise NotConverged("the active-set search for the nearest point of the hull did not end.") from None
    support = c > 0
    w = lstsq(V[support], np.ones(support.sum()), check_finite=False)[0]
    refined = lstsq(V[support].T, w, check_finite=False)[0]
    if (refined > 0).all():
        c = np.zeros(len(V))
        c[support] = refined
    else:
        w = V.T @ c
    return c / c.sum(), w


def deep_linear_margin(X: ArrayLike, y: ArrayLike, depth: int) -> float:
    r"""Largest normalised margin of a linear network with one output and ``depth`` layers: ``margin_svm / L^(L/2)``.

    *derived*: the product w of the layers has ``||w|| <= prod ||W_l||_F <= (||theta||^2 / L)^(L/2)`` (arithmetic and
    geometric mean), with equality for balanced rank-one layers; so ``q_min / ||theta||^L`` is at most the linear
    margin over ``L^(L/2)``. Gradient flow reaches it (ji2019gradient).

    Raises
    ------
    InvalidInput : more than two classes, a depth below 1.
    PreconditionError : data that no linear classifier separates.

    Examples
    --------
    >>> X, y = [[1.0, 0.0], [0.0, 2.0]], [1, -1]
    >>> bool(np.isclose(2 * deep_linear_margin(X, y, 2), deep_linear_margin(X, y, 1)))
    True
    """
    L = as_count("depth", depth)
    found = linear_max_margin(X, y)
    if found.direction.ndim > 1:
        raise InvalidInput("the margin of a deep linear network is known for labels -1 and +1 only.")
    return found.margin / L ** (L / 2)
