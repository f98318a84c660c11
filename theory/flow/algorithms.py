"""Gradient descent and its relatives on the networks and losses of the flow, with the flow's record."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats
from theory._errors import InvalidInput, NotConverged
from theory.flow._algorithm_limit import StepLimit, descent_limit, step_limit
from theory.flow._algorithm_options import as_algorithm, recorded_steps
from theory.flow._algorithm_record import AlgorithmSolution
from theory.flow._algorithm_run import Descent
from theory.flow.integrate import _problem
from theory.flow.losses import Loss, as_loss
from theory.flow.networks import Network
from theory.flow.solution import FlowState

__all__ = ["AlgorithmSolution", "StepLimit", "descend", "descent_limit", "step_limit"]


def descend(
    network: Network,
    data: tuple[ArrayLike, ArrayLike],
    loss: str | Loss,
    theta0: ArrayLike | FlowState,
    *,
    step: ArrayLike = 0.1,
    steps: int | None = None,
    step_rule: str | Callable[[int, float], float] = "constant",
    batch: int | None = None,
    replacement: bool = False,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    normalise: str | None = None,
    rng: np.random.Generator | int | None = None,
    record: str | int | Sequence[int] = "geometric",
    limits: bool = True,
    callback: Callable[[int, float], None] | None = None,
) -> AlgorithmSolution:
    r"""A discrete algorithm on the objective ``Loss(theta) + weight_decay/2 ||theta||^2``, Loss the sum over samples.

    .. math:: v_{k+1} = \beta v_k + \hat g_k, \qquad
        \theta_{k+1} = \theta_k - \eta_k v_{k+1} \quad (\text{Nesterov: } \theta_k - \eta_k(\hat g_k + \beta v_{k+1}))

    as in ``torch.optim.SGD`` (v_0 = 0, no dampening). :math:`\hat g` is the gradient of the objective; on a batch S it
    is ``(N/|S|) sum_S grad l_n``, unbiased, which is N times PyTorch's mean over the batch. At a kink the gradient is
    that of the side where the unit is off.

    Time is ``sum_k eta_k / (1 - momentum)``: the flow's time, up to O(eta), for theta itself and steps that change
    slowly. In other coordinates (``normalise``) the flow is another one.

    What is exact (*derived*: the conserved quantities Q of layers are quadratic forms, ``B(theta, grad Loss) = 0``):
    under gradient descent with coupled decay ``Q(theta_{k+1}) = (1 - eta lam)^2 Q(theta_k) + eta^2 Q(grad Loss)``,
    for hidden units ``||in||^2 - ||out||^2``. Steps are compared with ``step_limit``, and the rises of the objective
    are counted.

    Parameters
    ----------
    network, data, loss : as in ``integrate``.
    theta0 : initial parameters (P), or the ``state`` of a flow or of another run: time goes on, momentum starts at 0.
    step, steps : a number and how many updates (default 1000), or a schedule (steps).
    step_rule : what multiplies ``step``: ``constant``, 1; ``loss-scaled``, 1/Loss(theta), the schedule of
        lyu2020gradient up to powers of log(1/Loss) (see ``descent_limit``); ``normalised``, 1 over the length of the
        gradient (of the batch); or a function of the number k of the update and u = log(1/Loss). Except with
        ``constant`` everything is kept over Loss, which may be e^-10000.
    batch, replacement : samples a step; without replacement each epoch is a permutation, its last batch the rest.
    momentum, nesterov : beta in [0, 1).
    weight_decay, decoupled : lam >= 0; decoupled shrinks by ``1 - eta lam`` instead of adding to the gradient (the
        same without momentum). With ``weight-norm`` it acts on s and v, with ``lagrange`` on rho alone.
    normalise : ``weight-norm`` or ``weight-norm-layer``, ``w = s v / ||v||`` per unit (kernel) or per layer, biases
        untouched; ``lagrange``, unit layers times one rho as in xu2023dynamics, from the same function as theta0.
    rng : seed or generator of the batches.
    record : ``geometric`` (30 rows a decade), every how many updates, or a list of updates; always the first and last.
    limits : compare the step with ``step_limit`` of the full objective at up to 32 rows (not with ``normalise``: none
        is derived there).
    callback : called as ``callback(update, log_inverse_loss)`` at each recorded row; ``NotConverged`` raised there ends
        the run.

    Returns
    -------
    AlgorithmSolution

    Raises
    ------
    InvalidInput : shapes, labels or options that do not fit.
    PreconditionError : ``normalise`` where the network or the start does not allow it.
    NotConverged : the iterates overflow; ``partial`` holds the rows before.

    Cost: one gradient a step, 30 microseconds for small networks; a row and a limit are recorded beside it.

    Examples
    --------
    >>> from theory.flow.networks import fully_connected
    >>> net, data = fully_connected((1, 1), activation="linear"), ([[1.0]], [1.0])
    >>> run = descend(net, data, "square", [0.0], step=0.5, steps=3)
    >>> float(run.theta[0]), run.loss_increases, run.above_limit  # 1 - (1 - 0.5)^3
    (0.875, 0, 0)
    """
    began = time.perf_counter()
    loss = as_loss(loss)
    X, y = _problem(network, data, loss)
    algorithm = as_algorithm(
        loss, len(X), step=step, steps=steps, step_rule=step_rule, batch=batch, replacement=replacement,
        momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, decoupled=decoupled, normalise=normalise,
    )  # fmt: skip
    theta = as_floats("theta0", theta0.theta if isinstance(theta0, FlowState) else theta0, ndim=1)
    if theta.shape != (network.n_parameters,):
        raise InvalidInput(f"theta0 must have shape ({network.n_parameters},), but has {theta.shape}.")
    log_t = theta0.log_t if isinstance(theta0, FlowState) else -np.inf
    rows = recorded_steps(record, algorithm.steps)
    try:
        generator = np.random.default_rng(rng)
    except (TypeError, ValueError):
        raise InvalidInput(f"rng must be a generator or a seed of at least 0, but is {rng!r:.60}.") from None
    run = Descent(network, X, y, loss, algorithm, theta.copy(), log_t, generator, began)
    try:
        run.go(rows, callback)
    except (FloatingPointError, NotConverged) as error:  # an overflow, or a callback that ends the run
        raise NotConverged(str(error), run.solution(limits=False) if run.updates else None) from None
    return run.solution(limits=limits)
