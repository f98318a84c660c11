"""The unconstrained-features optimum along the penalty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats
from theory._errors import InvalidInput, NotConverged
from theory.peeled._ufm_cross_entropy import PenalisedSearch
from theory.peeled.solution import build_solution
from theory.peeled.unconstrained import UnconstrainedFeaturesModel


@dataclass(frozen=True, slots=True, kw_only=True)
class RegularizationPath:
    """Geometry against lam_Z = sqrt(lam_W lam_H), at the model's ratio of the two.

    Attributes
    ----------
    lam_Z, objective, gap : (n,) penalty, least objective, certified gap.
    merge_ratio, phase, cos_within, norm_w, norm_h : (n, R) per group, as in :class:`theory.peeled.Group`.
    count, classes : (R,) the groups, counts falling.
    merge_threshold : (R,) lam_Z from which the group is merged, (1 - alpha) omega_g sqrt(n_g) / sum omega n
        with label smoothing alpha (*derived*).
    """

    lam_Z: np.ndarray
    objective: np.ndarray
    gap: np.ndarray
    merge_ratio: np.ndarray
    phase: np.ndarray
    cos_within: np.ndarray
    norm_w: np.ndarray
    norm_h: np.ndarray
    count: np.ndarray
    classes: np.ndarray
    merge_threshold: np.ndarray

    def to_json(self) -> dict[str, object]:
        """Lists of plain values."""
        return {name: getattr(self, name).tolist() for name in self.__slots__}

    def __repr__(self) -> str:
        return (
            f"RegularizationPath({len(self.lam_Z)} penalties, {len(self.count)} groups, "
            f"largest gap {self.gap.max(initial=0):.1e})"
        )


def regularization_path(
    model: UnconstrainedFeaturesModel, *, lam_Z: ArrayLike, callback: Callable[[int, float], None] | None = None
) -> RegularizationPath:
    """Solve a cross-entropy model at every penalty; each optimum starts the next.

    Parameters
    ----------
    model : features free, cross-entropy; its own penalties give only the ratio lam_W / lam_H.
    lam_Z : (n,) positive, in any order.
    callback : called as ``callback(penalties_done, gap)``.

    Raises
    ------
    InvalidInput : another loss, or penalties that are not positive. NotConverged : a relative gap above 1e-9.

    Examples
    --------
    >>> model = UnconstrainedFeaturesModel(counts=[500] * 5 + [100] * 5, lam_W=1, lam_H=1)
    >>> regularization_path(model, lam_Z=[0.003, 0.004]).phase.tolist()
    [['separated', 'separated'], ['separated', 'merged']]
    """
    if model.loss != "cross_entropy" or model.features != "free":
        raise InvalidInput("regularization_path takes the cross-entropy with free features.")
    lams = as_floats("lam_Z", lam_Z, ndim=1)
    if len(lams) == 0 or (lams <= 0).any():
        raise InvalidInput("lam_Z must be a non-empty array of positive numbers.")
    search, rows = PenalisedSearch(model), {}
    for done, i in enumerate(np.argsort(-lams, kind="stable"), 1):
        factors, certificate, bias = search.certified(float(lams[i]))
        if not certificate.relative_gap <= 1e-9:
            raise NotConverged(f"at lam_Z = {lams[i]:g} the relative gap is {certificate.relative_gap:.1e}.")
        rows[i] = build_solution(
            model, factors, certificate, method="groups", status="optimal", began=0.0, bias=bias
        )
        if callback is not None:
            callback(done, certificate.gap)
    solved, parts = [rows[i] for i in range(len(lams))], model._partition
    per_group = {
        name: np.array([[getattr(g, name) for g in s.groups] for s in solved])
        for name in ("merge_ratio", "phase", "cos_within", "norm_w", "norm_h")
    }
    return RegularizationPath(
        lam_Z=lams.copy(), objective=np.array([s.objective for s in solved]),
        gap=np.array([s.certificate.gap for s in solved]), count=parts.count, classes=parts.classes,
        merge_threshold=(1 - model.label_smoothing) * parts.mass / np.sqrt(parts.count), **per_group,
    )  # fmt: skip
