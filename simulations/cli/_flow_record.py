"""The record that ``theory flow`` prints: the flow's own numbers, its KKT certificate, and its limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from theory._errors import NotConverged, TheoryError

if TYPE_CHECKING:
    from theory.flow import FlowSolution
    from theory.flow.kkt import KKTCertificate
    from theory.flow.limit import LimitDirection

KEYS = (
    "status", "log_inverse_loss", "log_t", "margin", "smoothed_margin", "kkt_eps", "kkt_delta", "conservation_drift",
    "events", "steps", "field_evaluations", "seconds", "limit",
)  # fmt: skip


def certificate(solution: FlowSolution) -> tuple[KKTCertificate | None, str | None]:
    """The (eps, delta)-KKT certificate of the last state, or the sentence that says why there is none."""
    from theory.flow.kkt import kkt_certificate

    at, p = solution.state, solution
    try:
        # slackness 1 weighs delta like eps: both go to zero along the flow
        return kkt_certificate(p.network, p.X, p.y, p.loss, at.theta, modes=at.modes, slackness=1.0), None
    except TheoryError as error:
        return None, str(error)


def limit_of(solution: FlowSolution, wanted: bool = True) -> tuple[LimitDirection | None, str | None]:
    """The limit direction from the last state, or the sentence that says why there is none."""
    from theory.flow.limit import limit_direction

    if not wanted:
        return None, "not asked for (--no-limit)."
    at, p = solution.state, solution
    try:
        return limit_direction(p.network, p.X, p.y, p.loss, at.theta, modes=at.modes), None
    except TheoryError as error:
        return None, str(error)


def flow_record(
    solution: FlowSolution, limit: LimitDirection | None, reason: str | None, status: str | None = None
) -> dict[str, object]:
    """What ``--json`` prints; ``limit`` and the KKT numbers are null where there are none, with a reason."""
    kkt, why = certificate(solution)
    record = solution.to_json()
    record |= {
        "status": status or record["status"],
        "kkt_eps": None if kkt is None else kkt.eps,
        "kkt_delta": None if kkt is None else kkt.delta,
        "kkt_reason": why,
        "limit": None if limit is None else {name: getattr(limit, name) for name in ("margin", "residual", "kind")},
        "limit_reason": reason,
        "cautions": cautions(solution, limit),
        "loss": solution.loss.name,
    }
    if not solution.loss.exponential_tail:
        record["mean_squared_error"] = mean_squared_error(solution)
    return {key: record[key] for key in [*KEYS, *(key for key in record if key not in KEYS)]}


def mean_squared_error(solution: FlowSolution) -> float:
    """Of the last state, over samples and outputs."""
    return float(np.square(solution.network.output(solution.theta, solution.X) - solution.y).mean())


def cautions(solution: FlowSolution, limit: LimitDirection | None) -> list[str]:
    """What to be careful with: where the flow was not unique, and a limit that it does not head to."""
    out = []
    ambiguous = solution.event_counts.get("ambiguous", 0)
    if ambiguous:
        out.append(f"at {ambiguous} events the flow is not unique; --ambiguous chose.")
    if limit is not None:
        smoothed = float(solution.smoothed_margins()[-1])
        if limit.margin < smoothed * (1 - 1e-9):  # proved: the smoothed margin never falls
            out.append(
                f"the limit's margin is below the smoothed margin {smoothed:.10g} of the state, which never falls: the "
                "flow passes this point; integrate further."
            )
        elif limit.kind == "saddle":
            out.append("the limit is a saddle, which the flow may yet leave; integrate further.")
    return out


def flow_text(record: dict[str, object], solution: FlowSolution, found: LimitDirection | None) -> str:
    """A few lines for people: the flow, its margins, its KKT residuals, its limit, and what to be careful with."""
    lines = [solution.summary()]
    if "mean_squared_error" in record:
        lines.append(f"  mean squared error {record['mean_squared_error']:.10g}")
    if record["margin"] is not None:
        lines.append(f"  margin {record['margin']:.10g}, smoothed {record['smoothed_margin']:.10g}")
    if record["kkt_eps"] is not None:
        lines.append(f"  KKT residuals of this state: eps {record['kkt_eps']:.2e}, delta {record['kkt_delta']:.2e}")
    limit = record["limit"]
    if isinstance(limit, dict):
        lines.append(f"limit: margin {limit['margin']:.12g}, KKT residual {limit['residual']:.1e}, {limit['kind']}")
    else:
        lines.append(f"no limit: {record['limit_reason']}")
    lines += [f"caution: {sentence}" for sentence in cautions(solution, found)]
    return "\n".join(lines)


def not_converged(error: NotConverged, folder: object) -> NotConverged:
    """The same error, saying where what was reached is."""
    where = "--out DIR keeps what was reached" if folder is None else f"what was reached is in {str(folder)!r}"
    return NotConverged(f"{str(error).rstrip('.')}; {where}.", error.partial)
