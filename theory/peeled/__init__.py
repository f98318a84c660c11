"""The Layer-Peeled Model of Fang, He, Long and Su (2021): certified solutions, thresholds, phase curves."""

from theory.peeled.closed_forms import balanced_loss
from theory.peeled.closed_forms_seli import SELITwoGroups, TwoGroupGeometry, seli_two_groups
from theory.peeled.compare import Comparison, compare
from theory.peeled.curve import PhaseCurve, phase_curve
from theory.peeled.deep_collapse import DeepCollapseMap, deep_collapse_map, layer_weights
from theory.peeled.deep_linear import DeepLinearModel, deep_linear_threshold
from theory.peeled.hull_distance import one_vs_rest_distance, tammes_angle
from theory.peeled.model import LayerPeeledModel
from theory.peeled.regularization import RegularizationPath, regularization_path
from theory.peeled.resampling import largest_safe_weight, oversampled, restoring_weights
from theory.peeled.seli import SELIModel
from theory.peeled.softmax_code import SoftmaxCodeModel, softmax_code_bound
from theory.peeled.solution import Group, PeeledSolution
from theory.peeled.solver import solve
from theory.peeled.thresholds import CollapseThreshold, collapse_threshold
from theory.peeled.unconstrained import UnconstrainedFeaturesModel

__all__ = [
    "CollapseThreshold",
    "Comparison",
    "DeepCollapseMap",
    "DeepLinearModel",
    "Group",
    "LayerPeeledModel",
    "PeeledSolution",
    "PhaseCurve",
    "RegularizationPath",
    "SELIModel",
    "SELITwoGroups",
    "SoftmaxCodeModel",
    "TwoGroupGeometry",
    "UnconstrainedFeaturesModel",
    "balanced_loss",
    "collapse_threshold",
    "compare",
    "deep_collapse_map",
    "deep_linear_threshold",
    "largest_safe_weight",
    "layer_weights",
    "one_vs_rest_distance",
    "oversampled",
    "phase_curve",
    "regularization_path",
    "restoring_weights",
    "seli_two_groups",
    "softmax_code_bound",
    "solve",
    "tammes_angle",
]
