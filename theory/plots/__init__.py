"""Figures of the theory: each function takes and returns matplotlib Axes.

Theory is drawn as lines, measurements as points; every figure is readable without colour. With ``ax=None`` a new
pyplot figure is made, otherwise pyplot is not imported.
"""

from theory.plots._bounds import bounds, scaling
from theory.plots._comparison import comparison, comparison_axes, comparison_size
from theory.plots._flow import flow_kkt, flow_loss, flow_margin
from theory.plots._flow_plane import decision_boundary, flow_fit, neuron_directions
from theory.plots._flow_sliding import flow_sliding
from theory.plots._flow_spectrum import singular_values
from theory.plots._gram import gram
from theory.plots._maps import penalty_map, threshold_map
from theory.plots._phase_curve import phase_curve
from theory.plots._regularization_path import regularization_path
from theory.plots._spectrum import spectrum
from theory.plots._square_loss import bounds_along, rank_profile, rho_dynamics, rho_equilibria
from theory.plots._vectors import classifier_vectors

__all__ = [
    "bounds",
    "bounds_along",
    "classifier_vectors",
    "comparison",
    "comparison_axes",
    "comparison_size",
    "decision_boundary",
    "flow_fit",
    "flow_kkt",
    "flow_loss",
    "flow_margin",
    "flow_sliding",
    "gram",
    "neuron_directions",
    "penalty_map",
    "phase_curve",
    "rank_profile",
    "regularization_path",
    "rho_dynamics",
    "rho_equilibria",
    "scaling",
    "singular_values",
    "spectrum",
    "threshold_map",
]
