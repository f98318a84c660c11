"""Two more integrators of the nonsmooth flow, which share no code with theory.flow: slow, plain, for small networks.

``proximal_flow`` takes implicit Euler steps on the true nonsmooth loss, each solved exactly as a complementarity
problem, extrapolated and as small as the error asks: it knows no events. ``softplus_flow`` replaces the kinks by
softplus(k z)/k with k = 1e8 and leaves the stiffness to scipy's Radau. Networks are fully connected, bias-free, with
one output and theta = (W_1, W_2, ...) row by row; the activation is ``z`` above 0 and ``slope z`` below.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.integrate import Radau

TINY = 1e-30  # of the complex steps, which differentiate analytic functions exactly


@dataclass(frozen=True)
class Problem:
    """A network of the given widths (inputs, hidden ..., 1) on X (N, d) and y (N), from theta0 (P) to time T."""

    widths: tuple
    X: np.ndarray
    y: np.ndarray
    loss: str
    slope: float
    theta0: np.ndarray
    T: float

    def matrices(self, theta):
        """The weight matrices (..., n_out, n_in)."""
        cuts = np.cumsum([0] + [a * b for a, b in zip(self.widths[:-1], self.widths[1:], strict=True)])
        sizes = zip(self.widths[1:], self.widths[:-1], strict=True)
        return [
            theta[..., i:j].reshape(*theta.shape[:-1], *size) for i, j, size in zip(cuts, cuts[1:], sizes, strict=False)
        ]

    @property
    def units(self):
        return sum(self.widths[1:-1])

    def value(self, theta):
        """The true loss."""
        a, W = self.X, self.matrices(theta)
        for w in W[:-1]:
            z = a @ w.T
            a = np.where(z > 0, z, self.slope * z)
        q = (a @ W[-1].T)[:, 0]
        if self.loss == "square":
            return 0.5 * np.sum((q - self.y) ** 2)
        return np.sum(np.exp(-self.y * q) if self.loss == "exponential" else np.logaddexp(0, -self.y * q))

    def pull(self, f):
        """``dLoss/df`` (..., N)."""
        if self.loss == "square":
            return f - self.y
        e = np.exp(-self.y * f)
        return -self.y * (e if self.loss == "exponential" else e / (1 + e))

    def descent(self, theta, unit):
        """``-gradient`` (..., P), the pre-activations (..., N, units); ``unit(z, layer)`` gives a and da/dz."""
        W = self.matrices(theta)
        a, inputs, slopes, zs = np.broadcast_to(self.X, (*theta.shape[:-1], *self.X.shape)), [], [], []
        for layer, w in enumerate(W):
            inputs.append(a)
            z = a @ np.swapaxes(w, -1, -2)
            if layer < len(W) - 1:
                a, slope = unit(z, layer)
                zs.append(z)
                slopes.append(slope)
        delta = -self.pull(z[..., 0])[..., None]
        parts = []
        for layer in reversed(range(len(W))):
            parts.insert(0, (np.swapaxes(delta, -1, -2) @ inputs[layer]).reshape(*theta.shape[:-1], -1))
            if layer:
                delta = (delta @ W[layer]) * slopes[layer - 1]
        return np.concatenate(parts, axis=-1), np.concatenate(zs, axis=-1)

    def frozen(self, theta, m):
        """``descent`` with the slopes m (..., N, units): Clarke's subdifferential where m fits the kinks."""
        starts = np.cumsum([0, *self.widths[1:-1]])

        def unit(z, layer):
            own = m[..., starts[layer] : starts[layer + 1]]
            return own * z, own

        return self.descent(theta, unit)

    def kinks(self, theta):
        """The pre-activations (N, units) at theta."""
        return self.descent(theta, lambda z, layer: (np.where(z > 0, z, self.slope * z), z))[1]


# -- implicit Euler on the nonsmooth loss


def _solve(problem, theta, modes, h):
    """theta+, slopes, pre-activations of ``theta+ = theta + h v(theta+)`` for modes -1 off, 1 on, 0 on the kink.

    Newton; unknowns are theta+ and the slopes on the kinks, where z = 0. None where it does not converge.
    """
    P, on_kink, low = len(theta), modes == 0, problem.slope
    new, share = theta, 0.5 * (1.0 + modes)
    size = P + int(on_kink.sum())
    for _ in range(25):
        batch = np.tile(np.append(new, share[on_kink]).astype(complex), (size + 1, 1))
        batch[np.arange(size), np.arange(size)] += 1j * TINY
        m = np.broadcast_to(np.where(modes > 0, 1.0, 0.0), (size + 1, *modes.shape)).astype(complex)
        m[:, on_kink] = batch[:, P:]
        g, z = problem.frozen(batch[:, :P], low + (1 - low) * m)
        residuals = np.concatenate([batch[:, :P] - theta - h * g, z[:, on_kink]], axis=1)
        try:
            step = np.linalg.solve(residuals[:-1].imag.T / TINY, residuals[-1].real)
        except np.linalg.LinAlgError:
            return None
        new, share[on_kink] = new - step[:P], share[on_kink] - step[P:]
        if not np.isfinite(new).all():
            return None
        if np.abs(step[:P]).max() <= 1e-14 * max(1.0, np.abs(new).max()):
            return new, share, z[-1].real
    return None


