"""Solving the unconstrained-features model: which solver takes which loss and which features."""

from __future__ import annotations

from importlib import import_module

from theory._errors import InvalidInput
from theory.peeled._options import Options
from theory.peeled.solution import PeeledSolution
from theory.peeled.unconstrained import UnconstrainedFeaturesModel

METHODS = ("auto", "closed-form", "groups", "local", "cvxpy")
SOLVERS = {  # each module has METHODS and solve_model(model, options)
    ("cross_entropy", "free"): "_ufm_cross_entropy",
    ("cross_entropy", "relu"): "_ufm_relu",
    ("mse", "free"): "_ufm_mse",
    ("mse", "relu"): "_ufm_relu",
    ("focal", "free"): "_ufm_focal",
}


def solve_model(model: UnconstrainedFeaturesModel, options: Options) -> PeeledSolution:
    """See :func:`theory.peeled.solve`."""
    solver = import_module(f"theory.peeled.{SOLVERS[model.loss, model.features]}")
    if options.method not in solver.METHODS:
        raise InvalidInput(
            f"method {options.method!r} does not apply to loss={model.loss!r} with features={model.features!r}; "
            f"take one of {', '.join(solver.METHODS)}."
        )
    return solver.solve_model(model, options)
