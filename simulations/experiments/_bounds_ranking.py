"""Which quantity orders networks as the gap does, and how complexity terms grow with the size of the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta, kendalltau

from simulations.experiments._bounds_networks import SCALED, Setting

LEVEL = 0.005  # of each one-sided binomial limit
LEARNT = 0.5  # error on the sample below which random labels count as learnt, at least in part
Records = dict[tuple[Setting, int], dict[str, Any]]


def binomial_limits(errors: ArrayLike, n: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Clopper-Pearson limits of an error probability, each at level 0.005 (99 % together)."""
    k, n = np.asarray(errors, float), np.asarray(n, float)
    low = np.where(k > 0, beta.ppf(LEVEL, np.maximum(k, 1), n - k + 1), 0.0)
    high = np.where(k < n, beta.ppf(1 - LEVEL, k + 1, np.maximum(n - k, 1)), 1.0)
    return low, high


def gap(row: dict[str, Any]) -> float:
    """Error on held-out samples minus error on the sample."""
    return row["test_errors"] / row["held_out"] - row["error"]


def scores(row: dict[str, Any]) -> dict[str, float]:
    """What ranks networks, larger for worse: log10 of each certificate, and the measures (None was infinite)."""
    said = {name: found["log10"] for name, found in row["certificates"].items()}
    return said | {name: np.inf if value is None else value for name, value in row["measures"].items()}


def slacks(setting: Setting, row: dict[str, Any]) -> dict[str, float]:
    """Certificate minus error: the lower binomial limit, on random labels the known 1 - 1/K."""
    out = {}
    for name, found in row["certificates"].items():
        known = float(binomial_limits(found["test_errors"], row["held_out"])[0])
        out[name] = 10 ** min(found["log10"], 300.0) - (setting.chance if setting.labels == "random" else known)
    return out


def tau(x: Sequence[float], y: Sequence[float]) -> float:
    """Kendall's tau-b; NaN with fewer than three points or all ties."""
    if len(x) < 3 or len(set(x)) < 2 or len(set(y)) < 2:
        return float("nan")
    return float(kendalltau(x, y).statistic)


def mean(values: Sequence[float]) -> float:
    """Mean of those that are numbers, NaN if none is."""
    kept = [value for value in values if not np.isnan(value)]
    return float(np.mean(kept)) if kept else float("nan")


def taus_along(records: Records, axis: Sequence[Setting], seed: int) -> dict[str, float]:
    """Tau between each quantity and the gap over settings, at the end of training."""
    rows = [records[setting, seed]["rows"][-1] for setting in axis]
    return _taus(rows)


def taus_in_training(records: Records, settings: Sequence[Setting], seed: int) -> dict[str, float]:
    """Tau over the epochs of each network, averaged over networks."""
    found = [_taus(records[setting, seed]["rows"]) for setting in settings]
    names = {name: None for one in found for name in one}
    return {name: mean([one[name] for one in found if name in one]) for name in names}


def _taus(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    told, gaps = [scores(row) for row in rows], [gap(row) for row in rows]
    names = {name: None for one in told for name in one}
    out = {}
    for name in names:
        has = [i for i, one in enumerate(told) if name in one]
        out[name] = tau([told[i][name] for i in has], [gaps[i] for i in has])
    return out


def random_above_true(records: Records, pairs: Sequence[tuple[Setting, Setting]], seed: int) -> dict[str, float]:
    """Share of pairs (true, random) in which the quantity is larger on random labels, where these were learnt."""
    rows = [[records[setting, seed]["rows"][-1] for setting in pair] for pair in pairs]
    ends = [[scores(row) for row in pair] for pair in rows if pair[1]["error"] < LEARNT]
    names = {name: None for true, _ in ends for name in true}
    return {name: mean([float(r[name] > t[name]) for t, r in ends if name in t and name in r]) for name in names}


def slope(variable: str, sizes: Sequence[float], log10: Sequence[float]) -> float:
    """Least-squares exponent in n or width, or log10 of the growth per layer in depth."""
    x = np.asarray(sizes, float) if variable == "depth" else np.log10(sizes)
    return float(np.polyfit(x, log10, 1)[0])


def measured_slope(records: Records, axis: Sequence[Setting], variable: str, name: str, seed: int) -> float:
    """Of the complexity term at the median margin of each trained network; NaN where a median is not positive."""
    found = [records[setting, seed]["rows"][-1]["complexity"].get(name) for setting in axis]
    if None in found:
        return float("nan")
    return slope(variable, [getattr(setting, variable) for setting in axis], found)


def predicted_slopes(axes: dict[str, list[Setting]], base: Setting) -> dict[str, dict[str, float]]:
    """From the architecture alone: random weights of variance 2 / fan-in, unit inputs, unit margins."""
    from theory.bounds import get, scaling
    from theory.bounds._scaling import Family

    family = Family(depth=base.depth, width=base.width, n=base.n, classes=base.widths()[-1])
    out: dict[str, dict[str, float]] = {}
    for variable, axis in axes.items():
        sizes = [getattr(setting, variable) for setting in axis]
        for name in SCALED:
            found = scaling(get(name), variable, sizes, family=family)
            out.setdefault(variable, {})[name] = slope(variable, found.values, found.log10)
    return out
