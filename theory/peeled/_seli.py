r"""Solving the unconstrained-features support vector machine: closed form at group level, certified by a dual point.

With Y = Z D^(1/2) the least (1/2)(||W||^2 + ||H D^(1/2)||^2) over factorisations of Z is the nuclear norm of Y
(srebro2004maximum), so the program is

.. math:: \min_Z \|Z D^{1/2}\|_* \quad\text{s.t.}\quad \Delta_k z_{kk} - \Delta_c z_{ck} \ge m_k \quad (c \ne k).

Multipliers B_kc >= 0 enter as a matrix M whose column k has -Delta_c B_kc off and Delta_k sum_c B_kc on the diagonal;
with w = 1/Delta these are the matrices with w^T M = 0 and nonpositive off-diagonal entries. The dual is

.. math:: \max \sum_k m_k w_k M_{kk} \quad\text{s.t.}\quad w^\top M = 0, \; M_{ck} \le 0 \; (c \ne k), \;
    \|M D^{-1/2}\|_2 \le 1.

Take Q = I - w w^T/||w||^2, a = w m sqrt(n), Z = Q diag(w m), Y = Q diag(a) = U S V^T: all margins are met with
equality, and M = U V^T D^(1/2) has w^T M = 0, norm one and dual value <U V^T, Y> = tr S. Its off-diagonal entries are
those of ((Q diag(a^2) Q)^(1/2))^+, up to positive column factors, and these are always negative (*derived*): on the
complement of w

.. math:: \bigl(Q (A + t) Q\bigr)^{+} = (A+t)^{-1} - \frac{(A+t)^{-1} w w^\top (A+t)^{-1}}{w^\top (A+t)^{-1} w},
    \qquad A = \operatorname{diag}(a^2),

has off-diagonal entries -w_k w_c / ((a_k^2 + t)(a_c^2 + t) sum_j w_j^2/(a_j^2 + t)) < 0, and the inverse root is
(1/pi) int_0^infinity t^(-1/2) (Q A Q + t)^(-1) dt. So Z is optimal for any counts, margins and temperatures, and it is
the only optimum: B_kc > 0 for all pairs forces all margins to equality, and the polar factor forces w^T Z = 0.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from theory._certificate import Certificate
from theory._errors import NotConverged, PreconditionError
from theory.peeled._factors import ExplicitFactors, SymmetricFactors
from theory.peeled._options import Options
from theory.peeled.seli import SELIModel
from theory.peeled.solution import PeeledSolution, build_solution

METHODS = ("auto", "closed-form", "sdp")
MOST_GROUPS = 3000
MOST_CLASSES_SDP = 30
JACOBI_GROUPS = 300  # up to here the singular values are computed to high relative accuracy
EPS = float(np.finfo(float).eps)


@dataclass(frozen=True, slots=True)
class GroupProgram:
    """Per group: classes, count, margin m, inverse temperature w, effective root a = w m sqrt(n)."""

    classes: np.ndarray
    count: np.ndarray
    margin: np.ndarray
    w: np.ndarray

    @property
    def a(self) -> np.ndarray:
        return self.w * self.margin * np.sqrt(self.count)

    @property
    def direction(self) -> np.ndarray:
        """The unit vector w in the basis of group averages."""
        omega = self.w * np.sqrt(self.classes)
        return omega / np.linalg.norm(omega)


def solve_model(model: SELIModel, options: Options) -> PeeledSolution:
    """See :func:`theory.peeled.solve`."""
    K, p = model.num_classes, model.dimension
    if p is not None and p < K - 1:
        raise PreconditionError(f"the simplex-encoded labels have rank K - 1 = {K - 1}, but dimension is {p}.")
    if options.method == "sdp":
        return _by_sdp(model, options)
    program = group_program(model)
    if len(program.count) > MOST_GROUPS:
        raise PreconditionError(
            f"{len(program.count)} distinct kinds of classes; at most {MOST_GROUPS} are taken. "
            "Round the counts to fewer values."
        )
    left, s, right = weighted_simplex(program.direction, program.a)
    index = model._partition.class_mass_group
    factors = SymmetricFactors(program.classes, program.a, left, s, right, index, 1.0, np.sqrt(program.count))
    value = float((program.classes - 1) @ program.a + s.sum())
    lower, sign = dual_bound(program, left @ right.T)
    certificate = _certificate(model, value, lower, {"sign": max(sign, 0.0)}, "dual point U V^T of the nuclear program")
    found = build_solution(
        model, factors, certificate, method="closed-form", began=options.began,
        status="optimal" if certificate.relative_gap <= options.rtol else "tolerance not reached",
    )  # fmt: skip
    if found.status != "optimal":
        raise NotConverged(
            f"relative gap {found.relative_gap:.1e} reached, {options.rtol:.1e} wanted; "
            "the partial solution is attached to the exception.",
            partial=found,
        )
    return found


def group_program(model: SELIModel) -> GroupProgram:
    """The data of one class of each solver group."""
    parts = model._partition
    first = np.unique(parts.class_mass_group, return_index=True)[1]
    ones = np.ones(model.num_classes)
    margin, temperature = (ones if v is None else np.asarray(v) for v in (model.margins, model.temperatures))
    return GroupProgram(parts.mass_classes, np.asarray(model.counts)[first], margin[first], 1 / temperature[first])


def weighted_simplex(omega: np.ndarray, a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thin SVD (left, s, right) of (I - omega omega^T) diag(a) for a positive unit vector omega; rank len(a) - 1.

    One-sided Jacobi up to 300 groups: singular values spread over many decades keep their relative digits.
    """
    G = len(a)
    v = omega.copy()
    v[0] += 1.0
    basis = (np.eye(G) - np.outer(v, v) * (2 / (v @ v)))[:, 1:]
    rows = a[:, None] * basis
    if G == 1:
        return basis, np.zeros(0), basis
    if G <= JACOBI_GROUPS:
        from scipy.linalg.lapack import dgejsv

        s, U, V, work, _, info = dgejsv(rows, joba=2, jobu=0, jobv=0, jobr=0, jobt=1, jobp=1)
        if info == 0:
            return basis @ V, s * (work[0] / work[1]), U[:, : G - 1]
    U, s, Vt = np.linalg.svd(rows, full_matrices=False)
    return basis @ Vt.T, s, U


