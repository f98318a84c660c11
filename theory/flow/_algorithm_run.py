r"""The loop of a discrete algorithm.

A gradient is kept as ``-grad = e^s d``. With a constant step s = 0. Otherwise d is the gradient of ``u = log(1/Loss)``
(of the batch) and ``s = log(N/|S|) - u_S``, the velocity is kept over the same e^s, and the step as ``log eta``: only
``e^{s + log eta}`` is ever formed, so that nothing underflows at Loss = e^-10000.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from theory._errors import InvalidInput
from theory.flow._algorithm_batches import batches
from theory.flow._algorithm_coordinates import Plain, make_coordinates
from theory.flow._algorithm_limit import _limit
from theory.flow._algorithm_options import Algorithm
from theory.flow._algorithm_record import AlgorithmSolution
from theory.flow._field import penalised
from theory.flow._modes import modes_of
from theory.flow._until import FlowStatus
from theory.flow.conservation import conservation_drift
from theory.flow.losses import Loss
from theory.flow.networks import Forward, Network
from theory.flow.solution import FlowState

ROUNDING = 1e-12  # relative rise of the objective that counts as rounding
CHECKED = 32  # rows at which the step limit is computed
LOOK = 64  # steps of SGD between two looks for overflow


def _log_add(a: float, b: float) -> float:
    """``log(e^a + e^b)``."""
    high, low = (a, b) if a > b else (b, a)
    return high + math.log1p(math.exp(low - high)) if low > -math.inf else high


class Descent:
    """One run."""

    def __init__(
        self, network: Network, X: np.ndarray, y: np.ndarray, loss: Loss, algorithm: Algorithm, theta: np.ndarray,
        log_t: float, rng: np.random.Generator, began: float,
    ) -> None:  # fmt: skip
        self.network, self.X, self.y, self.loss, self.algorithm = network, X, y, loss, algorithm
        self.frame = make_coordinates(network, algorithm.normalise)
        self.x, self.began, self.log_t = self.frame.enter(theta), began, log_t
        size = algorithm.batch
        self.draws = None if size is None else batches(len(X), size, replacement=algorithm.replacement, rng=rng)
        self.rows: list[tuple[np.ndarray, np.ndarray, float, float, float, np.ndarray]] = []
        self.updates: list[int] = []
        self.status, self.stalled = FlowStatus.REACHED, False
        self.increases = self.compared = self.evaluations = 0
        # rounding of the outputs moves a square loss by about eps ||y|| ||f - y||, relative to it the more, the smaller
        self._rough = 0.0 if loss.exponential_tail else 32 * np.finfo(float).eps * float(np.linalg.norm(y))
        self._value: float | None = None

    def go(self, rows: list[int], callback: Callable[[int, float], None] | None) -> None:
        """Step; FloatingPointError where the iterates overflow."""
        a, network, loss, X, y, frame = self.algorithm, self.network, self.loss, self.X, self.y, self.frame
        beta, lam, N, plain = a.momentum, a.weight_decay, len(X), isinstance(self.frame, Plain)
        logs, needs_loss = not a.constant and loss.exponential_tail, a.rule in ("loss-scaled", "custom")
        slope = loss.log_slope if logs else loss.slope
        log_schedule, log_share = np.log(a.step).tolist(), math.log(1 - beta)
        schedule = a.step.tolist()
        passed = np.concatenate([[0.0], np.cumsum(a.step)]) / (1 - beta) if a.constant else None
        start, velocity, last_s = self.log_t, np.zeros_like(self.x), 0.0
        x, wanted, index, u = self.x, iter(rows), 0, 0.0
        row = next(wanted)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for k in range(a.steps + 1):
                theta = x if plain else frame.theta(x)
                at = None
                if self.draws is None or needs_loss or k == row:
                    at = network.forward(theta, X)
                    u = loss.log_inverse(at.outputs, y)
                    if not u > -math.inf:
                        raise FloatingPointError(self._overflow(k))
                    if self.draws is None or k == row:
                        self._compare(self._objective(u, x) if lam else u)
                elif k % LOOK == 0 and not np.isfinite(x).all():
                    raise FloatingPointError(self._overflow(k))
                s, weight = 0.0, 1.0
                if self.draws is None:
                    assert at is not None
                    here, labels = at, y
                    if logs:
                        s = -u
                else:
                    chosen = next(self.draws)
                    here, labels, weight = network.forward(theta, X[chosen]), y[chosen], N / len(chosen)
                    if logs:
                        s, weight = math.log(weight) - loss.log_inverse(here.outputs, labels), 1.0
                d, _ = network.gradient(here, slope(here.outputs, labels))
                if weight != 1.0:
                    d = weight * d
                if not plain:
                    d = frame.pull(x, d)
                if lam and not a.decoupled:
                    d = d - (lam * math.exp(min(-s, 700.0))) * frame.decays * x

                if a.constant:
                    log_eta, length = log_schedule[min(k, a.steps - 1)], schedule[min(k, a.steps - 1)]
                else:
                    log_eta = log_schedule[min(k, a.steps - 1)] + self._log_factor(k, u, s, d)
                    length = float(np.exp(log_eta + s))
                if k == row:
                    if passed is not None:
                        self.log_t = float(np.logaddexp(start, np.log(passed[k])))
                    assert at is not None
                    self._keep(k, theta, x, self._objective(u, x), log_eta, at)
                    if callback is not None:
                        callback(k, self.rows[-1][2])
                    row = next(wanted, -1)
                if k == a.steps:
                    break
                if log_eta == math.inf:  # the normalised rule at a gradient of exactly 0
                    self.status = FlowStatus.STATIONARY
                    if self.updates[-1] != k:
                        self._keep(k, theta, x, self._objective(u, x), log_eta, network.forward(theta, X))
                    break

                if beta:
                    velocity = (beta * math.exp(min(last_s - s, 700.0))) * velocity + d
                    d, last_s = d + beta * velocity if a.nesterov else velocity, s
                before = x
                if lam and a.decoupled:
                    x = x - (lam * math.exp(min(log_eta, 700.0))) * frame.decays * x
                x = x + length * d
                if not plain:
                    x = frame.settle(x)
                if passed is None:
                    self.log_t = _log_add(self.log_t, log_eta - log_share)
                index = k + 1
        self.evaluations = index + 1
        if index:
            self.stalled = bool(np.array_equal(before, x))

    def _log_factor(self, k: int, u: float, s: float, d: np.ndarray) -> float:
        """Logarithm of what the rule multiplies the step with."""
        a = self.algorithm
        if a.rule == "loss-scaled":
            return u
        if a.rule == "normalised":
            length = float(np.linalg.norm(d))
            return math.inf if length == 0 else -s - math.log(length)
        assert a.factor is not None
        try:
            factor = float(a.factor(k, u))
        except (TypeError, ValueError):
            factor = math.nan
        if not (factor > 0 and math.isfinite(factor)):
            raise InvalidInput(f"step_rule must return a positive number, but returned {factor!r} at update {k}.")
        return math.log(factor)

    def _objective(self, u: float, x: np.ndarray) -> float:
        """``log(1/objective)``: the penalty of weight decay added to the loss, as in the flow's record."""
        lam = self.algorithm.weight_decay
        return penalised(u, 0.5 * lam * float((self.frame.decays * x) @ x)) if lam else u

    def _compare(self, value: float) -> None:
        """Whether the objective rose since the last comparison."""
        rounding = ROUNDING * max(1.0, abs(value))
        if self._rough:
            rounding += self._rough * math.exp(min(0.5 * value, 300.0))
        if self._value is not None:
            self.compared += 1
            self.increases += value < self._value - rounding
        self._value = value

    def _overflow(self, k: int) -> str:
        return f"the iterates overflow before update {k}: {self.algorithm.name}; take smaller steps (see step_limit)."

    def _keep(self, k: int, theta: np.ndarray, x: np.ndarray, u: float, log_eta: float, at: Forward) -> None:
        """A row."""
        self.updates.append(k)
        self.rows.append((theta, x, u, self.log_t, log_eta, modes_of(at.preactivations)))

    def _shrink(self, start: float, end: float) -> float:
        """What the flow's decay makes of a conserved quantity's root."""
        lam = self.algorithm.weight_decay if self.algorithm.normalise is None else 0.0
        return math.exp(-lam * (math.exp(min(end, 700.0)) - math.exp(min(start, 700.0)))) if lam else 1.0

    def solution(self, *, limits: bool) -> AlgorithmSolution:
        """The rows so far, as a record."""
        network, a = self.network, self.algorithm
        theta, x, u, log_t, log_step, modes = zip(*self.rows, strict=True)
        table: dict[bytes, int] = {}
        index = np.array([table.setdefault(m.tobytes(), len(table)) for m in modes])
        distinct = [modes[int(np.argmax(index == k))] for k in range(len(table))]
        log_step_rows = np.array(log_step)
        checked = np.zeros(0, dtype=int)
        if limits and a.normalise is None:
            checked = np.unique(np.linspace(0, len(u) - 1, CHECKED).round().astype(int))
        log_limits = np.array([
            _limit(network, self.X, self.y, self.loss, theta[k], a.momentum, a.nesterov,
                   0.0 if a.decoupled else a.weight_decay, modes[k]).log_limit
            for k in checked.tolist()
        ])  # fmt: skip
        state = FlowState(
            theta=theta[-1], modes=modes[-1], log_t=log_t[-1], log_inverse_loss=u[-1], clock="steps",
            clock_value=float(self.updates[-1]),
        )  # fmt: skip
        return AlgorithmSolution(
            network=network, X=self.X, y=self.y, loss=self.loss, log_t=np.array(log_t), log_inverse_loss=np.array(u),
            thetas=np.array(theta), mode_index=index, mode_table=distinct, clocks=np.full(len(u), "steps"), events=(),
            state=state, status=self.status, clock_error=0.0,
            conservation_drift=conservation_drift(network, self._shrink(log_t[0], log_t[-1]) * theta[0], theta[-1]),
            weight_decay=a.weight_decay,
            field_evaluations=self.evaluations, jacobian_evaluations=0, seconds=time.perf_counter() - self.began,
            pieces=(), algorithm=a, updates=np.array(self.updates), coordinates=np.array(x), log_step=log_step_rows,
            loss_increases=int(self.increases), compared=self.compared, limit_rows=checked, log_limits=log_limits,
            above_limit=int((log_step_rows[checked] > log_limits).sum()), stalled=self.stalled,
        )  # fmt: skip
