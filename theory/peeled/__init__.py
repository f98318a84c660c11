"""Analytic models of the last layer: layer-peeled, unconstrained features, SELI, deep linear, softmax codes."""

from theory.peeled.balanced_forms import (
    normalised_loss,
    penalised_loss,
    penalised_margin,
    softmax_loss,
    supervised_contrastive_loss,
)
from theory.peeled.closed_forms import balanced_loss
from theory.peeled.closed_forms_seli import SELITwoGroups, TwoGroupGeometry, seli_two_groups
from theory.peeled.compare import Comparison, compare
from theory.peeled.curve import PhaseCurve, phase_curve
from theory.peeled.deep_collapse import DeepCollapseMap, deep_collapse_map, layer_weights
from theory.peeled.deep_linear import DeepLinearModel, deep_linear_threshold
from theory.peeled.hull_distance import one_vs_rest_distance, tammes_angle
from theory.peeled.maps import PenaltyMap, ThresholdMap, penalty_map, threshold_map, vanishing_product
from theory.peeled.model import LayerPeeledModel
from theory.peeled.penalised_thresholds import PenalisedThresholds, merge_threshold
from theory.peeled.regression import RegressionModel, RegressionSolution, solve_regression
from theory.peeled.regularization import RegularizationPath, regularization_path
from theory.peeled.resampling import largest_safe_weight, oversampled, restoring_weights
from theory.peeled.seli import SELIModel
from theory.peeled.softmax_code import SoftmaxCodeModel, softmax_code_bound
from theory.peeled.solution import Group, PeeledSolution
from theory.peeled.solver import solve
from theory.peeled.thresholds import CollapseThreshold, CollapseThresholds, collapse_threshold, collapse_thresholds
from theory.peeled.unconstrained import UnconstrainedFeaturesModel

__all__ = [
    "CollapseThreshold",
    "CollapseThresholds",
    "Comparison",
    "DeepCollapseMap",
    "DeepLinearModel",
    "Group",
    "LayerPeeledModel",
    "PeeledSolution",
    "PenalisedThresholds",
    "PenaltyMap",
    "PhaseCurve",
    "RegressionModel",
    "RegressionSolution",
    "RegularizationPath",
    "SELIModel",
    "SELITwoGroups",
    "SoftmaxCodeModel",
    "ThresholdMap",
    "TwoGroupGeometry",
    "UnconstrainedFeaturesModel",
    "balanced_loss",
    "collapse_threshold",
    "collapse_thresholds",
    "compare",
    "deep_collapse_map",
    "deep_linear_threshold",
    "largest_safe_weight",
    "layer_weights",
    "merge_threshold",
    "normalised_loss",
    "one_vs_rest_distance",
    "oversampled",
    "penalised_loss",
    "penalised_margin",
    "penalty_map",
    "phase_curve",
    "regularization_path",
    "restoring_weights",
    "seli_two_groups",
    "softmax_code_bound",
    "softmax_loss",
    "solve",
    "solve_regression",
    "supervised_contrastive_loss",
    "tammes_angle",
    "threshold_map",
    "vanishing_product",
]
