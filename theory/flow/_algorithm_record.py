"""What a discrete algorithm returns: the record of a flow, with its steps, their limits, and the rises of its loss."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import brentq

from theory._arrays import short_repr
from theory._errors import InvalidInput
from theory.flow._algorithm_options import Algorithm
from theory.flow._field import penalised
from theory.flow.solution import FlowSolution


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmSolution(FlowSolution):
    r"""The iterates of a discrete algorithm at its recorded steps: a ``FlowSolution`` whose rows are those steps.

    Plots, ``diagnose`` and ``conservation_drift`` take it like a flow, so that both can be drawn together. Its time is
    the sum of the step sizes over 1 - momentum. With weight decay log(1/Loss) includes the penalty, as in a flow. It
    has no events and no interpolants: ``at`` follows the polygon of the iterates where neighbouring steps are recorded,
    and refuses elsewhere.

    Attributes
    ----------
    algorithm : the options. updates : (rows) number of updates before each row.
    coordinates : (rows, Q) what the algorithm stepped in: theta, or with ``normalise`` (s, v) or (rho, V).
    log_step : (rows) logarithm of the step size that the rule gives at each row.
    loss_increases : of ``compared`` pairs of steps, in how many the objective rose by more than rounding (1e-12 of it;
        for the square loss also 1e-14 ||y|| / ||f - y|| of it). Every step is compared where each takes all samples,
        with batches only the recorded rows.
    limit_rows, log_limits : rows at which ``step_limit`` was computed, and its logarithm there.
    above_limit : at how many of them the step is above the limit.
    stalled : whether the last update was lost in the rounding of the parameters.
    """

    algorithm: Algorithm
    updates: np.ndarray
    coordinates: np.ndarray
    log_step: np.ndarray
    loss_increases: int
    compared: int
    limit_rows: np.ndarray = field(repr=False)
    log_limits: np.ndarray = field(repr=False)
    above_limit: int
    stalled: bool

    __repr__ = short_repr

    @property
    def t(self) -> np.ndarray:
        """Time (rows); infinite past the range of float64, where ``log_t`` goes on."""
        with np.errstate(over="ignore"):
            return np.exp(self.log_t)

    def _locate(self, value: float, by_time: bool) -> np.ndarray:
        grid = self.log_t if by_time else self.log_inverse_loss
        name = "log_t" if by_time else "log_inverse_loss"
        reached = np.flatnonzero(grid >= value)
        if np.isnan(value) or value < grid[0] or not reached.size:
            raise InvalidInput(f"{name} must be between {grid[0]:.6g} and {grid.max():.6g}, but is {value:.6g}.")
        row = int(reached[0])
        if grid[row] == value:
            return self.thetas[row]
        if self.updates[row] - self.updates[row - 1] != 1:
            raise InvalidInput(
                f"steps {self.updates[row - 1]} and {self.updates[row]} are recorded, but none between: record=1 keeps "
                "all."
            )
        if not by_time and self.weight_decay and self.algorithm.normalise is not None:
            raise InvalidInput("with normalise and weight decay a state between two steps is found by log_t alone.")
        before, after = self.thetas[row - 1], self.thetas[row]
        if by_time:
            last, now = self.log_t[row - 1], self.log_t[row]
            w = np.expm1(value - last) / np.expm1(now - last) if np.isfinite(last) else np.exp(value - now)
            return before + w * (after - before)

        def excess(w: float) -> float:
            theta = before + w * (after - before)
            u = self.loss.log_inverse(self.network.output(theta, self.X), self.y)
            return (penalised(u, self.weight_decay / 2 * float(theta @ theta)) if self.weight_decay else u) - value

        w = 1.0 if excess(1.0) <= 0 else float(brentq(excess, 0.0, 1.0, xtol=1e-15))
        return before + w * (after - before)

    def summary(self) -> str:
        """A few lines for people."""
        lines = [
            f"{self.algorithm.name}: {self.network.name}, {self.network.n_parameters} parameters, "
            f"{self.loss.name} loss",
            f"  {self.status.value}",
            f"  {self.updates[-1]} updates to log t = {self.state.log_t:.6g}, log(1/loss) = "
            f"{self.state.log_inverse_loss:.6g}, {self.seconds:.2f} s",
            f"  the objective rose in {self.loss_increases} of {self.compared} comparisons",
            f"  conservation drift {self.conservation_drift:.1e}",
        ]
        above, rows = self.above_limit, len(self.limit_rows)
        found = (
            f"steps above the local limit at {above} of {rows} checked rows" if rows else "no step limit was computed"
        )
        lines.insert(4, f"  {found}")
        if self.stalled:
            lines.append("  caution: the last update was lost in the rounding of the parameters")
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """The end and its cost in plain numbers; the trajectory itself is in the arrays."""
        record = FlowSolution.to_json(self)
        worst = self.log_step[self.limit_rows] - self.log_limits
        return record | {
            "algorithm": self.algorithm.to_json(), "updates": int(self.updates[-1]),
            "loss_increases": self.loss_increases, "compared": self.compared,
            "limits_checked": len(self.limit_rows), "above_limit": self.above_limit,
            "log_largest_step_over_limit": float(worst.max()) if worst.size and np.isfinite(worst.max()) else None,
            "stalled": self.stalled,
        }  # fmt: skip
