"""Solving the layer-peeled model: closed form, group reduction, dense, factored, semidefinite."""

from __future__ import annotations

import numpy as np

from theory._certificate import Certificate
from theory._errors import InvalidInput, NotConverged, PreconditionError
from theory.peeled._factors import ExplicitFactors, SymmetricFactors
from theory.peeled._minimise import ReducedOptimum, minimise
from theory.peeled._options import Options
from theory.peeled._program import ROUNDING, GroupProgram
from theory.peeled.closed_forms import first_group_only
from theory.peeled.model import LayerPeeledModel
from theory.peeled.solution import PeeledSolution, build_solution

METHODS = ("auto", "closed-form", "groups", "dense", "factored", "sdp")
MOST_GROUPS = 3000  # SVDs of this size take seconds each
MOST_CLASSES = {"dense": 3000, "factored": 1000, "sdp": 200}

Relaxed = tuple[ReducedOptimum, np.ndarray, np.ndarray]  # optimum, classes per group, group of each class


def solve_model(model: LayerPeeledModel, options: Options) -> PeeledSolution:
    """See :func:`theory.peeled.solve`."""
    method, K = options.method, model.num_classes
    if model.loss == "mse":
        from theory.peeled import _layer_peeled_mse as squared_error

        if method not in squared_error.METHODS:
            raise InvalidInput(
                f"method {method!r} does not apply to loss='mse'; take one of {', '.join(squared_error.METHODS)}."
            )
        return squared_error.solve_model(model, options)
    if MOST_CLASSES.get(method, K) < K:
        raise PreconditionError(f"method {method!r} takes at most {MOST_CLASSES[method]} classes, but K = {K}.")
    if method == "sdp":
        from theory.peeled.sdp import solve_sdp

        W, H, certificate = solve_sdp(model)
        return _explicit(model, W, H, certificate, "sdp", options)

    relaxed, used = _relaxed(model, options)
    solution = _checked(_symmetric(model, relaxed, used, options), options.rtol)
    p = model.dimension
    if method != "factored" and (p is None or p >= solution.rank):
        return solution
    if method in ("closed-form", "groups", "dense"):
        raise PreconditionError(
            f"method {method!r} needs dimension >= rank(Z*) = {solution.rank}, but it is {p}; use 'factored'."
        )
    if MOST_CLASSES["factored"] < K:
        raise PreconditionError(
            f"dimension {p} is below the rank {solution.rank}, and the factored method takes at most "
            f"{MOST_CLASSES['factored']} classes, but K = {K}."
        )
    from theory.peeled.factored import descend

    W, H, certificate = descend(model, solution, max_steps=max(options.max_steps, 1000), rng=options.rng)
    return _explicit(model, W, H, certificate, "factored", options)


def _relaxed(model: LayerPeeledModel, options: Options) -> tuple[Relaxed, str]:
    """The convex program without the rank constraint."""
    parts, method = model._partition, options.method
    mass, classes, index = parts.mass, parts.mass_classes, parts.class_mass_group
    if method == "dense":
        mass, classes, index = mass[index], np.ones(len(index)), np.arange(len(index))
    if len(mass) > MOST_GROUPS:
        raise PreconditionError(
            f"{len(mass)} distinct class masses; at most {MOST_GROUPS} are taken. Round the counts to fewer values."
        )
    program = GroupProgram(mass, classes, model.budget)
    if method in ("auto", "closed-form", "factored"):
        closed = first_group_only(program)
        if closed is not None and closed.gap <= 2 * ROUNDING * program.budget * closed.multiplier:
            return (closed, classes, index), "closed-form"
        if method == "closed-form":
            raise PreconditionError(
                "no closed form applies: the classes are not balanced, and the smaller classes do not vanish."
            )
    found = minimise(program, rtol=options.rtol, max_steps=options.max_steps, callback=options.callback)
    return (found, classes, index), "dense" if len(mass) == model.num_classes else "groups"


def _symmetric(model: LayerPeeledModel, relaxed: Relaxed, method: str, options: Options) -> PeeledSolution:
    found, classes, index = relaxed
    ratio = float(np.sqrt(model.E_W) / np.sqrt(model.E_H))
    factors = SymmetricFactors(classes, found.e, found.left, found.s, found.right, index, ratio)
    averaged = None
    if method == "dense":  # every class stands for itself: average over the report groups
        r = len(found.s)
        averaged = ExplicitFactors(factors.classifier(r), factors.features(r), model._partition.index)
    budget = float((classes - 1) @ found.e + found.s.sum()) / model.budget - 1
    certificate = Certificate(
        lower=found.value - found.gap, upper=found.value, gap=found.gap, method="Frank-Wolfe dual gap",
        residuals={
            "stationarity": found.stationarity, "budget_W": budget, "budget_H": budget,
            "gap_of_decrease": found.gap / (model.budget * found.multiplier),
        },
    )  # fmt: skip
    return build_solution(
        model, factors, certificate, method=method, multiplier=found.multiplier, began=options.began,
        status="optimal" if found.gap <= options.rtol * found.value else "tolerance not reached",
        averaged=averaged, merge_tol=1e-7 if averaged else 0.0,
    )  # fmt: skip


def _explicit(
    model: LayerPeeledModel, W: np.ndarray, H: np.ndarray, certificate: Certificate, method: str, options: Options
) -> PeeledSolution:
    gap = certificate.relative_gap
    if gap <= options.rtol:
        status = "optimal"
    elif method == "sdp":
        status = "optimal to the accuracy of the interior-point solver; see the gap"
    else:
        status = "local solution: an upper bound; the lower bound is the relaxation's"
    return build_solution(
        model, ExplicitFactors(W, H, model._partition.index), certificate, method=method, status=status,
        multiplier=certificate.residuals["multiplier"], began=options.began,
        merge_tol=max(1e-6, float(np.sqrt(gap))) if method == "sdp" else 1e-6,
    )  # fmt: skip


def _checked(solution: PeeledSolution, rtol: float) -> PeeledSolution:
    if solution.status != "optimal":
        raise NotConverged(
            f"relative gap {solution.relative_gap:.1e} reached, {rtol:.1e} wanted; "
            "the partial solution is attached to the exception.",
            partial=solution,
        )
    return solution
