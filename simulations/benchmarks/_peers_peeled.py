"""What people run for the layer-peeled program: the semidefinite form in cvxpy, and descent on W and H in PyTorch.

Written here anew. Both are given every advantage that costs no theory: vectorised constraints, one feature per class
instead of one per sample (the optimum is the same by convexity), step sizes chosen for them.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass

import numpy as np

from simulations._torch import import_torch
from theory.peeled import LayerPeeledModel

# SGD: times K, the best of 0.3, 1, 3, 10, 30, 100, and 300 gives the same; Adam: the best of 0.01, 0.03, 0.1, 0.3, 1
SGD_RATE, ADAM_RATE = 100.0, 0.3


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PeerRun:
    """What a peer gave: logits within the budgets, its seconds, and whether it ended by its own rule.

    Attributes
    ----------
    logits : (K, K), column k of class k; None where there are none.
    seconds : wall time without imports. finished : False where the limit stopped it. said : in the peer's own words.
    """

    logits: np.ndarray | None
    seconds: float
    finished: bool
    said: str

    def __repr__(self) -> str:
        return f"PeerRun(seconds={self.seconds:.3g}, finished={self.finished}, said={self.said!r})"


def objective(logits: np.ndarray, counts: np.ndarray) -> float:
    """Mean cross-entropy over samples, natural logarithm, of logits (K, K) whose column k belongs to class k."""
    from scipy.special import logsumexp

    return float(counts / counts.sum() @ (logsumexp(logits, axis=0) - np.diagonal(logits)))


def semidefinite(model: LayerPeeledModel, solver: str, limit: float) -> PeerRun:
    """The 2K x 2K program of fang2021layerpeeled as a user of cvxpy writes it, the solver's default tolerances.

    The logits are scaled onto the nuclear-norm budget, so that a slightly infeasible answer is not counted as better.
    """
    import cvxpy as cp

    counts, K = np.asarray(model.counts, dtype=float), model.num_classes
    X = cp.Variable((2 * K, 2 * K), PSD=True)
    Z = X[K:, :K]
    loss = (counts / counts.sum()) @ (cp.log_sum_exp(Z, axis=0) - cp.diag(Z))
    budgets = [cp.trace(X[:K, :K]) <= K * model.E_H, cp.trace(X[K:, K:]) <= K * model.E_W]
    problem = cp.Problem(cp.Minimize(loss), budgets)
    option = {"CLARABEL": "time_limit", "SCS": "time_limit_secs"}[solver]
    began = time.perf_counter()
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # an inaccurate end is said below
            problem.solve(solver=solver, **{option: limit})
    except cp.SolverError:
        return PeerRun(logits=None, seconds=time.perf_counter() - began, finished=False, said="solver error")
    seconds = time.perf_counter() - began
    if X.value is None:
        return PeerRun(logits=None, seconds=seconds, finished=False, said=str(problem.status))
    logits = X.value[K:, :K]
    logits = logits * (model.budget / np.linalg.svd(logits, compute_uv=False).sum())
    return PeerRun(logits=logits, seconds=seconds, finished=problem.status == "optimal", said=str(problem.status))


def descent(model: LayerPeeledModel, optimiser: str, steps: int, limit: float, seed: int = 0) -> PeerRun:
    """SGD (momentum 0.9, projection on both budgets after each step) or Adam (W and H scaled onto the budgets).

    Full gradients in float64; the step size falls by ten after one and after two thirds of the steps, as in
    papyan2020prevalence. The stopping rule is the number of steps, as in such scripts; ``limit`` seconds stop it early.
    """
    torch = import_torch("a descent on W and H")
    counts, K = np.asarray(model.counts, dtype=float), model.num_classes
    radii = (float(np.sqrt(K * model.E_W)), float(np.sqrt(K * model.E_H)))
    draw = torch.Generator().manual_seed(seed)
    pair = [torch.nn.Parameter(torch.randn(K, K, generator=draw, dtype=torch.float64)) for _ in radii]
    mass, y = torch.as_tensor(counts / counts.sum()), torch.arange(K)

    def scaled() -> list:
        return [q * (r / q.norm()) for q, r in zip(pair, radii, strict=True)]

    if optimiser == "sgd":
        with torch.no_grad():
            for q, value in zip(pair, scaled(), strict=True):
                q.copy_(value)
        algorithm = torch.optim.SGD(pair, lr=SGD_RATE * K, momentum=0.9)
    else:
        algorithm = torch.optim.Adam(pair, lr=ADAM_RATE)
    schedule = torch.optim.lr_scheduler.MultiStepLR(algorithm, [steps // 3, 2 * steps // 3], 0.1)
    began, step = time.perf_counter(), 0
    while step < steps and time.perf_counter() - began < limit:
        algorithm.zero_grad()
        W, H = pair if optimiser == "sgd" else scaled()
        (mass @ torch.nn.functional.cross_entropy(H @ W.T, y, reduction="none")).backward()
        algorithm.step()
        schedule.step()
        if optimiser == "sgd":
            with torch.no_grad():
                for q, r in zip(pair, radii, strict=True):
                    q.mul_((r / q.norm()).clamp(max=1.0))
        step += 1
    seconds = time.perf_counter() - began
    with torch.no_grad():
        W, H = pair if optimiser == "sgd" else scaled()
        logits = (W @ H.T).numpy()
    return PeerRun(logits=logits, seconds=seconds, finished=step == steps, said=f"{step} of {steps} steps")
