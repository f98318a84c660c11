"""The runs of ``rho-dynamics``: flows of (rho, V), and the same networks trained by descent."""

from __future__ import annotations

from typing import Any

import numpy as np

from simulations.data import Dataset, gaussians
from simulations.experiments._square_loss import plan_of, pull, state, theta_of
from theory.flow import descend, two_layer
from theory.flow.networks import Network
from theory.square_loss import class_targets, integrate_rho, minimum_rho_two_layer
from theory.square_loss._loss import MeanSquareLoss
from theory.square_loss.integrate import _margins
from theory.square_loss.solution import state_of

K, D, PER_CLASS, WIDTH = 3, 8, 8, 12
STEP = 0.05
ORTHOGONAL, ORTHOGONAL_WIDTH, ORTHOGONAL_STEP = 8, 16, 0.1
POINTS = 150  # of a flow that are kept
TOLERANCES: dict[str, Any] = {"rtol": 1e-8, "atol": 1e-11}


def data_of(seed: int) -> Dataset:
    """Three normal classes, inputs of mean square norm 1."""
    data = gaussians(K, PER_CLASS, D, 3.0, seed=seed, test_size=0)
    X = data.X / np.sqrt((data.X**2).sum(axis=1).mean())
    return Dataset(name="gaussians", X=X, y=data.y, num_classes=K)


def network() -> Network:
    """The ReLU network."""
    return two_layer(D, WIDTH, K)


def module(seed: int) -> Any:
    """The same in PyTorch, untrained."""
    from simulations.networks import perceptron

    return perceptron([D, WIDTH, K], seed=seed, dtype="float64")


def looks(steps: int) -> list[int]:
    """The updates after which a run is looked at."""
    return np.unique(np.geomspace(4, steps, 40).round().astype(int)).tolist()


def run_flow(normalisation: str, lam: float, seed: int, steps: int) -> dict[str, Any]:
    """Theory: the path of rho, its rest point along it, and rho, margins, fit at the times of ``looks``."""
    data, net = data_of(seed), network()
    y = class_targets(data.y, K)
    flow = integrate_rho(net, (data.X, y), lam=lam, theta0=theta_of(module(seed)), normalisation=normalisation,
                         until=STEP * steps, **TOLERANCES)  # fmt: skip
    states = [flow.at(min(STEP * k, float(flow.t[-1]))) for k in looks(steps)]
    margins = np.array([_margins(s.outputs, y) for s in states])
    kept = np.unique(np.linspace(1, flow.steps, POINTS).astype(int))
    return {
        "t": flow.t[kept], "rho": flow.rho[kept], "rho_eq": flow.rho_eq[kept],
        "at": [s.rho for s in states], "least_margin": margins.min(axis=1), "mean_margin": margins.mean(axis=1),
        "status": flow.status.name, "norm_drift": flow.norm_drift, "zero_crossings": len(flow.zero_crossings),
        "switches": len(flow.events),
    }  # fmt: skip


def run_trained(algorithm: str, lam: float, seed: int, steps: int) -> dict[str, Any]:
    """``lagrange`` by ``descend``; by torch ``none`` and ``weight`` (a length per row, decay on all of it).

    Along the run rho and margins; at the end mu, M, fit, rho_k, and ``residual``, the gradient of the objective over
    the size of its two terms (for ``lagrange`` that of rho alone).
    """
    data, net = data_of(seed), network()
    wanted, thetas = looks(steps), {}
    lengths = [float("nan")]
    if algorithm == "lagrange":
        run = descend(net, (data.X, class_targets(data.y, K)), MeanSquareLoss(), theta_of(module(seed)), step=STEP,
                      steps=steps, weight_decay=2 * lam, normalise="lagrange", record=wanted, limits=False)  # fmt: skip
        thetas = dict(zip(run.updates.tolist(), run.thetas, strict=True))
    else:
        from simulations.train import train

        chosen = set(wanted)

        def look(epoch: int, model: Any, _: Any) -> None:
            if epoch in chosen:
                thetas[epoch] = theta_of(model)
                v = [p for name, p in model.named_parameters() if name.endswith("original1")]
                if v:
                    lengths.append(min(float(p.detach().norm(dim=1).min()) for p in v))

        plan = plan_of(lam, STEP, steps, normalisation="weight" if algorithm == "weight" else None, seed=seed)
        train(module(seed), data, plan, callback=look)
    states = [state(net, thetas[k], data, lam) for k in wanted]
    y = class_targets(data.y, K)
    margins = np.array([_margins(s.outputs, y) for s in states])
    end, theta = states[-1], thetas[wanted[-1]]
    mu, M, rho = end.moments.mu, end.moments.M, end.rho
    if algorithm == "lagrange":
        residual = abs(mu - (M + lam) * rho) / (mu + (M + lam) * rho)
    else:
        residual = float(np.linalg.norm(pull(net, theta, data, lam)) / (2 * lam * np.linalg.norm(theta)))
    return {
        "at": [s.rho for s in states], "least_margin": margins.min(axis=1), "mean_margin": margins.mean(axis=1),
        "mu": mu, "M": M, "fit": end.fit, "target_square": end.moments.target_square, "layer_norms": end.layer_norms,
        "residual": residual, "least_direction": lengths[-1],
    }  # fmt: skip


