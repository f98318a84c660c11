"""A proof that gradient flow on a given two-layer network converges at a linear rate, without leaving a ball."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigvalsh

from theory._arrays import as_floats
from theory._errors import InvalidInput

SHARES = np.geomspace(0.01, 0.99, 400)  # of the least eigenvalue, tried as the rate
ROUNDING = 1e-12  # relative allowance for the eigenvalues of K


@dataclass(frozen=True, slots=True, kw_only=True)
class LazyCertificate:
    """What is proved of the flow from this start.

    Attributes
    ----------
    holds : whether the condition was met for some rate; else nothing is claimed and ``rate`` is 0.
    rate : lam, with ``||f(t) - y|| <= e^{-lam t} ||f(0) - y||`` for all t.
    least_eigenvalue : of the tangent kernel at the start. residual : ``||f(0) - y||``.
    neuron_radius : no row of W ever moves further. radius : nor does W, in Frobenius norm.
    flips : largest share of neurons, over the samples, that may change side within ``neuron_radius``.
    shortfall : the least value over the rates tried of allowed minus kept singular value; negative where it holds.
    """

    holds: bool
    rate: float
    least_eigenvalue: float
    residual: float
    neuron_radius: float
    radius: float
    flips: float
    shortfall: float

    def summary(self) -> str:
        """A few lines for people."""
        start = f"least eigenvalue {self.least_eigenvalue:.4g}, residual {self.residual:.4g} at the start"
        if not self.holds:
            return f"nothing proved: {start}; the singular value falls short by {self.shortfall:.3g}"
        return (
            f"proved: the residual falls at least like exp(-{self.rate:.4g} t)\n  {start}\n"
            f"  no neuron moves further than {self.neuron_radius:.4g}, at most {self.flips:.2%} change side on a sample"
        )

    def to_json(self) -> dict[str, object]:
        """Plain numbers; infinite radii are None."""
        finite = {k: getattr(self, k) for k in ("neuron_radius", "radius", "flips")}
        return {
            "holds": self.holds, "rate": self.rate, "least_eigenvalue": self.least_eigenvalue,
            "residual": self.residual, "shortfall": self.shortfall,
        } | {k: v if np.isfinite(v) else None for k, v in finite.items()}  # fmt: skip


def lazy_certificate(X: ArrayLike, y: ArrayLike, W: ArrayLike, a: ArrayLike) -> LazyCertificate:
    r"""Whether flow of the first layer of ``f(x) = sum_r a_r relu(<w_r, x>)`` provably stays lazy and converges.

    Loss ``||f - y||^2 / 2``, a fixed. If for some lam > 0, with ``R = A ||X|| ||r_0|| / lam``, ``A = max |a_r|``,

    .. math:: \sqrt{\lambda_{\min}(K_0)} - \|X\| \sqrt{\max_i s_i(R)} \ge \sqrt\lambda, \qquad
        s_i(R) = \sum_r a_r^2\, 1\bigl[|\langle w_r, x_i \rangle| \le R \|x_i\|\bigr]

    then for all times ``||r(t)|| <= e^{-lam t} ||r_0||``, every neuron stays within R of its start and W within
    ``||r_0|| / sqrt(lam)``. ``||X||`` is the operator norm.

    *derived* (the argument of du2019gradient and arora2019fine for one given network, so without probabilities or
    constants): let T be the first time at which a neuron is R away. Before T, J differs from J_0 only at pairs whose
    sign can have changed, where rows are ``a_r delta_ri x_i``; so ``(J - J_0)(J - J_0)^T`` is the Schur product of X
    X^T with ``[sum_r a_r^2 delta_ri delta_rj]``, whose norm is at most ``||X||^2 max_i s_i``. Hence the least singular
    value of J stays at least sqrt(lam), ``||r|| <= e^{-lam t} ||r_0||``, and ``||w_r'|| <= |a_r| ||X|| ||r||``, whose
    integral up to T is below R: T is never reached. Sliding along kinks is included (delta in [-1, 1]).

    lam is the largest of 400 shares of the least eigenvalue for which the condition holds. The eigenvalue is lowered by
    1e-12 of the largest one; other rounding is not accounted for.

    Parameters
    ----------
    X : (n, d). y : (n,). W : (m, d) at the start. a : (m,).

    Raises
    ------
    InvalidInput : shapes that do not meet, NaN.

    Cost: n m d + n^2 m, and n m log m to sort the distances.

    When not to trust it: it is sufficient only. Widths of 1e4 and more are typical for a handful of samples, as in the
    theorems; a network for which nothing is proved may well converge.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> W = np.repeat(rng.standard_normal((20_000, 3)), 2, axis=0)  # pairs of opposite sign: f = 0
    >>> a = np.tile([1.0, -1.0], 20_000) / np.sqrt(40_000)
    >>> found = lazy_certificate(np.eye(3), [1.0, -1.0, 1.0], W, a)
    >>> found.holds, bool(0 < found.rate < found.least_eigenvalue < 0.51)
    (True, True)
    """
    x, rows = as_floats("X", X, ndim=2), as_floats("W", W, ndim=2)
    targets, outer = as_floats("y", y, ndim=1), as_floats("a", a, ndim=1)
    if 0 in x.shape or len(targets) != len(x):
        raise InvalidInput(f"X and y must hold the same samples, at least one, but are {x.shape} and {targets.shape}.")
    if 0 in rows.shape or rows.shape != (len(outer), x.shape[1]):
        raise InvalidInput(f"W must have shape ({len(outer)}, {x.shape[1]}), but has {rows.shape}.")
    with np.errstate(over="ignore", invalid="ignore"):
        z, sizes = x @ rows.T, np.linalg.norm(x, axis=1)
        r0 = float(np.linalg.norm(np.maximum(z, 0) @ outer - targets))
        on = (z > 0) * outer
        K = (x @ x.T) * (on @ on.T)
    if not (np.isfinite(r0) and np.isfinite(K).all()):
        raise InvalidInput("the residual or the tangent kernel overflows: rescale X, y, W or a.")
    spectrum = eigvalsh(K)
    least = max(float(spectrum[0]) - ROUNDING * float(spectrum[-1]), 0.0)
    top, largest = float(np.linalg.norm(x, 2)), float(np.abs(outer).max())
    rates = SHARES * least
    found = (0.0, np.inf, np.inf, np.inf)
    worst = np.inf
    if least > 0:
        # a zero input has no gradient and cannot be here: the kernel would be singular
        distance = np.abs(z) / sizes[:, None]
        order = np.argsort(distance, axis=1)
        distance = np.take_along_axis(distance, order, axis=1)
        weights = np.concatenate([np.zeros((len(x), 1)), np.cumsum((outer**2)[order], axis=1)], axis=1)
        for lam in rates:
            R = largest * top * r0 / lam
            s = max(float(w[np.searchsorted(d, R, side="right")]) for w, d in zip(weights, distance, strict=True))
            short = float(np.sqrt(lam) + top * np.sqrt(s) - np.sqrt(least))
            worst = min(worst, short)
            if short <= 0:
                share = max(float(np.mean(d <= R)) for d in distance)
                found = (float(lam), float(R), float(r0 / np.sqrt(lam)), share)
    return LazyCertificate(
        holds=found[0] > 0, rate=found[0], least_eigenvalue=least, residual=r0, neuron_radius=found[1],
        radius=found[2], flips=found[3], shortfall=worst,
    )  # fmt: skip
