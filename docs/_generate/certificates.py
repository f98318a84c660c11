"""Every record that carries a certificate, found in the code; what it proves is said here, one sentence each."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
from functools import cache

from _generate.inventory import public, table

FIELD = re.compile(
    r"(^|_)(certificate|gap|lower|upper|residuals?|slack|stationarity|drift|violations?|defect|bound|holds|"
    r"clock_error|shortfall)($|_)"
)
SKIP = ("simulations.benchmarks", "simulations.cli", "simulations.sweep", "simulations.notebooks")

OPTIMA, FLOWS, NORMS, RUNS = "Optima of models", "Flows, margins, directions", "Norms and bounds", "Networks and paths"

# record: group, what it proves, how it is recomputed, the file of its tests
ENTRIES: dict[str, tuple[str, str, str, str]] = {
    "theory._certificate.Certificate": (
        OPTIMA, "The optimum lies between `lower` and `upper`.",
        "Both from feasible points of the primal and the dual, in float64, whatever solver found them; `residuals` are "
        "relative violations.", "peeled/test_solve.py"),
    "theory.peeled.solution.PeeledSolution": (
        OPTIMA, "The objective is within `certificate.gap` of the global optimum of the model, whose lower bound also "
        "holds where `status` says that the point is only local.",
        "At the returned Z. Budgets: Frank-Wolfe (dual) gap from the gradient alone. Penalties: a feasible point of "
        "the dual (entropy, Fenchel) or a convex envelope, `certificate.method` says which. Deep models and few "
        "dimensions: a convex relaxation, so that the gap may stay open.",
        "peeled/test_solve.py"),
    "theory.peeled.curve.PhaseCurve": (
        OPTIMA, "The same for every point of a curve.", "Frank-Wolfe gap, point by point.", "peeled/test_solve.py"),
    "theory.peeled.regularization.RegularizationPath": (
        OPTIMA, "The same for every penalty of a path.", "The entropy dual bound, point by point.",
        "peeled/test_ufm_cross_entropy.py"),
    "theory.peeled.thresholds.CollapseThreshold": (
        OPTIMA, "R0 and R00 satisfy the optimality system of the merged and of the vanished point.",
        "Residual of that system at the returned numbers, relative.", "peeled/test_thresholds.py"),
    "theory.peeled.thresholds.CollapseThresholds": (
        OPTIMA, "The same for whole arrays of configurations.", "As above, entry by entry.",
        "peeled/test_thresholds.py"),
    "theory.peeled.maps.ThresholdMap": (
        OPTIMA, "The same on a grid.", "As above, entry by entry.", "peeled/test_maps.py"),
    "theory.peeled.penalised_thresholds.PenalisedThresholds": (
        OPTIMA, "The penalty from which a group merges is where the slope of the loss along the split changes sign.",
        "That slope by complex step, against the closed form.", "peeled/test_penalised_thresholds.py"),
    "theory.peeled.regression.RegressionSolution": (
        OPTIMA, "The regression model's objective is globally optimal.",
        "Fenchel dual of the squared error with the nuclear norm.", "peeled/test_regression_model.py"),
    "theory.peeled.deep_collapse.DeepCollapseMap": (
        OPTIMA, "No factors of any shape have an objective below `lower`.",
        "A bound of the Schatten quasi-norm problem, evaluated apart from the constructions.",
        "peeled/test_deep_linear.py"),
    "theory.connectivity.separability.Separation": (
        OPTIMA, "The classes can be separated, or cannot, with a margin in a bracket.",
        "Margin of the returned classifier, and a dual vector, rounding taken off.",
        "connectivity/test_condition.py"),
    "theory.flow.max_margin.MaxMargin": (
        OPTIMA, "No linear classifier has a margin above `certificate.upper`.",
        "Distance of a hull point (`weights`) from the origin; lower end: the margin reached.",
        "flow/test_max_margin.py"),
    "theory.flow.variation_norm.VariationMargin": (
        OPTIMA, "No measure of neurons has a margin above `certificate.upper`; `parameter_bound` is the same for "
        "the parameters of two layers.",
        "The dual function, maximised over every activation pattern there is.", "flow/test_variation_norm.py"),
    "theory.flow.exact.diagonal.HypentropyLimit": (
        OPTIMA, "`beta` minimises the hyperbolic entropy over the interpolating weights.",
        "Dual value at `z`, and the relative violation of the constraints.", "flow/exact/test_diagonal.py"),
    "theory.flow.solution.FlowSolution": (
        FLOWS, "What the flow keeps constant was kept, and the clock tells the loss: an error *estimate*, no bound.",
        "Conserved quantities at both ends; `log(1/Loss)` against the clock at every step.",
        "flow/test_flow_against_exact.py"),
    "theory.flow._algorithm_record.AlgorithmSolution": (
        FLOWS, "How far a discrete algorithm drifts from what the flow conserves.", "From both ends.",
        "flow/test_algorithms_flow.py"),
    "theory.flow.diagnostics.FlowDiagnostics": (
        FLOWS, "The smoothed margin never fell, and the KKT residuals fall as the theory says.",
        "At chosen steps, each from the stored parameters.", "flow/test_algorithms_flow.py"),
    "theory.flow.margins.Margins": (
        FLOWS, "The smoothed margin lies between `smoothed_lower` and `q_min`.", "From the margins of the samples.",
        "flow/test_margins.py"),
    "theory.flow.kkt.KKTCertificate": (
        FLOWS, "The point is (eps, delta)-KKT, and no multipliers make eps smaller than `certificate.lower`.",
        "A convex program over multipliers and slopes at kinks, its dual bound by Euler's identity.",
        "flow/test_kkt.py"),
    "theory.flow.kkt.FlowKKT": (
        FLOWS, "The flow's own multipliers satisfy the identity for eps, and delta's sum stays below its bound.",
        "Two formulas for eps at one state; `field_residual`: the direction against Clarke's subdifferential.",
        "flow/test_kkt.py"),
    "theory.flow._limit_record.LimitDirection": (
        FLOWS, "The direction is a KKT point of the margin problem; `violations` is empty, `order` says whether it is "
        "a local optimum.", "Residual of the whole KKT system after Newton, relative.", "flow/test_limit.py"),
    "theory.flow.late_stage.LateStage": (
        FLOWS, "How near an iterate is to a critical point of the margin, from both sides.",
        "Bracket of the distance of 0 from Clarke's subdifferential, row by row.", "flow/test_late_stage.py"),
    "theory.flow.low_rotation.LowRotation": (
        FLOWS, "The weights moved no farther than the tangent margin allows, where `holds`.",
        "Movement from the rows, bound from certified margins at the rows.", "flow/test_low_rotation.py"),
    "theory.flow.near_homogeneous.NearHomogeneity": (
        FLOWS, "A network with biases is this near to a homogeneous one, for every theta.",
        "A polynomial in the norm, derived from the layers.", "flow/test_near_homogeneous.py"),
    "theory.flow.alignment.Alignment": (
        FLOWS, "Each layer's distance from rank one stays below a bound that the start fixes.",
        "From singular values at this point and at the start.", "flow/test_alignment.py"),
    "theory.flow._steepest_margin.SteepestKKT": (
        FLOWS, "`residual` is zero exactly at points that are stationary in this norm.",
        "Fenchel's gap between the point and its gradient's dual.", "flow/test_steepest_parts.py"),
    "theory.flow._steepest_record.SteepestSolution": (
        FLOWS, "The smoothed margin never fell along the rows.", "From the rows.", "flow/test_steepest.py"),
    "theory.flow._steepest_record.SteepestFlow": (
        FLOWS, "The largest margin in this norm lies in the bracket.",
        "Margin of the direction reached; dual norm of a weighted mean of the samples.", "flow/test_steepest.py"),
    "theory.flow._steepest_record.SteepestDescent": (
        FLOWS, "As for the flow, for updates of finite length.", "From the rows.", "flow/test_steepest.py"),
    "theory.square_loss.solution.RhoSolution": (
        FLOWS, "Layers stayed on their spheres: a measure of the integrator's error.",
        "`|norm - 1|` of every layer at every step.", "square_loss/test_integrate.py"),
    "theory.square_loss.low_rank.RankCertificate": (
        FLOWS, "The last weights are this near to a matrix of rank n B R; `holds` false: they were not made by these "
        "updates.", "Unrolled updates against the singular values of the weights.", "square_loss/test_low_rank.py"),
    "theory.kernels.certificate.LazyCertificate": (
        FLOWS, "Where it `holds`, the loss falls at `rate` for ever and no neuron leaves `neuron_radius`.",
        "Condition on the kernel's least eigenvalue at the start; `shortfall` is what is missing.",
        "kernels/test_lazy.py"),
    "theory.kernels.lazy.TangentTrajectory": (
        FLOWS, "Movement stayed below what the least eigenvalue along the run allows (a measure between the rows).",
        "From the rows.", "kernels/test_lazy.py"),
    "theory.norms._record.NormBracket": (
        NORMS, "`lower <= norm <= upper`, rounding errors included.",
        "Upper: a factorisation or a closed form per block; lower: the quotient at one vector.",
        "norms/test_brute_force.py"),
    "theory.norms.residual.BiLipschitz": (
        NORMS, "Distances of two inputs shrink at most by `lower` and grow at most by `upper`.",
        "Products over residual blocks of certified constants.", "norms/test_residual.py"),
    "theory.norms.residual.ResidualBlock": (
        NORMS, "The same for one block.", "From the norm of its branch, from above.", "norms/test_residual.py"),
    "theory.norms.orthogonal.Orthogonality": (
        NORMS, "The rows (columns) are orthonormal up to `defect`.", "Norm of G - I, from above.",
        "norms/test_orthogonal.py"),
    "theory.bounds._report.HoldOut": (
        NORMS, "With probability 1 - delta the error is at most `upper`, by fresh samples alone.",
        "Exact binomial limit (Clopper-Pearson).", "cli/test_bounds.py"),
    "theory.bounds._report.Assumption": (
        NORMS, "Whether a theorem's hypothesis holds for this network, and why.",
        "From the architecture, and where it matters the weights.", "bounds/test_layered.py"),
    "theory.bounds.measures.all_layer_margin.AllLayerMargins": (
        NORMS, "`upper` is the length of a perturbation that does change the class.", "The network is run with it.",
        "bounds/test_measures.py"),
    "theory.connectivity.path.ConnectedPath": (
        RUNS, "The loss nowhere on the path exceeds `upper`, up to rounding.",
        "Largest end of convex and constant segments; intervals for the others.", "connectivity/test_path.py"),
    "theory.connectivity.path.Segment": (
        RUNS, "The same for one segment.", "As above.", "connectivity/test_path.py"),
    "theory.connectivity.condition.Condition": (
        RUNS, "Half of the neurons of every layer suffice, by networks that were found.",
        "Their losses, evaluated.", "connectivity/test_condition.py"),
    "simulations.bridge._hypotheses.Hypothesis": (
        RUNS, "Whether a hypothesis of the prediction holds in this run, with the number that decides.",
        "Measured on the network.", "bridge/test_prediction.py"),
    "simulations.bridge._layers.LayerNumbers": (
        RUNS, "How far two layers are from balanced (a measure).", "Gram matrices in float64.",
        "bridge/test_features.py"),
    "simulations.bridge.measurement.LayerEnergy": (
        RUNS, "Whether the network is homogeneous in this layer, on the first samples (a measure).",
        "The layer doubled, the output compared.", "bridge/test_prediction.py"),
}  # fmt: skip

# Fields of these names that certify nothing by themselves.
OTHERS = {
    "theory.flow._cone.Nearest": "solver's inside of KKTCertificate",
    "theory.flow._field.Weights": "solver's inside of FlowSolution",
    "theory.flow._kkt_newton.KktPoint": "solver's inside of LimitDirection",
    "theory.flow._point.Field": "solver's inside of FlowKKT",
    "theory.flow.variation_norm._Bracket": "solver's inside of VariationMargin",
    "theory.norms._blocks.Largest": "solver's inside of NormBracket",
    "theory.peeled._minimise.ReducedOptimum": "solver's inside of PeeledSolution",
    "theory.peeled._step.StepSystem": "a linear system's right-hand side",
    "theory.bounds.kernel.KernelPredictor": "a residual of the fit",
    "theory.square_loss.collapse.StationaryMargins": "two roots, a lower and an upper one",
}


@cache
def found() -> dict[str, tuple[type, tuple[str, ...]]]:
    """Every record with such a field or property, with their names, found by importing all modules."""
    records = {}
    for package in ("theory", "simulations"):
        root = importlib.import_module(package)
        for info in pkgutil.walk_packages(root.__path__, package + "."):
            if info.name.startswith(SKIP) or info.name.endswith("__main__"):
                continue
            for value in vars(importlib.import_module(info.name)).values():
                if inspect.isclass(value) and dataclasses.is_dataclass(value) and value.__module__ == info.name:
                    names = attributes(value)
                    if names:
                        records[f"{info.name}.{value.__name__}"] = (value, names)
    return records


def attributes(record: type) -> tuple[str, ...]:
    """The fields and properties of a record that certify something."""
    fields = [field.name for field in dataclasses.fields(record)]
    fields += [name for name, value in inspect.getmembers(record) if isinstance(value, property)]
    return tuple(name for name in dict.fromkeys(fields) if FIELD.search(name) and not name.startswith("_"))


def tables() -> str:
    """One table to a group."""
    places = {item.real: name for name, item in public().items()}
    parts = []
    for group in (OPTIMA, FLOWS, NORMS, RUNS):
        rows = []
        for real, (where, proves, how, test) in ENTRIES.items():
            if where == group and real in found():
                name = places.get(real)
                record = f"{{py:obj}}`~{name}`" if name else f"`{real.rpartition('.')[2]}`"
                shown = ", ".join(f"`{a}`" for a in found()[real][1])
                rows.append((record, shown, proves, how, f"`tests/{test}`"))
        head = ("record", "attribute", "what it says", "recomputed from", "tests")
        parts.append(f"## {group}\n\n" + table(head, rows))
    return "\n".join(parts)
