"""The focal loss with penalties: a scalar problem when balanced, else a convex relaxation that is often exact."""

from __future__ import annotations

import numpy as np

from theory._certificate import Certificate
from theory._errors import NotConverged, PreconditionError
from theory.peeled._factors import SymmetricFactors
from theory.peeled._focal import FocalProgram, balanced_margin, envelope_end
from theory.peeled._options import Options
from theory.peeled._proximal import descend, until
from theory.peeled.solution import PeeledSolution, build_solution
from theory.peeled.unconstrained import UnconstrainedFeaturesModel

METHODS = ("auto", "closed-form", "groups", "local")
MOST_GROUPS = 300
STARTS = 4


def solve_model(model: UnconstrainedFeaturesModel, options: Options) -> PeeledSolution:
    r"""Penalised focal loss -(1-p)^gamma log p.

    *Balanced*: Z = m (I - 11^T/K), b = 0, with m >= 0 of least :math:`F(\log(1 + (K-1)e^{-m})) +
    \lambda_Z (K-1)\sqrt n\, m`, F(l) = (1 - e^-l)^gamma l. It is the global optimum: the loss falls in p and
    :math:`p \le 1/(1 + (K-1) e^{-\bar m_k})` for the mean margin of sample k, and the margins average to
    :math:`\langle I - 11^\top/K, Y\rangle/((K-1)\sqrt n) \le \|Y\|_*/((K-1)\sqrt n)`; the least of (convex envelope +
    linear) is that of (function + linear). *derived* (the frame: zhou2022losses). The loss is concave in m where p is
    small, so with many classes (K >= 18 for gamma = 2) the margin jumps to zero at a finite value as lam_Z grows.

    *Imbalanced*: the focal loss is F of the cross-entropy, and the convex envelope of F is increasing, so envelope of
    F after cross-entropy is a convex minorant. Its program is solved at the size of the groups. Where every class ends
    with a loss below :func:`envelope_end` (true-class probability above 0.30 for gamma = 2) the two agree and the
    optimum is global. Otherwise descents on the focal loss itself follow, from there and from random points symmetric
    within groups; the record then says "local solution" and its lower bound is that of the envelope.

    Raises
    ------
    PreconditionError : method ``closed-form`` for imbalanced classes; p below the rank; too many groups.
    NotConverged : the convex program did not reach ``rtol``.
    """
    parts = model._partition
    if len(parts.count) > MOST_GROUPS:
        raise PreconditionError(f"{len(parts.count)} distinct counts; the focal loss takes at most {MOST_GROUPS}.")
    if len(parts.count) == 1 and options.method in ("auto", "closed-form"):
        return _balanced(model, options)
    if options.method == "closed-form":
        raise PreconditionError("the focal loss has a closed form for balanced classes only; use method='auto'.")
    gamma = float(model.gamma or 0.0)
    program = FocalProgram(
        parts.count, parts.mass, parts.classes.astype(float), model.lam_Z, model.lam_b, gamma, envelope_end(gamma)
    )
    x = _relaxed(program, options)
    lower, worst = program.lower_bound(x), float(program.probabilities(x).loss.max())
    exact = worst <= program.end * (1 + 1e-9)
    relaxed_value = program.value(x, convex=True)
    if exact and not relaxed_value - lower <= options.rtol * relaxed_value:
        raise NotConverged(
            f"relative gap {(relaxed_value - lower) / relaxed_value:.1e} reached, {options.rtol:.1e} wanted; "
            "the partial solution is attached to the exception.",
            partial=_record(model, program, x, lower, "groups", "tolerance not reached", options),
        )
    if exact and options.method != "local":
        return _record(model, program, x, lower, "groups", "optimal", options)
    best = _local(program, x, options)
    status = "optimal" if program.value(best) - lower <= options.rtol * program.value(best) else (
        "local solution: an upper bound; the lower bound is that of the convex envelope"
    )  # fmt: skip
    return _record(model, program, best, lower, "local", status, options)


