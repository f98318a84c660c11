"""The limit of a gradient flow in direction: a KKT point of the margin problem, polished by Newton and certified."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats, as_positive
from theory._errors import InvalidInput, NotConverged, PreconditionError
from theory.flow._active_set import LOOSE, Candidate, Problem, Sets, solve_active_set
from theory.flow._kkt_order import second_order
from theory.flow._kkt_system import Margins, margins_of
from theory.flow._limit_record import Heading, LimitDirection
from theory.flow._modes import OFF, ON, SLIDING, slopes_of
from theory.flow.losses import Loss, as_loss

__all__ = ["Heading", "LimitDirection", "limit_direction"]


def limit_direction(
    network: Any,
    X: ArrayLike,
    y: ArrayLike,
    loss: str | Loss,
    theta: ArrayLike,
    *,
    modes: np.ndarray | None = None,
    rtol: float = 1e-12,
) -> LimitDirection:
    r"""Polish a late state of a gradient flow to the KKT point of the margin problem that it approaches.

    .. math:: \theta = \sum_c \lambda_c h_c,\quad \lambda_c \ge 0,\quad q_c(\theta) \ge 1,\quad
        \lambda_c (q_c(\theta) - 1) = 0

    with ``h_c`` in Clarke's subdifferential of ``q_c``; cross-entropy has a constraint ``f_y - f_j >= 1`` for every
    wrong class j. *proved*: every limit point of the direction of the flow is along such a theta (lyu2020gradient),
    and the direction converges (ji2020directional). The state itself approaches it only like ``log(1/loss)^(-1/L)``:
    hence Newton.

    *derived*: on a sliding pair s the constraint ``z_s = 0`` holds with a free multiplier beta_s; the sum over
    Clarke's elements is the smooth gradient with lower slopes plus ``sum beta_s grad z_s``, and the slope at the kink
    is ``slope + beta_s / signal_s`` with the signal ``d(sum lam q)/da_s``. It must lie in [slope, 1], and does not
    depend on the scale of theta. Deeper layers: the betas above count in the signal.

    Euler's identity turns the system into numbers to check: ``sum lam = ||theta||^2 / L``, and the flow's weights
    ``p_c`` tend to ``lam_c / sum lam``.

    Parameters
    ----------
    network : homogeneous of degree L. X : (N, d). y : +-1 (N), or classes for several outputs.
    loss : exponential, logistic or cross_entropy.
    theta : (P) a state that separates the data, late in the flow.
    modes : (N, units) of the flow; None takes the signs, with units very near an attracting kink as sliding.
    rtol : relative residual to reach.

    Raises
    ------
    PreconditionError : a network that is not homogeneous, a loss without exponential tail, a state that does not
        separate.
    InvalidInput : shapes that do not meet, labels outside the loss's set, modes that are not 0, 1, 2.
    NotConverged : Newton or the search for active sets stopped; ``partial`` is the best record.

    Cost: an LU factorisation of size P + active + sliding per step, and one symmetric eigenvalue problem of size P.
    The second-order check compares with points of the same modes only: it does not see a zero neuron that would grow
    elsewhere.

    Examples
    --------
    >>> from theory.flow.networks import fully_connected
    >>> net, X = fully_connected((2, 1)), np.array([[1.0, 0.0], [0.0, 2.0]])
    >>> limit = limit_direction(net, X, [1, -1], "exponential", [7.0, -4.0])
    >>> bool(np.allclose(limit.theta, [1, -0.5])), bool(np.isclose(limit.margin, (1 + 1 / 4) ** -0.5))
    (True, True)
    """
    tol = as_positive("rtol", rtol)
    law = as_loss(loss)
    if not law.exponential_tail:
        raise PreconditionError(f"the {law.name} loss has no exponential tail: its flow has no limit of this kind.")
    if not network.homogeneous:
        raise PreconditionError(
            "the network is not homogeneous (a bias beyond the first layer): it has no margin problem."
        )
    inputs, start = as_floats("X", X, ndim=2), as_floats("theta", theta, ndim=1)
    if inputs.shape[1] != network.n_inputs or start.shape != (network.n_parameters,):
        raise InvalidInput(
            f"the network takes X (N, {network.n_inputs}) and theta ({network.n_parameters},), "
            f"but got {inputs.shape} and {start.shape}."
        )
    N, K = len(inputs), network.n_outputs
    labels = law.labels(np.asarray(y), N, K)
    margins = margins_of(labels, K)
    given = _checked_modes(network, inputs, start, modes)

    L = network.degree
    unit = start / np.linalg.norm(start) if np.linalg.norm(start) > 0 else start
    slopes = None if given is None else slopes_of(given, network.activation)
    q = margins.values(network.forward(unit, inputs, slopes).outputs)
    level = float(q.min())
    if not level > 0:
        raise PreconditionError(f"the state does not separate the data: its least normalised margin is {level:.3g}.")
    outputs = network.forward(start, inputs, slopes).outputs
    weights = _weights(law, margins, outputs, labels)
    if modes is None and given is not None:
        given = _near_kinks(network, inputs, unit, given, margins.cotangent(weights, N))

    # A constraint of gap s and weight p ends active where p^(1/u) = e^-s is near one: a first guess, mended later.
    active = weights > q / level - 1
    active[np.argmin(q)] = True
    problem = Problem(network=network, X=inputs, margins=margins, level=level)
    found, steps = solve_active_set(problem, unit, Sets(modes=given, active=active), rtol=tol)
    record = _record(found, problem, start, outputs, weights, law, labels, given, L, steps)
    if not found.solved(tol):
        why = ", ".join(record.violations) or f"residual {record.residual:.2g}"
        raise NotConverged(
            f"the KKT system was not solved from log(1/loss) = {record.heading.log_inverse_loss:.4g} ({why}); "
            "integrate the flow further.",
            record,
        )
    return record


def _checked_modes(network: Any, X: np.ndarray, theta: np.ndarray, modes: np.ndarray | None) -> np.ndarray | None:
    """The modes given, or those of the signs; None for a network without kinks."""
    if not network.n_units or not network.activation.has_kink:
        return None
    if modes is None:
        return np.where(network.preactivations(theta, X) > 0, ON, OFF).astype(np.int8)
    out = np.asarray(modes)
    if out.shape != (len(X), network.n_units) or not np.isin(out, (OFF, ON, SLIDING)).all():
        raise InvalidInput(
            f"modes must be 0, 1 or 2 in shape ({len(X)}, {network.n_units}), but have shape {out.shape}."
        )
    if (out == SLIDING).any() and not network.activation.slides:
        raise InvalidInput(f"no unit slides with the activation {network.activation.name}, but modes say so.")
    return out.astype(np.int8)


def _near_kinks(network: Any, X: np.ndarray, theta: np.ndarray, modes: np.ndarray, G: np.ndarray) -> np.ndarray:
    """Modes (N, units) where units within 1e-3 of an attracting kink slide, relative to the unit's largest value."""
    if not network.activation.slides:
        return modes
    at = network.forward(theta, X)
    signals = network.gradient(at, G)[1]
    z = np.abs(at.preactivations)
    return np.where((z <= 1e-3 * z.max(axis=0)) & (signals < 0), SLIDING, modes).astype(np.int8)


