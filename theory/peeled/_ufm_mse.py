"""The unconstrained-features model with the squared error: closed forms, else a certified descent."""

from __future__ import annotations

import numpy as np

from theory._certificate import Certificate
from theory._errors import NotConverged, PreconditionError
from theory.peeled._factors import ExplicitFactors, Factors, SymmetricFactors
from theory.peeled._options import Options
from theory.peeled._proximal import descend, until
from theory.peeled._squared_error import Pair, SquaredError
from theory.peeled.solution import PeeledSolution, build_solution
from theory.peeled.unconstrained import UnconstrainedFeaturesModel

METHODS = ("auto", "closed-form", "groups")
MOST_GROUPS = 3000


def solve_model(model: UnconstrainedFeaturesModel, options: Options) -> PeeledSolution:
    r"""Global optimum of the penalised squared error.

    With kappa_k = omega_k / sum omega n (1/N without weights) and Y = Z D^(1/2),

    .. math:: \min_{Y,b}\ \tfrac12\sum_k \kappa_k \|y_k + \sqrt{n_k}\, b - \sqrt{n_k}\, e_k\|^2
        + \lambda_Z \|Y\|_* + \tfrac{\lambda_b}2\|b\|^2

    =====================  ===========================================================================================
    bias                   optimum
    =====================  ===========================================================================================
    none                   y_k = (sqrt(n_k) - lam_Z/kappa_k)_+ e_k, with or without class weights (*derived*; without
                           weights dang2023linear)
    free, no weights       singular values of D^(1/2) (I - d d^T/N), d = sqrt(n), each less N lam_Z; b = n/N (*derived*)
    penalised, balanced    sqrt(n) - N lam_Z on the simplex, sqrt(n) - N lam_Z (1 + lam_b)/lam_b along 1, each where
                           positive: a simplex frame up to lam_b = rho/(1 - rho), rho = N lam_Z/sqrt(n), towards the
                           orthogonal frame beyond (*derived*)
    otherwise              proximal gradient on the G x G averages with b eliminated
    =====================  ===========================================================================================

    The gap within a group of equal classes is (sqrt(n_g) - lam_Z/kappa_g)_+ in every case, so the group merges if and
    only if lam_Z >= kappa_g sqrt(n_g). The certificate is that of :class:`SquaredError`.

    With fewer dimensions than the rank, and neither weights nor a penalised bias, the largest singular values are kept:
    ||A - B||^2 >= sum (sigma_i(A) - sigma_i(B))^2 (von Neumann) makes the truncation a global optimum, and adds
    sum of (sigma_i - N lam_Z)^2/(2N) over what is dropped to value and bound alike. It is not unique where equal
    singular values are cut apart; the figures per group are then averages over its classes.

    Raises
    ------
    PreconditionError : method ``closed-form`` in the last case; too many groups; p below the rank with weights or a
        penalised bias. NotConverged : the descent did not reach ``rtol``.
    """
    parts = model._partition
    if len(parts.count) > MOST_GROUPS:
        raise PreconditionError(f"{len(parts.count)} distinct counts; at most {MOST_GROUPS} are taken.")
    problem = SquaredError.of(parts.count, parts.mass, parts.classes.astype(float), model.lam_Z, model.lam_b)
    pair = None if options.method == "groups" else closed_form(problem)
    used = "groups" if pair is None else "closed-form"
    if pair is None:
        if options.method == "closed-form":
            raise PreconditionError(
                "no closed form is known for a free bias with class weights, nor for a penalised bias on imbalanced "
                "classes; use method='groups'."
            )
        pair = proximal(problem, options)
    certificate = problem.certificate(pair)
    full = SymmetricFactors(
        problem.classes, pair.e, pair.left, pair.s, pair.right, parts.index,
        float(np.sqrt(model.lam_H) / np.sqrt(model.lam_W)), np.sqrt(problem.count),
    )  # fmt: skip
    factors: Factors = full
    if model.dimension is not None and model.dimension < full.rank:
        factors, certificate = truncated(model, problem, pair, full, certificate)
    solution = build_solution(
        model, factors, certificate, method=used, multiplier=model.lam_Z, began=options.began,
        status="optimal" if certificate.relative_gap <= options.rtol else "tolerance not reached",
        bias=None if model.lam_b is None else pair.bias / np.sqrt(problem.classes),
    )  # fmt: skip
    if solution.status != "optimal":
        raise NotConverged(
            f"relative gap {solution.relative_gap:.1e} reached, {options.rtol:.1e} wanted; take more max_steps "
            "(the partial solution is attached to the exception).",
            partial=solution,
        )
    return solution


