"""Late-stage SGD: the normalised iterates, and how far they are from the critical points of the margin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from theory._arrays import as_count, short_repr
from theory._errors import InvalidInput, NotConverged, PreconditionError
from theory.flow._algorithm_record import AlgorithmSolution
from theory.flow._limit_record import LimitDirection
from theory.flow.kkt import kkt_certificate
from theory.flow.limit import limit_direction
from theory.flow.losses import CrossEntropyLoss
from theory.flow.low_rotation import angles
from theory.flow.solution import FlowSolution

TAIL = 3  # the first and the last third of the rows are compared


@dataclass(frozen=True, slots=True, kw_only=True)
class LateStage:
    """Normalised iterates from the row on from which the data stay separated; rows are recorded iterates.

    Attributes
    ----------
    steps : (rows) which rows of the solution. updates : (rows) updates before each (steps, for a flow).
    log_inverse_loss, norms : (rows) ``log(1/Loss)`` and ``||theta||``.
    directions : (rows, P) ``theta / ||theta||``.
    normalized_margins : (rows) ``q_min / ||theta||^L``.
    criticality : (rows) upper end of a certified bracket, between 0 at a critical point of the margin and 1; see
        ``late_stage``. criticality_lower : (rows) its lower end.
    distance : (rows) angle to the limit, in radians; ``None`` without a limit.
    limit : the critical point that the distance is to, or ``None``; why_no_limit : one sentence, or empty.
    outside : hypotheses of the theorem that the run does not meet, in words; empty where it applies.
    """

    steps: np.ndarray
    updates: np.ndarray
    log_inverse_loss: np.ndarray
    norms: np.ndarray
    directions: np.ndarray
    normalized_margins: np.ndarray
    criticality: np.ndarray
    criticality_lower: np.ndarray
    distance: np.ndarray | None
    limit: LimitDirection | None
    why_no_limit: str
    outside: tuple[str, ...]

    __repr__ = short_repr

    @property
    def criticality_ratio(self) -> float:
        """Median criticality of the last third of the rows over that of the first third."""
        return _ratio(self.criticality)

    @property
    def distance_ratio(self) -> float | None:
        """The same of the distance to the limit; ``None`` without a limit."""
        return None if self.distance is None else _ratio(self.distance)

    @property
    def approaches(self) -> bool:
        """Whether the criticality fell, and the distance too where there is a limit: both ratios below 1."""
        return self.criticality_ratio < 1 and (self.distance_ratio is None or self.distance_ratio < 1)

    def summary(self) -> str:
        """A few lines for people."""
        lines = [
            f"late stage: {len(self.steps)} rows, updates {self.updates[0]} to {self.updates[-1]}, log(1/loss) "
            f"{self.log_inverse_loss[0]:.4g} to {self.log_inverse_loss[-1]:.4g}",
            f"  normalised margin {self.normalized_margins[0]:.6g} to {self.normalized_margins[-1]:.6g}",
            f"  criticality {self.criticality[0]:.3g} to {self.criticality[-1]:.3g} (last third over first "
            f"{self.criticality_ratio:.3g})",
            f"  no limit: {self.why_no_limit}" if self.distance is None else
            f"  {self.distance[0]:.3g} to {self.distance[-1]:.3g} rad from the limit, "
            f"{'' if self.limit is None else self.limit.kind} (last third over first {self.distance_ratio:.3g})",
            f"  the iterates {'approach' if self.approaches else 'DO NOT approach'} the critical points",
        ]  # fmt: skip
        if self.outside:
            lines.append("  outside the theorem: " + "; ".join(self.outside))
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """Plain numbers and lists; the directions are in the array."""
        return {
            "updates": self.updates.tolist(), "log_inverse_loss": self.log_inverse_loss.tolist(),
            "norms": self.norms.tolist(), "normalized_margins": self.normalized_margins.tolist(),
            "criticality": self.criticality.tolist(), "criticality_lower": self.criticality_lower.tolist(),
            "criticality_ratio": self.criticality_ratio,
            "distance": None if self.distance is None else self.distance.tolist(),
            "distance_ratio": self.distance_ratio, "approaches": self.approaches,
            "limit": None if self.limit is None else self.limit.to_json(), "why_no_limit": self.why_no_limit,
            "outside": list(self.outside),
        }  # fmt: skip


def late_stage(solution: FlowSolution, *, rows: int = 40, limit: LimitDirection | None = None) -> LateStage:
    r"""How near the normalised iterates of a run are to the critical points of the margin, row by row.

    .. math:: \kappa(\theta) = \frac{2}{\|\theta\|^2} \min_{\lambda \ge 0,\ h_n \in \partial^\circ q_n}
        \Bigl\{ \tfrac12 \Bigl\| \theta - \sum_n \lambda_n h_n \Bigr\|^2 + \sum_n \lambda_n (q_n(\theta) - 1) \Bigr\}
        \in [0, 1] \qquad \text{at } q_{\min}(\theta) = 1

    *published form* (schechtman2025late, its abstract): for binary labels, a homogeneous network, the exponential or
    logistic loss and constant steps, the normalised iterates of SGD converge to the critical points of the normalised
    margin once the data are separated. How fast is not stated, so what is computed here is a *measure*: ``approaches``
    says whether criticality and distance fell on this run. *derived*: kappa is ``kkt_certificate`` with slackness 1
    over its value at lam = 0, hence at most 1; both terms are nonnegative and vanish together just where ``theta = sum
    lam_n h_n`` with weight on the least margins only, which is criticality on the sphere: the tangential part of a
    point of ``hull{h_n : q_n = q_min}`` is zero, its radial part positive by Euler's identity. It does not depend on
    the length of theta.

    Parameters
    ----------
    solution : of ``descend`` (any batch), or of ``integrate``, without weight decay, on a homogeneous network.
    rows : at most so many rows, evenly among the late ones in log(updates).
    limit : the critical point for ``distance``; ``None`` looks for it from the last row by ``limit_direction``. A
        record that solves its system to 1e-9 counts, else ``why_no_limit`` says what failed.

    Raises
    ------
    InvalidInput : ``rows`` below 3 or not whole; a limit of another network.
    PreconditionError : not homogeneous, no exponential tail, weight decay; the data are not separated at the end, or
        stay so for fewer than three rows.

    Cost: a KKT certificate for each row, and one ``limit_direction``.

    When not to trust it: a limit found from the last row depends on it, so the distance falls more easily than the
    criticality, which knows no end; give a ``limit`` from another run to avoid this. Found early (constant steps reach
    log(1/Loss) of 10 or so only) it may be a far critical point, even a saddle, and not the run's own: see its ``kind``
    and ``distance``. An iterate near a kink sees the gradient of its side only: where the limit sits on a kink the
    criticality may stay away from 0 although the distance falls. Rows of SGD are noisy: medians of thirds are compared.

    Examples
    --------
    >>> from theory.flow import descend, fully_connected
    >>> data = ([[1.0, 0.2], [0.3, 2.0], [1.0, 1.0]], [1, -1, 1])
    >>> run = descend(fully_connected((2, 1), activation="linear"), data, "exponential", [1.0, -1.0], step=0.2,
    ...               steps=2000, batch=1, rng=0)
    >>> late = late_stage(run)
    >>> late.approaches, late.outside
    (True, ())
    """
    count = as_count("rows", rows, minimum=3)
    network, law, X, y = solution.network, solution.loss, solution.X, solution.y
    _require(solution)
    margins = solution.margins()
    wrong = np.flatnonzero(~(margins > 0))
    first = int(wrong[-1]) + 1 if wrong.size else 0
    left = len(margins) - first
    if left < 3:
        raise PreconditionError(f"the data stay separated for {left} recorded rows at the end; three are needed.")
    made = solution.updates if isinstance(solution, AlgorithmSolution) else np.arange(len(margins))
    wanted = np.geomspace(made[first] + 1, made[-1] + 1, count) - 1
    steps = np.unique(np.clip(np.searchsorted(made, wanted - 1e-6 * (wanted + 1)), first, len(margins) - 1))
    if len(steps) < 3:
        steps = np.arange(first, len(margins))[-count:]
    thetas = solution.thetas[steps]
    found, why = limit, ""
    if found is None:
        found, why = _limit(solution)
    elif found.direction.shape != (network.n_parameters,):
        raise InvalidInput(f"the limit has {len(found.direction)} parameters, but the network {network.n_parameters}.")
    smooth = not network.n_units or not network.activation.has_kink
    kappas = []
    for k, q in zip(steps, margins[steps], strict=True):
        theta = solution.thetas[k]
        modes = None if smooth or isinstance(solution, AlgorithmSolution) else solution.modes(int(k))
        bracket = kkt_certificate(network, X, y, law, theta, modes, slackness=1.0).certificate
        whole = 0.5 * float(theta @ theta) / q ** (2 / network.degree)
        kappas.append((max(bracket.lower, 0.0) / whole, bracket.upper / whole))
    lower, upper = np.array(kappas).T
    norms = np.linalg.norm(thetas, axis=1)
    return LateStage(
        steps=steps, updates=np.asarray(made)[steps], log_inverse_loss=solution.log_inverse_loss[steps], norms=norms,
        directions=thetas / norms[:, None], normalized_margins=margins[steps] / norms**network.degree,
        criticality=upper, criticality_lower=lower,
        distance=None if found is None else angles(thetas, found.direction), limit=found, why_no_limit=why,
        outside=_outside(solution),
    )  # fmt: skip


def _require(solution: FlowSolution) -> None:
    if not solution.loss.exponential_tail:
        raise PreconditionError(f"critical points of the margin need an exponential tail, not {solution.loss.name}.")
    if not solution.network.homogeneous:
        raise PreconditionError("the network is not homogeneous: its margin has no normalisation.")
    if solution.weight_decay > 0 or (isinstance(solution, AlgorithmSolution) and solution.algorithm.weight_decay > 0):
        raise PreconditionError("with weight decay the iterates stay bounded and do not follow the margin.")


def _limit(solution: FlowSolution) -> tuple[LimitDirection | None, str]:
    """The critical point found from the last row, or why there is none."""
    try:
        return limit_direction(solution.network, solution.X, solution.y, solution.loss, solution.theta), ""
    except NotConverged as error:
        partial = error.partial
        if isinstance(partial, LimitDirection) and partial.residual < 1e-9 and not partial.violations:
            return partial, ""
        return None, str(error)


def _outside(solution: FlowSolution) -> tuple[str, ...]:
    """What the theorem's hypotheses miss in this run."""
    said = []
    if isinstance(solution.loss, CrossEntropyLoss):
        said.append("several classes")
    if not isinstance(solution, AlgorithmSolution):
        return (*said, "a flow, not SGD")
    options = solution.algorithm
    if not options.constant or np.ptp(options.step) > 0:
        said.append("steps that are not constant")
    if options.momentum:
        said.append("momentum")
    if options.normalise is not None:
        said.append("other coordinates")
    return tuple(said)


def _ratio(values: np.ndarray) -> float:
    """Median of the last third over that of the first; 0 where both vanish."""
    third = max(1, len(values) // TAIL)
    before, after = float(np.median(values[:third])), float(np.median(values[-third:]))
    return after / before if before > 0 else (0.0 if after == 0 else float("inf"))
