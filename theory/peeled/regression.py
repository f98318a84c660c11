"""Multivariate regression with unconstrained features: the soft-thresholded spectrum of the targets."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats, as_positive
from theory._certificate import Certificate
from theory._errors import InvalidInput, PreconditionError

MAX_ENTRIES = 2**28


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegressionModel:
    r"""Last layer of a regression network, its features free but penalised.

    .. math::

        \min_{W, H, b}\; \frac1{2M}\|W H + b 1^\top - Y\|_F^2 + \frac{\lambda_H}{2M}\|H\|_F^2
        + \frac{\lambda_W}2\|W\|_F^2

    for targets Y, one column per sample; the penalty on features is a mean over samples (not the sum of
    :class:`UnconstrainedFeaturesModel`, whose lam_H is this one over M). Source: andriopoulos2024regression.

    Parameters
    ----------
    targets : (q, M) finite; copied.
    lam_W, lam_H : positive penalties.
    bias : True adds a free, unpenalised bias, which centres the targets.
    dimension : number of features; None means "enough" (q always is).

    Raises
    ------
    InvalidInput : targets that are not a finite matrix with at least one row and column, numbers out of range.

    Examples
    --------
    >>> RegressionModel(targets=[[1.0, -1.0], [0.0, 2.0]], lam_W=0.1, lam_H=0.1)
    RegressionModel(targets=2x2, lam_W=0.1, lam_H=0.1, bias=False)
    """

    targets: ArrayLike
    lam_W: float
    lam_H: float
    bias: bool = False
    dimension: int | None = None

    def __post_init__(self) -> None:
        Y = as_floats("targets", self.targets, ndim=2).copy()
        if Y.size == 0:
            raise InvalidInput(f"targets must have at least one row and one column, but have shape {Y.shape}.")
        if np.abs(Y).max() > 1e100:
            raise InvalidInput("targets must be below 1e100 in size; rescale them.")
        if not isinstance(self.bias, bool | np.bool_):
            raise InvalidInput(f"bias must be True or False, but is {self.bias!r}.")
        Y.flags.writeable = False
        object.__setattr__(self, "targets", Y)
        object.__setattr__(self, "lam_W", as_positive("lam_W", self.lam_W))
        object.__setattr__(self, "lam_H", as_positive("lam_H", self.lam_H))
        if not 1e-140 < np.sqrt(self.lam_W) * np.sqrt(self.lam_H) < 1e140:
            raise InvalidInput("lam_W * lam_H is outside the range float64 can hold.")
        if self.dimension is not None:
            object.__setattr__(self, "dimension", as_count("dimension", self.dimension))

    def __repr__(self) -> str:
        q, M = np.shape(self.targets)
        extra = "" if self.dimension is None else f", dimension={self.dimension}"
        return f"RegressionModel(targets={q}x{M}, lam_W={self.lam_W:g}, lam_H={self.lam_H:g}, bias={self.bias}{extra})"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressionSolution:
    """Global optimum of a :class:`RegressionModel`.

    Attributes
    ----------
    model : what was solved.
    objective, certificate, status : as in every solution of this package.
    singular_values : (r,) of W H / sqrt(M), positive, falling.
    target_spectrum : (min(q, M),) singular values of the (centred) targets over sqrt(M), falling.
    rank : r, the least number of features with which this optimum exists.
    bias : (q,) mean of the targets, or None.
    """

    model: RegressionModel
    objective: float
    certificate: Certificate
    status: str
    singular_values: np.ndarray
    target_spectrum: np.ndarray
    rank: int
    bias: np.ndarray | None
    _left: np.ndarray = field(repr=False)
    _right: np.ndarray = field(repr=False)

    def classifier(self) -> np.ndarray:
        """W, (q, r); unique up to rotation."""
        ratio = np.sqrt(self.model.lam_H) / np.sqrt(self.model.lam_W)
        return self._left * np.sqrt(ratio * self.singular_values)

    def features(self) -> np.ndarray:
        """H, (r, M), in the coordinates of :meth:`classifier`."""
        ratio = np.sqrt(self.model.lam_W) / np.sqrt(self.model.lam_H)
        M = np.shape(self.model.targets)[1]
        return np.sqrt(M * ratio * self.singular_values)[:, None] * self._right.T

    def gram_classifier(self) -> np.ndarray:
        """W W^T, (q, q): sqrt(lam_H/lam_W) (Sigma^(1/2) - sqrt(lam_W lam_H))_+ for enough features."""
        W = self.classifier()
        return W @ W.T

    def gram_features(self) -> np.ndarray:
        """H^T H, (M, M).

        Raises
        ------
        PreconditionError : more than 2 GiB; take :meth:`features`.
        """
        M = np.shape(self.model.targets)[1]
        if M * M > MAX_ENTRIES:
            raise PreconditionError(f"a {M} x {M} matrix does not fit in 2 GiB; use features().")
        H = self.features()
        return H.T @ H

    def predictions(self) -> np.ndarray:
        """W H + b 1^T, (q, M)."""
        out = self.classifier() @ self.features()
        return out if self.bias is None else out + self.bias[:, None]

    def to_json(self) -> dict[str, object]:
        """Plain numbers; Gram matrix of the classifier included."""
        return {
            "objective": self.objective,
            "certificate": self.certificate.to_json(),
            "status": self.status,
            "rank": self.rank,
            "singular_values": self.singular_values.tolist(),
            "target_spectrum": self.target_spectrum.tolist(),
            "bias": None if self.bias is None else self.bias.tolist(),
            "gram_classifier": self.gram_classifier().tolist(),
        }

    def summary(self) -> str:
        """Three lines for people."""
        kept = ", ".join(f"{s:.6g}" for s in self.singular_values[:8]) + (", ..." if self.rank > 8 else "")
        return (
            f"{self.model!r}\nobjective {self.objective:.12g}   gap {self.certificate.gap:.1e}   {self.status}\n"
            f"rank {self.rank} of {len(self.target_spectrum)}: {kept}"
        )

    def __repr__(self) -> str:
        return f"RegressionSolution(objective={self.objective:.10g}, rank={self.rank}, status={self.status!r})"


def solve_regression(model: RegressionModel) -> RegressionSolution:
    r"""Global optimum by one singular value decomposition.

    With A = W H / sqrt(M) and B the targets (centred if there is a bias) over sqrt(M), the penalties at their best are
    c ||A||_* with c = sqrt(lam_W lam_H), so

    .. math:: A = U (S - c)_+ V^\top \;\text{for}\; B = U S V^\top, \qquad
        W W^\top = \sqrt{\lambda_H/\lambda_W}\,(\Sigma^{1/2} - c)_+, \quad \Sigma = B B^\top.

    *derived* (the Gram matrix in andriopoulos2024regression). Certificate: for ||Q||_2 <= c the value is at least
    <Q, B> - ||Q||^2/2, with equality at Q = U min(S, c) V^T; the gap is ||A - B + Q||^2/2 + c||A||_* - <Q, A>.
    A bias centres B and is the mean of the targets: the row space of A is orthogonal to 1. With fewer features than
    the rank the largest singular values are kept, which von Neumann's inequality
    ||A - B||^2 >= sum (sigma_i(A) - sigma_i(B))^2 makes optimal; value and bound grow by sum (s_i - c)^2 / 2.

    Raises
    ------
    InvalidInput : not a RegressionModel.

    Examples
    --------
    >>> s = solve_regression(RegressionModel(targets=[[3.0, 0.0], [0.0, 1.0]], lam_W=0.5, lam_H=0.5))
    >>> [round(float(x), 6) for x in s.singular_values]  # 3/sqrt(2) - 1/2 and 1/sqrt(2) - 1/2
    [1.62132, 0.207107]
    """
    if not isinstance(model, RegressionModel):
        raise InvalidInput(f"solve_regression takes a RegressionModel, but was given {type(model).__name__}.")
    Y = np.asarray(model.targets)
    M, c = Y.shape[1], float(np.sqrt(model.lam_W) * np.sqrt(model.lam_H))
    mean = Y.mean(axis=1) if model.bias else None
    B = (Y if mean is None else Y - mean[:, None]) / np.sqrt(M)
    U, S, Vt = np.linalg.svd(B, full_matrices=False)
    S = np.where(S > 8 * max(Y.shape) * np.finfo(float).eps * S[0], S, 0.0)
    full = int((S > c).sum())
    r = full if model.dimension is None else min(full, model.dimension)
    extra = 0.5 * float(((S[r:full] - c) ** 2).sum())
    # value, dual point and gap of the full optimum, recomputed from matrices
    s = S[:full] - c
    A, Q = (U[:, :full] * s) @ Vt[:full], (U * np.minimum(S, c)) @ Vt
    norm = c * float(s.sum())
    value = 0.5 * float(((A - B) ** 2).sum()) + norm
    gap = 0.5 * float(((A - B + Q) ** 2).sum()) + abs(norm - float(np.vdot(Q, A)))
    stationarity = float(np.linalg.norm(A - B + Q, 2)) / c
    certificate = Certificate(
        lower=value - gap + extra, upper=value + extra, gap=gap, residuals={"stationarity": stationarity},
        method="Fenchel dual of the squared error with nuclear norm",
    )  # fmt: skip
    return RegressionSolution(
        model=model, objective=certificate.upper, certificate=certificate, status="optimal",
        singular_values=S[:r] - c, target_spectrum=S, rank=r, bias=mean, _left=U[:, :r], _right=Vt[:r].T,
    )  # fmt: skip