def dual_bound(program: GroupProgram, polar: np.ndarray) -> tuple[float, float]:
    """Value of a dual feasible point near U V^T, and the largest off-diagonal entry before it was clipped.

    ``polar`` (G, G) is U V^T among group averages; on differences within a group U V^T is the identity. Entries of the
    wrong sign are set to zero, the diagonal is restored from w^T M = 0, and the whole is divided by its spectral norm,
    so the value is a lower bound whatever ``polar`` is (up to the rounding of the norm, which is subtracted).
    """
    c, n, w = program.classes, program.count, program.w
    N = polar / np.sqrt(np.outer(c, c))  # off-diagonal entries of U V^T between classes of groups
    np.fill_diagonal(N, (np.diagonal(polar) - 1) / c)
    exists = ~np.eye(len(c), dtype=bool) | (c > 1)
    scale = np.sqrt(np.maximum(np.diagonal(polar) / c + (1 - 1 / c), EPS))
    sign = float((N / np.outer(scale, scale))[exists].max())
    off = np.where(exists, np.minimum(N, 0.0), 0.0)
    others = c[:, None] - np.eye(len(c))  # classes of group g other than one class of group h
    diagonal = -(w[:, None] * off * others).sum(axis=0) / w
    reduced = off * np.sqrt(np.outer(c, c))
    gaps = diagonal - np.diagonal(off)
    reduced[np.diag_indices_from(reduced)] += gaps
    norm = max(_spectral_norm(reduced), float(gaps[c > 1].max(initial=0.0)))
    value = float(c @ (program.margin * w * np.sqrt(n) * diagonal))
    return value / norm * (1 - 4 * EPS * len(c)), sign


def _spectral_norm(matrix: np.ndarray) -> float:
    if len(matrix) <= JACOBI_GROUPS:
        return float(np.linalg.norm(matrix, 2))
    return float(np.sqrt(np.linalg.eigvalsh(matrix.T @ matrix)[-1]))


def _certificate(model: SELIModel, upper: float, lower: float, residuals: dict[str, float], method: str) -> Certificate:
    if model.without_effect:
        method += "; " + " and ".join(model.without_effect) + " do not enter the vanishing-ridge limit"
    lower = min(lower, upper)
    return Certificate(lower=lower, upper=upper, gap=upper - lower, residuals=residuals, method=method)


def _by_sdp(model: SELIModel, options: Options) -> PeeledSolution:
    """The nuclear-norm program in cvxpy (Clarabel), its point made feasible and its multipliers re-certified."""
    import cvxpy as cp

    K = model.num_classes
    if K > MOST_CLASSES_SDP:
        raise PreconditionError(f"method 'sdp' takes at most {MOST_CLASSES_SDP} classes, but K = {K}.")
    program, index = group_program(model), model._partition.class_mass_group
    n, m, w = program.count[index], program.margin[index], program.w[index]
    # unknown X = diag(1/w) Z diag(1/m): every margin is 1
    X = cp.Variable((K, K))
    margins = [X[k, k] - X[c, k] >= 1 for k in range(K) for c in range(K) if c != k]
    scaled = cp.multiply(np.outer(w, m * np.sqrt(n)) / (w * m * np.sqrt(n)).max(), X)
    problem = cp.Problem(cp.Minimize(cp.normNuc(scaled)), margins)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "may be inaccurate": the gap below says how much
            problem.solve(solver="CLARABEL", tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    except cp.SolverError as error:
        raise NotConverged(f"the conic solver failed: {error}") from None
    if X.value is None:
        raise NotConverged(f"the conic solver ended with status {problem.status!r} and no point.")
    Z = X.value * np.outer(w, m)
    Z -= np.outer(w, w @ Z) / (w @ w)
    slack = Z / w[:, None]
    slack = (np.diagonal(slack) - slack) / m
    np.fill_diagonal(slack, np.inf)
    Z /= slack.min(axis=0)
    U, s, Vt = np.linalg.svd(Z * np.sqrt(n))
    s[-1] = 0.0
    off = np.zeros((K, K))
    for (k, c), margin in zip(((k, c) for k in range(K) for c in range(K) if c != k), margins, strict=True):
        off[c, k] = -max(float(margin.dual_value), 0.0) / (w[c] * m[k] * np.sqrt(n[k]))
    singles = GroupProgram(np.ones(K), n, m, w)
    polar = off / max(np.abs(off).max(), EPS)
    polar -= np.diag((w @ polar) / w)
    lower, _ = dual_bound(singles, polar)
    upper = float(s.sum())
    certificate = _certificate(model, upper, lower, {}, "multipliers of the conic solver, made dual feasible")
    factors = ExplicitFactors(U[:, : K - 1] * np.sqrt(s[:-1]), np.sqrt(s[:-1])[:, None] * Vt[:-1] / np.sqrt(n),
                              model._partition.index)  # fmt: skip
    exact = certificate.relative_gap <= options.rtol
    return build_solution(
        model, factors, certificate, method="sdp", began=options.began, merge_tol=1e-6,
        status="optimal" if exact else "optimal to the accuracy of the interior-point solver; see the gap",
    )  # fmt: skip
