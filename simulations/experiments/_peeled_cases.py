"""The models that ``unconstrained-features`` descends on, each beside its certified optimum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simulations.experiments import _peeled_descent as descent
from theory.peeled import (
    DeepLinearModel,
    LayerPeeledModel,
    PeeledSolution,
    UnconstrainedFeaturesModel,
    deep_linear_threshold,
    regularization_path,
    solve,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One model. ``share`` is lam_Z over the least sqrt(n_k)/N; budgets replace it.

    Attributes
    ----------
    label : for tables. counts : samples per class.
    ratio : lam_W / lam_Z. lam_b, loss, relu : as in the model.
    budgets : (E_W, E_H), or None.
    """

    label: str
    counts: tuple[int, ...]
    share: float = 0.5
    ratio: float = 1.0
    lam_b: float | None = None
    loss: str = "cross_entropy"
    relu: bool = False
    budgets: tuple[float, float] | None = None
    algorithms: tuple[str, ...] = field(default=("gd", "momentum"))

    def model(self) -> UnconstrainedFeaturesModel | LayerPeeledModel:
        """The specification."""
        if self.budgets is not None:
            return LayerPeeledModel(counts=self.counts, E_W=self.budgets[0], E_H=self.budgets[1], loss=self.loss)
        lam = self.share * np.sqrt(min(self.counts)) / sum(self.counts)
        return UnconstrainedFeaturesModel(
            counts=self.counts, lam_W=lam * self.ratio, lam_H=lam / self.ratio, lam_b=self.lam_b, loss=self.loss,
            features="relu" if self.relu else "free",
        )  # fmt: skip


ALL = ("gd", "momentum", "sgd")
QUICK = (
    Case(label="balanced", counts=(6,) * 10, share=0.3, algorithms=ALL),
    Case(label="two groups, merged", counts=(20,) * 5 + (4,) * 5, share=1.1),
    Case(label="three groups, free bias", counts=(40, 40, 16, 16, 4, 4), lam_b=0.0),
    Case(label="two groups, squared error", counts=(20,) * 5 + (4,) * 5, share=0.3, loss="mse"),
    Case(label="nonnegative features", counts=(24, 12, 6, 3), share=0.3, relu=True, algorithms=("momentum",)),
    Case(label="budgets, two groups", counts=(20,) * 5 + (4,) * 5, budgets=(1.0, 5.0), algorithms=("momentum",)),
)
DEFAULT = (
    Case(label="balanced, K = 4", counts=(12,) * 4, share=0.3, algorithms=ALL),
    Case(label="balanced, K = 10", counts=(6,) * 10, share=0.3, algorithms=ALL),
    Case(label="two groups, separated", counts=(20,) * 5 + (4,) * 5, share=0.3, algorithms=ALL),
    Case(label="two groups, merged", counts=(20,) * 5 + (4,) * 5, share=1.1, algorithms=ALL),
    Case(label="two groups, rare at zero", counts=(20,) * 5 + (4,) * 5, share=1.4, algorithms=ALL),
    Case(label="long tail", counts=(48, 24, 12, 6, 3), algorithms=ALL),
    Case(label="long tail, lam_W = 4 lam_H", counts=(48, 24, 12, 6, 3), ratio=2.0, algorithms=ALL),
    Case(label="three groups, free bias", counts=(40, 40, 16, 16, 4, 4), lam_b=0.0, algorithms=ALL),
    Case(label="three groups, penalised bias", counts=(40, 40, 16, 16, 4, 4), lam_b=0.01),
    Case(label="squared error", counts=(20,) * 5 + (4,) * 5, share=0.3, loss="mse", algorithms=ALL),
    Case(label="squared error, free bias", counts=(48, 24, 12, 6, 3), loss="mse", lam_b=0.0, algorithms=ALL),
    Case(label="nonnegative features, balanced", counts=(12,) * 4, share=0.3, relu=True),
    Case(label="nonnegative features, long tail", counts=(24, 12, 6, 3), share=0.3, relu=True),
    Case(label="nonnegative, squared error", counts=(24, 12, 6, 3), share=0.3, loss="mse", relu=True),
    Case(label="budgets, balanced", counts=(12,) * 4, budgets=(1.0, 5.0)),
    Case(label="budgets, separated", counts=(20,) * 5 + (4,) * 5, budgets=(1.0, 5.0)),
    Case(label="budgets, merged", counts=(40,) * 5 + (2,) * 5, budgets=(1.0, 5.0)),
    Case(label="budgets, squared error", counts=(20,) * 5 + (4,) * 5, budgets=(0.5, 0.5), loss="mse"),
)


