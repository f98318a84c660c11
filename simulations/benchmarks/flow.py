"""Gradient flow: evaluations, error and time against SciPy's DOP853, and diffrax where it is installed.

An error is the largest difference in the parameters at the end, from a reference at a much tighter tolerance: our own
at 1e-12 through kinks, DOP853 at 1e-13 where the network is smooth. The peers get a limit of seconds; ``-`` says that
they did not finish, and the evaluations are those spent. They have no clock but t: there is nothing to compare the
late phase with, which is given alone with its clock error and the margin's distance to its limit.

Run as ``python -m simulations.benchmarks.flow [--quick]``; ``--quick`` leaves out the wide network and shortens the
limit from 60 to 5 seconds.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.integrate import DOP853

from theory._errors import NotConverged
from theory.flow import fully_connected, integrate
from theory.flow.limit import limit_direction
from theory.flow.losses import as_loss
from theory.flow.networks import deep_linear

Row = dict[str, float | str]


@dataclass(frozen=True, slots=True)
class Problem:
    """A network, its data, a loss, a start and an end in t."""

    name: str
    network: Any
    X: np.ndarray
    y: np.ndarray
    loss: str
    theta: np.ndarray
    T: float

    @property
    def smooth(self) -> bool:
        """Whether no unit has a kink."""
        return not self.network.activation.has_kink

    def field(self, t: float, theta: np.ndarray) -> np.ndarray:
        """``-grad Loss`` with the slopes of the signs."""
        at = self.network.forward(theta, self.X)
        return self.network.gradient(at, as_loss(self.loss).slope(at.outputs, self.y))[0]


def relu(N: int, loss: str, T: float, *, width: int = 10, d: int = 3, seed: int = 0) -> Problem:
    """The reference problem: Gaussian inputs (N, d), random labels, two-layer ReLU."""
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((N, d)), rng.choice([-1.0, 1.0], N)
    network = fully_connected((d, width, 1))
    theta = network.random_parameters(rng=rng, scale=0.5)
    targets = y[:, None] if loss == "square" else y
    return Problem(f"ReLU, width {width}, {N} samples, {loss}", network, X, targets, loss, theta, T)


def smooth(kind: str, T: float) -> Problem:
    """A quadratic or a deep linear network on 10 samples that it can separate, exponential loss."""
    rng = np.random.default_rng(1)
    X, teacher = rng.standard_normal((10, 3)), rng.standard_normal((3, 3))
    if kind == "quadratic":
        network, y = fully_connected((3, 8, 1), activation="quadratic"), np.sign(((X @ teacher) * X).sum(axis=1))
    else:
        network, y = deep_linear((3, 4, 4, 1)), np.sign(X @ teacher[0])
    return Problem(f"{kind}, 10 samples", network, X, y, "exponential", network.random_parameters(rng=rng), T)


def run(quick: bool = False) -> list[Row]:
    """Return one record per case."""
    return list(_rows(quick))


def _rows(quick: bool) -> Iterator[Row]:
    patience = 5.0 if quick else 60.0
    for problem in (relu(8, "square", 3.0), relu(8, "exponential", 3.0)):
        reference: Any = _ours(problem, 1e-12)[0]
        for rtol in (1e-4, 1e-6, 1e-8):
            yield from _early(problem, rtol, reference, patience)
    for problem in (smooth("quadratic", 10.0), smooth("deep linear", 10.0)):
        reference = _dop853(problem, 1e-13, np.inf)[0]
        for rtol in (1e-6, 1e-8):
            yield from _early(problem, rtol, reference, patience)
    for N in (8, 20):
        for end in (1e5, 1e8):
            yield _late(relu(N, "exponential", np.inf), end, 300.0)
    for kind in ("quadratic", "deep linear"):
        yield _late(smooth(kind, np.inf), 1e8, 300.0)
    if not quick:
        yield _late(relu(100, "exponential", np.inf, width=200, d=20), 1e4, 300.0)


def _early(problem: Problem, rtol: float, reference: np.ndarray, patience: float) -> Iterator[Row]:
    """Ours, then each peer, at one tolerance, to t = T."""
    theta, evaluations, seconds = _ours(problem, rtol)
    base: Row = {"case": problem.name, "rtol": rtol}
    yield base | {"solver": "ours", "evaluations": evaluations, "seconds": seconds, "error": _error(theta, reference)}
    for name, solve in PEERS.items():
        found = solve(problem, rtol, patience)
        if found is None:  # not installed
            continue
        end, its_evaluations, its_seconds = found
        yield base | {
            "solver": name, "evaluations": its_evaluations, "seconds": its_seconds,
            "error": np.nan if end is None else _error(end, reference),
            "times_evaluations": its_evaluations / evaluations, "times_seconds": its_seconds / seconds,
        }  # fmt: skip


def _error(theta: np.ndarray, reference: np.ndarray) -> float:
    return float(np.abs(theta - reference).max())


def _ours(problem: Problem, rtol: float) -> tuple[np.ndarray, int, float]:
    began = time.perf_counter()
    flow = integrate(
        problem.network, (problem.X, problem.y), problem.loss, problem.theta, until=problem.T, rtol=rtol,
        atol=1e-4 * rtol, dense=False,
    )  # fmt: skip
    return flow.theta, flow.field_evaluations, time.perf_counter() - began


def _dop853(problem: Problem, rtol: float, patience: float) -> tuple[np.ndarray | None, int, float]:
    """SciPy's, in t, without events; None for its end where it does not finish in time."""
    began = time.perf_counter()
    solver = DOP853(problem.field, 0.0, problem.theta, problem.T, rtol=rtol, atol=1e-4 * rtol)
    while solver.status == "running" and time.perf_counter() - began < patience:
        solver.step()
    end = solver.y if solver.status == "finished" else None
    return end, solver.nfev, time.perf_counter() - began


