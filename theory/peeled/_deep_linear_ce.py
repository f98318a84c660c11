r"""The deep linear model with cross-entropy: the best point found, bracketed by a rigorous lower bound.

No closed form of the optimum is known: the penalty sum sigma^(2/(L+1)) favours low rank, and the simplex frame in every
layer is not optimal for K >= 4, L >= 3 and for K >= 6, L = 2 (*proved*: garrod2025persistence). So this solver compares
families (:mod:`theory.peeled._deep_constructions`) and descends on the factors themselves, and calls a point optimal
only where the lower bound (:mod:`theory.peeled._deep_bound`) meets it.
"""

from __future__ import annotations

import numpy as np

from theory._certificate import Certificate
from theory._errors import PreconditionError
from theory.peeled import _deep_constructions as constructions
from theory.peeled._deep_bound import lower_bound
from theory.peeled._deep_factors import explicit, layered
from theory.peeled._factors import Factors, SymmetricFactors
from theory.peeled._options import Options
from theory.peeled._seli import weighted_simplex
from theory.peeled.deep_linear import DeepLinearModel
from theory.peeled.solution import PeeledSolution, build_solution

METHODS = ("auto", "collapsed", "pairing", "polygon", "local")
MOST_CLASSES = 2000
MOST_CLASSES_LOCAL, MOST_FACTORS_LOCAL = 24, 12
RANDOM_STARTS = 6
TIE = 1e-12
BETTER = 1e-9  # a local search must beat the families by this much, relatively, to replace them


def solve_model(model: DeepLinearModel, options: Options) -> PeeledSolution:
    """See :func:`theory.peeled.solve`."""
    K, M, parts = model.num_classes, model.factors, model._partition
    if K > MOST_CLASSES:
        raise PreconditionError(
            f"the deep model with cross-entropy takes at most {MOST_CLASSES} classes, but K = {K}; "
            "deep_collapse_map compares the constructions for any number."
        )
    setting = constructions.Setting(parts.count, parts.classes.astype(float), M / 2 * model.mean_penalty, 2 / M)
    lower = lower_bound(setting.count, setting.classes, setting.c, setting.q)
    names = (options.method,) if options.method in constructions.NAMES else constructions.NAMES
    found = [constructions.BUILDERS[name](setting) for name in names]
    width = K if model.dimension is None else model.dimension
    fits = [f for f in found if f.rank <= width]
    if not fits and options.method in constructions.NAMES:
        raise PreconditionError(
            f"the {options.method} construction has rank {found[0].rank}, but dimension is {model.dimension}."
        )
    fits = [constructions.Candidate("zero", float(np.log(K)), np.zeros(1), 0), *fits]
    least = min(f.value for f in fits)
    best = next(f for f in fits if f.value <= least * (1 + TIE))  # K = 2, 3: several families are the simplex frame
    order = np.argsort(-np.asarray(model.counts), kind="stable")

    point: np.ndarray | None = None
    value, name, rank = best.value, best.name, best.rank
    small = K <= MOST_CLASSES_LOCAL and M <= MOST_FACTORS_LOCAL
    if options.method == "local" and not small:
        raise PreconditionError(
            f"method 'local' takes at most {MOST_CLASSES_LOCAL} classes and {MOST_FACTORS_LOCAL - 1} layers, "
            f"but K = {K}, L = {M - 1}."
        )
    searched = small and options.method in ("auto", "local") and value - lower > options.rtol * value
    if searched:
        from theory.peeled._deep_descent import descend

        starts = [constructions.logits(f, setting) for f in fits if f.rank]
        Z, local, r = descend(
            starts, np.asarray(model.counts)[order], model.mean_penalty, M, min(width, K),
            max_steps=max(options.max_steps, 1000), random_starts=RANDOM_STARTS, rng=options.rng,
        )  # fmt: skip
        if local < value * (1 - BETTER):
            point, value, name, rank = Z, local, "local", r

    gap = max(value - lower, 0.0)
    certificate = Certificate(
        lower=min(lower, value), upper=value, gap=gap, method="nuclear relaxation of the quasi-norm, entropy dual"
    )
    return build_solution(
        model, _factors(model, setting, name, best, point, rank, order), certificate, method=name,
        status=_status(name, certificate.relative_gap <= options.rtol, searched), multiplier=model.mean_penalty,
        began=options.began, merge_tol=1e-6,
    )  # fmt: skip


def _status(name: str, proved: bool, searched: bool) -> str:
    if proved:
        return "optimal"
    how = "constructions and local search" if searched else "constructions only"
    return f"best found ({name}; {how}): an upper bound, not proved optimal"


def _factors(
    model: DeepLinearModel, setting: constructions.Setting, name: str, best: constructions.Candidate,
    point: np.ndarray | None, rank: int, order: np.ndarray,
) -> Factors:  # fmt: skip
    counts, lams, index = np.asarray(model.counts), np.asarray(model.lams), model._partition.index
    if name in ("collapsed", "zero"):
        root, t = np.sqrt(setting.count), best.amplitude[0]
        left, s, right = weighted_simplex(np.sqrt(setting.classes / setting.K), root)
        if t == 0:
            left, s, right = left[:, :0], s[:0], right[:, :0]
        whole = SymmetricFactors(setting.classes, t * root, left, t * s, right, index, 1.0, root)
        return layered(whole, lams)
    ordered = constructions.logits(best, setting) if point is None else point
    Z = np.empty_like(ordered)
    Z[np.ix_(order, order)] = ordered
    return explicit(Z, counts, lams, index, rank)
