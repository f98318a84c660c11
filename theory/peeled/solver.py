"""``solve``: one face over the methods for the layer-peeled model."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from theory._arrays import as_count, as_positive
from theory._certificate import Certificate
from theory._errors import InvalidInput, NotConverged, PreconditionError
from theory.peeled._factors import ExplicitFactors, Factors, SymmetricFactors
from theory.peeled._minimise import ReducedOptimum, minimise
from theory.peeled._program import ROUNDING, GroupProgram
from theory.peeled.closed_forms import first_group_only
from theory.peeled.model import LayerPeeledModel
from theory.peeled.solution import PeeledSolution, describe

METHODS = ("auto", "closed-form", "groups", "dense", "factored", "sdp")
MOST_GROUPS = 3000  # SVDs of this size take seconds each
MOST_CLASSES = {"dense": 3000, "factored": 1000, "sdp": 200}

Callback = Callable[[int, float], None]


def solve(
    model: LayerPeeledModel,
    *,
    method: str = "auto",
    rtol: float = 1e-9,
    max_steps: int = 150,
    rng: int | np.random.Generator | None = 0,
    callback: Callback | None = None,
) -> PeeledSolution:
    r"""The global optimum of a layer-peeled model, with a proof of its accuracy.

    For p >= rank(Z*) the program over (W, H) equals the convex program over logits Z = W H with
    :math:`\|Z\|_* \le T = K\sqrt{E_W E_H}` (*derived*; srebro2004maximum for the variational form of the nuclear
    norm), whose Frank-Wolfe gap certifies any feasible point (*proved*: jaggi2013revisiting).

    Parameters
    ----------
    model : the specification.
    method : ``auto`` takes the first that applies:
        ``closed-form`` (balanced simplex frame, or all but the largest classes exactly zero),
        ``groups`` (Newton on G + G^2 unknowns for G distinct class masses),
        ``dense`` (the same without use of symmetry, K^2 unknowns),
        ``factored`` (p below the rank: descent on W and H; a local solution, reported with the honest gap),
        ``sdp`` (the 2K x 2K semidefinite program in cvxpy; the independent reference).
    rtol : the certified gap over the objective, and over T times the multiplier.
    max_steps : Newton steps (``groups``, ``dense``), or descent steps per start (``factored``, at least 1000).
    rng : seed or generator for the starts of ``factored``.
    callback : called as ``callback(step, relative_gap)`` at each new certificate.

    Raises
    ------
    InvalidInput : an unknown method, a tolerance that is not positive.
    PreconditionError : the method does not apply to this model; too many distinct counts.
    NotConverged : the tolerance was not reached; ``error.partial`` is the solution with its honest certificate.

    Examples
    --------
    >>> s = solve(LayerPeeledModel(counts=[10] * 5 + [1] * 5, E_W=1, E_H=5))
    >>> round(s.groups[1].cos_within, 8)
    0.51749628
    """
    if not isinstance(model, LayerPeeledModel):
        raise InvalidInput(f"solve takes a LayerPeeledModel, but was given {type(model).__name__}.")
    if method not in METHODS:
        raise InvalidInput(f"method must be one of {', '.join(METHODS)}, but is {method!r}.")
    rtol, max_steps = as_positive("rtol", rtol), as_count("max_steps", max_steps)
    K = model.num_classes
    if K > MOST_CLASSES.get(method, K):
        raise PreconditionError(f"method {method!r} takes at most {MOST_CLASSES[method]} classes, but K = {K}.")
    began = time.perf_counter()
    if method == "sdp":
        from theory.peeled.sdp import solve_sdp

        W, H, cert = solve_sdp(model)
        return _explicit(model, W, H, cert, "sdp", rtol, began)

    relaxed, used = _relaxed(model, method, rtol, max_steps, callback)
    solution = _symmetric(model, relaxed, used, rtol, began)
    p = model.dimension
    if method != "factored" and (p is None or p >= solution.rank):
        return _checked(solution, rtol)
    if method in ("closed-form", "groups", "dense"):
        raise PreconditionError(
            f"method {method!r} needs dimension >= rank(Z*) = {solution.rank}, but it is {p}; use 'factored'."
        )
    if K > MOST_CLASSES["factored"]:
        raise PreconditionError(
            f"dimension {p} is below the rank {solution.rank}, and the factored method takes at most "
            f"{MOST_CLASSES['factored']} classes, but K = {K}."
        )
    from theory.peeled.factored import descend

    _checked(solution, rtol)
    W, H, cert = descend(model, solution, max_steps=max(max_steps, 1000), rng=np.random.default_rng(rng))
    return _explicit(model, W, H, cert, "factored", rtol, began)


def _relaxed(
    model: LayerPeeledModel, method: str, rtol: float, max_steps: int, callback: Callback | None
) -> tuple[tuple[ReducedOptimum, np.ndarray, np.ndarray], str]:
    """The convex program without the rank constraint: optimum, classes per group, group of each class."""
    parts = model._partition
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
    found = minimise(program, rtol=rtol, max_steps=max_steps, callback=callback)
    return (found, classes, index), "dense" if len(mass) == model.num_classes else "groups"


def _symmetric(
    model: LayerPeeledModel,
    relaxed: tuple[ReducedOptimum, np.ndarray, np.ndarray],
    method: str,
    rtol: float,
    began: float,
) -> PeeledSolution:
    found, classes, index = relaxed
    ratio = float(np.sqrt(model.E_W) / np.sqrt(model.E_H))
    factors = SymmetricFactors(classes, found.e, found.left, found.s, found.right, index, ratio)
    parts = model._partition
    if method == "dense":  # every class stands for itself: average over the report groups
        first = ExplicitFactors(factors.classifier(len(found.s)), factors.features(len(found.s)), parts.index)
        shown, group, tol = first, np.arange(len(parts.count)), 1e-7
    else:
        shown, group, tol = factors, parts.mass_group, 0.0
    budget = float((classes - 1) @ found.e + found.s.sum()) / model.budget - 1
    cert = Certificate(
        lower=found.value - found.gap, upper=found.value, gap=found.gap, method="Frank-Wolfe dual gap",
        residuals={"stationarity": found.stationarity, "budget_W": budget, "budget_H": budget},
    )  # fmt: skip
    status = "optimal" if found.reached(rtol, model.budget) else "tolerance not reached"
    return _record(model, factors, shown, group, tol, cert, method, status, found.multiplier, began)


def _explicit(
    model: LayerPeeledModel, W: np.ndarray, H: np.ndarray, cert: Certificate, method: str, rtol: float, began: float
) -> PeeledSolution:
    parts = model._partition
    factors = ExplicitFactors(W, H, parts.index)
    if cert.relative_gap <= rtol:
        status = "optimal"
    elif method == "sdp":
        status = "optimal to the accuracy of the interior-point solver; see the gap"
    else:
        status = "local solution: an upper bound; the lower bound is the relaxation's"
    tol = max(1e-6, float(np.sqrt(max(cert.relative_gap, 0)))) if method == "sdp" else 1e-6
    multiplier = cert.residuals.get("multiplier", float("nan"))
    return _record(
        model, factors, factors, np.arange(len(parts.count)), tol, cert, method, status, multiplier, began
    )


def _record(
    model: LayerPeeledModel,
    factors: Factors,
    shown: Factors,
    group: np.ndarray,
    merge_tol: float,
    cert: Certificate,
    method: str,
    status: str,
    multiplier: float,
    began: float,
) -> PeeledSolution:
    groups, cos_w, cos_h = describe(model, shown, group, merge_tol)
    return PeeledSolution(
        model=model, objective=cert.upper, certificate=cert, method=method, status=status, groups=groups,
        cos_between=cos_w, cos_between_features=cos_h, rank=factors.rank, multiplier=multiplier,
        seconds=time.perf_counter() - began, _factors=factors,
    )  # fmt: skip


def _checked(solution: PeeledSolution, rtol: float) -> PeeledSolution:
    if solution.status != "optimal":
        raise NotConverged(
            f"relative gap {solution.relative_gap:.1e} reached, {rtol:.1e} wanted; "
            "the partial solution is attached to the exception.",
            partial=solution,
        )
    return solution