def _balanced(model: UnconstrainedFeaturesModel, options: Options) -> PeeledSolution:
    parts, K = model._partition, model.num_classes
    root = float(np.sqrt(parts.count[0]))
    margin, value, error = balanced_margin(float(model.gamma or 0.0), K, model.lam_Z * (K - 1) * root)
    nothing = np.zeros((1, 0))
    factors = SymmetricFactors(
        parts.classes.astype(float), np.array([margin * root]), nothing, np.zeros(0), nothing, parts.index,
        float(np.sqrt(model.lam_H) / np.sqrt(model.lam_W)), np.sqrt(parts.count),
    )  # fmt: skip
    _check_dimension(model, factors)
    certificate = Certificate(
        lower=value - error, upper=value, gap=error, method="convex envelope in the mean margin",
        residuals={"stationarity": error / value},
    )  # fmt: skip
    return build_solution(
        model, factors, certificate, method="closed-form", status="optimal", multiplier=model.lam_Z,
        began=options.began, bias=None if model.lam_b is None else np.zeros(1),
    )  # fmt: skip


def _relaxed(program: FocalProgram, options: Options) -> np.ndarray:
    """The optimum of the convex envelope."""

    def gap(x: np.ndarray, _: np.ndarray) -> float:
        value = program.value(x, convex=True)
        return (value - program.lower_bound(x)) / value

    G = len(program.count)
    x, _ = descend(
        lambda x: program.gradient(x, True), program.prox, np.zeros(2 * G + G * G),
        step=float(1 / (program.mass / program.count).max()), stop=until(gap, options.rtol, options.callback),
        max_steps=100 * options.max_steps,
    )  # fmt: skip
    return x


def _local(program: FocalProgram, start: np.ndarray, options: Options) -> np.ndarray:
    """The best stationary point of the focal loss itself from several starts; at worst the start."""
    best, value = start, program.value(start)
    size = float(np.abs(start).max()) or float(np.sqrt(program.count.max()))
    for k in range(STARTS):
        x = start if k == 0 else start + size * options.rng.standard_normal(len(start))
        if program.lam_b is None:
            x = np.concatenate([x[: -len(program.count)], np.zeros(len(program.count))])
        x = np.concatenate([x[: len(program.count)] * (program.classes > 1), x[len(program.count) :]])

        def stop(_: int, x: np.ndarray, subgradient: np.ndarray) -> bool:
            return float(np.abs(program.gradient(x, False) + subgradient).max()) <= 1e-10 * program.lam

        x, _ = descend(
            lambda x: program.gradient(x, False), program.prox, x, stop=stop, max_steps=20 * options.max_steps,
            step=float(1 / (program.mass / program.count).max()),
        )  # fmt: skip
        found = program.value(x)
        if found < value:
            best, value = x, found
    return best


def _record(
    model: UnconstrainedFeaturesModel, program: FocalProgram, x: np.ndarray, lower: float, method: str, status: str,
    options: Options,
) -> PeeledSolution:  # fmt: skip
    e, M, b = program.split(x)
    U, s, Vt = np.linalg.svd(M)
    r = int((s > 1e-13 * max(s[0], float(e.max()))).sum())
    value = program.value(x)
    p = program.probabilities(x)
    slope = program.duals(p, program.outer(p.loss, False)[1])
    norm = max(float(np.linalg.norm(slope[1], 2)), float(np.where(program.classes > 1, slope[0], 0).max()))
    certificate = Certificate(
        lower=min(lower, value), upper=value, gap=max(value - lower, 0.0), method="convex envelope after cross-entropy",
        residuals={"stationarity": max(norm / program.lam - 1, 0.0), "largest_loss_over_envelope_end":
                   float(p.loss.max() / program.end)},
    )  # fmt: skip
    factors = SymmetricFactors(
        program.classes, np.maximum(e, 0.0), U[:, :r], s[:r], Vt[:r].T, model._partition.index,
        float(np.sqrt(model.lam_H) / np.sqrt(model.lam_W)), np.sqrt(program.count),
    )  # fmt: skip
    _check_dimension(model, factors)
    return build_solution(
        model, factors, certificate, method=method, status=status, multiplier=model.lam_Z, began=options.began,
        bias=None if model.lam_b is None else b,
    )  # fmt: skip


def _check_dimension(model: UnconstrainedFeaturesModel, factors: SymmetricFactors) -> None:
    if model.dimension is not None and model.dimension < factors.rank:
        raise PreconditionError(
            f"the focal loss is solved for dimension >= {factors.rank} (the rank of Z), but it is {model.dimension}."
        )
