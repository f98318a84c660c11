r"""Unconstrained features with cross-entropy (and smoothed labels): the group program with a priced norm.

The same smoothed path and the same Newton on the face as under a budget (`_minimise.py`), with the multiplier held at
lam_Z; at or above ||grad F(0)|| the optimum is Y = 0. The certificate is the entropy dual bound of `_penalised.py`.
"""

from __future__ import annotations

import numpy as np

from theory._certificate import Certificate
from theory._errors import NotConverged, PreconditionError
from theory.peeled._face import face_step, restrict
from theory.peeled._factors import SymmetricFactors
from theory.peeled._options import Options
from theory.peeled._path import PathState
from theory.peeled._penalised import PenalisedProgram
from theory.peeled._program import ROUNDING
from theory.peeled._step import Point
from theory.peeled.solution import PeeledSolution, build_solution
from theory.peeled.unconstrained import UnconstrainedFeaturesModel

METHODS = ("auto", "groups")
MOST_GROUPS = 1000


Reduced = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # e, left, s, right


class PenalisedSearch:
    """The optimum of a penalised program at any lam; the last one is the next one's start.

    Parameters
    ----------
    model : the specification; its own lam_Z is not used.
    max_steps : Newton steps per lam.
    """

    def __init__(self, model: UnconstrainedFeaturesModel, max_steps: int = 150) -> None:
        parts = model._partition
        if len(parts.mass) > MOST_GROUPS:
            raise PreconditionError(f"{len(parts.mass)} distinct counts; at most {MOST_GROUPS} are taken.")
        self.model, self.parts, self.max_steps = model, parts, max_steps
        self.column = np.sqrt(parts.count)
        self.program = PenalisedProgram(
            parts.mass, parts.mass_classes, self.column, lam_b=model.lam_b, smoothing=model.label_smoothing
        )
        zero = np.zeros(len(self.column))
        _, grad_e, grad_M, _ = self.program.value(zero, np.diag(zero))
        self.most = self.program.dual_norm(grad_e, grad_M)  # the optimum is Y = 0 from here on
        self.steps, self.last = 0, self.zero

    @property
    def zero(self) -> Reduced:
        """Y = 0."""
        nothing = np.zeros((len(self.column), 0))
        return np.zeros(len(self.column)), nothing, np.zeros(0), nothing

    def optimum(self, lam: float) -> Reduced:
        """The reduced optimum for the penalty lam: Newton from the last one, else down the smoothed path."""
        if lam >= self.most:
            return self.zero
        program = self.program.priced(lam)
        best = self._newton(program, self.last, lam)
        if best is None:
            best = self._follow_path(program, lam)
        self.last = best
        return best

    def _follow_path(self, program: PenalisedProgram, lam: float) -> Reduced:
        """From the frame at a guess of the margin; the face is tried as soon as the path is well centred."""
        norm = self._guess(lam)
        scale = norm / program.classes.sum()
        shift = np.eye(program.size) - np.outer(program.shift, program.shift)
        state = PathState(Point.at(program, scale * program.has_twins, scale * shift), 1.0, scale)
        best = self.zero
        while state.steps < self.max_steps and state.eps > 1e-13 * scale:
            state.step()
            self.steps += 1
            if state.failed:
                break
            if state.decrement < 0.1 and state.centred and state.eps < 0.02 * scale:
                point, rank, gaps = restrict(state.point, state.eps)
                best = point.e * gaps, point.U[:, :rank], point.s[:rank], point.Vt[:rank].T
                found = self._newton(program, best, lam)
                if found is not None:
                    return found
        return best

    def _newton(self, program: PenalisedProgram, start: Reduced, lam: float) -> Reduced | None:
        """Newton on the face of this point; None unless the certificate closes."""
        e, left, s, right = start
        rank, gaps = len(s), e > 0
        if rank == 0 and not gaps.any():
            return None
        point = Point.at(program, e, (left * s) @ right.T)
        last, tolerance = np.inf, 1e-2
        for _ in range(12):
            moved = face_step(point, rank, gaps, 1.0, tolerance)
            self.steps += 1
            if moved is None or not (moved[2] < 0.5 * last or moved[2] < 1e-11):
                return None
            point, _, last = moved
            if last * tolerance < 1e-16:
                break
            tolerance = max(1e-9, min(1e-2, last))
        e = np.where(gaps, np.maximum(point.e, 0), 0.0)
        out = e, point.U[:, :rank], point.s[:rank], point.Vt[:rank].T
        objective, gap, *_ = self.program.penalised_gap(e, (out[1] * out[2]) @ out[3].T, lam)
        return out if gap <= 1e-11 * objective else None

    def _guess(self, lam: float) -> float:
        """The budget of a frame whose margin is log(mu(0) / lam), or that of the smoothed labels if it is less."""
        K, alpha = self.model.num_classes, self.model.label_smoothing
        margin = max(np.log(self.most / lam), 1e-6)
        if alpha:
            margin = min(margin, 0.9 * np.log1p(K * (1 - alpha) / alpha))
        return float(self.parts.mass_classes @ self.column) * float(margin)

    def certified(self, lam: float) -> tuple[SymmetricFactors, Certificate, np.ndarray | None]:
        """Factors, the entropy dual bound, and the bias at the optimum for lam."""
        model, (e, left, s, right) = self.model, self.optimum(lam)
        objective, gap, _, bias = self.program.penalised_gap(e, (left * s) @ right.T, lam)
        gap = max(gap, 0.0) + ROUNDING * objective
        ratio = float(np.sqrt(model.lam_H) / np.sqrt(model.lam_W))
        factors = SymmetricFactors(
            self.parts.mass_classes, e, left, s, right, self.parts.index, ratio, self.column
        )
        certificate = Certificate(
            lower=objective - gap, upper=objective, gap=gap, method="entropy dual bound",
            residuals={"newton_steps": float(self.steps)},
        )  # fmt: skip
        return factors, certificate, bias


def solve_model(model: UnconstrainedFeaturesModel, options: Options) -> PeeledSolution:
    """See :func:`theory.peeled.solve`."""
    factors, certificate, bias = PenalisedSearch(model, options.max_steps).certified(model.lam_Z)
    solution = build_solution(
        model, factors, certificate, method="groups", multiplier=model.lam_Z, bias=bias, began=options.began,
        status="optimal" if certificate.relative_gap <= options.rtol else "tolerance not reached",
    )  # fmt: skip
    if solution.status != "optimal":
        raise NotConverged(
            f"relative gap {certificate.relative_gap:.1e} reached, {options.rtol:.1e} wanted; "
            "the partial solution is attached to the exception.",
            partial=solution,
        )
    if model.dimension is not None and model.dimension < solution.rank:
        raise PreconditionError(
            f"dimension {model.dimension} is below the rank {solution.rank} of the optimum; "
            "take a larger dimension or a larger penalty."
        )
    return solution