def _diffrax(
    problem: Problem, rtol: float, patience: float, first: bool = False
) -> tuple[np.ndarray | None, int, float] | None:
    """Diffrax's Tsit5, 6 evaluations a step; ``first``: timed with its compilation. None: not installed, or kinks."""
    if not problem.smooth:
        return None
    try:
        diffrax, jax, jnp = (importlib.import_module(name) for name in ("diffrax", "jax", "jax.numpy"))
    except ImportError:
        return None
    jax.config.update("jax_enable_x64", True)
    solver, X, y = diffrax.Tsit5(), jnp.asarray(problem.X), jnp.asarray(problem.y)

    def loss(theta: Any) -> Any:
        a = X
        views = [np.arange(problem.network.n_parameters)[cut] for cut in problem.network._cuts]
        for place, (cut, layer) in enumerate(zip(views, problem.network.layers, strict=True)):
            a = a @ theta[cut].reshape(layer.n_out, layer.n_in).T
            if place + 1 < len(problem.network.layers):
                a = a**problem.network.activation.power
        return jnp.exp(-y * a[:, 0]).sum()

    @jax.jit
    def solve(theta: Any) -> Any:
        return diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, theta, args: -jax.grad(loss)(theta)), solver, 0.0, problem.T, None, theta,
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=1e-4 * rtol), max_steps=10**6, throw=False,
        )  # fmt: skip

    start = jnp.asarray(problem.theta)
    if not first:
        solve(start).ys.block_until_ready()
    began = time.perf_counter()
    found = solve(start)
    end = np.asarray(found.ys[-1])
    return end, 6 * int(found.stats["num_steps"]), time.perf_counter() - began


PEERS: dict[str, Callable[[Problem, float, float], tuple[np.ndarray | None, int, float] | None]] = {
    "DOP853": _dop853,
    "diffrax, compiled": _diffrax,
    "diffrax, first call": partial(_diffrax, first=True),
}


def _late(problem: Problem, end: float, patience: float) -> Row:
    """To log(1/loss) = end, alone."""
    began = time.perf_counter()

    def watch(step: int, log_inverse_loss: float) -> None:
        if time.perf_counter() - began > patience:
            raise NotConverged(f"{patience:g} seconds are over")

    row: Row = {"case": f"{problem.name} to {end:.0e}", "solver": "ours", "rtol": 1e-8}
    data = (problem.X, problem.y)
    try:
        flow = integrate(
            problem.network, data, problem.loss, problem.theta, until=f"log-loss:{end}", dense=False, callback=watch
        )
    except NotConverged as error:
        reached = getattr(error.partial, "log_inverse_loss", [np.nan])[-1]
        return row | {"note": f"{error} at log(1/loss) = {reached:.3g}", "seconds": time.perf_counter() - began}
    row |= {
        "evaluations": flow.field_evaluations, "seconds": flow.seconds, "error": flow.clock_error, "steps": flow.steps,
        "note": f"{flow.steps} steps, {len(flow.events)} events, drift {flow.conservation_drift:.0e}",
    }  # fmt: skip
    if flow.state.log_inverse_loss < 0.99 * end:
        return row | {"note": f"{flow.status.value} {row['note']}"}
    if problem.network.n_parameters < 1000:
        limit = limit_direction(problem.network, *data, problem.loss, flow.theta, modes=flow.modes())
        row["note"] = f"{row['note']}, margin {1 - flow.normalized_margins()[-1] / limit.margin:.0e} below its limit"
        if limit.kind == "saddle":
            row["note"] = f"{row['note']} (a saddle, which the flow passes)"
    return row


def main() -> None:
    """Print a table."""
    print(f"{'':52}{'solver':<20}{'rtol':>7}{'evals':>9}{'seconds':>9}{'error':>9}{'x evals':>9}{'x time':>8}")
    for row in _rows(quick="--quick" in sys.argv[1:]):
        line = f"{row['case']:52}{row['solver']:<20}{row['rtol']:7.0e}{_number(row, 'evaluations', 9, 'd')}"
        line += _number(row, "seconds", 9, ".3f") + _number(row, "error", 9, ".0e")
        line += _number(row, "times_evaluations", 9, ".1f") + _number(row, "times_seconds", 8, ".1f")
        print(f"{line}  {row.get('note', '')}".rstrip(), flush=True)


def _number(row: Row, key: str, width: int, form: str) -> str:
    value = row.get(key)
    text = "" if value is None else "-" if value != value else format(value, form)
    return f"{text:>{width}}"


if __name__ == "__main__":
    main()
