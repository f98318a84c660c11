"""Classes sorted into groups: by (count, weight) for the report, by mass for the solver."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SAME_MASS = 1e-14  # masses closer than this (relative) are one group; the loss does not see the difference


@dataclass(frozen=True, slots=True)
class Partition:
    """Report groups in order of falling count (then weight), and the mass group each belongs to.

    Attributes
    ----------
    count, weight, classes : (R,) per report group.
    index : (K,) report group of each class.
    mass_group : (R,) mass group of each report group.
    mass, mass_classes : (G,) share of one class, number of classes; masses fall.
    """

    count: np.ndarray
    weight: np.ndarray
    classes: np.ndarray
    index: np.ndarray
    mass_group: np.ndarray
    mass: np.ndarray
    mass_classes: np.ndarray

    @property
    def class_mass_group(self) -> np.ndarray:
        """(K,) mass group of each class."""
        return self.mass_group[self.index]

    def shown(self) -> str:
        """The counts as ``100x5,10x5``, shortened past six groups."""
        groups = [f"{int(n)}x{k}" for n, k in zip(self.count, self.classes, strict=True)]
        return ",".join(groups if len(groups) <= 6 else [*groups[:3], f"... {len(groups) - 4} more ...", groups[-1]])


def partition(counts: np.ndarray, weights: np.ndarray | None, *, by_mass: bool = True) -> Partition:
    """Group classes of equal count and weight; then, where only the product matters, groups of equal mass."""
    if weights is None:
        count, index, classes = np.unique(-counts, return_inverse=True, return_counts=True)
        count, weight = -count, np.ones(len(count))
    else:
        rows = np.stack([-counts, -weights], axis=1)
        unique, index, classes = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
        count, weight = -unique[:, 0], -unique[:, 1]
    relative = count * (weight / weight.max())
    mass = relative / (relative @ classes)
    if not by_mass:
        return Partition(count, weight, classes, index.reshape(-1), np.arange(len(count)), mass, classes.astype(float))
    order = np.argsort(-mass, kind="stable")
    falls = np.empty(len(mass), bool)
    falls[0] = False
    falls[1:] = mass[order][:-1] > mass[order][1:] * (1 + SAME_MASS)
    group = np.empty(len(mass), np.intp)
    group[order] = np.cumsum(falls)
    mass_classes = np.bincount(group, weights=classes)
    total = np.bincount(group, weights=classes * mass)
    return Partition(count, weight, classes, index.reshape(-1), group, total / mass_classes, mass_classes)