def run_finer(lam: float, seed: int, steps: int, finer: int) -> dict[str, Any]:
    """Its rho at the same times from gradient descent on plain weights with ``finer`` times smaller steps."""
    data, net = data_of(seed), network()
    wanted = [finer * k for k in looks(steps)]
    run = descend(net, (data.X, class_targets(data.y, K)), MeanSquareLoss(), theta_of(module(seed)), step=STEP / finer,
                  steps=finer * steps, weight_decay=2 * lam, record=wanted, limits=False)  # fmt: skip
    rows = dict(zip(run.updates.tolist(), run.thetas, strict=True))
    return {"at": [state(net, rows[k], data, lam).rho for k in wanted]}


def orthogonal_problem() -> tuple[Network, np.ndarray, np.ndarray, float]:
    """Orthonormal inputs with signs, half of each: network, inputs, targets, and the least interpolating rho."""
    X, y = np.eye(ORTHOGONAL), np.resize([1.0, -1.0], ORTHOGONAL)
    return two_layer(ORTHOGONAL, ORTHOGONAL_WIDTH), X, y, minimum_rho_two_layer(X, y).rho


def best(normalisation: str, lam: float, R: float) -> tuple[float, float]:
    r"""Least objective over all two-layer networks on the orthonormal inputs, and its rho.

    *derived*: the outputs a y (equal by symmetry and convexity) cost ``(1 - a)^2``, and at least rho = a R; the
    penalty is ``lam rho^2``, or ``2 lam rho`` for the layers' norms, which are equal at best.
    """
    if normalisation == "lagrange":
        return lam * R**2 / (1 + lam * R**2), R / (1 + lam * R**2)
    return 2 * lam * R - (lam * R) ** 2, R - lam * R**2


def run_least(normalisation: str, lam: float, scale: float, seed: int, time: float) -> dict[str, Any]:
    """Flow and gradient descent from one start: rho and objective at the end, when rho settled to 1 percent of it.

    Gradient descent in the coordinates of ``weight-norm`` would decay the directions too, so it is left out.
    """
    net, X, y, _ = orthogonal_problem()
    theta0 = net.random_parameters(rng=seed, scale=scale)
    flow = integrate_rho(net, (X, y), lam=lam, theta0=theta0, normalisation=normalisation, until=time,
                         at_zero="reflect", **TOLERANCES)  # fmt: skip
    outside = np.flatnonzero(abs(flow.rho / flow.rho[-1] - 1) > 0.01)
    found: dict[str, Any] = {
        "flow_rho": flow.rho[-1], "flow_objective": flow.objective[-1], "flow_fit": flow.fit[-1],
        "settled": float(flow.t[min(outside[-1] + 1, flow.steps)]) if outside.size else 0.0,
        "crossings": len(flow.zero_crossings), "rho": None, "objective": None, "fit": None,
    }  # fmt: skip
    if normalisation != "weight-norm":
        run = descend(
            net, (X, y), MeanSquareLoss(), theta0, step=ORTHOGONAL_STEP, steps=round(time / ORTHOGONAL_STEP),
            weight_decay=2 * lam, normalise="lagrange" if normalisation == "lagrange" else None, limits=False,
        )  # fmt: skip
        end = state_of(net, None, X, y[:, None], run.theta, lam)
        penalty = lam * end.rho**2 if normalisation == "lagrange" else end.objective - end.fit
        found |= {"rho": end.rho, "objective": end.fit + penalty, "fit": end.fit}
    return found