def _fits(modes, share, z, h):
    """Where slopes lie in their intervals and pre-activations on their sides."""
    slack = 1e-12 + 1e-15 / h  # rounding of theta, seen through h
    return np.where(modes == 0, (share >= -slack) & (share <= 1 + slack), modes * z >= -1e-15)


def _euler(problem, theta, modes, h):
    """``theta+ in theta - h dLoss(theta+)``, and its modes; None where none are found."""
    seen, troubled = set(), np.zeros(modes.shape, dtype=bool)
    while modes.tobytes() not in seen:
        seen.add(modes.tobytes())
        solved = _solve(problem, theta, modes, h)
        if solved is None:
            return None
        fits = _fits(modes, *solved[1:], h)
        if fits.all():
            return solved[0], modes
        # a pre-activation of the wrong sign goes to the kink; a slope beyond its interval leaves it on that side
        troubled |= ~fits
        modes = np.where(fits, modes, np.where(modes == 0, np.where(solved[1] > 0.5, 1, -1), 0))
    pairs = np.argwhere(troubled)
    if len(pairs) > 4:
        return None
    for choice in product((-1, 0, 1), repeat=len(pairs)):  # a cycle: look at every combination
        modes = modes.copy()
        modes[tuple(pairs.T)] = choice
        solved = _solve(problem, theta, modes, h)
        if solved is not None and _fits(modes, *solved[1:], h).all():
            return solved[0], modes
    return None


def proximal_flow(problem, tol=1e-8, order=4):
    """theta(T), and how often each pair was found on its kink: extrapolated implicit Euler, local error ``tol``."""
    t, h, theta = 0.0, problem.T / 50, problem.theta0.copy()
    modes = np.where(problem.kinks(theta) > 0, 1, -1)
    slid = np.zeros(modes.shape, dtype=int)
    while t < problem.T:
        h = min(h, problem.T - t)
        table, after, kept = [], None, True
        for n in range(1, order + 1):
            row, at, now = [], theta, modes
            for _ in range(n):
                done = _euler(problem, at, now, h / n)
                if done is None:
                    break
                at, now = done
                kept &= np.array_equal(now, modes)
            else:
                row.append(at)
                for k, before in enumerate(table[-1] if table else []):
                    row.append(row[k] + (row[k] - before) / (n / (n - k - 1) - 1))
                table.append(row)
                after = now
                continue
            break
        if len(table) < order:
            h /= 5
            assert h > 1e-13
            continue
        # where the modes change nothing is smooth in h: only agreement before extrapolation counts
        error = max(np.abs(table[-1][-1] - (table[-1][-2] if kept else row[0])).max() for row in table) / tol
        if error <= 1:
            t, theta, modes = t + h, table[-1][-1], after
            slid += modes == 0
        h *= min(5.0, max(0.1, 0.8 * max(error, 1e-10) ** (-1 / (order if kept else 1))))
    return theta, slid


# -- the softplus limit


def softplus_flow(problem, k=1e8, rtol=1e-9):
    """theta(T) with softplus(k z)/k for the ReLU, by scipy's Radau with an exact Jacobian; error about log(k)/k."""
    low = problem.slope

    def unit(z, layer):
        side = np.where(z.real > 0, 1.0, -1.0)
        w = np.exp(-side * k * z)
        soft = np.where(side > 0, z, 0) + np.log1p(w) / k
        return low * z + (1 - low) * soft, low + (1 - low) * np.where(side > 0, 1, w) / (1 + w)

    def rate(t, theta):
        return problem.descent(theta, unit)[0]

    def jacobian(t, theta):
        return problem.descent(theta + 1j * TINY * np.eye(len(theta)), unit)[0].imag.T / TINY

    with np.errstate(under="ignore"):
        solver = Radau(rate, 0.0, problem.theta0, problem.T, rtol=rtol, atol=rtol, jac=jacobian)
        while solver.status == "running":
            solver.step()
    assert solver.status == "finished"
    return solver.y


# -- problems


def random_problem(seed):
    """A two-layer problem: width 3-10, N 4-10, d 2-4, ReLU or leaky ReLU, three losses, T 1-3."""
    rng = np.random.default_rng(seed)
    d, m, N = int(rng.integers(2, 5)), int(rng.integers(3, 11)), int(rng.integers(4, 11))
    loss = ("square", "exponential", "logistic")[seed % 3]
    X = rng.standard_normal((N, d))
    y = rng.standard_normal(N) if loss == "square" else rng.choice([-1.0, 1.0], N)
    theta0 = np.concatenate([rng.standard_normal(d * m) / np.sqrt(d), rng.standard_normal(m) / np.sqrt(m)])
    return Problem((d, m, 1), X, y, loss, 0.2 if seed % 4 == 3 else 0.0, theta0, float(rng.integers(1, 4)))


def deep_problem(seed):
    """A three-layer problem."""
    rng = np.random.default_rng(seed)
    d, m, n, N = int(rng.integers(2, 4)), int(rng.integers(3, 6)), int(rng.integers(3, 5)), int(rng.integers(4, 8))
    loss = ("square", "exponential", "logistic")[seed % 3]
    X = rng.standard_normal((N, d))
    y = rng.standard_normal(N) if loss == "square" else rng.choice([-1.0, 1.0], N)
    sizes = ((d, m), (m, n), (n, 1))
    theta0 = np.concatenate([rng.standard_normal(a * b) / np.sqrt(a / 1.5) for a, b in sizes])
    return Problem((d, m, n, 1), X, y, loss, 0.0, theta0, 2.0)
