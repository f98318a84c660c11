"""rho under Lagrange-multiplier normalisation: its equilibrium, its stability, and its path while f_V stands still."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_floats, as_positive, as_real
from theory._errors import InvalidInput
from theory.square_loss.moments import as_moments


@dataclass(frozen=True, slots=True, kw_only=True)
class RhoEquilibrium:
    r"""The rest point of ``rho' = 2 mu - 2 (M + lam) rho``, which attracts every rho at the rate ``2 (M + lam)``.

    Attributes
    ----------
    rho : ``mu / (M + lam)``.
    objective : ``(1/N) sum ||rho f_n - y_n||^2 + lam rho^2 = Y - rho mu``.
    fit : the first term alone, ``Y - rho mu - lam rho^2``.
    sigma : root of ``M - mu^2 / Y``.
    rate, time_scale : ``2 (M + lam)`` and its inverse.
    quasi_interpolation : ``(1/N) sum <rho f_n - y_n, f_n> = -lam rho``: for lam > 0 no network interpolates here.
    attainable : whether rho > 0; at rho < 0 the sign belongs into the last layer.
    """

    rho: float
    objective: float
    fit: float
    sigma: float
    rate: float
    time_scale: float
    quasi_interpolation: float
    attainable: bool

    def to_json(self) -> dict[str, object]:
        """Plain numbers."""
        return asdict(self)


def equilibrium(mu: float, M: float, lam: float = 0.0, *, target_square: float = 1.0) -> RhoEquilibrium:
    r"""Where rho rests, for the averages mu and M of a network with unit layers.

    .. math:: \rho = \frac{\mu}{M + \lambda}, \qquad
        \frac1N \sum_n \|\rho f_n - y_n\|^2 + \lambda \rho^2 = Y - \frac{\mu^2}{M + \lambda}
        = Y\,\frac{\sigma^2 + \lambda}{M + \lambda}, \qquad \sigma^2 = M - \mu^2 / Y

    *derived*: the objective is a parabola in rho; for N labels -1 and +1 (Y = 1) it is the form of xu2023dynamics
    (the paper's constants were not at hand). With equal margins, sigma = 0 and Y = 1, ``rho = mu / (mu^2 + lam)``:
    where ``mu^2 > lam`` a larger margin means a smaller rho and a smaller objective.

    Parameters
    ----------
    mu, M : from ``output_moments``. lam : weight decay on rho^2. target_square : Y.

    Raises
    ------
    InvalidInput : negative M or lam, both zero, or ``mu^2 > M Y``, which no outputs have.

    Examples
    --------
    >>> found = equilibrium(0.5, 0.25, 0.05)
    >>> round(found.rho, 12), round(found.objective, 12), round(0.05 / (0.25 + 0.05), 12)
    (1.666666666667, 0.166666666667, 0.166666666667)
    """
    mu, M, lam = as_moments(mu, M, lam)
    Y = as_positive("target_square", target_square)
    if mu**2 > M * Y * (1 + 1e-12):
        raise InvalidInput(f"mu^2 must be at most M target_square = {M * Y:g}, but is {mu**2:g}.")
    rho, variance = mu / (M + lam), max(M - mu**2 / Y, 0.0)
    objective = Y * (variance + lam) / (M + lam)
    return RhoEquilibrium(
        rho=rho,
        objective=objective,
        fit=Y * (variance * (M + lam) + lam * (variance + lam)) / (M + lam) ** 2,
        sigma=float(np.sqrt(variance)),
        rate=2 * (M + lam),
        time_scale=1 / (2 * (M + lam)),
        quasi_interpolation=-lam * rho,
        attainable=rho > 0,
    )


def rho_closed_form(t: ArrayLike, rho0: float, mu: float, M: float, lam: float = 0.0) -> np.ndarray:
    r"""rho(t) while the normalised network f_V stands still.

    .. math:: \rho(t) = \rho_{eq} + (\rho_0 - \rho_{eq})\, e^{-2 (M + \lambda) t}

    *derived*: ``rho' = 2 mu - 2 (M + lam) rho``. It is the whole flow where f_V cannot move, and its first
    ``1 / (2 (M + lam))`` where rho0 is small: V moves at a speed proportional to rho. A network of one layer
    has the same law without normalisation. Small start: ``rho0 + 2 mu t``; large start: rho0 is forgotten at the rate
    ``2 (M + lam)``, but V then moves at a speed proportional to rho^2, so expect f_V not to stand still.

    Parameters
    ----------
    t : times, at least 0, of any shape. rho0 : at t = 0. mu, M, lam : as in ``equilibrium``.

    Raises
    ------
    InvalidInput : negative times, M or lam.

    Examples
    --------
    >>> rho_closed_form([0.0, 1e3], rho0=0.1, mu=0.5, M=0.25).tolist()
    [0.1, 2.0]
    """
    times, start = _times(t), as_real("rho0", rho0)
    mu, M, lam = as_moments(mu, M, lam)
    decay = np.expm1(-2 * (M + lam) * times)
    return start * (1 + decay) - mu / (M + lam) * decay


def zero_crossing_time(rho0: float, mu: float, M: float, lam: float = 0.0) -> float:
    """When rho reaches 0 while f_V stands still; infinite where it never does.

    ``log(1 + rho0 / |rho_eq|) / (2 (M + lam))`` for mu < 0 < rho0 (*derived* from ``rho_closed_form``); there the
    flow of (rho, V) goes on to rho < 0, and weights cannot.

    Raises
    ------
    InvalidInput : rho0 that is not positive; negative M or lam.

    Examples
    --------
    >>> t = zero_crossing_time(0.1, mu=-0.5, M=0.5)
    >>> bool(abs(rho_closed_form(t, 0.1, -0.5, 0.5)) < 1e-15)
    True
    """
    start = as_positive("rho0", rho0)
    mu, M, lam = as_moments(mu, M, lam)
    return float(np.log1p(start * (M + lam) / -mu) / (2 * (M + lam))) if mu < 0 else float("inf")


def _times(t: ArrayLike) -> np.ndarray:
    times = as_floats("t", t)
    if (times < 0).any():
        raise InvalidInput(f"t must be at least 0, but contains {times.min():g}.")
    return times
