"""One look of a monitor at a model, and what it says of rare and frequent classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulations.bridge._layers import LayerNumbers
from simulations.bridge._quantities import mean_pair, merge_ratio, rarest
from simulations.bridge.features import LastLayer
from theory.collapse import CollapseMetrics
from theory.frames import cosines


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MonitorRecord:
    r"""One look at a model. *measure*; numbers that are undefined are NaN.

    Attributes
    ----------
    epoch : epochs of training before this look.
    seconds : what the look cost.
    training_seconds : time since the monitor began, less its own.
    layer : dotted path of the classifier, or None where the look failed.
    metrics : NC1-NC4 (``CollapseMetrics``), or None where the look failed.
    error, cross_entropy, min_margin, mean_margin, normalised_margin, rho, homogeneous : as in ``LastLayer``.
    minority_cosine, majority_cosine : mean cosine between the classifier rows of two classes of the rarest, and of
        the most frequent group; NaN for equal counts or fewer than two classes.
    minority_merge_ratio : max ||w_k - w_k'|| over two classes of the rarest group / max ||w_j|| over all classes,
        as ``theory.peeled`` defines it.
    minority : the classes of the rarest group: those of the least count, or, where that is one class only, those
        below the median count; empty for equal counts. The most frequent group likewise.
    layers : norms, ranks and balance of each weight matrix, in running order.
    notes : what was noticed, and why a look failed.
    """

    epoch: int
    seconds: float
    training_seconds: float
    layer: str | None
    metrics: CollapseMetrics | None
    error: float
    cross_entropy: float
    min_margin: float
    mean_margin: float
    normalised_margin: float
    rho: float
    homogeneous: bool | None
    minority_cosine: float
    majority_cosine: float
    minority_merge_ratio: float
    minority: tuple[int, ...]
    layers: tuple[LayerNumbers, ...]
    notes: tuple[str, ...]

    def numbers(self) -> dict[str, float]:
        """All numbers under flat names, for stores and loggers: ``nc1_zhu``, ``0.weight/stable_rank``, ..."""
        out = {name: getattr(self, name) for name in _NUMBERS}
        if self.metrics is not None:
            metrics = self.metrics.to_json()
            out |= {name: metrics[name] for name in metrics if name.startswith("nc") or name == "bias_collapse"}
            out["rank_between"] = self.metrics.rank
        for row in self.layers:
            out |= row.numbers()
        return {name: math.nan if value is None else float(value) for name, value in out.items()}

    def to_json(self) -> dict[str, object]:
        """Return a dictionary of plain numbers, strings and lists."""
        out = {name: getattr(self, name) for name in self.__slots__}
        metrics = None if self.metrics is None else self.metrics.to_json()
        layers = [row.to_json() for row in self.layers]
        return out | {
            "metrics": metrics, "layers": layers, "notes": list(self.notes), "minority": list(self.minority),
        }  # fmt: skip

    def __repr__(self) -> str:
        nc1 = math.nan if self.metrics is None else self.metrics.nc1_papyan
        return f"MonitorRecord(epoch={self.epoch}, error={self.error:.4g}, nc1_papyan={nc1:.4g})"


_NUMBERS = (
    "error", "cross_entropy", "min_margin", "mean_margin", "normalised_margin", "rho", "minority_cosine",
    "majority_cosine", "minority_merge_ratio", "seconds", "training_seconds",
)  # fmt: skip


def group_numbers(last: LastLayer | None) -> dict[str, Any]:
    """Cosines and merging of the classifier rows of rare and frequent classes."""
    if last is None or last.classifier is None or np.ptp(last.class_means.counts) == 0:
        names = ("minority_cosine", "majority_cosine", "minority_merge_ratio")
        return {"minority": (), **dict.fromkeys(names, math.nan)}
    W, counts = last.classifier, last.class_means.counts
    rare, angles = rarest(counts), cosines(W)
    return {
        "minority": tuple(int(k) for k in np.flatnonzero(rare)),
        "minority_cosine": mean_pair(angles, rare),
        "majority_cosine": mean_pair(angles, rarest(-counts)),
        "minority_merge_ratio": merge_ratio(W[rare], float(np.linalg.norm(W, axis=1).max())),
    }
