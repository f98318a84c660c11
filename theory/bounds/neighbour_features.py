r"""Nearest neighbours on several feature maps: the certificate for the best, safety and smoothness beside it.

.. math:: R_{f,k} \le \hat R_{\mathrm{loo}}(f, k) + \sqrt{m\, v_k / \delta} \quad \text{for all } m \text{ pairs } f, k

*derived*: ``NearestNeighbourBound`` at delta/m for each pair, and the union: map and k are chosen after looking.

rimanic2020convergence bounds the excess error on features f by ``O(1/sqrt k) + O(L (k/n)^(1/d)) + O(safety^(1/4))``
with constants that are not given: safety is what f loses of the posterior, L how fast the rest varies. Both are
estimated here (*measure*, no guarantee) as the terms that tell maps apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats, as_labels
from theory._errors import InvalidInput
from theory.bounds._kl import as_delta
from theory.bounds._neighbours import BLOCK, _nearest
from theory.bounds._report import BoundReport
from theory.bounds.nearest_neighbour import NearestNeighbourBound


@dataclass(frozen=True, slots=True, kw_only=True)
class MapQuality:
    """Leave-one-out neighbours of one feature map with one k.

    Attributes
    ----------
    name, k : of the map; neighbours.
    report : the certificate at its share of delta.
    mean_square : mean over samples of ``||e_y - p||^2``, p the shares of labels among the k nearest others.
    safety : ``mean_square`` less that of the reference map with this k, at least 0; None without a reference. *measure*
    smoothness : 0.9-quantile over samples of ``||p_i - p_j|| / ||f_i - f_j||``, j the k-th neighbour of i, times
        the root mean square distance of the features from their mean (so that a scaling of f leaves it). *measure*
    """

    name: str
    k: int
    report: BoundReport
    mean_square: float
    safety: float | None
    smoothness: float

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "name": self.name, "k": self.k, "report": self.report.to_json(), "mean_square": self.mean_square,
            "safety": self.safety, "smoothness": self.smoothness,
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"MapQuality({self.name}, k = {self.k}: {self.report.value:.4g})"


@dataclass(frozen=True, slots=True, kw_only=True)
class MapComparison:
    """All pairs of a map and a k; with probability 1 - delta all their reports hold at once."""

    rows: tuple[MapQuality, ...]
    delta: float

    @property
    def best(self) -> MapQuality:
        """The pair with the least bound."""
        return min(self.rows, key=lambda row: row.report.value)

    def summary(self) -> str:
        """One line per pair."""
        lines = [f"{'map':<16}{'k':>4}{'bound':>10}{'loo':>10}{'safety':>10}{'smoothness':>12}"]
        for r in self.rows:
            safety = f"{r.safety:.4f}" if r.safety is not None else "-"
            loo = r.report.terms["empirical"]
            lines.append(f"{r.name:<16}{r.k:>4}{r.report.value:>10.4f}{loo:>10.4f}{safety:>10}{r.smoothness:>12.3g}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {"delta": self.delta, "rows": [row.to_json() for row in self.rows]}

    def __repr__(self) -> str:
        return f"MapComparison({len(self.rows)} pairs, best {self.best!r})"


def compare_maps(
    maps: Mapping[str, ArrayLike], labels: ArrayLike, *, ks: Sequence[int], classes: int, delta: float = 0.01,
    independent_features: bool = False, reference: str | None = None, rng: int = 0,
) -> MapComparison:  # fmt: skip
    """Certificates for the k-neighbour rule on every feature map, valid for the best of them.

    *derived* (the certificates), *measure* (safety, smoothness): see the module.

    Parameters
    ----------
    maps : features (n, d) of the same n samples, by name.
    labels : 0..classes-1 (n).
    ks : numbers of neighbours, fixed before the sample as a list.
    delta : failure probability of all certificates together.
    independent_features : your word that no map depends on this sample.
    reference : the map that safety is measured against, such as the raw inputs.
    rng : seed of the numbers that order equal distances.

    Raises
    ------
    InvalidInput : no map or no k, shapes that do not meet, labels out of range, an unknown reference.
    PreconditionError : the maps are not declared independent of the sample.

    Cost: O(n^2 d) for each pair.

    When not to trust it: for features trained on these samples. Safety compares two estimates that both have the error
    of k neighbours; with few samples in many dimensions it says which map suits neighbours, not what the map lost.

    Examples
    --------
    >>> x = np.arange(8.0)[:, None]
    >>> found = compare_maps({"x": x, "sign": np.sign(x - 3.5)}, [0] * 4 + [1] * 4, ks=[1, 3], classes=2, delta=0.5,
    ...                      independent_features=True, reference="x")
    >>> len(found.rows), found.best.report.terms["empirical"]
    (4, 0.0)
    """
    level, y = as_delta(delta), as_labels("labels", labels)
    if not isinstance(maps, Mapping) or not isinstance(ks, Iterable):
        raise InvalidInput("maps must give features by name, and ks be a sequence of whole numbers.")
    named = {str(name): as_floats(f"maps[{name!r}]", F, ndim=2) for name, F in maps.items()}
    counts = tuple(dict.fromkeys(as_count("k", k) for k in ks))
    if not named or not counts:
        raise InvalidInput("at least one map and one k are wanted.")
    if reference is not None and reference not in named:
        raise InvalidInput(f"no map is called {reference!r}; there are {', '.join(named)}.")
    share, found = level / (len(named) * len(counts)), {}
    for name, F in named.items():
        for k in counts:
            bound = NearestNeighbourBound(k=k, classes=classes, independent_features=independent_features, rng=rng)
            report = bound.evaluate(F, y, delta=share)
            found[name, k] = report, *_posterior(F, y, k, classes, rng)
    rows = []
    for (name, k), (report, square, smooth) in found.items():
        safety = None if reference is None else max(0.0, square - found[reference, k][1])
        rows.append(MapQuality(name=name, k=k, report=report, mean_square=square, safety=safety, smoothness=smooth))
    return MapComparison(rows=tuple(rows), delta=level)


def _posterior(F: np.ndarray, y: np.ndarray, k: int, classes: int, rng: int) -> tuple[float, float]:
    """Mean square error of the neighbours' shares, and how fast they vary."""
    n, u = len(y), np.random.default_rng(rng).random(len(y))
    norms = np.einsum("ij,ij->i", F, F)
    step = max(1, BLOCK // n)
    near = np.concatenate([_nearest(F, norms, u, np.arange(a, min(n, a + step)), k) for a in range(0, n, step)])
    one = np.eye(classes)[y]
    shares = one[near].mean(axis=1)
    far = near[:, -1]
    moved, away = (np.linalg.norm(A - A[far], axis=1) for A in (shares, F))
    slopes = np.zeros(n)
    np.divide(moved, away, out=slopes, where=away > 0)
    slopes[(away == 0) & (moved > 0)] = np.finfo(float).max
    spread = float(np.sqrt(((F - F.mean(axis=0)) ** 2).sum(axis=1).mean()))
    slope = float(np.quantile(slopes, 0.9, method="higher"))
    return float(((one - shares) ** 2).sum(axis=1).mean()), slope * spread if slope < 1e300 else float("inf")
