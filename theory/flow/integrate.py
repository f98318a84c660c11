"""Gradient flow through the kinks: piece by smooth piece, in the clock that suits the phase."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats, as_positive, as_real
from theory._errors import InvalidInput
from theory.flow._field import Field
from theory.flow._run import Run
from theory.flow._switching import POLICIES
from theory.flow._until import Until, as_until
from theory.flow.losses import Loss, as_loss
from theory.flow.networks import Network
from theory.flow.separable import check_separable
from theory.flow.solution import FlowSolution, FlowState

CLOCKS = ("auto", "t", "loss-normalised")


def integrate(
    network: Network,
    data: tuple[ArrayLike, ArrayLike],
    loss: str | Loss,
    theta0: ArrayLike | FlowState,
    *,
    until: str | float | Until = "margin-converged",
    clock: str = "auto",
    weight_decay: float = 0.0,
    rtol: float = 1e-8,
    atol: float = 1e-12,
    max_steps: int = 100_000,
    ambiguous: str = "off",
    dense: bool = True,
    callback: Callable[[int, float], None] | None = None,
) -> FlowSolution:
    r"""The gradient flow ``dtheta/dt in -d Loss(theta)`` of a network, through its kinks and to infinite time.

    Loss is the sum over samples. Between two switches the network is smooth: DOP853 integrates in t or in the
    loss-normalised clock, Radau IIA in ``s = log log(1/Loss)`` once ``log(1/Loss) >= 10``. At a kink the one-sided
    velocities decide whether a unit crosses, slides (Filippov) or sticks; while it slides its Clarke weights are
    followed.

    Parameters
    ----------
    network : what ``fully_connected``, ``convolutional``, ``diagonal_linear``, ... return.
    data : inputs X (N, d) and labels y (N): -1 and +1 for ``exponential`` and ``logistic``, 0..K-1 for
        ``cross_entropy``, targets (N) or (N, K) for ``square``.
    loss : ``exponential``, ``logistic``, ``cross_entropy`` or ``square``.
    theta0 : initial parameters (P), or the ``state`` of an earlier solution, to go on from it.
    until : ``"margin-converged"``, ``"log-loss:1e4"`` (log(1/Loss)), ``"t:10"`` or a number, ``"log-t:1e6"``,
        ``"stationary"``.
    clock : ``auto``: t for the square loss and for an end in t, else loss-normalised; then s = log log(1/Loss).
        ``t`` and ``loss-normalised`` keep that clock.
    weight_decay : of the penalty ``(weight_decay / 2) ||theta||^2`` added to Loss (PyTorch's convention, but Loss is a
        sum): ``dtheta/dt in -d Loss - weight_decay theta``. Every conserved quantity becomes ``e^(-2 weight_decay t)``
        times its value at the start (*derived*: they are homogeneous of degree 2). Needs the clock t and an end in t or
        ``"stationary"``; log(1/Loss) includes the penalty.
    rtol, atol : error per step, relative and absolute, on the parameters (in s: on theta e^{-s/L}).
    max_steps : accepted steps at most.
    ambiguous : what a unit does where Clarke's flow is not unique (v- < 0 < v+): ``off``, ``on`` or ``raise``.
    dense : keep the interpolants (memory: about 9 P numbers a step), so that the solution can be evaluated anywhere.
    callback : called as ``callback(step, log_inverse_loss)`` after each step.

    Returns
    -------
    FlowSolution

    Raises
    ------
    InvalidInput : shapes, labels or options that do not fit; NaN; a start at a stationary zero; for the ends log-loss
        and margin-converged, data that no network of this kind separates.
    PreconditionError : an option that needs homogeneity or an exponential tail.
    NotConverged : max_steps, vanishing steps or chattering; ``partial`` holds the solution so far.

    Examples
    --------
    >>> from theory.flow import fully_connected
    >>> flow = integrate(fully_connected((1, 1)), ([[1.0]], [1.0]), "exponential", [0.0], until=100.0, rtol=1e-12)
    >>> bool(abs(flow.theta[0] - np.log(101.0)) < 1e-10)
    True
    """
    began = time.perf_counter()
    loss = as_loss(loss)
    X, y = _problem(network, data, loss)
    end = as_until(until, exponential_tail=loss.exponential_tail)
    if end.kind == "margin-converged" and not network.homogeneous:
        raise InvalidInput(
            "until='margin-converged' needs a homogeneous network, but this one is not; give log-loss:... instead."
        )
    decay = as_real("weight_decay", weight_decay)
    if decay < 0:
        raise InvalidInput(f"weight_decay must be at least 0, but is {decay:g}.")
    if decay > 0 and (clock == "loss-normalised" or end.kind not in ("t", "stationary")):
        raise InvalidInput(
            "weight decay needs the clock t and until='t:...' or 'stationary': with it the loss does not go to zero."
        )
    if end.kind in ("log-loss", "margin-converged"):
        check_separable(network, X, y)
    if clock not in CLOCKS:
        raise InvalidInput(f"clock must be one of {', '.join(CLOCKS)}, but is {clock!r}.")
    if clock == "loss-normalised" and not loss.exponential_tail:
        raise InvalidInput("the loss-normalised clock needs a loss with an exponential tail.")
    if ambiguous not in POLICIES:
        raise InvalidInput(f"ambiguous must be one of {', '.join(POLICIES)}, but is {ambiguous!r}.")
    run = Run(
        Field(network, X, y, loss, weight_decay=decay),
        end,
        clock,
        as_positive("rtol", rtol),
        as_positive("atol", atol),
        ambiguous,
        dense,
        began,
    )
    run.start(theta0)
    run.go(as_count("max_steps", max_steps), callback)
    return run.solution()


def _problem(network: Network, data: tuple[ArrayLike, ArrayLike], loss: Loss) -> tuple[np.ndarray, np.ndarray]:
    """Checked inputs (N, d) and labels."""
    if not hasattr(network, "n_inputs"):
        raise InvalidInput(f"network must be one of theory.flow, such as two_layer(2, 10), but is {network!r:.60}.")
    try:
        inputs, labels = data
    except (TypeError, ValueError):
        raise InvalidInput("data must be a pair: inputs (N, d) and labels (N).") from None
    X = as_floats("inputs", inputs, ndim=2)
    if X.shape[0] == 0 or X.shape[1] != network.n_inputs:
        raise InvalidInput(f"inputs must have shape (N, {network.n_inputs}) with N at least 1, but have {X.shape}.")
    return X, loss.labels(np.asarray(labels), len(X), network.n_outputs)
