"""Checks 9, 10 and 16: ReLU networks under the squared loss, whose kinks decide where they go."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.integrate import DOP853

from simulations.experiments._flow_check import FlowCheck, check
from theory.flow import FlowSolution, fully_connected, integrate, two_layer
from theory.flow.exact import MinimumVariationNorm, OneActiveNeuron

NAIVE_EVALUATIONS = 13_000  # where the integrator without events is stopped
RTOLS = np.array([1e-4, 1e-6, 1e-8, 1e-10])


def one_neuron() -> FlowCheck:
    """Outer and inner weights at the end, for starts of 1e-3 to 3."""
    X, y, scales = np.diag([1.0, 2.0]), np.array([1.5, 0.8]), np.geomspace(1e-3, 3, 5)
    said, found = [], []
    for scale in scales:
        w0 = scale * np.array([0.4, 0.6])
        a, w = OneActiveNeuron(X=X, y=y, a0=scale, w0=w0).limit
        flow = integrate(fully_connected((2, 1, 1)), (X, y), "square", np.append(w0, scale), until=25.0, rtol=1e-12,
                         atol=1e-13, dense=False)  # fmt: skip
        said.append([*w, a])
        found.append(flow.theta)
    return check(
        "9a", "One ReLU neuron ends where its quadratic says, at any scale", scales, np.array(said), np.array(found),
        xlabel="size of the start", ylabel="weights at the end", tolerance=1e-11, xscale="log",
        labels=("w₁", "w₂", "a"),
    )  # fmt: skip


def least_norm() -> FlowCheck:
    """``||theta||²/2`` of width 12 on orthogonal data; the tolerance is the reference's gap, .0184, at a start of 1e-4.

    The closed form belongs to vanishing starts, and the gap falls no faster than 1/log(1/start).
    """
    X, y, scales = np.diag([1.0, 2.0, 1.5, 1.0]), np.array([1.0, -0.7, 0.8, -0.4]), np.array([1e-3, 1e-4, 1e-6])
    network, found = two_layer(4, 12), []
    for scale in scales:
        theta0 = network.random_parameters(rng=0, scale=scale)
        flow = integrate(network, (X, y), "square", theta0, until=60.0, rtol=1e-7, dense=False)
        found.append(flow.theta @ flow.theta / 2)
    return check(
        "9b", "Small starts, orthogonal data: the least variation norm", scales, MinimumVariationNorm(X=X, y=y).value,
        np.array(found), xlabel="size of the start", ylabel="|θ|²/2 at the end", tolerance=0.0184, xscale="log",
    )  # fmt: skip


def three_points() -> FlowCheck:
    """Published data on which training stops at the fit of a line, to six digits of outputs and mean square."""
    x, y = np.array([[-0.75], [-0.5], [0.125]]), np.array([1.1, 0.1, 0.8])
    design = np.hstack([x, np.ones((3, 1))])
    fit = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    network, rng = fully_connected((1, 20, 1), bias="first"), np.random.default_rng(0)
    inner = 1e-3 * rng.standard_normal((20, 2))
    outer = np.linalg.norm(inner, axis=1) * rng.choice([-1.0, 1.0], 20)
    theta0 = network.pack(W1=inner[:, :1], b1=inner[:, 1], W2=outer[None])
    flow = integrate(network, (x, y), "square", theta0, until=400.0, dense=False)
    outputs = network.output(flow.theta, x)[:, 0]
    mse = [np.mean((f - y) ** 2) for f in (fit, outputs)]
    return check(
        "10", f"Three points: training stops at the line, mean square {mse[0]:.6f}", x[:, 0],
        np.column_stack([fit, np.full(3, mse[0])]), np.column_stack([outputs, np.full(3, mse[1])]), xlabel="input x",
        ylabel="output", tolerance=1e-6, compared="absolute", labels=("output", "mean square"),
    )  # fmt: skip


@cache
def _runs() -> tuple[FlowSolution, list[FlowSolution]]:
    """Eight random samples in three dimensions, width 10, to t = 3: a reference, and a run at each rtol."""
    rng = np.random.default_rng(0)
    X, y, network = rng.standard_normal((8, 3)), rng.choice([-1.0, 1.0], 8), two_layer(3, 10)
    theta0 = network.pack(W1=rng.standard_normal((10, 3)) / np.sqrt(3), W2=rng.standard_normal((1, 10)) / np.sqrt(10))
    best, *runs = [
        integrate(network, (X, y), "square", theta0, until=3.0, rtol=rtol, atol=rtol / 100, dense=False)
        for rtol in (1e-13, *RTOLS)
    ]
    return best, runs


def _naive(best: FlowSolution, rtol: float) -> tuple[float, int]:
    """Error and evaluations of DOP853 that follows the sign of each pre-activation; infinite if it does not arrive."""
    network, X, y = best.network, best.X, best.y

    def field(_: float, theta: np.ndarray) -> np.ndarray:
        at = network.forward(theta, X)
        return -network.gradient(at, at.outputs - y.reshape(len(X), -1))[0]

    solver = DOP853(field, 0.0, best.thetas[0], 3.0, rtol=rtol, atol=rtol / 100)
    while solver.status == "running" and solver.nfev < NAIVE_EVALUATIONS:
        solver.step()
    arrived = solver.status == "finished"
    return float(np.abs(solver.y - best.theta).max()) if arrived else np.inf, solver.nfev


def accuracy_with_events() -> FlowCheck:
    """Error of the parameters at t = 3, 9 slidings on, against a run at rtol 1e-13: no more than rtol itself."""
    best, runs = _runs()
    errors = [np.abs(run.theta - best.theta).max() for run in runs]
    return check(
        "16a", "With kinks as events the error stays below rtol", RTOLS, RTOLS, np.array(errors), xlabel="rtol",
        ylabel="error of θ at t = 3", tolerance=0.0, compared="below", xscale="log", yscale="log",
    )  # fmt: skip


def cost_without_events() -> FlowCheck:
    """Field evaluations against those of a DOP853 that knows no kinks, over ten.

    It is stopped after 13 000 evaluations and has not arrived by then. Where it does arrive it counts only if it is
    at least as accurate.
    """
    best, runs = _runs()
    rows = []
    for rtol, run in zip(RTOLS[:2], runs, strict=False):
        error, evaluations = _naive(best, rtol)
        arrived_as_well = error <= np.abs(run.theta - best.theta).max()
        rows.append((evaluations if arrived_as_well else max(evaluations, NAIVE_EVALUATIONS), run.field_evaluations))
    naive, ours = np.array(rows, dtype=float).T
    return check(
        "16b", "… at under a tenth of the evaluations that DOP853 wastes", RTOLS[:2], naive / 10, ours, xlabel="rtol",
        ylabel="evaluations (line: DOP853 / 10)", tolerance=0.0, compared="below", xscale="log",
    )  # fmt: skip


CHECKS = {
    "9a": one_neuron, "9b": least_norm, "10": three_points, "16a": accuracy_with_events,
    "16b": cost_without_events,
}  # fmt: skip
