"""Entropies of tables of counts, in nats, with corrections of their bias; the leading axes are separate tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from scipy.special import digamma, entr, xlogy


def plug_in(counts: np.ndarray) -> np.ndarray:
    """Entropy of the frequencies (..., cells); also of probabilities, exactly."""
    total = counts.sum(axis=-1, keepdims=True)
    return entr(counts / total).sum(axis=-1)


def miller_madow(counts: np.ndarray) -> np.ndarray:
    """Plug-in plus (cells met - 1) / (2 n): the first term of its bias, for cells that are all met."""
    return plug_in(counts) + ((counts > 0).sum(axis=-1) - 1) / (2 * counts.sum(axis=-1))


def jackknife(counts: np.ndarray) -> np.ndarray:
    """Jackknife: n H - (n - 1) times the mean of the entropies that leave one sample out; no bias of order 1/n."""
    n = counts.sum(axis=-1)
    own = xlogy(counts, counts)
    one_less = np.maximum(counts - 1, 0)
    sums = own.sum(axis=-1, keepdims=True) - own + xlogy(one_less, one_less)
    left_out = np.log(n - 1)[..., None] - sums / (n - 1)[..., None]
    mean = (counts * left_out).sum(axis=-1) / n
    return n * plug_in(counts) - (n - 1) * mean


def grassberger(counts: np.ndarray) -> np.ndarray:
    """Digamma weights: ln n - (1/n) sum k G(k), G(k) = psi(k) + (-1)^k (psi((k+1)/2) - psi(k/2)) / 2."""
    n, k = counts.sum(axis=-1), np.maximum(counts, 1)
    sign = np.where(k % 2 == 0, 1.0, -1.0)
    weight = digamma(k) + sign * (digamma((k + 1) / 2) - digamma(k / 2)) / 2
    return np.log(n) - (counts * weight).sum(axis=-1) / n


ESTIMATORS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = MappingProxyType(
    {"plug-in": plug_in, "miller-madow": miller_madow, "jackknife": jackknife, "grassberger": grassberger}
)

_KEPT = {"F": (0,), "Y": (1,), "L": (2,), "FY": (0, 1), "FL": (0, 2), "YL": (1, 2), "FYL": (0, 1, 2)}
NAMES = ("I_FY", "I_LY", "I_FL", "I_FY_given_L", "I_LY_given_F", "I_FL_given_Y", "mu", "H_Y")


def measures(tables: np.ndarray, entropy: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
    """All information measures of tables (..., F, Y, L) from seven entropies, so that every identity holds."""
    lead = tables.shape[:-3]
    H = {}
    for name, kept in _KEPT.items():
        summed = tuple(axis - 3 for axis in range(3) if axis not in kept)
        H[name] = entropy(tables.sum(axis=summed).reshape(*lead, -1))
    I_FY, I_LY, I_FL = H["F"] + H["Y"] - H["FY"], H["L"] + H["Y"] - H["YL"], H["F"] + H["L"] - H["FL"]
    joint = H["FYL"]
    given = (
        H["FL"] + H["YL"] - joint - H["L"], H["FL"] + H["FY"] - joint - H["F"], H["FY"] + H["YL"] - joint - H["Y"]
    )  # fmt: skip
    return dict(zip(NAMES, (I_FY, I_LY, I_FL, *given, I_FY - given[0], H["Y"]), strict=True))
