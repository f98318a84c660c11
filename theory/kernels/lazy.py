r"""Over-parameterised training as a kernel method: how fast, how far, and a proof for a given network.

The squared loss ``F = ||f - y||^2 / 2`` is a sum here, r = f - y, and ``K = J J^T`` the tangent kernel on the sample.
What the theorems of arora2019fine (two layers) and allenzhu2019convergence (any depth) say for widths polynomial in
everything, with constants that are not printed, is measured here on one network (``tangent_trajectory``) or proved for
it (``lazy_certificate``), with no constant left open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigh, eigvalsh
from scipy.spatial.distance import pdist

from theory._arrays import as_count, as_floats, as_positive
from theory._errors import InvalidInput, PreconditionError
from theory.kernels.empirical import Differentiable, empirical_tangent_kernel


def _spectrum(K: ArrayLike, r: ArrayLike, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (n, ascending, not negative) and the coordinates of r (n, k)."""
    gram, values = as_floats("K", K, ndim=2), as_floats(name, r)
    if len(gram) == 0 or gram.shape != (len(gram), len(gram)):
        raise InvalidInput(f"K must be square and not empty, but has shape {gram.shape}.")
    size = float(np.abs(gram).max())
    if np.abs(gram - gram.T).max() > 1e-10 * size:
        raise PreconditionError("K must be symmetric.")
    if values.ndim not in (1, 2) or len(values) != len(gram):
        raise InvalidInput(f"{name} must have {len(gram)} rows, but has shape {values.shape}.")
    eigenvalues, vectors = eigh((gram + gram.T) / 2)
    if eigenvalues[0] < -1e-10 * size:
        raise PreconditionError(f"K must be positive semidefinite, but has the eigenvalue {eigenvalues[0]:.3g}.")
    return np.maximum(eigenvalues, 0.0), vectors.T @ values.reshape(len(gram), -1)


def descent_residual(K: ArrayLike, residual: ArrayLike, step: float, steps: Sequence[int]) -> np.ndarray:
    r"""``||r_k||`` of gradient descent with a fixed tangent kernel.

    .. math:: \|r_k\|^2 = \sum_i (1 - \eta \lambda_i)^{2k} \langle v_i, r_0 \rangle^2

    *derived* for a model linear in its parameters, ``r_{k+1} = (1 - eta K) r_k``. For wide two-layer ReLU networks
    with K their infinite-width kernel and r_0 = y it holds up to an error that the width makes small (*published
    form*: arora2019fine, without the width it asks for).

    Parameters
    ----------
    K : (n, n) positive semidefinite. residual : (n,) or (n, k). step : eta > 0. steps : the k, whole numbers >= 0.

    Raises
    ------
    InvalidInput : shapes or numbers outside their domain. PreconditionError : K not symmetric or not semidefinite.

    Examples
    --------
    >>> descent_residual([[0.5]], [4.0], 1.0, [0, 1, 2])
    array([4., 2., 1.])
    """
    eigenvalues, along = _spectrum(K, residual, "residual")
    eta = as_positive("step", step)
    if not isinstance(steps, Iterable):
        raise InvalidInput(f"steps must be a sequence of whole numbers, but is {steps!r:.60}.")
    counts = np.array([as_count("steps", k, minimum=0) for k in steps], dtype=int)
    with np.errstate(under="ignore", over="ignore"):
        left = (1 - eta * eigenvalues)[None, :] ** (2 * counts[:, None])
    return np.sqrt(left @ (along**2).sum(axis=1))


def kernel_movement(K: ArrayLike, residual: ArrayLike) -> float:
    r"""How far the parameters of a linear model move until it interpolates: ``sqrt(r_0^T K^{-1} r_0)``.

    *derived*: the least-norm solution of ``J dtheta = -r_0``, where flow and descent from 0 end. With arora2019fine's
    kernel and r_0 = y it is the leading term of the movement of wide networks (*published form* there), and
    ``sqrt(2/n)`` times it that of their generalization bound, see ``theory.bounds.kernel``.

    Parameters
    ----------
    K : (n, n). residual : (n,) or (n, k).

    Returns
    -------
    The distance; infinite where the residual has a part in the null space of K.

    Raises
    ------
    InvalidInput, PreconditionError : as for ``descent_residual``.

    Examples
    --------
    >>> kernel_movement([[4.0]], [3.0])
    1.5
    """
    eigenvalues, along = _spectrum(K, residual, "residual")
    zero = eigenvalues <= len(eigenvalues) * np.finfo(float).eps * eigenvalues[-1]
    energy = (along**2).sum(axis=1)
    if energy[zero].sum() > 1e-24 * energy.sum():
        return float("inf")
    return float(np.sqrt((energy[~zero] / eigenvalues[~zero]).sum()))


