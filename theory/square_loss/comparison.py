"""With and without normalisation from one start: which comes nearer to the least rho, and how fast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory._arrays import as_positive, short_repr
from theory.flow._until import Until
from theory.flow.networks import Network
from theory.square_loss.integrate import NORMALISATIONS, integrate_rho
from theory.square_loss.solution import RhoSolution


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalisationComparison:
    """Flows of one network from one start, for each normalisation.

    Attributes
    ----------
    names : of the normalisations. solutions : in that order.
    rho, fit : at the end. excess : ``rho / rho_min - 1`` at the end, NaN without ``rho_min``; only where the fit is
        zero is it a distance from the least interpolating rho (with decay the optimum lies below it).
    settling_time : the time after which rho stays within ``within`` of its end, relatively.
    """

    names: tuple[str, ...]
    solutions: tuple[RhoSolution, ...]
    rho_min: float | None
    within: float
    rho: np.ndarray
    fit: np.ndarray
    excess: np.ndarray
    settling_time: np.ndarray

    __repr__ = short_repr

    def summary(self) -> str:
        """A small table."""
        head = f"{'':12}{'rho':>12}{'excess':>12}{'fit':>12}{'settled at t':>14}"
        columns = (self.names, self.rho, self.excess, self.fit, self.settling_time)
        rows = [f"{n:12}{r:12.6g}{e:12.3g}{f:12.3g}{t:14.6g}" for n, r, e, f, t in zip(*columns, strict=True)]
        return "\n".join([head, *rows])

    def to_json(self) -> dict[str, object]:
        """Plain numbers; each flow's own record by name."""
        return {"rho_min": self.rho_min, "within": self.within,
                "flows": {n: s.to_json() | {"settling_time": float(t)}
                          for n, s, t in zip(self.names, self.solutions, self.settling_time, strict=True)}}  # fmt: skip


def compare_normalisations(
    network: Network,
    data: tuple[ArrayLike, ArrayLike],
    *,
    theta0: ArrayLike,
    until: str | float | Until,
    lam: float = 0.0,
    rho_min: float | None = None,
    within: float = 1e-3,
    at_zero: str = "reflect",
    rtol: float = 1e-10,
    atol: float = 1e-13,
) -> NormalisationComparison:
    """Run ``integrate_rho`` from theta0 with Lagrange multipliers, weight normalisation and without, a *measure*.

    The three have different clocks (V moves at ``1``, ``1`` and ``1 / rho_k^2`` times the same field) and different
    penalties (``lam rho^2``, ``lam sum rho_k^2`` twice): compare times with that in mind. Which one ends at the
    smaller rho depends on start and data; nothing is claimed in general.

    Parameters
    ----------
    network, data, theta0, until, lam, at_zero, rtol, atol : as in ``integrate_rho``.
    rho_min : the least interpolating rho, from ``minimum_rho_linear`` or ``minimum_rho_two_layer``.
    within : relative distance from the end at which rho counts as settled.

    Raises
    ------
    InvalidInput, PreconditionError, NotConverged : as in ``integrate_rho``.

    Examples
    --------
    >>> from theory.flow import fully_connected
    >>> net = fully_connected((2, 1))
    >>> found = compare_normalisations(net, ([[1.0, 1.0]], [1.0]), theta0=[0.1, 0.3], until=50.0, rho_min=0.5**0.5)
    >>> found.names, bool((found.fit < 1e-12).all()), bool((found.excess > 0).all())
    (('lagrange', 'weight-norm', 'none'), True, True)
    """
    band = as_positive("within", within)
    least = None if rho_min is None else as_positive("rho_min", rho_min)
    flows = tuple(
        integrate_rho(network, data, lam=lam, theta0=theta0, normalisation=name, until=until, at_zero=at_zero,
                      rtol=rtol, atol=atol)
        for name in NORMALISATIONS
    )  # fmt: skip
    rho = np.array([flow.rho[-1] for flow in flows])
    return NormalisationComparison(
        names=NORMALISATIONS, solutions=flows, rho_min=least, within=band, rho=rho,
        fit=np.array([flow.fit[-1] for flow in flows]),
        excess=rho / least - 1 if least is not None else np.full(len(rho), np.nan),
        settling_time=np.array([_settled(flow, band) for flow in flows]),
    )  # fmt: skip


def _settled(flow: RhoSolution, within: float) -> float:
    """The first recorded time from which rho stays within the band around its end."""
    outside = np.flatnonzero(abs(flow.rho - flow.rho[-1]) > within * flow.rho[-1])
    return float(flow.t[min(outside[-1] + 1, flow.steps)]) if outside.size else 0.0
