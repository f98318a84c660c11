"""The second derivation: plain gradient flow by a Runge-Kutta method of order 8, knowing nothing of the formulas."""

from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_ivp

Field = Callable[[np.ndarray], np.ndarray]


def flow(field: Field, theta0: np.ndarray, times: list[float], *, rtol: float = 3e-14) -> np.ndarray:
    """theta at increasing positive times, one row each."""
    start = np.asarray(theta0, float)
    rate = lambda t, w: field(w.reshape(start.shape)).ravel()  # noqa: E731
    found = solve_ivp(
        rate, (0, times[-1]), start.ravel(), method="DOP853", rtol=rtol, atol=1e-17, t_eval=times
    )  # fmt: skip
    assert found.success
    return found.y.T.reshape(len(times), *start.shape)


def stepped(field: Field, theta0: np.ndarray, times: list[float], *, rtol: float = 3e-14) -> np.ndarray:
    """The same, restarted at every time so that no interpolation enters."""
    out, at, w = [], 0.0, np.asarray(theta0, float)
    for t in times:
        w = flow(field, w, [t - at], rtol=rtol)[-1]
        at = t
        out.append(w)
    return np.array(out)


def linear_field(X: np.ndarray, y: np.ndarray, kind: str) -> Field:
    """Minus the gradient of sum_n loss(y_n w . x_n)."""

    def field(w: np.ndarray) -> np.ndarray:
        z = y * (X @ w)
        weight = np.exp(-z) if kind == "exponential" else 1 / (1 + np.exp(z))
        return (y * weight) @ X

    return field
