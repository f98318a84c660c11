"""Gradient flow of homogeneous networks: exact through the kinks, certified at the end.

``integrate(network, (X, y), loss, theta0, until=...)`` follows ``dtheta/dt in -d Loss(theta)`` and returns a
``FlowSolution``; ``descend`` runs gradient descent and its relatives with the same record; ``diagnose`` measures the
theory's quantities along it; ``limit_direction`` finds and certifies where it heads; ``theory.flow.exact`` holds the
flows that are known in closed form; ``steepest_flow`` and ``steepest_descend`` go downhill in other norms.

>>> net = two_layer(2, 4)
>>> X, y = [[1.0, 0.2], [0.3, 1.0], [-1.0, -0.1]], [1, 1, -1]
>>> flow = integrate(net, (X, y), "exponential", net.random_parameters(rng=3), until="log-loss:1e6")
>>> limit = limit_direction(net, X, y, "exponential", flow.theta, modes=flow.state.modes)
>>> bool(limit.residual < 1e-12), bool(abs(flow.normalized_margins()[-1] / limit.margin - 1) < 1e-3)
(True, True)
"""

from __future__ import annotations

from theory.flow._limit_record import LimitDirection
from theory.flow._until import FlowStatus, Until
from theory.flow.algorithms import AlgorithmSolution, StepLimit, descend, descent_limit, step_limit
from theory.flow.alignment import Alignment, alignment
from theory.flow.conservation import conservation_drift, conservation_law_count, conserved_quantities
from theory.flow.diagnostics import FlowDiagnostics, diagnose
from theory.flow.growth import evolution_identities, growth_constants
from theory.flow.integrate import integrate
from theory.flow.kkt import FlowKKT, KKTCertificate, flow_kkt, kkt_certificate
from theory.flow.late_stage import LateStage, late_stage
from theory.flow.limit import limit_direction
from theory.flow.losses import CrossEntropyLoss, ExponentialLoss, LogisticLoss, SquareLoss
from theory.flow.low_rotation import LowRotation, low_rotation, tangent_margin
from theory.flow.margins import Margins, margins, monotonicity_violation
from theory.flow.max_margin import MaxMargin, deep_linear_margin, linear_max_margin
from theory.flow.near_homogeneous import modified_margin, near_homogeneity
from theory.flow.near_homogeneous_graph import graph_near_homogeneity
from theory.flow.networks import (
    DiagonalNetwork,
    LayeredNetwork,
    Network,
    convolutional,
    deep_linear,
    diagonal_linear,
    fully_connected,
    homogeneity_defect,
    two_layer,
)
from theory.flow.separable import check_separable
from theory.flow.solution import FlowEvent, FlowSolution, FlowState
from theory.flow.steepest import (
    SteepestDescent,
    SteepestFlow,
    SteepestKKT,
    norm_max_margin,
    steepest_descend,
    steepest_flow,
    steepest_kkt,
)
from theory.flow.variation_norm import VariationMargin, variation_margin

__all__ = [
    "AlgorithmSolution", "Alignment", "CrossEntropyLoss", "DiagonalNetwork", "ExponentialLoss", "FlowDiagnostics",
    "FlowEvent", "FlowKKT", "FlowSolution", "FlowState", "FlowStatus", "KKTCertificate", "LateStage", "LayeredNetwork",
    "LimitDirection", "LogisticLoss", "LowRotation", "Margins", "MaxMargin", "Network", "SquareLoss", "SteepestDescent",
    "SteepestFlow", "SteepestKKT", "StepLimit", "Until", "VariationMargin", "alignment", "check_separable",
    "conservation_drift", "conservation_law_count", "conserved_quantities", "convolutional", "deep_linear",
    "deep_linear_margin", "descend", "descent_limit", "diagnose", "diagonal_linear", "evolution_identities", "flow_kkt",
    "fully_connected", "graph_near_homogeneity", "growth_constants", "homogeneity_defect", "integrate",
    "kkt_certificate", "late_stage", "limit_direction", "linear_max_margin", "low_rotation", "margins",
    "modified_margin", "monotonicity_violation", "near_homogeneity", "norm_max_margin", "steepest_descend",
    "steepest_flow", "steepest_kkt", "step_limit",
    "tangent_margin", "two_layer", "variation_margin",
]  # fmt: skip