def _weights(law: Loss, margins: Margins, outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The share p (M) of each constraint in ``-dLoss/dq / Loss``, from the log domain; they add up to one."""
    slope = law.log_slope(outputs, labels)
    column = np.zeros(len(margins.sample), dtype=int) if margins.wrong is None else margins.wrong
    p = np.abs(slope[margins.sample, column])
    return p / p.sum()


def _record(
    found: Candidate,
    problem: Problem,
    start: np.ndarray,
    outputs: np.ndarray,
    weights: np.ndarray,
    law: Loss,
    labels: np.ndarray,
    given: np.ndarray | None,
    L: int,
    steps: int,
) -> LimitDirection:
    """The record: back to q_min = 1, with the second-order check and the evidence."""
    point, system, N = found.point, found.system, len(problem.X)
    slope = problem.network.activation.slope
    size = float(np.linalg.norm(point.theta))
    stretch = float(problem.level ** (-1 / L))
    lam = system.all_multipliers(point.lam)
    direction = point.theta / size
    chord = np.linalg.norm(start / np.linalg.norm(start) - direction)
    angle = 2 * float(np.arcsin(np.minimum(1.0, chord / 2)))
    share = lam / lam.sum() if lam.sum() != 0 else lam
    carrying = found.sets.active & (share > LOOSE)
    heading = Heading(
        log_inverse_loss=law.log_inverse(outputs, labels),
        angle=angle,
        offset=angle * float(np.linalg.norm(start)),
        weights=float(np.abs(weights - share).max()),
        idle=float(weights[~found.sets.active].sum()),
        same_active=bool(weights[~found.sets.active].max(initial=0.0) < weights[carrying].min(initial=1.0)),
        same_modes=given is None or bool((given == found.sets.modes).all()),
    )
    violations: dict[str, float] = {}
    for change in found.changes:
        violations[change.what] = max(violations.get(change.what, 0.0), float(change.size))
    return LimitDirection(
        theta=stretch * point.theta,
        direction=direction,
        margin=float(problem.level * size**-L),
        multipliers=problem.margins.table(np.maximum(lam, 0.0) * stretch**2, N),
        active=problem.margins.table(found.sets.active, N),
        modes=found.sets.modes,
        sliding=system.sliding,
        clarke=found.clarke,
        residual=point.residual,
        violations=violations,
        order=second_order(system, point, found.clarke, found.signals, slope),
        heading=heading,
        steps=steps,
    )