def closed_form(problem: SquaredError) -> Pair | None:
    """Primal and dual point where a formula is known; None otherwise."""
    root, curvature, lam = np.sqrt(problem.count), problem.curvature, problem.lam
    e, dual_e = problem.within_groups()
    size = len(root)
    if problem.lam_b is None:
        on = e > 0
        frame = np.eye(size)[:, on]
        return Pair(e * (problem.classes > 1), frame, e[on], frame, np.zeros(size), dual_e, np.diag(dual_e))
    if problem.lam_b == 0 and problem.is_unweighted:
        k, delta = float(curvature[0]), problem.delta
        bias = k * root * delta  # sqrt(K_g) times the class frequency
        U, s, Vt = np.linalg.svd(np.diag(root) - np.outer(bias, delta))
        s[s < 8 * size * np.finfo(float).eps * root[0]] = 0.0  # the direction of d, an exact zero
        r = int((k * s > lam).sum())
        return Pair(e, U[:, :r], s[:r] - lam / k, Vt[:r].T, bias, dual_e, (U * np.minimum(k * s, lam)) @ Vt)
    if problem.lam_b and size == 1:
        share = problem.lam_b / (1 + problem.lam_b)
        m = np.maximum(curvature * share * root - lam, 0.0) / (curvature * share)
        bias = (root - m) * problem.delta * curvature / (1 + problem.lam_b)
        ones = np.ones((1, 1))[:, : int(m[0] > 0)]
        dual = np.minimum(curvature * share * root, lam)
        return Pair(e, ones, m[m > 0], ones, bias, dual_e, np.diag(dual))
    return None


def proximal(problem: SquaredError, options: Options) -> Pair:
    """Descent on the G x G averages; the dual point is the subgradient that the last proximal step hands over."""
    size, lam = len(problem.count), problem.lam
    e, dual_e = problem.within_groups()
    hessian, target = problem.hessian(), np.diag(np.sqrt(problem.count))

    def point(M: np.ndarray, dual: np.ndarray) -> Pair:
        U, s, Vt = np.linalg.svd(M.reshape(size, size))
        r = int((s > 8 * size * np.finfo(float).eps * target.max()).sum())
        M = (U[:, :r] * s[:r]) @ Vt[:r]
        biases = [problem.best_bias(M)]
        if problem.lam_b:  # the same number at the optimum; which one rounding spares depends on lam_b
            biases.append(dual @ problem.delta / problem.lam_b)
        pairs = [Pair(e, U[:, :r], s[:r], Vt[:r].T, bias, dual_e, dual) for bias in biases]
        return min(pairs, key=lambda pair: problem.certificate(pair).gap)

    def prox(v: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
        U, s, Vt = np.linalg.svd(v.reshape(size, size))
        return ((U * np.maximum(s - step * lam, 0)) @ Vt).ravel(), ((U * np.minimum(s / step, lam)) @ Vt).ravel()

    def gap(x: np.ndarray, dual: np.ndarray) -> float:
        return problem.certificate(point(x, dual.reshape(size, size))).relative_gap

    x, dual = descend(
        lambda x: ((x.reshape(size, size) - target) @ hessian).ravel(), prox, np.zeros(size * size),
        step=1 / float(np.linalg.norm(hessian, 2)), stop=until(gap, options.rtol, options.callback),
        max_steps=200 * options.max_steps, fixed=True,
    )  # fmt: skip
    return point(x, dual.reshape(size, size))


def truncated(
    model: UnconstrainedFeaturesModel, problem: SquaredError, pair: Pair, full: SymmetricFactors,
    certificate: Certificate,
) -> tuple[Factors, Certificate]:  # fmt: skip
    """The p largest singular values, p = ``model.dimension``; see :func:`solve_model`."""
    p = int(model.dimension or 0)
    if not problem.is_unweighted or problem.lam_b:
        raise PreconditionError(
            f"dimension {p} is below the rank {full.rank}; with class weights or a penalised bias the best model of "
            "lower rank is not known."
        )
    r, copies = len(pair.s), np.where(pair.e > 0, problem.classes - 1, 0).astype(int)
    values = np.concatenate([pair.s, np.repeat(pair.e, copies)])  # in the order of the factors' columns
    owner = np.concatenate([np.full(r, -1), np.repeat(np.arange(len(copies)), copies)])
    order = np.argsort(-values, kind="stable")
    keep = np.zeros(len(values), bool)
    keep[order[:p]] = True
    extra = 0.5 * float(problem.curvature[0]) * float((values[~keep] ** 2).sum())
    bound = Certificate(
        lower=certificate.lower + extra, upper=certificate.upper + extra, gap=certificate.gap,
        residuals=certificate.residuals, method=certificate.method + ", largest singular values kept",
    )  # fmt: skip
    kept = np.bincount(owner[keep] + 1, minlength=len(copies) + 1)[1:]
    if ((kept == 0) | (kept == copies)).all():
        whole = SymmetricFactors(
            full.classes, np.where(kept > 0, pair.e, 0.0), pair.left[:, keep[:r]], pair.s[keep[:r]],
            pair.right[:, keep[:r]], full.index, full.ratio, full.column,
        )  # fmt: skip
        return whole, bound
    W, H = full.classifier(full.rank), full.features(full.rank)
    return ExplicitFactors(W[:, keep], H[keep], full.index), bound
