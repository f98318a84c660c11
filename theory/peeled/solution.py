"""The record that ``solve`` returns."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import numpy as np

from theory._certificate import Certificate
from theory.peeled._factors import Factors, Inner, SymmetricFactors, checked_dimension
from theory.peeled._partition import Partition
from theory.peeled._specification import Specification

ZERO_NORM = 1e-9  # relative to the longest class vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Classes that share a count (and a class weight), and what the optimum does with them.

    Attributes
    ----------
    count, weight, classes : samples per class, class weight, number of classes.
    phase : ``separated``, ``merged`` (equal nonzero classifiers) or ``vanishing`` (zero classifiers).
    cos_within, cos_within_features : cosine between two classes of the group; NaN where undefined.
    norm_w, norm_h : length of a classifier row and of a feature mean.
    merge_ratio : ||w_k - w_k'|| / max_j ||w_j||; 0 says merged also where cosines are undefined; NaN for one class.
    """

    count: float
    weight: float
    classes: int
    phase: str
    cos_within: float
    cos_within_features: float
    norm_w: float
    norm_h: float
    merge_ratio: float

    def to_json(self) -> dict[str, object]:
        """Plain numbers; NaN where undefined (the command line prints null)."""
        count = int(self.count)
        return {**{name: getattr(self, name) for name in self.__slots__}, "count": count}


@dataclass(frozen=True, slots=True, kw_only=True)
class PeeledSolution:
    """An optimum of an analytic last-layer model with its certificate and its geometry per group of classes.

    Attributes
    ----------
    model : the specification that was solved.
    objective : mean loss at the returned (feasible) point, natural logarithm.
    certificate : lower and upper bound of the optimum, gap, residuals; recomputed in float64 whatever the method.
    method : how it was found: ``closed-form``, ``groups``, ``dense``, ``factored``, ``sdp`` or ``local``.
    status : ``optimal`` where the gap is within the tolerance; otherwise what the point is, in words.
    groups : one :class:`Group` per distinct (count, weight), counts falling.
    cos_between, cos_between_features : (R, R) cosines between classes of groups; the diagonal is ``cos_within``.
    rank : rank of Z = W H, the least p for which this solution exists.
    multiplier : -d objective / dT with T = K sqrt(E_W E_H) under budgets; sqrt(lam_W lam_H) under penalties;
        NaN where the model has none.
    bias : (R,) bias of a class of each group, or None for a model without bias.
    seconds : wall time of the solve.
    """

    model: Specification
    objective: float
    certificate: Certificate
    method: str
    status: str
    groups: tuple[Group, ...]
    cos_between: np.ndarray
    cos_between_features: np.ndarray
    rank: int
    multiplier: float
    seconds: float
    bias: np.ndarray | None = None
    _factors: Factors = field(repr=False)

    @property
    def relative_gap(self) -> float:
        """Certified gap over the objective."""
        return self.certificate.relative_gap

    def logits(self) -> np.ndarray:
        """Z = W H, (K, K): column k holds the logits of every sample of class k.

        Raises
        ------
        PreconditionError : the matrix would need more than 2 GiB.
        """
        return self._factors.logits()

    def classifier(self, dimension: int | None = None) -> np.ndarray:
        """W, (K, p), rows w_k; p is the model's dimension or, if that is None, the rank. Unique up to rotation.

        Raises
        ------
        InvalidInput : a dimension below the rank. PreconditionError : more than 2 GiB.
        """
        return self._factors.classifier(self._columns(dimension))

    def features(self, dimension: int | None = None) -> np.ndarray:
        """Class means H, (p, K), in the coordinates of :meth:`classifier`, so that W H = Z."""
        return self._factors.features(self._columns(dimension))

    def _columns(self, dimension: int | None) -> int:
        return checked_dimension(self.rank, dimension, self.model.dimension or max(self.rank, 1))

    def gram_classifier(self) -> np.ndarray:
        """W W^T, (K, K)."""
        W = self.classifier()
        return W @ W.T

    def gram_features(self) -> np.ndarray:
        """H^T H, (K, K), of the class means."""
        H = self.features()
        return H.T @ H

    def to_json(self) -> dict[str, object]:
        """What ``theory peel --json`` prints."""
        return {
            "objective": self.objective,
            "lower_bound": self.certificate.lower,
            "gap": self.certificate.gap,
            "relative_gap": self.relative_gap,
            "method": self.method,
            "status": self.status,
            "rank": self.rank,
            "multiplier": self.multiplier,
            "seconds": self.seconds,
            "model": type(self.model).__name__,
            **self.model.parameters(),
            "residuals": dict(self.certificate.residuals),
            "groups": [group.to_json() for group in self.groups],
            "cos_between": self.cos_between.tolist(),
            "cos_between_features": self.cos_between_features.tolist(),
            "bias": None if self.bias is None else self.bias.tolist(),
        }

    def summary(self) -> str:
        """A table for people."""
        head = (
            f"{self.model!r}\n"
            f"objective {self.objective:.12g}   gap {self.certificate.gap:.1e} "
            f"(relative {self.relative_gap:.1e})   rank {self.rank}   {self.method}, {self.status}, "
            f"{1e3 * self.seconds:.1f} ms\n\n"
        )
        columns = f"{'count':>14} {'classes':>8}  {'phase':<10} {'cos(w,w)':>12} {'cos(h,h)':>12} "
        columns += f"{'|w|':>10} {'|h|':>10} {'merge ratio':>12}\n"
        shown = self.groups if len(self.groups) <= 24 else (*self.groups[:12], None, *self.groups[-11:])
        lines = []
        for g in shown:
            if g is None:
                lines.append(f"{'...':>14} {len(self.groups) - 23} more groups")
                continue
            lines.append(
                f"{int(g.count):>14} {g.classes:>8}  {g.phase:<10} {_number(g.cos_within):>12} "
                f"{_number(g.cos_within_features):>12} {g.norm_w:>10.6f} {g.norm_h:>10.6f} "
                f"{_number(g.merge_ratio):>12}"
            )
        return head + columns + "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"PeeledSolution(objective={self.objective:.10g}, gap={self.certificate.gap:.1e}, "
            f"method={self.method!r}, status={self.status!r}, groups={len(self.groups)}, rank={self.rank})"
        )

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.summary())}</pre>"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.8f}"


