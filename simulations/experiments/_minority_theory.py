"""What the models of the last layer predict for the rare classes of ``minority-collapse``."""

from __future__ import annotations

from typing import Any

import numpy as np

from simulations.experiments._minority_networks import RARE, SCALE, K, Setting, class_weights
from theory._errors import InvalidInput, NotConverged, TheoryError
from theory.peeled import (
    LayerPeeledModel,
    PeeledSolution,
    UnconstrainedFeaturesModel,
    collapse_threshold,
    oversampled,
    restoring_weights,
    solve,
)

FINE = 1000  # fine curves take FINE times the samples, so that counts between whole ones exist


def penalties(
    setting: Setting, counts: np.ndarray, lam_H: float, sampling: str, *, copies: int = 1
) -> UnconstrainedFeaturesModel:
    r"""The unconstrained-features model of a run: weight decay and its effective penalty on the features.

    Oversampling weights the loss and not the penalty, for all copies of a sample share one feature. With ``copies``
    times the samples, lam_H / copies leaves the logits as they are (lam_Z enters as N lam_Z / sqrt(n); *derived*).

    On orthonormal inputs of norm c the effective penalty is known before training, lam_H = lam / c^2: the features'
    pre-activations A = W_1 X are free, and the least ||W_1||^2 for them is ||A||^2 / c^2; nonnegative features cost the
    same, as ||relu(a)|| <= ||a|| (*derived*).
    """
    return UnconstrainedFeaturesModel(
        counts=counts, lam_W=setting.lam, lam_H=lam_H / copies, features=setting.features,
        class_weights=class_weights(counts) if sampling == "balanced" else None,
    )  # fmt: skip


def known_penalty(setting: Setting) -> float | None:
    """The penalty lam_H = lam / c^2 on orthonormal inputs; None where only the run tells."""
    return setting.lam / SCALE**2 if setting.inputs == "orthonormal" else None


def budgets(counts: np.ndarray, E_W: float, E_H: float, sampling: str) -> LayerPeeledModel:
    """The layer-peeled model at a run's budgets; oversampling by the weights that restore the simplex."""
    model = LayerPeeledModel(counts=counts, E_W=E_W, E_H=E_H)
    return oversampled(model, restoring_weights(counts)) if sampling == "balanced" else model


def counts_at(frequent: int, rare: int) -> np.ndarray:
    """(K,) frequent classes first."""
    return np.array([frequent] * (K - RARE) + [rare] * RARE)


def rarest(solution: PeeledSolution) -> tuple[float, float]:
    """Cosine (1 where merged) and merge ratio of the rare classes."""
    group = solution.groups[-1]
    return group.cos_within, group.merge_ratio


def predictions(setting: Setting, rare: int, sampling: str, run: dict[str, Any]) -> dict[str, float]:
    """All predictions for one run; the penalty is lam / c^2 where that is known, else the measured one."""
    counts = counts_at(setting.frequent, rare)
    known = known_penalty(setting)
    best = solve(penalties(setting, counts, run["lam_H"] if known is None else known, sampling))
    at_run = best if known is None else solve(penalties(setting, counts, run["lam_H"], sampling))
    peeled = solve(budgets(counts, run["E_W"], run["E_H"], sampling))
    out = dict(zip(("cosine", "merge_ratio"), rarest(best), strict=True))
    out |= dict(zip(("peeled_cosine", "peeled_merge_ratio"), rarest(peeled), strict=True))
    return out | {"lower": at_run.certificate.lower}


def peeled_threshold(E_W: float, E_H: float) -> float:
    """R0(E_W E_H) of the layer-peeled model at a run's budgets; NaN where it is too large for float64."""
    try:
        return collapse_threshold(majority=K - RARE, minority=RARE, E_W=E_W, E_H=E_H).R0
    except (InvalidInput, NotConverged):
        return float("nan")


def merging_ratio(setting: Setting, ratios: np.ndarray, lam_H: np.ndarray) -> float:
    r"""R* from which the unconstrained-features model has the rare classes merged, without oversampling.

    .. math:: n_A / R \le c\,(N \lambda_Z)^2, \qquad N = n_A (K_A + K_B / R)

    with c = 1 for free features and K/(K-1) for nonnegative ones (``theory.peeled.merge_threshold``); log lam_H is
    interpolated in log R and kept constant beyond the measured ratios.
    """
    factor = 1.0 if setting.features == "free" else K / (K - 1)

    def excess(R: float) -> float:
        lam = np.exp(np.interp(np.log(R), np.log(ratios), np.log(lam_H)))
        N = setting.frequent * (K - RARE + RARE / R)
        return float(factor * N**2 * setting.lam * lam - setting.frequent / R)

    from scipy.optimize import brentq

    return 1.0 if excess(1.0) >= 0 else float(brentq(excess, 1.0, 1e9))


def fine_curves(
    setting: Setting, ratios: np.ndarray, runs: dict[str, dict[str, np.ndarray]], points: int
) -> dict[str, np.ndarray]:
    """Theory along R for the figure; measured penalties and budgets are interpolated, logarithms in log R.

    ``runs`` holds (n,) means over seeds of lam_H, E_W, E_H at ``ratios`` for each sampling. ``R0`` is that of the
    layer-peeled model at the budgets that the runs without oversampling have at each of ``ratios``.
    """
    top = setting.frequent * FINE
    grid = np.geomspace(ratios.min(), ratios.max(), points)
    lam_H, known = runs["shuffle"]["lam_H"], known_penalty(setting)
    edge = merging_ratio(setting, ratios, lam_H if known is None else np.full(len(ratios), known))
    near = edge * np.array([0.93, 0.97, 0.99, 0.997, 1.003])
    grid = np.append(grid, near[near <= ratios.max()])
    rare = np.unique(np.round(top / grid).astype(int))[::-1]
    R = top / rare
    pairs = zip(runs["shuffle"]["E_W"], runs["shuffle"]["E_H"], strict=True)
    out = {"R": R, "R0": np.array([peeled_threshold(float(E_W), float(E_H)) for E_W, E_H in pairs])}
    for sampling, means in runs.items():
        values = {name: np.exp(np.interp(np.log(R), np.log(ratios), np.log(x))) for name, x in means.items()}
        for name in ("cosine", "merge_ratio", "peeled_cosine", "peeled_merge_ratio"):
            out[f"{sampling} {name}"] = np.full(len(R), np.nan)
        for i, n in enumerate(rare):
            counts = counts_at(top, int(n))
            here = values["lam_H"][i] if known is None else known
            for prefix, model in (
                ("", penalties(setting, counts, here, sampling, copies=FINE)),
                ("peeled_", budgets(counts, values["E_W"][i], values["E_H"][i], sampling)),
            ):
                try:
                    cos, merge = rarest(solve(model))
                except TheoryError:
                    continue
                out[f"{sampling} {prefix}cosine"][i], out[f"{sampling} {prefix}merge_ratio"][i] = cos, merge
    return out
