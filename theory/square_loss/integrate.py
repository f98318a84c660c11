"""The coupled flow of rho and V: Lagrange-multiplier normalisation, weight normalisation, or none."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats, as_positive
from theory._errors import InvalidInput, NotConverged
from theory.flow._switching import POLICIES
from theory.flow._until import FlowStatus, Until, as_until
from theory.flow.integrate import _problem
from theory.flow.integrate import integrate as integrate_weights
from theory.flow.networks import Network
from theory.flow.solution import FlowSolution
from theory.square_loss._loss import MeanSquareLoss
from theory.square_loss._rest import resting_rho
from theory.square_loss._rho_run import RhoField, RhoRun, ZeroCrossing
from theory.square_loss._scaled import ScaledNetwork
from theory.square_loss.moments import as_decay
from theory.square_loss.solution import RhoSolution, RhoStatus, state_of

NORMALISATIONS = ("lagrange", "weight-norm", "none")
AT_ZERO = ("stop", "reflect")
LARGEST = 340.0  # log of rho whose square is still a float64
UNIT = 1e-8  # how far the norms of a given V0 may be from 1


def integrate_rho(
    network: Network,
    data: tuple[ArrayLike, ArrayLike],
    *,
    lam: float = 0.0,
    theta0: ArrayLike | None = None,
    rho0: float | None = None,
    V0: ArrayLike | None = None,
    normalisation: str = "lagrange",
    at_zero: str = "stop",
    until: str | float | Until = "stationary",
    rtol: float = 1e-10,
    atol: float = 1e-13,
    max_steps: int = 100_000,
    ambiguous: str = "off",
    callback: Callable[[int, float], None] | None = None,
) -> RhoSolution:
    r"""The flow of ``f = rho f_V`` under the mean square loss with weight decay, layers V_k of unit Frobenius norm.

    With ``mu = (1/N) sum <y_n, f_n>``, ``M = (1/N) sum ||f_n||^2``, d_k the degree of layer k (1 for ReLU) and
    ``T_k = (2 rho/N) sum_n (y_n - rho f_n)^T (df_n/dV_k - d_k V_k f_n)``:

    - ``lagrange``: state (rho, V), penalty ``lam rho^2``; ``rho' = 2 mu - 2 (M + lam) rho``, ``V_k' = T_k``;
    - ``weight-norm``: state (rho_k, V_k), ``W_k = rho_k U_k / ||U_k||`` with ``||U_k|| = 1``, which the flow keeps,
      penalty ``lam sum rho_k^2``; ``rho_k' = 2 d_k (rho / rho_k) (mu - M rho) - 2 lam rho_k``, ``V_k' = T_k``;
    - ``none``: gradient flow of W itself, penalty ``lam sum ||W_k||^2``; rho_k' as above, ``V_k' = T_k / rho_k^2``.

    *derived* (gradients in the coordinates (rho, V); the first for signs is the model of xu2023dynamics). The last
    is no change of clock of the others, because every layer has its own factor. Kinks are crossed, or slid along, by
    the machinery of ``theory.flow`` (see ``_scaled`` for why it applies). The first two integrate ``U_k`` with
    ``V_k = U_k / ||U_k||`` and a field without radial part: nothing is projected back, and ``norm_drift`` reports
    how far ``||U_k||`` moved.

    Nothing keeps rho positive under ``lagrange``: where mu < 0 it falls to 0, where weights cannot follow and V
    stalls. ``at_zero="stop"`` ends the flow there; ``"reflect"`` goes on with (rho, V_L) -> (-rho, -V_L), the same
    function. Either way the crossing is in ``zero_crossings``. The field of V changes its sign with rho: a unit that
    slides there is pushed off its kink to either side, an ``ambiguous`` event, and ``ambiguous`` decides to which.

    Parameters
    ----------
    network : homogeneous, from ``theory.flow``.
    data : inputs X (N, d) and real targets y (N) or (N, K); ``class_targets`` makes them from labels.
    lam : weight decay, in the convention above: PyTorch's ``weight_decay`` for the same flow is ``2 lam``.
    theta0 : initial weights (P), read as rho and V; or
    rho0, V0 : rho > 0 and unit layers (P); layer norms then are balanced, ``rho_k^2 / d_k`` equal.
    until : a time, ``"t:10"``, or ``"stationary"``.
    rtol, atol : error per step; a scale that decays to atol may be said to cross zero.
    max_steps : accepted steps at most.
    ambiguous, callback : as in ``theory.flow.integrate``.

    Raises
    ------
    InvalidInput : shapes or options that do not fit; not exactly one of theta0 and (rho0, V0); a layer of norm zero.
    PreconditionError : a network that is not homogeneous.
    NotConverged : as in ``theory.flow.integrate``; ``partial`` holds the solution so far.

    Cost: as ``theory.flow.integrate``; tens to hundreds of steps of order 8.

    Examples
    --------
    >>> from theory.flow import fully_connected
    >>> net = fully_connected((2, 1))
    >>> flow = integrate_rho(net, ([[1.0, 0.0]], [1.0]), lam=0.5, rho0=0.2, V0=[1.0, 0.0], until=3.0)
    >>> bool(abs(flow.rho[-1] - (2 / 3 + (0.2 - 2 / 3) * np.exp(-9.0))) < 1e-9)  # V cannot improve: the closed form
    True
    """
    began = time.perf_counter()
    X, y = _problem(network, data, MeanSquareLoss())
    if not y.any():
        raise InvalidInput("the targets are all zero: there is nothing to fit.")
    decay = as_decay(lam)
    for name, value, allowed in (
        ("normalisation", normalisation, NORMALISATIONS),
        ("at_zero", at_zero, AT_ZERO),
        ("ambiguous", ambiguous, POLICIES),
    ):
        if value not in allowed:
            raise InvalidInput(f"{name} must be one of {', '.join(allowed)}, but is {value!r}.")
    end = as_until(until, exponential_tail=False)
    scaled = ScaledNetwork(network, per_layer=normalisation != "lagrange")
    start = _start(scaled, theta0, rho0, V0)
    tolerances = as_positive("rtol", rtol), as_positive("atol", atol)
    most = as_count("max_steps", max_steps)
    if normalisation == "none":
        plain = start[: scaled.P] * scaled.spread(start[scaled.P :])
        try:
            flow = integrate_weights(
                network, (X, y), MeanSquareLoss(), plain, until=end, weight_decay=2 * decay,
                rtol=tolerances[0], atol=tolerances[1], max_steps=most, ambiguous=ambiguous, callback=callback,
            )  # fmt: skip
        except NotConverged as error:
            raise _partial(error, network, X, y, decay, normalisation, None, ()) from None
        return _solution(network, X, y, decay, normalisation, None, flow, (), stopped=False)
    run = RhoRun(RhoField(scaled, X, y, decay), end, *tolerances, ambiguous, at_zero == "reflect", began)
    run.start(start)
    try:
        run.go(most, callback)
    except NotConverged as error:
        raise _partial(error, network, X, y, decay, normalisation, scaled, tuple(run.crossings)) from None
    return _solution(
        network, X, y, decay, normalisation, scaled, run.solution(), tuple(run.crossings), stopped=run.stopped_at_zero
    )


def _start(scaled: ScaledNetwork, theta0: ArrayLike | None, rho0: float | None, V0: ArrayLike | None) -> np.ndarray:
    """The initial (U, s), ``||U_k|| = 1``."""
    if (theta0 is None) == (V0 is None) or (rho0 is None) != (V0 is None):
        raise InvalidInput("give either theta0, or rho0 together with V0.")
    name, given = ("theta0", theta0) if V0 is None else ("V0", V0)
    theta = as_floats(name, given if given is not None else [], ndim=1)
    if theta.shape != (scaled.P,):
        raise InvalidInput(f"{name} must have shape ({scaled.P},), but has {theta.shape}.")
    with np.errstate(over="ignore"):
        norms = scaled.norms(theta)
    degrees = np.array(scaled.degrees, dtype=float)
    if not degrees @ np.log(np.maximum(norms, 1e-300)) < LARGEST:
        raise InvalidInput(f"{name} is too large: the product of its layers' norms overflows.")
    if not (norms > 0).all():
        raise InvalidInput(f"layer {int(np.argmin(norms)) + 1} of {name} is zero: it has no direction.")
    U = theta / scaled.spread(norms)
    if rho0 is None:
        return np.concatenate([U, norms if scaled.per_layer else [np.prod(norms**degrees)]])
    if abs(norms - 1).max() > UNIT:
        raise InvalidInput(f"the layers of V0 must have norm 1, but one has {norms[np.argmax(abs(norms - 1))]:g}.")
    rho = as_positive("rho0", rho0)
    if not scaled.per_layer:
        return np.append(U, rho)
    return np.concatenate([U, scaled.balanced(rho)])


def _partial(
    error: NotConverged, network: Network, X: np.ndarray, y: np.ndarray, lam: float, normalisation: str,
    scaled: ScaledNetwork | None, crossings: tuple[ZeroCrossing, ...],
) -> NotConverged:  # fmt: skip
    """The same error with what was reached as a ``RhoSolution``."""
    if not isinstance(error.partial, FlowSolution):
        return error
    reached = _solution(network, X, y, lam, normalisation, scaled, error.partial, crossings, stopped=False)
    return NotConverged(str(error), reached)


def _solution(
    network: Network, X: np.ndarray, y: np.ndarray, lam: float, normalisation: str, scaled: ScaledNetwork | None,
    flow: FlowSolution, crossings: tuple[ZeroCrossing, ...], *, stopped: bool,
) -> RhoSolution:  # fmt: skip
    """The record of a flow of (U, s), or of plain weights."""
    states = [state_of(network, scaled, X, y, theta, lam) for theta in flow.thetas]
    moments = [state.moments for state in states]
    drift = float("nan")
    if scaled is not None:
        drift = float(max(abs(scaled.norms(theta[: scaled.P]) - 1).max() for theta in flow.thetas))
    statuses = {FlowStatus.REACHED: RhoStatus.REACHED, FlowStatus.STATIONARY: RhoStatus.STATIONARY}
    degrees = None if normalisation == "lagrange" else ScaledNetwork(network, per_layer=True).degrees
    layer_norms = None if states[0].layer_norms is None else np.array([state.layer_norms for state in states])
    return RhoSolution(
        network=network, X=X, y=y, lam=lam, normalisation=normalisation, t=np.exp(flow.log_t),
        rho=np.array([state.rho for state in states]),
        rho_eq=np.array([resting_rho(state.moments, lam, degrees, state.rho) for state in states]),
        mu=np.array([at.mu for at in moments]), M=np.array([at.M for at in moments]),
        sigma=np.array([at.sigma for at in moments]), fit=np.array([state.fit for state in states]),
        objective=np.array([state.objective for state in states]), nu=np.array([state.nu for state in states]),
        margins=np.array([_margins(state.outputs, y) for state in states]), layer_norms=layer_norms,
        V=np.array([state.V for state in states]), norm_drift=drift, zero_crossings=crossings, events=flow.events,
        status=RhoStatus.ZERO if stopped else statuses.get(flow.status, RhoStatus.STOPPED), flow=flow, scaled=scaled,
    )  # fmt: skip


def _margins(f: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Normalised margins (N)."""
    if y.shape[1] == 1:
        return (y * f)[:, 0]
    rows, label = np.arange(len(y)), y.argmax(axis=1)
    others = f.copy()
    others[rows, label] = -np.inf
    return f[rows, label] - others.max(axis=1)
