"""The theory's quantities along a trajectory, in one record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from theory._arrays import as_count, short_repr
from theory._errors import PreconditionError
from theory.flow._field import Field
from theory.flow.conservation import conservation_drift
from theory.flow.kkt import flow_kkt, kkt_certificate
from theory.flow.margins import margins, monotonicity_violation
from theory.flow.solution import FlowSolution


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowDiagnostics:
    """What lyu2020gradient proves of a flow, measured at some of its steps (arrays of equal length n, in time).

    Attributes
    ----------
    steps : indices into the solution's arrays. log_t, log_inverse_loss : of these steps.
    normalized_margin, smoothed_margin : ``q_min / rho^L`` and ``l^{-1}(Loss) / rho^L``.
    kkt_eps, kkt_delta : of the best multipliers (``kkt_certificate``), Clarke weights included.
    flow_eps, eps_identity : of the flow's own multipliers, and ``sqrt(2 (1 - beta)) gbar^(-1/L)``, which it must equal.
    one_minus_beta : 1 - cos(theta, theta').
    layer_norms : (n, layers). conservation_drift : since the start, over ||theta||^2.
    margin_violation : largest relative decrease of the smoothed margin over all steps after separation; 0 by theory.
    """

    steps: np.ndarray
    log_t: np.ndarray
    log_inverse_loss: np.ndarray
    normalized_margin: np.ndarray
    smoothed_margin: np.ndarray
    kkt_eps: np.ndarray
    kkt_delta: np.ndarray
    flow_eps: np.ndarray
    eps_identity: np.ndarray
    one_minus_beta: np.ndarray
    layer_norms: np.ndarray
    conservation_drift: np.ndarray
    margin_violation: float

    __repr__ = short_repr


def diagnose(
    solution: FlowSolution, *, points: int = 32, callback: Callable[[int, int], None] | None = None
) -> FlowDiagnostics:
    """Margins, KKT residuals, alignment and drift at ``points`` steps after separation, evenly in log log(1/Loss).

    Parameters
    ----------
    solution : of a homogeneous network and a loss with an exponential tail.
    points : at most so many steps. callback : called as ``callback(done, points)``.

    Raises
    ------
    PreconditionError : no step with the data separated, weight decay, or a loss or network without margin theory.

    Cost: a bounded least squares per point; a second for 32 points of a hundred parameters.
    """
    count = as_count("points", points)
    u = solution.log_inverse_loss
    if not solution.loss.exponential_tail or not solution.network.homogeneous:
        raise PreconditionError("margin theory needs a homogeneous network and a loss with an exponential tail.")
    if solution.weight_decay > 0:
        raise PreconditionError("margin theory needs a flow without weight decay, under which the norm stays finite.")
    late = np.flatnonzero((u > 1) & np.isfinite(solution.log_t))
    if not late.size:
        raise PreconditionError("the flow has not separated the data: log(1/loss) never exceeded 1.")
    wanted = np.linspace(np.log(u[late[0]]), np.log(u[late[-1]]), count)
    steps = np.unique(late[np.searchsorted(np.log(u[late]), wanted).clip(0, late.size - 1)])
    problem = solution.network, solution.X, solution.y, solution.loss
    field, rows = Field(*problem), []
    for done, step in enumerate(steps.tolist()):
        theta, modes = solution.thetas[step], solution.modes(step)
        at = margins(*problem, theta, modes=modes)
        g = field.velocity(theta, field.surface(modes), log=True)  # of the modes, not of what happens to be zero
        best, own = kkt_certificate(*problem, theta, modes=modes), flow_kkt(*problem, theta, g, modes)
        drift = conservation_drift(solution.network, solution.thetas[0], theta)
        rows.append((at, best, own, drift))
        if callback is not None:
            callback(done + 1, len(steps))
    return FlowDiagnostics(
        steps=steps,
        log_t=solution.log_t[steps],
        log_inverse_loss=u[steps],
        normalized_margin=np.array([at.normalized_margin for at, *_ in rows]),
        smoothed_margin=np.array([at.smoothed_margin for at, *_ in rows]),
        kkt_eps=np.array([best.eps for _, best, _, _ in rows]),
        kkt_delta=np.array([best.delta for _, best, _, _ in rows]),
        flow_eps=np.array([own.eps for _, _, own, _ in rows]),
        eps_identity=np.array([own.eps_identity for _, _, own, _ in rows]),
        one_minus_beta=np.array([own.one_minus_beta for _, _, own, _ in rows]),
        layer_norms=np.array([at.layer_norms for at, *_ in rows]),
        conservation_drift=np.array([drift for *_, drift in rows]),
        margin_violation=monotonicity_violation(solution.smoothed_margins()[late]),
    )
