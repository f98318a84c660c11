"""Solving the deep linear model: the solver of its loss."""

from __future__ import annotations

from theory._errors import InvalidInput
from theory.peeled import _deep_linear_ce, _deep_linear_mse
from theory.peeled._options import Options
from theory.peeled.deep_linear import DeepLinearModel
from theory.peeled.solution import PeeledSolution

_BY_LOSS = {"mse": _deep_linear_mse, "cross_entropy": _deep_linear_ce}
METHODS = tuple(dict.fromkeys([*_deep_linear_mse.METHODS, *_deep_linear_ce.METHODS]))


def solve_model(model: DeepLinearModel, options: Options) -> PeeledSolution:
    """See :func:`theory.peeled.solve`."""
    solver = _BY_LOSS[model.loss]
    if options.method not in solver.METHODS:
        methods = ", ".join(solver.METHODS)
        raise InvalidInput(f"method must be one of {methods} with loss {model.loss!r}, but is {options.method!r}.")
    return solver.solve_model(model, options)
