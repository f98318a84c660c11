"""Solvers on one flow: ours, SciPy, torchdiffeq, diffrax; each as a function of its tolerance with a limit of seconds.

All peers get the same lean field (and the exact Jacobian where SciPy's method is implicit), float64, and the kinks as
they are: a discontinuous right-hand side, which is what a user hands to them.
"""

from __future__ import annotations

import importlib
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulations.benchmarks._comparison import OURS
from simulations.benchmarks._flow_problems import Problem
from simulations.benchmarks._flow_walk import Attempt, OutOfTime, Solve, attempted
from simulations.benchmarks._measure import version

IMPLICIT = ("BDF", "Radau", "LSODA")
# a compiled solve cannot be interrupted: steps that take about one second on 10 samples and 40 parameters
STEPS_PER_SECOND = {"Tsit5": 50_000, "Dopri8": 20_000, "Kvaerno5": 6_000}


@dataclass(frozen=True, slots=True)
class Peer:
    """``prepare(problem, limit)`` gives the solver and the seconds of its compilation (0 where nothing is compiled)."""

    name: str
    packages: tuple[str, ...]
    prepare: Callable[[Problem, float], tuple[Solve, float]]

    @property
    def version(self) -> str | None:
        """None where it is not installed."""
        return version(*self.packages)


def ours(problem: Problem, limit: float, end: str | float | None = None) -> Solve:
    """``theory.flow.integrate`` and its interpolant at the times; ``end`` replaces the last of them."""
    from theory.flow import integrate

    def solve(rtol: float) -> Attempt:
        began = time.perf_counter()

        def watch(step: int, log_inverse_loss: float) -> None:
            if time.perf_counter() - began > limit:
                raise OutOfTime

        def run() -> tuple[np.ndarray, str, int]:
            flow = integrate(
                problem.network, (problem.X, problem.y), problem.loss, problem.theta,
                until=problem.times[-1] if end is None else end, rtol=rtol, atol=1e-2 * rtol, dense=end is None,
                callback=watch,
            )  # fmt: skip
            thetas = flow(problem.times) if end is None else flow.theta[None]
            return thetas, f"{len(flow.events)} events", flow.field_evaluations

        return attempted(run, rtol)

    return solve


def _scipy(method: str) -> Callable[[Problem, float], tuple[Solve, float]]:
    def prepare(problem: Problem, limit: float) -> tuple[Solve, float]:
        from scipy.integrate import solve_ivp

        field = problem.velocity()
        options = {"jac": lambda t, theta: problem.jacobian(theta)} if method in IMPLICIT else {}

        def solve(rtol: float) -> Attempt:
            end = time.perf_counter() + limit

            def watched(t: float, theta: np.ndarray) -> np.ndarray:
                if time.perf_counter() > end:
                    raise OutOfTime
                return np.asarray(field(theta))

            def run() -> tuple[np.ndarray | None, str, int]:
                with warnings.catch_warnings(), np.errstate(all="ignore"):
                    warnings.simplefilter("ignore")  # LSODA's, which its status repeats
                    found = solve_ivp(
                        watched, (0.0, problem.times[-1]), problem.theta, method, t_eval=problem.times, rtol=rtol,
                        atol=1e-2 * rtol, **options,
                    )  # fmt: skip
                return (found.y.T if found.success else None), str(found.message), int(found.nfev)

            return attempted(run, rtol)

        return solve, 0.0

    return prepare


def _torchdiffeq(method: str) -> Callable[[Problem, float], tuple[Solve, float]]:
    def prepare(problem: Problem, limit: float) -> tuple[Solve, float]:
        torch, torchdiffeq = importlib.import_module("torch"), importlib.import_module("torchdiffeq")
        field, start, times = problem.velocity(torch), torch.asarray(problem.theta), torch.asarray(problem.times)

        def solve(rtol: float) -> Attempt:
            end, evaluations = time.perf_counter() + limit, 0

            def watched(t: Any, theta: Any) -> Any:
                nonlocal evaluations
                evaluations += 1
                if time.perf_counter() > end:
                    raise OutOfTime
                return field(theta)

            def run() -> tuple[np.ndarray, str, int]:
                with torch.no_grad():
                    found = torchdiffeq.odeint(watched, start, times, rtol=rtol, atol=1e-2 * rtol, method=method)
                return found.numpy(), "", evaluations

            return attempted(run, rtol)

        return solve, 0.0

    return prepare


def step_limit(method: str, problem: Problem, limit: float) -> int:
    """Steps of diffrax that take about ``limit`` seconds: costs rise with N P, of the implicit method with P^2."""
    P = len(problem.theta)
    cost = (P / 40) ** 2 if method == "Kvaerno5" else len(problem.X) * P / 400
    return max(1, int(limit * STEPS_PER_SECOND[method] / max(1.0, cost)))


def _diffrax(method: str) -> Callable[[Problem, float], tuple[Solve, float]]:
    def prepare(problem: Problem, limit: float) -> tuple[Solve, float]:
        jax, diffrax = importlib.import_module("jax"), importlib.import_module("diffrax")
        steps = step_limit(method, problem, limit)
        with jax.enable_x64(True):
            field = problem.velocity(jax.numpy)

            def integrate(theta: Any, rtol: Any) -> Any:
                found = diffrax.diffeqsolve(
                    diffrax.ODETerm(lambda t, theta, args: field(theta)), getattr(diffrax, method)(), 0.0,
                    problem.times[-1], None, theta, saveat=diffrax.SaveAt(ts=problem.times), max_steps=steps,
                    stepsize_controller=diffrax.PIDController(rtol=rtol, atol=1e-2 * rtol), throw=False,
                    adjoint=diffrax.ForwardMode(),
                )  # fmt: skip
                return found.ys, found.stats["num_steps"], diffrax.is_successful(found.result)

            began = time.perf_counter()
            compiled = jax.jit(integrate).lower(problem.theta, 1e-3).compile()
            compilation = time.perf_counter() - began

        def solve(rtol: float) -> Attempt:
            def run() -> tuple[np.ndarray | None, str, int]:
                with jax.enable_x64(True):
                    thetas, taken, fine = (np.asarray(part) for part in compiled(problem.theta, rtol))
                if int(taken) >= steps and not fine:
                    raise OutOfTime
                return (thetas if fine else None), f"{int(taken)} steps", 0

            return attempted(run, rtol)

        return solve, compilation

    return prepare


SCIPY = tuple(Peer(f"SciPy {m}", ("scipy",), _scipy(m)) for m in ("RK45", "DOP853", "LSODA", "BDF", "Radau"))
TORCH = tuple(Peer(f"torchdiffeq {m}", ("torchdiffeq", "torch"), _torchdiffeq(m)) for m in ("dopri5", "dopri8"))
DIFFRAX = tuple(Peer(f"diffrax {m}", ("diffrax", "jax"), _diffrax(m)) for m in STEPS_PER_SECOND)
PEERS = SCIPY + TORCH + DIFFRAX
OUR_PACKAGE = "deep-classifier-theory"


def our_entry_version() -> str:
    """Of this package, as installed."""
    return version(OUR_PACKAGE) or OURS
