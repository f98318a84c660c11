r"""Radau IIA collocation with simplified Newton iteration (hairer1996solving): order 2 s - 1, stiffly accurate.

Late in a flow the softmin weights act as Lagrange multipliers of the margin constraints, a problem of index 2: a
method must solve its stages exactly there. (The steps of a linearly implicit one, Rodas5P, were seen to fall like
u^{-1/2} from u = 1e6 on.)
The tables are computed here from the nodes; a test checks the observed order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import roots_jacobi

STAGES = 5
NODES = np.append((roots_jacobi(STAGES - 1, 1, 0)[0] + 1) / 2, 1.0)
_powers = np.arange(1, STAGES + 1)
A = (NODES[:, None] ** _powers / _powers) @ np.linalg.inv(NODES[:, None] ** (_powers - 1))
A_INVERSE = np.linalg.inv(A)
_values, _vectors = np.linalg.eig(A_INVERSE)
_keep = _values.imag > -1e-12  # the real eigenvalue and one of each conjugate pair
EIGENVALUES = [complex(v) if v.imag > 1e-12 else float(v.real) for v in _values[_keep]]
TO_MODES = np.linalg.inv(_vectors)[_keep]
FROM_MODES = _vectors[:, _keep] * np.where(_values[_keep].imag > 1e-12, 2.0, 1.0)
REAL = next(i for i, v in enumerate(EIGENVALUES) if isinstance(v, float))
GAMMA = 1 / float(EIGENVALUES[REAL].real)
# embedded formula of order s with weight GAMMA on the left end, as coefficients of the stages
ERROR = (np.linalg.solve(NODES ** (_powers[:, None] - 1), 1 / _powers - GAMMA * (_powers == 1)) - A[-1]) @ A_INVERSE
_differences = np.linalg.inv(
    np.append(0.0, NODES)[:, None] ** np.arange(STAGES + 1)
)  # interpolation at 0 and the nodes
NEWTON_STEPS = 9
NEWTON_TOL = 1e-2  # of the step's tolerance
OVERSHOOT = 4.0  # growth allowed to the second correction: Newton overshoots an exponential once, then converges

Rate = Callable[[float, np.ndarray], np.ndarray]
Solver = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class RadauStep:
    """One step from (x, y) of length h: the end, the error estimate, and the collocation polynomial."""

    x: float
    h: float
    y: np.ndarray
    end: np.ndarray
    error: np.ndarray
    coefficients: np.ndarray  # (s + 1, P) in powers of (x' - x) / h

    def __call__(self, x: float) -> np.ndarray:
        """The solution inside the step, and its extrapolation; error O(h^(s+1))."""
        share = (x - self.x) / self.h
        return self.y + share ** np.arange(STAGES + 1) @ self.coefficients


class SimplifiedNewton:
    """Corrections with one Jacobian for all stages: (STAGES + 1) / 2 systems of size P, all but one complex.

    ``factor(c)`` returns the solver of ``(c - J) k = r``.
    """

    def __init__(self, factor: Callable[[float | complex], Solver], h: float) -> None:
        self._h = h
        self._solvers = [factor(value / h) for value in EIGENVALUES]

    def correction(self, defect: np.ndarray, Z: np.ndarray) -> np.ndarray:
        """The change of Z (s, P) for ``defect = F - A^-1 Z / h``."""
        modes = [
            solve(d if isinstance(v, complex) else d.real)
            for v, solve, d in zip(EIGENVALUES, self._solvers, TO_MODES @ defect, strict=True)
        ]
        return np.asarray((FROM_MODES @ np.array(modes)).real)

    def filtered(self, r: np.ndarray) -> np.ndarray:
        """``(1/(h gamma) - J)^-1 r``, which keeps stiff components out of the error estimate."""
        return self._solvers[REAL](r)


class FullNewton:
    """Corrections with the Jacobian of every stage: one system of size s P. For steps in which the weights change."""

    def __init__(self, jacobian: Callable[[float, np.ndarray], np.ndarray], x: float, y: np.ndarray, h: float) -> None:
        self._jacobian, self._x, self._y, self._h = jacobian, x, y, h

    def correction(self, defect: np.ndarray, Z: np.ndarray) -> np.ndarray:
        """The change of Z (s, P) for ``defect = F - A^-1 Z / h``."""
        s, P = Z.shape
        M = np.kron(A_INVERSE / self._h, np.eye(P)).reshape(s, P, s, P)
        for i, (c, z) in enumerate(zip(NODES, Z, strict=True)):
            self._first = self._jacobian(self._x + c * self._h, self._y + z)
            M[i, :, i, :] -= self._first
        return np.asarray(np.linalg.solve(M.reshape(s * P, s * P), defect.ravel())).reshape(s, P)

    def filtered(self, r: np.ndarray) -> np.ndarray:
        """``(1/(h gamma) - J)^-1 r`` with the Jacobian at the end of the step."""
        return np.asarray(np.linalg.solve(np.eye(len(r)) / (GAMMA * self._h) - self._first, r))


def radau_step(
    rate: Rate,
    newton: SimplifiedNewton | FullNewton,
    x: float,
    y: np.ndarray,
    h: float,
    rate0: np.ndarray,
    scale: np.ndarray,
    before: Callable[[float], np.ndarray] | None,
    noise: float = 0.0,
) -> RadauStep | None:
    """One step, or None where the Newton iteration does not contract.

    ``scale`` (P) is the size of one tolerance; ``before`` extrapolates the last step, for a first guess; corrections
    below ``noise`` tolerances are rounding.
    """
    Z = np.zeros((STAGES, len(y))) if before is None else np.array([before(x + c * h) - y for c in NODES])
    last = np.inf
    for iteration in range(NEWTON_STEPS):
        F = np.array([rate(x + c * h, y + z) for c, z in zip(NODES, Z, strict=True)])
        defect = F - A_INVERSE @ Z / h
        if not np.isfinite(defect).all():
            return None
        change = newton.correction(defect, Z)
        Z = Z + change
        size = float(np.sqrt(np.mean((change / scale) ** 2)))
        contraction = size / last
        settled = iteration > 0 and size <= noise
        if not np.isfinite(size) or (not settled and contraction >= (OVERSHOOT if iteration == 1 else 1)):
            return None
        left = size * max(contraction / (1 - contraction), 1e-3) if contraction < 1 else np.inf
        if settled or (left < NEWTON_TOL and iteration) or size == 0:
            error = newton.filtered(rate0 + ERROR @ Z / (GAMMA * h))  # (I - h gamma J)^-1 (h gamma rate0 + e Z)
            return RadauStep(x, h, y, y + Z[-1], error, _differences @ np.vstack([np.zeros_like(y), Z]))
        last = size
    return None
