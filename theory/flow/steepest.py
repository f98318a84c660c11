"""Steepest flows and descents: gradient descent, sign descent, coordinate descent, all l_p, the spectral norm."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_count, as_floats, as_positive, as_real
from theory._errors import InvalidInput, NotConverged, PreconditionError
from theory.flow._algorithm_options import _schedule, recorded_steps
from theory.flow._geometry import Geometry, as_geometry
from theory.flow._kkt_system import margins_of
from theory.flow._steepest_margin import SteepestKKT, margin_certificate, norm_max_margin, steepest_kkt
from theory.flow._steepest_record import SteepestDescent, SteepestFlow, SteepestSolution
from theory.flow._steepest_run import LinearModel, SteepestEvent, SteepestRun
from theory.flow._until import LARGEST, FlowStatus
from theory.flow.integrate import _problem
from theory.flow.losses import Loss, as_loss
from theory.flow.max_margin import labelled
from theory.flow.networks import Network, fully_connected
from theory.flow.separable import check_separable

__all__ = [
    "SteepestDescent", "SteepestEvent", "SteepestFlow", "SteepestKKT", "SteepestSolution", "norm_max_margin",
    "steepest_descend", "steepest_flow", "steepest_kkt",
]  # fmt: skip

STEP_RULES = ("normalised", "loss-scaled", "constant")


def steepest_flow(
    data: tuple[ArrayLike, ArrayLike],
    loss: str | Loss,
    norm: str | float | Geometry,
    w0: ArrayLike | None = None,
    *,
    until: float = 1e5,
    rtol: float = 1e-8,
    max_steps: int = 5000,
    callback: Callable[[int, float], None] | None = None,
) -> SteepestFlow:
    r"""The steepest flow of a linear classifier without bias, by arc length.

    .. math:: \frac{dw}{ds} \in \operatorname{argmax}_{\|v\| \le 1} \langle v, -\nabla \mathrm{Loss}(w) \rangle,
        \qquad \frac{du}{ds} = \frac{\|\nabla \mathrm{Loss}\|_*}{\mathrm{Loss}}, \quad u = \log \frac1{\mathrm{Loss}}

    Loss the sum over samples. It is the path of ``w' = ||grad Loss||_* dw/ds``, whose time is left out. From the
    first point with Loss < l(0) on the smoothed margin ``l^{-1}(Loss)/||w||`` never falls (*derived* for the
    exponential loss: ``u Loss <= <w, -grad Loss> <= ||w|| ||grad Loss||_*``, so ``d log u/ds >= 1/||w|| >= d log
    ||w||/ds``; for homogeneous networks: tsilivis2025flavors, *published form*), and w goes to a largest margin in the
    norm (gunasekar2018characterizing, *published form*), which ``certificate`` brackets.

    For l_1 and l_inf the direction jumps where coordinates tie, and flows slide along ties: l_1 moves several
    coordinates so that their |g_j| stay equal, l_inf holds some g_j at 0. Ties are located as events, and the velocity
    on them is the one that Filippov's rule allows (*derived* in ``_steepest_faces``: the least curvature in the face).
    Where the Hessian is singular on the tied coordinates that velocity is not unique, and one is taken.

    When not to trust it: where many coordinates slide and the samples that hold them differ in weight by more than 1e9
    (l_inf on small integers or equal columns), the velocity is decided below rounding; the steps then become small and
    ``NotConverged`` says so. Take ``norm_max_margin`` for the limit.

    Parameters
    ----------
    data : X (N, d) and labels, -1 and +1, or classes 0..K-1 for cross-entropy.
    loss : exponential, logistic or cross-entropy.
    norm : ``l1``, ``l2``, ``linf``, or a number p >= 1, on all entries of w. Far from 2 smooth p become stiff.
    w0 : start (d), or (K d) row by row; 0 by default.
    until : log(1/Loss) at which it ends, at most 1e12. rtol : of the integrator (Radau). max_steps : in all.
    callback : called as ``callback(step, log_inverse_loss)``.

    Returns
    -------
    SteepestFlow

    Raises
    ------
    InvalidInput : shapes, labels or numbers that do not fit; data proved to be inseparable; the spectral norm.
    PreconditionError : a loss without exponential tail. NotConverged : the steps run out; ``partial`` has the rows.

    Cost: some hundred steps for any ``until``; 0.3 s for 12 samples in dimension 5.

    Examples
    --------
    >>> flow = steepest_flow(([[1.0, 0.0], [0.0, 2.0]], [1, -1]), "exponential", "linf")
    >>> flow.direction.round(4), flow.certificate.upper  # l_inf: every coordinate counts the same
    (array([ 1., -1.]), 1.0)
    """
    began = time.perf_counter()
    law = as_loss(loss)
    _require_tail(law)
    try:
        X, y = data
    except (TypeError, ValueError):
        raise InvalidInput("data must be a pair: inputs and labels.") from None
    inputs, _, K = labelled(X, y)
    network = fully_connected((inputs.shape[1], K), activation="linear")
    labels = law.labels(np.asarray(y), len(inputs), K)
    check_separable(network, inputs, labels)
    geometry = as_geometry(norm, network)
    if geometry.p is None:
        raise InvalidInput("the spectral norm has no flow here, only steepest_descend: take l1, l2, linf or p >= 1.")
    P = network.n_parameters
    w = np.zeros(P) if w0 is None else as_floats("w0", w0, ndim=1)
    if w.shape != (P,):
        raise InvalidInput(f"w0 must have shape ({P},), but has {w.shape}.")
    end, tolerance = as_real("until", until), as_positive("rtol", rtol)
    if end > LARGEST:
        raise InvalidInput(f"log(1/loss) can be followed to 1e12, past which the weights are lost; asked is {end:g}.")
    model = LinearModel(network.jacobian(np.zeros(P), inputs), labels, law)
    run = SteepestRun(model, geometry, w.copy(), tolerance, as_count("max_steps", max_steps))

    def record(status: FlowStatus) -> SteepestFlow:
        s, ws, u = zip(*run.rows, strict=True)
        margins = margins_of(labels, K)
        V = np.einsum("ck,ckp->cp", margins.mix, model.J[margins.sample])
        slope = law.log_slope(model.J @ run.w, labels)
        c = labels * slope[:, 0] if K == 1 else -slope[np.arange(K) != labels[:, None]]
        candidates = [v for v in (run.velocity(run.w), run.w) if v.any()]
        found = [margin_certificate(geometry, V, v, c / c.sum()) for v in candidates]
        return SteepestFlow(
            **_rows(geometry, network, law, inputs, labels, ws, u), arc_length=np.array(s), status=status,
            seconds=time.perf_counter() - began, velocity=candidates[0], events=tuple(run.events), steps=run.steps,
            certificate=max(found, key=lambda certificate: certificate.lower),
        )  # fmt: skip

    try:
        run.go(end, callback)
    except NotConverged as error:
        raise NotConverged(str(error), record(FlowStatus.STOPPED)) from None
    return record(FlowStatus.REACHED)


def steepest_descend(
    network: Network,
    data: tuple[ArrayLike, ArrayLike],
    loss: str | Loss,
    theta0: ArrayLike,
    norm: str | float | Geometry,
    *,
    step: ArrayLike = 0.01,
    steps: int | None = None,
    step_rule: str = "normalised",
    record: str | int | Sequence[int] = "geometric",
    callback: Callable[[int, float], None] | None = None,
) -> SteepestDescent:
    r"""Steepest descent on any network of ``theory.flow``: ``theta_{k+1} = theta_k + eta_k c_k v_k``, ``||v_k|| = 1``.

    .. math:: v_k \in \operatorname{argmax}_{\|v\| \le 1} \langle v, g_k \rangle, \quad g_k = -\nabla \mathrm{Loss},
        \qquad c_k = 1,\ \|g_k\|_* / \mathrm{Loss},\ \|g_k\|_*

    for the rules ``normalised`` (sign descent for l_inf, coordinate descent for l_1, orthogonalised gradients as in
    Muon without momentum for ``spectral``), ``loss-scaled`` and ``constant`` (gradient descent for l_2). Loss is the
    sum over samples. For fixed eta the iterates jump across ties by O(eta) where the flow slides. At a kink the
    gradient is that of the side where the unit is off; of tied coordinates l_1 takes the first, l_inf leaves g_j = 0.

    Parameters
    ----------
    network, data, theta0 : as in ``integrate``. loss : with an exponential tail.
    norm : as in ``steepest_flow``; also ``spectral``, the largest singular value of any layer.
    step, steps : a number and how many updates (default 1000), or a schedule (steps).
    record : ``geometric`` (30 rows a decade), every how many updates, or a list of updates.
    callback : called as ``callback(update, log_inverse_loss)`` at each recorded row.

    Returns
    -------
    SteepestDescent

    Raises
    ------
    InvalidInput : shapes, labels or options that do not fit. PreconditionError : a loss without exponential tail.
    NotConverged : the iterates overflow.

    Cost: one gradient a step; singular values of each layer for ``spectral``.

    Examples
    --------
    >>> net = fully_connected((2, 1), activation="linear")
    >>> run = steepest_descend(net, ([[1.0, 0.0], [0.0, 2.0]], [1, -1]), "logistic", [0, 0], "linf", step=0.5, steps=4)
    >>> run.theta
    array([ 2., -2.])
    """
    began = time.perf_counter()
    law = as_loss(loss)
    _require_tail(law)
    X, y = _problem(network, data, law)
    geometry = as_geometry(norm, network)
    if step_rule not in STEP_RULES:
        raise InvalidInput(f"step_rule must be one of {', '.join(STEP_RULES)}, but is {step_rule!r}.")
    theta = as_floats("theta0", theta0, ndim=1).copy()
    if theta.shape != (network.n_parameters,):
        raise InvalidInput(f"theta0 must have shape ({network.n_parameters},), but has {theta.shape}.")
    schedule = _schedule(step, steps)
    rows = set(recorded_steps(record, len(schedule)))
    kept: list[tuple[int, float, np.ndarray, float]] = []
    length, last, rises, status = 0.0, -np.inf, 0, FlowStatus.REACHED
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(len(schedule) + 1):
            at = network.forward(theta, X)
            u = law.log_inverse(at.outputs, y)
            if not np.isfinite(u):
                raise NotConverged(f"the iterates overflow before update {k}; take smaller steps.")
            rises += u < last - 1e-12 * max(1.0, abs(last))
            last = u
            g, _ = network.gradient(at, law.log_slope(at.outputs, y))
            size = geometry.dual(g)
            if size == 0:
                status = FlowStatus.STATIONARY
            if k in rows or size == 0:
                kept.append((k, length, theta, u))
                if callback is not None:
                    callback(k, u)
            if k == len(schedule) or size == 0:
                break
            eta = schedule[k]
            if step_rule != "normalised":
                eta = eta * size * (np.exp(min(-u, 700.0)) if step_rule == "constant" else 1.0)
            theta = theta + eta * geometry.direction(g)
            length += float(eta)
    updates, arc, thetas, us = zip(*kept, strict=True)
    return SteepestDescent(
        **_rows(geometry, network, law, X, y, thetas, us), arc_length=np.array(arc), status=status,
        seconds=time.perf_counter() - began, updates=np.array(updates), loss_increases=int(rises),
    )  # fmt: skip


def _require_tail(loss: Loss) -> None:
    if not loss.exponential_tail:
        raise PreconditionError(f"steepest flows to a margin need a loss with an exponential tail, not {loss.name}.")


def _rows(
    geometry: Geometry, network: Network, loss: Loss, X: np.ndarray, y: np.ndarray, thetas: Sequence[np.ndarray],
    us: Sequence[float],
) -> dict:  # fmt: skip
    """What both records hold of their rows."""
    return {
        "geometry": geometry, "degree": network.degree if network.homogeneous else None, "thetas": np.array(thetas),
        "log_inverse_loss": np.array(us), "norms": np.array([geometry.norm(theta) for theta in thetas]),
        "least_margins": np.array([loss.margins(network.output(theta, X), y).min() for theta in thetas]),
        "smoothed": np.array([loss.smoothed_margin(u) for u in us]),
    }  # fmt: skip