@dataclass(frozen=True, slots=True, kw_only=True)
class TangentTrajectory:
    """The quantities of over-parameterisation along a run, at its recorded parameters.

    Attributes
    ----------
    separation : least distance of two inputs scaled to unit length; the delta of allenzhu2019convergence.
    least_eigenvalue : (rows) of the tangent kernel. residual : (rows) ``||f - y||``.
    gradient_ratio : (rows) ``||grad F||^2 / (2 F)``, at least the least eigenvalue.
    movement : (rows) ``||theta - theta_0||``. movement_bound : (rows) ``(||r_0|| - ||r||) / sqrt(lam)``.
    kernel_change : (rows) ``||K - K_0||_2 / ||K_0||_2``.
    times : (rows) flow times, or None.
    """

    separation: float
    least_eigenvalue: np.ndarray
    residual: np.ndarray
    gradient_ratio: np.ndarray
    movement: np.ndarray
    movement_bound: np.ndarray
    kernel_change: np.ndarray
    times: np.ndarray | None

    @property
    def rate(self) -> float:
        """lam: the least of the least eigenvalues seen."""
        return float(self.least_eigenvalue.min())

    @property
    def linear_rate(self) -> np.ndarray:
        """``||r_0|| e^{-lam t}`` (rows), what ``residual`` stays below."""
        if self.times is None:
            raise PreconditionError("a linear rate needs times, which were not given.")
        with np.errstate(under="ignore"):
            return self.residual[0] * np.exp(-self.rate * self.times)

    def __repr__(self) -> str:
        return f"TangentTrajectory(rate={self.rate:.3g}, moved {self.movement[-1]:.3g}, rows={len(self.residual)})"

    def to_json(self) -> dict[str, object]:
        """Plain numbers and lists."""
        return {
            "separation": self.separation, "rate": self.rate, "least_eigenvalue": self.least_eigenvalue.tolist(),
            "residual": self.residual.tolist(), "gradient_ratio": self.gradient_ratio.tolist(),
            "movement": self.movement.tolist(), "movement_bound": self.movement_bound.tolist(),
            "kernel_change": self.kernel_change.tolist(),
            "times": None if self.times is None else self.times.tolist(),
        }  # fmt: skip


def tangent_trajectory(
    network: Differentiable, X: ArrayLike, y: ArrayLike, thetas: ArrayLike, times: ArrayLike | None = None
) -> TangentTrajectory:
    r"""Least eigenvalue, linear rate and movement along a flow of the squared loss.

    .. math:: \|r(t)\| \le e^{-\lambda t} \|r(0)\|, \qquad
        \|\theta(t) - \theta(0)\| \le \frac{\|r(0)\| - \|r(t)\|}{\sqrt\lambda}, \qquad
        \frac{\|\nabla F\|^2}{2F} \ge \lambda

    where lam bounds the least eigenvalue of K all along the gradient flow. *derived*: ``d||r||/dt = -||J^T r||^2 /
    ||r||`` and ``||J^T r|| >= sqrt(lam) ||r||``, so ``-d||r||/dt >= sqrt(lam) ||theta'||``. The lam used is the least
    over the rows, so the first two are a *measure* between them; the third holds at each row.

    allenzhu2019convergence states such a rate for deep networks with delta-separated unit inputs, with high
    probability and a width polynomial in 1/delta, n and the depth (*published form*; its constants are hidden). The
    ``separation``, the ``gradient_ratio`` that it bounds from below, and the movement that it needs small are reported.

    Parameters
    ----------
    network : with ``jacobian`` and ``output``. X, y : (n, d), targets (n,) or (n, k).
    thetas : (rows, P), the start first; such as ``flow.thetas``.
    times : (rows) flow times, such as ``np.exp(flow.log_t)``.

    Raises
    ------
    InvalidInput : shapes that do not meet, NaN, fewer than two inputs.

    Cost: a Jacobian and an eigenvalue problem of size n k for each row.

    Examples
    --------
    >>> from theory.flow import fully_connected
    >>> net = fully_connected((1, 1), activation="linear")
    >>> t = np.array([0.0, 1.0])
    >>> run = tangent_trajectory(net, [[1.0], [-1.0]], [1.0, -1.0], (1 - np.exp(-2 * t))[:, None], t)
    >>> run.rate, bool(np.isclose(run.residual[1], np.sqrt(2) * np.exp(-2)))  # two samples, one parameter
    (0.0, True)
    """
    x, theta = as_floats("X", X, ndim=2), as_floats("thetas", thetas, ndim=2)
    targets = np.atleast_1d(as_floats("y", y))
    if len(x) < 2 or not np.linalg.norm(x, axis=1).all():
        raise InvalidInput("X must hold at least two inputs, none zero.")
    if theta.shape != (len(theta), network.n_parameters) or len(theta) == 0:
        raise InvalidInput(f"thetas must have shape (rows, {network.n_parameters}), but have {theta.shape}.")
    clock = None if times is None else as_floats("times", times, ndim=1)
    if clock is not None and len(clock) != len(theta):
        raise InvalidInput(f"times must have one entry for each of {len(theta)} rows, but have {len(clock)}.")
    least, residual, ratio, change = [], [], [], []
    first: np.ndarray | None = None
    for point in theta:
        K = empirical_tangent_kernel(network, point, x)
        f = network.output(point, x)  # type: ignore[attr-defined]
        if targets.size != f.size or len(targets) != len(f):
            raise InvalidInput(f"y must have shape {f.shape}, like the outputs, but has {targets.shape}.")
        r = (f - targets.reshape(f.shape)).ravel()
        K = K.reshape(r.size, r.size)
        first = K if first is None else first
        least.append(max(float(eigvalsh(K)[0]), 0.0))
        residual.append(float(np.linalg.norm(r)))
        ratio.append(float(r @ K @ r / (r @ r)) if r.any() else np.nan)
        change.append(float(np.linalg.norm(K - first, 2) / np.linalg.norm(first, 2)))
    size, lam = np.array(residual), min(least)
    moved = np.linalg.norm(theta - theta[0], axis=1)
    fall = np.maximum(size[0] - size, 0.0)
    bound = fall / np.sqrt(lam) if lam > 0 else np.full(len(size), np.inf)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return TangentTrajectory(
        separation=float(pdist(unit).min()), least_eigenvalue=np.array(least), residual=size,
        gradient_ratio=np.array(ratio), movement=moved, movement_bound=bound, kernel_change=np.array(change),
        times=clock,
    )  # fmt: skip