def build_solution(
    model: Specification,
    factors: Factors,
    certificate: Certificate,
    *,
    method: str,
    status: str,
    began: float,
    multiplier: float = float("nan"),
    averaged: Factors | None = None,
    merge_tol: float = 0.0,
    bias: np.ndarray | None = None,
) -> PeeledSolution:
    """The record of a pair of factors.

    Parameters
    ----------
    factors : symmetric (one group per mass group of the model) or explicit (one per report group).
    averaged : what the group quantities are read from, if not from ``factors``; explicit.
    merge_tol : relative distance below which classifiers count as equal; 0 for solvers that find exact zeros.
    bias : (R,) per report group.
    """
    parts = model._partition
    shown = averaged if averaged is not None else factors
    group = parts.mass_group if isinstance(shown, SymmetricFactors) else np.arange(len(parts.count))
    groups, cos_w, cos_h = _describe(parts, shown, group, merge_tol)
    return PeeledSolution(
        model=model, objective=certificate.upper, certificate=certificate, method=method, status=status,
        groups=groups, cos_between=cos_w, cos_between_features=cos_h, rank=factors.rank, multiplier=multiplier,
        seconds=time.perf_counter() - began, bias=bias, _factors=factors,
    )  # fmt: skip


def _describe(
    parts: Partition, factors: Factors, group: np.ndarray, merge_tol: float
) -> tuple[tuple[Group, ...], np.ndarray, np.ndarray]:
    """Groups and cosines; ``group`` (R,) is the factors' own group of each report group."""
    W, H = factors.inner("W"), factors.inner("H")
    longest = float(np.sqrt(max(W.square.max(), 0.0))) or 1.0
    zero = np.sqrt(np.maximum(W.square, 0)) <= max(ZERO_NORM, merge_tol) * longest
    distance = np.sqrt(np.maximum(2 * (W.square - W.within), 0)) / longest
    cos_w, cos_h = _cosines(W, zero, group), _cosines(H, zero, group)
    groups = []
    for r, g in enumerate(group):
        several = parts.classes[r] > 1
        merged = several and distance[g] <= merge_tol
        cos_w[r, r] = cos_w[r, r] if several else np.nan
        cos_h[r, r] = cos_h[r, r] if several else np.nan
        groups.append(
            Group(
                count=float(parts.count[r]), weight=float(parts.weight[r]), classes=int(parts.classes[r]),
                phase="vanishing" if zero[g] else "merged" if merged else "separated",
                cos_within=float(cos_w[r, r]), cos_within_features=float(cos_h[r, r]),
                norm_w=0.0 if zero[g] else float(np.sqrt(W.square[g])),
                norm_h=0.0 if zero[g] else float(np.sqrt(max(H.square[g], 0))),
                merge_ratio=float(distance[g]) if several else float("nan"),
            )
        )  # fmt: skip
    return tuple(groups), cos_w, cos_h


def _cosines(inner: Inner, zero: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(R, R) cosines; two classes of one factor group use the inner product within it."""
    square = np.where(zero | (inner.square <= 0), np.nan, inner.square)
    length = np.sqrt(square)
    cos = inner.between / length[:, None] / length
    cos[np.diag_indices_from(cos)] = inner.within / square  # exactly 1 where two classes have one vector
    return np.clip(cos, -1.0, 1.0)[np.ix_(group, group)]
