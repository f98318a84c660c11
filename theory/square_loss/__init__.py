"""Square loss: the norm rho of a deep classifier under normalisation and weight decay, and what follows from it.

``integrate_rho`` follows ``f = rho f_V`` (layers of unit norm) or the plain weights; ``equilibrium``,
``rho_closed_form`` and ``BalancedRho`` say where rho goes; ``collapse_targets``, ``rank_certificate`` and
``sgd_fluctuation`` predict geometry, rank and noise of the trained network; ``bounds_along`` certifies its error.
Losses are means over samples here, ``(1/N) sum ||f_n - y_n||^2``, and weight decay is ``lam ||.||^2``: PyTorch's
``weight_decay`` is ``2 lam``.

>>> import numpy as np
>>> from theory.flow import two_layer
>>> net, X, y = two_layer(2, 4), [[1.0, 0.2], [0.3, 1.0], [-1.0, -0.1]], [1, 1, -1]
>>> flow = integrate_rho(net, (X, y), lam=0.05, theta0=net.random_parameters(rng=3), until=200.0)
>>> rest = equilibrium(flow.mu[-1], flow.M[-1], 0.05)
>>> bool(abs(flow.rho[-1] - rest.rho) < 1e-6), bool(flow.norm_drift < 1e-10)
(True, True)
"""

from __future__ import annotations

from theory.square_loss._rho_run import ZeroCrossing
from theory.square_loss.balanced import BalancedEquilibrium, BalancedRho, DecayThresholds, decay_thresholds
from theory.square_loss.bounds_along import BoundsAlong, bounds_along
from theory.square_loss.collapse import CollapseTargets, StationaryMargins, collapse_targets, stationary_margins
from theory.square_loss.comparison import NormalisationComparison, compare_normalisations
from theory.square_loss.equilibrium import RhoEquilibrium, equilibrium, rho_closed_form, zero_crossing_time
from theory.square_loss.fixed_point import CommonFixedPoint, common_fixed_point
from theory.square_loss.fluctuation import SgdFluctuation, sgd_fluctuation, stationary_covariance
from theory.square_loss.integrate import integrate_rho
from theory.square_loss.low_rank import RankBound, RankCertificate, rank_bound, rank_certificate
from theory.square_loss.minimum_rho import MinimumRho, minimum_rho_linear, minimum_rho_two_layer
from theory.square_loss.moments import OutputMoments, class_targets, output_moments
from theory.square_loss.ranks import EffectiveRanks, effective_ranks
from theory.square_loss.solution import RhoSolution, RhoState, RhoStatus

__all__ = [
    "BalancedEquilibrium", "BalancedRho", "BoundsAlong", "CollapseTargets", "CommonFixedPoint", "DecayThresholds",
    "EffectiveRanks", "MinimumRho", "NormalisationComparison", "OutputMoments", "RankBound", "RankCertificate",
    "RhoEquilibrium", "RhoSolution", "RhoState", "RhoStatus", "SgdFluctuation", "StationaryMargins", "ZeroCrossing",
    "bounds_along", "class_targets", "collapse_targets", "common_fixed_point", "compare_normalisations",
    "decay_thresholds", "effective_ranks", "equilibrium", "integrate_rho", "minimum_rho_linear",
    "minimum_rho_two_layer", "output_moments", "rank_bound", "rank_certificate", "rho_closed_form", "sgd_fluctuation",
    "stationary_covariance", "stationary_margins", "zero_crossing_time",
]  # fmt: skip