def run_case(
    case: Case,
    algorithm: str,
    *,
    starts: int,
    max_steps: int,
    sgd_steps: int,
    seed: int,
    callback: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Descend from ``starts`` starts and hold the ends against the certified optimum; plain values."""
    best = solve(case.model())
    counts = np.asarray(case.counts)
    if case.budgets is not None:
        E_W, E_H = case.budgets
        # half of what |Z| bounds: 1/2 (cross-entropy) or 1 times the mean squared norms at the budgets
        curvature = (1.0 if case.loss == "mse" else 0.5) * (E_W + E_H) * counts.max() / counts.sum()
        found = descent.descend_budgets(
            counts, E_W, E_H, starts=starts, smoothness=curvature, loss=case.loss, algorithm=algorithm,
            max_steps=max_steps, seed=seed, callback=callback,
        )  # fmt: skip
    else:
        lam = best.multiplier
        norms, smoothness = scale_of(best, lam, case.lam_b is not None, case.ratio)
        found = descent.descend_penalised(
            counts, np.full(starts, lam), start_norms=norms, smoothness=smoothness, ratio=case.ratio,
            lam_b=case.lam_b, loss=case.loss, relu=case.relu, algorithm=algorithm, seed=seed, callback=callback,
            max_steps=sgd_steps if algorithm == "sgd" else max_steps,
        )  # fmt: skip
    gram, theory = found.W @ found.W.transpose(0, 2, 1), best.gram_classifier()
    return {
        "lower": best.certificate.lower, "objective": best.objective, "phase": best.groups[-1].phase,
        "excess": (found.objective - best.certificate.lower) / best.objective, "gradient": found.gradient,
        "gram": np.linalg.norm(gram - theory, axis=(1, 2)) / np.linalg.norm(theory), "within": found.within,
        "steps": found.steps,
    }  # fmt: skip


def scale_of(best: PeeledSolution, lam: float, bias: bool, ratio: float = 1.0) -> tuple[tuple[float, float], float]:
    """Frobenius norms of W and H at the optimum, and a bound on the curvature of objective / lam_Z there.

    The loss bends by at most c (|W|^2 + |H|^2)/(lam_Z N) in spectral norms, c = 1/2 for the cross-entropy and 1 for
    the squared error; the penalties add max(r, 1/r), the slope of the loss at most 1 (stationarity).
    """
    counts = np.asarray(best.model.counts)
    W, H = best.classifier(), best.features() * np.sqrt(counts)
    c = 1.0 if getattr(best.model, "loss", "") == "mse" else 0.5
    square = np.linalg.norm(W, 2) ** 2 + np.linalg.norm(H, 2) ** 2 + (counts.max() if bias else 0.0)
    smoothness = 1 + max(ratio, 1 / ratio) + c * square / (lam * counts.sum())
    return (float(np.linalg.norm(W)), float(np.linalg.norm(H))), float(smoothness)


def run_path(
    counts: np.ndarray, lams: np.ndarray, *, loss: str, starts: int, max_steps: int, seed: int,
    callback: Callable[[int], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Descend at every penalty, ``starts`` times, step size and starts from the smallest penalty's optimum.

    Row (i, j) of the arrays is start j at ``lams[i]``; rows of W shorter than 1e-3 of the longest at any penalty
    count as zero.
    """
    least = float(lams.min())
    best = solve(UnconstrainedFeaturesModel(counts=counts, lam_W=least, lam_H=least, loss=loss))
    norms, smoothness = scale_of(best, least, False)
    found = descent.descend_penalised(
        counts, np.repeat(lams, starts), start_norms=norms, smoothness=smoothness, loss=loss, max_steps=max_steps,
        seed=seed, scales=(0.3, 1.0), callback=callback,
    )  # fmt: skip
    zero = 1e-3 * float(np.linalg.norm(found.W, axis=-1).max())
    groups = [np.flatnonzero(counts == n) for n in np.unique(counts)[::-1]]
    shape = (len(lams), starts)
    Z = found.logits()
    return {
        "merge_ratio": np.stack([descent.merge_ratio(found.W, g, zero=zero) for g in groups], -1).reshape(*shape, -1),
        "split": np.stack([descent.split(found.W, g) for g in groups], -1).reshape(*shape, -1),
        "diagonal": np.stack([Z[:, g, g].mean(-1) for g in groups], -1).reshape(*shape, -1),
        "gradient": found.gradient.reshape(shape), "objective": found.objective.reshape(shape), "steps": found.steps,
    }  # fmt: skip


def run_deep(
    counts: np.ndarray, products: np.ndarray, depth: int, *, starts: int, max_steps: int, seed: int,
    callback: Callable[[int], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Deep linear model, balanced counts, squared error: singular values of Z that descent finds at each product.

    The products are shares of the threshold of :func:`theory.peeled.deep_linear_threshold`.
    """
    N, n = int(counts.sum()), float(counts.max())
    threshold = deep_linear_threshold(n, N, depth)
    lams = (products * threshold) ** (1 / (depth + 1))
    largest = np.sqrt(n) ** (1 / (depth + 1))  # of a factor at Z = I
    norm = np.sqrt(len(counts)) * largest
    curvature = (depth + 1) * (1 + largest ** (2 * depth) / (float(lams.min()) * N))
    found = descent.descend_penalised(
        counts, np.repeat(lams, starts), start_norms=(norm, norm), smoothness=float(curvature), loss="mse",
        hidden=depth - 1, max_steps=max_steps, seed=seed, scales=(1.0, 0.01), callback=callback,
    )  # fmt: skip
    best = [solve(DeepLinearModel(counts=counts, lam=float(lam), depth=depth)) for lam in lams]
    lower = np.array([s.certificate.lower for s in best])
    excess = (found.objective.reshape(-1, starts) - lower[:, None]) / np.array([s.objective for s in best])[:, None]
    values = np.linalg.svd(found.logits(), compute_uv=False)
    return {
        "singular_values": values.reshape(len(lams), starts, -1), "gradient": found.gradient.reshape(-1, starts),
        "excess": excess, "optimum": [float(np.trace(s.logits())) / len(counts) for s in best], "steps": found.steps,
    }  # fmt: skip


def theory_curves(
    counts: np.ndarray, lams: np.ndarray, thresholds: np.ndarray, *, points: int,
    callback: Callable[[int], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Merge ratios of the certified optimum at ``lams`` and on a fine grid that is denser below the thresholds."""
    model = UnconstrainedFeaturesModel(counts=counts, lam_W=1, lam_H=1)
    near = [t * (1 + np.array([-1e-2, -3e-3, -1e-3, -1e-4, 1e-4])) for t in thresholds]
    fine = np.unique(np.concatenate([np.linspace(lams.min(), lams.max(), points), *near]))
    tell = None if callback is None else lambda done, gap: callback(done)
    return {
        "fine": fine, "fine merge ratio": regularization_path(model, lam_Z=fine, callback=tell).merge_ratio,
        "merge ratio": regularization_path(model, lam_Z=lams, callback=tell).merge_ratio,
    }  # fmt: skip
