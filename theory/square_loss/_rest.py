"""Where rho would rest if the normalised network stood still."""

from __future__ import annotations

from theory.square_loss.balanced import BalancedRho
from theory.square_loss.moments import OutputMoments


def resting_rho(moments: OutputMoments, lam: float, degrees: tuple[int, ...] | None, rho: float) -> float:
    """``mu / (M + lam)``; with degrees, where balanced layers of this rho go (NaN where degrees differ).

    With a weight decay on every layer the norms of all layers become equal, so the balanced rest points are those of
    the flow; without decay ``mu / M`` is, whatever the norms.
    """
    mu, M = moments.mu, moments.M
    if degrees in (None, (1,)):  # one layer is its own rho
        return mu / (M + lam) if M + lam > 0 else float("nan")
    if M == 0:
        return 0.0 if lam > 0 else float("nan")
    if lam == 0:
        return max(mu / M, 0.0)
    if set(degrees) != {1}:
        return float("nan")
    return BalancedRho(depth=len(degrees), mu=mu, M=M, lam=lam, rho0=rho).limit if rho > 0 else 0.0
